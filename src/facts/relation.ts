import { FactError } from './errors.ts';
import { MAX_RELATION_BYTES } from './limits.ts';

const CONTROL = /[\u0000-\u001f\u007f]/;

/**
 * The one spelling of a relation: trimmed, Unicode NFC, at most 256 bytes, no control characters. Case is kept.
 *
 * @throws FactError `invalid_relation`, `lone_surrogate`
 */
export function normalizeRelation(text: string): string {
  if (!text.isWellFormed()) {
    throw new FactError('lone_surrogate', 'relation holds a lone surrogate', 'send well-formed Unicode', 'relation');
  }
  // Normalising can shrink a text, but not by that much; a megabyte is not worth normalising to find out.
  const relation = text.length > 4 * MAX_RELATION_BYTES ? text : text.trim().normalize('NFC');
  const problem =
    relation === ''
      ? 'is empty'
      : CONTROL.test(relation)
        ? 'holds a control character'
        : Buffer.byteLength(relation) > MAX_RELATION_BYTES
          ? `is longer than ${MAX_RELATION_BYTES} bytes`
          : undefined;
  if (problem !== undefined) {
    throw new FactError(
      'invalid_relation',
      `relation ${problem}`,
      'use prefix:name, for example memory:role',
      'relation',
    );
  }
  return relation;
}

/** The relation namespace: what stands before the first colon; the empty namespace for a bare name (mesh.md, Sets). */
export function relationNamespace(relation: string): string {
  const colon = relation.indexOf(':');
  return colon === -1 ? '' : relation.slice(0, colon);
}

/** Protocol relations carry bookkeeping and never contradict each other. */
export function isProtocolRelation(relation: string): boolean {
  return relation.startsWith('stigmem:');
}

/** What a writer should know about a relation that is accepted all the same. Texts follow Stigmem's. */
export function relationWarnings(relation: string): string[] {
  if (!relation.includes(':')) {
    return [
      `bare relation '${relation}' has no namespace prefix; rename to 'your-prefix:${relation}' to prevent silent collisions`,
    ];
  }
  const prefix = relationNamespace(relation);
  return prefix === 'stigmem' || prefix === 'rel'
    ? [
        `relation '${relation}' uses reserved system prefix '${prefix}:'; non-system callers should use a custom namespace prefix`,
      ]
    : [];
}

import { canonicalize } from './canonical-json.ts';
import { digestHex } from './cid.ts';
import { FactError } from './errors.ts';
import { MAX_TEXT_BYTES, MAX_URI_BYTES } from './limits.ts';
import { parseUtcInstant } from './time.ts';

export const VALUE_TYPES = ['string', 'text', 'number', 'boolean', 'datetime', 'ref', 'null'] as const;
export type ValueType = (typeof VALUE_TYPES)[number];

/** A typed value as it stands in a fact's body: exactly `type` and `v`. */
export type FactValue =
  | { readonly type: 'string' | 'text' | 'datetime' | 'ref'; readonly v: string }
  | { readonly type: 'number'; readonly v: number }
  | { readonly type: 'boolean'; readonly v: boolean }
  | { readonly type: 'null'; readonly v: null };

/**
 * Checks and normalises a value: numbers are finite doubles and −0 becomes 0; datetimes are RFC 3339 in UTC, kept as
 * written; refs are absolute URIs, kept as written; strings are well-formed Unicode. Nothing is coerced between types.
 *
 * @throws FactError `invalid_value`, `text_too_large`, `lone_surrogate`, `invalid_timestamp`
 */
export function normalizeValue(type: unknown, v: unknown): FactValue {
  switch (type) {
    case 'string':
    case 'text':
      return { type, v: text(v, type, MAX_TEXT_BYTES) };
    case 'datetime': {
      const written = text(v, type, MAX_URI_BYTES);
      parseUtcInstant(written, 'value.v');
      return { type, v: written };
    }
    case 'ref': {
      const uri = text(v, type, MAX_URI_BYTES);
      if (!/^[^\s:\u0000-\u001f]+:[^\s\u0000-\u001f]+$/.test(uri)) {
        throw invalid('a ref is a URI without white space', 'send for example stigmem://acme.example/user/alice');
      }
      return { type, v: uri };
    }
    case 'number':
      if (typeof v !== 'number' || !Number.isFinite(v)) throw invalid('v is not a finite number', 'send a JSON number');
      return { type, v: v === 0 ? 0 : v };
    case 'boolean':
      if (typeof v !== 'boolean') throw invalid('v is not a boolean', 'send true or false');
      return { type, v };
    case 'null':
      if (v !== null && v !== undefined) throw invalid('a null value carries no v', 'leave v out or send null');
      return { type, v: null };
    default:
      throw new FactError(
        'invalid_value',
        `unknown value type ${typeof type === 'string' ? `'${type.slice(0, 40)}'` : typeof type}`,
        `use one of ${VALUE_TYPES.join(', ')}`,
        'value.type',
      );
  }
}

function text(v: unknown, type: string, maxBytes: number): string {
  if (typeof v !== 'string') throw invalid(`v of a ${type} is not a string`, 'send a JSON string');
  if (!v.isWellFormed()) {
    throw new FactError('lone_surrogate', 'value.v holds a lone surrogate', 'send well-formed Unicode', 'value.v');
  }
  const bytes = Buffer.byteLength(v);
  if (bytes > maxBytes) {
    throw new FactError(
      'text_too_large',
      `value.v has ${bytes} bytes, the limit for ${type} is ${maxBytes}`,
      'split the text, or store a ref to where it lives',
      'value.v',
    );
  }
  return v;
}

function invalid(message: string, hint: string): FactError {
  return new FactError('invalid_value', message, hint, 'value.v');
}

/**
 * Identity of a value: hex SHA-256 of its RFC 8785 form. Two facts contradict when these differ (facts.md).
 */
export function valueDigest(value: FactValue): string {
  return digestHex(canonicalize(value));
}

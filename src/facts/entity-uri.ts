import { FactError } from './errors.ts';
import { MAX_URI_BYTES } from './limits.ts';

const ASCII_SPACE = '\t\n\v\f\r ';
const ASCII_SPACE_RUN = /[\t\n\v\f\r ]+/g;
const CONTROL = /[\u0000-\u0008\u000e-\u001f\u007f]/;
const FORMAL = /^stigmem:\/\//i;
const HIERARCHICAL = /^([a-z][a-z0-9+.-]*):\/\/([^/?#]*)(.*)$/is;
/** Schemes whose remainder is case-sensitive by their own specification (DID core 3.1, RFC 8141). */
const OPAQUE = /^(did:[a-z0-9]+|urn:[a-z0-9][a-z0-9-]*):(.+)$/is;
const UNRESERVED = /[A-Za-z0-9\-._~]/;

/**
 * The one spelling of an entity or source URI (facts.md; holes of the reference closed in spec/decisions/0003):
 * trimmed, NFC, percent-triplets of unreserved characters decoded and the others upper-cased, a `%` that begins no
 * triplet encoded as `%25`. `stigmem://authority/type/id` is lower-cased throughout and white-space runs in type and id
 * become one hyphen; informal `type:id` likewise. Other schemes (`https:`, `did:`, `urn:`) keep the case of their path
 * or identifier. A result normalises to itself.
 *
 * @throws FactError `invalid_entity_uri` for empty, oversized or malformed URIs, `lone_surrogate`
 */
export function normalizeUri(text: string, field = 'entity'): string {
  if (!text.isWellFormed()) {
    throw new FactError('lone_surrogate', `${field} holds a lone surrogate`, 'send well-formed Unicode', field);
  }
  // The size is checked first: everything below is linear, but only in what was let in.
  if (Buffer.byteLength(text) > MAX_URI_BYTES) throw invalid(field, `longer than ${MAX_URI_BYTES} bytes`);
  const trimmed = trim(text).normalize('NFC');
  if (trimmed === '') throw invalid(field, 'entity URI must not be empty');
  if (CONTROL.test(trimmed)) throw invalid(field, 'holds a control character');
  const uri = spell(trimmed, field);
  if (Buffer.byteLength(uri) > MAX_URI_BYTES) throw invalid(field, `longer than ${MAX_URI_BYTES} bytes`);
  return uri;
}

function spell(text: string, field: string): string {
  if (FORMAL.test(text)) {
    const [authority = '', type = '', ...rest] = text.slice('stigmem://'.length).split('/');
    const parts = [host(authority, field), segment(type), segment(rest.join('/'))] as const;
    if (parts.includes('')) {
      throw invalid(field, 'stigmem:// needs a non-empty authority, type and id: stigmem://authority/type/id');
    }
    return `stigmem://${parts.join('/')}`;
  }
  const opaque = OPAQUE.exec(text);
  if (opaque) return `${lower(opaque[1] ?? '')}:${casedPath(opaque[2] ?? '')}`;
  const hierarchical = HIERARCHICAL.exec(text);
  if (hierarchical) {
    const [, scheme = '', authority = '', rest = ''] = hierarchical;
    return `${lower(scheme)}://${host(authority, field)}${casedPath(rest)}`;
  }
  const colon = text.indexOf(':');
  if (colon === -1) return segment(text);
  const type = segment(text.slice(0, colon));
  const id = segment(text.slice(colon + 1));
  if (type === '' || id === '') throw invalid(field, 'type and id around the colon must not be empty');
  const uri = `${type}:${id}`;
  // `stigmem: //…` and the like have become a URI of another form, whose rules hold as well.
  return HIERARCHICAL.test(uri) || OPAQUE.test(uri) ? spell(uri, field) : uri;
}

function host(text: string, field: string): string {
  const authority = segment(text, false);
  if (/\s/.test(authority)) throw invalid(field, 'white space in the authority');
  return authority;
}

function segment(text: string, hyphens = true): string {
  const trimmed = trim(text);
  const lowered = lower(triplets(hyphens ? hyphenate(trimmed) : trimmed));
  return lowered.replace(/%[0-9a-f]{2}/g, (triplet) => triplet.toUpperCase());
}

/** A part whose case means something. NFC again, since a decoded triplet may stand before a combining mark. */
function casedPath(text: string): string {
  return triplets(hyphenate(trim(text))).normalize('NFC');
}

/** By hand: the obvious expression backtracks over inner white space, quadratically. */
function trim(text: string): string {
  let start = 0;
  let end = text.length;
  while (start < end && ASCII_SPACE.includes(text[start]!)) start += 1;
  while (end > start && ASCII_SPACE.includes(text[end - 1]!)) end -= 1;
  return text.slice(start, end);
}

function hyphenate(text: string): string {
  return text.replace(ASCII_SPACE_RUN, '-');
}

/** NFC again: a few letters (U+0130) expand when lowered, and a decoded triplet may stand before a combining mark. */
function lower(text: string): string {
  return text.toLowerCase().normalize('NFC');
}

/**
 * Decodes `%41` (unreserved, RFC 3986 section 2.3), upper-cases the hex digits of every other triplet, and encodes a
 * percent sign that begins none: otherwise `%%341` would be `%41` now and `A` the next time.
 */
function triplets(text: string): string {
  return text.replace(/%([0-9a-f]{2})?/gi, (triplet, hex: string | undefined) => {
    if (hex === undefined) return '%25';
    const char = String.fromCharCode(Number.parseInt(hex, 16));
    return UNRESERVED.test(char) ? char : triplet.toUpperCase();
  });
}

function invalid(field: string, reason: string): FactError {
  return new FactError(
    'invalid_entity_uri',
    `invalid_entity_uri: ${reason}`,
    `send ${field} as stigmem://authority/type/id, or informally as type:id`,
    field,
  );
}

/** Whether a normalised URI names its authority itself (`stigmem://…`). */
export function isFormalUri(uri: string): boolean {
  return uri.startsWith('stigmem://');
}

/** The authority of a normalised formal URI; an informal one is relative to the org that states it (facts.md). */
export function uriAuthority(uri: string, org: string): string {
  if (!isFormalUri(uri)) return org;
  return uri.slice('stigmem://'.length, uri.indexOf('/', 'stigmem://'.length));
}

/** What a writer should know about a URI that is accepted all the same. */
export function uriWarnings(uri: string, field: string): string[] {
  return isFormalUri(uri) || /^[a-z][a-z0-9+.-]*:\/\//.test(uri) || /^(did|urn):/.test(uri)
    ? []
    : [`informal ${field} URI '${uri}' is relative to this organisation; prefer stigmem://authority/type/id`];
}

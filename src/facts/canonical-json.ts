import { FactError } from './errors.ts';
import { MAX_JSON_DEPTH } from './limits.ts';

/** What JSON can say. `undefined` members are left out, as JSON.stringify does. */
export type JsonValue = null | boolean | number | string | readonly JsonValue[] | JsonObject;
export interface JsonObject {
  readonly [member: string]: JsonValue | undefined;
}

const utf8 = new TextDecoder('utf-8', { fatal: true, ignoreBOM: true });
const encoder = new TextEncoder();

/**
 * RFC 8785 (JCS) text of a value: members in UTF-16 code unit order, numbers as ECMAScript prints them, no white space.
 * JSON.stringify already writes strings and numbers as JCS wants them; what is added here is order and refusal.
 *
 * @throws FactError `lone_surrogate`, `too_deep`, or `not_canonical` for what JSON cannot say (NaN, Infinity, functions)
 */
export function canonicalize(value: JsonValue, depth = 0): string {
  switch (typeof value) {
    case 'string':
      if (!value.isWellFormed()) throw loneSurrogate();
      return JSON.stringify(value);
    case 'number':
      if (!Number.isFinite(value)) {
        throw new FactError('not_canonical', `${value} is not a JSON number`, 'send a finite number');
      }
      return JSON.stringify(value);
    case 'boolean':
      return value ? 'true' : 'false';
    case 'object': {
      if (value === null) return 'null';
      if (depth >= MAX_JSON_DEPTH) throw tooDeep();
      if (Array.isArray(value)) return `[${value.map((item: JsonValue) => canonicalize(item, depth + 1)).join(',')}]`;
      const object = value as JsonObject;
      let text = '';
      for (const name of inOrder(Object.keys(object))) {
        const member = object[name];
        if (member === undefined) continue;
        if (!name.isWellFormed()) throw loneSurrogate();
        text += `${text === '' ? '' : ','}${JSON.stringify(name)}:${canonicalize(member, depth + 1)}`;
      }
      return `{${text}}`;
    }
    default:
      throw new FactError('not_canonical', `a ${typeof value} is not JSON`, 'send plain JSON');
  }
}

/** Names in UTF-16 code unit order. What is made here mostly is in it already, and looking is cheaper than sorting. */
function inOrder(names: string[]): string[] {
  for (let at = 1; at < names.length; at++) if (names[at - 1]! > names[at]!) return names.sort();
  return names;
}

/** RFC 8785 bytes (UTF-8) of a value. Throws as {@link canonicalize}. */
export function canonicalBytes(value: JsonValue): Uint8Array {
  return encoder.encode(canonicalize(value));
}

/**
 * Parses bytes that claim to be RFC 8785 and refuses every other spelling of the same value: re-encodes and compares.
 * Duplicate members, other member order, white space, `1.0`, `-0`, needless escapes and invalid UTF-8 all end here.
 *
 * @param maxBytes checked before anything is decoded
 * @throws FactError `statement_too_large`, `too_deep`, `not_canonical`, `lone_surrogate`
 */
export function decodeCanonical(bytes: Uint8Array, maxBytes: number): JsonValue {
  if (bytes.length > maxBytes) {
    throw new FactError(
      'statement_too_large',
      `${bytes.length} bytes, the limit is ${maxBytes}`,
      'split the content into several facts',
    );
  }
  assertShallow(bytes);
  let text: string;
  let value: JsonValue;
  try {
    text = utf8.decode(bytes);
    value = JSON.parse(text) as JsonValue;
  } catch {
    // The parser's message quotes the text, and no fact belongs into an error or a log.
    throw new FactError('not_canonical', 'not JSON in UTF-8', 'send RFC 8785 bytes');
  }
  if (canonicalize(value) !== text) {
    throw new FactError(
      'not_canonical',
      'the bytes are JSON but not its RFC 8785 form',
      'encode with RFC 8785 before hashing, signing and sending',
    );
  }
  return value;
}

/** Refuses deep nesting from the bytes alone, so that neither JSON.parse nor the re-encoding ever recurses into it. */
function assertShallow(bytes: Uint8Array): void {
  let depth = 0;
  let inString = false;
  for (let i = 0; i < bytes.length; i++) {
    const byte = bytes[i];
    if (inString) {
      if (byte === 0x5c) i++;
      else if (byte === 0x22) inString = false;
    } else if (byte === 0x22) inString = true;
    else if (byte === 0x7b || byte === 0x5b) {
      if (++depth > MAX_JSON_DEPTH) throw tooDeep();
    } else if (byte === 0x7d || byte === 0x5d) depth--;
  }
}

function tooDeep(): FactError {
  return new FactError('too_deep', `nested deeper than ${MAX_JSON_DEPTH} levels`, 'flatten the value');
}

function loneSurrogate(): FactError {
  return new FactError(
    'lone_surrogate',
    'a string holds a lone UTF-16 surrogate, which no UTF-8 text can carry',
    'replace it (String.prototype.toWellFormed) before sending',
  );
}

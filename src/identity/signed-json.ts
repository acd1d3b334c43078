import { type KeyObject, sign, verify } from 'node:crypto';
import {
  canonicalBytes,
  decodeCanonical,
  FactError,
  formatInstant,
  type JsonObject,
  type JsonValue,
  parseInstant,
  sha256,
} from '../facts/index.ts';
import { IdentityError, type IdentityErrorCode } from './errors.ts';
import { PUBLIC_KEY_BYTES } from './limits.ts';
import { publicKeyObject } from './node-key.ts';

/** What is signed as canonical JSON, and how its faults are called. */
export interface SignedForm {
  /** Such as `manifest`. */
  readonly name: string;
  /** Ends in NUL. Keeps a signature over this from being taken for one over anything else. */
  readonly domain: string;
  readonly maxBytes: number;
  readonly tooLarge: IdentityErrorCode;
  readonly malformed: IdentityErrorCode;
  /** Section of the specification. */
  readonly section: string;
}

const SIGNATURE_BYTES = 64;
const UTC = /^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z$/;

/** The bytes that are signed: domain tag and SHA-256 of the RFC 8785 form without the member `signature`. */
export function signedJsonMessage(domain: string, value: JsonObject): Uint8Array {
  return Buffer.concat([Buffer.from(domain), sha256(canonicalBytes({ ...value, signature: undefined }))]);
}

/** @returns Ed25519 signature, base64url */
export function signJson(domain: string, value: JsonObject, key: KeyObject): string {
  return sign(null, signedJsonMessage(domain, value), key).toString('base64url');
}

/** A form with its signature. @throws IdentityError the form's `malformed` for what JSON cannot say */
export function withSignature(form: SignedForm, unsigned: JsonObject, key: KeyObject): JsonObject {
  try {
    return { ...unsigned, signature: signJson(form.domain, unsigned, key) };
  } catch (cause) {
    throw notJson(form, cause);
  }
}

/** Checks the member `signature` off the event loop. @param key 32 bytes */
export function isSignedBy(domain: string, value: JsonObject & { readonly signature: string }, key: Uint8Array) {
  const signature = Buffer.from(value.signature, 'base64url');
  const message = signedJsonMessage(domain, value);
  return new Promise<boolean>((resolve) => {
    verify(null, message, publicKeyObject(key), signature, (error, ok) => resolve(error === null && ok));
  });
}

/**
 * The object in received bytes (which must be canonical), or in JSON that came inside something else. What is returned
 * shares nothing with the input.
 *
 * @throws IdentityError the form's `tooLarge` or `malformed`
 */
export function decodeSigned(input: Uint8Array | JsonValue, form: SignedForm): JsonObject {
  try {
    const bytes = input instanceof Uint8Array ? input : canonicalBytes(input);
    if (bytes.length > form.maxBytes) {
      const message = `the ${form.name} has ${bytes.length} bytes, the limit is ${form.maxBytes}`;
      throw new IdentityError(form.tooLarge, message, 'name fewer nodes, addresses or namespaces');
    }
    const value = decodeCanonical(bytes, form.maxBytes);
    if (isObject(value)) return value;
  } catch (cause) {
    throw notJson(form, cause);
  }
  throw malformed(form, undefined, 'is not an object');
}

function notJson(form: SignedForm, cause: unknown): unknown {
  return cause instanceof FactError
    ? malformed(form, undefined, `is not RFC 8785 JSON: ${cause.message}`, cause)
    : cause;
}

function isObject(value: JsonValue | undefined): value is JsonObject {
  return typeof value === 'object' && value !== null && !Array.isArray(value);
}

export function malformed(form: SignedForm, field: string | undefined, problem: string, cause?: unknown) {
  const message = `the ${form.name}${field === undefined ? '' : `: ${field}`} ${problem}`;
  return new IdentityError(form.malformed, message, `see spec/mesh.md, ${form.section}, for the exact form`, {
    cause,
    field,
  });
}

/**
 * Reads the members of one object and refuses what is not exactly as written down.
 */
export class Members {
  readonly #object: JsonObject;
  readonly #path: string;
  readonly #form: SignedForm;

  /** @throws IdentityError when a member is missing, or one is there that is neither required nor optional */
  constructor(
    value: JsonValue | undefined,
    path: string,
    form: SignedForm,
    required: readonly string[],
    optional: readonly string[] = [],
  ) {
    this.#path = path === '' ? '' : `${path}.`;
    this.#form = form;
    if (!isObject(value)) throw malformed(form, path, 'is not an object');
    this.#object = value;
    for (const name of required) if (!Object.hasOwn(value, name)) throw this.refuse(name, 'is missing');
    for (const name of Object.keys(value)) {
      if (!required.includes(name) && !optional.includes(name)) {
        throw this.refuse(name.slice(0, 40), 'is not a member this version knows');
      }
    }
  }

  refuse(name: string, problem: string): IdentityError {
    return malformed(this.#form, this.#path + name, problem);
  }

  has(name: string): boolean {
    return Object.hasOwn(this.#object, name);
  }

  /** A member that a predicate accepts. */
  get<T extends JsonValue>(name: string, accepts: (value: unknown) => value is T, expected: string): T {
    const value = this.#object[name];
    if (!accepts(value)) throw this.refuse(name, `is not ${expected}`);
    return value;
  }

  list(name: string, max: number): readonly JsonValue[] {
    const value = this.#object[name];
    if (!Array.isArray(value)) throw this.refuse(name, 'is not a list');
    if (value.length > max) throw this.refuse(name, `has ${value.length} entries, the limit is ${max}`);
    return value;
  }

  texts<T extends string>(
    name: string,
    max: number,
    accepts: (value: unknown) => value is T,
    expected: string,
  ): readonly T[] {
    const texts = this.list(name, max).map((item, at) => {
      if (!accepts(item)) throw this.refuse(`${name}[${at}]`, `is not ${expected}`);
      return item;
    });
    if (new Set(texts).size !== texts.length) throw this.refuse(name, 'repeats an entry');
    return texts;
  }

  /** Texts in the one order that `compare` gives. */
  orderedTexts<T extends string>(
    name: string,
    max: number,
    accepts: (value: unknown) => value is T,
    expected: string,
    compare: (a: T, b: T) => number = byCodeUnit,
  ): readonly T[] {
    const texts = this.texts(name, max, accepts, expected);
    const disorder = texts.findIndex((text, at) => at > 0 && compare(texts[at - 1]!, text) > 0);
    if (disorder !== -1) throw this.refuse(`${name}[${disorder}]`, 'is out of order');
    return texts;
  }

  version(): 1 {
    return this.get('v', (value): value is 1 => value === 1, '1, the only version known here');
  }

  signature(): string {
    return this.get('signature', isSignatureText, '64 bytes in base64url');
  }
}

/** Order of RFC 8785 members, of JavaScript's `sort`, and of every list here. */
export function byCodeUnit(a: string, b: string): number {
  return a < b ? -1 : a > b ? 1 : 0;
}

/** Base64url without padding, in its one spelling. */
function isBase64url(value: unknown, bytes: number): value is string {
  if (typeof value !== 'string' || value.length !== Math.ceil((bytes * 4) / 3)) return false;
  const decoded = Buffer.from(value, 'base64url');
  return decoded.length === bytes && decoded.toString('base64url') === value;
}

export function isPublicKeyText(value: unknown): value is string {
  return isBase64url(value, PUBLIC_KEY_BYTES);
}

export function isSignatureText(value: unknown): value is string {
  return isBase64url(value, SIGNATURE_BYTES);
}

/** An instant as {@link formatInstant} writes it, the one spelling in what is signed here; text order is time order. */
export function isUtcText(value: unknown): value is string {
  if (typeof value !== 'string' || !UTC.test(value)) return false;
  try {
    return formatInstant(parseInstant(value, '')) === value;
  } catch {
    return false;
  }
}

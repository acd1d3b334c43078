import { ownCopy, sha256 } from '../facts/index.ts';

/** A number mod 2^256 as eight 32-bit words, the most significant first. */
export type Sum = Uint32Array;

export const SUM_WORDS = 8;
export const FINGERPRINT_BYTES = 16;
export const TAG_BYTES = 8;
export const NONCE_BYTES = 16;

const FINGERPRINT_DOMAIN = 'stigmesh-sync-fingerprint-v1\0';
const ROOT_DOMAIN = 'stigmesh-sync-root-v1\0';
const TAG_DOMAIN = 'stigmesh-sync-tag-v1\0';

export function emptySum(): Sum {
  return new Uint32Array(SUM_WORDS);
}

const normalized = emptySum();

/** Carries lanes of whole numbers (negative ones, too) over into a number mod 2^256; valid until the next call. */
export function normalizeSum(lanes: Float64Array): Sum {
  let carry = 0;
  for (let word = SUM_WORDS - 1; word >= 0; word--) {
    const value = lanes[word]! + carry;
    carry = Math.floor(value / 2 ** 32);
    normalized[word] = value - carry * 2 ** 32;
  }
  return normalized;
}

/** Turns count and sum of a range into its fingerprint (spec/reconciliation.md, section 3). */
export class Fingerprinter {
  readonly #input: Buffer;
  readonly #at: number;

  constructor(head: Uint8Array) {
    const start = Buffer.concat([Buffer.from(FINGERPRINT_DOMAIN), head]);
    this.#at = start.length;
    this.#input = ownCopy(Buffer.concat([start, Buffer.alloc(8 + 4 * SUM_WORDS)]));
  }

  of(count: number, sum: Sum): Uint8Array {
    this.#input.writeUInt32BE(Math.floor(count / 2 ** 32), this.#at);
    this.#input.writeUInt32BE(count >>> 0, this.#at + 4);
    for (let word = 0; word < SUM_WORDS; word++) this.#input.writeUInt32BE(sum[word]!, this.#at + 8 + word * 4);
    return sha256(this.#input).subarray(0, FINGERPRINT_BYTES);
  }
}

/** Who computes a root, and for what; so that none can be handed back as one's own. */
export type RootRole = 'hello' | 'proof' | 'initiator' | 'responder';

/** What a root covers. */
export interface RootEntry {
  /** The set's name, length before it ({@link named}). */
  readonly head: Uint8Array;
  readonly count: number;
  fingerprint(): Uint8Array;
}

/** The part of a root that depends on the sets: all that have items, in the order of the bytes of their names. */
export function rootBody(sets: Iterable<RootEntry>): Buffer {
  const parts: Uint8Array[] = [];
  for (const set of sets) if (set.count > 0) parts.push(set.head, set.fingerprint());
  return Buffer.concat(parts);
}

/** One fingerprint over several sets, bound to this session and to who says it: 16 bytes. */
export function rootFingerprint(role: RootRole, nonces: readonly Uint8Array[], body: Uint8Array): Uint8Array {
  const head = Buffer.from(`${ROOT_DOMAIN}${role}\0`);
  return sha256(Buffer.concat([head, ...nonces, body])).subarray(0, FINGERPRINT_BYTES);
}

/** What stands for a set's name in one session, in hex: who does not know the name learns nothing from it. */
export function setTag(nonces: readonly Uint8Array[], name: string): string {
  const digest = sha256(Buffer.concat([Buffer.from(TAG_DOMAIN), ...nonces, Buffer.from(name)]));
  return Buffer.from(digest.buffer, digest.byteOffset, TAG_BYTES).toString('hex');
}

/** Before the bytes of a name that is hashed. */
export const NAME_LENGTH_BYTES = 2;

/** A name as it is hashed: its length in UTF-8 bytes as 16-bit big-endian, then the bytes. */
export function named(name: string): Buffer {
  const bytes = Buffer.from(name);
  const length = Buffer.alloc(NAME_LENGTH_BYTES);
  length.writeUInt16BE(bytes.length);
  return Buffer.concat([length, bytes]);
}

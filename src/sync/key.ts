import { hlcFromBytes, hlcToBytes } from '../facts/hlc.ts';
import type { Digest, Hlc } from '../facts/index.ts';

/**
 * Place of an item in the order of a set: 40 bytes, its clock reading as 64-bit big-endian (spec/statements.md, section
 * 3), then its digest. Held as ten 32-bit words, the most significant first, which compare and add up fast.
 */
export type Key = Uint32Array;

export const KEY_WORDS = 10;
export const DIGEST_BYTES = 32;

/** The smallest key; every range of a whole set begins here. */
export const FIRST_KEY: Key = new Uint32Array(KEY_WORDS);

/** Above every item: no reading of a clock has this value. */
export const END_KEY: Key = Uint32Array.of(0xffffffff, 0xffffffff, 0, 0, 0, 0, 0, 0, 0, 0);

const scratch = new Uint8Array(8);
const scratchView = new DataView(scratch.buffer);

export function keyOf(hlc: Hlc, digest: Digest): Key {
  const key = new Uint32Array(KEY_WORDS);
  hlcToBytes(hlc, scratch, 0);
  key[0] = scratchView.getUint32(0);
  key[1] = scratchView.getUint32(4);
  digestToWords(digest, 0, key, 2);
  return key;
}

export function hlcOfKey(key: Key, offset = 0): Hlc {
  scratchView.setUint32(0, key[offset]!);
  scratchView.setUint32(4, key[offset + 1]!);
  return hlcFromBytes(scratch, 0);
}

/** Bytes of the digest, freshly allocated. */
export function digestOfKey(key: Key): Uint8Array {
  const digest = new Uint8Array(DIGEST_BYTES);
  wordsToDigest(key, 2, digest, 0);
  return digest;
}

export function digestToWords(from: Uint8Array, at: number, into: Uint32Array, offset: number): void {
  for (let word = 0; word < 8; word++) {
    const byte = at + word * 4;
    into[offset + word] =
      ((from[byte]! << 24) | (from[byte + 1]! << 16) | (from[byte + 2]! << 8) | from[byte + 3]!) >>> 0;
  }
}

export function wordsToDigest(from: Uint32Array, offset: number, into: Uint8Array, at: number): void {
  for (let word = 0; word < 8; word++) {
    const value = from[offset + word]!;
    const byte = at + word * 4;
    into[byte] = value >>> 24;
    into[byte + 1] = value >>> 16;
    into[byte + 2] = value >>> 8;
    into[byte + 3] = value;
  }
}

/** Order of two keys inside larger arrays: negative, 0 or positive. */
export function compareAt(a: Uint32Array, atA: number, b: Uint32Array, atB: number): number {
  for (let word = 0; word < KEY_WORDS; word++) {
    const difference = a[atA + word]! - b[atB + word]!;
    if (difference !== 0) return difference;
  }
  return 0;
}

export function compareKeys(a: Key, b: Key): number {
  return compareAt(a, 0, b, 0);
}

/**
 * The shortest bound that separates neighbours: above `before`, not above `item`. Where their readings differ it has no
 * digest, otherwise only as many leading bytes of the item's digest as are needed.
 */
export function separator(before: Key, item: Key): Key {
  const bound = new Uint32Array(KEY_WORDS);
  for (let word = 0; word < KEY_WORDS; word++) {
    const value = item[word]!;
    bound[word] = value;
    if (value === before[word]) continue;
    if (word < 2) {
      bound[1] = item[1]!;
    } else {
      const equalBits = Math.clz32(value ^ before[word]!);
      const kept = (equalBits >>> 3) + 1;
      if (kept < 4) bound[word] = (value & ~(0xffffffff >>> (kept * 8))) >>> 0;
    }
    return bound;
  }
  return bound;
}

/** The first key of the next reading: above every item with the reading of `key`. */
export function afterReading(key: Key): Key {
  const bound = new Uint32Array(KEY_WORDS);
  const low = key[1]! + 1;
  bound[0] = low > 0xffffffff ? key[0]! + 1 : key[0]!;
  bound[1] = low;
  return bound;
}

/** The first key of the reading of `key`. */
export function startOfReading(key: Key): Key {
  const bound = new Uint32Array(KEY_WORDS);
  bound[0] = key[0]!;
  bound[1] = key[1]!;
  return bound;
}

import { SyncViolation } from './errors.ts';
import { DIGEST_BYTES, digestToWords, END_KEY, KEY_WORDS, type Key, wordsToDigest } from './key.ts';

const MAX_VARINT_BYTES = 10;

/** Builds one frame. Whoever writes checks `length` against the limit before adding what might not fit. */
export class Writer {
  #bytes: Uint8Array;
  #length = 0;

  constructor(capacity = 256) {
    this.#bytes = new Uint8Array(capacity);
  }

  get length(): number {
    return this.#length;
  }

  byte(value: number): this {
    this.#reserve(1);
    this.#bytes[this.#length++] = value;
    return this;
  }

  bytes(value: Uint8Array): this {
    this.#reserve(value.length);
    this.#bytes.set(value, this.#length);
    this.#length += value.length;
    return this;
  }

  /** Unsigned LEB128 of a whole number below 2^53. */
  varint(value: number): this {
    return this.varint64(Math.floor(value / 2 ** 32), value >>> 0);
  }

  /** Unsigned LEB128 of a 64-bit number in two words. */
  varint64(high: number, low: number): this {
    this.#reserve(MAX_VARINT_BYTES);
    let h = high >>> 0;
    let l = low >>> 0;
    while (h !== 0 || l > 0x7f) {
      this.#bytes[this.#length++] = (l & 0x7f) | 0x80;
      l = ((l >>> 7) | (h << 25)) >>> 0;
      h >>>= 7;
    }
    this.#bytes[this.#length++] = l;
    return this;
  }

  /** How far the reading of `key` lies below that of `above`. */
  readingBelow(above: Key, key: Key): this {
    const borrow = above[1]! < key[1]! ? 1 : 0;
    return this.varint64(above[0]! - key[0]! - borrow, above[1]! - key[1]!);
  }

  digest(key: Key): this {
    this.#reserve(DIGEST_BYTES);
    wordsToDigest(key, 2, this.#bytes, this.#length);
    this.#length += DIGEST_BYTES;
    return this;
  }

  /** The first `count` bytes of a key's digest. */
  digestPrefix(key: Key, count: number): this {
    for (let at = 0; at < count; at++) this.byte((key[2 + (at >>> 2)]! >>> (24 - (at & 3) * 8)) & 0xff);
    return this;
  }

  /** What was written, as a view. */
  take(): Uint8Array {
    return this.#bytes.subarray(0, this.#length);
  }

  #reserve(more: number): void {
    if (this.#length + more <= this.#bytes.length) return;
    const grown = new Uint8Array(Math.max(this.#bytes.length * 2, this.#length + more));
    grown.set(this.#bytes.subarray(0, this.#length));
    this.#bytes = grown;
  }
}

/** Digest bytes of a bound that are not zero at its end. */
export function prefixLength(bound: Key): number {
  for (let word = KEY_WORDS - 1; word >= 2; word--) {
    const value = bound[word]!;
    if (value === 0) continue;
    const zeroBytes = (31 - Math.clz32(value & -value)) >>> 3;
    return (word - 1) * 4 - zeroBytes;
  }
  return 0;
}

/**
 * Reads one frame strictly: every length is checked against what is left before anything is allocated, and every number
 * has one spelling.
 *
 * @throws SyncViolation `frame_malformed`, from every method
 */
export class Reader {
  readonly #bytes: Uint8Array;
  #at = 0;

  constructor(bytes: Uint8Array) {
    this.#bytes = bytes;
  }

  get left(): number {
    return this.#bytes.length - this.#at;
  }

  byte(): number {
    this.#need(1);
    return this.#bytes[this.#at++]!;
  }

  /** A copy of the next bytes: a frame's buffer is not kept alive by what is kept of it. */
  bytes(count: number): Uint8Array {
    this.#need(count);
    this.#at += count;
    return this.#bytes.slice(this.#at - count, this.#at);
  }

  /** A view of the next bytes. */
  view(count: number): Uint8Array {
    this.#need(count);
    this.#at += count;
    return this.#bytes.subarray(this.#at - count, this.#at);
  }

  /** A whole number of at most `most`. */
  varint(most: number): number {
    const [high, low] = this.varint64();
    const value = high * 2 ** 32 + low;
    if (high >= 2 ** 21 || value > most) throw malformed(`number above ${most}`);
    return value;
  }

  varint64(): [high: number, low: number] {
    let high = 0;
    let low = 0;
    for (let shift = 0; shift < 64; shift += 7) {
      const byte = this.byte();
      const bits = byte & 0x7f;
      if (shift < 28) low |= bits << shift;
      else if (shift === 28) {
        low |= bits << 28;
        high = bits >>> 4;
      } else {
        if (shift === 63 && bits > 1) throw malformed('number above 64 bits');
        high |= bits << (shift - 32);
      }
      if ((byte & 0x80) === 0) {
        if (byte === 0 && shift > 0) throw malformed('number with a needless byte');
        return [high >>> 0, low >>> 0];
      }
    }
    throw malformed('number above 64 bits');
  }

  /** A key whose reading lies so far below that of `above`; its digest is still zero. */
  readingBelow(above: Key): Key {
    const [high, low] = this.varint64();
    const borrow = above[1]! < low ? 1 : 0;
    if (high > above[0]! || (high === above[0]! && borrow === 1)) throw malformed('clock reading below zero');
    const key = new Uint32Array(KEY_WORDS);
    key[0] = above[0]! - high - borrow;
    key[1] = above[1]! - low;
    return key;
  }

  digest(into: Key): Key {
    this.#need(DIGEST_BYTES);
    digestToWords(this.#bytes, this.#at, into, 2);
    this.#at += DIGEST_BYTES;
    return into;
  }

  digestPrefix(into: Key, count: number): Key {
    for (let at = 0; at < count; at++) {
      const byte = this.byte();
      if (at === count - 1 && byte === 0) throw malformed('bound with a needless byte');
      into[2 + (at >>> 2)]! |= byte << (24 - (at & 3) * 8);
    }
    return into;
  }

  /** @throws SyncViolation when anything is left */
  end(): void {
    if (this.left > 0) throw malformed(`${this.left} bytes behind the end`);
  }

  #need(count: number): void {
    if (count > this.left) throw malformed(`${count} bytes announced, ${this.left} left`);
  }
}

/** A bound: its mark's high bits say how many digest bytes follow the reading. */
export function writeBound(writer: Writer, mark: number, above: Key, bound: Key): void {
  const prefix = prefixLength(bound);
  writer
    .byte((prefix << 2) | mark)
    .readingBelow(above, bound)
    .digestPrefix(bound, prefix);
}

export function readBound(reader: Reader, above: Key): { mark: number; bound: Key } {
  const head = reader.byte();
  if (head >>> 2 > DIGEST_BYTES) throw malformed('bound with more bytes than a digest');
  const bound = reader.digestPrefix(reader.readingBelow(above), head >>> 2);
  return { mark: head & 3, bound };
}

/** The bound from which the first one of a section counts. */
export const TOP: Key = END_KEY;

export function malformed(what: string): SyncViolation {
  return new SyncViolation('frame_malformed', what);
}

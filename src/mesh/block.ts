import { MAX_STATEMENT_BYTES } from '../facts/limits.ts';
import type { WireStatement } from '../node/federation.ts';
import { BLOCK_BYTES, MAX_BLOCK_STATEMENTS } from './data-limits.ts';
import { malformedFrame } from './errors.ts';

/**
 * Statements as they travel (protocols/push): their number, then of each its length, its bytes and its signature. Numbers
 * are unsigned LEB128 in their shortest form, so that equal statements in equal order are equal blocks.
 */

export const SIGNATURE_BYTES = 64;
/** Longest number: below 2^28, far above every bound here. */
const MAX_VARINT_BYTES = 4;

export function varintSize(n: number): number {
  if (n < 0x80) return 1;
  if (n < 0x4000) return 2;
  return n < 0x20_0000 ? 3 : 4;
}

/** Writes a number below 2^28 and returns where it ends. */
export function writeVarint(into: Uint8Array, offset: number, n: number): number {
  let at = offset;
  let rest = n;
  while (rest >= 0x80) {
    into[at++] = (rest & 0x7f) | 0x80;
    rest >>>= 7;
  }
  into[at++] = rest;
  return at;
}

/**
 * Reads a number of at most four bytes in its shortest form.
 *
 * @returns the number and where it ends
 * @throws MeshError `malformed_frame`
 */
export function readVarint(from: Uint8Array, offset: number): { readonly value: number; readonly end: number } {
  let value = 0;
  for (let length = 0; length < MAX_VARINT_BYTES; length++) {
    const byte = from[offset + length];
    if (byte === undefined) throw malformedFrame('it ends within a number');
    value |= (byte & 0x7f) << (7 * length);
    if (byte < 0x80) {
      if (byte === 0 && length > 0) throw malformedFrame('a number is not in its shortest form');
      return { value, end: offset + length + 1 };
    }
  }
  throw malformedFrame(`a number has more than ${MAX_VARINT_BYTES} bytes`);
}

/** Bytes that a statement takes in a block. */
export function wireSize({ bytes }: WireStatement): number {
  return varintSize(bytes.length) + bytes.length + SIGNATURE_BYTES;
}

/** A block after `head` bytes that the caller fills in. */
export function encodeBlock(statements: readonly WireStatement[], head = 0): Uint8Array {
  const size = statements.reduce((sum, one) => sum + wireSize(one), head + varintSize(statements.length));
  const block = new Uint8Array(size);
  let at = writeVarint(block, head, statements.length);
  for (const { bytes, sig } of statements) {
    at = writeVarint(block, at, bytes.length);
    block.set(bytes, at);
    block.set(sig, at + bytes.length);
    at += bytes.length + SIGNATURE_BYTES;
  }
  return block;
}

/**
 * The statements of a block, as views of it: nothing is copied, and nothing is allocated on the word of a number that the
 * block does not bear out. What the statements say is not looked at.
 *
 * @throws MeshError `malformed_frame`
 */
export function decodeBlock(block: Uint8Array, offset = 0): WireStatement[] {
  const { value: count, end } = readVarint(block, offset);
  if (count > MAX_BLOCK_STATEMENTS) throw malformedFrame(`${count} statements, the limit is ${MAX_BLOCK_STATEMENTS}`);
  const statements: WireStatement[] = [];
  let at = end;
  for (let i = 0; i < count; i++) {
    const { value: length, end: start } = readVarint(block, at);
    if (length === 0 || length > MAX_STATEMENT_BYTES) throw malformedFrame(`a statement of ${length} bytes`);
    at = start + length + SIGNATURE_BYTES;
    if (at > block.length) throw malformedFrame('it ends within a statement');
    statements.push({ bytes: block.subarray(start, start + length), sig: block.subarray(start + length, at) });
  }
  if (at !== block.length) throw malformedFrame('something follows its last statement');
  return statements;
}

/** Collects statements until a block is full. */
export class BlockBuilder {
  readonly #maxBytes: number;
  #statements: WireStatement[] = [];
  #bytes = 0;

  /** @param maxBytes size at which a block is full; a single statement above it still makes a block of its own */
  constructor(maxBytes = BLOCK_BYTES) {
    this.#maxBytes = maxBytes;
  }

  get size(): number {
    return this.#statements.length;
  }

  /** Bytes of the statements, without the leading number. */
  get bytes(): number {
    return this.#bytes;
  }

  /** Whether another statement fits; the first one always does. */
  fits(statement: WireStatement): boolean {
    if (this.#statements.length === 0) return true;
    const count = this.#statements.length + 1;
    return count <= MAX_BLOCK_STATEMENTS && varintSize(count) + this.#bytes + wireSize(statement) <= this.#maxBytes;
  }

  add(statement: WireStatement): void {
    this.#statements.push(statement);
    this.#bytes += wireSize(statement);
  }

  /** What was collected; the builder is empty then. */
  take(): WireStatement[] {
    const taken = this.#statements;
    this.#statements = [];
    this.#bytes = 0;
    return taken;
  }
}

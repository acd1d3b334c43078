import type { Digest } from '../facts/index.ts';
import type { WireStatement } from '../node/federation.ts';
import { decodeBlock, encodeBlock, readVarint, varintSize, writeVarint } from './block.ts';
import { MAX_HAVE_DIGESTS, PUSH_WINDOW_BLOCKS } from './data-limits.ts';
import { malformedFrame } from './errors.ts';
import { MAX_FRAME_BYTES } from './limits.ts';
import type { Protocol } from './transport.ts';

/** `/stigmesh/push/1.0.0` (protocols/push): what its two sides say to each other. */

export const PUSH: Protocol = {
  id: '/stigmesh/push/1.0.0',
  maxFrame: MAX_FRAME_BYTES,
  // One, and one more while the old one is not known to be dead yet.
  maxInboundStreams: 2,
  // Heads are told four times as often, and answered.
  idleMs: 60_000,
};

export const DIGEST_BYTES = 32;
const HLC_BYTES = 8;
export const FINGERPRINT_BYTES = 16;
const COUNTS_BYTES = 3 * 4;
/** Type, bound, fingerprint, counts. */
const COUNTS_AT = 1 + HLC_BYTES + FINGERPRINT_BYTES;
const HEADS_BYTES = COUNTS_AT + COUNTS_BYTES;
/** Type, result, counts. */
const COMPARED_BYTES = 2 + COUNTS_BYTES;

const TYPE = { block: 0x01, have: 0x02, heads: 0x03, taken: 0x81, compared: 0x82 } as const;

/** Statements of the organisation of whoever says this, of that of whoever hears it, and of all others. */
export type HeadCounts = readonly [own: number, yours: number, others: number];

/** What a node holds of what it shares with a peer, up to a clock reading: enough to see whether both hold the same. */
export interface Heads {
  /** Only statements below this reading count: what is younger may be on its way. 8 bytes, big-endian. */
  readonly below: Uint8Array;
  /** Over all shared sets, 16 bytes. */
  readonly fingerprint: Uint8Array;
  readonly counts: HeadCounts;
}

/** How what the other side holds compares with what is held here; `unknown` while indexes are loaded. */
export const COMPARISONS = ['equal', 'differs', 'unknown'] as const;
export type Comparison = (typeof COMPARISONS)[number];

/** From the side that opened the stream. */
export type PushFrame =
  | { readonly type: 'block'; readonly statements: readonly WireStatement[] }
  /** Statements that can be fetched from here. */
  | { readonly type: 'have'; readonly digests: readonly Digest[] }
  | { readonly type: 'heads'; readonly heads: Heads };

/** From the side that accepted it. */
export type PushAnswer =
  /** So many more blocks were taken; what of them was accepted is durable. */
  | { readonly type: 'taken'; readonly blocks: number }
  /** To the oldest heads that were not answered yet, with what the answering side counts up to the same reading. */
  | { readonly type: 'compared'; readonly result: Comparison; readonly counts: HeadCounts };

export function encodePushBlock(statements: readonly WireStatement[]): Uint8Array {
  const frame = encodeBlock(statements, 1);
  frame[0] = TYPE.block;
  return frame;
}

export function encodeHave(digests: readonly Digest[]): Uint8Array {
  const frame = new Uint8Array(1 + digests.length * DIGEST_BYTES);
  frame[0] = TYPE.have;
  for (const [at, digest] of digests.entries()) frame.set(digest, 1 + at * DIGEST_BYTES);
  return frame;
}

export function encodeHeads({ below, fingerprint, counts }: Heads): Uint8Array {
  const frame = new Uint8Array(HEADS_BYTES);
  frame[0] = TYPE.heads;
  frame.set(below, 1);
  frame.set(fingerprint, 1 + HLC_BYTES);
  writeCounts(frame, COUNTS_AT, counts);
  return frame;
}

/** @throws MeshError `malformed_frame` */
export function decodePushFrame(frame: Uint8Array): PushFrame {
  if (frame[0] === TYPE.block) {
    const statements = decodeBlock(frame, 1);
    if (statements.length === 0) throw malformedFrame('an empty block');
    return { type: 'block', statements };
  }
  if (frame[0] === TYPE.have) {
    const count = (frame.length - 1) / DIGEST_BYTES;
    if (!Number.isInteger(count) || count < 1 || count > MAX_HAVE_DIGESTS) throw malformedFrame('not whole digests');
    const digestAt = (_: unknown, at: number): Digest =>
      frame.slice(1 + at * DIGEST_BYTES, 1 + (at + 1) * DIGEST_BYTES);
    return { type: 'have', digests: Array.from({ length: count }, digestAt) };
  }
  if (frame[0] === TYPE.heads && frame.length === HEADS_BYTES) {
    const heads: Heads = {
      below: frame.slice(1, 1 + HLC_BYTES),
      fingerprint: frame.slice(1 + HLC_BYTES, COUNTS_AT),
      counts: readCounts(frame, COUNTS_AT),
    };
    return { type: 'heads', heads };
  }
  throw malformedFrame('an unknown type or length');
}

export function encodePushAnswer(answer: PushAnswer): Uint8Array {
  if (answer.type === 'compared') {
    const frame = new Uint8Array(COMPARED_BYTES);
    frame.set([TYPE.compared, COMPARISONS.indexOf(answer.result)]);
    writeCounts(frame, 2, answer.counts);
    return frame;
  }
  const frame = new Uint8Array(1 + varintSize(answer.blocks));
  frame[0] = TYPE.taken;
  writeVarint(frame, 1, answer.blocks);
  return frame;
}

/** @throws MeshError `malformed_frame` */
export function decodePushAnswer(frame: Uint8Array): PushAnswer {
  if (frame[0] === TYPE.compared && frame.length === COMPARED_BYTES) {
    const result = COMPARISONS[frame[1]!];
    if (result !== undefined) return { type: 'compared', result, counts: readCounts(frame, 2) };
  }
  if (frame[0] === TYPE.taken) {
    const { value: blocks, end } = readVarint(frame, 1);
    if (end === frame.length && blocks >= 1 && blocks <= PUSH_WINDOW_BLOCKS) return { type: 'taken', blocks };
  }
  throw malformedFrame('an unknown answer');
}

function writeCounts(frame: Uint8Array, offset: number, counts: HeadCounts): void {
  const view = new DataView(frame.buffer, frame.byteOffset, frame.byteLength);
  for (const [at, count] of counts.entries()) view.setUint32(offset + at * 4, count);
}

function readCounts(frame: Uint8Array, offset: number): HeadCounts {
  const view = new DataView(frame.buffer, frame.byteOffset, frame.byteLength);
  return [view.getUint32(offset), view.getUint32(offset + 4), view.getUint32(offset + 8)];
}

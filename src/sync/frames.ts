import { MAX_STATEMENT_BYTES } from '../facts/limits.ts';
import { SyncViolation } from './errors.ts';
import { FINGERPRINT_BYTES, NONCE_BYTES, TAG_BYTES } from './fingerprint.ts';
import { compareKeys, KEY_WORDS, type Key } from './key.ts';
import {
  MAX_FRAME_BYTES,
  MAX_LEAF_IDS,
  MAX_REASON_CHARACTERS,
  MAX_SESSION_SETS,
  MAX_SET_NAME_BYTES,
  MAX_TURN_IDS,
  MAX_TURN_RANGES,
  MAX_VECTOR_SETS,
} from './limits.ts';
import { malformed, Reader, readBound, TOP, Writer } from './wire.ts';

/** First byte of a frame (protocols/sync/README.md has the grammar of each). */
export const FRAME = {
  hello: 0x01,
  welcome: 0x02,
  vector: 0x03,
  ranges: 0x04,
  ask: 0x05,
  names: 0x06,
  want: 0x07,
  block: 0x08,
  turn: 0x09,
  stop: 0x0a,
} as const;

/** What is said of a range: nothing, its fingerprint, or all of its ids. */
export const MODE = { skip: 0, fingerprint: 1, ids: 2 } as const;

export const SIGNATURE_BYTES = 64;

/** A statement as it travels: its canonical bytes and their signature (64 bytes). Received ones are views of a frame. */
export interface SignedBytes {
  readonly bytes: Uint8Array;
  readonly signature: Uint8Array;
}

export interface VectorEntry {
  /** In hex. */
  readonly tag: string;
  readonly count: number;
  readonly fingerprint: Uint8Array;
  /** The reading of the youngest item; digest zero. */
  readonly newest: Key;
}

/** One range of a section: from `lower` up to the lower bound of the range before it. */
export type Range =
  | { readonly mode: 0; readonly lower: Key }
  | { readonly mode: 1; readonly lower: Key; readonly fingerprint: Uint8Array }
  | { readonly mode: 2; readonly lower: Key /** The youngest first. */; readonly ids: readonly Key[] };

/** Ranges of one set, the youngest first, without gaps. */
export interface Section {
  readonly tag: string;
  readonly upper: Key;
  readonly ranges: readonly Range[];
}

export interface Turn {
  /** The sender ends the session; nothing else was in this turn. */
  readonly fin: boolean;
  /** The sender has more to say in its next turn. */
  readonly pending: boolean;
  /** The sender left something out because a limit was reached. */
  readonly truncated: boolean;
  /** The sender's sets changed otherwise than by this session since it began. */
  readonly changed: boolean;
  /** Offered statements that the sender no longer holds, so far. */
  readonly gone: number;
  /** Received statements that the sender did not accept, so far. */
  readonly refused: number;
  /** Fingerprint of all sets both sides know, at the end of this turn. */
  readonly check: Uint8Array;
}

export type Frame =
  | { readonly type: 'hello'; readonly nonce: Uint8Array; readonly root: Uint8Array; readonly accepts: number }
  | {
      readonly type: 'welcome';
      readonly nonce: Uint8Array;
      readonly proof: Uint8Array | null;
      readonly accepts: number;
    }
  | { readonly type: 'vector'; readonly entries: readonly VectorEntry[] }
  | { readonly type: 'ranges'; readonly sections: readonly Section[] }
  | { readonly type: 'ask'; readonly tags: readonly string[] }
  | { readonly type: 'names'; readonly names: readonly string[] }
  | { readonly type: 'want'; readonly ordinals: readonly number[] }
  | { readonly type: 'block'; readonly statements: readonly SignedBytes[] }
  | ({ readonly type: 'turn' } & Turn)
  | { readonly type: 'stop'; readonly reason: string };

const utf8 = new TextDecoder('utf-8', { fatal: true, ignoreBOM: true });

/** Encodes any frame but `ranges` and `block`, which grow piece by piece (writers.ts). */
export function encodeFrame(frame: Exclude<Frame, { type: 'ranges' | 'block' }>): Uint8Array {
  const writer = new Writer();
  writer.byte(FRAME[frame.type]);
  switch (frame.type) {
    case 'hello':
      writer.bytes(frame.nonce).bytes(frame.root).varint(frame.accepts);
      break;
    case 'welcome':
      writer
        .byte(frame.proof ? 1 : 0)
        .bytes(frame.nonce)
        .varint(frame.accepts);
      if (frame.proof) writer.bytes(frame.proof);
      break;
    case 'vector':
      writer.varint(frame.entries.length);
      for (const { tag, count, fingerprint, newest } of frame.entries) {
        writer.bytes(Buffer.from(tag, 'hex')).varint(count).bytes(fingerprint).varint64(newest[0]!, newest[1]!);
      }
      break;
    case 'ask':
      writer.varint(frame.tags.length);
      for (const tag of frame.tags) writer.bytes(Buffer.from(tag, 'hex'));
      break;
    case 'names':
      writer.varint(frame.names.length);
      for (const name of frame.names) {
        const bytes = Buffer.from(name);
        writer.varint(bytes.length).bytes(bytes);
      }
      break;
    case 'want': {
      writer.varint(frame.ordinals.length);
      let next = 0;
      for (const ordinal of frame.ordinals) {
        writer.varint(ordinal - next);
        next = ordinal + 1;
      }
      break;
    }
    case 'turn': {
      const flags = [frame.fin, frame.pending, frame.truncated, frame.changed];
      writer.byte(flags.reduce((bits, flag, bit) => bits | (flag ? 1 << bit : 0), 0));
      writer.varint(frame.gone).varint(frame.refused).bytes(frame.check);
      break;
    }
    case 'stop':
      writer.bytes(Buffer.from(frame.reason, 'latin1'));
      break;
  }
  return writer.take();
}

/**
 * Decodes one frame. Takes time and memory in proportion to its length, which is at most 256 KiB.
 *
 * @throws SyncViolation `frame_too_large`, `frame_malformed`, `frame_unknown`, `ranges_disordered`, `too_many_ranges`
 */
export function decodeFrame(bytes: Uint8Array): Frame {
  if (bytes.length > MAX_FRAME_BYTES) throw new SyncViolation('frame_too_large', `a frame of ${bytes.length} bytes`);
  const reader = new Reader(bytes);
  const frame = decodeBody(reader.byte(), reader);
  reader.end();
  return frame;
}

function decodeBody(type: number, reader: Reader): Frame {
  switch (type) {
    case FRAME.hello:
      return {
        type: 'hello',
        nonce: reader.bytes(NONCE_BYTES),
        root: reader.bytes(FINGERPRINT_BYTES),
        accepts: reader.varint(Number.MAX_SAFE_INTEGER),
      };
    case FRAME.welcome: {
      const equal = flags(reader, 1) === 1;
      const nonce = reader.bytes(NONCE_BYTES);
      const accepts = reader.varint(Number.MAX_SAFE_INTEGER);
      return { type: 'welcome', nonce, accepts, proof: equal ? reader.bytes(FINGERPRINT_BYTES) : null };
    }
    case FRAME.vector:
      return {
        type: 'vector',
        entries: list(reader, MAX_VECTOR_SETS, TAG_BYTES + FINGERPRINT_BYTES + 2, vectorEntry),
      };
    case FRAME.ranges:
      return { type: 'ranges', sections: sections(reader) };
    case FRAME.ask:
      return { type: 'ask', tags: list(reader, MAX_SESSION_SETS, TAG_BYTES, tag) };
    case FRAME.names:
      return { type: 'names', names: list(reader, MAX_SESSION_SETS, 2, name) };
    case FRAME.want: {
      let next = 0;
      const ordinal = (): number => {
        const at = next + reader.varint(MAX_TURN_IDS);
        next = at + 1;
        return at;
      };
      return { type: 'want', ordinals: list(reader, MAX_TURN_IDS, 1, ordinal) };
    }
    case FRAME.block:
      return { type: 'block', statements: statements(reader) };
    case FRAME.turn: {
      const bits = flags(reader, 15);
      return {
        type: 'turn',
        fin: (bits & 1) !== 0,
        pending: (bits & 2) !== 0,
        truncated: (bits & 4) !== 0,
        changed: (bits & 8) !== 0,
        gone: reader.varint(Number.MAX_SAFE_INTEGER),
        refused: reader.varint(Number.MAX_SAFE_INTEGER),
        check: reader.bytes(FINGERPRINT_BYTES),
      };
    }
    case FRAME.stop: {
      if (reader.left > MAX_REASON_CHARACTERS) throw malformed('reason too long');
      const reason = Buffer.from(reader.bytes(reader.left)).toString('latin1');
      if (!/^[a-z_]+$/.test(reason)) throw malformed('reason is no code');
      return { type: 'stop', reason };
    }
    default:
      throw new SyncViolation('frame_unknown', `a frame of type ${type}`);
  }
}

function flags(reader: Reader, known: number): number {
  const bits = reader.byte();
  if ((bits & ~known) !== 0) throw malformed('unknown flags');
  return bits;
}

/** A list with at least one item; its announced length is checked against the bytes that are there. */
function list<T>(reader: Reader, most: number, leastBytes: number, item: (reader: Reader) => T): T[] {
  const count = reader.varint(most);
  if (count === 0 || count * leastBytes > reader.left) throw malformed(`a list of ${count}`);
  const items: T[] = [];
  for (let i = 0; i < count; i++) items.push(item(reader));
  return items;
}

function tag(reader: Reader): string {
  return Buffer.from(reader.bytes(TAG_BYTES)).toString('hex');
}

function name(reader: Reader): string {
  const length = reader.varint(MAX_SET_NAME_BYTES);
  if (length === 0) throw malformed('an empty name');
  try {
    return utf8.decode(reader.bytes(length));
  } catch (error) {
    if (error instanceof SyncViolation) throw error;
    throw malformed('a name that is not UTF-8');
  }
}

function vectorEntry(reader: Reader): VectorEntry {
  const entry = {
    tag: tag(reader),
    count: reader.varint(Number.MAX_SAFE_INTEGER),
    fingerprint: reader.bytes(FINGERPRINT_BYTES),
  };
  if (entry.count === 0) throw malformed('an empty set in the vector');
  const newest = new Uint32Array(KEY_WORDS);
  newest.set(reader.varint64());
  return { ...entry, newest };
}

function sections(reader: Reader): Section[] {
  let count = 0;
  return list(reader, MAX_TURN_RANGES, TAG_BYTES + 5, () => {
    const of = tag(reader);
    const { mark, bound: upper } = readBound(reader, TOP);
    if (mark !== 0) throw malformed('a mark on an upper bound');
    let above = upper;
    const ranges = list(reader, Number.MAX_SAFE_INTEGER, 2, () => {
      if (++count > MAX_TURN_RANGES) throw new SyncViolation('too_many_ranges', 'ranges in one frame');
      const range = readRange(reader, above);
      above = range.lower;
      return range;
    });
    return { tag: of, upper, ranges };
  });
}

function readRange(reader: Reader, above: Key): Range {
  const { mark, bound: lower } = readBound(reader, above);
  if (compareKeys(lower, above) >= 0) throw new SyncViolation('ranges_disordered', 'a range without extent');
  if (mark === MODE.skip) return { mode: MODE.skip, lower };
  if (mark === MODE.fingerprint) return { mode: MODE.fingerprint, lower, fingerprint: reader.bytes(FINGERPRINT_BYTES) };
  if (mark !== MODE.ids) throw malformed('unknown mode of a range');
  const count = reader.varint(MAX_LEAF_IDS);
  const ids: Key[] = [];
  let previous = above;
  for (let i = 0; i < count; i++) {
    const id = reader.digest(reader.readingBelow(previous));
    if (compareKeys(id, previous) >= 0 || compareKeys(id, lower) < 0) {
      throw new SyncViolation('ranges_disordered', 'an id out of order or outside its range');
    }
    ids.push(id);
    previous = id;
  }
  return { mode: MODE.ids, lower, ids };
}

function statements(reader: Reader): SignedBytes[] {
  const list: SignedBytes[] = [];
  while (list.length === 0 || reader.left > 0) {
    const length = reader.varint(MAX_STATEMENT_BYTES);
    if (length === 0) throw malformed('an empty statement');
    list.push({ bytes: reader.view(length), signature: reader.view(SIGNATURE_BYTES) });
  }
  return list;
}

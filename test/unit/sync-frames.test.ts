import assert from 'node:assert/strict';
import { formatHlc } from '../../src/facts/index.ts';
import { SYNC_REASONS, SyncViolation } from '../../src/sync/errors.ts';
import { decodeFrame, encodeFrame, type Frame, MODE, type Range } from '../../src/sync/frames.ts';
import { compareKeys, digestOfKey, END_KEY, FIRST_KEY, hlcOfKey, type Key, keyOf } from '../../src/sync/key.ts';
import {
  MAX_FRAME_BYTES,
  MAX_LEAF_IDS,
  MAX_REASON_CHARACTERS,
  MAX_SESSION_SETS,
  MAX_SET_NAME_BYTES,
  MAX_TURN_RANGES,
  MAX_VECTOR_SETS,
} from '../../src/sync/limits.ts';
import { prefixLength, Reader, Writer } from '../../src/sync/wire.ts';
import { BlockWriter, RangeWriter } from '../../src/sync/writers.ts';
import { eachVector } from './facts/vectors.ts';

type FrameVector =
  | { kind: 'frame'; bytes: string; frame: unknown }
  | { kind: 'refused'; bytes: string; reason: string };

const hex = (value: Uint8Array): string => Buffer.from(value).toString('hex');

function boundText(key: Key): [string, string] {
  if (compareKeys(key, END_KEY) === 0) return ['end', ''];
  return [hlcOfKey(key), hex(digestOfKey(key)).slice(0, prefixLength(key) * 2)];
}

function rangeText(range: Range): unknown {
  const lower = boundText(range.lower);
  if (range.mode === MODE.skip) return { mode: 'skip', lower };
  if (range.mode === MODE.fingerprint) return { mode: 'fingerprint', lower, fingerprint: hex(range.fingerprint) };
  return { mode: 'ids', lower, ids: range.ids.map((id) => [hlcOfKey(id), hex(digestOfKey(id))]) };
}

/** A frame as the vectors write it. */
function text(frame: Frame): unknown {
  const plain: Record<string, unknown> = { ...frame };
  if (frame.type === 'ranges') {
    plain.sections = frame.sections.map(({ tag, upper, ranges }) => {
      return { tag, upper: boundText(upper), ranges: ranges.map(rangeText) };
    });
  } else if (frame.type === 'vector') {
    plain.entries = frame.entries.map(({ tag, count, fingerprint, newest }) => {
      return { tag, count, fingerprint: hex(fingerprint), newest: hlcOfKey(newest) };
    });
  } else if (frame.type === 'block') {
    plain.statements = frame.statements.map((one) => ({ bytes: hex(one.bytes), signature: hex(one.signature) }));
  }
  for (const [name, value] of Object.entries(plain)) if (value instanceof Uint8Array) plain[name] = hex(value);
  return plain;
}

/** The bytes a frame is written as. */
function encoded(frame: Frame): Uint8Array {
  if (frame.type === 'block') {
    const writer = new BlockWriter();
    for (const statement of frame.statements) assert.equal(writer.add(statement), undefined);
    return writer.take()!;
  }
  if (frame.type !== 'ranges') return encodeFrame(frame);
  const writer = new RangeWriter();
  for (const { tag, upper, ranges } of frame.sections) {
    let above = upper;
    for (const range of ranges) {
      writer.add(tag, above, range);
      above = range.lower;
    }
  }
  const frames = writer.take();
  assert.equal(frames.length, 1);
  return frames[0]!;
}

function assertRefused(bytes: Uint8Array, reason: string): void {
  assert.throws(
    () => decodeFrame(bytes),
    (error: unknown) => {
      assert.ok(error instanceof SyncViolation, String(error));
      assert.equal(error.reason, reason, error.message);
      return true;
    },
  );
}

describe('sync: frames', () => {
  eachVector<FrameVector>('sync-frame', (vector) => {
    const bytes = Buffer.from(vector.bytes, 'hex');
    if (vector.kind === 'refused') {
      assertRefused(bytes, vector.reason);
      return;
    }
    const frame = decodeFrame(bytes);
    assert.deepEqual(text(frame), vector.frame);
    assert.equal(hex(encoded(frame)), vector.bytes);
  });

  it('fault 24: a frame that ends early or announces more than it holds is refused at every length', () => {
    const bytes = encodeFrame({ type: 'names', names: ['public/acme.example/memory', 'team/acme.example/x'] });
    for (let length = 0; length < bytes.length; length++) assertRefused(bytes.subarray(0, length), 'frame_malformed');
  });

  it('are refused above 256 KiB before they are looked at', () => {
    assertRefused(new Uint8Array(MAX_FRAME_BYTES + 1).fill(0xff), 'frame_too_large');
  });

  it('hold statements up to 256 KiB, and always one', () => {
    const writer = new BlockWriter();
    const statement = { bytes: new Uint8Array(128 * 1024).fill(1), signature: new Uint8Array(64) };
    assert.equal(writer.add(statement), undefined);
    const full = writer.add(statement)!;
    assert.ok(full.length <= MAX_FRAME_BYTES);
    assert.deepEqual(
      [decodeFrame(full), decodeFrame(writer.take()!)].map(
        (frame) => frame.type === 'block' && frame.statements.length,
      ),
      [1, 1],
    );
    assert.equal(writer.take(), undefined);
  });

  it('of ranges end before 256 KiB and go on in the next one', () => {
    const writer = new RangeWriter();
    const fingerprint = new Uint8Array(16).fill(7);
    const lower = (n: number): Key =>
      keyOf(formatHlc(1_790_000_000_000 - n * 1_000_000_000, 0), new Uint8Array(32).fill(255));
    let upper: Key = END_KEY;
    for (let n = 0; n < 8000; n++) {
      writer.add('00'.repeat(8), upper, { mode: MODE.fingerprint, lower: lower(n % 1700), fingerprint });
      upper = n % 1700 === 1699 ? END_KEY : lower(n % 1700);
    }
    const frames = writer.take();
    assert.ok(frames.length >= 2 && frames.every((frame) => frame.length <= MAX_FRAME_BYTES));
    const counts = frames.map((frame) => {
      const decoded = decodeFrame(frame);
      assert.ok(decoded.type === 'ranges');
      return decoded.sections.reduce((sum, { ranges }) => sum + ranges.length, 0);
    });
    assert.equal(
      counts.reduce((sum, count) => sum + count, 0),
      8000,
    );
    assert.deepEqual(writer.take(), []);
  });

  it('hold at most so many ranges', () => {
    const frame = new Writer()
      .byte(4)
      .varint(1)
      .bytes(new Uint8Array(8))
      .byte(0)
      .varint(0)
      .varint(MAX_TURN_RANGES + 1);
    for (let n = 0; n <= MAX_TURN_RANGES; n++) frame.byte(0).varint(1024);
    assertRefused(frame.take(), 'too_many_ranges');
  });

  it('have limits that the vectors reach', () => {
    assert.equal(MAX_LEAF_IDS, 32, 'ids-many has 33');
    assert.equal(MAX_SET_NAME_BYTES, 2600, 'name-long has 2601');
    assert.equal(MAX_REASON_CHARACTERS, 40, 'reason-long has 41');
    assert.ok(Object.keys(SYNC_REASONS).every((reason) => reason.length <= MAX_REASON_CHARACTERS));
    const tags = Array.from({ length: MAX_SESSION_SETS + 1 }, () => 'ab'.repeat(8));
    assertRefused(encodeFrame({ type: 'ask', tags }), 'frame_malformed');
    const entry = { tag: 'ab'.repeat(8), count: 1, fingerprint: Buffer.alloc(16), newest: new Uint32Array(10) };
    const entries = Array.from({ length: MAX_VECTOR_SETS + 1 }, () => entry);
    assertRefused(encodeFrame({ type: 'vector', entries }), 'frame_malformed');
  });

  it('write 64-bit numbers in one way', () => {
    for (const [high, low] of [
      [0, 0],
      [0, 127],
      [0, 128],
      [0, 2 ** 32 - 1],
      [1, 0],
      [2 ** 21 - 1, 2 ** 32 - 1],
      [2 ** 32 - 1, 2 ** 32 - 1],
    ] as const) {
      const bytes = new Writer().varint64(high, low).take();
      const big = (BigInt(high) << 32n) | BigInt(low);
      assert.equal(bytes.length, Math.max(1, Math.ceil(big.toString(2).length / 7)));
      assert.deepEqual(new Reader(bytes).varint64(), [high, low]);
    }
    assert.equal(
      compareKeys(new Reader(new Writer().readingBelow(END_KEY, FIRST_KEY).take()).readingBelow(END_KEY), FIRST_KEY),
      0,
    );
  });
});

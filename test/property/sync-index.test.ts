import assert from 'node:assert/strict';
import { createHash } from 'node:crypto';
import fc from 'fast-check';
import { formatHlc, type Hlc } from '../../src/facts/index.ts';
import { compareKeys, digestOfKey, END_KEY, FIRST_KEY, hlcOfKey, type Key, keyOf } from '../../src/sync/key.ts';
import { BLOCK_ITEMS, GROUP_BLOCKS, LOAD_SLICE } from '../../src/sync/limits.ts';
import { SetIndex } from '../../src/sync/set-index.ts';
import { Random } from '../support/random.ts';
import { syntheticItems } from '../support/sync-pair.ts';
import { check } from './facts/runs.ts';

const SET = 'public/acme.example/memory';

/** The specification in a few lines: a sorted array, summed up anew each time. */
class NaiveIndex {
  keys: Key[] = [];

  insert(key: Key): boolean {
    const at = this.keys.findIndex((one) => compareKeys(one, key) >= 0);
    if (at === -1) this.keys.push(key);
    else if (compareKeys(this.keys[at]!, key) === 0) return false;
    else this.keys.splice(at, 0, key);
    return true;
  }

  remove(key: Key): boolean {
    const at = this.keys.findIndex((one) => compareKeys(one, key) === 0);
    if (at !== -1) this.keys.splice(at, 1);
    return at !== -1;
  }

  range(low: Key, high: Key): Key[] {
    return this.keys.filter((key) => compareKeys(key, low) >= 0 && compareKeys(key, high) < 0);
  }

  fingerprint(low: Key, high: Key): string {
    const keys = this.range(low, high);
    const sum = keys.reduce((total, key) => total + BigInt(`0x${hex(digestOfKey(key))}`), 0n) % 2n ** 256n;
    const name = Buffer.from(SET);
    const numbers = `${name.length.toString(16).padStart(4, '0')}${name.toString('hex')}${keys.length.toString(16).padStart(16, '0')}${sum.toString(16).padStart(64, '0')}`;
    const input = Buffer.concat([Buffer.from('stigmesh-sync-fingerprint-v1\0'), Buffer.from(numbers, 'hex')]);
    return createHash('sha256').update(input).digest('hex').slice(0, 32);
  }
}

function hex(bytes: Uint8Array): string {
  return Buffer.from(bytes).toString('hex');
}

/** Few distinct readings and digests that share bytes, so that neighbours and repetitions are common. */
const item = fc
  .tuple(
    fc.constantFrom(0, 1, 4_194_303, 4_194_304, 1_795_244_001_035, 1_795_244_001_036, 9_999_999_999_999),
    fc.constantFrom(0, 1, 999),
    fc.constantFrom('00', '7f', 'ff'),
    fc.constantFrom('00', '01', 'fe', 'ff'),
    fc.nat({ max: 40 }),
  )
  .map(([wall, counter, first, last, n]): [Hlc, Buffer] => {
    const middle = createHash('sha256').update(String(n)).digest('hex').slice(0, 60);
    return [formatHlc(wall, counter), Buffer.from(`${first}${middle}${last}`, 'hex')];
  });

describe('sync, properties: set index', () => {
  it('equals a sorted array under any inserts and removals', () => {
    const step = fc.tuple(fc.constantFrom('insert', 'insert', 'insert', 'remove'), item);
    check(
      fc.property(fc.array(step, { maxLength: 120 }), fc.array(item, { maxLength: 4 }), (steps, bounds) => {
        const index = new SetIndex(SET);
        const model = new NaiveIndex();
        for (const [what, [hlc, digest]] of steps) {
          const key = keyOf(hlc, digest);
          if (what === 'insert') assert.equal(index.insert(hlc, digest), model.insert(key));
          else assert.equal(index.remove(hlc, digest), model.remove(key));
          assert.equal(index.has(hlc, digest), what === 'insert');
        }
        assertSame(index, model, [FIRST_KEY, END_KEY, ...bounds.map(([hlc, digest]) => keyOf(hlc, digest))]);
      }),
      100,
    );
  });

  it('equals a sorted array across blocks and groups, inserted in any order and mostly removed again', () => {
    const seed = 7;
    const random = new Random(seed);
    const count = BLOCK_ITEMS * (GROUP_BLOCKS + 8);
    const items = [...syntheticItems(count, random, 2)];
    const index = new SetIndex(SET);
    for (const at of shuffled(count, random)) index.insert(...items[at]!);
    const model = new NaiveIndex();
    const bounds = (): Key[] => Array.from({ length: 4 }, () => keyOf(...items[random.below(count)]!));
    model.keys = items.map(([hlc, digest]) => keyOf(hlc, digest)).sort(compareKeys);
    assertSame(index, model, [FIRST_KEY, END_KEY, ...bounds()]);
    assert.ok(index.allocatedBytes < count * 40 * 2, 'blocks are at least half full on average');

    const order = shuffled(count, random);
    const gone = new Set(order.slice(0, count - 300));
    for (const at of gone) assert.equal(index.remove(...items[at]!), true);
    model.keys = items
      .filter((_, at) => !gone.has(at))
      .map(([hlc, digest]) => keyOf(hlc, digest))
      .sort(compareKeys);
    assertSame(index, model, [FIRST_KEY, END_KEY, ...bounds()]);
    assert.ok(index.allocatedBytes < 64 * BLOCK_ITEMS * 40, 'blocks that empty are joined');
    for (const at of order.slice(count - 300)) index.remove(...items[at]!);
    assertSame(index, new NaiveIndex(), [FIRST_KEY, END_KEY]);
    assert.equal(index.allocatedBytes, 0);
  });

  it('loads in slices, between which it can be used', () => {
    const items = [...syntheticItems(LOAD_SLICE * 2 + 5, new Random(3))];
    const index = new SetIndex(SET);
    const slices: number[] = [];
    for (const loaded of index.load(items)) {
      slices.push(loaded, index.count);
      index.insert(...items.at(-1 - slices.length)!);
    }
    assert.deepEqual(slices, [LOAD_SLICE, LOAD_SLICE, LOAD_SLICE * 2, LOAD_SLICE * 2 + 1]);
    assert.equal(index.count, items.length);
    const other = new SetIndex(SET);
    for (const one of items) other.insert(...one);
    assert.deepEqual(index.fingerprint(), other.fingerprint());
  });
});

function assertSame(index: SetIndex, model: NaiveIndex, bounds: readonly Key[]): void {
  assert.equal(index.count, model.keys.length);
  assert.deepEqual([...index.keys()].map(hexKey), model.keys.map(hexKey));
  assert.equal(index.newest(), model.keys.length > 0 ? hlcOfKey(model.keys.at(-1)!) : undefined);
  assert.equal(hex(index.fingerprint()), model.fingerprint(FIRST_KEY, END_KEY));
  for (const low of bounds) {
    assert.equal(index.rank(low), model.range(FIRST_KEY, low).length);
    for (const high of bounds) {
      if (compareKeys(low, high) > 0) continue;
      const range = model.range(low, high);
      assert.equal(index.rangeCount(low, high), range.length);
      assert.equal(hex(index.rangeFingerprint(low, high)), model.fingerprint(low, high));
      assert.deepEqual(index.descending(low, high, 50).map(hexKey), range.toReversed().slice(0, 50).map(hexKey));
    }
  }
  for (const rank of [0, model.keys.length >> 1, model.keys.length - 1]) {
    const expected = model.keys[rank];
    if (expected) assert.equal(hexKey(index.keyAt(rank)), hexKey(expected));
  }
}

function hexKey(key: Key): string {
  return `${hlcOfKey(key)} ${hex(digestOfKey(key))}`;
}

function shuffled(count: number, random: Random): number[] {
  const order = Array.from({ length: count }, (_, at) => at);
  for (let at = count - 1; at > 0; at--) {
    const other = random.below(at + 1);
    [order[at], order[other]] = [order[other]!, order[at]!];
  }
  return order;
}

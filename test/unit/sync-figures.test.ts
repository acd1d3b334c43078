import assert from 'node:assert/strict';
import { formatHlc, hlcWall } from '../../src/facts/index.ts';
import { hlcOfKey } from '../../src/sync/key.ts';
import { MAX_FRAME_BYTES } from '../../src/sync/limits.ts';
import { Random } from '../support/random.ts';
import {
  type FakeStatement,
  fakeStatement,
  type PairOutcome,
  runPair,
  SyncSide,
  syntheticItems,
} from '../support/sync-pair.ts';

const SET = 'public/acme.example/memory';
const ITEMS = 1_000_000;
const PADDING = 500;

/** Figures of mesh.md at a million entries, in round trips and bytes. Time is for the bench (test/bench/sync-engine.ts). */
describe('sync: figures at a million items', () => {
  const [a, b] = [new SyncSide(), new SyncSide()];
  const random = new Random(11);
  let begin = 0;
  let end = 0;
  let serial = 0;

  before(() => {
    const [one, two] = [a.index(SET), b.index(SET)];
    for (const [hlc, digest] of syntheticItems(ITEMS, random)) {
      one.insert(hlc, digest);
      two.insert(hlc, digest);
    }
    begin = hlcWall(hlcOfKey(one.keyAt(0)));
    end = hlcWall(one.newest()!);
  });

  const newest = (count: number, padding = PADDING): FakeStatement[] =>
    Array.from({ length: count }, () => {
      end += 1000;
      return fakeStatement(SET, formatHlc(end, 0), serial++, padding);
    });
  const scattered = (count: number): FakeStatement[] =>
    Array.from({ length: count }, () => {
      return fakeStatement(SET, formatHlc(begin + random.below(end - begin), 0), serial++, PADDING);
    });

  function assertFigures(outcome: PairOutcome, roundTrips: number, overhead: number): void {
    assert.deepEqual([outcome.initiator.outcome, outcome.responder.outcome], ['converged', 'converged']);
    assert.ok(outcome.roundTrips <= roundTrips, `${outcome.roundTrips} round trips`);
    assert.ok(outcome.overhead <= overhead, `${outcome.overhead} bytes beside the statements`);
    assert.deepEqual(a.index(SET).fingerprint(), b.index(SET).fingerprint());
  }

  it('an index takes at most 60 MB', () => {
    assert.ok(a.index(SET).allocatedBytes <= 45_000_000);
  });

  it('equal sets: one round trip, less than 1 kB', () => assertFigures(runPair(a, b), 1, 1000));

  for (const [who, count, roundTrips, overhead] of [
    ['the responder', 100, 3, 2000],
    ['the initiator', 100, 2, 2000],
    ['the responder', 10_000, 4, 40_000],
    ['the initiator', 10_000, 3, 40_000],
  ] as const) {
    it(`${count} newest that only ${who} has: ${roundTrips} round trips, ${overhead} bytes beside them`, () => {
      (who === 'the initiator' ? a : b).add(...newest(count));
      assertFigures(runPair(a, b), roundTrips, overhead);
    });
  }

  it('100 newest on either side, of the same time: 4 round trips, 10 kB', () => {
    for (const one of newest(200)) (random.below(2) === 0 ? a : b).add(one);
    assertFigures(runPair(a, b), 4, 10_000);
  });

  it('100 scattered, on one side or both: 5 round trips, 150 kB', () => {
    b.add(...scattered(100));
    assertFigures(runPair(a, b), 5, 150_000);
    a.add(...scattered(100));
    assertFigures(runPair(a, b), 5, 150_000);
    for (const one of scattered(100)) (random.below(2) === 0 ? a : b).add(one);
    assertFigures(runPair(a, b), 5, 150_000);
  });

  it('a side that is new is filled in sessions of 64 MiB, by statements alone, the youngest first', () => {
    const [full, empty] = [new SyncSide(), new SyncSide()];
    full.add(...newest(200), ...newest(700, 100_000));
    empty.index(SET);
    const frames: number[] = [];
    const first = runPair(empty, full, {
      onFrame: (frame) => {
        frames.push(frame.length);
        return frame;
      },
    });
    assert.deepEqual([first.initiator.outcome, first.initiator.reason], ['progress', 'truncated']);
    assert.ok(Math.max(...frames) <= MAX_FRAME_BYTES);
    assert.ok(first.overhead < 10_000, `${first.overhead} bytes beside the statements`);
    assert.equal(empty.index(SET).newest(), full.index(SET).newest());
    const second = runPair(empty, full);
    assert.equal(second.initiator.outcome, 'converged');
    assert.equal(second.initiator.counters.known, 0);
    assert.ok(second.overhead < 10_000);
  });
});

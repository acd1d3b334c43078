import assert from 'node:assert/strict';
import fc from 'fast-check';
import { formatHlc } from '../../src/facts/index.ts';
import { DEFAULT_BUDGET } from '../../src/sync/index.ts';
import { type FakeStatement, fakeStatement, type PairOutcome, runPair, SyncSide } from '../support/sync-pair.ts';
import { check } from './facts/runs.ts';

/** Statements in some places of some sets, as numbers; which side has them; and how crowded the readings are. */
interface Shape {
  readonly sets: number;
  readonly readings: number;
  readonly common: readonly number[];
  readonly first: readonly number[];
  readonly second: readonly number[];
}

const places = (max: number, maxLength: number): fc.Arbitrary<number[]> =>
  fc.oneof(
    fc.uniqueArray(fc.nat({ max }), { maxLength }),
    fc.tuple(fc.nat({ max }), fc.nat({ max: maxLength })).map(([from, length]) => run(from, length, 1)),
    fc.tuple(fc.nat({ max: 7 }), fc.nat({ max: maxLength })).map(([from, length]) => run(from, length, 7)),
  );

const shape: fc.Arbitrary<Shape> = fc.record({
  sets: fc.constantFrom(1, 1, 2, 5),
  readings: fc.constantFrom(1, 3, 40, 100_000),
  common: places(2000, 900),
  first: places(2000, 300),
  second: places(2000, 300),
});

function run(from: number, length: number, step: number): number[] {
  return Array.from({ length }, (_, n) => from + n * step);
}

function statementAt(place: number, { sets, readings }: Shape): FakeStatement {
  const set = `public/acme.example/n${place % sets}`;
  return fakeStatement(set, formatHlc(1_795_244_001_000 + Math.floor((place * readings) / 3000), place % 3), place);
}

function sides(shape: Shape): [SyncSide, SyncSide] {
  const make = (own: readonly number[]): SyncSide => {
    const side = new SyncSide();
    side.add(...[...shape.common, ...own].map((place) => statementAt(place, shape)));
    return side;
  };
  return [make(shape.first), make(shape.second)];
}

function everything(...all: readonly SyncSide[]): string[] {
  return [...new Set(all.flatMap((side) => [...side.statements.keys()]))].sort();
}

function assertEqualTo(union: readonly string[], ...all: readonly SyncSide[]): void {
  for (const side of all) assert.deepEqual(everything(side), union);
  for (const [name, index] of all[0]!.indexes) {
    assert.deepEqual(index.fingerprint(), all[1]!.index(name).fingerprint());
  }
}

function assertConverged({ initiator, responder }: PairOutcome): void {
  assert.equal(initiator.outcome, 'converged', initiator.reason);
  assert.equal(responder.outcome, 'converged', responder.reason);
}

describe('sync, properties: sessions', () => {
  it('bring any two families of sets to their union, sending nothing twice', () => {
    check(
      fc.property(shape, (shape) => {
        const [a, b] = sides(shape);
        const union = everything(a, b);
        const lacking = [a, b].map((side) => union.length - side.statements.size) as [number, number];
        const outcome = runPair(a, b);
        assertConverged(outcome);
        assertEqualTo(union, a, b);
        const { initiator, responder } = outcome;
        assert.deepEqual([initiator.counters.accepted, responder.counters.accepted], lacking);
        assert.equal(initiator.counters.known + responder.counters.known, 0, 'nothing came twice');
        assert.ok(outcome.roundTrips <= 8, `${outcome.roundTrips} round trips`);
        const differing = lacking[0] + lacking[1];
        // A difference costs at most one path of sixteen fingerprints a level, and one leaf of ids.
        assert.ok(outcome.overhead <= 400 + shape.sets * 700 + differing * 2200, `${outcome.overhead} bytes`);
      }),
      80,
    );
  });

  it('are one round trip of less than a kilobyte when nothing differs', () => {
    check(
      fc.property(shape, (shape) => {
        const [a, b] = sides({ ...shape, first: [], second: [] });
        const outcome = runPair(a, b);
        assertConverged(outcome);
        assert.equal(outcome.roundTrips, 1);
        assert.ok(outcome.bytes < 1000);
      }),
      40,
    );
  });

  it('fault 19: that break anywhere lose nothing and send little twice; later ones finish', () => {
    check(
      fc.property(shape, fc.infiniteStream(fc.integer({ min: 1, max: 12 })), (shape, breaks) => {
        const [a, b] = sides(shape);
        const union = everything(a, b);
        for (let sessions = 0; sessions < 4; sessions++) {
          let left = breaks.next().value!;
          const { initiator, responder } = runPair(a, b, { onFrame: (frame) => (left-- > 0 ? frame : undefined) });
          for (const { outcome, reason } of [initiator, responder]) {
            assert.ok(outcome === 'converged' || reason === 'disconnected', reason);
          }
        }
        assertConverged(runPair(b, a));
        assertEqualTo(union, a, b);
      }),
      40,
    );
  });

  it('of little budget make progress each, the youngest first, until all is equal', () => {
    check(
      fc.property(shape, (shape) => {
        const [a, b] = sides({ ...shape, sets: 1 });
        const union = everything(a, b);
        const budget = { statementBytesIn: 20_000, statementBytesOut: 20_000 };
        for (let sessions = 0; ; sessions++) {
          assert.ok(sessions < 40, 'too many sessions');
          const { initiator, responder } = runPair(a, b, { initiator: { budget }, responder: { budget } });
          if (initiator.outcome === 'converged') break;
          assert.deepEqual([initiator.outcome, initiator.reason], ['progress', 'truncated']);
          assert.deepEqual([responder.outcome, responder.reason], ['progress', 'truncated']);
          assert.ok(initiator.counters.accepted + responder.counters.accepted > 0);
        }
        assertEqualTo(union, a, b);
      }),
      40,
    );
  });

  it('stay right when both sides write meanwhile: what is missed, the next one brings', () => {
    check(
      fc.property(shape, fc.infiniteStream(fc.tuple(fc.boolean(), fc.nat({ max: 2100 }))), (shape, writes) => {
        const [a, b] = sides(shape);
        let count = 0;
        const { initiator, responder } = runPair(a, b, {
          meanwhile: (actions) => {
            if (actions % 3 !== 0 || count++ > 50) return;
            const [isFirst, place] = writes.next().value!;
            (isFirst ? a : b).add(statementAt(place + 5000, shape));
          },
        });
        for (const { outcome, reason } of [initiator, responder]) {
          assert.ok(outcome === 'converged' || (outcome === 'progress' && reason === 'changed'), reason);
        }
        const union = everything(a, b);
        assertConverged(runPair(a, b));
        assertEqualTo(union, a, b);
      }),
      40,
    );
  });

  it('of any budget end with a reason', () => {
    const budget = fc.record(
      {
        rounds: fc.integer({ min: 1, max: 6 }),
        frames: fc.integer({ min: 1, max: 20 }),
        bytes: fc.integer({ min: 100, max: 20_000 }),
        ids: fc.integer({ min: 0, max: 200 }),
        work: fc.integer({ min: 1, max: 2000 }),
      },
      { requiredKeys: [] },
    );
    check(
      fc.property(shape, budget, budget, (shape, first, second) => {
        const [a, b] = sides(shape);
        const union = everything(a, b);
        const { initiator, responder } = runPair(a, b, { initiator: { budget: first }, responder: { budget: second } });
        for (const { outcome, reason, hint } of [initiator, responder]) {
          if (outcome !== 'converged') assert.ok(reason && hint);
        }
        for (const { outcome } of [initiator, responder]) if (outcome === 'converged') assertEqualTo(union, a, b);
        assertConverged(runPair(a, b, { initiator: { budget: DEFAULT_BUDGET } }));
        assertEqualTo(union, a, b);
      }),
      80,
    );
  });
});

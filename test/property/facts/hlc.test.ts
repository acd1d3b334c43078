import assert from 'node:assert/strict';
import fc from 'fast-check';
import { hlcFromBytes, hlcToBytes } from '../../../src/facts/hlc.ts';
import { FactError, formatHlc, type Hlc, HybridLogicalClock, hlcWall, isHlc } from '../../../src/facts/index.ts';
import { check } from './runs.ts';

const START = 1_795_244_001_035;
const MAX_SKEW = 60_000;
const reading = fc
  .tuple(
    fc.oneof(fc.nat({ max: 9_999_999_999_999 }), fc.integer({ min: START - 5, max: START + 5 })),
    fc.nat({ max: 999 }),
  )
  .map(([wall, counter]) => formatHlc(wall, counter));

type Step =
  | { do: 'move'; by: number }
  | { do: 'burst'; ticks: number }
  | { do: 'restart' }
  | { do: 'observe'; ahead: number; counter: number };

const step: fc.Arbitrary<Step> = fc.oneof(
  fc.record({
    do: fc.constant('move' as const),
    by: fc.oneof(fc.integer({ min: -100_000, max: 100_000 }), fc.double({ min: -2, max: 2, noNaN: true })),
  }),
  fc.record({
    do: fc.constant('burst' as const),
    ticks: fc.oneof(fc.integer({ min: 1, max: 5 }), fc.constantFrom(999, 1000, 2500)),
  }),
  fc.record({ do: fc.constant('restart' as const) }),
  fc.record({
    do: fc.constant('observe' as const),
    ahead: fc.integer({ min: -MAX_SKEW, max: 2 * MAX_SKEW }),
    counter: fc.constantFrom(0, 1, 500, 998, 999),
  }),
);

describe('facts, properties: hybrid logical clock', () => {
  it('strictly increases under jumps, bursts, remote readings and restarts', () => {
    check(
      fc.property(fc.array(step, { minLength: 1, maxLength: 30 }), (steps) => {
        let now = START;
        let clock = new HybridLogicalClock({ now: () => now });
        let highest: Hlc = '';
        for (const move of steps) {
          if (move.do === 'move') now += move.by;
          else if (move.do === 'restart') clock = new HybridLogicalClock({ now: () => now, last: clock.last });
          else if (move.do === 'observe') {
            const before = clock.last;
            const remote = formatHlc(Math.floor(now) + move.ahead, move.counter);
            try {
              clock.observe(remote, MAX_SKEW);
              assert.ok(move.ahead <= MAX_SKEW);
              if (remote > highest) highest = remote;
            } catch (error) {
              assert.ok(error instanceof FactError && error.code === 'hlc_ahead' && move.ahead > MAX_SKEW);
              assert.equal(clock.last, before, 'a refused reading moves nothing');
            }
          } else {
            for (let i = 0; i < move.ticks; i++) {
              const next = clock.tick();
              assert.ok(isHlc(next) && next > highest, `${next} after ${highest}`);
              assert.ok(hlcWall(next) >= Math.floor(now), 'never behind the physical clock');
              highest = next;
            }
          }
        }
      }),
      300,
    );
  });

  it('order of bytes, of text and of (wall, counter) are one', () => {
    check(
      fc.property(reading, reading, (a, b) => {
        const bytes = [a, b].map((hlc) => {
          const into = new Uint8Array(8);
          hlcToBytes(hlc, into, 0);
          assert.equal(hlcFromBytes(into, 0), hlc);
          return into;
        }) as [Uint8Array, Uint8Array];
        const numbers = hlcWall(a) - hlcWall(b) || Number(a.slice(14)) - Number(b.slice(14));
        assert.equal(Buffer.compare(...bytes), Math.sign(numbers));
        assert.equal(a < b ? -1 : a > b ? 1 : 0, Math.sign(numbers));
      }),
      3000,
    );
  });
});

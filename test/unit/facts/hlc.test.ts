import assert from 'node:assert/strict';
import { hlcFromBytes, hlcToBytes } from '../../../src/facts/hlc.ts';
import { formatHlc, HybridLogicalClock, hlcWall, isHlc } from '../../../src/facts/index.ts';
import { assertCode, eachVector } from './vectors.ts';

interface Step {
  readonly now: number;
  readonly expected?: string;
  readonly observe?: string;
  readonly max_skew_ms?: number;
  readonly error?: string;
}

type HlcVector =
  | { kind: 'reading'; hlc: string; wall_ms: number; counter: number; bytes: string }
  | { kind: 'refused'; input: unknown }
  | { kind: 'clock'; last: string | null; steps: readonly Step[] };

describe('facts: hybrid logical clock', () => {
  eachVector<HlcVector>('hlc', (vector) => {
    if (vector.kind === 'refused') {
      assert.equal(isHlc(vector.input), false);
      return;
    }
    if (vector.kind === 'reading') {
      assert.ok(isHlc(vector.hlc));
      assert.equal(formatHlc(vector.wall_ms, vector.counter), vector.hlc);
      assert.equal(hlcWall(vector.hlc), vector.wall_ms);
      const bytes = Buffer.alloc(10, 0xaa);
      hlcToBytes(vector.hlc, bytes, 1);
      assert.equal(bytes.toString('hex'), `aa${vector.bytes}aa`);
      assert.equal(hlcFromBytes(bytes, 1), vector.hlc);
      return;
    }
    let now = 0;
    const clock = new HybridLogicalClock({ now: () => now, last: vector.last ?? undefined });
    assert.equal(clock.last, vector.last ?? undefined);
    for (const step of vector.steps) {
      now = step.now;
      const { observe, max_skew_ms, error, expected } = step;
      const act = (): unknown => (observe === undefined ? clock.tick() : clock.observe(observe, max_skew_ms!));
      if (error !== undefined) assertCode(act, error);
      else if (observe !== undefined) act();
      else {
        assert.equal(act(), expected);
        assert.equal(clock.last, expected);
      }
    }
  });

  it('says how far readings run ahead', () => {
    let now = 1000;
    const clock = new HybridLogicalClock({ now: () => now });
    clock.tick();
    assert.equal(clock.aheadMs(), 0);
    now = 400;
    clock.tick();
    assert.equal(clock.aheadMs(), 600);
  });
});

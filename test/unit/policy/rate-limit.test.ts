import assert from 'node:assert/strict';
import fc from 'fast-check';
import { RateLimiter } from '../../../src/policy/rate-limit.ts';

describe('rate limiter', () => {
  let now = 0;
  const limiter = (perMinute: number, burst: number, maxKeys = 100) =>
    new RateLimiter({ perMinute, burst, maxKeys, now: () => now });
  beforeEach(() => {
    now = 1_000_000;
  });

  it('allows the burst, then one request an interval', () => {
    const limit = limiter(60, 3);
    for (let i = 0; i < 3; i++) assert.deepEqual(limit.take('a'), { allowed: true });
    assert.deepEqual(limit.take('a'), { allowed: false, retryAfterMs: 1000 });
    now += 999;
    assert.equal(limit.take('a').allowed, false);
    now += 1;
    assert.equal(limit.take('a').allowed, true);
    assert.equal(limit.take('a').allowed, false);
  });

  it('keeps keys apart and refusals free', () => {
    const limit = limiter(60, 1);
    assert.equal(limit.take('a').allowed, true);
    for (let i = 0; i < 50; i++) assert.equal(limit.take('a').allowed, false);
    assert.equal(limit.take('b').allowed, true);
    now += 1000;
    assert.equal(limit.take('a').allowed, true, 'fifty refusals cost nothing');
  });

  it('saves up no more than the burst, however long the pause', () => {
    const limit = limiter(60, 3);
    assert.equal(limit.take('a').allowed, true);
    now += 60 * 60_000;
    for (let i = 0; i < 3; i++) assert.equal(limit.take('a').allowed, true);
    assert.deepEqual(limit.take('a'), { allowed: false, retryAfterMs: 1000 });
  });

  it('slows down a cost above the burst instead of locking it out', () => {
    const limit = limiter(60, 10);
    assert.equal(limit.take('a', 1000).allowed, true);
    assert.deepEqual(limit.take('a', 1), { allowed: false, retryAfterMs: 1000 });
    assert.deepEqual(limit.take('a', 1000), { allowed: false, retryAfterMs: 10_000 });
    now += 10_000;
    assert.equal(limit.take('a', 1000).allowed, true);
  });

  it('takes a cost in two parts as it takes it in one, however little may be taken at once', () => {
    for (const [burst, cost] of [
      [1, 1000],
      [2, 1000],
      [10, 1000],
      [10, 10],
      [10, 4],
    ] as const) {
      const limit = limiter(60, burst);
      const request = () => limit.take('a').allowed && limit.take('a', cost, 1).allowed;
      assert.ok(request(), `${cost} of ${burst}`);
      // All but one of the burst is there again: enough for the first part alone.
      now += 1000 * (Math.min(cost, burst) - 1);
      const price = limit.take('a');
      const decision = price.allowed ? limit.take('a', cost, 1) : price;
      if (decision.allowed) {
        assert.ok(cost < burst, `${cost} of ${burst} was too cheap`);
        continue;
      }
      now += decision.retryAfterMs;
      assert.ok(request(), `${cost} of ${burst} after waiting as told`);
    }
  });

  it('remembers at most maxKeys keys and forgets the one longest unused', () => {
    const limit = limiter(60, 1, 3);
    for (const key of ['a', 'b', 'c']) limit.take(key);
    now += 1000;
    limit.take('a');
    limit.take('d');
    assert.equal(limit.size, 3);
    assert.equal(limit.take('a').allowed, false, 'a was used last but one and is remembered');
    assert.equal(limit.take('d').allowed, false);
    for (let i = 0; i < 1000; i++) limit.take(`flood ${i}`);
    assert.equal(limit.size, 3);
  });

  it('never allows more than burst plus rate over any time, and waiting as told always helps', () => {
    fc.assert(
      fc.property(
        fc.integer({ min: 1, max: 600 }),
        fc.integer({ min: 1, max: 50 }),
        fc.array(fc.record({ pause: fc.integer({ min: 0, max: 5000 }), cost: fc.integer({ min: 1, max: 5 }) }), {
          maxLength: 200,
        }),
        (perMinute, burst, steps) => {
          now = 0;
          const limit = limiter(perMinute, burst);
          let taken = 0;
          for (const { pause, cost } of steps) {
            now += pause;
            const decision = limit.take('k', cost);
            if (decision.allowed) {
              taken += Math.min(cost, burst);
              continue;
            }
            now += decision.retryAfterMs;
            assert.equal(limit.take('k', cost).allowed, true);
            taken += Math.min(cost, burst);
          }
          assert.ok(taken <= burst + (now / 60_000) * perMinute + 1e-6, `${taken} taken in ${now} ms`);
        },
      ),
    );
  });
});

import assert from 'node:assert/strict';
import { drainTimeout, watchReadiness } from '../../../src/daemon.ts';
import type { Readiness } from '../../../src/node/types.ts';

describe('operations: the log learns whether writes work', () => {
  const ready: Readiness = { ready: true, code: null, reason: null };
  const full: Readiness = { ready: false, code: 'store_full', reason: 'no space left' };
  const broken: Readiness = { ready: false, code: 'store_io', reason: 'the store failed' };

  it('once for each change, not once for each look', () => {
    let now = ready;
    const lines: [string, unknown][] = [];
    const write = (level: string) => (details: object) => void lines.push([level, details]);
    const look = watchReadiness(() => now, { info: write('info'), error: write('error') } as never);
    for (now of [ready, full, full, full, broken, ready, ready]) look();
    assert.deepEqual(lines, [
      ['error', { event: 'not_ready', code: 'store_full' }],
      ['error', { event: 'not_ready', code: 'store_io' }],
      ['info', { event: 'ready_again' }],
    ]);
  });
});

describe('operations: a stop takes no longer than it may', () => {
  it('because requests leave time for closing the store, and get at least half of it all', () => {
    assert.equal(drainTimeout(10_000), 9_000);
    assert.equal(drainTimeout(300_000), 299_000);
    assert.equal(drainTimeout(1_000), 500);
  });
});

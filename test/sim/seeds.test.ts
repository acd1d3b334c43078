import assert from 'node:assert/strict';
import { execFile } from 'node:child_process';
import { join } from 'node:path';
import { promisify } from 'node:util';
import { runScenario } from './scenario.ts';

/**
 * Runs by their seeds: three to eight daemons, writes of every kind, faults of every kind. A seed that fails prints how to
 * see it again; `npm run sim` makes more runs, and larger ones.
 */

const SEEDS = Number(process.env.STIGMESH_SIM_SEEDS ?? 200);
const FROM = Number(process.env.STIGMESH_SIM_FROM ?? 1);
const AT_A_TIME = 20;
/** Runs of twenty to fifty daemons, half a minute each: none in `npm test`. */
const LARGE = Number(process.env.STIGMESH_SIM_LARGE ?? 0);

describe('simulated meshes', function () {
  this.timeout(300_000);
  const seen = { writes: 0, checked: 0, compared: 0, rebuilt: 0, torn: 0, faults: new Map<string, number>() };

  for (let from = FROM; from < FROM + SEEDS; from += AT_A_TIME) {
    const to = Math.min(from + AT_A_TIME, FROM + SEEDS) - 1;
    it(`keep every promise and converge (seeds ${from} to ${to})`, async () => {
      for (let seed = from; seed <= to; seed++) {
        const { writes, checked, compared, rebuilt, torn, faults } = await runScenario({ seed });
        seen.writes += writes;
        seen.checked += checked;
        seen.compared += compared;
        seen.rebuilt += rebuilt;
        seen.torn += torn;
        for (const [kind, count] of Object.entries(faults)) seen.faults.set(kind, (seen.faults.get(kind) ?? 0) + count);
      }
    });
  }

  for (let seed = FROM; seed < FROM + LARGE; seed++) {
    it(`keep every promise with twenty to fifty daemons (seed ${seed})`, async () => {
      const { checked } = await runScenario({ seed, nodes: [20, 50] });
      assert.ok(checked > 1000);
    });
  }

  it('met every kind of fault on the way', () => {
    const kinds = ['partition', 'cut', 'crash', 'power', 'stop', 'freeze', 'clock', 'path', 'terms', 'remove'];
    if (SEEDS >= 100) {
      assert.deepEqual([...seen.faults.keys()].sort(), kinds.sort());
      assert.ok(seen.torn > SEEDS / 20, `${seen.torn} writes were cut by a crash`);
    }
    assert.ok(seen.writes > SEEDS * 10 && seen.checked > seen.writes && seen.compared > SEEDS && seen.rebuilt >= SEEDS);
  });

  it('are the same run for the same seed, in this process and in another one', async () => {
    for (const seed of [11, 18, 60]) {
      const { hash, events } = await runScenario({ seed });
      assert.deepEqual(await runScenario({ seed }).then((again) => [again.hash, again.events]), [hash, events]);
      const args = [join(import.meta.dirname, 'main.ts'), '--seed', String(seed)];
      const { stdout } = await promisify(execFile)(process.execPath, args);
      assert.match(stdout, new RegExp(`seed ${seed}: .* ${events} events, trace ${hash.slice(0, 16)}`));
    }
    const [one, other] = [await runScenario({ seed: 11 }), await runScenario({ seed: 12 })];
    assert.notEqual(one.hash, other.hash);
  });
});

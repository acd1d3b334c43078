import assert from 'node:assert/strict';
import { ANONYMOUS } from '../../src/policy/principal.ts';
import { LIARS, type Lie } from './byzantine.ts';
import type { DaemonPlan } from './cluster.ts';
import { both, full, inLab, type Lab } from './lab.ts';

/** Stigmem's acceptance scenarios for federation, as runs of the simulator. */

const MINUTE = 60_000;
const SEEDS = [1, 2, 3];

const PAIR_OF_ORGS: readonly DaemonPlan[] = [
  { name: 'a1', org: 'a.example' },
  { name: 'a2', org: 'a.example' },
  { name: 'b1', org: 'b.example' },
  { name: 'b2', org: 'b.example' },
];

async function conflictIds(lab: Lab, name: string): Promise<readonly string[]> {
  const { conflicts } = await lab.daemon(name).node.conflicts.list(ANONYMOUS, { limit: 500 });
  return conflicts.map(({ id }) => id).sort();
}

describe('Stigmem’s acceptance scenarios', () => {
  for (const seed of SEEDS) {
    it(`fault 18: split brain: both sides of five minutes write, then hold and show the same (seed ${seed})`, async () => {
      await inLab(full(PAIR_OF_ORGS), { seed }, async (lab) => {
        const ids = (names: readonly string[]): string[] => names.map((name) => lab.daemon(name).peerId);
        const sides = [
          ['a1', 'b1'],
          ['a2', 'b2'],
        ] as const;
        lab.cluster.network.partition(ids(sides[0]), ids(sides[1]));
        for (let minute = 0; minute < 5; minute++) {
          for (const daemon of lab.cluster.daemons) {
            const relation = 'memory:role';
            await lab.write(daemon, { entity: `project:p${minute}`, relation, v: `says ${daemon.name}` });
            await lab.write(daemon, { scope: 'company' });
          }
          await lab.pass(60, 10_000);
        }
        lab.cluster.network.heal();
        await lab.settle(15 * MINUTE);
        const all = await Promise.all(lab.cluster.daemons.map(({ name }) => conflictIds(lab, name)));
        assert.ok(all[0]!.length >= 5, `${all[0]!.length} conflicts`);
        for (const one of all) assert.deepEqual(one, all[0]);
      });
    });

    it(`fault 18: split brain: a week, in which both sides run an hour a day (seed ${seed})`, async () => {
      const plan = full([PAIR_OF_ORGS[0]!, PAIR_OF_ORGS[2]!]);
      await inLab(plan, { seed }, async (lab) => {
        const [a, b] = [lab.daemon('a1'), lab.daemon('b1')];
        lab.cluster.network.partition([a.peerId], [b.peerId]);
        for (let day = 0; day < 7; day++) {
          for (const daemon of [a, b]) {
            if (!daemon.isUp) await lab.cluster.restart(daemon);
            await lab.write(daemon, {
              entity: 'project:p',
              relation: 'memory:role',
              v: `${daemon.name} on day ${day}`,
            });
          }
          await lab.pass(3600, 600_000);
          for (const daemon of [a, b]) await lab.simulation.run(daemon.stop());
          await lab.pass(23 * 3600, 23 * 3_600_000);
        }
        for (const daemon of [a, b]) await lab.cluster.restart(daemon);
        lab.cluster.network.heal();
        await lab.settle(15 * MINUTE);
        assert.deepEqual(await conflictIds(lab, 'a1'), await conflictIds(lab, 'b1'));
        assert.ok((await conflictIds(lab, 'a1')).length > 0);
      });
    });
  }

  for (const [at, lie] of (Object.keys(LIARS) as Lie[]).entries()) {
    it(`malicious peer: one that will ${lie} harms nobody else (seed ${at + 1})`, async () => {
      const liar: DaemonPlan = { name: 'm1', org: 'm.example', tamper: LIARS[lie], lies: lie };
      await inLab(full([...PAIR_OF_ORGS, liar]), { seed: at + 1 }, async (lab) => {
        await lab.pass(5);
        for (let round = 0; round < 8; round++) {
          for (const daemon of lab.cluster.daemons) {
            for (const scope of ['team', 'company', 'public'] as const) {
              await lab.write(daemon, { scope, v: `value ${round} of ${daemon.name}` });
            }
          }
          await lab.pass(10);
        }
        await lab.settle(15 * MINUTE);
        const refused = lab.cluster.honest.map(({ life }) => life.mesh.refused(lab.daemon('m1').peerId));
        if (lie === 'forge') assert.ok(refused.every((codes) => (codes.bad_signature ?? 0) > 0));
        if (lie === 'overshare') assert.ok(refused.some((codes) => (codes.scope_violation ?? 0) > 0));
        if (lie === 'replay' || lie === 'mute') {
          for (const codes of refused)
            assert.deepEqual(
              Object.keys(codes).filter((code) => /sign|scope/.test(code)),
              [],
            );
        }
        // Who forges is cut off.
        if (lie === 'forge') {
          assert.ok(lab.cluster.honest.every(({ life }) => !life.peering.admits(lab.daemon('m1').peerId)));
        }
      });
    });
  }

  for (const seed of SEEDS) {
    it(`fault 19: partial replication failure: a peer that dies in the middle of a sync goes on where it was (seed ${seed})`, async () => {
      const plan = { daemons: [PAIR_OF_ORGS[0]!, PAIR_OF_ORGS[2]!], pairs: [both('a1', 'b1')] };
      await inLab(plan, { seed, network: { bytesPerSecond: 60_000 } }, async (lab) => {
        const [a, b] = [lab.daemon('a1'), lab.daemon('b1')];
        await b.crash(true);
        for (let n = 0; n < 600; n++)
          await lab.write(a, { scope: n % 2 === 0 ? 'company' : 'public', v: `${n} `.repeat(500) });
        const random = lab.simulation.random('deaths');
        const counts: number[] = [];
        for (let death = 0; death < 4; death++) {
          await lab.cluster.restart(b);
          const had = b.node.figures().statements;
          const most = had + 20 + random.below(120);
          await lab.simulation.runUntilTrue(() => b.node.figures().statements > most, 20 * MINUTE, 'a batch arrived');
          // Between two batches, or in the middle of the next one.
          await lab.simulation.runFor(40 * random.next());
          await lab.safety.look();
          counts.push(b.node.figures().statements);
          // Meanwhile the other side works as if nothing were.
          const before = lab.simulation.now;
          await lab.write(a, { scope: 'local' });
          assert.ok(lab.simulation.now - before < 50);
          await b.crash(random.next() < 0.5);
        }
        await lab.cluster.restart(b);
        await lab.settle(30 * MINUTE);
        // It died on the way every time, and went on where it was.
        assert.ok(counts.filter((count) => count > 20 && count < 600).length >= 3, counts.join());
        assert.deepEqual(
          [...counts].sort((x, y) => x - y),
          counts,
        );
        assert.equal(b.node.figures().statements, b.node.figures().seq);
      });
    });

    it(`fault 17: replay: what is known already changes nothing and tells nobody (seed ${seed})`, async () => {
      const liar: DaemonPlan = { name: 'm1', org: 'm.example', tamper: LIARS.replay, lies: 'replay' };
      await inLab(full([PAIR_OF_ORGS[0]!, PAIR_OF_ORGS[2]!, liar]), { seed }, async (lab) => {
        await lab.pass(5);
        for (let n = 0; n < 20; n++) {
          for (const daemon of lab.cluster.daemons)
            await lab.write(daemon, { scope: n % 2 === 0 ? 'company' : 'public' });
          await lab.pass(1);
        }
        await lab.settle(10 * MINUTE);
        const before = lab.cluster.honest.map(({ node }) => ({ ...node.writer.head, at: 0, auditSeq: 0 }));
        // One thing more makes the liar send everything again.
        const told: number[] = [];
        const followers = lab.cluster.honest.map(({ node }) => node.sets.on((commits) => told.push(commits.length)));
        await lab.write(lab.daemon('m1'), { scope: 'company', v: 'one more' });
        await lab.pass(60);
        for (const end of followers) end();
        for (const [at, { node }] of lab.cluster.honest.entries()) {
          assert.equal(node.writer.head.seq, before[at]!.seq + 1);
        }
        assert.deepEqual(told, [1, 1]);
        for (const { life } of lab.cluster.honest) assert.equal(life.mesh.score(lab.daemon('m1').peerId), 0);
      });
    });
  }
});

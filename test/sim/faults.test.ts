import assert from 'node:assert/strict';
import {
  encodeStatement,
  formatHlc,
  formatInstant,
  hlcWall,
  signStatement,
  statementId,
} from '../../src/facts/index.ts';
import { ANONYMOUS, SYSTEM } from '../../src/policy/principal.ts';
import { LIARS, withSets } from './byzantine.ts';
import type { DaemonPlan } from './cluster.ts';
import type { MeshParts } from './daemon.ts';
import { both, full, inLab, ring } from './lab.ts';
import { runScenario } from './scenario.ts';

/** Rows of the fault table that need several daemons, time, and a network that misbehaves. */

const MINUTE = 60_000;
const SEEDS = [1, 2, 3];
const A: DaemonPlan = { name: 'a1', org: 'a.example' };
const B: DaemonPlan = { name: 'b1', org: 'b.example' };
const C: DaemonPlan = { name: 'c1', org: 'c.example' };

describe('faults of a simulated mesh', () => {
  for (const seed of SEEDS) {
    it(`fault 8: a node key on two machines: whoever holds both statements raises an alarm, and goes on (seed ${seed})`, async () => {
      // What the copied machine says of itself cannot be relied on; of everybody else everything is checked.
      const plan = full([A, B, { ...C, lies: 'runs twice' }]);
      await inLab(plan, { seed }, async (lab) => {
        const [a, b, c] = [lab.daemon('a1'), lab.daemon('b1'), lab.daemon('c1')];
        await lab.pass(5);
        const snapshot = await c.disk.copy();
        const first = await lab.write(c, { v: 'said by the one' });
        const { statement } = (await c.node.facts.get(ANONYMOUS, first)).fact;
        await lab.pass(30);
        // A virtual machine that goes back to a snapshot, with its clock: it says something else at the same moment.
        await c.crash(true);
        await c.disk.restore(snapshot);
        c.setClock(hlcWall(statement.hlc) - 100 - lab.simulation.now);
        await lab.cluster.restart(c);
        c.setClock(hlcWall(statement.hlc) + 0.5 - lab.simulation.now);
        const second = await lab.write(c, { v: 'said by the other' });
        c.setClock(0);
        await lab.write(a);
        const all = (): boolean => [a, b, c].every(({ node }) => node.figures().facts === 3);
        await lab.simulation.runUntilTrue(all, 15 * MINUTE, 'everybody holds all three facts');
        await lab.settle(15 * MINUTE);
        for (const { node } of [a, b]) {
          const { warnings } = await lab.simulation.run(node.status());
          const alarm = warnings.find((text) => text.startsWith('equivocation'));
          assert.ok(alarm?.includes(first) && alarm.includes(second) && alarm.includes(c.peerId), warnings.join('\n'));
          for (const id of [first, second]) await node.facts.get(ANONYMOUS, id);
        }
        // Not even its own key is gone: it learns again what it had said.
        await c.node.facts.get(ANONYMOUS, first);
        await lab.write(c, { v: 'later' });
        await lab.settle(15 * MINUTE);
      });
    });

    it(`fault 20: a third of gossip lost, the rest doubled and overtaken: the same end, within one interval (seed ${seed})`, async () => {
      const network = { gossipLoss: 0.3, gossipDuplicates: 0.3, gossipReorderMs: 2_000 };
      await inLab(ring(['a', 'b', 'c', 'd', 'e']), { seed, network }, async (lab) => {
        await lab.pass(5);
        for (let n = 0; n < 10; n++) {
          for (const daemon of lab.cluster.daemons) await lab.write(daemon);
          await lab.pass(1);
        }
        // Around half the ring, each hop lost: heads are told every 15 s (jittered), then what is missing is reconciled.
        const took = await lab.settle(3 * MINUTE);
        assert.ok(took <= 3 * 20_000, `${took} ms`);
      });
    });

    it(`fault 21: a peer that takes everything and passes on nothing: others converge, its lag is shown (seed ${seed})`, async () => {
      const mute: DaemonPlan = { name: 'm1', org: 'm.example', tamper: LIARS.mute, lies: 'mute' };
      // The mute one stands between; the way around it is long.
      const plan = {
        daemons: [A, B, C, mute],
        pairs: [both('a1', 'm1'), both('m1', 'b1'), both('a1', 'c1'), both('c1', 'b1')],
      };
      await inLab(plan, { seed }, async (lab) => {
        await lab.pass(5);
        for (let n = 0; n < 10; n++) {
          for (const daemon of lab.cluster.daemons) await lab.write(daemon);
          await lab.pass(2);
        }
        await lab.settle(5 * MINUTE);
        await lab.pass(60);
        for (const { life } of [lab.daemon('a1'), lab.daemon('b1')]) {
          const { peerId } = lab.daemon('m1');
          assert.ok(life.mesh.lag(peerId).inStatements! >= 10, JSON.stringify(life.mesh.lag(peerId)));
          assert.notEqual(life.mesh.lastSync(peerId)?.result, 'converged');
        }
      });
    });

    it(`fault 26: a peer with which nothing ever converges: sessions end, and are tried more and more rarely (seed ${seed})`, async () => {
      const liar: DaemonPlan = { name: 'm1', org: 'm.example', tamper: LIARS.invent, lies: 'invent' };
      await inLab(full([A, B, liar]), { seed }, async (lab) => {
        await lab.pass(5);
        for (let n = 0; n < 20; n++) for (const daemon of lab.cluster.daemons) await lab.write(daemon);
        await lab.settle(5 * MINUTE);
        const { mesh, events } = lab.daemon('a1').life;
        let sessions = 0;
        const { peerId } = lab.daemon('m1');
        events.on((event) => {
          if (event.peerId === peerId && event.type.startsWith('sync.')) sessions += 1;
        });
        await lab.pass(3600, 60_000);
        assert.notEqual(mesh.lastSync(peerId)?.result, 'converged');
        assert.ok(sessions <= 60, `${sessions} sessions in an hour`);
        await lab.write(lab.daemon('a1'));
        await lab.settle(5 * MINUTE);
      });
    });

    it(`fault 29: a ring of ten: everybody is sent the same fact at most twice, and then it is still (seed ${seed})`, async () => {
      const arrivals = new Map<string, number>();
      const counting = (parts: MeshParts, { name }: { readonly name: string }): MeshParts => {
        const { inbound } = parts.node;
        return {
          ...withSets(parts, () => ({})),
          node: {
            ...parts.node,
            inbound: {
              refused: (peerId) => inbound.refused(peerId),
              admit: (from, statements) => {
                const facts = statements.filter(({ bytes }) => Buffer.from(bytes).includes('"round the ring"'));
                arrivals.set(name, (arrivals.get(name) ?? 0) + facts.length);
                return inbound.admit(from, statements);
              },
            },
          },
        };
      };
      const names = Array.from({ length: 10 }, (_, at) => `n${at}`);
      await inLab(ring(names, true, { tamper: counting }), { seed }, async (lab) => {
        await lab.pass(60);
        const quiet = lab.simulation.trace.events;
        await lab.pass(60);
        const usual = lab.simulation.trace.events - quiet;
        const from = lab.simulation.trace.events;
        await lab.write(lab.daemon('n0'), { v: 'round the ring' });
        await lab.settle(MINUTE);
        await lab.pass(60);
        const counts = names.slice(1).map((name) => arrivals.get(name) ?? 0);
        assert.ok(
          counts.every((count) => count === 1 || count === 2),
          counts.join(),
        );
        assert.ok(lab.simulation.trace.events - from < 4 * usual, 'an echo');
      });
    });

    it(`fault 36: two organisations decide one conflict differently: both see both, show the same, and it stays so (seed ${seed})`, async () => {
      await inLab(full([A, B]), { seed }, async (lab) => {
        const [a, b] = [lab.daemon('a1'), lab.daemon('b1')];
        const about = { entity: 'project:p', relation: 'memory:role' };
        await lab.write(a, { ...about, v: 'of a' });
        await lab.write(b, { ...about, v: 'of b' });
        await lab.settle(2 * MINUTE);
        const conflictAt = async ({ node }: typeof a) => {
          const { conflicts } = await node.conflicts.list(ANONYMOUS, { limit: 10 });
          assert.equal(conflicts.length, 1);
          return conflicts[0]!;
        };
        const { id, factA, factB } = await conflictAt(a);
        lab.cluster.network.partition([a.peerId], [b.peerId]);
        await lab.simulation.run(a.node.conflicts.resolve(ANONYMOUS, id, { winning_fact_id: factA.id }));
        await lab.simulation.run(b.node.conflicts.resolve(ANONYMOUS, id, { winning_fact_id: factB.id }));
        await lab.pass(60);
        lab.cluster.network.heal();
        await lab.settle(10 * MINUTE);
        const [mine, theirs] = [await conflictAt(a), await conflictAt(b)];
        assert.equal(mine.resolutions.length, 2);
        assert.deepEqual(mine.resolutions, theirs.resolutions);
        assert.deepEqual([mine.status, mine.resolvedBy], [theirs.status, theirs.resolvedBy]);
        const held = [a, b].map(({ node }) => node.figures().seq);
        await lab.pass(1800, 60_000);
        assert.deepEqual(
          [a, b].map(({ node }) => node.figures().seq),
          held,
        );
        assert.equal((await conflictAt(a)).resolvedBy, mine.resolvedBy);
      });
    });
  }

  it('fault 34: facts of long ago come in by the operator alone, in their place in time, and travel on from there', async () => {
    const plan = { daemons: [A, { name: 'a2', org: 'a.example' }, B], pairs: [both('a1', 'b1')] };
    await inLab(plan, { seed: 1 }, async (lab) => {
      const [a1, a2, b1] = [lab.daemon('a1'), lab.daemon('a2'), lab.daemon('b1')];
      const about = { entity: 'project:p', relation: 'memory:role' };
      const young = await lab.write(a1, { ...about, v: 'today' });
      const then = lab.simulation.now - 5 * 365 * 86_400_000;
      const old = encodeStatement({
        ...{ v: 1, kind: 'fact', origin: a2.peerId, org: 'a.example', audience: 'public' },
        ...{ hlc: formatHlc(Math.floor(then), 0), timestamp: formatInstant(then) },
        body: {
          ...{ ...about, source: 'stigmem://a.example/agent/archive', scope: 'public', confidence: 1 },
          value: { type: 'string', v: 'five years ago' },
        },
        ext: {},
      });
      const { bytes, sig } = signStatement(old, a2.key);
      const nobody = { ...ANONYMOUS, permissions: new Set(['read', 'write'] as const) };
      await assert.rejects(a1.node.transfer.importStatements(nobody, [{ bytes, sig }]), { code: 'permission_denied' });
      const imported = a1.node.transfer.importStatements(SYSTEM, [{ bytes, sig }]);
      assert.deepEqual(
        (await lab.simulation.run(imported)).map(({ status }) => status),
        ['accepted'],
      );
      // The import is no arrival from a peer: nothing is checked of it here but that everybody gets the same.
      const digest = Buffer.from(old.digest).toString('hex');
      await lab.simulation.runUntilTrue(
        () => b1.node.figures().facts === 2 && a2.node.figures().facts === 2,
        2 * MINUTE,
      );
      for (const { node } of [a1, a2, b1]) {
        const { facts } = await node.facts.history(ANONYMOUS, { ...about, limit: 10 });
        assert.deepEqual(
          facts.map(({ id }) => id),
          [young, statementId(Buffer.from(digest, 'hex'))],
        );
        assert.equal(facts[1]!.statement.hlc.slice(0, 13), String(Math.floor(then)));
      }
    });
  });

  it('fault 42: power failures all the time: nothing acknowledged is lost, and all agree in the end', async () => {
    for (let seed = 1; seed <= 4; seed++) {
      const { faults } = await runScenario({ seed, rates: { power: 0.4 }, writes: 0.5 });
      assert.ok((faults.power ?? 0) > 5);
    }
  });
});

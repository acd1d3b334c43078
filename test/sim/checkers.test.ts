import assert from 'node:assert/strict';
import * as keys from '../../src/store/keys.ts';
import { forEachSlice, type Store } from '../../src/store/store.ts';
import { withPairing, withSets } from './byzantine.ts';
import type { DaemonPlan } from './cluster.ts';
import type { MeshParts, SimDaemonInit } from './daemon.ts';
import { both, full, inLab, type Lab } from './lab.ts';
import { Violation } from './safety.ts';
import { runScenario } from './scenario.ts';

/** Bugs as somebody might make them, in daemons that pass for honest: each must be noticed, and by the rule it breaks. */

function breaks(rule: string): (error: unknown) => boolean {
  return (error) => {
    assert.ok(error instanceof Violation, `${error}`);
    assert.equal(error.rule, rule);
    return true;
  };
}

const A = { name: 'a1', org: 'a.example' };
const B = { name: 'b1', org: 'b.example' };
const C = { name: 'c1', org: 'c.example' };

function tampered(daemon: DaemonPlan, tamper: NonNullable<SimDaemonInit['tamper']>): DaemonPlan {
  return { ...daemon, tamper };
}

/** Takes every peer for a daemon of the organisation whose secrets it is about to tell. */
const asOneOf =
  (org: string) =>
  (parts: MeshParts): MeshParts => ({
    ...parts,
    peering: withPairing(parts.peering, (pairing) => ({ ...pairing, org, peerOrg: org })),
  });

/** Every batch in two halves. */
function inTwoWrites(store: Store): Store {
  const batch: Store['batch'] = async (ops, options) => {
    const half = ops.length >>> 1;
    await store.batch(ops.slice(0, half), options);
    await store.batch(ops.slice(half), options);
  };
  return new Proxy(store, {
    get: (target, name) => {
      if (name === 'batch') return batch;
      const value = Reflect.get(target, name, target) as unknown;
      return typeof value === 'function' ? value.bind(target) : value;
    },
  });
}

async function writeAndWait(lab: Lab): Promise<void> {
  // By then the streams for what is written are up.
  await lab.pass(5);
  for (const daemon of lab.cluster.daemons) {
    for (const scope of ['local', 'team', 'company', 'public'] as const) await lab.write(daemon, { scope });
  }
  await lab.pass(40);
}

describe('the checkers of the simulation', () => {
  it('find nothing where nothing is wrong', async () => {
    const plan = { daemons: [A, B, C], pairs: [both('a1', 'b1'), both('b1', 'c1')] };
    await inLab(plan, { seed: 1 }, async (lab) => {
      await writeAndWait(lab);
      await lab.settle(120_000);
      assert.ok(lab.safety.checked > 20 && lab.safety.rebuilt === 3 && lab.safety.named > 0);
    });
  });

  it('notice company facts that are passed on', async () => {
    const daemons = [A, tampered(B, asOneOf('a.example')), tampered(C, asOneOf('a.example'))];
    const run = inLab({ daemons, pairs: [both('a1', 'b1'), both('b1', 'c1')] }, { seed: 2 }, writeAndWait);
    await assert.rejects(run, breaks('who may hold what'));
  });

  it('notice a reconciliation that names what is not shared', async () => {
    const talkative = tampered(A, (parts) =>
      withSets(parts, (sets) => ({ list: (pairing) => sets.list({ ...pairing, peerOrg: pairing.org }) })),
    );
    const run = inLab({ daemons: [talkative, B], pairs: [both('a1', 'b1')] }, { seed: 11 }, writeAndWait);
    await assert.rejects(run, breaks('what is not shared has no name'));
  });

  it('notice a sender that does not ask what is shared', async () => {
    const all = {
      gives: ['team', 'company', 'public'],
      takes: ['team', 'company', 'public'],
      namespaces: null,
    } as const;
    const careless = tampered(A, (parts) => ({
      ...parts,
      peering: withPairing(parts.peering, (pairing) => ({ ...pairing, ours: all, theirs: all })),
    }));
    const run = inLab({ daemons: [careless, B], pairs: [both('a1', 'b1')] }, { seed: 3 }, writeAndWait);
    await assert.rejects(run, breaks('honest daemons have nothing to refuse'));
  });

  it('notice both sides forgetting what their operators decided', async () => {
    const all = {
      gives: ['team', 'company', 'public'],
      takes: ['team', 'company', 'public'],
      namespaces: null,
    } as const;
    const forgetful = (daemon: DaemonPlan): DaemonPlan =>
      tampered(daemon, (parts) => ({
        ...parts,
        peering: withPairing(parts.peering, (pairing) => ({ ...pairing, ours: all, theirs: all })),
      }));
    const run = inLab({ daemons: [A, B].map(forgetful), pairs: [both('a1', 'b1')] }, { seed: 4 }, writeAndWait);
    await assert.rejects(run, breaks('who may hold what'));
  });

  it('notice acknowledged writes that were never on the disk', async () => {
    const hasty = full([{ ...A, durable: false }, B]);
    const run = inLab(hasty, { seed: 5 }, async (lab) => {
      const a = lab.daemon('a1');
      for (let n = 0; n < 10; n++) await lab.write(a, { scope: 'local' });
      await a.crash(true);
      await lab.safety.checkAcknowledged();
    });
    await assert.rejects(run, breaks('nothing acknowledged is lost'));
  });

  it('notice such writes in a run by its seed, too', async () => {
    const run = runScenario({ seed: 6, rates: { power: 0.3 }, mutate: (plan) => ({ ...plan, durable: false }) });
    await assert.rejects(
      run,
      /seed 6: (?:logs hold what was signed|sequence and clock|nothing acknowledged)[\s\S]*--seed 6/,
    );
  });

  it('notice a commit that is two writes, between which a daemon may end', async () => {
    const rates = { crash: 0.2, power: 0.2 };
    const found: string[] = [];
    for (let seed = 1; seed <= 20 && found.length === 0; seed++) {
      const run = runScenario({ seed, rates, mutate: (plan) => ({ ...plan, storage: inTwoWrites }) });
      await run.catch((error: Error) => found.push(error.message));
    }
    assert.match(found.join(), /^seed \d+: .+/);
  });

  it('notice a daemon that reconciles nothing', async () => {
    const idle = tampered(B, (parts) =>
      withSets(parts, () => ({ read: async (_, digests) => digests.map(() => undefined), on: () => () => {} })),
    );
    const run = inLab(full([A, idle]), { seed: 7 }, async (lab) => {
      await lab.write(lab.daemon('b1'));
      await lab.settle(300_000);
    });
    await assert.rejects(run, (error: Violation) => /all converge|nothing to refuse/.test(error.rule));
  });

  it('notice an index of reconciliation that lacks a statement', async () => {
    const run = inLab(full([A, B]), { seed: 8 }, async (lab) => {
      const a = lab.daemon('a1');
      await lab.write(a);
      await lab.safety.look();
      const { index } = a.node.sets.get('public/a.example/memory')!;
      const [held] = [...lab.safety.held(a).values()].filter(({ set }) => set === index.name);
      index.remove(held!.said.hlc, Buffer.from(held!.id, 'hex'));
      lab.safety.checkSets(a);
    });
    await assert.rejects(run, breaks('the sets are what the log says'));
  });

  it('notice a view that is not what the log says', async () => {
    const run = inLab(full([A, B]), { seed: 9 }, async (lab) => {
      const a = lab.daemon('a1');
      await lab.write(a);
      const { contents } = a.disk;
      const range = keys.indexRange('scope', keys.STATUS.current, keys.scopeSubject('public'));
      const found: Buffer[] = [];
      await forEachSlice(contents, range, (rows) => {
        for (const { key } of rows) found.push(key);
        return undefined;
      });
      await contents.batch([{ type: 'del', key: found[0]! }], { durable: true });
      await lab.safety.checkViews(a);
    });
    await assert.rejects(run, breaks('views equal a rebuild'));
  });

  it('notice a clock that went back', async () => {
    const run = inLab(full([A, B]), { seed: 10 }, async (lab) => {
      const a = lab.daemon('a1');
      const before = await a.disk.copy();
      await lab.write(a);
      await lab.safety.look();
      await a.crash(false);
      await a.disk.restore(before);
      await lab.safety.look();
    });
    await assert.rejects(run, breaks('logs hold what was signed, for good'));
  });
});

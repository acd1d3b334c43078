import assert from 'node:assert/strict';
import { sha256 } from '../../../src/facts/index.ts';
import { decodeBlock } from '../../../src/mesh/block.ts';
import { MAX_OUTBOX_BYTES, PUSH_WINDOW_BYTES } from '../../../src/mesh/data-limits.ts';
import type { WireStatement } from '../../../src/node/federation.ts';
import type { FactView } from '../../../src/node/types.ts';
import { type MeshNode, SEED, TestMesh } from '../../support/mesh-node.ts';
import { who } from '../../support/test-node.ts';

/** Counts how often the body of each statement reaches a node, by whatever way. */
function countBodies(node: MeshNode): { readonly most: () => number } {
  const bodies = new Map<string, number>();
  const count = ({ bytes }: WireStatement): void => {
    const name = Buffer.from(sha256(bytes)).toString('hex');
    bodies.set(name, (bodies.get(name) ?? 0) + 1);
  };
  const { inbound } = node.node;
  const admit = inbound.admit.bind(inbound);
  inbound.admit = (from, statements) => {
    // What gossip brought was counted as it came.
    if (from.only === undefined) for (const one of statements) count(one);
    return admit(from, statements);
  };
  node.onGossip = (data) => {
    for (const one of decodeBlock(data)) count(one);
  };
  return { most: () => Math.max(0, ...bodies.values()) };
}

describe(`mesh: replication (seed ${SEED})`, () => {
  let mesh: TestMesh;

  beforeEach(() => {
    mesh = new TestMesh();
  });
  afterEach(() => mesh.close());

  const startAll = async (names: readonly string[], org?: string): Promise<MeshNode[]> => {
    const nodes: MeshNode[] = [];
    for (const name of names) nodes.push(await mesh.start(name, org === undefined ? {} : { org }));
    return nodes;
  };

  const numbered = (count: number): string[] => Array.from({ length: count }, (_, n) => `node${n}`);

  it('fault 20: gossip that loses a third, doubles and reorders: the same in the end, within one interval', async () => {
    const nodes = await startAll(['acme', 'bolt', 'core']);
    const [acme, bolt, core] = nodes as [MeshNode, MeshNode, MeshNode];
    await mesh.connect(acme, bolt);
    await mesh.connect(bolt, core);
    await mesh.run(5000);
    mesh.network.setAllPaths({ gossipLoss: 0.3, gossipDuplicates: 0.2, gossipReorderMs: 500 });
    const facts: FactView[] = [];
    for (let n = 0; n < 60; n++) {
      facts.push(await nodes[n % 3]!.assert(`fact ${n}`, { scope: 'public' }));
      await mesh.run(100);
    }
    // What settles, an interval with its jitter, and the hops.
    await mesh.spread(facts, 60_000);
    await mesh.run(60_000);
    for (const [a, b] of [
      [acme, bolt],
      [bolt, core],
    ] as const) {
      assert.deepEqual(a.mesh.lag(b.peerId), { outStatements: 0, inStatements: 0, outSeconds: 0, inSeconds: 0 });
      assert.deepEqual(a.mesh.refused(b.peerId), {});
    }
  });

  it('fault 21: a peer that passes nothing on keeps nobody from having it; its lag shows', async () => {
    const [acme, mute, core] = (await startAll(['acme', 'mute', 'core'])) as [MeshNode, MeshNode, MeshNode];
    mute.gossipVerdict = () => 'ignore';
    await mesh.connect(acme, mute);
    await mesh.connect(mute, core);
    await mesh.run(20_000);
    const facts: FactView[] = [];
    for (let n = 0; n < 5; n++) facts.push(await acme.assert(`fact ${n}`, { scope: 'public' }));
    await mesh.run(1000);
    assert.ok(await mute.holds(...facts));
    assert.ok(!(await core.holds(facts[0]!)), 'not by gossip');
    // Heads are compared, and before the session that follows the lag is known.
    const shown = (): boolean => core.mesh.lag(mute.peerId).inStatements === 5;
    await mesh.simulation.runUntilTrue(shown, 60_000, 'the lag shows');
    assert.ok(core.mesh.lag(mute.peerId).inSeconds! > 0);
    await mesh.spread(facts, 5000, [core]);
    assert.equal(mute.mesh.score(acme.peerId), 0);
    await mesh.run(30_000);
    assert.equal(core.mesh.lag(mute.peerId).inStatements, 0);
  });

  it('fault 28: a peer that reads nothing costs bounded memory and delays nobody; it catches up later', async () => {
    const [acme, stuck, fine] = (await startAll(['acme', 'stuck', 'fine'])) as [MeshNode, MeshNode, MeshNode];
    await mesh.connect(acme, stuck);
    await mesh.connect(acme, fine);
    await mesh.run(5000);
    mesh.network.freeze(stuck.peerId, { alive: true });
    const facts: FactView[] = [];
    let slowest = 0;
    for (let n = 0; n < 400; n++) {
      const value = { type: 'text', v: `${n} ${'x'.repeat(40_000)}` };
      facts.push(await acme.assert(`fact ${n}`, { scope: 'company', value }));
      const at = mesh.simulation.now;
      await mesh.simulation.runUntilTrue(() => fine.node.feed.head() > n + 2, 5000, 'the other peer has it');
      slowest = Math.max(slowest, mesh.simulation.now - at);
      const { queues } = acme.mesh.figures();
      assert.ok(queues.outbox_bytes! <= MAX_OUTBOX_BYTES);
      assert.ok(queues.push_in_flight_bytes! <= 2 * PUSH_WINDOW_BYTES);
    }
    assert.ok(slowest < 100, `${slowest} ms`);
    mesh.network.thaw(stuck.peerId);
    await mesh.spread(facts, 180_000, [stuck]);
  });

  it('fault 29: in a ring of ten by gossip, each body comes at most twice', async () => {
    const nodes = await startAll(numbered(10));
    for (const [n, node] of nodes.entries()) await mesh.connect(node, nodes[(n + 1) % 10]!);
    await mesh.run(20_000);
    const counts = nodes.map(countBodies);
    const facts = [];
    for (const node of nodes) facts.push(await node.assert('from everywhere', { scope: 'public' }));
    await mesh.run(2000);
    for (const node of nodes) assert.ok(await node.holds(...facts));
    await mesh.run(120_000);
    for (const { most } of counts) assert.ok(most() >= 1 && most() <= 2, `${most()} times`);
  });

  it('fault 29: among ten daemons of one organisation, each connected to each, each body comes at most twice', async () => {
    const nodes = await startAll(numbered(10), 'acme.example');
    for (const node of nodes.slice(1)) await nodes[0]!.adopt(node);
    for (const node of nodes.slice(1)) await node.node.manifests.accept(...nodes[0]!.ownManifest());
    for (const [n, a] of nodes.entries()) for (const b of nodes.slice(n + 1)) await mesh.connect(a, b);
    await mesh.run(20_000);
    const counts = nodes.map(countBodies);
    const facts = [];
    for (const node of nodes) {
      facts.push(await node.assert('team', { scope: 'team' }), await node.assert('open', { scope: 'public' }));
    }
    await mesh.run(2000);
    for (const node of nodes) assert.ok(await node.holds(...facts));
    await mesh.run(120_000);
    for (const { most } of counts) assert.ok(most() >= 1 && most() <= 2, `${most()} times`);
  });

  it('fault 29: along a line of ten daemons of one organisation, each body comes at most twice', async () => {
    const nodes = await startAll(numbered(10), 'acme.example');
    for (const node of nodes.slice(1)) await nodes[0]!.adopt(node);
    for (const node of nodes.slice(1)) await node.node.manifests.accept(...nodes[0]!.ownManifest());
    for (const [n, a] of nodes.slice(0, 9).entries()) await mesh.connect(a, nodes[n + 1]!);
    await mesh.run(20_000);
    const counts = nodes.map(countBodies);
    const facts = [];
    for (const node of nodes) facts.push(await node.assert('team', { scope: 'team' }));
    await mesh.run(5000);
    for (const node of nodes) assert.ok(await node.holds(...facts));
    await mesh.run(120_000);
    for (const { most } of counts) assert.ok(most() >= 1 && most() <= 2, `${most()} times`);
  });

  it('fault 30: what A shares with B does not reach C, whatever B shares with C', async () => {
    const [a, b, c] = (await startAll(['a', 'b', 'c'])) as [MeshNode, MeshNode, MeshNode];
    await mesh.connect(a, b);
    await mesh.connect(b, c);
    await mesh.run(5000);
    const company = await a.assert('for b alone', { scope: 'company' });
    const open = await a.assert('for everybody', { scope: 'public' });
    await mesh.run(120_000);
    assert.ok(await b.holds(company, open));
    assert.ok(!(await c.holds(company)));
    assert.ok(await c.holds(open), 'public is the grant of onward sharing');
    assert.equal((await c.get(open.id))!.state, 'quarantined', 'c is not paired with a');
    // Nor where A gives B only what is not public.
    const [d, e] = (await startAll(['d', 'e'])) as [MeshNode, MeshNode];
    await mesh.connect(d, b, { a: { gives: ['company'] } });
    await mesh.connect(b, e);
    await mesh.run(5000);
    const kept = await d.assert('not given', { scope: 'public' });
    await mesh.run(60_000);
    assert.ok(!(await b.holds(kept)) && !(await e.holds(kept)));
  });

  it('fault 37: a peer that retracts what is not its own states an opinion; the fact stands', async () => {
    const [acme, bolt] = (await startAll(['acme', 'bolt'])) as [MeshNode, MeshNode];
    await mesh.connect(acme, bolt);
    const entity = 'stigmem://acme.example/user/alice';
    const value = { type: 'string', v: 'CEO' };
    const ours = await acme.assert('ours', { entity, value, scope: 'public' });
    await mesh.run(1000);
    const denial = await bolt.assert('denial', { entity, value, scope: 'public', confidence: 0 });
    await mesh.run(1000);
    assert.ok(await acme.holds(denial));
    const view = (await acme.get(ours.id))!;
    assert.equal(view.state, 'current');
    assert.ok(view.contradicted, 'the opinion shows');
    const [conflict] = (await bolt.node.conflicts.list(who, { limit: 10 })).conflicts;
    assert.ok(conflict);
    await bolt.node.conflicts.resolve(who, conflict.id, {
      winning_fact_id: denial.id,
      resolution_note: 'we say so',
    });
    await mesh.run(1000);
    assert.equal((await acme.get(ours.id))!.state, 'current', "bolt's judgement counts at acme only if acme trusts it");
    assert.equal((await acme.node.conflicts.list(who, { limit: 10 })).conflicts[0]!.status, 'unresolved');
  });

  it('fault 19: a peer that dies in the middle of a reconciliation goes on where it was', async () => {
    const [acme, bolt] = (await startAll(['acme', 'bolt'])) as [MeshNode, MeshNode];
    const facts: FactView[] = [];
    for (let n = 0; n < 60; n++) {
      const value = { type: 'text', v: `${n} ${'x'.repeat(60_000)}` };
      facts.push(await acme.assert(`fact ${n}`, { scope: 'company', value }));
    }
    mesh.network.setAllPaths({ bytesPerSecond: 1_000_000 });
    await mesh.connect(acme, bolt);
    await mesh.simulation.runUntilTrue(() => bolt.node.feed.head() > 20, 60_000, 'a third is there');
    const had = bolt.node.feed.head();
    assert.ok(had < 50, 'and not all of it');
    const again = await mesh.restart(bolt);
    assert.ok(again.node.feed.head() >= had, 'what was taken is kept');
    const bodies = countBodies(again);
    const local = await again.assert('a write in between');
    await mesh.connect(acme, again);
    await mesh.spread(facts, 60_000, [again]);
    assert.ok(await again.holds(local));
    assert.ok(bodies.most() <= 2);
  });
});

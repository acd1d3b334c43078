import assert from 'node:assert/strict';
import { Registry } from 'prom-client';
import { createMeshMetrics, observeMesh } from '../../../src/mesh/metrics.ts';
import { SYSTEM } from '../../../src/policy/principal.ts';
import { type MeshNode, SEED, TestMesh } from '../../support/mesh-node.ts';

describe(`mesh: daemons that exchange statements (seed ${SEED})`, () => {
  let mesh: TestMesh;

  beforeEach(() => {
    mesh = new TestMesh();
  });
  afterEach(() => mesh.close());

  it('reconcile what was there before, then gossip public facts and push company facts within a round trip', async () => {
    const [acme, bolt] = [await mesh.start('acme'), await mesh.start('bolt')];
    const before = [await acme.assert('one', { scope: 'public' }), await bolt.assert('two', { scope: 'company' })];
    await mesh.connect(acme, bolt);
    await mesh.spread(before, 2000);
    const after = [await acme.assert('three', { scope: 'public' }), await acme.assert('four', { scope: 'company' })];
    // 20 ms of latency and 2 of jitter, a few for coalescing.
    await mesh.run(30);
    assert.ok(await bolt.holds(...after));
    assert.equal((await bolt.get(after[0]!.id))!.receivedFrom, acme.peerId);
    assert.equal((await bolt.get(after[0]!.id))!.state, 'current');
    await mesh.run(60_000);
    const local = await acme.assert('five', { scope: 'local' });
    const team = await acme.assert('six', { scope: 'team' });
    await mesh.run(60_000);
    assert.ok(!(await bolt.holds(local)) && !(await bolt.holds(team)));
    assert.deepEqual(acme.mesh.lag(bolt.peerId), { outStatements: 0, inStatements: 0, outSeconds: 0, inSeconds: 0 });
    assert.equal(acme.mesh.lastSync(bolt.peerId)!.result, 'converged');
    assert.deepEqual(bolt.mesh.refused(acme.peerId), {});
  });

  it('of one organisation share all but local, and what one gets from a partner stays with it', async () => {
    const [hq, lab, bolt] = [
      await mesh.start('hq', { org: 'acme.example' }),
      await mesh.start('lab', { org: 'acme.example' }),
      await mesh.start('bolt'),
    ];
    await hq.adopt(lab);
    await mesh.connect(hq, lab);
    await mesh.connect(hq, bolt);
    await mesh.run(5000);
    const team = await hq.assert('team', { scope: 'team' });
    const company = await lab.assert('company', { scope: 'company' });
    const foreign = await bolt.assert('theirs', { scope: 'company' });
    const open = await bolt.assert('open', { scope: 'public' });
    await mesh.run(500);
    assert.ok(await lab.holds(team, open), 'hq pushes its own, and passes public ones on');
    assert.ok(await bolt.holds(company), "lab's company fact goes to bolt by way of hq");
    assert.ok(await hq.holds(foreign));
    await mesh.run(60_000);
    assert.ok(!(await bolt.holds(team)));
    assert.ok(!(await lab.holds(foreign)), "receivers never pass another organisation's company facts on");
  });

  it('pass public facts along a chain, and push them to peers that take a part of them only', async () => {
    const names = ['acme', 'bolt', 'core', 'dune'];
    const daemons: MeshNode[] = [];
    for (const name of names) daemons.push(await mesh.start(name));
    const [acme, bolt, core, dune] = daemons as [MeshNode, MeshNode, MeshNode, MeshNode];
    await mesh.connect(acme, bolt);
    await mesh.connect(bolt, core);
    await mesh.connect(core, dune, { b: { namespaces: ['memory'] } });
    await mesh.run(5000);
    const memory = await acme.assert('one', { scope: 'public' });
    const roadmap = await acme.assert('two', { scope: 'public', relation: 'roadmap:plan' });
    await mesh.run(1000);
    assert.ok(await core.holds(memory, roadmap));
    assert.ok(await dune.holds(memory), 'offered by push, fetched');
    await mesh.run(60_000);
    assert.ok(!(await dune.holds(roadmap)), 'dune takes the namespace memory alone');
    assert.deepEqual(core.mesh.refused(dune.peerId), {});
    assert.deepEqual(dune.mesh.refused(core.peerId), {});
  });

  it('learn the manifest of an organisation they never heard of from whoever passed its fact on', async () => {
    const [acme, bolt, core] = [await mesh.start('acme'), await mesh.start('bolt'), await mesh.start('core')];
    await mesh.connect(bolt, core);
    await mesh.run(20_000);
    await mesh.connect(acme, bolt);
    await mesh.until(
      async () => (await bolt.node.manifests.statement('acme.example')) !== undefined,
      1000,
      'it is there',
    );
    // Before any reconciliation between bolt and core can bring it along.
    assert.equal(core.node.manifests.known('acme.example'), undefined);
    const open = await acme.assert('hello', { scope: 'public' });
    await mesh.run(400);
    assert.ok(core.node.manifests.known('acme.example'));
    assert.equal((await core.get(open.id))!.state, 'quarantined');
    assert.deepEqual(core.mesh.refused(bolt.peerId), {}, 'a missing manifest is no refusal once it came');
  });

  it('push what is too large for gossip', async () => {
    const [acme, bolt] = [await mesh.start('acme'), await mesh.start('bolt')];
    await mesh.connect(acme, bolt);
    await mesh.run(5000);
    const large = await acme.assert('large', {
      scope: 'public',
      value: { type: 'text', v: 'x'.repeat(64 * 1024) },
    });
    await mesh.run(200);
    assert.ok(await bolt.holds(large));
  });

  it('stop a set at once when the terms change, and hold nothing against what was on its way', async () => {
    const [acme, bolt] = [await mesh.start('acme'), await mesh.start('bolt')];
    await mesh.connect(acme, bolt);
    await mesh.run(5000);
    await acme.node.peers.update(SYSTEM, bolt.peerId, { gives: ['public'] });
    const company = await acme.assert('not for bolt', { scope: 'company' });
    const open = await acme.assert('for bolt', { scope: 'public' });
    await mesh.run(60_000);
    assert.ok(await bolt.holds(open));
    assert.ok(!(await bolt.holds(company)));
    assert.equal(bolt.mesh.score(acme.peerId), 0);
    await acme.node.peers.update(SYSTEM, bolt.peerId, { gives: ['public', 'company'] });
    await mesh.spread([company], 5000, [bolt]);
  });

  it('reconcile on demand, and say so when that cannot be', async () => {
    const [acme, bolt] = [await mesh.start('acme'), await mesh.start('bolt')];
    await assert.rejects(mesh.simulation.run(acme.mesh.sync(bolt.peerId)), { code: 'sync_failed' });
    await mesh.connect(acme, bolt);
    await mesh.simulation.run(Promise.all([acme.mesh.sync(bolt.peerId), bolt.mesh.sync(acme.peerId)]));
    assert.equal(acme.mesh.lastSync(bolt.peerId)!.result, 'converged');
    await mesh.simulation.run(bolt.mesh.sync(acme.peerId));
    assert.ok(bolt.events.some(({ type }) => type === 'sync.finished'));
  });

  it('count what they do', async () => {
    const registry = new Registry();
    const acme = await mesh.start('acme');
    const bolt = await mesh.start('bolt', { metrics: createMeshMetrics(registry) });
    observeMesh(registry, bolt.mesh);
    const before = await acme.assert('before', { scope: 'public' });
    await mesh.connect(acme, bolt);
    await mesh.spread([before], 5000);
    await acme.assert('gossiped', { scope: 'public' });
    await acme.assert('pushed', { scope: 'company' });
    await bolt.assert('told', { scope: 'company' });
    await bolt.assert('published', { scope: 'public' });
    await mesh.run(1000);
    const value = async (name: string, labels: Record<string, string> = {}): Promise<number> => {
      const { values } = await registry.getSingleMetric(name)!.get();
      const fits = (one: Partial<Record<string, string | number>>): boolean =>
        Object.entries(labels).every(([label, wanted]) => one[label] === wanted);
      return values.filter((one) => fits(one.labels)).reduce((sum, one) => sum + one.value, 0);
    };
    assert.equal(await value('stigmesh_mesh_statements_received_total', { kind: 'gossip', outcome: 'accepted' }), 1);
    assert.equal(await value('stigmesh_mesh_statements_received_total', { kind: 'push', outcome: 'accepted' }), 1);
    assert.ok((await value('stigmesh_mesh_statements_received_total', { kind: 'sync' })) >= 1);
    assert.equal(await value('stigmesh_mesh_gossip_messages_total', { outcome: 'accept' }), 1);
    assert.equal(await value('stigmesh_mesh_gossip_published_total'), 1);
    assert.equal(await value('stigmesh_mesh_pushed_total'), 1);
    assert.ok((await value('stigmesh_mesh_syncs_total', { reason: 'converged' })) >= 1);
    assert.equal(await value('stigmesh_mesh_active_peers'), 1);
    assert.equal(await value('stigmesh_mesh_indexed'), 1);
    assert.ok((await value('stigmesh_mesh_sets')) >= 4);
    assert.equal(await value('stigmesh_mesh_queue_length', { of: 'sync_sessions' }), 0);
    assert.equal(await value('stigmesh_mesh_lag_statements', { kind: 'in' }), 0);
  });

  it('end all that is under way when they stop', async () => {
    const [acme, bolt] = [await mesh.start('acme'), await mesh.start('bolt')];
    for (let n = 0; n < 300; n++) await acme.assert(`fact ${n}`, { scope: 'public' });
    await mesh.connect(acme, bolt);
    await mesh.run(70);
    mesh.daemons.splice(0, 1);
    await mesh.simulation.run(acme.stop());
    assert.equal(acme.mesh.figures().queues.sync_sessions, 0);
    assert.equal(acme.mesh.activePeers(), 0);
    await mesh.run(60_000);
    assert.equal(bolt.mesh.figures().queues.sync_sessions, 0);
    assert.equal(bolt.mesh.activePeers(), 0);
  });
});

import assert from 'node:assert/strict';
import { ACTIVE_DEADLINE_MS, STRANGER_GRACE_MS } from '../../../src/mesh/control-limits.ts';
import type { PeerView } from '../../../src/node/federation.ts';
import { SEEN_WRITE_MS } from '../../../src/node/mesh-limits.ts';
import { type ControlDaemon, OPERATOR, SHARED, Town } from '../../sim/control.ts';

const SEED = Number(process.env.STIGMESH_SEED ?? 1);

describe(`mesh: pairing (seed ${SEED})`, () => {
  let town: Town;
  let acme: ControlDaemon;
  let bolt: ControlDaemon;

  beforeEach(async () => {
    town = new Town(SEED);
    acme = await town.daemon({ name: 'acme' });
    bolt = await town.daemon({ name: 'bolt' });
  });
  afterEach(() => town.close());

  const bothActive = (): boolean => acme.has(bolt) && bolt.has(acme);
  const register = (at: ControlDaemon, other: ControlDaemon, changes: object = {}) =>
    town.run(at.federation.register(OPERATOR, { peerId: other.peerId, addrs: other.addrs, ...SHARED, ...changes }));
  const approve = (at: ControlDaemon, other: ControlDaemon, changes: object = {}) =>
    town.run(at.federation.approve(OPERATOR, other.peerId, { ...SHARED, ...changes }));

  it('by an invite: active on the terms of both sides, with the key of the other organisation pinned', async () => {
    const invite = await town.invite(acme, { gives: ['public'], takes: ['public', 'company'] });
    const { peer } = await town.join(bolt, invite);
    assert.equal(peer.state, 'active');
    assert.equal(peer.via, 'invite');
    assert.equal(peer.org, 'acme.example');
    assert.ok(peer.connected);
    await town.until(() => acme.has(bolt), 1000);
    const here = acme.mesh.peering.pairing(bolt.peerId)!;
    const there = bolt.mesh.peering.pairing(acme.peerId)!;
    assert.deepEqual(here.ours, { gives: ['public'], takes: ['company', 'public'], namespaces: null });
    assert.deepEqual(here, { org: 'acme.example', peerOrg: 'bolt.example', ours: there.theirs, theirs: there.ours });
    assert.equal(acme.record(bolt)?.orgKey, bolt.node.manifests.own?.org_key);
    assert.equal(bolt.record(acme)?.orgKey, acme.node.manifests.own?.org_key);
    assert.equal(acme.node.manifests.known('bolt.example')?.standing, 'pinned');
    for (const [daemon, types] of [
      [acme, ['invite_created', 'invite_used', 'peer_approved', 'manifest_published', 'manifest_learned']],
      [bolt, ['peer_approved', 'peer_declared', 'manifest_published', 'manifest_learned']],
    ] as const) {
      const found = new Set((await daemon.audit()).map(({ type }) => type));
      for (const type of types) assert.ok(found.has(type), `${daemon.name}: ${type}`);
    }
    assert.deepEqual(
      acme.events.map(({ type }) => type).filter((type) => type.startsWith('peer.')),
      ['peer.changed', 'peer.connected'],
    );
  });

  it('by a second invite, over a connection that is being cut off on account of the first', async () => {
    const cargo = await town.daemon({ name: 'cargo' });
    const spent = await town.invite(acme);
    await town.join(cargo, spent);
    await assert.rejects(town.join(bolt, spent), { code: 'invite_spent' });
    const invite = await town.invite(acme);
    const isConnected = (at: ControlDaemon, to: ControlDaemon): boolean =>
      at.life.transport.connections().some(({ peerId }) => peerId === to.peerId);
    await town.until(() => !isConnected(acme, bolt), 2 * STRANGER_GRACE_MS, 'acme has cut it off');
    assert.ok(isConnected(bolt, acme), 'and bolt has not heard of that yet');
    assert.equal((await town.join(bolt, invite)).peer.state, 'active');
    await town.until(bothActive, 1000);
  });

  it('without an invite: declared by one side, approved by the other', async () => {
    const registered = await register(acme, bolt, { gives: ['public'], takes: [] });
    assert.equal(registered.state, 'pending');
    await town.until(() => bolt.record(acme) !== undefined, 5000, 'bolt knows of acme');
    const waiting = (await town.run(bolt.federation.peers(OPERATOR))).find(({ peerId }) => peerId === acme.peerId)!;
    assert.equal(waiting.state, 'pending');
    assert.equal(waiting.org, 'acme.example');
    assert.equal(waiting.orgKey, acme.node.manifests.own?.org_key, 'what the operator compares');
    assert.equal(waiting.connected, false);
    assert.ok(!acme.has(bolt));
    await town.simulation.runFor(STRANGER_GRACE_MS + 500);
    assert.deepEqual(bolt.life.transport.connections(), [], 'until somebody decides, there is no connection');
    const approved = await approve(bolt, acme);
    assert.equal(approved.state, 'active', 'both sides have declared');
    await town.until(bothActive, 2000, 'active at once: whoever approves dials');
    assert.deepEqual(bolt.mesh.peering.pairing(acme.peerId)?.theirs.gives, ['public']);
  });

  it('shows of whoever is away when it was here last, and not how far behind it is', async () => {
    await town.join(bolt, await town.invite(acme));
    await town.until(bothActive, 1000);
    const view = (): Promise<PeerView> => town.run(acme.federation.peer(OPERATOR, bolt.peerId));
    await town.simulation.runFor(2 * SEEN_WRITE_MS);
    const here = await view();
    assert.equal(here.lastSeenAt, Math.floor(town.simulation.now));
    assert.deepEqual(here.lag, { outStatements: 0, inStatements: 0, outSeconds: 0, inSeconds: 0 });
    const wentAt = town.simulation.now;
    await town.run(bolt.stop());
    await town.until(() => !acme.has(bolt), 1000);
    await town.simulation.runFor(SEEN_WRITE_MS / 2);
    const away = await view();
    assert.ok(!away.connected && away.state === 'active');
    assert.ok(Math.abs(away.lastSeenAt! - wentAt) < 1000, `${away.lastSeenAt! - wentAt} ms after it went`);
    assert.deepEqual(away.lag, { outStatements: null, inStatements: null, outSeconds: null, inSeconds: null });
  });

  it('approves only whoever the operator compared', async () => {
    await register(acme, bolt);
    await town.until(() => bolt.record(acme) !== undefined, 5000);
    const other = Buffer.alloc(32, 7).toString('base64url');
    await assert.rejects(approve(bolt, acme, { orgKey: other }), { code: 'fingerprint_mismatch' });
    const { orgKey } = bolt.record(acme)!;
    assert.equal((await approve(bolt, acme, { orgKey })).state, 'active');
    await town.until(bothActive, 10_000);
    await assert.rejects(approve(bolt, acme), { code: 'peer_not_pending' });
    await assert.rejects(register(bolt, acme), { code: 'peer_exists' });
  });

  it('survives that both sides dial at the same moment', async () => {
    for (let round = 0; round < 5; round++) {
      const [one, other] = [await town.daemon({ name: `one${round}` }), await town.daemon({ name: `other${round}` })];
      await Promise.all([register(one, other), register(other, one)]);
      await town.until(() => one.has(other) && other.has(one), 10_000, 'both are active');
      await town.simulation.runFor(30_000);
      assert.ok(one.has(other) && other.has(one), 'and stay so');
      for (const daemon of [one, other]) {
        const lost = daemon.seen.filter((line) => line.startsWith('inactive'));
        assert.deepEqual(lost, [], `${daemon.name} lost the peer`);
        assert.deepEqual(daemon.warnings(), []);
      }
    }
  });

  it('over a link so slow that to say who one is takes longer than the grace of a stranger', async () => {
    const [here, there] = [acme.peerId, bolt.peerId];
    // A way there and back of 1.2 s, as over a satellite and on to the antipodes.
    town.network.setPath(here, there, { latencyMs: 600 });
    const { peer } = await town.join(bolt, await town.invite(acme));
    assert.equal(peer.state, 'active');
    await town.until(() => acme.has(bolt), 2000, 'the inviter has it, too');
    await town.simulation.runFor(ACTIVE_DEADLINE_MS);
    const lost = [...acme.seen, ...bolt.seen].filter((line) => line.startsWith('inactive'));
    assert.deepEqual(lost, [], 'nobody was cut off on the way');
  });

  it('declares itself to a peer that dialled and says nothing', async () => {
    await Promise.all([register(acme, bolt, { addrs: [] }), register(bolt, acme, { addrs: [] })]);
    // Both know each other; the connection comes from elsewhere, and neither side takes itself for the one that dialled.
    await town.run(acme.life.transport.dial(bolt.peerId, bolt.addrs));
    await town.until(bothActive, ACTIVE_DEADLINE_MS);
  });

  it('reconnects after a restart, a crash, a cut and a power failure', async () => {
    await town.pair(acme, bolt);
    await town.run(bolt.stop());
    await town.until(() => !acme.has(bolt), 1000);
    await town.run(bolt.start());
    await town.until(bothActive, 5000, 'after a restart: the one that started dials');
    bolt.crash();
    await town.until(() => !acme.has(bolt), 1000);
    await town.run(bolt.start());
    await town.until(bothActive, 5000, 'after a crash');
    town.network.cut(acme.peerId, bolt.peerId);
    await town.until(() => !bothActive(), 1000);
    await town.until(bothActive, 10_000, 'after a cut');
    assert.equal(acme.record(bolt)?.state, 'active');
    const reasons = acme.seen.filter((line) => line.startsWith('inactive'));
    assert.deepEqual(new Set(reasons), new Set([`inactive ${bolt.peerId} disconnected`]));
  });

  it('takes nobody by surprise who was replaced at the same address', async () => {
    await town.pair(acme, bolt);
    await town.run(bolt.stop());
    const { key } = bolt;
    const usurper = await town.daemon({ name: 'usurper' });
    assert.notEqual(usurper.key, key);
    await town.simulation.runFor(60_000);
    assert.ok(!acme.mesh.peering.admits(usurper.peerId));
  });

  it('does not pair with itself, nor without an address, nor on scopes that nobody shares', async () => {
    const own = await town.invite(acme);
    await assert.rejects(town.join(acme, own), { code: 'peer_is_self' });
    await assert.rejects(register(acme, acme), { code: 'peer_is_self' });
    await assert.rejects(town.join(bolt, own, { gives: ['local'] }), { code: 'invalid_terms' });
    await assert.rejects(town.invite(acme, { takes: ['local'] }), { code: 'invalid_terms' });
    await assert.rejects(town.invite(acme, { addrs: ['/ip4/1.2.3.4/udp/1'] }), { code: 'invalid_address' });
    await assert.rejects(town.invite(acme, { addrs: [`/ip4/1.2.3.4/tcp/1/p2p/${bolt.peerId}`] }), {
      code: 'invalid_address',
    });
    await assert.rejects(register(acme, bolt, { addrs: ['http://10.0.0.1/'] }), { code: 'invalid_address' });
    assert.deepEqual(acme.node.invites.list().length, 1);
  });

  it('gives nothing that is beyond the scopes of the key, or an agent would read the rest at a daemon of its own', async () => {
    const { federation } = acme;
    const narrow = { ...OPERATOR, permissions: new Set(['federate'] as const), scopes: new Set(['public'] as const) };
    const open = { gives: ['public'], takes: ['public', 'company'], namespaces: null } as const;
    const denied = { code: 'scope_denied' };
    const peer = { peerId: bolt.peerId, addrs: bolt.addrs };
    await assert.rejects(federation.createInvite(narrow, { ...SHARED, expiresIn: 60 }), denied);
    await assert.rejects(federation.join(narrow, { invite: '', ...SHARED, allowPrivate: true }), denied);
    await assert.rejects(federation.register(narrow, { ...peer, ...SHARED }), denied);
    await assert.rejects(federation.approve(narrow, bolt.peerId, SHARED), denied);
    await town.run(federation.register(narrow, { ...peer, ...open }));
    await assert.rejects(federation.update(narrow, bolt.peerId, { gives: ['public', 'team'] }), denied);
    assert.deepEqual(acme.record(bolt)?.ours.gives, ['public']);
    await town.run(federation.update({ ...narrow, permissions: new Set(['admin'] as const) }, bolt.peerId, SHARED));
    // What was given by somebody else may stay.
    await town.run(federation.update(narrow, bolt.peerId, { ...SHARED, takes: ['public'] }));
    assert.deepEqual(acme.record(bolt)?.ours.takes, ['public']);
  });

  it('asks for the permission first', async () => {
    const reader = { ...OPERATOR, permissions: new Set(['read', 'write'] as const) };
    const federator = { ...OPERATOR, permissions: new Set(['federate'] as const) };
    const { federation } = acme;
    const calls: (() => Promise<unknown>)[] = [
      () => federation.peers(reader),
      () => federation.peer(reader, bolt.peerId),
      () => federation.register(reader, { peerId: bolt.peerId, addrs: [], ...SHARED }),
      () => federation.approve(reader, bolt.peerId, SHARED),
      () => federation.update(reader, bolt.peerId, {}),
      () => federation.remove(reader, bolt.peerId),
      () => federation.createInvite(reader, { ...SHARED, expiresIn: 60 }),
      () => federation.invites(reader),
      () => federation.revokeInvite(reader, '00'),
      () => federation.join(reader, { invite: '', ...SHARED, allowPrivate: false }),
      () => federation.discover(reader, null),
      () => federation.sync(reader, null),
      () => federation.manifests(reader),
      () => federation.importManifest(federator, {}),
      () => federation.rotateOrgKey(federator),
      () => federation.addNode(federator, { peerId: bolt.peerId }),
      () => federation.revokeNode(federator, { peerId: bolt.peerId }),
      () => federation.forgetNode(federator, { peerId: bolt.peerId }),
    ];
    for (const call of calls) await assert.rejects(call(), { code: 'permission_denied' }, String(call));
    assert.deepEqual(await federation.peers(federator), []);
    for (const call of [
      () => federation.peer(federator, bolt.peerId),
      () => federation.approve(federator, bolt.peerId, SHARED),
      () => federation.update(federator, bolt.peerId, {}),
      () => federation.remove(federator, bolt.peerId),
      () => federation.sync(federator, bolt.peerId),
    ]) {
      await assert.rejects(call(), { code: 'peer_not_found' });
    }
  });

  it('shows operators who is there, how far away, and on what terms', async () => {
    await town.pair(acme, bolt);
    await register(acme, await town.daemon({ name: 'cargo' }));
    await town.simulation.runFor(2000);
    const [view] = (await town.run(acme.federation.peers(OPERATOR))).filter(({ peerId }) => peerId === bolt.peerId);
    assert.ok(view?.connected);
    assert.match(view.remoteAddr ?? '', /^\/ip4\/10\.0\.0\./);
    assert.equal(view.roundTripMs, 40);
    assert.equal(view.score, 0);
    const status = acme.federation.status();
    assert.deepEqual(status.peers, { pending: 1, active: 1, suspended: 0, expired: 0, revoked: 0, connected: 1 });
    assert.deepEqual(status.addrs, acme.addrs);
    const views = await town.run(acme.federation.sync(OPERATOR, null));
    assert.deepEqual(
      views.map(({ peerId }) => peerId),
      [bolt.peerId],
    );
    await assert.rejects(town.run(bolt.federation.sync(OPERATOR, 'nobody')), { code: 'peer_not_found' });
  });
});

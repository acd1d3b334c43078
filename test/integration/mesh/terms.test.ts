import assert from 'node:assert/strict';
import { DECLARE } from '../../../src/mesh/declare.ts';
import type { PeerPatch } from '../../../src/node/federation.ts';
import { namedSet } from '../../../src/policy/sets.ts';
import { isShared } from '../../../src/policy/sharing.ts';
import { type ControlDaemon, OPERATOR, Town } from '../../sim/control.ts';

const SEED = Number(process.env.STIGMESH_SEED ?? 1);
/** Within which every change takes effect on a live connection. */
const AT_ONCE_MS = 1000;

describe(`mesh: changes on a live connection (seed ${SEED})`, () => {
  let town: Town;
  let acme: ControlDaemon;
  let bolt: ControlDaemon;

  beforeEach(async () => {
    town = new Town(SEED);
    acme = await town.daemon({ name: 'acme' });
    bolt = await town.daemon({ name: 'bolt' });
    await town.pair(acme, bolt);
  });
  afterEach(() => town.close());

  const update = (patch: PeerPatch) => town.run(acme.federation.update(OPERATOR, bolt.peerId, patch));
  const shares = (at: ControlDaemon, other: ControlDaemon, audience: 'public' | 'company', org: string): boolean => {
    const pairing = at.mesh.peering.pairing(other.peerId);
    return pairing !== undefined && isShared(namedSet(audience, org, 'memory'), pairing);
  };
  const bothShare = (audience: 'public' | 'company', org: string): boolean =>
    shares(acme, bolt, audience, org) && shares(bolt, acme, audience, org);

  it('narrower terms: at once here, within a second there, and the connection stays', async () => {
    assert.ok(bothShare('company', 'acme.example'));
    const told: string[] = [];
    bolt.mesh.peering.on({
      changed: ({ pairing }, before) => told.push(`${before.theirs.gives} ${pairing.theirs.gives}`),
    });
    const updating = acme.federation.update(OPERATOR, bolt.peerId, { gives: ['public'] });
    await town.until(() => !shares(acme, bolt, 'company', 'acme.example'), 10, 'it stopped here');
    await town.run(updating);
    const took = await town.until(() => !shares(bolt, acme, 'company', 'acme.example'), AT_ONCE_MS, 'it stopped there');
    assert.ok(took < AT_ONCE_MS);
    assert.ok(bothShare('company', 'bolt.example'), 'the other direction is untouched');
    assert.deepEqual(told, ['company,public public']);
    assert.ok(bolt.mesh.peering.isSettling(acme.peerId) && acme.mesh.peering.isSettling(bolt.peerId));
    await town.simulation.runFor(6000);
    assert.ok(!bolt.mesh.peering.isSettling(acme.peerId));
    assert.ok(!acme.seen.some((line) => line.startsWith('inactive')), 'nobody was disconnected');
  });

  it('wider terms: in force on both sides within a second, here not before they know', async () => {
    await update({ gives: ['public'] });
    await town.until(() => !shares(bolt, acme, 'company', 'acme.example'), AT_ONCE_MS);
    await town.simulation.runFor(1000);
    let early = false;
    acme.mesh.peering.on({ changed: () => (early = !shares(bolt, acme, 'company', 'acme.example')) });
    await update({ gives: ['public', 'company'] });
    assert.ok(!shares(acme, bolt, 'company', 'acme.example'), 'not before they know');
    await town.until(() => bothShare('company', 'acme.example'), AT_ONCE_MS);
    assert.equal(early, false);
  });

  it('namespaces: only what both name', async () => {
    await update({ namespaces: ['roadmap'] });
    await town.until(() => !bothShare('public', 'acme.example'), AT_ONCE_MS);
    await town.simulation.runFor(AT_ONCE_MS);
    for (const daemon of [acme, bolt]) {
      const other = daemon === acme ? bolt : acme;
      const pairing = daemon.mesh.peering.pairing(other.peerId)!;
      assert.ok(isShared(namedSet('public', 'acme.example', 'roadmap'), pairing));
      assert.ok(!isShared(namedSet('public', 'acme.example', 'memory'), pairing));
    }
  });

  it('many changes in a row end with the last one on both sides', async () => {
    const random = town.simulation.random('terms');
    const all = ['public', 'company'] as const;
    for (let round = 0; round < 20; round++) {
      const scopes = all.filter(() => random.next() < 0.5);
      const at = random.next() < 0.5 ? acme : bolt;
      const other = at === acme ? bolt : acme;
      const patch = random.next() < 0.5 ? { gives: scopes } : { takes: scopes };
      void at.federation.update(OPERATOR, other.peerId, patch);
      await town.simulation.runFor(random.below(60));
    }
    await town.simulation.runFor(2000);
    const [here, there] = [acme.mesh.peering.pairing(bolt.peerId)!, bolt.mesh.peering.pairing(acme.peerId)!];
    assert.deepEqual(here.ours, acme.record(bolt)!.ours);
    assert.deepEqual(there.ours, bolt.record(acme)!.ours);
    assert.deepEqual(here.ours, there.theirs);
    assert.deepEqual(here.theirs, there.ours);
  });

  it('suspended: cut off within a second, told why, and back when resumed', async () => {
    await update({ suspended: true });
    await town.until(() => !acme.has(bolt) && !bolt.has(acme), AT_ONCE_MS);
    assert.equal(acme.record(bolt)?.state, 'suspended');
    assert.equal(bolt.record(acme)?.state, 'active', 'what bolt decided is bolt’s');
    await town.simulation.runFor(120_000);
    assert.ok(!acme.has(bolt) && !bolt.has(acme));
    assert.ok(
      bolt.log.some(({ fields }) => fields.code === 'peer_suspended'),
      'bolt’s log says why',
    );
    await update({ suspended: false });
    await town.until(() => acme.has(bolt) && bolt.has(acme), 5000, 'resumed');
    assert.deepEqual((await acme.audit('peer_suspended')).length, 1);
  });

  it('expired: cut off at the moment, and back when extended', async () => {
    const at = acme.life.transport.world.now() + 60_000;
    await update({ expiresAt: at });
    await town.until(() => bolt.record(acme)?.theirs?.expiresAt === at, AT_ONCE_MS, 'bolt knows when it ends');
    await town.simulation.runUntil(at - 100);
    assert.ok(acme.has(bolt) && bolt.has(acme));
    await town.until(() => !acme.has(bolt) && !bolt.has(acme), AT_ONCE_MS);
    await town.simulation.runFor(2000);
    assert.equal(acme.record(bolt)?.state, 'expired');
    assert.equal(bolt.record(acme)?.state, 'expired');
    assert.ok(acme.seen.includes(`inactive ${bolt.peerId} expired`));
    assert.equal((await acme.audit('peer_expired')).length, 1);
    await town.simulation.runFor(60_000);
    assert.ok(!acme.has(bolt));
    await update({ expiresAt: null });
    await town.until(() => acme.has(bolt) && bolt.has(acme), 15_000, 'extended');
    assert.equal(bolt.record(acme)?.state, 'active');
  });

  it('an expiry years ahead does not overflow a timer', async () => {
    await update({ expiresAt: acme.life.transport.world.now() + 5 * 365 * 86_400_000 });
    await town.simulation.runFor(60_000);
    assert.ok(acme.has(bolt) && bolt.has(acme));
  });

  it('banned: cut off, no connection until then, what was decided stays', async () => {
    const { peering } = acme.mesh;
    peering.ban(bolt.peerId, acme.life.transport.world.now() + 60_000);
    await town.until(() => !acme.has(bolt) && !bolt.has(acme), AT_ONCE_MS);
    assert.ok(acme.seen.includes(`inactive ${bolt.peerId} banned`));
    assert.equal(acme.record(bolt)?.state, 'active');
    await town.simulation.runFor(58_000);
    assert.ok(!acme.has(bolt));
    await town.until(() => acme.has(bolt) && bolt.has(acme), 120_000, 'the ban is over');
  });

  it('a redeclaration that fails cuts the peer off, and it is reconnected on the new terms', async () => {
    // Bolt no longer answers on the declare protocol; everything else of it works.
    await bolt.life.transport.handle(
      DECLARE,
      () => new Promise(() => {}),
      () => true,
    );
    await update({ gives: ['public'] });
    assert.ok(!shares(acme, bolt, 'company', 'acme.example'), 'narrower at once, whatever the other side does');
    await town.until(() => !acme.has(bolt), 20_000, 'who cannot be told is cut off');
  });
});

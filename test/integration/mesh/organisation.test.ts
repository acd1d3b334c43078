import assert from 'node:assert/strict';
import type { OrgManifest } from '../../../src/identity/manifest.ts';
import { renewed, withNode } from '../../../src/identity/manifest-edit.ts';
import { SYSTEM } from '../../../src/policy/principal.ts';
import { namedSet } from '../../../src/policy/sets.ts';
import { isShared } from '../../../src/policy/sharing.ts';
import { type ControlDaemon, OPERATOR, SHARED, Town } from '../../sim/control.ts';

const SEED = Number(process.env.STIGMESH_SEED ?? 1);
const AT_ONCE_MS = 1000;
const DAY_MS = 86_400_000;

describe(`mesh: organisations (seed ${SEED})`, () => {
  let town: Town;
  let acme: ControlDaemon;

  beforeEach(async () => {
    town = new Town(SEED);
    acme = await town.daemon({ name: 'acme' });
  });
  afterEach(() => town.close());

  const ownOf = (daemon: ControlDaemon): OrgManifest => daemon.node.manifests.own as unknown as OrgManifest;
  const second = (name = 'acme2'): Promise<ControlDaemon> => town.daemon({ name, org: 'acme.example' });
  /** A second daemon of acme, as an operator makes one: listed there, joined here. */
  const grow = async (name = 'acme2'): Promise<ControlDaemon> => {
    const daemon = await second(name);
    await town.run(acme.federation.addNode(OPERATOR, { peerId: daemon.peerId }));
    await town.join(daemon, await town.invite(acme));
    await town.until(() => acme.has(daemon) && daemon.has(acme), 5000);
    return daemon;
  };

  describe('the own manifest', () => {
    it('is made at the first start, version 1, with this node, and kept', async () => {
      const own = ownOf(acme);
      assert.equal(own.version, 1);
      assert.deepEqual(own.nodes, [{ namespaces: ['acme.example'], peer_id: acme.peerId }]);
      assert.equal((await acme.audit('manifest_published')).length, 1);
      await town.run(acme.stop());
      await town.run(acme.start());
      assert.equal(ownOf(acme).signature, own.signature);
    });

    it('is renewed at two thirds of its life, and peers follow without a break', async () => {
      const bolt = await town.daemon({ name: 'bolt' });
      await town.pair(acme, bolt);
      const own = ownOf(acme);
      const life = Date.parse(own.expires_at) - Date.parse(own.issued_at);
      // A year of pings would take minutes: time is passed while nobody runs.
      await town.run(acme.stop());
      await town.run(bolt.stop());
      await town.simulation.runUntil(Date.parse(own.issued_at) + life * 0.65);
      await town.run(acme.start());
      assert.equal(ownOf(acme).version, 1, 'not before');
      await town.run(acme.stop());
      await town.simulation.runUntil(Date.parse(own.issued_at) + (life * 2) / 3 - 30_000);
      await town.run(acme.start());
      await town.run(bolt.start());
      await town.until(() => acme.has(bolt), 20_000);
      const before = acme.seen.length;
      await town.until(() => ownOf(acme).version === 2, 60_000, 'renewed');
      await town.until(() => bolt.node.manifests.known('acme.example')?.version === 2, AT_ONCE_MS, 'bolt knows');
      assert.ok(acme.has(bolt) && bolt.has(acme));
      assert.ok(Date.parse(ownOf(acme).expires_at) > Date.parse(own.expires_at) + 200 * DAY_MS);
      assert.ok(!acme.seen.slice(before).some((line) => line.startsWith('inactive')));
    });

    it('follows the key on disk after a crash in the middle of a rotation', async () => {
      const before = ownOf(acme);
      await town.run(acme.stop());
      acme.orgKeys.push(town.simulation.key('the next one'));
      await town.run(acme.start());
      const own = ownOf(acme);
      assert.equal(own.version, 2);
      assert.deepEqual(
        own.rotations.map(({ from }) => from),
        [before.org_key],
      );
    });

    it('is changed only where its key is', async () => {
      const two = await grow();
      for (const call of [
        () => two.federation.rotateOrgKey(OPERATOR),
        () => two.federation.addNode(OPERATOR, { peerId: acme.peerId }),
        () => two.federation.revokeNode(OPERATOR, { peerId: acme.peerId }),
        () => two.federation.forgetNode(OPERATOR, { peerId: acme.peerId }),
      ]) {
        await assert.rejects(town.run(call()), { code: 'org_key_missing' });
      }
      await assert.rejects(town.run(acme.federation.revokeNode(OPERATOR, { peerId: acme.peerId })), {
        code: 'peer_is_self',
      });
      await assert.rejects(town.run(acme.federation.addNode(OPERATOR, { peerId: two.peerId })), {
        code: 'node_listed',
      });
      const narrowed = await town.run(
        acme.federation.addNode(OPERATOR, { peerId: two.peerId, namespaces: ['lab.acme.example'] }),
      );
      assert.equal(narrowed.version, 3);
      await assert.rejects(
        town.run(acme.federation.addNode(OPERATOR, { peerId: two.peerId, namespaces: ['bolt.example'] })),
        { code: 'not_owner' },
      );
    });

    it('forgets a node once it is revoked, and may list it again', async () => {
      const two = await grow();
      const { peerId } = two;
      await assert.rejects(town.run(acme.federation.forgetNode(OPERATOR, { peerId })), { code: 'node_not_revoked' });
      await town.run(acme.federation.revokeNode(OPERATOR, { peerId }));
      await town.run(acme.federation.forgetNode(OPERATOR, { peerId }));
      assert.deepEqual(
        ownOf(acme).nodes.map((node) => node.peer_id),
        [acme.peerId],
      );
      await assert.rejects(town.run(acme.federation.forgetNode(OPERATOR, { peerId })), { code: 'node_not_listed' });
      await town.run(acme.federation.addNode(OPERATOR, { peerId }));
      assert.equal(ownOf(acme).nodes.length, 2);
    });
  });

  describe('a second daemon', () => {
    it('takes the manifest over by joining, and shares everything but local without ceremony', async () => {
      const two = await grow();
      assert.equal(ownOf(two).signature, ownOf(acme).signature);
      assert.equal(acme.record(two)?.org, 'acme.example');
      const pairing = acme.mesh.peering.pairing(two.peerId)!;
      for (const audience of ['team', 'company', 'public', 'garden'] as const) {
        assert.ok(
          isShared(namedSet(audience, 'acme.example', 'memory', audience === 'garden' ? 'g' : undefined), pairing),
        );
      }
      assert.deepEqual(acme.warnings(), []);
      assert.equal((await acme.audit('manifest_refused')).length, 0, 'that it made one for itself is no attack');
    });

    it('is not joined before it is listed, and nothing changes', async () => {
      const two = await second();
      const made = ownOf(two);
      await assert.rejects(town.join(two, await town.invite(acme)), (error: { code: string; hint: string }) => {
        assert.equal(error.code, 'node_not_listed');
        assert.ok(error.hint.includes(two.peerId));
        return true;
      });
      assert.equal(ownOf(two).signature, made.signature);
      assert.equal(acme.record(two), undefined);
      assert.equal(acme.node.invites.list()[0]?.usedBy, null, 'the invite is still good');
    });

    it('is admitted by every other daemon of the organisation, found by discovery alone', async () => {
      const two = await grow('acme2');
      const three = await grow('acme3');
      await town.until(() => ownOf(two).version === ownOf(acme).version, AT_ONCE_MS, 'two knows of three');
      two.life.discovery.meet(three.life.discovery);
      await town.until(() => two.has(three) && three.has(two), 15_000, 'two and three are active');
      assert.equal(two.record(three)?.via, 'org');
      const bolt = await town.daemon({ name: 'bolt' });
      bolt.life.discovery.meet(two.life.discovery);
      await town.simulation.runFor(15_000);
      assert.ok(!two.has(bolt), 'finding grants nothing to others');
    });

    it('reconnects by what discovery finds when no address is on record', async () => {
      const two = await grow('acme2');
      const three = await grow('acme3');
      await town.until(
        () => two.has(three) || three.has(two),
        15 * 60_000,
        'a search for the own organisation finds it',
      );
    });

    it('learns of changes on the live connection', async () => {
      const two = await grow();
      await town.run(acme.federation.rotateOrgKey(OPERATOR));
      await town.until(() => ownOf(two).signature === ownOf(acme).signature, AT_ONCE_MS);
      assert.ok(acme.has(two) && two.has(acme));
    });

    it('can be removed by its operator although it is listed', async () => {
      const two = await grow();
      await town.run(acme.federation.remove(OPERATOR, two.peerId));
      await town.until(() => !acme.has(two) && !two.has(acme), AT_ONCE_MS);
      await town.simulation.runFor(60_000);
      assert.ok(!acme.has(two));
    });

    it('whose manifest is imported by hand needs no invite', async () => {
      const two = await second();
      await town.run(acme.federation.addNode(OPERATOR, { peerId: two.peerId }));
      const { manifest } = await acme.federation.manifest('acme.example');
      await town.run(two.federation.importManifest(OPERATOR, manifest));
      assert.equal(ownOf(two).signature, ownOf(acme).signature);
      await town.run(two.life.transport.dial(acme.peerId, acme.addrs));
      await town.until(() => two.has(acme) && acme.has(two), 5000);
    });

    it('imports nothing that is not for it', async () => {
      const two = await second();
      const bolt = await town.daemon({ name: 'bolt' });
      const foreign = (await bolt.federation.manifest('bolt.example')).manifest;
      await assert.rejects(town.run(two.federation.importManifest(OPERATOR, foreign)), { code: 'manifest_invalid' });
      const unlisted = (await acme.federation.manifest('acme.example')).manifest;
      await assert.rejects(town.run(two.federation.importManifest(OPERATOR, unlisted)), { code: 'node_not_listed' });
      await assert.rejects(town.run(two.federation.importManifest(OPERATOR, { ...unlisted, version: 7 })), {
        code: 'bad_signature',
      });
      await town.run(acme.federation.addNode(OPERATOR, { peerId: two.peerId }));
      const listed = (await acme.federation.manifest('acme.example')).manifest;
      await town.run(two.federation.importManifest(OPERATOR, listed));
      await town.run(acme.federation.addNode(OPERATOR, { peerId: bolt.peerId }));
      const newer = (await acme.federation.manifest('acme.example')).manifest;
      await town.run(two.federation.importManifest(OPERATOR, newer));
      await assert.rejects(town.run(two.federation.importManifest(OPERATOR, listed)), { code: 'manifest_stale' });
    });
  });

  describe('other organisations', () => {
    it('two manifests of one version: refused loudly, what was known stays', async () => {
      const bolt = await town.daemon({ name: 'bolt' });
      await town.pair(acme, bolt);
      const known = acme.node.manifests.known('bolt.example')!;
      // Bolt's operator lets another daemon with a copy of the org key make a manifest of its own.
      const twin = await town.daemon({ name: 'twin', org: 'bolt.example', orgKeyOf: bolt });
      await town.run(twin.federation.register(OPERATOR, { peerId: acme.peerId, addrs: acme.addrs, ...SHARED }));
      await town.run(acme.federation.register(OPERATOR, { peerId: twin.peerId, addrs: twin.addrs, ...SHARED }));
      await town.simulation.runFor(30_000);
      assert.ok(!acme.has(twin));
      const [refused] = await acme.audit('manifest_refused');
      assert.equal(refused?.detail?.code, 'manifest_equivocation');
      assert.ok(acme.warnings().some(({ fields }) => fields.code === 'manifest_equivocation'));
      assert.equal(acme.node.manifests.known('bolt.example')?.version, known.version);
      assert.ok((await acme.node.status()).warnings.some((text) => text.includes('two manifests')));
      assert.ok(acme.has(bolt), 'the one that is paired stays');
      // A later version that lists both settles it.
      const orgKey = bolt.orgKeys[0]!;
      const now = bolt.life.transport.world.now();
      const both = withNode(ownOf(bolt), { peerId: twin.peerId }, { orgKey, now });
      await town.run(bolt.node.manifests.publish(SYSTEM, both));
      await town.run(twin.federation.importManifest(OPERATOR, both));
      await town.until(() => acme.has(twin), 60_000, 'settled');
    });

    it('a stranger in the name of a paired organisation is not even listed', async () => {
      const bolt = await town.daemon({ name: 'bolt' });
      await town.pair(acme, bolt);
      const liar = await town.daemon({ name: 'liar', org: 'bolt.example' });
      await town.run(liar.federation.register(OPERATOR, { peerId: acme.peerId, addrs: acme.addrs, ...SHARED }));
      await town.simulation.runFor(30_000);
      assert.equal(acme.record(liar), undefined);
      assert.ok(
        liar.log.some(({ fields }) => fields.event === 'not_active_there' && fields.code === 'pending'),
        'what every stranger is told',
      );
      assert.ok(!liar.log.some(({ fields }) => fields.code === 'rotation_unproven'));
      assert.ok(acme.log.some(({ fields }) => fields.event === 'stranger_unproven' && fields.org === 'bolt.example'));
      assert.equal((await acme.audit('manifest_refused')).length, 0, 'strangers cannot fill the audit log');
    });

    it('a stranger in our own name is refused', async () => {
      const liar = await second('liar');
      await town.run(liar.federation.register(OPERATOR, { peerId: acme.peerId, addrs: acme.addrs, ...SHARED }));
      await town.simulation.runFor(30_000);
      assert.ok(!acme.has(liar) && !liar.has(acme));
      assert.equal(acme.record(liar), undefined);
      assert.equal(ownOf(acme).version, 1);
    });

    it('a daemon that shows an older manifest than we know is believed as far as the newer one says', async () => {
      const bolt = await town.daemon({ name: 'bolt' });
      const bolt2 = await town.daemon({ name: 'bolt2', org: 'bolt.example' });
      await town.run(bolt.federation.addNode(OPERATOR, { peerId: bolt2.peerId }));
      await town.join(bolt2, await town.invite(bolt));
      await town.pair(acme, bolt);
      await town.pair(acme, bolt2);
      await town.run(bolt2.stop());
      const rotated = await town.run(bolt.federation.rotateOrgKey(OPERATOR));
      await town.until(() => acme.node.manifests.known('bolt.example')?.version === rotated.version, AT_ONCE_MS);
      await town.run(bolt.stop());
      await town.run(bolt2.start());
      await town.until(() => acme.has(bolt2) && bolt2.has(acme), 30_000, 'of one chain');
      assert.equal(acme.record(bolt2)?.orgKey, rotated.manifest.org_key);
    });

    it('an expired manifest is refused until it is renewed', async () => {
      const bolt = await town.daemon({ name: 'bolt' });
      await town.pair(acme, bolt);
      const own = ownOf(bolt);
      const orgKey = bolt.orgKeys[0]!;
      const now = bolt.life.transport.world.now();
      const short = renewed(own, { orgKey, now, lifeMs: 60_000 });
      await town.run(bolt.stop());
      await town.run(acme.node.manifests.accept(SYSTEM, short, { pin: true }));
      await town.simulation.runFor(120_000);
      assert.equal(acme.node.manifests.known('bolt.example')?.expired, true);
      await town.run(bolt.start());
      await town.until(() => acme.has(bolt), 900_000, 'what it shows holds: an older version of the same chain');
    });
  });
});

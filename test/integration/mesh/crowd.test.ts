import assert from 'node:assert/strict';
import { rawPublicKey } from '../../../src/identity/index.ts';
import {
  FIRST_SYNC_MS,
  MAX_PARALLEL_DECLARES,
  MAX_PARALLEL_LOOKS,
  MAX_PARALLEL_SYNCS,
  MAX_SEARCHES,
  OUTBOUND_STRANGER_GRACE_MS,
  RENEWAL_RETRY_MS,
  SEARCH_INTERVAL_MS,
} from '../../../src/mesh/control-limits.ts';
import { DECLARE } from '../../../src/mesh/declare.ts';
import { NodeError } from '../../../src/node/errors.ts';
import { type ControlDaemon, OPERATOR, SHARED, Town } from '../../sim/control.ts';
import { fixedKey, numberedPeer } from '../../support/org.ts';

const SEED = Number(process.env.STIGMESH_SEED ?? 1);

/** Counts how many calls are under way at a time. */
class Gauge {
  most = 0;
  calls = 0;
  #now = 0;

  async during<T>(work: Promise<T>): Promise<T> {
    this.calls += 1;
    this.#now += 1;
    this.most = Math.max(this.most, this.#now);
    try {
      return await work;
    } finally {
      this.#now -= 1;
    }
  }
}

describe(`mesh: bounds on what happens at once (seed ${SEED})`, () => {
  let town: Town;
  let acme: ControlDaemon;

  beforeEach(async () => {
    town = new Town(SEED);
    acme = await town.daemon({ name: 'acme' });
  });
  afterEach(() => town.close());

  it(`tells everybody of a new manifest, ${MAX_PARALLEL_DECLARES} at a time, and reconciles ${MAX_PARALLEL_SYNCS} at a time`, async () => {
    const crowd: ControlDaemon[] = [];
    for (let n = 0; n < MAX_PARALLEL_DECLARES + 6; n++) {
      const peer = await town.daemon({ name: `peer${n}` });
      await town.pair(acme, peer);
      crowd.push(peer);
    }
    await town.simulation.runFor(20_000);
    const declares = new Gauge();
    const { transport, mesh } = acme.life;
    const open = transport.open.bind(transport);
    transport.open = async (peerId, protocol) => {
      if (protocol.id !== DECLARE.id) return open(peerId, protocol);
      const stream = await open(peerId, protocol);
      const close = stream.close.bind(stream);
      let ended = (): void => {};
      void declares.during(
        new Promise<void>((resolve) => {
          ended = resolve;
        }),
      );
      stream.close = () => {
        ended();
        return close();
      };
      return stream;
    };
    const rotated = await town.run(acme.federation.rotateOrgKey(OPERATOR));
    const told = (): boolean =>
      crowd.every((peer) => peer.node.manifests.known('acme.example')?.fingerprint === rotated.fingerprint);
    await town.until(told, 1000, 'everybody knows within a second');
    await town.simulation.runFor(1000);
    assert.equal(declares.calls, crowd.length);
    assert.equal(declares.most, MAX_PARALLEL_DECLARES);
    assert.ok(crowd.every((peer) => acme.has(peer)));

    const syncs = new Gauge();
    const sync = mesh.data.sync.bind(mesh.data);
    mesh.data.sync = (peerId, signal) => syncs.during(sync(peerId, signal));
    const views = await town.run(acme.federation.sync(OPERATOR, null));
    assert.equal(views.length, crowd.length);
    assert.equal(syncs.calls, crowd.length);
    assert.equal(syncs.most, MAX_PARALLEL_SYNCS);
  });

  it(`asks ${MAX_PARALLEL_LOOKS} found peers at a time who they are`, async () => {
    for (let n = 0; n < 30; n++) acme.find({ peerId: numberedPeer(n), addrs: ['/ip4/10.0.77.77/tcp/1'], via: 'mdns' });
    const dials = new Gauge();
    const { transport } = acme.life;
    const dial = transport.dial.bind(transport);
    transport.dial = (...args) => dials.during(dial(...args));
    assert.equal((await town.run(acme.federation.discover(OPERATOR, null))).length, 30);
    assert.equal(dials.most, MAX_PARALLEL_LOOKS);
  });

  it(`looks for ${MAX_SEARCHES} organisations a round, those it looked for longest ago first`, async () => {
    const orgKey = Buffer.from(rawPublicKey(fixedKey(1))).toString('base64url');
    const count = MAX_SEARCHES + 4;
    for (let n = 0; n < count; n++) {
      const identity = { org: `o${n}.example`, orgKey };
      await town.run(acme.node.peers.approve(OPERATOR, numberedPeer(n), { ...SHARED, addrs: [], identity }));
    }
    const asked: string[] = [];
    const { discovery } = acme.life;
    discovery.find = async (org) => {
      asked.push(org);
      return [];
    };
    await town.simulation.runFor(1.3 * SEARCH_INTERVAL_MS);
    assert.equal(asked.length, MAX_SEARCHES);
    await town.simulation.runFor(1.3 * SEARCH_INTERVAL_MS);
    assert.equal(new Set(asked.slice(0, 2 * MAX_SEARCHES)).size, count, 'everybody in turn');
  });

  it('leaves a stranger that it was made to dial', async () => {
    const bolt = await town.daemon({ name: 'bolt' });
    // Bolt has no grace of its own here, so that only acme's counts.
    await town.run(bolt.federation.register(OPERATOR, { peerId: acme.peerId, addrs: [], ...SHARED }));
    await town.run(acme.life.transport.dial(bolt.peerId, bolt.addrs));
    const start = town.simulation.now;
    await town.until(() => acme.life.transport.connections().length === 0, 2 * OUTBOUND_STRANGER_GRACE_MS);
    assert.ok(town.simulation.now - start <= OUTBOUND_STRANGER_GRACE_MS + 100);
    assert.ok(!acme.mesh.peering.admits(bolt.peerId));
  });

  it(`does not wait for a first reconciliation longer than ${FIRST_SYNC_MS} ms`, async () => {
    const bolt = await town.daemon({ name: 'bolt' });
    const invite = await town.invite(acme);
    let aborted = false;
    bolt.mesh.data.sync = (_peerId, signal) =>
      new Promise((_, reject) => {
        signal?.addEventListener('abort', () => {
          aborted = true;
          reject(new Error('nobody waits any more'));
        });
      });
    const start = town.simulation.now;
    const { peer, firstSync } = await town.join(bolt, invite);
    assert.equal(firstSync, null);
    assert.equal(peer.state, 'active');
    const took = town.simulation.now - start;
    assert.ok(took >= FIRST_SYNC_MS && took < FIRST_SYNC_MS + 2000, `${took}`);
    assert.ok(aborted);
  });

  it('tries again to renew the manifest when the disk was full', async () => {
    const own = acme.node.manifests.own!;
    const life = Date.parse(own.expires_at as string) - Date.parse(own.issued_at as string);
    await town.run(acme.stop());
    await town.simulation.runUntil(Date.parse(own.issued_at as string) + (life * 2) / 3 - 60_000);
    await town.run(acme.start());
    const { manifests } = acme.node;
    const publish = manifests.publish.bind(manifests);
    let failures = 0;
    manifests.publish = async (...args) => {
      failures += 1;
      if (failures <= 2) throw new NodeError('busy', 'the disk is full', 'make room');
      return publish(...args);
    };
    await town.until(() => failures === 1, 120_000, 'the first attempt');
    assert.equal(manifests.own?.version, 1);
    await town.until(() => manifests.own?.version === 2, 2 * RENEWAL_RETRY_MS + 5000, 'the third one');
    assert.equal(failures, 3);
    assert.equal(acme.warnings().filter(({ fields }) => fields.event === 'manifest_renewal_failed').length, 2);
  });
});

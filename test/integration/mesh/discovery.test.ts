import assert from 'node:assert/strict';
import { DISCOVER_MS, MAX_LOOKS, MAX_REMEMBERED_FINDS, STRANGER_GRACE_MS } from '../../../src/mesh/control-limits.ts';
import { type ControlDaemon, OPERATOR, SHARED, Town } from '../../sim/control.ts';
import { numberedPeer } from '../../support/org.ts';

const SEED = Number(process.env.STIGMESH_SEED ?? 1);

describe(`mesh: discovery (seed ${SEED})`, () => {
  let town: Town;
  let acme: ControlDaemon;
  let bolt: ControlDaemon;
  let cargo: ControlDaemon;

  beforeEach(async () => {
    town = new Town(SEED);
    acme = await town.daemon({ name: 'acme' });
    bolt = await town.daemon({ name: 'bolt' });
    cargo = await town.daemon({ name: 'cargo' });
  });
  afterEach(() => town.close());

  const discover = (org: string | null) => town.run(acme.federation.discover(OPERATOR, org));

  it('names who was found on the local network, by what their manifest proves; finding grants nothing', async () => {
    acme.life.discovery.meet(bolt.life.discovery);
    const [found, ...rest] = await discover(null);
    assert.deepEqual(rest, []);
    assert.deepEqual(found, {
      peerId: bolt.peerId,
      org: 'bolt.example',
      fingerprint: bolt.node.manifests.own?.key_id,
      addrs: bolt.addrs,
      via: 'mdns',
    });
    assert.ok(!acme.has(bolt) && !acme.mesh.peering.admits(bolt.peerId));
    assert.equal(acme.record(bolt), undefined);
    assert.equal(bolt.record(acme), undefined, 'we said nothing about ourselves');
    await town.simulation.runFor(2 * STRANGER_GRACE_MS);
    assert.deepEqual(acme.life.transport.connections(), [], 'and went again');
  });

  it('finds an organisation through peers, and leaves others out', async () => {
    await town.pair(acme, bolt);
    const found = await discover('cargo.example');
    assert.deepEqual(
      found.map(({ org, via, peerId }) => [org, via, peerId]),
      [['cargo.example', 'dht', cargo.peerId]],
    );
    assert.deepEqual(await discover('nobody.example'), []);
    assert.deepEqual(
      (await discover('bolt.example')).map(({ via, fingerprint }) => [via, fingerprint]),
      [['declared', bolt.node.manifests.own?.key_id]],
    );
  });

  it('is not sent into a private network by a table of machines outside of it', async () => {
    // Acme has no peer yet: whoever answers, answers from outside.
    assert.deepEqual(
      (await discover('cargo.example')).map(({ peerId, org }) => [peerId, org]),
      [],
      'found, but its organisation was not asked for: the address is private',
    );
    const everybody = await discover(null);
    assert.deepEqual(
      everybody.map(({ peerId, org }) => [peerId, org]),
      [[cargo.peerId, null]],
    );
    assert.deepEqual(acme.life.transport.connections(), []);
  });

  it('finds a declared peer again that moved', async () => {
    await town.run(
      acme.federation.register(OPERATOR, { peerId: bolt.peerId, addrs: ['/ip4/10.0.99.99/tcp/4701'], ...SHARED }),
    );
    await town.run(bolt.federation.register(OPERATOR, { peerId: acme.peerId, addrs: [], ...SHARED }));
    await town.simulation.runFor(30_000);
    assert.ok(!acme.has(bolt));
    acme.life.discovery.meet(bolt.life.discovery);
    await town.until(() => acme.has(bolt) && bolt.has(acme), 15_000, 'at once when it is found');
  });

  it('looks for declared peers that are out of reach by the name of their organisation', async () => {
    await town.pair(acme, bolt);
    await town.pair(acme, cargo);
    await town.run(acme.federation.update(OPERATOR, bolt.peerId, { addrs: ['/ip4/10.0.99.99/tcp/4701'] }));
    await town.run(bolt.federation.update(OPERATOR, acme.peerId, { addrs: ['/ip4/10.0.99.98/tcp/4701'] }));
    town.network.cut(acme.peerId, bolt.peerId);
    await town.until(() => !acme.has(bolt), 1000);
    await town.simulation.runFor(60_000);
    assert.ok(!acme.has(bolt), 'their addresses lead nowhere');
    await town.until(() => acme.has(bolt) && bolt.has(acme), 15 * 60_000, 'a search found it');
  });

  it(`remembers ${MAX_REMEMBERED_FINDS} finds, and asks the newest ${MAX_LOOKS} who they are`, async () => {
    for (let n = 0; n < MAX_REMEMBERED_FINDS + 50; n++) {
      acme.find({ peerId: numberedPeer(n), addrs: ['/ip4/10.0.77.77/tcp/4701'], via: 'mdns' });
    }
    let dials = 0;
    const { transport } = acme.life;
    const dial = transport.dial.bind(transport);
    transport.dial = (...args) => {
      dials += 1;
      return dial(...args);
    };
    const start = town.simulation.now;
    const found = await discover(null);
    assert.equal(found.length, MAX_REMEMBERED_FINDS);
    assert.equal(found[0]?.peerId, numberedPeer(MAX_REMEMBERED_FINDS + 49));
    assert.ok(dials > 0 && dials <= MAX_LOOKS, `${dials} dials`);
    assert.ok(town.simulation.now - start <= DISCOVER_MS + 1000, 'in bounded time, though nobody answers');
  });

  it('lists who does not answer without an organisation', async () => {
    acme.life.discovery.meet(bolt.life.discovery);
    await town.run(bolt.stop());
    assert.deepEqual(
      (await discover(null)).map(({ peerId, org, fingerprint }) => [peerId, org, fingerprint]),
      [[bolt.peerId, null, null]],
    );
  });
});

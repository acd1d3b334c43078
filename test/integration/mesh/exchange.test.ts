import assert from 'node:assert/strict';
import { connect, SimDaemon, until } from '../../sim/daemon.ts';
import { SimNetwork } from '../../sim/network.ts';
import { Simulation } from '../../sim/world.ts';

const SEED = Number(process.env.SEED ?? 1);

describe(`mesh: daemons that exchange statements (seed ${SEED})`, () => {
  let simulation: Simulation;
  let network: SimNetwork;

  beforeEach(() => {
    simulation = new Simulation({ seed: SEED });
    network = new SimNetwork(simulation);
  });
  afterEach(() => simulation.close());

  const start = (name: string, org = `${name}.example`): Promise<SimDaemon> =>
    SimDaemon.start(simulation, network, { name, org });

  it('reconcile what was there before, then gossip public facts and push company facts', async () => {
    const [acme, bolt] = [await start('acme'), await start('bolt')];
    const before = [await acme.assert('one', { scope: 'public' }), await bolt.assert('two', { scope: 'company' })];
    await connect(simulation, acme, bolt);
    await until(simulation, async () => (await acme.holds(...before)) && (await bolt.holds(...before)), 10_000);
    const pub = await acme.assert('three', { scope: 'public' });
    const company = await acme.assert('four', { scope: 'company' });
    const local = await acme.assert('five', { scope: 'local' });
    await simulation.runFor(200);
    assert.ok(await bolt.holds(pub), 'gossip');
    assert.ok(await bolt.holds(company), 'push');
    await simulation.runFor(60_000);
    assert.ok(!(await bolt.holds(local)));
    assert.equal((await bolt.get(pub.id))!.receivedFrom, acme.peerId);
    console.log(acme.events, bolt.events, acme.mesh.figures(), acme.mesh.lag(bolt.peerId), acme.mesh.lastSync(bolt.peerId));
  });
});

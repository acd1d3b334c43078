import { peerIdFromPublicKey, rawPublicKey } from '../../src/identity/index.ts';
import { SimNetwork } from '../sim/network.ts';
import { Simulation } from '../sim/world.ts';
import { freePort } from '../support/ports.ts';
import { loopbackTransport, realWorld } from '../support/transport.ts';
import { transportCompliance } from './transport.ts';

transportCompliance('libp2p', async () => ({
  world: realWorld,
  deadAddresses: [`/ip4/127.0.0.1/tcp/${await freePort()}`],
  create: async () => loopbackTransport(),
  run: (body) => body(),
  dispose: async () => {},
}));

transportCompliance('simulation', async () => {
  const simulation = new Simulation({ seed: 1 });
  const network = new SimNetwork(simulation);
  let count = 0;
  return {
    world: simulation.world('test'),
    deadAddresses: ['/ip4/10.9.9.9/tcp/4701'],
    create: async () => {
      const name = `n${count++}`;
      return network.transport({ name, peerId: peerIdFromPublicKey(rawPublicKey(simulation.key(name))) });
    },
    run: (body) => simulation.run(body()),
    dispose: async () => simulation.close(),
  };
});

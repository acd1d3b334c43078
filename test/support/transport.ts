import { generateKeyPairSync, type KeyObject, randomBytes } from 'node:crypto';
import { Libp2pTransport, type Libp2pTransportInit } from '../../src/mesh/libp2p/transport.ts';
import type { MeshWorld } from '../../src/mesh/world.ts';

/** The machine as it is. */
export const realWorld: MeshWorld = {
  now: () => Date.now(),
  random: () => Math.random(),
  randomBytes: (count) => randomBytes(count),
  setTimeout: (run, ms) => setTimeout(run, ms),
  clearTimeout: (timer) => clearTimeout(timer as NodeJS.Timeout | undefined),
};

/** A node on loopback, at any free port, alone: no discovery. Not started. */
export function loopbackTransport(
  changes: Partial<Libp2pTransportInit> = {},
  key: KeyObject = generateKeyPairSync('ed25519').privateKey,
): Libp2pTransport {
  return new Libp2pTransport(
    { world: realWorld },
    {
      nodeKey: key,
      listen: ['/ip4/127.0.0.1/tcp/0'],
      announce: [],
      agent: 'stigmesh/0.0.0-test',
      discovery: { bootstrap: [], mdns: false, dht: null },
      inboundPerSecond: 10_000,
      ...changes,
    },
  );
}

import assert from 'node:assert/strict';
import { Libp2pDiscovery } from '../../../../src/mesh/libp2p/discovery.ts';
import { BOOTSTRAP_LONGEST_MS } from '../../../../src/mesh/limits.ts';
import { numberedPeer } from '../../../support/org.ts';
import { settle, TestWorld } from '../../../support/test-world.ts';

describe('discovery over libp2p', () => {
  it('leaves no timer behind when it stops while a bootstrap peer is dialled', async () => {
    const world = new TestWorld();
    const dials: PromiseWithResolvers<void>[] = [];
    const dial = (): Promise<void> => {
      dials.push(Promise.withResolvers());
      return dials.at(-1)!.promise;
    };
    const discovery = new Libp2pDiscovery(
      { world, self: numberedPeer(1), dial, isConnected: () => false },
      { bootstrap: [`/ip4/192.0.2.1/tcp/4701/p2p/${numberedPeer(2)}`], mdns: false, dht: null },
    );
    await discovery.provide('acme.example');
    discovery.start();
    dials[0]!.reject(new Error('nobody there'));
    await settle();
    assert.ok(world.pending > 0, 'it is tried again');
    await world.advance(BOOTSTRAP_LONGEST_MS);
    assert.equal(dials.length, 2);
    discovery.stop();
    dials[1]!.reject(new Error('the node stops'));
    await settle();
    assert.equal(world.pending, 0);
    await world.advance(BOOTSTRAP_LONGEST_MS);
    assert.equal(dials.length, 2);
  });
});

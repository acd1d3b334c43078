import assert from 'node:assert/strict';
import { createHash } from 'node:crypto';
import { createSocket } from 'node:dgram';
import { networkInterfaces } from 'node:os';
import type { FoundPeer } from '../../src/mesh/discovery.ts';
import { isMeshError } from '../../src/mesh/errors.ts';
import { type DiscoveryInit, rendezvous } from '../../src/mesh/libp2p/discovery.ts';
import type { Libp2pTransport } from '../../src/mesh/libp2p/transport.ts';
import { MAX_PROVIDED } from '../../src/mesh/limits.ts';
import { loopbackTransport } from '../support/transport.ts';
import { until } from '../support/until.ts';

const ALL = { admits: (): boolean => true, dialsPrivate: true };

describe('discovery', () => {
  const nodes: Libp2pTransport[] = [];
  const found = new Map<string, FoundPeer[]>();
  afterEach(async () => {
    await Promise.all(nodes.splice(0).map((node) => node.stop()));
    found.clear();
  });

  const start = async (changes: Partial<DiscoveryInit>, listen = '/ip4/127.0.0.1/tcp/0'): Promise<Libp2pTransport> => {
    const discovery = { bootstrap: [], mdns: false, dht: ALL, ...changes };
    const node = loopbackTransport({ listen: [listen], discovery });
    const peers: FoundPeer[] = [];
    found.set(node.peerId, peers);
    node.discovery.onFound((peer) => peers.push(peer));
    nodes.push(node);
    await node.start();
    return node;
  };
  const bootstrapOf = (node: Libp2pTransport): string[] => [node.addresses()[0]!];

  it('names a key that says nothing of the organisation, always the same one', () => {
    const digest = createHash('sha256').update('stigmesh/org/acme.example').digest('hex');
    assert.equal(Buffer.from(rendezvous('acme.example').multihash.digest).toString('hex'), digest);
    assert.notEqual(rendezvous('acme.example').toString(), rendezvous('acme.exampl').toString());
  });

  it('lets nodes find each other that know only a third', async () => {
    const hub = await start({});
    const a = await start({ bootstrap: bootstrapOf(hub) });
    const b = await start({ bootstrap: bootstrapOf(hub) });
    await a.discovery.provide('acme.example');
    await b.discovery.provide('other.example');
    const search = async (from: Libp2pTransport, org: string): Promise<FoundPeer[]> => {
      let peers: readonly FoundPeer[] = [];
      await until(async () => {
        peers = await from.discovery.find(org);
        return peers.length > 0;
      }, `${org} to be found`);
      return [...peers];
    };
    for (const [from, org, wanted] of [
      [b, 'acme.example', a],
      [a, 'other.example', b],
      [hub, 'acme.example', a],
    ] as const) {
      const [peer, ...others] = await search(from, org);
      assert.deepEqual(others, []);
      assert.equal(peer?.peerId, wanted.peerId);
      assert.equal(peer.via, 'dht');
      assert.ok(peer.addrs.includes(wanted.addresses()[0]!.replace(/\/p2p\/.*/, '')), String(peer.addrs));
      assert.ok(found.get(from.peerId)!.some(({ peerId }) => peerId === wanted.peerId));
    }
    assert.deepEqual(await a.discovery.find('nobody.example'), []);
    // Nobody finds itself.
    assert.deepEqual(await a.discovery.find('acme.example'), []);
    assert.deepEqual(
      found
        .get(a.peerId)!
        .filter(({ via }) => via === 'bootstrap')
        .map(({ peerId }) => peerId),
      [hub.peerId],
    );
  });

  it('tells nothing to peers that are not admitted to the table', async () => {
    const members = new Set<string>();
    const hub = await start({ dht: { admits: (peerId) => members.has(peerId), dialsPrivate: true } });
    const a = await start({ bootstrap: bootstrapOf(hub) });
    const b = await start({ bootstrap: bootstrapOf(hub) });
    members.add(a.peerId);
    hub.recheck(a.peerId);
    await a.discovery.provide('acme.example');
    await until(async () => (await hub.discovery.find('acme.example')).length > 0, 'the member to be known');
    assert.deepEqual(await b.discovery.find('acme.example'), []);
    members.add(b.peerId);
    hub.recheck(b.peerId);
    await until(async () => (await b.discovery.find('acme.example')).length > 0, 'the new member to find it');
  });

  it('is empty without a table, and ends when its caller gives up or the node stops', async () => {
    const alone = await start({ dht: null });
    assert.deepEqual(await alone.discovery.find('acme.example'), []);
    await alone.discovery.provide('acme.example');
    const node = await start({});
    const controller = new AbortController();
    const reason = new Error('enough');
    controller.abort(reason);
    await assert.rejects(node.discovery.find('acme.example', controller.signal), reason);
    const finding = node.discovery.find('acme.example');
    await node.stop();
    assert.deepEqual(await finding, []);
  });

  it('has bounds: names provided, and bootstrap addresses must say who is there', async () => {
    const node = await start({});
    for (let n = 0; n < MAX_PROVIDED; n++) await node.discovery.provide(`org${n}.example`);
    await node.discovery.provide('org0.example');
    await assert.rejects(node.discovery.provide('more.example'), (error) => isMeshError(error, 'limit_reached'));
    const discovery = { bootstrap: ['/ip4/192.0.2.1/tcp/4701'], mdns: false, dht: null };
    assert.throws(() => loopbackTransport({ discovery }), { code: 'invalid_address' });
  });

  it('finds the neighbours on the local network by multicast', async function () {
    const reason = await noMulticast();
    if (reason !== null) {
      console.log(`      skipped: ${reason}`);
      this.skip();
    }
    const a = await start({ mdns: true, dht: null }, '/ip4/0.0.0.0/tcp/0');
    const b = await start({ mdns: true, dht: null }, '/ip4/0.0.0.0/tcp/0');
    for (const [node, other] of [
      [a, b],
      [b, a],
    ] as const) {
      await until(() => found.get(node.peerId)!.some(({ peerId }) => peerId === other.peerId), 'the neighbour');
      const peer = found.get(node.peerId)!.find(({ peerId }) => peerId === other.peerId)!;
      assert.equal(peer.via, 'mdns');
      await node.dial(peer.peerId, peer.addrs);
    }
    // Heard many times, told of once.
    assert.equal(found.get(a.peerId)!.filter(({ peerId }) => peerId === b.peerId).length, 1);
  });
});

/** Why multicast does not work on this machine; null when it does. */
async function noMulticast(): Promise<string | null> {
  const outside = Object.values(networkInterfaces()).flatMap((addresses) => addresses ?? []);
  if (!outside.some(({ internal, family }) => !internal && family === 'IPv4'))
    return 'no network interface but loopback';
  const receiver = createSocket({ type: 'udp4', reuseAddr: true });
  const sender = createSocket('udp4');
  try {
    return await new Promise<string | null>((resolve) => {
      const give = (why: string | null): void => resolve(why);
      setTimeout(give, 1000, 'a multicast packet does not come back');
      receiver.on('error', ({ message }) => give(message));
      sender.on('error', ({ message }) => give(message));
      receiver.on('message', () => give(null));
      receiver.bind(0, () => {
        try {
          receiver.addMembership('224.0.0.251');
        } catch (error) {
          give((error as Error).message);
          return;
        }
        sender.send('x', receiver.address().port, '224.0.0.251');
      });
    });
  } finally {
    receiver.close();
    sender.close();
  }
}

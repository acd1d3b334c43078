import assert from 'node:assert/strict';
import { isMeshError } from '../../src/mesh/errors.ts';
import { deferred, has, type Node, PROTOCOL, type Test } from './transport-case.ts';

export function connectionCases(name: string, test: Test): void {
  describe(`${name}: connections`, () => {
    test('come up between the peers that were meant, and both hear of it', async (net) => {
      const [a, b] = await net.start(2);
      const connection = await net.connect(a!, b!);
      assert.equal(connection.peerId, b!.peerId);
      assert.equal(connection.outbound, true);
      assert.match(connection.remoteAddr, /^\/ip4\/[\d.]+\/tcp\/\d+$/);
      assert.deepEqual(a!.connected, [connection]);
      assert.deepEqual(
        b!.connected.map(({ peerId, outbound }) => ({ peerId, outbound })),
        [{ peerId: a!.peerId, outbound: false }],
      );
      await net.until(() => a!.transport.roundTrip(b!.peerId) !== null, 'the round trip to be known');
      assert.ok(a!.transport.roundTrip(b!.peerId)! >= 0);
      assert.ok(a!.transport.addresses().every((addr) => addr.endsWith(`/p2p/${a!.peerId}`)));
    });

    test('are there already for whoever dials again, or at the same time', async (net) => {
      const [a, b] = await net.start(2);
      const dials = await Promise.all([1, 2, 3].map(() => a!.transport.dial(b!.peerId, b!.transport.addresses())));
      for (const connection of dials) assert.equal(connection.peerId, b!.peerId);
      await net.connect(a!, b!);
      assert.equal(a!.connected.length, 1);
      assert.equal(b!.connected.length, 1);
    });

    test('of two that dial each other at once count as one peer', async (net) => {
      const [a, b] = await net.start(2);
      await Promise.all([
        a!.transport.dial(b!.peerId, b!.transport.addresses()),
        b!.transport.dial(a!.peerId, a!.transport.addresses()),
      ]);
      // One or two connections: whoever was dialled knows of it a little later than who dialled.
      const count = ({ transport }: Node, outbound: boolean): number =>
        transport.connections().filter((one) => one.outbound === outbound).length;
      await net.until(
        () => count(a!, true) === count(b!, false) && count(b!, true) === count(a!, false) && has(a!, b!),
        'both sides to see the same',
      );
      assert.equal(a!.connected.length, 1);
      assert.equal(b!.connected.length, 1);
      await a!.transport.disconnect(b!.peerId);
      await net.until(() => !has(a!, b!) && !has(b!, a!), 'all connections to be gone');
      assert.deepEqual(a!.disconnected, [b!.peerId]);
    });

    test('to another peer than the one meant are refused', async (net) => {
      const [a, b, c] = await net.start(3);
      await net.fails(a!.transport.dial(c!.peerId, [plain(b!)]), 'wrong_peer');
      await net.until(() => !has(a!, b!) && !has(a!, c!), 'nothing to be left');
      assert.deepEqual(a!.connected, []);
    });

    test('to addresses where nobody is fail; one good address among them is enough', async (net) => {
      const [a, b] = await net.start(2);
      await net.fails(a!.transport.dial(b!.peerId, net.deadAddresses), 'dial_failed', 'timeout');
      await net.fails(a!.transport.dial(b!.peerId, []), 'dial_failed');
      const connection = await a!.transport.dial(b!.peerId, [...net.deadAddresses, ...b!.transport.addresses()]);
      assert.equal(connection.peerId, b!.peerId);
    });

    test('to what is no address, or to ourselves, are not tried', async (net) => {
      const [a, b] = await net.start(2);
      for (const addr of ['', 'localhost:4701', '/ip4/10.0.0.1/udp/1', '/unix/tmp/socket']) {
        await net.fails(a!.transport.dial(b!.peerId, [addr]), 'invalid_address');
      }
      await net.fails(a!.transport.dial(a!.peerId, a!.transport.addresses()), 'dial_failed');
    });

    test('that are given up by their caller end with its reason', async (net) => {
      const [a, b] = await net.start(2);
      const controller = new AbortController();
      const dial = a!.transport.dial(b!.peerId, b!.transport.addresses(), controller.signal);
      const reason = new Error('changed my mind');
      controller.abort(reason);
      await assert.rejects(net.within(dial, 'the dial to end'), reason);
      await assert.rejects(a!.transport.dial(b!.peerId, b!.transport.addresses(), controller.signal), reason);
      await net.connect(a!, b!);
    });

    test('of denied peers are refused in both directions, for as long as they are denied', async (net) => {
      const [a, b] = await net.start(2);
      a!.denied.add(b!.peerId);
      await net.fails(a!.transport.dial(b!.peerId, b!.transport.addresses()), 'peer_denied');
      // The other side may believe for a moment that it is connected.
      await b!.transport.dial(a!.peerId, a!.transport.addresses()).catch(() => {});
      await net.until(() => !has(b!, a!), 'the denied peer to be cut off');
      assert.deepEqual(a!.connected, []);
      a!.denied.clear();
      await net.connect(b!, a!);
      a!.denied.add(b!.peerId);
      a!.transport.recheck(b!.peerId);
      await net.until(() => !has(a!, b!) && !has(b!, a!), 'the peer to be cut off');
      assert.deepEqual(a!.disconnected, [b!.peerId]);
    });

    test('end for both sides when one disconnects, with what ran on them', async (net) => {
      const [a, b] = await net.start(2);
      const ended = deferred<unknown>();
      await net.serve(b!, async (stream) => {
        await stream.send(new Uint8Array(1));
        await stream.receive().catch(ended.resolve);
      });
      await net.connect(a!, b!);
      const stream = await a!.transport.open(b!.peerId, PROTOCOL);
      await stream.receive();
      const pending = stream.receive();
      pending.catch(() => {});
      await a!.transport.disconnect(b!.peerId);
      await net.fails(pending, 'stream_closed');
      assert.ok(isMeshError(await net.within(ended.promise, 'the handler to be told'), 'stream_closed'));
      await net.until(() => !has(a!, b!) && !has(b!, a!), 'the connection to be gone');
      assert.deepEqual(a!.disconnected, [b!.peerId]);
      assert.deepEqual(b!.disconnected, [a!.peerId]);
      await net.fails(a!.transport.open(b!.peerId, PROTOCOL), 'not_connected');
      assert.equal(a!.transport.roundTrip(b!.peerId), null);
      await net.connect(b!, a!);
    });

    test('end when a node stops; whatever was under way there fails at once', async (net) => {
      const [a, b, c] = await net.start(3);
      await net.serve(b!, async (stream) => {
        while (await stream.receive());
      });
      await net.connect(a!, b!);
      const stream = await a!.transport.open(b!.peerId, PROTOCOL);
      const receiving = stream.receive();
      const dialling = a!.transport.dial(c!.peerId, c!.transport.addresses());
      const opening = a!.transport.open(b!.peerId, PROTOCOL);
      const publishing = a!.transport.gossip.publish(Buffer.from('last words'));
      const others: Promise<unknown>[] = [dialling, opening, publishing];
      for (const promise of [receiving, ...others]) promise.catch(() => {});
      await net.within(a!.transport.stop(), 'the node to stop');
      await net.fails(receiving, 'stream_closed');
      // These may have been faster than the stop.
      for (const promise of others) {
        await net.within(
          promise.catch((error: unknown) => assert.ok(isCoded(error), String(error))),
          'an end',
        );
      }
      await net.until(() => !has(b!, a!), 'the other side to notice');
      assert.deepEqual(b!.disconnected, [a!.peerId]);
      assert.deepEqual(a!.transport.connections(), []);
      await net.fails(a!.transport.dial(b!.peerId, b!.transport.addresses()), 'transport_stopped');
      await net.fails(a!.transport.open(b!.peerId, PROTOCOL), 'transport_stopped');
      await net.fails(a!.transport.gossip.publish(Buffer.from('x')), 'transport_stopped');
      await a!.transport.stop();
    });

    test('are not there before the start', async (net) => {
      const a = await net.node({ started: false });
      await net.fails(a.transport.dial(a.peerId, ['/ip4/10.0.0.1/tcp/1']), 'transport_stopped');
      await net.fails(a.transport.open(a.peerId, PROTOCOL), 'transport_stopped');
      await a.transport.stop();
    });
  });
}

/** An address without the peer id in it: who answers there is not known beforehand. */
function plain(node: Node): string {
  return node.transport.addresses()[0]!.replace(/\/p2p\/.*$/, '');
}

function isCoded(error: unknown): boolean {
  return error instanceof Error && typeof (error as { code?: unknown }).code === 'string';
}

import assert from 'node:assert/strict';
import { isMeshError, type MeshErrorCode } from '../../src/mesh/errors.ts';
import { GRAYLIST_SCORE, MAX_GOSSIP_BYTES } from '../../src/mesh/limits.ts';
import type { Connection, FrameStream, GossipVerdict, Protocol, Transport } from '../../src/mesh/transport.ts';
import type { MeshWorld } from '../../src/mesh/world.ts';

/** A network for the tests of one case. */
export interface TransportFixture {
  /** Whose timers the nodes run on: virtual in a simulation. */
  readonly world: MeshWorld;
  /** A node that is not started. */
  create(): Promise<Transport>;
  /** Addresses where nobody is. */
  readonly deadAddresses: readonly string[];
  /** Runs a case to its end. */
  run(body: () => Promise<void>): Promise<void>;
  dispose(): Promise<void>;
}

/** Deadline of everything a case waits for, ms. */
const PATIENCE_MS = 15_000;
const POLL_MS = 5;

/** The protocol that most cases use. */
export const PROTOCOL: Protocol = {
  id: '/stigmesh/test/1.0.0',
  maxFrame: 64 * 1024,
  maxInboundStreams: 2,
  idleMs: 10_000,
};
const HASTY: Protocol = { ...PROTOCOL, id: '/stigmesh/hasty/1.0.0', idleMs: 300 };

/** A node of a case with what it saw. */
interface Node {
  readonly transport: Transport;
  readonly peerId: string;
  readonly connected: Connection[];
  readonly disconnected: string[];
  readonly heard: { readonly data: string; readonly from: string }[];
  readonly denied: Set<string>;
  /** Peers that are not admitted, to protocols and to gossip. */
  readonly unwelcome: Set<string>;
  verdict: GossipVerdict;
}

export class TransportCase {
  readonly nodes: Node[] = [];
  readonly #fixture: TransportFixture;

  constructor(fixture: TransportFixture) {
    this.#fixture = fixture;
  }

  get deadAddresses(): readonly string[] {
    return this.#fixture.deadAddresses;
  }

  /** Nodes that run. */
  async start(count: number): Promise<Node[]> {
    return Promise.all(Array.from({ length: count }, () => this.node()));
  }

  async node(options: { started?: boolean } = {}): Promise<Node> {
    const transport = await this.#fixture.create();
    const node: Node = {
      transport,
      peerId: transport.peerId,
      connected: [],
      disconnected: [],
      heard: [],
      denied: new Set(),
      unwelcome: new Set(),
      verdict: 'accept',
    };
    const admits = (peerId: string): boolean => !node.unwelcome.has(peerId);
    transport.on({
      connected: (connection) => node.connected.push(connection),
      disconnected: (peerId) => node.disconnected.push(peerId),
    });
    transport.deny((peerId) => node.denied.has(peerId));
    transport.gossip.onMessage(async (data, from) => {
      node.heard.push({ data: Buffer.from(data).toString(), from });
      return node.verdict;
    }, admits);
    this.nodes.push(node);
    if (options.started !== false) await transport.start();
    return node;
  }

  /** Serves a protocol for whoever is not unwelcome. */
  serve(node: Node, handler: (stream: FrameStream) => Promise<void>, protocol = PROTOCOL): Promise<void> {
    return node.transport.handle(protocol, handler, (peerId) => !node.unwelcome.has(peerId));
  }

  async connect(from: Node, to: Node): Promise<Connection> {
    const connection = await from.transport.dial(to.peerId, to.transport.addresses());
    await this.until(() => has(to, from) && has(from, to), 'both sides to be connected');
    return connection;
  }

  sleep(ms: number): Promise<void> {
    return new Promise((resolve) => this.#fixture.world.setTimeout(resolve, ms));
  }

  async until(condition: () => boolean, what: string): Promise<void> {
    const deadline = this.#fixture.world.now() + PATIENCE_MS;
    while (!condition()) {
      if (this.#fixture.world.now() > deadline) throw new Error(`waited in vain for ${what}`);
      await this.sleep(POLL_MS);
    }
  }

  /** Fails when a promise is not settled in time. */
  async within<T>(promise: Promise<T>, what: string, ms = PATIENCE_MS): Promise<T> {
    let timer: unknown;
    const late = new Promise<never>((_, reject) => {
      timer = this.#fixture.world.setTimeout(() => reject(new Error(`waited in vain for ${what}`)), ms);
    });
    try {
      return await Promise.race([promise, late]);
    } finally {
      this.#fixture.world.clearTimeout(timer);
    }
  }

  fails(promise: Promise<unknown>, ...codes: MeshErrorCode[]): Promise<void> {
    return assert.rejects(this.within(promise, codes.join(' or ')), (error) => {
      assert.ok(
        codes.some((code) => isMeshError(error, code)),
        `${(error as Error).stack} is none of ${codes}`,
      );
      return true;
    });
  }

  /** Publishes until somebody takes it: topics are joined a little after connections are up. */
  async gossip(from: Node, text: string, wanted = 1): Promise<void> {
    let attempt = 0;
    let taken = 0;
    const deadline = this.#fixture.world.now() + PATIENCE_MS;
    while (taken < wanted) {
      assert.ok(this.#fixture.world.now() < deadline, 'nobody takes part in the gossip');
      // The same message is not sent twice.
      taken = await from.transport.gossip.publish(Buffer.from(attempt === 0 ? text : `${text}#${attempt}`));
      attempt++;
      if (taken < wanted) await this.sleep(20);
    }
  }

  async stop(): Promise<void> {
    await Promise.all(this.nodes.map(({ transport }) => transport.stop()));
  }
}

export function has(node: Node, peer: Node): boolean {
  return node.transport.connections().some(({ peerId }) => peerId === peer.peerId);
}

/** Whether a node heard a text, whatever attempt of {@link TransportCase.gossip} brought it. */
function heard(node: Node, text: string): boolean {
  return node.heard.some(({ data }) => data.split('#')[0] === text);
}

async function echo(stream: FrameStream): Promise<void> {
  for (;;) {
    const frame = await stream.receive();
    if (!frame) return;
    await stream.send(frame);
  }
}

/** What every implementation of {@link Transport} does. */
export function transportCompliance(name: string, create: () => Promise<TransportFixture>): void {
  const test = (title: string, body: (net: TransportCase) => Promise<void>): void => {
    it(title, async () => {
      const fixture = await create();
      const net = new TransportCase(fixture);
      try {
        await fixture.run(async () => {
          try {
            await body(net);
          } finally {
            await net.stop();
          }
        });
      } finally {
        await fixture.dispose();
      }
    });
  };

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
      // One or two connections: a side that has two knows of the second a little later than the other.
      const count = ({ transport }: Node): number => transport.connections().length;
      await net.sleep(300);
      await net.until(() => count(a!) === count(b!) && count(a!) > 0, 'both sides to see the same');
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

  streams(name, test);
  gossip(name, test);
}

type Test = (title: string, body: (net: TransportCase) => Promise<void>) => void;

function streams(name: string, test: Test): void {
  describe(`${name}: streams`, () => {
    /** Two connected nodes; the second serves. */
    const pair = async (
      net: TransportCase,
      handler: (stream: FrameStream) => Promise<void>,
      protocol = PROTOCOL,
    ): Promise<[Node, Node]> => {
      const [a, b] = (await net.start(2)) as [Node, Node];
      await net.serve(b, handler, protocol);
      await net.connect(a, b);
      return [a, b];
    };

    test('bring frames of any length in order, both ways, and know whose they are', async (net) => {
      const seen: string[] = [];
      const [a, b] = await pair(net, async (stream) => {
        seen.push(stream.peerId, stream.protocol);
        await echo(stream);
      });
      const stream = await a.transport.open(b.peerId, PROTOCOL);
      assert.equal(stream.peerId, b.peerId);
      assert.equal(stream.protocol, PROTOCOL.id);
      const frames = Array.from({ length: 300 }, (_, n) => Buffer.alloc(n % 7 === 0 ? 0 : (n * 1009) % 9000, n));
      frames.push(Buffer.alloc(PROTOCOL.maxFrame, 1), Buffer.alloc(1, 2));
      const sending = (async () => {
        for (const frame of frames) await stream.send(frame);
        await stream.close();
      })();
      for (const [n, frame] of frames.entries()) {
        const got = await stream.receive();
        assert.ok(got && Buffer.compare(got, frame) === 0, `frame ${n} of ${frame.length} bytes`);
      }
      assert.equal(await stream.receive(), undefined);
      assert.equal(await stream.receive(), undefined);
      await sending;
      assert.deepEqual(seen, [a.peerId, PROTOCOL.id]);
    });

    test('take a copy of what is sent', async (net) => {
      const [a, b] = await pair(net, echo);
      const stream = await a.transport.open(b.peerId, PROTOCOL);
      const frame = Buffer.from('first');
      await stream.send(frame);
      frame.fill('x');
      assert.equal(String(Buffer.from((await stream.receive())!)), 'first');
    });

    test('of a protocol nobody serves are refused', async (net) => {
      const [a, b] = await pair(net, echo);
      await net.fails(a.transport.open(b.peerId, { ...PROTOCOL, id: '/stigmesh/other/1.0.0' }), 'protocol_unsupported');
      await net.fails(a.transport.open(a.peerId, PROTOCOL), 'not_connected');
    });

    test('do not send a frame above the bound, and go on', async (net) => {
      const [a, b] = await pair(net, echo);
      const stream = await a.transport.open(b.peerId, PROTOCOL);
      await net.fails(stream.send(new Uint8Array(PROTOCOL.maxFrame + 1)), 'frame_too_large');
      await stream.send(Buffer.from('ok'));
      assert.equal((await stream.receive())?.length, 2);
    });

    test('end when a frame above the bound is announced', async (net) => {
      const failure = deferred<unknown>();
      const [a, b] = await pair(net, async (stream) => {
        await stream.receive();
        await stream.receive().catch(failure.resolve);
      });
      // The same protocol with another bound: what a peer that does not keep to it sends.
      const stream = await a.transport.open(b.peerId, { ...PROTOCOL, maxFrame: PROTOCOL.maxFrame * 2 });
      await stream.send(new Uint8Array(PROTOCOL.maxFrame));
      await stream.send(new Uint8Array(PROTOCOL.maxFrame + 1)).catch(() => {});
      assert.ok(isMeshError(await net.within(failure.promise, 'the refusal'), 'frame_too_large'));
      await net.fails(stream.receive(), 'stream_closed');
    });

    test('make who sends wait for who does not read, and lose nothing', async (net) => {
      const go = deferred<void>();
      let read = 0;
      const [a, b] = await pair(net, async (stream) => {
        await go.promise;
        while (await stream.receive()) read++;
      });
      const stream = await a.transport.open(b.peerId, PROTOCOL);
      const frame = new Uint8Array(32 * 1024);
      let sent = 0;
      let isDone = false;
      const sending = (async () => {
        for (; sent < 400; sent++) await stream.send(frame);
        await stream.close();
      })().finally(() => {
        isDone = true;
      });
      let before = -1;
      while (before !== sent) {
        before = sent;
        await net.sleep(500);
      }
      assert.equal(isDone, false);
      assert.ok(sent * frame.length < 4 * 1024 * 1024, `${sent} frames are on their way to who reads nothing`);
      go.resolve();
      await net.within(sending, 'everything to be sent');
      await net.until(() => read === 400, 'everything to be read');
    });

    test('give up on who does not read', async (net) => {
      const go = deferred<void>();
      const [a, b] = await pair(net, () => go.promise, HASTY);
      const stream = await a.transport.open(b.peerId, HASTY);
      const sending = (async () => {
        for (;;) await stream.send(new Uint8Array(64 * 1024));
      })();
      await net.fails(sending, 'timeout');
      await net.fails(stream.receive(), 'timeout');
      go.resolve();
    });

    test('give up on who says nothing, and tell it', async (net) => {
      const failure = deferred<unknown>();
      const [a, b] = await pair(
        net,
        async (stream) => {
          await stream.receive();
          await stream.receive().catch(failure.resolve);
        },
        HASTY,
      );
      const stream = await a.transport.open(b.peerId, { ...HASTY, idleMs: 10_000 });
      await stream.send(Buffer.from('something'));
      assert.ok(isMeshError(await net.within(failure.promise, 'the deadline'), 'timeout'));
      await net.fails(stream.receive(), 'stream_closed');
    });

    test('can be closed in one direction', async (net) => {
      const [a, b] = await pair(net, async (stream) => {
        let sum = 0;
        for (let frame = await stream.receive(); frame; frame = await stream.receive()) sum += frame.length;
        for (let n = 0; n < 100; n++) await stream.send(Buffer.from(String(sum)));
      });
      const stream = await a.transport.open(b.peerId, PROTOCOL);
      await stream.send(new Uint8Array(1000));
      await stream.send(new Uint8Array(234));
      await stream.close();
      await net.fails(stream.send(new Uint8Array(1)), 'stream_closed');
      let count = 0;
      for (let frame = await stream.receive(); frame; frame = await stream.receive()) {
        assert.equal(Buffer.from(frame).toString(), '1234');
        count++;
      }
      assert.equal(count, 100);
      await stream.close();
    });

    test('can be aborted, which ends both directions at both ends', async (net) => {
      const failures: unknown[] = [];
      const [a, b] = await pair(net, async (stream) => {
        try {
          while (await stream.receive());
        } catch (error) {
          failures.push(error);
        }
        await stream.send(new Uint8Array(1)).catch((error: unknown) => failures.push(error));
      });
      const stream = await a.transport.open(b.peerId, PROTOCOL);
      await stream.send(new Uint8Array(10));
      const pending = stream.receive();
      stream.abort(new Error('enough'));
      await net.fails(pending, 'stream_closed');
      await net.fails(stream.receive(), 'stream_closed');
      await net.fails(stream.send(new Uint8Array(1)), 'stream_closed');
      await stream.close();
      stream.abort(new Error('again'));
      await net.until(() => failures.length === 2, 'the other end to notice');
      for (const failure of failures) assert.ok(isMeshError(failure, 'stream_closed'), String(failure));
      assert.ok(has(a, b), 'the connection stays');
    });

    test('end with their handler: in order when it returns, by a reset when it fails', async (net) => {
      const [a, b] = await pair(net, async (stream) => {
        const frame = await stream.receive();
        if (frame?.length === 1) throw new Error('of no concern to the other side');
        await stream.send(new Uint8Array(5));
      });
      const good = await a.transport.open(b.peerId, PROTOCOL);
      await good.send(new Uint8Array(2));
      assert.equal((await good.receive())?.length, 5);
      assert.equal(await good.receive(), undefined);
      await good.close();
      const bad = await a.transport.open(b.peerId, PROTOCOL);
      await bad.send(new Uint8Array(1));
      await net.fails(bad.receive(), 'stream_closed');
    });

    test('are as many as the protocol allows a peer, and others have their own', async (net) => {
      const running: { stream: FrameStream; done: () => void }[] = [];
      const hold = (stream: FrameStream): Promise<void> => new Promise((done) => running.push({ stream, done }));
      const [a, b] = await pair(net, hold);
      const c = await net.node();
      await net.connect(c, b);
      const open: FrameStream[] = [];
      for (let n = 0; n < PROTOCOL.maxInboundStreams; n++) {
        open.push(await a.transport.open(b.peerId, PROTOCOL));
      }
      await net.until(() => running.length === 2, 'two streams to be served');
      const refused = async (): Promise<void> => {
        const stream = await a.transport.open(b.peerId, PROTOCOL);
        await stream.receive();
      };
      await net.fails(refused(), 'stream_closed');
      assert.equal(running.length, 2);
      await c.transport.open(b.peerId, PROTOCOL);
      await net.until(() => running.length === 3, 'the other peer to be served');
      running[0]!.done();
      await open[0]!.close();
      assert.equal(await open[0]!.receive(), undefined);
      let again: FrameStream | null = null;
      const deadline = PATIENCE_MS / 100;
      for (let n = 0; n < deadline && running.length < 4; n++) {
        again = await a.transport.open(b.peerId, PROTOCOL).catch(() => null);
        await net.sleep(100);
      }
      assert.ok(again);
      assert.equal(running.length, 4);
      for (const { done } of running) done();
    });

    test('of peers that are not admitted are reset, those that run too once it is looked at again', async (net) => {
      let served = 0;
      const [a, b] = await pair(net, async (stream) => {
        served++;
        await echo(stream);
      });
      b.unwelcome.add(a.peerId);
      const refused = async (): Promise<void> => {
        const stream = await a.transport.open(b.peerId, PROTOCOL);
        await stream.send(new Uint8Array(1)).catch(() => {});
        await stream.receive();
      };
      await net.fails(refused(), 'stream_closed');
      assert.equal(served, 0);
      b.unwelcome.clear();
      const stream = await a.transport.open(b.peerId, PROTOCOL);
      await stream.send(new Uint8Array(1));
      assert.equal((await stream.receive())?.length, 1);
      b.transport.recheck(a.peerId);
      await stream.send(new Uint8Array(2));
      assert.equal((await stream.receive())?.length, 2);
      b.unwelcome.add(a.peerId);
      b.transport.recheck(a.peerId);
      await net.fails(stream.receive(), 'stream_closed');
      assert.equal(served, 1);
    });
  });
}

function gossip(name: string, test: Test): void {
  describe(`${name}: gossip`, () => {
    /** Three in a row: the outer ones know only the middle one. */
    const line = async (net: TransportCase): Promise<[Node, Node, Node]> => {
      const [a, b, c] = (await net.start(3)) as [Node, Node, Node];
      await net.connect(a, b);
      await net.connect(c, b);
      await net.gossip(b, 'all here', 2);
      await net.until(() => heard(a, 'all here') && heard(c, 'all here'), 'everybody to take part');
      return [a, b, c];
    };

    test('reaches those beyond, from whoever passed it on, and nobody hears itself', async (net) => {
      const [a, b, c] = await line(net);
      await net.gossip(a, 'news');
      await net.until(() => heard(c, 'news'), 'the news to arrive');
      assert.equal(b.heard.find(({ data }) => data.startsWith('news'))?.from, a.peerId);
      assert.equal(c.heard.find(({ data }) => data.startsWith('news'))?.from, b.peerId);
      await net.gossip(c, 'reply');
      await net.until(() => heard(a, 'reply'), 'the reply to arrive');
      assert.ok(!heard(a, 'news') && !heard(c, 'reply') && !heard(b, 'all here'));
    });

    for (const verdict of ['ignore', 'reject'] as const) {
      test(`ends where it is answered with ${verdict}`, async (net) => {
        const [a, b, c] = await line(net);
        b.verdict = verdict;
        await net.gossip(a, 'rumour');
        await net.until(() => heard(b, 'rumour'), 'the rumour to arrive');
        b.verdict = 'accept';
        await net.gossip(a, 'news');
        await net.until(() => heard(c, 'news'), 'the news to arrive');
        assert.ok(!heard(c, 'rumour'));
      });
    }

    test('ends where looking at it fails', async (net) => {
      const [a, b, c] = await line(net);
      b.transport.gossip.onMessage(
        async (data) => {
          if (Buffer.from(data).toString().startsWith('poison')) throw new Error('cannot look at this');
          return 'accept';
        },
        () => true,
      );
      await net.gossip(a, 'poison');
      await net.gossip(a, 'news');
      await net.until(() => heard(c, 'news'), 'the news to arrive');
      assert.ok(!heard(c, 'poison'));
    });

    test('brings each message once, whatever the ways', async (net) => {
      const nodes = await net.start(4);
      for (const [at, node] of nodes.entries()) for (const peer of nodes.slice(at + 1)) await net.connect(node, peer);
      for (const [n, node] of nodes.entries()) await net.gossip(node, `hello ${n}`, 3);
      for (let n = 0; n < 20; n++) await nodes[0]!.transport.gossip.publish(Buffer.from(`number ${n}`));
      const all = (node: Node): string[] => node.heard.map(({ data }) => data).filter((data) => /^number/.test(data));
      await net.until(() => nodes.slice(1).every((node) => all(node).length >= 20), 'everything to arrive');
      await net.sleep(300);
      for (const node of nodes.slice(1)) {
        assert.deepEqual([...new Set(all(node))].sort(), all(node).sort());
      }
      assert.deepEqual(all(nodes[0]!), []);
    });

    test('says how many took a message: nobody when alone; a message has a bound', async (net) => {
      const [a] = await net.start(1);
      assert.equal(await a!.transport.gossip.publish(Buffer.from('hello?')), 0);
      await net.fails(a!.transport.gossip.publish(new Uint8Array(MAX_GOSSIP_BYTES + 1)), 'frame_too_large');
      await a!.transport.gossip.publish(new Uint8Array(MAX_GOSSIP_BYTES));
    });

    test('is for those who are admitted, from the moment on at which it is looked at again', async (net) => {
      const [a, b, c] = (await net.start(3)) as [Node, Node, Node];
      b.unwelcome.add(a.peerId);
      await net.connect(a, b);
      await net.connect(c, b);
      await net.gossip(c, 'sync');
      await net.until(() => heard(b, 'sync'), 'those who are admitted to gossip');
      await net.sleep(200);
      await a.transport.gossip.publish(Buffer.from('let me in'));
      assert.equal(await b.transport.gossip.publish(Buffer.from('members only')), 1);
      await net.until(() => heard(c, 'members only'), 'the member to hear');
      assert.ok(!heard(a, 'members only') && !heard(a, 'sync') && !heard(b, 'let me in'));
      b.unwelcome.clear();
      b.transport.recheck(a.peerId);
      await net.gossip(b, 'welcome', 2);
      await net.gossip(a, 'thanks');
      await net.until(() => heard(a, 'welcome') && heard(b, 'thanks') && heard(c, 'thanks'), 'the new member');
      b.unwelcome.add(a.peerId);
      b.transport.recheck(a.peerId);
      await net.gossip(b, 'alone again');
      await net.until(() => heard(c, 'alone again'), 'the member to hear');
      await a.transport.gossip.publish(Buffer.from('still there?'));
      await net.sleep(200);
      assert.ok(!heard(a, 'alone again') && !heard(b, 'still there?'));
      assert.ok(has(a, b), 'the connection stays');
    });

    test('is not listened to from whoever has no good name, until it has one again', async (net) => {
      const [a, b] = (await net.start(2)) as [Node, Node];
      const scores = new Map<string, number>([[a.peerId, GRAYLIST_SCORE - 1]]);
      b.transport.gossip.setScorer((peerId) => scores.get(peerId) ?? 0);
      await net.connect(a, b);
      await net.sleep(300);
      await a.transport.gossip.publish(Buffer.from('lies'));
      await net.sleep(300);
      assert.deepEqual(b.heard, []);
      scores.clear();
      for (let n = 0; !heard(b, 'truth'); n++) {
        assert.ok(n < 100, 'never heard again');
        await a.transport.gossip.publish(Buffer.from(`truth#${n}`));
        await net.sleep(100);
      }
      assert.ok(!heard(b, 'lies'));
    });
  });
}

/** An address without the peer id in it: who answers there is not known beforehand. */
function plain(node: Node): string {
  return node.transport.addresses()[0]!.replace(/\/p2p\/.*$/, '');
}

export function deferred<T>(): { promise: Promise<T>; resolve: (value: T) => void } {
  const { promise, resolve } = Promise.withResolvers<T>();
  return { promise, resolve };
}

function isCoded(error: unknown): boolean {
  return error instanceof Error && typeof (error as { code?: unknown }).code === 'string';
}

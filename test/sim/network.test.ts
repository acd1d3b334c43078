import assert from 'node:assert/strict';
import { sign } from 'node:crypto';
import { peerIdFromPublicKey, rawPublicKey } from '../../src/identity/index.ts';
import { isMeshError } from '../../src/mesh/errors.ts';
import type { Protocol } from '../../src/mesh/transport.ts';
import { GIVE_UP_MS, type PathTerms, SimNetwork } from './network.ts';
import type { SimTransport } from './transport.ts';
import { Simulation } from './world.ts';

const PROTOCOL: Protocol = { id: '/stigmesh/test/1.0.0', maxFrame: 64 * 1024, maxInboundStreams: 4, idleMs: 60_000 };

/** Nodes that echo frames and pass gossip on, after work on the thread pool. */
class Scene {
  readonly simulation: Simulation;
  readonly network: SimNetwork;
  readonly nodes: SimTransport[] = [];
  readonly log: string[] = [];

  constructor(seed: number, terms: Partial<PathTerms> = {}) {
    this.simulation = new Simulation({ seed });
    this.network = new SimNetwork(this.simulation, terms);
  }

  async start(count: number): Promise<SimTransport[]> {
    for (let n = 0; n < count; n++) this.nodes.push(await this.node(`n${n}`));
    return this.nodes;
  }

  async node(name: string): Promise<SimTransport> {
    const key = this.simulation.key(name);
    const node = this.network.transport({ name, peerId: peerIdFromPublicKey(rawPublicKey(key)) });
    const note = (what: string): number => this.log.push(`${Math.round(this.simulation.now)} ${name} ${what}`);
    node.on({
      connected: ({ outbound }) => note(`connected ${outbound}`),
      disconnected: (peerId) => note(`disconnected ${this.nodes.find((one) => one.peerId === peerId)?.name}`),
    });
    node.gossip.onMessage(
      async (data) => {
        await new Promise((resolve) => sign(null, data, key, resolve));
        note(`heard ${Buffer.from(data).toString()}`);
        return 'accept';
      },
      () => true,
    );
    await node.handle(
      PROTOCOL,
      async (stream) => {
        for (let frame = await stream.receive(); frame; frame = await stream.receive()) {
          const signed = frame;
          await new Promise((resolve) => sign(null, signed, key, resolve));
          await stream.send(frame);
        }
      },
      () => true,
    );
    await node.start();
    return node;
  }

  /** Everybody to everybody. */
  async mesh(): Promise<void> {
    for (const [at, node] of this.nodes.entries()) {
      for (const peer of this.nodes.slice(at + 1)) {
        await this.simulation.run(node.dial(peer.peerId, peer.addresses()));
      }
    }
    await this.simulation.runUntilQuiet({ quietMs: 100 });
  }

  heard(text: string): number {
    return this.log.filter((line) => line.endsWith(` heard ${text}`)).length;
  }

  close(): void {
    this.simulation.close();
  }
}

describe('simulated network', () => {
  let scene: Scene;
  const open = (seed: number, terms?: Partial<PathTerms>): Scene => {
    scene = new Scene(seed, terms);
    return scene;
  };
  afterEach(() => scene.close());

  it('plays the same with the same seed, whatever the machine does, and another way with another', async () => {
    const play = async (seed: number): Promise<{ hash: string; log: string[] }> => {
      const { simulation, network, nodes } = open(seed, {
        gossipLoss: 0.2,
        gossipDuplicates: 0.2,
        gossipReorderMs: 80,
      });
      await scene.start(6);
      await scene.mesh();
      const stream = await simulation.run(nodes[0]!.open(nodes[1]!.peerId, PROTOCOL));
      const frames = Array.from({ length: 40 }, (_, n) => Buffer.alloc(1 + n * 700, n));
      const echoes = Promise.all([
        Promise.all(frames.map((frame) => stream.send(frame))),
        ...frames.map(() => stream.receive()),
      ]);
      for (let n = 0; n < 30; n++) void nodes[n % 6]!.gossip.publish(Buffer.from(`message ${n}`));
      network.partition([nodes[4]!.peerId], [nodes[5]!.peerId, nodes[3]!.peerId]);
      await simulation.run(echoes);
      await simulation.runFor(2 * GIVE_UP_MS);
      network.heal();
      await simulation.runUntilQuiet();
      const { hash } = simulation.trace;
      scene.close();
      return { hash, log: scene.log };
    };
    const first = await play(7);
    // Other work on the same loop and the same thread pool changes when things happen, not what.
    const noise = setInterval(() => sign(null, Buffer.alloc(1 << 16), scene.simulation.key('noise'), () => {}), 1);
    const second = await play(7).finally(() => clearInterval(noise));
    assert.equal(second.hash, first.hash);
    assert.deepEqual(second.log, first.log);
    assert.notEqual((await play(8)).hash, first.hash);
  });

  it('takes as long as its ways are long and narrow', async () => {
    const { simulation } = open(1, { latencyMs: 50, jitterMs: 0, bytesPerSecond: 100_000 });
    const [a, b] = await scene.start(2);
    await scene.mesh();
    const stream = await simulation.run(a!.open(b!.peerId, PROTOCOL));
    const roundTrip = async (bytes: number): Promise<number> => {
      const start = simulation.now;
      await simulation.run(Promise.all([stream.send(new Uint8Array(bytes)), stream.receive()]));
      return simulation.now - start;
    };
    assert.ok(Math.abs((await roundTrip(1)) - 100) < 5);
    // Half a second each way for 50 kB.
    assert.ok(Math.abs((await roundTrip(50_000)) - 1100) < 20);
    assert.equal(a!.roundTrip(b!.peerId), 100);
  });

  it('loses, doubles and shuffles gossip as it is told to', async () => {
    const { simulation, network, nodes } = open(3);
    await scene.start(2);
    await scene.mesh();
    const publish = async (name: string): Promise<number[]> => {
      for (let n = 0; n < 200; n++) {
        void nodes[0]!.gossip.publish(Buffer.from(`${name} ${n}`));
        await simulation.runFor(1);
      }
      await simulation.runUntilQuiet({ quietMs: 1000 });
      const lines = scene.log.filter((line) => line.includes(`heard ${name} `));
      return lines.map((line) => Number(line.split(' ').at(-1)));
    };
    const all = Array.from({ length: 200 }, (_, n) => n);
    assert.deepEqual(
      (await publish('plain')).sort((x, y) => x - y),
      all,
    );
    network.setAllPaths({ gossipLoss: 0.3 });
    const rest = (await publish('lossy')).length;
    assert.ok(rest > 110 && rest < 170, String(rest));
    network.setAllPaths({ gossipLoss: 0, gossipReorderMs: 100, gossipDuplicates: 1 });
    const shuffled = await publish('shuffled');
    assert.notDeepEqual(shuffled, all);
    assert.deepEqual(
      [...shuffled].sort((x, y) => x - y),
      all,
    );
  });

  it('holds back what a partition parts, ends its connections after a while, and heals', async () => {
    const { simulation, network, nodes } = open(4);
    const [a, b, c] = await scene.start(3);
    await scene.mesh();
    const stream = await simulation.run(a!.open(b!.peerId, PROTOCOL));
    network.partition([a!.peerId, c!.peerId], [b!.peerId]);
    const echo = Promise.all([stream.send(Buffer.from('held')), stream.receive()]);
    await simulation.runFor(GIVE_UP_MS / 2);
    network.heal();
    const [, frame] = await simulation.run(echo);
    assert.equal(Buffer.from(frame!).toString(), 'held');
    network.partition([a!.peerId, c!.peerId], [b!.peerId]);
    const lost = stream.receive();
    await assert.rejects(simulation.run(lost), (error) => isMeshError(error, 'stream_closed'));
    await simulation.runFor(GIVE_UP_MS);
    assert.deepEqual(b!.connections(), []);
    assert.deepEqual(
      a!.connections().map(({ peerId }) => peerId),
      [c!.peerId],
    );
    await assert.rejects(simulation.run(a!.dial(b!.peerId, b!.addresses())), (error) => isMeshError(error, 'timeout'));
    await nodes[0]!.gossip.publish(Buffer.from('on this side'));
    await simulation.runUntilQuiet();
    assert.equal(scene.heard('on this side'), 1);
    network.heal();
    await simulation.run(a!.dial(b!.peerId, b!.addresses()));
    await simulation.runUntilQuiet();
    assert.equal(b!.connections().length, 1);
  });

  it('cuts connections, and takes processes and machines away', async () => {
    const { simulation, network } = open(5);
    const [a, b, c] = await scene.start(3);
    await scene.mesh();
    network.cut(a!.peerId, b!.peerId);
    await simulation.runFor(1);
    assert.deepEqual(
      a!.connections().map(({ peerId }) => peerId),
      [c!.peerId],
    );
    const from = simulation.now;
    network.crash(b!.peerId);
    await simulation.runFor(100);
    assert.equal(c!.connections().length, 1);
    // A machine without power does not tell.
    network.crash(a!.peerId, { power: true });
    await simulation.runFor(GIVE_UP_MS / 2);
    assert.equal(c!.connections().length, 1);
    await simulation.runFor(GIVE_UP_MS);
    assert.deepEqual(c!.connections(), []);
    assert.ok(!scene.log.some((line) => / n1 /.test(line) && Number(line.split(' ')[0]) > from), 'the dead do nothing');
    await assert.rejects(simulation.run(c!.dial(b!.peerId, b!.addresses())), (error) =>
      isMeshError(error, 'dial_failed'),
    );
    await assert.rejects(simulation.run(c!.dial(a!.peerId, a!.addresses())), (error) => isMeshError(error, 'timeout'));
    const again = await scene.node('n1');
    assert.deepEqual(again.addresses(), b!.addresses());
    await simulation.run(c!.dial(b!.peerId, b!.addresses()));
  });

  it('stops a process and its timers; who writes to it waits, or gives it up', async () => {
    const { simulation, network } = open(6);
    const [a, b] = await scene.start(2);
    await scene.mesh();
    let fired = 0;
    b!.world.setTimeout(() => fired++, 1000);
    const stream = await simulation.run(a!.open(b!.peerId, PROTOCOL));
    network.freeze(b!.peerId, { alive: true });
    let sent = 0;
    const sending = (async () => {
      for (; sent < 20; sent++) await stream.send(new Uint8Array(60_000));
    })();
    await simulation.runFor((3 * GIVE_UP_MS) / 2);
    assert.ok(sent < 6, `${sent} frames went to who stands still`);
    assert.equal(fired, 0);
    assert.equal(a!.connections().length, 1);
    network.thaw(b!.peerId);
    for (let n = 0; n < 20; n++) await simulation.run(stream.receive());
    await simulation.run(sending);
    assert.equal(fired, 1);
    network.freeze(b!.peerId);
    await simulation.runFor(2 * GIVE_UP_MS);
    assert.deepEqual(a!.connections(), []);
    network.thaw(b!.peerId);
    await simulation.runUntilQuiet();
    assert.deepEqual(b!.connections(), []);
  });

  it('goes on only when everything that was set off has come to rest', async () => {
    const { simulation } = open(9);
    const world = simulation.world('n0');
    const order: string[] = [];
    const key = simulation.key('n0');
    const work = async (): Promise<void> => {
      await new Promise((resolve) => sign(null, Buffer.alloc(4 << 20), key, resolve));
      await new Promise((resolve) => setImmediate(resolve));
      await null;
      order.push('first');
    };
    world.setTimeout(() => void work(), 10);
    world.setTimeout(() => order.push('second'), 10);
    await simulation.runFor(10);
    assert.deepEqual(order, ['first', 'second']);
    assert.equal(world.now() - simulation.now, 0);
    const skewed = simulation.world('n1', { skewMs: 5000 });
    assert.equal(skewed.now() - world.now(), 5000);
    let ticks = 0;
    const interval = skewed.setInterval(() => ticks++, 100);
    await simulation.runFor(1000);
    skewed.clearInterval(interval);
    await simulation.runFor(1000);
    assert.equal(ticks, 10);
    await assert.rejects(simulation.run(new Promise(() => {}), 100), /does not hold/);
  });
});

/**
 * What the network does by itself: libp2p and gossipsub with nothing of ours on them, and our transport over the same. The
 * benchmarks of the mesh divide by the former. `node test/bench/mesh-baselines.ts` prints both.
 */
import { type GossipSub, gossipsub, StrictNoSign } from '@libp2p/gossipsub';
import { identify } from '@libp2p/identify';
import type { Connection, Libp2p, Stream } from '@libp2p/interface';
import { noise } from '@libp2p/noise';
import { tcp } from '@libp2p/tcp';
import { yamux } from '@libp2p/yamux';
import { createLibp2p } from 'libp2p';
import type { Libp2pTransport } from '../../src/mesh/libp2p/transport.ts';
import type { Protocol } from '../../src/mesh/transport.ts';
import { loopbackTransport } from '../support/transport.ts';
import { until } from '../support/until.ts';
import { type Latency, latency, load, machine, summarize } from './measure.ts';

const PROTOCOL: Protocol = { id: '/stigmesh/bench/1.0.0', maxFrame: 64 * 1024, maxInboundStreams: 8, idleMs: 30_000 };
const TOPIC = 'bench';

/** Bytes moved, and how fast. */
export interface Throughput {
  readonly bytes: number;
  /** Bytes a second. */
  readonly rate: number;
}

interface Ends<T> {
  readonly near: T;
  readonly far: T;
  stop(): Promise<void>;
}

function bareHost(
  services: Record<string, (components: never) => unknown> = {},
): Promise<Libp2p<Record<string, unknown>>> {
  return createLibp2p<Record<string, unknown>>({
    addresses: { listen: ['/ip4/127.0.0.1/tcp/0'] },
    transports: [tcp()],
    connectionEncrypters: [noise()],
    streamMuxers: [yamux()],
    connectionManager: { inboundConnectionThreshold: 10_000 },
    services: services as never,
  });
}

async function bareEnds(): Promise<Ends<Libp2p>> {
  const [near, far] = await Promise.all([bareHost(), bareHost()]);
  return {
    near,
    far,
    stop: async () => {
      await Promise.all([near.stop(), far.stop()]);
    },
  };
}

async function ourEnds(): Promise<Ends<Libp2pTransport>> {
  const [near, far] = [loopbackTransport(), loopbackTransport()];
  for (const node of [near, far]) {
    node.gossip.onMessage(
      async () => 'accept',
      () => true,
    );
    await node.start();
  }
  return {
    near,
    far,
    stop: async () => {
      await Promise.all([near.stop(), far.stop()]);
    },
  };
}

/** From nothing to a proven connection, over libp2p alone. */
export async function bareDial(count: number): Promise<Latency> {
  const { near, far, stop } = await bareEnds();
  try {
    return await load(count, 1, async () => {
      const connection = await near.dial(far.getMultiaddrs());
      // What follows is not measured by who waits for a dial, but must be over before the next.
      await connection.close();
    });
  } finally {
    await stop();
  }
}

/** Opening a stream and agreeing on its protocol, over libp2p alone. */
export async function bareOpen(count: number): Promise<Latency> {
  const { near, far, stop } = await bareEnds();
  try {
    await far.handle(PROTOCOL.id, (stream) => drain(stream));
    const connection = await near.dial(far.getMultiaddrs());
    return await load(count, 1, async () => (await connection.newStream(PROTOCOL.id)).abort(new Error('done')));
  } finally {
    await stop();
  }
}

/** There and back on one stream, over libp2p alone: no frames, only so many bytes. */
export async function bareEcho(count: number, bytes: number): Promise<Latency> {
  const { near, far, stop } = await bareEnds();
  try {
    await far.handle(PROTOCOL.id, (stream) => {
      stream.addEventListener('message', ({ data }) => stream.send(data));
    });
    const stream = await openBare(await near.dial(far.getMultiaddrs()));
    let wanted = 0;
    let done = (): void => {};
    stream.addEventListener('message', ({ data }) => {
      wanted -= data.byteLength;
      if (wanted === 0) done();
    });
    const message = new Uint8Array(bytes);
    return await load(count, 1, async () => {
      await new Promise<void>((resolve) => {
        done = resolve;
        wanted = bytes;
        stream.send(message);
      });
    });
  } finally {
    await stop();
  }
}

/** One direction of one stream, in pieces, over libp2p alone. */
export async function bareThroughput(total: number, piece: number): Promise<Throughput> {
  const { near, far, stop } = await bareEnds();
  try {
    let received = 0;
    await far.handle(PROTOCOL.id, (stream) => {
      stream.addEventListener('message', ({ data }) => {
        received += data.byteLength;
      });
    });
    const stream = await openBare(await near.dial(far.getMultiaddrs()));
    const start = performance.now();
    for (let sent = 0; sent < total; sent += piece) {
      stream.send(new Uint8Array(piece));
      while (stream.writeBufferLength > 256 * 1024) await once(stream, 'drain');
    }
    await until(() => received >= total, 'everything to arrive', 60_000);
    return { bytes: total, rate: (total / (performance.now() - start)) * 1000 };
  } finally {
    await stop();
  }
}

/** From publishing to hearing, one message at a time, over gossipsub alone, as we configure it but without our checks. */
export async function bareGossip(count: number, bytes: number): Promise<Latency> {
  const service = gossipsub({
    globalSignaturePolicy: StrictNoSign,
    allowPublishToZeroTopicPeers: true,
    scoreParams: { IPColocationFactorWeight: 0 },
    msgIdFn: ({ data }) => data.subarray(0, 8),
  });
  const services = { identify: identify() as never, gossip: service as never };
  const [near, far] = await Promise.all([bareHost(services), bareHost(services)]);
  try {
    const [out, back] = [near, far].map((host) => host.services.gossip as GossipSub) as [GossipSub, GossipSub];
    out.subscribe(TOPIC);
    back.subscribe(TOPIC);
    await near.dial(far.getMultiaddrs());
    await until(() => out.getSubscribers(TOPIC).length > 0, 'the other end to subscribe');
    let heard = (): void => {};
    back.addEventListener('message', () => heard());
    return await load(count, 1, async (n) => {
      const hearing = new Promise<void>((resolve) => {
        heard = resolve;
      });
      await out.publish(TOPIC, numbered(n, bytes));
      await hearing;
    });
  } finally {
    await Promise.all([near.stop(), far.stop()]);
  }
}

/** The same as {@link bareDial} over our transport. */
export async function ourDial(count: number): Promise<Latency> {
  const { near, far, stop } = await ourEnds();
  try {
    const times: number[] = [];
    for (let n = 0; n < count; n++) {
      const start = performance.now();
      await near.dial(far.peerId, far.addresses());
      times.push(performance.now() - start);
      await near.disconnect(far.peerId);
      await until(() => far.connections().length === 0, 'the end of the connection');
    }
    return summarize(times, 1);
  } finally {
    await stop();
  }
}

/** The same as {@link bareOpen} over our transport. */
export function ourOpen(count: number): Promise<Latency> {
  return overOurs(async ({ near, far }) => {
    return load(count, 1, async () => (await near.open(far.peerId, PROTOCOL)).abort(new Error('done')));
  });
}

/** The same as {@link bareEcho} in frames of our transport. */
export function ourEcho(count: number, bytes: number): Promise<Latency> {
  return overOurs(async ({ near, far }) => {
    const stream = await near.open(far.peerId, PROTOCOL);
    const message = new Uint8Array(bytes);
    return load(count, 1, async () => {
      await stream.send(message);
      await stream.receive();
    });
  });
}

/** The same as {@link bareThroughput} in frames of our transport. */
export function ourThroughput(total: number, frame: number): Promise<Throughput> {
  let received = 0;
  return overOurs(
    async ({ near, far }) => {
      const stream = await near.open(far.peerId, PROTOCOL);
      const start = performance.now();
      for (let sent = 0; sent < total; sent += frame) await stream.send(new Uint8Array(frame));
      await until(() => received >= total, 'everything to arrive', 60_000);
      return { bytes: total, rate: (total / (performance.now() - start)) * 1000 };
    },
    (bytes) => {
      received += bytes;
      return false;
    },
  );
}

/** The same as {@link bareGossip} over our transport. */
export async function ourGossip(count: number, bytes: number): Promise<Latency> {
  const { near, far, stop } = await ourEnds();
  try {
    let heard = (): void => {};
    far.gossip.onMessage(
      async () => {
        heard();
        return 'accept';
      },
      () => true,
    );
    await near.dial(far.peerId, far.addresses());
    let n = 0;
    await until(async () => (await near.gossip.publish(numbered(n++, bytes))) > 0, 'the other end to take part');
    return await load(count, 1, async () => {
      const hearing = new Promise<void>((resolve) => {
        heard = resolve;
      });
      await near.gossip.publish(numbered(n++, bytes));
      await hearing;
    });
  } finally {
    await stop();
  }
}

/** Two of ours, connected; the far one sends frames back, unless `taken` says that it should not. */
async function overOurs<T>(
  measure: (ends: Ends<Libp2pTransport>) => Promise<T>,
  taken: (bytes: number) => boolean = () => true,
): Promise<T> {
  const ends = await ourEnds();
  try {
    await ends.far.handle(
      PROTOCOL,
      async (stream) => {
        for (let frame = await stream.receive(); frame; frame = await stream.receive()) {
          if (taken(frame.length)) await stream.send(frame);
        }
      },
      () => true,
    );
    await ends.near.dial(ends.far.peerId, ends.far.addresses());
    return await measure(ends);
  } finally {
    await ends.stop();
  }
}

async function openBare(connection: Connection): Promise<Stream> {
  const stream = await connection.newStream(PROTOCOL.id);
  drain(stream);
  return stream;
}

/** Lets data come: what nobody listens to is kept. */
function drain(stream: Stream): void {
  stream.addEventListener('message', () => {});
}

function once(target: EventTarget | Stream, event: string): Promise<void> {
  return new Promise((resolve) => (target as EventTarget).addEventListener(event, () => resolve(), { once: true }));
}

/** No message of the topic may be like another. */
function numbered(n: number, bytes: number): Uint8Array {
  const data = Buffer.alloc(bytes);
  data.writeBigUInt64BE(BigInt(n + 1));
  return data;
}

if (process.argv[1] === import.meta.filename) {
  const mega = ({ rate }: Throughput): string => `${Math.round(rate / 1e6)} MB/s`;
  console.log(machine(0));
  console.log('\n| Figure | libp2p alone | Our transport |\n|---|---|---|');
  // Once to warm up, since both share the code below them.
  await bareEcho(500, 600);
  await ourEcho(500, 600);
  const row = (figure: string, bare: string, ours: string): void => console.log(`| ${figure} | ${bare} | ${ours} |`);
  row('dial', latency(await bareDial(100)), latency(await ourDial(100)));
  row('open a stream', latency(await bareOpen(1000)), latency(await ourOpen(1000)));
  row('echo of 600 bytes', latency(await bareEcho(5000, 600)), latency(await ourEcho(5000, 600)));
  const total = 512 * 1024 * 1024;
  row('64 KiB frames', mega(await bareThroughput(total, 65_536)), mega(await ourThroughput(total, 65_536)));
  row('gossip of 600 bytes', latency(await bareGossip(2000, 600)), latency(await ourGossip(500, 600)));
}

import { identify } from '@libp2p/identify';
import type { Connection, Libp2p, Stream } from '@libp2p/interface';
import { noise } from '@libp2p/noise';
import { tcp } from '@libp2p/tcp';
import { yamux } from '@libp2p/yamux';
import { multiaddr } from '@multiformats/multiaddr';
import { createLibp2p } from 'libp2p';

/** The protocol of gossipsub that every version of it speaks. */
export const MESHSUB = '/meshsub/1.1.0';

/** A peer that completes the handshake and then does what a test wants: libp2p with nothing on it. */
export async function rawPeer(options: { identify?: boolean } = {}): Promise<Libp2p> {
  const services = options.identify === false ? {} : { identify: identify() };
  return createLibp2p<Record<string, unknown>>({
    addresses: { listen: [] },
    transports: [tcp()],
    connectionEncrypters: [noise()],
    streamMuxers: [yamux({ maxOutboundStreams: 100_000, maxInboundStreams: 100_000 })],
    connectionMonitor: { enabled: false },
    services,
  });
}

export function dialRaw(peer: Libp2p, addrs: readonly string[]): Promise<Connection> {
  return peer.dial(addrs.map((addr) => multiaddr(addr)));
}

/** Sends and waits for room; false once the other side has ended the stream. */
export async function pump(stream: Stream, bytes: Uint8Array): Promise<boolean> {
  if (stream.status !== 'open') return false;
  try {
    stream.send(bytes);
  } catch {
    return false;
  }
  while (stream.status === 'open' && stream.writeBufferLength > 512 * 1024) {
    await new Promise((resolve) => setTimeout(resolve, 1));
  }
  return stream.status === 'open';
}

/** An unsigned varint. */
export function varint(value: number): number[] {
  const bytes: number[] = [];
  let rest = value;
  while (rest > 127) {
    bytes.push((rest % 128) | 128);
    rest = Math.floor(rest / 128);
  }
  bytes.push(rest);
  return bytes;
}

/** A field of a protobuf message that has a length: bytes, text, another message. */
export function field(number: number, content: Uint8Array | string): Buffer {
  const bytes = Buffer.from(content);
  return Buffer.concat([Buffer.from([(number << 3) | 2, ...varint(bytes.length)]), bytes]);
}

/** A gossipsub packet with its length before it. */
export function packet(...fields: Uint8Array[]): Buffer {
  const body = Buffer.concat(fields);
  return Buffer.concat([Buffer.from(varint(body.length)), body]);
}

/** `RPC.subscriptions`: one topic. */
export function subscription(topic: string): Buffer {
  return field(1, Buffer.concat([Buffer.from([8, 1]), field(2, topic)]));
}

/** `RPC.publish`: one message. */
export function message(topic: string, data: Uint8Array): Buffer {
  return field(2, Buffer.concat([field(2, data), field(4, topic)]));
}

/** `RPC.control.ihave`: ids announced. */
export function ihave(topic: string, ids: readonly Uint8Array[]): Buffer {
  return field(3, field(1, Buffer.concat([field(1, topic), ...ids.map((id) => field(2, id))])));
}

import type { KeyObject } from 'node:crypto';
import type { Libp2p, Connection as Libp2pConnection } from '@libp2p/interface';
import { peerIdFromPublicKey, rawPublicKey } from '../../identity/index.ts';
import type { Discovery } from '../discovery.ts';
import { MeshError, notConnected, streamClosed, streamTimeout, transportStopped } from '../errors.ts';
import { DIAL_TIMEOUT_MS, DISCONNECT_MS, OPEN_TIMEOUT_MS, STOP_HANDLERS_MS } from '../limits.ts';
import type {
  Connection,
  FrameStream,
  Gossip,
  Handler,
  Misbehaviour,
  Protocol,
  Transport,
  TransportEvents,
} from '../transport.ts';
import type { MeshWorld } from '../world.ts';
import { dialAddresses, libp2pPeerId, listenAddresses, plainAddress } from './addresses.ts';
import { dialError, dialTimeout, peerDenied, unreachable } from './dial-errors.ts';
import { type DiscoveryInit, Libp2pDiscovery } from './discovery.ts';
import { Libp2pFrameStream } from './frames.ts';
import { Gater } from './gater.ts';
import { Libp2pGossip } from './gossip.ts';
import { createHost, stopHost } from './host.ts';
import { assertAddressesKnown, listenError } from './listen-error.ts';
import { ServedProtocol } from './served.ts';

export interface Libp2pTransportInit {
  /** Ed25519, private. Its public key is the peer id. */
  readonly nodeKey: KeyObject;
  /** Multiaddrs to listen on; port 0 takes any free one. */
  readonly listen: readonly string[];
  /** Multiaddrs told to others instead; empty: those listened on. */
  readonly announce: readonly string[];
  /** What this node says it is, such as `stigmesh/1.0.0`. */
  readonly agent: string;
  readonly discovery: DiscoveryInit;
  /** Connections one host may open in a second; usually `INBOUND_PER_SECOND`. */
  readonly inboundPerSecond?: number | undefined;
  /** Time for a handshake, ms; usually `HANDSHAKE_TIMEOUT_MS`. */
  readonly handshakeMs?: number | undefined;
}

/** The figures of a transport, for metrics. */
export interface TransportFigures {
  readonly connections: number;
  /** Incoming connections whose handshake is not done. */
  readonly halfOpen: number;
  /** Incoming connections refused so far. */
  readonly refused: number;
  /** Streams that peers have open with us. */
  readonly streams: number;
  readonly gossipPeers: number;
  /** Gossip messages under examination, and those dropped so far for want of room. */
  readonly gossipPending: number;
  readonly gossipDropped: number;
  /** Gossip streams that died and were opened anew. */
  readonly gossipRevived: number;
  /** Times that a peer was cut off for what no honest peer sends. */
  readonly misbehaved: number;
}

/** The network over libp2p. */
export class Libp2pTransport implements Transport {
  readonly peerId: string;
  readonly #world: MeshWorld;
  readonly #init: Libp2pTransportInit;
  readonly #gater: Gater;
  readonly #gossip: Libp2pGossip;
  readonly #discovery: Libp2pDiscovery;
  readonly #served = new Map<string, ServedProtocol>();
  readonly #connections = new Map<string, Map<Libp2pConnection, Connection>>();
  #host: Libp2p | null = null;
  #offences = 0;
  #state: 'new' | 'starting' | 'running' | 'stopped' = 'new';
  #starting: Promise<void> | null = null;
  #events: TransportEvents = { connected: () => {}, disconnected: () => {} };

  /** @throws MeshError `invalid_address` */
  constructor(components: { world: MeshWorld }, init: Libp2pTransportInit) {
    const { world } = components;
    this.peerId = peerIdFromPublicKey(rawPublicKey(init.nodeKey));
    this.#world = world;
    this.#init = { ...init, listen: listenAddresses(init.listen), announce: listenAddresses(init.announce) };
    this.#gater = new Gater({ dialsPrivate: init.discovery.dht?.dialsPrivate ?? false });
    this.#gossip = new Libp2pGossip({ world, misbehaved: (peerId, what) => this.#misbehaved(peerId, what) });
    const dial = (peerId: string, addrs: readonly string[]): Promise<Connection> => this.dial(peerId, addrs);
    const isConnected = (peerId: string): boolean => this.#connectionTo(peerId) !== undefined;
    this.#discovery = new Libp2pDiscovery({ world, self: this.peerId, dial, isConnected }, init.discovery);
  }

  get gossip(): Gossip {
    return this.#gossip;
  }

  get discovery(): Discovery {
    return this.#discovery;
  }

  get figures(): TransportFigures {
    const { peers, pending, dropped, revived } = this.#gossip.figures;
    return {
      connections: this.connections().length,
      halfOpen: this.#gater.halfOpen,
      refused: this.#gater.refused,
      streams: [...this.#served.values()].reduce((sum, { streams }) => sum + streams, 0),
      gossipPeers: peers,
      gossipPending: pending,
      gossipDropped: dropped,
      gossipRevived: revived,
      misbehaved: this.#offences,
    };
  }

  async start(): Promise<void> {
    if (this.#state !== 'new') throw transportStopped();
    this.#state = 'starting';
    this.#starting = this.#begin();
    await this.#starting;
  }

  async stop(): Promise<void> {
    // Who is asked to stop while it starts, starts first: half a host cannot be stopped.
    await this.#starting?.catch(() => {});
    const host = this.#host;
    this.#state = 'stopped';
    this.#host = null;
    if (!host) return;
    this.#gossip.stop();
    this.#discovery.stop();
    let timer: unknown;
    const patience = new Promise<void>((resolve) => {
      timer = this.#world.setTimeout(resolve, STOP_HANDLERS_MS);
    });
    await Promise.race([Promise.all([...this.#served.values()].map((served) => served.stop())), patience]);
    this.#world.clearTimeout(timer);
    const connections = [...this.#connections.values()].flatMap((views) => [...views.keys()]);
    await Promise.all(connections.map((connection) => this.#hangUp(connection)));
    await stopHost(host);
  }

  on(events: TransportEvents): void {
    this.#events = events;
  }

  deny(denied: (peerId: string) => boolean): void {
    this.#gater.denied = denied;
  }

  async handle(protocol: Protocol, handler: Handler, admits: (peerId: string) => boolean): Promise<void> {
    const served = new ServedProtocol({ world: this.#world, handler, admits }, protocol);
    this.#served.set(protocol.id, served);
    await this.#starting?.catch(() => {});
    if (this.#host) await this.#serve(this.#host, served);
  }

  async dial(peerId: string, addrs: readonly string[], signal?: AbortSignal): Promise<Connection> {
    const host = this.#running();
    signal?.throwIfAborted();
    const existing = this.#connectionTo(peerId);
    if (existing) return this.#view(existing);
    if (this.#gater.denied(peerId)) throw peerDenied(peerId);
    if (peerId === this.peerId) throw unreachable('it is this node itself');
    libp2pPeerId(peerId);
    const targets = dialAddresses(peerId, addrs);
    if (targets.length === 0) throw unreachable('it has no address');
    const controller = new AbortController();
    let isLate = false;
    const timer = this.#world.setTimeout(() => {
      isLate = true;
      controller.abort();
    }, DIAL_TIMEOUT_MS);
    const aborted = (): void => controller.abort();
    signal?.addEventListener('abort', aborted, { once: true });
    try {
      const connection = await this.#gater.asked(targets, () => host.dial(targets, { signal: controller.signal }));
      return this.#view(connection);
    } catch (error) {
      if (signal?.aborted) throw signal.reason;
      // Another one to the same peer may have been faster.
      const other = this.#connectionTo(peerId);
      if (other) return this.#view(other);
      throw isLate ? dialTimeout() : dialError(error);
    } finally {
      this.#world.clearTimeout(timer);
      signal?.removeEventListener('abort', aborted);
    }
  }

  async open(peerId: string, protocol: Protocol): Promise<FrameStream> {
    this.#running();
    const connection = this.#connectionTo(peerId);
    if (!connection) throw notConnected(peerId);
    const controller = new AbortController();
    const timer = this.#world.setTimeout(() => controller.abort(), OPEN_TIMEOUT_MS);
    try {
      const stream = await connection.newStream([protocol.id], { signal: controller.signal });
      return new Libp2pFrameStream({ stream, world: this.#world }, peerId, protocol);
    } catch (error) {
      if (controller.signal.aborted) throw streamTimeout('the peer did not answer', OPEN_TIMEOUT_MS);
      throw openError(error, peerId, protocol.id);
    } finally {
      this.#world.clearTimeout(timer);
    }
  }

  recheck(peerId: string): void {
    for (const served of this.#served.values()) served.recheck(peerId);
    this.#gossip.gate.recheck(peerId);
    this.#discovery.gate?.recheck(peerId);
    if (this.#gater.denied(peerId)) void this.disconnect(peerId);
  }

  async disconnect(peerId: string): Promise<void> {
    const connections = [...(this.#connections.get(peerId)?.keys() ?? [])];
    await Promise.all(connections.map((connection) => this.#hangUp(connection)));
  }

  connections(): readonly Connection[] {
    return [...this.#connections.values()].flatMap((views) => [...views.values()]);
  }

  addresses(): readonly string[] {
    return this.#host?.getMultiaddrs().map((addr) => `${plainAddress(addr)}/p2p/${this.peerId}`) ?? [];
  }

  roundTrip(peerId: string): number | null {
    const connection = this.#connectionTo(peerId);
    if (!connection) return null;
    // Pinged every ten seconds; until then the muxer knows, which pings when it begins.
    const { rtt, muxer } = connection as Libp2pConnection & { muxer?: { rtt?: number } };
    const known = rtt ?? muxer?.rtt;
    return known === undefined || known < 0 ? null : known;
  }

  async #begin(): Promise<void> {
    const host = await createHost({ gater: this.#gater, gossip: this.#gossip, discovery: this.#discovery }, this.#init);
    host.addEventListener('connection:open', ({ detail }) => this.#opened(detail));
    host.addEventListener('connection:close', ({ detail }) => this.#closed(detail));
    for (const served of this.#served.values()) await this.#serve(host, served);
    try {
      assertAddressesKnown(this.#init.listen);
      await host.start();
    } catch (cause) {
      this.#state = 'stopped';
      await stopHost(host);
      throw listenError(this.#init.listen, cause);
    }
    this.#host = host;
    this.#state = 'running';
    this.#gossip.start();
    this.#discovery.start();
  }

  #running(): Libp2p {
    if (this.#state !== 'running' || !this.#host) throw transportStopped();
    return this.#host;
  }

  async #serve(host: Libp2p, served: ServedProtocol): Promise<void> {
    const { id, maxInboundStreams } = served.protocol;
    await host.handle(id, served.accept, { maxInboundStreams: maxInboundStreams + 1, force: true });
  }

  async #hangUp(connection: Libp2pConnection): Promise<void> {
    // Closed in order, its streams would be, too: to the other side that looks as if everything had been said.
    for (const stream of [...connection.streams]) stream.abort(new Error('the connection ends'));
    const controller = new AbortController();
    const timer = this.#world.setTimeout(() => controller.abort(), DISCONNECT_MS);
    try {
      await connection.close({ signal: controller.signal });
    } catch (error) {
      connection.abort(error as Error);
    } finally {
      this.#world.clearTimeout(timer);
    }
  }

  #connectionTo(peerId: string): Libp2pConnection | undefined {
    for (const connection of this.#connections.get(peerId)?.keys() ?? []) {
      if (connection.status === 'open') return connection;
    }
    return undefined;
  }

  #opened(connection: Libp2pConnection): void {
    if (connection.status !== 'open' || this.#state === 'stopped') return;
    const view = viewOf(connection);
    const views = this.#connections.get(view.peerId);
    if (views) {
      views.set(connection, view);
      return;
    }
    this.#connections.set(view.peerId, new Map([[connection, view]]));
    this.#events.connected(view);
  }

  #closed(connection: Libp2pConnection): void {
    const peerId = connection.remotePeer.toString();
    const views = this.#connections.get(peerId);
    if (!views?.delete(connection) || views.size > 0) return;
    this.#connections.delete(peerId);
    this.#events.disconnected(peerId);
  }

  #view(connection: Libp2pConnection): Connection {
    return this.#connections.get(connection.remotePeer.toString())?.get(connection) ?? viewOf(connection);
  }

  #misbehaved(peerId: string, what: Misbehaviour): void {
    const connections = [...(this.#connections.get(peerId)?.keys() ?? [])];
    // What it sent before it was cut off may still be looked at; once is enough.
    if (connections.length === 0) return;
    this.#offences++;
    const offence = new Error(`the peer broke the rules of the network: ${what}`);
    for (const connection of connections) connection.abort(offence);
    this.#events.misbehaved?.(peerId, what);
  }
}

function viewOf(connection: Libp2pConnection): Connection {
  return {
    peerId: connection.remotePeer.toString(),
    outbound: connection.direction === 'outbound',
    remoteAddr: plainAddress(connection.remoteAddr),
  };
}

function openError(error: unknown, peerId: string, protocol: string): MeshError {
  const { name } = error as Error;
  if (name === 'UnsupportedProtocolError') {
    const hint = 'the peer runs another version, or serves less; `stigmesh peers` shows what it is';
    return new MeshError('protocol_unsupported', `the peer does not serve ${protocol}`, hint, { cause: error });
  }
  if (name === 'ConnectionClosedError' || name === 'MuxerClosedError') return notConnected(peerId);
  return streamClosed('it could not be opened', { cause: error });
}

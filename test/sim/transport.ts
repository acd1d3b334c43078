import { MeshError, notConnected, transportStopped } from '../../src/mesh/errors.ts';
import { DIAL_TIMEOUT_MS, MAX_DIAL_ADDRESSES } from '../../src/mesh/limits.ts';
import type {
  Connection,
  FrameStream,
  Gossip,
  Handler,
  Protocol,
  Transport,
  TransportEvents,
} from '../../src/mesh/transport.ts';
import { SimConnectionEnd } from './connection.ts';
import { SimGossip } from './gossip.ts';
import type { SimNetwork } from './network.ts';
import type { SimStream } from './stream.ts';
import type { SimWorld } from './world.ts';

export interface SimTransportInit {
  readonly peerId: string;
  /** In the trace, and of its world. */
  readonly name: string;
  readonly ip: string;
  /** Whether others can connect to it (no NAT in front). */
  readonly dialable: boolean;
}

/** A protocol that is served: lets streams in up to its bound, and runs its handler. */
export interface Served {
  readonly protocol: Protocol;
  /** A place for one more stream of a peer; null when it is not admitted or has enough. */
  enter(peerId: string): { leave(): void; run(stream: SimStream): void } | null;
  /** Resets the streams of a peer that is not admitted any more. */
  recheck(peerId: string): void;
}

/** A node's place in the simulated network. */
export class SimTransport implements Transport {
  readonly peerId: string;
  readonly name: string;
  readonly ip: string;
  readonly isDialable: boolean;
  readonly gossip: SimGossip & Gossip;
  readonly world: SimWorld;
  readonly #network: SimNetwork;
  readonly #served = new Map<string, Served>();
  readonly #connections = new Map<string, Set<SimConnectionEnd>>();
  readonly #dials = new Map<string, Promise<Connection>>();
  #events: TransportEvents = { connected: () => {}, disconnected: () => {} };
  #denied: (peerId: string) => boolean = () => false;
  #state: 'new' | 'running' | 'stopped' | 'crashed' = 'new';

  constructor(components: { network: SimNetwork; world: SimWorld }, init: SimTransportInit) {
    this.#network = components.network;
    this.world = components.world;
    this.peerId = init.peerId;
    this.name = init.name;
    this.ip = init.ip;
    this.isDialable = init.dialable;
    this.gossip = new SimGossip(components, this);
  }

  get isRunning(): boolean {
    return this.#state === 'running';
  }

  async start(): Promise<void> {
    if (this.#state !== 'new') throw new Error(`the transport is ${this.#state}`);
    this.#state = 'running';
    this.#network.joined(this);
  }

  async stop(): Promise<void> {
    if (this.#state !== 'running') return;
    this.#state = 'stopped';
    for (const end of this.ends()) end.close('stopped here');
    this.#network.left(this);
  }

  /** The process is gone at once: none of its code is told. @param tell whether its machine tells the others */
  crash(tell: boolean): void {
    if (this.#state !== 'running') return;
    this.#state = 'crashed';
    for (const end of this.ends()) {
      if (tell) end.refuseFromNowOn();
      else end.vanish();
    }
    this.#connections.clear();
    this.#network.left(this);
  }

  on(events: TransportEvents): void {
    this.#events = events;
  }

  deny(denied: (peerId: string) => boolean): void {
    this.#denied = denied;
  }

  denies(peerId: string): boolean {
    return this.#denied(peerId);
  }

  async handle(protocol: Protocol, handler: Handler, admits: (peerId: string) => boolean): Promise<void> {
    const open = new Map<string, number>();
    const streams = new Set<FrameStream>();
    this.#served.set(protocol.id, {
      protocol,
      recheck: (peerId) => {
        if (admits(peerId)) return;
        for (const stream of streams) if (stream.peerId === peerId) stream.abort(new Error('not admitted any more'));
      },
      enter: (peerId) => {
        const count = open.get(peerId) ?? 0;
        if (!admits(peerId) || count >= protocol.maxInboundStreams) return null;
        open.set(peerId, count + 1);
        // A place is free again once the handler is done and the stream has ended.
        let holders = 2;
        let isOver = false;
        let linger: unknown = null;
        const leave = (): void => {
          if (--holders > 0) return;
          const left = open.get(peerId)! - 1;
          if (left === 0) open.delete(peerId);
          else open.set(peerId, left);
        };
        return {
          leave: () => {
            isOver = true;
            this.world.clearTimeout(linger);
            leave();
          },
          run: (stream) => {
            streams.add(stream);
            void handler(stream)
              .then(() => stream.close())
              .catch((error: Error) => stream.abort(error))
              .finally(() => {
                streams.delete(stream);
                leave();
                stream.discard();
                // The other side has as long to close its direction as it has for anything else.
                if (!isOver)
                  linger = this.world.setTimeout(() => stream.abort(new Error('not closed')), protocol.idleMs);
              });
          },
        };
      },
    });
  }

  serves(protocol: string): Served | undefined {
    return this.#served.get(protocol);
  }

  async dial(peerId: string, addrs: readonly string[], signal?: AbortSignal): Promise<Connection> {
    const existing = this.ends(peerId).find((end) => end.isOpen);
    if (existing) return existing;
    const underWay = this.#dials.get(peerId) ?? this.#dial(peerId, addrs, signal);
    this.#dials.set(peerId, underWay);
    try {
      return await underWay;
    } finally {
      this.#dials.delete(peerId);
    }
  }

  async open(peerId: string, protocol: Protocol): Promise<FrameStream> {
    if (!this.isRunning) throw transportStopped();
    const end = this.ends(peerId).find((one) => one.isOpen);
    if (!end) throw notConnected(peerId);
    return end.openStream(protocol);
  }

  recheck(peerId: string): void {
    for (const served of this.#served.values()) served.recheck(peerId);
    if (!this.#denied(peerId)) return;
    for (const end of this.ends(peerId)) end.close('the peer is denied');
  }

  async disconnect(peerId: string): Promise<void> {
    for (const end of this.ends(peerId)) end.close('disconnected here');
  }

  connections(): readonly SimConnectionEnd[] {
    return this.ends().filter((end) => end.isOpen);
  }

  addresses(): readonly string[] {
    return [`/ip4/${this.ip}/tcp/4701/p2p/${this.peerId}`];
  }

  roundTrip(peerId: string): number | null {
    const end = this.ends(peerId).find((one) => one.isOpen);
    return end ? this.#network.roundTrip(this, end.remote) : null;
  }

  /** Every end of its connections, or of those to one peer. */
  ends(peerId?: string): SimConnectionEnd[] {
    if (peerId !== undefined) return [...(this.#connections.get(peerId) ?? [])];
    return [...this.#connections.values()].flatMap((ends) => [...ends]);
  }

  /** A connection is up. */
  added(end: SimConnectionEnd): void {
    let ends = this.#connections.get(end.peerId);
    if (!ends) {
      ends = new Set();
      this.#connections.set(end.peerId, ends);
    }
    ends.add(end);
    if (ends.size === 1) this.#events.connected(end);
  }

  /** A connection is gone. */
  removed(end: SimConnectionEnd): void {
    const ends = this.#connections.get(end.peerId);
    ends?.delete(end);
    if (ends?.size !== 0) return;
    this.#connections.delete(end.peerId);
    this.#events.disconnected(end.peerId);
  }

  async #dial(peerId: string, addrs: readonly string[], signal?: AbortSignal): Promise<Connection> {
    if (!this.isRunning) throw transportStopped();
    if (peerId === this.peerId) throw dialFailed('it is this node itself');
    if (this.#denied(peerId)) throw denied(peerId);
    signal?.throwIfAborted();
    const tried = addrs.slice(0, MAX_DIAL_ADDRESSES);
    for (const addr of tried) {
      if (!/^\/ip4\/[\d.]+\/tcp\/\d+(\/p2p\/\w+)?$/.test(addr)) throw invalidAddress(addr);
    }
    if (tried.length === 0) throw dialFailed('it has no address');
    let abandon = (): void => {};
    const attempts = tried.map((addr) => this.#attempt(peerId, addr));
    const limit = new Promise<never>((_, reject) => {
      const timer = this.world.setTimeout(() => reject(timedOut()), DIAL_TIMEOUT_MS);
      const aborted = (): void => reject(signal!.reason as Error);
      signal?.addEventListener('abort', aborted, { once: true });
      abandon = () => {
        this.world.clearTimeout(timer);
        signal?.removeEventListener('abort', aborted);
        for (const attempt of attempts) attempt.abandon();
      };
    });
    try {
      return await Promise.race([Promise.any(attempts.map(({ done }) => done)), limit]);
    } catch (error) {
      if (!(error instanceof AggregateError)) throw error;
      throw error.errors.find(({ code }) => code === 'wrong_peer') ?? error.errors[0];
    } finally {
      abandon();
    }
  }

  #attempt(peerId: string, addr: string): { done: Promise<Connection>; abandon: () => void } {
    let isOver = false;
    const done = new Promise<Connection>((resolve, reject) => {
      const [, , ip, , port] = addr.split('/');
      this.#network.connect(this, `${ip}:${port}`, {
        refused: () => reject(dialFailed('nobody listens there')),
        accepted: (remote) => {
          // The listener has proved who it is by now.
          if (remote.peerId !== peerId) {
            reject(wrongPeer(peerId, remote.peerId));
            return null;
          }
          const [near, far] = SimConnectionEnd.pair(this.#network, this, remote);
          return {
            far,
            arrived: () => {
              if (isOver || !this.isRunning) {
                near.open();
                near.close('the dial was given up');
                return;
              }
              near.open();
              resolve(near);
            },
          };
        },
      });
    });
    done.catch(() => {});
    return {
      done,
      abandon: () => {
        isOver = true;
      },
    };
  }
}

function dialFailed(why: string): MeshError {
  const hint = 'check that the peer runs and that its addresses are right; it is tried again';
  return new MeshError('dial_failed', `cannot reach the peer: ${why}`, hint);
}

function timedOut(): MeshError {
  const hint = 'check the address and the firewalls between; it is tried again';
  return new MeshError('timeout', `the peer did not answer for ${DIAL_TIMEOUT_MS} ms`, hint);
}

function wrongPeer(expected: string, found: string): MeshError {
  const hint = 'the address belongs to another node now, or somebody is in between; compare fingerprints';
  return new MeshError('wrong_peer', `expected ${expected}, found ${found}`, hint);
}

function denied(peerId: string): MeshError {
  return new MeshError('peer_denied', `${peerId} is denied here`, 'it was removed, revoked or banned on this node');
}

function invalidAddress(addr: string): MeshError {
  const hint = 'an address looks like /ip4/192.0.2.1/tcp/4701';
  return new MeshError('invalid_address', `not an address that can be dialled: ${addr.slice(0, 100)}`, hint);
}

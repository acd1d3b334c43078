import type { Connection, IdentifyResult, Libp2p, PeerId, Stream, Topology } from '@libp2p/interface';
import { peerIdFromString } from '@libp2p/peer-id';

/** What a service of libp2p asks of the registrar: both kinds of protocol it is told of pass through here. */
export interface Registrar {
  handle(
    protocol: string,
    handler: (stream: Stream, connection: Connection) => unknown,
    options?: object,
  ): Promise<void>;
  unhandle(protocol: string | string[], options?: object): Promise<void>;
  register(protocol: string, topology: Topology): Promise<string>;
  unregister(id: string): void;
}

/**
 * Stands between libp2p and one of its services (gossip, the hash table), and lets the service see only the peers that are
 * admitted: their streams, their coming and going. libp2p by itself introduces everybody who completes a handshake. Also
 * introduces a peer again on demand, which is how a stream that died is opened anew.
 */
export class AdmissionGate {
  readonly #admits: (peerId: string) => boolean;
  readonly #beforeMeeting: (peerId: string) => void;
  readonly #topologies = new Map<string, { protocol: string; topology: Topology }>();
  readonly #protocols = new Set<string>();
  /** Connected peers that speak one of the protocols, and whether the service was introduced to them. */
  readonly #peers = new Map<string, { readonly id: PeerId; isIn: boolean }>();
  #host: Libp2p | null = null;
  #nextId = 0;

  /** @param beforeMeeting called before the service is introduced to a peer, or gets a stream of it */
  constructor(admits: (peerId: string) => boolean, beforeMeeting: (peerId: string) => void = () => {}) {
    this.#admits = admits;
    this.#beforeMeeting = beforeMeeting;
  }

  /** Peers that the service was introduced to. */
  get members(): readonly string[] {
    return [...this.#peers].filter(([, { isIn }]) => isIn).map(([peerId]) => peerId);
  }

  /** The components of libp2p as the service is to see them. */
  components<T>(components: T, changes: Readonly<Record<string, unknown>> = {}): T {
    const registrar = this.#registrar((components as { registrar: Registrar }).registrar);
    return new Proxy(components as object, {
      get: (target, name) => {
        if (name === 'registrar') return registrar;
        return typeof name === 'string' && Object.hasOwn(changes, name) ? changes[name] : Reflect.get(target, name);
      },
    }) as T;
  }

  /** Follows a host that does not run yet. */
  follow(host: Libp2p): void {
    this.#host = host;
    host.addEventListener('peer:identify', ({ detail }) => this.#identified(detail));
    host.addEventListener('peer:disconnect', ({ detail }) => this.#disconnected(detail));
  }

  /** Asks again whether a peer is admitted, and lets it in or shuts it out. */
  recheck(peerId: string): void {
    const peer = this.#peers.get(peerId);
    if (this.#admits(peerId)) {
      if (peer && !peer.isIn) this.introduce(peerId);
      return;
    }
    this.#reset(peerId);
    if (!peer?.isIn) return;
    peer.isIn = false;
    this.#depart(peer.id);
  }

  /** Tells the service of an admitted peer as if it had just connected. */
  introduce(peerId: string): void {
    const peer = this.#peers.get(peerId);
    const connection = peer && this.#host?.getConnections(peer.id).find(({ status }) => status === 'open');
    if (!connection || !this.#admits(peerId)) return;
    peer.isIn = true;
    this.#beforeMeeting(peerId);
    // A service registers the same thing for each version of its protocol; once will do.
    for (const topology of new Set([...this.#topologies.values()].map((one) => one.topology))) {
      void topology.onConnect?.(peer.id, connection);
    }
  }

  #registrar(real: Registrar): Registrar {
    return {
      handle: (protocol, handler, options) => {
        this.#protocols.add(protocol);
        const guarded = (stream: Stream, connection: Connection): unknown => {
          const peerId = connection.remotePeer.toString();
          if (!this.#admits(peerId)) {
            stream.abort(new Error('not admitted'));
            return undefined;
          }
          this.#beforeMeeting(peerId);
          return handler(stream, connection);
        };
        return real.handle(protocol, guarded, options);
      },
      unhandle: (protocol, options) => real.unhandle(protocol, options),
      register: async (protocol, topology) => {
        this.#protocols.add(protocol);
        const id = `gate-${this.#nextId++}`;
        this.#topologies.set(id, { protocol, topology });
        return id;
      },
      unregister: (id) => {
        this.#topologies.delete(id);
      },
    };
  }

  #identified({ peerId, protocols }: IdentifyResult): void {
    if (!protocols.some((protocol) => this.#protocols.has(protocol))) return;
    // libp2p tells what a peer said also when it has gone meanwhile: nobody would ever take its place out again.
    if ((this.#host?.getConnections(peerId).length ?? 0) === 0) return;
    const name = peerId.toString();
    if (!this.#peers.has(name)) this.#peers.set(name, { id: peerId, isIn: false });
    // A further connection of a known peer changes nothing, unless the service has no stream to it any more.
    this.introduce(name);
  }

  #disconnected(peerId: PeerId): void {
    this.#peers.delete(peerId.toString());
    // Also for peers that only ever opened streams to us.
    this.#depart(peerId);
  }

  #depart(peerId: PeerId): void {
    for (const topology of new Set([...this.#topologies.values()].map((one) => one.topology))) {
      void topology.onDisconnect?.(peerId);
    }
  }

  /** Resets the service's streams with a peer, in both directions. */
  #reset(peerId: string): void {
    // Those of one peer: making the list of all takes a third of a millisecond, and many may be shut out at once.
    const connections = this.#host?.getConnections(peerIdFromString(peerId)) ?? [];
    for (const connection of connections) {
      for (const stream of [...connection.streams]) {
        if (this.#protocols.has(stream.protocol)) stream.abort(new Error('not admitted any more'));
      }
    }
  }
}

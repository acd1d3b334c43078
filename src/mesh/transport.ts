/**
 * What the mesh needs of a network, and nothing more: authenticated connections between peer ids, streams of frames over
 * them, and a topic to gossip on. `libp2p/` is the real one; the simulator has another. Both pass test/compliance/transport.ts.
 */

/** Frames of one protocol between two peers, in order. */
export interface FrameStream {
  /** Authenticated by the connection. */
  readonly peerId: string;
  readonly protocol: string;
  /**
   * Resolves once the frame is on its way and the buffer has room again: await it, or memory grows with a slow reader.
   *
   * @throws MeshError `frame_too_large`, `stream_closed`, `timeout` (no room for as long as the protocol allows)
   */
  send(frame: Uint8Array): Promise<void>;
  /**
   * The next frame; undefined once the other side said that there are no more.
   *
   * @throws MeshError `frame_too_large` (by its length prefix, before anything is allocated), `stream_closed` (reset),
   *   `timeout` (nothing arrived for as long as the protocol allows)
   */
  receive(): Promise<Uint8Array | undefined>;
  /** Says that no more frames will be sent. Frames of the other side can still be received. */
  close(): Promise<void>;
  /** Ends both directions at once. The reason stays here. */
  abort(reason: Error): void;
}

/** A protocol as data: its id and bounds. Bounds hold for every stream of it, in both directions. */
export interface Protocol {
  /** Such as `/stigmesh/sync/1.0.0`. */
  readonly id: string;
  /** Bytes. */
  readonly maxFrame: number;
  /** Streams that one peer may have open with us at a time. More are reset. */
  readonly maxInboundStreams: number;
  /** Time without a frame (receive) or without room (send) after which a stream ends, ms. */
  readonly idleMs: number;
}

export type Handler = (stream: FrameStream) => Promise<void>;

/** What becomes of a gossip message: passed on, dropped, or dropped and held against the peer that sent it. */
export type GossipVerdict = 'accept' | 'ignore' | 'reject';

export interface Gossip {
  /** Hands a message to the peers on the topic. @returns how many took it @throws MeshError `frame_too_large` */
  publish(data: Uint8Array): Promise<number>;
  /**
   * The one consumer, set before `start`; until then nobody gossips with us. Messages are passed on to others only after
   * it answered `accept`. Peers that `admits` does not admit take no part: nothing is sent to them, nothing is heard from
   * them ({@link Transport.recheck}).
   */
  onMessage(
    consume: (data: Uint8Array, from: string) => Promise<GossipVerdict>,
    admits: (peerId: string) => boolean,
  ): void;
  /** Score of a peer, by our own reputation: 0 is neutral, below -100 it is no longer listened to. */
  setScorer(score: (peerId: string) => number): void;
}

/** A connection whose other end is proven. */
export interface Connection {
  readonly peerId: string;
  /** Whether we dialled. */
  readonly outbound: boolean;
  /** Multiaddr of the other end. */
  readonly remoteAddr: string;
}

/** What a peer did that no honest one does, on a protocol of the network itself; its connections are closed by then. */
export type Misbehaviour = 'frame_too_large' | 'malformed_frame' | 'protocol_violation';

export interface TransportEvents {
  /** The first connection to a peer is up. */
  readonly connected: (connection: Connection) => void;
  /** The last connection to a peer is gone. */
  readonly disconnected: (peerId: string) => void;
  readonly misbehaved?: (peerId: string, what: Misbehaviour) => void;
}

export interface Transport {
  readonly peerId: string;
  readonly gossip: Gossip;
  /** @throws MeshError `listen_failed` */
  start(): Promise<void>;
  stop(): Promise<void>;
  /** Set before `start`. */
  on(events: TransportEvents): void;
  /**
   * Peers that get no connection at all (revoked, banned), in either direction. Asked for every new one; existing ones
   * are ended by {@link disconnect}. A peer that dials us may believe for a moment that it is connected. Set before `start`.
   */
  deny(denied: (peerId: string) => boolean): void;
  /** Serves a protocol. `admits` is asked before a stream is handed over; a peer it does not admit gets a reset. */
  handle(protocol: Protocol, handler: Handler, admits: (peerId: string) => boolean): Promise<void>;
  /**
   * Connects to a peer at any of its addresses, and only to that peer. Done already when connected.
   *
   * @throws MeshError `dial_failed`, `wrong_peer`, `peer_denied` (by us), `invalid_address`, `timeout`
   */
  dial(peerId: string, addrs: readonly string[], signal?: AbortSignal): Promise<Connection>;
  /**
   * Opens a stream. A peer that does not admit us, or has enough streams of ours, resets it: here or at the first `receive`.
   *
   * @throws MeshError `not_connected`, `protocol_unsupported`, `stream_closed`, `timeout`
   */
  open(peerId: string, protocol: Protocol): Promise<FrameStream>;
  /**
   * What the `admits` checks say of a peer may have changed: streams it is no longer admitted to are reset, it enters the
   * gossip or leaves it. Denied peers are disconnected, too.
   */
  recheck(peerId: string): void;
  /** Closes every connection to a peer. */
  disconnect(peerId: string): Promise<void>;
  connections(): readonly Connection[];
  /** Multiaddrs it can be reached at, with `/p2p/<peer id>`. */
  addresses(): readonly string[];
  /** Round-trip time to a connected peer, ms; null when unknown. */
  roundTrip(peerId: string): number | null;
}

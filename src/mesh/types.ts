import type { MeshEvent, MeshEventSource, PeerLag, PeerView } from '../node/federation.ts';
import type { Pairing } from '../policy/sharing.ts';
import type { Misbehaviour } from './transport.ts';

/** What the parts of the mesh tell each other: who is who (`peering.ts`), and how what is shared fares (the data plane). */

/** A peer that both sides declared, on a connection that is up. */
export interface ActivePeer {
  readonly peerId: string;
  readonly pairing: Pairing;
  /** Unix ms. */
  readonly since: number;
}

/** Why a peer is no longer active. */
export type InactiveReason =
  /** Its connection is gone. */
  | 'disconnected'
  /** By our operator, or what we decided ended. */
  | 'suspended'
  | 'expired'
  | 'revoked'
  /** It no longer agrees, or could no longer prove who it is. */
  | 'refused'
  /** It went too far ({@link PeeringView.ban}). */
  | 'banned'
  /** We are stopping. */
  | 'stopping';

/** Listeners must not throw and must not take time: start work, do not wait for it. */
export interface PeeringListener {
  /** Both sides hold the same pairing now, and the other side serves our streams. */
  readonly active?: (peer: ActivePeer) => void;
  /** `admits` is false already. Streams of the peer have to end; its connection is closed by the time or soon after. */
  readonly inactive?: (peerId: string, reason: InactiveReason) => void;
  /**
   * The terms of an active peer changed. `before` is what held until now: sets that were shared then and are not any more
   * stop at once; statements of them that are still on their way are no offence ({@link PeeringView.isSettling}).
   */
  readonly changed?: (peer: ActivePeer, before: Pairing) => void;
  /** A peer broke the rules of the network itself; its connections are closed by then. */
  readonly misbehaved?: (peerId: string, what: Misbehaviour) => void;
}

/** Who is admitted, and to what: what everything that serves peers asks, at every stream and every block. */
export interface PeeringView {
  /** Whether a peer may use any protocol beyond declare. False for everybody who is not active at this moment. */
  admits(peerId: string): boolean;
  /** What is shared with a peer at this moment; undefined unless `admits`. */
  pairing(peerId: string): Pairing | undefined;
  active(): readonly ActivePeer[];
  /** Whether the terms changed so recently that the other side may still act on the old ones in good faith. */
  isSettling(peerId: string): boolean;
  /**
   * Cuts a peer off: disconnected at once, and no connection until then (Unix ms). What the operator decided about it stays.
   * In memory: a restart forgives.
   */
  ban(peerId: string, until: number): void;
  /** @returns the way to end it */
  on(listener: PeeringListener): () => void;
}

/** What the data plane knows of its peers. Values are of this run of the daemon; unknown peers get the empty answer. */
export interface SyncReport {
  lag(peerId: string): PeerLag;
  lastSync(peerId: string): PeerView['lastSync'];
  /** Statements that reconciliation brought since the peer became active. */
  received(peerId: string): number;
  /** Statements refused, by code. */
  refused(peerId: string): Readonly<Record<string, number>>;
  /** Reputation: 0 is neutral. */
  score(peerId: string): number;
  /**
   * Reconciles with an active peer: what either side held at the call, both hold afterwards. The outcome of the last
   * session is in {@link lastSync}.
   *
   * @throws NodeError `sync_failed` when it did not end well
   */
  sync(peerId: string, signal?: AbortSignal): Promise<void>;
  /** Sets held, whether their indexes are loaded, lengths of the queues, and what an operator should know. */
  figures(): {
    readonly sets: number;
    readonly indexed: boolean;
    readonly queues: Readonly<Record<string, number>>;
    readonly warnings: readonly string[];
  };
}

/** Where the parts of the mesh tell operators what happens. */
export interface MeshEventSink extends MeshEventSource {
  emit(event: MeshEvent): void;
}

/** What the mesh tells the log. Values of facts, secrets and proofs never go in here. */
export interface MeshLog {
  debug(fields: object, message: string): void;
  info(fields: object, message: string): void;
  warn(fields: object, message: string): void;
}

import type { PeerId } from '@libp2p/interface';
import { RateLimiter } from '../../policy/rate-limit.ts';
import {
  GOSSIP_BURST_CONTROLS,
  GOSSIP_BURST_MESSAGES,
  GOSSIP_CONTROLS_PER_SECOND,
  GOSSIP_MESSAGES_PER_SECOND,
  MAX_CONNECTIONS,
  MAX_FOREIGN_TOPICS,
} from '../limits.ts';
import { elapsedClock } from '../timers.ts';
import type { Misbehaviour } from '../transport.ts';

interface Ids {
  readonly messageIDs?: readonly unknown[];
}

/** What is looked at of a gossipsub packet (its spec, "Protobuf"). */
export interface GossipRpc {
  subscriptions: { readonly topic?: string }[];
  messages: unknown[];
  control?: {
    readonly ihave?: readonly Ids[];
    readonly iwant?: readonly Ids[];
    readonly graft?: readonly unknown[];
    readonly prune?: readonly { readonly peers?: readonly unknown[] }[];
    readonly idontwant?: readonly Ids[];
  };
}

/** Where gossipsub lets its users in; the first two are not part of its declared interface. */
export interface GossipInside {
  decodeRpc(bytes: Uint8Array): GossipRpc;
  handlePeerReadStreamError(error: Error, peerId: PeerId): void;
  handleReceivedRpc(from: PeerId, rpc: GossipRpc): Promise<void>;
}

/** Stands for a packet that could not be decoded. */
const MALFORMED: GossipRpc = Object.freeze({ subscriptions: [], messages: [] }) as GossipRpc;

/**
 * Looks at what peers send before gossipsub takes it in. By itself it drops what is malformed or not allowed and goes on
 * with the peer, however often that happens, and remembers the id of every message for a minute or two, however many there
 * are. Here a peer has an allowance; messages beyond it are dropped unseen, control messages beyond any use end it.
 */
export class GossipGuard {
  readonly #topic: string;
  readonly #misbehaved: (peerId: string, what: Misbehaviour) => void;
  readonly #messages: RateLimiter;
  readonly #controls: RateLimiter;
  readonly #foreignTopics = new Map<string, number>();
  #dropped = 0;

  constructor(
    components: { now: () => number; misbehaved: (peerId: string, what: Misbehaviour) => void },
    init: { topic: string },
  ) {
    this.#topic = init.topic;
    this.#misbehaved = components.misbehaved;
    const now = elapsedClock(components.now);
    const maxKeys = MAX_CONNECTIONS;
    this.#messages = new RateLimiter({
      perMinute: GOSSIP_MESSAGES_PER_SECOND * 60,
      burst: GOSSIP_BURST_MESSAGES,
      maxKeys,
      now,
    });
    this.#controls = new RateLimiter({
      perMinute: GOSSIP_CONTROLS_PER_SECOND * 60,
      burst: GOSSIP_BURST_CONTROLS,
      maxKeys,
      now,
    });
  }

  /** Messages dropped because their sender was over its allowance. */
  get dropped(): number {
    return this.#dropped;
  }

  /** Puts itself before the inbound packets of a router that does not run yet. */
  stand(router: GossipInside): void {
    const decode = router.decodeRpc.bind(router);
    const receive = router.handleReceivedRpc.bind(router);
    const failed = router.handlePeerReadStreamError.bind(router);
    router.decodeRpc = (bytes) => {
      try {
        return decode(bytes);
      } catch {
        return MALFORMED;
      }
    };
    router.handleReceivedRpc = async (from, rpc) => {
      if (this.#passes(from.toString(), rpc)) await receive(from, rpc);
    };
    router.handlePeerReadStreamError = (error, peerId) => {
      // From the decoder of lengths: more was announced than is allowed.
      if (/^InvalidDataLength|^InvalidMessageLength/.test(error.name)) {
        this.#misbehaved(peerId.toString(), 'frame_too_large');
      }
      failed(error, peerId);
    };
  }

  forget(peerId: string): void {
    this.#foreignTopics.delete(peerId);
  }

  #passes(peerId: string, rpc: GossipRpc): boolean {
    if (rpc === MALFORMED) {
      this.#misbehaved(peerId, 'malformed_frame');
      return false;
    }
    const foreign = rpc.subscriptions.filter(({ topic }) => topic !== this.#topic).length;
    if (foreign > 0) {
      const all = (this.#foreignTopics.get(peerId) ?? 0) + foreign;
      this.#foreignTopics.set(peerId, all);
      if (all > MAX_FOREIGN_TOPICS) {
        this.#misbehaved(peerId, 'protocol_violation');
        return false;
      }
    }
    const controls = rpc.subscriptions.length + controlsOf(rpc);
    if (controls > GOSSIP_BURST_CONTROLS || (controls > 0 && !this.#controls.take(peerId, controls).allowed)) {
      this.#misbehaved(peerId, 'protocol_violation');
      return false;
    }
    if (rpc.messages.length > 0 && !this.#messages.take(peerId, rpc.messages.length).allowed) {
      this.#dropped += rpc.messages.length;
      rpc.messages = [];
    }
    return true;
  }
}

/** Entries of the control part, ids and peers inside of them included. */
function controlsOf({ control }: GossipRpc): number {
  if (!control) return 0;
  const ids = (entries: readonly Ids[] = []): number =>
    entries.reduce((sum, { messageIDs }) => sum + 1 + (messageIDs?.length ?? 0), 0);
  const { ihave, iwant, graft, prune, idontwant } = control;
  const prunes = (prune ?? []).reduce((sum, { peers }) => sum + 1 + (peers?.length ?? 0), 0);
  return ids(ihave) + ids(iwant) + ids(idontwant) + (graft?.length ?? 0) + prunes;
}

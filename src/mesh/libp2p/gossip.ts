import { createHash } from 'node:crypto';
import {
  type GossipSub,
  type GossipSubComponents,
  gossipsub,
  type Message,
  StrictNoSign,
  TopicValidatorResult,
} from '@libp2p/gossipsub';
import type { Libp2p, PeerId } from '@libp2p/interface';
import { frameTooLarge, transportStopped } from '../errors.ts';
import {
  GOSSIP_OUTBOUND_BYTES,
  GOSSIP_SEEN_MS,
  GRAYLIST_SCORE,
  MAX_GOSSIP_BYTES,
  MAX_GOSSIP_PENDING,
  MAX_GOSSIP_RPC_BYTES,
} from '../limits.ts';
import type { Gossip, GossipVerdict, Misbehaviour } from '../transport.ts';
import type { MeshWorld } from '../world.ts';
import { AdmissionGate } from './admission.ts';
import { GossipGuard, type GossipInside } from './gossip-guard.ts';
import { GossipWatchdog } from './watchdog.ts';

/** The one topic. What is not public never enters gossip. */
export const TOPIC = '/stigmesh/1/public';

/** Messages smaller than this are sent again rather than announced as not wanted. */
const IDONTWANT_BYTES = 4096;

const VERDICTS = {
  accept: TopicValidatorResult.Accept,
  ignore: TopicValidatorResult.Ignore,
  reject: TopicValidatorResult.Reject,
} as const;

/** The router as far as it is used beyond its declared interface. */
type Router = GossipSub &
  GossipInside & {
    readonly streamsOutbound: Map<string, { readonly rawStream?: { readonly status: string } }>;
    readonly status?: { readonly heartbeatTimeout?: NodeJS.Timeout };
  };

/** Gossipsub on one topic, between admitted peers, without signatures of its own: statements carry theirs. */
export class Libp2pGossip implements Gossip {
  readonly gate: AdmissionGate;
  readonly #guard: GossipGuard;
  readonly #watchdog: GossipWatchdog;
  #router: Router | null = null;
  #isRunning = false;
  #pending = 0;
  #ignored = 0;
  #consume: ((data: Uint8Array, from: string) => Promise<GossipVerdict>) | null = null;
  #admits: (peerId: string) => boolean = () => false;
  #score: (peerId: string) => number = () => 0;

  constructor(components: { world: MeshWorld; misbehaved: (peerId: string, what: Misbehaviour) => void }) {
    const { world, misbehaved } = components;
    this.gate = new AdmissionGate(
      (peerId) => this.#admits(peerId),
      (peerId) => this.#bury(peerId),
    );
    this.#guard = new GossipGuard({ now: () => world.now(), misbehaved }, { topic: TOPIC });
    this.#watchdog = new GossipWatchdog({
      world,
      members: () => this.gate.members,
      isAlive: (peerId) => this.#isAlive(peerId),
      revive: (peerId) => this.gate.introduce(peerId),
    });
  }

  /** Peers in the gossip, messages under examination, messages dropped for want of room, streams opened anew. */
  get figures(): { peers: number; pending: number; dropped: number; revived: number } {
    return {
      peers: this.gate.members.length,
      pending: this.#pending,
      dropped: this.#ignored + this.#guard.dropped,
      revived: this.#watchdog.revived,
    };
  }

  async publish(data: Uint8Array): Promise<number> {
    if (data.length > MAX_GOSSIP_BYTES) throw frameTooLarge(data.length, MAX_GOSSIP_BYTES);
    if (!this.#isRunning || !this.#router) throw transportStopped();
    const { recipients } = await this.#router.publish(TOPIC, data);
    return recipients.length;
  }

  onMessage(
    consume: (data: Uint8Array, from: string) => Promise<GossipVerdict>,
    admits: (peerId: string) => boolean,
  ): void {
    this.#consume = consume;
    this.#admits = admits;
  }

  setScorer(score: (peerId: string) => number): void {
    this.#score = score;
  }

  /** The service for libp2p to run. */
  service(components: GossipSubComponents): GossipSub {
    const router = gossipsub({
      globalSignaturePolicy: StrictNoSign,
      allowedTopics: [TOPIC],
      msgIdFn: messageId,
      fallbackToFloodsub: false,
      floodPublish: true,
      doPX: false,
      tagMeshPeers: false,
      emitSelf: false,
      allowPublishToZeroTopicPeers: true,
      ignoreDuplicatePublishError: true,
      maxInboundStreams: 2,
      maxOutboundStreams: 2,
      // A peer that takes nothing is cut off here; its stream is opened anew, and reconciliation brings what it missed.
      maxOutboundBufferSize: GOSSIP_OUTBOUND_BYTES,
      maxInboundDataLength: MAX_GOSSIP_RPC_BYTES,
      seenTTL: GOSSIP_SEEN_MS,
      idontwantMinDataSize: IDONTWANT_BYTES,
      // One word about a peer counts: ours. No penalty for quiet topics or for sharing an address.
      scoreParams: {
        topics: {},
        IPColocationFactorWeight: 0,
        appSpecificScore: (peerId) => this.#score(peerId),
        appSpecificWeight: 1,
      },
      scoreThresholds: {
        gossipThreshold: GRAYLIST_SCORE,
        publishThreshold: GRAYLIST_SCORE,
        graylistThreshold: GRAYLIST_SCORE,
      },
    })(this.gate.components(components)) as Router;
    this.#guard.stand(router);
    router.topicValidators.set(TOPIC, (from, message) => this.#validate(from, message));
    this.#router = router;
    return router;
  }

  /** Follows a host that does not run yet. */
  follow(host: Libp2p): void {
    this.gate.follow(host);
    host.addEventListener('peer:disconnect', ({ detail }) => this.#guard.forget(detail.toString()));
  }

  /** Once the host runs. */
  start(): void {
    this.#router?.subscribe(TOPIC);
    this.#isRunning = true;
    this.#watchdog.start();
  }

  /** Before the host stops. */
  stop(): void {
    this.#isRunning = false;
    this.#watchdog.stop();
    // The router forgets this one, which would keep a process for another second.
    clearTimeout(this.#router?.status?.heartbeatTimeout);
  }

  #isAlive(peerId: string): boolean {
    const stream = this.#router?.streamsOutbound.get(peerId);
    return stream?.rawStream?.status === 'open';
  }

  /** The router opens no stream where it believes to have one, and misses the end of one that is reset while it opens. */
  #bury(peerId: string): void {
    if (!this.#isAlive(peerId)) this.#router?.streamsOutbound.delete(peerId);
  }

  /** Messages are kept and passed on by the router only after this said `accept`. */
  async #validate(peerId: PeerId, message: Message): Promise<TopicValidatorResult> {
    const from = peerId.toString();
    // The router itself looks at a score only once a second.
    if (!this.#consume || !this.#admits(from) || this.#score(from) < GRAYLIST_SCORE) return TopicValidatorResult.Ignore;
    if (message.data.length > MAX_GOSSIP_BYTES) return TopicValidatorResult.Reject;
    if (this.#pending >= MAX_GOSSIP_PENDING) {
      this.#ignored++;
      return TopicValidatorResult.Ignore;
    }
    this.#pending++;
    try {
      return VERDICTS[await this.#consume(message.data, from)];
    } catch {
      return TopicValidatorResult.Ignore;
    } finally {
      this.#pending--;
    }
  }
}

/** The same content is the same message, whoever sends it. */
function messageId({ topic, data }: Message): Uint8Array {
  return createHash('sha256').update(topic).update('\0').update(data).digest();
}

import type { Digest } from '../facts/index.ts';
import type { WireStatement } from '../node/federation.ts';
import { RateLimiter } from '../policy/rate-limit.ts';
import { BlockBuilder, encodeBlock, wireSize } from './block.ts';
import {
  GOSSIP_BURST_STATEMENTS,
  GOSSIP_COALESCE_MS,
  GOSSIP_STATEMENTS_PER_SECOND,
  MAX_GOSSIP_COALESCE_MS,
  MAX_RELAY_BYTES,
  MAX_RELAYS,
  RELAY_DELAY_MS,
} from './data-limits.ts';
import { MAX_GOSSIP_BYTES } from './limits.ts';
import { elapsedClock } from './timers.ts';
import type { Gossip } from './transport.ts';
import type { MeshWorld } from './world.ts';

export interface GossipPublisherComponents {
  readonly gossip: Pick<Gossip, 'publish'>;
  readonly world: MeshWorld;
  /** Whether a statement was heard by gossip. */
  readonly hasHeard: (digest: Digest) => boolean;
  readonly onPublished: (statements: number) => void;
}

/** The one key of the limiter: what this node itself gossips. */
const OWN = '';

/** Puts public statements into the topic, coalesced: a first one at once, those that follow within milliseconds together. */
export class GossipPublisher {
  readonly #components: GossipPublisherComponents;
  readonly #builder = new BlockBuilder(MAX_GOSSIP_BYTES);
  readonly #limiter: RateLimiter;
  readonly #elapsed: () => number;
  #publishedAt = Number.NEGATIVE_INFINITY;
  /** Time between two messages, ms. */
  #pace = GOSSIP_COALESCE_MS;
  #timer: unknown;
  #relays: (WireStatement & { readonly digest: Digest })[] = [];
  #relayBytes = 0;
  #relayTimer: unknown;

  constructor(components: GossipPublisherComponents) {
    this.#components = components;
    this.#elapsed = elapsedClock(() => components.world.now());
    // Half of what a receiver takes from one peer: it is left room for what is passed on for others.
    this.#limiter = new RateLimiter({
      perMinute: 60 * GOSSIP_STATEMENTS_PER_SECOND,
      burst: GOSSIP_BURST_STATEMENTS,
      maxKeys: 1,
      now: this.#elapsed,
    });
  }

  /** Statements that wait to be published. */
  get waiting(): number {
    return this.#builder.size + this.#relays.length;
  }

  /**
   * Takes a statement for the next message; {@link flush} follows.
   *
   * @returns false when gossip does not carry it: it is too large for a message, or there were too many lately
   */
  offer(statement: WireStatement): boolean {
    if (wireSize(statement) + 1 > MAX_GOSSIP_BYTES || !this.#limiter.take(OWN).allowed) return false;
    if (!this.#builder.fits(statement)) this.#publish();
    this.#builder.add(statement);
    return true;
  }

  /**
   * Takes a statement that came to us otherwise than by gossip. Others may have got it the same way: it waits a moment,
   * and is left out if the topic has it by then.
   */
  relay({ bytes, sig, digest }: WireStatement & { readonly digest: Digest }): void {
    if (this.#relayBytes + bytes.length > MAX_RELAY_BYTES || this.#relays.length >= MAX_RELAYS) return;
    // A copy: the frame it came in must not stay in memory for it.
    this.#relays.push({ bytes: bytes.slice(), sig: sig.slice(), digest });
    this.#relayBytes += bytes.length;
    const { world } = this.#components;
    this.#relayTimer ??= world.setTimeout(
      () => {
        this.#relayTimer = undefined;
        this.#relayBytes = 0;
        for (const one of this.#relays.splice(0)) if (!this.#components.hasHeard(one.digest)) this.offer(one);
        this.flush();
      },
      RELAY_DELAY_MS * (0.2 + 0.8 * world.random()),
    );
  }

  /** Publishes what was offered: now, or once the last message is a few milliseconds old. */
  flush(): void {
    if (this.#builder.size === 0 || this.#timer !== undefined) return;
    const due = this.#publishedAt + this.#pace;
    const wait = due - this.#elapsed();
    if (wait <= 0) this.#publish();
    else {
      this.#timer = this.#components.world.setTimeout(() => {
        this.#timer = undefined;
        this.#adapt(this.#elapsed() - due);
        this.#publish();
      }, wait);
    }
  }

  /** A timer that fires late tells how busy the machine is. */
  #adapt(late: number): void {
    this.#pace = Math.min(MAX_GOSSIP_COALESCE_MS, Math.max(GOSSIP_COALESCE_MS, this.#pace / 2 + late));
  }

  stop(): void {
    this.#components.world.clearTimeout(this.#timer);
    this.#components.world.clearTimeout(this.#relayTimer);
    this.#timer = undefined;
    this.#relayTimer = undefined;
    this.#builder.take();
    this.#relays = [];
    this.#relayBytes = 0;
  }

  #publish(): void {
    const statements = this.#builder.take();
    if (statements.length === 0) return;
    this.#publishedAt = this.#elapsed();
    const { gossip, onPublished } = this.#components;
    // A message that is lost is a matter of reconciliation, as every other.
    gossip.publish(encodeBlock(statements)).then(
      () => onPublished(statements.length),
      () => {},
    );
  }
}

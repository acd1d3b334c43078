import { type RateDecision, RateLimiter } from '../policy/rate-limit.ts';
import {
  GATE_BURST_BYTES,
  GATE_BURST_STATEMENTS,
  GATE_BYTES_PER_SECOND,
  GATE_STATEMENTS_PER_SECOND,
  MAX_SCORED_PEERS,
  MAX_SOURCES,
} from './data-limits.ts';
import { delay, elapsedClock } from './timers.ts';
import type { MeshWorld } from './world.ts';

export interface GateInit {
  readonly statementsPerSecond?: number;
  readonly burstStatements?: number;
  readonly bytesPerSecond?: number;
  readonly burstBytes?: number;
}

/** Units of bytes that the limiter counts: its arithmetic is in fractions of a millisecond a unit. */
const BYTES_UNIT = 64;

/**
 * How much of what one peer sends is looked at. Streams wait for their turn, and so slow their sender down; gossip that is
 * over the allowance is dropped before any work went into it. Every peer has an allowance of its own.
 */
export class InboundGate {
  readonly #world: MeshWorld;
  readonly #statements: RateLimiter;
  readonly #bytes: RateLimiter;
  readonly #sources: RateLimiter;
  #waiting = 0;

  constructor(world: MeshWorld, init: GateInit = {}) {
    this.#world = world;
    const now = elapsedClock(() => world.now());
    this.#statements = new RateLimiter({
      perMinute: 60 * (init.statementsPerSecond ?? GATE_STATEMENTS_PER_SECOND),
      burst: init.burstStatements ?? GATE_BURST_STATEMENTS,
      maxKeys: MAX_SCORED_PEERS,
      now,
    });
    this.#sources = new RateLimiter({
      perMinute: 60 * (init.statementsPerSecond ?? GATE_STATEMENTS_PER_SECOND),
      burst: init.burstStatements ?? GATE_BURST_STATEMENTS,
      maxKeys: MAX_SOURCES,
      now,
    });
    this.#bytes = new RateLimiter({
      perMinute: (60 * (init.bytesPerSecond ?? GATE_BYTES_PER_SECOND)) / BYTES_UNIT,
      burst: (init.burstBytes ?? GATE_BURST_BYTES) / BYTES_UNIT,
      maxKeys: MAX_SCORED_PEERS,
      now,
    });
  }

  /** Streams that wait at the moment. */
  get waiting(): number {
    return this.#waiting;
  }

  /** Takes from the allowance of a peer, or says when to come back. A refusal may still have cost it statements. */
  tryTake(peerId: string, statements: number, bytes: number): RateDecision {
    const first = this.#statements.take(peerId, statements);
    return first.allowed ? this.#bytes.take(peerId, Math.ceil(bytes / BYTES_UNIT)) : first;
  }

  /**
   * Takes from the allowance of whoever made a statement, over all peers that pass it on: a flood that comes by way of many
   * is no smaller one. Only of gossip; on streams each peer answers for what it sends.
   */
  takesFrom(origin: string): boolean {
    return this.#sources.take(origin).allowed;
  }

  /** What was not new, or not of whom it named, is not for that one to pay: else anybody could spend its allowance. */
  giveBack(origin: string): void {
    this.#sources.giveBack(origin);
  }

  /**
   * Waits until the allowance of a peer covers this, and takes it.
   *
   * @returns whether it had to wait; also when the signal ended the wait and nothing was taken
   */
  async take(peerId: string, statements: number, bytes: number, signal?: AbortSignal): Promise<boolean> {
    const waited = await this.#wait(this.#statements, peerId, statements, signal);
    return (await this.#wait(this.#bytes, peerId, Math.ceil(bytes / BYTES_UNIT), signal)) || waited;
  }

  async #wait(limiter: RateLimiter, peerId: string, cost: number, signal?: AbortSignal): Promise<boolean> {
    let waited = false;
    while (!signal?.aborted) {
      const decision = limiter.take(peerId, cost);
      if (decision.allowed) break;
      waited = true;
      this.#waiting += 1;
      await delay(this.#world, decision.retryAfterMs, signal);
      this.#waiting -= 1;
    }
    return waited;
  }
}

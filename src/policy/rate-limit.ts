/**
 * Generic cell rate algorithm (ITU-T I.371): an allowance of `perMinute` with bursts of `burst`, one number a key.
 * Pure; time comes in through `now`.
 */
export interface RateLimiterInit {
  /** Sustained allowance. */
  readonly perMinute: number;
  /** What may be taken at once after a pause; at least 1. */
  readonly burst: number;
  /** Keys remembered. Beyond it the one longest unused is forgotten, that is: it has its full allowance again. */
  readonly maxKeys: number;
  /** Milliseconds, never going back. */
  readonly now: () => number;
}

export type RateDecision =
  | { readonly allowed: true }
  | {
      readonly allowed: false;
      /** Milliseconds after which the same request would be allowed, if nothing else is taken; at least 1. */
      readonly retryAfterMs: number;
    };

export class RateLimiter {
  readonly #interval: number;
  readonly #tolerance: number;
  readonly #burst: number;
  readonly #maxKeys: number;
  readonly #now: () => number;
  /** Theoretical arrival time of each key's next request; in order of use, so that the first is the stalest. */
  readonly #arrivals = new Map<string, number>();

  constructor(init: RateLimiterInit) {
    this.#interval = 60_000 / init.perMinute;
    this.#burst = Math.max(1, Math.floor(init.burst));
    this.#tolerance = this.#interval * (this.#burst - 1);
    this.#maxKeys = init.maxKeys;
    this.#now = init.now;
  }

  /** Keys remembered at this moment. */
  get size(): number {
    return this.#arrivals.size;
  }

  /**
   * Takes `cost` from the allowance of `key`, or nothing when it does not reach. A cost above the burst counts as the
   * whole burst: large requests are slowed down, never locked out.
   *
   * @param paid what of the cost was taken before, when it was not known yet; whoever comes again pays that again
   */
  take(key: string, cost = 1, paid = 0): RateDecision {
    const now = this.#now();
    const units = Math.min(Math.max(1, cost), this.#burst) - paid;
    if (units <= 0) return { allowed: true };
    const arrival = Math.max(this.#arrivals.get(key) ?? now, now);
    const wait = arrival + (units - 1) * this.#interval - this.#tolerance - now;
    // Half a microsecond of slack: sums of interval are not exact.
    if (wait > 0.0005) return { allowed: false, retryAfterMs: Math.max(1, Math.ceil(wait + paid * this.#interval)) };
    this.#arrivals.delete(key);
    this.#arrivals.set(key, arrival + units * this.#interval);
    if (this.#arrivals.size > this.#maxKeys) {
      const stalest = this.#arrivals.keys().next();
      if (!stalest.done) this.#arrivals.delete(stalest.value);
    }
    return { allowed: true };
  }

  /** Gives back what was taken and turned out not to be for this key to pay. */
  giveBack(key: string, cost = 1): void {
    const arrival = this.#arrivals.get(key);
    if (arrival !== undefined) this.#arrivals.set(key, arrival - cost * this.#interval);
  }
}

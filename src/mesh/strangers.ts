import { RateLimiter } from '../policy/rate-limit.ts';
import {
  MAX_COUNTED_DECLARERS,
  MAX_STRANGERS,
  PEER_DECLARES_BURST,
  PEER_DECLARES_PER_MINUTE,
  STRANGER_DECLARES_BURST,
  STRANGER_DECLARES_PER_MINUTE,
} from './control-limits.ts';

/** Somebody who connected and whom nobody declared. */
export interface Stranger {
  readonly peerId: string;
  /** Where it was seen last. */
  readonly remoteAddr: string;
  /** Unix ms. */
  readonly firstSeenAt: number;
  readonly lastSeenAt: number;
}

/**
 * Strangers that have not said who they are, in memory only: a connection is no reason to write to the disk. Also what
 * declaring may cost us: strangers share one allowance, each declared peer has its own.
 */
export class Strangers {
  readonly #known = new Map<string, Stranger>();
  readonly #shared: RateLimiter;
  readonly #each: RateLimiter;
  #count = 0;

  /** @param now milliseconds that never go back */
  constructor(now: () => number) {
    this.#shared = new RateLimiter({
      perMinute: STRANGER_DECLARES_PER_MINUTE,
      burst: STRANGER_DECLARES_BURST,
      maxKeys: 1,
      now,
    });
    this.#each = new RateLimiter({
      perMinute: PEER_DECLARES_PER_MINUTE,
      burst: PEER_DECLARES_BURST,
      maxKeys: MAX_COUNTED_DECLARERS,
      now,
    });
  }

  /** Connections of strangers since the start. */
  get count(): number {
    return this.#count;
  }

  /** @param at Unix ms */
  note(peerId: string, remoteAddr: string, at: number): void {
    this.#count += 1;
    const firstSeenAt = this.#known.get(peerId)?.firstSeenAt ?? at;
    this.#known.delete(peerId);
    this.#known.set(peerId, { peerId, remoteAddr, firstSeenAt, lastSeenAt: at });
    if (this.#known.size <= MAX_STRANGERS) return;
    const oldest = this.#known.keys().next();
    if (!oldest.done) this.#known.delete(oldest.value);
  }

  get(peerId: string): Stranger | undefined {
    return this.#known.get(peerId);
  }

  list(): readonly Stranger[] {
    return [...this.#known.values()];
  }

  forget(peerId: string): void {
    this.#known.delete(peerId);
  }

  /** Whether a declare stream may be served now. */
  mayDeclare(peerId: string, isStranger: boolean): boolean {
    return (isStranger ? this.#shared.take('') : this.#each.take(peerId)).allowed;
  }
}

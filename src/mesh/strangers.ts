import { RateLimiter } from '../policy/rate-limit.ts';
import { hostOf } from './addresses.ts';
import {
  ALL_STRANGERS_DECLARES_BURST,
  ALL_STRANGERS_DECLARES_PER_MINUTE,
  MAX_COUNTED_DECLARERS,
  MAX_COUNTED_HOSTS,
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
 * declaring may cost us: the strangers of a host share one allowance, each declared peer has its own.
 */
export class Strangers {
  readonly #known = new Map<string, Stranger>();
  readonly #all: RateLimiter;
  readonly #byHost: RateLimiter;
  readonly #each: RateLimiter;
  #count = 0;

  /** @param now milliseconds that never go back */
  constructor(now: () => number) {
    this.#all = new RateLimiter({
      perMinute: ALL_STRANGERS_DECLARES_PER_MINUTE,
      burst: ALL_STRANGERS_DECLARES_BURST,
      maxKeys: 1,
      now,
    });
    this.#byHost = new RateLimiter({
      perMinute: STRANGER_DECLARES_PER_MINUTE,
      burst: STRANGER_DECLARES_BURST,
      maxKeys: MAX_COUNTED_HOSTS,
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

  /** Hosts whose strangers are counted. */
  get hosts(): number {
    return this.#byHost.size;
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

  /** Whether a declare stream may be served now. @param from where a stranger is seen; null for whom we know */
  mayDeclare(peerId: string, from: string | null): boolean {
    if (from === null) return this.#each.take(peerId).allowed;
    return this.#byHost.take(hostOf(from)).allowed && this.#all.take('').allowed;
  }
}

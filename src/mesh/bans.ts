import { MAX_BANS } from './control-limits.ts';

/** Peers that get no connection for a while. In memory: a restart forgives. */
export class Bans {
  readonly #now: () => number;
  /** Until when (Unix ms), in the order in which they were made. */
  readonly #until = new Map<string, number>();

  /** @param now Unix ms */
  constructor(now: () => number) {
    this.#now = now;
  }

  add(peerId: string, until: number): void {
    this.#until.delete(peerId);
    this.#until.set(peerId, until);
    if (this.#until.size <= MAX_BANS) return;
    const first = this.#until.keys().next();
    if (!first.done) this.#until.delete(first.value);
  }

  has(peerId: string): boolean {
    const until = this.#until.get(peerId);
    if (until === undefined) return false;
    if (until > this.#now()) return true;
    this.#until.delete(peerId);
    return false;
  }

  /** Our operator decided anew. */
  lift(peerId: string): void {
    this.#until.delete(peerId);
  }
}

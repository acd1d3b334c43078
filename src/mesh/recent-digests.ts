import type { Digest } from '../facts/index.ts';

/** Short form of a digest as the key of a map: one byte a character. */
export function digestKey(digest: Digest): string {
  return Buffer.from(digest.buffer, digest.byteOffset, digest.length).toString('latin1');
}

/** Digests met lately, at most so many; the ones not met for longest are forgotten first. */
export class RecentDigests<T = true> {
  readonly #max: number;
  readonly #entries = new Map<string, T>();

  constructor(max: number) {
    this.#max = max;
  }

  get size(): number {
    return this.#entries.size;
  }

  has(digest: Digest): boolean {
    return this.#entries.has(digestKey(digest));
  }

  get(digest: Digest): T | undefined {
    return this.#entries.get(digestKey(digest));
  }

  set(digest: Digest, value: T): void {
    const key = digestKey(digest);
    this.#entries.delete(key);
    this.#entries.set(key, value);
    if (this.#entries.size <= this.#max) return;
    const oldest = this.#entries.keys().next();
    if (!oldest.done) this.#entries.delete(oldest.value);
  }

  /** Forgets a digest and returns what was kept with it. */
  take(digest: Digest): T | undefined {
    const key = digestKey(digest);
    const value = this.#entries.get(key);
    this.#entries.delete(key);
    return value;
  }
}

import { MAX_PEER_WARNINGS, WARNING_MS } from './mesh-limits.ts';

/** Things that were noticed once and that an operator should see for a while: shown by status, in the order noticed. */
export class Warnings {
  readonly #now: () => number;
  readonly #noticed = new Map<string, { readonly text: string; readonly at: number }>();

  constructor(now: () => number) {
    this.#now = now;
  }

  /** @param about what it is about: of one thing only the newest warning is kept */
  add(about: string, text: string): void {
    this.#noticed.delete(about);
    this.#noticed.set(about, { text, at: this.#now() });
    for (const oldest of this.#noticed.keys()) {
      if (this.#noticed.size <= MAX_PEER_WARNINGS) return;
      this.#noticed.delete(oldest);
    }
  }

  list(): string[] {
    for (const [about, { at }] of this.#noticed) if (at + WARNING_MS <= this.#now()) this.#noticed.delete(about);
    return [...this.#noticed.values()].map(({ text }) => text);
  }
}

import { MAX_REFUSAL_KINDS_TOLD, REFUSAL_EVENT_MS } from './data-limits.ts';
import type { MeshWorld } from './world.ts';

/** Tells of refused statements in aggregate: for each peer and code the first at once, then one number now and then. */
export class RefusalReport {
  readonly #world: MeshWorld;
  readonly #tell: (peerId: string, code: string, count: number) => void;
  /** Counts since the last telling, by peer and code. */
  readonly #pending = new Map<string, { readonly peerId: string; readonly code: string; count: number }>();
  #timer: unknown;

  constructor(world: MeshWorld, tell: (peerId: string, code: string, count: number) => void) {
    this.#world = world;
    this.#tell = tell;
  }

  add(peerId: string, code: string, count: number): void {
    const name = `${peerId} ${code}`;
    const pending = this.#pending.get(name);
    if (pending) {
      pending.count += count;
      return;
    }
    // Beyond the bound the rest of the interval goes untold: it is counted in metrics and audited by the node.
    if (this.#pending.size >= MAX_REFUSAL_KINDS_TOLD) return;
    this.#pending.set(name, { peerId, code, count: 0 });
    this.#tell(peerId, code, count);
    this.#timer ??= this.#world.setTimeout(() => this.#flush(), REFUSAL_EVENT_MS);
  }

  stop(): void {
    this.#world.clearTimeout(this.#timer);
    this.#timer = undefined;
    this.#pending.clear();
  }

  #flush(): void {
    this.#timer = undefined;
    const pending = [...this.#pending.values()].filter(({ count }) => count > 0);
    this.#pending.clear();
    for (const { peerId, code, count } of pending) {
      this.#tell(peerId, code, count);
      this.#pending.set(`${peerId} ${code}`, { peerId, code, count: 0 });
    }
    if (this.#pending.size > 0) this.#timer = this.#world.setTimeout(() => this.#flush(), REFUSAL_EVENT_MS);
  }
}

import { LONGEST_TIMER_MS } from './control-limits.ts';
import type { MeshWorld } from './world.ts';

/** Runs something at a moment, however far away it is, by the clock on the wall: setTimeout overflows after 24.8 days. */
export class Alarm {
  readonly #world: MeshWorld;
  readonly #run: () => void;
  #at: number | null = null;
  #timer: unknown;

  constructor(world: MeshWorld, run: () => void) {
    this.#world = world;
    this.#run = run;
  }

  /** @param at Unix ms; null: never */
  set(at: number | null): void {
    if (at === this.#at) return;
    this.#at = at;
    this.#arm();
  }

  #arm(): void {
    this.#world.clearTimeout(this.#timer);
    this.#timer = undefined;
    if (this.#at === null) return;
    const left = Math.max(0, this.#at - this.#world.now());
    this.#timer = this.#world.setTimeout(() => this.#due(), Math.min(left, LONGEST_TIMER_MS));
  }

  #due(): void {
    // Timers may be early by a millisecond, and clocks are set.
    if (this.#at !== null && this.#at > this.#world.now()) {
      this.#arm();
      return;
    }
    this.#at = null;
    this.#run();
  }
}

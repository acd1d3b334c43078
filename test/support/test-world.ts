import type { MeshWorld } from '../../src/mesh/world.ts';

interface Timer {
  readonly at: number;
  readonly run: () => void;
}

/** A world whose clock moves when it is told to, for tests of one part alone. */
export class TestWorld implements MeshWorld {
  #now: number;
  readonly #timers = new Set<Timer>();

  constructor(now = Date.UTC(2026, 10, 21, 12)) {
    this.#now = now;
  }

  readonly now = (): number => this.#now;
  readonly random = (): number => 0.5;
  readonly randomBytes = (count: number): Uint8Array => new Uint8Array(count).fill(7);

  readonly setTimeout = (run: () => void, ms: number): Timer => {
    const timer = { at: this.#now + ms, run };
    this.#timers.add(timer);
    return timer;
  };

  readonly clearTimeout = (timer: unknown): void => {
    this.#timers.delete(timer as Timer);
  };

  /** Timers that would fire yet. */
  get pending(): number {
    return this.#timers.size;
  }

  /** Sets the wall clock without letting time pass. */
  jump(ms: number): void {
    this.#now += ms;
  }

  /** Lets time pass; timers fire in order, and what they set off comes to rest in between. */
  async advance(ms: number): Promise<void> {
    const end = this.#now + ms;
    await settle();
    for (;;) {
      const due = [...this.#timers].filter(({ at }) => at <= end).sort((a, b) => a.at - b.at)[0];
      if (!due) break;
      this.#timers.delete(due);
      this.#now = Math.max(this.#now, due.at);
      due.run();
      await settle();
    }
    this.#now = end;
  }
}

/** Lets promises and immediates run. */
export async function settle(): Promise<void> {
  for (let turn = 0; turn < 10; turn++) await new Promise(setImmediate);
}

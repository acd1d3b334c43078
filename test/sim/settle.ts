import { createHook } from 'node:async_hooks';

/** Work that ends by itself: immediates, jobs of the thread pool (crypto, files), native jobs of the store. */
const ENDS_BY_ITSELF = /^(Immediate|FSREQ\w*|FILEHANDLECLOSEREQ|\w+REQUEST|classic_level\w*|RANDOMBYTES\w*)$/;

/** Wall-clock time after which work that does not end is an error of the test and not a slow machine. */
const GIVE_UP_MS = 60_000;

interface Pending {
  readonly type: string;
  readonly resource: { ondone?: unknown };
}

/**
 * Tells when a program has nothing left to do until a timer or a socket wakes it. Promises alone cannot tell: some wait
 * for the thread pool or for an immediate. So every such job is counted from its making to its end (async_hooks, without
 * promises: those have run once an immediate comes round).
 */
export class Settler {
  readonly #pending = new Map<number, Pending>();
  readonly #busy: () => boolean;
  #own = false;
  readonly #hook = createHook({
    // Not in the types yet (Node 24.9): promises need no counting, and counting them is slow.
    ...({ trackPromises: false } as object),
    init: (id, type, _trigger, resource) => {
      if (!this.#own && ENDS_BY_ITSELF.test(type)) this.#pending.set(id, { type, resource });
    },
    after: (id) => {
      this.#pending.delete(id);
    },
    destroy: (id) => {
      this.#pending.delete(id);
    },
  });

  /** @param busy further work that is under way and of which nobody here knows (real timers, sockets) */
  constructor(busy: () => boolean = () => false) {
    this.#busy = busy;
    this.#hook.enable();
  }

  /** Resolves once everything that was started has come to rest. */
  async settled(): Promise<void> {
    let deadline: number | undefined;
    for (;;) {
      await this.#turn();
      if (!this.#working() && !this.#busy()) return;
      deadline ??= performance.now() + GIVE_UP_MS;
      if (performance.now() > deadline) {
        const types = [...this.#pending.values()].map(({ type }) => type).join(', ');
        throw new Error(`the simulation does not come to rest: ${types || 'busy() stays true'}`);
      }
    }
  }

  close(): void {
    this.#hook.disable();
    this.#pending.clear();
  }

  #working(): boolean {
    for (const [id, { type, resource }] of this.#pending) {
      // A job of node:crypto that ran at once has no callback, and tells of its end only when it is collected.
      if (type.endsWith('REQUEST') && resource.ondone === undefined) this.#pending.delete(id);
    }
    return this.#pending.size > 0;
  }

  #turn(): Promise<void> {
    return new Promise((resolve) => {
      this.#own = true;
      setImmediate(resolve);
      this.#own = false;
    });
  }
}

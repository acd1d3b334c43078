import type { ServerResponse } from 'node:http';
import { NodeError } from '../node/errors.ts';
import { ANSWER_DRAIN_MS, MAX_PAGES_AT_ONCE, MAX_UNREAD_BYTES } from './limits.ts';

/**
 * Bounds the memory of large answers, whoever asks and however slowly they are taken: so many pages are made at a time,
 * and none is begun while too much of what was made waits to be read.
 */
export class PageGate {
  #running = 0;
  readonly #waiting: (() => void)[] = [];
  #unread = 0;

  /** Bytes of answers that wait in sockets. */
  get unread(): number {
    return this.#unread;
  }

  /** @throws NodeError `busy` */
  async run<T>(work: () => Promise<T>): Promise<T> {
    if (this.#running < MAX_PAGES_AT_ONCE) this.#running++;
    // At most one a connection waits, and connections are bounded.
    else await new Promise<void>((resolve) => this.#waiting.push(resolve));
    try {
      if (this.#unread > MAX_UNREAD_BYTES) {
        throw new NodeError('busy', 'too many answers wait to be read', 'retry in a moment; read answers as they come');
      }
      return await work();
    } finally {
      const next = this.#waiting.shift();
      if (next === undefined) this.#running--;
      else next();
    }
  }

  /** Counts an answer until it is taken; cuts off a reader that takes nothing of it. */
  hold(bytes: number, response: ServerResponse): void {
    if (response.destroyed) return;
    this.#unread += bytes;
    response.setTimeout(ANSWER_DRAIN_MS, () => response.destroy());
    response.once('close', () => {
      this.#unread -= bytes;
    });
  }
}

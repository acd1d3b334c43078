import type { Server, ServerResponse } from 'node:http';

/** The open connections of a server and the answers under way on them: what a stop has to wait for. */
export class Connections {
  readonly #answers = new Set<ServerResponse>();
  #open = 0;
  #closing = false;
  #none = Promise.withResolvers<void>();

  watch(server: Server): void {
    server.on('connection', (socket) => {
      this.#open += 1;
      socket.once('close', () => {
        this.#open -= 1;
        if (this.#open === 0) this.#none.resolve();
      });
    });
    server.on('request', (_request, response) => {
      this.#answers.add(response);
      response.once('close', () => {
        this.#answers.delete(response);
        // An answer that had begun could not say that it is the last one on its connection.
        if (this.#closing) setImmediate(() => server.closeIdleConnections());
      });
    });
  }

  /** Connections that are open, idle ones included. */
  get open(): number {
    return this.#open;
  }

  /** Requests that are not answered in full, event streams included. */
  get answering(): number {
    return this.#answers.size;
  }

  /** From now on every answer is the last one on its connection. */
  endAfterAnswers(): void {
    this.#closing = true;
    for (const response of this.#answers) if (!response.headersSent) response.setHeader('connection', 'close');
  }

  /** Resolves when no connection is open. */
  none(): Promise<void> {
    if (this.#open === 0) return Promise.resolve();
    this.#none = Promise.withResolvers();
    return this.#none.promise;
  }
}

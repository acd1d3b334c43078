import type { Server, ServerResponse } from 'node:http';

/** The open connections of a server and the answers under way on them: what a stop has to wait for. */
export class Connections {
  readonly #answers = new Set<ServerResponse>();
  #open = 0;

  watch(server: Server): void {
    server.on('connection', (socket) => {
      this.#open += 1;
      socket.once('close', () => {
        this.#open -= 1;
      });
    });
    server.on('request', (_request, response) => {
      this.#answers.add(response);
      response.once('close', () => this.#answers.delete(response));
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

  /** Every answer that has not begun yet is the last one on its connection. */
  endAfterAnswers(): void {
    for (const response of this.#answers) if (!response.headersSent) response.setHeader('connection', 'close');
  }

  /** Resolves when everything is answered that is being answered now. */
  async answered(): Promise<void> {
    await Promise.all([...this.#answers].map((response) => new Promise((resolve) => response.once('close', resolve))));
  }
}

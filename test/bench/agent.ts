import { Agent as HttpAgent, request } from 'node:http';

/** A keep-alive HTTP client with a fixed number of connections; cheaper than fetch, so that it measures the server. */
export class Agent {
  readonly #url: URL;
  readonly #agent: HttpAgent;
  readonly #key: string | undefined;

  constructor(url: string, connections: number, key?: string) {
    this.#url = new URL(url);
    this.#agent = new HttpAgent({ keepAlive: true, maxSockets: connections });
    this.#key = key;
  }

  /** @throws Error for any status of 300 and above */
  call(method: string, path: string, body?: unknown): Promise<unknown> {
    const payload = body === undefined ? undefined : Buffer.from(JSON.stringify(body));
    return new Promise((resolve, reject) => {
      const call = request(
        {
          agent: this.#agent,
          host: this.#url.hostname,
          port: this.#url.port,
          method,
          path,
          headers: {
            ...(this.#key === undefined ? {} : { authorization: `Bearer ${this.#key}` }),
            ...(payload === undefined ? {} : { 'content-type': 'application/json', 'content-length': payload.length }),
          },
        },
        (response) => {
          const chunks: Buffer[] = [];
          response.on('data', (chunk: Buffer) => chunks.push(chunk));
          response.on('end', () => {
            const text = Buffer.concat(chunks).toString('utf8');
            if ((response.statusCode ?? 500) >= 300) reject(new Error(`${response.statusCode}: ${text.slice(0, 300)}`));
            else resolve(text.startsWith('{') || text.startsWith('[') ? JSON.parse(text) : text);
          });
        },
      );
      call.on('error', reject);
      call.end(payload);
    });
  }

  close(): void {
    this.#agent.destroy();
  }
}

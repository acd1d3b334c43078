import { connect, type Socket } from 'node:net';

interface Waiting {
  readonly resolve: (body: Buffer) => void;
  readonly reject: (error: Error) => void;
}

const HEAD_END = '\r\n\r\n';

/**
 * A keep-alive HTTP client with a fixed number of connections, on bare sockets: it shares the machine with the server it
 * measures, and takes a quarter of what `node:http` would (25 µs against 110 µs a request).
 */
export class Agent {
  readonly #free: Connection[];
  readonly #queue: ((connection: Connection) => void)[] = [];

  constructor(url: string, connections: number, key?: string) {
    const { hostname, port, host } = new URL(url);
    const head = `Host: ${host}\r\n${key === undefined ? '' : `Authorization: Bearer ${key}\r\n`}`;
    this.#free = Array.from({ length: connections }, () => new Connection(Number(port), hostname, head));
  }

  /** The body of the answer. @throws Error for any status of 300 and above */
  async send(method: string, path: string, body?: unknown): Promise<Buffer> {
    const connection = this.#free.pop() ?? (await new Promise<Connection>((resolve) => this.#queue.push(resolve)));
    try {
      return await connection.call(method, path, body === undefined ? undefined : JSON.stringify(body));
    } finally {
      const next = this.#queue.shift();
      if (next) next(connection);
      else this.#free.push(connection);
    }
  }

  /** The answer, parsed. @throws as {@link send} */
  async call(method: string, path: string, body?: unknown): Promise<unknown> {
    return JSON.parse((await this.send(method, path, body)).toString('utf8'));
  }

  close(): void {
    for (const connection of this.#free) connection.close();
  }
}

class Connection {
  /** Opened with the first request: the server gives a connection ten seconds to begin one. */
  #socket: Socket | undefined;
  readonly #connect: () => Socket;
  readonly #head: string;
  #waiting: Waiting | undefined;
  #received: Buffer = Buffer.alloc(0);
  #chunks: Buffer[] = [];
  #size = 0;
  /** Where the body begins and the answer ends, once its head is there. */
  #answer: { readonly from: number; readonly to: number; readonly status: number } | undefined;

  constructor(port: number, host: string, head: string) {
    this.#head = head;
    this.#connect = () => {
      const socket = connect(port, host);
      socket.setNoDelay();
      socket.on('data', (chunk) => {
        if (socket === this.#socket) this.#read(chunk);
      });
      const fail = (error: Error): void => {
        if (socket === this.#socket) this.#settle()?.reject(error);
      };
      socket.on('error', fail);
      socket.on('close', () => fail(new Error('the server closed the connection')));
      return socket;
    };
  }

  call(method: string, path: string, body: string | undefined): Promise<Buffer> {
    const head = `${method} ${path} HTTP/1.1\r\n${this.#head}`;
    // The server closes what is idle for long.
    if (!this.#socket || this.#socket.destroyed || this.#socket.readableEnded) this.#socket = this.#connect();
    const socket = this.#socket;
    return new Promise((resolve, reject) => {
      this.#waiting = { resolve, reject };
      if (body === undefined) socket.write(`${head}\r\n`);
      else {
        const length = Buffer.byteLength(body);
        socket.write(`${head}Content-Type: application/json\r\nContent-Length: ${length}${HEAD_END}${body}`);
      }
    });
  }

  close(): void {
    this.#socket?.destroy();
  }

  #read(chunk: Buffer): void {
    this.#chunks.push(chunk);
    this.#size += chunk.length;
    if (!this.#answer) {
      this.#join();
      const end = this.#received.indexOf(HEAD_END);
      if (end === -1) return;
      const head = this.#received.toString('latin1', 0, end);
      const length = /\r\ncontent-length: (\d+)/i.exec(head)?.[1];
      if (length === undefined) {
        this.#settle()?.reject(new Error(`an answer without a length: ${head}`));
        return;
      }
      const from = end + HEAD_END.length;
      this.#answer = { from, to: from + Number(length), status: Number(head.slice(9, 12)) };
    }
    if (this.#size < this.#answer.to) return;
    this.#join();
    const { from, to, status } = this.#answer;
    const body = this.#received.subarray(from, to);
    const waiting = this.#settle();
    if (status < 300) waiting?.resolve(body);
    else waiting?.reject(new Error(`${status}: ${body.toString('utf8', 0, 300)}`));
  }

  #join(): void {
    this.#received = this.#chunks.length === 1 ? this.#chunks[0]! : Buffer.concat(this.#chunks);
    this.#chunks = [this.#received];
  }

  #settle(): Waiting | undefined {
    const waiting = this.#waiting;
    this.#waiting = undefined;
    this.#answer = undefined;
    this.#chunks = [];
    this.#size = 0;
    return waiting;
  }
}

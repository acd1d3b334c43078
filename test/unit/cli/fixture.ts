import { mkdtempSync, rmSync } from 'node:fs';
import { createServer, type IncomingMessage, type Server, type ServerResponse } from 'node:http';
import type { AddressInfo } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { Writable } from 'node:stream';
import { run } from '../../../src/cli/program.ts';
import type { World } from '../../../src/cli/world.ts';

/** A stream that keeps what is written. */
export class Sink extends Writable {
  text = '';
  readonly isTTY: boolean;
  readonly columns: number;

  constructor(terminal?: { readonly columns: number }) {
    super({ decodeStrings: false });
    this.isTTY = terminal !== undefined;
    this.columns = terminal?.columns as number;
  }

  /** Told of every write. */
  onText: (text: string) => void = () => {};

  override _write(chunk: string | Uint8Array, _encoding: BufferEncoding, done: () => void): void {
    const text = typeof chunk === 'string' ? chunk : Buffer.from(chunk).toString('utf8');
    this.text += text;
    this.onText(text);
    done();
  }
}

export interface Ran {
  readonly code: number;
  readonly stdout: string;
  readonly stderr: string;
}

export interface RunOptions {
  readonly env?: Readonly<Record<string, string>>;
  readonly stdin?: string;
  /** stdout and stderr are terminals of this width. */
  readonly columns?: number;
  readonly world?: Partial<World>;
  readonly onStdout?: (text: string) => void;
}

/** A throw-away home, and command lines run against it in this process. */
export class Home {
  readonly directory = mkdtempSync(join(tmpdir(), 'stigmesh-cli-'));

  remove(): void {
    rmSync(this.directory, { recursive: true, force: true });
  }

  async run(args: readonly string[], options: RunOptions = {}): Promise<Ran> {
    const terminal = options.columns === undefined ? undefined : { columns: options.columns };
    const stdout = new Sink(terminal);
    const stderr = new Sink(terminal);
    if (options.onStdout !== undefined) stdout.onText = options.onStdout;
    const world: World = {
      surroundings: {
        env: { STIGMESH_HOME: this.directory, ...options.env },
        hostname: 'test-host',
        homedir: '/home/somebody',
        cwd: this.directory,
      },
      username: 'somebody',
      uid: 10001,
      version: '9.9.9',
      pid: process.pid,
      platform: process.platform,
      stdin: asInput(options.stdin ?? ''),
      stdout,
      stderr,
      fetch,
      now: () => Date.UTC(2030, 0, 1),
      uptime: () => 0,
      onSignal: () => () => {},
      onCrash: () => () => {},
      kill: () => {},
      sleep: async () => {},
      surviveLostOutput: () => {},
      exit: (code) => {
        throw new Error(`exit ${code}`);
      },
      ...options.world,
    };
    const code = await run(world, args);
    return { code, stdout: stdout.text, stderr: stderr.text };
  }
}

async function* asInput(text: string): AsyncGenerator<Uint8Array> {
  yield Buffer.from(text);
}

export interface Received {
  readonly method: string;
  readonly url: string;
  readonly headers: IncomingMessage['headers'];
  readonly body: string;
}

type Handler = (request: Received, response: ServerResponse) => void;

/** An HTTP server that answers what a test tells it to, and remembers what it was asked. */
export class FakeDaemon {
  readonly requests: Received[] = [];
  readonly #server: Server;
  handler: Handler = (_request, response) => json(response, 200, {});

  constructor(server: Server) {
    this.#server = server;
  }

  static async start(): Promise<FakeDaemon> {
    const server = createServer();
    const daemon = new FakeDaemon(server);
    server.on('request', (request, response) => void daemon.#answer(request, response));
    await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
    return daemon;
  }

  get url(): string {
    return `http://127.0.0.1:${(this.#server.address() as AddressInfo).port}`;
  }

  get last(): Received {
    return this.requests.at(-1) as Received;
  }

  async stop(): Promise<void> {
    this.#server.closeAllConnections();
    await new Promise((resolve) => this.#server.close(resolve));
  }

  async #answer(request: IncomingMessage, response: ServerResponse): Promise<void> {
    const chunks: Uint8Array[] = [];
    for await (const chunk of request) chunks.push(chunk as Uint8Array);
    const { method = '', url = '', headers } = request;
    const received = { method, url, headers, body: Buffer.concat(chunks).toString('utf8') };
    this.requests.push(received);
    this.handler(received, response);
  }
}

export function json(
  response: ServerResponse,
  status: number,
  body: unknown,
  headers: Record<string, string> = {},
): void {
  response.writeHead(status, { 'content-type': 'application/json', ...headers });
  response.end(JSON.stringify(body));
}

/** A fact as the daemon answers it. */
export function factRecord(members: Record<string, unknown> = {}): Record<string, unknown> {
  return {
    id: 'bagaaierav3xfc4ihzmdriqvjttbonigbsr7wlceiunhfvm34sqiiei7ddbea',
    entity: 'user:alice',
    relation: 'memory:role',
    value: { type: 'string', v: 'CEO', interpret_as: 'content' },
    source: 'user:somebody',
    timestamp: '2030-01-01T00:00:00.000Z',
    hlc: '1893456000000.000',
    received_from: null,
    valid_until: null,
    confidence: 1,
    scope: 'local',
    garden_id: null,
    contradicted: false,
    warnings: [],
    cid: `sha256:${'0'.repeat(64)}`,
    derived_from: [],
    cid_aliases: [],
    state: 'current',
    overruled: false,
    origin: '12D3KooWEQiVgxyLNUGb4KUTe5qfobQRnWkeDagsPvC76nDJuokf',
    org: 'acme.local',
    signature: 'sig',
    basis: null,
    supersedes: [],
    received_at: '2030-01-01T00:00:00.000Z',
    seq: 1,
    created: true,
    announced_to: 0,
    ...members,
  };
}

/** A home and a stand-in daemon, new for every test of the suite that makes it. */
export class Bench {
  home!: Home;
  daemon!: FakeDaemon;

  constructor() {
    beforeEach(async () => {
      this.home = new Home();
      this.daemon = await FakeDaemon.start();
    });
    afterEach(async () => {
      await this.daemon.stop();
      this.home.remove();
    });
  }

  run(args: readonly string[], options: RunOptions = {}): Promise<Ran> {
    return this.home.run(args, { ...options, env: { STIGMESH_URL: this.daemon.url, ...options.env } });
  }

  /** Body of the last request. */
  // biome-ignore lint/suspicious/noExplicitAny: tests look into it as they like
  sent(): any {
    return JSON.parse(this.daemon.last.body);
  }

  answer(status: number, content: unknown): void {
    this.daemon.handler = (_request, response) => json(response, status, content);
  }
}

import { type ChildProcess, spawn } from 'node:child_process';
import { once } from 'node:events';
import { mkdtempSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join, resolve } from 'node:path';
import { createInterface } from 'node:readline';

export const ROOT = resolve(import.meta.dirname, '../..');
export const BIN = join(ROOT, 'scripts/bin/stigmesh');

/** Longest a daemon may take to say that it is ready, and to stop: on a busy machine, when something is wrong. */
const START_MS = 60_000;
const STOP_MS = 60_000;

export interface DaemonOptions {
  /** Keep and reuse this home; otherwise a new one is made and removed with the daemon. */
  readonly home?: string;
  readonly env?: Readonly<Record<string, string>>;
  readonly args?: readonly string[];
  /** A command that runs it, such as `ip netns exec <name>`, and becomes it. */
  readonly within?: readonly string[];
}

export interface RunningDaemon {
  readonly url: string;
  readonly key: string;
  readonly home: string;
  readonly process: ChildProcess;
  /** Environment in which the CLI talks to this daemon. */
  readonly env: NodeJS.ProcessEnv;
  /** Everything it logged, parsed where it is JSON. */
  readonly logs: Record<string, unknown>[];
  fetch(path: string, init?: RequestInit & { json?: unknown; key?: string | null }): Promise<Response>;
  /** Exit code and signal, once it has ended and everything that it printed was read. */
  readonly ended: Promise<readonly [code: number | null, signal: NodeJS.Signals | null]>;
  /** SIGTERM and wait; resolves with the exit code. */
  stop(): Promise<number | null>;
  /** SIGKILL and wait. */
  kill(): Promise<void>;
}

/** Starts a real daemon as a user would: the launcher, a home of its own, a free port. */
export async function startDaemon(options: DaemonOptions = {}): Promise<RunningDaemon> {
  const home = options.home ?? mkdtempSync(join(tmpdir(), 'stigmesh-'));
  const env: NodeJS.ProcessEnv = {
    ...cleanEnvironment(),
    STIGMESH_HOME: home,
    STIGMESH_API_PORT: '0',
    // Tests of the mesh switch it on; for the others it is start-up time, and a port that two daemons would share.
    STIGMESH_MESH_ENABLED: 'false',
    STIGMESH_MESH_LISTEN: '/ip4/127.0.0.1/tcp/0',
    ...options.env,
  };
  const command = [...(options.within ?? []), process.execPath, BIN, 'start', ...(options.args ?? [])];
  const child = spawn(command[0]!, command.slice(1), {
    env,
    stdio: ['ignore', 'pipe', 'pipe'],
  });
  const ended = once(child, 'close') as Promise<[number | null, NodeJS.Signals | null]>;
  // A command that cannot be run at all fails the start.
  ended.catch(() => {});
  const logs: Record<string, unknown>[] = [];
  const text: string[] = [];
  const ready = new Promise<string>((done, failed) => {
    const deadline = setTimeout(() => failed(new Error(`not ready in time:\n${text.join('\n')}`)), START_MS);
    for (const stream of [child.stdout!, child.stderr!]) {
      createInterface({ input: stream }).on('line', (line) => {
        text.push(line);
        const record = parse(line);
        if (!record) return;
        logs.push(record);
        if (record.event !== 'ready') return;
        clearTimeout(deadline);
        done(record.url as string);
      });
    }
    const end = (how: string): void => {
      clearTimeout(deadline);
      failed(new Error(`the daemon ended ${how}:\n${text.join('\n')}`));
    };
    // Not 'exit': what it printed last is read after that.
    child.on('close', (code, signal) => end(`with ${signal ?? code}`));
    child.on('error', ({ message }) => end(`before it began: ${message}`));
  });
  const url = await ready.catch((error: unknown) => {
    // Nobody else knows of it.
    child.kill('SIGKILL');
    throw error;
  });
  const key = readFileSync(join(home, 'api.key'), 'utf8').trim();
  const discard = (): void => {
    if (options.home === undefined) rmSync(home, { recursive: true, force: true });
  };
  return {
    url,
    key,
    home,
    process: child,
    env: { ...env, STIGMESH_URL: url },
    logs,
    ended,
    fetch(path, { json, key: other, ...init } = {}) {
      const headers = new Headers(init.headers);
      if (other !== null) headers.set('authorization', `Bearer ${other ?? key}`);
      if (json !== undefined) headers.set('content-type', 'application/json');
      return fetch(url + path, { ...init, headers, ...(json === undefined ? {} : { body: JSON.stringify(json) }) });
    },
    async stop() {
      const timer = setTimeout(() => child.kill('SIGKILL'), STOP_MS);
      if (child.exitCode === null) child.kill('SIGTERM');
      const [code] = await ended;
      clearTimeout(timer);
      discard();
      return code;
    },
    async kill() {
      child.kill('SIGKILL');
      await ended;
    },
  };
}

/** The environment of this process without what would configure a daemon. */
export function cleanEnvironment(): NodeJS.ProcessEnv {
  return Object.fromEntries(Object.entries(process.env).filter(([name]) => !name.startsWith('STIGMESH_')));
}

function parse(line: string): Record<string, unknown> | undefined {
  try {
    const value: unknown = JSON.parse(line);
    return typeof value === 'object' && value !== null ? (value as Record<string, unknown>) : undefined;
  } catch {
    return undefined;
  }
}

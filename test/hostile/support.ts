import assert from 'node:assert/strict';
import { readFileSync } from 'node:fs';
import { request as httpRequest, type IncomingHttpHeaders, type IncomingMessage } from 'node:http';
import { connect, type Socket } from 'node:net';
import { ERRORS } from '../../src/api/errors.ts';
import type { RunningDaemon } from '../support/daemon.ts';
import { PATIENCE_MS } from '../support/until.ts';

/** What a test sends: everything as it is, also what no HTTP client would. */
export interface Sent {
  readonly method?: string;
  readonly path: string;
  readonly headers?: Readonly<Record<string, string>>;
  /** Text or bytes as they are; anything else as JSON. */
  readonly body?: unknown;
  /** null: none. */
  readonly key?: string | null;
  /** Chunked, without a length. */
  readonly chunked?: boolean;
}

export interface Answered {
  readonly status: number;
  readonly headers: IncomingHttpHeaders;
  readonly text: string;
  // biome-ignore lint/suspicious/noExplicitAny: what came is what the test looks at
  readonly json: any;
}

/** One request over a connection of its own, with JSON as its content type when it has a body. */
export function send(daemon: RunningDaemon, sent: Sent): Promise<Answered> {
  const { hostname, port } = new URL(daemon.url);
  const { method = sent.body === undefined ? 'GET' : 'POST', path, key = daemon.key } = sent;
  const body =
    sent.body === undefined || typeof sent.body === 'string' || Buffer.isBuffer(sent.body)
      ? sent.body
      : JSON.stringify(sent.body);
  const headers: Record<string, string> = {
    host: `${hostname}:${port}`,
    ...(key === null ? {} : { authorization: `Bearer ${key}` }),
    ...(body === undefined ? {} : { 'content-type': 'application/json' }),
    ...(body === undefined || sent.chunked ? {} : { 'content-length': String(Buffer.byteLength(body)) }),
    ...sent.headers,
  };
  for (const [name, value] of Object.entries(headers)) if (value === '') delete headers[name];
  return new Promise((resolve, reject) => {
    const request = httpRequest({ hostname, port, method, path, headers, setHost: false, agent: false });
    request.on('error', reject);
    request.on('response', (response) => {
      read(response).then((text) => {
        resolve({ status: response.statusCode!, headers: response.headers, text, json: parsed(text) });
      }, reject);
    });
    request.end(body);
  });
}

async function read(response: IncomingMessage): Promise<string> {
  const chunks: Buffer[] = [];
  for await (const chunk of response) chunks.push(chunk as Buffer);
  return Buffer.concat(chunks).toString('utf8');
}

function parsed(text: string): unknown {
  try {
    return JSON.parse(text);
  } catch {
    return undefined;
  }
}

/** An error as every error must be: the status of its code, and what to do next. */
export function assertProblem({ status, headers, json, text }: Answered, code: string, label = ''): void {
  const what = `${label} answered ${status} ${text.slice(0, 300)}`;
  assert.match(String(headers['content-type']), /^application\/problem\+json/, what);
  assert.equal(json.code, code, what);
  assert.equal(status, ERRORS[code as keyof typeof ERRORS].status, what);
  assert.equal(json.status, status, what);
  assert.equal(json.type, `/docs/errors#${code}`, what);
  assert.ok(typeof json.title === 'string' && json.title !== '', what);
  assert.ok(typeof json.hint === 'string' && json.hint !== '', what);
  assert.ok(json.detail !== undefined && json.detail !== '' && json.detail !== null, what);
}

/** Everything a write of whatever kind would move. */
export async function footprint(daemon: RunningDaemon): Promise<string> {
  const status = await send(daemon, { path: '/v1/status' });
  const audit = await send(daemon, { path: '/v1/audit?limit=1' });
  assert.equal(status.status, 200);
  const { seq, statements, facts } = status.json;
  return `seq ${seq}, ${statements} statements, ${facts} facts, audit ${audit.json.entries[0]?.seq}`;
}

/** Sends it and checks that it is refused so, and that nothing was stored. */
export async function refused(daemon: RunningDaemon, code: string, sent: Sent, label?: string): Promise<Answered> {
  const before = await footprint(daemon);
  const answered = await send(daemon, sent);
  assertProblem(answered, code, label ?? `${sent.method ?? ''} ${sent.path}`);
  assert.equal(await footprint(daemon), before, `${label ?? sent.path} stored something`);
  return answered;
}

/** A fact, with what a case does not care about filled in. */
export const aFact = (changes: Readonly<Record<string, unknown>> = {}) => ({
  entity: 'stigmem://acme.example/user/alice',
  relation: 'memory:role',
  value: { type: 'string', v: 'CEO' },
  source: 'stigmem://acme.example/agent/hr',
  ...changes,
});

/** Writes bytes to a connection of its own; resolves with what came back once the daemon has ended it. */
export function rawExchange(
  daemon: RunningDaemon,
  bytes: string | Buffer,
  { halfClose = false }: { halfClose?: boolean } = {},
): Promise<{ text: string; closed: boolean }> {
  return new Promise((resolve) => {
    const socket = openSocket(daemon);
    let text = '';
    const done = (closed: boolean): void => {
      socket.destroy();
      resolve({ text, closed });
    };
    // One that stays open is none that the daemon ended.
    socket.setTimeout(PATIENCE_MS, () => done(false));
    socket.on('data', (chunk) => {
      text += chunk.toString('latin1');
    });
    socket.on('error', () => {});
    socket.on('close', () => done(true));
    if (halfClose) socket.end(bytes);
    else socket.write(bytes);
  });
}

export function openSocket(daemon: RunningDaemon): Socket {
  const { hostname, port } = new URL(daemon.url);
  return connect(Number(port), hostname);
}

/** Resident memory of the daemon in MiB (Linux); undefined elsewhere. */
export function residentMiB(daemon: RunningDaemon): number | undefined {
  return memoryMiB(daemon, 'VmRSS');
}

/** Memory that is the daemon's own: without the files it maps, which grow with what it holds. */
export function ownMiB(daemon: RunningDaemon): number | undefined {
  return memoryMiB(daemon, 'RssAnon');
}

function memoryMiB(daemon: RunningDaemon, what: string): number | undefined {
  try {
    const status = readFileSync(`/proc/${daemon.process.pid}/status`, 'utf8');
    return Number(new RegExp(`^${what}:\\s+(\\d+) kB`, 'm').exec(status)![1]) / 1024;
  } catch {
    return undefined;
  }
}

/** Everything the daemon logged that says something went wrong with it. */
export function complaints(daemon: RunningDaemon): Record<string, unknown>[] {
  return daemon.logs.filter(({ level }) => Number(level) >= 50);
}

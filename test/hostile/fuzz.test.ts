import assert from 'node:assert/strict';
import { execFile } from 'node:child_process';
import { mkdtempSync, rmSync } from 'node:fs';
import { Agent, request as httpRequest } from 'node:http';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { promisify } from 'node:util';
import type { z } from 'zod';
import { errorsOf } from '../../src/api/documents.ts';
import { ERRORS, type ErrorCode } from '../../src/api/errors.ts';
import { endpoints } from '../../src/api/operations/index.ts';
import type { Endpoint, Operation } from '../../src/api/operations/operation.ts';
import { mergedParams } from '../../src/api/rpc/rpc.ts';
import { unwrap } from '../../src/api/schema/input.ts';
import { BIN, type RunningDaemon, startDaemon } from '../support/daemon.ts';
import { Generator, Known, Random } from './generate.ts';
import { type Answered, assertProblem, complaints, ownMiB } from './support.ts';

const run = promisify(execFile);

/** Requests; a few milliseconds each. */
const REQUESTS = Number(process.env.STIGMESH_FUZZ_REQUESTS ?? 6000);
/** The same in every run: a change must not fail by what it drew. `npm run test:long` draws another one each time. */
const SEED = Number(process.env.STIGMESH_FUZZ_SEED ?? 20261121);
/** A long run can wait until every cache is full, which takes some 30 000 requests; a short one allows for what they take. */
const IS_LONG = REQUESTS > 60_000;
/** Requests before memory is looked at first: caches fill, the heap finds its size. */
const WARM_UP = IS_LONG ? REQUESTS / 2 : Math.min(1500, REQUESTS / 4);
/** How much more of its own the daemon may hold at the end than after the warm-up. */
const GROWTH_MIB = IS_LONG ? 100 : 200;

interface Request {
  readonly endpoint: Endpoint;
  readonly method: string;
  readonly path: string;
  readonly headers: Readonly<Record<string, string>>;
  readonly body: string | undefined;
  /** The JSON-RPC methods called, in their order. */
  readonly calls: readonly { readonly id: unknown; readonly operation: Operation | undefined }[] | undefined;
}

/** Statuses of 5xx that are answers and not failures. */
const ALLOWED_5XX = new Set([503, 504, 507]);
/** Refusals that any request can meet, whatever its endpoint says. */
const ANYWHERE: readonly ErrorCode[] = [
  'malformed_request',
  'route_not_found',
  'method_not_allowed',
  'headers_too_large',
  'batch_too_large',
  'request_timeout',
];

/** Makes requests for every endpoint from its own schemas. */
class Requests {
  readonly #random: Random;
  readonly #generator: Generator;
  readonly #known: Known;
  readonly #weighted: readonly Endpoint[];
  readonly #methods: readonly Operation[];
  readonly #keys: readonly string[];

  constructor(random: Random, known: Known, keys: readonly string[]) {
    this.#random = random;
    this.#known = known;
    this.#keys = keys;
    this.#generator = new Generator({ random, known });
    const often = [
      'fact.assert',
      'fact.assertBatch',
      'fact.query',
      'fact.retract',
      'conflict.resolve',
      'rpc',
      'node.import',
    ];
    // The last three wait for the network.
    const network = ['peer.discover', 'mesh.join', 'mesh.sync'];
    const seldom = ['node.export', 'node.openapi', 'audit.export', 'node.metrics', ...network];
    this.#weighted = endpoints.flatMap((endpoint) =>
      Array(often.includes(endpoint.name) ? 12 : seldom.includes(endpoint.name) ? 1 : 4).fill(endpoint),
    );
    this.#methods = endpoints.filter((endpoint) => endpoint.kind === 'json' && endpoint.rpc) as Operation[];
  }

  next(): Request {
    const random = this.#random;
    const endpoint = random.pick(this.#weighted);
    const headers: Record<string, string> = {
      authorization: `Bearer ${random.chance(0.85) ? this.#keys[0] : random.pick(this.#keys)}`,
    };
    if (random.chance(0.01)) delete headers.authorization;
    const { input } = endpoint;
    for (const [name, value] of Object.entries(this.#strings(input.headers))) {
      // What cannot stand in a header never leaves a client.
      if (/^[\x20-\x7e]+$/.test(value) && /^\w+$/.test(name)) headers[name.replaceAll('_', '-')] = value.slice(0, 4000);
    }
    const query = new URLSearchParams(this.#strings(input.query));
    if (random.chance(0.05))
      query.append(
        random.pick(['limit', 'entity', 'x', '__proto__', 'constructor', 'cursor']),
        this.#generator.nasty(),
      );
    const search = query.toString().slice(0, 9000);
    const path = `${this.#path(endpoint)}${search === '' ? '' : `?${search}`}`;
    if (endpoint.name === 'rpc') return { endpoint, method: 'POST', path, ...this.#rpc(headers) };
    const body = this.#body(endpoint);
    if (body !== undefined)
      headers['content-type'] = endpoint.kind === 'upload' ? endpoint.consumes : 'application/json';
    return { endpoint, method: endpoint.method, path, headers, body, calls: undefined };
  }

  #any(schema: z.ZodType): unknown {
    const dice = this.#random.next();
    return dice < 0.6
      ? this.#generator.valid(schema)
      : dice < 0.92
        ? this.#generator.almost(schema)
        : this.#generator.absurd(4);
  }

  #path({ path }: Endpoint): string {
    return path.replace(/\{(\w+)\*?\}/g, (_all, name: string) => {
      const known = this.#random.chance(0.8) ? this.#known.pick(name, this.#random) : undefined;
      const text = typeof known === 'string' ? known : this.#generator.nasty() || 'x';
      return encodeURIComponent(text.toWellFormed().slice(0, 1500));
    });
  }

  #strings(schema: z.ZodObject | undefined): Record<string, string> {
    if (schema === undefined) return {};
    const made = this.#any(schema);
    if (typeof made !== 'object' || made === null) return { limit: String(made) };
    const strings: Record<string, string> = {};
    for (const [name, value] of Object.entries(made)) {
      const isText =
        schema.shape[name] !== undefined && unwrap(schema.shape[name]) !== undefined && typeof value === 'string';
      const text = isText
        ? (value as string)
        : Array.isArray(value)
          ? value.join(',')
          : typeof value === 'object'
            ? JSON.stringify(value)
            : String(value);
      strings[name.toWellFormed()] = text.toWellFormed();
    }
    return strings;
  }

  #body(endpoint: Endpoint): string | undefined {
    if (endpoint.kind === 'upload') return this.#lines();
    if (endpoint.method === 'GET') return undefined;
    const { body } = endpoint.input;
    if (body === undefined) return this.#random.chance(0.3) ? '{}' : undefined;
    return this.#json(this.#any(body));
  }

  /** JSON text, sometimes damaged. */
  #json(value: unknown): string {
    const random = this.#random;
    const text = JSON.stringify(value) ?? '';
    if (!random.chance(0.04)) return text;
    const at = random.below(text.length);
    return random.pick([
      text.slice(0, at),
      text.slice(at),
      text.slice(0, at) + random.pick(['"', '{', '}', '\\', '\u0000', ',']) + text.slice(at),
      text + text,
    ]);
  }

  #lines(): string {
    const random = this.#random;
    return Array.from({ length: random.below(6) }, () => {
      const line = this.#known.pick('line', random);
      if (typeof line !== 'string' || random.chance(0.2)) return this.#json(this.#generator.absurd(3));
      const at = random.below(line.length);
      return random.chance(0.4)
        ? line
        : `${line.slice(0, at)}${random.pick(['', 'x', '0', '"', '\\u0041'])}${line.slice(at + 1)}`;
    }).join('\n');
  }

  #rpc(headers: Record<string, string>): Pick<Request, 'headers' | 'body' | 'calls'> {
    const random = this.#random;
    const json = { ...headers, 'content-type': 'application/json' };
    if (random.chance(0.1)) return { headers: json, body: this.#json(this.#generator.absurd(4)), calls: undefined };
    const count = random.chance(0.7) ? 1 : 1 + random.below(6);
    const calls = Array.from({ length: count }, (_, id) => ({
      id,
      operation: random.chance(0.97) ? random.pick(this.#methods) : undefined,
    }));
    const bodies = calls.map(({ id, operation }) => ({
      jsonrpc: '2.0',
      id,
      method: operation?.name ?? this.#generator.nasty(),
      params: operation ? this.#any(mergedParams(operation)) : this.#generator.absurd(2),
    }));
    return { headers: json, body: JSON.stringify(count === 1 ? bodies[0] : bodies), calls };
  }
}

function assertShape(schema: z.ZodType, json: unknown, what: string): void {
  const { success, error } = schema.safeParse(json);
  if (success) return;
  assert.fail(`${what}: ${JSON.stringify(error.issues).slice(0, 500)} in ${JSON.stringify(json).slice(0, 500)}`);
}

describe('hostile: fuzz', function () {
  this.timeout(Math.max(600_000, REQUESTS * 50));
  const home = mkdtempSync(join(tmpdir(), 'stigmesh-fuzz-'));
  const agent = new Agent({ keepAlive: true, maxSockets: 1 });
  const stderr: string[] = [];
  let daemon: RunningDaemon;
  before(async () => {
    daemon = await startDaemon({
      home,
      env: {
        STIGMESH_API_RATE_LIMIT_READ: '10000000',
        STIGMESH_API_RATE_LIMIT_WRITE: '10000000',
        STIGMESH_MESH_ENABLED: 'true',
      },
    });
    daemon.process.stderr!.on('data', (data) => stderr.push(String(data)));
  });
  after(async () => {
    agent.destroy();
    await daemon.stop();
    rmSync(home, { recursive: true, force: true });
  });

  /**
   * Sends it; of an endless answer the head and what comes at once. A connection that was idle for too long may end just
   * when it is used again (RFC 9112, section 9.3.1): then there is another one.
   */
  function exchange({ method, path, headers, body, endpoint, calls }: Request): Promise<Answered> {
    const { hostname, port } = new URL(daemon.url);
    return new Promise((resolve, reject) => {
      const framed = body === undefined ? headers : { ...headers, 'content-length': String(Buffer.byteLength(body)) };
      const request = httpRequest({ hostname, port, method, path, headers: framed, agent });
      request.on('error', (error: NodeJS.ErrnoException) => {
        if (!request.reusedSocket || error.code !== 'ECONNRESET') reject(error);
        else exchange({ method, path, headers, body, endpoint, calls }).then(resolve, reject);
      });
      request.on('response', (response) => {
        let text = '';
        const finish = (): void => {
          let json: unknown;
          try {
            json = JSON.parse(text);
          } catch {
            // Not JSON: whoever needs it says so.
          }
          resolve({ status: response.statusCode!, headers: response.headers, text, json });
        };
        response.setEncoding('utf8');
        response.on('data', (data) => {
          text += data;
        });
        if (endpoint.name === 'node.events' && response.statusCode === 200) {
          response.once('data', () => {
            finish();
            request.destroy();
          });
          response.on('error', () => {});
        } else {
          response.on('end', finish);
          response.on('error', reject);
        }
      });
      request.end(body);
    });
  }

  function checkCode(endpoint: Endpoint, code: string): void {
    const documented = [...errorsOf(endpoint), ...ANYWHERE] as string[];
    assert.ok(documented.includes(code), `${endpoint.name} answers ${code}, which its documentation does not know`);
  }

  function checkRpc(request: Request, { status, json, text }: Answered): void {
    if (status === 204) return;
    assert.equal(status, 200);
    const answers = (Array.isArray(json) ? json : [json]) as {
      jsonrpc: string;
      id: unknown;
      result?: unknown;
      error?: { code: number; message: string; data?: { code?: ErrorCode; hint?: string } };
    }[];
    if (request.calls !== undefined) assert.equal(answers.length, request.calls.length);
    for (const [index, { jsonrpc, id, error, ...rest }] of answers.entries()) {
      assert.equal(jsonrpc, '2.0');
      const call = request.calls?.[index];
      if (call !== undefined) assert.equal(id, call.id);
      if (call?.operation !== undefined) called.add(call.operation.name);
      if (error === undefined) {
        if (call?.operation === undefined) continue;
        assertShape(call.operation.output, rest.result, call.operation.name);
        harvest(call.operation, rest.result);
      } else {
        assert.ok(Number.isInteger(error.code) && error.message !== '');
        assert.notEqual(error.code, -32603, text.slice(0, 300));
        if (error.data?.code === undefined) continue;
        assert.equal(ERRORS[error.data.code].rpc, error.code);
        assert.ok(error.data.hint);
        if (call?.operation !== undefined) checkCode(call.operation, error.data.code);
      }
    }
  }

  function check(request: Request, answered: Answered): void {
    const { endpoint } = request;
    const { status, headers, json, text } = answered;
    assert.ok(status < 500 || ALLOWED_5XX.has(status), text.slice(0, 300));
    assert.equal(headers['x-content-type-options'], 'nosniff');
    if (status >= 400) {
      assertProblem(answered, json?.code, endpoint.name);
      checkCode(endpoint, json.code);
      return;
    }
    if (endpoint.name === 'rpc') checkRpc(request, answered);
    if (endpoint.kind === 'json' && status !== 204) {
      const schema = status === endpoint.status ? endpoint.output : endpoint.alternatives?.[status];
      assert.ok(schema, `${endpoint.name} answers ${status}`);
      assertShape(schema, json, endpoint.name);
      harvest(endpoint, json);
    }
    if (endpoint.kind === 'upload') assert.ok(endpoint.output.safeParse(json).success, text.slice(0, 300));
    if (endpoint.name === 'node.export')
      for (const line of text.split('\n').slice(0, 20)) known.note('line', line || undefined);
  }

  const random = new Random(SEED);
  const known = new Known();
  /** Methods of JSON-RPC that were called and answered. */
  const called = new Set<string>();

  // biome-ignore lint/suspicious/noExplicitAny: every operation has a shape of its own
  function harvest({ name }: Operation, body: any): void {
    switch (name) {
      case 'fact.assert':
      case 'fact.retract':
        for (const id of ['fact_id', 'supersedes', 'winning_fact_id']) known.note(id, body.id);
        known.note('fact_id', body.cid);
        known.note('hash', body.cid_aliases[0]);
        known.note('origin', body.origin);
        break;
      case 'fact.query':
      case 'fact.history':
      case 'audit.list':
        known.note('cursor', body.cursor);
        known.note('after', body.head);
        break;
      case 'conflict.list':
        known.note('cursor', body.cursor);
        for (const { conflict_id, fact_a } of body.conflicts) {
          known.note('conflict_id', conflict_id);
          known.note('winning_fact_id', fact_a.id);
        }
        break;
      case 'garden.create':
        for (const reference of [body.slug, body.id, body.garden_id]) {
          known.note('garden_id', reference);
          known.note('garden_slug_or_id', reference);
        }
        break;
      case 'garden.addMember':
        known.note('entity_uri', body.entity_uri);
        break;
      case 'key.create':
        known.note('key_id', body.id);
        break;
      case 'lint.run':
        known.note('job_id', body.job_id);
        break;
      case 'peer.register':
        known.note('peer_id', body.peer_id);
        known.note('pubkey_fingerprint', body.fingerprint);
        break;
      case 'invite.create':
        known.note('invite', body.invite);
        known.note('invite_id', body.id);
        break;
      case 'org.get':
      case 'org.addNode':
        known.note('manifest', body.manifest);
        known.note('authority', body.entity_uri);
        break;
    }
  }

  it(`fault 14: ${REQUESTS} requests from the schemas: no failure, no shape of its own (STIGMESH_FUZZ_SEED=${SEED})`, async () => {
    const guest = await daemon.fetch('/v1/auth/keys', {
      method: 'POST',
      json: { entity_uri: 'user:guest', permissions: ['read', 'write'], scopes: ['local', 'public'] },
    });
    const { api_key: guestKey } = (await guest.json()) as { api_key: string };
    const requests = new Requests(random, known, [daemon.key, guestKey]);
    const statuses = new Map<string, number>();
    const problems = new Map<string, string>();
    let before: number | undefined;
    for (let i = 0; i < REQUESTS; i++) {
      const request = requests.next();
      try {
        const answered = await exchange(request);
        const kind = `${request.endpoint.name} ${answered.status < 400 ? 'ok' : 'refused'}`;
        statuses.set(kind, (statuses.get(kind) ?? 0) + 1);
        check(request, answered);
      } catch (error) {
        const message = (error as Error).message.split('\n')[0]!;
        if (!problems.has(message.slice(0, 80))) {
          problems.set(
            message.slice(0, 80),
            `request ${i}: ${request.method} ${request.path.slice(0, 300)} ${request.body?.slice(0, 600) ?? ''}\n  ${(error as Error).message.slice(0, 800)}`,
          );
        }
      }
      if (i === Math.floor(WARM_UP)) before = ownMiB(daemon);
    }
    assert.equal(problems.size, 0, `seed ${SEED}\n${[...problems.values()].slice(0, 12).join('\n')}`);
    // Every endpoint was met, by JSON-RPC too, and most of them both ways: what is only ever refused tests little.
    const names = endpoints.map(({ name }) => name);
    const met = (name: string, how: string): boolean => statuses.has(`${name} ${how}`);
    if (REQUESTS >= 5000) {
      assert.deepEqual(
        names.filter((name) => !met(name, 'ok') && !met(name, 'refused')),
        [],
      );
      const methods = endpoints.filter((endpoint) => endpoint.kind === 'json' && endpoint.rpc);
      assert.deepEqual(
        methods.map(({ name }) => name).filter((name) => !called.has(name)),
        [],
      );
      const [accepted, refused] = ['ok', 'refused'].map((how) => names.filter((name) => met(name, how)).length);
      assert.ok(accepted! > 0.9 * names.length && refused! > 0.75 * names.length, `${accepted} and ${refused}`);
    }
    const after = ownMiB(daemon);
    if (before !== undefined && after !== undefined)
      assert.ok(after - before < GROWTH_MIB, `${before} MiB, then ${after} MiB`);
  });

  it('the daemon is alive, has nothing to complain of, and stored nothing that it would not find again', async () => {
    assert.equal((await daemon.fetch('/readyz')).status, 200);
    assert.deepEqual(complaints(daemon), []);
    assert.deepEqual(stderr, []);
    assert.equal(await daemon.stop(), 0);
    const stigmesh = (...args: string[]) =>
      run(process.execPath, [BIN, ...args], { env: daemon.env, maxBuffer: 64 * 1024 * 1024 });
    const verified = JSON.parse((await stigmesh('verify', '--json')).stdout);
    assert.deepEqual(verified.damaged, []);
    assert.ok(verified.statements > 0 && verified.good === verified.statements);
    const rebuilt = JSON.parse((await stigmesh('reindex', '--json')).stdout);
    assert.equal(rebuilt.changed, false, 'the indexes are those of the log');
  });
});

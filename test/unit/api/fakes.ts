import { pino } from 'pino';
import { Registry } from 'prom-client';
import type { ApiComponents, ApiInit, Timers } from '../../../src/api/components.ts';
import { systemTimers } from '../../../src/api/components.ts';
import { type Api, createApi } from '../../../src/api/http/server.ts';
import type { FactStatement } from '../../../src/facts/index.ts';
import type { CommitEvent, FactView, NodeStatus } from '../../../src/node/types.ts';
import type { Permission, Principal } from '../../../src/policy/principal.ts';
import { PERMISSIONS } from '../../../src/policy/principal.ts';
import { type Answer, type Sent, send } from './http-client.ts';

export const INIT: ApiInit = {
  host: '127.0.0.1',
  port: 0,
  allowRemote: false,
  allowedHosts: [],
  bodyLimit: 64 * 1024,
  requestTimeoutMs: 30_000,
  docs: true,
  docsDir: undefined,
  metricsLoopback: false,
  rateLimitRead: 1_000_000,
  rateLimitWrite: 1_000_000,
  maxConnections: 1024,
  authRequired: true,
  compatCid: 'rfc8785',
  defaultScope: 'local',
  sseClients: 4,
  batchFacts: 1000,
  inviteLifeS: 86_400,
  drainTimeoutMs: 2_000,
  version: '0.0.0-test',
  nodeVersion: '24.0.0',
};

export const ADMIN_KEY = 'admin-key-of-the-tests';

export function principal(permissions: readonly Permission[] = PERMISSIONS, more: Partial<Principal> = {}): Principal {
  return {
    keyId: 'key-1',
    entity: 'agent:test',
    permissions: new Set(permissions),
    scopes: new Set(['local', 'team', 'company', 'public']),
    ...more,
  };
}

const ORIGIN = '12D3KooWGvCZTgC6JVRrj6oaw4cLLfvGhLmMD4oQNtotaSzBd8Tc';
const ID = 'bagaaiera42ljn3ffbuyvehqnm4cywjxgl6mb7vrfcyzihdzgxy5hgfbhh3mq';

export function factView(
  body: Partial<FactStatement['body']> = {},
  ext: FactStatement['ext'] = {},
  more: Partial<FactView> = {},
): FactView {
  const scope = body.scope ?? 'company';
  return {
    id: ID,
    cid: `sha256:${'a'.repeat(64)}`,
    cidV1: 'bagaaieraabc',
    stigmemCid: `sha256:${'b'.repeat(64)}`,
    statement: {
      v: 1,
      kind: 'fact',
      origin: ORIGIN,
      org: 'acme.example',
      audience: scope,
      hlc: '1795249733735.000',
      timestamp: '2026-11-21T08:28:53.735Z',
      body: {
        entity: 'user:alice',
        relation: 'memory:role',
        value: { type: 'string', v: 'CEO' },
        source: 'agent:x',
        confidence: 1,
        ...body,
        scope,
      },
      ext,
    },
    state: 'current',
    contradicted: false,
    overruled: false,
    validUntil: ext.valid_until ?? null,
    seq: 1,
    receivedAt: Date.UTC(2026, 10, 21),
    receivedFrom: null,
    sourceRevoked: false,
    signature: new Uint8Array(64),
    ...more,
  };
}

/** A node that has nothing to complain of. */
export function nodeStatus(more: Partial<NodeStatus> = {}): NodeStatus {
  return {
    peerId: ORIGIN,
    org: 'acme.example',
    statements: 3,
    facts: 2,
    current: { local: 1, team: 0, company: 1, public: 0 },
    currentFacts: 2,
    openConflicts: 0,
    quarantined: 0,
    untrusted: 0,
    sets: 1,
    manifests: 1,
    equivocations: 0,
    seq: 3,
    auditSeq: 3,
    hlc: '1795249733735.000',
    hlcAheadMs: 0,
    lastCommitAt: Date.UTC(2026, 10, 21),
    writeQueue: 0,
    recomputations: 0,
    expiryOverdueMs: 0,
    lintJobs: 0,
    feedFollowers: 0,
    viewEntries: 2,
    gardens: 0,
    apiKeys: 1,
    storeBytes: 4096,
    schema: 1,
    readiness: { ready: true, code: null, reason: null },
    warnings: [],
    ...more,
  };
}

/** A service of which only what a test gives may be called. */
function service<T extends object>(name: string, methods: Partial<T>): T {
  return new Proxy(methods as T, {
    get(target, member) {
      const value = Reflect.get(target, member);
      if (value === undefined) throw new Error(`${name}.${String(member)} was not expected`);
      return value;
    },
  });
}

export interface FakeServices {
  readonly facts?: Partial<ApiComponents['facts']>;
  readonly conflicts?: Partial<ApiComponents['conflicts']>;
  readonly gardens?: Partial<ApiComponents['gardens']>;
  readonly keys?: Partial<ApiComponents['keys']>;
  readonly audit?: Partial<ApiComponents['audit']>;
  readonly lint?: Partial<ApiComponents['lint']>;
  readonly more?: Partial<Omit<ApiComponents, 'facts' | 'conflicts' | 'gardens' | 'keys' | 'audit' | 'lint'>>;
}

export function components(fakes: FakeServices = {}): ApiComponents {
  const admin = principal();
  return {
    facts: service('facts', fakes.facts ?? {}),
    conflicts: service('conflicts', fakes.conflicts ?? {}),
    gardens: service('gardens', { mayRead: () => true, ...fakes.gardens }),
    keys: service('keys', { authenticate: (secret) => (secret === ADMIN_KEY ? admin : undefined), ...fakes.keys }),
    audit: service('audit', fakes.audit ?? {}),
    lint: service('lint', fakes.lint ?? {}),
    feed: new FakeFeed(),
    federation: null,
    meshEvents: null,
    status: () => Promise.reject(new Error('status was not expected')),
    readiness: () => ({ ready: true, code: null }),
    exportStatements: () => {
      throw new Error('exportStatements was not expected');
    },
    importStatements: () => Promise.reject(new Error('importStatements was not expected')),
    identity: { peerId: ORIGIN, org: 'acme.example', fingerprint: 'AAAAA-BBBBB-CCCCC-DDDDD' },
    log: pino({ level: 'silent' }),
    metrics: new Registry(),
    now: Date.now,
    timers: systemTimers,
    ...fakes.more,
  };
}

export interface Running {
  readonly api: Api;
  readonly components: ApiComponents;
  /** With the admin key, unless another or null is given. */
  readonly send: (sent: Sent, key?: string | null) => Promise<Answer>;
}

const running: Api[] = [];

/** Starts an API over fakes; `stopAll` in an `afterEach` ends it. */
export async function start(fakes: FakeServices = {}, init: Partial<ApiInit> = {}): Promise<Running> {
  const parts = components(fakes);
  const api = createApi(parts, { ...INIT, ...init });
  await api.start();
  running.push(api);
  return {
    api,
    components: parts,
    send: (sent, key = ADMIN_KEY) =>
      send(api.port, {
        ...sent,
        headers: { ...(key === null ? {} : { authorization: `Bearer ${key}` }), ...sent.headers },
      }),
  };
}

export async function stopAll(): Promise<void> {
  await Promise.all(running.splice(0).map((api) => api.stop()));
}

/** A feed whose commits a test makes. */
export class FakeFeed {
  readonly commits: CommitEvent[] = [];
  readonly #listeners = new Set<(seq: number) => void>();
  reads = 0;

  head(): number {
    return this.commits.at(-1)?.seq ?? 0;
  }

  async read(after: number, limit: number): Promise<CommitEvent[]> {
    this.reads++;
    return this.commits.filter(({ seq }) => seq > after).slice(0, limit);
  }

  onCommit(listener: (seq: number) => void): () => void {
    this.#listeners.add(listener);
    return () => this.#listeners.delete(listener);
  }

  get followers(): number {
    return this.#listeners.size;
  }

  commit(view: FactView): void {
    const seq = this.head() + 1;
    const fact = { ...view, seq };
    this.commits.push({ seq, id: view.id, statement: view.statement, fact, standing: 'good' });
    for (const listener of this.#listeners) listener(seq);
  }

  push(event: CommitEvent): void {
    this.commits.push(event);
    for (const listener of this.#listeners) listener(event.seq);
  }
}

/** Time that passes when a test says so. */
export class FakeTimers implements Timers {
  #now = 0;
  readonly #pending = new Set<{ at: number; every: number | undefined; run: () => void }>();

  now = (): number => this.#now;

  every(ms: number, run: () => void): () => void {
    return this.#add(ms, ms, run);
  }

  after(ms: number, run: () => void): () => void {
    return this.#add(ms, undefined, run);
  }

  get pending(): number {
    return this.#pending.size;
  }

  #add(ms: number, every: number | undefined, run: () => void): () => void {
    const timer = { at: this.#now + ms, every, run };
    this.#pending.add(timer);
    return () => this.#pending.delete(timer);
  }

  advance(ms: number): void {
    const end = this.#now + ms;
    for (;;) {
      const next = [...this.#pending].sort((a, b) => a.at - b.at)[0];
      if (next === undefined || next.at > end) break;
      this.#now = next.at;
      if (next.every === undefined) this.#pending.delete(next);
      else next.at += next.every;
      next.run();
    }
    this.#now = end;
  }
}

/** Resolves once everything that can go on without outside help has gone on. */
export async function settle(): Promise<void> {
  for (let i = 0; i < 5; i++) await new Promise((resolve) => setImmediate(resolve));
}

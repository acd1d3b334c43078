import { generateKeyPairSync, randomBytes, randomUUID } from 'node:crypto';
import { peerIdFromPublicKey, publicKeyFromPeerId, rawPublicKey } from '../../src/identity/index.ts';
import { NodeError } from '../../src/node/errors.ts';
import type { NodeMetrics } from '../../src/node/metrics.ts';
import { type NodeInit, StigmeshNode } from '../../src/node/node.ts';
import type { AssertInput } from '../../src/node/types.ts';
import { ANONYMOUS } from '../../src/policy/principal.ts';
import { MemoryStore } from '../../src/store/memory/memory-store.ts';
import type { Store } from '../../src/store/store.ts';

/** A clock that stands still until it is told to move. */
export class TestClock {
  ms: number;

  constructor(ms = Date.UTC(2026, 10, 21, 12)) {
    this.ms = ms;
  }

  readonly now = (): number => this.ms;

  advance(ms: number): void {
    this.ms += ms;
  }
}

export interface TestNode {
  readonly node: StigmeshNode;
  readonly store: Store;
  readonly clock: TestClock;
  readonly init: NodeInit;
  /** Opens another node on the same store, as a restart does. */
  reopen(changes?: Partial<NodeInit>, started?: Promise<void>): Promise<StigmeshNode>;
  /** What every node opened here does once a second. */
  tick(): void;
}

export async function openTestNode(
  options: Partial<NodeInit> & { store?: Store; clock?: TestClock; metrics?: NodeMetrics } = {},
): Promise<TestNode> {
  const { store = new MemoryStore(), clock = new TestClock(), metrics = null, ...changes } = options;
  const { privateKey } = generateKeyPairSync('ed25519');
  const init: NodeInit = {
    nodeKey: privateKey,
    peerId: peerIdFromPublicKey(rawPublicKey(privateKey)),
    org: 'acme.example',
    publicKeyOf: publicKeyFromPeerId,
    schema: 1,
    durable: true,
    maxSkewMs: 60_000,
    unknownOrigins: 'quarantine',
    trustedResolvers: [],
    manyRelations: new Set(),
    maxBatch: 1000,
    maxGardens: 100,
    maxApiKeys: 100,
    maxAuditEntries: 100_000,
    keyMaxAgeDays: 90,
    ...changes,
  };
  const ticks = new Set<() => void>();
  const timers = {
    setInterval: (tick: () => void) => {
      ticks.add(tick);
      return tick as { unref?: () => unknown };
    },
    clearInterval: (tick: never) => ticks.delete(tick),
  };
  const open = (more: Partial<NodeInit> = {}, started = Promise.resolve()): Promise<StigmeshNode> =>
    StigmeshNode.open(
      { store, now: clock.now, randomUUID, randomBytes, metrics, started, ...timers },
      { ...init, ...more },
    );
  const tick = (): void => {
    for (const one of ticks) one();
  };
  return { node: await open(), store, clock, init, reopen: open, tick };
}

/** A fact to assert, with what a test does not care about filled in. */
export function fact(changes: Partial<AssertInput> & { v?: unknown; type?: string } = {}): AssertInput {
  const { v = 'CEO', type = 'string', ...rest } = changes;
  return {
    entity: 'stigmem://acme.example/user/alice',
    relation: 'memory:role',
    value: { type, v },
    source: 'stigmem://acme.example/agent/hr',
    confidence: 1,
    scope: 'company',
    ...rest,
  };
}

/** For `assert.rejects`: a refusal of the node with this code. */
export const refuses = (code: string) => (error: unknown) => error instanceof NodeError && error.code === code;

export const who = ANONYMOUS;

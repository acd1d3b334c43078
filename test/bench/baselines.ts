import { generateKeyPairSync, sign } from 'node:crypto';
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { ClassicLevel } from 'classic-level';
import Fastify from 'fastify';
import type { AssertInput } from '../../src/node/types.ts';
import { MemoryStore } from '../../src/store/memory/memory-store.ts';
import type { StoreOp } from '../../src/store/store.ts';
import { openTestNode, TestClock, who } from '../support/test-node.ts';
import { Agent } from './agent.ts';
import { type Latency, load } from './measure.ts';

/** The store operations that asserting these facts causes, one list a fact: what the raw baselines write. */
export async function operationsOf(facts: readonly AssertInput[]): Promise<StoreOp[][]> {
  const lists: StoreOp[][] = [];
  const store = new MemoryStore();
  const recording = Object.create(store, {
    batch: {
      value: async (ops: readonly StoreOp[], options: { durable: boolean }) => {
        lists.push([...ops]);
        await store.batch(ops, options);
      },
    },
  }) as MemoryStore;
  for (const method of ['get', 'getMany', 'scan', 'snapshot', 'size', 'close'] as const) {
    Object.defineProperty(recording, method, {
      value: (...args: never[]) => (store[method] as (...a: never[]) => unknown)(...args),
    });
  }
  const clock = new TestClock();
  const { node } = await openTestNode({ store: recording, clock });
  lists.length = 0;
  for (const fact of facts) {
    clock.advance(1);
    await node.facts.assert(who, fact);
  }
  await node.stop();
  return lists;
}

async function withLevel<T>(work: (db: ClassicLevel<Buffer, Buffer>) => Promise<T>): Promise<T> {
  const location = mkdtempSync(join(tmpdir(), 'stigmesh-bench-'));
  const db = new ClassicLevel<Buffer, Buffer>(location, {
    keyEncoding: 'buffer',
    valueEncoding: 'buffer',
    writeBufferSize: 16 * 2 ** 20,
  });
  await db.open();
  try {
    return await work(db);
  } finally {
    await db.close();
    rmSync(location, { recursive: true, force: true });
  }
}

/** Sign + group commit of the same keys: what single durable asserts could reach with nothing in between. */
export function signAndCommit(lists: readonly StoreOp[][], parallel: number): Promise<Latency> {
  const { privateKey } = generateKeyPairSync('ed25519');
  const message = Buffer.alloc(54, 7);
  return withLevel((db) => {
    let waiting: { ops: StoreOp[]; done: () => void }[] = [];
    let writing = false;
    const write = async (): Promise<void> => {
      writing = true;
      while (waiting.length > 0) {
        const group = waiting;
        waiting = [];
        await db.batch(group.flatMap(({ ops }) => ops) as never, { sync: true });
        for (const { done } of group) done();
      }
      writing = false;
    };
    return load(lists.length, parallel, async (n) => {
      await new Promise((resolve) => sign(null, message, privateKey, resolve));
      await new Promise<void>((done) => {
        waiting.push({ ops: lists[n]!, done });
        if (!writing) void write();
      });
    });
  });
}

/** Raw LevelDB batches of the same keys, so many facts a batch, fsynced. */
export function rawBatches(lists: readonly StoreOp[][], size: number): Promise<Latency> {
  return withLevel(async (db) => {
    const batches: StoreOp[][] = [];
    for (let at = 0; at + size <= lists.length; at += size) batches.push(lists.slice(at, at + size).flat());
    return load(batches.length, 1, (n) => db.batch(batches[n] as never, { sync: true }));
  });
}

/** An empty handler of the same framework, over the same number of connections. */
export async function emptyHandler(count: number, parallel: number): Promise<Latency> {
  const app = Fastify();
  app.post('/', async () => ({ ok: true }));
  const url = await app.listen({ port: 0, host: '127.0.0.1' });
  const agent = new Agent(url, parallel);
  try {
    return await load(count, parallel, () => agent.call('POST', '/', { ok: true }));
  } finally {
    agent.close();
    await app.close();
  }
}

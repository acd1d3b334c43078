import { request } from 'node:http';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { parseArgs } from 'node:util';
import type { AssertInput } from '../../src/node/types.ts';
import { startDaemon } from '../support/daemon.ts';
import { Agent } from './agent.ts';
import { emptyHandler, operationsOf, rawBatches, signAndCommit } from './baselines.ts';
import { diskBytes } from './disk.ts';
import { latency, load, machine, ms, rate, seeded, Table } from './measure.ts';
import { type Probe, probeOf } from './probe-client.ts';

/**
 * Benchmarks of one daemon, as a client sees it: a real process, real sockets, durable writes. Every figure stands beside
 * what the same machine does in the same run without us. `npm run bench -- --facts 10000,100000 --seed 1`
 */
const { values: options } = parseArgs({
  options: {
    facts: { type: 'string', default: '10000,100000' },
    seed: { type: 'string', default: '1' },
  },
});
const sizes = options.facts.split(',').map(Number);
const seed = Number(options.seed);
const CONNECTIONS = 32;
const BATCH = 1000;
const SINGLES = 10_000;
const READS = 2000;
const READERS = 100;

const random = seeded(seed);
const RELATIONS = ['memory:role', 'memory:likes', 'roadmap:status', 'project:owner', 'preference:editor'];
const SCOPES = ['local', 'team', 'company', 'public'] as const;

/** Fact number `n`: five facts an entity, values of 20 to 200 characters, one in fifty contradicting an earlier one. */
function fact(n: number): AssertInput {
  const contradicting = n % 50 === 49;
  const of = contradicting ? n - 20 : n;
  return {
    entity: `stigmem://bench.example/user/u${Math.floor(of / RELATIONS.length)}`,
    relation: RELATIONS[of % RELATIONS.length]!,
    value: { type: 'string', v: `value ${n} ${'x'.repeat(Math.floor(random() * 180))}` },
    source: `stigmem://bench.example/agent/a${n % 97}`,
    confidence: 0.9,
    scope: SCOPES[of % 3 === 0 ? 2 : of % SCOPES.length]!,
  };
}

console.log(machine(seed));
const table = new Table();
table.header();

const sample = Array.from({ length: 5000 }, (_, n) => fact(n));
const operations = await operationsOf(sample);
const bound = await signAndCommit(operations, CONNECTIONS);
const raw = await rawBatches(operations, BATCH);
const empty = await emptyHandler(20_000, CONNECTIONS);
table.add(
  'in-process bound: sign + group commit, 32 at once',
  operations.length,
  `${rate(bound.rate)}, ${latency(bound)}`,
);
table.add('raw LevelDB batches of 1 000 facts, fsynced', operations.length, rate(raw.rate * BATCH));
table.add('empty handler, 32 connections', 0, `${rate(empty.rate)}, ${latency(empty)}`);

const socket = join(tmpdir(), `stigmesh-bench-${process.pid}.sock`);
const probe: Probe = probeOf(socket);
const env = {
  STIGMESH_API_RATE_LIMIT_READ: '10000000',
  STIGMESH_API_RATE_LIMIT_WRITE: '10000000',
  BENCH_PROBE: socket,
  NODE_OPTIONS: `${process.env.NODE_OPTIONS ?? ''} --import=${new URL('probe.ts', import.meta.url)}`,
};
let daemon = await startDaemon({ env });
let agent = new Agent(daemon.url, CONNECTIONS, daemon.key);
const first: Record<string, number> = {};
let stored = 0;
try {
  for (const size of sizes) {
    await measureAt(size);
  }
} finally {
  agent.close();
  await daemon.stop();
}

async function measureAt(size: number): Promise<void> {
  await probe.cost(0);
  const batches = Math.max(1, Math.ceil((size - SINGLES - stored) / BATCH));
  const bulk = await load(batches, 1, async () => {
    const facts = Array.from({ length: BATCH }, () => fact(stored++));
    const answer = (await agent.call('POST', '/v1/facts/batch', { facts, atomic: false })) as { rejected: number };
    if (answer.rejected > 0) throw new Error(`${answer.rejected} facts were rejected`);
  });
  table.add(
    'batch assert over HTTP, 1 000 a batch',
    stored,
    `${rate(bulk.rate * BATCH)}, batch ${latency(bulk)}`,
    rate(raw.rate * BATCH),
    (bulk.rate * BATCH) / (raw.rate * BATCH),
  );
  await loopAndCpu('batches', batches * BATCH);

  const singles = await load(SINGLES, CONNECTIONS, () => agent.send('POST', '/v1/facts', fact(stored++)));
  table.add(
    'durable single asserts over HTTP, 32 connections',
    stored,
    `${rate(singles.rate)}, ${latency(singles)}`,
    rate(bound.rate),
    singles.rate / bound.rate,
  );
  await loopAndCpu('singles', SINGLES);

  const entity = (): string =>
    encodeURIComponent(`stigmem://bench.example/user/u${Math.floor((random() * stored) / RELATIONS.length)}`);
  const point = (): string =>
    `/v1/facts?entity=${entity()}&relation=${encodeURIComponent(RELATIONS[Math.floor(random() * RELATIONS.length)]!)}`;
  const page = (): string => '/v1/facts?limit=50&scope=company';
  // LevelDB still sorts what was written by then, on the other core.
  await reads('point query by key, right after the writes', point);
  await reads('50-fact page, newest, right after the writes', page);
  await fanOut();
  await restart();
  await reads('point query by key', point);
  await reads('50-fact page, newest', page);
  await reads(
    '50-fact page, by source',
    () =>
      `/v1/facts?limit=50&source=${encodeURIComponent(`stigmem://bench.example/agent/a${Math.floor(random() * 97)}`)}`,
  );
  await reads('conflicts page of 50', () => '/v1/conflicts?limit=50&status=unresolved');
  await reads(
    'history of one key',
    () => `/v1/facts/history?entity=${entity()}&relation=${encodeURIComponent(RELATIONS[0]!)}&limit=50`,
  );
}

/** What the event loop did meanwhile, and what a request or a fact of it cost the daemon. */
async function loopAndCpu(during: string, count: number): Promise<void> {
  const { block, collections, cpu } = await probe.cost(count);
  table.add(`longest event-loop block during ${during}`, stored, block);
  table.add(`garbage collections during ${during}`, stored, collections);
  table.add(`CPU time of the daemon, each of ${during}`, stored, cpu);
}

async function reads(figure: string, path: () => string): Promise<void> {
  const call = (): Promise<unknown> => agent.send('GET', path());
  await load(200, 4, call);
  await probe.cost(0);
  const one = await load(READS, 1, call);
  const four = await load(READS, 4, call);
  first[figure] ??= one.p99;
  const baseline = `p99 at the first size ${ms(first[figure])}`;
  table.add(`${figure}, one client`, stored, latency(one), baseline, one.p99 / first[figure]);
  table.add(`${figure}, four at once`, stored, `${rate(four.rate)}, ${latency(four)}`);
  await loopAndCpu(figure, 2 * READS);
}

/** Time from the answer of a write until the last of a hundred readers has its event. */
async function fanOut(): Promise<void> {
  const waiting = new Map<string, () => void>();
  const counts = new Map<string, number>();
  const streams = await Promise.all(
    Array.from(
      { length: READERS },
      () =>
        new Promise<ReturnType<typeof request>>((resolve, reject) => {
          const stream = request(
            `${daemon.url}/v1/events`,
            { headers: { authorization: `Bearer ${daemon.key}` } },
            (response) => {
              response.setEncoding('utf8');
              response.on('data', (text: string) => {
                for (const [, id] of text.matchAll(/"id":"(bagaa\w+)"/g)) {
                  const count = (counts.get(id!) ?? 0) + 1;
                  counts.set(id!, count);
                  if (count === READERS) waiting.get(id!)?.();
                }
              });
              resolve(stream);
            },
          );
          stream.on('error', reject);
          stream.end();
        }),
    ),
  );
  const one = await load(200, 1, async () => {
    const { id } = (await agent.call('POST', '/v1/facts', fact(stored++))) as { id: string };
    await new Promise<void>((done) => {
      waiting.set(id, done);
      if (counts.get(id) === READERS) done();
    });
  });
  for (const stream of streams) {
    stream.on('error', () => {});
    stream.destroy();
  }
  table.add('write until 100 event readers have it', stored, latency(one));
}

/** Start, memory and disk with everything stored so far. */
async function restart(): Promise<void> {
  const { home } = daemon;
  agent.close();
  daemon.process.kill('SIGTERM');
  await new Promise((resolve) => daemon.process.on('exit', resolve));
  const disk = await diskBytes(home);
  const begin = performance.now();
  daemon = await startDaemon({ home, env });
  table.add('start until ready', stored, ms(performance.now() - begin));
  agent = new Agent(daemon.url, CONNECTIONS, daemon.key);
  await probe.cost(0);
  let cursor: string | null = null;
  let scanned = 0;
  const scan = performance.now();
  do {
    const page = (await agent.call('GET', `/v1/facts?limit=500${cursor === null ? '' : `&cursor=${cursor}`}`)) as {
      facts: unknown[];
      cursor: string | null;
    };
    scanned += page.facts.length;
    cursor = page.cursor;
  } while (cursor !== null);
  const seconds = (performance.now() - scan) / 1000;
  table.add(
    'full scan by pages of 500',
    stored,
    `${rate(scanned / seconds)}, ${scanned.toLocaleString('en')} current facts`,
  );
  await loopAndCpu('facts of the scan', scanned);
  table.add('memory after the scan', stored, await probe.memory());
  const each = (bytes: number): string => `${(bytes / stored).toFixed(0)} bytes`;
  table.add('disk per fact, as it was left', stored, `${each(disk.tables)} in tables, ${each(disk.log)} in logs`);
  table.add('disk per fact, compacted', stored, each(disk.compacted));
}

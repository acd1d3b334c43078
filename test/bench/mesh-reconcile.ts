import { chmodSync, cpSync, existsSync, mkdirSync, rmSync, statSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { active, call, statementsOf } from '../support/mesh-daemons.ts';
import { until } from '../support/until.ts';
import { ms, rate, type Table } from './measure.ts';
import { type BenchNode, blockText, Lab, NO_QUOTA } from './mesh-lab.ts';

export interface ReconcileOptions {
  readonly random: () => number;
  readonly table: Table;
  readonly facts: number;
  /** Where the two filled homes are kept for the next run; otherwise they are made anew. */
  readonly homes: string | undefined;
}

/** What the daemon logs about a session that ended (event `sync`). */
interface SyncLine {
  readonly event: 'sync';
  readonly reason: string;
  readonly ms: number;
  readonly turns: number;
  readonly bytesIn: number;
  readonly bytesOut: number;
  readonly statementsIn: number;
  readonly statementsOut: number;
  readonly statementBytesIn: number;
  readonly statementBytesOut: number;
}

const ORG = 'acme.example';
const PATIENCE_MS = 10 * 60_000;
const ENV = { ...NO_QUOTA, STIGMESH_LOG_LEVEL: 'debug' };
/** The first session of a process compiles the code, and says nothing of one that has run for minutes. */
const ROUNDS = 3;

/**
 * Reconciliation of two daemons of one organisation that hold the same million facts. B began as a copy of A's store: what
 * reconciliation looks at is the same as if it had all come by itself, which takes minutes.
 */
export async function reconcileFigure({ random, table, facts, homes }: ReconcileOptions): Promise<void> {
  const lab = new Lab(random);
  try {
    const directory = homes ?? join(lab.directory, 'homes');
    const [homeA, homeB] = [join(directory, 'a'), join(directory, 'b')];
    if (!existsSync(join(directory, 'filled'))) await fillHomes(lab, table, facts, homeA, homeB);
    const options = { org: ORG, env: ENV };
    const a = await lab.start({ ...options, name: 'a', home: homeA });
    const b = await lab.start({ ...options, name: 'b', home: homeB });
    await meet(a, b);
    await indexed(a);
    await indexed(b);
    await call(b, 'POST', '/v1/federation/sync', {});
    const size = await statementsOf(a);
    await a.probe();
    await b.probe();
    for (let round = 0; round < ROUNDS; round++) {
      await equalSets(a, b, table, size);
      for (const missing of [100, 10_000]) await newestMissing(lab, a, b, table, size, missing, round);
    }
    table.add('event loop of A, all of these', size, blockText(await a.probe()));
    table.add('event loop of B, all of these', size, blockText(await b.probe()));
    await lab.stop(a);
    await lab.stop(b);
  } finally {
    await lab.close();
  }
}

async function fillHomes(lab: Lab, table: Table, facts: number, homeA: string, homeB: string): Promise<void> {
  for (const home of [homeA, homeB]) {
    rmSync(home, { recursive: true, force: true });
    mkdirSync(home, { recursive: true, mode: 0o700 });
  }
  const options = { org: ORG, env: NO_QUOTA };
  const b = await lab.start({ ...options, name: 'b', home: homeB });
  const { peerId } = b;
  await lab.stop(b);
  const a = await lab.start({ ...options, name: 'a', home: homeA });
  await call(a, 'POST', '/v1/federation/org/nodes', { peer_id: peerId });
  const begin = performance.now();
  await lab.fill(a, 0, facts, 'company');
  table.add('filling the home of A', facts, rate(facts / ((performance.now() - begin) / 1000)));
  await lab.stop(a);
  // All of A but the key of its node, as a second daemon of an organisation is set up by hand.
  for (const part of ['data', 'api.key', 'keys/org.key']) {
    rmSync(join(homeB, part), { recursive: true, force: true });
    cpSync(join(homeA, part), join(homeB, part), { recursive: true, preserveTimestamps: true });
    chmodSync(join(homeB, part), statSync(join(homeA, part)).mode & 0o777);
  }
  writeFileSync(join(homeA, '..', 'filled'), `${facts}\n`);
}

/** Tells each where the other is: daemons of one organisation admit each other without more ado. */
async function meet(a: BenchNode, b: BenchNode): Promise<void> {
  const { addrs } = (await call(a, 'GET', '/v1/federation/status')) as { addrs: string[] };
  const everything = ['team', 'company', 'public'];
  const known = { peer_id: a.peerId, addrs, gives: everything, takes: everything };
  await call(b, 'POST', '/v1/federation/peers', known).catch(() =>
    call(b, 'PATCH', `/v1/federation/peers/${a.peerId}`, { addrs }),
  );
  await active(b, a);
  await active(a, b);
}

async function indexed(node: BenchNode): Promise<void> {
  await until(
    async () => ((await call(node, 'GET', '/v1/federation/status')) as { indexed: boolean }).indexed,
    `the indexes of ${node.name}`,
    PATIENCE_MS,
  );
}

async function equalSets(a: BenchNode, b: BenchNode, table: Table, size: number): Promise<void> {
  const from = b.logs.length;
  await call(b, 'POST', '/v1/federation/sync', { peer_id: a.peerId });
  const line = syncLines(b, from).at(-1);
  if (!line) throw new Error('B did not say how its session ended');
  table.add('equal sets', size, textOf(line));
}

/** A writes while it has B suspended, and resumes it: measured until B holds everything. */
async function newestMissing(
  lab: Lab,
  a: BenchNode,
  b: BenchNode,
  table: Table,
  size: number,
  count: number,
  round: number,
): Promise<void> {
  await call(a, 'PATCH', `/v1/federation/peers/${b.peerId}`, { suspended: true });
  await lab.fill(a, 0, count, 'company', `new-${process.pid}-${size}-${round}-${count}-`);
  const target = await statementsOf(a);
  const logsOf = [a.logs.length, b.logs.length] as const;
  const begin = performance.now();
  await call(a, 'PATCH', `/v1/federation/peers/${b.peerId}`, { suspended: false });
  await active(a, b);
  const met = performance.now();
  await until(async () => (await statementsOf(b)) >= target, `B to have ${count} more`, PATIENCE_MS);
  const end = performance.now();
  const brought = (): SyncLine[] => [...syncLines(a, logsOf[0]), ...syncLines(b, logsOf[1])];
  await until(() => brought().some((line) => line.statementsIn + line.statementsOut >= count), 'the session to end');
  const sessions = brought().filter(({ statementsIn, statementsOut }) => statementsIn + statementsOut > 0);
  // Both sides tell of one session.
  const [session] = sessions.toSorted((x, y) => y.ms - x.ms);
  table.add(
    `${count.toLocaleString('en')} newest missing`,
    size,
    `${textOf(session!)}; durable at B ${ms(end - met)} after both were active, ${ms(end - begin)} after B was resumed`,
  );
}

function syncLines(node: BenchNode, from: number): SyncLine[] {
  return (node.logs as unknown as SyncLine[]).slice(from).filter(({ event }) => event === 'sync');
}

function textOf(line: SyncLine): string {
  const { turns, bytesIn, bytesOut, statementBytesIn, statementBytesOut, statementsIn, statementsOut } = line;
  const beside = bytesIn + bytesOut - statementBytesIn - statementBytesOut;
  const statements = statementsIn + statementsOut;
  const carried = statements === 0 ? '' : ` beside ${statements.toLocaleString('en')} statements`;
  return `${turns / 2} round trips, ${(beside / 1000).toFixed(1)} kB${carried}, session ${ms(line.ms)} (${line.reason})`;
}

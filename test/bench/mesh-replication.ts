import { active, pair, statementsOf } from '../support/mesh-daemons.ts';
import { until } from '../support/until.ts';
import { ms, rate, type Table } from './measure.ts';
import { type BenchNode, blockText, type Growth, growthOf, Lab, NO_QUOTA } from './mesh-lab.ts';

interface Options {
  readonly random: () => number;
  readonly table: Table;
  readonly facts: number;
}

export interface ReplicationOptions extends Options {
  /** µs each, of Ed25519 alone. */
  readonly crypto: Readonly<Record<'sign' | 'verify' | 'pooled', number>>;
}

const PATIENCE_MS = 30 * 60_000;
const MIB = 2 ** 20;

/** How fast A's facts become verified and durable at B: written while B is away, while it is connected, and by the quota. */
export async function replicationFigure({ random, table, facts, crypto }: ReplicationOptions): Promise<void> {
  const lab = new Lab(random);
  try {
    const a = await lab.start({ name: 'a' });
    let b = await lab.start({ name: 'b', env: NO_QUOTA });
    await pair(a, b);
    await lab.fill(a, 0, 5000, 'company', 'warm');
    await caughtUp(a, b);

    await lab.stop(b);
    await lab.fill(a, 0, facts, 'company', 'away');
    b = await lab.start({ name: 'b', env: NO_QUOTA });
    // Connecting and the handshake are not what is measured, and over before much has come.
    const before = await statementsOf(b);
    const taken = await measured(a, b, async () => {
      await active(b, a);
      await caughtUp(a, b);
    });
    table.add(
      'A→B, verified and durable: written while B was away',
      facts,
      rate(((await statementsOf(b)) - before) / taken.seconds),
      `verify in the thread pool ${rate(1e6 / crypto.pooled)}`,
      (facts / taken.seconds) * (crypto.pooled / 1e6),
    );
    divide('written while B was away', facts, taken, 'b', table);

    const live = await measured(a, b, async () => {
      await lab.fill(a, 0, facts, 'company', 'live');
      await caughtUp(a, b);
    });
    table.add(
      'A→B, verified and durable: written meanwhile, in batches of 1 000',
      facts,
      rate(facts / live.seconds),
      `sign, then verify ${rate(1e6 / (crypto.sign + crypto.pooled))}`,
      (facts / live.seconds) * ((crypto.sign + crypto.pooled) / 1e6),
    );
    divide('written meanwhile', facts, live, 'both', table);

    await lab.stop(b);
    b = await lab.start({ name: 'b' });
    await active(b, a);
    const some = Math.ceil(facts / 2);
    const limited = await measured(a, b, async () => {
      await lab.fill(a, 0, some, 'company', 'quota');
      await caughtUp(a, b);
    });
    table.add(
      'the same within the quota a peer has by default (2 000/s, 20 000 at once)',
      some,
      rate(some / limited.seconds),
    );
  } finally {
    await lab.close();
  }
}

interface Measured {
  readonly seconds: number;
  readonly a: Growth;
  readonly b: Growth;
  /** CPU ms of each process, and of its event loop. */
  readonly cpu: Readonly<Record<'a' | 'b' | 'loopA' | 'loopB', number>>;
  readonly blocks: Readonly<Record<'a' | 'b', string>>;
}

async function measured(a: BenchNode, b: BenchNode, run: () => Promise<void>): Promise<Measured> {
  const [growthA, growthB] = [await growthOf(a), await growthOf(b)];
  const [fromA, fromB] = [await a.probe(), await b.probe()];
  const begin = performance.now();
  await run();
  const seconds = (performance.now() - begin) / 1000;
  const [toA, toB] = [await a.probe(), await b.probe()];
  return {
    seconds,
    a: await growthA(),
    b: await growthB(),
    cpu: {
      a: toA.cpu - fromA.cpu,
      b: toB.cpu - fromB.cpu,
      loopA: (toA.threadCpu ?? 0) - (fromA.threadCpu ?? 0),
      loopB: (toB.threadCpu ?? 0) - (fromB.threadCpu ?? 0),
    },
    blocks: { a: blockText(toA), b: blockText(toB) },
  };
}

/** Where the time went: of each side CPU time a fact, and how long its commits took to be prepared and written. */
function divide(what: string, facts: number, run: Measured, writing: 'b' | 'both', table: Table): void {
  const each = (milliseconds: number): string => `${((milliseconds * 1000) / facts).toFixed(0)} µs`;
  for (const side of ['a', 'b'] as const) {
    const { cpu } = run;
    const grown = run[side];
    const [all, loop] = side === 'a' ? [cpu.a, cpu.loopA] : [cpu.b, cpu.loopB];
    const prepare = each(grown('stigmesh_commit_prepare_seconds_sum') * 1000);
    const write = each(grown('stigmesh_commit_write_seconds_sum') * 1000);
    const doing = side === 'a' ? 'checks, signs and indexes' : 'admits and indexes';
    const commits = side === 'b' || writing === 'both' ? `; ${doing} ${prepare}, writes durably ${write}` : '';
    table.add(
      `${side.toUpperCase()}, a fact of those ${what}`,
      facts,
      `CPU ${each(all)}, ${each(loop)} of it on the event loop${commits}`,
    );
    table.add(`event loop of ${side.toUpperCase()}: ${what}`, facts, run.blocks[side]);
  }
  const syncs = run.b('stigmesh_mesh_sync_statements_total{kind="received"}');
  const gaps = run.a('stigmesh_mesh_push_gaps_total');
  table.add(
    `ways of those ${what}`,
    facts,
    `pushed ${run.a('stigmesh_mesh_pushed_total')}, reconciled ${syncs}, gaps ${gaps}`,
  );
}

/** Resolves when B holds as many statements as A: B makes none itself, beyond its manifest. */
async function caughtUp(a: BenchNode, b: BenchNode): Promise<void> {
  const target = await statementsOf(a);
  const pause = (): Promise<void> => new Promise((resolve) => setTimeout(resolve, 100));
  await until(
    async () => {
      if ((await statementsOf(b)) >= target) return true;
      await pause();
      return false;
    },
    'B to have what A has',
    PATIENCE_MS,
  );
}

/** What A's memory does while a peer stands still and A goes on writing, beside the same with the peer awake. */
export async function frozenFigure({ random, table, facts }: Options): Promise<void> {
  const lab = new Lab(random);
  try {
    const a = await lab.start({ name: 'a' });
    const b = await lab.start({ name: 'b', env: NO_QUOTA });
    const c = await lab.start({ name: 'c', env: NO_QUOTA });
    await pair(a, b);
    await pair(a, c);
    let written = 0;
    const phase = async (): Promise<{ own: number; heap: number; queues: number }> => {
      let queues = 0;
      for (let n = 0; n < 5; n++) {
        await lab.fill(a, written, written + facts / 5, 'company');
        written += facts / 5;
        const { queues: lengths } = (await a.agent.call('GET', '/v1/federation/status')) as {
          queues: Record<string, number>;
        };
        queues = Math.max(queues, (lengths.outbox_bytes ?? 0) + (lengths.push_in_flight_bytes ?? 0));
      }
      const { memory, heap } = await a.probe();
      return { own: memory.RssAnon ?? Number.NaN, heap: heap.used + heap.external, queues: queues / MIB };
    };
    const text = ({ own, heap, queues }: Awaited<ReturnType<typeof phase>>): string =>
      `${own.toFixed(0)} MiB its own, ${heap.toFixed(0)} in the heap and beside it; queues at most ${queues.toFixed(1)} MiB`;
    const ofThree = async (what: string): Promise<Awaited<ReturnType<typeof phase>>> => {
      let last: Awaited<ReturnType<typeof phase>>;
      for (let n = 1; n <= 3; n++) {
        last = await phase();
        table.add(`memory of A, ${what}, ${n} of 3`, written, text(last));
      }
      return last!;
    };
    // What a store takes as it fills is no matter of peers: the same number of facts is written with all awake.
    const begun = await phase();
    const awake = await ofThree('both peers awake');
    b.process.kill('SIGSTOP');
    const frozen = await ofThree('one of two peers frozen');
    const growth = (from: typeof begun, to: typeof begun): string =>
      `${(to.own - from.own).toFixed(0)} MiB its own, ${(to.heap - from.heap).toFixed(0)} MiB in the heap and beside it`;
    table.add(
      'growth over three rounds with a frozen peer',
      3 * facts,
      growth(awake, frozen),
      `all awake: ${growth(begun, awake)}`,
    );
    const begin = performance.now();
    b.process.kill('SIGCONT');
    await caughtUp(a, b);
    table.add('until the frozen peer, awake again, has everything', 3 * facts, ms(performance.now() - begin));
  } finally {
    await lab.close();
  }
}

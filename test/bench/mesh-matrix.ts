import { metricsOf, pair, statementsOf } from '../support/mesh-daemons.ts';
import { until } from '../support/until.ts';
import { load, ms, rate, type Table } from './measure.ts';
import { type BenchNode, blockText, Lab } from './mesh-lab.ts';

export interface MatrixOptions {
  readonly random: () => number;
  readonly table: Table;
  readonly nodes: number;
  readonly facts: number;
}

const CLIENTS = 8;
/** Peers a daemon looks for when it joins; with those that join it later, about twice as many. */
const JOINS = 3;
/** Facts that are written before, and have to be everywhere. */
const WARM_UP = 50;
/** Pause between two looks at one node, ms. */
const LOOK_MS = 200;
const PATIENCE_MS = 10 * 60_000;

/** What others reached at so many nodes, by their own account, on 14 cores: accepted facts a second, seconds to converge. */
const REFERENCE = new Map([
  [2, [249.7, 6.1]],
  [5, [219.3, 6.7]],
  [10, [104.1, 11.7]],
  [25, [67.9, 17.0]],
  [50, [18.5, 256.6]],
]);

/**
 * N organisations, each with one daemon and a few peers by chance; 8 clients write public facts at the first one, as fast
 * as it answers.
 */
export async function matrixFigure({ random, table, nodes: count, facts }: MatrixOptions): Promise<void> {
  const lab = new Lab(random);
  const name = `${count} nodes`;
  try {
    const nodes: BenchNode[] = [];
    for (let n = 0; n < count; n++) {
      const node = await lab.start({ name: `n${n}`, env: { STIGMESH_MESH_UNKNOWN_ORIGINS: 'accept' } });
      const others = new Set(Array.from({ length: JOINS }, () => Math.floor(random() * n)));
      if (n > 0) for (const other of others) await pair(nodes[other]!, node);
      nodes.push(node);
    }
    const [writer] = nodes as [BenchNode];
    await load(WARM_UP, CLIENTS, (n) => writer.agent.send('POST', '/v1/facts', lab.fact(writer, n, 'public', 'warm')));
    // Everybody has what was there before, its manifest above all.
    for (const node of nodes)
      await until(() => holds(node, writer, 'warm', WARM_UP), `${node.name} to be ready`, PATIENCE_MS);
    const idle = await Promise.all(nodes.map((node) => node.probe()));
    const begin = performance.now();
    const writes = await load(facts, CLIENTS, (n) =>
      writer.agent.send('POST', '/v1/facts', lab.fact(writer, n, 'public')),
    );
    const times: number[] = [];
    await Promise.all(
      nodes.map(async (node) => {
        await until(() => holds(node, writer, 'w', facts), `${node.name} to have everything`, PATIENCE_MS);
        times.push(performance.now() - begin);
      }),
    );
    const [accepted, converged] = REFERENCE.get(count) ?? [];
    table.add(
      `accepted at node 1 of ${name}, 8 clients`,
      facts,
      `${rate(writes.rate)}, p50 ${ms(writes.p50)}, p95 ${ms(writes.p95)}, p99 ${ms(writes.p99)}`,
      accepted === undefined ? undefined : `reference ${accepted}/s`,
      accepted === undefined ? undefined : writes.rate / accepted,
    );
    const seconds = Math.max(...times) / 1000;
    table.add(
      `first write until all of ${name} have all`,
      facts,
      `${seconds.toFixed(2)} s`,
      converged === undefined ? undefined : `reference ${converged} s`,
      converged === undefined ? undefined : seconds / converged,
    );
    const probes = await Promise.all(nodes.map((node) => node.probe()));
    const memory = probes.map((probe) => probe.memory.VmRSS ?? Number.NaN);
    const [own, ...rest] = memory as [number, ...number[]];
    const mean = rest.reduce((sum, one) => sum + one, 0) / rest.length;
    table.add(
      `resident memory, ${name}`,
      await statementsOf(writer),
      `node 1 ${own.toFixed(0)} MiB, others ${mean.toFixed(0)} MiB, most ${Math.max(...rest).toFixed(0)} MiB`,
    );
    const cost = probes.map(({ cpu }, n) => ((cpu - idle[n]!.cpu) * 1000) / facts);
    const other = cost.slice(1).reduce((sum, one) => sum + one, 0) / (count - 1);
    table.add(
      `CPU time a fact, ${name}`,
      facts,
      `node 1 ${cost[0]!.toFixed(0)} µs, another ${other.toFixed(0)} µs, all ${cost.reduce((sum, one) => sum + one, 0).toFixed(0)} µs`,
    );
    table.add(`event loop of node 1 of ${name}`, facts, blockText(probes[0]!));
  } finally {
    await lab.close();
  }
}

/**
 * Whether a node answers queries with the last of so many facts of the writer, and has them all. Asked a few times a
 * second: the load that measuring is must not be what is measured.
 */
async function holds(node: BenchNode, writer: BenchNode, of: string, facts: number): Promise<boolean> {
  const entity = encodeURIComponent(`stigmem://${writer.org}/memory/${of}${facts - 1}`);
  const { facts: found } = (await node.agent.call('GET', `/v1/facts?entity=${entity}`)) as { facts: unknown[] };
  if (found.length > 0) {
    const expected = of === 'warm' ? WARM_UP : WARM_UP + facts;
    if (((await metricsOf(node)).get('stigmesh_facts') ?? 0) >= expected) return true;
  }
  await new Promise((resolve) => setTimeout(resolve, LOOK_MS));
  return false;
}

import { followCommits, pair } from '../support/mesh-daemons.ts';
import { until } from '../support/until.ts';
import { type Latency, latency, ms, summarize, type Table } from './measure.ts';
import { type BenchNode, blockText, Lab } from './mesh-lab.ts';
import type { ProbeReport } from './probe.ts';

export interface LatencyOptions {
  readonly random: () => number;
  readonly table: Table;
  readonly nodes: number;
  /** How long is measured, seconds. */
  readonly seconds: number;
  /** Writes a second. */
  readonly perSecond: number;
  /** What a bare gossipsub message, or half of a bare echo, takes in the same run. */
  readonly bare: Readonly<Record<'public' | 'company', Latency>>;
}

const WARM_UP_S = 3;
/** Time after the last write within which everything must have come, ms. */
const PATIENCE_MS = 30_000;

/**
 * How long a write takes until a query elsewhere answers with it: so many writes a second at the first daemon, whose peers all
 * others are; each is heard of in the events of every other daemon, and asked for at one of them, in turn.
 */
export async function latencyFigure(options: LatencyOptions): Promise<void> {
  const { random, nodes: count } = options;
  const lab = new Lab(random);
  try {
    const nodes: BenchNode[] = [];
    for (let n = 0; n < count; n++) {
      const env = { STIGMESH_MESH_UNKNOWN_ORIGINS: 'accept' };
      // Five hundred looks a second in each of ten processes would be a part of what is measured.
      nodes.push(await lab.start({ name: `n${n}`, env, probed: n < 2 }));
    }
    for (const [n, node] of nodes.entries()) {
      if (n === 0) continue;
      // Everybody knows the first one, for company facts do not travel on, and up to two others by chance.
      const others = new Set([0, Math.floor(random() * n), Math.floor(random() * n)]);
      for (const other of others) await pair(nodes[other]!, node);
    }
    for (const scope of ['public', 'company'] as const) await measure(lab, nodes, scope, options);
  } finally {
    await lab.close();
  }
}

async function measure(
  lab: Lab,
  nodes: readonly BenchNode[],
  scope: 'public' | 'company',
  { table, seconds, perSecond, bare }: LatencyOptions,
): Promise<void> {
  const [writer, ...readers] = nodes as [BenchNode, ...BenchNode[]];
  const warm = WARM_UP_S * perSecond;
  const total = warm + seconds * perSecond;
  const sentAt: number[] = [];
  const acked: number[] = [];
  const visible: number[] = [];
  const heard = new Int32Array(total);
  const last: number[] = [];
  let done = 0;
  let asked = 0;
  const failures: unknown[] = [];
  const ask = async (n: number, reader: BenchNode, entity: string): Promise<void> => {
    const path = `/v1/facts?entity=${encodeURIComponent(entity)}&relation=memory:note`;
    const { facts } = (await reader.agent.call('GET', path)) as { facts: unknown[] };
    if (facts.length !== 1) throw new Error(`${facts.length} facts about ${entity}, where one was told of`);
    if (n >= warm) visible.push(performance.now() - sentAt[n]!);
    asked += 1;
  };
  const follows = await Promise.all(
    readers.map((reader, at) =>
      followCommits(reader, (data, now) => {
        const entity = /"entity":"([^"]+)"/.exec(data)?.[1] ?? '';
        const n = Number(new RegExp(`${scope}(\\d+)$`).exec(entity)?.[1] ?? Number.NaN);
        if (Number.isNaN(n)) return;
        heard[n]! += 1;
        if (n % readers.length === at) ask(n, reader, entity).catch((error) => failures.push(error));
        if (heard[n] !== readers.length) return;
        done += 1;
        if (n >= warm) last.push(now - sentAt[n]!);
      }),
    ),
  );
  const begin = performance.now();
  const writes: Promise<void>[] = [];
  let idle: ProbeReport[] = [];
  for (let n = 0; n < total; n++) {
    const due = begin + (n * 1000) / perSecond;
    if (n === warm) idle = await Promise.all(nodes.slice(0, 2).map((node) => node.probe()));
    const wait = due - performance.now();
    if (wait > 0) await new Promise((resolve) => setTimeout(resolve, wait));
    sentAt[n] = performance.now();
    writes.push(
      writer.agent.send('POST', '/v1/facts', lab.fact(writer, n, scope, scope)).then(() => {
        if (n >= warm) acked.push(performance.now() - sentAt[n]!);
      }),
    );
  }
  await Promise.all(writes);
  const took = (performance.now() - begin) / 1000;
  await until(() => done === total && asked === total, `all ${total} facts, ${done} came`, PATIENCE_MS).catch(
    (error: unknown) => failures.push(error),
  );
  for (const { stop } of follows) stop();
  if (failures.length > 0) throw failures[0];
  const name = `${scope}, ${nodes.length} nodes, ${perSecond} writes/s`;
  const seen = summarize(visible, took);
  const all = summarize(last, took);
  const answered = summarize(acked, took);
  const base = bare[scope];
  const what = scope === 'public' ? 'bare gossipsub message' : 'half of a bare libp2p echo';
  table.add(
    `write at A until a query at B has it: ${name}`,
    total,
    latency(seen),
    `${what} ${latency(base)}`,
    seen.p50 / base.p50,
  );
  table.add(`write at A until the last node has it: ${name}`, total, latency(all));
  table.add(`answer to the write at A: ${name}`, total, latency(answered));
  const [own, other] = [await writer.probe(), await readers[0]!.probe()];
  const cpu = [own, other].map(({ cpu, threadCpu }, at) => {
    const before = idle[at]!;
    const each = (now: number, then: number): string => `${(((now - then) * 1000) / (total - warm)).toFixed(0)} µs`;
    const loop = threadCpu === null || before.threadCpu === null ? 'unknown' : each(threadCpu, before.threadCpu);
    return `${at === 0 ? 'A' : 'B'} ${each(cpu, before.cpu)}, ${loop} on the event loop`;
  });
  table.add(`CPU time a fact: ${name}`, total - warm, cpu.join('; '));
  table.add(`event loop of A: ${name}`, total, blockText(own));
  table.add(`event loop of B: ${name}`, total, blockText(other));
  if (took > seconds + WARM_UP_S + 1) table.add(`the load fell behind: ${name}`, total, ms(took * 1000));
}

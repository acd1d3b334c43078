import { execFileSync } from 'node:child_process';
import { cpus, totalmem } from 'node:os';

/** Deterministic random numbers in [0, 1): mulberry32. */
export function seeded(seed: number): () => number {
  let state = seed >>> 0;
  return () => {
    state = (state + 0x6d2b79f5) >>> 0;
    let t = Math.imul(state ^ (state >>> 15), state | 1);
    t ^= t + Math.imul(t ^ (t >>> 7), t | 61);
    return ((t ^ (t >>> 14)) >>> 0) / 2 ** 32;
  };
}

export interface Latency {
  readonly count: number;
  /** Calls a second over the whole run. */
  readonly rate: number;
  /** Milliseconds. */
  readonly p50: number;
  readonly p95: number;
  readonly p99: number;
  readonly max: number;
}

/** Runs `call` `count` times with so many under way at once. */
export async function load(count: number, parallel: number, call: (n: number) => Promise<unknown>): Promise<Latency> {
  const times: number[] = [];
  let next = 0;
  const begin = performance.now();
  await Promise.all(
    Array.from({ length: parallel }, async () => {
      while (next < count) {
        const n = next++;
        const start = performance.now();
        await call(n);
        times.push(performance.now() - start);
      }
    }),
  );
  return summarize(times, (performance.now() - begin) / 1000);
}

export function summarize(times: number[], seconds: number): Latency {
  times.sort((a, b) => a - b);
  const at = (share: number): number =>
    times[Math.min(times.length - 1, Math.floor(times.length * share))] ?? Number.NaN;
  return { count: times.length, rate: times.length / seconds, p50: at(0.5), p95: at(0.95), p99: at(0.99), max: at(1) };
}

export interface Row {
  readonly figure: string;
  readonly size: string;
  readonly result: string;
  /** What the same machine does without us, in the same run. */
  readonly baseline: string;
  readonly ratio: string;
}

/** Collects rows and prints them as a Markdown table as they come. */
export class Table {
  readonly rows: Row[] = [];

  header(): void {
    console.log('\n| Figure | Facts | Result | Baseline (same run) | Ratio |\n|---|---|---|---|---|');
  }

  add(figure: string, size: number, result: string, baseline = '–', ratio = Number.NaN): void {
    const row = {
      figure,
      size: size.toLocaleString('en'),
      result,
      baseline,
      ratio: Number.isNaN(ratio) ? '–' : ratio.toFixed(2),
    };
    this.rows.push(row);
    console.log(`| ${row.figure} | ${row.size} | ${row.result} | ${row.baseline} | ${row.ratio} |`);
  }
}

export const ms = (value: number): string => `${value.toFixed(value < 10 ? 2 : 1)} ms`;
export const rate = (value: number): string => `${Math.round(value).toLocaleString('en')}/s`;
export const latency = ({ p50, p99 }: Latency): string => `p50 ${ms(p50)}, p99 ${ms(p99)}`;

/** What ran where: printed above every result, since a figure without it means nothing. */
export function machine(seed: number, commit = gitCommit()): string {
  const cpu = cpus();
  return [
    `date ${new Date().toISOString().slice(0, 10)}, commit ${commit}`,
    `machine ${cpu.length} × ${cpu[0]?.model.trim() ?? 'unknown'}, ${Math.round(totalmem() / 2 ** 30)} GiB, ${process.platform} ${process.arch}`,
    `node ${process.version}, seed ${seed}`,
  ].join('\n');
}

function gitCommit(): string {
  try {
    return execFileSync('git', ['rev-parse', '--short', 'HEAD'], { encoding: 'utf8' }).trim();
  } catch {
    return 'unknown';
  }
}

import { readFileSync, rmSync } from 'node:fs';
import { createServer } from 'node:net';
import { PerformanceObserver, performance } from 'node:perf_hooks';

/**
 * Loaded into the daemon (`NODE_OPTIONS=--import=…`), so that a block of its event loop is told with what it consisted
 * of: the garbage collections in it, and the CPU time its thread had. Time in which it had none was another process's,
 * or a lock's. The histogram behind `nodejs_eventloop_lag_max_seconds` cannot tell, and adds its 10 ms of sampling.
 */
export interface LoopBlock {
  /** Milliseconds, as are all below. */
  readonly wall: number;
  /** CPU time of the event loop's thread in it; null where Node cannot tell (before 23.9). */
  readonly cpu: number | null;
  readonly gc: number;
}

export interface ProbeReport {
  /** Since the last report, longest first. */
  readonly blocks: readonly LoopBlock[];
  readonly collections: { readonly count: number; readonly total: number; readonly longest: number };
  /** CPU time of the process and of its main thread since it began, ms. */
  readonly cpu: number;
  readonly threadCpu: number | null;
  /** Of /proc/self/status, in MiB; null where there is none. */
  readonly memory: Readonly<Record<'VmRSS' | 'RssAnon' | 'RssFile', number | null>>;
  readonly heap: { readonly used: number; readonly total: number; readonly external: number };
}

/** Milliseconds between two looks; each costs a few microseconds. */
const STEP = 2;
/** Blocks shorter than this are the timer's own imprecision. */
const SHORTEST = 3;
const MIB = 2 ** 20;

interface Thread {
  threadCpuUsage?: () => { user: number; system: number };
}

function threadCpu(): number | null {
  const usage = (process as Thread).threadCpuUsage?.();
  return usage ? (usage.user + usage.system) / 1000 : null;
}

function memory(): ProbeReport['memory'] {
  let text = '';
  try {
    text = readFileSync('/proc/self/status', 'utf8');
  } catch {
    // Not Linux.
  }
  const read = (name: string): number | null => {
    const kib = new RegExp(`^${name}:\\s+(\\d+)`, 'm').exec(text)?.[1];
    return kib === undefined ? null : Number(kib) / 1024;
  };
  return { VmRSS: read('VmRSS'), RssAnon: read('RssAnon'), RssFile: read('RssFile') };
}

function listen(path: string): void {
  let collections: { start: number; duration: number }[] = [];
  let blocks: { start: number; end: number; cpu: number | null }[] = [];
  new PerformanceObserver((list) => {
    for (const { startTime, duration } of list.getEntries()) collections.push({ start: startTime, duration });
  }).observe({ entryTypes: ['gc'] });
  let last = performance.now();
  let lastCpu = threadCpu();
  const look = (): void => {
    const now = performance.now();
    const cpu = threadCpu();
    if (now - last - STEP > SHORTEST) {
      blocks.push({ start: last, end: now, cpu: cpu === null || lastCpu === null ? null : cpu - lastCpu });
    }
    last = now;
    lastCpu = cpu;
    setTimeout(look, STEP).unref();
  };
  look();
  /** Both come in order of time: all of them against all of them takes seconds after minutes of load. */
  const collected = (): number[] => {
    let first = 0;
    return blocks.map(({ start, end }) => {
      while (first < collections.length && collections[first]!.start + collections[first]!.duration <= start) first++;
      let sum = 0;
      for (let at = first; at < collections.length && collections[at]!.start < end; at++) {
        const one = collections[at]!;
        sum += Math.min(end, one.start + one.duration) - Math.max(start, one.start);
      }
      return sum;
    });
  };
  const report = (): ProbeReport => {
    const { user, system } = process.cpuUsage();
    const { heapUsed, heapTotal, external } = process.memoryUsage();
    const durations = collections.map(({ duration }) => duration);
    const gc = collected();
    return {
      blocks: blocks
        .map(({ start, end, cpu }, at) => ({ wall: end - start - STEP, cpu, gc: gc[at]! }))
        .sort((a, b) => b.wall - a.wall),
      collections: {
        count: durations.length,
        total: durations.reduce((sum, one) => sum + one, 0),
        longest: Math.max(0, ...durations),
      },
      cpu: (user + system) / 1000,
      threadCpu: threadCpu(),
      memory: memory(),
      heap: { used: heapUsed / MIB, total: heapTotal / MIB, external: external / MIB },
    };
  };
  rmSync(path, { force: true });
  const server = createServer((socket) => {
    // The observer is told of collections a turn later than they happen.
    setTimeout(() => {
      socket.end(JSON.stringify(report()));
      collections = [];
      blocks = [];
      // What the report took is none of the daemon's.
      last = performance.now();
      lastCpu = threadCpu();
    }, 5);
  });
  // The launcher begins its process anew, and only the second one serves.
  server.on('error', () => {});
  server.listen(path).unref();
}

const path = process.env.BENCH_PROBE;
if (path !== undefined && process.argv.includes('start')) listen(path);

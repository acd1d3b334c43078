import { connect } from 'node:net';
import { ms } from './measure.ts';
import type { ProbeReport } from './probe.ts';

/** What the probe in a daemon has to say, as text for the table. */
export interface Probe {
  /** What happened since the last call, the CPU time shared by `count` requests or facts. */
  cost(count: number): Promise<{ readonly block: string; readonly collections: string; readonly cpu: string }>;
  memory(): Promise<string>;
}

export function probeOf(path: string): Probe {
  let last: ProbeReport | undefined;
  return {
    async cost(count) {
      const now = await read(path);
      const { blocks, collections } = now;
      const worst = blocks[0];
      const block = worst
        ? `${ms(worst.wall)}: collections ${ms(worst.gc)}, CPU ${worst.cpu === null ? 'unknown' : ms(worst.cpu)}; ` +
          `${blocks.filter(({ wall }) => wall > 10).length} over 10 ms, ` +
          `${blocks.filter(({ wall }) => wall > 20).length} over 20 ms`
        : 'none over 3 ms';
      const each = (ms: number): string => `${((ms * 1000) / count).toFixed(0)} µs`;
      const main = now.threadCpu === null || !last?.threadCpu ? null : now.threadCpu - last.threadCpu;
      const cpu = `${each(now.cpu - (last?.cpu ?? 0))}${main === null ? '' : `, ${each(main)} on the event loop`}`;
      last = now;
      const { count: times, total, longest } = collections;
      return { block, collections: `${times}, ${ms(total)} in all, longest ${ms(longest)}`, cpu };
    },
    async memory() {
      const { memory, heap } = await read(path);
      const mib = (value: number | null): string => (value === null ? 'unknown' : `${value.toFixed(0)} MiB`);
      return (
        `${mib(memory.VmRSS)} resident: ${mib(memory.RssAnon)} its own, ${mib(memory.RssFile)} of files; ` +
        `heap ${mib(heap.used)} of ${mib(heap.total)}, outside it ${mib(heap.external)}`
      );
    },
  };
}

function read(path: string): Promise<ProbeReport> {
  return new Promise((resolve, reject) => {
    let text = '';
    const socket = connect(path);
    socket.setEncoding('utf8').on('data', (chunk: string) => {
      text += chunk;
    });
    socket.on('error', reject);
    socket.on('end', () => resolve(JSON.parse(text) as ProbeReport));
  });
}

import { ms, summarize } from '../bench/measure.ts';
import type { Checker, Violations } from './check.ts';
import type { Faults } from './faults.ts';
import { type Fleet, PAIRINGS } from './fleet.ts';
import { type Ledger, mustShow } from './ledger.ts';
import type { Workload } from './workload.ts';

export interface Sample {
  /** ms since the beginning. */
  readonly at: number;
  readonly name: string;
  readonly rssMiB: number;
  readonly ownMiB: number;
  readonly descriptors: number;
}

/** How long it took until all was where it must be, once nothing was wrong any more. */
export interface Settled {
  readonly when: string;
  readonly ms: number;
  readonly facts: number;
  readonly missing: number;
}

export interface ReportInit {
  /** Machine, commit, versions, seed. */
  readonly head: string;
  readonly minutes: number;
  readonly rate: number;
  readonly fleet: Fleet;
  readonly ledger: Ledger;
  readonly workload: Workload;
  readonly checker: Checker;
  readonly faults: Faults;
  readonly violations: Violations;
  readonly samples: readonly Sample[];
  readonly settled: readonly Settled[];
}

/** After a fault, latency is that of recovering for so long: connections are made again after 3 s and more. */
const RECOVERY_MS = 15_000;
const POINTS = 6;

/** A run of the soak test, in Markdown. */
export function report(run: ReportInit): string {
  const { head, minutes, rate, violations, fleet } = run;
  const verdict = violations.count === 0 ? 'No violation.' : `**${violations.count} violations.**`;
  const clocks = fleet.members.filter(({ clock }) => clock !== 1);
  return [
    '# Soak test',
    '',
    `${minutes} minutes, five daemons of three organisations on one machine over loopback, ${rate} writes a second over`,
    `all of them, something broken every now and then. ${verdict} To repeat it: \`npm run soak -- --minutes ${minutes}\`.`,
    '',
    '```text',
    head,
    '```',
    '',
    `Pairings: ${PAIRINGS.map(([one, other, { gives, takes }]) => `${one} gives ${other} ${gives.join(' and ')} for ${takes.join(' and ')}`).join('; ')}.`,
    'Daemons of one organisation share everything but local.',
    `Clocks: ${clocks.map(({ name, clock }) => `that of ${name} runs at ${clock}`).join(', ')} of the machine's (its \`Date\` is replaced; libfaketime is not needed).`,
    'A frozen daemon stands for a cut link: there are no network namespaces in this test (`npm run netns-lab` has them).',
    '',
    '## What happened',
    '',
    ...happened(run),
    '',
    '## How long facts took',
    '',
    ...latencies(run),
    '',
    '## Once everything was mended',
    '',
    '| When | Facts acknowledged so far | All in place after | Missing then |',
    '|---|---|---|---|',
    ...run.settled.map(({ when, ms: took, facts, missing }) => `| ${when} | ${facts} | ${ms(took)} | ${missing} |`),
    '',
    '## Memory and descriptors',
    '',
    ...footprints(run),
    '',
    '## Violations',
    '',
    ...(violations.count === 0
      ? [
          'None: no fact was missing, extra, or visible where it must not be; views and conflicts were the same everywhere.',
        ]
      : violations.list().map((one) => `- ${one}`)),
    '',
  ].join('\n');
}

function happened({ workload, ledger, faults, checker, fleet, rate, minutes }: ReportInit): string[] {
  const lives = fleet.members.map(({ name, restarts, kills }) => `${name} ${restarts} and ${kills}`).join(', ');
  return [
    '| | |',
    '|---|---|',
    `| Facts acknowledged | ${workload.written} (${(workload.written / minutes / 60).toFixed(1)}/s of ${rate}/s wanted) |`,
    `| Writes without an answer (daemon killed or frozen): in doubt | ${workload.unanswered} |`,
    `| Facts with an expiry | ${[...ledger.entries.values()].filter(({ expiresAt }) => expiresAt !== null).length} |`,
    `| Contradictions between organisations | ${workload.disputes.length} |`,
    `| Faults | ${[...faults.counts].map(([kind, count]) => `${kind} ${count}`).join(', ')} |`,
    `| Stops by SIGTERM (the last one included), and by SIGKILL | ${lives} |`,
    `| Statements compared with what was written; facts of answers | ${checker.statements}; ${checker.answers} |`,
  ];
}

function latencies({ ledger, workload, faults, fleet }: ReportInit): string[] {
  const calm: number[] = [];
  const broken: number[] = [];
  for (const entry of ledger.entries.values()) {
    if (entry.id === null) continue;
    for (const member of fleet.members) {
      const at = entry.heard.get(member.name);
      if (at === undefined || member === entry.writer || !mustShow(fleet, entry, member)) continue;
      (faults.wasCalm(entry.sentAt, at, RECOVERY_MS) ? calm : broken).push(at - entry.sentAt);
    }
  }
  const conflicts: { calm: number[]; broken: number[] } = { calm: [], broken: [] };
  let open = 0;
  for (const { since, marks, members } of workload.disputes) {
    const times = members.flatMap(({ name }) => marks.map((mark) => ledger.entries.get(mark)!.heard.get(name)));
    const last = Math.max(...times.map((time) => time ?? Number.POSITIVE_INFINITY));
    if (!Number.isFinite(last)) open += 1;
    else (faults.wasCalm(since, last, RECOVERY_MS) ? conflicts.calm : conflicts.broken).push(Math.max(0, last - since));
  }
  const row = (what: string, times: number[]): string => {
    const { count, p50, p95, p99, max } = summarize(times, 1);
    const shown = [p50, p95, p99, max].map((value) => (Number.isNaN(value) ? '–' : ms(value)));
    return `| ${what} | ${count} | ${shown.join(' | ')} |`;
  };
  return [
    'From the moment a write was sent to one daemon until another one told of it in its events.',
    '',
    '| | Count | p50 | p95 | p99 | max |',
    '|---|---|---|---|---|---|',
    row('replication, nothing broken', calm),
    row(`replication, something broken or mended less than ${RECOVERY_MS / 1000} s ago`, broken),
    row('conflict between organisations until all who must know it do, nothing broken', conflicts.calm),
    row('the same, something broken or just mended', conflicts.broken),
    '',
    ...(open === 0
      ? []
      : [`${open} conflicts were not told of everywhere: their daemon was killed before it could.`, '']),
  ];
}

function footprints({ samples, fleet, minutes }: ReportInit): string[] {
  const at = Array.from({ length: POINTS }, (_, n) => ((n + 0.5) / POINTS) * minutes * 60_000);
  const head = at.map((time) => `${(time / 60_000).toFixed(1)} min`);
  const rows = fleet.members.map(({ name }) => {
    const own = samples.filter((sample) => sample.name === name);
    const cells = at.map((time) => {
      const [nearest] = own.toSorted((a, b) => Math.abs(a.at - time) - Math.abs(b.at - time));
      return nearest ? `${nearest.rssMiB.toFixed(0)} (${nearest.ownMiB.toFixed(0)}), ${nearest.descriptors}` : '–';
    });
    const most = own.reduce(
      (sum, { rssMiB, descriptors }) => ({ rss: Math.max(sum.rss, rssMiB), fd: Math.max(sum.fd, descriptors) }),
      { rss: 0, fd: 0 },
    );
    return `| ${name} | ${cells.join(' | ')} | ${most.rss.toFixed(0)}, ${most.fd} |`;
  });
  return [
    'Resident MiB (of it the process’s own), and open descriptors. A restart begins anew.',
    '',
    `| | ${head.join(' | ')} | most |`,
    `|---|${head.map(() => '---|').join('')}---|`,
    ...rows,
  ];
}

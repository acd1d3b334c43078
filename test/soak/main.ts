import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { parseArgs } from 'node:util';
import { machine } from '../bench/measure.ts';
import { Random } from '../support/random.ts';
import { Checker, Violations } from './check.ts';
import { Faults, pause } from './faults.ts';
import { Fleet, footprint } from './fleet.ts';
import { Ledger } from './ledger.ts';
import { report, type Sample, type Settled } from './report.ts';
import { Workload } from './workload.ts';

/**
 * Runs three organisations for a long time, breaks things, and looks whether every fact is where it must be and nowhere
 * else. `npm run soak -- --minutes 30 --seed 1 --output docs/soak.md`. Exit code 1 on any violation.
 */
const { values: options } = parseArgs({
  options: {
    minutes: { type: 'string', default: '30' },
    seed: { type: 'string', default: String(Math.floor(Math.random() * 1e6)) },
    /** Writes a second, over all daemons. */
    rate: { type: 'string', default: '4' },
    output: { type: 'string' },
    /** Of the daemons; with `keep`, their logs lie beside their homes. */
    log: { type: 'string', default: 'info' },
    keep: { type: 'boolean', default: false },
  },
});
const minutes = Number(options.minutes);
const seed = Number(options.seed);
const rate = Number(options.rate);
if (![minutes, seed, rate].every((value) => Number.isFinite(value) && value > 0)) {
  console.error('--minutes, --seed and --rate are numbers above 0');
  process.exit(2);
}

const SAMPLE_MS = 10_000;
/** Checks over the run: every daemon is compared with everything that was written. */
const CHECKS = Math.max(2, Math.min(8, Math.round(minutes / 4)));
/** Longest until all is where it must be, once nothing is wrong any more, ms. */
const SETTLE_MS = 180_000;
const MAX_WRITES_UNDER_WAY = 64;

const directory = mkdtempSync(join(tmpdir(), 'stigmesh-soak-'));
const [forWrites, forFaults] = [new Random(seed), new Random(seed + 1)];
const ledger = new Ledger();
const samples: Sample[] = [];
const settled: Settled[] = [];
const began = performance.now();
const log = (text: string): void => {
  console.error(`${((performance.now() - began) / 1000).toFixed(1).padStart(7)} s  ${text}`);
};
const violations = new Violations((violation) => log(`violation: ${violation}`));

const fleet = await Fleet.open(
  directory,
  (member, data, at) => {
    const entry = ledger.entries.get(/"v":"(m\d+) /.exec(data)?.[1] ?? '');
    if (entry && !entry.heard.has(member.name)) entry.heard.set(member.name, at);
  },
  options.log,
);
log(`five daemons paired, seed ${seed}, ${minutes} minutes, ${rate} writes/s`);
const workload = new Workload(fleet, ledger, forWrites, violations);
const checker = new Checker(fleet, ledger, violations);
const faults = new Faults(fleet, {
  random: forFaults,
  violations,
  longestMs: Math.min(40_000, (minutes * 60_000) / 20),
  onFault: log,
});

let isWriting = true;
let underWay = 0;
const writing = setInterval(() => {
  if (!isWriting || underWay >= MAX_WRITES_UNDER_WAY) return;
  underWay += 1;
  void workload.write().finally(() => {
    underWay -= 1;
  });
}, 1000 / rate);
const sampling = setInterval(() => {
  for (const member of fleet.members) {
    const taken = footprint(member);
    if (!taken) continue;
    samples.push({ at: performance.now() - began, name: member.name, ...taken });
    checker.checkFootprint(member, taken.rssMiB, taken.descriptors);
  }
}, SAMPLE_MS);

/** Mends everything, waits until all is where it must be, and looks at all of it. */
async function checkpoint(when: string): Promise<void> {
  isWriting = false;
  while (underWay > 0) await pause(50);
  const from = performance.now();
  await fleet.healed();
  let missing = await checker.missing();
  while (missing > 0 && performance.now() - from < SETTLE_MS) {
    await pause(500);
    missing = await checker.missing();
  }
  const ms = performance.now() - from;
  settled.push({ when, ms, facts: ledger.acknowledged, missing });
  await checker.check(when);
  log(`${when}: settled in ${(ms / 1000).toFixed(1)} s, ${missing} missing, ${violations.count} violations so far`);
  isWriting = true;
}

const end = performance.now() + minutes * 60_000;
const [every, start] = [(minutes * 60_000) / CHECKS, performance.now()];
/** Quiet times, in which latency is what it is without faults, are as long as the times with one. */
const calm = Math.min(40_000, (minutes * 60_000) / 40);
try {
  for (let check = 1; check <= CHECKS; check++) {
    const due = Math.min(end, start + check * every);
    while (performance.now() < due) {
      await pause(Math.min(due - performance.now(), calm * (0.5 + forFaults.next())));
      if (performance.now() < due - calm) await faults.next();
    }
    await checkpoint(`check ${check} of ${CHECKS}`);
  }
} catch (error) {
  violations.add('the run broke off', error instanceof Error ? (error.stack ?? error.message) : String(error));
} finally {
  clearInterval(writing);
  clearInterval(sampling);
  await fleet.close().catch((error: unknown) => violations.add('did not stop', String(error)));
}

const text = report({
  head: machine(seed),
  ...{ minutes, rate, fleet, ledger, workload, checker, faults, violations, samples, settled },
});
console.log(text);
if (options.output !== undefined) writeFileSync(options.output, text);
if (options.keep) log(`homes are kept in ${directory}`);
else rmSync(directory, { recursive: true, force: true });
process.exit(violations.count === 0 ? 0 : 1);

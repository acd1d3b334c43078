import { parseArgs } from 'node:util';
import { formatHlc, hlcWall } from '../../src/facts/index.ts';
import { SetIndex } from '../../src/sync/index.ts';
import { Random } from '../support/random.ts';
import { fakeStatement, type PairOutcome, runPair, SyncSide, syntheticItems } from '../support/sync-pair.ts';
import { machine, ms } from './measure.ts';

/**
 * Benchmarks of the reconciliation engine alone: no store, no network, both sides in this process, so a session's time is
 * that of two daemons. `node test/bench/sync-engine.ts --items 1000000 --seed 1`
 */
const { values: options } = parseArgs({
  options: { items: { type: 'string', default: '1000000' }, seed: { type: 'string', default: '1' } },
});
const items = Number(options.items);
const seed = Number(options.seed);
const random = new Random(seed);
const SET = 'public/bench.example/memory';
const STATEMENT_PADDING = 600;
const REPEATS = 20_000;

console.log(machine(seed));
console.log(`\n| Figure at ${items.toLocaleString('en')} items | Result |\n|---|---|`);
const row = (figure: string, result: string): void => console.log(`| ${figure} | ${result} |`);
const micros = (milliseconds: number): string => `${(milliseconds * 1000).toFixed(1)} µs`;

/** Mean and longest time of `run`, in milliseconds. */
function repeat(times: number, run: (n: number) => void): { mean: number; max: number } {
  let max = 0;
  const begin = performance.now();
  for (let n = 0; n < times; n++) {
    const start = performance.now();
    run(n);
    max = Math.max(max, performance.now() - start);
  }
  return { mean: (performance.now() - begin) / times, max };
}

const [a, b] = [new SyncSide(), new SyncSide()];
const index = a.index(SET);
let slice = 0;
let start = performance.now();
const begin = start;
for (const _ of index.load(syntheticItems(items, new Random(seed)))) {
  slice = Math.max(slice, performance.now() - start);
  start = performance.now();
}
row('load in order, making the items included', `${ms(performance.now() - begin)}, longest slice ${ms(slice)}`);
for (const _ of b.index(SET).load(syntheticItems(items, new Random(seed)))) slice += 0;
row('memory of the blocks', `${(index.allocatedBytes / 1e6).toFixed(1)} MB`);

const first = hlcWall(index.newest()!) - items * 1250;
let last = hlcWall(index.newest()!);
const young = Array.from({ length: REPEATS }, (_, n) => fakeStatement(SET, formatHlc(last + n, 0), `y${n}`));
const spread = Array.from({ length: REPEATS }, (_, n) => {
  return fakeStatement(SET, formatHlc(first + random.below(last - first), 0), `s${n}`);
});
for (const [what, statements] of [
  ['young end', young],
  ['anywhere', spread],
] as const) {
  const insert = repeat(REPEATS, (n) => index.insert(statements[n]!.hlc, statements[n]!.digest));
  row(`insert, ${what}`, `${micros(insert.mean)}, longest ${ms(insert.max)}`);
  const remove = repeat(REPEATS, (n) => index.remove(statements[n]!.hlc, statements[n]!.digest));
  row(`remove, ${what}`, `${micros(remove.mean)}, longest ${ms(remove.max)}`);
}
const whole = repeat(REPEATS, (n) => {
  if (n % 2 === 0) index.insert(young[n]!.hlc, young[n]!.digest);
  else index.remove(young[n - 1]!.hlc, young[n - 1]!.digest);
  index.fingerprint();
});
row('fingerprint of the whole set after a change', `${micros(whole.mean)}, longest ${ms(whole.max)}`);
const bounds = Array.from({ length: 1000 }, (_, n) => index.keyAt(Math.floor((n * items) / 1000)));
const range = repeat(REPEATS, (n) => index.rangeFingerprint(bounds[n % 999]!, bounds[(n % 999) + 1]!));
row('fingerprint of a range', `${micros(range.mean)}, longest ${ms(range.max)}`);

function session(figure: string, run: () => PairOutcome): void {
  const outcome = run();
  if (outcome.initiator.outcome !== 'converged') throw new Error(`${figure}: ${outcome.initiator.reason}`);
  row(
    figure,
    `${outcome.roundTrips} round trips, ${(outcome.overhead / 1000).toFixed(1)} kB beside the statements, ${ms(outcome.ms)}, longest step ${ms(outcome.longestStepMs)}`,
  );
}
const newest = (side: SyncSide, count: number): void => {
  for (let n = 0; n < count; n++) {
    last += 1000;
    side.add(fakeStatement(SET, formatHlc(last, 0), `n${n}`, STATEMENT_PADDING));
  }
};
const scattered = (side: SyncSide, count: number): void => {
  for (let n = 0; n < count; n++) {
    const hlc = formatHlc(first + random.below(last - first), 1 + random.below(900));
    side.add(fakeStatement(SET, hlc, `x${n}`, STATEMENT_PADDING));
  }
};
const run = (): PairOutcome => runPair(a, b);
for (let round = 0; round < 2; round++) {
  // The first round warms up the compiler; a daemon is warm after its first minutes.
  const label = round === 0 ? ', first time' : '';
  session(`equal sets${label}`, run);
  newest(b, 100);
  session(`100 newest missing${label}`, run);
  scattered(b, 100);
  session(`100 scattered missing${label}`, run);
  newest(a, 100);
  newest(b, 100);
  scattered(a, 50);
  scattered(b, 50);
  session(`100 newest and 50 scattered on either side${label}`, run);
  newest(b, 10_000);
  session(`10 000 newest missing${label}`, run);
}
scattered(a, 2000);
scattered(b, 2000);
session('2 000 scattered on either side', run);
const fresh = new SyncSide();
fresh.index(SET);
const full = new SyncSide();
full.index(SET);
newest(full, 50_000);
session('50 000 to a side that is new', () => runPair(fresh, full));

const order = Array.from({ length: 200_000 }, () =>
  fakeStatement(SET, formatHlc(first + random.below(last - first), 0), random.next()),
);
const shuffled = new SetIndex(SET);
const any = repeat(order.length, (n) => shuffled.insert(order[n]!.hlc, order[n]!.digest));
row(
  '200 000 inserted in any order',
  `${micros(any.mean)} each, ${(shuffled.allocatedBytes / shuffled.count).toFixed(0)} bytes an item`,
);

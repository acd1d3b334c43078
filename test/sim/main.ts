import { parseArgs } from 'node:util';
import { runScenario, type ScenarioInit, type ScenarioReport, SMALL } from './scenario.ts';

const USAGE = `npm run sim -- [options]

  --seed N       one run, by its seed
  --seeds N      so many runs (200)
  --from S       the first seed of them (1)
  --minutes M    runs until so much time has passed, whatever --seeds says
  --nodes A-B    daemons of each run, fewest and most (3-8)
  --seconds S    virtual seconds of writes and faults of each run (30)
  --writes R     writes a second, a daemon (0.25)
  --trace        prints every event of the run; with --seed
  --twice        makes every run twice and compares the hashes of their traces

A run that shows something wrong prints its seed and how to see it again. The exit code is 1 then.`;

const { values } = parseArgs({
  options: {
    seed: { type: 'string' },
    seeds: { type: 'string', default: '200' },
    from: { type: 'string', default: '1' },
    minutes: { type: 'string' },
    nodes: { type: 'string' },
    seconds: { type: 'string' },
    writes: { type: 'string' },
    trace: { type: 'boolean', default: false },
    twice: { type: 'boolean', default: false },
    help: { type: 'boolean', default: false },
  },
});

function numberOf(name: string, text: string): number {
  const number = Number(text);
  if (!Number.isFinite(number) || number < 0) throw new Error(`--${name} takes a number, not ${text}`);
  return number;
}

function nodesOf(text: string | undefined): readonly [number, number] {
  if (text === undefined) return SMALL;
  const [least, most = least] = text.split('-').map((part) => numberOf('nodes', part));
  if (least === undefined || most === undefined || least < 2 || most < least || most > 50) {
    throw new Error(`--nodes takes two numbers between 2 and 50, such as 3-8, not ${text}`);
  }
  return [least, most];
}

function line(report: ScenarioReport, ms: number): string {
  const { seed, nodes, orgs, events, convergedMs, writes, faults, lie, checked, compared, hash } = report;
  const wrong = Object.entries(faults)
    .map(([kind, count]) => `${kind} ${count}`)
    .join(', ');
  const liar = lie === undefined ? '' : ` (one will ${lie})`;
  const what = `${nodes} daemons${liar} of ${orgs} organisations, ${writes} writes, ${wrong || 'no faults'}`;
  const found = `converged in ${(convergedMs / 1000).toFixed(1)} s, ${checked} arrivals and ${compared} views checked`;
  return `seed ${seed}: ${what}; ${found}; ${events} events, trace ${hash.slice(0, 16)}, ${ms.toFixed(0)} ms`;
}

async function run(init: ScenarioInit): Promise<boolean> {
  const startedAt = performance.now();
  try {
    const report = await runScenario(init);
    console.log(line(report, performance.now() - startedAt));
    if (!values.twice) return true;
    const again = await runScenario(init);
    if (again.hash === report.hash) return true;
    console.error(`seed ${init.seed}: two runs differ: ${report.hash} and ${again.hash}`);
  } catch (error) {
    console.error((error as Error).stack);
  }
  return false;
}

async function main(): Promise<number> {
  if (values.help) {
    console.log(USAGE);
    return 0;
  }
  const shared = {
    nodes: nodesOf(values.nodes),
    ...(values.seconds === undefined ? {} : { seconds: numberOf('seconds', values.seconds) }),
    ...(values.writes === undefined ? {} : { writes: numberOf('writes', values.writes) }),
  };
  if (values.seed !== undefined) {
    const seed = numberOf('seed', values.seed);
    const onTrace = values.trace ? (text: string): void => console.log(text) : undefined;
    return (await run({ ...shared, seed, onTrace })) ? 0 : 1;
  }
  const from = numberOf('from', values.from);
  const seeds = numberOf('seeds', values.seeds);
  const until = values.minutes === undefined ? undefined : Date.now() + numberOf('minutes', values.minutes) * 60_000;
  const failed: number[] = [];
  let runs = 0;
  for (let seed = from; until === undefined ? seed < from + seeds : Date.now() < until; seed++) {
    runs += 1;
    if (!(await run({ ...shared, seed }))) failed.push(seed);
  }
  console.log(`${runs} runs, ${failed.length} failed${failed.length > 0 ? `: seeds ${failed.join(', ')}` : ''}`);
  return failed.length === 0 && runs > 0 ? 0 : 1;
}

process.exitCode = await main();

import { openHome } from '../../src/home.ts';
import { homeOptions } from '../support/home.ts';
import { Random } from '../support/random.ts';
import { randomWrite } from '../support/workload.ts';

/**
 * A process that is meant to be killed: it opens a home and writes without end, from several tasks at once, and prints a
 * line for each write after it was acknowledged.
 *
 * Arguments: home, seed, round.
 */
const [directory, seed, round] = process.argv.slice(2);
if (directory === undefined || seed === undefined || round === undefined) throw new Error('home, seed and round');

/** Tasks that write at once: enough for groups of several writes to form. */
const TASKS = 8;

const home = await openHome(homeOptions(directory));
const say = (line: unknown): void => void process.stdout.write(`${JSON.stringify(line)}\n`);
say({ kind: 'open' });

async function write(task: number): Promise<never> {
  const random = new Random(Number(seed) * 1000 + task);
  for (let n = 0; ; n++) {
    const ack = await randomWrite(home.node, random, `r${round}-${task}-${n}`, Date.now());
    const { seq, hlc } = home.node.writer.head;
    say({ ...ack, seq, hlc });
  }
}

await Promise.all(Array.from({ length: TASKS }, (_, task) => write(task)));

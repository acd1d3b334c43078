import assert from 'node:assert/strict';
import { type ChildProcess, spawn } from 'node:child_process';
import { once } from 'node:events';
import { join } from 'node:path';
import { createInterface } from 'node:readline';
import { parseCid } from '../../src/facts/index.ts';
import { openHome, reindexHome } from '../../src/home.ts';
import { makeHome, type TestHome } from '../support/home.ts';
import { Random } from '../support/random.ts';
import { assertConsistent } from '../support/soundness.ts';
import { type Ack, brokenBatches } from '../support/workload.ts';

/** Rounds in `npm test`, and in `npm run test:long` through the environment. */
const ROUNDS = Number(process.env.STIGMESH_KILL_ROUNDS ?? 20);
const SEED = Number(process.env.STIGMESH_SEED ?? 20261121);
/** Acknowledgements after which a round is killed, at the most: early kills hit recovery and first writes. */
const MOST_ACKS = 120;
/** Longest one round may take, opening included. */
const ROUND_MS = 60_000;

type Line = Ack & { readonly seq: number; readonly hlc: string };

const digestOf = (id: string): string => Buffer.from(parseCid(id).digest).toString('hex');

/** Runs a writer until it has acknowledged so many writes, then kills it at once; answers all that it acknowledged. */
async function writeAndKill(child: ChildProcess, acks: number): Promise<Line[]> {
  const lines: Line[] = [];
  const errors: string[] = [];
  child.stderr!.on('data', (data: Buffer) => errors.push(data.toString()));
  const exited = once(child, 'exit');
  for await (const line of createInterface({ input: child.stdout! })) {
    const ack = JSON.parse(line) as Line | { kind: 'open' };
    // What it managed to print before the signal reached it was acknowledged, too: read on to the end.
    if ('seq' in ack) lines.push(ack);
    if (lines.length >= acks) child.kill('SIGKILL');
  }
  const [code, signal] = (await exited) as [number | null, string | null];
  assert.deepEqual([code, signal], [null, 'SIGKILL'], errors.join(''));
  return lines;
}

/** Rounds on one home: the checks after each read all of it. */
const ROUNDS_PER_HOME = 5;

describe('kill -9 of a process that writes', () => {
  let home: TestHome;

  beforeEach(async () => {
    home = await makeHome();
  });

  afterEach(() => home.dispose());

  for (let first = 0; first < ROUNDS; first += ROUNDS_PER_HOME) {
    const end = Math.min(ROUNDS, first + ROUNDS_PER_HOME);
    it(`fault 41: rounds ${first + 1} to ${end} lose nothing acknowledged and leave nothing half visible`, async function () {
      this.timeout(ROUND_MS * (end - first));
      const random = new Random(SEED + first);
      const acked = new Set<string>();
      let last = { seq: 0, hlc: '' };
      for (let round = first; round < end; round++) {
        const where = `seed ${SEED}, round ${round}`;
        const script = join(import.meta.dirname, 'writer-process.ts');
        const args = [script, home.directory, String(SEED + round), String(round)];
        const child = spawn(process.execPath, args, { stdio: ['ignore', 'pipe', 'pipe'] });
        const lines = await writeAndKill(child, random.below(MOST_ACKS));
        for (const { ids } of lines) for (const id of ids) acked.add(id);
        const seen = Math.max(last.seq, ...lines.map(({ seq }) => seq));
        const heard = [last.hlc, ...lines.map(({ hlc }) => hlc)].sort().at(-1)!;

        const { node, store, close } = await openHome(home.options);
        try {
          const { seq, hlc } = node.writer.head;
          assert.ok(seq >= seen, `${where}: the sequence went back from ${seen} to ${seq}`);
          assert.ok((hlc ?? '') >= heard, `${where}: the clock went back from ${heard} to ${hlc}`);
          last = { seq, hlc: hlc ?? '' };
          assert.deepEqual(await brokenBatches(node), [], where);
          await node.settled();
          const { log } = await assertConsistent(store);
          for (const id of acked) assert.ok(log.has(digestOf(id)), `${where}: acknowledged and lost: ${id}`);
        } finally {
          await close();
        }
        const { changed } = await reindexHome(home.options);
        assert.equal(changed, false, `${where}: the indexes were not those of the log`);
      }
      assert.ok(acked.size > end - first, 'hardly anything was written');
      assert.ok(home.notices.some((notice) => /took over the lock of pid/.test(notice)));
    });
  }
});

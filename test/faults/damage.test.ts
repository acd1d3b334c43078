import assert from 'node:assert/strict';
import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { cp, mkdtemp, readdir, readFile, rm, stat, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { createInterface } from 'node:readline';
import { openHome, verifyHome } from '../../src/home.ts';
import type { StigmeshNode } from '../../src/node/node.ts';
import { readLog, readManifest } from '../../src/store/level/format.ts';
import { LevelStore } from '../../src/store/level/level-store.ts';
import { fileDamage } from '../../src/store/level/salvage.ts';
import { StoreError } from '../../src/store/store.ts';
import { homeOptions, makeHome, type TestHome } from '../support/home.ts';
import { Random } from '../support/random.ts';
import { assertConsistent } from '../support/soundness.ts';
import { fact, who } from '../support/test-node.ts';
import type { ReadReport } from './read-process.ts';

const SEED = Number(process.env.STIGMESH_SEED ?? 20261121);
/** Positions tried; more of them through the environment. */
const POSITIONS = Number(process.env.STIGMESH_DAMAGE_POSITIONS ?? 80);

const isCorrupt = (error: unknown): error is StoreError =>
  error instanceof StoreError && error.code === 'store_corrupt' && error.hint.length > 10;

/** Everything a node says about every fact it has, by id; and the ids of the current view, in order. */
async function everything(node: StigmeshNode): Promise<{ facts: Map<string, string>; current: string[] }> {
  const facts = new Map<string, string>();
  for (const include of [['history'], []] as const) {
    let cursor: string | undefined;
    do {
      const page = await node.facts.query(who, { limit: 500, cursor, include });
      for (const one of page.facts) {
        facts.set(one.id, JSON.stringify([one.statement, one.seq, one.state, one.contradicted, [...one.signature]]));
      }
      cursor = page.cursor ?? undefined;
    } while (cursor !== undefined);
  }
  const current = (await node.facts.query(who, { limit: 500 })).facts.map(({ id }) => id);
  return { facts, current };
}

/** Openings of the home: each turns the log into a table, and LevelDB merges them as it sees fit. */
const ROUNDS = 5;

/** A closed home with a few tables, a log, conflicts, retractions and the rest. */
async function fill(home: TestHome): Promise<Awaited<ReturnType<typeof everything>>> {
  const random = new Random(SEED);
  for (let round = 0; round < ROUNDS; round++) {
    // Every opening turns the log into another table.
    const { node, close } = await openHome(home.options);
    for (let n = 0; n < 8; n++) {
      const name = `${round}-${n}`;
      // Nothing here expires: what is compared must not depend on when.
      const writes = Array.from({ length: 8 }, (_, at) => {
        const input = fact({ entity: `stigmem://acme.example/user/u${random.below(30)}`, v: `${name} ${at % 3}` });
        return node.facts.assert(who, input);
      });
      await Promise.all(writes);
    }
    const { conflicts } = await node.conflicts.list(who, { limit: 5, status: 'unresolved' });
    for (const { id, factA } of conflicts) {
      await node.conflicts.resolve(who, id, { winning_fact_id: factA.id }).catch(() => {});
    }
    await node.gardens.create(who, { slug: `lab-${round}`, name: 'Lab', scope: 'company' });
    if (round < ROUNDS - 1) await close();
    else {
      const found = await everything(node);
      await close();
      return found;
    }
  }
  throw new Error('unreachable');
}

describe('damage to the files of a store', function () {
  this.timeout(120_000 + 2_000 * POSITIONS);
  let home: TestHome;
  let scratch: string;
  let expected: Awaited<ReturnType<typeof everything>>;
  let files: { name: string; size: number }[];

  before(async () => {
    home = await makeHome();
    expected = await fill(home);
    scratch = await mkdtemp(join(tmpdir(), 'stigmesh-damage-'));
    files = [];
    const { dataDir } = home.options.paths;
    const manifest = (await readFile(join(dataDir, 'CURRENT'), 'utf8')).trim();
    const { tables: live } = readManifest(readLog(await readFile(join(dataDir, manifest))).records);
    for (const name of await readdir(dataDir)) {
      if (!/\.(?:ldb|log)$|^(?:MANIFEST-\d+|CURRENT)$/.test(name)) continue;
      // What was compacted away may still lie there; nobody reads it.
      if (name.endsWith('.ldb') && !live.has(Number.parseInt(name, 10))) continue;
      files.push({ name, size: (await stat(join(dataDir, name))).size });
    }
    const tables = files.filter(({ name }) => name.endsWith('.ldb')).length;
    assert.ok(tables >= 1 && expected.facts.size > 200, `${tables} tables, ${expected.facts.size} facts`);
  });

  after(async () => {
    await home.dispose();
    await rm(scratch, { recursive: true });
  });

  /** A copy of the home with one file damaged; closed in order or (no mark) killed. */
  async function damaged(
    name: string,
    damage: (bytes: Buffer) => Buffer,
    { killed = false } = {},
  ): Promise<{ directory: string; dataDir: string }> {
    const directory = await mkdtemp(join(scratch, 'copy-'));
    await cp(home.directory, directory, { recursive: true });
    const { dataDir } = homeOptions(directory).paths;
    const path = join(dataDir, name);
    const bytes = await readFile(path);
    await writeFile(path, damage(Buffer.from(bytes)));
    if (killed) await rm(join(dataDir, 'closed.mark'), { force: true });
    return { directory, dataDir };
  }

  const flip = (at: number, bit: number) => (bytes: Buffer) => {
    bytes[at]! ^= 1 << bit;
    return bytes;
  };

  /** A position in any of the files; small files come up as often as large ones. */
  function anywhere(random: Random): { name: string; at: number; bit: number; what: string } {
    const { name, size } = random.pick(files.filter(({ size }) => size > 0));
    const at = random.below(size);
    const bit = random.below(8);
    return { name, at, bit, what: `seed ${SEED}: bit ${bit} of byte ${at} of ${name}` };
  }

  it(`fault 43: a flipped bit or a lost end of any file is noticed on opening, or changes no answer (${POSITIONS} times)`, async () => {
    const random = new Random(SEED);
    let noticed = 0;
    for (let n = 0; n < POSITIONS; n++) {
      const { name, at, bit, what } = anywhere(random);
      const cut = n % 3 === 0;
      const { directory } = await damaged(name, cut ? (bytes) => bytes.subarray(0, at) : flip(at, bit));
      try {
        const opened = await openHome(homeOptions(directory));
        try {
          assert.deepEqual(await everything(opened.node), expected, what);
        } finally {
          await opened.close();
        }
      } catch (error) {
        assert.ok(isCorrupt(error), `${what}: ${String(error)}`);
        assert.ok(error.message.includes(name) || /CURRENT|MANIFEST/.test(error.message), `${what}: ${error.message}`);
        noticed += 1;
      }
      await rm(directory, { recursive: true });
    }
    assert.ok(noticed > POSITIONS / 2);
  });

  it('fault 43: a store that was killed has no mark, and damage in the middle of a file is noticed all the same', async () => {
    const random = new Random(SEED + 1);
    for (let n = 0; n < 40; n++) {
      const { name, at, bit, what } = anywhere(random);
      const { directory } = await damaged(name, flip(at, bit), { killed: true });
      const notices: string[] = [];
      try {
        const opened = await openHome(homeOptions(directory, (message) => notices.push(message)));
        try {
          const found = await everything(opened.node);
          for (const [id, text] of found.facts) assert.equal(text, expected.facts.get(id), what);
          // The end of a log may be an unfinished write, so it is no error there; but it is said.
          const isWhole = found.facts.size === expected.facts.size;
          assert.ok(isWhole || (name.endsWith('.log') && notices.length > 0), `${what}: facts are missing in silence`);
        } finally {
          await opened.close();
        }
      } catch (error) {
        assert.ok(isCorrupt(error), `${what}: ${String(error)}`);
      }
      await rm(directory, { recursive: true });
    }
  });

  it('fault 42: a log cut anywhere, as by a loss of power, opens with a whole beginning of what was written', async () => {
    const random = new Random(SEED + 2);
    const log = files.find(({ name }) => name.endsWith('.log'))!;
    for (let n = 0; n < 8; n++) {
      const at = random.below(log.size);
      const { directory } = await damaged(log.name, (bytes) => bytes.subarray(0, at), { killed: true });
      const { node, store, close } = await openHome(homeOptions(directory));
      const found = await everything(node);
      for (const id of found.facts.keys()) assert.ok(expected.facts.has(id));
      const { head } = await assertConsistent(store);
      await node.facts.assert(who, fact({ v: 'goes on' }));
      assert.equal(node.writer.head.seq, head.seq + 1);
      await close();
      await rm(directory, { recursive: true });
    }
  });

  it('fault 43: a lost CURRENT is not taken for a new store, and nothing is removed', async () => {
    const { directory, dataDir } = await damaged('CURRENT', (bytes) => bytes, { killed: true });
    await rm(join(dataDir, 'CURRENT'));
    const before = (await readdir(dataDir)).sort();
    await assert.rejects(openHome(homeOptions(directory)), isCorrupt);
    assert.deepEqual((await readdir(dataDir)).sort(), before);
  });

  it('fault 43: tables too many to be checked before opening serve nothing altered, and are checked afterwards', async () => {
    const random = new Random(SEED + 3);
    const tables = files.filter(({ name }) => name.endsWith('.ldb'));
    const cases = await Promise.all(
      Array.from({ length: 20 }, async () => {
        const { name, size } = random.pick(tables);
        // Not the footer, whose padding means nothing.
        const at = random.below(size - 48);
        const what = `seed ${SEED}: byte ${at} of ${name}`;
        return { name, what, ...(await damaged(name, flip(at, random.below(8)))) };
      }),
    );
    for (let first = 0; first < cases.length; ) {
      const script = join(import.meta.dirname, 'read-process.ts');
      const child = spawn(process.execPath, [script, ...cases.slice(first).map(({ dataDir }) => dataDir)], {
        stdio: ['ignore', 'pipe', 'ignore'],
      });
      const exited = once(child, 'exit');
      for await (const line of createInterface({ input: child.stdout })) {
        const { facts, errors, damage } = JSON.parse(line) as ReadReport;
        const { what, name } = cases[first++]!;
        assert.deepEqual(damage, [name], what);
        for (const error of errors) assert.match(error, /^(?:store_corrupt|fact_not_found)$/, what);
        for (const [id, text] of facts) {
          const known = expected.facts.get(id);
          assert.ok(known !== undefined, `${what}: ${id} is not a fact of this store: ${text}`);
          const [statement, seq, , , signature] = JSON.parse(known) as unknown[];
          assert.equal(text, JSON.stringify([statement, seq, signature]), what);
        }
      }
      const [code, signal] = (await exited) as [number | null, string | null];
      if (code === 0) break;
      // LevelDB gives up on tables that are out of order. Then the next start says why, because nothing closed the store.
      assert.ok(signal !== null, `the reader ended with ${code}`);
      const { dataDir, what } = cases[first++]!;
      await assert.rejects(LevelStore.open({ location: dataDir }), isCorrupt, what);
    }
  });

  it('fault 43: verify names the damaged file; with --quarantine the rest is served again, and what was lost is said', async () => {
    const random = new Random(SEED + 4);
    for (let n = 0; n < 6; n++) {
      const { name, at, bit, what } = anywhere(random);
      const cut = n % 3 === 2;
      const { directory, dataDir } = await damaged(name, cut ? (bytes) => bytes.subarray(0, at) : flip(at, bit));
      const notices: string[] = [];
      const options = homeOptions(directory, (message) => notices.push(message));
      const found = await verifyHome({ ...options, quarantine: false });
      if (found.files.length === 0) {
        // A bit that means nothing, as in the padding of a table's footer.
        assert.deepEqual(found.damaged, [], what);
        continue;
      }
      assert.ok(
        found.files.some(({ file }) => file === name || /CURRENT|MANIFEST/.test(file)),
        what,
      );
      const report = await verifyHome({ ...options, quarantine: true });
      assert.ok(report.salvaged !== null && (await readdir(report.salvaged)).includes(name), what);
      assert.ok(notices.some((notice) => notice.includes(report.salvaged!)));
      const { node, store, close } = await openHome(options);
      const rest = await everything(node);
      for (const [id, text] of rest.facts) {
        const [statement, seq] = JSON.parse(expected.facts.get(id)!) as unknown[];
        assert.deepEqual((JSON.parse(text) as unknown[]).slice(0, 2), [statement, seq], what);
      }
      const gone = [...expected.facts.keys()].filter((id) => !rest.facts.has(id)).length;
      const said = report.lost.reduce((sum, { from, to }) => sum + to - from + 1, 0) + report.damaged.length;
      assert.ok(said >= gone, `${what}: ${gone} facts are gone, the report speaks of ${said}`);
      await assertConsistent(store, true);
      await node.facts.assert(who, fact({ v: 'goes on' }));
      await close();
      assert.deepEqual(await fileDamage(dataDir), []);
      await rm(directory, { recursive: true });
    }
  });
});

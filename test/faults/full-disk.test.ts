import assert from 'node:assert/strict';
import { execFileSync } from 'node:child_process';
import { mkdtempSync, rmdirSync } from 'node:fs';
import { rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { LevelStore } from '../../src/store/level/level-store.ts';
import { forEachSlice, StoreError } from '../../src/store/store.ts';
import { assertSound } from '../support/soundness.ts';
import { fact, openTestNode, who } from '../support/test-node.ts';

const MEGABYTE = 1024 * 1024;
const code = (expected: string) => (error: unknown) => error instanceof StoreError && error.code === expected;

/** A real file system of a few megabytes, or the reason why this machine does not give one. */
function mountSmall(megabytes: number): { directory: string; unmount(): void } | string {
  if (process.platform !== 'linux') return 'tmpfs is a thing of Linux';
  const directory = mkdtempSync(join(tmpdir(), 'stigmesh-small-'));
  try {
    execFileSync('mount', ['-t', 'tmpfs', '-o', `size=${megabytes}m`, 'tmpfs', directory], { stdio: 'pipe' });
  } catch (error) {
    rmdirSync(directory);
    return `a small tmpfs cannot be mounted here (root only): ${(error as Error).message.split('\n').at(-1)}`;
  }
  return {
    directory,
    unmount() {
      execFileSync('umount', [directory]);
      rmdirSync(directory);
    },
  };
}

describe('a disk that is really full', () => {
  let disk: { directory: string; unmount(): void };
  let location: string;
  let now: number;
  let store: LevelStore;

  beforeEach(async function () {
    const mounted = mountSmall(64);
    if (typeof mounted === 'string') {
      console.error(`      not run: ${mounted}`);
      this.skip();
    }
    disk = mounted;
    location = join(disk.directory, 'data');
    now = 0;
    store = await LevelStore.open({ location, now: () => now });
  });

  afterEach(async () => {
    await store?.close();
    disk?.unmount();
  });

  const key = (n: number): Buffer => Buffer.from(`key ${String(n).padStart(6, '0')}`);
  /** Does not compress. */
  const value = (n: number): Buffer => {
    const bytes = Buffer.alloc(8192);
    let state = n + 1;
    for (let at = 0; at < bytes.length; at++) {
      state = (Math.imul(state, 1103515245) + 12345) >>> 0;
      bytes[at] = state >>> 16;
    }
    return bytes;
  };
  const put = (n: number) => ({ type: 'put', key: key(n), value: value(n) }) as const;
  const ballast = (): string => join(disk.directory, 'ballast');

  /** Writes until the disk refuses; answers how many were acknowledged. */
  async function fill(from: number): Promise<number> {
    for (let n = from; ; n++) {
      try {
        await store.batch([put(n)], { durable: true });
      } catch (error) {
        assert.ok(code('store_full')(error), String(error));
        return n;
      }
    }
  }

  async function assertHolds(count: number): Promise<void> {
    let n = 0;
    await forEachSlice(
      store,
      { gte: Buffer.from('key'), lt: Buffer.from('kez') },
      (rows) => {
        for (const row of rows) {
          // One more than was acknowledged may be there: the one that failed.
          assert.deepEqual(row.key, key(n));
          assert.deepEqual(row.value, value(n));
          n += 1;
        }
        return undefined;
      },
      100,
    );
    assert.ok(n === count || n === count + 1, `${n} entries, ${count} were acknowledged`);
  }

  it('fault 44: LevelDB on a full disk goes on reading, and writes again once there is room, losing nothing', async () => {
    await writeFile(ballast(), Buffer.alloc(54 * MEGABYTE));
    let count = await fill(0);
    assert.ok(count > 100);
    await assertHolds(count);
    assert.deepEqual(await store.get(key(count - 1)), value(count - 1));
    const snapshot = store.snapshot();
    const scan = store.scan({ gte: Buffer.from('key'), lt: Buffer.from('kez') });
    await scan.next(3);

    // Still full: says so, with what it takes, and writes nothing with the handle that failed.
    await assert.rejects(store.batch([put(999_999)], { durable: true }), code('store_full'));
    await assert.rejects(
      store.recover(),
      (error) => code('store_full')(error) && /free \d+ MB/.test((error as StoreError).hint),
    );
    // Tried again at once: no second attempt before its time, the same answer.
    await assert.rejects(store.recover(), code('store_full'));
    assert.deepEqual(await snapshot.get(key(0)), value(0), 'a failed attempt does not disturb readers');
    assert.equal((await scan.next(3)).length, 3);

    await rm(ballast());
    await assert.rejects(store.recover(), code('store_full'), 'attempts keep a pause');
    now += 10_000;
    const reads = Array.from({ length: 50 }, (_, n) => store.get(key(n)));
    const recovered = Promise.all([store.recover(), store.recover()]);
    const during = [store.get(key(1)), store.snapshot().get(key(2)), store.getMany([key(3)]).then(([one]) => one)];
    await recovered;
    for (const [n, read] of reads.entries()) assert.deepEqual(await read, value(n));
    for (const [n, read] of during.entries()) assert.deepEqual(await read, value(n + 1));
    await assertHolds(count);
    await assert.rejects(
      snapshot.get(key(0)),
      (error) => code('store_closed')(error) && /opened again/.test(String(error)),
    );
    await assert.rejects(scan.next(1), (error) => code('store_closed')(error) && /opened again/.test(String(error)));
    await snapshot.close();
    await scan.close();

    const landed = (await store.get(key(count))) !== undefined;
    if (landed) count += 1;
    await store.batch([put(count)], { durable: true });
    await store.close();
    store = await LevelStore.open({ location, mustExist: true, now: () => now });
    await assertHolds(count + 1);
  });

  it('fault 44: filled again and again, with compactions failing in between, it keeps what it acknowledged', async () => {
    let count = 0;
    for (let round = 0; round < 4; round++) {
      await writeFile(ballast(), Buffer.alloc(36 * MEGABYTE)).catch(() => {}); // What fits.
      count = await fill(count);
      await store.compact().catch(() => {});
      await rm(ballast());
      now += 10_000;
      await store.recover();
      if ((await store.get(key(count))) !== undefined) count += 1;
      await assertHolds(count);
    }
  });

  it('fault 44: a node on a full disk answers 507-style errors, stays readable, and goes on by itself', async () => {
    await writeFile(ballast(), Buffer.alloc(56 * MEGABYTE));
    const t = await openTestNode({ store });
    const text = (n: number): string => value(n).toString('base64');
    const acked: string[] = [];
    let refused: unknown;
    for (let n = 0; refused === undefined; n++) {
      const input = fact({ entity: `stigmem://acme.example/doc/${n}`, type: 'text', v: text(n) });
      await t.node.facts.assert(who, input).then(
        ({ fact: stored }) => acked.push(stored.id),
        (error: unknown) => {
          refused = error;
        },
      );
    }
    assert.ok(code('store_full')(refused), String(refused));
    assert.equal(t.node.readiness().ready, false);
    assert.match(t.node.readiness().reason ?? '', /no space left/);
    for (const id of acked) assert.equal((await t.node.facts.get(who, id)).fact.id, id);
    now += 10_000;
    await assert.rejects(t.node.facts.assert(who, fact()), code('store_full'));

    await rm(ballast());
    now += 10_000;
    t.tick();
    await t.node.writer.probe();
    assert.deepEqual(t.node.readiness(), { ready: true, code: null, reason: null });
    const { fact: after } = await t.node.facts.assert(who, fact());
    for (const id of [...acked, after.id]) assert.equal((await t.node.facts.get(who, id)).fact.id, id);
    await t.node.stop();
    const { log } = await assertSound(store, () => t.reopen());
    assert.ok(log.size >= acked.length + 1);
  });
});

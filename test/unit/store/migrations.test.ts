import assert from 'node:assert/strict';
import { mkdir, mkdtemp, readdir, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { metaKey } from '../../../src/store/keys.ts';
import { LevelStore } from '../../../src/store/level/level-store.ts';
import { MemoryStore } from '../../../src/store/memory/memory-store.ts';
import { MIGRATIONS, type Migration, SCHEMA_VERSION, schemaAfter } from '../../../src/store/migrations/migrations.ts';
import { type OpenStoreInit, openStore } from '../../../src/store/migrations/open-store.ts';
import { prepareSchema, readSchema } from '../../../src/store/migrations/schema.ts';
import { forEachSlice, type Store, StoreError, type StoreOp } from '../../../src/store/store.ts';

const key = (name: string): Buffer => Buffer.from(`l${name}`);
const put = (name: string, value: string): StoreOp => ({ type: 'put', key: key(name), value: Buffer.from(value) });
const code = (expected: string) => (error: unknown) => error instanceof StoreError && error.code === expected;
const text = async (store: Store, name: string): Promise<string | undefined> =>
  (await store.get(key(name)))?.toString();

async function contents(store: Store): Promise<string[]> {
  const found: string[] = [];
  await forEachSlice(store, { gte: Buffer.alloc(0), lt: Buffer.alloc(1, 0xff) }, (entries) => {
    found.push(...entries.map(({ key, value }) => `${key}=${value}`));
    return undefined;
  });
  return found;
}

/** Step 2 rewrites rows in batches of its own; step 3 counts a number up, which must happen exactly once. */
const steps: Migration[] = [
  {
    to: 2,
    description: 'upper-case the rows',
    async run(store, progress) {
      for (const [i, name] of ['a', 'b', 'c'].entries()) {
        const value = await text(store, name);
        if (value !== value?.toUpperCase()) await store.batch([put(name, value!.toUpperCase())], { durable: true });
        progress(i + 1, 3);
      }
      return [];
    },
  },
  {
    to: 3,
    description: 'count up',
    run: async (store) => [put('count', String(Number(await text(store, 'count')) + 1))],
  },
];

const rows = [put('a', 'x'), put('b', 'y'), put('c', 'z'), put('count', '0')];
const migratedRows = ['la=X', 'lb=Y', 'lc=Z', 'lcount=1'];
const prepare = (store: Store, migrations: readonly Migration[], writtenBy = 'stigmesh/9.9.9') =>
  prepareSchema(store, { migrations, writtenBy, backup: null, log: () => {} });

describe('schema of a store', () => {
  it('is version 1 as long as no migration is released, and steps follow on', () => {
    assert.equal(SCHEMA_VERSION, 1 + MIGRATIONS.length);
    assert.equal(schemaAfter(steps), 3);
    assert.throws(() => schemaAfter([steps[1]!]), RangeError);
    assert.throws(() => schemaAfter([steps[0]!, steps[0]!]), RangeError);
  });

  it('is written into a fresh store, and then nothing more', async () => {
    const store = new MemoryStore();
    assert.deepEqual(await prepare(store, steps), []);
    assert.deepEqual(await readSchema(store), { version: 3, written_by: 'stigmesh/9.9.9' });
    const before = await contents(store);
    assert.deepEqual(await prepare(store, steps, 'stigmesh/10.0.0'), []);
    assert.deepEqual(await contents(store), before);
  });

  it('reaches the newest through every step, in order', async () => {
    const store = new MemoryStore();
    await prepare(store, []);
    await store.batch(rows, { durable: true });
    assert.deepEqual(await prepare(store, steps.slice(0, 1)), ['upper-case the rows']);
    assert.equal(await text(store, 'count'), '0');
    assert.deepEqual(await prepare(store, steps), ['count up']);
    assert.deepEqual((await contents(store)).slice(0, 4), migratedRows);
    assert.deepEqual(await readSchema(store), { version: 3, written_by: 'stigmesh/9.9.9' });
  });

  it('comes out the same when interrupted before any of its writes, or after', async () => {
    let interruptions = 0;
    for (const when of ['before', 'after'] as const) {
      for (let at = 1; ; at++) {
        const store = new MemoryStore();
        await prepare(store, []);
        await store.batch(rows, { durable: true });
        const interrupted = await prepare(cutting(store, at, when), steps).then(
          () => false,
          () => true,
        );
        if (!interrupted) break;
        interruptions += 1;
        store.crash();
        await prepare(store, steps);
        assert.deepEqual((await contents(store)).slice(0, 4), migratedRows, `interrupted ${when} write ${at}`);
        assert.deepEqual(await readSchema(store), { version: 3, written_by: 'stigmesh/9.9.9' });
      }
    }
    // The mark, three rows, two versions; each cut before and after.
    assert.equal(interruptions, 12);
  });

  it('refuses a newer store, also one a newer program has only begun to migrate', async () => {
    const newer = new MemoryStore();
    await prepare(newer, steps, 'stigmesh/3.1.4');
    const before = await contents(newer);
    await assert.rejects(prepare(newer, steps.slice(0, 1)), (error: StoreError) => {
      assert.equal(error.code, 'store_schema_newer');
      assert.match(error.message, /has schema 3, written by stigmesh\/3\.1\.4; this program knows schema 2/);
      assert.match(error.hint, /run stigmesh\/3\.1\.4 or newer.*\.bak/);
      return true;
    });
    assert.deepEqual(await contents(newer), before);

    const half = new MemoryStore();
    await prepare(half, []);
    await half.batch(rows, { durable: true });
    await assert.rejects(prepare(cutting(half, 2, 'before'), steps, 'stigmesh/3.1.4'));
    assert.equal((await readSchema(half))?.version, 1);
    await assert.rejects(prepare(half, []), (error: StoreError) => {
      return code('store_schema_newer')(error) && /is being migrated to schema 3/.test(error.message);
    });
  });

  it('is never guessed', async () => {
    for (const value of ['', 'x', 'null', '{}', '{"version":0,"written_by":"x"}', '{"version":1}', '{"version":1.5}']) {
      const store = new MemoryStore();
      await store.batch([{ type: 'put', key: metaKey('schema'), value: Buffer.from(value) }], { durable: true });
      await assert.rejects(prepare(store, steps), code('store_corrupt'), value);
    }
    const store = new MemoryStore();
    await store.batch([put('a', 'x')], { durable: true });
    await assert.rejects(prepare(store, steps), code('store_corrupt'));
  });
});

/** A store whose process is cut off at one of its writes. */
function cutting(store: Store, at: number, when: 'before' | 'after'): Store {
  let writes = 0;
  return new Proxy(store, {
    get(target, name) {
      if (name !== 'batch') {
        const member = Reflect.get(target, name);
        return typeof member === 'function' ? member.bind(target) : member;
      }
      return async (...args: Parameters<Store['batch']>) => {
        writes += 1;
        if (writes > at || (writes === at && when === 'before')) throw new Error('cut off');
        await target.batch(...args);
        if (writes === at) throw new Error('cut off');
      };
    },
  });
}

describe('openStore', () => {
  let home: string;
  let location: string;
  let logged: string[];
  let time: number;

  beforeEach(async () => {
    home = await mkdtemp(join(tmpdir(), 'stigmesh-open-'));
    location = join(home, 'data');
    logged = [];
    time = Date.UTC(2026, 4, 6, 7, 8, 9);
  });

  afterEach(() => rm(home, { recursive: true }));

  const init = (migrations?: readonly Migration[]): OpenStoreInit => ({
    location,
    migrations,
    writtenBy: 'stigmesh/9.9.9',
    now: () => time,
    log: (message) => logged.push(message),
  });

  async function oldStore(): Promise<void> {
    const { store } = await openStore(init([]));
    await store.batch(rows, { durable: true });
    await store.close();
  }

  it('makes a fresh store without a copy or a word', async () => {
    const { store, migrated } = await openStore(init());
    assert.deepEqual(migrated, []);
    assert.equal((await readSchema(store))?.version, SCHEMA_VERSION);
    await store.close();
    await (await openStore(init())).store.close();
    assert.deepEqual(await readdir(home), ['data']);
    assert.deepEqual(logged, []);
  });

  it('copies an older store before it migrates; the copy opens as it was', async () => {
    await oldStore();
    await mkdir(join(home, 'data.schema1.2020-01-01T00-00-00.000Z.bak.partial'));
    const { store, migrated } = await openStore(init(steps));
    assert.deepEqual(migrated, ['upper-case the rows', 'count up']);
    assert.deepEqual((await contents(store)).slice(0, 4), migratedRows);
    await store.close();

    const backup = 'data.schema1.2026-05-06T07-08-09.000Z.bak';
    assert.deepEqual((await readdir(home)).sort(), ['data', backup]);
    const copy = await LevelStore.open({ location: join(home, backup), mustExist: true });
    assert.deepEqual((await contents(copy)).slice(0, 4), ['la=x', 'lb=y', 'lc=z', 'lcount=0']);
    assert.equal((await readSchema(copy))?.version, 1);
    await copy.close();
    assert.match(logged.join('\n'), /copying the store.*\n.*schema 2: upper-case the rows\n.*1 of 3/);
  });

  it('copies once per upgrade, however often that is interrupted', async () => {
    await oldStore();
    const failing = [steps[0]!, { ...steps[1]!, run: () => Promise.reject(new Error('disk on fire')) }];
    await assert.rejects(openStore(init(failing)), (error: StoreError) => {
      assert.equal(error.code, 'store_migration_failed');
      assert.match(error.message, /schema 3 failed: disk on fire/);
      assert.match(error.hint, /data\.schema1\.2026-05-06T07-08-09\.000Z\.bak/);
      return true;
    });
    time += 60_000;
    const { store, migrated } = await openStore(init(steps));
    assert.deepEqual(migrated, ['count up']);
    assert.equal(await text(store, 'count'), '1');
    await store.close();
    assert.equal((await readdir(home)).filter((name) => name.endsWith('.bak')).length, 1);
  });

  it('copies again when the copy of an interrupted upgrade is gone', async () => {
    await oldStore();
    const failing = [{ ...steps[0]!, run: () => Promise.reject(new Error('no')) }, steps[1]!];
    await assert.rejects(openStore(init(failing)), code('store_migration_failed'));
    const [backup] = (await readdir(home)).filter((name) => name.endsWith('.bak'));
    await rm(join(home, backup!), { recursive: true });
    time += 60_000;
    const { store } = await openStore(init(steps));
    await store.close();
    assert.deepEqual((await readdir(home)).sort(), ['data', 'data.schema1.2026-05-06T07-09-09.000Z.bak']);
  });

  it('migrates nothing when the copy cannot be made', async () => {
    await oldStore();
    await writeFile(join(home, 'data.schema1.2026-05-06T07-08-09.000Z.bak'), 'in the way');
    await assert.rejects(openStore(init(steps)), (error) => /nothing was migrated/.test(String(error)));
    const store = await LevelStore.open({ location });
    assert.equal((await readSchema(store))?.version, 1);
    assert.equal(await text(store, 'a'), 'x');
    await store.close();
    assert.deepEqual(
      (await readdir(home)).filter((name) => name.endsWith('.partial')),
      [],
    );
  });

  it('closes the store it refuses', async () => {
    await (await openStore(init(steps))).store.close();
    await assert.rejects(openStore(init([])), code('store_schema_newer'));
    await (await openStore(init(steps))).store.close();
  });
});

import assert from 'node:assert/strict';
import { execFile } from 'node:child_process';
import { mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { promisify } from 'node:util';
import { LevelStore } from '../../src/store/level/level-store.ts';
import { MemoryStore } from '../../src/store/memory/memory-store.ts';
import { StoreError } from '../../src/store/store.ts';
import { FaultyStore } from '../support/faulty-store.ts';
import { type StoreFixture, storeCompliance } from './store.ts';

storeCompliance('LevelStore', async () => {
  const directory = await mkdtemp(join(tmpdir(), 'stigmesh-store-'));
  const location = join(directory, 'data');
  let store = await LevelStore.open({ location });
  return {
    store,
    async reopen() {
      await store.close();
      store = await LevelStore.open({ location, mustExist: true });
      return store;
    },
    async dispose() {
      await store.close();
      await rm(directory, { recursive: true });
    },
  } satisfies StoreFixture;
});

storeCompliance('MemoryStore', async () => {
  const store = new MemoryStore();
  return {
    store,
    async reopen() {
      // The compliance suite reopens after an orderly close, which loses nothing.
      if (!(await isClosed(store))) await store.batch([], { durable: true });
      await store.close();
      store.crash();
      return store;
    },
    dispose: () => store.close(),
  } satisfies StoreFixture;
});

/** The store that the fault tests let fail keeps to the contract as long as it does not. */
storeCompliance('FaultyStore', async () => {
  const inner = new MemoryStore();
  const store = new FaultyStore(inner);
  return {
    store,
    async reopen() {
      if (!(await isClosed(inner))) await store.batch([], { durable: true });
      await store.close();
      inner.crash();
      return store;
    },
    dispose: () => store.close(),
  } satisfies StoreFixture;
});

async function isClosed(store: MemoryStore): Promise<boolean> {
  return store.size().then(
    () => false,
    () => true,
  );
}

const code = (expected: string) => (error: unknown) => error instanceof StoreError && error.code === expected;
const put = (key: string) => ({ type: 'put', key: Buffer.from(key), value: Buffer.from('v') }) as const;

describe('LevelStore: opening', () => {
  let directory: string;

  beforeEach(async () => {
    directory = await mkdtemp(join(tmpdir(), 'stigmesh-level-'));
  });

  afterEach(() => rm(directory, { recursive: true }));

  it('refuses a second opening in this process with store_locked, and lets go on close', async () => {
    const location = join(directory, 'data');
    const first = await LevelStore.open({ location });
    await assert.rejects(LevelStore.open({ location }), code('store_locked'));
    await first.close();
    await (await LevelStore.open({ location })).close();
  });

  it('refuses a second process with store_locked', async () => {
    const location = join(directory, 'data');
    const first = await LevelStore.open({ location });
    const module = new URL('../../src/store/level/level-store.ts', import.meta.url).href;
    const script = `import { LevelStore } from ${JSON.stringify(module)};
      await LevelStore.open({ location: ${JSON.stringify(location)} }).catch((error) => console.log(error.code));`;
    const { stdout } = await promisify(execFile)(process.execPath, ['--input-type=module', '--eval', script]);
    assert.equal(stdout.trim(), 'store_locked');
    await first.close();
  });

  it('creates nothing when the store must exist', async () => {
    const opening = LevelStore.open({ location: join(directory, 'missing'), mustExist: true });
    await assert.rejects(opening, (error) => code('store_io')(error) && /no store at this place/.test(String(error)));
  });

  it('says store_io when the place is a file, and store_corrupt when the manifest is damaged', async () => {
    const file = join(directory, 'file');
    await writeFile(file, 'x');
    await assert.rejects(LevelStore.open({ location: file }), code('store_io'));

    const location = join(directory, 'data');
    const store = await LevelStore.open({ location });
    await store.batch([put('a')], { durable: true });
    await store.close();
    await writeFile(join(location, 'CURRENT'), 'MANIFEST-999999\n');
    await assert.rejects(LevelStore.open({ location }), code('store_corrupt'));
  });
});

describe('MemoryStore: crash', () => {
  it('loses what was written after the last durable batch, and everything before it survives', async () => {
    const store = new MemoryStore();
    await store.batch([put('a')], { durable: false });
    await store.batch([put('b')], { durable: true });
    await store.batch([put('c')], { durable: false });
    const scan = store.scan({ gte: Buffer.from('a'), lt: Buffer.from('z') });
    const snapshot = store.snapshot();
    store.crash();
    const present = await store.getMany(['a', 'b', 'c'].map((key) => Buffer.from(key)));
    assert.deepEqual(
      present.map((value) => value !== undefined),
      [true, true, false],
    );
    await assert.rejects(scan.next(1), code('store_closed'), 'a scan does not outlive its process');
    await assert.rejects(snapshot.get(Buffer.from('a')), code('store_closed'));
  });

  it('reopens a closed store, and may happen twice', async () => {
    const store = new MemoryStore();
    await store.batch([put('a')], { durable: true });
    await store.close();
    store.crash();
    store.crash();
    assert.notEqual(await store.get(Buffer.from('a')), undefined);
  });
});

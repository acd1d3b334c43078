import assert from 'node:assert/strict';
import fc from 'fast-check';
import { type Entry, forEachSlice, type Scan, type Store, StoreError, type StoreOp } from '../../src/store/store.ts';

/** A store under test, with what the suite needs beside the interface. */
export interface StoreFixture {
  readonly store: Store;
  /** Closes the store and opens it again on the same data. */
  reopen(): Promise<Store>;
  /** Ends the fixture and removes its data. */
  dispose(): Promise<void>;
}

const bytes = (text: string): Buffer => Buffer.from(text, 'latin1');
const put = (key: string, value: string): StoreOp => ({ type: 'put', key: bytes(key), value: bytes(value) });
const del = (key: string): StoreOp => ({ type: 'del', key: bytes(key) });
const durable = { durable: true } as const;
const volatile = { durable: false } as const;
const everything = { gte: Buffer.alloc(0), lt: Buffer.alloc(64, 0xff) };

const texts = (entries: readonly Entry[]): string[] =>
  entries.map(({ key, value }) => `${key.toString('latin1')}=${value.toString('latin1')}`);

async function readAll(scan: Scan, slice = 1000): Promise<string[]> {
  const found: string[] = [];
  for (;;) {
    const entries = await scan.next(slice);
    found.push(...texts(entries));
    if (entries.length < slice) return found;
  }
}

const closedError = (error: unknown): boolean => error instanceof StoreError && error.code === 'store_closed';

/** What every implementation of Store must do. `open` gives an empty store. */
export function storeCompliance(name: string, open: () => Promise<StoreFixture>): void {
  describe(`Store compliance: ${name}`, () => {
    let fixture: StoreFixture;
    let store: Store;

    beforeEach(async () => {
      fixture = await open();
      store = fixture.store;
    });

    afterEach(() => fixture.dispose());

    describe('get and getMany', () => {
      it('answers undefined for a key that is not there', async () => {
        assert.equal(await store.get(bytes('a')), undefined);
        assert.deepEqual(await store.getMany([bytes('a'), bytes('b')]), [undefined, undefined]);
        assert.deepEqual(await store.getMany([]), []);
      });

      it('answers many values in the order of the keys asked for, repeats included', async () => {
        await store.batch([put('a', '1'), put('c', '3')], durable);
        const values = await store.getMany(['c', 'b', 'a', 'c'].map(bytes));
        assert.deepEqual(
          values.map((value) => value?.toString()),
          ['3', undefined, '1', '3'],
        );
      });

      it('keeps empty values and arbitrary bytes, and takes plain Uint8Arrays', async () => {
        const key = Uint8Array.of(0, 255, 0, 128);
        await store.batch(
          [
            { type: 'put', key, value: Uint8Array.of(0, 1, 255) },
            { type: 'put', key: Uint8Array.of(0), value: new Uint8Array(0) },
          ],
          durable,
        );
        assert.deepEqual(await store.get(key), Buffer.of(0, 1, 255));
        assert.deepEqual(await store.get(Uint8Array.of(0)), Buffer.alloc(0));
        assert.equal(await store.get(Uint8Array.of(0, 255)), undefined);
      });

      it('shares no memory with its callers', async () => {
        const key = bytes('key');
        const value = bytes('value');
        const written = store.batch([{ type: 'put', key, value }], durable);
        value.fill(0);
        key.fill(0);
        await written;
        const first = await store.get(bytes('key'));
        assert.equal(first?.toString(), 'value');
        first?.fill(0);
        const [entry] = await store.scan(everything).next(1);
        entry?.key.fill(0);
        entry?.value.fill(0);
        assert.equal((await store.get(bytes('key')))?.toString(), 'value');
      });
    });

    describe('batch', () => {
      it('overwrites and deletes; deleting what is not there is fine', async () => {
        await store.batch([put('a', '1'), put('b', '2')], durable);
        await store.batch([put('a', '3'), del('b'), del('never')], durable);
        assert.deepEqual(await readAll(store.scan(everything)), ['a=3']);
      });

      it('lets the last operation on a key win', async () => {
        await store.batch([put('a', '1'), del('a'), put('b', '1'), put('b', '2'), put('a', '2'), del('b')], durable);
        assert.deepEqual(await readAll(store.scan(everything)), ['a=2']);
      });

      it('accepts an empty batch', async () => {
        await store.batch([], durable);
        assert.deepEqual(await readAll(store.scan(everything)), []);
      });

      it('is seen by readers entirely or not at all', async () => {
        const width = 50;
        const row = (version: number): StoreOp[] =>
          Array.from({ length: width }, (_, i) => put(`k${String(i).padStart(2, '0')}`, String(version)));
        await store.batch(row(0), volatile);
        let writing = true;
        const writer = (async () => {
          for (let version = 1; version <= 60; version++) await store.batch(row(version), volatile);
          writing = false;
        })();
        let scans = 0;
        while (writing) {
          const versions = new Set((await readAll(store.scan(everything), 7)).map((text) => text.split('=')[1]));
          assert.equal(versions.size, 1, `a scan saw versions ${[...versions]}`);
          scans += 1;
        }
        await writer;
        assert.ok(scans > 0);
        assert.equal((await store.get(bytes('k00')))?.toString(), '60');
      });

      it('writes a batch of ten thousand operations as one', async () => {
        const ops = Array.from({ length: 10_000 }, (_, n) => put(`k${String(n).padStart(5, '0')}`, '1'));
        const writing = store.batch(ops, durable);
        for (let look = 0; look < 20; look++) {
          const found = (await readAll(store.scan(everything), 1000)).length;
          assert.ok(found === 0 || found === ops.length, `${found} of ${ops.length} are there`);
        }
        await writing;
        assert.equal((await readAll(store.scan(everything), 1000)).length, ops.length);
      });

      it('keeps durable and other batches over an orderly close', async () => {
        await store.batch([put('a', '1')], durable);
        await store.batch([put('b', '2')], volatile);
        await store.batch([del('a')], durable);
        store = await fixture.reopen();
        assert.deepEqual(await readAll(store.scan(everything)), ['b=2']);
      });
    });

    describe('scan', () => {
      beforeEach(() =>
        store.batch(
          ['a', 'aa', 'b', '\x00', '\x7f', '\x80', '\xff'].map((key) => put(key, '')),
          durable,
        ),
      );

      it('walks in the order of unsigned bytes, shorter before longer', async () => {
        const keys = ['\x00', 'a', 'aa', 'b', '\x7f', '\x80', '\xff'];
        assert.deepEqual(
          await readAll(store.scan(everything)),
          keys.map((key) => `${key}=`),
        );
        assert.deepEqual(
          await readAll(store.scan({ ...everything, reverse: true })),
          keys.reverse().map((key) => `${key}=`),
        );
      });

      it('takes half-open ranges in both directions', async () => {
        const range = { gte: bytes('a'), lt: bytes('b') };
        assert.deepEqual(await readAll(store.scan(range)), ['a=', 'aa=']);
        assert.deepEqual(await readAll(store.scan({ ...range, reverse: true })), ['aa=', 'a=']);
        const between = { gte: bytes('a\x00'), lt: bytes('aaa') };
        assert.deepEqual(await readAll(store.scan(between)), ['aa=']);
        assert.deepEqual(await readAll(store.scan({ ...between, reverse: true })), ['aa=']);
      });

      it('finds nothing in empty and inverted ranges', async () => {
        for (const reverse of [false, true]) {
          assert.deepEqual(await readAll(store.scan({ gte: bytes('a'), lt: bytes('a'), reverse })), []);
          assert.deepEqual(await readAll(store.scan({ gte: bytes('b'), lt: bytes('a'), reverse })), []);
          assert.deepEqual(await readAll(store.scan({ gte: bytes('c'), lt: bytes('d'), reverse })), []);
        }
      });

      it('hands out slices of the size asked for, short only at the end, and then nothing more', async () => {
        for (const reverse of [false, true]) {
          const scan = store.scan({ ...everything, reverse });
          const sizes: number[] = [];
          for (const count of [3, 0, 1, 2, 5, 5]) sizes.push((await scan.next(count)).length);
          assert.deepEqual(sizes, [3, 0, 1, 2, 1, 0]);
          await scan.close();
        }
      });

      it('fills a slice whatever its size in bytes', async () => {
        const large = 'x'.repeat(300_000);
        await store.batch(
          Array.from({ length: 12 }, (_, i) => put(`l${String(i).padStart(2, '0')}`, large)),
          volatile,
        );
        const scan = store.scan({ gte: bytes('l'), lt: bytes('m') });
        assert.equal((await scan.next(10)).length, 10);
        assert.equal((await scan.next(10)).length, 2);
      });

      it('shows the state of its beginning', async () => {
        const scan = store.scan({ gte: bytes('a'), lt: bytes('c') });
        assert.deepEqual(texts(await scan.next(1)), ['a=']);
        await store.batch([put('ab', 'new'), del('b')], durable);
        assert.deepEqual(texts(await scan.next(5)), ['aa=', 'b=']);
      });

      it('can be closed early and twice; a closed one says so', async () => {
        const scan = store.scan(everything);
        await scan.next(1);
        await scan.close();
        await scan.close();
        await assert.rejects(scan.next(1), closedError);
      });

      it('runs beside others, in both directions', async () => {
        await store.batch(
          Array.from({ length: 500 }, (_, i) => put(`n${String(i).padStart(3, '0')}`, String(i))),
          volatile,
        );
        const range = { gte: bytes('n'), lt: bytes('o') };
        const results = await Promise.all(
          Array.from({ length: 8 }, (_, i) => readAll(store.scan({ ...range, reverse: i % 2 === 1 }), 13 + i)),
        );
        for (const [i, found] of results.entries()) {
          assert.equal(found.length, 500);
          assert.equal(found[0], i % 2 === 1 ? 'n499=499' : 'n000=0');
        }
      });

      it('forEachSlice reads a whole range, and stops when told', async () => {
        const sizes: number[] = [];
        await forEachSlice(store, everything, (entries) => void sizes.push(entries.length), 3);
        assert.deepEqual(sizes, [3, 3, 1]);
        let visits = 0;
        await forEachSlice(
          store,
          everything,
          async () => {
            visits += 1;
            return false;
          },
          2,
        );
        assert.equal(visits, 1);
        await assert.rejects(
          forEachSlice(store, everything, () => {
            throw new Error('visitor');
          }),
          /visitor/,
        );
      });
    });

    describe('snapshot', () => {
      it('keeps the state of its moment over later batches', async () => {
        await store.batch([put('a', '1'), put('b', '1')], durable);
        const snapshot = store.snapshot();
        await store.batch([put('a', '2'), del('b'), put('c', '2')], durable);
        assert.equal((await snapshot.get(bytes('a')))?.toString(), '1');
        assert.deepEqual(
          (await snapshot.getMany(['b', 'c'].map(bytes))).map((value) => value?.toString()),
          ['1', undefined],
        );
        assert.deepEqual(await readAll(snapshot.scan(everything)), ['a=1', 'b=1']);
        assert.deepEqual(await readAll(snapshot.scan({ ...everything, reverse: true }), 1), ['b=1', 'a=1']);
        assert.deepEqual(await readAll(store.scan(everything)), ['a=2', 'c=2']);
        await snapshot.close();
      });

      it('survives compaction', async () => {
        await store.batch([put('a', '1')], durable);
        const snapshot = store.snapshot();
        await store.batch([del('a')], durable);
        await store.compact();
        assert.equal((await snapshot.get(bytes('a')))?.toString(), '1');
        await snapshot.close();
      });

      it('once closed, refuses reads and ends its scans; closing twice is fine', async () => {
        await store.batch([put('a', '1'), put('b', '2')], durable);
        const snapshot = store.snapshot();
        const scan = snapshot.scan(everything);
        await scan.next(1);
        await snapshot.close();
        await snapshot.close();
        await assert.rejects(scan.next(1), closedError);
        await assert.rejects(snapshot.get(bytes('a')), closedError);
        await assert.rejects(snapshot.getMany([bytes('a')]), closedError);
        assert.throws(() => snapshot.scan(everything), closedError);
        assert.equal((await store.get(bytes('a')))?.toString(), '1');
      });
    });

    describe('compact and size', () => {
      it('compacts without changing an answer', async () => {
        const ops = Array.from({ length: 300 }, (_, i) => put(`k${i}`, 'v'.repeat(200)));
        await store.batch(ops, durable);
        await store.batch(
          ops.slice(10).map(({ key }) => ({ type: 'del', key }) as const),
          durable,
        );
        const before = await readAll(store.scan(everything));
        await store.compact();
        assert.deepEqual(await readAll(store.scan(everything)), before);
        assert.equal(before.length, 10);
      });

      it('grows with what is stored', async () => {
        const before = await store.size();
        await store.batch([put('a', 'x'.repeat(100_000))], durable);
        assert.ok((await store.size()) >= before + 100_000);
      });
    });

    describe('recovery', () => {
      it('does nothing in a store that is well', async () => {
        await store.batch([put('a', '1')], durable);
        const scan = store.scan(everything);
        const snapshot = store.snapshot();
        await Promise.all([store.recover(), store.recover()]);
        assert.equal((await scan.next(10)).length, 1);
        assert.notEqual(await snapshot.get(bytes('a')), undefined);
        await snapshot.close();
      });

      it('is refused once the store is closed', async () => {
        await store.close();
        await assert.rejects(store.recover(), closedError);
      });
    });

    describe('close', () => {
      it('refuses everything afterwards with store_closed, and closes twice', async () => {
        await store.batch([put('a', '1')], durable);
        const scan = store.scan(everything);
        const snapshot = store.snapshot();
        await store.close();
        await store.close();
        await assert.rejects(store.get(bytes('a')), closedError);
        await assert.rejects(store.getMany([bytes('a')]), closedError);
        await assert.rejects(store.getMany([]), closedError);
        await assert.rejects(store.batch([put('b', '1')], durable), closedError);
        await assert.rejects(store.batch([], volatile), closedError);
        await assert.rejects(store.compact(), closedError);
        await assert.rejects(store.size(), closedError);
        assert.throws(() => store.scan(everything), closedError);
        assert.throws(() => store.snapshot(), closedError);
        await assert.rejects(scan.next(1), closedError);
        await assert.rejects(snapshot.get(bytes('a')), closedError);
        await scan.close();
        await snapshot.close();
      });

      it('waits for the batch under way: it is there afterwards', async () => {
        const written = store.batch([put('a', '1')], durable);
        await Promise.all([written, store.close()]);
        store = await fixture.reopen();
        assert.equal((await store.get(bytes('a')))?.toString(), '1');
      });
    });

    it('answers as a naive model does, over random batches, reads, snapshots and reopenings', async () => {
      await fc.assert(
        fc.asyncProperty(fc.array(step, { minLength: 1, maxLength: 25 }), async (steps) => {
          await clear(store);
          const model = new Map<string, string>();
          for (const next of steps) store = await runStep(next, store, model, fixture);
          assert.deepEqual(await readAll(store.scan(everything)), modelRange(model, everything));
        }),
        { numRuns: 60 },
      );
    });
  });
}

async function clear(store: Store): Promise<void> {
  const keys: Buffer[] = [];
  await forEachSlice(store, everything, (entries) => void keys.push(...entries.map(({ key }) => key)));
  await store.batch(
    keys.map((key) => ({ type: 'del', key })),
    durable,
  );
}

/** Few letters and short keys, so that operations meet; both ends of the byte range among them. */
const keyText = fc
  .array(fc.constantFrom('\x00', 'a', 'b', '\x7f', '\x80', '\xff'), { minLength: 1, maxLength: 3 })
  .map((letters) => letters.join(''));

const operation = fc.oneof(
  fc.record({
    type: fc.constant('put' as const),
    key: keyText,
    value: fc.string({ maxLength: 3, unit: 'binary-ascii' }),
  }),
  fc.record({ type: fc.constant('del' as const), key: keyText }),
);

const step = fc.oneof(
  {
    weight: 5,
    arbitrary: fc.record({ act: fc.constant('batch' as const), ops: fc.array(operation, { maxLength: 12 }) }),
  },
  { weight: 2, arbitrary: fc.record({ act: fc.constant('get' as const), keys: fc.array(keyText, { maxLength: 5 }) }) },
  {
    weight: 4,
    arbitrary: fc.record({
      act: fc.constant('scan' as const),
      gte: keyText,
      lt: keyText,
      reverse: fc.boolean(),
      slice: fc.integer({ min: 1, max: 4 }),
      meanwhile: fc.array(operation, { maxLength: 4 }),
    }),
  },
  { weight: 1, arbitrary: fc.record({ act: fc.constant('reopen' as const) }) },
);
type Step = typeof step extends fc.Arbitrary<infer T> ? T : never;
type Operation = typeof operation extends fc.Arbitrary<infer T> ? T : never;

async function runStep(next: Step, store: Store, model: Map<string, string>, fixture: StoreFixture): Promise<Store> {
  switch (next.act) {
    case 'batch':
      await applyOps(store, model, next.ops);
      return store;
    case 'get': {
      const values = await store.getMany(next.keys.map(bytes));
      assert.deepEqual(
        values.map((value) => value?.toString('latin1')),
        next.keys.map((key) => model.get(key)),
      );
      return store;
    }
    case 'scan': {
      const range = { gte: bytes(next.gte), lt: bytes(next.lt), reverse: next.reverse };
      const expected = modelRange(model, range);
      const snapshot = store.snapshot();
      const scan = store.scan(range);
      await applyOps(store, model, next.meanwhile);
      assert.deepEqual(await readAll(scan, next.slice), expected);
      assert.deepEqual(await readAll(snapshot.scan(range), next.slice), expected);
      await snapshot.close();
      return store;
    }
    case 'reopen':
      return fixture.reopen();
  }
}

async function applyOps(store: Store, model: Map<string, string>, ops: readonly Operation[]): Promise<void> {
  await store.batch(
    ops.map((op) => (op.type === 'put' ? put(op.key, op.value) : del(op.key))),
    durable,
  );
  for (const op of ops) {
    if (op.type === 'put') model.set(op.key, op.value);
    else model.delete(op.key);
  }
}

function modelRange(model: Map<string, string>, range: { gte: Buffer; lt: Buffer; reverse?: boolean }): string[] {
  const found = [...model]
    .filter(([key]) => Buffer.compare(bytes(key), range.gte) >= 0 && Buffer.compare(bytes(key), range.lt) < 0)
    .sort(([a], [b]) => Buffer.compare(bytes(a), bytes(b)))
    .map(([key, value]) => `${key}=${value}`);
  return range.reverse ? found.reverse() : found;
}

import assert from 'node:assert/strict';
import { BoundedDatastore } from '../../../../src/mesh/libp2p/datastore.ts';
import { MAX_STORED_RECORD_BYTES, MAX_STORED_RECORDS } from '../../../../src/mesh/limits.ts';

type Key = Parameters<BoundedDatastore['get']>[0];

/** As libp2p names its records; only its text is looked at. */
const key = (name: string): Key => ({ toString: () => name }) as Key;
const value = (text: string): Uint8Array => Buffer.from(text);

async function all<T>(source: AsyncIterable<T>): Promise<T[]> {
  const items: T[] = [];
  for await (const item of source) items.push(item);
  return items;
}

describe('what libp2p remembers', () => {
  const open = (): BoundedDatastore => new BoundedDatastore((name) => name === '/peers/self');

  it('is read as it was written, one by one, many at a time, and in batches', async () => {
    const store = open();
    store.put(key('/peers/a'), value('1'));
    assert.deepEqual(store.get(key('/peers/a')), value('1'));
    assert.ok(store.has(key('/peers/a')) && !store.has(key('/peers/b')));
    assert.throws(() => store.get(key('/peers/b')), { name: 'NotFoundError' });
    const pairs = [
      { key: key('/peers/b'), value: value('2') },
      { key: key('/dht/provider/x/y'), value: value('3') },
    ];
    assert.equal((await all(store.putMany(pairs))).length, 2);
    assert.deepEqual(await all(store.getMany(pairs.map((pair) => pair.key))), pairs);
    const batch = store.batch();
    batch.put(key('/peers/c'), value('4'));
    batch.delete(key('/peers/a'));
    assert.equal(store.size, 3);
    await batch.commit();
    assert.deepEqual([...store.queryKeys({ prefix: '/peers' })].map(String), ['/peers/b', '/peers/c']);
    assert.equal((await all(store.deleteMany([key('/peers/b')]))).length, 1);
    assert.equal(store.size, 2);
  });

  it('is looked through by the start of a name, with filters, orders and pages', () => {
    const store = open();
    for (let n = 0; n < 5; n++) store.put(key(`/dht/provider/x/${n}`), value(String(n)));
    store.put(key('/dht/provider/y/9'), value('9'));
    const query: Parameters<BoundedDatastore['query']>[0] = {
      prefix: '/dht/provider/x',
      filters: [({ value: bytes }) => bytes[0] !== '2'.charCodeAt(0)],
      orders: [(a, b) => Math.sign(b.value[0]! - a.value[0]!) as -1 | 0 | 1],
      offset: 1,
      limit: 2,
    };
    assert.deepEqual(
      [...store.query(query)].map(({ value: bytes }) => Buffer.from(bytes).toString()),
      ['3', '1'],
    );
  });

  it('is bounded: of each kind the records written last, our own for ever, none too large', () => {
    const store = open();
    store.put(key('/peers/self'), value('me'));
    store.put(key('/dht/provider/x/y'), value('other kind'));
    for (let n = 0; n < MAX_STORED_RECORDS + 100; n++) {
      store.put(key(`/peers/${n}`), value('x'));
      if (n % 50 === 0) store.put(key('/peers/0'), value('again'));
    }
    assert.equal(store.size, MAX_STORED_RECORDS + 1);
    assert.ok(store.has(key('/peers/self')) && store.has(key('/peers/0')) && !store.has(key('/peers/1')));
    store.put(key('/peers/0'), new Uint8Array(MAX_STORED_RECORD_BYTES + 1));
    assert.deepEqual(store.get(key('/peers/0')), value('again'));
    store.put(key('/peers/0'), new Uint8Array(MAX_STORED_RECORD_BYTES));
    assert.equal(store.get(key('/peers/0')).length, MAX_STORED_RECORD_BYTES);
  });
});

import { NotFoundError } from '@libp2p/interface';
import type { Libp2pOptions } from 'libp2p';
import { MAX_STORED_RECORD_BYTES, MAX_STORED_RECORDS } from '../limits.ts';

type Datastore = NonNullable<Libp2pOptions['datastore']>;
type Key = Parameters<Datastore['get']>[0];
type Pair = { key: Key; value: Uint8Array };
type Query = Parameters<Datastore['query']>[0];
type Batch = ReturnType<Datastore['batch']>;

/**
 * What libp2p remembers of peers and of the hash table, in memory and bounded: others decide how many peers and records
 * there are and how large. Each kind (`/peers`, `/dht`) keeps the records written last; a record that is too large keeps
 * its old value. Our own record stays.
 */
export class BoundedDatastore implements Datastore {
  readonly #kinds = new Map<string, Map<string, Pair>>();
  readonly #isOwn: (key: string) => boolean;

  constructor(isOwn: (key: string) => boolean) {
    this.#isOwn = isOwn;
  }

  /** Records held. */
  get size(): number {
    let size = 0;
    for (const records of this.#kinds.values()) size += records.size;
    return size;
  }

  put(key: Key, value: Uint8Array): Key {
    const name = key.toString();
    if (value.length > MAX_STORED_RECORD_BYTES) return key;
    const records = this.#kind(name);
    records.delete(name);
    records.set(name, { key, value });
    if (records.size > MAX_STORED_RECORDS) {
      for (const oldest of records.keys()) {
        if (this.#isOwn(oldest)) continue;
        records.delete(oldest);
        break;
      }
    }
    return key;
  }

  get(key: Key): Uint8Array {
    const name = key.toString();
    const pair = this.#kind(name).get(name);
    if (!pair) throw new NotFoundError(`no record ${name}`);
    return pair.value;
  }

  has(key: Key): boolean {
    const name = key.toString();
    return this.#kind(name).has(name);
  }

  delete(key: Key): void {
    const name = key.toString();
    this.#kind(name).delete(name);
  }

  async *putMany(source: Iterable<Pair> | AsyncIterable<Pair>): AsyncGenerator<Key> {
    for await (const { key, value } of source) yield this.put(key, value);
  }

  async *getMany(source: Iterable<Key> | AsyncIterable<Key>): AsyncGenerator<Pair> {
    for await (const key of source) yield { key, value: this.get(key) };
  }

  async *deleteMany(source: Iterable<Key> | AsyncIterable<Key>): AsyncGenerator<Key> {
    for await (const key of source) {
      this.delete(key);
      yield key;
    }
  }

  batch(): Batch {
    let steps: (() => void)[] = [];
    return {
      put: (key, value) => {
        steps.push(() => this.put(key, value));
      },
      delete: (key) => {
        steps.push(() => this.delete(key));
      },
      commit: () => {
        for (const step of steps) step();
        steps = [];
      },
    };
  }

  *query(query: Query): Generator<Pair> {
    const { prefix = '', filters = [], orders = [], offset = 0, limit = Number.POSITIVE_INFINITY } = query;
    let found = [...this.#matching(prefix)].filter((pair) => filters.every((filter) => filter(pair)));
    for (const order of orders) found = found.sort(order);
    yield* found.slice(offset, Math.min(found.length, offset + limit));
  }

  *queryKeys(query: Parameters<Datastore['queryKeys']>[0]): Generator<Key> {
    const { prefix = '', filters = [], orders = [], offset = 0, limit = Number.POSITIVE_INFINITY } = query;
    let found = [...this.#matching(prefix)]
      .map(({ key }) => key)
      .filter((key) => filters.every((filter) => filter(key)));
    for (const order of orders) found = found.sort(order);
    yield* found.slice(offset, Math.min(found.length, offset + limit));
  }

  *#matching(prefix: string): Generator<Pair> {
    for (const records of this.#kinds.values()) {
      for (const [name, pair] of records) if (name.startsWith(prefix)) yield pair;
    }
  }

  /** Records of one kind share the first part of their name; libp2p has two of them, so there are never many kinds. */
  #kind(name: string): Map<string, Pair> {
    const kind = name.split('/', 2).join('/');
    let records = this.#kinds.get(kind);
    if (!records) {
      records = new Map();
      this.#kinds.set(kind, records);
    }
    return records;
  }
}

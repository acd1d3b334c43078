import {
  type Bytes,
  type Entry,
  type Reader,
  type Scan,
  type ScanOptions,
  type Snapshot,
  type Store,
  StoreError,
  type StoreOp,
} from '../store.ts';

/** An immutable sorted table; a batch makes the next one, so that a snapshot is just a reference. */
type Table = readonly Entry[];

/**
 * Store in memory, for tests, the simulator and throw-away nodes. It keeps the durability contract observable:
 * `crash()` drops what was not written with `durable`, as a machine that loses power does.
 */
export class MemoryStore implements Store {
  #table: Table = [];
  #durable: Table = [];
  #closed = false;

  get(key: Bytes): Promise<Buffer | undefined> {
    return this.#reader(() => this.#table).get(key);
  }

  getMany(keys: readonly Bytes[]): Promise<(Buffer | undefined)[]> {
    return this.#reader(() => this.#table).getMany(keys);
  }

  scan(options: ScanOptions): Scan {
    const table = this.#table;
    return this.#reader(() => table).scan(options);
  }

  snapshot(): Snapshot {
    const table = this.#table;
    return { ...this.#reader(() => table), close: async () => {} };
  }

  async batch(ops: readonly StoreOp[], options: { readonly durable: boolean }): Promise<void> {
    this.#assertOpen();
    this.#table = apply(this.#table, ops);
    // A log is durable up to a point: what is fsynced carries everything written before it.
    if (options.durable) this.#durable = this.#table;
  }

  async compact(): Promise<void> {
    this.#assertOpen();
  }

  async size(): Promise<number> {
    return this.#table.reduce((bytes, { key, value }) => bytes + key.length + value.length, 0);
  }

  async close(): Promise<void> {
    this.#closed = true;
  }

  /** Loses every batch since the last durable one and reopens, as after a power failure. */
  crash(): void {
    this.#table = this.#durable;
    this.#closed = false;
  }

  #assertOpen(): void {
    if (this.#closed) throw new StoreError('store_closed', 'the store is closed', 'open a new one');
  }

  #reader(table: () => Table): Reader {
    const get = (key: Bytes): Buffer | undefined => {
      this.#assertOpen();
      const at = lowerBound(table(), key);
      const entry = table()[at];
      return entry && Buffer.compare(entry.key, key) === 0 ? entry.value : undefined;
    };
    return {
      get: async (key) => get(key),
      getMany: async (keys) => keys.map(get),
      scan: ({ gte, lt, reverse = false }) => {
        const rows = table();
        let from = lowerBound(rows, gte);
        let to = Math.max(from, lowerBound(rows, lt));
        return {
          next: async (count) => {
            this.#assertOpen();
            if (reverse) {
              const slice = rows.slice(Math.max(from, to - count), to).reverse();
              to -= slice.length;
              return slice;
            }
            const slice = rows.slice(from, Math.min(to, from + count));
            from += slice.length;
            return slice;
          },
          close: async () => {
            from = to;
          },
        };
      },
    };
  }
}

/** Merges a batch into a sorted table: linear in the table, which is fine for the sizes memory is used at. */
function apply(table: Table, ops: readonly StoreOp[]): Table {
  const last = new Map<string, StoreOp>();
  for (const op of ops) last.set(Buffer.from(op.key).toString('latin1'), op);
  const changes = [...last.values()].sort((a, b) => Buffer.compare(a.key, b.key));
  const next: Entry[] = [];
  let at = 0;
  for (const op of changes) {
    const to = lowerBound(table, op.key, at);
    for (; at < to; at++) next.push(table[at]!);
    if (at < table.length && Buffer.compare(table[at]!.key, op.key) === 0) at++;
    if (op.type === 'put') next.push({ key: Buffer.from(op.key), value: Buffer.from(op.value) });
  }
  for (; at < table.length; at++) next.push(table[at]!);
  return next;
}

function lowerBound(table: Table, key: Bytes, from = 0): number {
  let low = from;
  let high = table.length;
  while (low < high) {
    const mid = (low + high) >>> 1;
    if (Buffer.compare(table[mid]!.key, key) < 0) low = mid + 1;
    else high = mid;
  }
  return low;
}

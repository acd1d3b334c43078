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
  /** Counts crashes: scans and snapshots of an earlier life are closed, as those of a process that is gone. */
  #life = 0;

  get(key: Bytes): Promise<Buffer | undefined> {
    return this.#reader(() => this.#table, this.#liveness()).get(key);
  }

  getMany(keys: readonly Bytes[]): Promise<(Buffer | undefined)[]> {
    return this.#reader(() => this.#table, this.#liveness()).getMany(keys);
  }

  scan(options: ScanOptions): Scan {
    return this.#reader(() => this.#table, this.#liveness()).scan(options);
  }

  snapshot(): Snapshot {
    const table = this.#table;
    const assertLive = this.#liveness();
    assertLive();
    let open = true;
    const assertOpen = (): void => {
      assertLive();
      if (!open) throw closed();
    };
    return {
      ...this.#reader(() => table, assertOpen),
      close: async () => {
        open = false;
      },
    };
  }

  async batch(ops: readonly StoreOp[], options: { readonly durable: boolean }): Promise<void> {
    if (this.#closed) throw closed();
    this.#table = apply(this.#table, ops);
    // A log is durable up to a point: what is fsynced carries everything written before it.
    if (options.durable) this.#durable = this.#table;
  }

  async recover(): Promise<void> {
    if (this.#closed) throw closed();
  }

  async compact(): Promise<void> {
    if (this.#closed) throw closed();
  }

  async size(): Promise<number> {
    if (this.#closed) throw closed();
    return this.#table.reduce((bytes, { key, value }) => bytes + key.length + value.length, 0);
  }

  async close(): Promise<void> {
    this.#closed = true;
  }

  /** Loses every batch since the last durable one and reopens, as after a power failure. */
  crash(): void {
    this.#table = this.#durable;
    this.#closed = false;
    this.#life += 1;
  }

  #liveness(): () => void {
    const life = this.#life;
    return () => {
      if (this.#closed || this.#life !== life) throw closed();
    };
  }

  #reader(table: () => Table, assertOpen: () => void): Reader {
    const get = (key: Bytes): Buffer | undefined => {
      assertOpen();
      const entry = table()[lowerBound(table(), key)];
      return entry && Buffer.compare(entry.key, key) === 0 ? Buffer.from(entry.value) : undefined;
    };
    return {
      get: async (key) => get(key),
      getMany: async (keys) => {
        assertOpen();
        return keys.map(get);
      },
      scan: (options) => {
        assertOpen();
        return new MemoryScan(table(), options, assertOpen);
      },
    };
  }
}

class MemoryScan implements Scan {
  readonly #rows: Table;
  readonly #reverse: boolean;
  readonly #assertOpen: () => void;
  #from: number;
  #to: number;
  #open = true;
  #ended = false;

  constructor(rows: Table, { gte, lt, reverse = false }: ScanOptions, assertOpen: () => void) {
    this.#rows = rows;
    this.#reverse = reverse;
    this.#assertOpen = assertOpen;
    this.#from = lowerBound(rows, gte);
    this.#to = Math.max(this.#from, lowerBound(rows, lt));
  }

  async next(count: number): Promise<Entry[]> {
    if (this.#ended) return [];
    this.#assertOpen();
    if (!this.#open) throw closed();
    const rows = this.#reverse
      ? this.#rows.slice(Math.max(this.#from, this.#to - count), this.#to).reverse()
      : this.#rows.slice(this.#from, Math.min(this.#to, this.#from + count));
    if (this.#reverse) this.#to -= rows.length;
    else this.#from += rows.length;
    this.#ended = rows.length < count;
    // Copies, as a disk hands out: what a reader does to its bytes stays with the reader.
    return rows.map(({ key, value }) => ({ key: Buffer.from(key), value: Buffer.from(value) }));
  }

  async close(): Promise<void> {
    this.#open = false;
  }
}

function closed(): StoreError {
  return new StoreError('store_closed', 'the store is closed', 'the daemon is stopping; try again when it runs');
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

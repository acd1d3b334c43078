import { MemoryStore } from '../../src/store/memory/memory-store.ts';
import {
  type Bytes,
  type Entry,
  forEachSlice,
  type Scan,
  type Snapshot,
  type Store,
  type StoreOp,
} from '../../src/store/store.ts';
import type { Random } from '../support/random.ts';
import type { SimWorld } from './world.ts';

/** Every key of a store: table tags are letters. */
const EVERYTHING = { gte: Buffer.alloc(1, 0), lt: Buffer.alloc(1, 0xff) };

/** What happens to a process that is gone: nothing it waits for ever comes. */
const NEVER = new Promise<never>(() => {});

/**
 * The disk of one simulated daemon. What was fsynced survives everything; of what was written after the last fsync, a
 * crash of the process loses nothing and a power failure all but a part from its beginning (a log persists in order); a
 * batch whose fsync was under way is whole or not there at all.
 */
export class SimDisk {
  readonly #random: Random;
  readonly #fsyncMs: number;
  readonly #store = new MemoryStore();
  /** Batches since the last fsync. */
  readonly #unsynced: (readonly StoreOp[])[] = [];
  /** Batches whose fsync is under way. */
  readonly #syncing = new Set<readonly StoreOp[]>();
  #handle: SimStore | undefined;
  /** Batches that a power failure took, and batches in the middle of whose fsync a crash or a power failure came. */
  lost = 0;
  torn = 0;

  /** @param fsyncMs how long an fsync takes, virtual ms */
  constructor(random: Random, fsyncMs: number) {
    this.#random = random;
    this.#fsyncMs = fsyncMs;
  }

  /** The store of one life of the daemon. */
  open(world: SimWorld): Store {
    if (this.#handle?.isLive) throw new Error('the disk is in use');
    this.#handle = new SimStore(this.#store, {
      write: (ops) => {
        this.#unsynced.push(ops);
        return this.#store.batch(ops, { durable: false });
      },
      writeDurably: async (ops, isLive) => {
        this.#syncing.add(ops);
        await new Promise<void>((resolve) => world.setTimeout(resolve, this.#fsyncMs));
        if (!isLive()) return NEVER;
        this.#syncing.delete(ops);
        this.#unsynced.length = 0;
        await this.#store.batch(ops, { durable: true });
      },
    });
    return this.#handle;
  }

  /** Whether an fsync is under way. */
  get isWriting(): boolean {
    return this.#syncing.size > 0;
  }

  /** The daemon is gone; `power`: with everything that was not on the disk. */
  async crash(power: boolean): Promise<void> {
    this.#handle?.die();
    if (power) {
      const kept = this.#random.below(this.#unsynced.length + 1);
      this.lost += this.#unsynced.length - kept;
      this.#store.crash();
      for (const ops of this.#unsynced.slice(0, kept)) await this.#store.batch(ops, { durable: true });
    }
    this.torn += this.#syncing.size;
    for (const ops of this.#syncing) {
      if (this.#random.next() < 0.5) await this.#store.batch(ops, { durable: true });
    }
    this.#unsynced.length = 0;
    this.#syncing.clear();
  }

  /** Puts a copy of earlier contents in the place of what is there, as restoring a backup does. Nothing may run on it. */
  async restore(copy: Store): Promise<void> {
    if (this.#handle?.isLive) throw new Error('the disk is in use');
    const ops: StoreOp[] = [];
    await forEachSlice(this.#store, EVERYTHING, (rows) => {
      for (const { key } of rows) ops.push({ type: 'del', key });
      return undefined;
    });
    await forEachSlice(copy, EVERYTHING, (rows) => {
      for (const { key, value } of rows) ops.push({ type: 'put', key, value });
      return undefined;
    });
    await this.#store.batch(ops, { durable: true });
  }

  /** What a process that starts now would read, to look at while the daemon runs. */
  get contents(): Store {
    return this.#store;
  }

  /** Another store with the same contents. */
  async copy(): Promise<MemoryStore> {
    const copy = new MemoryStore();
    const ops: StoreOp[] = [];
    await forEachSlice(this.#store, EVERYTHING, (rows) => {
      for (const { key, value } of rows) ops.push({ type: 'put', key, value });
      return undefined;
    });
    await copy.batch(ops, { durable: true });
    return copy;
  }
}

interface Writes {
  readonly write: (ops: readonly StoreOp[]) => Promise<void>;
  readonly writeDurably: (ops: readonly StoreOp[], isLive: () => boolean) => Promise<void>;
}

/** A store as one life of a daemon sees it; once that ended, no call ever returns. */
class SimStore implements Store {
  readonly #store: MemoryStore;
  readonly #writes: Writes;
  #isLive = true;

  constructor(store: MemoryStore, writes: Writes) {
    this.#store = store;
    this.#writes = writes;
  }

  get isLive(): boolean {
    return this.#isLive;
  }

  die(): void {
    this.#isLive = false;
  }

  get(key: Bytes): Promise<Buffer | undefined> {
    return this.#live(() => this.#store.get(key));
  }

  getMany(keys: readonly Bytes[]): Promise<(Buffer | undefined)[]> {
    return this.#live(() => this.#store.getMany(keys));
  }

  scan(options: Parameters<Store['scan']>[0]): Scan {
    return this.#scan(this.#store.scan(options));
  }

  snapshot(): Snapshot {
    const snapshot = this.#store.snapshot();
    return {
      get: (key) => this.#live(() => snapshot.get(key)),
      getMany: (keys) => this.#live(() => snapshot.getMany(keys)),
      scan: (options) => this.#scan(snapshot.scan(options)),
      close: () => snapshot.close(),
    };
  }

  batch(ops: readonly StoreOp[], { durable }: { readonly durable: boolean }): Promise<void> {
    // The caller may reuse its buffers once this returned.
    const copied = ops.map((op) => ({ ...op }));
    return this.#live(() =>
      durable ? this.#writes.writeDurably(copied, () => this.#isLive) : this.#writes.write(copied),
    );
  }

  recover(): Promise<void> {
    return this.#live(() => this.#store.recover());
  }

  compact(): Promise<void> {
    return this.#live(() => this.#store.compact());
  }

  size(): Promise<number> {
    return this.#live(() => this.#store.size());
  }

  async close(): Promise<void> {
    this.#isLive = false;
  }

  #scan(scan: Scan): Scan {
    return {
      next: (count): Promise<Entry[]> => this.#live(() => scan.next(count)),
      close: () => scan.close(),
    };
  }

  async #live<T>(call: () => Promise<T>): Promise<T> {
    if (!this.#isLive) return NEVER;
    const result = await call();
    return this.#isLive ? result : NEVER;
  }
}

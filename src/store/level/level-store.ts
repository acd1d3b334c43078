import { readdir, stat } from 'node:fs/promises';
import { join } from 'node:path';
import { setTimeout as delay, setImmediate as nextTurn } from 'node:timers/promises';
import type { AbstractBatchOperation } from 'abstract-level';
import { type Iterator as ClassicIterator, ClassicLevel } from 'classic-level';
import type { Bytes, Entry, Reader, Scan, ScanOptions, Snapshot, Store, StoreOp } from '../store.ts';
import {
  damagedFiles,
  type FileDamage,
  type Inspection,
  inspect,
  inspectTable,
  removeMark,
  type TableFile,
  writeMark,
} from './inspect.ts';
import { closed, reopened, storeError } from './level-errors.ts';
import { probeSpace } from './probe.ts';

export interface LevelStoreInit {
  /** Directory of the database; created when missing. */
  readonly location: string;
  /** Block cache in bytes. */
  readonly cacheBytes?: number;
  /** Refuse to create a database where there is none. */
  readonly mustExist?: boolean;
  /** Milliseconds, for the pauses between attempts to recover. */
  readonly now?: () => number;
  /** Told what an operator should know about the files. */
  readonly log?: (message: string) => void;
  /**
   * Bytes of tables whose checksums are verified before opening; the rest is left to {@link LevelStore.scrub}. By
   * default 128 MB after an orderly close, and all of them otherwise.
   */
  readonly checkBytes?: number;
}

type Db = ClassicLevel<Buffer, Buffer>;
type LevelSnapshot = ReturnType<Db['snapshot']>;
type LevelIterator = ClassicIterator<Db, Buffer, Buffer>;

/** Memtable size: twice LevelDB's 4 MB, so that a burst of writes causes fewer, larger level-0 files. Two may exist. */
const WRITE_BUFFER_BYTES = 8 * 1024 * 1024;
/**
 * Keys read at once on the event loop rather than in a thread. A read from memory takes some 8 µs, a hop to a thread
 * and back 40 µs and more; so few reads stay far below the loop's 10 ms even when all of them go to the disk.
 */
const MAX_SYNC_KEYS = 8;
/** Bytes a scan reads ahead at most per step, whatever the entry count asked for. */
const SCAN_HIGH_WATER_BYTES = 1024 * 1024;
/** Operations handed over to LevelDB at once: a few milliseconds. More of them let other work in between. */
const LARGE_BATCH = 4000;
/** Tables verified before opening: a tenth of a second's work, and all of a small store. */
const CHECK_BYTES = 128 * 1024 * 1024;
/** Pause between two tables (2 MB mostly) that are verified while the store is in use. */
const SCRUB_PAUSE_MS = 250;
/** Looks at files that seem damaged, before they are: another process that has them open moves them meanwhile. */
const INSPECTIONS = 3;
/** Pause after a failed attempt to recover, doubled each time up to the longest: every attempt writes megabytes. */
const RECOVER_PAUSE_MS = 250;
const LONGEST_RECOVER_PAUSE_MS = 5000;

/**
 * Store on LevelDB (classic-level), embedded: nothing to start, one process at a time.
 *
 * LevelDB does not get over a failed write. After a failed fsync or compaction it refuses every write until it is opened
 * again; after a failed append it goes on, but what follows the torn record in its log is dropped at the next opening.
 * So after any failed batch this store writes nothing more with that handle, only reads, until {@link recover} has
 * opened another one.
 */
export class LevelStore implements Store {
  readonly #init: LevelStoreInit;
  readonly #now: () => number;
  /** Undefined while the database is opened again, and for as long as that fails. */
  #handle: Handle | undefined;
  /** Why nothing is written until the store has recovered. */
  #failure: unknown;
  #recovering: Promise<void> | undefined;
  #retryAt = 0;
  #pause = RECOVER_PAUSE_MS;
  #closed = false;
  #closing: Promise<void> | undefined;
  #unread: readonly TableFile[];
  readonly #damage: FileDamage[] = [];

  private constructor(handle: Handle, init: LevelStoreInit, unread: readonly TableFile[]) {
    this.#handle = handle;
    this.#init = init;
    this.#now = init.now ?? Date.now;
    this.#unread = unread;
  }

  /** @throws StoreError `store_locked`, `store_corrupt`, `store_io` */
  static async open(init: LevelStoreInit): Promise<LevelStore> {
    const { location, checkBytes } = init;
    let found: Inspection;
    for (let look = 1; ; look++) {
      found = await attempting(inspect(location, checkBytes ?? CHECK_BYTES, checkBytes));
      if (found.damage.length === 0) break;
      if (look === INSPECTIONS) throw damagedFiles(found.damage);
    }
    for (const notice of found.notices) init.log?.(notice);
    await attempting(removeMark(location));
    return new LevelStore(await Handle.open(init), init, found.unread);
  }

  /** Files found damaged since the store was opened. */
  get damage(): readonly FileDamage[] {
    return this.#damage;
  }

  /** Verifies, at leisure, the tables that opening left out; resolves with the {@link damage} when none is left. */
  async scrub(signal: AbortSignal, pauseMs = SCRUB_PAUSE_MS): Promise<readonly FileDamage[]> {
    for (const table of this.#unread) {
      await delay(pauseMs, undefined, { signal, ref: false }).catch(() => {});
      if (signal.aborted || this.#closed) return this.#damage;
      const found = await attempting(inspectTable(this.#init.location, table));
      // Compaction removes tables; it would have read the damaged ones itself.
      const isThere = found && (await stat(join(this.#init.location, table.file)).catch(() => undefined));
      if (isThere) this.#damage.push(found);
    }
    this.#unread = [];
    return this.#damage;
  }

  async get(key: Bytes): Promise<Buffer | undefined> {
    return (this.#handle ?? (await this.#live())).reader.get(key);
  }

  async getMany(keys: readonly Bytes[]): Promise<(Buffer | undefined)[]> {
    return (this.#handle ?? (await this.#live())).reader.getMany(keys);
  }

  scan(options: ScanOptions): Scan {
    if (this.#handle) return this.#handle.reader.scan(options);
    return new LaterScan(this.#live().then(({ reader }) => reader.scan(options)));
  }

  snapshot(): Snapshot {
    if (this.#handle) return this.#handle.snapshot();
    // Nothing is written before the database is open again, so the state then is the state of now.
    const snapshot = this.#live().then((handle) => handle.snapshot());
    snapshot.catch(() => {});
    return {
      get: async (key) => (await snapshot).get(key),
      getMany: async (keys) => (await snapshot).getMany(keys),
      scan: (options) => new LaterScan(snapshot.then((live) => live.scan(options))),
      close: () =>
        snapshot.then(
          (live) => live.close(),
          () => {},
        ),
    };
  }

  async batch(ops: readonly StoreOp[], options: { readonly durable: boolean }): Promise<void> {
    const handle = this.#handle ?? (await this.#live());
    if (this.#failure !== undefined) throw this.#failure;
    try {
      await handle.batch(ops, options.durable);
    } catch (error) {
      if (!this.#closed) this.#failure ??= error;
      throw error;
    }
  }

  recover(): Promise<void> {
    if (this.#closed) return Promise.reject(closed());
    if (this.#handle && this.#failure === undefined) return Promise.resolve();
    this.#recovering ??= this.#recover().finally(() => {
      this.#recovering = undefined;
    });
    return this.#recovering;
  }

  async compact(): Promise<void> {
    await (this.#handle ?? (await this.#live())).compact();
  }

  async size(): Promise<number> {
    if (this.#closed) throw closed();
    const { location } = this.#init;
    let bytes = 0;
    for (const name of await attempting(readdir(location))) {
      // Files come and go while LevelDB compacts.
      bytes += (await stat(join(location, name)).catch(() => ({ size: 0 }))).size;
    }
    return bytes;
  }

  close(): Promise<void> {
    this.#closed = true;
    this.#closing ??= this.#close();
    return this.#closing;
  }

  async #close(): Promise<void> {
    await this.#recovering?.catch(() => {});
    await this.#handle?.close();
    // Without a mark the next opening merely knows less.
    if (this.#handle && this.#failure === undefined) await writeMark(this.#init.location).catch(() => {});
  }

  /** The handle as soon as there is one. @throws StoreError why there is none */
  async #live(): Promise<Handle> {
    await this.recover();
    return this.#handle ?? Promise.reject(closed());
  }

  async #recover(): Promise<void> {
    if (this.#now() < this.#retryAt) throw this.#failure;
    try {
      // As long as nothing can be written, the old handle stays: it still reads.
      await probeSpace(this.#init.location);
      const old = this.#handle;
      this.#handle = undefined;
      await old?.abandon();
      this.#handle = await Handle.open({ ...this.#init, mustExist: true });
      this.#failure = undefined;
      this.#pause = RECOVER_PAUSE_MS;
    } catch (error) {
      this.#failure = storeError(error);
      this.#retryAt = this.#now() + this.#pause;
      this.#pause = Math.min(2 * this.#pause, LONGEST_RECOVER_PAUSE_MS);
      throw this.#failure;
    }
  }
}

/** One opening of the database. */
class Handle {
  readonly reader: Reader;
  readonly #db: Db;
  #abandoned = false;

  private constructor(db: Db) {
    this.#db = db;
    this.reader = this.#reader();
  }

  static async open(init: LevelStoreInit): Promise<Handle> {
    const db: Db = new ClassicLevel<Buffer, Buffer>(init.location, {
      keyEncoding: 'buffer',
      valueEncoding: 'buffer',
      createIfMissing: init.mustExist !== true,
      cacheSize: init.cacheBytes ?? 32 * 1024 * 1024,
      writeBufferSize: WRITE_BUFFER_BYTES,
    });
    try {
      await db.open();
    } catch (error) {
      // What went wrong is the cause; the error itself only says that the database is not open.
      throw storeError((error as Error).cause ?? error);
    }
    return new Handle(db);
  }

  async batch(ops: readonly StoreOp[], durable: boolean): Promise<void> {
    if (ops.length > LARGE_BATCH) return attempting(this.#batchInSlices(ops, durable));
    const batch = ops as unknown as AbstractBatchOperation<Db, Buffer, Buffer>[];
    await attempting(this.#db.batch(batch, { sync: durable }));
  }

  /** One batch all the same: it is handed over in slices, and written when it is whole. */
  async #batchInSlices(ops: readonly StoreOp[], durable: boolean): Promise<void> {
    const batch = this.#db.batch();
    try {
      for (const [at, op] of ops.entries()) {
        if (at % LARGE_BATCH === LARGE_BATCH - 1) await nextTurn();
        if (op.type === 'put') batch.put(op.key as Buffer, op.value as Buffer);
        else batch.del(op.key as Buffer);
      }
      await batch.write({ sync: durable });
    } finally {
      await batch.close();
    }
  }

  async compact(): Promise<void> {
    await attempting(this.#db.compactRange(Buffer.alloc(0), Buffer.alloc(1, 0xff)));
  }

  snapshot(): Snapshot {
    const snapshot = this.#attempt(() => this.#db.snapshot());
    const scans = new Set<Scan>();
    return {
      ...this.#reader(snapshot, scans),
      async close() {
        // An iterator would go on reading a state that LevelDB no longer keeps for it.
        for (const scan of scans) await scan.close();
        await snapshot.close();
      },
    };
  }

  /** Waits for reads under way; scans and snapshots end. */
  close(): Promise<void> {
    return this.#db.close();
  }

  /** Closes because another handle takes over, which is what scans and snapshots of this one will say. */
  abandon(): Promise<void> {
    this.#abandoned = true;
    return this.close();
  }

  /** @param scans where the scans of a snapshot are kept while they are open */
  #reader(snapshot?: LevelSnapshot, scans?: Set<Scan>): Reader {
    const options = snapshot === undefined ? {} : { snapshot };
    return {
      get: async (key) => this.#attempt(() => this.#db.getSync(key as Buffer, options)),
      getMany: async (keys) =>
        keys.length > 0 && keys.length <= MAX_SYNC_KEYS
          ? this.#attempt(() => keys.map((key) => this.#db.getSync(key as Buffer, options)))
          : this.#attempting(this.#db.getMany(keys as Buffer[], options)),
      scan: ({ gte, lt, reverse = false }) => {
        const iterator = this.#attempt(() => {
          // classic-level accepts a snapshot that is closed and then reads the newest state.
          snapshot?.ref();
          snapshot?.unref();
          return this.#db.iterator({
            ...options,
            gte: gte as Buffer,
            lt: lt as Buffer,
            reverse,
            highWaterMarkBytes: SCAN_HIGH_WATER_BYTES,
          });
        });
        const scan = new LevelScan(
          iterator,
          () => scans?.delete(scan),
          (error) => this.#error(error),
        );
        scans?.add(scan);
        return scan;
      },
    };
  }

  #error(error: unknown): unknown {
    const known = storeError(error);
    return this.#abandoned && known.code === 'store_closed' ? reopened(error) : known;
  }

  #attempt<T>(act: () => T): T {
    try {
      return act();
    } catch (error) {
      throw this.#error(error);
    }
  }

  async #attempting<T>(result: Promise<T>): Promise<T> {
    try {
      return await result;
    } catch (error) {
      throw this.#error(error);
    }
  }
}

class LevelScan implements Scan {
  readonly #iterator: LevelIterator;
  readonly #closed: () => void;
  readonly #error: (error: unknown) => unknown;
  #ended = false;

  constructor(iterator: LevelIterator, closed: () => void, error: (error: unknown) => unknown) {
    this.#iterator = iterator;
    this.#closed = closed;
    this.#error = error;
  }

  async next(count: number): Promise<Entry[]> {
    const entries: Entry[] = [];
    try {
      while (!this.#ended && entries.length < count) {
        const wanted = count - entries.length;
        const slice = await this.#iterator.nextv(wanted);
        let bytes = 0;
        for (const [key, value] of slice) {
          entries.push({ key, value });
          bytes += key.length + value.length;
        }
        // A short slice is the end, unless it was cut at SCAN_HIGH_WATER_BYTES; asking again costs a thread each time.
        this.#ended = slice.length === 0 || (slice.length < wanted && bytes < SCAN_HIGH_WATER_BYTES / 2);
      }
      if (this.#ended) await this.close();
    } catch (error) {
      throw this.#error(error);
    }
    return entries;
  }

  async close(): Promise<void> {
    await this.#iterator.close();
    this.#closed();
  }
}

/** A scan that begins once the database is open again. */
class LaterScan implements Scan {
  readonly #scan: Promise<Scan>;

  constructor(scan: Promise<Scan>) {
    this.#scan = scan;
    // Whoever reads it is told; nobody has to.
    scan.catch(() => {});
  }

  async next(count: number): Promise<Entry[]> {
    return (await this.#scan).next(count);
  }

  async close(): Promise<void> {
    await this.#scan.then(
      (scan) => scan.close(),
      () => {},
    );
  }
}

async function attempting<T>(result: Promise<T>): Promise<T> {
  try {
    return await result;
  } catch (error) {
    throw storeError(error);
  }
}

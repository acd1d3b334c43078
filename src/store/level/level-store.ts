import { readdir, stat } from 'node:fs/promises';
import { join } from 'node:path';
import type { AbstractBatchOperation } from 'abstract-level';
import { type Iterator as ClassicIterator, ClassicLevel } from 'classic-level';
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

export interface LevelStoreInit {
  /** Directory of the database; created when missing. */
  readonly location: string;
  /** Block cache in bytes. */
  readonly cacheBytes?: number;
  /** Refuse to create a database where there is none. */
  readonly mustExist?: boolean;
}

type Db = ClassicLevel<Buffer, Buffer>;
type LevelSnapshot = ReturnType<Db['snapshot']>;
type LevelIterator = ClassicIterator<Db, Buffer, Buffer>;

/** Memtable size: larger than LevelDB's 4 MB, so that a burst of writes causes fewer, larger level-0 files. */
const WRITE_BUFFER_BYTES = 16 * 1024 * 1024;
/** Bytes a scan reads ahead at most per step, whatever the entry count asked for. */
const SCAN_HIGH_WATER_BYTES = 1024 * 1024;

/** Store on LevelDB (classic-level), embedded: nothing to start, one process at a time. */
export class LevelStore implements Store {
  readonly #db: Db;
  readonly #location: string;
  readonly #reader: Reader;

  private constructor(db: Db, location: string) {
    this.#db = db;
    this.#location = location;
    this.#reader = reader(db);
  }

  /** @throws StoreError `store_locked`, `store_corrupt`, `store_io` */
  static async open(init: LevelStoreInit): Promise<LevelStore> {
    const db: Db = new ClassicLevel<Buffer, Buffer>(init.location, {
      keyEncoding: 'buffer',
      valueEncoding: 'buffer',
      createIfMissing: init.mustExist !== true,
      cacheSize: init.cacheBytes ?? 64 * 1024 * 1024,
      writeBufferSize: WRITE_BUFFER_BYTES,
    });
    try {
      await db.open();
    } catch (error) {
      // What went wrong is the cause; the error itself only says that the database is not open.
      throw storeError((error as Error).cause ?? error);
    }
    return new LevelStore(db, init.location);
  }

  get(key: Bytes): Promise<Buffer | undefined> {
    return this.#reader.get(key);
  }

  getMany(keys: readonly Bytes[]): Promise<(Buffer | undefined)[]> {
    return this.#reader.getMany(keys);
  }

  scan(options: ScanOptions): Scan {
    return this.#reader.scan(options);
  }

  snapshot(): Snapshot {
    const snapshot = attempt(() => this.#db.snapshot());
    const scans = new Set<Scan>();
    return {
      ...reader(this.#db, snapshot, scans),
      async close() {
        // An iterator would go on reading a state that LevelDB no longer keeps for it.
        for (const scan of scans) await scan.close();
        await snapshot.close();
      },
    };
  }

  async batch(ops: readonly StoreOp[], options: { readonly durable: boolean }): Promise<void> {
    await attempting(
      this.#db.batch(ops as unknown as AbstractBatchOperation<Db, Buffer, Buffer>[], { sync: options.durable }),
    );
  }

  async compact(): Promise<void> {
    await attempting(this.#db.compactRange(Buffer.alloc(0), Buffer.alloc(1, 0xff)));
  }

  async size(): Promise<number> {
    if (this.#db.status !== 'open') throw closed();
    let bytes = 0;
    for (const name of await attempting(readdir(this.#location))) {
      // Files come and go while LevelDB compacts.
      bytes += (await stat(join(this.#location, name)).catch(() => ({ size: 0 }))).size;
    }
    return bytes;
  }

  close(): Promise<void> {
    return this.#db.close();
  }
}

function attempt<T>(act: () => T): T {
  try {
    return act();
  } catch (error) {
    throw storeError(error);
  }
}

async function attempting<T>(result: Promise<T>): Promise<T> {
  try {
    return await result;
  } catch (error) {
    throw storeError(error);
  }
}

/** @param scans where the scans of a snapshot are kept while they are open */
function reader(db: Db, snapshot?: LevelSnapshot, scans?: Set<Scan>): Reader {
  const options = snapshot === undefined ? {} : { snapshot };
  return {
    get: (key) => attempting(db.get(key as Buffer, options)),
    getMany: (keys) => attempting(db.getMany(keys as Buffer[], options)),
    scan({ gte, lt, reverse = false }) {
      const iterator = attempt(() => {
        // classic-level accepts a snapshot that is closed and then reads the newest state.
        snapshot?.ref();
        snapshot?.unref();
        return db.iterator({
          ...options,
          gte: gte as Buffer,
          lt: lt as Buffer,
          reverse,
          highWaterMarkBytes: SCAN_HIGH_WATER_BYTES,
        });
      });
      const scan = new LevelScan(iterator, () => scans?.delete(scan));
      scans?.add(scan);
      return scan;
    },
  };
}

class LevelScan implements Scan {
  readonly #iterator: LevelIterator;
  readonly #closed: () => void;
  #ended = false;

  constructor(iterator: LevelIterator, closed: () => void) {
    this.#iterator = iterator;
    this.#closed = closed;
  }

  async next(count: number): Promise<Entry[]> {
    const entries: Entry[] = [];
    try {
      // A slice ends early at SCAN_HIGH_WATER_BYTES; only an empty one is the end.
      while (!this.#ended && entries.length < count) {
        const slice = await this.#iterator.nextv(count - entries.length);
        for (const [key, value] of slice) entries.push({ key, value });
        this.#ended = slice.length === 0;
      }
      if (this.#ended) await this.close();
    } catch (error) {
      throw storeError(error);
    }
    return entries;
  }

  async close(): Promise<void> {
    await this.#iterator.close();
    this.#closed();
  }
}

function closed(cause?: unknown): StoreError {
  return new StoreError('store_closed', 'the store is closed', 'the daemon is stopping; try again when it runs', cause);
}

/** Maps what LevelDB and the operating system say to the codes of this module. */
export function storeError(error: unknown): StoreError {
  if (error instanceof StoreError) return error;
  const { code, cause, message } = error as {
    code?: string;
    cause?: { code?: string; message?: string };
    message: string;
  };
  const text = `${message} ${cause?.message ?? ''}`;
  const codes = [code, cause?.code];
  if (codes.includes('LEVEL_LOCKED') || /already held by process|lock .*LOCK/i.test(text)) {
    return new StoreError(
      'store_locked',
      'another process has the store open',
      'stop it, or give this daemon its own home',
      error,
    );
  }
  if (/no space left|ENOSPC|disk quota/i.test(text)) {
    return new StoreError(
      'store_full',
      'no space left on the device of the store',
      'free space; writes resume by themselves',
      error,
    );
  }
  if (/read-only file system|EROFS|permission denied|EACCES/i.test(text)) {
    return new StoreError(
      'store_readonly',
      'the store cannot be written',
      'check mount options and permissions of the data directory',
      error,
    );
  }
  if (/create_if_missing is false|LOCK: No such file/i.test(text)) {
    return new StoreError(
      'store_io',
      'there is no store at this place',
      "run 'stigmesh init', or check the data directory",
      error,
    );
  }
  // A file that should be there and is not, is damage too.
  if (codes.includes('LEVEL_CORRUPTION') || /corruption|no such file|ENOENT/i.test(text)) {
    return new StoreError(
      'store_corrupt',
      `the store is damaged: ${cause?.message ?? message}`,
      "stop the daemon and run 'stigmesh verify'",
      error,
    );
  }
  if (codes.some((name) => name !== undefined && /^LEVEL_(DATABASE|ITERATOR|SNAPSHOT)_NOT_OPEN$/.test(name))) {
    return closed(error);
  }
  return new StoreError(
    'store_io',
    `the store failed: ${cause?.message ?? message}`,
    'check the disk, then restart the daemon',
    error,
  );
}

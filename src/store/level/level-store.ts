import { readdir, stat } from 'node:fs/promises';
import { join } from 'node:path';
import type { AbstractBatchOperation } from 'abstract-level';
import { ClassicLevel } from 'classic-level';
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

/** Memtable size: larger than LevelDB's 4 MB, so that a burst of writes causes fewer, larger level-0 files. */
const WRITE_BUFFER_BYTES = 16 * 1024 * 1024;
/** Bytes a scan reads ahead at most per step, whatever the entry count asked for. */
const SCAN_HIGH_WATER_BYTES = 1024 * 1024;

/** Store on LevelDB (classic-level), embedded: nothing to start, one process at a time. */
export class LevelStore implements Store {
  readonly #db: Db;
  readonly #location: string;

  private constructor(db: Db, location: string) {
    this.#db = db;
    this.#location = location;
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
      throw storeError(error);
    }
    return new LevelStore(db, init.location);
  }

  get(key: Bytes): Promise<Buffer | undefined> {
    return reader(this.#db, undefined).get(key);
  }

  getMany(keys: readonly Bytes[]): Promise<(Buffer | undefined)[]> {
    return reader(this.#db, undefined).getMany(keys);
  }

  scan(options: ScanOptions): Scan {
    return reader(this.#db, undefined).scan(options);
  }

  snapshot(): Snapshot {
    const snapshot = this.#db.snapshot();
    return { ...reader(this.#db, snapshot), close: () => snapshot.close() };
  }

  async batch(ops: readonly StoreOp[], options: { readonly durable: boolean }): Promise<void> {
    try {
      await this.#db.batch(ops as unknown as AbstractBatchOperation<Db, Buffer, Buffer>[], { sync: options.durable });
    } catch (error) {
      throw storeError(error);
    }
  }

  async compact(): Promise<void> {
    await this.#db.compactRange(Buffer.alloc(0), Buffer.alloc(1, 0xff)).catch((error: unknown) => {
      throw storeError(error);
    });
  }

  async size(): Promise<number> {
    let bytes = 0;
    for (const name of await readdir(this.#location)) {
      // Files come and go while LevelDB compacts.
      bytes += (await stat(join(this.#location, name)).catch(() => ({ size: 0 }))).size;
    }
    return bytes;
  }

  close(): Promise<void> {
    return this.#db.close();
  }
}

function reader(db: Db, snapshot: LevelSnapshot | undefined): Reader {
  const options = snapshot === undefined ? {} : { snapshot };
  return {
    async get(key) {
      try {
        return await db.get(key as Buffer, options);
      } catch (error) {
        throw storeError(error);
      }
    },
    async getMany(keys) {
      try {
        return await db.getMany(keys as Buffer[], options);
      } catch (error) {
        throw storeError(error);
      }
    },
    scan({ gte, lt, reverse = false }) {
      const iterator = db.iterator({
        ...options,
        gte: gte as Buffer,
        lt: lt as Buffer,
        reverse,
        highWaterMarkBytes: SCAN_HIGH_WATER_BYTES,
      });
      return {
        async next(count) {
          try {
            const entries: Entry[] = [];
            while (entries.length < count) {
              const slice = await iterator.nextv(count - entries.length);
              if (slice.length === 0) break;
              for (const [key, value] of slice) entries.push({ key, value });
            }
            return entries;
          } catch (error) {
            throw storeError(error);
          }
        },
        close: () => iterator.close(),
      };
    },
  };
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
  if (codes.includes('LEVEL_CORRUPTION') || /corruption/i.test(text)) {
    return new StoreError(
      'store_corrupt',
      `the store is damaged: ${cause?.message ?? message}`,
      "stop the daemon and run 'stigmesh verify'",
      error,
    );
  }
  if (codes.includes('LEVEL_DATABASE_NOT_OPEN') || codes.includes('LEVEL_ITERATOR_NOT_OPEN')) {
    return new StoreError(
      'store_closed',
      'the store is closed',
      'the daemon is stopping; try again when it runs',
      error,
    );
  }
  return new StoreError(
    'store_io',
    `the store failed: ${cause?.message ?? message}`,
    'check the disk, then restart the daemon',
    error,
  );
}

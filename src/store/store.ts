/**
 * An ordered key-value store: what the statement log and its indexes need of a disk, and nothing more.
 * Keys are compared as unsigned bytes. Every implementation passes test/compliance/store.ts.
 */

export type Bytes = Uint8Array;

export type StoreOp =
  | { readonly type: 'put'; readonly key: Bytes; readonly value: Bytes }
  | { readonly type: 'del'; readonly key: Bytes };

/** Half-open key range `[gte, lt)`. */
export interface KeyRange {
  readonly gte: Bytes;
  readonly lt: Bytes;
}

export interface ScanOptions extends KeyRange {
  /** Walk from the end of the range to its start. */
  readonly reverse?: boolean;
}

export interface Entry {
  readonly key: Buffer;
  readonly value: Buffer;
}

/** A cursor over a range. Close it when done early; reading to the end closes it too. */
export interface Scan {
  /** Up to `count` further entries; fewer than asked for only at the end of the range. */
  next(count: number): Promise<Entry[]>;
  close(): Promise<void>;
}

export interface Reader {
  get(key: Bytes): Promise<Buffer | undefined>;
  /** Values in the order of the keys; undefined where there is none. */
  getMany(keys: readonly Bytes[]): Promise<(Buffer | undefined)[]>;
  scan(options: ScanOptions): Scan;
}

/** A Reader over the state at one moment, whatever is written meanwhile. Close it: it pins that state. */
export interface Snapshot extends Reader {
  close(): Promise<void>;
}

export interface Store extends Reader {
  /**
   * Applies all operations or none. With `durable` they are on disk (fsync) when the promise resolves; without, they
   * survive a crash of the process but not of the machine.
   *
   * @throws StoreError; readers see nothing of it then, but see {@link recover}
   */
  batch(ops: readonly StoreOp[], options: { readonly durable: boolean }): Promise<void>;
  /**
   * Makes the store writable again after a batch failed, where that is possible by now; to be called before the next
   * batch. A disk that failed in the middle leaves it open whether the batch is on it: after this, all of it is there or
   * nothing, and reads tell which. Does nothing in a store that is well.
   *
   * @throws StoreError why it cannot be written yet
   */
  recover(): Promise<void>;
  snapshot(): Snapshot;
  /** Reclaims the space of overwritten and deleted entries. Slow; reads and writes go on meanwhile. */
  compact(): Promise<void>;
  /** Bytes on disk (memory: bytes of keys and values), roughly. */
  size(): Promise<number>;
  close(): Promise<void>;
}

export type StoreErrorCode =
  | 'store_locked'
  | 'store_corrupt'
  | 'store_full'
  | 'store_readonly'
  | 'store_io'
  | 'store_closed'
  | 'store_schema_newer'
  | 'store_migration_failed';

/** A store that could not do what was asked. `code` is stable; `hint` says what the operator can do. */
export class StoreError extends Error {
  override readonly name = 'StoreError';
  readonly code: StoreErrorCode;
  readonly hint: string;

  constructor(code: StoreErrorCode, message: string, hint: string, cause?: unknown) {
    super(message, { cause });
    this.code = code;
    this.hint = hint;
  }
}

/** Reads a whole range in slices, handing each to `visit`; between slices the event loop turns. Returning false ends it. */
export async function forEachSlice(
  reader: Reader,
  options: ScanOptions,
  visit: (entries: Entry[]) => undefined | boolean | Promise<undefined | boolean>,
  sliceSize = SCAN_SLICE,
): Promise<void> {
  const scan = reader.scan(options);
  try {
    for (;;) {
      const entries = await scan.next(sliceSize);
      if (entries.length === 0 || (await visit(entries)) === false || entries.length < sliceSize) return;
    }
  } finally {
    await scan.close();
  }
}

/** Entries read per slice of a long scan: about a millisecond of work at a time. */
export const SCAN_SLICE = 1000;

import {
  type Bytes,
  type Reader,
  type Scan,
  type ScanOptions,
  type Snapshot,
  type Store,
  StoreError,
  type StoreErrorCode,
  type StoreOp,
} from '../../src/store/store.ts';
import { Random } from './random.ts';

/** What the disk says: no space, mounted read-only, broken. */
export type DiskFault = 'ENOSPC' | 'EROFS' | 'EIO';

const CODES: Record<DiskFault, StoreErrorCode> = { ENOSPC: 'store_full', EROFS: 'store_readonly', EIO: 'store_io' };

export function diskError(fault: DiskFault): StoreError {
  return new StoreError(CODES[fault], `the disk said ${fault}`, 'mend the disk');
}

export interface FaultPlan {
  readonly fault: DiskFault;
  /** Fails from the n-th operation on, counted from now (1: the next). */
  readonly from?: number;
  /** How many fail before the disk is well again by itself; otherwise {@link FaultyStore.heal} does it. */
  readonly times?: number;
  /**
   * Batches only: the first that fails is on disk all the same, and shows after the recovery. So it is when the data
   * was written and the fsync failed.
   */
  readonly landed?: boolean;
}

interface Armed {
  readonly plan: FaultPlan;
  left: number;
  wait: number;
}

/**
 * A store on a disk that fails when it is told to, around any other. It keeps to the contract of real ones: what failed
 * is never half there, and after a failed batch nothing is written until `recover()` was called and could work.
 */
export class FaultyStore implements Store {
  readonly #inner: Store;
  #random: Random | undefined;
  #chance = 0;
  #batches: Armed | undefined;
  #reads: Armed | undefined;
  #failure: StoreError | undefined;
  /** Batches that failed, and are on disk. */
  #landed: (readonly StoreOp[])[] = [];
  /** Batches that were asked for, and operations in them. */
  batches = 0;
  operations = 0;
  /** Keys looked up and rows scanned. */
  rows = 0;
  /** Times that somebody asked the store to recover. */
  recoveries = 0;

  constructor(inner: Store) {
    this.#inner = inner;
  }

  /** From now on batches fail by chance, until the disk is healed; half of them land all the same. */
  failByChance(seed: number, chance: number): void {
    this.#random = new Random(seed);
    this.#chance = chance;
  }

  failBatches(plan: FaultPlan): void {
    this.#batches = armed(plan);
  }

  failReads(plan: FaultPlan): void {
    this.#reads = armed(plan);
  }

  /** The disk is well again. */
  heal(): void {
    this.#batches = undefined;
    this.#reads = undefined;
    this.#chance = 0;
  }

  async get(key: Bytes): Promise<Buffer | undefined> {
    this.#read(1);
    return this.#inner.get(key);
  }

  async getMany(keys: readonly Bytes[]): Promise<(Buffer | undefined)[]> {
    this.#read(keys.length);
    return this.#inner.getMany(keys);
  }

  scan(options: ScanOptions): Scan {
    return this.#scan(this.#inner, options);
  }

  snapshot(): Snapshot {
    const snapshot = this.#inner.snapshot();
    return {
      get: async (key) => {
        this.#read(1);
        return snapshot.get(key);
      },
      getMany: async (keys) => {
        this.#read(keys.length);
        return snapshot.getMany(keys);
      },
      scan: (options) => this.#scan(snapshot, options),
      close: () => snapshot.close(),
    };
  }

  async batch(ops: readonly StoreOp[], options: { readonly durable: boolean }): Promise<void> {
    this.batches += 1;
    this.operations += ops.length;
    if (this.#failure) throw this.#failure;
    const plan = due(this.#batches) ?? this.#chaos();
    if (!plan) return this.#inner.batch(ops, options);
    if (plan.landed) this.#landed.push(ops.map((op) => ({ ...op })));
    this.#failure = diskError(plan.fault);
    throw this.#failure;
  }

  async recover(): Promise<void> {
    this.recoveries += 1;
    if (!this.#failure) return this.#inner.recover();
    const plan = due(this.#batches);
    if (plan) throw diskError(plan.fault);
    for (const ops of this.#landed.splice(0)) await this.#inner.batch(ops, { durable: true });
    this.#failure = undefined;
  }

  compact(): Promise<void> {
    return this.#inner.compact();
  }

  size(): Promise<number> {
    return this.#inner.size();
  }

  close(): Promise<void> {
    return this.#inner.close();
  }

  #scan(reader: Reader, options: ScanOptions): Scan {
    const scan = reader.scan(options);
    return {
      next: async (count) => {
        this.#read(0);
        const rows = await scan.next(count);
        this.rows += rows.length;
        return rows;
      },
      close: () => scan.close(),
    };
  }

  #read(count: number): void {
    this.rows += count;
    const plan = due(this.#reads);
    if (plan) throw diskError(plan.fault);
  }

  #chaos(): FaultPlan | undefined {
    if (!this.#random || this.#random.next() >= this.#chance) return undefined;
    return { fault: this.#random.pick(['ENOSPC', 'EROFS', 'EIO'] as const), landed: this.#random.next() < 0.5 };
  }
}

function armed(plan: FaultPlan): Armed {
  return { plan, wait: (plan.from ?? 1) - 1, left: plan.times ?? Number.POSITIVE_INFINITY };
}

/** The plan, when this operation is one that fails. */
function due(at: Armed | undefined): FaultPlan | undefined {
  if (!at || at.left === 0) return undefined;
  if (at.wait > 0) {
    at.wait -= 1;
    return undefined;
  }
  at.left -= 1;
  return at.plan;
}

import * as keys from '../store/keys.ts';
import type { Reader } from '../store/store.ts';
import type { Cardinality } from './cardinality.ts';
import { MAX_EXPIRY_SLICE } from './limits.ts';
import type { NodeMetrics } from './metrics.ts';
import type { KeyState, ViewTable } from './view-table.ts';
import type { Group, Writer } from './writer.ts';

/** Slices settled before a read goes on; what is still due then is left to the sweep, and reads hide it by its instant. */
const SLICES_BEFORE_READ = 8;

/**
 * Keeps the stored view true as time passes: facts fall due at `valid_until`, and what they outranked becomes current.
 * Reads settle what is due first, so the view they see is the view of their moment.
 */
export class Expiry {
  readonly #store: Reader;
  readonly #now: () => number;
  /** Earliest instant (Unix ms) in the table, or earlier; null when it is empty. */
  #next: number | null = null;
  /** Earliest instant scheduled since the table was last read: it may not be on disk yet. */
  #scheduled: number | null = null;
  #settling: Promise<void> | undefined;
  #views: ViewTable | undefined;
  #writer: Writer | undefined;
  readonly #metrics: Pick<NodeMetrics, 'expired'> | null;
  /** A declaration that expires changes views as one that is made. */
  readonly #cardinality: Pick<Cardinality, 'changed'>;

  constructor(components: {
    readonly store: Reader;
    readonly now: () => number;
    readonly metrics: Pick<NodeMetrics, 'expired'> | null;
    readonly cardinality: Pick<Cardinality, 'changed'>;
  }) {
    this.#store = components.store;
    this.#now = components.now;
    this.#metrics = components.metrics;
    this.#cardinality = components.cardinality;
  }

  async start(views: ViewTable, writer: Writer): Promise<void> {
    this.#views = views;
    this.#writer = writer;
    this.#next = await this.#earliest();
  }

  /** How long (ms) the oldest expiry has been due; 0 when none is. */
  get overdueMs(): number {
    return this.#next === null ? 0 : Math.max(0, this.#now() - this.#next);
  }

  /** Notes when a statement expires. */
  schedule(group: Group, until: number, state: KeyState, id: string): void {
    const at = Math.max(0, until);
    group.ops.push({ type: 'put', key: keys.expiryKey(at, state.k, Buffer.from(id, 'hex')), value: Buffer.alloc(0) });
    this.expect(at);
  }

  /** Notes that a statement expires at another instant than it did: of each there is one row, whatever was said before. */
  reschedule(group: Group, from: number | null, to: number | null, state: KeyState, id: string): void {
    if (from === to) return;
    if (from !== null) {
      group.ops.push({ type: 'del', key: keys.expiryKey(Math.max(0, from), state.k, Buffer.from(id, 'hex')) });
    }
    if (to !== null) this.schedule(group, to, state, id);
  }

  /** Takes note of an instant that is being added to the table. */
  expect(at: number): void {
    this.#next = earlier(this.#next, at);
    this.#scheduled = earlier(this.#scheduled, at);
  }

  /** Brings the view up to the present, as far as is reasonable before a read. */
  async settle(slices = SLICES_BEFORE_READ): Promise<void> {
    for (let slice = 0; slice < slices && this.#next !== null && this.#next <= this.#now(); slice++) {
      this.#settling ??= this.#settleSlice().finally(() => {
        this.#settling = undefined;
      });
      try {
        await this.#settling;
      } catch {
        // A store that cannot be written still answers: readers hide what is due by its instant.
        return;
      }
    }
  }

  async #settleSlice(): Promise<void> {
    const views = this.#views!;
    this.#scheduled = null;
    await this.#writer!.submit(0, async (group) => {
      const scan = this.#store.scan(keys.expiryRange(group.now));
      const rows = await scan.next(MAX_EXPIRY_SLICE);
      await scan.close();
      for (const { key } of rows) {
        const state = await views.loadById(keys.expiryOf(key).k);
        if (state) {
          group.dirty.add(state);
          this.#cardinality.changed(group, state);
        }
        group.ops.push({ type: 'del', key });
      }
      group.afterCommit.push(() => this.#metrics?.expired(rows.length));
    });
    this.#next = await this.#earliest();
    if (this.#scheduled !== null) this.#next = earlier(this.#next, this.#scheduled);
  }

  async #earliest(): Promise<number | null> {
    const scan = this.#store.scan(keys.allExpiries());
    const [first] = await scan.next(1);
    await scan.close();
    return first ? keys.expiryOf(first.key).instant : null;
  }
}

function earlier(a: number | null, b: number): number {
  return a === null ? b : Math.min(a, b);
}

import type { KeyRange, Reader, Scan } from '../store/store.ts';

/** One row of a merged read: its order bytes (clock, digest) and the digest. */
export interface MergedRow {
  readonly order: Buffer;
  readonly digest: Buffer;
}

const CHUNK = 64;

interface Source {
  readonly scan: Scan;
  rows: MergedRow[];
  at: number;
  ended: boolean;
}

/**
 * Reads several index ranges newest first as if they were one: each range is in order, so the next row is the greatest
 * of their heads. `toRow` takes order and digest from a key and value.
 */
export class MergedScan {
  readonly #sources: Source[];
  readonly #toRow: (key: Buffer, value: Buffer) => MergedRow;

  constructor(reader: Reader, ranges: readonly KeyRange[], toRow: (key: Buffer, value: Buffer) => MergedRow) {
    this.#sources = ranges.map((range) => ({
      scan: reader.scan({ ...range, reverse: true }),
      rows: [],
      at: 0,
      ended: false,
    }));
    this.#toRow = toRow;
  }

  async next(count: number): Promise<MergedRow[]> {
    const merged: MergedRow[] = [];
    while (merged.length < count) {
      for (const source of this.#sources) await this.#fill(source);
      let best: Source | undefined;
      for (const source of this.#sources) {
        const row = source.rows[source.at];
        if (row && (!best || Buffer.compare(row.order, best.rows[best.at]!.order) > 0)) best = source;
      }
      if (!best) break;
      merged.push(best.rows[best.at++]!);
    }
    return merged;
  }

  async close(): Promise<void> {
    await Promise.all(this.#sources.map(({ scan }) => scan.close()));
  }

  async #fill(source: Source): Promise<void> {
    if (source.ended || source.at < source.rows.length) return;
    const entries = await source.scan.next(CHUNK);
    source.ended = entries.length < CHUNK;
    source.rows = entries.map(({ key, value }) => this.#toRow(key, value));
    source.at = 0;
  }
}

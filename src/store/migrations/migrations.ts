import type { Store, StoreOp } from '../store.ts';

/** Tells how far a migration is; `total` is an estimate. */
export type Progress = (done: number, total: number) => void;

/** One step of the schema. */
export interface Migration {
  /** Schema version after this step; before it, the store has `to - 1`. */
  readonly to: number;
  /** What changes, in one line for the log. */
  readonly description: string;
  /**
   * Does the work. It may write batches of its own, each durable, and may be interrupted after any of them and started
   * again from the beginning: what it finds done, it must leave as it is. The operations it returns are written in one
   * batch with the new version, so whatever must not happen twice belongs there.
   */
  run(store: Store, progress: Progress): Promise<readonly StoreOp[]>;
}

/** The first schema: what a store without any migration has. */
export const FIRST_SCHEMA = 1;

/** Every step since the first schema, in order. Entries are never changed or removed once released. */
export const MIGRATIONS: readonly Migration[] = [];

/** The schema that a list of migrations leads to; checks that it has no gap. */
export function schemaAfter(migrations: readonly Migration[]): number {
  for (const [i, { to }] of migrations.entries()) {
    if (to !== FIRST_SCHEMA + 1 + i) throw new RangeError(`migration ${i} leads to schema ${to}: steps must follow on`);
  }
  return FIRST_SCHEMA + migrations.length;
}

/** The schema this program reads and writes. */
export const SCHEMA_VERSION = schemaAfter(MIGRATIONS);

import { metaKey } from '../keys.ts';
import { type Store, StoreError } from '../store.ts';
import { FIRST_SCHEMA, type Migration, schemaAfter } from './migrations.ts';

/** The schema record of a store, under metaKey('schema'). */
export interface SchemaRecord {
  readonly version: number;
  /** Program that wrote this record: `stigmesh/<version>`. */
  readonly written_by: string;
  /** Set while migrations run: where to, and the copy made before the first of them. */
  readonly migrating?: { readonly to: number; readonly backup: string | null };
}

/** @throws StoreError `store_corrupt` when the record cannot be read, or is missing in a store that has data */
export async function readSchema(store: Store): Promise<SchemaRecord | undefined> {
  const value = await store.get(metaKey('schema'));
  if (value === undefined) {
    const first = store.scan({ gte: Buffer.alloc(0), lt: Buffer.alloc(1, 0xff) });
    const [entry] = await first.next(1);
    await first.close();
    if (entry === undefined) return undefined;
    throw damaged('the store has data but no schema version');
  }
  let record: Partial<SchemaRecord> | null;
  try {
    record = JSON.parse(value.toString('utf8')) as Partial<SchemaRecord> | null;
  } catch {
    record = null;
  }
  if (!Number.isSafeInteger(record?.version) || record!.version! < 1 || typeof record!.written_by !== 'string') {
    throw damaged('the schema version of the store cannot be read');
  }
  return record as SchemaRecord;
}

function damaged(message: string): StoreError {
  return new StoreError('store_corrupt', message, 'restore a backup, or export and import the facts into a new home');
}

/** @throws StoreError `store_schema_newer` when a newer program wrote the store or began to migrate it */
export function assertReadable(record: SchemaRecord, target: number): void {
  const needed = Math.max(record.version, record.migrating?.to ?? 0);
  if (needed <= target) return;
  const backup = record.migrating?.backup;
  const how = record.migrating ? `is being migrated to schema ${needed}` : `has schema ${needed}`;
  throw new StoreError(
    'store_schema_newer',
    `the store ${how}, written by ${record.written_by}; this program knows schema ${target}`,
    `run ${record.written_by} or newer, or go back to the copy made before the upgrade: move the data directory away and ${
      backup ? `rename ${backup} to its place` : 'rename the newest <data>.schema<N>.<time>.bak beside it to its place'
    } (what was written since is only in the newer store; 'stigmesh export' there saves it)`,
  );
}

export interface PrepareInit {
  readonly migrations: readonly Migration[];
  readonly writtenBy: string;
  /** Path of the copy just made; null when there is none, or an earlier, interrupted run made it. */
  readonly backup: string | null;
  readonly log: (message: string) => void;
}

/**
 * Brings a store to the schema of this program: writes the version into a fresh one, runs what is missing on an older
 * one. Safe to repeat after an interruption at any point.
 *
 * @returns descriptions of the migrations that ran
 * @throws StoreError `store_schema_newer`, `store_migration_failed`, `store_corrupt`
 */
export async function prepareSchema(store: Store, init: PrepareInit): Promise<string[]> {
  const target = schemaAfter(init.migrations);
  const record = await readSchema(store);
  if (record === undefined) {
    await write(store, { version: target, written_by: init.writtenBy });
    return [];
  }
  assertReadable(record, target);
  if (record.version === target) return [];
  const migrating = { to: target, backup: init.backup ?? record.migrating?.backup ?? null };
  // Said before anything changes, so that an older program keeps off a store that is half way.
  await write(store, { ...record, written_by: init.writtenBy, migrating });
  const done: string[] = [];
  for (const migration of init.migrations.slice(record.version - FIRST_SCHEMA)) {
    await runOne(store, migration, migrating, init);
    done.push(migration.description);
  }
  return done;
}

async function runOne(
  store: Store,
  migration: Migration,
  migrating: { readonly to: number; readonly backup: string | null },
  init: PrepareInit,
): Promise<void> {
  init.log(`migrating the store to schema ${migration.to}: ${migration.description}`);
  try {
    const ops = await migration.run(store, (done, total) => {
      init.log(`migrating the store to schema ${migration.to}: ${done} of ${total}`);
    });
    const next: SchemaRecord = {
      version: migration.to,
      written_by: init.writtenBy,
      ...(migration.to === migrating.to ? {} : { migrating }),
    };
    await store.batch([...ops, { type: 'put', key: metaKey('schema'), value: encode(next) }], { durable: true });
  } catch (error) {
    const copy = migrating.backup === null ? '' : `; the store as it was is at ${migrating.backup}`;
    throw new StoreError(
      'store_migration_failed',
      `migrating to schema ${migration.to} failed: ${(error as Error).message}`,
      `remove the cause and start again: the migration resumes${copy}`,
      error,
    );
  }
}

async function write(store: Store, record: SchemaRecord): Promise<void> {
  await store.batch([{ type: 'put', key: metaKey('schema'), value: encode(record) }], { durable: true });
}

const encode = (record: SchemaRecord): Buffer => Buffer.from(JSON.stringify(record));

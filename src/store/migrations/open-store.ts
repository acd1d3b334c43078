import { constants } from 'node:fs';
import { access, cp, readdir, rename, rm } from 'node:fs/promises';
import { basename, dirname, join } from 'node:path';
import { syncDirectory, syncFile } from '../durable-file.ts';
import { storeError } from '../level/level-errors.ts';
import { LevelStore } from '../level/level-store.ts';
import { finishSalvage } from '../level/salvage.ts';
import { StoreError } from '../store.ts';
import { MIGRATIONS, type Migration, schemaAfter } from './migrations.ts';
import { assertReadable, prepareSchema, readSchema, type SchemaRecord } from './schema.ts';

export interface OpenStoreInit {
  /** Directory of the database; created when missing. */
  readonly location: string;
  /** Block cache in bytes. */
  readonly cacheBytes?: number | undefined;
  /** Name and version of this program, for the schema record: `stigmesh/<version>`. */
  readonly writtenBy: string;
  readonly migrations?: readonly Migration[] | undefined;
  readonly now: () => number;
  readonly log: (message: string) => void;
}

export interface OpenedStore {
  readonly store: LevelStore;
  /** Descriptions of the migrations that ran. */
  readonly migrated: readonly string[];
}

/**
 * Opens the store of a home at the schema of this program. An older store is copied beside itself first
 * (`<location>.schema<N>.<time>.bak`, made while it is closed), once per upgrade however often that is interrupted.
 * Copies are never removed by the program.
 *
 * @throws StoreError as LevelStore.open, and `store_schema_newer`, `store_migration_failed`
 */
export async function openStore(init: OpenStoreInit): Promise<OpenedStore> {
  const migrations = init.migrations ?? MIGRATIONS;
  await finishSalvage(init.location);
  let store = await open(init);
  try {
    const record = await readSchema(store);
    let backup: string | null = null;
    if (record !== undefined && (await needsCopy(record, migrations))) {
      await store.close();
      backup = await copyStore(init, record.version);
      store = await open(init);
    }
    const migrated = await prepareSchema(store, { migrations, writtenBy: init.writtenBy, backup, log: init.log });
    return { store, migrated };
  } catch (error) {
    await store.close();
    throw error;
  }
}

function open({ location, cacheBytes, now, log }: OpenStoreInit): Promise<LevelStore> {
  return LevelStore.open({ location, now, log, ...(cacheBytes === undefined ? {} : { cacheBytes }) });
}

async function needsCopy(record: SchemaRecord, migrations: readonly Migration[]): Promise<boolean> {
  const target = schemaAfter(migrations);
  assertReadable(record, target);
  if (record.version === target) return false;
  // A copy made now would show the store half way: the one from before the first step counts.
  const earlier = record.migrating?.backup;
  return !earlier || !(await exists(earlier));
}

/** A complete copy appears under its name or not at all; what an interrupted copy left is removed. */
async function copyStore(init: OpenStoreInit, version: number): Promise<string> {
  const { location } = init;
  const parent = dirname(location);
  // Colons are not allowed in names on some file systems.
  const time = new Date(init.now()).toISOString().replaceAll(':', '-');
  const backup = `${location}.schema${version}.${time}.bak`;
  const partial = `${backup}.partial`;
  init.log(`copying the store before its migration, to ${backup}`);
  try {
    for (const name of await readdir(parent)) {
      if (name.startsWith(`${basename(location)}.schema`) && name.endsWith('.bak.partial')) {
        await rm(join(parent, name), { recursive: true, force: true });
      }
    }
    await cp(location, partial, {
      recursive: true,
      errorOnExist: true,
      force: false,
      preserveTimestamps: true,
      // Costs neither time nor space where the file system can share blocks.
      mode: constants.COPYFILE_FICLONE,
    });
    for (const entry of await readdir(partial, { withFileTypes: true })) {
      if (entry.isFile()) await syncFile(join(partial, entry.name));
    }
    await syncDirectory(partial);
    await rename(partial, backup);
    await syncDirectory(parent);
    return backup;
  } catch (error) {
    await rm(partial, { recursive: true, force: true }).catch(() => {});
    const { code, hint } = storeError(error);
    throw new StoreError(
      code,
      `the copy before the migration failed, nothing was migrated: ${(error as Error).message}`,
      code === 'store_full' ? 'free at least the size of the data directory, then start again' : hint,
      error,
    );
  }
}

async function exists(path: string): Promise<boolean> {
  return access(path).then(
    () => true,
    () => false,
  );
}

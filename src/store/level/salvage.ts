import { access, readdir, readFile, rename, rm } from 'node:fs/promises';
import { dirname, join } from 'node:path';
import { setImmediate as nextTurn } from 'node:timers/promises';
import { syncDirectory } from '../durable-file.ts';
import { DERIVED_RANGES, u64 } from '../keys.ts';
import { forEachSlice, StoreError, type StoreOp } from '../store.ts';
import { readLog, readManifest } from './format.ts';
import { type FileDamage, inspect } from './inspect.ts';
import { storeError } from './level-errors.ts';
import { LevelStore } from './level-store.ts';
import { logVersions, tableVersions, type Version } from './salvage-read.ts';

/** Damage to the files of a database that is closed; every table is read, which takes about a second a gigabyte. */
export async function fileDamage(location: string): Promise<readonly FileDamage[]> {
  return (await inspect(location, Number.POSITIVE_INFINITY)).damage;
}

/**
 * Makes a database that can be opened out of one that is damaged: everything whose checksum fits is written into a new
 * one, but for the tables that are derived from the log and have to be rebuilt. The damaged one stays beside it as it
 * was, for whoever may read more out of it. (LevelDB's own repair takes over blocks without looking at their checksums.)
 *
 * @returns where the damaged database is now
 * @throws StoreError; the database is as it was then
 */
export async function salvage(location: string, now: number): Promise<string> {
  const time = new Date(now).toISOString().replaceAll(':', '-');
  const aside = `${location}.damaged.${time}`;
  const partial = `${location}.salvage.partial`;
  try {
    await rm(partial, { recursive: true, force: true });
    const store = await LevelStore.open({ location: partial });
    try {
      await copyVersions(location, store);
      await keepNewest(store);
    } finally {
      await store.close();
    }
    const salvaged = salvagedPath(location);
    await rm(salvaged, { recursive: true, force: true });
    await rename(partial, salvaged);
    await rename(location, aside);
    await finishSalvage(location);
    return aside;
  } catch (error) {
    await rm(partial, { recursive: true, force: true }).catch(() => {});
    const { code, hint } = storeError(error);
    throw new StoreError(
      code,
      `the damaged store could not be salvaged, it is as it was: ${(error as Error).message}`,
      code === 'store_full' ? 'free at least the size of the data directory, then try again' : hint,
      error,
    );
  }
}

/** Puts a salvaged database in its place, also when that was interrupted; without one it does nothing. */
export async function finishSalvage(location: string): Promise<void> {
  const salvaged = salvagedPath(location);
  if ((await exists(location)) || !(await exists(salvaged))) return;
  await rename(salvaged, location);
  await syncDirectory(dirname(location));
}

function salvagedPath(location: string): string {
  return `${location}.salvaged`;
}

const DERIVED_TAGS: ReadonlySet<number> = new Set(DERIVED_RANGES.map(({ gte }) => gte[0]!));

/** Before each value, while versions are collected: LevelDB's sequence number, and whether there is a value. */
const VERSION_BYTES = 9;

async function copyVersions(from: string, to: LevelStore): Promise<void> {
  for (const path of await sources(from)) {
    const bytes = await readFile(path).catch(() => undefined);
    if (!bytes) continue;
    for (const versions of path.endsWith('.log') ? logVersions(bytes) : tableVersions(bytes)) {
      await addVersions(to, versions);
      await nextTurn();
    }
  }
}

/** The files that the database consists of; where that is not known, all there are. */
async function sources(location: string): Promise<string[]> {
  const names = (await readdir(location)).sort();
  let isLive = (_name: string): boolean => true;
  try {
    const current = (await readFile(join(location, 'CURRENT'), 'utf8')).trim();
    const { records, flaw, tail } = readLog(await readFile(join(location, current)));
    if (!flaw && tail === 0 && /^MANIFEST-\d+$/.test(current)) {
      const { tables, logNumber, previousLog } = readManifest(records);
      isLive = (name) => {
        const number = Number.parseInt(name, 10);
        return name.endsWith('.log') ? number >= logNumber || number === previousLog : tables.has(number);
      };
    }
  } catch {
    // Then every file is read; a version that was compacted away loses against the one that replaced it.
  }
  return names
    .filter((name) => /^\d+\.(?:ldb|sst|log)$/.test(name) && isLive(name))
    .map((name) => join(location, name));
}

async function addVersions(to: LevelStore, versions: readonly Version[]): Promise<void> {
  const newest = new Map<string, Version>();
  for (const version of versions) {
    if (DERIVED_TAGS.has(version.key[0]!)) continue;
    const name = version.key.toString('latin1');
    if ((newest.get(name)?.sequence ?? -1) < version.sequence) newest.set(name, version);
  }
  const wanted = [...newest.values()];
  const there = await to.getMany(wanted.map(({ key }) => key));
  const ops = wanted.flatMap(({ key, sequence, value }, at): StoreOp[] => {
    const old = there[at];
    if (old && Number(old.readBigUInt64BE(0)) >= sequence) return [];
    const marked = Buffer.concat([u64(sequence), Buffer.of(value === null ? 0 : 1), value ?? Buffer.alloc(0)]);
    return [{ type: 'put', key, value: marked }];
  });
  if (ops.length > 0) await to.batch(ops, { durable: false });
}

/** Takes the versions off again. */
async function keepNewest(store: LevelStore): Promise<void> {
  await forEachSlice(store, { gte: Buffer.alloc(0), lt: Buffer.alloc(1, 0xff) }, async (rows) => {
    const ops = rows.map(
      ({ key, value }): StoreOp =>
        value[VERSION_BYTES - 1] === 0
          ? { type: 'del', key }
          : { type: 'put', key, value: value.subarray(VERSION_BYTES) },
    );
    await store.batch(ops, { durable: false });
    return undefined;
  });
  await store.batch([], { durable: true });
  await store.compact();
}

function exists(path: string): Promise<boolean> {
  return access(path).then(
    () => true,
    () => false,
  );
}

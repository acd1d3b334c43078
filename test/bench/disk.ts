import { cp, mkdtemp, readdir, rm, stat } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { LevelStore } from '../../src/store/level/level-store.ts';

export interface DiskBytes {
  /** Sorted tables, as the daemon left them. */
  readonly tables: number;
  /** Write-ahead logs: what was not yet sorted into tables, uncompressed. */
  readonly log: number;
  /** Everything, after a full compaction of a copy. */
  readonly compacted: number;
}

/** @param home of a daemon that does not run */
export async function diskBytes(home: string): Promise<DiskBytes> {
  const location = await databaseIn(home);
  const tables = await sizeOf(location, '.ldb');
  const log = await sizeOf(location, '.log');
  const copy = await mkdtemp(join(tmpdir(), 'stigmesh-bench-compact-'));
  try {
    await cp(location, copy, { recursive: true });
    const store = await LevelStore.open({ location: copy, mustExist: true });
    await store.compact();
    await store.close();
    return { tables, log, compacted: (await sizeOf(copy, '.ldb')) + (await sizeOf(copy, '.log')) };
  } finally {
    await rm(copy, { recursive: true, force: true });
  }
}

async function databaseIn(home: string): Promise<string> {
  const names = await readdir(home, { recursive: true });
  const current = names.find((name) => name.endsWith('CURRENT'));
  if (current === undefined) throw new Error(`no database in ${home}`);
  return join(home, current, '..');
}

async function sizeOf(directory: string, suffix: string): Promise<number> {
  let bytes = 0;
  for (const name of await readdir(directory)) {
    if (name.endsWith(suffix)) bytes += (await stat(join(directory, name)).catch(() => ({ size: 0 }))).size;
  }
  return bytes;
}

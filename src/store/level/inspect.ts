import { hash } from 'node:crypto';
import { open, readdir, readFile, rename, rm, stat } from 'node:fs/promises';
import { join } from 'node:path';
import { setImmediate as nextTurn } from 'node:timers/promises';
import { syncDirectory } from '../durable-file.ts';
import { StoreError } from '../store.ts';
import { type Manifest, readLog, readManifest, tableFlaw } from './format.ts';

/** Damage to one file of a database. */
export interface FileDamage {
  readonly file: string;
  readonly message: string;
}

export interface TableFile {
  readonly file: string;
  readonly size: number;
}

export interface Inspection {
  readonly damage: readonly FileDamage[];
  /** Tables that were not read, because there were more than could be read now. */
  readonly unread: readonly TableFile[];
  /** Things an operator should know that are no reason not to start. */
  readonly notices: readonly string[];
}

/** What a database leaves behind when it is closed in order: what its files were then. */
const MARK_FILE = 'closed.mark';

/**
 * Checks the files of a database that nobody has open, without changing any. LevelDB itself does not: by default it
 * reads blocks without looking at their checksums, and drops what it cannot read of its log without a word.
 *
 * Logs and the manifest are always read; tables, the newest first, up to `tableBytes`. A database that was not closed in
 * order is read entirely, whatever killed it: LevelDB aborts the process when it compacts a table that is out of order.
 */
export async function inspect(
  location: string,
  tableBytes: number,
  unclosedBytes = Number.POSITIVE_INFINITY,
): Promise<Inspection> {
  const damage: FileDamage[] = [];
  const notices: string[] = [];
  const none = { damage, unread: [], notices };
  const names = await readdir(location).catch(absent);
  if (names === undefined) return none;
  const changed = await compareWithMark(location);
  damage.push(...(changed ?? []));
  const current = await readFile(join(location, 'CURRENT'), 'utf8').catch(absent);
  if (current === undefined) {
    const hasData = names.some((name) => /\.(?:ldb|sst|log)$|^MANIFEST-/.test(name));
    // LevelDB would take it for a new database and remove every table.
    if (hasData) damage.push({ file: 'CURRENT', message: 'is missing, though there is data' });
    return none;
  }
  const manifestFile = /^(MANIFEST-\d+)\n$/.exec(current)?.[1];
  if (manifestFile === undefined) {
    damage.push({ file: 'CURRENT', message: 'does not name a manifest' });
    return none;
  }
  const manifest = await inspectManifest(location, manifestFile, damage);
  if (!manifest) return none;
  for (const name of names) {
    const number = /^(\d+)\.log$/.exec(name)?.[1];
    if (number === undefined) continue;
    if (Number(number) >= manifest.logNumber || Number(number) === manifest.previousLog) {
      await inspectLog(location, name, damage, notices);
    }
  }
  const unread: TableFile[] = [];
  let left = changed === undefined ? unclosedBytes : tableBytes;
  for (const [number, size] of [...manifest.tables].sort(([a], [b]) => b - a)) {
    const file = tableName(names, number);
    left -= size;
    if (left < 0) unread.push({ file, size });
    const found = await inspectTable(location, { file, size }, left >= 0);
    if (found) damage.push(found);
    await nextTurn();
  }
  return { damage, unread, notices };
}

function tableName(names: readonly string[], number: number): string {
  const digits = String(number).padStart(6, '0');
  return names.includes(`${digits}.sst`) ? `${digits}.sst` : `${digits}.ldb`;
}

async function inspectManifest(location: string, file: string, damage: FileDamage[]): Promise<Manifest | undefined> {
  const bytes = await readFile(join(location, file)).catch(absent);
  if (bytes === undefined) {
    damage.push({ file, message: 'is missing' });
    return undefined;
  }
  const { records, flaw, isTorn } = readLog(bytes);
  if (flaw || !isTorn || records.length === 0) {
    damage.push({ file, message: flaw ? `${flaw.message} (at byte ${flaw.offset})` : 'cannot be read to its end' });
    return undefined;
  }
  try {
    return readManifest(records);
  } catch (error) {
    if (!(error instanceof RangeError)) throw error;
    damage.push({ file, message: error.message });
    return undefined;
  }
}

async function inspectLog(location: string, file: string, damage: FileDamage[], notices: string[]): Promise<void> {
  const bytes = await readFile(join(location, file)).catch(absent);
  if (bytes === undefined) return;
  const { flaw, tail, isTorn } = readLog(bytes);
  if (flaw) damage.push({ file, message: `${flaw.message} (at byte ${flaw.offset})` });
  else if (tail > 0 && !isTorn) {
    notices.push(
      `the last ${tail} bytes of ${file} cannot be read and were left out: a write that was under way when the power ` +
        'failed, or damage to the last one',
    );
  }
}

/** Looks at one table; undefined when it is as it was written. */
export async function inspectTable(
  location: string,
  { file, size }: TableFile,
  read = true,
): Promise<FileDamage | undefined> {
  const path = join(location, file);
  const actual = (await stat(path).catch(absent))?.size;
  if (actual === undefined) return { file, message: 'is missing' };
  if (actual !== size) return { file, message: `has ${actual} bytes instead of ${size}` };
  if (!read) return undefined;
  const bytes = await readFile(path).catch(absent);
  const flaw = bytes && tableFlaw(bytes);
  return flaw && { file, message: `${flaw.message} (at byte ${flaw.offset})` };
}

/** What to say of damaged files when they are not to be opened. */
export function damagedFiles(damage: readonly FileDamage[]): StoreError {
  const first = damage[0]!;
  const more = damage.length > 1 ? ` and ${damage.length - 1} more` : '';
  return new StoreError(
    'store_corrupt',
    `the store is damaged: ${first.file} ${first.message}${more}`,
    "check the disk; then restore a backup, or run 'stigmesh verify --quarantine', which keeps what can be read",
  );
}

/**
 * Notes what the files of a closed database are, so that the next opening can tell an interrupted write, which is
 * normal, from damage to the end of a file, which looks the same.
 */
export async function writeMark(location: string): Promise<void> {
  const files: [string, number, string | null][] = [];
  for (const name of (await readdir(location)).sort()) {
    const path = join(location, name);
    if (/\.(?:ldb|sst)$/.test(name)) files.push([name, (await stat(path)).size, null]);
    else if (/^(?:CURRENT|MANIFEST-\d+|\d+\.log)$/.test(name)) {
      const bytes = await readFile(path);
      files.push([name, bytes.length, hash('sha256', bytes)]);
    }
  }
  const text = JSON.stringify(files);
  const path = join(location, MARK_FILE);
  const file = await open(`${path}.tmp`, 'w', 0o600);
  try {
    await file.writeFile(`${hash('sha256', text)}\n${text}\n`);
    await file.sync();
  } finally {
    await file.close();
  }
  await rename(`${path}.tmp`, path);
  await syncDirectory(location);
}

/** To be called before the database is opened: from then on its files change. */
export async function removeMark(location: string): Promise<void> {
  const path = join(location, MARK_FILE);
  if ((await stat(path).catch(absent)) === undefined) return;
  await rm(path);
  await syncDirectory(location);
}

/** What differs from the mark; undefined without one. */
async function compareWithMark(location: string): Promise<FileDamage[] | undefined> {
  const mark = await readFile(join(location, MARK_FILE), 'utf8').catch(absent);
  const [digest, text = ''] = mark?.split('\n') ?? [];
  // A mark that is itself damaged says nothing.
  if (mark === undefined || hash('sha256', text) !== digest) return undefined;
  const damage: FileDamage[] = [];
  for (const [file, size, digest] of JSON.parse(text) as [string, number, string | null][]) {
    const path = join(location, file);
    const actual = (await stat(path).catch(absent))?.size;
    if (actual === undefined) damage.push({ file, message: 'is missing' });
    else if (actual !== size) damage.push({ file, message: `has ${actual} bytes instead of ${size}` });
    else if (digest !== null && hash('sha256', await readFile(path)) !== digest) {
      damage.push({ file, message: 'is not what it was when it was closed' });
    }
  }
  return damage;
}

function absent(error: NodeJS.ErrnoException): undefined {
  if (error.code === 'ENOENT' || error.code === 'ENOTDIR') return undefined;
  throw error;
}

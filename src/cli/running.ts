import { readFile } from 'node:fs/promises';
import { join } from 'node:path';
import type { StigmeshPaths } from '../config/paths.ts';
import type { DaemonRecord } from '../daemon.ts';
import type { LockRecord } from '../store/lock.ts';
import { processStart } from '../store/process-start.ts';

/** The process that holds a home. */
export interface Holder {
  readonly pid: number;
  readonly processStarted: string;
  readonly since: string;
  /** Undefined while it starts or stops, and for maintenance, which serves nobody. */
  readonly url: string | undefined;
  readonly version: string | undefined;
}

type StatePaths = Pick<StigmeshPaths, 'stateDir'>;

/** The two files a daemon leaves; a test compares the names with the daemon's own, whose modules are slow to load. */
export const lockFileOf = ({ stateDir }: StatePaths): string => join(stateDir, 'daemon.lock');
export const recordFileOf = ({ stateDir }: StatePaths): string => join(stateDir, 'daemon.json');

/** Both hold a few hundred bytes; what is longer is not ours. */
const MAX_RECORD_BYTES = 4096;

export interface HolderWorld {
  readonly platform: NodeJS.Platform;
  readonly hostname: string;
}

/** Who holds the home, if that process is alive here. What a crash left behind counts for nothing. */
export async function findHolder(paths: StatePaths, world: HolderWorld): Promise<Holder | undefined> {
  const lock = await readRecord<LockRecord>(lockFileOf(paths));
  if (lock === undefined || typeof lock.process_started !== 'string') return undefined;
  const isHere = lock.host === world.hostname;
  if (!(await isAlive(lock.pid, lock.process_started, isHere, world.platform))) return undefined;
  const record = await readRecord<DaemonRecord>(recordFileOf(paths));
  const isSame = record?.pid === lock.pid;
  return {
    pid: lock.pid,
    processStarted: lock.process_started,
    since: String(lock.created_at),
    url: isSame && typeof record.url === 'string' ? record.url : undefined,
    version: isSame && typeof record.version === 'string' ? record.version : undefined,
  };
}

/** Whether that holder still runs. */
export function isRunning({ pid, processStarted }: Holder, platform: NodeJS.Platform): Promise<boolean> {
  return isAlive(pid, processStarted, true, platform);
}

/**
 * A start mark names one process of one boot, so an equal one settles it even where the machine's name has changed
 * since. Without marks the pid has to do, and then only on the same host.
 */
async function isAlive(pid: number, mark: string, isHere: boolean, platform: NodeJS.Platform): Promise<boolean> {
  const started = await processStart({ platform })(pid);
  if (started === undefined) return false;
  return started === '' || mark === '' ? isHere : started === mark;
}

async function readRecord<T extends { readonly pid: number }>(
  file: string,
): Promise<(Partial<T> & { pid: number }) | undefined> {
  try {
    const text = await readFile(file, 'utf8');
    if (text.length > MAX_RECORD_BYTES) return undefined;
    const record = JSON.parse(text) as (Partial<T> & { pid: number }) | null;
    return Number.isSafeInteger(record?.pid) && (record as { pid: number }).pid > 0 ? (record ?? undefined) : undefined;
  } catch {
    // Not there, or being replaced, or damaged: then it names nobody.
    return undefined;
  }
}

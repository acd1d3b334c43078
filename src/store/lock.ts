import { constants } from 'node:fs';
import { copyFile, link, open, readdir, readFile, rename, rm } from 'node:fs/promises';
import { basename, dirname, join } from 'node:path';
import { syncDirectory } from './durable-file.ts';

export type LockErrorCode = 'home_locked' | 'home_lock_unreadable' | 'home_lock_failed';

/** A home that could not be locked. `code` is stable; `hint` says what the operator can do. */
export class LockError extends Error {
  override readonly name = 'LockError';
  readonly code: LockErrorCode;
  readonly hint: string;
  /** Process that holds the home, where that is the reason. */
  readonly pid: number | undefined;

  constructor(code: LockErrorCode, message: string, hint: string, extra: { pid?: number; cause?: unknown } = {}) {
    super(message, { cause: extra.cause });
    this.code = code;
    this.hint = hint;
    this.pid = extra.pid;
  }
}

/** Who holds a home: the content of its lock file. */
export interface LockRecord {
  readonly pid: number;
  /** What tells this process from a later one with the same pid; empty where the system does not say. */
  readonly process_started: string;
  readonly host: string;
  /** RFC 3339 UTC. */
  readonly created_at: string;
  /** Names this lock among all others, ever. */
  readonly nonce: string;
}

export interface HomeLockInit {
  readonly pid: number;
  readonly host: string;
  readonly now: () => number;
  readonly randomUUID: () => string;
  /** Start mark of a running process (see process-start.ts), undefined when there is none with this pid. */
  readonly startOf: (pid: number) => Promise<string | undefined>;
  /** link(2), which fails when the target exists. */
  readonly link?: (existing: string, target: string) => Promise<void>;
}

export interface HomeLock {
  readonly record: LockRecord;
  /** What to tell the operator when a dead holder's lock was taken over; null otherwise. */
  readonly takenOver: string | null;
  /** Removes the lock file, if it is still ours. */
  release(): Promise<void>;
}

/** Locks superseded in a row before giving up: more than a handful means that something deletes our files. */
const MAX_ATTEMPTS = 50;
/** Size of a lock file above which it is not one of ours. */
const MAX_RECORD_BYTES = 4096;

/**
 * Locks a home for one daemon. The file appears with its whole content or not at all (written aside, then linked, which
 * is O_EXCL for a complete file), so that nobody ever reads half a lock.
 *
 * A dead holder is succeeded, not deleted: the taker links its own record as `<path>.next-<nonce of the dead lock>`,
 * which only one can, and then renames it over the lock. Before the rename it looks whether the dead lock is still the
 * lock; if not, another taker has finished in between and the successor just made is void.
 *
 * A holder on another host cannot be looked at. Its lock is taken over with a message: containers get a new host name
 * at every start, and the store's own lock (fcntl) still keeps two live daemons apart.
 *
 * @throws LockError `home_locked` (alive holder), `home_lock_unreadable`, `home_lock_failed`
 */
export async function acquireHomeLock(path: string, init: HomeLockInit): Promise<HomeLock> {
  const record: LockRecord = {
    pid: init.pid,
    process_started: (await init.startOf(init.pid)) ?? '',
    host: init.host,
    created_at: new Date(init.now()).toISOString(),
    nonce: init.randomUUID(),
  };
  const own = `${path}.new-${record.nonce}`;
  try {
    await writeDurably(own, `${JSON.stringify(record)}\n`);
    const takenOver = await take(path, own, record, init);
    await tidy(path);
    await syncDirectory(dirname(path));
    return { record, takenOver, release: () => release(path, record.nonce) };
  } catch (error) {
    if (error instanceof LockError) throw error;
    throw new LockError(
      'home_lock_failed',
      `the home cannot be locked: ${(error as Error).message}`,
      'check that the home directory exists and can be written, and that its disk is not full',
      { cause: error },
    );
  } finally {
    await rm(own, { force: true });
  }
}

async function take(path: string, own: string, record: LockRecord, init: HomeLockInit): Promise<string | null> {
  for (let attempt = 0; attempt < MAX_ATTEMPTS; attempt++) {
    const base = await readRecord(path);
    if (base === undefined) {
      if (await createExclusive(own, path, init)) return null;
      continue;
    }
    // A taker that died between its link and its rename has left a successor: the last of the chain is the holder.
    let holder = base;
    for (;;) {
      const next = await readRecord(`${path}.next-${holder.nonce}`);
      if (next === undefined) break;
      holder = next;
    }
    const state = await judge(holder, record, init);
    if (state === 'alive') {
      throw new LockError(
        'home_locked',
        `another daemon (pid ${holder.pid}) holds ${dirname(path)} since ${holder.created_at}`,
        "stop it with 'stigmesh stop', or set STIGMESH_HOME to another directory",
        { pid: holder.pid },
      );
    }
    const successor = `${path}.next-${holder.nonce}`;
    if (!(await createExclusive(own, successor, init))) continue;
    if ((await readRecord(path))?.nonce !== base.nonce) {
      await rm(successor, { force: true });
      continue;
    }
    await rename(successor, path);
    return takeOverMessage(holder, state);
  }
  throw new LockError('home_lock_failed', 'the lock file keeps changing', 'see what else writes to the home directory');
}

type HolderState = 'alive' | 'gone' | 'reused' | 'elsewhere';

async function judge(holder: LockRecord, self: LockRecord, init: HomeLockInit): Promise<HolderState> {
  if (holder.host !== self.host) return 'elsewhere';
  const started = await init.startOf(holder.pid);
  if (started === undefined) return 'gone';
  if (started === '' || holder.process_started === '') return holder.pid === self.pid ? 'reused' : 'alive';
  return started === holder.process_started ? 'alive' : 'reused';
}

function takeOverMessage(holder: LockRecord, state: HolderState): string {
  const reason = {
    alive: '',
    gone: 'that process is gone',
    reused: 'that pid belongs to another process now',
    elsewhere: `it ran on ${holder.host}, which cannot be looked at from here; the lock of the store itself still holds`,
  }[state];
  return `took over the lock of pid ${holder.pid} (since ${holder.created_at}): ${reason}`;
}

async function release(path: string, nonce: string): Promise<void> {
  // Nobody succeeds a live holder, so between this look and the removal the file cannot change hands.
  const current = await readRecord(path).catch(() => undefined);
  if (current?.nonce === nonce) await rm(path, { force: true });
}

/** False when the target exists already. */
async function createExclusive(from: string, to: string, init: HomeLockInit): Promise<boolean> {
  try {
    await (init.link ?? link)(from, to);
    return true;
  } catch (error) {
    const { code } = error as NodeJS.ErrnoException;
    if (code === 'EEXIST') return false;
    // Shared folders of virtual machines and FAT have no links: an exclusive copy is next best, not atomic in content.
    if (!['EPERM', 'ENOTSUP', 'EOPNOTSUPP', 'ENOSYS', 'EMLINK'].includes(code ?? '')) throw error;
  }
  try {
    await copyFile(from, to, constants.COPYFILE_EXCL);
    return true;
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === 'EEXIST') return false;
    throw error;
  }
}

async function readRecord(path: string): Promise<LockRecord | undefined> {
  let text: string;
  try {
    text = await readFile(path, 'utf8');
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === 'ENOENT') return undefined;
    throw error;
  }
  const record = parseRecord(text);
  if (record) return record;
  throw new LockError(
    'home_lock_unreadable',
    `${path} is not a lock file of this program`,
    'make sure that no daemon uses this home, then delete the file',
  );
}

function parseRecord(text: string): LockRecord | undefined {
  if (text.length > MAX_RECORD_BYTES) return undefined;
  try {
    const record = JSON.parse(text) as Partial<LockRecord> | null;
    const texts = [record?.process_started, record?.host, record?.created_at, record?.nonce];
    if (!Number.isSafeInteger(record?.pid) || record!.pid! < 1) return undefined;
    // The nonce becomes part of a file name.
    if (texts.some((part) => typeof part !== 'string') || !/^[\w-]{1,64}$/.test(record!.nonce!)) return undefined;
    return record as LockRecord;
  } catch {
    return undefined;
  }
}

/** Removes what interrupted takers left. Whoever holds the lock alive may: a successor of a dead lock is void by now. */
async function tidy(path: string): Promise<void> {
  const prefix = `${basename(path)}.next-`;
  for (const name of await readdir(dirname(path))) {
    if (name.startsWith(prefix)) await rm(join(dirname(path), name), { force: true });
  }
}

async function writeDurably(path: string, text: string): Promise<void> {
  const file = await open(path, 'wx', 0o600);
  try {
    await file.writeFile(text);
    await file.sync();
  } finally {
    await file.close();
  }
}

import { StoreError } from '../store.ts';

/** What a closed store answers. */
export function closed(cause?: unknown): StoreError {
  return new StoreError('store_closed', 'the store is closed', 'the daemon is stopping; try again when it runs', cause);
}

/** What scans and snapshots answer when the database was opened again under them. */
export function reopened(cause?: unknown): StoreError {
  return new StoreError('store_closed', 'the store was opened again after a failed write', 'ask again', cause);
}

/** Paths in a message, up to a colon, a quote or the end of the line: their names say nothing about what went wrong. */
const PATHS = /(?:\b[a-z]:)?[/\\][^:'"\n]*/gi;

/** Maps what LevelDB and the operating system say to the codes of this module. */
export function storeError(error: unknown): StoreError {
  if (error instanceof StoreError) return error;
  const { code, cause, message } = error as {
    code?: string;
    cause?: { code?: string; message?: string };
    message: string;
  };
  const text = `${message} ${cause?.message ?? ''}`;
  const reason = text.replaceAll(PATHS, '');
  const codes = [code, cause?.code];
  if (codes.includes('LEVEL_LOCKED') || /already held by process|lock .*LOCK/i.test(text)) {
    return new StoreError(
      'store_locked',
      'another process has the store open',
      'stop it, or give this daemon its own home',
      error,
    );
  }
  if (/no space left|ENOSPC|disk quota|EDQUOT|file too large|EFBIG/i.test(reason)) {
    return new StoreError(
      'store_full',
      'no space left on the device of the store',
      'free space; writes resume by themselves',
      error,
    );
  }
  if (/read-only file system|EROFS|permission denied|EACCES/i.test(reason)) {
    return new StoreError(
      'store_readonly',
      'the store cannot be written',
      'check mount options and permissions of the data directory',
      error,
    );
  }
  if (/create_if_missing is false|LOCK: No such file/i.test(text)) {
    return new StoreError(
      'store_io',
      'there is no store at this place',
      "run 'stigmesh init', or check the data directory",
      error,
    );
  }
  // A file that should be there and is not, is damage too.
  if (codes.includes('LEVEL_CORRUPTION') || /corruption|no such file|ENOENT/i.test(reason)) {
    return new StoreError(
      'store_corrupt',
      `the store is damaged: ${cause?.message ?? message}`,
      "stop the daemon and run 'stigmesh verify'",
      error,
    );
  }
  if (codes.some((name) => name !== undefined && /^LEVEL_(DATABASE|ITERATOR|SNAPSHOT)_NOT_OPEN$/.test(name))) {
    return closed(error);
  }
  return new StoreError(
    'store_io',
    `the store failed: ${cause?.message ?? message}`,
    'check the disk, then restart the daemon',
    error,
  );
}

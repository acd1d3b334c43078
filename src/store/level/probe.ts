import { open, readdir, rm, stat } from 'node:fs/promises';
import { join } from 'node:path';
import { StoreError } from '../store.ts';
import { storeError } from './level-errors.ts';

/** Room beyond the log for what opening writes: manifest, table index, file system metadata. */
const MARGIN_BYTES = 512 * 1024;
const CHUNK_BYTES = 256 * 1024;
const PROBE_FILE = 'probe.tmp';

/**
 * Finds out whether a database could be opened again now, by writing as much as that may write: LevelDB turns its whole
 * log into a table first. Asking the file system for its free space would miss quotas, file size limits and a disk that
 * merely does not work.
 *
 * @throws StoreError why not
 */
export async function probeSpace(location: string): Promise<void> {
  let needed = MARGIN_BYTES;
  const path = join(location, PROBE_FILE);
  try {
    for (const name of await readdir(location)) {
      if (name.endsWith('.log')) needed += (await stat(join(location, name))).size;
    }
    const file = await open(path, 'w', 0o600);
    try {
      // Not zeros: some file systems store those for free.
      const chunk = Buffer.alloc(CHUNK_BYTES, 'stigmesh');
      for (let written = 0; written < needed; written += chunk.length) {
        await file.writeFile(chunk.subarray(0, Math.min(chunk.length, needed - written)));
      }
      await file.sync();
    } finally {
      await file.close();
    }
  } catch (error) {
    const known = storeError(error);
    if (known.code !== 'store_full') throw known;
    const megabytes = Math.ceil(needed / 1024 / 1024);
    throw new StoreError(known.code, known.message, `free ${megabytes} MB; writes resume by themselves`, error);
  } finally {
    await rm(path, { force: true }).catch(() => {});
  }
}

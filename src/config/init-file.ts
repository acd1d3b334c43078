import { randomBytes } from 'node:crypto';
import { existsSync } from 'node:fs';
import { link, mkdir, open, unlink } from 'node:fs/promises';
import { dirname } from 'node:path';
import type { StigmeshPaths } from './paths.ts';
import { CONFIG_VERSION } from './schema.ts';

/** Only the owner: the file holds no secret, but its directory also holds the keys. */
const DIRECTORY_MODE = 0o700;
const FILE_MODE = 0o600;

/** What init writes: only what must not change by itself later. Everything else stays at its default. */
export function initialConfig(authority: string): string {
  return `# Configuration of Stigmesh. Every key: docs/configuration.md; what applies now: stigmesh config show --origin
version = ${CONFIG_VERSION}

[org]
# Names your organisation in entity URIs. Facts already written keep the old name, so do not change it.
authority = ${JSON.stringify(authority)}
`;
}

/**
 * Writes the first configuration file, whole or not at all, and never over an existing one.
 *
 * @returns whether it was written
 */
export async function writeInitialConfig(
  paths: Pick<StigmeshPaths, 'configFile'>,
  authority: string,
): Promise<boolean> {
  // Every start comes by here: one that is there may lie where nothing can be written, as on a read-only mount.
  if (existsSync(paths.configFile)) return false;
  const directory = dirname(paths.configFile);
  await mkdir(directory, { recursive: true, mode: DIRECTORY_MODE });
  const temporary = `${paths.configFile}.${randomBytes(6).toString('hex')}.tmp`;
  const handle = await open(temporary, 'wx', FILE_MODE);
  try {
    try {
      await handle.writeFile(initialConfig(authority));
      await handle.sync();
    } finally {
      await handle.close();
    }
    // A link fails where a rename would replace.
    await link(temporary, paths.configFile);
    return true;
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === 'EEXIST') return false;
    throw error;
  } finally {
    await unlink(temporary);
  }
}

import { open } from 'node:fs/promises';
import { dirname, resolve } from 'node:path';
import { ConfigError } from './errors.ts';
import { MAX_PASSPHRASE_BYTES } from './limits.ts';
import type { ConfigInputs } from './load.ts';
import type { StigmeshPaths } from './paths.ts';
import type { Config } from './schema.ts';

export interface Passphrase {
  /** undefined: the keys are not encrypted. */
  readonly passphrase: string | undefined;
  readonly warnings: readonly string[];
}

/**
 * The passphrase of the private keys, from where the configuration says. A relative `identity.passphrase_file` is
 * resolved against the directory of the configuration file. One line break at its end is not part of the passphrase.
 *
 * @throws ConfigError `config_secret_unavailable`; the message never holds the secret
 */
export async function readPassphrase(
  config: Pick<Config, 'identity'>,
  env: ConfigInputs['env'],
  paths: Pick<StigmeshPaths, 'configFile'>,
): Promise<Passphrase> {
  const { passphrase_env: variable, passphrase_file: file } = config.identity;
  if (variable !== undefined) {
    const passphrase = env[variable];
    if (!passphrase) throw unavailable('identity.passphrase_env', `${variable} is not set`, `set ${variable}`);
    return { passphrase, warnings: [] };
  }
  if (file === undefined) return { passphrase: undefined, warnings: [] };
  return readSecretFile(resolve(dirname(paths.configFile), file));
}

async function readSecretFile(path: string): Promise<Passphrase> {
  const key = 'identity.passphrase_file';
  try {
    const handle = await open(path, 'r');
    try {
      const stat = await handle.stat();
      if (!stat.isFile()) throw unavailable(key, `${path} is not a file`, 'name a file that holds the passphrase');
      const buffer = Buffer.alloc(MAX_PASSPHRASE_BYTES + 3);
      const { bytesRead } = await handle.read(buffer, 0, buffer.length, 0);
      const passphrase = buffer.toString('utf8', 0, bytesRead).replace(/\r?\n$/, '');
      if (passphrase === '') throw unavailable(key, `${path} is empty`, 'write the passphrase into it');
      if (Buffer.byteLength(passphrase) > MAX_PASSPHRASE_BYTES) {
        throw unavailable(
          key,
          `${path} holds more than ${MAX_PASSPHRASE_BYTES} bytes`,
          'check that it is the right file',
        );
      }
      // Only a warning: secrets that container tools mount are often readable by everybody inside the container.
      const isExposed = process.platform !== 'win32' && (stat.mode & 0o077) !== 0;
      return {
        passphrase,
        warnings: isExposed ? [`${path} holds the passphrase of the keys and is open to other users (chmod 600)`] : [],
      };
    } finally {
      await handle.close();
    }
  } catch (error) {
    if (error instanceof ConfigError) throw error;
    const { code } = error as NodeJS.ErrnoException;
    throw unavailable(key, `${path} cannot be read (${code ?? 'unknown error'})`, 'check the path and its permissions');
  }
}

function unavailable(key: string, message: string, hint: string): ConfigError {
  return new ConfigError([{ code: 'config_secret_unavailable', key, message, hint }]);
}

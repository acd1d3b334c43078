import { createPrivateKey, generateKeyPair, type KeyObject, randomBytes } from 'node:crypto';
import { constants, type Stats } from 'node:fs';
import { chmod, type FileHandle, link, lstat, mkdir, open, readdir, stat, unlink } from 'node:fs/promises';
import { dirname, join } from 'node:path';
import { promisify } from 'node:util';
import { IdentityError } from './errors.ts';
import { MAX_KEY_FILE_BYTES, STALE_TEMPORARY_MS } from './limits.ts';

const FILE_MODE = 0o600;
const DIRECTORY_MODE = 0o700;
const OTHERS = 0o077;

/** The cipher of an encrypted PKCS#8 file; what OpenSSL and node:crypto read back everywhere. */
const CIPHER = 'aes-256-cbc';

const PEM =
  /^-----BEGIN (ENCRYPTED )?PRIVATE KEY-----\r?\n([A-Za-z0-9+/=\r\n]+)\r?\n-----END (ENCRYPTED )?PRIVATE KEY-----\r?\n?$/;

const DER_SEQUENCE = 0x30;

const generate = promisify(generateKeyPair);

export interface KeyFileOptions {
  /** Encrypts the file; then it cannot be read without. */
  readonly passphrase?: string | undefined;
}

/**
 * Creates a directory for keys, mode 0700, with its parents. An existing one is left as it is.
 *
 * @throws IdentityError `key_permissions` if an existing one is open to others
 */
export async function createKeyDirectory(directory: string): Promise<void> {
  const created = await mkdir(directory, { recursive: true, mode: DIRECTORY_MODE });
  if (created === undefined) return checkDirectory(directory);
  // The mode given to mkdir passes the umask, which may take too much from the owner.
  if (process.platform !== 'win32') await chmod(directory, DIRECTORY_MODE);
  await syncDirectory(dirname(created));
  await syncDirectory(dirname(directory));
}

/**
 * Makes a new Ed25519 key and writes it as PKCS#8 PEM, mode 0600. The file appears under its name whole and on disk,
 * or not at all; an existing file is never touched.
 *
 * @param path in a directory that exists
 * @throws IdentityError `key_exists`
 */
export async function createKeyFile(path: string, options: KeyFileOptions = {}): Promise<KeyObject> {
  const { privateKey } = await generate('ed25519');
  await writeKeyFile(path, privateKey, options);
  return privateKey;
}

async function writeKeyFile(path: string, key: KeyObject, { passphrase }: KeyFileOptions): Promise<void> {
  if (passphrase === '') throw emptyPassphrase();
  const encryption = passphrase === undefined ? {} : { cipher: CIPHER, passphrase };
  const pem = key.export({ type: 'pkcs8', format: 'pem', ...encryption });
  const temporary = `${path}.${randomBytes(8).toString('hex')}.tmp`;
  try {
    const handle = await open(temporary, constants.O_CREAT | constants.O_EXCL | constants.O_WRONLY, FILE_MODE);
    try {
      // The mode given to open passes the umask.
      await handle.chmod(FILE_MODE);
      await handle.writeFile(pem);
      await handle.sync();
    } finally {
      await handle.close();
    }
    // A link fails where a rename would replace the key that somebody else has just made.
    await link(temporary, path);
  } catch (cause) {
    if ((cause as NodeJS.ErrnoException).code !== 'EEXIST') throw cause;
    throw new IdentityError(
      'key_exists',
      `${path} exists already`,
      'move it away first; it is the identity of a node',
      {
        cause,
      },
    );
  } finally {
    await removeIfThere(temporary);
  }
  await syncDirectory(dirname(path));
}

/**
 * Reads a key written by {@link createKeyFile} or by OpenSSL, and refuses it if anybody else could have read or
 * replaced it.
 *
 * @throws IdentityError with a `key_…` code
 */
export async function loadKeyFile(path: string, options: KeyFileOptions = {}): Promise<KeyObject> {
  if (options.passphrase === '') throw emptyPassphrase();
  await checkDirectory(dirname(path));
  const handle = await openKey(path);
  let pem: string;
  try {
    checkFile(path, await handle.stat());
    pem = (await handle.readFile()).toString('latin1');
  } finally {
    await handle.close();
  }
  return parsePem(path, pem, options.passphrase);
}

/** Removes what crashes during {@link createKeyFile} have left in a directory. @param now Unix milliseconds */
export async function sweepTemporaries(directory: string, now: number): Promise<void> {
  for (const name of await readdir(directory)) {
    if (!/\.key\.[0-9a-f]{16}\.tmp$/.test(name)) continue;
    const path = join(directory, name);
    const found = await lstat(path).catch(ignoreMissing);
    if (found !== undefined && now - found.mtimeMs > STALE_TEMPORARY_MS) await removeIfThere(path);
  }
}

async function openKey(path: string): Promise<FileHandle> {
  // O_NOFOLLOW is missing on Windows, O_NONBLOCK keeps a named pipe from blocking the open for ever.
  const flags = constants.O_RDONLY | (constants.O_NOFOLLOW ?? 0) | (constants.O_NONBLOCK ?? 0);
  try {
    return await open(path, flags);
  } catch (cause) {
    const { code } = cause as NodeJS.ErrnoException;
    if (code === 'ENOENT') {
      throw new IdentityError(
        'key_missing',
        `${path} does not exist`,
        'run stigmesh init, or restore it from a backup',
        {
          cause,
        },
      );
    }
    // FreeBSD says EMLINK.
    if (code === 'ELOOP' || code === 'EMLINK') {
      throw new IdentityError('key_symlink', `${path} is a symbolic link`, 'put the key itself there', { cause });
    }
    throw new IdentityError('key_unreadable', `${path} cannot be read (${code})`, 'check its owner and permissions', {
      cause,
    });
  }
}

async function checkDirectory(directory: string): Promise<void> {
  if (process.platform === 'win32') return;
  // Follows links: where the directory is, is its owner's choice; who can enter it matters.
  const found = await stat(directory).catch(ignoreMissing);
  // A missing directory shows as a missing key.
  if (found === undefined || (found.mode & OTHERS) === 0) return;
  throw lax(directory, found, 'chmod 700');
}

function checkFile(path: string, found: Stats): void {
  if (!found.isFile()) throw damaged(path, 'is not a regular file');
  if (process.platform !== 'win32' && (found.mode & OTHERS) !== 0) throw lax(path, found, 'chmod 600');
  if (found.size > MAX_KEY_FILE_BYTES) throw damaged(path, `is larger than ${MAX_KEY_FILE_BYTES} bytes`);
}

function lax(path: string, found: Stats, command: string): IdentityError {
  const mode = (found.mode & 0o777).toString(8).padStart(4, '0');
  return new IdentityError(
    'key_permissions',
    `${path} is open to other users (mode ${mode})`,
    `${command} ${path}; if others may have read a key, make a new one`,
  );
}

function parsePem(path: string, pem: string, passphrase: string | undefined): KeyObject {
  const match = PEM.exec(pem);
  const isEncrypted = match?.[1] !== undefined;
  // OpenSSL also takes a plain key under the label of an encrypted one, and then ignores the passphrase.
  if (match === null || match[1] !== match[3] || isEncryptedDer(match[2] as string) !== isEncrypted) {
    throw damaged(path, 'does not hold one PKCS#8 private key in PEM');
  }
  if (isEncrypted && passphrase === undefined) {
    const hint = 'name its passphrase in identity.passphrase_file or identity.passphrase_env';
    throw new IdentityError('key_passphrase_required', `${path} is encrypted`, hint);
  }
  if (!isEncrypted && passphrase !== undefined) {
    const hint = `encrypt it (openssl pkcs8 -topk8 -v2 ${CIPHER}), or take the passphrase out of the configuration`;
    throw new IdentityError('key_not_encrypted', `${path} is not encrypted, though a passphrase is configured`, hint);
  }
  let key: KeyObject;
  try {
    key = createPrivateKey({ key: pem, format: 'pem', ...(passphrase === undefined ? {} : { passphrase }) });
  } catch (cause) {
    if (!isEncrypted) throw damaged(path, 'cannot be decoded', cause);
    throw new IdentityError(
      'key_passphrase_wrong',
      `${path} cannot be decrypted: the passphrase is wrong or the file is damaged`,
      'check the passphrase, or restore the file from a backup',
      { cause },
    );
  }
  if (key.asymmetricKeyType !== 'ed25519') {
    const message = `${path} holds a key of type ${key.asymmetricKeyType}`;
    throw new IdentityError('key_not_ed25519', message, 'Stigmesh uses Ed25519 only; restore the key that init made');
  }
  return key;
}

/** Tells EncryptedPrivateKeyInfo (begins with an algorithm) from PrivateKeyInfo (begins with a version), RFC 5208. */
function isEncryptedDer(base64: string): boolean {
  const der = Buffer.from(base64, 'base64');
  const length = der[1] ?? 0;
  const firstMember = der[length < 0x80 ? 2 : 2 + (length & 0x7f)];
  return firstMember === DER_SEQUENCE;
}

function damaged(path: string, what: string, cause?: unknown): IdentityError {
  const hint = 'restore it from a backup; without it this node cannot speak under its old name';
  return new IdentityError('key_damaged', `${path} ${what}`, hint, { cause });
}

function emptyPassphrase(): IdentityError {
  return new IdentityError('key_passphrase_required', 'the passphrase is empty', 'choose one, or configure none');
}

/** Makes a new name in a directory survive a power failure. Windows has no such call, and needs none. */
export async function syncDirectory(directory: string): Promise<void> {
  if (process.platform === 'win32') return;
  const handle = await open(directory, constants.O_RDONLY);
  try {
    await handle.sync();
  } finally {
    await handle.close();
  }
}

async function removeIfThere(path: string): Promise<void> {
  await unlink(path).catch(ignoreMissing);
}

function ignoreMissing(error: NodeJS.ErrnoException): undefined {
  if (error.code !== 'ENOENT') throw error;
}

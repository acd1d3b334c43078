import type { KeyObject } from 'node:crypto';
import { link, readdir, rename, rm } from 'node:fs/promises';
import { join } from 'node:path';
import { IdentityError } from './errors.ts';
import { fingerprint } from './fingerprint.ts';
import type { IdentityPaths } from './identity.ts';
import { createKeyFile, type KeyFileOptions, loadKeyFile, syncDirectory } from './key-file.ts';
import { MAX_FORMER_ORG_KEYS } from './limits.ts';
import { rawPublicKey } from './node-key.ts';

/** What a rotation on disk did. */
export interface RotatedOrgKey {
  /** The private key that was replaced, kept as `file`. */
  readonly former: KeyObject;
  /** The private key of today. */
  readonly orgKey: KeyObject;
  /** 32 bytes. */
  readonly orgPublicKey: Uint8Array;
  readonly orgFingerprint: string;
  /** Name of the file that keeps the former key, `org.key.1`. */
  readonly file: string;
}

const ORG_KEY = 'org.key';
/** Its temporary file ends in `.key.<digits>.tmp` and is swept up like those of the other keys. */
const NEXT_KEY = 'org.next.key';
const FORMER = /^org\.key\.([1-9]\d{0,8})$/;

/**
 * Replaces the org key on disk: makes `org.next.key`, keeps `org.key` as `org.key.<n>` too, then renames the first over
 * the second. Each step is on disk before the next one begins, so that after a crash at any point `org.key` is there and
 * whole, old or new; running it again finishes it. Nobody knows the new key until a manifest with the
 * rotation is published: {@link withRotation} with `former`, or {@link withMissingRotations} after a crash in between.
 *
 * One process at a time: the caller holds the lock of the home.
 *
 * @throws IdentityError with a `key_…` code; `key_unwritable` when the disk refuses
 */
export async function rotateOrgKey({ keysDir }: IdentityPaths, options: KeyFileOptions = {}): Promise<RotatedOrgKey> {
  const current = join(keysDir, ORG_KEY);
  const next = join(keysDir, NEXT_KEY);
  const former = await loadKeyFile(current, options);
  try {
    // One that a crash has left was never used.
    await rm(next, { force: true });
    const orgKey = await createKeyFile(next, options);
    const file = await keep(keysDir, former, options);
    await rename(next, current);
    await syncDirectory(keysDir);
    const orgPublicKey = rawPublicKey(orgKey);
    return { former, orgKey, orgPublicKey, orgFingerprint: fingerprint(orgPublicKey), file };
  } catch (cause) {
    if (cause instanceof IdentityError) throw cause;
    const message = `the org key in ${keysDir} cannot be replaced (${(cause as NodeJS.ErrnoException).code})`;
    const hint = 'nothing has changed for peers; give the daemon a writable key directory with room, and run it again';
    throw new IdentityError('key_unwritable', message, hint, { cause });
  }
}

/**
 * The org keys that were replaced, oldest first, at most the 64 newest.
 *
 * @throws IdentityError with a `key_…` code for one that cannot be used
 */
export async function loadFormerOrgKeys(
  { keysDir }: IdentityPaths,
  options: KeyFileOptions = {},
): Promise<readonly KeyObject[]> {
  const keys: KeyObject[] = [];
  for (const number of (await formerNumbers(keysDir)).slice(-MAX_FORMER_ORG_KEYS)) {
    keys.push(await loadKeyFile(join(keysDir, formerName(number)), options));
  }
  return keys;
}

/** Keeps the current key under the next free number, unless a rotation that did not finish has done so. */
async function keep(keysDir: string, key: KeyObject, options: KeyFileOptions): Promise<string> {
  const last = (await formerNumbers(keysDir)).at(-1) ?? 0;
  if (last > 0) {
    // Whatever is wrong with an older key, the one of today can be replaced.
    const kept = await loadKeyFile(join(keysDir, formerName(last)), options).catch(ignoreUnusable);
    if (kept !== undefined && key.equals(kept)) return formerName(last);
  }
  const file = formerName(last + 1);
  await link(join(keysDir, ORG_KEY), join(keysDir, file));
  await syncDirectory(keysDir);
  return file;
}

async function formerNumbers(keysDir: string): Promise<number[]> {
  const names = await readdir(keysDir);
  return names
    .flatMap((name) => FORMER.exec(name)?.[1] ?? [])
    .map(Number)
    .sort((a, b) => a - b);
}

function ignoreUnusable(error: unknown): undefined {
  if (!(error instanceof IdentityError)) throw error;
}

function formerName(number: number): string {
  return `${ORG_KEY}.${number}`;
}

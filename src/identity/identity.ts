import type { KeyObject } from 'node:crypto';
import { access } from 'node:fs/promises';
import { join } from 'node:path';
import { IdentityError } from './errors.ts';
import { fingerprint } from './fingerprint.ts';
import { createKeyDirectory, createKeyFile, type KeyFileOptions, loadKeyFile, sweepTemporaries } from './key-file.ts';
import { peerIdFromPublicKey, rawPublicKey } from './node-key.ts';

export interface IdentityPaths {
  /** Directory of the private keys. */
  readonly keysDir: string;
}

/** Who this node is, with the keys to prove it. Keep it away from logs. */
export interface Identity {
  /** Signs statements and secures connections; its public half is the peer id. */
  readonly nodeKey: KeyObject;
  /** 32 bytes. */
  readonly nodePublicKey: Uint8Array;
  /** libp2p peer id, `12D3KooW…`. */
  readonly peerId: string;
  /** Signs for the organisation: manifests, revocations. */
  readonly orgKey: KeyObject;
  /** 32 bytes. */
  readonly orgPublicKey: Uint8Array;
  /** What other organisations compare, `K7QX4-M2RDE-9PVTA-3HWNC`. */
  readonly orgFingerprint: string;
}

export interface InitializedIdentity extends Identity {
  /** What was missing and has been made now. */
  readonly created: readonly ('node' | 'org')[];
}

const keyPath = ({ keysDir }: IdentityPaths, name: 'node' | 'org'): string => join(keysDir, `${name}.key`);

/**
 * Makes `node.key` and `org.key` where they are missing, then loads both. Running it again, after a crash, or twice at
 * once ends with the same keys: a key exists only once it is whole and on disk, and nobody replaces one.
 *
 * @param options.now Unix milliseconds; by it, leftovers of crashes are told from files being written
 * @throws IdentityError also for existing keys that cannot be used; they are left as they are
 */
export async function initIdentity(
  paths: IdentityPaths,
  options: KeyFileOptions & { readonly now?: number } = {},
): Promise<InitializedIdentity> {
  await createKeyDirectory(paths.keysDir);
  await sweepTemporaries(paths.keysDir, options.now ?? Date.now());
  const created: ('node' | 'org')[] = [];
  for (const name of ['node', 'org'] as const) {
    if (await createIfMissing(keyPath(paths, name), options)) created.push(name);
  }
  return { ...(await loadIdentity(paths, options)), created };
}

async function createIfMissing(path: string, options: KeyFileOptions): Promise<boolean> {
  try {
    await access(path);
    return false;
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code !== 'ENOENT') throw error;
  }
  try {
    await createKeyFile(path, options);
    return true;
  } catch (error) {
    // Another process was faster, or a dangling link is in the way: loading will tell.
    if (error instanceof IdentityError && error.code === 'key_exists') return false;
    throw error;
  }
}

/** Loads both keys. @throws IdentityError */
export async function loadIdentity(paths: IdentityPaths, options: KeyFileOptions = {}): Promise<Identity> {
  const nodeKey = await loadKeyFile(keyPath(paths, 'node'), options);
  const orgKey = await loadKeyFile(keyPath(paths, 'org'), options);
  const nodePublicKey = rawPublicKey(nodeKey);
  const orgPublicKey = rawPublicKey(orgKey);
  return {
    nodeKey,
    nodePublicKey,
    peerId: peerIdFromPublicKey(nodePublicKey),
    orgKey,
    orgPublicKey,
    orgFingerprint: fingerprint(orgPublicKey),
  };
}

import { randomBytes, randomUUID } from 'node:crypto';
import { mkdir, open, readFile } from 'node:fs/promises';
import { hostname } from 'node:os';
import { dirname, join } from 'node:path';
import {
  type LoadedConfig,
  type Passphrase,
  readPassphrase,
  type StigmeshPaths,
  writeInitialConfig,
} from './config/index.ts';
import { verifyIndependently } from './facts/independent-verify.ts';
import { type Identity, initIdentity, loadIdentity, publicKeyFromPeerId } from './identity/index.ts';
import {
  isRebuilding,
  missingFromLog,
  type ReindexReport,
  reindex,
  type VerifyReport,
  type VerifySignature,
  verifyLog,
} from './node/maintenance.ts';
import { mend } from './node/mend.ts';
import type { NodeMetrics } from './node/metrics.ts';
import { StigmeshNode } from './node/node.ts';
import { syncDirectory } from './store/durable-file.ts';
import { metaKey } from './store/keys.ts';
import type { FileDamage } from './store/level/inspect.ts';
import { LevelStore } from './store/level/level-store.ts';
import { fileDamage, salvage } from './store/level/salvage.ts';
import { acquireHomeLock, type HomeLock } from './store/lock.ts';
import { SCHEMA_VERSION } from './store/migrations/migrations.ts';
import { openStore } from './store/migrations/open-store.ts';
import { processStart } from './store/process-start.ts';
import type { Store } from './store/store.ts';

/** One home, opened: its identity, its store and its node, under its lock. */
export interface OpenHome {
  readonly identity: Identity;
  readonly store: Store;
  readonly node: StigmeshNode;
  readonly migrated: readonly string[];
  /** What to tell the operator about the lock of a dead daemon, if there was one. */
  readonly takenOver: string | null;
  /** Stops the node, closes the store, releases the lock, in this order. */
  close(): Promise<void>;
}

export interface HomeOptions {
  readonly paths: StigmeshPaths;
  readonly loaded: LoadedConfig;
  readonly env: Readonly<Record<string, string | undefined>>;
  readonly version: string;
  readonly now: () => number;
  /** Lines for the operator: migrations, rebuilds, locks taken over. */
  readonly notice: (message: string) => void;
  /** What the node counts while it runs; null or absent for maintenance. */
  readonly metrics?: NodeMetrics | null;
  /** What can wait until a daemon serves waits for this; absent for maintenance. */
  readonly started?: Promise<void>;
}

export interface InitOptions extends Omit<HomeOptions, 'notice' | 'started'> {
  /** Name of the organisation; otherwise what the configuration says (the host's name on a fresh machine). */
  readonly authority?: string | undefined;
}

export interface InitReport {
  /** Whether anything was made now. */
  readonly created: boolean;
  readonly peerId: string;
  readonly org: string;
  /** Of the organisation's key. */
  readonly fingerprint: string;
  readonly apiKeyFile: string;
  readonly configFile: string;
  readonly dataDir: string;
}

/** Entity of the first key: the operator who ran init. */
const OPERATOR = 'agent:admin';

/**
 * Makes whatever a home lacks: configuration, keys, store, the first API key (0600). Running it again changes nothing.
 *
 * @throws ConfigError, IdentityError, StoreError, LockError when a daemon that runs here would have to be disturbed
 */
export async function initHome(options: InitOptions): Promise<InitReport> {
  const { paths, loaded, env, now } = options;
  const org = options.authority ?? loaded.config.org.authority;
  const wroteConfig = await writeInitialConfig(paths, org);
  const passphrase = await readPassphrase(loaded.config, env, paths);
  const identity = await initIdentity(paths, { ...passphraseOf(passphrase), now: now() });
  const report = {
    peerId: identity.peerId,
    org,
    fingerprint: identity.orgFingerprint,
    apiKeyFile: paths.apiKeyFile,
    configFile: paths.configFile,
    dataDir: paths.dataDir,
  };
  if (await exists(paths.apiKeyFile)) return { ...report, created: wroteConfig || identity.created.length > 0 };
  const config = { ...loaded.config, org: { authority: org } };
  const home = await openHome({ ...options, loaded: { ...loaded, config }, notice: () => {} });
  try {
    const { secret } = await home.node.keys.bootstrap({ entity_uri: OPERATOR, description: 'made by init' });
    await writeSecretFile(paths.apiKeyFile, `${secret}\n`);
  } finally {
    await home.close();
  }
  return { ...report, created: true };
}

/** Opens a home for one process. @throws StoreError, LockError, IdentityError, ConfigError */
export async function openHome(options: HomeOptions): Promise<OpenHome> {
  const { paths, loaded, env, version, now, notice } = options;
  const lock = await lockHome(options);
  if (lock.takenOver !== null) notice(lock.takenOver);
  let store: Store | undefined;
  try {
    const identity = await loadIdentity(paths, passphraseOf(await readPassphrase(loaded.config, env, paths)));
    const cacheBytes = loaded.config.store.cache_mb * 1024 * 1024;
    await mkdir(paths.dataDir, { recursive: true, mode: 0o700 });
    const opened = await openStore({
      location: paths.dataDir,
      cacheBytes,
      writtenBy: `stigmesh/${version}`,
      now,
      log: notice,
    });
    const { store: level, migrated } = opened;
    store = level;
    if (await isRebuilding(level)) {
      notice('the last rebuild of the indexes was interrupted; rebuilding them now');
      await rebuild(level, identity, options);
    }
    const node = await openNode(level, identity, options, () =>
      level.damage.map(
        ({ file, message }) => `the store is damaged: ${file} ${message}; stop and run 'stigmesh verify'`,
      ),
    );
    const closing = new AbortController();
    const scrubbed = level.scrub(closing.signal).then(
      (damage) => {
        for (const { file, message } of damage) notice(`the store is damaged: ${file} ${message}`);
      },
      (error: unknown) => notice(`the files of the store could not be checked: ${(error as Error).message}`),
    );
    return {
      identity,
      store: level,
      node,
      migrated,
      takenOver: lock.takenOver,
      close: async () => {
        closing.abort();
        await node.stop();
        await scrubbed;
        await level.close();
        await lock.release();
      },
    };
  } catch (error) {
    await store?.close();
    await lock.release();
    throw error;
  }
}

/** Rebuilds every index of a home from its log. The daemon must not run. */
export function reindexHome(
  options: HomeOptions & { readonly progress?: (done: number) => void },
): Promise<ReindexReport> {
  return withStore(options, (store, identity) => rebuild(store, identity, options));
}

/** Time stands still meanwhile: facts that expire between the look before and the rebuild are no difference. */
function rebuild(
  store: Store,
  identity: Identity,
  options: HomeOptions & { readonly progress?: (done: number) => void },
): Promise<ReindexReport> {
  const at = options.now();
  return reindex(store, () => openNode(store, identity, { ...options, now: () => at }), options.progress);
}

/** What `stigmesh verify` finds, and did about it. */
export interface HomeVerifyReport extends VerifyReport {
  /** Files of the store that are not as they were written. With any, and without `quarantine`, nothing else is read. */
  readonly files: readonly FileDamage[];
  /** Where the damaged store was moved, after what can be read of it was copied into a new one. */
  readonly salvaged: string | null;
  /** Records beside the log (audit, gardens, keys) that could not be read and were set aside. */
  readonly records: number;
}

/**
 * Checks the files of a home's store, and recomputes every CID and signature of its log with the independent verifier
 * (@noble/ed25519). The daemon must not run. With `quarantine` a store whose files are damaged is repaired on a copy,
 * damaged entries are set aside, and the indexes are rebuilt without them.
 */
export async function verifyHome(
  options: HomeOptions & { readonly quarantine: boolean; readonly progress?: (done: number) => void },
): Promise<HomeVerifyReport> {
  const { paths, quarantine, now, notice, version } = options;
  const lock = await lockHome(options);
  try {
    const files = await fileDamage(paths.dataDir);
    if (files.length > 0 && !quarantine) {
      return { statements: 0, good: 0, damaged: [], quarantined: 0, lost: [], files, salvaged: null, records: 0 };
    }
    let salvaged: string | null = null;
    if (files.length > 0) {
      salvaged = await salvage(paths.dataDir, now());
      notice(`the damaged store was moved to ${salvaged}; what can be read of it is in ${paths.dataDir}`);
      notice('look at gardens and API keys: the newest change of one may be among what was lost, such as a revocation');
      await nameSchema(paths.dataDir, version);
    }
    return await useStore(options, async (store, identity) => {
      const check: VerifySignature = async (digest, sig, origin) =>
        verifyIndependently(digest, sig, publicKeyFromPeerId(origin));
      const report = await verifyLog(store, check, options);
      if (salvaged === null && report.quarantined === 0) return { ...report, files, salvaged, records: 0 };
      const { records } = await mend(store, salvaged !== null);
      await rebuild(store, identity, options);
      const { lost } = await missingFromLog(store);
      return { ...report, lost, files, salvaged, records };
    });
  } finally {
    await lock.release();
  }
}

/** The schema version is one row and may be among what was lost; the operator who salvages runs the program that wrote it. */
async function nameSchema(location: string, version: string): Promise<void> {
  const store = await LevelStore.open({ location });
  try {
    if ((await store.get(metaKey('schema'))) !== undefined) return;
    const record = Buffer.from(JSON.stringify({ version: SCHEMA_VERSION, written_by: `stigmesh/${version}` }));
    await store.batch([{ type: 'put', key: metaKey('schema'), value: record }], { durable: true });
  } finally {
    await store.close();
  }
}

async function withStore<T>(options: HomeOptions, work: (store: Store, identity: Identity) => Promise<T>): Promise<T> {
  const lock = await lockHome(options);
  try {
    return await useStore(options, work);
  } finally {
    await lock.release();
  }
}

/** The same, for who holds the lock of the home. */
async function useStore<T>(options: HomeOptions, work: (store: Store, identity: Identity) => Promise<T>): Promise<T> {
  const { paths, loaded, env, version, now, notice } = options;
  const identity = await loadIdentity(paths, passphraseOf(await readPassphrase(loaded.config, env, paths)));
  const cacheBytes = loaded.config.store.cache_mb * 1024 * 1024;
  const { store } = await openStore({
    location: paths.dataDir,
    cacheBytes,
    writtenBy: `stigmesh/${version}`,
    now,
    log: notice,
  });
  try {
    return await work(store, identity);
  } finally {
    await store.close();
  }
}

async function lockHome({ paths, now }: HomeOptions): Promise<HomeLock> {
  await mkdir(paths.stateDir, { recursive: true, mode: 0o700 });
  return acquireHomeLock(lockFile(paths), {
    pid: process.pid,
    host: hostname(),
    now,
    randomUUID,
    startOf: processStart({ platform: process.platform }),
  });
}

/** The lock of a home: who runs it. */
export function lockFile(paths: StigmeshPaths): string {
  return join(paths.stateDir, 'daemon.lock');
}

function openNode(
  store: Store,
  identity: Identity,
  { loaded, now, metrics = null, started }: HomeOptions,
  storeWarnings: () => readonly string[] = () => [],
): Promise<StigmeshNode> {
  const { config } = loaded;
  const many = Object.entries(config.relations).filter(([, { cardinality }]) => cardinality === 'many');
  return StigmeshNode.open(
    {
      store,
      now,
      randomUUID,
      randomBytes,
      setInterval,
      clearInterval: clearInterval as (timer: never) => void,
      storeWarnings,
      metrics,
      ...(started && { started }),
    },
    {
      nodeKey: identity.nodeKey,
      peerId: identity.peerId,
      org: config.org.authority,
      publicKeyOf: publicKeyFromPeerId,
      schema: SCHEMA_VERSION,
      durable: config.store.sync,
      maxSkewMs: config.facts.max_skew_s * 1000,
      manyRelations: new Set(many.map(([relation]) => relation)),
      unknownOrigins: config.mesh.unknown_origins,
      trustedResolvers: config.mesh.trusted_resolvers,
      maxBatch: config.limits.batch_facts,
      maxGardens: config.limits.gardens,
      maxApiKeys: config.limits.api_keys,
      maxAuditEntries: config.limits.audit_retention_entries,
      keyMaxAgeDays: config.auth.key_max_age_days,
    },
  );
}

function passphraseOf({ passphrase }: Passphrase): { passphrase?: string } {
  return passphrase === undefined ? {} : { passphrase };
}

/** Writes a secret whole, durably, for its owner alone; never over an existing file. */
async function writeSecretFile(path: string, text: string): Promise<void> {
  const file = await open(path, 'wx', 0o600);
  try {
    await file.writeFile(text);
    await file.sync();
  } finally {
    await file.close();
  }
  await syncDirectory(dirname(path));
}

async function exists(path: string): Promise<boolean> {
  return readFile(path).then(
    () => true,
    (error: NodeJS.ErrnoException) => {
      if (error.code === 'ENOENT') return false;
      throw error;
    },
  );
}

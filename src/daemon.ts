import { mkdir, rename, rm, writeFile } from 'node:fs/promises';
import { dirname, join, resolve } from 'node:path';
import type { Logger } from 'pino';
import { Registry } from 'prom-client';
import { systemTimers } from './api/components.ts';
import { createApi } from './api/http/server.ts';
import type { LoadedConfig, StigmeshPaths } from './config/index.ts';
import { type HomeOptions, type OpenHome, openHome } from './home.ts';
import type { MeshService } from './mesh/service.ts';
import { observeProcess } from './metrics.ts';
import { createNodeMetrics, observeNode } from './node/metrics.ts';
import type { NodeStatus, Readiness } from './node/types.ts';
import { SCHEMA_VERSION } from './store/migrations/migrations.ts';

export { type InitOptions, type InitReport, initHome, lockFile, reindexHome, verifyHome } from './home.ts';

export interface StartOptions extends Omit<HomeOptions, 'notice' | 'metrics' | 'started'> {
  readonly log: Logger;
}

/** A daemon that serves. */
export interface Daemon {
  /** Of the local API, without a trailing slash. */
  readonly url: string;
  readonly peerId: string;
  readonly org: string;
  /** Of the organisation's key. */
  readonly fingerprint: string;
  /** Facts in the log. */
  readonly facts: number;
  readonly schema: number;
  readonly durable: boolean;
  /** One line about the mesh. */
  readonly mesh: string;
  readonly migrated: readonly string[];
  readonly warnings: readonly string[];
  /** Finishes requests under way, then writes, then closes the store. Calling it again waits for the same end. */
  stop(): Promise<void>;
  /** Applies what can change while it runs: the log level. */
  reload(loaded: LoadedConfig): void;
}

/** Where a running daemon says how to reach it. */
export interface DaemonRecord {
  readonly url: string;
  readonly pid: number;
  readonly version: string;
}

/** File in the state directory with the {@link DaemonRecord} of the running daemon. */
export function daemonFile(paths: StigmeshPaths): string {
  return join(paths.stateDir, 'daemon.json');
}

const MESH_OFF = 'off (mesh.enabled = false): local agents only';

/**
 * Starts in the order lock, keys, store, node, mesh, API, and undoes what it did when a step fails.
 *
 * @throws ConfigError, IdentityError, LockError, StoreError, MeshError `listen_failed`, or what listening says
 *   (`EADDRINUSE`)
 */
export async function startDaemon(options: StartOptions): Promise<Daemon> {
  const { paths, loaded, log, version } = options;
  const { config } = loaded;
  const metrics = new Registry();
  const nodeVersion = process.versions.node;
  observeProcess(metrics, { version, schema: SCHEMA_VERSION, node: nodeVersion }, config);
  const serving = Promise.withResolvers<void>();
  const home = await openHome({
    ...options,
    started: serving.promise,
    notice: (message) => log.warn({ event: 'notice' }, message),
    metrics: createNodeMetrics(metrics),
  });
  const { node, identity } = home;
  observeNode(metrics, node);
  const mesh = await orClose(home, async () => {
    if (!config.mesh.enabled) return null;
    // Loading libp2p takes longer than everything else at the start: only where it is used.
    const { openMesh } = await import('./open-mesh.ts');
    return openMesh(home, { ...options, metrics });
  });
  const api = createApi(
    {
      facts: node.facts,
      conflicts: node.conflicts,
      gardens: node.gardens,
      keys: node.keys,
      audit: node.audit,
      lint: node.lint,
      feed: node.feed,
      federation: mesh?.federation ?? null,
      meshEvents: mesh?.events ?? null,
      status: async () => {
        const status = await node.status();
        return { ...status, warnings: allWarnings(loaded, status) };
      },
      readiness: () => node.readiness(),
      exportStatements: (who) => node.transfer.exportStatements(who),
      importStatements: (who, statements) => node.transfer.importStatements(who, statements),
      identity: {
        peerId: identity.peerId,
        org: config.org.authority,
        get fingerprint() {
          return fingerprintOf(home);
        },
      },
      log,
      metrics,
      now: options.now,
      timers: systemTimers,
    },
    {
      host: config.api.host,
      port: config.api.port,
      allowRemote: config.api.allow_remote,
      allowedHosts: config.api.allowed_hosts,
      bodyLimit: config.api.body_limit,
      requestTimeoutMs: config.api.request_timeout_s * 1000,
      docs: config.api.docs,
      docsDir: resolve(import.meta.dirname, '../docs'),
      metricsLoopback: config.api.metrics_loopback,
      rateLimitRead: config.api.rate_limit_read,
      rateLimitWrite: config.api.rate_limit_write,
      maxConnections: config.api.max_connections,
      authRequired: config.auth.required,
      compatCid: config.compat.cid,
      defaultScope: config.facts.default_scope,
      sseClients: config.limits.sse_clients,
      batchFacts: config.limits.batch_facts,
      inviteLifeS: config.mesh.invite_hours * 3600,
      drainTimeoutMs: drainTimeout(config.daemon.drain_timeout_s * 1000),
      version,
      nodeVersion,
    },
  );
  try {
    await mesh?.start();
    await api.start();
    await announce(paths, { url: api.url, pid: process.pid, version });
  } catch (error) {
    await api.stop();
    await mesh?.stop();
    await home.close();
    throw error;
  }
  const { url } = api;
  const status = await node.status();
  serving.resolve();
  const endWatch = systemTimers.every(
    READINESS_MS,
    watchReadiness(() => node.readiness(), log),
  );
  let stopped: Promise<void> | undefined;
  const stop = async (): Promise<void> => {
    log.info({ event: 'stopping' }, 'stopping');
    endWatch();
    await rm(daemonFile(paths), { force: true });
    await api.stop();
    await mesh?.stop();
    await home.close();
    log.info({ event: 'stopped' }, 'stopped');
  };
  return {
    url,
    peerId: identity.peerId,
    org: config.org.authority,
    fingerprint: fingerprintOf(home),
    facts: status.facts,
    schema: status.schema,
    durable: config.store.sync,
    mesh: mesh === null ? MESH_OFF : meshLine(mesh),
    migrated: home.migrated,
    warnings: allWarnings(loaded, status),
    stop: () => {
      stopped ??= stop();
      return stopped;
    },
    reload: ({ config: next }) => {
      log.level = next.log.level;
      log.info({ event: 'reloaded', level: next.log.level }, 'configuration read again: log level applied');
    },
  };
}

/** Of the key the organisation is known by: it may have been rotated since the start, or be on another machine. */
function fingerprintOf({ node, identity }: OpenHome): string {
  const { own } = node.manifests;
  return typeof own?.key_id === 'string' ? own.key_id : identity.orgFingerprint;
}

/** What is made of an open home; if it cannot be, the home is closed again. */
async function orClose<T>(home: OpenHome, make: () => Promise<T>): Promise<T> {
  try {
    return await make();
  } catch (error) {
    await home.close();
    throw error;
  }
}

/** Where it listens, and whom it is to reach. */
function meshLine({ federation }: MeshService): string {
  const { addrs, peers } = federation.status();
  const listening = addrs.map((addr) => addr.replace(/\/p2p\/.*$/, '')).join(', ');
  const declared = peers.active + peers.suspended + peers.expired;
  const known = declared === 0 ? 'no peers declared yet' : `${declared} ${declared === 1 ? 'peer' : 'peers'} declared`;
  return `listening ${listening} (noise, yamux); ${known}`;
}

/** Of the configuration and of the node, each once. */
function allWarnings(loaded: LoadedConfig, status: NodeStatus): readonly string[] {
  return [...new Set([...loaded.warnings, ...status.warnings])];
}

/** How often the log learns whether writes work. */
const READINESS_MS = 1000;

/** Tells the log when writes stop working, and when they work again: at most a line a look. */
export function watchReadiness(readiness: () => Readiness, log: Pick<Logger, 'info' | 'error'>): () => void {
  let before: string | null = null;
  return () => {
    const { code, reason } = readiness();
    if (code === before) return;
    before = code;
    if (code === null) log.info({ event: 'ready_again' }, 'writes work again');
    else log.error({ event: 'not_ready', code }, `writes fail, reads go on: ${reason}`);
  };
}

/** What is left of the drain time for finishing accepted writes and closing the store, once requests had theirs. */
const CLOSE_RESERVE_MS = 1000;

/** Time that open requests get of the whole time a stop may take (ms); at least half of it. */
export function drainTimeout(wholeMs: number): number {
  return Math.max(wholeMs / 2, wholeMs - CLOSE_RESERVE_MS);
}

/** Written aside and renamed, so that a client never reads half of it. */
async function announce(paths: StigmeshPaths, record: DaemonRecord): Promise<void> {
  const file = daemonFile(paths);
  await mkdir(dirname(file), { recursive: true, mode: 0o700 });
  await writeFile(`${file}.new`, `${JSON.stringify(record)}\n`, { mode: 0o600 });
  await rename(`${file}.new`, file);
}

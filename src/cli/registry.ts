import type { Command } from 'commander';
import type { Cli } from './cli.ts';

/** What a file under commands/ exports: fills in arguments, options, help and action of its command. */
export interface CommandModule {
  define(command: Command, cli: Cli): void;
}

export interface CommandEntry {
  readonly name: string;
  readonly group: string;
  readonly summary: string;
  /** Only the module of the command that runs is loaded. */
  readonly load: () => Promise<CommandModule>;
}

const DAEMON = 'Daemon:';
const FACTS = 'Facts:';
const CONFLICTS = 'Contradictions and quality:';
const MESH = 'Mesh:';
const ACCESS = 'Access:';
const STORE = 'Store and files:';
const OTHER = 'This program:';

/** Every command, in the order in which the help lists them. */
export const registry: readonly CommandEntry[] = [
  {
    name: 'init',
    group: DAEMON,
    summary: 'make keys, configuration and data directory',
    load: () => import('./commands/init.ts'),
  },
  {
    name: 'start',
    group: DAEMON,
    summary: 'run the daemon in the foreground',
    load: () => import('./commands/start.ts'),
  },
  {
    name: 'demo',
    group: DAEMON,
    summary: 'three organisations play sharing, contradiction and healing',
    load: () => import('./commands/demo.ts'),
  },
  { name: 'stop', group: DAEMON, summary: 'stop the daemon of this home', load: () => import('./commands/stop.ts') },
  {
    name: 'status',
    group: DAEMON,
    summary: 'show what the daemon is and holds',
    load: () => import('./commands/status.ts'),
  },

  { name: 'assert', group: FACTS, summary: 'state a fact, or many', load: () => import('./commands/assert.ts') },
  {
    name: 'query',
    group: FACTS,
    summary: 'list what is currently held true',
    load: () => import('./commands/query.ts'),
  },
  { name: 'get', group: FACTS, summary: 'show one fact with all its terms', load: () => import('./commands/get.ts') },
  {
    name: 'history',
    group: FACTS,
    summary: 'list everything ever stated',
    load: () => import('./commands/history.ts'),
  },
  { name: 'retract', group: FACTS, summary: 'take back what you stated', load: () => import('./commands/retract.ts') },
  {
    name: 'watch',
    group: FACTS,
    summary: 'follow facts as they are committed',
    load: () => import('./commands/watch.ts'),
  },

  {
    name: 'conflicts',
    group: CONFLICTS,
    summary: 'list and resolve contradictions',
    load: () => import('./commands/conflicts.ts'),
  },
  {
    name: 'lint',
    group: CONFLICTS,
    summary: 'look for contradictions, stale facts and broken references',
    load: () => import('./commands/lint.ts'),
  },

  {
    name: 'invite',
    group: MESH,
    summary: 'make an invite for a peer',
    load: () => import('./commands/invite.ts'),
  },
  { name: 'join', group: MESH, summary: 'use an invite', load: () => import('./commands/join.ts') },
  {
    name: 'peers',
    group: MESH,
    summary: 'list peers, and decide what is shared with them',
    load: () => import('./commands/peers.ts'),
  },
  { name: 'sync', group: MESH, summary: 'reconcile with peers now', load: () => import('./commands/sync.ts') },
  {
    name: 'mesh',
    group: MESH,
    summary: 'draw the mesh as this daemon sees it',
    load: () => import('./commands/mesh.ts'),
  },
  {
    name: 'org',
    group: MESH,
    summary: 'show and change who speaks for the organisation',
    load: () => import('./commands/org.ts'),
  },

  {
    name: 'keys',
    group: ACCESS,
    summary: 'create, list and revoke API keys',
    load: () => import('./commands/keys.ts'),
  },
  {
    name: 'gardens',
    group: ACCESS,
    summary: 'manage gardens and their members',
    load: () => import('./commands/gardens.ts'),
  },
  { name: 'audit', group: ACCESS, summary: 'show who did what', load: () => import('./commands/audit.ts') },

  {
    name: 'export',
    group: STORE,
    summary: 'write every statement to a file',
    load: () => import('./commands/export.ts'),
  },
  { name: 'import', group: STORE, summary: 'read statements from a file', load: () => import('./commands/import.ts') },
  {
    name: 'verify',
    group: STORE,
    summary: 'recompute content addresses and signatures',
    load: () => import('./commands/verify.ts'),
  },
  {
    name: 'reindex',
    group: STORE,
    summary: 'rebuild every index from the log',
    load: () => import('./commands/reindex.ts'),
  },

  {
    name: 'config',
    group: OTHER,
    summary: 'show and check the configuration',
    load: () => import('./commands/config.ts'),
  },
  {
    name: 'completion',
    group: OTHER,
    summary: 'print completions for a shell',
    load: () => import('./commands/completion.ts'),
  },
  { name: 'version', group: OTHER, summary: 'print the version', load: () => import('./commands/version.ts') },
];

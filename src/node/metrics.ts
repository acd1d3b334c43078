import { Counter, Gauge, Histogram, type Registry } from 'prom-client';
import { SCOPES } from '../facts/scope.ts';
import type { NodeFigures } from './types.ts';

/** One group of the writer on its way to the disk. */
export interface GroupTimer {
  /** Everything that will be written is known. */
  prepared(): void;
  /** It is durable. */
  committed(statements: number): void;
}

/** What the node counts while it works. Labels come from fixed sets. */
export interface NodeMetrics {
  group(): GroupTimer;
  /** A group could not be read for, prepared or written. */
  groupFailed(code: string): void;
  /** Expired statements whose views were settled. */
  expired(statements: number): void;
}

/** Seconds: an fsync takes from a tenth of a millisecond to the better part of a second. */
const SECONDS = [0.0005, 0.001, 0.003, 0.01, 0.03, 0.1, 0.3, 1, 3];
const STATEMENTS = [1, 2, 5, 10, 20, 50, 100, 200, 500, 1000];

/** Creates what the node counts, in the registry of the process. */
export function createNodeMetrics(registry: Registry): NodeMetrics {
  const registers = [registry];
  const size = new Histogram({
    name: 'stigmesh_commit_statements',
    help: 'Statements that shared one commit',
    buckets: STATEMENTS,
    registers,
  });
  const prepare = new Histogram({
    name: 'stigmesh_commit_prepare_seconds',
    help: 'Time to check, sign and index what shares one commit',
    buckets: SECONDS,
    registers,
  });
  const write = new Histogram({
    name: 'stigmesh_commit_write_seconds',
    help: 'Time the store took to make one commit durable',
    buckets: SECONDS,
    registers,
  });
  const statements = new Counter({
    name: 'stigmesh_statements_committed_total',
    help: 'Statements that were made durable since the start',
    registers,
  });
  const failures = new Counter({
    name: 'stigmesh_commit_failures_total',
    help: 'Commits that failed, by error code; every caller in them was refused',
    labelNames: ['code'],
    registers,
  });
  const expired = new Counter({
    name: 'stigmesh_expired_total',
    help: 'Statements whose expiry was settled in the view',
    registers,
  });
  return {
    group() {
      const endPrepare = prepare.startTimer();
      let endWrite: (() => number) | undefined;
      return {
        prepared() {
          endPrepare();
          endWrite = write.startTimer();
        },
        committed(count) {
          endWrite?.();
          size.observe(count);
          statements.inc(count);
        },
      };
    },
    groupFailed: (code) => failures.inc({ code }),
    expired: (count) => expired.inc(count),
  };
}

/** What a running node answers about itself when metrics are read. */
export interface ReadableNode {
  figures(): NodeFigures;
  readiness(): { readonly ready: boolean };
  /** Bytes on disk; null when that cannot be told. */
  storeBytes(): Promise<number | null>;
}

/** Gauges that are read from the node when somebody asks for metrics. */
export function observeNode(registry: Registry, node: ReadableNode): void {
  const gauge = (name: string, help: string, read: (figures: NodeFigures) => number): void => {
    new Gauge({
      name,
      help,
      registers: [registry],
      collect() {
        this.set(read(node.figures()));
      },
    });
  };
  gauge('stigmesh_statements', 'Statements in the log', ({ statements }) => statements);
  gauge('stigmesh_facts', 'Facts in the log', ({ facts }) => facts);
  gauge('stigmesh_open_conflicts', 'Conflicts nobody has resolved', ({ openConflicts }) => openConflicts);
  gauge('stigmesh_quarantined', 'Damaged records that were set aside', ({ quarantined }) => quarantined);
  gauge('stigmesh_sequence', 'Local sequence number of the newest statement', ({ seq }) => seq);
  gauge('stigmesh_audit_sequence', 'Number of the newest audit entry', ({ auditSeq }) => auditSeq);
  gauge('stigmesh_hlc_ahead_seconds', 'How far the logical clock is ahead of the system clock', (figures) =>
    Math.max(0, figures.hlcAheadMs / 1000),
  );
  gauge('stigmesh_last_commit_timestamp_seconds', 'Unix time of the last commit, 0 before the first', (figures) =>
    figures.lastCommitAt === null ? 0 : figures.lastCommitAt / 1000,
  );
  gauge('stigmesh_write_queue_statements', 'Statements that wait for the writer', ({ writeQueue }) => writeQueue);
  gauge('stigmesh_expiry_overdue_seconds', 'Age of the oldest expiry that is due and not settled', (figures) =>
    Math.max(0, figures.expiryOverdueMs / 1000),
  );
  gauge(
    'stigmesh_recomputations_pending',
    'Relations and organisations whose views are computed again after a change',
    (figures) => figures.recomputations,
  );
  gauge('stigmesh_lint_jobs_unfinished', 'Lint jobs that wait or run', ({ lintJobs }) => lintJobs);
  gauge('stigmesh_feed_followers', 'Followers of the commit feed', ({ feedFollowers }) => feedFollowers);
  gauge('stigmesh_view_cache_entries', 'View entries held in memory', ({ viewEntries }) => viewEntries);
  gauge('stigmesh_gardens', 'Gardens, deleted ones included', ({ gardens }) => gardens);
  gauge('stigmesh_untrusted_statements', 'Statements of organisations that nobody here trusts', (f) => f.untrusted);
  gauge('stigmesh_sets', 'Sets of statements that can be reconciled with peers', ({ sets }) => sets);
  gauge('stigmesh_manifests', 'Organisations whose manifest is known', ({ manifests }) => manifests);
  gauge('stigmesh_equivocations', 'Origins seen to sign two statements with one clock reading', (f) => f.equivocations);
  gauge('stigmesh_api_keys', 'API keys that are neither revoked nor expired', ({ apiKeys }) => apiKeys);
  new Gauge({
    name: 'stigmesh_current_facts',
    help: 'Facts of the current view, by scope',
    labelNames: ['scope'],
    registers: [registry],
    collect() {
      const { current } = node.figures();
      for (const scope of SCOPES) this.set({ scope }, current[scope]);
    },
  });
  new Gauge({
    name: 'stigmesh_ready',
    help: '1 while writes work, 0 otherwise; /readyz says why',
    registers: [registry],
    collect() {
      this.set(node.readiness().ready ? 1 : 0);
    },
  });
  new Gauge({
    name: 'stigmesh_store_bytes',
    help: 'Size of the store on disk; absent while the disk does not answer',
    registers: [registry],
    async collect() {
      const bytes = await node.storeBytes();
      if (bytes === null) this.remove();
      else this.set(bytes);
    },
  });
}

import { collectDefaultMetrics, Gauge, type Registry } from 'prom-client';
import { MAX_UNREAD_BYTES } from './api/limits.ts';
import type { Config } from './config/index.ts';
import { MAX_CACHED_ENTRIES, MAX_GROUP_STATEMENTS, MAX_QUEUED_STATEMENTS } from './node/limits.ts';
import { MAX_LINT_JOBS } from './node/local-limits.ts';

/** Which program runs, and on what. */
export interface Build {
  readonly version: string;
  readonly schema: number;
  /** Version of the runtime. */
  readonly node: string;
}

/**
 * Metrics of the process, beside those of its node (node/metrics.ts) and its API (api/metrics.ts), which are created
 * once each in the same registry: what runs, the bounds it runs with, and the runtime's own.
 */
export function observeProcess(registry: Registry, { version, schema, node }: Build, config: Config): void {
  collectDefaultMetrics({ register: registry });
  new Gauge({
    name: 'stigmesh_build_info',
    help: 'Always 1; the labels say what runs',
    labelNames: ['version', 'schema', 'node'],
    registers: [registry],
  }).set({ version, schema: String(schema), node }, 1);
  const limit = new Gauge({
    name: 'stigmesh_limit',
    help: 'Upper bounds of this daemon, by what they bound',
    labelNames: ['of'],
    registers: [registry],
  });
  for (const [of, value] of Object.entries(bounds(config))) limit.set({ of }, value);
}

/** Bounds that are reached while it runs, so that what they bound can be shown as a share of them. */
function bounds({ api, limits }: Config): Readonly<Record<string, number>> {
  return {
    api_keys: limits.api_keys,
    audit_entries: limits.audit_retention_entries,
    batch_facts: limits.batch_facts,
    body_bytes: api.body_limit,
    commit_statements: MAX_GROUP_STATEMENTS,
    connections: api.max_connections,
    gardens: limits.gardens,
    lint_jobs: MAX_LINT_JOBS,
    reads_per_minute: api.rate_limit_read,
    sse_clients: limits.sse_clients,
    unread_answer_bytes: MAX_UNREAD_BYTES,
    view_cache_entries: MAX_CACHED_ENTRIES,
    write_queue_statements: MAX_QUEUED_STATEMENTS,
    writes_per_minute: api.rate_limit_write,
  };
}

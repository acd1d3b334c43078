import { Counter, Gauge, Histogram, type Registry } from 'prom-client';

/** Metrics of the API. Labels come from fixed sets: route patterns, methods, codes; never from what a caller sent. */
export interface ApiMetrics {
  readonly requests: Counter<'route' | 'method' | 'status'>;
  readonly duration: Histogram<'route'>;
  readonly refusals: Counter<'code'>;
  readonly rateLimited: Counter<'dimension'>;
  readonly rpcCalls: Counter<'method' | 'code'>;
  readonly sseClients: Gauge;
  readonly sseDropped: Counter<'reason'>;
  readonly linesSuppressed: Counter<'kind'>;
  readonly batchFacts: Counter<'outcome'>;
  readonly importedStatements: Counter<'outcome'>;
  readonly itemRefusals: Counter<'code'>;
}

export function createMetrics(registry: Registry): ApiMetrics {
  const registers = [registry];
  return {
    requests: new Counter({
      name: 'stigmesh_http_requests_total',
      help: 'Answered requests',
      labelNames: ['route', 'method', 'status'],
      registers,
    }),
    duration: new Histogram({
      name: 'stigmesh_http_request_duration_seconds',
      help: 'Time from the headers of a request to the end of its answer; event streams are left out',
      labelNames: ['route'],
      buckets: [0.001, 0.003, 0.01, 0.03, 0.1, 0.3, 1, 3, 10],
      registers,
    }),
    refusals: new Counter({
      name: 'stigmesh_api_refusals_total',
      help: 'Requests and calls that were refused, by error code',
      labelNames: ['code'],
      registers,
    }),
    rateLimited: new Counter({
      name: 'stigmesh_api_rate_limited_total',
      help: 'Requests and calls beyond the allowance of their key',
      labelNames: ['dimension'],
      registers,
    }),
    rpcCalls: new Counter({
      name: 'stigmesh_rpc_calls_total',
      help: 'JSON-RPC calls by method and outcome (ok or the error code)',
      labelNames: ['method', 'code'],
      registers,
    }),
    sseClients: new Gauge({ name: 'stigmesh_sse_clients', help: 'Open event streams', registers }),
    sseDropped: new Counter({
      name: 'stigmesh_sse_dropped_total',
      help: 'Event streams ended by the daemon, by reason',
      labelNames: ['reason'],
      registers,
    }),
    linesSuppressed: new Counter({
      name: 'stigmesh_log_lines_suppressed_total',
      help: 'Log lines about requests that were left out because there were too many, by kind',
      labelNames: ['kind'],
      registers,
    }),
    batchFacts: new Counter({
      name: 'stigmesh_batch_facts_total',
      help: 'Facts of batches by outcome: created, exists or error',
      labelNames: ['outcome'],
      registers,
    }),
    importedStatements: new Counter({
      name: 'stigmesh_import_statements_total',
      help: 'Lines of imports by outcome: accepted, duplicate or rejected',
      labelNames: ['outcome'],
      registers,
    }),
    itemRefusals: new Counter({
      name: 'stigmesh_item_refusals_total',
      help: 'Facts of batches and lines of imports that were refused, by error code',
      labelNames: ['code'],
      registers,
    }),
  };
}

/** What a running API answers about itself when metrics are read. */
export interface ReadableApi {
  readonly connections: { readonly open: number; readonly answering: number };
  /** Bytes of answers that wait in sockets. */
  readonly unread: number;
}

/** Gauges that are read from the API when somebody asks for metrics. */
export function observeApi(registry: Registry, api: ReadableApi): void {
  const gauge = (name: string, help: string, read: () => number): void => {
    new Gauge({
      name,
      help,
      registers: [registry],
      collect() {
        this.set(read());
      },
    });
  };
  gauge('stigmesh_http_connections', 'Open connections, idle ones included', () => api.connections.open);
  gauge('stigmesh_http_requests_in_flight', 'Requests that are being answered', () => api.connections.answering);
  gauge('stigmesh_http_unread_answer_bytes', 'Bytes of large answers that wait to be read', () => api.unread);
}

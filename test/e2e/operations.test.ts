import assert from 'node:assert/strict';
import { execFile } from 'node:child_process';
import { once } from 'node:events';
import { type IncomingMessage, request } from 'node:http';
import { promisify } from 'node:util';
import { metricRows } from '../../scripts/generate-operations-docs.ts';
import { BIN, type RunningDaemon, startDaemon } from '../support/daemon.ts';

const run = promisify(execFile);

/** Metrics of a scrape: the value of each series. */
function series(text: string): Map<string, number> {
  const found = new Map<string, number>();
  for (const line of text.split('\n')) {
    const at = line.lastIndexOf(' ');
    if (line !== '' && !line.startsWith('#')) found.set(line.slice(0, at), Number(line.slice(at + 1)));
  }
  return found;
}

describe('e2e: what an operator sees', () => {
  let daemon: RunningDaemon;

  before(async () => {
    daemon = await startDaemon({
      env: {
        STIGMESH_MESH_ENABLED: 'true',
        STIGMESH_API_METRICS_LOOPBACK: 'true',
        STIGMESH_API_RATE_LIMIT_WRITE: '1',
        STIGMESH_LIMITS_SSE_CLIENTS: '1',
        STIGMESH_STORE_SYNC: 'false',
      },
    });
  });

  after(() => daemon.stop());

  const scrape = async () => series(await (await daemon.fetch('/metrics', { key: null })).text());
  const fact = (n: number, more: object = {}) => ({
    entity: `user:u${n}`,
    relation: 'memory:role',
    value: { type: 'number', v: n },
    source: 'agent:x',
    ...more,
  });

  it('metrics: exactly those that docs/metrics.md lists', async () => {
    const text = await (await daemon.fetch('/metrics', { key: null })).text();
    const names = [...text.matchAll(/^# TYPE (stigmesh_\w+) (\w+)$/gm)].map(([, name, type]) => `${name} ${type}`);
    assert.deepEqual(
      names.sort(),
      metricRows()
        .map(({ name, type }) => `${name} ${type}`)
        .sort(),
    );
    assert.match(text, /^nodejs_eventloop_lag_p99_seconds /m);
    assert.match(text, /^process_open_fds /m);
  });

  it('metrics: every kind of refusal leaves a trace', async () => {
    const facts = [
      fact(1),
      fact(1),
      fact(2, { relation: 'r'.repeat(300) }),
      fact(3, { value: { type: 'number', v: 'x' } }),
    ];
    const batch = await daemon.fetch('/v1/facts/batch', { method: 'POST', json: { facts } });
    assert.equal(batch.status, 200);
    assert.equal((await daemon.fetch('/v1/me', { key: 'wrong' })).status, 401);
    assert.equal((await daemon.fetch('/v1/facts?cursor=nonsense')).status, 400);
    const rpc = await daemon.fetch('/rpc', { method: 'POST', json: { jsonrpc: '2.0', id: 1, method: 'no.such' } });
    assert.equal(rpc.status, 200);
    // One request a minute, a batch of any size being one.
    const more = Array.from({ length: 20 }, (_, n) => fact(n));
    const limited = await daemon.fetch('/v1/facts/batch', { method: 'POST', json: { facts: more } });
    assert.equal(limited.status, 429);
    const first = await openEvents();
    assert.equal(first.statusCode, 200);
    assert.equal((await daemon.fetch('/v1/events')).status, 503);

    const now = await scrape();
    assert.equal(now.get('stigmesh_batch_facts_total{outcome="created"}'), 1);
    assert.equal(now.get('stigmesh_batch_facts_total{outcome="exists"}'), 1);
    assert.equal(now.get('stigmesh_batch_facts_total{outcome="error"}'), 2);
    assert.equal(now.get('stigmesh_item_refusals_total{code="invalid_relation"}'), 1);
    assert.equal(now.get('stigmesh_item_refusals_total{code="invalid_value"}'), 1);
    assert.equal(now.get('stigmesh_api_refusals_total{code="api_key_invalid"}'), 1);
    assert.equal(now.get('stigmesh_api_refusals_total{code="invalid_cursor"}'), 1);
    assert.equal(now.get('stigmesh_api_refusals_total{code="too_many_clients"}'), 1);
    assert.equal(now.get('stigmesh_api_refusals_total{code="rate_limited"}'), 1);
    assert.equal(now.get('stigmesh_api_rate_limited_total{dimension="fact_write"}'), 1);
    assert.equal(now.get('stigmesh_rpc_calls_total{method="unknown",code="method_not_found"}'), 1);
    assert.equal(now.get('stigmesh_sse_clients'), 1);
    assert.equal(now.get('stigmesh_limit{of="sse_clients"}'), 1);
    assert.equal(now.get('stigmesh_limit{of="write_queue_statements"}'), 20_000);
    assert.equal(now.get('stigmesh_statements'), 1);
    assert.equal(now.get('stigmesh_statements_committed_total'), 1);
    assert.ok(now.get('stigmesh_commit_write_seconds_count')! >= 1);
    assert.equal(now.get('stigmesh_ready'), 1);
    assert.ok(now.get('stigmesh_http_connections')! >= 1);
    first.destroy();
  });

  it('status: everything of the node, of the daemon and of the configuration', async () => {
    const status = (await (await daemon.fetch('/v1/status')).json()) as Record<string, unknown>;
    const { warnings, hlc, last_commit_at, peer_id, fingerprint, store_bytes, ...rest } = status;
    assert.equal((warnings as string[]).filter((text) => /store\.sync/.test(text)).length, 1, 'of two kinds, once');
    assert.match(String(hlc), /^\d+\.\d{3}$/);
    assert.match(String(last_commit_at), /Z$/);
    assert.match(String(peer_id), /^12D3/);
    assert.match(String(fingerprint), /^\w{5}-/);
    assert.ok((store_bytes as number) > 0);
    const { mesh, ...others } = rest;
    const { peers, addrs, sets, indexed, ...ofMesh } = mesh as Record<string, unknown>;
    assert.deepEqual(peers, { pending: 0, active: 0, suspended: 0, expired: 0, revoked: 0, connected: 0 });
    assert.match(String(addrs), /^\/ip4\/127\.0\.0\.1\/tcp\/\d+\/p2p\/12D3/);
    assert.deepEqual([typeof sets, indexed, ofMesh.enabled, ofMesh.peer_id], ['number', true, true, peer_id]);
    assert.deepEqual(Object.values(ofMesh.lag as object), [null, null, null, null], 'nobody to be behind');
    assert.ok(Object.values(ofMesh.queues as object).every((length) => length === 0));
    const { uptime_s, connections, requests, api_keys, node_version, version, org, hlc_ahead_ms, ...counts } = others;
    assert.ok((uptime_s as number) >= 0 && (connections as number) >= 1 && (requests as number) >= 1);
    assert.equal(node_version, process.versions.node);
    assert.deepEqual([typeof version, typeof org, typeof hlc_ahead_ms, api_keys], ['string', 'string', 'number', 1]);
    assert.deepEqual(counts, {
      status: 'ok',
      reason: null,
      statements: 1,
      facts: 1,
      current_facts: 1,
      open_conflicts: 0,
      quarantined: 0,
      seq: 1,
      schema: 1,
      write_queue: 0,
      recomputations: 0,
      expiry_overdue_s: 0,
      lint_jobs: 0,
      feed_followers: counts.feed_followers,
      sse_clients: counts.sse_clients,
      gardens: 0,
      untrusted: 0,
      equivocations: 0,
      manifests: 1,
      auth: 'required',
    });
  });

  it('status: the command shows the same, in words and as JSON', async () => {
    const { env } = daemon;
    const { stdout: json } = await run(process.execPath, [BIN, 'status', '--json'], { env });
    const { write_queue, reason, pid, paths } = JSON.parse(json) as Record<string, unknown>;
    assert.deepEqual([write_queue, reason, pid], [0, null, daemon.process.pid]);
    assert.equal((paths as { home: string }).home, daemon.home);
    const { stdout, stderr } = await run(process.execPath, [BIN, 'status'], { env: { ...env, NO_COLOR: '1' } });
    for (const line of [/^work +0 statements queued/m, /^API keys +1 live, required/m, /^runtime +up \d+ s, Node /m]) {
      assert.match(stdout, line);
    }
    assert.match(stderr, /store\.sync/);
  });

  it('probes: say little, and to everybody', async () => {
    for (const path of ['/livez', '/healthz', '/readyz']) {
      const answer = await daemon.fetch(path, { key: null });
      assert.deepEqual([answer.status, await answer.json()], [200, { status: 'ok' }], path);
    }
  });

  it('log: every line has an event, and refusals carry their code and request id', async () => {
    const answer = await daemon.fetch('/v1/facts?cursor=nonsense');
    const id = answer.headers.get('x-request-id');
    await until(() => daemon.logs.some(({ request_id }) => request_id === id));
    const line = daemon.logs.find(({ request_id }) => request_id === id)!;
    assert.deepEqual([line.event, line.code, line.route, line.status], ['refused', 'invalid_cursor', '/v1/facts', 400]);
    for (const one of daemon.logs) assert.equal(typeof one.event, 'string', JSON.stringify(one));
  });

  async function openEvents(): Promise<IncomingMessage> {
    const outgoing = request(`${daemon.url}/v1/events`, { headers: { authorization: `Bearer ${daemon.key}` } });
    outgoing.end();
    const [incoming] = (await once(outgoing, 'response')) as [IncomingMessage];
    incoming.on('error', () => {});
    return incoming;
  }
});

/** Asks again and again; mocha's timeout is the limit. */
async function until(isTrue: () => boolean): Promise<void> {
  while (!isTrue()) await new Promise((resolve) => setTimeout(resolve, 10));
}

import assert from 'node:assert/strict';
import { pino } from 'pino';
import { LOG_LINES_BURST, LOG_LINES_PER_MINUTE, LOG_SUMMARY_MS } from '../../../src/api/limits.ts';
import { RequestLog } from '../../../src/api/request-log.ts';
import { StoreError } from '../../../src/store/store.ts';
import { until } from '../../support/until.ts';
import { ADMIN_KEY, FakeTimers, start, stopAll } from './fakes.ts';

type Line = Record<string, unknown> & { readonly event?: string };

/** A log whose lines can be read. */
function memoryLog() {
  const lines: Line[] = [];
  return { lines, log: pino({ level: 'debug', base: null }, { write: (text) => lines.push(JSON.parse(text)) }) };
}

const unused = (): Promise<never> => Promise.reject(new Error('the name is refused before'));

describe('log of requests', () => {
  afterEach(stopAll);

  it('writes a bounded number of lines however many requests are refused, and says how many it left out', () => {
    const timers = new FakeTimers();
    const { log, lines } = memoryLog();
    const suppressed: string[] = [];
    const requests = new RequestLog({ log, timers, onSuppressed: (kind) => suppressed.push(kind) });
    const flood = 10_000;
    for (let i = 0; i < flood; i++) requests.write(log, 'refused', { i });
    assert.equal(lines.length, LOG_LINES_BURST);
    assert.equal(suppressed.length, flood - LOG_LINES_BURST);
    // A failure is of another kind, and is seen.
    requests.write(log, 'request_failed', { code: 'x' });
    assert.deepEqual([lines.at(-1)!.event, lines.at(-1)!.level], ['request_failed', 50]);
    timers.advance(LOG_SUMMARY_MS);
    const { event, of, count } = lines.at(-1)!;
    assert.deepEqual(
      { event, of, count },
      { event: 'lines_suppressed', of: 'refused', count: flood - LOG_LINES_BURST },
    );
    const before = lines.length;
    timers.advance(60_000);
    assert.equal(lines.length, before, 'the summary comes once');
    for (let i = 0; i < flood; i++) requests.write(log, 'refused', { i });
    assert.equal(lines.length - before, LOG_LINES_BURST);
    requests.flush();
    assert.equal(lines.at(-1)!.count, flood - LOG_LINES_BURST);
    assert.equal(timers.pending, 0);
  });

  it('goes on at its rate while a flood lasts', () => {
    const timers = new FakeTimers();
    const { log, lines } = memoryLog();
    const requests = new RequestLog({ log, timers, onSuppressed: () => {} });
    for (let second = 0; second < 60; second++) {
      for (let i = 0; i < 100; i++) requests.write(log, 'refused', { i });
      timers.advance(1000);
    }
    const refused = lines.filter(({ event }) => event === 'refused').length;
    assert.ok(refused >= LOG_LINES_PER_MINUTE - 10 && refused <= LOG_LINES_PER_MINUTE + LOG_LINES_BURST, `${refused}`);
    assert.ok(lines.length - refused <= 6);
  });

  it('says of a refused request what it was, which code it got and by which id it can be found', async () => {
    const { log, lines } = memoryLog();
    const { send } = await start({ facts: { get: unused }, more: { log } });
    const answer = await send({ path: '/v1/facts/user:alice-secret' });
    assert.equal(answer.status, 404);
    const has = (wanted: string) => lines.some(({ event }) => event === wanted);
    await until(() => has('refused'), 'the line of the refusal');
    const [line, ...others] = lines.filter(({ event }) => event === 'refused');
    assert.deepEqual(others, []);
    const { level, route, method, status, code, key, request_id } = line!;
    assert.deepEqual(
      { level, route, method, status, code, key },
      { level: 30, route: '/v1/facts/{fact_id}', method: 'GET', status: 404, code: 'fact_not_found', key: 'key-1' },
    );
    assert.equal(request_id, answer.headers['x-request-id']);
    assert.match(String(request_id), /^[0-9a-z]+-[0-9a-z]+$/);
    assert.doesNotMatch(JSON.stringify(lines), /alice-secret/);
    const next = await send({ path: '/healthz' });
    assert.notEqual(next.headers['x-request-id'], request_id);
    await until(() => has('answered'), 'the line of the answer');
    assert.equal(lines.at(-1)!.event, 'answered');
  });

  it('names a request by itself, whatever name the caller gives it', async () => {
    const { send } = await start();
    const answer = await send({ path: '/healthz', headers: { 'x-request-id': 'forged', 'request-id': 'forged' } });
    assert.doesNotMatch(String(answer.headers['x-request-id']), /forged/);
  });

  it('logs refused JSON-RPC calls alike, one line a call', async () => {
    const { log, lines } = memoryLog();
    const { send } = await start({ facts: { get: unused }, more: { log } });
    const call = { jsonrpc: '2.0', id: 1, method: 'fact.get', params: { fact_id: 'sha256:short' } };
    const answer = await send({ method: 'POST', path: '/rpc', body: [call, call] });
    assert.equal(answer.status, 200);
    const refused = lines.filter(({ event }) => event === 'refused');
    assert.deepEqual(
      refused.map(({ route, method, code, request_id }) => ({ route, method, code, request_id })),
      Array(2).fill({
        route: '/rpc',
        method: 'fact.get',
        code: 'cid_malformed',
        request_id: answer.headers['x-request-id'],
      }),
    );
  });

  it('says why an answer broke off after its beginning: the client sees a closed connection only', async () => {
    const { log, lines } = memoryLog();
    const { send } = await start({
      more: {
        log,
        async *exportStatements() {
          yield { id: 'b', bytes: Buffer.from(`"${'x'.repeat(200_000)}"`), sig: new Uint8Array(64) };
          throw new StoreError('store_io', 'the store failed', 'check the disk');
        },
      },
    });
    await assert.rejects(send({ path: '/v1/export' }), /aborted|hang up|ECONNRESET/);
    await until(() => lines.some(({ event }) => event === 'answer_broken'), 'the line of the broken answer');
    const broken = lines.filter(({ event }) => event === 'answer_broken');
    assert.deepEqual(
      broken.map(({ level, code, reason }) => ({ level, code, reason })),
      [{ level: 50, code: 'store_io', reason: 'the store failed' }],
    );
    assert.match((await send({ path: '/metrics' })).text, /stigmesh_api_refusals_total\{code="store_io"\} 1/);
  });

  it('warns about a secret in a query string without repeating it', async () => {
    const { log, lines } = memoryLog();
    const { send } = await start({ more: { log } });
    await send({ path: `/v1/me?api_key=${ADMIN_KEY}` }, null);
    await until(() => lines.some(({ event, level }) => event === 'secret_in_query' && level === 40), 'the warning');
    assert.doesNotMatch(JSON.stringify(lines), new RegExp(ADMIN_KEY));
  });
});

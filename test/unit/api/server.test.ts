import assert from 'node:assert/strict';
import { Agent, request } from 'node:http';
import { connect } from 'node:net';
import { ApiStartError } from '../../../src/api/http/start-error.ts';
import { DISCARD_BODY_MS, IMPORT_IDLE_MS, MAX_HEADER_BYTES, STOP_NOTICE_MS } from '../../../src/api/limits.ts';
import { until } from '../../support/until.ts';
import { ADMIN_KEY, FakeFeed, FakeTimers, factView, INIT, settle, start, stopAll } from './fakes.ts';
import { rawRequest } from './http-client.ts';

const FACT = { entity: 'user:a', relation: 'm:r', value: { type: 'string', v: 'x' }, source: 'agent:x' };
const HEAD = `Host: localhost\r\nAuthorization: Bearer ${ADMIN_KEY}\r\n`;

describe('limits of the server', () => {
  afterEach(stopAll);

  it('refuses a body above the limit with 413, declared or chunked, and the client gets to read it', async () => {
    const { send, api } = await start();
    const body = `{"a":"${'x'.repeat(INIT.bodyLimit)}"}`;
    const headers = { 'content-type': 'application/json' };
    const declared = await send({ method: 'POST', path: '/v1/facts', body, headers });
    assert.deepEqual([declared.status, declared.json.code], [413, 'body_too_large']);
    const huge = await send({ method: 'POST', path: '/v1/facts', body: 'x'.repeat(20 * 1024 * 1024), headers });
    assert.equal(huge.status, 413);
    const chunk = `${body.length.toString(16)}\r\n${body}\r\n0\r\n\r\n`;
    const head = `POST /v1/facts HTTP/1.1\r\n${HEAD}Content-Type: application/json\r\nConnection: close\r\n`;
    assert.match(await rawRequest(api.port, `${head}Transfer-Encoding: chunked\r\n\r\n${chunk}`), /^HTTP\/1.1 413 /);
    const exact = `{"a":"${'x'.repeat(INIT.bodyLimit - 8)}"}`;
    assert.equal((await send({ method: 'POST', path: '/v1/facts', body: exact, headers })).status, 422);
  });

  it('refuses headers above the limit with 431 and garbage with 400, as problems', async () => {
    const { api } = await start();
    const long = await rawRequest(
      api.port,
      `GET /healthz HTTP/1.1\r\n${HEAD}X: ${'x'.repeat(MAX_HEADER_BYTES)}\r\n\r\n`,
    );
    assert.match(long, /^HTTP\/1.1 431 /);
    assert.match(long, /"code":"headers_too_large"/);
    for (const garbage of ['\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03', 'GET\r\n\r\n', 'HELLO there\r\n\r\n']) {
      const answer = await rawRequest(api.port, garbage);
      assert.match(answer, /^HTTP\/1.1 400 [\s\S]*"code":"malformed_request"/);
    }
    const smuggled = `POST /v1/facts HTTP/1.1\r\n${HEAD}Content-Length: 3\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n`;
    assert.match(await rawRequest(api.port, smuggled), /^HTTP\/1.1 400 /);
  });

  it('gives up on a body that does not arrive in time', async () => {
    const timers = new FakeTimers();
    const { api } = await start({ more: { timers } });
    const head = `POST /v1/facts HTTP/1.1\r\n${HEAD}Content-Type: application/json\r\nContent-Length: 100\r\n\r\n{"a`;
    const answer = rawRequest(api.port, head);
    while (timers.pending === 0) await settle();
    timers.advance(INIT.requestTimeoutMs);
    while (timers.pending === 0) await settle();
    timers.advance(DISCARD_BODY_MS);
    assert.match(await answer, /^HTTP\/1.1 408 [\s\S]*connection: close[\s\S]*"code":"request_timeout"/i);
  });

  it('gives up on an import whose sender pauses', async () => {
    const timers = new FakeTimers();
    const { api } = await start({ more: { timers } });
    const head = `POST /v1/import HTTP/1.1\r\n${HEAD}Content-Type: application/x-ndjson\r\nContent-Length: 100\r\n\r\n{"a`;
    const answer = rawRequest(api.port, head);
    while (timers.pending === 0) await settle();
    await settle();
    timers.advance(IMPORT_IDLE_MS);
    while (timers.pending === 0) await settle();
    timers.advance(DISCARD_BODY_MS);
    assert.match(await answer, /^HTTP\/1.1 408 [\s\S]*"code":"request_timeout"/);
  });

  it('holds no more connections than it is told to', async () => {
    const { api } = await start({}, { maxConnections: 2 });
    const open = () =>
      new Promise<{ closed: Promise<void>; end: () => void }>((resolve, reject) => {
        const socket = connect(api.port, '127.0.0.1', () => {
          resolve({ closed: new Promise((done) => socket.on('close', () => done())), end: () => socket.destroy() });
        });
        socket.on('error', reject);
      });
    const first = await open();
    const second = await open();
    const third = await open();
    await third.closed;
    first.end();
    second.end();
  });

  it('refuses to listen beyond loopback unless told to, and never without keys', async () => {
    const code = async (init: Partial<typeof INIT>) => {
      try {
        await start({}, init);
        return 'started';
      } catch (error) {
        assert.ok(error instanceof ApiStartError && error.hint !== '');
        return error.code;
      }
    };
    assert.equal(await code({ host: '0.0.0.0' }), 'remote_bind_refused');
    assert.equal(await code({ host: '::' }), 'remote_bind_refused');
    assert.equal(await code({ host: '0.0.0.0', allowRemote: true, authRequired: false }), 'remote_bind_refused');
    assert.equal(await code({ host: '0.0.0.0', allowRemote: true }), 'started');
    const { api } = await start();
    assert.equal(await code({ port: api.port }), 'port_in_use');
    assert.equal(await code({ host: '127.0.0.1', authRequired: false }), 'started');
  });

  it('knows its own address', async () => {
    const { api, send } = await start();
    assert.equal(api.url, `http://127.0.0.1:${api.port}`);
    const { json } = await send({ path: '/.well-known/stigmem' }, null);
    assert.equal(json.node_url, api.url);
    assert.equal(json.auth, 'required');
    assert.equal(
      (await (await start({}, { authRequired: false })).send({ path: '/.well-known/stigmem' })).json.auth,
      'none',
    );
  });

  it('is ready as long as writes work, and alive in any case', async () => {
    const { send } = await start({ more: { readiness: () => ({ ready: false, code: 'store_full' }) } });
    const ready = await send({ path: '/readyz' }, null);
    assert.deepEqual([ready.status, ready.json], [503, { status: 'unavailable', code: 'store_full' }]);
    assert.deepEqual((await send({ path: '/healthz' }, null)).json, { status: 'ok' });
    assert.deepEqual((await send({ path: '/livez' }, null)).json, { status: 'ok' });
  });
});

describe('stopping', () => {
  afterEach(stopAll);

  it('finishes requests in flight, refuses new ones on open connections, and closes', async () => {
    const gate = Promise.withResolvers<void>();
    const reached = Promise.withResolvers<void>();
    const { api, send } = await start({
      facts: {
        assert: async () => {
          reached.resolve();
          await gate.promise;
          return { fact: factView(), created: true, warnings: [] };
        },
      },
    });
    const inFlight = send({ method: 'POST', path: '/v1/facts', body: FACT });
    await reached.promise;
    const stopped = api.stop();
    const late = await send({ path: '/readyz' });
    assert.deepEqual([late.status, late.json.code], [503, 'stopping']);
    assert.deepEqual([late.headers['retry-after'], late.headers.connection], ['1', 'close']);
    gate.resolve();
    const answered = await inFlight;
    assert.deepEqual([answered.status, answered.headers.connection], [201, 'close']);
    await stopped;
    await api.stop();
    await assert.rejects(send({ path: '/healthz' }), /ECONNREFUSED/);
  });

  it('closes a kept connection whose answer had begun before the stop', async () => {
    const gate = Promise.withResolvers<void>();
    const reached = Promise.withResolvers<void>();
    async function* exportStatements() {
      yield { id: 'b', bytes: Buffer.from('{}'), sig: new Uint8Array(64) };
      reached.resolve();
      await gate.promise;
    }
    const timers = new FakeTimers();
    const { api } = await start({ more: { exportStatements, timers } });
    const answer = rawRequest(api.port, `GET /v1/export HTTP/1.1\r\n${HEAD}\r\n`);
    await reached.promise;
    const stopped = api.stop();
    await settle();
    timers.advance(STOP_NOTICE_MS);
    gate.resolve();
    while (timers.pending < 2) await settle();
    timers.advance(STOP_NOTICE_MS);
    assert.match(await answer, /^HTTP\/1.1 200 /);
    await stopped;
    assert.equal(timers.pending, 0);
  });

  it('cuts off what is not done in time', async () => {
    const timers = new FakeTimers();
    const reached = Promise.withResolvers<void>();
    const assertFact = (): Promise<never> => {
      reached.resolve();
      return new Promise(() => {});
    };
    const { api, send } = await start({ facts: { assert: assertFact }, more: { timers } });
    const inFlight = assert.rejects(send({ method: 'POST', path: '/v1/facts', body: FACT }), /hang up|ECONNRESET/);
    await reached.promise;
    const stopped = api.stop();
    await settle();
    timers.advance(INIT.drainTimeoutMs);
    await inFlight;
    await stopped;
  });
});

describe('event streams over HTTP', () => {
  afterEach(stopAll);

  /** Opens a stream and resolves once its headers are there. */
  function open(port: number, query = '', headers: Record<string, string> = {}) {
    return new Promise<{ status: number; type: string; text: () => string; ended: Promise<void>; close: () => void }>(
      (resolve, reject) => {
        const outgoing = request(
          {
            host: '127.0.0.1',
            port,
            path: `/v1/events${query}`,
            headers: { authorization: `Bearer ${ADMIN_KEY}`, ...headers },
            agent: new Agent(),
          },
          (incoming) => {
            let text = '';
            incoming.on('data', (chunk) => {
              text += String(chunk);
            });
            incoming.on('error', () => {});
            resolve({
              status: incoming.statusCode ?? 0,
              type: String(incoming.headers['content-type']),
              text: () => text,
              ended: new Promise((done) => incoming.on('close', () => done())),
              close: () => outgoing.destroy(),
            });
          },
        );
        outgoing.on('error', reject);
        outgoing.end();
      },
    );
  }

  it('sends facts as they are committed, and resumes by header or query', async () => {
    const feed = new FakeFeed();
    const { api, send } = await start({ more: { feed } });
    const live = await open(api.port, '?entity=User:Alice');
    assert.deepEqual([live.status, live.type], [200, 'text/event-stream; charset=utf-8']);
    feed.commit(factView());
    feed.commit(factView({ entity: 'user:bob' }));
    feed.commit(factView());
    await until(() => /id: 3\n/.test(live.text()), 'both facts about alice');
    assert.match(live.text(), /event: fact\nid: 1\ndata: \{"id":"bagaaiera/);
    assert.doesNotMatch(live.text(), /id: 2/);
    for (const [query, headers] of [
      ['', { 'last-event-id': '1' }],
      ['?after=1', {}],
      ['?after=0', { 'last-event-id': '1' }],
    ] as const) {
      const resumed = await open(api.port, query, headers);
      await until(() => /id: 2/.test(resumed.text()), 'what came after the first');
      assert.doesNotMatch(resumed.text(), /id: 1\n/);
      resumed.close();
    }
    const metrics = await send({ path: '/metrics' });
    assert.match(metrics.text, /stigmesh_sse_clients \d/);
    live.close();
    await until(() => feed.followers === 0, 'nobody to follow');
  });

  it('refuses bad filters, missing keys and one client too many as problems', async () => {
    const { api, send } = await start({}, { sseClients: 2 });
    assert.equal((await send({ path: '/v1/events' }, null)).status, 401);
    assert.equal((await send({ path: '/v1/events?scope=universe' })).status, 400);
    assert.equal((await send({ path: '/v1/events?entity=stigmem://x' })).status, 400);
    const first = await open(api.port);
    const second = await open(api.port);
    const third = await send({ path: '/v1/events' });
    assert.deepEqual([third.status, third.json.code], [503, 'too_many_clients']);
    first.close();
    await until(async () => {
      const again = await open(api.port);
      again.close();
      return again.status === 200;
    }, 'the place to be given back');
    second.close();
  });

  it('ends when the daemon stops', async () => {
    const { api } = await start();
    const stream = await open(api.port);
    await api.stop();
    await stream.ended;
  });
});

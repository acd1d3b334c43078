import assert from 'node:assert/strict';
import type { AddressInfo } from 'node:net';
import { createServer } from 'node:net';
import { mock } from 'node:test';
import { Client, type ClientInit, queryString } from '../../../src/cli/client.ts';
import { MAX_PROBLEM_BYTES } from '../../../src/cli/limits.ts';
import { FakeDaemon, json } from './fixture.ts';

const KEY = 'smk_0123456789abcdef0123456789abcdef';

describe('cli: client', () => {
  let daemon: FakeDaemon;
  beforeEach(async () => {
    daemon = await FakeDaemon.start();
  });
  afterEach(() => daemon.stop());

  const client = (init: Partial<ClientInit> = {}) =>
    new Client({ url: daemon.url, key: KEY, fetch, version: '1.2.3', ...init });

  it('sends the key as a bearer token, and JSON as JSON', async () => {
    daemon.handler = (_request, response) => json(response, 201, { ok: true });
    assert.deepEqual(await client().post('/v1/facts', { a: 1 }, { headers: { 'idempotency-key': 'k' } }), { ok: true });
    const { method, url, headers, body } = daemon.last;
    assert.deepEqual([method, url, body], ['POST', '/v1/facts', '{"a":1}']);
    assert.equal(headers.authorization, `Bearer ${KEY}`);
    assert.equal(headers['content-type'], 'application/json');
    assert.equal(headers['idempotency-key'], 'k');
    assert.equal(headers['user-agent'], 'stigmesh-cli/1.2.3');
  });

  it('sends no key where there is none, and no header that is undefined', async () => {
    await client({ key: undefined }).get('/v1/status', { headers: { 'last-event-id': undefined } });
    assert.equal(daemon.last.headers.authorization, undefined);
    assert.equal(daemon.last.headers['last-event-id'], undefined);
  });

  it('takes an answer without content', async () => {
    daemon.handler = (_request, response) => void response.writeHead(204).end();
    assert.equal(await client().delete('/v1/gardens/x'), undefined);
    assert.equal(daemon.last.method, 'DELETE');
  });

  it('writes queries', () => {
    assert.equal(queryString({}), '');
    assert.equal(queryString({ a: undefined, b: [] }), '');
    assert.equal(queryString({ a: 'x y&z', b: ['p', 'q'], c: 1, d: false }), '?a=x+y%26z&b=p%2Cq&c=1&d=false');
  });

  describe('refusals', () => {
    const refuse = async (
      status: number,
      body: unknown,
      headers: Record<string, string> = {},
      init: Partial<ClientInit> = {},
    ) => {
      daemon.handler = (_request, response) => json(response, status, body, headers);
      return client(init)
        .get('/v1/x')
        .then(
          () => assert.fail('the call succeeded'),
          (error: Error & { code: string; hint: string; status?: number }) => error,
        );
    };
    const problem = (code: string, detail: unknown) => ({
      type: 'x',
      title: 'Title',
      status: 0,
      code,
      hint: 'do this',
      detail,
    });

    it('carry the words of the daemon', async () => {
      const error = await refuse(404, problem('fact_not_found', 'fact not found'));
      assert.deepEqual(
        [error.code, error.message, error.hint, error.status],
        ['fact_not_found', 'fact not found', 'do this', 404],
      );
    });

    it('read every form of detail', async () => {
      const issues = [
        { type: 'missing', loc: ['body', 'entity'], msg: 'Field required' },
        { type: 'x', loc: ['query'], msg: 'alone' },
      ];
      assert.equal((await refuse(422, problem('validation_failed', issues))).message, 'entity: Field required; alone');
      assert.equal((await refuse(403, problem('x', { code: 'x', message: 'inner' }))).message, 'inner');
      assert.equal((await refuse(500, problem('x', undefined))).message, 'Title');
    });

    it('say when to try again', async () => {
      assert.match(
        (await refuse(429, problem('rate_limited', 'slow down'), { 'retry-after': '7' })).message,
        /again in 7 s/,
      );
    });

    it('name the key that was meant, never the key', async () => {
      const body = problem('api_key_invalid', 'Invalid or expired API key');
      const error = await refuse(401, body);
      assert.match(error.hint, /STIGMESH_API_KEY_FILE/);
      assert.ok(!JSON.stringify([error.message, error.hint]).includes(KEY));
      assert.match((await refuse(401, body, {}, { key: undefined })).hint, /no API key was sent/);
    });

    it('tell a stranger from the daemon', async () => {
      assert.equal((await refuse(404, '<html>')).code, 'not_a_daemon');
      assert.equal((await refuse(500, null)).code, 'not_a_daemon');
      daemon.handler = (_request, response) => void response.end('<html>hello</html>');
      await assert.rejects(client().get('/'), { code: 'not_a_daemon' });
      daemon.handler = (_request, response) => void response.writeHead(500).end('x'.repeat(MAX_PROBLEM_BYTES + 1));
      await assert.rejects(client().get('/'), { code: 'not_a_daemon' });
    });
  });

  it('follows no redirect: it would carry the key away', async () => {
    const elsewhere = await FakeDaemon.start();
    try {
      daemon.handler = (_request, response) => void response.writeHead(307, { location: `${elsewhere.url}/x` }).end();
      await assert.rejects(client().get('/v1/status'), { code: 'not_a_daemon' });
      assert.equal(elsewhere.requests.length, 0);
    } finally {
      await elsewhere.stop();
    }
  });

  it('says that nobody listens', async () => {
    const { url } = daemon;
    await daemon.stop();
    daemon = await FakeDaemon.start();
    await assert.rejects(client({ url }).get('/v1/status'), {
      code: 'daemon_not_running',
      hint: /stigmesh start.*npm start/,
    });
  });

  it('says that the connection broke', async () => {
    daemon.handler = (_request, response) => void response.socket?.destroy();
    await assert.rejects(client().get('/v1/status'), { code: 'daemon_unreachable' });
    daemon.handler = (_request, response) => {
      response.writeHead(200, { 'content-length': '100' }).write('{"a":');
      setImmediate(() => response.socket?.destroy());
    };
    await assert.rejects(client().get('/v1/status'), { code: 'daemon_unreachable' });
  });

  it('gives up in time, before the answer and within it', async () => {
    daemon.handler = () => {};
    await assert.rejects(client({ timeoutMs: 30 }).get('/v1/status'), { code: 'daemon_timeout', hint: /--timeout/ });
    daemon.handler = (_request, response) => void response.writeHead(200).write('{');
    await assert.rejects(client({ timeoutMs: 30 }).get('/v1/status'), { code: 'daemon_timeout' });
  });

  it('times the beginning of a stream, not the stream', async () => {
    daemon.handler = (_request, response) => {
      response.writeHead(200).write('a');
      setImmediate(() => response.end('b'));
    };
    const real = await client().stream('/v1/events', 'text/event-stream');
    assert.equal(await real.text(), 'ab');
    assert.equal(daemon.last.headers.accept, 'text/event-stream');

    mock.timers.enable({ apis: ['setTimeout'] });
    try {
      const silent: typeof fetch = (_url, init) =>
        new Promise((_, reject) => {
          init!.signal!.addEventListener('abort', () => reject(init!.signal!.reason));
        });
      const waiting = client({ timeoutMs: 30, fetch: silent }).stream('/v1/events', 'text/event-stream');
      mock.timers.tick(30);
      await assert.rejects(waiting, { code: 'daemon_timeout' });

      let signal: AbortSignal | null | undefined;
      const begun: typeof fetch = async (_url, init) => {
        signal = init!.signal;
        return new Response('ab');
      };
      await client({ timeoutMs: 30, fetch: begun }).stream('/v1/events', 'text/event-stream');
      mock.timers.tick(3000);
      assert.equal(signal?.aborted, false);
    } finally {
      mock.timers.reset();
    }
  });

  it('refuses a stream like any other call', async () => {
    daemon.handler = (_request, response) =>
      json(response, 503, { code: 'too_many_clients', hint: 'h', detail: 'full' });
    await assert.rejects(client().stream('/v1/events', 'text/event-stream'), { code: 'too_many_clients', status: 503 });
  });

  it('holds no answer above its limit', async () => {
    daemon.handler = (_request, response) => json(response, 200, { text: 'x'.repeat(1000) });
    await assert.rejects(client({ maxAnswerBytes: 1000 }).get('/v1/facts'), { code: 'answer_too_large' });
    assert.ok(await client({ maxAnswerBytes: 1011 }).get('/v1/facts'));
  });

  it('talks to something that is not HTTP', async () => {
    const server = createServer((socket) => socket.resume().end('SSH-2.0-OpenSSH\r\n')).listen(0, '127.0.0.1');
    await new Promise((resolve) => server.once('listening', resolve));
    try {
      const url = `http://127.0.0.1:${(server.address() as AddressInfo).port}`;
      await assert.rejects(client({ url }).get('/'), { code: 'daemon_unreachable' });
    } finally {
      await new Promise((resolve) => server.close(resolve));
    }
  });
});

import assert from 'node:assert/strict';
import { type RunningDaemon, startDaemon } from '../support/daemon.ts';
import { until } from '../support/until.ts';
import { aFact, complaints, footprint, openSocket, rawExchange, refused, residentMiB, send } from './support.ts';

/** Status, headers and problem of each answer in what came back on a connection. */
function answersIn(text: string): { status: number; head: string; code: string | undefined }[] {
  return text
    .split(/(?=HTTP\/1\.1 \d{3} )/)
    .filter((part) => part.startsWith('HTTP/1.1 '))
    .map((part) => ({
      status: Number(part.slice(9, 12)),
      head: part.slice(0, part.indexOf('\r\n\r\n')),
      code: /"code":"(\w+)"/.exec(part)?.[1],
    }));
}

describe('hostile: what is not HTTP, or only nearly', () => {
  let daemon: RunningDaemon;
  let host: string;
  let auth: string;
  const write = JSON.stringify(aFact({ entity: 'user:smuggled' }));
  before(async () => {
    daemon = await startDaemon();
    host = 'Host: 127.0.0.1\r\n';
    auth = `Authorization: Bearer ${daemon.key}\r\n`;
  });
  after(() => daemon.stop());

  const json = 'Content-Type: application/json\r\n';
  const post = (head: string, body: string): string =>
    `POST /v1/facts HTTP/1.1\r\n${host}${auth}${json}${head}\r\n${body}`;
  const get = (path: string, head = ''): string => `GET ${path} HTTP/1.1\r\n${host}${auth}${head}\r\n`;
  const chunk = (text: string): string => `${Buffer.byteLength(text).toString(16)}\r\n${text}\r\n`;
  const smuggled = (): string => post(`Content-Length: ${write.length}\r\n`, write);

  /** One connection, one answer, then the end of it; nothing stored. */
  async function endsWith(bytes: string | Buffer, status: number, code: string): Promise<void> {
    const before = await footprint(daemon);
    const { text, closed } = await rawExchange(daemon, bytes);
    const answers = answersIn(text);
    assert.deepEqual(
      answers.map((answer) => [answer.status, answer.code]),
      [[status, code]],
      text.slice(0, 400),
    );
    assert.match(answers[0]!.head, /content-type: application\/problem\+json/i);
    assert.ok(closed, 'the connection stays open');
    assert.equal(await footprint(daemon), before);
  }

  describe('one message must not be read as two', () => {
    const cases: readonly (readonly [string, () => string])[] = [
      ['both lengths', () => post('Content-Length: 5\r\nTransfer-Encoding: chunked\r\n', `0\r\n\r\n${smuggled()}`)],
      [
        'both lengths, the other way round',
        () => post('Transfer-Encoding: chunked\r\nContent-Length: 4\r\n', `0\r\n\r\n${smuggled()}`),
      ],
      ['two lengths', () => post('Content-Length: 2\r\nContent-Length: 3\r\n', `{}${smuggled()}`)],
      ['a list of lengths', () => post('Content-Length: 2, 2\r\n', `{}${smuggled()}`)],
      ['a negative length', () => post('Content-Length: -1\r\n', `{}${smuggled()}`)],
      ['a signed length', () => post('Content-Length: +2\r\n', `{}${smuggled()}`)],
      ['a length in hexadecimal', () => post('Content-Length: 0x2\r\n', `{}${smuggled()}`)],
      ['a length beyond all numbers', () => post('Content-Length: 99999999999999999999999\r\n', smuggled())],
      ['an unknown coding', () => post('Transfer-Encoding: xchunked\r\n', `0\r\n\r\n${smuggled()}`)],
      ['identity as coding', () => post('Transfer-Encoding: identity\r\n', smuggled())],
      ['chunked, but not last', () => post('Transfer-Encoding: chunked, gzip\r\n', `0\r\n\r\n${smuggled()}`)],
      ['white space before the colon', () => post('Transfer-Encoding : chunked\r\n', `0\r\n\r\n${smuggled()}`)],
      ['a folded header', () => post('Transfer-Encoding:\r\n chunked\r\n', `0\r\n\r\n${smuggled()}`)],
      ['a control character in a header', () => post('Transfer-Encoding: \u000bchunked\r\n', `0\r\n\r\n${smuggled()}`)],
      ['a chunk size that is no number', () => post('Transfer-Encoding: chunked\r\n', `zz\r\n\r\n${smuggled()}`)],
      ['a chunk size that is negative', () => post('Transfer-Encoding: chunked\r\n', `-1\r\n${smuggled()}`)],
      [
        'a chunk size beyond all numbers',
        () => post('Transfer-Encoding: chunked\r\n', `fffffffffffffffff\r\n${smuggled()}`),
      ],
      [
        'a chunk longer than it says',
        () => post('Transfer-Encoding: chunked\r\n', `2\r\n{}{}\r\n0\r\n\r\n${smuggled()}`),
      ],
      ['a chunk without its line end', () => post('Transfer-Encoding: chunked\r\n', `2\r\n{}0\r\n\r\n${smuggled()}`)],
      [
        'bare line feeds',
        () =>
          `POST /v1/facts HTTP/1.1\nHost: 127.0.0.1\n${auth.trim()}\n${json.trim()}\nContent-Length: ${write.length}\n\n${write}`,
      ],
      ['a NUL in a header', () => get('/v1/me', 'X: a\0b\r\n')],
      ['a header without a name', () => get('/v1/me', ': a\r\n')],
      ['a line that is no header', () => get('/v1/me', 'nothing\r\n')],
      ['a version from the future', () => `GET /v1/me HTTP/3.0\r\n${host}\r\n`],
      ['no method at all', () => ` / HTTP/1.1\r\n${host}\r\n`],
      ['a method of its own', () => `STEAL /v1/facts HTTP/1.1\r\n${host}\r\n`],
      ['another protocol', () => `PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n`],
    ];
    for (const [name, bytes] of cases) it(name, () => endsWith(bytes(), 400, 'malformed_request'));

    it('a TLS handshake', () => endsWith(Buffer.from('16030100c8010000c40303', 'hex'), 400, 'malformed_request'));
    it('no Host', async () => {
      const { text } = await rawExchange(daemon, 'GET /healthz HTTP/1.1\r\nConnection: close\r\n\r\n');
      assert.deepEqual(
        answersIn(text).map(({ status, code }) => [status, code]),
        [[400, 'malformed_request']],
      );
    });
    it('headers of 17 KiB', () => endsWith(get('/v1/me', `X: ${'a'.repeat(17 * 1024)}\r\n`), 431, 'headers_too_large'));
    it('3 000 headers', () => endsWith(get('/v1/me', 'a:b\r\n'.repeat(3500)), 431, 'headers_too_large'));
    it('a path of 17 KiB', () => endsWith(get(`/${'a'.repeat(17 * 1024)}`), 431, 'headers_too_large'));
  });

  it('a coding that this API does not read is not taken for the body', async () => {
    const before = await footprint(daemon);
    const { text } = await rawExchange(
      daemon,
      post('Transfer-Encoding: gzip, chunked\r\nConnection: close\r\n', `${chunk(write)}0\r\n\r\n`),
    );
    assert.deepEqual(
      answersIn(text).map(({ status, code }) => [status, code]),
      [[415, 'unsupported_media_type']],
    );
    assert.equal(await footprint(daemon), before);
  });

  it('answers to what was sent well come before the refusal of what was not', async () => {
    const fact = (i: number): string => {
      const body = JSON.stringify(aFact({ entity: `user:pipelined-${i}` }));
      return post(`Content-Length: ${body.length}\r\n`, body);
    };
    const { text, closed } = await rawExchange(
      daemon,
      `${get('/v1/me')}${fact(1)}${fact(2)}STEAL / HTTP/1.1\r\n\r\n${fact(3)}`,
    );
    assert.deepEqual(
      answersIn(text).map(({ status }) => status),
      [200, 201, 201, 400],
    );
    assert.ok(closed);
    const names = async (i: number) =>
      (await send(daemon, { path: `/v1/facts?entity=user:pipelined-${i}` })).json.facts.length;
    assert.deepEqual([await names(1), await names(2), await names(3)], [1, 1, 0]);
  });

  it('a broken chunk after pipelined requests ends the last of them only', async () => {
    const bytes = get('/v1/me') + post('Transfer-Encoding: chunked\r\n', `${chunk(write)}zz\r\n`);
    const before = await footprint(daemon);
    const { text, closed } = await rawExchange(daemon, bytes);
    assert.deepEqual(
      answersIn(text).map(({ status }) => status),
      [200, 400],
    );
    assert.ok(closed);
    assert.equal(await footprint(daemon), before);
  });

  it('garbage on the connection of an event stream ends it, and is not answered inside it', async () => {
    const socket = openSocket(daemon);
    let text = '';
    const closed = new Promise((resolve) => socket.on('close', resolve));
    socket.on('error', () => {});
    socket.on('data', (data) => {
      text += data;
    });
    socket.write(get('/v1/events'));
    await until(() => text.includes('retry:'), 'a stream');
    socket.write('STEAL / HTTP/1.1\r\n\r\n');
    await closed;
    assert.equal(answersIn(text).length, 1);
  });

  it('forty requests in one packet are answered in their order', async () => {
    const paths = Array.from({ length: 40 }, (_, i) => (i % 2 === 0 ? `/v1/facts?limit=${i + 1}` : '/v1/nowhere'));
    const { text } = await rawExchange(
      daemon,
      paths.map((path) => get(path)).join('') + get('/v1/me', 'Connection: close\r\n'),
    );
    assert.deepEqual(
      answersIn(text).map(({ status }) => status),
      [...paths.map((_, i) => (i % 2 === 0 ? 200 : 404)), 200],
    );
  });

  it('a body after its end is another request, and has to be one', async () => {
    const { text } = await rawExchange(daemon, post('Content-Length: 2\r\n', `{}${write}`));
    assert.deepEqual(
      answersIn(text).map(({ status }) => status),
      [422, 400],
    );
  });

  it('HTTP/1.0 is answered once', async () => {
    const { text, closed } = await rawExchange(daemon, `GET /v1/me HTTP/1.0\r\n${host}${auth}\r\n${get('/v1/me')}`);
    assert.deepEqual(
      answersIn(text).map(({ status }) => status),
      [200],
    );
    assert.ok(closed);
    const bare = await rawExchange(daemon, 'GET /v1/me HTTP/1.0\r\n\r\n');
    assert.deepEqual(
      answersIn(bare.text).map(({ code }) => code),
      ['host_forbidden'],
    );
  });

  it('request targets are paths', async () => {
    for (const target of [`${daemon.url}/v1/me`, 'http://evil.example/v1/me', '*', 'v1/me', '?x']) {
      const method = target === '*' ? 'OPTIONS' : 'GET';
      const { text } = await rawExchange(
        daemon,
        `${method} ${target} HTTP/1.1\r\n${host}${auth}Connection: close\r\n\r\n`,
      );
      assert.deepEqual(
        answersIn(text).map(({ code }) => code),
        ['malformed_request'],
        target,
      );
    }
    const connect = await rawExchange(daemon, `CONNECT evil.example:443 HTTP/1.1\r\n${host}\r\n`);
    assert.deepEqual([connect.text, connect.closed], ['', true]);
    for (const method of ['TRACE', 'PROPFIND', 'QUERY', 'LINK', 'PURGE']) {
      const { text } = await rawExchange(
        daemon,
        `${method} /v1/facts HTTP/1.1\r\n${host}${auth}Connection: close\r\n\r\n`,
      );
      assert.deepEqual(
        answersIn(text).map(({ code }) => code),
        ['method_not_allowed'],
        method,
      );
      assert.ok(!text.includes(daemon.key));
    }
  });

  it('an expectation or an upgrade changes nothing', async () => {
    const heads = [
      'Expect: miracles\r\n',
      'Connection: Upgrade\r\nUpgrade: websocket\r\n',
      'Connection: Upgrade, HTTP2-Settings\r\nUpgrade: h2c\r\nHTTP2-Settings: AAAA\r\n',
    ];
    // Nobody asks for anything more: the daemon ends the connection.
    const exchanges = heads.map((head) => rawExchange(daemon, get('/v1/me', head), { halfClose: true }));
    for (const [n, { text, closed }] of (await Promise.all(exchanges)).entries()) {
      assert.deepEqual(
        answersIn(text).map(({ status }) => status),
        [200],
        heads[n],
      );
      assert.ok(closed, heads[n]);
    }
  });

  it('paths lead to what they say or nowhere', async () => {
    const paths = [
      '//v1/facts',
      '/v1//facts',
      '/v1%2ffacts',
      '/%2e%2e/v1/facts',
      '/v1/facts/../me',
      '/./v1/me',
      '/V1/facts',
      '/v1\\facts',
      '/v1/facts;a=b',
      '/docs/../../etc/passwd',
      '/docs/..%2f..%2fpackage.json',
      '/docs/%2e%2e/%2e%2e/etc/passwd',
      '/docs//etc/passwd',
      '/docs/style.css/..',
      '/docs/reference',
      '/docs/constructor',
      '/docs/__proto__',
      '/docs/http.md',
      '/docs/.',
      `/${'a/'.repeat(4000)}`,
      `/docs/${'%20'.repeat(3000)}`,
    ];
    for (const path of paths) {
      const { text } = await rawExchange(daemon, get(path, 'Connection: close\r\n'));
      const [answer] = answersIn(text);
      assert.equal(answer?.status, 404, `${path.slice(0, 40)} ${text.slice(0, 200)}`);
      assert.ok(answer.code === 'route_not_found' || answer.code === 'fact_not_found', path.slice(0, 40));
    }
    for (const path of [
      '/%',
      '/%zz',
      '/%ff',
      '/v1/facts/%c0%ae',
      '/docs/%',
      '/v1/gardens/%ed%a0%80',
      `/v1/facts/${'a'.repeat(12_000)}`,
    ]) {
      const { text } = await rawExchange(daemon, get(path, 'Connection: close\r\n'));
      assert.deepEqual(
        answersIn(text).map(({ code }) => code),
        ['malformed_request'],
        path,
      );
    }
  });

  it('what a caller writes becomes no header', async () => {
    const evil = '%0d%0aSet-Cookie:%20stolen=1%0d%0a%0d%0aHTTP/1.1%20200%20OK';
    for (const path of [
      `/v1/facts/${evil}`,
      `/v1/facts?entity=${evil}`,
      `/v1/gardens/${evil}`,
      `/v1/lint/jobs/${evil}`,
      `/docs/${evil}`,
      `/v1/audit/export?source=${evil}`,
    ]) {
      const { text } = await rawExchange(daemon, get(path, 'Connection: close\r\n'));
      const answers = answersIn(text);
      assert.equal(answers.length, 1, path);
      assert.doesNotMatch(answers[0]!.head, /set-cookie/i);
    }
  });

  it('a client that goes away in the middle is nobody to answer, and no failure of the daemon', async () => {
    const before = await footprint(daemon);
    for (const bytes of [
      post('Content-Length: 1000\r\n', '{"entity":'),
      post('Transfer-Encoding: chunked\r\n', '5\r\n{"ent'),
      'GET /v1/me HT',
    ]) {
      const socket = openSocket(daemon);
      await new Promise<void>((resolve) => socket.write(bytes, () => resolve()));
      socket.resetAndDestroy();
      const { text } = await rawExchange(daemon, bytes, { halfClose: true });
      assert.doesNotMatch(text, /HTTP\/1.1 [25]/);
    }
    assert.equal(await footprint(daemon), before);
    await refused(daemon, 'route_not_found', { path: '/nowhere' });
    assert.deepEqual(complaints(daemon), []);
  });

  it('a body larger than it may be is refused by its length, before it comes', async () => {
    const before = residentMiB(daemon);
    const { text } = await rawExchange(daemon, post('Content-Length: 2000000000\r\nConnection: close\r\n', '{'));
    assert.deepEqual(
      answersIn(text).map(({ code }) => code),
      ['body_too_large'],
    );
    const after = residentMiB(daemon);
    if (before !== undefined && after !== undefined) assert.ok(after - before < 50, `${before} MiB, then ${after} MiB`);
  });
});

describe('hostile: connections', () => {
  it('beyond the limit are dropped, counted, and taken again once there is room', async () => {
    const limit = 16;
    const daemon = await startDaemon({
      env: { STIGMESH_API_MAX_CONNECTIONS: String(limit), STIGMESH_API_METRICS_LOOPBACK: 'true' },
    });
    try {
      const idle = Array.from({ length: limit }, () => openSocket(daemon));
      await Promise.all(idle.map((socket) => new Promise((resolve) => socket.once('connect', resolve))));
      const dropped = await rawExchange(daemon, `GET /healthz HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n`);
      assert.deepEqual([dropped.text, dropped.closed], ['', true]);
      // One that is open already goes on being served.
      const text = new Promise<string>((resolve) => idle[0]!.once('data', (data) => resolve(String(data))));
      idle[0]!.write('GET /healthz HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n');
      assert.match(await text, /^HTTP\/1.1 200 /);
      for (const socket of idle) socket.destroy();
      await until(
        async () => (await send(daemon, { path: '/healthz' }).catch(() => ({ status: 0 }))).status === 200,
        'room again',
      );
      const { text: metrics } = await send(daemon, { path: '/metrics', key: null });
      assert.match(metrics, /stigmesh_api_refusals_total\{code="too_many_connections"\} [1-9]/);
    } finally {
      await daemon.stop();
    }
  });
});

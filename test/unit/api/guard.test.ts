import assert from 'node:assert/strict';
import { endpoints } from '../../../src/api/operations/index.ts';
import type { Endpoint } from '../../../src/api/operations/operation.ts';
import { type Running, start, stopAll } from './fakes.ts';
import { rawRequest } from './http-client.ts';

/** Every route there is, some there are not, and the pages. Nothing of the services is stubbed: reaching one fails. */
const ROUTES = [
  ...endpoints.map((endpoint) => ({ method: endpoint.method as string, path: sample(endpoint), endpoint })),
  ...['/v1/recall', '/nothing', '/', '/v1/federation/peers', '/mcp'].flatMap((path) =>
    ['GET', 'POST', 'OPTIONS'].map((method) => ({ method, path, endpoint: undefined })),
  ),
  ...['/docs', '/docs/style.css', '/docs/errors'].map((path) => ({ method: 'GET', path, endpoint: undefined })),
  { method: 'PUT', path: '/v1/facts', endpoint: undefined },
  { method: 'GET', path: '/v1/%ff', endpoint: undefined },
];

function sample({ path }: Endpoint): string {
  return path.replace('{entity_uri*}', 'user:a').replace(/\{\w+\}/g, 'x');
}

describe('loopback guard', () => {
  let running: Running;
  beforeEach(async () => {
    running = await start();
  });
  afterEach(stopAll);

  async function refusedEverywhere(headers: Record<string, string | string[]>, code: string): Promise<void> {
    for (const { method, path } of ROUTES) {
      const answer = await running.send({ method, path, headers });
      assert.equal(answer.status, 403, `${method} ${path}`);
      assert.equal(answer.json.code, code, `${method} ${path}`);
      assert.equal(answer.headers['access-control-allow-origin'], undefined);
    }
  }

  it('refuses a foreign Host on every route, with a valid key too', async () => {
    await refusedEverywhere({ host: 'evil.example' }, 'host_forbidden');
  });

  it('refuses a foreign Origin on every route', async () => {
    await refusedEverywhere({ origin: 'https://evil.example' }, 'origin_forbidden');
  });

  it('refuses the Origin null on every route', async () => {
    await refusedEverywhere({ origin: 'null' }, 'origin_forbidden');
  });

  it('refuses what a browser sends for another site without an Origin', async () => {
    await refusedEverywhere({ 'sec-fetch-site': 'cross-site', 'sec-fetch-mode': 'no-cors' }, 'origin_forbidden');
  });

  it('refuses names that only look like loopback', async () => {
    const port = running.api.port;
    const names = [
      `127.0.0.1.evil.example:${port}`,
      `localhost.evil.example`,
      '127.1',
      '2130706433',
      '0.0.0.0',
      '[::]',
      '[::ffff:10.0.0.1]',
      'localhost@evil.example',
      'user:pass@127.0.0.1',
      '127.0.0.1:port',
      'localhost, evil.example',
      '192.168.0.1',
    ];
    for (const host of names) {
      const answer = await running.send({ path: '/healthz', headers: { host } });
      assert.equal(answer.status, 403, host);
    }
    const raw = (head: string) => rawRequest(port, `GET /healthz HTTP/1.1\r\n${head}Connection: close\r\n\r\n`);
    assert.match(await raw('Host:\r\n'), /^HTTP\/1.1 403 /);
    assert.match(await raw(''), /^HTTP\/1.1 400 /);
    assert.match(await raw('Host: localhost\r\nHost: evil.example\r\n'), /^HTTP\/1.1 403 /);
    assert.match(await raw('Host: localhost\r\n'), /^HTTP\/1.1 200 /);
    assert.match(await rawRequest(port, 'GET /healthz HTTP/1.0\r\n\r\n'), /^HTTP\/1.1 403 /);
  });

  it('accepts the loopback names with and without port, and the configured ones', async () => {
    const names = [
      'localhost',
      'LOCALHOST:80',
      'localhost.',
      '127.0.0.1',
      '127.9.8.7:1',
      '[::1]',
      '[0:0:0:0:0:0:0:1]:9',
    ];
    for (const host of names) {
      assert.equal((await running.send({ path: '/healthz', headers: { host } })).status, 200, host);
    }
    const other = await start({}, { allowedHosts: ['Memory.internal', 'fd00::1'] });
    for (const host of ['memory.internal', 'memory.internal:8765', '[fd00::1]:1', 'localhost']) {
      assert.equal((await other.send({ path: '/healthz', headers: { host } })).status, 200, host);
    }
    assert.equal((await other.send({ path: '/healthz', headers: { host: 'x.memory.internal' } })).status, 403);
  });

  it('accepts its own origin, of its own port and scheme only', async () => {
    const { port } = running.api;
    const status = async (origin: string) => (await running.send({ path: '/healthz', headers: { origin } })).status;
    assert.equal(await status(`http://127.0.0.1:${port}`), 200);
    assert.equal(await status(`http://localhost:${port}`), 200);
    assert.equal(await status(`http://[::1]:${port}`), 200);
    for (const origin of [
      `https://127.0.0.1:${port}`,
      `http://127.0.0.1:${port + 1}`,
      'http://localhost',
      `http://localhost:${port}.evil.example`,
      `http://localhost:${port}/`,
      '',
      'chrome-extension://abc',
    ]) {
      assert.equal(await status(origin), 403, origin);
    }
  });

  it('lets a person follow a link to the documentation', async () => {
    const headers = { 'sec-fetch-site': 'cross-site', 'sec-fetch-mode': 'navigate', 'sec-fetch-dest': 'document' };
    assert.equal((await running.send({ path: '/docs', headers })).status, 200);
    assert.equal(
      (await running.send({ path: '/docs', headers: { ...headers, 'sec-fetch-dest': 'iframe' } })).status,
      403,
    );
    assert.equal((await running.send({ path: '/v1/facts', method: 'POST', headers, body: {} })).status, 403);
    assert.equal((await running.send({ path: '/healthz', headers: { 'sec-fetch-site': 'same-origin' } })).status, 200);
    assert.equal((await running.send({ path: '/healthz', headers: { 'sec-fetch-site': 'none' } })).status, 200);
  });

  it('reads no body that a form could send: 415 on every route that takes one', async () => {
    const types = [
      'text/plain',
      'application/x-www-form-urlencoded',
      'multipart/form-data; boundary=x',
      'application/jsonp',
      '',
    ];
    for (const { method, path, endpoint } of ROUTES) {
      if (endpoint === undefined || method === 'GET') continue;
      for (const type of types) {
        const headers = type === '' ? {} : { 'content-type': type };
        const answer = await running.send({ method, path, headers, body: '{"a":1}' });
        assert.equal(answer.status, 415, `${method} ${path} ${type}`);
        assert.equal(answer.json.code, 'unsupported_media_type');
      }
    }
    const ndjson = { 'content-type': 'application/x-ndjson' };
    assert.equal((await running.send({ method: 'POST', path: '/v1/facts', headers: ndjson, body: '{}' })).status, 415);
    assert.equal((await running.send({ method: 'POST', path: '/v1/import', body: {} })).status, 415);
  });

  it('answers no preflight and sends no CORS header', async () => {
    const { port } = running.api;
    const answer = await running.send({
      method: 'OPTIONS',
      path: '/v1/facts',
      headers: { origin: `http://127.0.0.1:${port}`, 'access-control-request-method': 'POST' },
    });
    assert.equal(answer.status, 405);
    assert.equal(
      Object.keys(answer.headers).some((name) => name.startsWith('access-control-')),
      false,
    );
  });

  it('refuses keys in the query string on every route', async () => {
    for (const { method, path } of ROUTES) {
      if (path === '/v1/%ff') continue;
      for (const name of ['api_key', 'Access_Token', 'key', '%61pi_key']) {
        const answer = await running.send({ method, path: `${path}?entity=a&${name}=s3cret` });
        assert.equal(answer.status, 400, `${method} ${path} ${name}`);
        assert.equal(answer.json.code, 'key_in_query');
        assert.doesNotMatch(answer.text, /s3cret/);
      }
    }
  });

  it('sends its security headers with every answer', async () => {
    for (const { method, path } of ROUTES) {
      const { headers } = await running.send({ method, path }, null);
      assert.equal(headers['x-content-type-options'], 'nosniff', `${method} ${path}`);
      assert.match(String(headers['content-security-policy']), /default-src 'none'/);
      assert.equal(headers['cache-control'], 'no-store');
      assert.equal(headers['x-powered-by'], undefined);
    }
  });

  it('refuses a request target that is not a path', async () => {
    const answer = await running.send({ path: 'http://127.0.0.1/healthz' });
    assert.equal(answer.status, 400);
    assert.equal(answer.json.code, 'malformed_request');
  });
});

import assert from 'node:assert/strict';
import { AUTH_FAILURES_PER_MINUTE } from '../../src/api/limits.ts';
import { endpoints } from '../../src/api/operations/index.ts';
import { type RunningDaemon, startDaemon } from '../support/daemon.ts';
import { until } from '../support/until.ts';
import { aFact, assertProblem, complaints, footprint, refused, type Sent, send } from './support.ts';

/** Every route there is, and some that are none. */
const ROUTES: readonly Sent[] = [
  ...endpoints.map(({ method, path }) => ({ method, path: path.replace(/\{\w+\*?\}/g, 'x') })),
  ...[
    '/docs',
    '/docs/errors',
    '/docs/reference/http',
    '/docs/style.css',
    '/',
    '/nowhere',
    '/v1',
    '/mcp',
    '/v1/facts/x/y/z',
  ].map((path) => ({ method: 'GET', path })),
  { method: 'POST', path: '/nowhere' },
  { method: 'OPTIONS', path: '/v1/facts' },
  { method: 'PUT', path: '/v1/facts' },
  { method: 'HEAD', path: '/v1/facts' },
];

/** Bodies that would write, were they let in. */
const BODIES: Readonly<Record<string, unknown>> = {
  '/v1/facts': aFact({ entity: 'user:csrf' }),
  '/v1/facts/batch': { facts: [aFact({ entity: 'user:csrf' })] },
  '/v1/gardens': { slug: 'csrf', name: 'csrf' },
  '/v1/auth/keys': { entity_uri: 'user:csrf' },
  '/rpc': { jsonrpc: '2.0', id: 1, method: 'fact.assert', params: aFact({ entity: 'user:csrf' }) },
};

const withBody = (route: Sent): Sent =>
  ['GET', 'HEAD', 'OPTIONS'].includes(route.method!) ? route : { ...route, body: BODIES[route.path] ?? {} };

/** Calls of one JSON-RPC batch. */
const RPC_BATCH = 50;

describe('hostile: web pages', () => {
  let daemon: RunningDaemon;
  before(async () => {
    daemon = await startDaemon();
  });
  after(() => daemon.stop());

  /** Sends to every route, with a key that may do anything, and expects to be turned away with nothing done. */
  async function everywhere(headers: Readonly<Record<string, string>>, code: string): Promise<void> {
    const before = await footprint(daemon);
    for (const route of ROUTES) {
      const answered = await send(daemon, { ...withBody(route), headers });
      const label = `${route.method} ${route.path}`;
      if (route.method === 'HEAD') assert.equal(answered.status, 403, label);
      else assertProblem(answered, code, label);
      assert.equal(answered.headers['access-control-allow-origin'], undefined, label);
      assert.equal(answered.headers['x-content-type-options'], 'nosniff', label);
    }
    assert.equal(await footprint(daemon), before);
  }

  for (const host of [
    'evil.example',
    'evil.example:80',
    '127.0.0.1.evil.example',
    '169.254.169.254',
    '0.0.0.0',
    '[::ffff:10.0.0.1]',
    'localhost@evil.example',
  ]) {
    it(`fault 47: Host ${host} on every route`, () => everywhere({ host }, 'host_forbidden'));
  }

  for (const origin of [
    'https://evil.example',
    'http://127.0.0.1:1',
    'https://127.0.0.1',
    'http://localhost',
    'file://',
    'chrome-extension://abc',
  ]) {
    it(`fault 47: Origin ${origin} on every route`, () => everywhere({ origin }, 'origin_forbidden'));
  }

  it('fault 47: Origin null on every route', () => everywhere({ origin: 'null' }, 'origin_forbidden'));

  it('fault 47: no Origin, but from another site, on every route', async () => {
    for (const site of ['cross-site', 'same-site']) {
      await everywhere(
        { 'sec-fetch-site': site, 'sec-fetch-mode': 'no-cors', 'sec-fetch-dest': 'image' },
        'origin_forbidden',
      );
    }
  });

  it('fault 47: server-sent events to a web page', async () => {
    for (const headers of [
      { origin: 'https://evil.example' },
      { origin: 'null' },
      { 'sec-fetch-site': 'cross-site', 'sec-fetch-mode': 'cors' },
    ]) {
      await refused(daemon, 'origin_forbidden', {
        path: '/v1/events',
        headers: { accept: 'text/event-stream', ...headers } as never,
      });
    }
    await refused(daemon, 'host_forbidden', { path: '/v1/events', headers: { host: 'rebound.example' } });
  });

  it('fault 47: a form of another site, with and without an Origin', async () => {
    const forms = ['application/x-www-form-urlencoded', 'multipart/form-data; boundary=b', 'text/plain'];
    for (const { method, path } of ROUTES.filter((route) => route.method === 'POST')) {
      for (const type of forms) {
        const sent = {
          method,
          path,
          body: JSON.stringify(BODIES[path] ?? {}),
          headers: { 'content-type': type },
        } as Sent;
        await refused(daemon, 'origin_forbidden', {
          ...sent,
          headers: { ...sent.headers, origin: 'https://evil.example' },
        });
        await refused(daemon, path === '/nowhere' ? 'route_not_found' : 'unsupported_media_type', sent);
      }
    }
  });

  it('fault 47: a preflight allows nothing', async () => {
    for (const { path } of ROUTES) {
      const headers = {
        origin: 'https://evil.example',
        'access-control-request-method': 'POST',
        'access-control-request-headers': 'authorization',
      };
      const answered = await send(daemon, { method: 'OPTIONS', path, headers, key: null });
      assertProblem(answered, 'origin_forbidden', path);
      assert.deepEqual(
        Object.keys(answered.headers).filter((name) => name.startsWith('access-control')),
        [],
      );
    }
  });

  it('fault 47: a link to the documentation may be followed, into a page that runs nothing', async () => {
    const headers = { 'sec-fetch-site': 'cross-site', 'sec-fetch-mode': 'navigate', 'sec-fetch-dest': 'document' };
    const { status, headers: sent } = await send(daemon, { path: '/docs', headers, key: null });
    assert.equal(status, 200);
    assert.match(String(sent['content-security-policy']), /default-src 'none'/);
    assert.equal(sent['x-frame-options'], 'DENY');
    await refused(daemon, 'origin_forbidden', { path: '/docs', headers: { ...headers, 'sec-fetch-dest': 'iframe' } });
  });

  it('nothing of it was an error of the daemon', () => assert.deepEqual(complaints(daemon), []));
});

describe('hostile: keys', () => {
  let daemon: RunningDaemon;
  const make = async (input: Readonly<Record<string, unknown>>): Promise<{ id: string; key: string }> => {
    const { status, json } = await send(daemon, {
      path: '/v1/auth/keys',
      body: { entity_uri: 'user:guest', ...input },
    });
    assert.equal(status, 201);
    return { id: json.id, key: json.api_key };
  };
  before(async () => {
    daemon = await startDaemon();
  });
  after(() => daemon.stop());

  const closed = ROUTES.filter(({ method, path }) => {
    const of = endpoints.find(
      (endpoint) => endpoint.method === method && endpoint.path.replace(/\{\w+\*?\}/g, 'x') === path,
    );
    return of !== undefined && of.access !== 'open';
  });

  it('fault 48: no key, on every route that takes one', async () => {
    assert.ok(closed.length > 25);
    const before = await footprint(daemon);
    for (const route of closed) {
      const answered = await send(daemon, { ...withBody(route), key: null });
      assertProblem(answered, 'authorization_required', route.path);
      assert.equal(answered.headers['www-authenticate'], 'Bearer');
    }
    assert.equal(await footprint(daemon), before);
  });

  it('fault 48: a key in the query string, on every route, and a warning that does not repeat it', async () => {
    const before = await footprint(daemon);
    const canary = 'smk_canary_in_the_query_string_0123456789';
    for (const route of ROUTES.filter(({ method }) => method !== 'HEAD')) {
      const answered = await send(daemon, { ...withBody(route), path: `${route.path}?API_KEY=${canary}` });
      assertProblem(answered, 'key_in_query', route.path);
      assert.ok(!answered.text.includes(canary));
    }
    for (const name of [
      'key',
      'api-key',
      'apikey',
      'access_token',
      'token',
      'bearer',
      'Authorization',
      'raw_key',
      'secret',
      'password',
      '%61pi_key',
    ]) {
      await refused(daemon, 'key_in_query', { path: `/v1/me?${name}=${canary}`, key: null });
    }
    assert.equal(await footprint(daemon), before);
    await until(() => daemon.logs.some(({ msg }) => String(msg).includes('query string')), 'a warning');
    assert.ok(!JSON.stringify(daemon.logs).includes(canary));
  });

  it('fault 48: a key of a lower permission, on every route that asks for one', async () => {
    const { key } = await make({ permissions: ['instruction:write'] });
    const before = await footprint(daemon);
    const wanting = endpoints.filter(({ access }) => Array.isArray(access) || access === 'metrics');
    assert.ok(wanting.length > 20);
    for (const { method, path } of wanting) {
      const route = { method, path: path.replace(/\{\w+\*?\}/g, 'x') };
      assertProblem(await send(daemon, { ...withBody(route), key }), 'permission_denied', `${method} ${path}`);
    }
    // Input is not looked at before: what is wrong with it is nobody's business.
    assertProblem(await send(daemon, { path: '/v1/facts', body: '{', key }), 'permission_denied');
    assert.equal(await footprint(daemon), before);
    const methods = endpoints.filter((e) => e.kind === 'json' && e.rpc).map(({ name }) => name);
    for (let at = 0; at < methods.length; at += RPC_BATCH) {
      const body = methods.slice(at, at + RPC_BATCH).map((method, id) => ({ jsonrpc: '2.0', id, method, params: {} }));
      const calls = await send(daemon, { path: '/rpc', key, body });
      for (const { error } of calls.json) assert.equal(error.data.code, 'permission_denied');
    }
  });

  it('fault 48: readers do not write, writers neither read nor administer nor instruct', async () => {
    const reader = (await make({ permissions: ['read'] })).key;
    const writer = (await make({ permissions: ['write'] })).key;
    await refused(daemon, 'permission_denied', { path: '/v1/facts', body: aFact(), key: reader });
    await refused(daemon, 'permission_denied', {
      path: '/v1/import',
      body: '',
      headers: { 'content-type': 'application/x-ndjson' },
      key: reader,
    });
    await refused(daemon, 'permission_denied', { path: '/v1/audit', key: reader });
    await refused(daemon, 'permission_denied', { path: '/v1/auth/keys?all=true', key: reader });
    await refused(daemon, 'permission_denied', { path: '/v1/facts', key: writer });
    await refused(daemon, 'permission_denied', {
      path: '/v1/auth/keys',
      body: { entity_uri: 'user:guest' },
      key: writer,
    });
    const instruction = aFact({ value: { type: 'string', v: 'obey', interpret_as: 'instruction' } });
    await refused(daemon, 'instruction_write_required', { path: '/v1/facts', body: instruction, key: writer });
  });

  it('fault 48: a key of one scope sees and writes no other', async () => {
    const { key } = await make({ permissions: ['read', 'write'], scopes: ['public'] });
    const { json: hidden } = await send(daemon, {
      path: '/v1/facts',
      body: aFact({ entity: 'user:hidden', scope: 'company' }),
    });
    const { json: other } = await send(daemon, {
      path: '/v1/facts',
      body: aFact({ entity: 'user:hidden', scope: 'company', value: { type: 'string', v: 'CTO' } }),
    });
    assert.ok(hidden.id && other.id);
    for (const scope of ['local', 'team', 'company'])
      await refused(daemon, 'scope_denied', { path: '/v1/facts', body: aFact({ scope }), key });
    await refused(daemon, 'scope_denied', {
      path: '/v1/gardens',
      body: { slug: 'g', name: 'g', scope: 'company' },
      key,
    });
    await refused(daemon, 'scope_denied', { path: '/v1/lint', body: { scope: 'company' }, key });
    const unknown = 'bagaaierajilxuxv5szq2c4dsiekd5kh6y6wnbaavpuk6nzdsvs46xcnofuva';
    for (const part of ['', '/provenance']) {
      const seen = await send(daemon, { path: `/v1/facts/${hidden.id}${part}`, key });
      assert.deepEqual(seen.json, (await send(daemon, { path: `/v1/facts/${unknown}${part}`, key })).json);
      assertProblem(await send(daemon, { path: `/v1/facts/${hidden.cid}${part}`, key }), 'fact_not_found');
    }
    for (const path of [
      '/v1/facts?entity=user:hidden&include=history',
      '/v1/facts/history?entity=user:hidden&relation=memory:role',
      '/v1/facts?scope=company',
    ]) {
      const { status, json } = await send(daemon, { path, key });
      if (status === 200) assert.deepEqual([json.facts, json.cursor], [[], null], path);
      else assert.equal(json.code, 'scope_denied', path);
    }
    const { conflicts } = (await send(daemon, { path: '/v1/conflicts' })).json;
    assert.equal(conflicts.length, 1);
    assert.deepEqual((await send(daemon, { path: '/v1/conflicts', key })).json.conflicts, []);
    const resolve = { path: `/v1/conflicts/${conflicts[0].conflict_id}/resolve`, body: { verdict: 'both_valid' }, key };
    await refused(daemon, 'conflict_not_found', resolve);
    for (const id of [unknown, hidden.id]) {
      const body = aFact({ scope: 'public', supersedes: [id] });
      await refused(daemon, 'unknown_supersedes', { path: '/v1/facts', body, key });
    }
    const ttl = { relation: 'stigmem:ttl', value: { type: 'number', v: 0 } };
    const mortal = { path: '/v1/facts', body: aFact({ ...ttl, entity: `fact:${hidden.id}`, scope: 'public' }), key };
    await refused(daemon, 'scope_denied', mortal);
    assert.equal((await send(daemon, { path: `/v1/facts/${hidden.id}` })).json.state, 'losing');
  });

  it('fault 48: nobody revokes the key of another, a revoked key is none, and an expired one neither', async () => {
    const mine = await make({ entity_uri: 'user:one', permissions: ['read'] });
    const theirs = await make({ entity_uri: 'user:two', permissions: ['read'] });
    await refused(daemon, 'permission_denied', { method: 'DELETE', path: `/v1/auth/keys/${theirs.id}`, key: mine.key });
    assert.equal(
      (await send(daemon, { method: 'DELETE', path: `/v1/auth/keys/${mine.id}`, key: mine.key })).status,
      204,
    );
    await refused(daemon, 'api_key_invalid', { path: '/v1/me', key: mine.key });
    await refused(daemon, 'key_not_found', { method: 'DELETE', path: `/v1/auth/keys/${mine.id}` });
    // As long a life as it takes to be seen alive.
    for (let life = 1000; ; life *= 2) {
      const { key } = await make({ expires_at: new Date(Date.now() + life).toISOString() });
      if ((await send(daemon, { path: '/v1/me', key })).status !== 200 && life < 16_000) continue;
      await until(async () => (await send(daemon, { path: '/v1/me', key })).status === 401, 'expiry');
      await refused(daemon, 'api_key_invalid', { path: '/v1/facts', body: aFact(), key });
      break;
    }
  });

  it('fault 48: guesses are throttled after twenty, valid keys pass all the while', async () => {
    const spellings = [
      'Bearer',
      'Bearer ',
      `Basic ${daemon.key}`,
      daemon.key,
      `Bearer ${daemon.key}x`,
      `Bearer ${daemon.key.slice(0, -1)}`,
      `Bearer ${daemon.key.toUpperCase()}`,
      `Bearer ${daemon.key} ${daemon.key}`,
      `Bearer ${'k'.repeat(9000)}`,
      'Bearer \u00e9',
    ];
    let refusals = 0;
    let throttled = 0;
    const start = performance.now();
    for (let i = 0; throttled < AUTH_FAILURES_PER_MINUTE; i++) {
      const headers = { authorization: spellings[i] ?? `Bearer guess-${i}` };
      const answered = await send(daemon, { path: '/v1/facts', body: aFact(), headers });
      if (answered.status === 401) refusals += 1;
      else {
        assertProblem(answered, 'auth_throttled');
        assert.ok(Number(answered.headers['retry-after']) >= 1);
        throttled += 1;
      }
      if (i % 5 === 0) assert.equal((await send(daemon, { path: '/v1/me' })).status, 200);
    }
    // The allowance is refilled while this runs, one every three seconds.
    const refilled = ((performance.now() - start) * AUTH_FAILURES_PER_MINUTE) / 60_000;
    assert.ok(refusals <= AUTH_FAILURES_PER_MINUTE + refilled + 1, `${refusals} guesses were looked at`);
    assert.deepEqual(complaints(daemon), []);
  });
});

import assert from 'node:assert/strict';
import { Writable } from 'node:stream';
import { pino } from 'pino';
import { AUTH_FAILURES_PER_MINUTE } from '../../../src/api/limits.ts';
import { endpoints } from '../../../src/api/operations/index.ts';
import type { Endpoint } from '../../../src/api/operations/operation.ts';
import type { Principal } from '../../../src/policy/principal.ts';
import { ADMIN_KEY, FakeTimers, factView, principal, start, stopAll } from './fakes.ts';

const closed = endpoints.filter(({ access }) => access !== 'open');
const sample = ({ path }: Endpoint) => path.replace('{entity_uri*}', 'user:a').replace(/\{\w+\}/g, 'x');

describe('authentication', () => {
  afterEach(stopAll);

  it('asks for a key on every route but health, discovery and documentation', async () => {
    const { send } = await start();
    const open = endpoints.filter(({ access }) => access === 'open').map(({ path }) => path);
    assert.deepEqual(open.sort(), ['/.well-known/stigmem', '/healthz', '/livez', '/openapi.json', '/readyz']);
    for (const endpoint of closed) {
      const answer = await send({ method: endpoint.method, path: sample(endpoint) }, null);
      assert.equal(answer.status, 401, endpoint.name);
      assert.equal(answer.headers['www-authenticate'], 'Bearer');
      assert.equal(answer.json.detail, 'Authorization header required');
      assert.equal(answer.json.code, 'authorization_required');
    }
    for (const path of [...open, '/docs', '/docs/errors']) assert.equal((await send({ path }, null)).status, 200, path);
  });

  it('refuses keys that are unknown, malformed or sent another way', async () => {
    const { send } = await start();
    for (const authorization of [
      'Bearer wrong',
      'Bearer',
      `Basic ${ADMIN_KEY}`,
      ADMIN_KEY,
      `Bearer ${'k'.repeat(600)}`,
    ]) {
      const answer = await send({ path: '/v1/me', headers: { authorization } }, null);
      assert.equal(answer.status, 401, authorization.slice(0, 20));
      assert.equal(answer.json.detail, 'Invalid or expired API key');
      assert.equal(answer.headers['www-authenticate'], 'Bearer');
    }
    const lower = await send({ path: '/v1/me', headers: { authorization: `bearer ${ADMIN_KEY}` } }, null);
    assert.equal(lower.status, 200);
    assert.equal(lower.json.entity_uri, 'agent:test');
  });

  it('throttles an address that keeps guessing, and lets a valid key pass all the same', async () => {
    const timers = new FakeTimers();
    const { send } = await start({ more: { timers } });
    for (let i = 0; i < AUTH_FAILURES_PER_MINUTE; i++) {
      assert.equal((await send({ path: '/v1/me' }, `guess-${i}`)).status, 401);
    }
    const throttled = await send({ path: '/v1/me' }, 'one guess more');
    assert.equal(throttled.status, 429);
    assert.equal(throttled.json.code, 'auth_throttled');
    assert.ok(Number(throttled.headers['retry-after']) >= 1);
    assert.equal((await send({ path: '/v1/me' })).status, 200);
    timers.advance(60_000 / AUTH_FAILURES_PER_MINUTE);
    assert.equal((await send({ path: '/v1/me' }, 'later')).status, 401);
  });

  it('without required keys knows everybody as anonymous, and a valid key as itself', async () => {
    const { send } = await start({}, { authRequired: false });
    const anonymous = await send({ path: '/v1/me' }, null);
    assert.equal(anonymous.json.entity_uri, 'anon:trusted');
    assert.deepEqual(anonymous.json.permissions.includes('federate'), true);
    assert.equal((await send({ path: '/v1/me' }, 'stale key')).json.entity_uri, 'anon:trusted');
    assert.equal((await send({ path: '/v1/me' })).json.entity_uri, 'agent:test');
  });

  it('refuses each operation to a key that lacks its permission, before it looks at the input', async () => {
    let who: Principal = principal([]);
    const { send } = await start({ keys: { authenticate: () => who } });
    for (const endpoint of closed) {
      const { access } = endpoint;
      if (access === 'authenticated') continue;
      const needed: readonly string[] = access === 'metrics' ? ['read'] : (access as readonly string[]);
      const others = principal().permissions;
      who = principal([...others].filter((permission) => !needed.includes(permission)));
      const answer = await send({ method: endpoint.method, path: sample(endpoint) });
      assert.equal(answer.status, 403, endpoint.name);
      assert.equal(answer.json.code, 'permission_denied');
      assert.equal(answer.json.detail, `${needed.join(' or ')} permission required`);
    }
  });

  it('limits reading and writing of each key apart, with the members Stigmem’s clients know', async () => {
    const timers = new FakeTimers();
    const fact = factView();
    const { send } = await start(
      {
        facts: {
          get: async () => ({ fact, claim: { statements: 1, origins: 1 } }),
          assertBatch: async (_who, { facts }) => ({ accepted: facts.length, rejected: 0, items: [], replayed: false }),
        },
        keys: { authenticate: (secret) => principal(undefined, { keyId: secret, entity: `agent:${secret}` }) },
        more: { timers },
      },
      { rateLimitRead: 12, rateLimitWrite: 60 },
    );
    const read = (key: string) => send({ path: `/v1/facts/${fact.id}` }, key);
    assert.equal((await read('a')).status, 200);
    assert.equal((await read('a')).status, 200);
    const refused = await read('a');
    assert.equal(refused.status, 429);
    assert.equal(refused.headers['retry-after'], '5');
    const { type, title, code, hint, detail, ...members } = refused.json;
    assert.deepEqual(members, {
      status: 429,
      error: 'quota_exceeded',
      dimension: 'fact_read',
      principal: 'agent:a',
      retry_after: 5,
    });
    assert.deepEqual(
      [code, typeof type, typeof title, typeof hint, typeof detail],
      ['rate_limited', 'string', 'string', 'string', 'string'],
    );
    assert.equal((await read('b')).status, 200, 'another key has its own allowance');
    timers.advance(5_000);
    assert.equal((await read('a')).status, 200);

    const item = { entity: 'a:b', relation: 'm:r', value: { type: 'null' }, source: 'a:b' };
    const batch = (count: number) =>
      send({ method: 'POST', path: '/v1/facts/batch', body: { facts: Array(count).fill(item) } }, 'a');
    assert.equal((await batch(10)).status, 200);
    const heavy = await batch(1);
    assert.equal(heavy.status, 429, 'a batch costs as much as its facts');
    assert.equal(heavy.json.dimension, 'fact_write');
    timers.advance(10_000);
    assert.equal((await batch(1)).status, 200);
    const large = await batch(500);
    assert.equal(large.status, 429, 'a batch above what may be taken at once costs that much');
    timers.advance(Number(large.headers['retry-after']) * 1000);
    assert.equal((await batch(500)).status, 200, 'and is let through after waiting as told');
  });

  it('answers metrics to loopback without a key only when told to', async () => {
    const strict = await start();
    assert.equal((await strict.send({ path: '/metrics' }, null)).status, 401);
    const scraped = await strict.send({ path: '/metrics' });
    assert.equal(scraped.status, 200);
    assert.match(scraped.text, /stigmesh_http_requests_total\{route="\/metrics",method="GET",status="401"\} 1/);
    const lax = await start({}, { metricsLoopback: true });
    assert.equal((await lax.send({ path: '/metrics' }, null)).status, 200);
  });

  it('counts by route pattern, never by what was asked', async () => {
    const { send } = await start({ facts: { get: () => assert.fail('not a name of a fact') } });
    for (const path of ['/v1/facts/private-1', '/private-2', '/v1/gardens/private-3/members/private-4']) {
      await send({ path });
    }
    const { text } = await send({ path: '/metrics' });
    assert.doesNotMatch(text, /private/);
    assert.match(text, /stigmesh_api_refusals_total\{code="fact_not_found"\} 1/);
    assert.match(text, /route="unmatched"/);
  });
});

describe('logs of the API', () => {
  afterEach(stopAll);

  it('hold no key, no path, no query and no value, whatever happens', async () => {
    const lines: string[] = [];
    const log = pino(
      { level: 'trace' },
      new Writable({
        write(chunk, _encoding, done) {
          lines.push(String(chunk));
          done();
        },
      }),
    );
    const { send } = await start({
      facts: {
        assert: async () => ({ fact: factView(), created: true, warnings: [] }),
        query: async () => {
          throw new Error('the disk said no');
        },
      },
      more: { log },
    });
    const body = {
      entity: 'user:secret-1',
      relation: 'm:secret-2',
      value: { type: 'string', v: 'secret-3' },
      source: 'a:b',
    };
    await send({ method: 'POST', path: '/v1/facts', body });
    await send({ method: 'POST', path: '/v1/facts', body: { ...body, value: 'secret-4' } });
    await send({
      method: 'POST',
      path: '/v1/facts',
      body: '{"secret-5',
      headers: { 'content-type': 'application/json' },
    });
    await send({ path: '/v1/facts?entity=user:secret-6' });
    await send({ path: '/v1/facts/secret-7' });
    await send({ path: '/v1/facts?api_key=secret-8' });
    await send({ path: '/v1/me' }, 'secret-9');
    await send({ path: '/secret-10', headers: { host: 'secret-11', origin: 'secret-12' } });
    const text = lines.join('');
    assert.doesNotMatch(text, /secret-\d/);
    assert.doesNotMatch(text, new RegExp(ADMIN_KEY));
    assert.match(text, /the disk said no/, 'failures of our own are logged with their reason');
    assert.match(text, /"route":"\/v1\/facts","method":"POST","status":201/);
    assert.doesNotMatch(text, /listening/i);
    log.level = 'warn';
    lines.length = 0;
    await send({ method: 'POST', path: '/v1/facts', body });
    assert.deepEqual(lines, [], 'a level that is changed while it runs holds at once');
    assert.match(text, /query string/, 'a key in a URL is warned about');
  });
});

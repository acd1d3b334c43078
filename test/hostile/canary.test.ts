import assert from 'node:assert/strict';
import { endpoints } from '../../src/api/operations/index.ts';
import { type RunningDaemon, startDaemon } from '../support/daemon.ts';
import { until } from '../support/until.ts';
import { Follower } from './follower.ts';
import { aFact, rawExchange, type Sent, send } from './support.ts';

/** Secrets that must be seen nowhere but where they were meant to go. */
const KEY = 'smk_canary_secret_key_4711_abcdefghijklmnop';
const WRONG_KEY = 'smk_canary_wrong_key_4712_abcdefghijklmnopq';
/** What facts say: never in a log, a metric, or an error. */
const VALUE = 'canary-value-4713';
const ENTITY = 'user:canary-entity-4714';
const RELATION = 'canary:relation-4715';
const SOURCE = 'agent:canary-source-4716';
const NUMBER = 471_747_174_717;
const CANARIES = [
  KEY,
  WRONG_KEY,
  VALUE,
  'canary-entity-4714',
  'relation-4715',
  'canary-source-4716',
  String(NUMBER),
  '4_717_471_747',
];
/** Names are part of what was asked; errors may name them to who asked. Secrets and values never. */
const NEVER_IN_ERRORS = [KEY, WRONG_KEY, VALUE];

describe('hostile: what is logged', function () {
  this.timeout(180_000);

  for (const level of ['info', 'trace']) {
    it(`no key and no fact, at level ${level}, whatever goes wrong; nor in metrics and errors`, async () => {
      const daemon = await startDaemon({ env: { STIGMESH_LOG_LEVEL: level } });
      const raw: string[] = [];
      for (const stream of [daemon.process.stdout!, daemon.process.stderr!])
        stream.on('data', (data) => raw.push(String(data)));
      try {
        const errors = await misuse(daemon);
        assert.ok(errors.length > 40, `${errors.length} errors`);
        for (const error of errors) for (const canary of NEVER_IN_ERRORS) assert.ok(!error.includes(canary), error);
        for (const path of [
          '/metrics',
          '/v1/status',
          '/readyz',
          '/v1/audit?limit=500',
          '/v1/audit/export',
          '/openapi.json',
        ]) {
          const { text } = await send(daemon, { path, key: KEY });
          for (const secret of NEVER_IN_ERRORS) assert.ok(!text.includes(secret), `${path} tells ${secret}`);
          if (path === '/metrics') for (const canary of CANARIES) assert.ok(!text.includes(canary), canary);
        }
        await until(() => raw.join('').includes('query string'), 'the log to be written');
      } finally {
        assert.equal(await daemon.stop(), 0);
      }
      const log = raw.join('') + JSON.stringify(daemon.logs);
      assert.ok(daemon.logs.length > 10, 'something was logged');
      if (level === 'trace')
        assert.ok(
          daemon.logs.some(({ status }) => status === 201),
          'writes were logged',
        );
      for (const canary of [...CANARIES, daemon.key]) assert.ok(!log.includes(canary), `the log tells ${canary}`);
    });
  }

  /** Everything that can go wrong with canaries in it. Returns the bodies of the errors. */
  async function misuse(daemon: RunningDaemon): Promise<string[]> {
    const errors: string[] = [];
    const say = async (sent: Sent): Promise<string> => {
      const { status, text, json } = await send(daemon, { key: KEY, ...sent });
      if (status >= 400 || json?.error !== undefined) errors.push(text);
      return text;
    };
    const fact = (changes: object = {}) =>
      aFact({ entity: ENTITY, relation: RELATION, source: SOURCE, value: { type: 'string', v: VALUE }, ...changes });
    const made = await send(daemon, {
      path: '/v1/auth/keys',
      body: { entity_uri: 'user:canary', raw_key: KEY, permissions: ['read', 'write', 'admin', 'audit.read'] },
    });
    assert.equal(made.status, 201);
    await say({ path: '/v1/auth/keys', body: { entity_uri: 'user:canary', raw_key: KEY } });
    await say({ path: '/v1/auth/keys', body: { entity_uri: 'user:canary', raw_key: `${KEY}\n` } });
    await say({ path: '/v1/auth/keys', body: { raw_key: KEY } });
    await say({ path: '/v1/auth/keys', body: `{"raw_key":"${KEY}"` });

    const follower = new Follower(daemon, { key: KEY });
    await follower.started();
    const stored = JSON.parse(await say({ path: '/v1/facts', body: fact() }));
    assert.equal(stored.created, true);
    await until(() => follower.text.includes(VALUE), 'the event');
    await say({ path: '/v1/facts', body: fact({ value: { type: 'number', v: NUMBER } }) });
    for (const v of [1e14, 1e20, 1e300, NUMBER * 1e8]) {
      await say({
        path: '/v1/facts',
        body: fact({ entity: `fact:${stored.id}`, relation: 'stigmem:ttl', value: { type: 'number', v } }),
      });
    }
    await say({ path: '/v1/facts/batch', body: { facts: [fact({ relation: 'm:x' }), fact({ scope: 'world' })] } });
    await say({
      path: '/v1/facts/batch',
      body: { facts: [fact({ relation: 'm:y' }), fact({ value: { type: 'datetime', v: VALUE } })] },
    });

    const wrong: object[] = [
      { scope: VALUE },
      { confidence: VALUE },
      { value: VALUE },
      { value: { type: 'number', v: VALUE } },
      { value: { type: 'datetime', v: VALUE } },
      { value: { type: 'ref', v: VALUE } },
      { value: { type: 'boolean', v: VALUE } },
      { value: { type: 'null', v: VALUE } },
      { value: { type: 'text', v: VALUE.repeat(5000) } },
      { value: { type: 'string', v: `${VALUE}\ud800` } },
      { valid_until: VALUE },
      { basis: VALUE },
      { derived_from: [VALUE] },
      { supersedes: [], derived_from: [{ a: VALUE.repeat(12_000) }] },
      { entity: ' ' },
      { relation: `${RELATION}\u0000` },
      { garden_id: 'nowhere' },
      { write_mode: VALUE },
    ];
    for (const changes of wrong) await say({ path: '/v1/facts', body: fact(changes) });
    for (const changes of wrong)
      await say({ path: '/rpc', body: { jsonrpc: '2.0', id: 1, method: 'fact.assert', params: fact(changes) } });
    const text = JSON.stringify(fact());
    for (const body of [
      text.slice(0, -1),
      `${text}${text}`,
      text.replace(`"${VALUE}"`, VALUE),
      `{"${VALUE}":1,"${VALUE}":2}`,
      VALUE,
    ]) {
      await say({ path: '/v1/facts', body });
      await say({ path: '/rpc', body });
      await say({ path: '/v1/import', body, headers: { 'content-type': 'application/x-ndjson' } });
    }
    await say({ path: '/v1/facts', body: text, headers: { 'content-type': 'text/plain' } });
    await say({ path: '/v1/facts', body: text, headers: { origin: `https://${VALUE}.example` } });
    await say({ path: '/v1/facts', body: text, headers: { host: `${VALUE}.example` } });

    const ending = endpoints.filter(({ name }) => name !== 'node.events');
    for (const { path } of ending) await say({ path: path.replace(/\{\w+\*?\}/g, VALUE) });
    for (const query of [
      `entity=${ENTITY}`,
      `scope=${VALUE}`,
      `limit=${VALUE}`,
      `cursor=${VALUE}`,
      `after=${VALUE}`,
      `value=${VALUE}`,
      `garden_id=${VALUE}`,
    ]) {
      await say({ path: `/v1/facts?${query}` });
    }
    for (const name of ['key', 'api_key', 'token']) await say({ path: `/v1/facts?${name}=${KEY}` });
    for (const path of [`/v1/facts/${KEY}`, `/v1/auth/keys/${KEY}`, `/${KEY}`, `/docs/${KEY}`, `/v1/gardens/${KEY}`])
      await say({ path });
    await say({ method: 'DELETE', path: `/v1/auth/keys/${KEY}` });
    for (const authorization of [`Bearer ${WRONG_KEY}`, WRONG_KEY, `Basic ${WRONG_KEY}`, `Bearer ${KEY} ${WRONG_KEY}`])
      await say({ path: '/v1/me', headers: { authorization } });
    for (const bytes of [
      `${VALUE} ${KEY}\r\n\r\n`,
      `GET /${KEY} HTTP/1.1\r\nHost: 127.0.0.1\r\n${VALUE}\r\n\r\n`,
      `POST /v1/facts HTTP/1.1\r\nHost: 127.0.0.1\r\nAuthorization: Bearer ${KEY}\r\nContent-Type: application/json\r\nContent-Length: 500\r\n\r\n${text}`,
    ]) {
      errors.push((await rawExchange(daemon, bytes, { halfClose: true })).text);
    }
    assert.ok((await say({ path: `/v1/facts?entity=${ENTITY}&include=history` })).includes(VALUE));
    await say({ path: '/v1/lint', body: { scope: 'local' } });
    await say({
      path: '/v1/facts/retract',
      body: { entity: ENTITY, relation: RELATION, source: SOURCE, value: { type: 'string', v: VALUE } },
    });
    follower.socket.destroy();
    return errors;
  }
});

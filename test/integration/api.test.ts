import assert from 'node:assert/strict';
import { once } from 'node:events';
import { request } from 'node:http';
import { join } from 'node:path';
import { SYSTEM } from '../../src/policy/principal.ts';
import { Contract } from '../conformance/contract.ts';
import { type NodeApi, startNodeApi } from './node-api.ts';

const contract = new Contract(join(import.meta.dirname, '../conformance/data/stigmem-openapi-0.9.0a10.json'));

const SOURCE = 'stigmem://testnode/agent/test';
const fact = (entity: string, v: unknown, more: object = {}) => ({
  entity,
  relation: 'memory:role',
  value: { type: typeof v === 'number' ? 'number' : 'string', v },
  source: SOURCE,
  scope: 'company',
  ...more,
});

describe('API over a real node', () => {
  let it_: NodeApi;
  beforeEach(async () => {
    it_ = await startNodeApi();
  });
  afterEach(() => it_.stop());

  const get = (path: string, key?: string | null) => it_.send({ path }, key);
  const post = (path: string, body: unknown, key?: string) => it_.send({ method: 'POST', path, body }, key);

  async function newKey(entity_uri: string, permissions: string[], more: object = {}): Promise<string> {
    const answer = await post('/v1/auth/keys', { entity_uri, permissions, ...more });
    assert.equal(answer.status, 201, answer.text);
    contract.validate('POST', '/v1/auth/keys', 201, answer.json);
    return answer.json.api_key;
  }

  it('asserts, finds, retracts and asserts again', async () => {
    const first = await post('/v1/facts', fact('user:alice', 'CEO'));
    assert.equal(first.status, 201);
    contract.validate('POST', '/v1/facts', 201, first.json);
    const again = await post('/v1/facts', fact('User:Alice', 'CEO'));
    assert.deepEqual([again.status, again.json.created, again.json.id], [201, false, first.json.id]);

    for (const name of [first.json.id, first.json.cid, ...first.json.cid_aliases]) {
      const one = await get(`/v1/facts/${name}`);
      assert.deepEqual([one.status, one.json.id], [200, first.json.id], name);
      contract.validate('GET', '/v1/facts/x', 200, one.json);
    }
    const verified = await post(`/v1/facts/${first.json.id}/verify-cid`, {});
    assert.deepEqual([verified.json.cid_valid, verified.json.signature_valid], [true, true]);

    const retraction = await post('/v1/facts/retract', {
      entity: 'user:alice',
      relation: 'memory:role',
      scope: 'company',
      source: SOURCE,
    });
    assert.deepEqual([retraction.status, retraction.json.confidence, retraction.json.state], [201, 0, 'retraction']);
    assert.equal((await get('/v1/facts?entity=user:alice')).json.total, 0);
    const anew = await post('/v1/facts', fact('user:alice', 'CEO'));
    assert.equal(anew.json.created, true);
    const history = await get('/v1/facts/history?entity=user:alice&relation=memory:role');
    assert.deepEqual(
      history.json.facts.map(({ state }: { state: string }) => state),
      ['current', 'retraction', 'retracted'],
    );
    contract.validate('GET', '/v1/facts', 200, { ...history.json });
  });

  it('pages through every fact once while others are written, and follows with head', async () => {
    const items = Array.from({ length: 120 }, (_, index) => fact(`user:u${index}`, `v${index}`));
    const batch = await post('/v1/facts/batch', { facts: items });
    assert.deepEqual([batch.status, batch.json.accepted, batch.json.rejected], [200, 120, 0]);
    const seen = new Set<string>();
    const { head } = (await get('/v1/facts?limit=1')).json;
    let cursor: string | null = null;
    do {
      const page = await get(`/v1/facts?limit=20${cursor === null ? '' : `&cursor=${encodeURIComponent(cursor)}`}`);
      contract.validate('GET', '/v1/facts', 200, page.json);
      for (const { entity } of page.json.facts) {
        assert.equal(seen.has(entity), false, entity);
        seen.add(entity);
      }
      await post('/v1/facts', fact(`user:late${seen.size}`, 'x'));
      cursor = page.json.cursor;
    } while (cursor !== null);
    for (const { entity } of items) assert.ok(seen.has(entity), entity);
    const later = await get(`/v1/facts?limit=500&after=${encodeURIComponent(head)}`);
    assert.ok(later.json.total >= 6);
    assert.ok(later.json.facts.every(({ entity }: { entity: string }) => entity.startsWith('user:late')));
    assert.equal((await get('/v1/facts?cursor=forged')).status, 400);
  });

  it('shows a contradiction and resolves it, for HTTP and JSON-RPC alike', async () => {
    await post('/v1/facts', fact('user:bob', 'CTO'));
    const second = await post('/v1/facts', fact('user:bob', 'CFO'));
    assert.equal(second.json.contradicted, true);
    const list = await get('/v1/conflicts?status=unresolved');
    contract.validate('GET', '/v1/conflicts', 200, list.json);
    const [conflict] = list.json.conflicts;
    assert.equal(conflict.fact_a.id, second.json.id);
    const rpc = await post('/rpc', {
      jsonrpc: '2.0',
      id: 1,
      method: 'conflict.list',
      params: { status: 'unresolved' },
    });
    assert.deepEqual(rpc.json.result.conflicts[0].conflict_id, conflict.conflict_id);
    const path = `/v1/conflicts/${conflict.conflict_id}/resolve`;
    assert.equal((await post(path, {})).status, 422);
    const resolved = await post(path, { winning_fact_id: second.json.id, resolution_note: 'asked' });
    assert.deepEqual([resolved.status, resolved.json.conflict_status], [200, 'resolved']);
    assert.equal((await post(path, { winning_fact_id: second.json.id })).status, 409);
    assert.equal((await post('/v1/conflicts/stigmem:conflict:nope/resolve', { winning_fact_id: 'x' })).status, 404);
    const current = await get('/v1/facts?entity=user:bob');
    assert.deepEqual([current.json.total, current.json.facts[0].value.v], [1, 'CFO']);
    assert.equal((await get('/v1/facts?entity=user:bob&include_contradicted=true')).json.total, 2);
  });

  it('keeps a garden to its members, in queries, single facts and events', async () => {
    const garden = await post('/v1/gardens', { slug: 'lab', name: 'Lab', scope: 'team' });
    contract.validate('POST', '/v1/gardens', 201, garden.json);
    const member = await newKey('agent:member', ['read', 'write']);
    const stranger = await newKey('agent:stranger', ['read']);
    await post('/v1/gardens/lab/members', { entity_uri: 'agent:member', role: 'writer' });
    const secret = await post(
      '/v1/facts',
      fact('user:eve', 'secret', { scope: 'team', garden_id: garden.json.garden_id }),
      member,
    );
    assert.equal(secret.status, 201, secret.text);
    assert.equal(secret.json.garden_id, garden.json.garden_id);
    assert.equal((await get('/v1/facts?entity=user:eve', member)).json.total, 1);
    assert.equal((await get('/v1/facts?entity=user:eve', stranger)).json.total, 0);
    assert.equal((await get(`/v1/facts/${secret.json.id}`, stranger)).status, 403);
    assert.equal((await get('/v1/gardens/lab', stranger)).status, 403);
    assert.match(await firstEvents(member, 1), /"v":"secret"/);
    await post('/v1/facts', fact('user:eve', 'open', { scope: 'public' }));
    const visible = await firstEvents(stranger, 1);
    assert.doesNotMatch(visible, /"v":"secret"/);
    assert.match(visible, /"v":"open"/);

    const uri = 'stigmem://testnode/user/alice';
    assert.equal((await post('/v1/gardens/lab/members', { entity_uri: uri })).json.role, 'reader');
    const raw = await it_.send({ method: 'PATCH', path: `/v1/gardens/lab/members/${uri}`, body: { role: 'writer' } });
    assert.deepEqual([raw.status, raw.json.role], [200, 'writer']);
    contract.validate('PATCH', '/v1/gardens/lab/members/x', 200, raw.json);
    const encoded = `/v1/gardens/lab/members/${encodeURIComponent(uri)}`;
    assert.equal((await it_.send({ method: 'DELETE', path: encoded })).status, 204);
    assert.equal((await it_.send({ method: 'DELETE', path: encoded })).json.detail, 'member not found');
    const members = await get('/v1/gardens/lab/members');
    contract.validate('GET', '/v1/gardens/lab/members', 200, members.json);
    assert.equal(members.json.length, 2);
    contract.validate('GET', '/v1/gardens', 200, (await get('/v1/gardens')).json);
    assert.equal((await it_.send({ method: 'DELETE', path: '/v1/gardens/lab' })).status, 204);
    assert.equal((await get('/v1/facts?entity=user:eve', stranger)).json.total, 1, 'a deleted garden opens nothing');
  });

  it('creates keys once shown, limits them to scopes, lists and revokes them', async () => {
    const key = await newKey('agent:narrow', ['read', 'write'], { scopes: ['public'] });
    assert.ok(key.length >= 43);
    assert.equal((await post('/v1/facts', fact('user:x', 'y'), key)).status, 403);
    const own = await get('/v1/auth/keys', key);
    contract.validate('GET', '/v1/auth/keys', 200, own.json);
    assert.deepEqual([own.json.length, own.json[0].scopes], [1, ['public']]);
    assert.doesNotMatch(own.text, new RegExp(key));
    assert.ok((await get('/v1/auth/keys?all=true')).json.length >= 2);
    const soon = await get('/v1/auth/keys/expiring-soon?within_days=365');
    contract.validate('GET', '/v1/auth/keys/expiring-soon', 200, soon.json);
    assert.ok(soon.json.length >= 1);
    const brought = await post('/v1/auth/keys', {
      entity_uri: 'agent:own',
      raw_key: 'k'.repeat(40),
      tenant_id: 'default',
    });
    assert.deepEqual([brought.status, brought.json.api_key], [201, null]);
    assert.equal((await post('/v1/auth/keys', { entity_uri: 'agent:own', raw_key: 'k'.repeat(40) })).status, 409);
    assert.equal((await post('/v1/auth/keys', { entity_uri: 'agent:own', tenant_id: 'other' })).status, 400);
    assert.equal((await post('/v1/auth/keys', { entity_uri: 'agent:own', permissions: ['fly'] })).status, 400);
    assert.equal((await post('/v1/auth/keys', { entity_uri: 'agent:own', raw_key: 'short' })).status, 422);
    const { json: me } = await get('/v1/me', 'k'.repeat(40));
    assert.deepEqual([me.entity_uri, me.tenant_id, me.permissions], ['agent:own', 'default', ['read', 'write']]);
    assert.equal((await it_.send({ method: 'DELETE', path: `/v1/auth/keys/${own.json[0].id}` })).status, 204);
    assert.equal((await get('/v1/me', key)).status, 401);
    assert.equal((await it_.send({ method: 'DELETE', path: '/v1/auth/keys/nope' })).json.detail, 'Key not found');
  });

  it('reads the audit log, lints, and tells its state', async () => {
    const { json: written } = await post('/v1/facts', fact('user:a', 'x', { relation: 'bare' }));
    const audit = await get('/v1/audit');
    contract.validate('GET', '/v1/audit', 200, audit.json);
    assert.ok(audit.json.entries.some((entry: { fact_id: string }) => entry.fact_id === written.id));
    contract.validate('GET', '/v1/audit/facts/x', 200, (await get(`/v1/audit/facts/${written.id}`)).json);
    const filtered = await get(`/v1/audit?fact_id=${written.id}&limit=1`);
    assert.equal(filtered.json.total, 1);
    const lint = await post('/v1/lint', { scope: 'company', checks: ['namespacing'] });
    assert.deepEqual(
      lint.json.findings.map(({ check }: { check: string }) => check),
      ['namespacing'],
    );
    assert.equal((await post('/v1/lint', { scope: 'universe' })).status, 400);
    assert.equal((await get('/v1/lint/jobs/nope')).json.detail, 'job not found');
    const status = await get('/v1/status');
    assert.deepEqual([status.json.facts, status.json.seq, status.json.auth], [1, 1, 'required']);
    assert.equal((await get('/readyz', null)).status, 200);
  });

  it('moves a whole log to another node, which then knows every statement by the same name', async () => {
    for (let i = 0; i < 300; i++) await post('/v1/facts', fact(`user:u${i % 30}`, `v${i}`));
    const exported = await get('/v1/export');
    const other = await startNodeApi();
    try {
      const load = (body: string) =>
        other.send({
          method: 'POST',
          path: '/v1/import',
          body,
          headers: { 'content-type': 'application/x-ndjson' },
        });
      const first = await load(exported.text);
      assert.deepEqual([first.json.accepted, first.json.duplicates, first.json.rejected], [300, 0, 0], first.text);
      const second = await load(exported.text);
      assert.deepEqual([second.json.accepted, second.json.duplicates], [0, 300]);
      const ids = (text: string) =>
        text
          .trim()
          .split('\n')
          .map((line) => JSON.parse(line).id);
      assert.deepEqual(ids((await other.send({ path: '/v1/export' })).text), ids(exported.text));
      const forged = exported.text.split('\n')[0]!.replace('"v0"', '"vX"');
      const refused = await load(forged);
      assert.deepEqual([refused.json.rejected, refused.json.errors[0].code], [1, 'bad_signature']);
      // The other node knows no manifest that lists this one: what it signed waits in quarantine.
      assert.deepEqual((await other.send({ path: '/v1/facts?limit=1' })).json.facts, []);
      const { json } = await other.send({ path: '/v1/facts?limit=1&include=quarantined' });
      assert.notEqual(json.facts[0].origin, (await other.send({ path: '/v1/status' })).json.peer_id);
    } finally {
      await other.stop();
    }
  });

  it('refuses a request whose key was revoked while its body was under way, and the rest of an import', async () => {
    const begin = async (key: string, path: string, type: string) => {
      const answered = Promise.withResolvers<number>();
      const outgoing = request({
        ...{ host: '127.0.0.1', port: it_.api.port, method: 'POST', path, agent: false },
        headers: { authorization: `Bearer ${key}`, 'content-type': type, expect: '100-continue' },
      });
      outgoing.on('response', (incoming) => {
        incoming.resume();
        answered.resolve(incoming.statusCode ?? 0);
      });
      outgoing.on('error', answered.reject);
      outgoing.flushHeaders();
      // The key was looked at by then.
      await once(outgoing, 'continue');
      return { outgoing, answered: answered.promise };
    };
    const { json } = await post('/v1/auth/keys', {
      entity_uri: 'agent:leaked',
      permissions: ['admin', 'read', 'write'],
    });
    const minting = await begin(json.api_key, '/v1/auth/keys', 'application/json');
    const importing = await begin(json.api_key, '/v1/import', 'application/x-ndjson');
    importing.outgoing.write('{}\n');
    await it_.node.keys.revoke(SYSTEM, json.id);
    minting.outgoing.end(JSON.stringify({ entity_uri: 'agent:thief', permissions: ['admin'] }));
    importing.outgoing.end('{}\n');
    assert.deepEqual([await minting.answered, await importing.answered], [401, 401]);
    const keys = await it_.node.keys.list(SYSTEM, { all: true });
    assert.ok(!keys.some(({ entity_uri }) => entity_uri === 'agent:thief'));
  });

  /** Text of an event stream from the beginning, up to its nth fact. */
  function firstEvents(key: string, count: number): Promise<string> {
    return new Promise((resolve, reject) => {
      const outgoing = request(
        {
          host: '127.0.0.1',
          port: it_.api.port,
          path: '/v1/events?after=0',
          headers: { authorization: `Bearer ${key}` },
          agent: false,
        },
        (incoming) => {
          let text = '';
          incoming.on('error', () => {});
          incoming.on('data', (chunk) => {
            text += String(chunk);
            if (text.split('event: fact').length <= count) return;
            resolve(text);
            outgoing.destroy();
          });
        },
      );
      outgoing.on('error', reject);
      outgoing.end();
    });
  }
});

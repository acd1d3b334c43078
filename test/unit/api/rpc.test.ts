import assert from 'node:assert/strict';
import { MAX_RPC_BATCH, MAX_RPC_BATCH_ANSWER_BYTES } from '../../../src/api/limits.ts';
import { endpoints } from '../../../src/api/operations/index.ts';
import { NodeError } from '../../../src/node/errors.ts';
import { type FakeServices, factView, principal, start, stopAll } from './fakes.ts';

const FACT = { entity: 'user:alice', relation: 'm:r', value: { type: 'string', v: 'x' }, source: 'agent:x' };

describe('JSON-RPC', () => {
  afterEach(stopAll);

  async function rpc(fakes: FakeServices = {}, init = {}) {
    const { send } = await start(fakes, init);
    return async (body: unknown, key?: string | null) => {
      const headers = { 'content-type': 'application/json' };
      return send({ method: 'POST', path: '/rpc', body, headers }, key);
    };
  }

  it('runs the same operation as HTTP, with merged parameters and the same result', async () => {
    const seen: unknown[] = [];
    const fakes: FakeServices = {
      facts: {
        assert: async (_who, input, options) => {
          seen.push([input, options]);
          return { fact: factView(), created: true, warnings: [] };
        },
      },
      gardens: {
        setRole: async (_who, garden, entity_uri, role) => ({ entity_uri, role, added_by: garden, added_at: 'now' }),
        remove: async () => {},
      },
    };
    const { send } = await start(fakes);
    const call = (body: unknown) => send({ method: 'POST', path: '/rpc', body });
    const byRpc = await call({
      jsonrpc: '2.0',
      id: 7,
      method: 'fact.assert',
      params: { ...FACT, idempotency_key: 'k' },
    });
    const byHttp = await send({ method: 'POST', path: '/v1/facts', body: FACT, headers: { 'idempotency-key': 'k' } });
    assert.deepEqual(byRpc.json, { jsonrpc: '2.0', result: byHttp.json, id: 7 });
    assert.deepEqual(seen[0], seen[1]);

    const params = { garden_slug_or_id: 'g1', entity_uri: 'stigmem://a/user/b', role: 'writer' };
    const role = await call({ jsonrpc: '2.0', id: 'r', method: 'garden.setRole', params });
    assert.deepEqual(role.json.result, {
      entity_uri: 'stigmem://a/user/b',
      role: 'writer',
      added_by: 'g1',
      added_at: 'now',
    });
    const removed = await call({ jsonrpc: '2.0', id: null, method: 'garden.delete', params });
    assert.deepEqual(removed.json, { jsonrpc: '2.0', result: null, id: null });
  });

  it('has the methods of the design', () => {
    const methods = endpoints.flatMap((endpoint) => (endpoint.kind === 'json' && endpoint.rpc ? [endpoint.name] : []));
    assert.deepEqual(methods.sort(), [
      'conflict.list',
      'conflict.resolve',
      'fact.assert',
      'fact.assertBatch',
      'fact.get',
      'fact.history',
      'fact.query',
      'fact.retract',
      'garden.addMember',
      'garden.create',
      'garden.delete',
      'garden.get',
      'garden.list',
      'garden.members',
      'garden.removeMember',
      'garden.setRole',
      'invite.create',
      'invite.list',
      'invite.revoke',
      'mesh.audit',
      'mesh.join',
      'mesh.status',
      'mesh.sync',
      'mesh.syncState',
      'node.status',
      'org.addNode',
      'org.adopt',
      'org.forgetNode',
      'org.get',
      'org.list',
      'org.revokeNode',
      'org.rotateKey',
      'peer.approve',
      'peer.discover',
      'peer.get',
      'peer.list',
      'peer.register',
      'peer.remove',
      'peer.update',
    ]);
  });

  it('answers every standard error', async () => {
    const call = await rpc({ facts: { get: () => Promise.reject(new Error('bug')) } });
    const cases: [unknown, number, unknown][] = [
      ['{"jsonrpc":"2.0","id":1,', -32700, null],
      ['{"jsonrpc":"2.0","id":1,"id":2,"method":"x"}', -32700, null],
      [[], -32600, null],
      [1, -32600, null],
      ['null', -32600, null],
      [{ id: 1, method: 'fact.get' }, -32600, 1],
      [{ jsonrpc: '1.0', id: 1, method: 'fact.get' }, -32600, 1],
      [{ jsonrpc: '2.0', id: 1, method: 5 }, -32600, 1],
      [{ jsonrpc: '2.0', id: {}, method: 'fact.get' }, -32600, null],
      [{ jsonrpc: '2.0', id: true, method: 'fact.get' }, -32600, null],
      [{ jsonrpc: '2.0', id: 'a', method: 'fact.nope' }, -32601, 'a'],
      [{ jsonrpc: '2.0', id: 1, method: 'constructor' }, -32601, 1],
      [{ jsonrpc: '2.0', id: 1, method: 'fact.get' }, -32602, 1],
      [{ jsonrpc: '2.0', id: 1, method: 'fact.get', params: ['x'] }, -32602, 1],
      [{ jsonrpc: '2.0', id: 1, method: 'fact.get', params: { fact_id: 5 } }, -32602, 1],
      [{ jsonrpc: '2.0', id: 1.5, method: 'fact.get', params: { fact_id: factView().id } }, -32603, 1.5],
    ];
    for (const [body, code, id] of cases) {
      const { status, json } = await call(body);
      assert.equal(status, 200);
      assert.deepEqual([json.jsonrpc, json.error?.code, json.id], ['2.0', code, id], JSON.stringify(body));
      assert.equal(typeof json.error.message, 'string');
      assert.equal('result' in json, false);
    }
  });

  it('carries the problem as data, with our code as a number of its own', async () => {
    const call = await rpc({
      facts: { get: () => Promise.reject(new NodeError('fact_not_found', 'x', 'check the id')) },
      keys: { authenticate: () => principal(['read']) },
    });
    const missing = await call({ jsonrpc: '2.0', id: 1, method: 'fact.get', params: { fact_id: factView().id } });
    assert.equal(missing.json.error.code, -32023);
    assert.equal(missing.json.error.message, 'fact not found');
    assert.deepEqual(
      [missing.json.error.data.code, missing.json.error.data.status, missing.json.error.data.hint],
      ['fact_not_found', 404, 'check the id'],
    );
    const denied = await call({ jsonrpc: '2.0', id: 1, method: 'fact.assert', params: FACT });
    assert.deepEqual([denied.json.error.code, denied.json.error.message], [-32020, 'write permission required']);
    const invalid = await call({ jsonrpc: '2.0', id: 1, method: 'fact.query', params: { limit: '7' } });
    assert.deepEqual(invalid.json.error.data.detail[0].loc, ['params', 'limit']);
    assert.equal(invalid.json.error.message, 'Invalid params');
    const scope = await call({ jsonrpc: '2.0', id: 1, method: 'fact.query', params: { scope: 'universe' } });
    assert.equal(scope.json.error.data.code, 'invalid_query');
  });

  it('runs a batch in order, leaves notifications unanswered, and answers 204 when there is nothing to say', async () => {
    const order: string[] = [];
    const call = await rpc({
      facts: {
        assert: async (_who, { entity }) => {
          order.push(entity);
          return { fact: factView(), created: true, warnings: [] };
        },
      },
    });
    const item = (entity: string, id?: unknown) => ({
      jsonrpc: '2.0',
      method: 'fact.assert',
      params: { ...FACT, entity },
      ...(id === undefined ? {} : { id }),
    });
    const answer = await call([
      item('a:1', 1),
      item('a:2'),
      { jsonrpc: '2.0', method: 'nope', id: 2 },
      'x',
      item('a:3', 3),
    ]);
    assert.deepEqual(order, ['a:1', 'a:2', 'a:3']);
    assert.deepEqual(
      answer.json.map((one: { id: unknown; error?: { code: number } }) => [one.id, one.error?.code]),
      [
        [1, undefined],
        [2, -32601],
        [null, -32600],
        [3, undefined],
      ],
    );
    const silent = await call([item('a:4'), { jsonrpc: '2.0', method: 'nope' }]);
    assert.deepEqual([silent.status, silent.text], [204, '']);
    assert.equal((await call(item('a:5'))).status, 204);
    assert.deepEqual(order.slice(3), ['a:4', 'a:5']);
  });

  it('bounds a batch in calls and in the size of its answers', async () => {
    const big = factView({ value: { type: 'text', v: 'x'.repeat(64 * 1024) } });
    let queries = 0;
    const call = await rpc({
      facts: {
        query: async () => {
          queries++;
          return { facts: Array(100).fill(big), cursor: null, head: 'h' };
        },
      },
    });
    const query = { jsonrpc: '2.0', id: 1, method: 'fact.query' };
    const long = await call(Array(MAX_RPC_BATCH + 1).fill(query));
    assert.equal(long.json.error.code, -32600);
    assert.equal(queries, 0);
    const full = await call(Array(MAX_RPC_BATCH).fill(query));
    assert.equal(full.json.length, MAX_RPC_BATCH);
    assert.equal(full.json[0].result.total, 100);
    assert.equal(full.json.at(-1).error.data.code, 'answer_too_large');
    assert.ok(full.text.length < MAX_RPC_BATCH_ANSWER_BYTES + 8 * 1024 * 1024);
    assert.equal(queries, 3);
  });

  it('keeps to the key and its allowance, call by call', async () => {
    const call = await rpc(
      { facts: { get: async () => ({ fact: factView(), claim: { statements: 1, origins: 1 } }) } },
      {
        rateLimitRead: 12,
      },
    );
    const get = { jsonrpc: '2.0', id: 1, method: 'fact.get', params: { fact_id: factView().id } };
    const answer = await call([get, get, get]);
    assert.deepEqual(
      answer.json.map((one: { error?: { data: { code: string } } }) => one.error?.data.code),
      [undefined, undefined, 'rate_limited'],
    );
    assert.equal((await call(get, null)).status, 401);
    assert.equal((await call(get, 'wrong')).json.code, 'api_key_invalid');
  });

  it('describes itself with rpc.discover', async () => {
    const call = await rpc();
    const { json } = await call({ jsonrpc: '2.0', id: 1, method: 'rpc.discover' });
    const document = json.result;
    assert.match(document.openrpc, /^1\.3\./);
    const assertMethod = document.methods.find((method: { name: string }) => method.name === 'fact.assert');
    assert.equal(assertMethod.paramStructure, 'by-name');
    const required = assertMethod.params.filter((param: { required: boolean }) => param.required);
    assert.deepEqual(required.map((param: { name: string }) => param.name).sort(), [
      'entity',
      'relation',
      'source',
      'value',
    ]);
    assert.ok(assertMethod.errors.some((error: { code: number }) => error.code === -32035));
    assert.ok(assertMethod.errors.every((error: { code: number }) => error.code > -32100 && error.code <= -32000));
    assert.ok(document.components.schemas.AssertedFact.properties.created);
  });
});

import assert from 'node:assert/strict';
import { ERRORS } from '../../src/api/errors.ts';
import { MAX_RPC_BATCH } from '../../src/api/limits.ts';
import { type RunningDaemon, startDaemon } from '../support/daemon.ts';
import { type Answered, aFact, assertProblem, complaints, footprint, send } from './support.ts';

const PARSE_ERROR = -32700;
const INVALID_REQUEST = -32600;
const METHOD_NOT_FOUND = -32601;
const INVALID_PARAMS = -32602;

const call = (method: string, params?: unknown, id: unknown = 1) => ({ jsonrpc: '2.0', method, params, id });

describe('hostile: JSON-RPC', () => {
  let daemon: RunningDaemon;
  const rpc = (body: unknown): Promise<Answered> => send(daemon, { path: '/rpc', body });
  before(async () => {
    daemon = await startDaemon();
  });
  after(async () => {
    assert.deepEqual(complaints(daemon), []);
    await daemon.stop();
  });

  /** One call that is refused with a code of JSON-RPC, under an id, and nothing stored. */
  async function fails(body: unknown, code: number, id: unknown = null): Promise<Answered> {
    const before = await footprint(daemon);
    const answered = await rpc(body);
    assert.equal(answered.status, 200, answered.text.slice(0, 200));
    assert.match(String(answered.headers['content-type']), /^application\/json/);
    assert.deepEqual(Object.keys(answered.json).sort(), ['error', 'id', 'jsonrpc'], answered.text.slice(0, 200));
    assert.equal(answered.json.error.code, code, answered.text.slice(0, 200));
    assert.equal(typeof answered.json.error.message, 'string');
    const { detail, hint } = answered.json.error.data;
    assert.ok(detail && hint, answered.text.slice(0, 200));
    assert.deepEqual(answered.json.id, id);
    assert.equal(await footprint(daemon), before);
    return answered;
  }

  it('bodies that are no JSON', async () => {
    for (const body of [
      '',
      '{',
      '[',
      '{"jsonrpc":"2.0","method":"node.status","id":1',
      '\ufeff{}',
      '{"id":1,"id":2}',
      '{"__proto__":1}',
      '['.repeat(10_000),
    ]) {
      if (body === '')
        assert.equal(
          (await send(daemon, { method: 'POST', path: '/rpc', headers: { 'content-type': 'application/json' } })).json
            .error.code,
          PARSE_ERROR,
        );
      else await fails(body, PARSE_ERROR);
    }
    assertProblem(await rpc(`[${'0,'.repeat(2_000_000)}0]`), 'body_too_large');
    assertProblem(
      await send(daemon, { path: '/rpc', body: '{}', headers: { 'content-type': 'text/plain' } }),
      'unsupported_media_type',
    );
  });

  it('envelopes that are none', async () => {
    const envelopes = [
      'null',
      '7',
      '"x"',
      'true',
      '[]',
      '{}',
      '{"jsonrpc":"1.0","method":"node.status","id":1}',
      '{"jsonrpc":2,"method":"node.status","id":1}',
      '{"method":"node.status","id":1}',
      '{"jsonrpc":"2.0","id":1}',
      '{"jsonrpc":"2.0","method":7,"id":1}',
      '{"jsonrpc":"2.0","method":null,"id":1}',
      '{"jsonrpc":"2.0","method":["node.status"],"id":1}',
      '{"jsonrpc":"2.0","method":{},"id":1}',
    ];
    for (const body of envelopes) await fails(body, INVALID_REQUEST, body.includes('"id":1') ? 1 : null);
    for (const id of ['true', '{}', '[]', '[1]', '{"a":1}', '1e999', '-1e999']) {
      await fails(`{"jsonrpc":"2.0","method":"node.status","id":${id}}`, INVALID_REQUEST, null);
    }
  });

  it('ids come back as they were sent', async () => {
    for (const id of [
      0,
      -1,
      1.5,
      1e300,
      5e-324,
      '',
      'a',
      '\u0000',
      '\ud800',
      '"}],[{"',
      '__proto__',
      'x'.repeat(100_000),
      null,
    ]) {
      const { json } = await rpc(JSON.stringify({ jsonrpc: '2.0', method: 'node.status', id }));
      assert.equal(json.result.status, 'ok');
      assert.deepEqual(json.id, id);
    }
  });

  it('methods that are none', async () => {
    for (const method of [
      '',
      'nothing',
      'fact',
      'fact.',
      'FACT.ASSERT',
      'fact.assert ',
      'constructor',
      '__proto__',
      'toString',
      'rpc.',
      'rpc.internal',
      'key.create',
      'audit.list',
      'node.export',
      'x'.repeat(100_000),
    ]) {
      await fails(call(method), METHOD_NOT_FOUND, 1);
    }
  });

  it('parameters that are none', async () => {
    for (const params of [[], ['user:a'], null, 7, 'x', true, [{}]]) {
      for (const method of ['fact.assert', 'fact.query', 'node.status']) {
        const { json } = await fails(call(method, params), INVALID_PARAMS, 1);
        assert.equal(json.error.data.code, 'validation_failed');
        assert.ok(json.error.data.hint);
      }
    }
  });

  it('parameters that are wrong answer the code of their problem', async () => {
    const cases: readonly (readonly [string, unknown, keyof typeof ERRORS])[] = [
      ['fact.assert', {}, 'validation_failed'],
      ['fact.assert', aFact({ scope: 'world' }), 'validation_failed'],
      ['fact.assert', aFact({ confidence: 2 }), 'validation_failed'],
      ['fact.assert', aFact({ entity: ' ' }), 'invalid_entity_uri'],
      ['fact.assert', aFact({ relation: ' ' }), 'invalid_relation'],
      ['fact.assert', aFact({ value: { type: 'string', v: '\ud800' } }), 'lone_surrogate'],
      ['fact.assert', aFact({ value: { type: 'number', v: '1' } }), 'invalid_value'],
      ['fact.assert', aFact({ value: { type: 'text', v: 'a'.repeat(64 * 1024 + 1) } }), 'text_too_large'],
      [
        'fact.assert',
        aFact({ supersedes: ['bagaaierajilxuxv5szq2c4dsiekd5kh6y6wnbaavpuk6nzdsvs46xcnofuva'] }),
        'unknown_supersedes',
      ],
      ['fact.assertBatch', { facts: [] }, 'validation_failed'],
      ['fact.assertBatch', { facts: Array(1001).fill(aFact()) }, 'batch_too_large'],
      ['fact.query', { limit: '50' }, 'validation_failed'],
      ['fact.query', { limit: 1e300 }, 'validation_failed'],
      ['fact.query', { scope: 'world' }, 'invalid_query'],
      ['fact.query', { cursor: 'AAAA' }, 'invalid_cursor'],
      ['fact.query', { include: Array(1001).fill('history') }, 'batch_too_large'],
      ['fact.get', {}, 'validation_failed'],
      ['fact.get', { fact_id: 'sha256:00' }, 'cid_malformed'],
      ['fact.get', { fact_id: 'x'.repeat(1_000_000) }, 'fact_not_found'],
      ['fact.retract', { entity: 'user:x', relation: 'm:x', source: 'a:b' }, 'fact_not_found'],
      ['fact.history', { entity: 'user:a' }, 'validation_failed'],
      ['conflict.resolve', { conflict_id: 'x' }, 'conflict_not_found'],
      ['garden.get', { garden_slug_or_id: '__proto__' }, 'garden_not_found'],
      ['garden.create', { slug: 'UP CASE', name: 'x' }, 'garden_slug_invalid'],
    ];
    for (const [method, params, code] of cases) {
      const { json } = await fails(call(method, params), ERRORS[code].rpc, 1);
      const { data } = json.error;
      assert.deepEqual([data.code, data.status], [code, ERRORS[code].status], method);
      assert.ok(data.hint && data.title && data.detail, method);
    }
  });

  it(`batches of ${MAX_RPC_BATCH + 1}, nested ones, and mixed ones`, async () => {
    await fails(Array(MAX_RPC_BATCH + 1).fill(call('fact.assert', aFact({ entity: 'user:many' }))), INVALID_REQUEST);
    const mixed = await rpc([
      [call('node.status')],
      7,
      null,
      {},
      call('nothing', {}, 'a'),
      call('node.status', undefined, 'b'),
      [],
    ]);
    assert.deepEqual(
      mixed.json.map(({ id, error }: { id: unknown; error?: { code: number } }) => [id, error?.code]),
      [
        [null, INVALID_REQUEST],
        [null, INVALID_REQUEST],
        [null, INVALID_REQUEST],
        [null, INVALID_REQUEST],
        ['a', METHOD_NOT_FOUND],
        ['b', undefined],
        [null, INVALID_REQUEST],
      ],
    );
    const most = await rpc(Array.from({ length: MAX_RPC_BATCH }, (_, id) => call('node.status', {}, id)));
    assert.equal(most.json.length, MAX_RPC_BATCH);
  });

  it('notifications are run and not answered, wrong ones neither', async () => {
    const notify = (method: string, params?: unknown) => ({ jsonrpc: '2.0', method, params });
    for (const body of [
      notify('fact.assert', aFact({ entity: 'user:told' })),
      notify('nothing'),
      [notify('nothing'), notify('fact.assert', {})],
      [notify('fact.assert', [])],
    ]) {
      const { status, text } = await rpc(body);
      assert.deepEqual([status, text], [204, '']);
    }
    assert.equal((await send(daemon, { path: '/v1/facts?entity=user:told' })).json.facts.length, 1);
  });

  it('a batch that grows too large is cut off, and says so for each call it left out', async () => {
    const facts = Array.from({ length: 60 }, (_, i) =>
      aFact({ entity: `user:large-${i}`, value: { type: 'text', v: `${i}${'x'.repeat(60_000)}` } }),
    );
    assert.equal((await rpc(call('fact.assertBatch', { facts }))).json.result.accepted, 60);
    const { json, text } = await rpc(
      Array.from({ length: MAX_RPC_BATCH }, (_, id) => call('fact.query', { limit: 500 }, id)),
    );
    assert.ok(text.length < 20 * 1024 * 1024, `${text.length} bytes`);
    const cut = json.filter(
      (answer: { error?: { data: { code: string } } }) => answer.error?.data.code === 'answer_too_large',
    );
    assert.ok(cut.length > 0 && cut.length < MAX_RPC_BATCH);
    // Pages of long texts are short, and lead on.
    const page = json[0].result;
    assert.ok(page.facts.length < 60 && page.cursor !== null);
    const seen = new Set<string>();
    for (let cursor: string | null = ''; cursor !== null; ) {
      const params: object = { limit: 500, relation: 'memory:role', ...(cursor === '' ? {} : { cursor }) };
      const { result } = (await rpc(call('fact.query', params))).json;
      for (const { id } of result.facts) seen.add(id);
      cursor = result.cursor;
    }
    assert.equal(seen.size, 61);
  });
});

import assert from 'node:assert/strict';
import { join } from 'node:path';
import { MAX_LIST_ITEMS, MAX_VALIDATION_ISSUES } from '../../../src/api/limits.ts';
import { endpoints } from '../../../src/api/operations/index.ts';
import { FactError, normalizeValue } from '../../../src/facts/index.ts';
import { NodeError } from '../../../src/node/errors.ts';
import type { AssertInput, FactQuery, ResolveInput } from '../../../src/node/types.ts';
import { StoreError } from '../../../src/store/store.ts';
import { Contract } from '../../conformance/contract.ts';
import { factView, start, stopAll } from './fakes.ts';

const contract = new Contract(join(import.meta.dirname, '../../conformance/data/stigmem-openapi-0.9.0a10.json'));

/** The 26 members of Stigmem's record, in its order. */
const RECORD =
  'id entity relation value source timestamp hlc received_from valid_until confidence scope attested_key_id ' +
  'origin_node_id origin_allowed_scopes garden_id attested contradicted warnings source_trust quarantine_status ' +
  'quarantine_garden_id effective_confidence sanitizer_warnings sanitizer_redacted cid derived_from';

const BODY = { entity: 'user:alice', relation: 'memory:role', value: { type: 'string', v: 'CEO' }, source: 'agent:x' };
const post = (body: unknown, headers: Record<string, string> = {}) => ({
  method: 'POST',
  path: '/v1/facts',
  body,
  headers,
});

describe('facts over HTTP', () => {
  afterEach(stopAll);

  async function asserting(view = factView(), init = {}) {
    const seen: { input: AssertInput; key: string | undefined }[] = [];
    const running = await start(
      {
        facts: {
          assert: async (_who, input, options) => {
            // As the node does: the value is checked there.
            normalizeValue(input.value.type, input.value.v);
            seen.push({ input, key: options?.idempotencyKey });
            return { fact: view, created: true, warnings: ['a warning'] };
          },
        },
      },
      init,
    );
    return { ...running, seen };
  }

  it('answers a record with every member of the contract, and ours', async () => {
    const view = factView(
      { value: { type: 'number', v: 42 } },
      { valid_until: '2030-01-01T00:00:00Z', garden_id: 'stigmem://acme.example/garden/g', basis: 'observed' },
    );
    const { send } = await asserting(view);
    const { status, json, headers } = await send(post(BODY));
    assert.equal(status, 201);
    assert.equal(headers['content-type'], 'application/json; charset=utf-8');
    contract.validate('POST', '/v1/facts', 201, json);
    assert.deepEqual(Object.keys(json).slice(0, 26), RECORD.split(' '));
    assert.deepEqual(json.value, { type: 'number', v: 42, interpret_as: 'content' });
    assert.equal(json.valid_until, '2030-01-01T00:00:00Z');
    assert.equal(json.garden_id, 'stigmem://acme.example/garden/g');
    assert.equal(json.cid, view.cid);
    assert.deepEqual(json.cid_aliases, [view.cidV1, view.stigmemCid]);
    assert.deepEqual(json.warnings, ['a warning']);
    assert.equal(json.created, true);
    assert.equal(json.statement_cid, json.id);
    assert.equal(json.signature, Buffer.alloc(64).toString('base64url'));
    assert.equal(json.basis, 'observed');
    assert.equal(json.received_from, null);
    assert.equal(json.origin_node_id, null);
  });

  it('names the origin of a fact that came from elsewhere', async () => {
    const { send } = await asserting(factView({}, {}, { receivedFrom: '12D3KooWpeer' }));
    const { json } = await send(post(BODY));
    assert.equal(json.received_from, '12D3KooWpeer');
    assert.equal(json.origin_node_id, json.origin);
  });

  it('puts Stigmem’s CID into cid under compat.cid = stigmem-0.9', async () => {
    const view = factView();
    const { send } = await asserting(view, { compatCid: 'stigmem-0.9' });
    const { json } = await send(post(BODY));
    assert.equal(json.cid, view.stigmemCid);
    assert.deepEqual(json.cid_aliases, [view.cidV1, view.cid]);
  });

  it('fills in the defaults of the contract and of the configuration, and ignores unknown members', async () => {
    const { send, seen } = await asserting(factView(), { defaultScope: 'team' });
    await send(post({ ...BODY, unknown: 1, constructor: 2 }, { 'idempotency-key': 'k-1', 'stigmem-session': ' s ' }));
    assert.deepEqual(seen, [
      {
        key: 'k-1',
        input: {
          ...BODY,
          value: { ...BODY.value, interpret_as: 'content' },
          confidence: 1,
          scope: 'team',
          derived_from: [],
          supersedes: [],
        },
      },
    ]);
    await send(
      post({ ...BODY, confidence: 0, scope: 'public', valid_until: null, garden_id: null, attestation: null }),
    );
    assert.equal(seen[1]?.input.confidence, 0);
    assert.equal(seen[1]?.input.scope, 'public');
  });

  it('refuses what does not validate as the contract says, member by member', async () => {
    const { send } = await asserting();
    const cases: [string, unknown, string, (string | number)[]][] = [
      ['missing', { ...BODY, entity: undefined }, 'missing', ['body', 'entity']],
      ['empty', { ...BODY, relation: '' }, 'string_too_short', ['body', 'relation']],
      ['type', { ...BODY, source: 5 }, 'string_type', ['body', 'source']],
      ['scope', { ...BODY, scope: 'universe' }, 'value_error', ['body', 'scope']],
      ['value type', { ...BODY, value: { type: 'bytes', v: '' } }, 'value_error', ['body', 'value', 'type']],
      ['value', { ...BODY, value: 5 }, 'object_type', ['body', 'value']],
      ['too sure', { ...BODY, confidence: 1.5 }, 'less_than_equal', ['body', 'confidence']],
      ['too unsure', { ...BODY, confidence: -0.1 }, 'greater_than_equal', ['body', 'confidence']],
      ['derived', { ...BODY, derived_from: ['x'] }, 'record_type', ['body', 'derived_from', 0]],
      ['mode', { ...BODY, write_mode: 'x' }, 'value_error', ['body', 'write_mode']],
      ['of its type', { ...BODY, value: { type: 'boolean', v: 'true' } }, 'invalid_value', ['body', 'value', 'v']],
      ['a list', [BODY], 'object_type', ['body']],
      ['nothing', undefined, 'missing', ['body']],
    ];
    for (const [name, body, type, loc] of cases) {
      const { status, json, headers } = await send(post(body));
      assert.equal(status, 422, name);
      assert.equal(headers['content-type'], 'application/problem+json; charset=utf-8');
      contract.validate('POST', '/v1/facts', 422, json);
      assert.deepEqual([json.detail[0].type, json.detail[0].loc], [type, loc], name);
    }
  });

  it('refuses bodies that are not strict JSON with 422 json_invalid', async () => {
    const { send } = await asserting();
    const text = JSON.stringify(BODY);
    for (const body of [
      '{',
      `${text.slice(0, -1)},"entity":"user:bob"}`,
      '{"__proto__":{}}',
      '[',
      Buffer.from([0xff]),
    ]) {
      const answer = await send({ ...post(body), headers: { 'content-type': 'application/json' } });
      assert.equal(answer.status, 422);
      assert.equal(answer.json.detail[0].type, 'json_invalid');
      contract.validate('POST', '/v1/facts', 422, answer.json);
    }
    const charset = await send({ ...post(text), headers: { 'content-type': 'Application/JSON; charset=utf-8' } });
    assert.equal(charset.status, 201);
  });

  it('maps what the node refuses', async () => {
    const cases: [Error, number, unknown][] = [
      [
        new FactError('invalid_entity_uri', 'empty authority', 'h', 'entity'),
        400,
        'invalid_entity_uri: empty authority',
      ],
      [new FactError('text_too_large', 'too long', 'h', 'value.v'), 413, 'too long'],
      [new NodeError('garden_not_found', 'x', 'h'), 404, 'garden not found'],
      [new NodeError('garden_forbidden', 'not a member of this garden', 'h'), 403, 'not a member of this garden'],
      [new NodeError('garden_scope_mismatch', 'scope mismatch', 'h'), 422, 'scope mismatch'],
      [new NodeError('foreign_supersedes', 'foreign', 'h'), 409, 'foreign'],
      [new NodeError('idempotency_mismatch', 'other body', 'h'), 409, 'other body'],
      [new NodeError('busy', 'later', 'h'), 503, 'later'],
      [new StoreError('store_full', 'no space', 'h'), 507, 'no space'],
      [new Error('bug'), 500, 'internal error'],
    ];
    for (const [error, status, detail] of cases) {
      const { send } = await start({ facts: { assert: () => Promise.reject(error) } });
      const answer = await send(post(BODY));
      assert.deepEqual([answer.status, answer.json.detail], [status, detail]);
    }
  });

  it('refuses attestations, long sessions and long idempotency keys', async () => {
    const { send, seen } = await asserting();
    const attested = await send(post({ ...BODY, attestation: { key_id: 'k1', signature: 's' } }));
    assert.deepEqual([attested.status, attested.json.detail], [400, "attestation.key_id 'k1' not found"]);
    const session = await send(post(BODY, { 'stigmem-session': 'x'.repeat(129) }));
    assert.deepEqual([session.status, session.json.detail], [400, 'session_id_too_long']);
    assert.equal((await send(post(BODY, { 'stigmem-session': ` ${'x'.repeat(128)} ` }))).status, 201);
    assert.equal((await send(post(BODY, { 'idempotency-key': 'x'.repeat(256) }))).status, 422);
    assert.equal(seen.length, 1);
  });

  it('passes every filter of a query on, in the node’s words', async () => {
    const seen: FactQuery[] = [];
    const { send } = await start({
      facts: {
        query: async (_who, query) => {
          seen.push(query);
          return { facts: [factView(), factView()], cursor: 'next', head: 'head' };
        },
      },
    });
    const value = encodeURIComponent('{"type":"number","v":4.5}');
    const answer = await send({
      path:
        `/v1/facts?entity=user%3Aalice&relation=a&relation_prefix=m:&source=s&scope=team&origin=o&value=${value}` +
        '&garden_id=g&min_confidence=0.5&include_contradicted=YES&include_expired=1&include=history,%20losing' +
        '&after=a1&cursor=c1&limit=7&include_low_trust=off&unknown=x',
    });
    assert.equal(answer.status, 200);
    assert.deepEqual(seen[0], {
      entity: 'user:alice',
      relation: 'a',
      relationPrefix: 'm:',
      source: 's',
      scope: 'team',
      origin: 'o',
      value: { type: 'number', v: 4.5 },
      garden: 'g',
      minConfidence: 0.5,
      include: ['history', 'losing', 'expired'],
      after: 'a1',
      cursor: 'c1',
      limit: 7,
    });
    contract.validate('GET', '/v1/facts', 200, answer.json);
    assert.deepEqual([answer.json.total, answer.json.cursor, answer.json.head], [2, 'next', 'head']);
    assert.equal(answer.headers['x-total-count'], '2');
    await send({ path: '/v1/facts/' });
    assert.deepEqual([seen[1]?.limit, seen[1]?.include, seen[1]?.minConfidence], [50, [], 0]);
    assert.deepEqual((await send({ path: '/v1/facts?attested=true' })).json.facts, []);
  });

  it('refuses queries it cannot answer', async () => {
    const { send } = await start({ facts: { query: () => assert.fail('reached the node') } });
    const cases: [string, number][] = [
      ['scope=universe', 400],
      ['as_of=2026-01-01T00:00:00Z', 400],
      ['limit=0', 422],
      ['limit=501', 422],
      ['limit=ten', 422],
      ['limit=1.5', 422],
      ['limit=', 422],
      ['include_expired=maybe', 422],
      ['include=everything', 422],
      ['min_confidence=2', 422],
      ['entity=', 422],
      ['entity=a&entity=b', 422],
      ['value=CEO', 422],
      ['value=%7B%22type%22%3A%22number%22%2C%22v%22%3A%22x%22%7D', 422],
      ['value=%7B%22type%22%3A%22string%22%2C%22type%22%3A%22string%22%7D', 422],
    ];
    for (const [query, status] of cases) {
      const answer = await send({ path: `/v1/facts?${query}` });
      assert.equal(answer.status, status, query);
      if (status === 422) contract.validate('GET', '/v1/facts', 422, answer.json);
    }
    const scope = await send({ path: '/v1/facts?scope=universe' });
    assert.match(scope.json.detail, /^scope must be one of local, team, company, public$/);
  });

  it('takes the name of a fact raw or percent-encoded, with or without a trailing slash', async () => {
    const seen: string[] = [];
    const view = factView();
    const { send } = await start({
      facts: {
        get: async (_who, id) => {
          seen.push(id);
          return { fact: view, claim: { statements: 3, origins: 2 } };
        },
        provenance: async (_who, id) => {
          seen.push(id);
          return { fact: view, derivedFrom: [{ hash: '', factId: null, entity: null, exists: false }] };
        },
        verifyCid: async (_who, id) => {
          seen.push(id);
          return {
            cidValid: true,
            computedCid: view.cid,
            storedCid: view.cid,
            mismatchReason: null,
            signatureValid: true,
            statementCid: view.id,
          };
        },
      },
    });
    const sha = `sha256:${'0'.repeat(64)}`;
    for (const name of [view.id, sha, encodeURIComponent(sha), sha.replace(':', '%3a')]) {
      const one = await send({ path: `/v1/facts/${name}` });
      contract.validate('GET', '/v1/facts/x', 200, one.json);
      assert.deepEqual(one.json.claim, { statements: 3, origins: 2 });
      const provenance = await send({ path: `/v1/facts/${name}/provenance/` });
      contract.validate('GET', '/v1/facts/x/provenance', 200, provenance.json);
      assert.equal(provenance.json.fact_id, view.id);
      const verified = await send({ method: 'POST', path: `/v1/facts/${name}/verify-cid`, body: { ignored: true } });
      contract.validate('POST', '/v1/facts/x/verify-cid', 200, verified.json);
      assert.equal(verified.json.signature_valid, true);
    }
    assert.deepEqual([...new Set(seen)], [view.id, sha]);
  });

  it('tells malformed names from unknown ones', async () => {
    const { send } = await start({ facts: { get: () => Promise.reject(new NodeError('fact_not_found', 'x', 'h')) } });
    for (const name of ['sha256:', 'sha256:xyz', `sha256:${'A'.repeat(64)}`, `sha256:${'0'.repeat(65)}`]) {
      const answer = await send({ path: `/v1/facts/${name}` });
      assert.equal(answer.status, 400, name);
      assert.deepEqual(answer.json.detail, {
        code: 'cid_malformed',
        message: "CID must be 'sha256:' followed by 64 hex chars",
      });
    }
    const names = ['145f4776-0000-4000-8000-000000000000', 'batch', '..', factView().id, `sha256:${'0'.repeat(64)}`];
    for (const name of names) {
      const answer = await send({ path: `/v1/facts/${name}` });
      assert.equal(answer.status, name === 'batch' ? 405 : 404, name);
      if (name !== '..' && name !== 'batch') assert.equal(answer.json.detail, 'fact not found');
    }
  });

  it('reports a batch item by item, and refuses one that is too long', async () => {
    const { send } = await start(
      {
        facts: {
          assertBatch: async (_who, input) => ({
            accepted: 1,
            rejected: 1,
            replayed: input.idempotencyKey === 'again',
            items: [
              { status: 'created', factId: 'bag1', warnings: ['w'] },
              { status: 'error', error: { code: 'invalid_value', message: 'm', hint: 'h' } },
            ],
          }),
        },
      },
      { batchFacts: 2 },
    );
    const batch = (body: object, headers: Record<string, string> = {}) =>
      send({ method: 'POST', path: '/v1/facts/batch', body, headers });
    const answer = await batch({ facts: [BODY, BODY], idempotency_key: 'again' });
    assert.deepEqual(answer.json, {
      accepted: 1,
      rejected: 1,
      results: [
        { index: 0, status: 'created', fact_id: 'bag1', warnings: ['w'], error: null },
        {
          index: 1,
          status: 'error',
          fact_id: null,
          warnings: [],
          error: { code: 'invalid_value', message: 'm', hint: 'h' },
        },
      ],
      replayed: true,
    });
    const header = await batch({ facts: [BODY], idempotency_key: 'no' }, { 'idempotency-key': 'again' });
    assert.equal(header.json.replayed, true, 'the header goes before the member');
    const long = await batch({ facts: [BODY, BODY, BODY] });
    assert.deepEqual([long.status, long.json.code], [413, 'batch_too_large']);
    const second = await batch({ facts: [BODY, { ...BODY, scope: 'x' }] });
    assert.deepEqual(second.json.detail[0].loc, ['body', 'facts', 1, 'scope']);
    assert.equal((await batch({ facts: [] })).status, 422);
  });

  it('refuses lists too long for any use at once, and names the first problems of a long one only', async () => {
    const { send } = await start({}, { bodyLimit: 1024 * 1024 });
    const batch = (facts: unknown[]) => send({ method: 'POST', path: '/v1/facts/batch', body: { facts } });
    const long = await batch(Array(MAX_LIST_ITEMS + 1).fill({}));
    assert.deepEqual([long.status, long.json.code], [413, 'batch_too_large']);
    const wrong = await batch(Array(MAX_LIST_ITEMS).fill({}));
    assert.deepEqual([wrong.status, wrong.json.detail.length], [422, MAX_VALIDATION_ISSUES]);
  });

  it('resolves conflicts by their raw id, colons and all', async () => {
    const seen: [string, ResolveInput][] = [];
    const { send } = await start({
      conflicts: {
        list: async () => ({
          conflicts: [
            {
              id: 'stigmem:conflict:1',
              factA: factView(),
              factB: factView(),
              status: 'unresolved',
              resolvedBy: null,
              resolutions: [],
              detectedAt: 0,
            },
          ],
          cursor: 'more',
        }),
        resolve: async (_who, id, input) => {
          seen.push([id, input]);
          return { resolutionId: 'bagres', winningFactId: 'bagwin' };
        },
      },
    });
    const page = await send({ path: '/v1/conflicts?status=unresolved' });
    contract.validate('GET', '/v1/conflicts', 200, page.json);
    assert.deepEqual([page.json.has_more, page.json.cursor, page.json.total], [true, 'more', 1]);
    assert.equal(page.json.conflicts[0].detected_at, '1970-01-01T00:00:00.000Z');
    assert.equal((await send({ path: '/v1/conflicts?status=maybe' })).status, 422);

    for (const id of ['stigmem:conflict:1', 'stigmem%3Aconflict%3A1']) {
      const answer = await send({
        method: 'POST',
        path: `/v1/conflicts/${id}/resolve`,
        body: { winning_fact_id: 'x' },
      });
      assert.deepEqual(answer.json, {
        resolution_fact_id: 'bagres',
        conflict_status: 'resolved',
        winning_fact_id: 'bagwin',
      });
    }
    assert.deepEqual(seen[0], ['stigmem:conflict:1', { winning_fact_id: 'x', resolution_note: '' }]);
    assert.deepEqual(seen[1], seen[0]);
  });

  it('answers 405 with Allow where a path exists with another method, and 404 where none does', async () => {
    const { send } = await start();
    const methods = Map.groupBy(endpoints, ({ path }) => path);
    for (const [path, of] of methods) {
      const concrete = path.replace('{entity_uri*}', 'user:a').replace(/\{\w+\}/g, 'x');
      for (const method of ['GET', 'HEAD', 'POST', 'PUT', 'PATCH', 'DELETE', 'OPTIONS']) {
        if (of.some((endpoint) => endpoint.method === method)) continue;
        const answer = await send({ method, path: concrete });
        assert.equal(answer.status, 405, `${method} ${path}`);
        assert.equal(answer.headers.allow, of.map((endpoint) => endpoint.method).join(', '));
        if (method !== 'HEAD') assert.equal(answer.json.detail, 'Method Not Allowed');
        if (['HEAD', 'GET', 'OPTIONS'].includes(method)) continue;
        // Whatever its body is.
        const headers = { 'content-type': 'text/plain' };
        assert.equal((await send({ method, path: concrete, headers, body: 'x' })).status, 405, `${method} ${path}`);
      }
    }
    for (const path of ['/v1/recall', '/v1/federation/facts', '/v2/facts', '/v1/facts//x', '/V1/facts']) {
      const answer = await send({ path });
      assert.deepEqual([answer.status, answer.json.detail], [404, 'Not Found'], path);
    }
  });
});

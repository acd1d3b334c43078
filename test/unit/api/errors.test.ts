import assert from 'node:assert/strict';
import { ApiError, ERRORS, isErrorCode } from '../../../src/api/errors.ts';
import { detailText, problemOf } from '../../../src/api/problem.ts';
import { FactError } from '../../../src/facts/index.ts';
import { NodeError } from '../../../src/node/errors.ts';
import { StoreError } from '../../../src/store/store.ts';

const entries = Object.entries(ERRORS);

describe('error table', () => {
  it('gives every code a JSON-RPC number of its own', () => {
    const numbers = entries.map(([, { rpc }]) => rpc);
    assert.equal(new Set(numbers).size, numbers.length);
    for (const [code, { rpc }] of entries) {
      const standard = [-32700, -32602, -32603, -32601].includes(rpc);
      const ours = (rpc <= -32000 && rpc >= -32099) || (rpc <= -31000 && rpc >= -31099);
      assert.ok(standard || ours, `${code} ${rpc}`);
    }
  });

  it('knows only statuses of refusals, and a title for each', () => {
    for (const [code, { status, title }] of entries) {
      assert.ok(status >= 400 && status <= 507, code);
      assert.ok(title.length > 5, code);
      assert.match(code, /^[a-z0-9]+(_[a-z0-9]+)*$/);
    }
    assert.equal(isErrorCode('fact_not_found'), true);
    assert.equal(isErrorCode('constructor'), false);
    assert.equal(isErrorCode(undefined), false);
  });
});

describe('problems', () => {
  it('carry type, title, status, code, hint and Stigmem’s detail', () => {
    const { problem, headers } = problemOf(new NodeError('garden_exists', 'the slug g1 is taken', 'choose another'));
    assert.deepEqual(problem, {
      type: '/docs/errors#garden_exists',
      title: 'The slug is taken',
      status: 409,
      code: 'garden_exists',
      hint: 'choose another',
      detail: 'slug already exists',
    });
    assert.deepEqual(headers, {});
  });

  it('use the texts that clients of Stigmem know', () => {
    const detail = (error: Error) => problemOf(error).problem.detail;
    assert.equal(detail(new NodeError('fact_not_found', 'x', 'h')), 'fact not found');
    assert.equal(detail(new NodeError('conflict_resolved', 'x', 'h')), 'conflict already resolved');
    assert.equal(
      detail(new NodeError('permission_denied', 'write permission required', 'h')),
      'write permission required',
    );
    assert.deepEqual(detail(new NodeError('instruction_write_required', 'needs it', 'h')), {
      code: 'instruction_write_required',
      message: 'needs it',
    });
    assert.equal(
      detail(new FactError('invalid_entity_uri', 'entity URI must not be empty', 'h', 'entity')),
      'invalid_entity_uri: entity URI must not be empty',
    );
    assert.equal(
      detail(new FactError('invalid_entity_uri', 'invalid_entity_uri: once', 'h')),
      'invalid_entity_uri: once',
    );
  });

  it('turn a fact that does not validate into the contract’s list', () => {
    const error = new FactError('invalid_value', 'v is not a boolean', 'send true', 'value.v');
    assert.deepEqual(problemOf(error, 'body').problem.detail, [
      { type: 'invalid_value', loc: ['body', 'value', 'v'], msg: 'Value error, v is not a boolean' },
    ]);
    assert.equal(problemOf(error, 'query').problem.status, 422);
    assert.equal(detailText(problemOf(error).problem), 'body.value.v: Value error, v is not a boolean');
  });

  it('map the store: full disk 507, closed 503 with Retry-After, damage 500 and to be logged', () => {
    const of = (code: ConstructorParameters<typeof StoreError>[0]) => problemOf(new StoreError(code, 'm', 'h'));
    assert.equal(of('store_full').problem.status, 507);
    assert.equal(of('store_io').problem.status, 507);
    assert.equal(of('store_closed').problem.status, 503);
    assert.equal(of('store_closed').headers['retry-after'], '1');
    assert.equal(of('store_corrupt').unexpected, true);
    assert.equal(of('store_full').unexpected, false);
  });

  it('answer an error of any room that has a code of the table and a hint', () => {
    const error = Object.assign(new Error('the invite ran out'), { code: 'invite_expired', hint: 'ask for another' });
    const { problem, unexpected } = problemOf(error);
    assert.deepEqual(
      [problem.status, problem.code, problem.hint, problem.detail],
      [403, 'invite_expired', 'ask for another', 'the invite ran out'],
    );
    assert.equal(unexpected, false);
  });

  it('ask nobody to try again what waiting does not mend', () => {
    assert.equal(problemOf(new NodeError('mesh_disabled', 'm', 'h')).headers['retry-after'], undefined);
    assert.equal(problemOf(new NodeError('peer_unreachable', 'm', 'h')).headers['retry-after'], '1');
  });

  it('say nothing about errors that are not ours', () => {
    const coded = Object.assign(new Error('secret path'), { code: 'fact_not_found' });
    for (const thrown of [new Error('secret path /home'), 'text', null, { code: 'fact_not_found', hint: 'h' }, coded]) {
      const { problem, unexpected } = problemOf(thrown);
      assert.equal(problem.code, 'internal_error');
      assert.equal(problem.status, 500);
      assert.doesNotMatch(JSON.stringify(problem), /secret/);
      assert.equal(unexpected, true);
    }
  });

  it('carry headers and members of an API error', () => {
    const error = new ApiError('rate_limited', 'm', 'h', {
      headers: { 'retry-after': '7' },
      members: { error: 'quota_exceeded' },
    });
    const { problem, headers } = problemOf(error);
    assert.equal(problem.error, 'quota_exceeded');
    assert.equal(headers['retry-after'], '7');
    assert.equal(problemOf(new ApiError('api_key_invalid', 'm', 'h')).headers['www-authenticate'], 'Bearer');
  });
});

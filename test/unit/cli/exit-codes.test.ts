import assert from 'node:assert/strict';
import { ERRORS } from '../../../src/api/errors.ts';
import { CliError, ProblemError, reportOf } from '../../../src/cli/errors.ts';
import { EXIT, EXIT_MEANINGS, exitCodeOf } from '../../../src/cli/exit-codes.ts';

describe('cli: exit codes', () => {
  it('are the ones scripts rely on', () => {
    assert.deepEqual(EXIT, { ok: 0, failed: 1, usage: 2, notRunning: 3, notFound: 4, refused: 5, timedOut: 6 });
    assert.deepEqual(Object.keys(EXIT_MEANINGS).map(Number), Object.values(EXIT));
  });

  const expected = {
    [EXIT.notFound]: [
      'fact_not_found',
      'conflict_not_found',
      'garden_not_found',
      'member_not_found',
      'key_not_found',
      'job_not_found',
      'route_not_found',
      'peer_not_found',
      'invite_not_found',
      'manifest_not_found',
      'node_not_listed',
    ],
    [EXIT.refused]: [
      'permission_denied',
      'instruction_write_required',
      'scope_denied',
      'reserved_entity',
      'garden_forbidden',
      'last_admin',
      'unknown_origin',
      'authorization_required',
      'api_key_invalid',
      'auth_throttled',
      'rate_limited',
      'host_forbidden',
      'origin_forbidden',
      'peer_refused',
      'private_address',
      'invite_spent',
      'invite_expired',
      'not_owner',
    ],
    [EXIT.timedOut]: ['request_timeout', 'peer_timeout'],
    [EXIT.notRunning]: ['stopping'],
    [EXIT.usage]: [
      'invalid_entity_uri',
      'invalid_relation',
      'invalid_value',
      'validation_failed',
      'invalid_cursor',
      'invalid_query',
      'cid_malformed',
    ],
    [EXIT.failed]: [
      'conflict_resolved',
      'idempotency_mismatch',
      'garden_exists',
      'limit_reached',
      'batch_too_large',
      'text_too_large',
      'busy',
      'store_full',
      'mesh_disabled',
      'peer_exists',
      'peer_unreachable',
      'internal_error',
    ],
  };
  for (const [exit, codes] of Object.entries(expected)) {
    it(`maps to ${exit} (${EXIT_MEANINGS[Number(exit) as 0]})`, () => {
      for (const code of codes) {
        const { status } = ERRORS[code as keyof typeof ERRORS];
        assert.equal(exitCodeOf({ code, status }), Number(exit), code);
      }
    });
  }

  it('map every code of the daemon that says 401, 403 or 404 alike', () => {
    for (const [code, { status }] of Object.entries(ERRORS)) {
      if (status === 401 || status === 403) assert.equal(exitCodeOf({ code, status }), EXIT.refused, code);
      if (status === 404) assert.equal(exitCodeOf({ code, status }), EXIT.notFound, code);
      if (status >= 500 && code !== 'stopping' && status !== 504)
        assert.equal(exitCodeOf({ code, status }), EXIT.failed, code);
    }
  });

  it('map what the command line itself runs into', () => {
    assert.equal(exitCodeOf({ code: 'usage' }), EXIT.usage);
    assert.equal(exitCodeOf({ code: 'daemon_not_running' }), EXIT.notRunning);
    assert.equal(exitCodeOf({ code: 'daemon_timeout' }), EXIT.timedOut);
    assert.equal(exitCodeOf({ code: 'key_unusable' }), EXIT.refused);
    assert.equal(exitCodeOf({ code: 'nothing_found' }), EXIT.notFound);
    assert.equal(exitCodeOf({ code: 'home_locked' }), EXIT.failed);
    assert.equal(exitCodeOf({}), EXIT.failed);
    assert.equal(exitCodeOf({ code: 'constructor' }), EXIT.failed);
  });
});

describe('cli: reports of errors', () => {
  it('keep code, hint, status and causes of our own', () => {
    const cause = new Error('inner', { cause: new Error('innermost') });
    assert.deepEqual(reportOf(new CliError('usage', 'what', 'do', { cause })), {
      code: 'usage',
      message: 'what',
      hint: 'do',
      causes: ['inner', 'innermost'],
    });
    const problem = new ProblemError({ code: 'busy', message: 'm', hint: 'h', status: 503 });
    assert.deepEqual(reportOf(problem), { code: 'busy', message: 'm', hint: 'h', status: 503, causes: [] });
  });

  it('have a hint for what the system refuses', () => {
    const error = Object.assign(new Error('EACCES: permission denied'), { code: 'EACCES' });
    assert.deepEqual(reportOf(error).code, 'eacces');
    assert.match(reportOf(error).hint, /permissions/);
    assert.equal(reportOf(error).stack, undefined);
  });

  it('say who was denied access, also where one of our errors has that for its cause', () => {
    const denied = Object.assign(new Error('EACCES: permission denied'), { code: 'EACCES' });
    const ours = new CliError('usage', 'what', 'do', { cause: new Error('between', { cause: denied }) });
    for (const error of [denied, ours]) {
      assert.match(reportOf(error, 10001).hint, /; this process runs as uid 10001$/);
      assert.doesNotMatch(reportOf(error).hint, /uid/);
    }
    const full = Object.assign(new Error('ENOSPC: no space left on device'), { code: 'ENOSPC' });
    assert.doesNotMatch(reportOf(full, 10001).hint, /uid/);
  });

  it('say so when nobody expected it', () => {
    const report = reportOf(new RangeError('oops'));
    assert.equal(report.code, 'unexpected');
    assert.match(report.stack ?? '', /RangeError: oops/);
    assert.equal(reportOf('text').message, 'text');
  });

  it('stop at three causes', () => {
    let error = new Error('0');
    for (let depth = 1; depth < 10; depth++) error = new Error(String(depth), { cause: error });
    assert.equal(reportOf(error).causes.length, 3);
  });
});

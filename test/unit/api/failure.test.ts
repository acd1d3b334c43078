import assert from 'node:assert/strict';
import { failureDetails } from '../../../src/api/failure.ts';
import { StoreError } from '../../../src/store/store.ts';

function thrownBy(run: () => unknown): unknown {
  try {
    run();
  } catch (error) {
    return error;
  }
  return assert.fail('nothing was thrown');
}

describe('what the log learns of a failure', () => {
  it('is its kind, its code, its reason and where it came from', () => {
    const { at, ...rest } = failureDetails(new StoreError('store_io', 'the store failed', 'check')) as { at: string[] };
    assert.deepEqual(rest, { type: 'StoreError', code: 'store_io', reason: 'the store failed' });
    assert.match(at[0]!, /^at .*failure\.test\.ts/);
    assert.ok(at.length <= 12);
  });

  it('is nothing of what an error of the runtime quotes, whatever that looks like', () => {
    for (const text of ['secret-canary', '{\n   at canary (secret.ts:1:1)\n}', '\n    at canary\n    at canary']) {
      const error = thrownBy(() => JSON.parse(text));
      const told = JSON.stringify(failureDetails(error));
      assert.doesNotMatch(told, /canary/);
      assert.match(told, /"type":"SyntaxError".*"at JSON\.parse/);
    }
    assert.deepEqual(failureDetails('canary'), { type: 'string' });
  });
});

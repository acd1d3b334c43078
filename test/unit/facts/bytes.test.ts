import assert from 'node:assert/strict';
import { ownCopy } from '../../../src/facts/index.ts';

describe('bytes kept for long', () => {
  it('have memory of their own, of which nothing else is left over', () => {
    const pooled = Buffer.from('0123456789abcdef');
    assert.ok(pooled.buffer.byteLength > pooled.length, 'Node takes it from a common block');
    const own = ownCopy(pooled);
    assert.deepEqual(own, pooled);
    assert.equal(own.buffer.byteLength, own.length);
    pooled[0] = 0;
    assert.equal(own[0], '0'.charCodeAt(0));
  });
});

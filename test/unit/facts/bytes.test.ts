import assert from 'node:assert/strict';
import { ownCopy } from '../../../src/facts/index.ts';
import { Outbox } from '../../../src/mesh/outbox.ts';
import { KeyState } from '../../../src/node/view-table.ts';
import { SetIndex } from '../../../src/sync/set-index.ts';
import { commit } from '../../support/mesh-parts.ts';

/** Bytes that stay in memory as long as these do. */
const retained = (bytes: Uint8Array): number => bytes.buffer.byteLength;

describe('bytes kept for long', () => {
  it('have memory of their own, of which nothing else is left over', () => {
    const pooled = Buffer.from('0123456789abcdef');
    assert.ok(retained(pooled) > 1000, 'Node takes it from a common block');
    const own = ownCopy(pooled);
    assert.deepEqual(own, pooled);
    assert.equal(retained(own), own.length);
    pooled[0] = 0;
    assert.equal(own[0], '0'.charCodeAt(0));
  });

  it('are those of keys of the view, of sets, and of what waits for peers', () => {
    const state = new KeyState({ entity: 'user:alice', relation: 'memory:role', scope: 'team', garden: undefined });
    const k = Buffer.from(state.k);
    state.keep();
    assert.deepEqual(state.k, k);
    assert.equal(retained(state.k), k.length);
    const { head } = new SetIndex('public/acme.example/memory');
    assert.equal(retained(head), head.length);
    const outbox = new Outbox();
    const { set, digest, receivedFrom } = commit(1);
    const statements = ['first', 'the second'].map((text) => ({
      bytes: Buffer.from(text),
      sig: Buffer.alloc(64, text),
    }));
    outbox.append([
      ...statements.map((statement) => ({ set, digest, receivedFrom, statement, gossiped: false })),
      { set, digest, receivedFrom: 'a peer', statement: null, gossiped: true },
    ]);
    const kept = [0, 1, 2].map((at) => outbox.at(at)!.statement);
    assert.deepEqual(kept, [...statements, null]);
    assert.equal(retained(kept[0]!.bytes), 'firstthe second'.length + 2 * 64);
  });
});

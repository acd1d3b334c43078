import assert from 'node:assert/strict';
import { NodeError } from '../../../src/node/errors.ts';
import { MAX_NAMESPACES } from '../../../src/node/mesh-limits.ts';
import type { AssertInput } from '../../../src/node/types.ts';
import { assertSound } from '../../support/soundness.ts';
import { fact, openTestNode, refuses, type TestNode, who } from '../../support/test-node.ts';

describe('a batch of which the node refuses a part when it has begun with it', () => {
  let t: TestNode;

  const inNamespace = (n: number): AssertInput =>
    fact({ relation: `topic${n}:is`, entity: `stigmem://acme.example/thing/${n}`, scope: 'public' });
  /** The first three fit, the rest does not. */
  const tooMany = Array.from({ length: 5 }, (_, n) => inNamespace(MAX_NAMESPACES - 3 + n));

  beforeEach(async () => {
    t = await openTestNode({ maxBatch: MAX_NAMESPACES });
    const facts = Array.from({ length: MAX_NAMESPACES - 3 }, (_, n) => inNamespace(n));
    await t.node.facts.assertBatch(who, { facts, atomic: true });
  });

  afterEach(() => t.node.stop());

  it('is written but for that part', async () => {
    const { items, accepted, rejected } = await t.node.facts.assertBatch(who, { facts: tooMany, atomic: false });
    assert.deepEqual([accepted, rejected], [3, 2]);
    assert.deepEqual(
      items.map((item) => (item.status === 'error' ? item.error.code : item.status)),
      ['created', 'created', 'created', 'too_many_namespaces', 'too_many_namespaces'],
    );
  });

  it('is not written at all where it is atomic, and hinders nobody who writes at the same moment', async () => {
    const { facts } = t.node;
    const before = facts.assert(who, fact({ v: 'before', relation: 'topic1:is' }), { idempotencyKey: 'k' });
    const batch = assert.rejects(
      facts.assertBatch(who, { facts: tooMany, atomic: true }),
      refuses('too_many_namespaces'),
    );
    const after = facts.assert(who, fact({ v: 'after', relation: 'topic2:is' }));
    assert.deepEqual([(await before).created, (await after).created], [true, true]);
    await batch;
    assert.equal(t.node.readiness().ready, true);
    const found = await facts.query(who, { limit: 1, entity: tooMany[0]!.entity });
    assert.deepEqual(found.facts, []);
    const again = await facts.assert(who, fact({ v: 'before', relation: 'topic1:is' }), { idempotencyKey: 'k' });
    assert.equal(again.fact.id, (await before).fact.id);
    await t.node.stop();
    const { log } = await assertSound(t.store, () => t.reopen());
    assert.equal(log.size, MAX_NAMESPACES - 3 + 2);
  });

  it('does not keep others waiting, however many of them there are', async () => {
    const { writer } = t.node;
    let prepared = 0;
    let written = false;
    let refusedBefore = 0;
    const good = async (): Promise<void> => {
      await writer.submit(1, (group) => {
        prepared += 1;
        group.audit({ type: 'test', who });
      });
      written = true;
    };
    const bad = async (): Promise<void> => {
      const halfWay = writer.submit(1, (group) => {
        group.audit({ type: 'test', who });
        throw new NodeError('too_many_namespaces', 'no', 'no');
      });
      await assert.rejects(halfWay, refuses('too_many_namespaces'));
      if (!written) refusedBefore += 1;
    };
    await Promise.all([good(), ...Array.from({ length: 50 }, bad)]);
    assert.deepEqual([prepared, refusedBefore], [2, 1]);
  });
});

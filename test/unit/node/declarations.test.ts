import assert from 'node:assert/strict';
import { setImmediate as nextTurn } from 'node:timers/promises';
import { MAX_RECOMPUTE_SLICE } from '../../../src/node/limits.ts';
import * as keys from '../../../src/store/keys.ts';
import { MemoryStore } from '../../../src/store/memory/memory-store.ts';
import type { StoreOp } from '../../../src/store/store.ts';
import { FaultyStore } from '../../support/faulty-store.ts';
import { assertSound } from '../../support/soundness.ts';
import { fact, openTestNode, type TestNode, who } from '../../support/test-node.ts';

/** A store whose batches wait where a test wants them to. */
class GatedStore extends MemoryStore {
  gate: (ops: readonly StoreOp[]) => Promise<void> | undefined = () => undefined;

  override async batch(ops: readonly StoreOp[], options: { readonly durable: boolean }): Promise<void> {
    await this.gate(ops);
    await super.batch(ops, options);
  }
}

/** A relation is multi-valued as long as its authority declares so, and no longer. */
describe('node: declarations of cardinality', () => {
  let t: TestNode;

  beforeEach(async () => {
    t = await openTestNode();
    for (const v of ['tea', 'rum']) await t.node.facts.assert(who, fact({ v, relation: 'memory:likes' }));
  });

  const about = { entity: 'stigmem://acme.example/relation/memory:likes', relation: 'stigmem:cardinality' };
  const likes = async (): Promise<number> => {
    await t.node.settled();
    return (await t.node.facts.query(who, { limit: 9, relation: 'memory:likes' })).facts.length;
  };
  const sound = async (): Promise<void> => {
    await t.node.stop();
    await assertSound(t.store, () => t.reopen());
  };

  it('end when another fact supersedes them', async () => {
    const { fact: declared } = await t.node.facts.assert(who, fact({ ...about, v: 'many' }));
    assert.equal(await likes(), 2);
    await t.node.facts.assert(who, fact({ entity: 'user:other', v: 'x', supersedes: [declared.id] }));
    assert.equal(await likes(), 1);
    await sound();
  });

  it('end when they expire, by their own word or by a stigmem:ttl', async () => {
    const valid_until = new Date(t.clock.ms + 1000).toISOString();
    await t.node.facts.assert(who, fact({ ...about, v: 'many', valid_until }));
    assert.equal(await likes(), 2);
    t.clock.advance(1000);
    assert.equal(await likes(), 1);
    const { fact: again } = await t.node.facts.assert(who, fact({ ...about, v: 'many' }));
    assert.equal(await likes(), 2);
    const ttl = { entity: `fact:${again.id}`, relation: 'stigmem:ttl', type: 'number', v: 2 };
    await t.node.facts.assert(who, fact(ttl));
    assert.equal(await likes(), 2);
    t.clock.advance(2000);
    assert.equal(await likes(), 1);
    await sound();
  });

  it('count while any of them stands, by whatever name and in whatever scope the relation is declared', async () => {
    const informal = { entity: 'relation:memory:likes', relation: 'stigmem:cardinality' };
    await t.node.facts.assert(who, fact({ ...about, v: 'many' }));
    await t.node.facts.assert(who, fact({ ...informal, v: 'many', scope: 'public' }));
    await t.node.facts.assert(who, fact({ ...informal, v: 'one' }));
    assert.equal(await likes(), 2);
    await t.node.facts.assert(who, fact({ ...about, v: 'one' }));
    assert.equal(await likes(), 2);
    const again = await t.reopen();
    assert.equal((await again.facts.query(who, { limit: 9, relation: 'memory:likes' })).facts.length, 2);
    await again.stop();
    await t.node.facts.assert(who, fact({ ...informal, v: 'one', scope: 'public' }));
    assert.equal(await likes(), 1);
    await t.node.facts.assert(who, fact({ ...about, v: 'many', scope: 'team' }));
    await t.node.facts.assert(who, fact({ ...about, v: 'one', scope: 'public' }));
    assert.equal(await likes(), 2);
    await sound();
  });

  it('take an expiry that is moved: one row a statement, at its newest instant', async () => {
    const { fact: one } = await t.node.facts.assert(who, fact({ v: 'x', entity: 'user:x' }));
    const ttl = (v: number) => fact({ entity: `fact:${one.id}`, relation: 'stigmem:ttl', type: 'number', v });
    for (const seconds of [10, 100, 50]) {
      t.clock.advance(1);
      await t.node.facts.assert(who, ttl(seconds));
    }
    const state = async () => (await t.node.facts.get(who, one.id)).fact.state;
    t.clock.advance(20_000);
    assert.equal(await state(), 'current');
    t.clock.advance(30_000);
    assert.equal(await state(), 'expired');
    await sound();
  });

  it('made by the hundred are forgotten together: one write for many, and nothing is left to do', async () => {
    const store = new FaultyStore(new MemoryStore());
    const { node } = await openTestNode({ store });
    const facts = Array.from({ length: 3 * MAX_RECOMPUTE_SLICE }, (_, n) =>
      fact({ entity: `relation:topic:r${n}`, relation: 'stigmem:cardinality', v: 'many' }),
    );
    await node.facts.assertBatch(who, { facts, atomic: true });
    const before = store.batches;
    assert.ok(node.figures().recomputations > 0);
    await node.settled();
    assert.ok(store.batches - before <= 4, `${store.batches - before} writes`);
    const left = await store.scan(keys.recomputeRange()).next(1);
    assert.deepEqual([left, node.figures().recomputations], [[], 0]);
    await node.stop();
  });

  it('made anew while the former is noted as done are still to be done, also after a crash', async () => {
    const store = new GatedStore();
    const { node } = await openTestNode({ store });
    for (const v of ['tea', 'rum']) await node.facts.assert(who, fact({ v, relation: 'memory:likes' }));
    const due = keys.recomputeKey('memory:likes');
    /** Holds the next batch that computes the views again, or the next one that declares. */
    const hold = (what: 'views' | 'declaration') => {
      const [reached, opened] = [Promise.withResolvers<void>(), Promise.withResolvers<void>()];
      store.gate = (ops) => {
        const ofDue = ops.find(({ key }) => Buffer.compare(key, due) === 0)?.type;
        if (what === 'views' ? ofDue !== undefined : ofDue !== 'put') return undefined;
        store.gate = () => undefined;
        reached.resolve();
        return opened.promise;
      };
      return { reached: reached.promise, open: opened.resolve };
    };
    let views = hold('views');
    await node.facts.assert(who, fact({ ...about, v: 'many' }));
    await views.reached;
    const declaration = hold('declaration');
    const again = node.facts.assert(who, fact({ ...about, v: 'one' }));
    views.open();
    await declaration.reached;
    // Meanwhile the first comes to its end, and says so to the writer, which is busy.
    for (let turn = 0; turn < 100; turn++) await nextTurn();
    views = hold('views');
    declaration.open();
    await again;
    await views.reached;
    assert.ok(await store.get(due), 'a daemon that is killed now has to know');
    views.open();
    await node.settled();
    assert.equal(await store.get(due), undefined);
    assert.equal((await node.facts.query(who, { limit: 9, relation: 'memory:likes' })).facts.length, 1);
    await node.stop();
  });
});

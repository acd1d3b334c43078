import assert from 'node:assert/strict';
import { setImmediate as nextTurn } from 'node:timers/promises';
import { parseCid } from '../../src/facts/index.ts';
import { derivedDigest, reindex } from '../../src/node/maintenance.ts';
import { SYSTEM } from '../../src/policy/principal.ts';
import { MemoryStore } from '../../src/store/memory/memory-store.ts';
import { StoreError } from '../../src/store/store.ts';
import { type DiskFault, FaultyStore } from '../support/faulty-store.ts';
import { Random } from '../support/random.ts';
import { assertSound, type Soundness } from '../support/soundness.ts';
import { fact, openTestNode, type TestNode, who } from '../support/test-node.ts';
import { randomWrite } from '../support/workload.ts';

const CODES: Record<DiskFault, string> = { ENOSPC: 'store_full', EROFS: 'store_readonly', EIO: 'store_io' };
const code = (expected: string) => (error: unknown) => error instanceof StoreError && error.code === expected;
const digestOf = (id: string): string => Buffer.from(parseCid(id).digest).toString('hex');
const SEED = 20261121;

describe('disk that fails, under a node', () => {
  let memory: MemoryStore;
  let store: FaultyStore;
  let t: TestNode;

  beforeEach(async () => {
    memory = new MemoryStore();
    store = new FaultyStore(memory);
    t = await openTestNode({ store });
  });

  const current = async (): Promise<unknown[]> =>
    (await t.node.facts.query(who, { limit: 100 })).facts.map(({ statement }) => statement.body.value.v);

  async function sound(): Promise<Soundness> {
    await t.node.settled();
    const digest = await derivedDigest(memory);
    await t.node.stop();
    const { after } = await reindex(memory, () => t.reopen());
    assert.equal(digest, after, 'the indexes the node kept are not those of its log');
    return assertSound(memory, () => t.reopen());
  }

  for (const fault of ['ENOSPC', 'EROFS', 'EIO'] as const) {
    it(`fault 44: ${fault} refuses every writer of the group, reads go on, writes resume without a restart`, async () => {
      await t.node.facts.assert(who, fact({ v: 'before' }));
      const seen = await t.node.feed.read(0, 10);
      const { entity, relation, scope, source } = fact();
      store.failBatches({ fault });
      const writes = [
        ...Array.from({ length: 20 }, (_, n) =>
          t.node.facts.assert(who, fact({ entity: `user:u${n}`, v: n, type: 'number' })),
        ),
        t.node.facts.assertBatch(who, {
          facts: [fact({ entity: 'user:a' }), fact({ entity: 'user:b' })],
          atomic: true,
        }),
        t.node.facts.retract(who, { entity, relation, scope, source }),
        t.node.gardens.create(who, { slug: 'lab', name: 'Lab', scope: 'company' }),
        t.node.cursors.set('search', 1),
      ];
      for (const outcome of await Promise.allSettled(writes)) {
        assert.ok(outcome.status === 'rejected' && code(CODES[fault])(outcome.reason), JSON.stringify(outcome));
      }
      assert.equal(store.batches, 4, 'two records of the node itself, one write, and one group for all of the others');
      const { ready, reason } = t.node.readiness();
      assert.equal(ready, false);
      assert.match(reason ?? '', new RegExp(fault));
      assert.match((await t.node.status()).warnings.join(), new RegExp(fault));
      assert.deepEqual(await current(), ['before']);
      assert.deepEqual(await t.node.feed.read(0, 10), seen);
      assert.equal((await t.node.gardens.list(who)).length, 0);

      // Nobody writes; the node tries by itself, once a second, and says so when it works again.
      t.tick();
      await assert.rejects(t.node.facts.assert(who, fact({ v: 'still full' })), code(CODES[fault]));
      assert.equal(t.node.readiness().ready, false);
      store.heal();
      t.tick();
      await t.node.facts.assert(who, fact({ v: 'after' }));
      assert.deepEqual(t.node.readiness(), { ready: true, code: null, reason: null });
      assert.deepEqual(await current(), ['after']);
      assert.deepEqual((await t.node.status()).warnings, []);
      await sound();
    });
  }

  it('fault 44: a node that nobody writes to finds out by itself that the disk works again', async () => {
    store.failBatches({ fault: 'ENOSPC', times: 1 });
    await assert.rejects(t.node.facts.assert(who, fact()), code('store_full'));
    t.tick();
    // The queue is in order: what is answered after the probe proves that the probe is done.
    await t.node.cursors.get('none');
    await t.node.writer.probe();
    assert.equal(t.node.readiness().ready, true);
    await sound();
  });

  it('fault 44: what wrote nothing does not count as a disk that works', async () => {
    await t.node.facts.assert(who, fact());
    store.failBatches({ fault: 'EROFS' });
    await assert.rejects(t.node.facts.assert(who, fact({ v: 'other' })), code('store_readonly'));
    store.heal();
    store.failBatches({ fault: 'EROFS', from: 2 });
    // Same claim again: answered from what is there.
    assert.equal((await t.node.facts.assert(who, fact())).created, false);
    assert.equal(t.node.readiness().ready, false);
    store.heal();
    await t.node.writer.probe();
    assert.equal(t.node.readiness().ready, true);
  });

  it('fault 44: failing reads refuse the writes that need them and spare the rest', async () => {
    await t.node.facts.assert(who, fact({ v: 'before' }));
    // A fresh node holds nothing in memory: it has to read.
    const reopened = await t.reopen();
    for (let n = 1; n <= 8; n++) {
      store.failReads({ fault: 'EIO', from: n, times: 1 });
      const outcome = await reopened.facts.assert(who, fact({ v: `value ${n}` })).then(
        () => 'stored',
        (error: unknown) => error,
      );
      assert.ok(outcome === 'stored' || code('store_io')(outcome), String(outcome));
      store.heal();
      await reopened.facts.assert(who, fact({ v: `again ${n}` }));
    }
    t = { ...t, node: reopened };
    await sound();
  });

  it('fault 44: a batch that failed and is on disk all the same counts, and its numbers are not given twice', async () => {
    const { fact: before } = await t.node.facts.assert(who, fact({ v: 'before' }));
    store.failBatches({ fault: 'EIO', times: 1, landed: true });
    const request = { facts: [fact({ v: 'landed' })], atomic: true, idempotencyKey: 'once' };
    await assert.rejects(t.node.facts.assertBatch(who, request), code('store_io'));
    assert.deepEqual(await current(), ['before'], 'not acknowledged, not shown');
    const heads: number[] = [];
    t.node.feed.onCommit((head) => heads.push(head));
    const retry = await t.node.facts.assertBatch(who, request);
    assert.equal(retry.replayed, true, 'the retry finds what was remembered along with the facts');
    assert.deepEqual(heads, [2], 'followers hear of it');
    const { fact: after } = await t.node.facts.assert(who, fact({ v: 'after' }));
    assert.equal(after.seq, before.seq + 2);
    assert.deepEqual(await current(), ['after']);
    await sound();
  });

  it('fault 44: gardens, keys and declarations that landed are known without a restart', async () => {
    store.failBatches({ fault: 'EIO', times: 1, landed: true });
    const likes = { relation: 'memory:likes' };
    const declaration = {
      entity: 'stigmem://acme.example/relation/memory:likes',
      relation: 'stigmem:cardinality',
      v: 'many',
    };
    const writes = [
      t.node.gardens.create(who, { slug: 'lab', name: 'Lab', scope: 'company' }),
      t.node.facts.assert(who, fact(declaration)),
    ];
    for (const { status } of await Promise.allSettled(writes)) assert.equal(status, 'rejected');
    await t.node.facts.assert(who, fact({ v: 'tea', ...likes }));
    await t.node.facts.assert(who, fact({ v: 'rum', ...likes }));
    assert.equal((await t.node.gardens.list(who)).length, 1);
    assert.equal((await t.node.facts.query(who, { limit: 10, ...likes })).facts.length, 2);
    await sound();
  });

  it('fault 44: a key that landed is not made a second time, so that revoking it ends it for good', async () => {
    const raw_key = 'a secret of the caller, long enough'.replaceAll(' ', '-');
    const make = () => t.node.keys.create(SYSTEM, { entity_uri: 'agent:writer', permissions: ['read'], raw_key });
    store.failBatches({ fault: 'EIO', times: 1, landed: true });
    const [failed, again] = await Promise.allSettled([make(), make()]);
    assert.equal(failed!.status, 'rejected');
    assert.equal(again!.status === 'rejected' && again!.reason.code, 'key_exists');
    const known = await t.node.keys.list(SYSTEM, { all: true });
    assert.equal(known.length, 1);
    await t.node.keys.revoke(SYSTEM, known[0]!.id);
    assert.equal((await t.reopen()).keys.authenticate(raw_key), undefined);
  });

  it('fault 44: idempotent retries after failures leave one statement', async () => {
    store.failBatches({ fault: 'ENOSPC', times: 3 });
    const ids = new Set<string>();
    let failures = 0;
    for (let attempt = 0; attempt < 6; attempt++) {
      const answer = await t.node.facts.assert(who, fact(), { idempotencyKey: 'retry' }).catch(() => undefined);
      if (answer) ids.add(answer.fact.id);
      else failures += 1;
    }
    assert.equal(ids.size, 1);
    assert.equal(failures, 3);
    assert.equal((await t.node.status()).statements, 1);
    await sound();
  });

  it('fault 44: any mixture of writes on a disk that fails by chance leaves a sound store', async () => {
    for (let seed = SEED; seed < SEED + 6; seed++) {
      memory = new MemoryStore();
      store = new FaultyStore(memory);
      t = await openTestNode({ store });
      store.failByChance(seed, 0.3);
      const random = new Random(seed);
      const acked = new Set<string>();
      let failed = 0;
      for (let n = 0; n < 60; n++) {
        t.clock.advance(random.below(40));
        const some = Array.from({ length: 1 + random.below(4) }, (_, at) =>
          randomWrite(t.node, random, `${n}-${at}`, t.clock.ms).then(
            ({ ids }) => void ids.map((id) => acked.add(id)),
            (error: unknown) => {
              assert.ok(error instanceof StoreError, String(error));
              failed += 1;
            },
          ),
        );
        await Promise.all(some);
      }
      assert.ok(acked.size > 20 && failed > 10, `seed ${seed}: ${acked.size} written, ${failed} failed`);
      store.heal();
      await t.node.writer.probe();
      assert.equal(t.node.readiness().ready, true);
      const { log } = await sound();
      for (const id of acked) assert.ok(log.has(digestOf(id)), `seed ${seed}: acknowledged and lost: ${id}`);
    }
  });

  it('fault 42: losing the power loses nothing that was acknowledged and leaves nothing half there', async () => {
    for (let seed = SEED; seed < SEED + 6; seed++) {
      const random = new Random(seed);
      memory = new MemoryStore();
      const acked = new Set<string>();
      let last = { seq: 0, hlc: '' };
      store = new FaultyStore(memory);
      t = await openTestNode({ store });
      for (let round = 0; round < 5; round++) {
        store = new FaultyStore(memory);
        t = await openTestNode({ ...t.init, store, clock: t.clock });
        // The power goes before one of the batches, with other writes under way and more to come.
        store.failBatches({ fault: 'EIO', from: 1 + random.below(3) });
        const writes = Array.from({ length: 40 }, async (_, n) => {
          for (let turn = 0; turn < n % 7; turn++) await nextTurn();
          const { ids } = await randomWrite(t.node, random, `${round}-${n}`, t.clock.ms);
          for (const id of ids) acked.add(id);
        });
        const outcomes = await Promise.allSettled(writes);
        assert.ok(outcomes.some(({ status }) => status === 'rejected'));
        memory.crash();
        t = await openTestNode({ ...t.init, store: memory, clock: t.clock });
        await t.node.stop();
        const { head, log } = await assertSound(memory, () => t.reopen());
        for (const id of acked) assert.ok(log.has(digestOf(id)), `seed ${seed}: acknowledged and lost: ${id}`);
        assert.ok(head.seq >= last.seq && (head.hlc ?? '') >= last.hlc, 'sequence or clock went back');
        last = { seq: head.seq, hlc: head.hlc ?? '' };
        t.clock.advance(random.below(100));
      }
    }
  });

  it('fault 42: with store.sync off the power takes what was not synced, and the rest is sound', async () => {
    memory = new MemoryStore();
    t = await openTestNode({ store: memory, durable: false });
    for (let n = 0; n < 5; n++) await t.node.facts.assert(who, fact({ v: n, type: 'number' }));
    assert.match((await t.node.status()).warnings.join(), /store\.sync = false/);
    memory.crash();
    const node = await t.reopen();
    assert.equal((await node.status()).statements, 0);
    await node.facts.assert(who, fact());
    await node.stop();
  });
});

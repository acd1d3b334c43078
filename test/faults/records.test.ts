import assert from 'node:assert/strict';
import { verifyIndependently } from '../../src/facts/independent-verify.ts';
import { publicKeyFromPeerId } from '../../src/identity/index.ts';
import { derivedDigest, reindex, type VerifySignature, verifyLog } from '../../src/node/maintenance.ts';
import { mend } from '../../src/node/mend.ts';
import * as keys from '../../src/store/keys.ts';
import { MemoryStore } from '../../src/store/memory/memory-store.ts';
import { type Entry, forEachSlice, type KeyRange, StoreError, type StoreOp } from '../../src/store/store.ts';
import { Random } from '../support/random.ts';
import { assertConsistent, assertSound } from '../support/soundness.ts';
import { fact, openTestNode, type TestNode, who } from '../support/test-node.ts';

const SEED = 20261121;
const check: VerifySignature = async (digest, sig, origin) =>
  verifyIndependently(digest, sig, publicKeyFromPeerId(origin));
const isCorrupt = (error: unknown): boolean =>
  error instanceof StoreError && error.code === 'store_corrupt' && /stigmesh (?:verify|reindex)/.test(error.hint);

describe('damage inside records', () => {
  let store: MemoryStore;
  let t: TestNode;

  beforeEach(async () => {
    store = new MemoryStore();
    t = await openTestNode({ store });
    for (let n = 0; n < 6; n++) {
      await t.node.facts.assert(who, fact({ entity: `user:u${n % 3}`, v: `value ${n}`, confidence: n === 4 ? 0 : 1 }));
    }
    const [conflict] = (await t.node.conflicts.list(who, { limit: 10 })).conflicts;
    await t.node.conflicts.resolve(who, conflict!.id, { winning_fact_id: conflict!.factB.id });
    await t.node.facts.assert(who, fact({ v: 'soon gone', valid_until: new Date(t.clock.ms + 1000).toISOString() }));
    await t.node.stop();
  });

  async function rows(range: KeyRange): Promise<Entry[]> {
    const found: Entry[] = [];
    await forEachSlice(store, range, (entries) => {
      found.push(...entries);
      return undefined;
    });
    return found;
  }

  const put = (key: Buffer, value: Buffer): StoreOp => ({ type: 'put', key, value });
  const write = (...ops: StoreOp[]): Promise<void> => store.batch(ops, { durable: true });
  const flipped = (bytes: Buffer, at: number, bit: number): Buffer => {
    const copy = Buffer.from(bytes);
    copy[at]! ^= 1 << bit;
    return copy;
  };

  it('fault 43: any flipped bit of a log record is found by verify and by readers, and quarantine leaves the rest', async () => {
    const random = new Random(SEED);
    const log = await rows(keys.logRange());
    for (let n = 0; n < 60; n++) {
      const { key, value } = random.pick(log);
      const at = random.below(value.length);
      const bad = flipped(value, at, random.below(8));
      await write(put(key, bad));
      const report = await verifyLog(store, check, { quarantine: false });
      assert.deepEqual(
        [report.statements, report.good, report.damaged.length],
        [log.length, log.length - 1, 1],
        `byte ${at}`,
      );
      const node = await t.reopen();
      const { id } = report.damaged[0]!;
      await assert.rejects(node.facts.get(who, id), isCorrupt, `byte ${at}`);
      await node.stop();
      await write(put(key, value));
    }

    const [lost, ...rest] = log as [Entry, ...Entry[]];
    await write(put(lost.key, flipped(lost.value, lost.value.length - 3, 1)));
    const report = await verifyLog(store, check, { quarantine: true });
    assert.equal(report.quarantined, 1);
    await mend(store, false);
    await reindex(store, () => t.reopen());
    const { head } = await assertConsistent(store, true);
    assert.equal(head.statements, rest.length);
    const node = await t.reopen();
    assert.ok((await node.facts.query(who, { limit: 100, include: ['history'] })).facts.length >= 5);
    await node.facts.assert(who, fact({ v: 'goes on' }));
    await node.stop();
    // Verify goes on naming what is gone.
    const again = await verifyLog(store, check, { quarantine: false });
    assert.deepEqual(
      again.damaged.map(({ id, problem }) => [id, problem]),
      [[report.damaged[0]!.id, 'missing']],
    );
  });

  it('fault 43: whatever happens to a row of an index, reindex mends it', async () => {
    const random = new Random(SEED);
    const before = await derivedDigest(store);
    for (const range of keys.DERIVED_RANGES) {
      const entries = await rows(range);
      for (const damage of ['gone', 'key', 'value'] as const) {
        const victim = entries[random.below(entries.length)];
        if (!victim) continue;
        const { key, value } = victim;
        const gone: StoreOp = { type: 'del', key };
        if (damage === 'gone') await write(gone);
        else if (damage === 'key')
          await write(gone, put(flipped(key, 1 + random.below(key.length - 1), random.below(8)), value));
        else if (value.length > 0) await write(put(key, flipped(value, random.below(value.length), random.below(8))));
        const what = `${damage} of ${key.toString('hex')}`;
        const { after } = await reindex(store, () => t.reopen());
        assert.equal(after, before, what);
        await assertSound(store, () => t.reopen());
      }
    }
  });

  it('fault 43: an index that names what the log does not hold is an error, not a shorter list', async () => {
    const [row] = await rows(keys.indexRange('scope', keys.STATUS.current, keys.scopeSubject('company')));
    await write({ type: 'del', key: keys.logKey(keys.orderOf(row!.key).digest) });
    const node = await t.reopen();
    await assert.rejects(node.facts.query(who, { limit: 10 }), isCorrupt);
    await node.stop();
    const { damaged } = await verifyLog(store, check, { quarantine: false });
    assert.deepEqual(
      damaged.map(({ problem }) => problem),
      ['missing'],
    );
  });

  it('fault 43: counters and sequence are counted again from the log', async () => {
    const head = await store.get(keys.metaKey('head'));
    const [first, second] = await rows(keys.sequenceRange(0, 100));
    await write(
      put(keys.metaKey('head'), Buffer.from('{"seq":')),
      { type: 'del', key: first!.key },
      put(second!.key, flipped(second!.value, 3, 3)),
    );
    await assert.rejects(t.reopen(), isCorrupt);
    await mend(store, false);
    await reindex(store, () => t.reopen());
    const { at: _, ...expected } = JSON.parse(head!.toString()) as Record<string, unknown>;
    const { at: __, ...found } = (await assertConsistent(store)).head;
    assert.deepEqual(found, expected);
  });

  it('fault 43: a garden or key that cannot be read is set aside, not guessed', async () => {
    const node = await t.reopen();
    await node.gardens.create(who, { slug: 'lab', name: 'Lab', scope: 'company' });
    await node.stop();
    const [garden] = await rows(keys.gardenRange());
    await write(put(garden!.key, garden!.value.subarray(0, -1)));
    await assert.rejects(t.reopen(), isCorrupt);
    const { records } = await mend(store, false);
    assert.equal(records, 1);
    const reopened = await t.reopen();
    assert.deepEqual(await reopened.gardens.list(who), []);
    assert.equal((await rows(keys.quarantineRange())).length, 1);
    await reopened.stop();
  });
});

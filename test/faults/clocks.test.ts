import assert from 'node:assert/strict';
import { formatHlc, HybridLogicalClock, hlcWall } from '../../src/facts/index.ts';
import { MemoryStore } from '../../src/store/memory/memory-store.ts';
import { FaultyStore } from '../support/faulty-store.ts';
import { Origin } from '../support/origin.ts';
import { assertSound } from '../support/soundness.ts';
import { fact, openTestNode, type TestNode, who } from '../support/test-node.ts';

const HOUR = 3_600_000;
const MAX_SKEW = 60_000;

describe('clocks', () => {
  let t: TestNode;
  let store: MemoryStore;

  beforeEach(async () => {
    store = new MemoryStore();
    t = await openTestNode({ store, maxSkewMs: MAX_SKEW });
  });

  const state = async (v: unknown): Promise<string> =>
    (await t.node.facts.assert(who, fact({ v: String(v) }))).fact.statement.hlc;

  it('fault 32: readings go on rising when the clock jumps back an hour, over restarts, and forward again', async () => {
    const readings: string[] = [];
    for (const jump of [0, 5, -HOUR, 1, -HOUR, 3 * HOUR, -3 * HOUR]) {
      t.clock.advance(jump);
      readings.push(await state(readings.length));
      await t.node.stop();
      t = { ...t, node: await t.reopen() };
      readings.push(await state(readings.length));
    }
    assert.deepEqual(readings, [...readings].sort());
    assert.equal(new Set(readings).size, readings.length);
    const status = await t.node.status();
    assert.ok(status.hlcAheadMs >= 3 * HOUR);
    assert.match(status.warnings.join(), /clock runs \d+ s ahead/);
    // The newest statement is the preferred one, whatever the clock said.
    const { facts } = await t.node.facts.query(who, { limit: 1 });
    assert.equal(facts[0]!.statement.hlc, readings.at(-1));
    await t.node.stop();
    await assertSound(store, () => t.reopen());
  });

  it('fault 32: the high-water mark is on disk with the write itself, so that a kill cannot lose it', async () => {
    const before = await state('a');
    t.clock.advance(-HOUR);
    store.crash();
    const node = await t.reopen();
    const { fact: after } = await node.facts.assert(who, fact({ v: 'b' }));
    assert.ok(after.statement.hlc > before);
    await node.stop();
  });

  it('fault 32: facts expire by the clock as it is, once more when it was set back', async () => {
    const until = new Date(t.clock.ms + 1000).toISOString();
    const live = async (): Promise<unknown[]> =>
      (await t.node.facts.query(who, { limit: 10 })).facts.map(({ statement }) => statement.body.value.v);
    await t.node.facts.assert(who, fact({ v: 'limited', valid_until: until }));
    t.clock.advance(2000);
    assert.deepEqual(await live(), []);
    t.clock.advance(-HOUR);
    // Something happens on the key: it is looked at again, at the time it is now.
    await t.node.facts.assert(who, fact({ v: 'other', confidence: 0.5 }));
    assert.deepEqual(await live(), ['limited']);
    t.clock.advance(HOUR);
    assert.deepEqual(await live(), ['other']);
    await t.node.stop();
    await assertSound(store, () => t.reopen());
  });

  it('fault 33: three thousand writes in one frozen millisecond borrow the next, strictly rising', async () => {
    const hlcs: string[] = [];
    for (let batch = 0; batch < 3; batch++) {
      const facts = Array.from({ length: 1000 }, (_, n) => fact({ entity: `user:u${batch}-${n}`, v: 'x' }));
      const { items } = await t.node.facts.assertBatch(who, { facts, atomic: true });
      assert.ok(items.every(({ status }) => status === 'created'));
    }
    for (const event of await t.node.feed.read(0, 5000)) hlcs.push(event.statement.hlc);
    assert.equal(hlcs.length, 3000);
    for (const [at, hlc] of hlcs.entries()) assert.ok(at === 0 || hlc > hlcs[at - 1]!, `${hlcs[at - 1]} then ${hlc}`);
    assert.equal(hlcs.at(-1), formatHlc(t.clock.ms + 2, 999));
    assert.equal((await t.node.status()).hlcAheadMs, 2);
  });

  it('fault 33: crafted readings push the clock by the skew allowed at most, and never make it wrap', async () => {
    const origin = new Origin('other.example');
    const furthest = t.clock.ms + MAX_SKEW;
    const code = async (hlc: string): Promise<string> => {
      const [outcome] = await t.node.transfer.importStatements(who, [await origin.state(hlc, { confidence: 0.5 })]);
      return outcome!.status === 'rejected' ? outcome!.code : outcome!.status;
    };
    assert.equal(await code(formatHlc(furthest + 1, 0)), 'hlc_ahead');
    assert.equal(await code('9999999999999.999'), 'hlc_ahead');
    assert.equal(await code(formatHlc(furthest, 999)), 'accepted');
    const pushed = await state('after the push');
    assert.equal(pushed, formatHlc(furthest + 1, 0), 'the counter was full: the next millisecond, not a wrap');
    // What the node itself says may be beyond the bound now; that does not move the bound for others.
    assert.equal(await code(formatHlc(furthest + 1, 5)), 'hlc_ahead');
    assert.equal(hlcWall(await state('and on')), furthest + 1);
  });

  it('fault 33: at the end of the 13 digits the clock refuses; it does not begin again', async () => {
    const end = 9_999_999_999_999;
    const clock = new HybridLogicalClock({ now: () => end, last: formatHlc(end, 998) });
    assert.equal(clock.tick(), formatHlc(end, 999));
    assert.throws(() => clock.tick(), { code: 'invalid_hlc' });
    assert.throws(() => clock.tick(), { code: 'invalid_hlc' });
  });

  it('fault 31: a reading a day ahead is refused, and neither clock nor log is moved by it', async () => {
    const faulty = new FaultyStore(store);
    t = await openTestNode({ ...t.init, store: faulty, clock: t.clock });
    const batches = faulty.batches;
    const ahead = await new Origin('other.example').state(formatHlc(t.clock.ms + 24 * HOUR, 0));
    const [outcome] = await t.node.transfer.importStatements(who, [ahead]);
    assert.equal(outcome!.status === 'rejected' && outcome!.code, 'hlc_ahead');
    assert.equal(faulty.batches, batches);
    assert.equal(hlcWall(await state('now')), t.clock.ms);
  });
});

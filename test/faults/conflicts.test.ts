import assert from 'node:assert/strict';
import { formatHlc } from '../../src/facts/index.ts';
import { MAX_CONFLICT_SIDES } from '../../src/facts/limits.ts';
import { derivedDigest } from '../../src/node/maintenance.ts';
import type { StigmeshNode } from '../../src/node/node.ts';
import { MemoryStore } from '../../src/store/memory/memory-store.ts';
import { FaultyStore } from '../support/faulty-store.ts';
import { type Foreign, Origin } from '../support/origin.ts';
import { Random } from '../support/random.ts';
import { assertSound } from '../support/soundness.ts';
import { fact, openTestNode, TestClock, type TestNode, who } from '../support/test-node.ts';

const VALUES = 10_000;
const RECORDS = (MAX_CONFLICT_SIDES * (MAX_CONFLICT_SIDES - 1)) / 2;

async function exported(node: StigmeshNode): Promise<Foreign[]> {
  const statements: Foreign[] = [];
  for await (const statement of node.transfer.exportStatements(who)) statements.push(statement);
  return statements;
}

describe('conflicts in numbers', () => {
  it('fault 38: ten thousand values on one key: records are capped, counts are right, work per request is bounded', async () => {
    const memory = new MemoryStore();
    const store = new FaultyStore(memory);
    const t = await openTestNode({ store });
    const calm = { entity: 'stigmem://acme.example/user/bob' };
    await t.node.facts.assert(who, fact(calm));

    /** What one request costs in rows read and written. */
    const cost = async (request: () => Promise<unknown>): Promise<{ read: number; written: number }> => {
      const before = { rows: store.rows, operations: store.operations };
      await request();
      return { read: store.rows - before.rows, written: store.operations - before.operations };
    };
    const key = { entity: fact().entity, relation: fact().relation, limit: 50 };
    const requests = {
      assert: (n: number) => t.node.facts.assert(who, fact({ v: `extra ${n}` })),
      repeat: () => t.node.facts.assert(who, fact({ v: 'extra 0' })),
      query: () => t.node.facts.query(who, key),
      all: () => t.node.facts.query(who, { ...key, include: ['losing'] }),
      calmAssert: (n: number) => t.node.facts.assert(who, fact({ ...calm, v: `calm ${n}` })),
      calmQuery: () => t.node.facts.query(who, { ...key, ...calm }),
      conflicts: () => t.node.conflicts.list(who, { status: 'unresolved', limit: 50 }),
    };
    const measure = async (n: number) => ({
      assert: await cost(() => requests.assert(n)),
      repeat: await cost(requests.repeat),
      query: await cost(requests.query),
      all: await cost(requests.all),
      calmAssert: await cost(() => requests.calmAssert(n)),
      calmQuery: await cost(requests.calmQuery),
      conflicts: await cost(requests.conflicts),
    });

    const fill = async (from: number, to: number): Promise<void> => {
      for (let first = from; first < to; first += 1000) {
        t.clock.advance(1);
        const size = Math.min(1000, to - first);
        const facts = Array.from({ length: size }, (_, n) => fact({ v: first + n, type: 'number' }));
        assert.equal((await t.node.facts.assertBatch(who, { facts, atomic: true })).accepted, size);
      }
    };
    await fill(0, 100);
    await measure(0);
    const few = await measure(1);
    await fill(100, VALUES);
    const many = await measure(2);
    for (const [name, { read, written }] of Object.entries(many)) {
      const before = few[name as keyof typeof few];
      const costs = `${name}: ${read} read and ${written} written with ${VALUES}, ${before.read} and ${before.written} with 100`;
      assert.ok(read <= before.read + 16 && written <= before.written + 16, costs);
    }

    const status = await t.node.status();
    const onKey = (await t.node.conflicts.list(who, { limit: 500 })).conflicts.filter(
      ({ factA }) => factA.statement.body.entity === key.entity,
    );
    assert.equal(onKey.length, RECORDS);
    // The other key has four values.
    assert.equal(status.openConflicts, RECORDS + 6);
    const { facts: current } = await t.node.facts.query(who, key);
    assert.deepEqual(
      current.map(({ statement, contradicted }) => [statement.body.value.v, contradicted]),
      [['extra 2', true]],
    );
    // Nothing is hidden: every value is there, page by page, and marked.
    let losing = 0;
    let cursor: string | undefined;
    do {
      const page = await t.node.facts.query(who, { ...key, limit: 500, cursor, include: ['losing'] });
      losing += page.facts.filter(({ state, contradicted }) => state === 'losing' && contradicted).length;
      cursor = page.cursor ?? undefined;
    } while (cursor !== undefined);
    assert.equal(losing, VALUES + 2);
    assert.equal(status.statements, VALUES + 3 + 4);

    // One judgement for each further side takes it out; a retraction takes all of ours at once.
    const { entity, relation, scope, source } = fact();
    await t.node.facts.retract(who, { entity, relation, scope, source });
    assert.deepEqual((await t.node.facts.query(who, key)).facts, []);
    assert.equal((await t.node.status()).openConflicts, 6);
    await t.node.stop();
    await assertSound(memory, () => t.reopen());
  });

  it('fault 38: a flood from one organisation does not push the others out of the records', async () => {
    const clock = new TestClock();
    const t = await openTestNode({ clock, unknownOrigins: 'accept' });
    const [noisy, calm] = [new Origin('noisy.example'), new Origin('calm.example')];
    const statements: Foreign[] = [];
    for (let n = 0; n < 300; n++) {
      statements.push(await noisy.state(formatHlc(clock.ms, n), { value: { type: 'number', v: n } }));
    }
    statements.push(
      await calm.state(formatHlc(clock.ms - 1000, 0), { value: { type: 'string', v: 'calm' }, confidence: 0.5 }),
    );
    await t.node.transfer.importStatements(who, statements);
    await t.node.facts.assert(who, fact({ v: 'ours', confidence: 0.4 }));
    const { conflicts } = await t.node.conflicts.list(who, { limit: 500 });
    assert.equal(conflicts.length, RECORDS);
    const values = new Set(
      conflicts.flatMap(({ factA, factB }) => [factA, factB]).map(({ statement }) => statement.org),
    );
    assert.deepEqual([...values].sort(), ['acme.example', 'calm.example', 'noisy.example']);
  });

  it('fault 35: the same pair asserted on five nodes, exchanged in any order: one conflict id, all sides kept', async () => {
    const random = new Random(35);
    const clock = new TestClock();
    const nodes: TestNode[] = [];
    for (let n = 0; n < 5; n++)
      nodes.push(await openTestNode({ org: `org${n}.example`, clock, unknownOrigins: 'accept' }));
    // Each node states one of two values, or both, at the same moment.
    for (const [n, { node }] of nodes.entries()) {
      if (n !== 1) await node.facts.assert(who, fact({ v: 'CEO' }));
      if (n !== 2) await node.facts.assert(who, fact({ v: 'CTO' }));
    }
    const sets = await Promise.all(nodes.map(({ node }) => exported(node)));
    const total = sets.reduce((sum, set) => sum + set.length, 0);
    for (const { node } of nodes) {
      const order = [...sets].sort(() => random.next() - 0.5).flat();
      if (random.next() < 0.5) order.reverse();
      const outcomes = await node.transfer.importStatements(who, order);
      assert.ok(outcomes.every(({ status }) => status === 'accepted' || status === 'duplicate'));
    }
    const ids = new Set<string>();
    const views = new Set<string>();
    for (const { node, store } of nodes) {
      const { conflicts } = await node.conflicts.list(who, { limit: 100 });
      assert.equal(conflicts.length, 1);
      ids.add(conflicts[0]!.id);
      const { facts } = await node.facts.query(who, { limit: 100, include: ['losing'] });
      assert.equal(facts.length, total, 'no side may be dropped');
      assert.deepEqual(new Set(facts.map(({ statement }) => statement.body.value.v)), new Set(['CEO', 'CTO']));
      views.add(JSON.stringify(facts.map(({ id, state, contradicted }) => [id, state, contradicted])));
      // Not only the answers: every derived table is the same, byte for byte.
      views.add(await derivedDigest(store));
    }
    assert.equal(ids.size, 1);
    assert.equal(views.size, 2, 'one list of facts and one digest, on all nodes');

    // Seen again from anywhere it changes nothing, and one side more gives the same ids everywhere.
    const late = await nodes[3]!.node.facts.assert(who, fact({ v: 'CFO' }));
    const extra = (await exported(nodes[3]!.node)).slice(-1);
    const after = new Set<string>();
    for (const { node } of nodes) {
      await node.transfer.importStatements(who, [...sets.flat(), ...extra]);
      const { conflicts } = await node.conflicts.list(who, { limit: 100 });
      after.add(JSON.stringify(conflicts.map(({ id }) => id).sort()));
      assert.ok(conflicts.some(({ id }) => ids.has(id)));
    }
    assert.equal(after.size, 1);
    assert.ok(late.created);
  });
});

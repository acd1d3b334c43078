import assert from 'node:assert/strict';
import { MAX_PAGE_BYTES } from '../../../src/node/limits.ts';
import type { CommitEvent } from '../../../src/node/types.ts';
import type { Principal } from '../../../src/policy/principal.ts';
import { fact, openTestNode, type TestNode, who } from '../../support/test-node.ts';

const LONG = 60_000;
const long = (n: number) => `${n}${'x'.repeat(LONG)}`;

describe('node: pages are bounded by bytes', () => {
  let t: TestNode;
  const COUNT = 80;
  before(async () => {
    t = await openTestNode();
    const facts = Array.from({ length: COUNT }, (_, i) => fact({ entity: `user:${i}`, type: 'text', v: long(i) }));
    await t.node.facts.assertBatch(who, { facts, atomic: true });
    const others = facts.map((one, i) => ({ ...one, value: { type: 'text', v: `other ${long(i)}` } }));
    await t.node.facts.assertBatch(who, { facts: others, atomic: true });
  });
  after(() => t.node.stop());

  it('of facts: short, with a cursor, and nothing lost between them', async () => {
    const seen: string[] = [];
    let cursor: string | null | undefined;
    do {
      const page = await t.node.facts.query(who, { limit: 500, include: ['history'], cursor: cursor ?? undefined });
      const bytes = page.facts.reduce((sum, { statement }) => sum + String(statement.body.value.v).length, 0);
      assert.ok(bytes < MAX_PAGE_BYTES + 2 * LONG, `${bytes} bytes`);
      seen.push(...page.facts.map(({ id }) => id));
      cursor = page.cursor;
    } while (cursor !== null);
    assert.equal(seen.length, 2 * COUNT);
    assert.equal(new Set(seen).size, 2 * COUNT);
  });

  it('of conflicts: the same', async () => {
    const seen: string[] = [];
    let cursor: string | null | undefined;
    do {
      const page = await t.node.conflicts.list(who, { limit: 500, cursor: cursor ?? undefined });
      assert.ok(page.conflicts.length <= 64);
      seen.push(...page.conflicts.map(({ id }) => id));
      cursor = page.cursor;
    } while (cursor !== null);
    assert.equal(new Set(seen).size, COUNT);
    assert.equal(seen.length, COUNT);
  });

  it('of events: as many as their reader wants to hold, and at least one', async () => {
    const seen: CommitEvent[] = [];
    for (let after = 0; after < t.node.feed.head(); after = seen.at(-1)!.seq) {
      const page = await t.node.feed.read(after, 64, 4 * LONG);
      assert.ok(page.length > 0 && page.length <= 8, `${page.length} events`);
      seen.push(...page);
    }
    assert.deepEqual(
      seen.map(({ seq }) => seq),
      Array.from({ length: 2 * COUNT }, (_, i) => i + 1),
    );
    assert.equal((await t.node.feed.read(0, 64)).length, 64);
  });
});

describe('node: keys held in memory', () => {
  it('are those written to again, not every one that was ever written', async () => {
    const t = await openTestNode();
    try {
      const held = async () => (await t.node.status()).viewEntries;
      const before = await held();
      const facts = Array.from({ length: 300 }, (_, i) => fact({ entity: `user:${i}`, v: 'first' }));
      await t.node.facts.assertBatch(who, { facts, atomic: true });
      assert.equal(await held(), before);
      await t.node.facts.assert(who, fact({ entity: 'user:7', v: 'second' }));
      assert.ok((await held()) > before);
      const { facts: both } = await t.node.facts.query(who, { entity: 'user:7', include: ['history'], limit: 10 });
      assert.deepEqual(both.map(({ statement }) => statement.body.value.v).sort(), ['first', 'second']);
      // Within one group a new key is one key: the second of two equal claims is the first.
      const twice = await Promise.all([1, 2].map(() => t.node.facts.assert(who, fact({ entity: 'user:new' }))));
      assert.deepEqual(twice.map(({ created }) => created).sort(), [false, true]);
    } finally {
      await t.node.stop();
    }
  });
});

describe('node: what a fact says about others', () => {
  let t: TestNode;
  const key = (changes: Partial<Principal>): Principal => ({
    keyId: 'k',
    entity: 'user:guest',
    permissions: new Set(['read', 'write']),
    scopes: new Set(['company']),
    ...changes,
  });
  beforeEach(async () => {
    t = await openTestNode();
  });
  afterEach(() => t.node.stop());

  it('takes the scope of those', async () => {
    const { fact: old } = await t.node.facts.assert(who, fact());
    const stranger = key({ scopes: new Set(['public']) });
    const input = fact({ scope: 'public', supersedes: [old.id] });
    await assert.rejects(t.node.facts.assert(stranger, input), { code: 'unknown_supersedes' });
    const batch = await t.node.facts.assertBatch(stranger, { facts: [input], atomic: false });
    assert.deepEqual([batch.accepted, batch.rejected], [0, 1]);
    const ttl = fact({ entity: `fact:${old.id}`, relation: 'stigmem:ttl', type: 'number', v: 0, scope: 'public' });
    await assert.rejects(t.node.facts.assert(stranger, ttl), { code: 'scope_denied' });
    assert.equal((await t.node.facts.get(who, old.id)).fact.state, 'current');
    await t.node.facts.assert(who, input);
    assert.equal((await t.node.facts.get(who, old.id)).fact.state, 'superseded');
  });

  it('takes a writer of their garden; of one that is gone, an admin of the node', async () => {
    await t.node.gardens.create(who, { slug: 'herbs', name: 'Herbs', scope: 'company' });
    await t.node.gardens.addMember(who, 'herbs', { entity_uri: 'user:reader', role: 'reader' });
    await t.node.gardens.addMember(who, 'herbs', { entity_uri: 'user:writer', role: 'writer' });
    const { fact: old } = await t.node.facts.assert(who, fact({ garden_id: 'herbs' }));
    const ending = (n: number) => fact({ relation: `m:${n}`, supersedes: [old.id] });
    for (const entity of ['user:guest', 'user:reader']) {
      await assert.rejects(t.node.facts.assert(key({ entity }), ending(1)), { code: 'unknown_supersedes' });
    }
    const { fact: ttl } = await t.node.facts.assert(
      key({ entity: 'user:writer' }),
      fact({ entity: `fact:${old.id}`, relation: 'stigmem:ttl', type: 'number', v: 3600 }),
    );
    assert.ok(ttl.id);
    await t.node.gardens.remove(who, 'herbs');
    await assert.rejects(t.node.facts.assert(key({ entity: 'user:writer' }), ending(2)), {
      code: 'unknown_supersedes',
    });
    await t.node.facts.assert(who, ending(3));
    assert.equal((await t.node.facts.get(who, old.id)).fact.state, 'superseded');
  });
});

import assert from 'node:assert/strict';
import { LAST_INSTANT } from '../../../src/facts/index.ts';
import type { FactPage } from '../../../src/node/types.ts';
import { fact, openTestNode, type TestNode, who } from '../../support/test-node.ts';

const values = (page: FactPage): unknown[] => page.facts.map(({ statement }) => statement.body.value.v);

async function rejectsWith(promise: Promise<unknown>, code: string): Promise<void> {
  await assert.rejects(promise, (error: { code?: string; hint?: string }) => {
    assert.equal(error.code, code);
    assert.ok(error.hint);
    return true;
  });
}

describe('node: facts', () => {
  let t: TestNode;
  beforeEach(async () => {
    t = await openTestNode();
  });
  const query = (more: object = {}): Promise<FactPage> => t.node.facts.query(who, { limit: 50, ...more });

  it('stores a fact and finds it by every name and index', async () => {
    const { fact: stored, created } = await t.node.facts.assert(who, fact());
    assert.equal(created, true);
    assert.equal(stored.state, 'current');
    assert.equal(stored.contradicted, false);
    for (const name of [stored.id, stored.cid, stored.cidV1, stored.stigmemCid]) {
      assert.equal((await t.node.facts.get(who, name)).fact.id, stored.id);
    }
    const filters = [
      { entity: 'STIGMEM://Acme.Example/User/Alice' },
      { relation: 'memory:role' },
      { relationPrefix: 'memory:' },
      { relationPrefix: 'mem' },
      { source: stored.statement.body.source },
      { scope: 'company' },
      { value: stored.statement.body.value },
      { origin: stored.statement.origin },
      { entity: stored.statement.body.entity, relation: 'memory:role' },
    ];
    for (const filter of filters) assert.deepEqual(values(await query(filter)), ['CEO'], JSON.stringify(filter));
    assert.deepEqual(values(await query({ scope: 'public' })), []);
    assert.deepEqual(values(await query({ relationPrefix: 'memory:x' })), []);
  });

  it('answers the same claim on the same terms with the record it has', async () => {
    const first = await t.node.facts.assert(who, fact());
    t.clock.advance(1000);
    const again = await t.node.facts.assert(who, fact());
    assert.equal(again.created, false);
    assert.equal(again.fact.id, first.fact.id);
    const other = await t.node.facts.assert(who, fact({ valid_until: '2030-01-01T00:00:00Z' }));
    assert.equal(other.created, true);
    assert.equal(other.fact.cid, first.fact.cid);
    assert.equal((await t.node.facts.get(who, first.fact.cid)).claim.statements, 2);
  });

  it('records a contradiction, prefers the newer fact, keeps the older one a flag away', async () => {
    await t.node.facts.assert(who, fact({ v: 'CEO' }));
    await t.node.facts.assert(who, fact({ v: 'CTO' }));
    const page = await query();
    assert.deepEqual(values(page), ['CTO']);
    assert.equal(page.facts[0]!.contradicted, true);
    assert.deepEqual(values(await query({ include: ['losing'] })), ['CTO', 'CEO']);
    const { conflicts } = await t.node.conflicts.list(who, { limit: 10 });
    assert.equal(conflicts.length, 1);
    assert.equal((await t.node.status()).openConflicts, 1);

    const { resolutionId } = await t.node.conflicts.resolve(who, conflicts[0]!.id, {
      winning_fact_id: conflicts[0]!.factB.id,
    });
    const after = await query();
    assert.deepEqual(values(after), ['CEO']);
    assert.equal(after.facts[0]!.contradicted, false);
    const resolved = await t.node.conflicts.get(who, conflicts[0]!.id);
    assert.equal(resolved.status, 'resolved');
    assert.equal(resolved.resolvedBy, resolutionId);
    const { fact: asFact } = await t.node.facts.get(who, resolutionId);
    assert.equal(asFact.statement.body.value.v, resolved.id);
    assert.deepEqual(values(await query({ entity: resolved.id, relation: 'stigmem:conflict:status' })), ['resolved']);
    const [between] = (await query({ entity: resolved.id, relation: 'stigmem:conflict:between' })).facts;
    assert.equal(between!.statement.body.value.v, `${resolved.factA.id} ${resolved.factB.id}`);
    assert.equal((await t.node.facts.get(who, between!.id)).fact.id, between!.id);
    await rejectsWith(t.node.facts.assert(who, fact({ entity: resolved.id })), 'reserved_entity');
    assert.equal((await t.node.status()).openConflicts, 0);
    await rejectsWith(
      t.node.conflicts.resolve(who, conflicts[0]!.id, { winning_fact_id: conflicts[0]!.factA.id }),
      'conflict_resolved',
    );
    // A claim that lost is still live: saying it again is no news, and says why it stays hidden.
    const again = await t.node.facts.assert(who, fact({ v: 'CTO' }));
    assert.equal(again.created, false);
    assert.match(again.warnings.join(), /lost a conflict/);
  });

  it('resolves with a new value, and with both valid', async () => {
    await t.node.facts.assert(who, fact({ v: 'CEO' }));
    await t.node.facts.assert(who, fact({ v: 'CTO' }));
    const [conflict] = (await t.node.conflicts.list(who, { limit: 10 })).conflicts;
    const { winningFactId } = await t.node.conflicts.resolve(who, conflict!.id, {
      new_value: { type: 'string', v: 'chair' },
    });
    assert.deepEqual(values(await query()), ['chair']);
    assert.equal((await query()).facts[0]!.id, winningFactId);
    assert.equal((await t.node.conflicts.list(who, { status: 'unresolved', limit: 10 })).conflicts.length, 0);

    const likes = { relation: 'memory:likes' };
    await t.node.facts.assert(who, fact({ v: 'tea', ...likes }));
    await t.node.facts.assert(who, fact({ v: 'rum', ...likes }));
    const [second] = (await t.node.conflicts.list(who, { status: 'unresolved', limit: 10 })).conflicts;
    await t.node.conflicts.resolve(who, second!.id, { verdict: 'both_valid' });
    assert.equal((await query({ relation: 'memory:likes' })).facts[0]!.contradicted, false);
    await rejectsWith(
      t.node.conflicts.resolve(who, 'stigmem:conflict:00000000000000000000000000000000', {}),
      'conflict_not_found',
    );
  });

  it('retracts, and a retracted fact can be stated again', async () => {
    await t.node.facts.assert(who, fact());
    const { fact: retraction } = await t.node.facts.assert(who, fact({ confidence: 0 }));
    assert.equal(retraction.state, 'retraction');
    assert.deepEqual(values(await query()), []);
    assert.deepEqual(values(await query({ include: ['retracted'] })), ['CEO', 'CEO']);
    assert.equal((await t.node.facts.assert(who, fact({ confidence: 0 }))).created, false);
    const again = await t.node.facts.assert(who, fact());
    assert.equal(again.created, true);
    assert.deepEqual(values(await query()), ['CEO']);
    // SDK style: a placeholder value retracts whatever this org states on the key.
    await t.node.facts.assert(who, fact({ v: 'retracted', confidence: 0 }));
    assert.deepEqual(values(await query()), []);
    const { entity, relation, scope, source } = fact();
    await rejectsWith(t.node.facts.retract(who, { entity, relation, scope, source }), 'fact_not_found');
  });

  it('supersedes atomically, and only what this org stated', async () => {
    const { fact: old } = await t.node.facts.assert(who, fact({ v: 'CEO' }));
    await t.node.facts.assert(who, fact({ v: 'CTO', supersedes: [old.id] }));
    const page = await query();
    assert.deepEqual(values(page), ['CTO']);
    assert.equal(page.facts[0]!.contradicted, false);
    assert.deepEqual(values(await query({ include: ['superseded'] })), ['CTO', 'CEO']);
    assert.equal(
      (await t.node.facts.assert(who, fact({ v: 'CTO' }))).created,
      false,
      'what it retired is no term of it',
    );
    const unknown = (await t.node.facts.assert(who, fact({ relation: 'x:y' }))).fact.cidV1;
    await rejectsWith(t.node.facts.assert(who, fact({ v: 'x', supersedes: [unknown] })), 'unknown_supersedes');
    assert.deepEqual(values(await query({ relation: 'memory:role' })), ['CTO']);
  });

  it('lets facts expire on time, and what they outranked come back', async () => {
    await t.node.facts.assert(who, fact({ v: 'CEO' }));
    const until = new Date(t.clock.ms + 5000).toISOString();
    await t.node.facts.assert(who, fact({ v: 'acting CEO', valid_until: until }));
    assert.deepEqual(values(await query()), ['acting CEO']);
    t.clock.advance(4999);
    assert.deepEqual(values(await query()), ['acting CEO']);
    t.clock.advance(1);
    const page = await query();
    assert.deepEqual(values(page), ['CEO']);
    assert.equal(page.facts[0]!.contradicted, false);
    assert.equal((await t.node.status()).openConflicts, 0);
    assert.deepEqual(values(await query({ include: ['expired'] })), ['acting CEO', 'CEO']);
    // An expired claim can be made again.
    assert.equal(
      (await t.node.facts.assert(who, fact({ v: 'acting CEO', valid_until: '2030-01-01T00:00:00Z' }))).created,
      true,
    );
  });

  it('obeys a stigmem:ttl of its own org, whichever came first', async () => {
    const { fact: stored } = await t.node.facts.assert(who, fact());
    const ttl = { entity: `fact:${stored.id}`, relation: 'stigmem:ttl', scope: 'local' as const };
    await t.node.facts.assert(who, fact({ ...ttl, type: 'number', v: 60 }));
    assert.equal((await t.node.facts.get(who, stored.id)).fact.validUntil, new Date(t.clock.ms + 60_000).toISOString());
    t.clock.advance(60_000);
    assert.deepEqual(values(await query({ relation: 'memory:role' })), []);
    await t.node.facts.assert(who, fact({ ...ttl, type: 'number', v: 120 }));
    assert.deepEqual(values(await query({ relation: 'memory:role' })), ['CEO']);
    // Any double is a number of seconds.
    const until = async (): Promise<unknown> => (await t.node.facts.get(who, stored.id)).fact.validUntil;
    await t.node.facts.assert(who, fact({ ...ttl, type: 'number', v: -1e300 }));
    assert.equal(await until(), '1970-01-01T00:00:00.000Z');
    await t.node.facts.assert(who, fact({ ...ttl, type: 'number', v: 1e300 }));
    assert.equal(await until(), new Date(LAST_INSTANT).toISOString());
    await t.node.facts.assert(who, fact({ ...ttl, type: 'number', v: 60, confidence: 0 }));
    assert.equal(await until(), null, 'a ttl that was taken back is none');
  });

  it('shows all values of a relation declared multi-valued by its authority', async () => {
    const likes = { relation: 'memory:likes' };
    await t.node.facts.assert(who, fact({ v: 'tea', ...likes }));
    await t.node.facts.assert(who, fact({ v: 'rum', ...likes }));
    assert.equal((await query(likes)).facts.length, 1);
    const declaration = { entity: 'stigmem://acme.example/relation/memory:likes', relation: 'stigmem:cardinality' };
    await t.node.facts.assert(who, fact({ ...declaration, v: 'many' }));
    await t.node.settled();
    const page = await query(likes);
    assert.deepEqual(values(page), ['rum', 'tea']);
    assert.ok(page.facts.every(({ contradicted }) => !contradicted));
    assert.equal((await t.node.status()).openConflicts, 0);
    const reopened = await t.reopen();
    await reopened.facts.assert(who, fact({ v: 'mead', ...likes }));
    assert.equal((await reopened.facts.query(who, { limit: 50, ...likes })).facts.length, 3);
    await reopened.facts.assert(who, fact({ ...declaration, v: 'many', confidence: 0 }));
    await reopened.settled();
    assert.equal((await reopened.facts.query(who, { limit: 50, ...likes })).facts.length, 1);
  });

  it('recomputes stored views when the configured cardinality changed between runs', async () => {
    const likes = { relation: 'memory:likes' };
    await t.node.facts.assert(who, fact({ v: 'tea', ...likes }));
    await t.node.facts.assert(who, fact({ v: 'rum', ...likes }));
    await t.node.stop();
    const many = await t.reopen({ manyRelations: new Set(['memory:likes']) });
    await many.settled();
    assert.equal((await many.facts.query(who, { limit: 50, ...likes })).facts.length, 2);
    await many.stop();
    const one = await t.reopen();
    await one.settled();
    assert.equal((await one.facts.query(who, { limit: 50, ...likes })).facts.length, 1);
  });

  it('pages newest first without gaps or repeats while others write', async () => {
    for (let n = 0; n < 120; n++) {
      t.clock.advance(1);
      await t.node.facts.assert(who, fact({ entity: `user:u${n}`, type: 'number', v: n }));
    }
    const seen: unknown[] = [];
    let cursor: string | null | undefined;
    do {
      const page = await query({ limit: 20, cursor: cursor ?? undefined });
      seen.push(...values(page));
      cursor = page.cursor;
      await t.node.facts.assert(who, fact({ entity: `user:new${seen.length}`, type: 'number', v: 1000 + seen.length }));
    } while (cursor !== null);
    assert.deepEqual(
      seen,
      Array.from({ length: 120 }, (_, n) => 119 - n),
    );
    const first = await query({ limit: 20 });
    await rejectsWith(query({ limit: 20, cursor: first.cursor, scope: 'company' }), 'invalid_cursor');
    await rejectsWith(query({ limit: 20, cursor: `${first.cursor}A` }), 'invalid_cursor');
    await rejectsWith(query({ limit: 501 }), 'invalid_query');
  });

  it('answers only what was committed after a head token, an HLC or an instant', async () => {
    await t.node.facts.assert(who, fact({ entity: 'user:a' }));
    const { head } = await query();
    const instant = new Date(t.clock.ms).toISOString();
    const { hlc } = (await query()).facts[0]!.statement;
    t.clock.advance(10);
    await t.node.facts.assert(who, fact({ entity: 'user:b', v: 'new' }));
    for (const after of [head, instant, hlc]) assert.deepEqual(values(await query({ after })), ['new'], after);
    assert.deepEqual(values(await query({ after: (await query()).head })), []);
    await rejectsWith(query({ after: 'yesterday' }), 'invalid_query');
  });

  it('keeps what a key may not read out of every answer', async () => {
    const reader = { ...who, scopes: new Set(['public' as const]), entity: 'agent:x' };
    const { fact: stored } = await t.node.facts.assert(who, fact());
    await t.node.facts.assert(who, fact({ v: 'CTO' }));
    assert.deepEqual(values(await t.node.facts.query(reader, { limit: 50 })), []);
    await rejectsWith(t.node.facts.get(reader, stored.id), 'fact_not_found');
    await rejectsWith(t.node.facts.get(reader, stored.cid), 'fact_not_found');
    assert.deepEqual((await t.node.conflicts.list(reader, { limit: 10 })).conflicts, []);
    await rejectsWith(t.node.facts.assert(reader, fact()), 'scope_denied');
  });

  it('writes a batch, item by item or not at all', async () => {
    const facts = [fact({ entity: 'user:a' }), fact({ entity: '  ' }), fact({ entity: 'user:a' })];
    const loose = await t.node.facts.assertBatch(who, { facts, atomic: false, idempotencyKey: 'k1' });
    assert.deepEqual(
      loose.items.map(({ status }) => status),
      ['created', 'error', 'exists'],
    );
    assert.equal(loose.accepted, 2);
    const replay = await t.node.facts.assertBatch(who, { facts, atomic: false, idempotencyKey: 'k1' });
    assert.equal(replay.replayed, true);
    assert.deepEqual(replay.items, loose.items);
    await rejectsWith(
      t.node.facts.assertBatch(who, { facts, atomic: true, idempotencyKey: 'k1' }),
      'idempotency_mismatch',
    );
    const atomic = await t.node.facts.assertBatch(who, {
      facts: [fact({ entity: 'user:z' }), fact({ entity: ' ' })],
      atomic: true,
    });
    assert.equal(atomic.accepted, 0);
    assert.deepEqual(values(await query({ entity: 'user:z' })), []);
  });

  it('feeds every commit in order, from any position', async () => {
    const heads: number[] = [];
    const end = t.node.feed.onCommit((seq) => heads.push(seq));
    for (const v of ['a', 'b', 'c']) await t.node.facts.assert(who, fact({ entity: `user:${v}`, v }));
    end();
    await t.node.facts.assert(who, fact({ entity: 'user:d', v: 'd' }));
    assert.deepEqual(heads, [1, 2, 3]);
    const events = await t.node.feed.read(1, 2);
    assert.deepEqual(
      events.map(({ seq, fact: view }) => [seq, view?.statement.body.value.v]),
      [
        [2, 'b'],
        [3, 'c'],
      ],
    );
    assert.deepEqual(await t.node.feed.read(4, 10), []);
    await t.node.cursors.set('search', 3);
    assert.equal(await t.node.cursors.get('search'), 3);
    assert.equal(await t.node.cursors.get('other'), 0);
  });

  it('exports signed statements that another node takes in, in any order, once', async () => {
    const { fact: old } = await t.node.facts.assert(who, fact({ v: 'CEO' }));
    await t.node.facts.assert(who, fact({ v: 'CTO', supersedes: [old.id] }));
    await t.node.facts.assert(who, fact({ v: 'tea', relation: 'memory:likes' }));
    await t.node.facts.assert(who, fact({ v: 'rum', relation: 'memory:likes' }));
    const [conflict] = (await t.node.conflicts.list(who, { limit: 10 })).conflicts;
    await t.node.facts.assert(who, fact({ entity: `fact:${old.id}`, relation: 'stigmem:ttl', type: 'number', v: 1e6 }));
    const exported = [];
    for await (const statement of t.node.transfer.exportStatements(who)) exported.push(statement);
    for (const statements of [exported, [...exported].reverse()]) {
      const other = await openTestNode({ clock: t.clock, unknownOrigins: 'accept' });
      const outcomes = await other.node.transfer.importStatements(who, statements);
      assert.ok(outcomes.every(({ status }) => status === 'accepted'));
      const again = await other.node.transfer.importStatements(who, statements);
      assert.ok(again.every(({ status }) => status === 'duplicate'));
      const all = { limit: 50, include: ['history' as const] };
      const mine = await t.node.facts.query(who, all);
      const theirs = await other.node.facts.query(who, all);
      assert.deepEqual(
        theirs.facts.map(({ id, state, contradicted, validUntil }) => [id, state, contradicted, validUntil]),
        mine.facts.map(({ id, state, contradicted, validUntil }) => [id, state, contradicted, validUntil]),
      );
      assert.equal((await other.node.conflicts.list(who, { limit: 10 })).conflicts[0]!.id, conflict!.id);
      assert.equal((await other.node.facts.verifyCid(who, old.id)).signatureValid, true);
    }
    const forged = { bytes: exported[0]!.bytes, sig: exported[1]!.sig };
    const [refused] = await t.node.transfer.importStatements(who, [forged]);
    assert.equal(refused?.status === 'rejected' && refused.code, 'bad_signature');
  });

  it('finds everything again after a restart and never goes back in sequence or clock', async () => {
    const { fact: before } = await t.node.facts.assert(who, fact());
    await t.node.stop();
    await rejectsWith(t.node.facts.assert(who, fact()), 'stopping');
    t.clock.advance(-3_600_000);
    const reopened = await t.reopen();
    const { fact: after } = await reopened.facts.assert(who, fact({ v: 'CTO' }));
    assert.ok(after.statement.hlc > before.statement.hlc);
    assert.equal(after.seq, before.seq + 1);
    assert.deepEqual(
      (await reopened.facts.query(who, { limit: 5 })).facts.map(({ id }) => id),
      [after.id],
    );
    assert.match((await reopened.status()).warnings.join(), /clock/);
  });
});

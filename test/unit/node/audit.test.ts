import assert from 'node:assert/strict';
import { cidText, sha256, sha256Name } from '../../../src/facts/cid.ts';
import { FactError } from '../../../src/facts/errors.ts';
import { AuditLog, encodeAudit } from '../../../src/node/audit.ts';
import { NodeError, type NodeErrorCode } from '../../../src/node/errors.ts';
import { MAX_AUDIT_OF_FACT, MAX_AUDIT_SCANNED } from '../../../src/node/local-limits.ts';
import { PageCursors } from '../../../src/node/page-cursor.ts';
import type { AuditEntry, AuditEvent, AuditQuery } from '../../../src/node/services.ts';
import { SYSTEM } from '../../../src/policy/principal.ts';
import { auditByFactKey, auditKey } from '../../../src/store/keys.ts';
import { MemoryStore } from '../../../src/store/memory/memory-store.ts';
import { ANONYMOUS, principal } from './local-writer.ts';

const refusal = (code: NodeErrorCode) => (error: unknown) => error instanceof NodeError && error.code === code;

const START = Date.UTC(2026, 0, 1);
const auditor = principal('user:auditor', ['audit.read']);
const alice = principal('user:alice', ['read', 'write']);
const fact = sha256('a statement');
const other = sha256('another statement');

describe('audit log', () => {
  let store: MemoryStore;
  let head = 0;
  /** Audit sequence by statement digest (hex), as log records carry it. */
  let written: Map<string, number>;
  let audit: AuditLog;

  beforeEach(() => {
    store = new MemoryStore();
    head = 0;
    written = new Map();
    audit = new AuditLog({
      store,
      cursors: new PageCursors(Buffer.alloc(32, 7)),
      head: () => head,
      auditSeqOfFact: async (digest) => written.get(Buffer.from(digest).toString('hex')),
    });
  });

  async function record(...events: AuditEvent[]): Promise<void> {
    const ops = events.flatMap((event) => {
      head += 1;
      const isWrite = event.type === 'fact_write';
      if (isWrite) written.set(Buffer.from(event.fact!).toString('hex'), head);
      return encodeAudit(event, head, START + head * 1000, !isWrite);
    });
    await store.batch(ops, { durable: true });
  }

  async function allPages(query: Omit<AuditQuery, 'limit'>, limit: number): Promise<AuditEntry[]> {
    const entries: AuditEntry[] = [];
    let cursor: string | undefined;
    for (let pages = 0; pages < 100; pages++) {
      const page = await audit.list(auditor, { ...query, limit, cursor });
      assert.ok(page.entries.length <= limit);
      entries.push(...page.entries);
      if (page.cursor === null) return entries;
      cursor = page.cursor;
    }
    throw new Error('the pages do not end');
  }

  const numbers = (entries: readonly AuditEntry[]): number[] => entries.map(({ seq }) => seq);

  it('encodes an entry, and indexes it by fact unless the log record points to it', () => {
    const event: AuditEvent = { type: 'fact_write', who: alice, fact, source: 'agent:x', detail: { a: 1 } };
    const [entry, ...index] = encodeAudit(event, 7, START);
    assert.deepEqual(entry?.key, auditKey(7));
    assert.deepEqual(index, [{ type: 'put', key: auditByFactKey(fact, 7), value: Buffer.alloc(0) }]);
    assert.equal(encodeAudit(event, 7, START, false).length, 1);
    assert.equal(encodeAudit({ type: 'start', who: SYSTEM }, 8, START).length, 1);
  });

  it('shows what was recorded, complete and with nulls where there is nothing', async () => {
    await record(
      { type: 'fact_write', who: alice, fact, source: 'agent:x', detail: { scope: 'team' } },
      { type: 'start', who: SYSTEM },
    );
    const { entries, cursor } = await audit.list(auditor, { limit: 10 });
    assert.equal(cursor, null);
    assert.deepEqual(entries, [
      {
        seq: 2,
        type: 'start',
        ts: '2026-01-01T00:00:02.000Z',
        principal: 'system:stigmesh',
        keyId: null,
        factId: null,
        source: 'system:stigmesh',
        detail: null,
      },
      {
        seq: 1,
        type: 'fact_write',
        ts: '2026-01-01T00:00:01.000Z',
        principal: 'user:alice',
        keyId: 'key of user:alice',
        factId: cidText(fact),
        source: 'agent:x',
        detail: { scope: 'team' },
      },
    ]);
  });

  it('takes a permission of its own', async () => {
    await record({ type: 'fact_write', who: alice, fact });
    for (const who of [auditor, ANONYMOUS, principal('user:root', ['admin'])]) {
      assert.equal((await audit.list(who, { limit: 1 })).entries.length, 1);
      assert.equal((await audit.ofFact(who, cidText(fact))).length, 1);
    }
    for (const who of [alice, principal('user:f', ['read', 'write', 'federate', 'instruction:write'])]) {
      await assert.rejects(audit.list(who, { limit: 1 }), refusal('permission_denied'));
      await assert.rejects(audit.ofFact(who, cidText(fact)), refusal('permission_denied'));
    }
  });

  it('shows what happened on the mesh to whoever may federate, and nothing else', async () => {
    const federator = principal('user:f', ['federate']);
    await record(
      { type: 'peer_approved', who: alice, detail: { peer_id: 'p1' } },
      { type: 'fact_write', who: alice, fact },
      { type: 'peer_removed', who: alice, detail: { peer_id: 'p2' } },
      { type: 'invite_created', who: alice },
    );
    const seen = async (federation: { peerId?: string }, type?: string) =>
      numbers((await audit.list(federator, { federation, type, limit: 10 })).entries);
    assert.deepEqual(await seen({}), [4, 3, 1]);
    assert.deepEqual(await seen({ peerId: 'p1' }), [1]);
    assert.deepEqual(await seen({}, 'peer_removed'), [3]);
    assert.deepEqual(await seen({}, 'fact_write'), []);
    await assert.rejects(audit.list(alice, { federation: {}, limit: 1 }), refusal('permission_denied'));
    const first = await audit.list(federator, { federation: {}, limit: 1 });
    // A cursor belongs to what was asked: it does not open the rest of the log.
    await assert.rejects(audit.list(auditor, { limit: 1, cursor: first.cursor! }), refusal('invalid_cursor'));
  });

  it('pages newest first, each entry once, also while entries are added', async () => {
    await record(...Array.from({ length: 23 }, (): AuditEvent => ({ type: 'tick', who: alice })));
    const expected = Array.from({ length: 23 }, (_, i) => 23 - i);
    for (const limit of [1, 5, 22, 23, 24]) assert.deepEqual(numbers(await allPages({}, limit)), expected);

    const first = await audit.list(auditor, { limit: 5 });
    await record({ type: 'tick', who: alice });
    const second = await audit.list(auditor, { limit: 5, cursor: first.cursor! });
    assert.deepEqual(numbers(second.entries), [18, 17, 16, 15, 14]);
  });

  it('filters by type, principal, source and statement', async () => {
    await record(
      { type: 'fact_write', who: alice, fact, source: 'agent:x' },
      { type: 'fact_write', who: ANONYMOUS, fact: other, source: 'agent:x' },
      { type: 'quarantine', who: SYSTEM, fact },
      { type: 'garden_create', who: alice },
      { type: 'release', who: alice, fact },
    );
    const cases: [Omit<AuditQuery, 'limit'>, number[]][] = [
      [{ type: 'fact_write' }, [2, 1]],
      [{ principal: 'user:alice' }, [5, 4, 1]],
      [{ source: 'agent:x' }, [2, 1]],
      [{ source: 'agent:x', principal: 'user:alice' }, [1]],
      [{ factId: cidText(fact) }, [5, 3, 1]],
      [{ factId: cidText(fact), principal: 'user:alice' }, [5, 1]],
      [{ factId: cidText(sha256('unknown')) }, []],
      [{ type: 'nothing' }, []],
    ];
    for (const [query, expected] of cases) {
      for (const limit of [1, 2, 500]) assert.deepEqual(numbers(await allPages(query, limit)), expected);
    }
  });

  it('looks at a bounded number of entries a page', async () => {
    const events = Array.from({ length: MAX_AUDIT_SCANNED + 700 }, (): AuditEvent => ({ type: 'tick', who: alice }));
    await record({ type: 'rare', who: alice }, ...events);
    const page = await audit.list(auditor, { type: 'rare', limit: 10 });
    assert.deepEqual(page.entries, []);
    assert.notEqual(page.cursor, null);
    assert.deepEqual(numbers(await allPages({ type: 'rare' }, 10)), [1]);
    assert.equal((await allPages({}, 500)).length, MAX_AUDIT_SCANNED + 701);
  });

  it('refuses cursors it did not make, or made for another query', async () => {
    await record(...Array.from({ length: 5 }, (): AuditEvent => ({ type: 'tick', who: alice })));
    const { cursor } = await audit.list(auditor, { limit: 2 });
    for (const bad of ['', 'x', `${cursor![0] === 'A' ? 'B' : 'A'}${cursor!.slice(1)}`, cursor!.slice(4)]) {
      await assert.rejects(audit.list(auditor, { limit: 2, cursor: bad }), refusal('invalid_cursor'));
    }
    await assert.rejects(audit.list(auditor, { limit: 2, cursor: cursor!, type: 'tick' }), refusal('invalid_cursor'));
  });

  describe('of one statement', () => {
    it('is complete and oldest first', async () => {
      await record(
        { type: 'fact_write', who: alice, fact },
        { type: 'fact_write', who: alice, fact: other },
        { type: 'quarantine', who: SYSTEM, fact },
      );
      assert.deepEqual(numbers(await audit.ofFact(auditor, cidText(fact))), [1, 3]);
      assert.deepEqual(numbers(await audit.ofFact(auditor, cidText(other))), [2]);
    });

    it('refuses what is unknown or names no statement', async () => {
      await assert.rejects(audit.ofFact(auditor, cidText(fact)), refusal('fact_not_found'));
      await assert.rejects(audit.ofFact(auditor, sha256Name(fact)), refusal('invalid_query'));
      await assert.rejects(audit.ofFact(auditor, 'x'), (error) => error instanceof FactError);
    });

    it('leaves out entries that were pruned', async () => {
      await record({ type: 'fact_write', who: alice, fact }, { type: 'quarantine', who: SYSTEM, fact });
      await store.batch([{ type: 'del', key: auditKey(1) }], { durable: true });
      assert.deepEqual(numbers(await audit.ofFact(auditor, cidText(fact))), [2]);
      assert.deepEqual(numbers(await allPages({ factId: cidText(fact) }, 1)), [2]);
    });

    it('is bounded', async () => {
      const events = Array.from(
        { length: MAX_AUDIT_OF_FACT + 5 },
        (): AuditEvent => ({ type: 'tick', who: alice, fact }),
      );
      await record(...events);
      const entries = await audit.ofFact(auditor, cidText(fact));
      assert.equal(entries.length, MAX_AUDIT_OF_FACT);
      assert.equal(entries[0]?.seq, 1);
    });
  });
});

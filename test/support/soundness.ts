import assert from 'node:assert/strict';
import { isFact, type Statement } from '../../src/facts/index.ts';
import { reindex } from '../../src/node/maintenance.ts';
import type { StigmeshNode } from '../../src/node/node.ts';
import { decodeLogRecord, fromJson, storedStatement } from '../../src/node/records.ts';
import { EMPTY_HEAD, type Head } from '../../src/node/writer.ts';
import { setOf } from '../../src/policy/sets.ts';
import * as keys from '../../src/store/keys.ts';
import { forEachSlice, type KeyRange, type Store } from '../../src/store/store.ts';

/** What a sound store holds, for comparison with the last look at it. */
export interface Soundness {
  readonly head: Head;
  /** Digests (hex) of the log, by sequence. */
  readonly log: ReadonlyMap<string, number>;
}

/**
 * Checks a store that no node writes to, as {@link assertConsistent} does, and that a rebuild of every index from the log
 * changes nothing.
 *
 * @param open opens a node on the store; each is stopped before this returns
 */
export async function assertSound(store: Store, open: () => Promise<StigmeshNode>): Promise<Soundness> {
  const report = await reindex(store, open);
  assert.equal(report.changed, false, 'the indexes differ from what the log says');
  return assertConsistent(store);
}

/**
 * Checks that nothing in a store is half there: every log entry has its sequence number and audit entry and the other way
 * round, the counters equal recounts, and no clock reading of its organisation is above the high-water mark.
 *
 * @param hasLost the store was salvaged: its sequence may have gaps
 */
export async function assertConsistent(store: Store, hasLost = false): Promise<Soundness> {
  const stored = await store.get(keys.metaKey('head'));
  const head = stored ? fromJson<Head>(stored) : EMPTY_HEAD;
  const meta = await store.get(keys.metaKey('node'));
  const org = meta && fromJson<{ org: string }>(meta).org;
  const log = new Map<string, number>();
  const statements = new Map<string, Statement>();
  let facts = 0;
  await forEachSlice(store, keys.logRange(), (rows) => {
    for (const { key, value } of rows) {
      const digest = Buffer.from(key.subarray(1));
      const record = decodeLogRecord(value, digest);
      const statement = storedStatement(record);
      log.set(digest.toString('hex'), record.seq);
      statements.set(digest.toString('hex'), statement);
      if (isFact(statement)) facts += 1;
      assert.ok(record.auditSeq >= 1 && record.auditSeq <= head.auditSeq, 'an audit number that was never given');
      // Clocks of other organisations are believed further than they are followed (decision 0084).
      const isFollowed = head.hlc !== null && (statement.org !== org || statement.hlc <= head.hlc);
      assert.ok(isFollowed, `${statement.hlc} is above the mark ${head.hlc}`);
    }
    return undefined;
  });
  const sequence: [string, number][] = [];
  await forEachSlice(store, keys.sequenceRange(0, Number.MAX_SAFE_INTEGER), (rows) => {
    for (const { key, value } of rows) {
      const digest = keys.sequenceDigest(value).toString('hex');
      sequence.push([digest, keys.sequenceOf(key)]);
      const terms = keys.sequenceTerms(value);
      const statement = statements.get(digest);
      // Short: mending left it to the next start of the node to complete.
      if (!terms || !statement) continue;
      const set = setOf(statement);
      assert.equal(terms.hlc, statement.hlc, 'the sequence tells another clock reading');
      if (set) assert.equal(terms.set.toString('hex'), keys.subject(set.name).toString('hex'), 'another set');
    }
    return undefined;
  });
  const given = sequence.map(([, seq]) => seq);
  if (hasLost) assert.ok(given.every((seq) => seq <= head.seq));
  else
    assert.deepEqual(
      given,
      Array.from({ length: head.seq }, (_, at) => at + 1),
      'the sequence has gaps or runs ahead of its counter',
    );
  const named = new Map(sequence);
  // What was quarantined keeps its number.
  if (hasLost) for (const [digest, seq] of log) assert.equal(named.get(digest), seq);
  else assert.deepEqual(named, new Map([...log].sort(([, a], [, b]) => a - b)));
  assert.equal(head.statements, log.size);
  assert.equal(head.facts, facts);
  const current = await count(
    store,
    ...(['local', 'team', 'company', 'public'] as const).map((scope) =>
      keys.indexRange('scope', keys.STATUS.current, keys.scopeSubject(scope)),
    ),
  );
  const counted = Object.values(head.current).reduce((sum, one) => sum + one, 0);
  assert.equal(counted, current, 'facts of the current view');
  assert.equal(head.openConflicts, await count(store, keys.conflictOrderRange('unresolved')));
  const audits: number[] = [];
  await forEachSlice(store, keys.auditRange(0, Number.MAX_SAFE_INTEGER), (rows) => {
    for (const { key } of rows) audits.push(keys.auditSeqOf(key));
    return undefined;
  });
  if (hasLost) return { head, log };
  const first = audits[0] ?? 1;
  assert.deepEqual(
    audits,
    Array.from({ length: head.auditSeq - first + 1 }, (_, at) => first + at),
  );
  return { head, log };
}

async function count(store: Store, ...ranges: readonly KeyRange[]): Promise<number> {
  let rows = 0;
  for (const range of ranges) {
    await forEachSlice(store, range, (entries) => {
      rows += entries.length;
      return undefined;
    });
  }
  return rows;
}

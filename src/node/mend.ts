import { hash } from 'node:crypto';
import { setImmediate as nextTurn } from 'node:timers/promises';
import { isFact } from '../facts/index.ts';
import * as keys from '../store/keys.ts';
import { forEachSlice, type KeyRange, type Store, type StoreOp } from '../store/store.ts';
import { decodeLogRecord, fromJson, storedStatement, toJson } from './records.ts';
import { EMPTY_HEAD, type Head } from './writer.ts';

export interface MendReport {
  /** Sequence entries that were written again, or removed because the log does not hold what they name. */
  readonly sequence: number;
  /** Other records (audit, gardens, keys, remembered answers) that could not be read and were set aside. */
  readonly records: number;
}

/** Tables of JSON that are no index of the log: what is damaged there cannot be rebuilt. */
const RECORD_TABLES: readonly KeyRange[] = [
  keys.auditRange(0, Number.MAX_SAFE_INTEGER),
  keys.gardenRange(),
  keys.apiKeyRange(),
  keys.allIdempotency(),
  keys.peerRange(),
  keys.inviteRange(),
  keys.manifestRange(),
  keys.organisationRange(),
  keys.setRange(),
];

const SLICE = 500;

/**
 * Numbers left out after the highest one that is known: the newest may be among what was lost, and a number given twice
 * would make those who follow the feed miss what gets it next. More than the write-ahead log holds at its largest
 * (32 MB, and a statement with its indexes takes most of a kilobyte).
 */
export const SALVAGE_GAP = 100_000;

/**
 * Makes a store whole again that lost some of its rows, from its log: the sequence, the counters, and a readable rest.
 * The indexes have to be rebuilt afterwards. Every record of the log must be good.
 *
 * @param hasLost whether there may have been more than there is: then numbers are left out
 */
export async function mend(store: Store, hasLost: boolean): Promise<MendReport> {
  const records = await setAsideUnreadable(store);
  const { head, sequence } = await recount(store);
  const gap = hasLost ? SALVAGE_GAP : 0;
  const next: Head = { ...head, seq: head.seq + gap, auditSeq: head.auditSeq + gap };
  await store.batch([{ type: 'put', key: keys.metaKey('head'), value: toJson(next) }], { durable: true });
  return { sequence, records };
}

async function setAsideUnreadable(store: Store): Promise<number> {
  let records = 0;
  for (const range of RECORD_TABLES) {
    await forEachSlice(store, range, async (rows) => {
      const ops: StoreOp[] = [];
      for (const { key, value } of rows) {
        try {
          fromJson(value);
        } catch {
          const name = Buffer.from(hash('sha256', key, 'hex'), 'hex');
          const kept = Buffer.concat([Buffer.from(`record ${key.toString('hex')}\n`), value]);
          ops.push({ type: 'put', key: keys.quarantineKey(name), value: kept }, { type: 'del', key });
          records += 1;
        }
      }
      if (ops.length > 0) await store.batch(ops, { durable: true });
      return undefined;
    });
  }
  return records;
}

async function recount(store: Store): Promise<{ head: Head; sequence: number }> {
  const stored = await store.get(keys.metaKey('head'));
  const old = readHead(stored);
  let { seq, auditSeq, hlc } = old;
  let statements = 0;
  let facts = 0;
  let mended = 0;
  await forEachSlice(
    store,
    keys.logRange(),
    async (rows) => {
      const found = rows.map(({ key, value }) => {
        const digest = Buffer.from(key.subarray(1));
        return { digest, record: decodeLogRecord(value, digest) };
      });
      const named = await store.getMany(found.map(({ record }) => keys.sequenceKey(record.seq)));
      const ops: StoreOp[] = [];
      for (const [at, { digest, record }] of found.entries()) {
        const statement = storedStatement(record);
        statements += 1;
        if (isFact(statement)) facts += 1;
        seq = Math.max(seq, record.seq);
        auditSeq = Math.max(auditSeq, record.auditSeq);
        if (hlc === null || statement.hlc > hlc) hlc = statement.hlc;
        const row = named[at];
        // Without its set, which the node completes at its next start.
        if (!row || !keys.sequenceDigest(row).equals(digest)) {
          ops.push({ type: 'put', key: keys.sequenceKey(record.seq), value: digest });
        }
      }
      mended += ops.length;
      if (ops.length > 0) await store.batch(ops, { durable: true });
      await nextTurn();
      return undefined;
    },
    SLICE,
  );
  await forEachSlice(store, keys.sequenceRange(0, Number.MAX_SAFE_INTEGER), async (rows) => {
    const ops: StoreOp[] = [];
    const digests = rows.map(({ value }) => keys.sequenceDigest(value));
    const records = await store.getMany(digests.map(keys.logKey));
    for (const [at, { key, value }] of rows.entries()) {
      const record = records[at];
      const digest = digests[at]!;
      const isNamed = record !== undefined && decodeLogRecord(record, digest).seq === keys.sequenceOf(key);
      const isWhole = digest.length === keys.DIGEST_BYTES;
      // What was set aside keeps its number, so that verify goes on naming it; it is in no set that peers reconcile, so
      // that one of them may bring it back.
      const isSetAside = isWhole && !isNamed && (await store.get(keys.quarantineKey(digest))) !== undefined;
      const isKnown = isWhole && (isNamed || isSetAside);
      if (!isKnown) ops.push({ type: 'del', key });
      else if (isSetAside && value.length > digest.length) ops.push({ type: 'put', key, value: digest });
      seq = Math.max(seq, isKnown ? keys.sequenceOf(key) : 0);
    }
    mended += ops.length;
    if (ops.length > 0) await store.batch(ops, { durable: true });
    return undefined;
  });
  await forEachSlice(store, keys.auditRange(0, Number.MAX_SAFE_INTEGER), (rows) => {
    for (const { key } of rows) auditSeq = Math.max(auditSeq, keys.auditSeqOf(key));
    return undefined;
  });
  return { head: { ...old, seq, auditSeq, hlc, statements, facts }, sequence: mended };
}

function readHead(stored: Buffer | undefined): Head {
  try {
    return stored ? fromJson<Head>(stored) : EMPTY_HEAD;
  } catch {
    return EMPTY_HEAD;
  }
}

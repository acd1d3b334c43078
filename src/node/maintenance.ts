import { setImmediate as nextTurn } from 'node:timers/promises';
import { type Digest, decodeStatement, sha256, statementId } from '../facts/index.ts';
import * as keys from '../store/keys.ts';
import { forEachSlice, type Reader, type Store, StoreError, type StoreOp } from '../store/store.ts';
import type { StigmeshNode } from './node.ts';
import { decodeLogRecord, fromJson, type LogRecord, sharedRow, toJson } from './records.ts';
import { EMPTY_HEAD, type Head } from './writer.ts';

/** Statements checked between two turns of the event loop. */
const SLICE = 64;

/** Checks a signature; may be slow (a blocked millisecond each), so callers choose the implementation. */
export type VerifySignature = (message: Digest, sig: Uint8Array, origin: string) => Promise<boolean>;

export type Problem = 'damaged' | 'bad_signature' | 'not_canonical' | 'unnamed' | 'missing';

export interface VerifyReport {
  /** Log entries looked at. */
  readonly statements: number;
  readonly good: number;
  readonly damaged: readonly { readonly id: string; readonly problem: Problem; readonly message: string }[];
  /** How many of them were moved out of the log. */
  readonly quarantined: number;
  /** Sequence numbers that were given, or may have been, and of whose statements not even the names are left. */
  readonly lost: readonly { readonly from: number; readonly to: number }[];
}

/** Damage listed one by one; beyond it only counted, so that a ruined disk does not become a ruined memory. */
export const MAX_DAMAGE_LISTED = 1000;

/**
 * Recomputes every CID and every signature of the log, trusting nothing it stored about them. With `quarantine` the
 * damaged entries are moved aside (table `q`), so that nothing serves them; the indexes must be rebuilt after that.
 */
export async function verifyLog(
  store: Store,
  verify: VerifySignature,
  options: { readonly quarantine: boolean; readonly progress?: (done: number) => void },
): Promise<VerifyReport> {
  const damaged: VerifyReport['damaged'][number][] = [];
  let statements = 0;
  let bad = 0;
  let quarantined = 0;
  const moves: StoreOp[] = [];
  const report = (key: Buffer, value: Buffer, problem: Problem, message: string): void => {
    bad += 1;
    const digest = key.subarray(1);
    if (damaged.length < MAX_DAMAGE_LISTED) damaged.push({ id: statementId(digest), problem, message });
    if (!options.quarantine) return;
    moves.push({
      type: 'put',
      key: keys.quarantineKey(digest),
      value: Buffer.concat([Buffer.from(`${problem}\n`), value]),
    });
    moves.push({ type: 'del', key });
  };
  await forEachSlice(
    store,
    keys.logRange(),
    async (rows) => {
      for (const { key, value } of rows) {
        statements += 1;
        const digest = Buffer.from(key.subarray(1));
        let record: LogRecord;
        try {
          record = decodeLogRecord(value, digest);
        } catch (error) {
          report(key, value, 'damaged', (error as Error).message);
          continue;
        }
        try {
          const { statement } = decodeStatement(record.bytes);
          if (!(await verify(digest, record.sig, statement.origin))) {
            report(key, value, 'bad_signature', "the signature is not the origin's over these bytes");
          }
        } catch (error) {
          report(key, value, 'not_canonical', (error as Error).message);
        }
      }
      quarantined += moves.length / 2;
      if (moves.length > 0) await store.batch(moves.splice(0), { durable: true });
      options.progress?.(statements);
      await nextTurn();
      return undefined;
    },
    SLICE,
  );
  const { missing, lost } = await missingFromLog(store);
  for (const id of missing) {
    if (damaged.length < MAX_DAMAGE_LISTED) {
      damaged.push({ id, problem: 'missing', message: 'the sequence names it, the log does not hold it' });
    }
  }
  return { statements, good: statements - bad, damaged, quarantined, lost };
}

/** Statements the sequence names and the log lacks (lost to damage, or quarantined before), and gaps in the sequence. */
export async function missingFromLog(store: Reader): Promise<{ missing: string[]; lost: VerifyReport['lost'] }> {
  const missing: string[] = [];
  const lost: VerifyReport['lost'][number][] = [];
  const gap = (from: number, to: number): void => {
    if (from <= to && lost.length < MAX_DAMAGE_LISTED) lost.push({ from, to });
  };
  let next = 1;
  await forEachSlice(store, keys.sequenceRange(0, Number.MAX_SAFE_INTEGER), async (rows) => {
    const records = await store.getMany(rows.map(({ value }) => keys.logKey(keys.sequenceDigest(value))));
    for (const [at, { key, value }] of rows.entries()) {
      const seq = keys.sequenceOf(key);
      gap(next, seq - 1);
      next = seq + 1;
      if (records[at] || missing.length >= MAX_DAMAGE_LISTED) continue;
      const digest = keys.sequenceDigest(value);
      missing.push(digest.length === keys.DIGEST_BYTES ? statementId(digest) : digest.toString('hex'));
    }
    return undefined;
  });
  const head = await store.get(keys.metaKey('head'));
  if (head) gap(next, fromJson<Head>(head).seq);
  return { missing, lost };
}

export interface ReindexReport {
  readonly statements: number;
  /** Digests over every derived table: equal contents, equal digest. */
  readonly before: string;
  readonly after: string;
  readonly changed: boolean;
}

/**
 * Digest over every derived table: two stores that answer alike have the same one, also of different nodes that trust the
 * same organisations.
 */
export async function derivedDigest(store: Reader): Promise<string> {
  let chain: Uint8Array = Buffer.alloc(32);
  for (const range of keys.DERIVED_RANGES) {
    await forEachSlice(store, range, async (rows) => {
      const parts = rows.flatMap(({ key, value }) => {
        const shared = sharedRow(keys.derivedTableOf(key), value);
        return [keys.u64(key.length), key, keys.u64(shared.length), shared];
      });
      chain = sha256(Buffer.concat([chain, ...parts]));
      await nextTurn();
      return undefined;
    });
  }
  return Buffer.from(chain).toString('hex');
}

/** Whether a rebuild was begun and not finished: the indexes are not to be served then. */
export async function isRebuilding(store: Reader): Promise<boolean> {
  return (await store.get(keys.metaKey('rebuilding'))) !== undefined;
}

/** Digest of the indexes as they are now; empty when they are too damaged to be read. */
async function settledDigest(store: Store, open: () => Promise<StigmeshNode>): Promise<string> {
  let node: StigmeshNode | undefined;
  try {
    // What has expired by now is settled first: the rebuilt view is a view of now.
    node = await open();
    await node.settled();
    await node.stop();
    return await derivedDigest(store);
  } catch (error) {
    await node?.stop();
    if (error instanceof StoreError && error.code === 'store_corrupt') return '';
    throw error;
  }
}

/**
 * Drops every derived table and rebuilds it from the log. The log is only read; a marker makes an interrupted rebuild
 * known to the next start, which repeats it.
 *
 * @param open opens a node on the store; called twice, each node is stopped before this returns
 */
export async function reindex(
  store: Store,
  open: () => Promise<StigmeshNode>,
  progress?: (done: number) => void,
): Promise<ReindexReport> {
  const before = (await isRebuilding(store)) ? '' : await settledDigest(store, open);
  const head = await store.get(keys.metaKey('head'));
  if (!head) return { statements: 0, before, after: before, changed: false };
  const emptied: Head = { ...fromJson<Head>(head), current: EMPTY_HEAD.current, openConflicts: 0 };
  await store.batch(
    [
      { type: 'put', key: keys.metaKey('rebuilding'), value: Buffer.from('1') },
      { type: 'put', key: keys.metaKey('head'), value: toJson(emptied) },
    ],
    { durable: true },
  );
  for (const range of keys.DERIVED_RANGES) {
    await forEachSlice(store, range, async (rows) => {
      const ops = rows.map(({ key }) => ({ type: 'del' as const, key }));
      // LevelDB may keep a later write that was synced and lose an earlier one that was not.
      await store.batch(ops, { durable: true });
      return undefined;
    });
  }
  const node = await open();
  let statements = 0;
  await forEachSlice(
    store,
    keys.sequenceRange(0, Number.MAX_SAFE_INTEGER),
    async (rows) => {
      const digests = rows.map(({ value }) => keys.sequenceDigest(value));
      const values = await store.getMany(digests.map(keys.logKey));
      const present = digests.flatMap((digest, at) => {
        const value = values[at];
        return value
          ? [{ digest, seq: keys.sequenceOf(rows[at]!.key), bytes: decodeLogRecord(value, digest).bytes }]
          : [];
      });
      await node.rebuild(present.map(({ digest, seq, bytes }) => ({ ...decodeStatement(bytes), digest, seq })));
      statements += present.length;
      progress?.(statements);
      return undefined;
    },
    REBUILD_SLICE,
  );
  await node.settled();
  await node.stop();
  await store.batch([{ type: 'del', key: keys.metaKey('rebuilding') }], { durable: true });
  const after = await derivedDigest(store);
  return { statements, before, after, changed: before !== after };
}

/** Statements indexed in one batch of a rebuild. */
const REBUILD_SLICE = 256;

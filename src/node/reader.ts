import { cidText, type Digest, isFact, sha256Name, stigmemDigest } from '../facts/index.ts';
import type { FactStatement, Statement } from '../facts/statement.ts';
import { formatInstant } from '../facts/time.ts';
import type { BarredState } from '../facts/view.ts';
import * as keys from '../store/keys.ts';
import { type Reader, StoreError } from '../store/store.ts';
import { decodeEntry, decodeLogRecord, type LogRecord, type StoredEntry, storedStatement } from './records.ts';
import type { FactView } from './types.ts';
import { keyId, keyOf } from './view-table.ts';

/** What a fact looks like follows from the moment it is read: what has expired by then, and whose key was revoked. */
export interface Moment {
  /** Unix ms. */
  readonly now: number;
  /** Whether a key is revoked today, whatever it signed before. */
  readonly isSourceRevoked: (org: string, origin: string) => boolean;
  /** Whether a statement with this sequence number counts, or why not. */
  readonly standingOf: (statement: Statement, seq: number) => 'good' | BarredState;
}

/** A fact assembled from its log record and its view entry. Names that few readers want are computed when asked for. */
export class StoredFact implements FactView {
  readonly statement: FactStatement;
  readonly #digest: Digest;
  readonly #record: LogRecord;
  readonly #entry: StoredEntry;
  readonly #moment: Moment;
  readonly state: FactView['state'];

  constructor(statement: FactStatement, digest: Digest, record: LogRecord, entry: StoredEntry, moment: Moment) {
    this.statement = statement;
    this.#digest = digest;
    this.#record = record;
    this.#entry = entry;
    this.#moment = moment;
    // The stored view is brought up to date as facts expire; a read in between must not show one that has.
    const live = entry.state === 'current' || entry.state === 'losing';
    this.state = live && entry.until !== null && entry.until <= moment.now ? 'expired' : entry.state;
  }

  /** Bytes of the statement. */
  get size(): number {
    return this.#record.bytes.length;
  }
  get id(): string {
    return cidText(this.#digest);
  }
  get cid(): string {
    return `sha256:${this.#entry.claim}`;
  }
  get cidV1(): string {
    return cidText(Buffer.from(this.#entry.claim, 'hex'));
  }
  get stigmemCid(): string {
    return sha256Name(stigmemDigest(this.statement.body));
  }
  get contradicted(): boolean {
    return this.#entry.contradicted && this.state !== 'expired';
  }
  get overruled(): boolean {
    return this.#entry.overruled;
  }
  get validUntil(): string | null {
    const { until, ownUntil } = this.#entry;
    if (until === ownUntil) return this.statement.ext.valid_until ?? null;
    return until === null ? null : formatInstant(until);
  }
  get seq(): number {
    return this.#record.seq;
  }
  get receivedAt(): number {
    return this.#record.receivedAt;
  }
  get receivedFrom(): string | null {
    return this.#record.receivedFrom;
  }
  get sourceRevoked(): boolean {
    return this.#moment.isSourceRevoked(this.statement.org, this.statement.origin);
  }
  get signature(): Uint8Array {
    return this.#record.sig;
  }
}

/**
 * Facts by statement digest, in the order given; undefined where the digest names no fact.
 *
 * @throws StoreError `store_corrupt` when a stored statement no longer hashes to its name
 */
export async function readFacts(
  reader: Reader,
  digests: readonly Digest[],
  moment: Moment,
): Promise<(StoredFact | undefined)[]> {
  const records = await reader.getMany(digests.map(keys.logKey));
  const found = records.map((value, at) => {
    if (!value) return undefined;
    const record = decodeLogRecord(value, digests[at]!);
    const statement = storedStatement(record);
    return isFact(statement) ? { record, statement, digest: digests[at]! } : undefined;
  });
  const facts = found.filter((fact) => fact !== undefined);
  const entries = await reader.getMany(
    facts.map(({ statement, digest }) => keys.viewEntryKey(keyId(keyOf(statement)!), statement.hlc, digest)),
  );
  const views = new Map<object, StoredFact>();
  facts.forEach((fact, at) => {
    const value = entries[at];
    const id = Buffer.from(fact.digest).toString('hex');
    if (!value) {
      throw new StoreError(
        'store_corrupt',
        `the view of statement ${cidText(fact.digest)} is missing`,
        "run 'stigmesh reindex'",
      );
    }
    const entry = decodeEntry(value, id, fact.statement.hlc);
    views.set(fact, new StoredFact(fact.statement, fact.digest, fact.record, entry, moment));
  });
  return found.map((fact) => (fact ? views.get(fact) : undefined));
}

import { crc32 } from 'node:zlib';
import { type Digest, type FactStatement, type Statement, sha256, statementId } from '../facts/index.ts';
import type { BarredState, ConflictView, EntryState, ViewEntry, ViewResolution } from '../facts/view.ts';
import { type DerivedTable, readU64, STATUS, type Status, u64 } from '../store/keys.ts';
import { StoreError } from '../store/store.ts';

/**
 * Values of the store's tables. The log is binary, since its bytes must stay as they were signed; view entries are, since
 * there are as many; the rest is JSON.
 */

/** A log entry: the signed bytes and what this node alone knows about their arrival. */
export interface LogRecord {
  readonly seq: number;
  /** Unix ms. */
  readonly receivedAt: number;
  /** Audit entry of the write. */
  readonly auditSeq: number;
  /** Peer id (or `import`) it came from, null when written here. */
  readonly receivedFrom: string | null;
  readonly sig: Uint8Array;
  readonly bytes: Uint8Array;
}

const LOG_VERSION = 1;
const SIG_BYTES = 64;
/** Version 1, checksum 4, seq 8, received at 8, audit seq 8, length of the sender 1; then sender, signature, bytes. */
const HEAD_BYTES = 30;
const CHECKSUM_AT = 1;
const CHECKED_FROM = 5;

export function encodeLogRecord(record: LogRecord): Buffer {
  const from = Buffer.from(record.receivedFrom ?? '');
  const at = HEAD_BYTES + from.length;
  const value = Buffer.allocUnsafe(at + SIG_BYTES + record.bytes.length);
  value[0] = LOG_VERSION;
  value.set(u64(record.seq), 5);
  value.set(u64(record.receivedAt), 13);
  value.set(u64(record.auditSeq), 21);
  value[29] = from.length;
  value.set(from, HEAD_BYTES);
  value.set(record.sig, at);
  value.set(record.bytes, at + SIG_BYTES);
  // The statement has its digest; the rest of the record needs something, too.
  value.writeUInt32BE(crc32(value.subarray(CHECKED_FROM, at + SIG_BYTES)), CHECKSUM_AT);
  return value;
}

/**
 * Decodes a log entry and checks that all of it is as it was written, and hashes to the key it was found under.
 *
 * @throws StoreError `store_corrupt`: damage is never served as good
 */
export function decodeLogRecord(value: Buffer, digest: Digest): LogRecord {
  const from = value.length > HEAD_BYTES ? value[29]! : 0;
  const at = HEAD_BYTES + from;
  const bytes = value.subarray(at + SIG_BYTES);
  if (
    value[0] !== LOG_VERSION ||
    value.length <= at + SIG_BYTES ||
    crc32(value.subarray(CHECKED_FROM, at + SIG_BYTES)) !== value.readUInt32BE(CHECKSUM_AT) ||
    Buffer.compare(sha256(bytes), digest) !== 0
  ) {
    throw new StoreError(
      'store_corrupt',
      `the stored statement ${statementId(digest)} is damaged`,
      "run 'stigmesh verify' to quarantine it",
    );
  }
  return {
    seq: readU64(value, 5),
    receivedAt: readU64(value, 13),
    auditSeq: readU64(value, 21),
    receivedFrom: from === 0 ? null : value.toString('utf8', HEAD_BYTES, at),
    sig: value.subarray(at, at + SIG_BYTES),
    bytes,
  };
}

/** The statement of a stored record. It passed the strict decoder when it came in, so its members are not checked again. */
export function storedStatement(record: LogRecord): Statement {
  const statement = JSON.parse(Buffer.from(record.bytes).toString('utf8')) as Statement;
  const { v, kind } = statement;
  if (v === 1 && (kind === 'fact' || kind === 'resolution' || kind === 'manifest')) return statement;
  return { ...statement, opaque: true };
}

/** Who signed a statement, and when it came here: by this the node judges whether it counts (standing.ts). */
export interface Signed {
  readonly org: string;
  /** Peer id; null for this node itself, which has nothing to prove. */
  readonly origin: string | null;
  readonly hlc: string;
  /** Local sequence number; 0 for this node itself. */
  readonly seq: number;
}

/** A view entry as stored: what the view is computed from, and what it came to. */
export interface StoredEntry extends ViewEntry, Signed {
  /** Digest (hex, 16 bytes) of the terms (`ext`): the same claim on other terms is another statement. */
  readonly terms: string;
  /** Subject of the source index. */
  readonly source: string;
  /** Expiry from the statement itself, before any stigmem:ttl. */
  readonly ownUntil: number | null;
  readonly state: EntryState;
  readonly contradicted: boolean;
  readonly overruled: boolean;
}

/** Order of the states in a stored entry; a position never changes its meaning. */
const STATES: readonly EntryState[] = [
  'current',
  'losing',
  'retraction',
  'dispute',
  'retracted',
  'superseded',
  'expired',
  'quarantined',
  'revoked',
];
const CONTRADICTED = 1;
const OVERRULED = 2;
const HAS_UNTIL = 4;
const HAS_OWN_UNTIL = 8;
const HAS_SUPERSEDER = 16;
const HAS_ORIGIN = 32;
const DIGEST_BYTES = 32;
const SHORT_BYTES = 16;
/**
 * Flags 1, state 1, confidence 8, value 32, claim 32, terms 16, source 16; then what the flags say, then the org; for
 * another node's, `seq` is among the former and a NUL and the origin follow the latter.
 */
const ENTRY_BYTES = 106;

/**
 * Binary, because there is one for every fact and most of it is digests: as JSON in hex it took twice the disk.
 */
export function encodeEntry(e: StoredEntry): Buffer {
  const { until, ownUntil, supersededBy, origin } = e;
  const who = origin === null ? e.org : `${e.org}\0${origin}`;
  const optional =
    (until === null ? 0 : 8) +
    (ownUntil === null ? 0 : 8) +
    (supersededBy === null ? 0 : DIGEST_BYTES) +
    (origin === null ? 0 : 8);
  const bytes = Buffer.allocUnsafe(ENTRY_BYTES + optional + Buffer.byteLength(who));
  bytes[0] =
    (e.contradicted ? CONTRADICTED : 0) |
    (e.overruled ? OVERRULED : 0) |
    (until === null ? 0 : HAS_UNTIL) |
    (ownUntil === null ? 0 : HAS_OWN_UNTIL) |
    (supersededBy === null ? 0 : HAS_SUPERSEDER) |
    (origin === null ? 0 : HAS_ORIGIN);
  bytes[1] = STATES.indexOf(e.state);
  bytes.writeDoubleBE(e.confidence, 2);
  bytes.write(e.value, 10, 'hex');
  bytes.write(e.claim, 42, 'hex');
  bytes.write(e.terms, 74, 'hex');
  bytes.write(e.source, 90, 'hex');
  let at = ENTRY_BYTES;
  if (until !== null) at = bytes.writeDoubleBE(until, at);
  if (ownUntil !== null) at = bytes.writeDoubleBE(ownUntil, at);
  if (supersededBy !== null) at += bytes.write(supersededBy, at, 'hex');
  if (origin !== null) at = bytes.writeDoubleBE(e.seq, at);
  bytes.write(who, at);
  return bytes;
}

/** @throws StoreError `store_corrupt` */
export function decodeEntry(value: Buffer, id: string, hlc: string): StoredEntry {
  const flags = value[0] ?? 0;
  const state = STATES[value[1] ?? STATES.length];
  let at = ENTRY_BYTES;
  const skip = (flag: number, size: number): number | undefined => {
    if ((flags & flag) === 0) return undefined;
    at += size;
    return at - size;
  };
  const untilAt = skip(HAS_UNTIL, 8);
  const ownUntilAt = skip(HAS_OWN_UNTIL, 8);
  const supersederAt = skip(HAS_SUPERSEDER, DIGEST_BYTES);
  const seqAt = skip(HAS_ORIGIN, 8);
  if (state === undefined || at >= value.length) throw damagedRecord();
  const [org = '', origin = null] = value.toString('utf8', at).split('\0');
  const hex = (from: number, size: number): string => value.toString('hex', from, from + size);
  return {
    id,
    hlc,
    org,
    origin,
    seq: seqAt === undefined ? 0 : value.readDoubleBE(seqAt),
    confidence: value.readDoubleBE(2),
    value: hex(10, DIGEST_BYTES),
    claim: hex(42, DIGEST_BYTES),
    until: untilAt === undefined ? null : value.readDoubleBE(untilAt),
    supersededBy: supersederAt === undefined ? null : hex(supersederAt, DIGEST_BYTES),
    terms: hex(74, SHORT_BYTES),
    source: hex(90, SHORT_BYTES),
    ownUntil: ownUntilAt === undefined ? null : value.readDoubleBE(ownUntilAt),
    state,
    // Declared elsewhere: the table sets it before it computes the view.
    many: false,
    contradicted: (flags & CONTRADICTED) !== 0,
    overruled: (flags & OVERRULED) !== 0,
  };
}

/**
 * A row of a derived table as it is on every node that holds the same statements and trusts the same organisations:
 * without who signed it, which a node leaves out of its own, and without its local sequence number.
 */
export function sharedRow(table: DerivedTable, value: Buffer): Buffer {
  if (table === 'other') return value;
  if (table !== 'entry') {
    const { origin: _origin, seq: _seq, ...rest } = fromJson<Partial<Signed>>(value);
    return toJson(rest);
  }
  const flags = value[0] ?? 0;
  if ((flags & HAS_ORIGIN) === 0) return value;
  let at = ENTRY_BYTES;
  for (const flag of [HAS_UNTIL, HAS_OWN_UNTIL]) if ((flags & flag) !== 0) at += 8;
  if ((flags & HAS_SUPERSEDER) !== 0) at += DIGEST_BYTES;
  const org = value.subarray(at + 8, value.indexOf(0, at + 8));
  const shared = Buffer.concat([value.subarray(0, at), org]);
  shared[0] = flags & ~HAS_ORIGIN;
  return shared;
}

/** Whether an assertion in this state stands, shown or outranked. */
export function isLive(state: EntryState): boolean {
  return state === 'current' || state === 'losing';
}

/** Whether a statement in this state is kept out of the view, whatever it says. */
export function isBarred(state: EntryState): state is BarredState {
  return state === 'quarantined' || state === 'revoked';
}

/** Which part of the status-first indexes a state belongs to. */
export function statusOf(state: EntryState): Status {
  if (state === 'current') return STATUS.current;
  if (isBarred(state)) return STATUS.barred;
  return state === 'losing' || state === 'dispute' ? STATUS.losing : STATUS.dead;
}

/** A resolution as stored on its key; whether its org is trusted is judged when the view is computed. */
export interface StoredResolution extends ViewResolution, Signed {}

/** A conflict as stored: what the view derived, and the key it stands on. */
export interface StoredConflict {
  /** Key K, hex. */
  readonly k: string;
  /** Statement digests (hex) of the newer and the older side. */
  readonly a: string;
  readonly b: string;
  /** Clock reading of the newer side: when the conflict arose. */
  readonly hlc: string;
  /** Statement digest (hex) of the effective resolution. */
  readonly by: string | null;
  readonly all: readonly string[];
}

export function storedConflict(k: string, conflict: ConflictView): StoredConflict {
  return {
    k,
    a: conflict.a.id,
    b: conflict.b.id,
    hlc: conflict.a.hlc,
    by: conflict.resolvedBy,
    all: conflict.resolutions,
  };
}

/** A remark of one statement about another: supersession or a stigmem:ttl. Kept so that order of arrival is no matter. */
export interface Note {
  readonly org: string;
  /** Of the statement that makes it; left out for this node itself, as in {@link Signed}. */
  readonly origin?: string;
  readonly seq?: number;
  /** For a ttl: the fact's value and confidence. */
  readonly ttl?: { readonly value: FactStatement['body']['value']; readonly confidence: number };
}

export const toJson = (value: unknown): Buffer => Buffer.from(JSON.stringify(value));

/** @throws StoreError `store_corrupt` */
export function fromJson<T>(value: Buffer): T {
  try {
    return JSON.parse(value.toString('utf8')) as T;
  } catch (error) {
    throw damagedRecord(error);
  }
}

function damagedRecord(cause?: unknown): StoreError {
  return new StoreError(
    'store_corrupt',
    'a stored record is damaged',
    "run 'stigmesh verify', and 'stigmesh reindex' if the log is good",
    cause,
  );
}

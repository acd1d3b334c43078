import { hash } from 'node:crypto';
import { type Hlc, hlcFromBytes, hlcToBytes } from '../facts/hlc.ts';
import { type FactScope, SCOPES } from '../facts/scope.ts';
import type { KeyRange } from './store.ts';

/**
 * ALL key encoding of the store. A key is one table tag and fixed-width big-endian parts, so that byte order is the
 * order wanted and a range is two cheap keys. Variable text enters as 16 bytes of its SHA-256.
 *
 * | tag | table | key after the tag | value |
 * |---|---|---|---|
 * | l | log | statement digest 32 | log record |
 * | s | sequence | local seq 8 | statement digest 32, hlc 8, set 16 |
 * | k | key | K 16, hlc 8, digest 32 | view entry (mutable) |
 * | r | resolution | K 16, hlc 8, digest 32 | resolution entry |
 * | e z o n p v h | index | status 1, subject 16, hlc 8, digest 32 | – |
 * | f | claim | fact or alias digest 32, hlc 8, digest 32 | – |
 * | x | expiry | instant 8, K 16, digest 32 | – |
 * | t | note | target digest 32, kind 1, hlc 8, digest 32 | note |
 * | c | conflict | id 16 | conflict record |
 * | m | key known | K 16 | list of its conflict ids |
 * | d | conflict order | status 1, hlc 8, id 16 | – |
 * | a | audit | seq 8 | audit event |
 * | b | audit by fact | digest 32, audit seq 8 | – |
 * | g | garden | slug | garden |
 * | u | API key | id | key record |
 * | i | idempotency | digest 32 | remembered answer |
 * | j | idempotency age | instant 8, digest 32 | – |
 * | w | cursor | name | seq 8 |
 * | S | set | 16 | set of statements |
 * | P | peer | peer id | peer |
 * | I | invite | id | invite |
 * | M | manifest | authority | newest manifest of an organisation |
 * | O | organisation | authority | since when what it says counts, and until when |
 * | q | quarantine | digest 32 | damaged record |
 * | y | meta | name | – |
 */
const TAG = {
  log: 0x6c,
  sequence: 0x73,
  key: 0x6b,
  resolution: 0x72,
  claim: 0x66,
  expiry: 0x78,
  note: 0x74,
  conflict: 0x63,
  conflictOrder: 0x64,
  knownKey: 0x6d,
  audit: 0x61,
  auditByFact: 0x62,
  garden: 0x67,
  apiKey: 0x75,
  idempotency: 0x69,
  idempotencyAge: 0x6a,
  cursor: 0x77,
  quarantine: 0x71,
  meta: 0x79,
  set: 0x53,
  peer: 0x50,
  invite: 0x49,
  manifest: 0x4d,
  organisation: 0x4f,
} as const;

/** Tags of the status-first indexes: by entity, entity and relation, source, relation, relation namespace, value, scope. */
const INDEX_TAG = {
  entity: 0x65,
  pair: 0x7a,
  source: 0x6f,
  relation: 0x70,
  namespace: 0x6e,
  value: 0x76,
  scope: 0x68,
} as const;
export type IndexName = keyof typeof INDEX_TAG;
export const INDEX_NAMES = Object.keys(INDEX_TAG) as IndexName[];

/** Where in an index a statement stands: what a default query sees, live but losing, no longer live, never believed. */
export const STATUS = { current: 0, losing: 1, dead: 2, barred: 3 } as const;
export type Status = (typeof STATUS)[keyof typeof STATUS];

export const DIGEST_BYTES = 32;
export const SUBJECT_BYTES = 16;
const HLC_BYTES = 8;

type Part = Uint8Array | number;

function join(tag: number, ...parts: readonly Part[]): Buffer {
  let length = 1;
  for (const part of parts) length += typeof part === 'number' ? 1 : part.length;
  const key = Buffer.allocUnsafe(length);
  key[0] = tag;
  let at = 1;
  for (const part of parts) {
    if (typeof part === 'number') key[at++] = part;
    else {
      key.set(part, at);
      at += part.length;
    }
  }
  return key;
}

/** The range of every key that starts with these parts. */
function prefixRange(tag: number, ...parts: readonly Part[]): KeyRange {
  const gte = join(tag, ...parts);
  return { gte, lt: successor(gte) };
}

/** The smallest key above every key with this prefix. */
function successor(prefix: Uint8Array): Buffer {
  const next = Buffer.from(prefix);
  for (let at = next.length - 1; at >= 0; at--) {
    if (next[at]! < 0xff) {
      next[at]! += 1;
      return next.subarray(0, at + 1);
    }
  }
  throw new RangeError('no key is above a prefix of 0xff bytes');
}

export function u64(n: number): Buffer {
  const bytes = Buffer.allocUnsafe(8);
  bytes.writeBigUInt64BE(BigInt(n));
  return bytes;
}

export function readU64(bytes: Uint8Array, offset = 0): number {
  return Number(Buffer.from(bytes.buffer, bytes.byteOffset, bytes.length).readBigUInt64BE(offset));
}

function hlcBytes(hlc: Hlc): Buffer {
  const bytes = Buffer.allocUnsafe(HLC_BYTES);
  hlcToBytes(hlc, bytes, 0);
  return bytes;
}

/** 16 bytes standing for a text of any length. */
export function subject(text: string): Buffer {
  return Buffer.from(hash('sha256', text, 'hex').slice(0, 2 * SUBJECT_BYTES), 'hex');
}

/** Identity of a key K of the view. */
export function viewKeyId(entity: string, relation: string, scope: FactScope, garden: string | undefined): Buffer {
  return subject(`${entity}\0${relation}\0${scope}\0${garden ?? ''}`);
}

/** The subject of the `scope` index: one byte of content, so that a query merges at most four ranges. */
export function scopeSubject(scope: FactScope): Buffer {
  return Buffer.alloc(SUBJECT_BYTES, SCOPES.indexOf(scope));
}

export const logKey = (digest: Uint8Array): Buffer => join(TAG.log, digest);
export const logRange = (): KeyRange => prefixRange(TAG.log);
export const sequenceKey = (seq: number): Buffer => join(TAG.sequence, u64(seq));
/** Sequences in `[from, to)`. */
export const sequenceRange = (from: number, to: number): KeyRange => ({ gte: sequenceKey(from), lt: sequenceKey(to) });
export const sequenceOf = (key: Uint8Array): number => readU64(key, 1);

/** Stands for the set of a statement that no peer may ever hold. */
export const NO_SET: Buffer = Buffer.alloc(SUBJECT_BYTES);
/** What the sequence says of a statement, so that the sets peers reconcile can be told without reading the log. */
export function sequenceValue(digest: Uint8Array, hlc: Hlc, set: Uint8Array): Buffer {
  const value = Buffer.allocUnsafe(DIGEST_BYTES + HLC_BYTES + SUBJECT_BYTES);
  value.set(digest);
  hlcToBytes(hlc, value, DIGEST_BYTES);
  value.set(set, DIGEST_BYTES + HLC_BYTES);
  return value;
}
/** The statement a row of the sequence names. */
export const sequenceDigest = (value: Buffer): Buffer => value.subarray(0, DIGEST_BYTES);
/** Clock reading and set of a row; undefined for a row that was written short. */
export const sequenceTerms = (value: Buffer): { hlc: Hlc; set: Buffer } | undefined =>
  value.length === DIGEST_BYTES + HLC_BYTES + SUBJECT_BYTES
    ? { hlc: hlcFromBytes(value, DIGEST_BYTES), set: value.subarray(DIGEST_BYTES + HLC_BYTES) }
    : undefined;

export const viewEntryKey = (k: Uint8Array, hlc: Hlc, digest: Uint8Array): Buffer =>
  join(TAG.key, k, hlcBytes(hlc), digest);
export const viewEntryRange = (k: Uint8Array): KeyRange => prefixRange(TAG.key, k);
export const resolutionKey = (k: Uint8Array, hlc: Hlc, digest: Uint8Array): Buffer =>
  join(TAG.resolution, k, hlcBytes(hlc), digest);
export const resolutionRange = (k: Uint8Array): KeyRange => prefixRange(TAG.resolution, k);

/** The clock reading and digest that end the keys of the view, resolution and index tables. */
export function orderOf(key: Uint8Array): { hlc: Hlc; digest: Buffer } {
  const at = key.length - DIGEST_BYTES;
  return { hlc: hlcFromBytes(key, at - HLC_BYTES), digest: Buffer.from(key.subarray(at)) };
}

export const indexKey = (index: IndexName, status: Status, of: Uint8Array, hlc: Hlc, digest: Uint8Array): Buffer =>
  join(INDEX_TAG[index], status, of, hlcBytes(hlc), digest);
export const indexRange = (index: IndexName, status: Status, of: Uint8Array): KeyRange =>
  prefixRange(INDEX_TAG[index], status, of);
/** The part of an index range at or above a clock reading. */
export const indexKeyAtHlc = (index: IndexName, status: Status, of: Uint8Array, hlc: Hlc): Buffer =>
  join(INDEX_TAG[index], status, of, hlcBytes(hlc));
/** The last bytes of an index key, clock then digest: the order in which ranges are merged and pages resume. */
export const orderBytes = (key: Uint8Array): Buffer => Buffer.from(key.subarray(key.length - DIGEST_BYTES - HLC_BYTES));

export const claimKey = (claim: Uint8Array, hlc: Hlc, digest: Uint8Array): Buffer =>
  join(TAG.claim, claim, hlcBytes(hlc), digest);
export const claimRange = (claim: Uint8Array): KeyRange => prefixRange(TAG.claim, claim);

export const expiryKey = (instant: number, k: Uint8Array, digest: Uint8Array): Buffer =>
  join(TAG.expiry, u64(instant), k, digest);
/** Everything due at or before an instant. */
export const expiryRange = (upTo: number): KeyRange => ({ gte: join(TAG.expiry), lt: join(TAG.expiry, u64(upTo + 1)) });
export const allExpiries = (): KeyRange => prefixRange(TAG.expiry);
export const expiryOf = (key: Uint8Array): { instant: number; k: Buffer } => ({
  instant: readU64(key, 1),
  k: Buffer.from(key.subarray(9, 9 + SUBJECT_BYTES)),
});

export const NOTE = { supersedes: 0, ttl: 1 } as const;
export type NoteKind = (typeof NOTE)[keyof typeof NOTE];
export const noteKey = (target: Uint8Array, kind: NoteKind, hlc: Hlc, digest: Uint8Array): Buffer =>
  join(TAG.note, target, kind, hlcBytes(hlc), digest);
export const allNotes = (): KeyRange => prefixRange(TAG.note);
/** The statement a note is about. */
export const noteTarget = (key: Uint8Array): Uint8Array => key.subarray(1, 1 + DIGEST_BYTES);
export const noteRange = (target: Uint8Array, kind: NoteKind): KeyRange => prefixRange(TAG.note, target, kind);

export const CONFLICT_STATUS = { unresolved: 0, resolved: 1 } as const;
export type ConflictStatus = keyof typeof CONFLICT_STATUS;
export const conflictKey = (id: Uint8Array): Buffer => join(TAG.conflict, id);
/** Present for every key with a statement on it: absence is one cheap look-up instead of two scans. */
export const knownKeyKey = (k: Uint8Array): Buffer => join(TAG.knownKey, k);
export const conflictRange = (): KeyRange => prefixRange(TAG.conflict);
export const conflictOrderKey = (status: ConflictStatus, hlc: Hlc, id: Uint8Array): Buffer =>
  join(TAG.conflictOrder, CONFLICT_STATUS[status], hlcBytes(hlc), id);
export const conflictOrderRange = (status: ConflictStatus): KeyRange =>
  prefixRange(TAG.conflictOrder, CONFLICT_STATUS[status]);
/** Clock reading and id that end a conflict order key. */
export const conflictOrderOf = (key: Uint8Array): { order: Buffer; id: Buffer } => ({
  order: Buffer.from(key.subarray(2)),
  id: Buffer.from(key.subarray(2 + HLC_BYTES)),
});

export const auditKey = (seq: number): Buffer => join(TAG.audit, u64(seq));
/** Audit sequences in `[from, to)`. */
export const auditRange = (from: number, to: number): KeyRange => ({ gte: auditKey(from), lt: auditKey(to) });
export const auditSeqOf = (key: Uint8Array): number => readU64(key, key.length - 8);
export const auditByFactKey = (digest: Uint8Array, seq: number): Buffer => join(TAG.auditByFact, digest, u64(seq));
export const auditByFactRange = (digest: Uint8Array): KeyRange => prefixRange(TAG.auditByFact, digest);

export const gardenKey = (slug: string): Buffer => join(TAG.garden, Buffer.from(slug));
export const gardenRange = (): KeyRange => prefixRange(TAG.garden);
export const apiKeyKey = (id: string): Buffer => join(TAG.apiKey, Buffer.from(id));
export const apiKeyRange = (): KeyRange => prefixRange(TAG.apiKey);

export const idempotencyKey = (digest: Uint8Array): Buffer => join(TAG.idempotency, digest);
export const idempotencyAgeKey = (instant: number, digest: Uint8Array): Buffer =>
  join(TAG.idempotencyAge, u64(instant), digest);
export const idempotencyAgeRange = (upTo: number): KeyRange => ({
  gte: join(TAG.idempotencyAge),
  lt: join(TAG.idempotencyAge, u64(upTo)),
});
export const allIdempotency = (): KeyRange => prefixRange(TAG.idempotency);
export const idempotencyDigestOf = (ageKey: Uint8Array): Buffer => Buffer.from(ageKey.subarray(9));

export const cursorKey = (name: string): Buffer => join(TAG.cursor, Buffer.from(name));
export const cursorRange = (): KeyRange => prefixRange(TAG.cursor);
export const quarantineKey = (digest: Uint8Array): Buffer => join(TAG.quarantine, digest);
export const quarantineRange = (): KeyRange => prefixRange(TAG.quarantine);
export const metaKey = (name: 'schema' | 'head' | 'node' | 'relations' | 'rebuilding' | 'trust'): Buffer =>
  join(TAG.meta, Buffer.from(name));

/** By the first 16 bytes of its name's hash. */
export const setKey = (set: Uint8Array): Buffer => join(TAG.set, set);
export const setRange = (): KeyRange => prefixRange(TAG.set);
export const setOfKey = (key: Uint8Array): Buffer => Buffer.from(key.subarray(1));
export const peerKey = (peerId: string): Buffer => join(TAG.peer, Buffer.from(peerId));
export const peerRange = (): KeyRange => prefixRange(TAG.peer);
export const inviteKey = (id: string): Buffer => join(TAG.invite, Buffer.from(id));
export const inviteRange = (): KeyRange => prefixRange(TAG.invite);
export const manifestKey = (authority: string): Buffer => join(TAG.manifest, Buffer.from(authority));
export const manifestRange = (): KeyRange => prefixRange(TAG.manifest);
export const organisationKey = (authority: string): Buffer => join(TAG.organisation, Buffer.from(authority));
export const organisationRange = (): KeyRange => prefixRange(TAG.organisation);

/** Present while the stored views of what an organisation said wait to be computed again. */
export const reassessKey = (authority: string): Buffer => join(TAG.meta, Buffer.from(`reassess ${authority}`));
export const reassessRange = (): KeyRange => prefixRange(TAG.meta, Buffer.from('reassess '));
export const reassessAuthorityOf = (key: Uint8Array): string =>
  Buffer.from(key).toString('utf8', 1 + 'reassess '.length);

/** Present while the stored views of a relation wait to be computed again. */
export const recomputeKey = (relation: string): Buffer => join(TAG.meta, Buffer.from(`recompute ${relation}`));
export const recomputeRange = (): KeyRange => prefixRange(TAG.meta, Buffer.from('recompute '));
export const recomputeRelationOf = (key: Uint8Array): string =>
  Buffer.from(key).toString('utf8', 1 + 'recompute '.length);

export type DerivedTable = 'entry' | 'resolution' | 'note' | 'other';

/** Of a row of a derived table, which it is in, as far as its values tell more than what every node would have in it. */
export function derivedTableOf(key: Uint8Array): DerivedTable {
  if (key[0] === TAG.key) return 'entry';
  if (key[0] === TAG.resolution) return 'resolution';
  return key[0] === TAG.note ? 'note' : 'other';
}

/** Every table that is derived from the log and can be rebuilt from it (`stigmesh reindex`). */
export const DERIVED_RANGES: readonly KeyRange[] = [
  prefixRange(TAG.key),
  prefixRange(TAG.resolution),
  prefixRange(TAG.claim),
  prefixRange(TAG.expiry),
  prefixRange(TAG.note),
  prefixRange(TAG.conflict),
  prefixRange(TAG.conflictOrder),
  prefixRange(TAG.knownKey),
  ...INDEX_NAMES.map((name) => prefixRange(INDEX_TAG[name])),
];

import { canonicalBytes, canonicalize, decodeCanonical, type JsonObject, type JsonValue } from './canonical-json.ts';
import { cidText, type Digest, parseCid, sha256 } from './cid.ts';
import { normalizeUri } from './entity-uri.ts';
import { FactError } from './errors.ts';
import { type Hlc, isHlc } from './hlc.ts';
import { MAX_DERIVED_FROM, MAX_NOTE_BYTES, MAX_STATEMENT_BYTES, MAX_SUPERSEDES } from './limits.ts';
import { normalizeRelation } from './relation.ts';
import { BASES, type Basis, type FactScope, INTERPRETATIONS, type Interpretation, isScope } from './scope.ts';
import { parseInstant, parseUtcInstant } from './time.ts';
import { type FactValue, normalizeValue } from './value.ts';

/** What is claimed: the six members under the fact CID (facts.md, "Two names for one fact"). */
export interface FactBody {
  readonly entity: string;
  readonly relation: string;
  readonly value: FactValue;
  readonly source: string;
  /** 0…1; 0 is a retraction. */
  readonly confidence: number;
  readonly scope: FactScope;
}

/** On what terms it is claimed. Everything here is under the statement CID: no relay can change it. */
export interface FactExt {
  /** RFC 3339; the fact is not live from then on. */
  readonly valid_until?: string;
  /** Garden URI: narrows who may see the fact within its scope. */
  readonly garden_id?: string;
  /** Provenance entries as the writer sent them (`{fact_id}` or `{hash}` and more). */
  readonly derived_from?: readonly JsonObject[];
  readonly interpret_as?: Interpretation;
  /** Statement CIDs of the same org that this one retires. */
  readonly supersedes?: readonly string[];
  readonly basis?: Basis;
}

/** A signed judgement over two sides of a conflict. Sides are named by fact CID, values by digest (see view.ts). */
export interface ResolutionBody {
  readonly conflict: string;
  readonly entity: string;
  readonly relation: string;
  readonly scope: FactScope;
  readonly source: string;
  readonly verdict: 'winner' | 'both_valid';
  /** The side keys this judgement covers: the two of the conflict, in order. */
  readonly sides: readonly string[];
  /** The side key that wins, possibly a new value's; null for `both_valid`. */
  readonly winner: string | null;
  /** Statement CID of the winning fact; null for `both_valid`. */
  readonly winning_fact: string | null;
  readonly note: string;
}

interface Envelope {
  readonly v: number;
  readonly kind: string;
  /** Peer id of the node that signed. */
  readonly origin: string;
  /** Authority of its organisation. */
  readonly org: string;
  readonly audience: FactScope;
  readonly hlc: Hlc;
  /** RFC 3339 UTC wall time of the write. */
  readonly timestamp: string;
}

export interface FactStatement extends Envelope {
  readonly v: 1;
  readonly kind: 'fact';
  readonly body: FactBody;
  readonly ext: FactExt;
}

export interface ResolutionStatement extends Envelope {
  readonly v: 1;
  readonly kind: 'resolution';
  readonly body: ResolutionBody;
  readonly ext: { readonly garden_id?: string };
}

/**
 * A manifest of the organisation that the origin speaks for, as a statement, so that it reaches whoever gets the
 * organisation's public statements. What stands in it is judged at admission (spec/mesh.md, Identity), not here.
 */
export interface ManifestStatement extends Envelope {
  readonly v: 1;
  readonly kind: 'manifest';
  readonly audience: 'public';
  readonly body: JsonObject & { readonly authority: string };
  readonly ext: { readonly [member: string]: never };
}

/** A kind or version this node does not know: kept, passed on, never indexed. */
export interface OpaqueStatement extends Envelope {
  readonly opaque: true;
  /** As it was received: only its `garden_id` is ever looked at, since a garden narrows who may hold anything. */
  readonly ext?: { readonly [member: string]: unknown };
}

export type Statement = FactStatement | ResolutionStatement | ManifestStatement | OpaqueStatement;

export function isFact(statement: Statement): statement is FactStatement {
  return statement.kind === 'fact' && !('opaque' in statement);
}

export function isResolution(statement: Statement): statement is ResolutionStatement {
  return statement.kind === 'resolution' && !('opaque' in statement);
}

export function isManifest(statement: Statement): statement is ManifestStatement {
  return statement.kind === 'manifest' && !('opaque' in statement);
}

/** A statement with its name, not yet signed. */
export interface EncodedStatement<S extends Statement = Statement> {
  readonly statement: S;
  /** RFC 8785 bytes: what is hashed, signed, stored and sent. */
  readonly bytes: Uint8Array;
  readonly digest: Digest;
}

/** A statement as it is stored and sent: bytes and a signature over their digest. */
export interface SignedStatement<S extends Statement = Statement> extends EncodedStatement<S> {
  /** Ed25519, 64 bytes. */
  readonly sig: Uint8Array;
}

/** Statement CID, the `id` of the HTTP API. */
export function statementId(digest: Digest): string {
  return cidText(digest);
}

/** Digest of the claim alone; its CID is the `cid` of the HTTP API. */
export function factDigest(body: FactBody): Digest {
  return sha256(canonicalize(body as unknown as JsonValue));
}

/**
 * Encodes a statement whose members were normalised already.
 *
 * @throws FactError `statement_too_large`, `lone_surrogate`, `too_deep`
 */
export function encodeStatement<S extends Exclude<Statement, OpaqueStatement>>(statement: S): EncodedStatement<S> {
  const bytes = canonicalBytes(statement as unknown as JsonValue);
  if (bytes.length > MAX_STATEMENT_BYTES) {
    throw new FactError(
      'statement_too_large',
      `the statement has ${bytes.length} bytes, the limit is ${MAX_STATEMENT_BYTES}`,
      'shorten value, derived_from or note',
    );
  }
  return { statement, bytes, digest: sha256(bytes) };
}

/**
 * Decodes bytes that claim to be a statement. Canonical form is checked before anything else looks at them; then every
 * member of a known kind must be in its one normalised spelling. The signature is not checked here.
 *
 * @throws FactError
 */
export function decodeStatement(bytes: Uint8Array): EncodedStatement {
  const json = decodeCanonical(bytes, MAX_STATEMENT_BYTES);
  return { statement: readStatement(json), bytes, digest: sha256(bytes) };
}

function readStatement(json: JsonValue): Statement {
  const object = asObject(json, 'statement');
  const { v, kind, origin, org, audience, hlc, timestamp } = object;
  if (typeof v !== 'number' || !Number.isInteger(v) || v < 1) throw malformed('v', 'is not a positive integer');
  if (typeof kind !== 'string' || !/^[a-z][a-z0-9-]{0,62}$/.test(kind)) throw malformed('kind', 'is not a kind name');
  if (typeof origin !== 'string' || !/^[1-9A-HJ-NP-Za-km-z]{40,64}$/.test(origin)) {
    throw malformed('origin', 'is not a peer id');
  }
  if (!isAuthority(org)) throw malformed('org', 'is not an authority name');
  if (!isScope(audience)) throw malformed('audience', 'is not a scope');
  if (!isHlc(hlc)) throw new FactError('invalid_hlc', 'hlc is not 13.3 digits', 'see spec/statements.md', 'hlc');
  if (typeof timestamp !== 'string') throw malformed('timestamp', 'is not text');
  parseUtcInstant(timestamp, 'timestamp');
  const envelope = { v, kind, origin, org, audience, hlc, timestamp };
  if (v !== 1 || (kind !== 'fact' && kind !== 'resolution' && kind !== 'manifest')) {
    const isObject = typeof object.ext === 'object' && object.ext !== null && !Array.isArray(object.ext);
    return { ...envelope, ...(isObject && { ext: object.ext as JsonObject }), opaque: true };
  }

  onlyMembers(object, ['v', 'kind', 'origin', 'org', 'audience', 'hlc', 'timestamp', 'body', 'ext'], 'statement');
  const body = asObject(object.body, 'body');
  const ext = asObject(object.ext, 'ext');
  if (kind === 'manifest') return { ...envelope, ...readManifest(audience, org, body, ext) };
  if (body.scope !== audience) throw malformed('audience', 'differs from body.scope');
  if (kind === 'fact') {
    onlyMembers(body, ['entity', 'relation', 'value', 'source', 'confidence', 'scope'], 'body');
    return {
      ...envelope,
      v: 1,
      kind,
      body: sameSpelling(body, normalizeBody(body)),
      ext: sameSpelling(ext, normalizeExt(ext)),
    };
  }
  return {
    ...envelope,
    v: 1,
    kind,
    body: sameSpelling(body, readResolution(body)),
    ext: sameSpelling(ext, ext.garden_id === undefined ? {} : { garden_id: gardenUri(ext.garden_id) }),
  };
}

/** Every manifest is for everybody: whoever may hold one statement of an organisation needs it to believe the others. */
function readManifest(
  audience: FactScope,
  org: string,
  body: JsonObject,
  ext: JsonObject,
): Pick<ManifestStatement, 'v' | 'kind' | 'audience' | 'body' | 'ext'> {
  if (audience !== 'public') throw malformed('audience', 'of a manifest is not public');
  if (body.authority !== org) throw malformed('body.authority', 'differs from org');
  onlyMembers(ext, [], 'ext');
  return { v: 1, kind: 'manifest', audience, body: body as ManifestStatement['body'], ext: {} };
}

/** An org authority is a DNS-style name: lower-case labels, digits and hyphens, at most 253 characters (RFC 1035). */
export function isAuthority(text: unknown): text is string {
  return (
    typeof text === 'string' &&
    text.length <= 253 &&
    /^[a-z0-9](?:[a-z0-9-]{0,61}[a-z0-9])?(?:\.[a-z0-9](?:[a-z0-9-]{0,61}[a-z0-9])?)*$/.test(text)
  );
}

/**
 * The six members from untrusted input, each in its normalised spelling.
 *
 * @throws FactError
 */
export function normalizeBody(input: { readonly [member: string]: unknown }): FactBody {
  const { entity, relation, source, confidence, scope } = input;
  if (typeof entity !== 'string') throw malformed('entity', 'is not text');
  if (typeof relation !== 'string') throw malformed('relation', 'is not text');
  if (typeof source !== 'string') throw malformed('source', 'is not text');
  if (typeof confidence !== 'number' || !(confidence >= 0 && confidence <= 1)) {
    throw new FactError(
      'invalid_confidence',
      'confidence is not between 0 and 1',
      'send a number from 0 to 1',
      'confidence',
    );
  }
  if (!isScope(scope)) {
    throw new FactError('invalid_scope', 'unknown scope', 'use local, team, company or public', 'scope');
  }
  const value = asObject(input.value as JsonValue, 'value');
  onlyMembers(value, ['type', 'v'], 'value');
  return {
    entity: normalizeUri(entity, 'entity'),
    relation: normalizeRelation(relation),
    value: normalizeValue(value.type, value.v),
    source: normalizeUri(source, 'source'),
    confidence: confidence === 0 ? 0 : confidence,
    scope,
  };
}

/**
 * The terms of a fact from untrusted input; members with no content are left out, so that one meaning has one spelling.
 *
 * @throws FactError
 */
export function normalizeExt(input: { readonly [member: string]: unknown }): FactExt {
  const ext: { -readonly [K in keyof FactExt]: FactExt[K] } = {};
  const { valid_until, garden_id, derived_from, interpret_as, supersedes, basis, ...unknown } = input;
  const stranger = Object.keys(unknown)[0];
  if (stranger !== undefined) throw badExt(stranger.slice(0, 40), 'is not a term this version knows');
  if (valid_until !== undefined && valid_until !== null) {
    if (typeof valid_until !== 'string') throw badExt('valid_until', 'is not text');
    parseInstant(valid_until, 'valid_until');
    ext.valid_until = valid_until;
  }
  if (garden_id !== undefined && garden_id !== null) ext.garden_id = gardenUri(garden_id);
  if (interpret_as !== undefined && interpret_as !== null && interpret_as !== 'content') {
    if (!(INTERPRETATIONS as readonly unknown[]).includes(interpret_as)) {
      throw badExt('interpret_as', `is not one of ${INTERPRETATIONS.join(', ')}`);
    }
    ext.interpret_as = interpret_as as Interpretation;
  }
  if (basis !== undefined && basis !== null) {
    if (!(BASES as readonly unknown[]).includes(basis)) throw badExt('basis', `is not one of ${BASES.join(', ')}`);
    ext.basis = basis as Basis;
  }
  if (supersedes !== undefined && supersedes !== null) {
    if (!Array.isArray(supersedes) || supersedes.length > MAX_SUPERSEDES) {
      throw badExt('supersedes', `is not a list of at most ${MAX_SUPERSEDES} statement CIDs`);
    }
    const ids = [...new Set(supersedes.map((id) => statementCid(id)))].sort();
    if (ids.length > 0) ext.supersedes = ids;
  }
  if (derived_from !== undefined && derived_from !== null) {
    if (!Array.isArray(derived_from) || derived_from.length > MAX_DERIVED_FROM) {
      throw badExt('derived_from', `is not a list of at most ${MAX_DERIVED_FROM} objects`);
    }
    for (const item of derived_from) asObject(item, 'derived_from');
    if (derived_from.length > 0) ext.derived_from = derived_from as JsonObject[];
  }
  return ext;
}

/** Objects are not asked for their text: `{"toString":null}` would throw, and is only ever sent to that end. */
function statementCid(id: unknown): string {
  if (typeof id !== 'string') throw badExt('supersedes', 'holds something else than a statement CID');
  return cidText(parseCid(id).digest);
}

function gardenUri(garden: unknown): string {
  if (typeof garden !== 'string') throw badExt('garden_id', 'is not text');
  return normalizeUri(garden, 'garden_id');
}

function readResolution(body: JsonObject): ResolutionBody {
  onlyMembers(
    body,
    ['conflict', 'entity', 'relation', 'scope', 'source', 'verdict', 'sides', 'winner', 'winning_fact', 'note'],
    'body',
  );
  const { conflict, entity, relation, scope, source, verdict, sides, winner, winning_fact, note } = body;
  if (typeof entity !== 'string' || typeof relation !== 'string' || typeof source !== 'string') {
    throw malformed('body', 'lacks entity, relation or source');
  }
  if (typeof conflict !== 'string' || !/^stigmem:conflict:[0-9a-f]{32}$/.test(conflict)) {
    throw malformed('conflict', 'is not a conflict id');
  }
  if (!isScope(scope)) throw malformed('scope', 'is not a scope');
  if (!Array.isArray(sides) || sides.length !== 2 || !sides.every(isSideKey) || sides[0]! >= sides[1]!) {
    throw malformed('sides', 'are not two side keys in order');
  }
  const winnerOk =
    verdict === 'winner'
      ? isSideKey(winner) && typeof winning_fact === 'string'
      : winner === null && winning_fact === null;
  if ((verdict !== 'winner' && verdict !== 'both_valid') || !winnerOk)
    throw malformed('verdict', 'does not fit winner');
  if (typeof note !== 'string' || Buffer.byteLength(note) > MAX_NOTE_BYTES) {
    throw malformed('note', `is not text of at most ${MAX_NOTE_BYTES} bytes`);
  }
  return {
    conflict,
    entity: normalizeUri(entity),
    relation: normalizeRelation(relation),
    scope,
    source: normalizeUri(source, 'source'),
    verdict,
    sides: sides as readonly string[],
    winner: winner as string | null,
    winning_fact: winning_fact === null ? null : cidText(parseCid(winning_fact as string).digest),
    note,
  };
}

/** A side of a conflict: the digest of a value, or `!` and a digest for the denial of one (view.ts). */
function isSideKey(key: unknown): key is string {
  return typeof key === 'string' && /^!?[0-9a-f]{64}$/.test(key);
}

function asObject(json: JsonValue | undefined, field: string): JsonObject {
  if (typeof json !== 'object' || json === null || Array.isArray(json)) throw malformed(field, 'is not an object');
  return json as JsonObject;
}

function onlyMembers(object: JsonObject, names: readonly string[], field: string): void {
  for (const name of Object.keys(object)) {
    if (!names.includes(name)) throw malformed(`${field}.${name.slice(0, 40)}`, 'is not a member this version knows');
  }
}

/** Refuses input that normalisation would have changed: inside a statement there is one spelling. */
function sameSpelling<T>(given: JsonObject, normalized: T): T {
  if (canonicalize(given) !== canonicalize(normalized as unknown as JsonValue)) {
    throw new FactError('not_canonical', 'a member is not in its normalised spelling', 'normalise before signing');
  }
  return normalized;
}

function malformed(field: string, problem: string): FactError {
  return new FactError('invalid_statement', `${field} ${problem}`, 'see spec/statements.md for the exact form', field);
}

function badExt(field: string, problem: string): FactError {
  return new FactError('invalid_ext', `${field} ${problem}`, 'see spec/facts.md for the terms of a fact', field);
}

import type { KeyObject } from 'node:crypto';
import { digestHex } from '../facts/cid.ts';
import {
  canonicalize,
  decodeStatement,
  type EncodedStatement,
  FactError,
  type FactStatement,
  factDigest,
  type HybridLogicalClock,
  hlcWall,
  isFact,
  isResolution,
  type JsonValue,
  LAST_INSTANT,
  parseCid,
  parseInstant,
  type ResolutionStatement,
  type Statement,
  signStatement,
  stigmemDigest,
  valueDigest,
  verifyStatement,
} from '../facts/index.ts';
import { compareEntries } from '../facts/view.ts';
import type { Principal } from '../policy/principal.ts';
import * as keys from '../store/keys.ts';
import { forEachSlice, type Reader } from '../store/store.ts';
import type { Cardinality } from './cardinality.ts';
import { NodeError } from './errors.ts';
import type { Expiry } from './expiry.ts';
import {
  decodeLogRecord,
  encodeLogRecord,
  fromJson,
  type LogRecord,
  type Note,
  type StoredEntry,
  type StoredResolution,
  storedStatement,
  toJson,
} from './records.ts';
import { entryOf, keyOf, type ViewTable } from './view-table.ts';
import type { Group, PendingNote } from './writer.ts';

/** Where a statement came from: written here, or read from an export by the operator. Peers join with the mesh. */
export type Arrival = { readonly via: 'local' } | { readonly via: 'import' };

/** A statement on its way in: its bytes, and either a signature to check or the key to sign with. */
export type Candidate = EncodedStatement & { readonly sig?: Uint8Array };

export interface AdmissionComponents {
  readonly store: Reader;
  readonly views: ViewTable;
  readonly clock: HybridLogicalClock;
  readonly cardinality: Cardinality;
  readonly expiry: Expiry;
  /** The node key: signs what is written here. */
  readonly nodeKey: KeyObject;
  /** Public key of an origin, from its peer id. Throws when the id is malformed. */
  readonly keyOfOrigin: (peerId: string) => KeyObject;
}

export interface AdmissionInit {
  readonly peerId: string;
  readonly org: string;
  readonly maxSkewMs: number;
}

const EMPTY = Buffer.alloc(0);
const RESERVED_ENTITY = /^stigmem:(?:conflict|resolution):/;

/**
 * The one door of the log. Every statement, whatever way it came, is decoded strictly, hashed, its signature and its
 * origin's authority checked, its clock believed or not, and only then added, in the writer's turn.
 */
export class Admission {
  readonly #components: AdmissionComponents;
  readonly #init: AdmissionInit;

  constructor(components: AdmissionComponents, init: AdmissionInit) {
    this.#components = components;
    this.#init = init;
  }

  /**
   * Checks received bytes as far as they can be checked without the store. Costs a bounded amount whatever they hold.
   *
   * @throws FactError (form, signature, clock), NodeError (authority)
   */
  async inspect(bytes: Uint8Array, sig: Uint8Array, arrival: Arrival): Promise<Candidate> {
    const encoded = decodeStatement(bytes);
    this.#checkAuthority(encoded, arrival);
    if (sig.length !== 64)
      throw new FactError('bad_signature', 'an Ed25519 signature has 64 bytes', 'send it whole', 'sig');
    let key: KeyObject;
    try {
      key = this.#components.keyOfOrigin(encoded.statement.origin);
    } catch {
      throw new NodeError('unknown_origin', 'origin is not an Ed25519 peer id', 'see spec/statements.md');
    }
    await verifyStatement(encoded.digest, sig, key);
    return { ...encoded, sig };
  }

  /** Whether the statement's claims about itself may be made by this origin, coming this way. */
  #checkAuthority({ statement }: EncodedStatement, { via }: Arrival): void {
    if (isFact(statement) && RESERVED_ENTITY.test(statement.body.entity)) {
      throw new NodeError(
        'reserved_entity',
        'conflicts and resolutions are derived, nobody asserts them',
        'resolve a conflict with POST /v1/conflicts/{id}/resolve',
      );
    }
    const own = statement.origin === this.#init.peerId && statement.org === this.#init.org;
    if (via === 'local' && !own) {
      throw new NodeError(
        'unknown_origin',
        'written here, but not by this node',
        'restart the daemon with its own keys',
      );
    }
  }

  /**
   * Adds a checked statement in the writer's turn. Signs it there when it was made here.
   *
   * @returns what was added, undefined when the log has it already (nothing is written then)
   * @throws FactError `hlc_ahead`, before anything changed
   */
  async admit(group: Group, candidate: Candidate, arrival: Arrival, who: Principal): Promise<LogRecord | undefined> {
    const { clock, store } = this.#components;
    const { statement, digest } = candidate;
    this.#checkAuthority(candidate, arrival);
    const id = Buffer.from(digest).toString('hex');
    if (group.added.has(id) || (arrival.via !== 'local' && (await store.get(keys.logKey(digest))) !== undefined))
      return undefined;
    if (arrival.via !== 'local') clock.observe(statement.hlc, this.#init.maxSkewMs);
    group.added.set(id, statement);
    if (isFact(statement)) await this.#addFact(group, statement, digest, id, arrival);
    else if (isResolution(statement)) await this.#addResolution(group, statement, digest, id);
    const seq = group.nextSeq(isFact(statement));
    const source = isFact(statement) || isResolution(statement) ? statement.body.source : statement.origin;
    const auditSeq = group.audit({ type: `${statement.kind}_write`, who, fact: digest, source }, false);
    const { sig } = candidate.sig ? { sig: candidate.sig } : signStatement(candidate, this.#components.nodeKey);
    const receivedFrom = arrival.via === 'local' ? null : arrival.via;
    const record: LogRecord = { seq, receivedAt: group.now, auditSeq, receivedFrom, sig, bytes: candidate.bytes };
    group.ops.push({ type: 'put', key: keys.logKey(digest), value: encodeLogRecord(record) });
    group.ops.push({ type: 'put', key: keys.sequenceKey(seq), value: Buffer.from(digest) });
    return record;
  }

  /** Adds a statement of the log to the derived tables: as it comes in, and again when they are rebuilt. */
  async index(group: Group, encoded: EncodedStatement): Promise<void> {
    const id = Buffer.from(encoded.digest).toString('hex');
    const { statement, digest } = encoded;
    if (isFact(statement)) await this.#addFact(group, statement, digest, id, { via: 'import' });
    else if (isResolution(statement)) await this.#addResolution(group, statement, digest, id);
  }

  async #addFact(
    group: Group,
    statement: FactStatement,
    digest: Uint8Array,
    id: string,
    { via }: Arrival,
  ): Promise<void> {
    const { views } = this.#components;
    const { body, ext } = statement;
    const claim = factDigest(body);
    const ownUntil = ext.valid_until === undefined ? null : parseInstant(ext.valid_until, 'valid_until');
    const entry = entryOf(statement, id, {
      value: valueDigest(body.value),
      claim: Buffer.from(claim).toString('hex'),
      terms: termsDigest(statement.ext),
      ownUntil,
    });
    const state = await views.load(keyOf(statement)!);
    let { until, supersededBy } = entry;
    if (via !== 'local') {
      // What others said about this statement may have come before it. Nobody can name a statement made just now.
      supersededBy = await this.#superseder(group, digest, statement.org);
      until = await this.#effectiveUntil(group, digest, entry);
    }
    state.entries.set(id, { ...entry, until, supersededBy });
    state.fresh.add(id);
    state.changed(via === 'local' && body.confidence > 0);
    group.dirty.add(state);
    if (until !== null) this.#components.expiry.schedule(group, until, state, id);
    for (const name of [claim, stigmemDigest(body)])
      group.ops.push({ type: 'put', key: keys.claimKey(name, statement.hlc, digest), value: EMPTY });
    for (const target of ext.supersedes ?? []) {
      await this.#note(group, parseCid(target).digest, keys.NOTE.supersedes, statement, digest, { org: statement.org });
    }
    if (body.relation === 'stigmem:ttl') {
      const target = ttlTarget(body.entity);
      const note: Note = { org: statement.org, ttl: { value: body.value, confidence: body.confidence } };
      if (target) await this.#note(group, target, keys.NOTE.ttl, statement, digest, note);
    }
    if (body.relation === 'stigmem:cardinality') this.#components.cardinality.changed(group, state);
  }

  async #addResolution(group: Group, statement: ResolutionStatement, digest: Uint8Array, id: string): Promise<void> {
    const state = await this.#components.views.load(keyOf(statement)!);
    const { sides, winner } = statement.body;
    const stored: StoredResolution = { id, hlc: statement.hlc, org: statement.org, sides, winner };
    state.resolutions.set(id, stored);
    // A judgement changes which value is shown, not what is live.
    state.changed(true);
    group.dirty.add(state);
    group.ops.push({ type: 'put', key: keys.resolutionKey(state.k, statement.hlc, digest), value: toJson(stored) });
  }

  /** Records what one statement says about another, and applies it where the other is known and of the same org. */
  async #note(
    group: Group,
    target: Uint8Array,
    kind: keys.NoteKind,
    from: FactStatement,
    digest: Uint8Array,
    note: Note,
  ): Promise<void> {
    const by = Buffer.from(digest).toString('hex');
    const id = Buffer.from(target).toString('hex');
    group.ops.push({ type: 'put', key: keys.noteKey(target, kind, from.hlc, digest), value: toJson(note) });
    group.notes.set(id, [...(group.notes.get(id) ?? []), { kind, hlc: from.hlc, id: by, note }]);
    const statement = group.added.get(id) ?? (await this.#stored(target));
    if (!statement || !isFact(statement) || statement.org !== from.org) return;
    const state = await this.#components.views.load(keyOf(statement)!);
    const entry = state.entries.get(id);
    if (!entry) return;
    if (kind === keys.NOTE.supersedes) {
      const supersededBy = entry.supersededBy === null || by < entry.supersededBy ? by : entry.supersededBy;
      state.entries.set(id, { ...entry, supersededBy });
    } else {
      const until = await this.#effectiveUntil(group, target, entry);
      if (until !== entry.until && until !== null) this.#components.expiry.schedule(group, until, state, id);
      state.entries.set(id, { ...entry, until });
    }
    state.touched.add(id);
    state.changed(false);
    group.dirty.add(state);
  }

  async #stored(digest: Uint8Array): Promise<Statement | undefined> {
    const record = await this.#components.store.get(keys.logKey(digest));
    return record && storedStatement(decodeLogRecord(record, digest));
  }

  /** What was said about a statement, here and in the group being prepared. */
  async #notes(group: Group, target: Uint8Array, kind: keys.NoteKind, org: string): Promise<PendingNote[]> {
    const notes = (group.notes.get(Buffer.from(target).toString('hex')) ?? []).filter(
      (pending) => pending.kind === kind,
    );
    await forEachSlice(this.#components.store, keys.noteRange(target, kind), (rows) => {
      for (const { key, value } of rows) {
        const { hlc, digest } = keys.orderOf(key);
        notes.push({ kind, hlc, id: digest.toString('hex'), note: fromJson<Note>(value) });
      }
      return undefined;
    });
    return notes.filter(({ note }) => note.org === org);
  }

  /** The own org's statement that supersedes this one; of several the smallest digest, so that order is no matter. */
  async #superseder(group: Group, digest: Uint8Array, org: string): Promise<string | null> {
    const notes = await this.#notes(group, digest, keys.NOTE.supersedes, org);
    return notes.map(({ id }) => id).sort()[0] ?? null;
  }

  /** Expiry of a statement (Unix ms): its own org's newest stigmem:ttl decides, else its valid_until. */
  async #effectiveUntil(
    group: Group,
    target: Uint8Array,
    entry: Pick<StoredEntry, 'org' | 'hlc' | 'ownUntil'>,
  ): Promise<number | null> {
    const notes = await this.#notes(group, target, keys.NOTE.ttl, entry.org);
    const ttl = notes.sort(compareEntries).at(-1)?.note.ttl;
    if (!ttl || ttl.confidence === 0) return entry.ownUntil;
    if (ttl.value.type === 'number') {
      // Any double is a number of seconds, but only so many are an instant that can be stored and spelled.
      return Math.floor(Math.min(LAST_INSTANT, Math.max(0, hlcWall(entry.hlc) + ttl.value.v * 1000)));
    }
    return ttl.value.type === 'datetime' ? parseInstant(ttl.value.v, 'value.v') : entry.ownUntil;
  }
}

/** The statement a stigmem:ttl is about: entity `fact:<statement CID>`, or the CID alone. */
export function ttlTarget(entity: string): Uint8Array | undefined {
  try {
    return parseCid(entity.replace(/^fact:/, '')).digest;
  } catch {
    return undefined;
  }
}

/** Digest of the terms a claim is made on: 16 bytes, hex. */
export function termsDigest(ext: FactStatement['ext']): string {
  const { supersedes: _, ...terms } = ext;
  return digestHex(canonicalize(terms as unknown as JsonValue)).slice(0, 32);
}

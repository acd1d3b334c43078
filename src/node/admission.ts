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
  isManifest,
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
import type { Arrival, Authority } from './authority.ts';
import type { Cardinality } from './cardinality.ts';
import type { Equivocations } from './equivocation.ts';
import { NodeError } from './errors.ts';
import type { Expiry } from './expiry.ts';
import type { Manifests } from './manifests.ts';
import type { NotedTargets } from './noted.ts';
import {
  decodeLogRecord,
  encodeLogRecord,
  fromJson,
  isBarred,
  type LogRecord,
  type Note,
  type Signed,
  type StoredEntry,
  type StoredResolution,
  storedStatement,
  toJson,
} from './records.ts';
import type { Sets } from './sets.ts';
import type { Standing } from './standing.ts';
import { entryOf, keyOf, type ViewTable } from './view-table.ts';
import type { Group, PendingNote } from './writer.ts';

export type { Arrival } from './authority.ts';

/** A statement on its way in: its bytes, and either a signature to check or the key to sign with. */
export type Candidate = EncodedStatement & { readonly sig?: Uint8Array };

export interface AdmissionComponents {
  readonly store: Reader;
  readonly views: ViewTable;
  readonly clock: HybridLogicalClock;
  readonly cardinality: Cardinality;
  readonly expiry: Expiry;
  readonly authority: Authority;
  readonly standing: Standing;
  readonly manifests: Manifests;
  readonly sets: Sets;
  readonly equivocations: Equivocations;
  readonly noted: NotedTargets;
  /** The node key: signs what is written here. */
  readonly nodeKey: KeyObject;
  /** Public key of an origin, from its peer id. Throws when the id is malformed. */
  readonly keyOfOrigin: (peerId: string) => KeyObject;
}

export interface AdmissionInit {
  readonly maxSkewMs: number;
  /** Authority of this organisation. */
  readonly org: string;
}

const EMPTY = Buffer.alloc(0);
/** Notes read at a time where the newest that counts is wanted: nearly always the first. */
const NEWEST_NOTES = 16;

/**
 * The one door of the log. Every statement, whatever way it came, is decoded strictly, hashed, its signature and its
 * origin's authority checked, its clock believed or not, and only then added, in the writer's turn.
 */
export class Admission {
  readonly #components: AdmissionComponents;
  readonly #init: AdmissionInit;
  /** Statements that a group adds to the quarantine, by organisation; under the empty name, all of them. */
  readonly #quarantined = new WeakMap<Group, Map<string, number>>();

  constructor(components: AdmissionComponents, init: AdmissionInit) {
    this.#components = components;
    this.#init = init;
  }

  /**
   * Decodes received bytes and checks whether they may come this way at all. Costs a bounded amount whatever they hold,
   * and tells nothing about what is held here.
   *
   * @throws FactError (form), NodeError (`scope_violation`, `not_owner`, …)
   */
  open(bytes: Uint8Array, arrival: Arrival): EncodedStatement {
    const encoded = decodeStatement(bytes);
    this.#components.authority.assertMayCome(encoded.statement, arrival);
    return encoded;
  }

  /**
   * Checks an opened statement as far as it can be checked without the store; signatures off the event loop.
   *
   * @param arriving authorities whose manifests are in the same batch
   * @throws FactError (signature), NodeError (authority)
   */
  async inspect(
    encoded: EncodedStatement,
    sig: Uint8Array,
    arrival: Arrival,
    arriving?: ReadonlySet<string>,
  ): Promise<Candidate> {
    const { authority, manifests } = this.#components;
    authority.assertMaySay(encoded.statement, arrival, undefined, arriving);
    if (sig.length !== 64)
      throw new FactError('bad_signature', 'an Ed25519 signature has 64 bytes', 'send it whole', 'sig');
    let key: KeyObject;
    try {
      key = this.#components.keyOfOrigin(encoded.statement.origin);
    } catch {
      throw new NodeError('unknown_origin', 'origin is not an Ed25519 peer id', 'see spec/statements.md');
    }
    await verifyStatement(encoded.digest, sig, key);
    await manifests.inspect(encoded);
    return { ...encoded, sig };
  }

  /**
   * Adds a checked statement in the writer's turn, where whatever may have changed since is asked again. Signs it there
   * when it was made here.
   *
   * @returns what was added, undefined when the log has it already (nothing is written then)
   * @throws FactError `hlc_ahead`, NodeError, before anything changed
   */
  async admit(group: Group, candidate: Candidate, arrival: Arrival, who: Principal): Promise<LogRecord | undefined> {
    const { store, authority, manifests, sets, equivocations } = this.#components;
    const { statement, digest, bytes } = candidate;
    const isLocal = arrival.via === 'local';
    authority.assertMayCome(statement, arrival);
    const id = Buffer.from(digest).toString('hex');
    if (group.added.has(id) || (!isLocal && (await store.get(keys.logKey(digest))) !== undefined)) return undefined;
    authority.assertMaySay(statement, arrival, group);
    const place = sets.place(group, statement);
    if (!isLocal) this.#assertRoom(group, statement, arrival);
    if (!isLocal) this.#observe(statement, arrival);
    group.added.set(id, statement);
    const seq = group.nextSeq(isFact(statement));
    await this.index(group, candidate, seq, isLocal);
    if (isManifest(statement)) {
      const from = arrival.via === 'peer' ? arrival.peerId : null;
      manifests.admit(group, who, { statement, digest, bytes }, from);
    }
    if (!isLocal) await equivocations.look(group, who, statement, digest);
    const source = isFact(statement) || isResolution(statement) ? statement.body.source : statement.origin;
    const auditSeq = group.audit({ type: `${statement.kind}_write`, who, fact: digest, source }, false);
    const { sig } = candidate.sig ? { sig: candidate.sig } : signStatement(candidate, this.#components.nodeKey);
    const receivedFrom = isLocal ? null : arrival.via === 'peer' ? arrival.peerId : arrival.via;
    const record: LogRecord = { seq, receivedAt: group.now, auditSeq, receivedFrom, sig, bytes };
    group.ops.push({ type: 'put', key: keys.logKey(digest), value: encodeLogRecord(record) });
    const row = sets.stage(group, place, { statement, digest, bytes, sig }, seq, receivedFrom);
    group.ops.push({ type: 'put', key: keys.sequenceKey(seq), value: row });
    return record;
  }

  /**
   * A peer may push our clock in the name of another organisation half as far as others believe ours: else what we write
   * next would be ahead of every clock that is a moment behind this one, and be refused there in our name.
   *
   * @throws FactError `hlc_ahead`
   */
  #observe({ org, hlc }: Statement, { via }: Arrival): void {
    const { maxSkewMs } = this.#init;
    const isForeign = via === 'peer' && org !== this.#init.org;
    this.#components.clock.observe(hlc, maxSkewMs, isForeign ? maxSkewMs / 2 : maxSkewMs);
  }

  /** @throws NodeError `quarantine_full` */
  #assertRoom(group: Group, statement: Statement, arrival: Arrival): void {
    const { authority, standing } = this.#components;
    if (!standing.isQuarantined(statement.org)) return;
    const pending = this.#quarantined.get(group) ?? new Map<string, number>();
    const ofOrg = pending.get(statement.org) ?? 0;
    const ofAll = pending.get('') ?? 0;
    if (arrival.via === 'peer') authority.assertRoom(statement.org, { ofOrg, ofAll });
    this.#quarantined.set(group, pending.set(statement.org, ofOrg + 1).set('', ofAll + 1));
  }

  /**
   * Adds a statement of the log to the derived tables: as it comes in, and again when they are rebuilt.
   *
   * @param isNew whether it was made here just now
   */
  async index(group: Group, { statement, digest }: EncodedStatement, seq: number, isNew = false): Promise<void> {
    const id = Buffer.from(digest).toString('hex');
    if (isFact(statement)) await this.#addFact(group, statement, digest, id, seq, isNew);
    else if (isResolution(statement)) await this.#addResolution(group, statement, digest, id, seq);
  }

  /** Judges a statement of the log again after the standing of whoever signed it changed. */
  async judge(group: Group, { statement, digest }: EncodedStatement, seq: number): Promise<void> {
    const key = keyOf(statement);
    if (!key) return;
    const state = await this.#components.views.load(key);
    const id = Buffer.from(digest).toString('hex');
    const entry = state.entries.get(id);
    if (isFact(statement) && entry) {
      const signed = this.#signed(statement, seq);
      const standing = this.#components.standing.of(signed);
      const supersededBy = await this.#superseder(group, digest, statement.org);
      const until = await this.#effectiveUntil(group, digest, entry);
      const stands = standing === 'good' ? !isBarred(entry.state) : standing === entry.state;
      if (stands && supersededBy === entry.supersededBy && until === entry.until) return;
      this.#components.expiry.reschedule(group, entry.until, until, state, id);
      state.entries.set(id, { ...entry, ...signed, supersededBy, until });
      state.touched.add(id);
    }
    state.changed(false);
    group.dirty.add(state);
    this.#components.cardinality.changed(group, state);
  }

  async #addFact(
    group: Group,
    statement: FactStatement,
    digest: Uint8Array,
    id: string,
    seq: number,
    isNew: boolean,
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
      ...this.#signed(statement, seq),
    });
    const state = await views.load(keyOf(statement)!);
    let { until, supersededBy } = entry;
    if (!isNew) {
      // What others said about this statement may have come before it. Nobody can name a statement made just now.
      supersededBy = await this.#superseder(group, digest, statement.org, true);
      until = await this.#effectiveUntil(group, digest, entry, true);
    }
    state.entries.set(id, { ...entry, until, supersededBy });
    state.fresh.add(id);
    state.changed(isNew && body.confidence > 0);
    group.dirty.add(state);
    if (until !== null) this.#components.expiry.schedule(group, until, state, id);
    for (const name of [claim, stigmemDigest(body)])
      group.ops.push({ type: 'put', key: keys.claimKey(name, statement.hlc, digest), value: EMPTY });
    for (const target of ext.supersedes ?? []) {
      await this.#note(group, parseCid(target).digest, keys.NOTE.supersedes, statement, digest, seq);
    }
    if (body.relation === 'stigmem:ttl') {
      const target = ttlTarget(body.entity);
      const ttl = { value: body.value, confidence: body.confidence };
      if (target) await this.#note(group, target, keys.NOTE.ttl, statement, digest, seq, ttl);
    }
    this.#components.cardinality.changed(group, state);
  }

  async #addResolution(
    group: Group,
    statement: ResolutionStatement,
    digest: Uint8Array,
    id: string,
    seq: number,
  ): Promise<void> {
    const state = await this.#components.views.load(keyOf(statement)!);
    const { sides, winner } = statement.body;
    const stored: StoredResolution = { id, ...this.#signed(statement, seq), sides, winner };
    state.resolutions.set(id, stored);
    // A judgement changes which value is shown, not what is live.
    state.changed(true);
    group.dirty.add(state);
    group.ops.push({ type: 'put', key: keys.resolutionKey(state.k, statement.hlc, digest), value: toJson(stored) });
  }

  /** What the views keep of who signed a statement. What this node signed, it need not be judged by. */
  #signed({ org, origin, hlc }: Statement, seq: number): Signed {
    const other = this.#components.standing.originOf(origin);
    return { org, origin: other, hlc, seq: other === null ? 0 : seq };
  }

  /** Records what one statement says about another, and applies it where the other is known and of the same org. */
  async #note(
    group: Group,
    target: Uint8Array,
    kind: keys.NoteKind,
    from: FactStatement,
    digest: Uint8Array,
    seq: number,
    ttl?: Note['ttl'],
  ): Promise<void> {
    const signed = this.#signed(from, seq);
    const { org, origin } = signed;
    const note: Note = { org, ...(origin === null ? {} : { origin, seq }), ...(ttl && { ttl }) };
    const by = Buffer.from(digest).toString('hex');
    const id = Buffer.from(target).toString('hex');
    const statement = group.added.get(id) ?? (await this.#stored(target));
    // What another organisation says about it never counts, and would only be in the way of what does.
    if (statement && isFact(statement) && statement.org !== from.org) return;
    group.ops.push({ type: 'put', key: keys.noteKey(target, kind, from.hlc, digest), value: toJson(note) });
    this.#components.noted.add(target);
    group.notes.set(id, [...(group.notes.get(id) ?? []), { kind, hlc: from.hlc, id: by, note }]);
    if (!statement || !isFact(statement)) return;
    // What does not count, does nothing; if it comes to count, its targets are judged again.
    if (this.#components.standing.of(signed) !== 'good') return;
    const state = await this.#components.views.load(keyOf(statement)!);
    const entry = state.entries.get(id);
    if (!entry) return;
    if (kind === keys.NOTE.supersedes) {
      const supersededBy = entry.supersededBy === null || by < entry.supersededBy ? by : entry.supersededBy;
      state.entries.set(id, { ...entry, supersededBy });
    } else {
      const until = await this.#effectiveUntil(group, target, entry);
      this.#components.expiry.reschedule(group, entry.until, until, state, id);
      state.entries.set(id, { ...entry, until });
    }
    state.touched.add(id);
    state.changed(false);
    group.dirty.add(state);
    this.#components.cardinality.changed(group, state);
  }

  async #stored(digest: Uint8Array): Promise<Statement | undefined> {
    const record = await this.#components.store.get(keys.logKey(digest));
    return record && storedStatement(decodeLogRecord(record, digest));
  }

  /**
   * What the own org said about a statement and counts, here and in the group being prepared. Of a ttl only the newest is
   * asked for, so that each further one costs no look at all before it.
   *
   * @param isFirst whether the statement itself came just now: what others had said about it is dropped then
   */
  async #notes(
    group: Group,
    target: Uint8Array,
    kind: keys.NoteKind,
    org: string,
    isFirst: boolean,
  ): Promise<PendingNote[]> {
    const { standing, store, noted } = this.#components;
    if (!noted.mayHave(target)) return [];
    const counts = ({ hlc, note }: PendingNote): boolean => {
      const { origin = null, seq = 0 } = note;
      return note.org === org && standing.of({ org, origin, hlc, seq }) === 'good';
    };
    const pending = (group.notes.get(Buffer.from(target).toString('hex')) ?? []).filter((one) => one.kind === kind);
    const drop = ({ hlc, id, note }: PendingNote): void => {
      if (!isFirst || note.org === org) return;
      group.ops.push({ type: 'del', key: keys.noteKey(target, kind, hlc, Buffer.from(id, 'hex')) });
    };
    pending.forEach(drop);
    const notes = pending.filter(counts);
    const isNewestEnough = kind === keys.NOTE.ttl && !isFirst;
    await forEachSlice(
      store,
      { ...keys.noteRange(target, kind), reverse: true },
      (rows) => {
        for (const { key, value } of rows) {
          const { hlc, digest } = keys.orderOf(key);
          const one = { kind, hlc, id: digest.toString('hex'), note: fromJson<Note>(value) };
          drop(one);
          if (!counts(one)) continue;
          notes.push(one);
          if (isNewestEnough) return false;
        }
        return undefined;
      },
      isNewestEnough ? NEWEST_NOTES : undefined,
    );
    return notes;
  }

  /** The own org's statement that supersedes this one; of several the smallest digest, so that order is no matter. */
  async #superseder(group: Group, digest: Uint8Array, org: string, isFirst = false): Promise<string | null> {
    const notes = await this.#notes(group, digest, keys.NOTE.supersedes, org, isFirst);
    return notes.map(({ id }) => id).sort()[0] ?? null;
  }

  /** Expiry of a statement (Unix ms): its own org's newest stigmem:ttl decides, else its valid_until. */
  async #effectiveUntil(
    group: Group,
    target: Uint8Array,
    entry: Pick<StoredEntry, 'org' | 'hlc' | 'ownUntil'>,
    isFirst = false,
  ): Promise<number | null> {
    const [first, ...others] = await this.#notes(group, target, keys.NOTE.ttl, entry.org, isFirst);
    const ttl = others.reduce((newest, one) => (compareEntries(newest!, one) < 0 ? one : newest), first)?.note.ttl;
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

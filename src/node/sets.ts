import { type Digest, type Hlc, ownCopy, type SignedStatement, type Statement } from '../facts/index.ts';
import { namedSet, type SetAudience, type StatementSet, setOf } from '../policy/sets.ts';
import { isShared, type Pairing } from '../policy/sharing.ts';
import * as keys from '../store/keys.ts';
import { forEachSlice, type Store, StoreError } from '../store/store.ts';
import { afterReading, digestOfKey, END_KEY, FIRST_KEY, keyOf, startOfReading } from '../sync/key.ts';
import { insertByName } from '../sync/order.ts';
import { SetIndex } from '../sync/set-index.ts';
import { NodeError } from './errors.ts';
import type { NodeSet, WireStatement } from './federation.ts';
import {
  MAX_NAMESPACES,
  MAX_QUARANTINED_SETS,
  MAX_SAME_READING,
  MAX_SETS,
  MAX_SETS_SEARCHED,
  MIN_OWN_SETS,
  SET_LOAD_SLICE,
  SETS_LOADED_AT_START,
} from './mesh-limits.ts';
import type { SetCommit, SetsService } from './mesh-services.ts';
import { decodeLogRecord, fromJson, type LogRecord, storedStatement, toJson } from './records.ts';
import type { Group, Writer } from './writer.ts';

export interface SetsComponents {
  readonly store: Store;
  readonly writer: Writer;
  /** Told of every statement of another organisation, as it is loaded or committed. */
  readonly onForeign: (org: string, seq: number) => void;
  /** Whether what an organisation says is kept out of the view. */
  readonly isQuarantined: (org: string) => boolean;
  /** Told of a statement whose record turned out to be damaged when it was to be sent. */
  readonly onDamaged: (digest: Digest) => void;
  /** The indexes of a large log are not loaded before (SETS_LOADED_AT_START): only peers need them. */
  readonly started: Promise<void>;
}

export interface SetsInit {
  readonly org: string;
  readonly peerId: string;
}

/**
 * A set as stored. `withheld` is none that peers could know of: it stands for what another organisation said to itself
 * alone and our operator imported, so that its statements can be found again.
 */
interface SetRow {
  readonly audience: SetAudience | 'withheld';
  readonly org: string;
  readonly namespace: string;
  readonly garden?: string;
}

export interface Held {
  readonly name: string;
  /** 16 bytes, and the same in hex. */
  readonly id: Buffer;
  readonly hex: string;
  readonly row: SetRow;
  readonly index: SetIndex;
  /** What peers may know of it; null for what is withheld. */
  readonly shared: NodeSet<SetIndex> | null;
}

/** What one group adds. */
interface Staged {
  readonly added: { readonly held: Held; readonly hlc: Hlc; readonly digest: Digest }[];
  readonly commits: SetCommit[];
  readonly fresh: Map<string, Held>;
  /** What others signed, by organisation, origin and clock reading. */
  readonly readings: Map<string, Digest>;
  readonly foreign: { readonly org: string; readonly seq: number }[];
  last: number;
}

/**
 * The partition of the log into sets, and the index of each (mesh.md, Sets). Which set a statement is in stands in the
 * sequence, so that the indexes are loaded without reading the log; afterwards they follow every durable commit.
 */
export class Sets implements SetsService {
  readonly #components: SetsComponents;
  readonly #init: SetsInit;
  readonly #byName = new Map<string, Held>();
  readonly #byId = new Map<string, Held>();
  /** What peers may know of, in the order of the bytes of their names. */
  readonly #ordered: NodeSet<SetIndex>[] = [];
  /** Sets and namespaces by organisation. */
  readonly #byOrg = new Map<string, { readonly sets: Held[]; readonly namespaces: Set<string> }>();
  readonly #staged = new WeakMap<Group, Staged>();
  readonly #listeners = new Set<(commits: readonly SetCommit[]) => void>();
  #ready = Promise.withResolvers<void>();
  #isReady = false;
  /** Sequence from which on the indexes have to be loaded yet. */
  #next = 1;
  #loading: Promise<void> = Promise.resolve();
  #stopped = false;
  readonly #ended = Promise.withResolvers<void>();
  #failure: unknown;

  constructor(components: SetsComponents, init: SetsInit) {
    this.#components = components;
    this.#init = init;
  }

  get ready(): Promise<void> {
    return this.#ready.promise;
  }

  get isReady(): boolean {
    return this.#isReady;
  }

  /** Why the indexes could not be loaded; undefined when they were, or still may be. */
  get failure(): unknown {
    return this.#failure;
  }

  get size(): number {
    return this.#ordered.length;
  }

  get(name: string): NodeSet<SetIndex> | undefined {
    return this.#byName.get(name)?.shared ?? undefined;
  }

  list(pairing: Pairing): NodeSet<SetIndex>[] {
    return this.#ordered.filter(({ set }) => isShared(set, pairing));
  }

  async read(pairing: Pairing, digests: readonly Digest[]): Promise<(WireStatement | undefined)[]> {
    const records = await this.#components.store.getMany(digests.map(keys.logKey));
    return records.map((value, at) => {
      const record = value && this.#whole(value, digests[at]!);
      if (!record) return undefined;
      const set = setOf(storedStatement(record));
      return set && isShared(set, pairing) ? { bytes: record.bytes, sig: record.sig } : undefined;
    });
  }

  /** A damaged record is none that can be sent, and keeps no other from being sent. */
  #whole(value: Buffer, digest: Digest): LogRecord | undefined {
    try {
      return decodeLogRecord(value, digest);
    } catch (error) {
      if (!(error instanceof StoreError)) throw error;
      this.#components.onDamaged(digest);
      return undefined;
    }
  }

  on(listener: (commits: readonly SetCommit[]) => void): () => void {
    this.#listeners.add(listener);
    return () => this.#listeners.delete(listener);
  }

  /**
   * Reads which sets there are, and begins to load their indexes up to `head`. To be called again when a group was
   * resurrected (then the writer waits for this, so that this must not wait for the writer), and when loading failed.
   */
  async load(head: number): Promise<void> {
    await forEachSlice(this.#components.store, keys.setRange(), (rows) => {
      for (const { key, value } of rows) this.#keep(this.#held(keys.setOfKey(key), fromJson<SetRow>(value)));
      return undefined;
    });
    if (this.#isReady && head >= this.#next) {
      this.#ready = Promise.withResolvers();
      this.#isReady = false;
    }
    this.#failure = undefined;
    const { started } = this.#components;
    const isLarge = head - this.#next >= SETS_LOADED_AT_START;
    const due = isLarge ? Promise.race([started, this.#ended.promise]) : undefined;
    this.#loading = Promise.all([this.#loading, due])
      .then(() => this.#loadRows(head))
      .then(
        () => {
          if (this.#stopped) return;
          this.#isReady = true;
          this.#ready.resolve();
        },
        (error: unknown) => {
          this.#failure = error;
        },
      );
  }

  async stop(): Promise<void> {
    this.#stopped = true;
    this.#ended.resolve();
    await this.#loading;
    // Whoever waits for the indexes finds that they are not there, and that the node stops.
    this.#ready.resolve();
  }

  /**
   * The set a statement goes into; null for what this node says to itself alone. Changes nothing.
   *
   * @throws NodeError `too_many_namespaces`, `too_many_sets`
   */
  place(group: Group, statement: Statement): Held | null {
    const set = setOf(statement);
    const row = set ? rowOf(set, statement) : this.#withheld(statement);
    if (row === null) return null;
    const name = set ? set.name : nameOf(row);
    const known = this.#byName.get(name) ?? this.#staged.get(group)?.fresh.get(name);
    if (known) return known;
    if (set) this.#assertRoom(group, set);
    return this.#held(keys.subject(name), row);
  }

  #assertRoom(group: Group, set: StatementSet): void {
    const fresh = [...(this.#staged.get(group)?.fresh.values() ?? [])];
    const known = this.#byOrg.get(set.org);
    const namespaces = new Set(fresh.filter(({ row }) => row.org === set.org).map(({ row }) => row.namespace));
    for (const namespace of known?.namespaces ?? []) namespaces.add(namespace);
    if (namespaces.size >= MAX_NAMESPACES && !namespaces.has(set.namespace)) {
      throw new NodeError(
        'too_many_namespaces',
        `${set.org} has ${MAX_NAMESPACES} relation namespaces already`,
        'use one of them: a namespace is a topic that can be shared by itself, not a name for each thing',
      );
    }
    const own = this.#byOrg.get(this.#init.org)?.sets.length ?? 0;
    const size = this.#byName.size + fresh.length;
    const isFull =
      size >= MAX_SETS ||
      (set.org !== this.#init.org && size - own >= MAX_SETS - MIN_OWN_SETS) ||
      (this.#components.isQuarantined(set.org) && this.#quarantinedSets() + fresh.length >= MAX_QUARANTINED_SETS);
    if (!isFull) return;
    throw new NodeError('too_many_sets', 'there are as many sets as there may be', 'use fewer namespaces and gardens');
  }

  /**
   * Takes a statement into the group that is being prepared.
   *
   * @param held as {@link place} answered
   * @returns what the sequence says of it
   */
  stage(
    group: Group,
    held: Held | null,
    { statement, digest, bytes, sig }: SignedStatement,
    seq: number,
    receivedFrom: string | null,
  ): Buffer {
    const { org, origin, hlc } = statement;
    if (held === null) return keys.sequenceValue(digest, hlc, keys.NO_SET);
    const staged = this.#stage(group);
    if (!this.#byId.has(held.hex) && !staged.fresh.has(held.name)) {
      staged.fresh.set(held.name, held);
      group.ops.push({ type: 'put', key: keys.setKey(held.id), value: toJson(held.row) });
    }
    if (receivedFrom !== null) staged.readings.set(readingName(org, origin, hlc), digest);
    staged.added.push({ held, hlc, digest });
    if (held.shared) staged.commits.push({ set: held.shared.set, hlc, digest, receivedFrom, bytes, sig });
    if (org !== this.#init.org) staged.foreign.push({ org, seq });
    staged.last = seq;
    return keys.sequenceValue(digest, hlc, held.id);
  }

  /**
   * Another statement that the same origin signed with the same reading of its clock, which no honest node does; undefined
   * where none is found. Looks at a bounded number of sets, the statement's own first.
   */
  async sameReading(group: Group, statement: Statement, digest: Digest): Promise<Digest | undefined> {
    const { org, origin, hlc } = statement;
    const staged = this.#staged.get(group)?.readings.get(readingName(org, origin, hlc));
    if (staged && Buffer.compare(staged, digest) !== 0) return staged;
    const name = setOf(statement)?.name;
    const own = name === undefined ? undefined : this.#byName.get(name);
    const others = (this.#byOrg.get(org)?.sets ?? []).slice(0, MAX_SETS_SEARCHED);
    const key = keyOf(hlc, digest);
    const [low, high] = [startOfReading(key), afterReading(key)];
    let left = MAX_SAME_READING;
    for (const held of new Set(own ? [own, ...others] : others)) {
      if (left === 0) break;
      for (const found of held.index.descending(low, high, left)) {
        const other = digestOfKey(found);
        if (Buffer.compare(other, digest) === 0) continue;
        left -= 1;
        const value = await this.#components.store.get(keys.logKey(other));
        if (value && storedStatement(decodeLogRecord(value, other)).origin === origin) return other;
      }
    }
    return undefined;
  }

  /** Authorities of whose statements any are held. */
  organisations(): readonly string[] {
    return [...this.#byOrg.keys()];
  }

  /** Calls back with every statement of an organisation, a slice at a time, until it answers false. */
  async statementsOf(org: string, slice: number, visit: (digests: Digest[]) => Promise<boolean>): Promise<void> {
    for (const { index } of [...(this.#byOrg.get(org)?.sets ?? [])]) {
      // What comes meanwhile is judged as it comes.
      for (let high = END_KEY; ; ) {
        const found = index.descending(FIRST_KEY, high, slice);
        if (found.length > 0 && !(await visit(found.map(digestOfKey)))) return;
        if (found.length < slice) break;
        high = found.at(-1)!;
      }
    }
  }

  #stage(group: Group): Staged {
    const known = this.#staged.get(group);
    if (known) return known;
    const staged: Staged = { added: [], commits: [], fresh: new Map(), readings: new Map(), foreign: [], last: 0 };
    this.#staged.set(group, staged);
    group.afterCommit.push(() => this.#committed(staged));
    return staged;
  }

  #committed({ added, commits, fresh, foreign, last }: Staged): void {
    for (const held of fresh.values()) this.#keep(held);
    for (const { held, hlc, digest } of added) this.#byId.get(held.hex)!.index.insert(hlc, digest);
    for (const { org, seq } of foreign) this.#components.onForeign(org, seq);
    // While older rows are being loaded, these come beside them.
    if (this.#isReady) this.#next = last + 1;
    if (commits.length > 0) for (const listener of this.#listeners) listener(commits);
  }

  async #loadRows(head: number): Promise<void> {
    const unknown: { seq: number; digest: Buffer }[] = [];
    await forEachSlice(
      this.#components.store,
      keys.sequenceRange(this.#next, head + 1),
      async (rows) => {
        for (const { key, value } of rows) {
          const seq = keys.sequenceOf(key);
          const terms = keys.sequenceTerms(value);
          if (terms?.set.equals(keys.NO_SET)) continue;
          const held = terms && this.#byId.get(terms.set.toString('hex'));
          if (held) this.#add(held, seq, terms.hlc, keys.sequenceDigest(value));
          else unknown.push({ seq, digest: Buffer.from(keys.sequenceDigest(value)) });
        }
        if (unknown.length > 0) await this.#complete(unknown.splice(0));
        this.#next = keys.sequenceOf(rows.at(-1)!.key) + 1;
        return !this.#stopped;
      },
      SET_LOAD_SLICE,
    );
    this.#next = Math.max(this.#next, head + 1);
  }

  /** Rows that do not say their set, or one that is not known, are written again from the log. */
  async #complete(rows: readonly { readonly seq: number; readonly digest: Buffer }[]): Promise<void> {
    const { store, writer } = this.#components;
    const values = await store.getMany(rows.map(({ digest }) => keys.logKey(digest)));
    const found = rows.flatMap(({ seq, digest }, at) => {
      const value = values[at];
      // What was set aside as damaged keeps its row: it is not held, and may come back from a peer.
      if (!value) return [];
      const statement = storedStatement(decodeLogRecord(value, digest));
      const set = setOf(statement);
      return [{ seq, digest, statement, row: set ? rowOf(set, statement) : this.#withheld(statement) }];
    });
    if (found.length === 0) return;
    await writer.submit(0, (group) => {
      for (const { seq, digest, statement, row } of found) {
        const held = row && this.#held(keys.subject(nameOf(row)), row);
        const value = keys.sequenceValue(digest, statement.hlc, held?.id ?? keys.NO_SET);
        group.ops.push({ type: 'put', key: keys.sequenceKey(seq), value });
        if (!held) continue;
        group.ops.push({ type: 'put', key: keys.setKey(held.id), value: toJson(row) });
        group.afterCommit.push(() => this.#add(this.#keep(held), seq, statement.hlc, digest));
      }
    });
  }

  #add(held: Held, seq: number, hlc: string, digest: Digest): void {
    const isNew = held.index.insert(hlc, digest);
    const { org } = held.row;
    if (isNew && org !== this.#init.org) this.#components.onForeign(org, seq);
  }

  #held(id: Buffer, row: SetRow): Held {
    const { audience, org, namespace, garden } = row;
    const set: StatementSet | null = audience === 'withheld' ? null : namedSet(audience, org, namespace, garden);
    const name = set?.name ?? nameOf(row);
    const index = new SetIndex(name);
    return { name, id: ownCopy(id), hex: id.toString('hex'), row, index, shared: set && { set, index } };
  }

  #keep(held: Held): Held {
    const known = this.#byId.get(held.hex);
    if (known) return known;
    const { row } = held;
    this.#byId.set(held.hex, held);
    this.#byName.set(held.name, held);
    const ofOrg = this.#byOrg.get(row.org) ?? { sets: [], namespaces: new Set() };
    this.#byOrg.set(row.org, ofOrg);
    ofOrg.sets.push(held);
    if (held.shared) {
      ofOrg.namespaces.add(row.namespace);
      insertByName(this.#ordered, held.shared, ({ index }) => index);
    }
    return held;
  }

  /** Where a statement is kept that belongs to no set; null for what this node said to itself alone. */
  #withheld({ org, origin }: Statement): SetRow | null {
    const isOurs = org === this.#init.org && origin === this.#init.peerId;
    return isOurs ? null : { audience: 'withheld', org, namespace: '' };
  }

  #quarantinedSets(): number {
    let count = 0;
    for (const [org, { sets }] of this.#byOrg) if (this.#components.isQuarantined(org)) count += sets.length;
    return count;
  }
}

function rowOf({ audience, org, namespace }: StatementSet, { ext }: Statement): SetRow {
  return audience === 'garden'
    ? { audience, org, namespace, garden: ext?.garden_id as string }
    : { audience, org, namespace };
}

function nameOf({ audience, org, namespace, garden }: SetRow): string {
  return audience === 'withheld' ? `withheld/${org}` : namedSet(audience, org, namespace, garden).name;
}

function readingName(org: string, origin: string, hlc: string): string {
  return `${org} ${origin} ${hlc}`;
}

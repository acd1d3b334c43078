import { setImmediate as nextTurn } from 'node:timers/promises';
import { ownCopy } from '../facts/bytes.ts';
import { relationNamespace } from '../facts/relation.ts';
import type { FactScope } from '../facts/scope.ts';
import { type FactStatement, isFact, isResolution, type Statement } from '../facts/statement.ts';
import { type BarredState, type EntryState, type KeyView, type ViewEntry, viewKey } from '../facts/view.ts';
import * as keys from '../store/keys.ts';
import { forEachSlice, type Reader, type StoreOp } from '../store/store.ts';
import { LARGE_KEY, MAX_CACHED_ENTRIES, MOVES_PER_TURN } from './limits.ts';
import {
  decodeEntry,
  decodeLogRecord,
  encodeEntry,
  fromJson,
  isLive,
  type Signed,
  type StoredConflict,
  type StoredEntry,
  type StoredResolution,
  statusOf,
  storedConflict,
  storedStatement,
  toJson,
} from './records.ts';

/** The key K of the view. */
export interface Key {
  readonly entity: string;
  readonly relation: string;
  readonly scope: FactScope;
  readonly garden: string | undefined;
}

export function keyOf(statement: Statement): Key | undefined {
  if (!isFact(statement) && !isResolution(statement)) return undefined;
  const { entity, relation, scope } = statement.body;
  return { entity, relation, scope, garden: statement.ext.garden_id };
}

export function keyId(key: Key): Buffer {
  return keys.viewKeyId(key.entity, key.relation, key.scope, key.garden);
}

/** What the view says of one statement: of those that are kept out of it, why. */
export interface TableEntry {
  readonly state: EntryState;
  readonly contradicted: boolean;
  readonly overruled: boolean;
}

/** The view of a key, with what is kept out of it. */
export type TableView = Omit<KeyView, 'entries'> & { readonly entries: ReadonlyMap<string, TableEntry> };

type Subjects = Record<Exclude<keys.IndexName, 'source' | 'value'>, Buffer>;

/** Everything stored about one key, decoded; changed in the writer's turn only. */
export class KeyState {
  readonly key: Key;
  readonly hex: string;
  readonly entries = new Map<string, StoredEntry>();
  readonly resolutions = new Map<string, StoredResolution>();
  readonly conflicts = new Map<string, StoredConflict>();
  /** Entries that are new, or changed other than by the view, since the last evaluation. */
  readonly fresh = new Set<string>();
  readonly touched = new Set<string>();
  /** What it counts for in the bound of the cache. */
  counted = 0;
  /** Whether the store has a row for this key. */
  isKnown = false;
  /**
   * Whether all that was added since the last evaluation are assertions made here just now. They are the newest on the
   * key and retract nothing, so what was live stays live.
   */
  onlyAsserted = true;
  #k: Buffer;
  #subjects: Subjects | undefined;
  #view: { readonly view: TableView; readonly at: number } | undefined;

  constructor(key: Key) {
    this.key = key;
    this.#k = keyId(key);
    this.hex = this.#k.toString('hex');
  }

  get k(): Buffer {
    return this.#k;
  }

  /** It stays in memory beyond the writer's turn. */
  keep(): void {
    this.#k = ownCopy(this.#k);
  }

  /** It was evaluated. */
  settle(): void {
    this.fresh.clear();
    this.touched.clear();
    this.onlyAsserted = true;
    this.#subjects = undefined;
  }

  /** To be called when an entry or a resolution was added or changed. */
  changed(onlyAsserted: boolean): void {
    this.onlyAsserted &&= onlyAsserted;
    this.#view = undefined;
  }

  /** The view computed last, if it is the view of this moment, too. */
  rememberedView(now: number): TableView | undefined {
    if (!this.#view || now < this.#view.at) return undefined;
    const { changesAt } = this.#view.view;
    return changesAt !== null && changesAt <= now ? undefined : this.#view.view;
  }

  /** Keeps a view that was worth computing: those of small keys are not worth the memory. */
  rememberView(view: TableView, at: number): void {
    this.#view = this.entries.size < LARGE_KEY ? undefined : { view, at };
  }

  get subjects(): Subjects {
    const { entity, relation, scope } = this.key;
    this.#subjects ??= {
      entity: keys.subject(entity),
      pair: keys.subject(`${entity}\0${relation}`),
      relation: keys.subject(relation),
      namespace: keys.subject(relationNamespace(relation)),
      scope: keys.scopeSubject(scope),
    };
    return this.#subjects;
  }
}

/** How the counters of the store move with one evaluation. */
export interface ViewDelta {
  current: number;
  openConflicts: number;
}

export interface ViewTableComponents {
  readonly store: Reader;
  /** Whether a relation is multi-valued for statements of this org about this entity. */
  readonly isMany: (entity: string, relation: string, org: string) => boolean;
  /** Whether what was signed counts, or why not. */
  readonly standingOf: (signed: Signed) => 'good' | BarredState;
  /** Whether resolutions of this org are applied here. */
  readonly trusts: (org: string) => boolean;
  /** Told of an instant (Unix ms) at which something that had expired before will expire again. */
  readonly onRevived: (until: number) => void;
}

/**
 * The materialised current view: for each key the state of every statement on it, and the index rows that follow from
 * it. What the view *is* stands in facts/view.ts; this class only keeps the stored copy equal to it.
 */
export class ViewTable {
  readonly #components: ViewTableComponents;
  /** Least recently used first. */
  readonly #cache = new Map<string, KeyState>();
  #cachedEntries = 0;
  /** Keys that had nothing on them when the group under way asked for them. */
  readonly #newKeys: KeyState[] = [];

  constructor(components: ViewTableComponents) {
    this.#components = components;
  }

  /** The state of a key, from memory or from the store. Do not hold it beyond the writer's turn. */
  async load(key: Key): Promise<KeyState> {
    const fresh = new KeyState(key);
    const cached = this.#recall(fresh.hex);
    if (cached) return cached;
    const known = await this.#components.store.get(keys.knownKeyKey(fresh.k));
    if (known) await this.#fill(fresh, known);
    else this.#newKeys.push(fresh);
    this.#remember(fresh);
    return fresh;
  }

  /** Brings the states of many keys into memory at once, so that loading them one by one costs no look-up each. */
  async prefetch(wanted: readonly Key[]): Promise<void> {
    // Each once: a batch of statements on one large key would read all of it for every one of them.
    const states = new Map<string, KeyState>();
    for (const key of wanted) {
      const state = new KeyState(key);
      if (!this.#cache.has(state.hex)) states.set(state.hex, state);
    }
    const missing = [...states.values()];
    if (missing.length < 2) return;
    const known = await this.#components.store.getMany(missing.map(({ k }) => keys.knownKeyKey(k)));
    for (let at = 0; at < missing.length; at += PREFETCH_PARALLEL) {
      const slice = missing.slice(at, at + PREFETCH_PARALLEL);
      await Promise.all(slice.map((state, index) => known[at + index] && this.#fill(state, known[at + index]!)));
      for (const [index, state] of slice.entries()) {
        if (this.#cache.has(state.hex)) continue;
        if (!known[at + index]) this.#newKeys.push(state);
        this.#remember(state);
      }
    }
  }

  /** Reads everything on a key that has something on it. */
  async #fill(state: KeyState, known: Buffer): Promise<void> {
    const { store } = this.#components;
    state.keep();
    await forEachSlice(store, keys.viewEntryRange(state.k), (rows) => {
      for (const { key: at, value } of rows) {
        const { hlc, digest } = keys.orderOf(at);
        const id = digest.toString('hex');
        state.entries.set(id, decodeEntry(value, id, hlc));
      }
      return undefined;
    });
    await forEachSlice(store, keys.resolutionRange(state.k), (rows) => {
      for (const { value } of rows) {
        const resolution = fromJson<StoredResolution>(value);
        state.resolutions.set(resolution.id, resolution);
      }
      return undefined;
    });
    const ids = fromJson<string[]>(known);
    const records = await store.getMany(ids.map((id) => keys.conflictKey(Buffer.from(id, 'hex'))));
    ids.forEach((id, at) => {
      const record = records[at];
      if (record) state.conflicts.set(id, fromJson<StoredConflict>(record));
    });
    state.isKnown = true;
  }

  /** The state of a key known only by its id (expiry rows, conflict records), or undefined when nothing is on it. */
  async loadById(k: Buffer): Promise<KeyState | undefined> {
    const cached = this.#recall(k.toString('hex'));
    if (cached) return cached;
    const { store } = this.#components;
    const scan = store.scan(keys.viewEntryRange(k));
    const [first] = await scan.next(1);
    await scan.close();
    if (!first) return undefined;
    const { digest } = keys.orderOf(first.key);
    const record = await store.get(keys.logKey(digest));
    const key = record && keyOf(storedStatement(decodeLogRecord(record, digest)));
    return key && this.load(key);
  }

  /** The view of a key as it stands in memory, the entries of this turn included. */
  view(state: KeyState, now: number): TableView {
    const remembered = state.rememberedView(now);
    if (remembered) return remembered;
    const view = this.#compute(state, now);
    state.rememberView(view, now);
    return view;
  }

  /** Whether an assertion on the key is live; seldom takes the view of the whole key. */
  isLive(state: KeyState, id: string, now: number): boolean {
    const entry = state.entries.get(id);
    if (!entry) return false;
    if (!state.onlyAsserted) return isLive(this.view(state, now).entries.get(id)!.state);
    if (entry.until !== null && entry.until <= now) return false;
    return state.fresh.has(id) || isLive(entry.state);
  }

  #compute(state: KeyState, now: number): TableView {
    const { entity, relation, garden } = state.key;
    const { isMany, trusts, standingOf } = this.#components;
    const entries: ViewEntry[] = [];
    let barred: Map<string, TableEntry> | undefined;
    let org: string | undefined;
    let many = false;
    for (const entry of state.entries.values()) {
      const standing = standingOf(entry);
      if (standing !== 'good') {
        barred ??= new Map();
        barred.set(entry.id, BARRED[standing]);
        continue;
      }
      if (entry.org !== org) {
        org = entry.org;
        many = isMany(entity, relation, org);
      }
      entries.push(entry.many === many ? entry : { ...entry, many });
    }
    const resolutions = [...state.resolutions.values()].filter(
      (resolution) => trusts(resolution.org) && standingOf(resolution) === 'good',
    );
    const view: TableView = viewKey(entries, resolutions, garden, now);
    return barred === undefined ? view : { ...view, entries: new Map([...view.entries, ...barred]) };
  }

  /** Recomputes a key and appends what has to change on disk. Other work gets its turn in between where that is much. */
  async evaluate(state: KeyState, now: number, ops: StoreOp[]): Promise<ViewDelta> {
    // What else the view follows from (cardinality, trust) may have changed: nothing remembered counts here.
    const view = this.#compute(state, now);
    state.rememberView(view, now);
    const delta: ViewDelta = { current: 0, openConflicts: 0 };
    let moves = 0;
    for (const [id, next] of view.entries) {
      const moved = this.#evaluateEntry(state, id, next, ops, delta);
      if (moved && ++moves % MOVES_PER_TURN === 0) await nextTurn();
    }
    this.#count(state);
    state.settle();
    this.#evaluateConflicts(state, view, ops, delta);
    return delta;
  }

  /** Returns whether the statement moved from one part of the indexes to another. */
  #evaluateEntry(state: KeyState, id: string, now: TableEntry, ops: StoreOp[], delta: ViewDelta): boolean {
    const { state: to, contradicted, overruled } = now;
    const old = state.entries.get(id)!;
    const isFresh = state.fresh.has(id);
    const moved = isFresh || statusOf(old.state) !== statusOf(to);
    if (
      !moved &&
      !state.touched.has(id) &&
      old.state === to &&
      old.contradicted === contradicted &&
      old.overruled === overruled
    ) {
      return false;
    }
    const next: StoredEntry = { ...old, state: to, contradicted, overruled };
    state.entries.set(id, next);
    const digest = Buffer.from(id, 'hex');
    ops.push({ type: 'put', key: keys.viewEntryKey(state.k, next.hlc, digest), value: encodeEntry(next) });
    if (moved) {
      if (!isFresh) for (const key of indexRows(state, old, digest)) ops.push({ type: 'del', key });
      for (const key of indexRows(state, next, digest)) ops.push({ type: 'put', key, value: EMPTY });
    }
    if (old.state === 'expired' && !isFresh && next.until !== null) {
      // The clock was set back, and what had expired stands again: it has to expire once more.
      ops.push({ type: 'put', key: keys.expiryKey(Math.max(0, next.until), state.k, digest), value: EMPTY });
      this.#components.onRevived(next.until);
    }
    delta.current += Number(to === 'current') - Number(!isFresh && old.state === 'current');
    return moved;
  }

  /** Forgets everything held in memory: after a write that failed, memory may be ahead of the disk. */
  clear(): void {
    this.#newKeys.length = 0;
    this.#cache.clear();
    this.#cachedEntries = 0;
  }

  /**
   * Called between groups. Forgets the keys that were new: most are written once, and what lives a moment costs the
   * garbage collector nothing, while thousands kept and then dropped are the most of its work. Whoever writes to such a
   * key again pays one read, and then it stays. Drops the least recently used of the others until the bound holds.
   */
  trim(): void {
    for (const state of this.#newKeys) {
      if (this.#cache.delete(state.hex)) this.#cachedEntries -= state.counted;
    }
    this.#newKeys.length = 0;
    for (const [hex, state] of this.#cache) {
      if (this.#cachedEntries <= MAX_CACHED_ENTRIES || this.#cache.size === 1) return;
      this.#cache.delete(hex);
      this.#cachedEntries -= state.counted;
    }
  }

  /** View entries held in memory, about: keys without entries count as one. */
  get cachedEntries(): number {
    return this.#cachedEntries;
  }

  #recall(hex: string): KeyState | undefined {
    const cached = this.#cache.get(hex);
    if (cached) {
      this.#cache.delete(hex);
      this.#cache.set(hex, cached);
    }
    return cached;
  }

  #remember(state: KeyState): void {
    this.#cache.set(state.hex, state);
    this.#count(state);
  }

  /** Brings the count of what is held up to date with a state that was added or has grown. */
  #count(state: KeyState): void {
    const now = weight(state);
    this.#cachedEntries += now - state.counted;
    state.counted = now;
  }

  #evaluateConflicts(state: KeyState, view: TableView, ops: StoreOp[], delta: ViewDelta): void {
    if (view.conflicts.length === 0 && state.conflicts.size === 0 && state.isKnown) return;
    const next = new Map(view.conflicts.map((c) => [c.id.slice(-32), storedConflict(state.hex, c)]));
    let changed = !state.isKnown;
    state.isKnown = true;
    for (const [id, old] of state.conflicts) {
      const now = next.get(id);
      if (now && JSON.stringify(now) === JSON.stringify(old)) continue;
      changed = true;
      ops.push({ type: 'del', key: conflictOrder(id, old) });
      if (!now) ops.push({ type: 'del', key: keys.conflictKey(Buffer.from(id, 'hex')) });
      if (old.by === null) delta.openConflicts -= 1;
      state.conflicts.delete(id);
    }
    for (const [id, conflict] of next) {
      if (state.conflicts.has(id)) continue;
      changed = true;
      ops.push({ type: 'put', key: keys.conflictKey(Buffer.from(id, 'hex')), value: toJson(conflict) });
      ops.push({ type: 'put', key: conflictOrder(id, conflict), value: EMPTY });
      if (conflict.by === null) delta.openConflicts += 1;
      state.conflicts.set(id, conflict);
    }
    if (!changed) return;
    // Sorted: their order of preference may change without any of them, and then this row would tell how it came to be.
    ops.push({ type: 'put', key: keys.knownKeyKey(state.k), value: toJson([...next.keys()].sort()) });
  }
}

/** Keys read side by side: the thread pool has four threads, and a few requests may wait for each. */
const PREFETCH_PARALLEL = 16;

const EMPTY = Buffer.alloc(0);

const BARRED: Readonly<Record<BarredState, TableEntry>> = {
  quarantined: { state: 'quarantined', contradicted: false, overruled: false },
  revoked: { state: 'revoked', contradicted: false, overruled: false },
};

function weight(state: KeyState): number {
  return 1 + state.entries.size + state.resolutions.size + state.conflicts.size;
}

function conflictOrder(id: string, conflict: StoredConflict): Buffer {
  return keys.conflictOrderKey(conflict.by === null ? 'unresolved' : 'resolved', conflict.hlc, Buffer.from(id, 'hex'));
}

/** The rows by which one statement is found, in the part its state belongs to. */
function indexRows(state: KeyState, entry: StoredEntry, digest: Buffer): Buffer[] {
  const status = statusOf(entry.state);
  const subjects: Record<keys.IndexName, Buffer> = {
    ...state.subjects,
    source: Buffer.from(entry.source, 'hex'),
    value: valueSubject(entry.value),
  };
  return keys.INDEX_NAMES.map((name) => keys.indexKey(name, status, subjects[name], entry.hlc, digest));
}

/** Subject of the value index: the first half of the value's digest. */
export function valueSubject(valueDigest: string): Buffer {
  return Buffer.from(valueDigest.slice(0, 32), 'hex');
}

/** What the view needs of a fact statement, before the view is computed. */
export function entryOf(
  statement: FactStatement,
  id: string,
  derived: Pick<StoredEntry, 'value' | 'claim' | 'terms' | 'ownUntil' | 'origin' | 'seq'>,
): StoredEntry {
  return {
    id,
    hlc: statement.hlc,
    org: statement.org,
    confidence: statement.body.confidence,
    ...derived,
    until: derived.ownUntil,
    supersededBy: null,
    source: keys.subject(statement.body.source).toString('hex'),
    many: false,
    state: 'losing',
    contradicted: false,
    overruled: false,
  };
}

import { setImmediate as nextTurn } from 'node:timers/promises';
import { uriAuthority } from '../facts/entity-uri.ts';
import { isProtocolRelation } from '../facts/relation.ts';
import { isFact } from '../facts/statement.ts';
import { valueDigest } from '../facts/value.ts';
import { compareEntries } from '../facts/view.ts';
import * as keys from '../store/keys.ts';
import { forEachSlice, type Store } from '../store/store.ts';
import { MAX_DECLARED_BY_OTHERS, MAX_DECLARED_RELATIONS, MAX_RECOMPUTE_SLICE } from './limits.ts';
import { decodeLogRecord, fromJson, storedStatement, toJson } from './records.ts';
import { type Key, type KeyState, keyOf, type ViewTable } from './view-table.ts';
import type { Group, Writer } from './writer.ts';

/** Relation by which an authority declares another relation multi-valued: `relation:<name>` stigmem:cardinality "many". */
export const CARDINALITY_RELATION = 'stigmem:cardinality';

const MANY = valueDigest({ type: 'string', v: 'many' });
const EMPTY = Buffer.alloc(0);
const STATUSES = [keys.STATUS.current, keys.STATUS.losing, keys.STATUS.dead];

/**
 * Which relations are multi-valued: protocol relations, those the configuration names, and those an entity's authority
 * declared in a fact. When that changes, the stored view of every key of the relation is computed again in slices.
 */
export class Cardinality {
  readonly #configured: ReadonlySet<string>;
  /** Authority of this organisation. */
  readonly #org: string;
  /** Keys (hex) of what declares a relation, by authority and relation: it is declared while any of them says so. */
  readonly #declared = new Map<string, Map<string, Set<string>>>();
  /** How many declarations there are, by authority. */
  readonly #counts = new Map<string, number>();
  /** How many of them are of others. */
  #foreign = 0;
  /** Keys (hex) of declarations that changed, and the relation of each, by group. */
  readonly #noted = new WeakMap<Group, Map<string, string>>();
  #recompute: Promise<void> = Promise.resolve();
  /** Changes under way, by relation: how many there were so far. */
  readonly #turns = new Map<string, number>();
  /** Those of them whose views have to be computed again: of entities of these authorities; null: of all. */
  readonly #due = new Map<string, Set<string> | null>();
  /** Relations that were computed again, which is still to be noted on disk. */
  readonly #done: string[] = [];
  #pending = 0;
  /** Told of a relation whose views have to be computed again, of which authorities (null: all), or only looked as if. */
  #onChange: (relation: string, of: ReadonlySet<string> | null) => void = () => {};

  constructor(configured: ReadonlySet<string>, org: string) {
    this.#configured = configured;
    this.#org = org;
  }

  isMany(entity: string, relation: string, org: string): boolean {
    return (
      isProtocolRelation(relation) ||
      this.#configured.has(relation) ||
      (this.#declared.size > 0 && this.#isDeclared(uriAuthority(entity, org), relation))
    );
  }

  /** Relations whose stored views are being computed again. */
  get pending(): number {
    return this.#pending;
  }

  /**
   * Notes that a key changed; if it is a declaration's, what it comes to is read once the group is durable. That
   * something has to be done is on disk with the declaration itself, so that a daemon killed in between does it at its
   * next start.
   */
  changed(group: Group, state: KeyState): void {
    if (state.key.relation !== CARDINALITY_RELATION) return;
    const relation = declaredRelation(state)?.relation;
    if (relation === undefined) return;
    // Once a group: a thousand declarations on one key are one change of it.
    const noted = this.#noted.get(group) ?? new Map<string, string>();
    if (noted.has(state.hex)) return;
    this.#noted.set(group, noted.set(state.hex, relation));
    group.ops.push({ type: 'put', key: keys.recomputeKey(relation), value: EMPTY });
    group.afterCommit.push(() => this.#onChange(relation, this.#apply(state)));
  }

  #isDeclared(authority: string, relation: string): boolean {
    return this.#declared.get(authority)?.has(relation) === true;
  }

  #declares(key: string, authority: string, relation: string): boolean {
    return this.#declared.get(authority)?.get(relation)?.has(key) === true;
  }

  /** What others declare must not take the room of one another, and never ours. */
  #hasRoom(authority: string): boolean {
    const count = this.#counts.get(authority) ?? 0;
    if (authority === this.#org) return count < MAX_DECLARED_RELATIONS;
    return count < MAX_DECLARED_BY_OTHERS && this.#foreign < MAX_DECLARED_RELATIONS;
  }

  /** Takes note of a declaration that is new, or none any more. */
  #declare(authority: string, relation: string, key: string, many: boolean): void {
    const relations = this.#declared.get(authority) ?? new Map<string, Set<string>>();
    const declarations = relations.get(relation) ?? new Set();
    if (many) this.#declared.set(authority, relations.set(relation, declarations.add(key)));
    else if (declarations.delete(key) && declarations.size === 0) relations.delete(relation);
    const count = (this.#counts.get(authority) ?? 0) + (many ? 1 : -1);
    this.#counts.set(authority, count);
    if (count === 0) {
      this.#counts.delete(authority);
      this.#declared.delete(authority);
    }
    if (authority !== this.#org) this.#foreign += many ? 1 : -1;
  }

  /** Reads one declaration into memory; returns for which authorities the cardinality of its relation changed. */
  #apply(state: KeyState): ReadonlySet<string> {
    const changed = new Set<string>();
    const declared = declaredRelation(state);
    if (!declared) return changed;
    const { authority: formalAuthority, relation } = declared;
    const orgs = new Set([...state.entries.values()].map((entry) => entry.org));
    for (const org of orgs) {
      if (formalAuthority !== undefined && formalAuthority !== org) continue;
      const newest = [...state.entries.values()]
        .filter((entry) => entry.org === org && entry.state === 'current')
        .sort(compareEntries)
        .at(-1);
      const before = this.#declares(state.hex, org, relation);
      const many = newest?.value === MANY && (before || this.#hasRoom(org));
      if (many === before) continue;
      const wasDeclared = this.#isDeclared(org, relation);
      this.#declare(org, relation, state.hex, many);
      if (this.#isDeclared(org, relation) !== wasDeclared) changed.add(org);
    }
    return changed;
  }

  /**
   * Reads the declarations of the log, then brings the stored views up to date with whatever changed while the daemon
   * was down (an edited configuration). Until that ends, affected keys show the view of the former cardinality.
   */
  async start(store: Store, views: ViewTable, writer: Writer): Promise<void> {
    for (const status of STATUSES) {
      await forEachSlice(
        store,
        keys.indexRange('relation', status, keys.subject(CARDINALITY_RELATION)),
        async (rows) => {
          for (const { key } of rows) {
            const state = await loadKey(store, views, keys.orderOf(key).digest);
            if (state) this.#apply(state);
          }
          return undefined;
        },
        100,
      );
    }
    this.#onChange = (relation, of) => {
      this.#pending += 1;
      const turn = (this.#turns.get(relation) ?? 0) + 1;
      this.#turns.set(relation, turn);
      const due = this.#due.get(relation);
      if (of === null || due === null) this.#due.set(relation, null);
      else if (of.size > 0) this.#due.set(relation, new Set([...(due ?? []), ...of]));
      const isLast = () => this.#turns.get(relation) === turn;
      this.#recompute = this.#recompute
        .then(async () => {
          // A later change of the same relation is still to come and sees to both: whoever declares it one thing and
          // the other by turns does not get a pass over all of its keys each time.
          if (!isLast()) return;
          const authorities = this.#due.get(relation);
          if (authorities !== undefined) await recomputeRelation(store, views, writer, relation, authorities);
          if (!isLast()) return;
          this.#turns.delete(relation);
          this.#due.delete(relation);
          this.#done.push(relation);
          // One write for many: they are declared by the thousand faster than they could be forgotten one by one.
          if (this.#pending > 1 && this.#done.length < MAX_RECOMPUTE_SLICE) return;
          await this.#forget(writer);
        })
        .catch(() => {
          // What is due is still on disk, so the next start repeats it; a store that fails says so by itself.
        })
        .finally(() => {
          this.#pending -= 1;
        });
    };
    await forEachSlice(store, keys.recomputeRange(), (rows) => {
      for (const { key } of rows) this.#onChange(keys.recomputeRelationOf(key), null);
      return undefined;
    });
    const stored = await store.get(keys.metaKey('relations'));
    const before = new Set(stored ? fromJson<string[]>(stored) : []);
    const after = this.#configured;
    const changed = [...new Set([...before, ...after])].filter((name) => before.has(name) !== after.has(name));
    if (changed.length === 0) return;
    for (const relation of changed) this.#onChange(relation, null);
    this.#recompute = this.#recompute.then(() =>
      writer
        .submit(0, (group) => {
          group.ops.push({ type: 'put', key: keys.metaKey('relations'), value: toJson([...after].sort()) });
        })
        .catch(() => {}),
    );
  }

  /** What was computed again has not to be done any more; unless it changed once more, maybe in the same group. */
  #forget(writer: Writer): Promise<void> {
    const done = this.#done.splice(0);
    return writer.submit(0, (group) => {
      const changing = new Set(this.#noted.get(group)?.values());
      for (const relation of done) {
        if (this.#turns.has(relation) || changing.has(relation)) continue;
        group.ops.push({ type: 'del', key: keys.recomputeKey(relation) });
      }
    });
  }

  /** Resolves when no recomputation is under way. */
  async settled(): Promise<void> {
    while (this.#pending > 0) await this.#recompute;
    await this.#recompute;
  }
}

/** The relation a `stigmem:cardinality` fact is about, and the authority that its entity names, if any. */
function declaredRelation(state: KeyState): { authority: string | undefined; relation: string } | undefined {
  const subject = /^(?:stigmem:\/\/([^/]+)\/relation\/|relation:)(.+)$/.exec(state.key.entity);
  return subject ? { authority: subject[1], relation: subject[2]! } : undefined;
}

async function loadKey(store: Store, views: ViewTable, digest: Buffer): Promise<KeyState | undefined> {
  const record = await store.get(keys.logKey(digest));
  const key = record && keyOf(storedStatement(decodeLogRecord(record, digest)));
  return key && views.load(key);
}

/**
 * Evaluates every key of a relation again, a slice per turn of the writer.
 *
 * @param authorities of whose entities; null: of all
 */
async function recomputeRelation(
  store: Store,
  views: ViewTable,
  writer: Writer,
  relation: string,
  authorities: ReadonlySet<string> | null,
): Promise<void> {
  const snapshot = store.snapshot();
  try {
    const seen = new Set<string>();
    for (const status of STATUSES) {
      await forEachSlice(
        snapshot,
        keys.indexRange('relation', status, keys.subject(relation)),
        async (rows) => {
          const digests = rows.map(({ key }) => keys.orderOf(key).digest);
          const records = await snapshot.getMany(digests.map(keys.logKey));
          const due: Key[] = [];
          records.forEach((record, at) => {
            const statement = record && storedStatement(decodeLogRecord(record, digests[at]!));
            if (!statement || !isFact(statement)) return;
            if (authorities && !authorities.has(uriAuthority(statement.body.entity, statement.org))) return;
            const key = keyOf(statement);
            const name = key && `${key.entity}\0${key.scope}\0${key.garden ?? ''}`;
            if (!key || name === undefined || seen.has(name)) return;
            seen.add(name);
            due.push(key);
          });
          if (due.length > 0) {
            await writer.submit(due.length, async (group) => {
              for (const key of due) group.dirty.add(await views.load(key));
            });
          }
          await nextTurn();
          return undefined;
        },
        MAX_RECOMPUTE_SLICE,
      );
    }
  } finally {
    await snapshot.close();
  }
}

import { type ConflictSide, conflictId } from './conflict.ts';
import type { Hlc } from './hlc.ts';
import { MAX_CONFLICT_SIDES } from './limits.ts';

/**
 * The current view of one key K = (entity, relation, scope, garden): a pure function of the set of statements on it, of
 * the trusted resolutions, and of the time. Same set in any order, same answer (facts.md, spec/views.md).
 */

/** What the view needs to know of one fact statement on K. */
export interface ViewEntry {
  /** Statement digest, hex. */
  readonly id: string;
  readonly hlc: Hlc;
  readonly org: string;
  readonly confidence: number;
  /** valueDigest() of the claim. */
  readonly value: string;
  /** factDigest() of the claim, hex. */
  readonly claim: string;
  /** Instant (Unix ms) from which the statement is expired; null: never. Includes a stigmem:ttl of its own org. */
  readonly until: number | null;
  /** Statement digest (hex) of the own org's statement that supersedes this one, or null. */
  readonly supersededBy: string | null;
  /** Whether the relation is declared multi-valued for this statement's authority. */
  readonly many: boolean;
}

/** What the view needs to know of one trusted resolution on K. */
export interface ViewResolution {
  readonly id: string;
  readonly hlc: Hlc;
  readonly sides: readonly string[];
  readonly winner: string | null;
}

/**
 * - `current`: live and shown by default. - `losing`: live, but another value is preferred or won.
 * - `retraction`: a confidence-0 statement that retracted its own org's facts (or nothing). - `dispute`: one that denies
 *   another org's live fact. - `retracted`, `superseded`, `expired`: no longer live, for the reason named.
 */
export type EntryState = 'current' | 'losing' | 'retraction' | 'dispute' | 'retracted' | 'superseded' | 'expired';

export interface EntryView {
  readonly state: EntryState;
  /** Another live value stands against this one, unresolved. */
  readonly contradicted: boolean;
  /** The other side won a resolution against this one. */
  readonly overruled: boolean;
}

export interface ConflictView {
  readonly id: string;
  /** The two standing statements, newer first. */
  readonly a: ConflictSide;
  readonly b: ConflictSide;
  /** Statement digest (hex) of the effective resolution, null while unresolved. */
  readonly resolvedBy: string | null;
  /** Every trusted resolution of this pair, newest first; more than one with another outcome is itself a dispute. */
  readonly resolutions: readonly string[];
}

export interface KeyView {
  readonly entries: ReadonlyMap<string, EntryView>;
  /** Conflict records between the first {@link MAX_CONFLICT_SIDES} sides in order of preference. */
  readonly conflicts: readonly ConflictView[];
  /** Live values and denials standing on this key. */
  readonly sides: number;
  /** Statement digests (hex) of the preferred facts: one, or several where the relation is many-valued or all else is equal. */
  readonly preferred: readonly string[];
  /** Earliest future instant (Unix ms) at which this view changes by itself, null when it does not. */
  readonly changesAt: number | null;
}

interface Side extends ConflictSide {
  readonly value: string;
  readonly confidence: number;
  readonly many: boolean;
  /** Earliest clock reading among the live statements of this value. */
  readonly since: Hlc;
  /** Set for a denial: `value` denies one value that was stated on K, `all` (a placeholder value) every earlier one. */
  readonly denial: Denial['denies'] | null;
  overruled: boolean;
  won: boolean;
  contradicted: boolean;
  preferred: boolean;
}

interface Denial {
  readonly entry: ViewEntry;
  readonly denies: 'value' | 'all';
}

/** Orders statements by clock, then digest: total, and the same on every node. */
export function compareEntries(a: { hlc: Hlc; id: string }, b: { hlc: Hlc; id: string }): number {
  return a.hlc < b.hlc ? -1 : a.hlc > b.hlc ? 1 : a.id < b.id ? -1 : a.id > b.id ? 1 : 0;
}

/**
 * @param entries every fact statement on K, in any order
 * @param resolutions every resolution on K whose resolver this node trusts, in any order
 * @param garden garden URI of K or undefined; part of conflict ids
 * @param now Unix ms
 */
export function viewKey(
  entries: readonly ViewEntry[],
  resolutions: readonly ViewResolution[],
  garden: string | undefined,
  now: number,
): KeyView {
  const sorted = [...entries].sort(compareEntries);
  const { retracted, denials } = applyRetractions(sorted);
  const live = sorted.filter(
    (entry) =>
      entry.confidence > 0 && !isExpired(entry, now) && entry.supersededBy === null && !retracted.has(entry.id),
  );
  const disputes = denials.filter(({ entry, denies }) => {
    if (isExpired(entry, now) || entry.supersededBy !== null) return false;
    return live.some((other) => (denies === 'all' ? other.hlc < entry.hlc : other.value === entry.value));
  });
  const sides = standingSides(live, disputes);
  const resolved = applyResolutions(sides, resolutions);
  markContradictions(sides, resolved);
  markPreferred(sides);

  const view = new Map<string, EntryView>();
  const liveIds = new Set(live.map((entry) => entry.id));
  const disputeIds = new Set(disputes.map(({ entry }) => entry.id));
  for (const entry of sorted) {
    const side = liveIds.has(entry.id)
      ? sides.get(entry.value)
      : disputeIds.has(entry.id)
        ? sides.get(`!${entry.value}`)
        : undefined;
    view.set(entry.id, {
      state: stateOf(entry, side, retracted, now),
      contradicted: side?.contradicted ?? false,
      overruled: side?.overruled ?? false,
    });
  }
  return {
    entries: view,
    conflicts: conflictRecords(sides, resolved, garden),
    sides: sides.size,
    preferred: [...sides.values()].filter((side) => side.preferred).map((side) => side.id),
    changesAt: nextChange(sorted, now),
  };
}

function isExpired(entry: ViewEntry, now: number): boolean {
  return entry.until !== null && entry.until <= now;
}

/**
 * Retraction (facts.md): a confidence-0 statement of org O retracts O's earlier statements of an equal value if O ever
 * made one on K, otherwise all of O's earlier ones. Where O had nothing to retract it is a denial of the others' facts.
 */
function applyRetractions(sorted: readonly ViewEntry[]): { retracted: Set<string>; denials: Denial[] } {
  const retracted = new Set<string>();
  const byOrg = new Map<string, ViewEntry[]>();
  const denials = new Map<string, ViewEntry>();
  for (const entry of sorted) {
    const own = byOrg.get(entry.org) ?? [];
    byOrg.set(entry.org, own);
    if (entry.confidence > 0) {
      own.push(entry);
      // Who asserts again has withdrawn the denial.
      denials.delete(entry.org);
      continue;
    }
    if (own.length === 0) {
      denials.set(entry.org, entry);
      continue;
    }
    const equal = own.filter((earlier) => earlier.value === entry.value);
    for (const target of equal.length > 0 ? equal : own) retracted.add(target.id);
  }
  const stated = new Set(sorted.filter((entry) => entry.confidence > 0).map((entry) => entry.value));
  return {
    retracted,
    denials: [...denials.values()].map((entry) => ({ entry, denies: stated.has(entry.value) ? 'value' : 'all' })),
  };
}

/** One side per live value (its newest live statement stands for it) and one per denied value. */
function standingSides(live: readonly ViewEntry[], disputes: readonly Denial[]): Map<string, Side> {
  const sides = new Map<string, Side>();
  const add = (key: string, entry: ViewEntry, denial: Side['denial']): void => {
    sides.set(key, {
      key,
      id: entry.id,
      claim: entry.claim,
      hlc: entry.hlc,
      since: sides.get(key)?.since ?? entry.hlc,
      value: entry.value,
      confidence: entry.confidence,
      many: entry.many,
      denial,
      overruled: false,
      won: false,
      contradicted: false,
      preferred: false,
    });
  };
  for (const entry of live) add(entry.value, entry, null);
  for (const { entry, denies } of disputes) add(`!${entry.value}`, entry, denies);
  return sides;
}

function contradict(a: Side, b: Side): boolean {
  if (a.denial) return !b.denial && (a.denial === 'value' ? a.value === b.value : b.since < a.hlc);
  if (b.denial) return contradict(b, a);
  return !(a.many && b.many);
}

interface Resolved {
  readonly by: ViewResolution;
  readonly all: ViewResolution[];
}

const pairKey = (a: string, b: string): string => (a < b ? `${a} ${b}` : `${b} ${a}`);

/**
 * The effective resolution of each pair: the newest that covers both. A winner binds only what was said before the
 * judgement: a loser stated again later is new evidence and reopens. `both_valid` holds for good.
 */
function applyResolutions(sides: Map<string, Side>, resolutions: readonly ViewResolution[]): Map<string, Resolved> {
  const resolved = new Map<string, Resolved>();
  for (const resolution of [...resolutions].sort(compareEntries)) {
    const covered = [...new Set([...resolution.sides, ...(resolution.winner === null ? [] : [resolution.winner])])];
    for (let i = 0; i < covered.length; i++) {
      for (let j = i + 1; j < covered.length; j++) {
        const pair = [sides.get(covered[i]!), sides.get(covered[j]!)] as const;
        if (!binds(resolution, pair[0], pair[1], sides)) continue;
        const key = pairKey(covered[i]!, covered[j]!);
        resolved.set(key, { by: resolution, all: [resolution, ...(resolved.get(key)?.all ?? [])] });
      }
    }
  }
  for (const [key, { by }] of resolved) {
    if (by.winner === null) continue;
    for (const sideKey of key.split(' ')) {
      const side = sides.get(sideKey)!;
      if (sideKey === by.winner) side.won = true;
      else side.overruled = true;
    }
  }
  return resolved;
}

function binds(by: ViewResolution, a: Side | undefined, b: Side | undefined, sides: Map<string, Side>): boolean {
  if (!a || !b) return false;
  if (by.winner === null) return true;
  if (!sides.has(by.winner)) return false;
  return [a, b].every((side) => side.key === by.winner || side.hlc < by.hlc);
}

/** Counts rather than compares pairs, so that ten thousand values on one key cost ten thousand steps. */
function markContradictions(sides: Map<string, Side>, resolved: ReadonlyMap<string, Resolved>): void {
  const all = [...sides.values()];
  const denials = all.filter((side) => side.denial && !side.overruled);
  const values = all.filter((side) => !side.denial && !side.overruled);
  const manyCount = values.filter((side) => side.many).length;
  const settled = new Map<string, number>();
  for (const key of resolved.keys()) {
    const [a, b] = key.split(' ').map((sideKey) => sides.get(sideKey)!) as [Side, Side];
    if (a.denial || b.denial || !contradict(a, b)) continue;
    if (!b.overruled) settled.set(a.key, (settled.get(a.key) ?? 0) + 1);
    if (!a.overruled) settled.set(b.key, (settled.get(b.key) ?? 0) + 1);
  }
  const unresolved = (a: Side, b: Side): boolean => contradict(a, b) && !resolved.has(pairKey(a.key, b.key));
  for (const side of all) {
    if (side.denial) {
      side.contradicted = values.some((other) => unresolved(side, other));
      continue;
    }
    const self = side.overruled ? 0 : 1;
    const compatible = side.many ? manyCount - self : 0;
    const opponents = values.length - self - compatible - (settled.get(side.key) ?? 0);
    side.contradicted = opponents > 0 || denials.some((denial) => unresolved(denial, side));
  }
}

/** Preferred: a resolution's winner, then higher confidence, then higher HLC, then all that remain equal. */
function markPreferred(sides: Map<string, Side>): void {
  const candidates = [...sides.values()].filter((side) => !side.denial && !side.overruled);
  for (const side of candidates) side.preferred = side.many;
  const single = candidates.filter((side) => !side.many).sort(byPreference);
  const best = single[0];
  if (!best) return;
  for (const side of single) {
    side.preferred = side.won === best.won && side.confidence === best.confidence && side.hlc === best.hlc;
  }
}

function byPreference(a: Side, b: Side): number {
  return (
    Number(a.overruled) - Number(b.overruled) ||
    Number(b.won) - Number(a.won) ||
    b.confidence - a.confidence ||
    -compareEntries(a, b)
  );
}

function conflictRecords(
  sides: Map<string, Side>,
  resolved: ReadonlyMap<string, Resolved>,
  garden: string | undefined,
): ConflictView[] {
  const shown = [...sides.values()].sort(byPreference).slice(0, MAX_CONFLICT_SIDES);
  const records: ConflictView[] = [];
  for (let i = 0; i < shown.length; i++) {
    for (let j = i + 1; j < shown.length; j++) {
      const [newer, older] = [shown[i]!, shown[j]!].sort((x, y) => -compareEntries(x, y)) as [Side, Side];
      if (!contradict(newer, older)) continue;
      const resolution = resolved.get(pairKey(newer.key, older.key));
      records.push({
        id: conflictId(newer.claim, older.claim, garden),
        a: { key: newer.key, id: newer.id, claim: newer.claim, hlc: newer.hlc },
        b: { key: older.key, id: older.id, claim: older.claim, hlc: older.hlc },
        resolvedBy: resolution?.by.id ?? null,
        resolutions: resolution?.all.map((by) => by.id) ?? [],
      });
    }
  }
  return records;
}

function stateOf(entry: ViewEntry, side: Side | undefined, retracted: ReadonlySet<string>, now: number): EntryState {
  if (entry.supersededBy !== null) return 'superseded';
  if (entry.confidence === 0) return side === undefined ? 'retraction' : 'dispute';
  if (retracted.has(entry.id)) return 'retracted';
  if (isExpired(entry, now)) return 'expired';
  return side?.preferred ? 'current' : 'losing';
}

function nextChange(entries: readonly ViewEntry[], now: number): number | null {
  let next: number | null = null;
  for (const { until } of entries) if (until !== null && until > now && (next === null || until < next)) next = until;
  return next;
}

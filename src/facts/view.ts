import { type ConflictSide, conflictId } from './conflict.ts';
import { MAX_CONFLICT_SIDES } from './limits.ts';
import { type Judgements, judge, pairKey, settledBy } from './view-judgements.ts';
import {
  type ConflictView,
  compareEntries,
  type EntryView,
  type KeyView,
  type ViewEntry,
  type ViewResolution,
  type ViewState,
} from './view-model.ts';
import { contradict, type Side, standing } from './view-sides.ts';

export * from './view-model.ts';

/**
 * The current view of one key K = (entity, relation, scope, garden): a pure function of the set of statements on it, of
 * the trusted resolutions, and of the time. Same set in any order, same answer (facts.md, spec/views.md). Linear in
 * entries and resolutions but for sorting.
 *
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
  const sorted = inOrder(entries) ? entries : [...entries].sort(compareEntries);
  const { retracted, live, disputes, sides, stands } = standing(sorted, now);
  const judgements = judge(sides, resolutions);
  markContradictions(sides, judgements);
  const preferred = markPreferred(sides, judgements);

  const disputed = new Set(disputes);
  const view = new Map<string, EntryView>();
  for (const entry of sorted) {
    let side: Side | undefined;
    if (entry.confidence > 0) side = stands(entry) ? sides.get(entry.value) : undefined;
    else if (disputed.has(entry)) side = sides.get(`!${entry.value}`);
    const state = stateOf(entry, side, retracted);
    const contradicted = side?.contradicted ? 1 : 0;
    view.set(entry.id, ENTRY_VIEWS[state][contradicted]![side && side.overruledBy !== null ? 1 : 0]!);
  }
  return {
    entries: view,
    conflicts: conflictRecords(sides, judgements, garden),
    sides: sides.size,
    preferred: preferred.map((side) => side.best.id),
    changesAt: nextChange(live, disputes),
  };
}

/** There are few different ones, and ten thousand entries share them: by state, contradicted, overruled. */
const ENTRY_VIEWS = Object.fromEntries(
  (['current', 'losing', 'retraction', 'dispute', 'retracted', 'superseded', 'expired'] as const).map((state) => [
    state,
    [false, true].map((contradicted) =>
      [false, true].map((overruled): EntryView => ({ state, contradicted, overruled })),
    ),
  ]),
) as Record<ViewState, EntryView[][]>;

/** Statements mostly come in the order of their clocks, and looking is cheaper than sorting. */
function inOrder(entries: readonly ViewEntry[]): boolean {
  for (let at = 1; at < entries.length; at++) if (compareEntries(entries[at - 1]!, entries[at]!) > 0) return false;
  return true;
}

/** Counts rather than compares pairs, so that ten thousand values on one key cost ten thousand steps. */
function markContradictions(sides: ReadonlyMap<string, Side>, judgements: Judgements): void {
  const all = [...sides.values()].filter((side) => side.overruledBy === null);
  const values = all.filter((side) => !side.denial);
  const manyCount = values.filter((side) => side.many).length;
  const hasDenials = values.length < all.length;
  const sweeping = all.flatMap((side) => side.allBefore ?? []).sort(compareEntries);
  const firsts = sweeping.length === 0 ? [] : values.map((side) => side.first).sort(compareEntries);

  const settled = new Map<string, number>();
  for (const { pair, by } of judgements.values()) {
    const [a, b] = pair.map((key) => sides.get(key)!) as [Side, Side];
    if (by === null || a.overruledBy !== null || b.overruledBy !== null || !contradict(a, b)) continue;
    for (const { key } of [a, b]) settled.set(key, (settled.get(key) ?? 0) + 1);
  }
  const stands = (key: string): boolean => sides.get(key)?.overruledBy === null;
  for (const side of all) {
    let opponents: number;
    if (side.denial) {
      opponents = stands(side.value) ? 1 : 0;
      // The side's own value is not among these: it had not been stated before, or the denial would not be sweeping.
      if (side.allBefore) opponents += countBefore(firsts, side.allBefore);
    } else {
      opponents = side.many ? values.length - manyCount : values.length - 1;
      if (hasDenials && stands(`!${side.value}`)) opponents += 1;
      opponents += sweeping.length - countBefore(sweeping, side.first);
    }
    side.contradicted = opponents > (settled.get(side.key) ?? 0);
  }
}

/** How many of the sorted statements come before this one (none of them is it). */
function countBefore(sorted: readonly ViewEntry[], entry: ViewEntry): number {
  let low = 0;
  let high = sorted.length;
  while (low < high) {
    const middle = (low + high) >> 1;
    if (compareEntries(sorted[middle]!, entry) < 0) low = middle + 1;
    else high = middle;
  }
  return low;
}

/**
 * Preferred: a resolution's winner, then higher confidence, then higher HLC, then all that remain equal; with them what
 * a resolution called valid beside every one of them. Values of a multi-valued relation are all preferred.
 */
function markPreferred(sides: ReadonlyMap<string, Side>, judgements: Judgements): Side[] {
  const candidates = [...sides.values()].filter((side) => !side.denial && side.overruledBy === null);
  let first: Side | undefined;
  for (const side of candidates) if (!side.many && (!first || compareRank(side, first) < 0)) first = side;
  const equals = new Set<string>();
  for (const side of candidates) if (first && !side.many && compareRank(first, side) === 0) equals.add(side.key);
  const valid = new Map<string, number>();
  for (const { pair, by } of judgements.values()) {
    if (by === null || by.winner !== null) continue;
    for (const [key, other] of [pair, [pair[1], pair[0]] as const]) {
      if (equals.has(other)) valid.set(key, (valid.get(key) ?? 0) + 1);
    }
  }
  for (const side of candidates) {
    side.preferred = side.many || equals.has(side.key) || valid.get(side.key) === equals.size;
  }
  return candidates.filter((side) => side.preferred).sort(byPreference);
}

/** 0 when only the digest could tell them apart. */
function compareRank(a: Side, b: Side): number {
  if (a.won !== b.won) return a.won ? -1 : 1;
  if (a.best.confidence !== b.best.confidence) return b.best.confidence - a.best.confidence;
  return a.best.hlc > b.best.hlc ? -1 : a.best.hlc < b.best.hlc ? 1 : 0;
}

function byPreference(a: Side, b: Side): number {
  return byStanding(a, b) || compareRank(a, b) || compareEntries(b.best, a.best);
}

/** Overruled sides last. */
function byStanding(a: Side, b: Side): number {
  return Number(a.overruledBy !== null) - Number(b.overruledBy !== null);
}

/**
 * The sides that are paired into records: only those that stand against another, unresolved ones first, each org's best
 * before any org's second best. So one org that floods a key with values cannot push the others' out of the records.
 */
function recordedSides(sides: ReadonlyMap<string, Side>, judgements: Judgements): Side[] {
  const judged = new Set([...judgements.values()].flatMap(({ pair }) => pair));
  const ranked = [...sides.values()]
    .filter((side) => side.contradicted || judged.has(side.key))
    // The newest come last and rank first, so nearly all of the sorting is done.
    .reverse()
    .sort(byPreference);
  const perOrg = new Map<string, number>();
  const slot = new Map<Side, number>();
  for (const side of ranked) {
    let best = Number.POSITIVE_INFINITY;
    for (const org of side.orgs) {
      const place = perOrg.get(org) ?? 0;
      perOrg.set(org, place + 1);
      best = Math.min(best, place);
    }
    slot.set(side, best);
  }
  // Sorting is stable: within a slot the order of preference remains.
  ranked.sort((a, b) => byStanding(a, b) || slot.get(a)! - slot.get(b)!);
  return ranked.slice(0, MAX_CONFLICT_SIDES);
}

function conflictRecords(
  sides: ReadonlyMap<string, Side>,
  judgements: Judgements,
  garden: string | undefined,
): ConflictView[] {
  const shown = recordedSides(sides, judgements);
  const records: ConflictView[] = [];
  for (let i = 0; i < shown.length; i++) {
    for (let j = i + 1; j < shown.length; j++) {
      const [newer, older] = [shown[i]!, shown[j]!].sort((x, y) => compareEntries(y, x)) as [Side, Side];
      if (!contradict(newer, older)) continue;
      const by = settledBy(judgements, newer, older);
      const own = judgements.get(pairKey(newer.key, older.key))?.all ?? [];
      const all = by === null || own.includes(by) ? own : [by, ...own].sort((x, y) => compareEntries(y, x));
      records.push({
        id: conflictId(newer.claim, older.claim, garden),
        a: conflictSide(newer),
        b: conflictSide(older),
        resolvedBy: by?.id ?? null,
        resolutions: all.map((resolution) => resolution.id),
      });
    }
  }
  return records;
}

function conflictSide({ key, id, claim, hlc }: Side): ConflictSide {
  return { key, id, claim, hlc };
}

function stateOf(entry: ViewEntry, side: Side | undefined, retracted: ReadonlySet<string>): ViewState {
  if (entry.supersededBy !== null) return 'superseded';
  if (entry.confidence === 0) return side === undefined ? 'retraction' : 'dispute';
  if (retracted.has(entry.id)) return 'retracted';
  if (side === undefined) return 'expired';
  return side.preferred ? 'current' : 'losing';
}

/** Time only ever takes statements away, so nothing but the end of a standing one changes the view. */
function nextChange(live: readonly ViewEntry[], disputes: readonly ViewEntry[]): number | null {
  let next: number | null = null;
  for (const entries of [live, disputes]) {
    for (const { until } of entries) if (until !== null && (next === null || until < next)) next = until;
  }
  return next;
}

import type { ConflictSide } from './conflict.ts';
import { compareEntries, type ViewEntry, type ViewResolution } from './view-model.ts';

/** First step of the view: what of the statements on K still stands, and on which side (spec/views.md, 2 and 3). */

/** A live value, or the denial of one. */
export interface Side extends ConflictSide {
  readonly value: string;
  readonly denial: boolean;
  /** Whether the relation is multi-valued for the newest statement of the value. */
  readonly many: boolean;
  /** Orgs that stand on this side. */
  readonly orgs: Set<string>;
  /** Value: the first statement of it ever made on K, live or not, so that restating cannot dodge a denial. */
  readonly first: ViewEntry;
  /** Denial: the newest statement here that denies everything said before it, not just one value. */
  readonly allBefore: ViewEntry | null;
  /** Value: the most confident of the orgs' newest words on it, the newest of several; the preferred fact if it wins. */
  readonly best: ViewEntry;
  /** The newest effective resolution that this side lost; null: it stands. */
  overruledBy: ViewResolution | null;
  won: boolean;
  contradicted: boolean;
  preferred: boolean;
}

interface Denial {
  readonly entry: ViewEntry;
  /** Nobody had stated this value before: it is a placeholder and denies all that was stated earlier. */
  readonly all: boolean;
}

export interface Standing {
  readonly retracted: ReadonlySet<string>;
  /** Live statements in clock order. */
  readonly live: readonly ViewEntry[];
  /** Denials that meet a live value, in clock order. */
  readonly disputes: readonly ViewEntry[];
  /** By side key: the value digest, with a leading `!` for denials. */
  readonly sides: Map<string, Side>;
}

/** @param sorted every statement on K in clock order */
export function standing(sorted: readonly ViewEntry[], now: number): Standing {
  const { retracted, denials } = applyRetractions(sorted);
  const stands = (entry: ViewEntry): boolean =>
    entry.supersededBy === null && (entry.until === null || entry.until > now) && !retracted.has(entry.id);
  const live = sorted.filter((entry) => entry.confidence > 0 && stands(entry));

  const sides = valueSides(sorted, live);
  let earliest: ViewEntry | undefined;
  for (const { first } of sides.values()) if (!earliest || compareEntries(first, earliest) < 0) earliest = first;
  const disputes = denials.filter(
    ({ entry, all }) =>
      stands(entry) && (sides.has(entry.value) || (all && earliest && compareEntries(earliest, entry) < 0)),
  );
  disputes.sort((a, b) => compareEntries(a.entry, b.entry));
  for (const dispute of disputes) addDenial(sides, dispute);
  return { retracted, live, disputes: disputes.map(({ entry }) => entry), sides };
}

/** What one org has said on K so far. */
interface OrgHistory {
  /** By value, the statements not yet retracted; a value once stated stays a key. */
  readonly stated: Map<string, ViewEntry[]>;
  /** All statements not yet retracted by a placeholder. */
  open: ViewEntry[];
  readonly denials: Map<string, Denial[]>;
}

/**
 * A confidence-0 statement of org O retracts O's earlier statements of an equal value if O ever made one, otherwise all
 * of O's earlier ones: what it retracts depends on O's own statements alone, so that nobody else can divert it. A value
 * that O never stated is denied where others state it. Each statement is retracted once, so the whole is linear.
 */
function applyRetractions(sorted: readonly ViewEntry[]): { retracted: Set<string>; denials: Denial[] } {
  const retracted = new Set<string>();
  const stated = new Set<string>();
  const orgs = new Map<string, OrgHistory>();
  for (const entry of sorted) {
    const own: OrgHistory = orgs.get(entry.org) ?? { stated: new Map(), open: [], denials: new Map() };
    orgs.set(entry.org, own);
    if (entry.confidence > 0) {
      stated.add(entry.value);
      push(own.stated, entry.value, entry);
      own.open.push(entry);
      // Who asserts has withdrawn what the assertion replaces: the denial of that value, or on a single-valued key all.
      if (entry.many) own.denials.delete(entry.value);
      else own.denials.clear();
      continue;
    }
    const equal = own.stated.get(entry.value);
    for (const target of equal ?? own.open) retracted.add(target.id);
    if (equal) {
      own.stated.set(entry.value, []);
      continue;
    }
    own.open = [];
    push(own.denials, entry.value, { entry, all: own.stated.size === 0 && !stated.has(entry.value) });
  }
  return { retracted, denials: [...orgs.values()].flatMap((own) => [...own.denials.values()].flat()) };
}

function push<T>(lists: Map<string, T[]>, key: string, item: T): void {
  const list = lists.get(key);
  if (list) list.push(item);
  else lists.set(key, [item]);
}

/** One side per live value; its newest live statement stands for it. */
function valueSides(sorted: readonly ViewEntry[], live: readonly ViewEntry[]): Map<string, Side> {
  const first = new Map<string, ViewEntry>();
  for (const entry of sorted) if (entry.confidence > 0 && !first.has(entry.value)) first.set(entry.value, entry);
  const newest = new Map<string, Map<string, ViewEntry>>();
  for (const entry of live) {
    const byOrg = newest.get(entry.value);
    if (byOrg) byOrg.set(entry.org, entry);
    else newest.set(entry.value, new Map([[entry.org, entry]]));
  }
  const sides = new Map<string, Side>();
  for (const [value, byOrg] of newest) {
    const words = [...byOrg.values()];
    // The confidence of a value is that of its surest org: another's half-hearted echo cannot make it lose.
    const best = words.reduce((a, b) => ((b.confidence - a.confidence || compareEntries(b, a)) > 0 ? b : a));
    const stands = words.reduce((a, b) => (compareEntries(a, b) < 0 ? b : a));
    sides.set(value, {
      ...blank(value, stands),
      denial: false,
      orgs: new Set(byOrg.keys()),
      first: first.get(value)!,
      allBefore: null,
      best,
    });
  }
  return sides;
}

function addDenial(sides: Map<string, Side>, { entry, all }: Denial): void {
  const key = `!${entry.value}`;
  const old = sides.get(key);
  sides.set(key, {
    ...blank(key, entry),
    denial: true,
    orgs: (old?.orgs ?? new Set<string>()).add(entry.org),
    first: entry,
    allBefore: all ? entry : (old?.allBefore ?? null),
    best: entry,
  });
}

function blank(key: string, stands: ViewEntry): Omit<Side, 'denial' | 'orgs' | 'first' | 'allBefore' | 'best'> {
  return {
    key,
    id: stands.id,
    claim: stands.claim,
    hlc: stands.hlc,
    value: stands.value,
    many: stands.many,
    overruledBy: null,
    won: false,
    contradicted: false,
    preferred: false,
  };
}

/** Whether two sides stand against each other, judged or not. */
export function contradict(a: Side, b: Side): boolean {
  if (b.denial) return !a.denial && denies(b, a);
  return a.denial ? denies(a, b) : !(a.many && b.many);
}

function denies(denial: Side, side: Side): boolean {
  return denial.value === side.value || (denial.allBefore !== null && compareEntries(side.first, denial.allBefore) < 0);
}

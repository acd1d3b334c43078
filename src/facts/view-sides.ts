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
  readonly orgs: readonly string[];
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
  /** Whether a statement has neither expired nor been superseded or retracted. */
  readonly stands: (entry: ViewEntry) => boolean;
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
  return { retracted, live, disputes: disputes.map(({ entry }) => entry), sides, stands };
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
  if (!sorted.some((entry) => entry.confidence === 0)) return { retracted, denials: [] };
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

/** What is said for one value. */
interface Voices {
  /** The first statement of the value, live or not. */
  readonly first: ViewEntry;
  /** The newest live statement of the only org that has one, or of each: nearly always it is one, so no map is made. */
  newest: ViewEntry | Map<string, ViewEntry> | undefined;
}

/** One side per live value; its newest live statement stands for it. */
function valueSides(sorted: readonly ViewEntry[], live: readonly ViewEntry[]): Map<string, Side> {
  const voices = new Map<string, Voices>();
  for (const entry of sorted) {
    if (entry.confidence > 0 && !voices.has(entry.value)) voices.set(entry.value, { first: entry, newest: undefined });
  }
  // Sides are in the order in which their values became live.
  const sides = new Map<string, Side>();
  for (const entry of live) {
    const voice = voices.get(entry.value)!;
    const { newest } = voice;
    if (newest === undefined) sides.set(entry.value, side(entry.value, entry, voice.first, entry, [entry.org]));
    if (newest === undefined || (!(newest instanceof Map) && newest.org === entry.org)) voice.newest = entry;
    else if (newest instanceof Map) newest.set(entry.org, entry);
    else
      voice.newest = new Map([
        [newest.org, newest],
        [entry.org, entry],
      ]);
  }
  for (const value of sides.keys()) {
    const { first, newest } = voices.get(value)!;
    if (newest instanceof Map) {
      const words = [...newest.values()];
      // The confidence of a value is that of its surest org: another's half-hearted echo cannot make it lose.
      const best = words.reduce((a, b) => ((b.confidence - a.confidence || compareEntries(b, a)) > 0 ? b : a));
      const stands = words.reduce((a, b) => (compareEntries(a, b) < 0 ? b : a));
      sides.set(value, side(value, stands, first, best, [...newest.keys()]));
    } else if (newest && sides.get(value)!.best !== newest) {
      sides.set(value, side(value, newest, first, newest, [newest.org]));
    }
  }
  return sides;
}

function addDenial(sides: Map<string, Side>, { entry, all }: Denial): void {
  const key = `!${entry.value}`;
  const old = sides.get(key);
  const orgs = old?.orgs ?? [];
  sides.set(key, {
    ...side(key, entry, entry, entry, orgs.includes(entry.org) ? orgs : [...orgs, entry.org]),
    denial: true,
    allBefore: all ? entry : (old?.allBefore ?? null),
  });
}

function side(key: string, stands: ViewEntry, first: ViewEntry, best: ViewEntry, orgs: readonly string[]): Side {
  return {
    key,
    id: stands.id,
    claim: stands.claim,
    hlc: stands.hlc,
    value: stands.value,
    denial: false,
    many: stands.many,
    orgs,
    first,
    allBefore: null,
    best,
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

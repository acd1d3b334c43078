import { compareEntries, type ViewResolution } from './view-model.ts';
import type { Side } from './view-sides.ts';

/** Second step of the view: what resolutions settle between the sides (spec/views.md, 5). */

export interface Judged {
  /** Keys of the two sides. */
  readonly pair: readonly [string, string];
  /** The effective resolution, null when none binds. */
  by: ViewResolution | null;
  /** Every resolution that covers both sides, newest first. */
  readonly all: ViewResolution[];
}

export type Judgements = ReadonlyMap<string, Judged>;

export function pairKey(a: string, b: string): string {
  return a < b ? `${a} ${b}` : `${b} ${a}`;
}

/**
 * The effective resolution of each pair: the newest that covers both sides and binds them. Marks the sides that won and
 * those overruled. Adds no more than three pairs per resolution.
 */
export function judge(sides: ReadonlyMap<string, Side>, resolutions: readonly ViewResolution[]): Judgements {
  const judged = new Map<string, Judged>();
  for (const resolution of [...resolutions].sort((a, b) => compareEntries(b, a))) {
    const covered = new Set(resolution.sides);
    if (resolution.winner !== null) covered.add(resolution.winner);
    const keys = [...covered].filter((key) => sides.has(key));
    for (let i = 0; i < keys.length; i++) {
      for (let j = i + 1; j < keys.length; j++) {
        const pair = [keys[i]!, keys[j]!] as const;
        const key = pairKey(...pair);
        const entry: Judged = judged.get(key) ?? { pair, by: null, all: [] };
        judged.set(key, entry);
        entry.all.push(resolution);
        if (entry.by === null && binds(resolution, pair, sides)) entry.by = resolution;
      }
    }
  }
  overrule(sides, judged);
  return judged;
}

/**
 * A winner binds only what was said before the judgement (a loser stated again later is new evidence and reopens), and
 * only while the winner itself is live. `both_valid` holds for good.
 */
function binds(by: ViewResolution, pair: readonly string[], sides: ReadonlyMap<string, Side>): boolean {
  if (by.winner === null) return true;
  return sides.has(by.winner) && pair.every((key) => key === by.winner || sides.get(key)!.hlc < by.hlc);
}

/**
 * Overruled is whoever lost to a side that nobody beats, directly or through others. Judgements that run in a circle
 * (A over B, B over C, C over A) therefore settle nothing: otherwise every value would vanish from the view.
 */
function overrule(sides: ReadonlyMap<string, Side>, judged: ReadonlyMap<string, Judged>): void {
  const beats = new Map<string, string[]>();
  const beaten = new Set<string>();
  for (const entry of judged.values()) {
    const loser = loserOf(entry);
    if (entry.by?.winner == null || loser === undefined) continue;
    beaten.add(loser);
    const losers = beats.get(entry.by.winner);
    if (losers) losers.push(loser);
    else beats.set(entry.by.winner, [loser]);
  }
  const out = new Set<string>();
  const queue = [...beats.keys()].filter((key) => !beaten.has(key));
  for (let key = queue.pop(); key !== undefined; key = queue.pop()) {
    for (const loser of beats.get(key) ?? []) {
      if (out.has(loser)) continue;
      out.add(loser);
      queue.push(loser);
    }
  }
  for (const entry of judged.values()) {
    const { by, pair } = entry;
    if (by === null || by.winner === null) continue;
    const loser = loserOf(entry);
    // Nobody was overruled: a circle, or a third value won that has itself been judged since. Nothing is settled.
    if (!pair.some((key) => out.has(key))) entry.by = null;
    else if (loser !== undefined) {
      sides.get(by.winner)!.won = true;
      const side = sides.get(loser)!;
      if (side.overruledBy === null || compareEntries(side.overruledBy, by) < 0) side.overruledBy = by;
    }
  }
}

/** The side of the pair that lost to the other, undefined where both are valid or a third value won. */
function loserOf({ by, pair }: Judged): string | undefined {
  if (by?.winner === pair[0]) return pair[1];
  return by?.winner === pair[1] ? pair[0] : undefined;
}

/**
 * The resolution that settles a pair: its own, or the newest that overruled one of the two. Whoever lost takes no
 * further part, so that n values need n - 1 judgements and not n(n - 1)/2.
 */
export function settledBy(judgements: Judgements, a: Side, b: Side): ViewResolution | null {
  const own = judgements.get(pairKey(a.key, b.key))?.by ?? null;
  if (own !== null || b.overruledBy === null) return own ?? a.overruledBy;
  return a.overruledBy === null || compareEntries(a.overruledBy, b.overruledBy) < 0 ? b.overruledBy : a.overruledBy;
}

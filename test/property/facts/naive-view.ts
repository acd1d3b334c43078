import {
  compareEntries,
  conflictId,
  type EntryState,
  type ViewEntry,
  type ViewResolution,
} from '../../../src/facts/index.ts';

/**
 * The view as spec/views.md words it, rule by rule and pair by pair, without regard to cost: the model that view.ts is
 * compared with. It shares nothing with view.ts but the order of statements and the spelling of conflict ids.
 */
export interface NaiveView {
  readonly entries: Record<string, { state: EntryState; contradicted: boolean; overruled: boolean }>;
  readonly conflicts: readonly { id: string; newer: string; older: string; resolvedBy: string | null }[];
  readonly preferred: readonly string[];
  readonly sides: number;
  readonly circle: boolean;
}

interface Group {
  readonly key: string;
  readonly members: readonly ViewEntry[];
  readonly denial: boolean;
}

export function naiveView(
  entries: readonly ViewEntry[],
  resolutions: readonly ViewResolution[],
  garden: string | undefined,
  now: number,
): NaiveView {
  const before = (a: { hlc: string; id: string }, b: { hlc: string; id: string }): boolean => compareEntries(a, b) < 0;
  const newest = <T extends { hlc: string; id: string }>(list: readonly T[]): T =>
    list.reduce((a, b) => (before(a, b) ? b : a));
  const says = entries.filter((x) => x.confidence > 0);
  const zeros = entries.filter((x) => x.confidence === 0);
  const ended = (x: ViewEntry): boolean => x.supersededBy !== null || (x.until !== null && x.until <= now);

  // Section 2: retraction.
  const statedBefore = (zero: ViewEntry, org?: string): ViewEntry[] =>
    says.filter((x) => x.value === zero.value && before(x, zero) && (org === undefined || x.org === org));
  const retracted = (x: ViewEntry): boolean =>
    zeros.some(
      (zero) =>
        zero.org === x.org && before(x, zero) && (zero.value === x.value || statedBefore(zero, zero.org).length === 0),
    );
  const live = says.filter((x) => !ended(x) && !retracted(x));

  // Section 3: denial.
  const deniesAll = (zero: ViewEntry): boolean =>
    !says.some((x) => x.org === zero.org && before(x, zero)) && statedBefore(zero).length === 0;
  const meets = (zero: ViewEntry, value: string): boolean =>
    zero.value === value || (deniesAll(zero) && says.some((x) => x.value === value && before(x, zero)));
  const denials = zeros.filter(
    (zero) =>
      !ended(zero) &&
      statedBefore(zero, zero.org).length === 0 &&
      !says.some((x) => x.org === zero.org && before(zero, x) && (x.value === zero.value || !x.many)) &&
      live.some((x) => meets(zero, x.value)),
  );

  // Section 4: sides.
  const groups: Group[] = [
    ...[...new Set(live.map((x) => x.value))].map((value) => ({
      key: value,
      members: live.filter((x) => x.value === value),
      denial: false,
    })),
    ...[...new Set(denials.map((x) => x.value))].map((value) => ({
      key: `!${value}`,
      members: denials.filter((x) => x.value === value),
      denial: true,
    })),
  ];
  const opposed = (a: Group, b: Group): boolean => {
    if (a.denial && b.denial) return false;
    if (a.denial) return a.members.some((zero) => meets(zero, b.key));
    if (b.denial) return opposed(b, a);
    return a !== b && !(newest(a.members).many && newest(b.members).many);
  };

  // Section 5: judgement.
  const group = (key: string | null): Group | undefined => groups.find((g) => g.key === key);
  const covering = (a: Group, b: Group): ViewResolution[] =>
    resolutions.filter((r) => [a, b].every((g) => r.sides.includes(g.key) || r.winner === g.key));
  const effective = (a: Group, b: Group): ViewResolution | undefined => {
    const binding = covering(a, b).filter(
      (r) =>
        r.winner === null ||
        (group(r.winner) && [a, b].every((g) => g.key === r.winner || newest(g.members).hlc < r.hlc)),
    );
    return binding.length > 0 ? newest(binding) : undefined;
  };
  const lost = (loser: Group, winner: Group): boolean =>
    loser !== winner && effective(loser, winner)?.winner === winner.key;
  const overruled = new Set<Group>();
  const unbeaten = groups.filter((g) => !groups.some((other) => lost(g, other)));
  for (let more = true; more; ) {
    const next = groups.filter(
      (g) => !overruled.has(g) && groups.some((w) => lost(g, w) && (unbeaten.includes(w) || overruled.has(w))),
    );
    for (const g of next) overruled.add(g);
    more = next.length > 0;
  }
  const settles = (a: Group, b: Group): ViewResolution | undefined => {
    const own = effective(a, b);
    if (own && (own.winner === null || overruled.has(a) || overruled.has(b))) return own;
    const verdicts = [a, b].flatMap((g) =>
      overruled.has(g) ? groups.filter((w) => lost(g, w)).map((w) => effective(g, w)!) : [],
    );
    return verdicts.length > 0 ? newest(verdicts) : undefined;
  };
  const contradicted = (g: Group): boolean =>
    !overruled.has(g) && groups.some((other) => !overruled.has(other) && opposed(g, other) && !settles(g, other));

  // Section 6: preference.
  const won = (g: Group): boolean => groups.some((other) => lost(other, g) && overruled.has(other));
  const best = (g: Group): ViewEntry => {
    const words = [...new Set(g.members.map((x) => x.org))].map((org) =>
      newest(g.members.filter((x) => x.org === org)),
    );
    return words.reduce((a, b) =>
      b.confidence > a.confidence || (b.confidence === a.confidence && before(a, b)) ? b : a,
    );
  };
  const outranks = (a: Group, b: Group): boolean => {
    if (won(a) !== won(b)) return won(a);
    const [x, y] = [best(a), best(b)];
    return x.confidence !== y.confidence ? x.confidence > y.confidence : x.hlc > y.hlc;
  };
  const candidates = groups.filter((g) => !g.denial && !overruled.has(g));
  const single = candidates.filter((g) => !newest(g.members).many);
  const top = single.filter((g) => !single.some((other) => outranks(other, g)));
  const preferred = candidates.filter(
    (g) => newest(g.members).many || top.includes(g) || top.every((t) => effective(g, t)?.winner === null),
  );

  const view: NaiveView['entries'] = {};
  for (const x of entries) {
    const g = live.includes(x) ? group(x.value) : denials.includes(x) ? group(`!${x.value}`) : undefined;
    let state: EntryState;
    if (x.supersededBy !== null) state = 'superseded';
    else if (x.confidence === 0) state = g ? 'dispute' : 'retraction';
    else if (retracted(x)) state = 'retracted';
    else if (!g) state = 'expired';
    else state = preferred.includes(g) ? 'current' : 'losing';
    view[x.id] = { state, contradicted: g ? contradicted(g) : false, overruled: g ? overruled.has(g) : false };
  }
  const conflicts = groups.flatMap((a, i) =>
    groups
      .slice(i + 1)
      .filter((b) => opposed(a, b))
      .map((b) => {
        const [older, newer] = [newest(a.members), newest(b.members)].sort(compareEntries) as [ViewEntry, ViewEntry];
        return {
          id: conflictId(newer.claim, older.claim, garden),
          newer: newer.id,
          older: older.id,
          resolvedBy: settles(a, b)?.id ?? null,
        };
      }),
  );
  const beaten = groups.filter((g) => groups.some((other) => lost(g, other)));
  return {
    entries: view,
    conflicts,
    preferred: preferred.map((g) => best(g).id),
    sides: groups.length,
    circle: beaten.some((g) => !overruled.has(g)),
  };
}

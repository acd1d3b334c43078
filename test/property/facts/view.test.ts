import assert from 'node:assert/strict';
import fc from 'fast-check';
import { type KeyView, type ViewEntry, type ViewResolution, viewKey } from '../../../src/facts/index.ts';
import { MAX_CONFLICT_SIDES } from '../../../src/facts/limits.ts';
import { naiveView } from './naive-view.ts';
import { check } from './runs.ts';

const NOW = 1_000_000;
const hlc = (at: number): string => `${1_000_000_000_000 + at}.000`;
const values = ['X', 'Y', 'Z', 'P'];
const sideKeys = [...values, ...values.map((value) => `!${value}`)];

/** Few values, orgs and instants, so that everything meets everything. */
const draft = fc.record({
  at: fc.integer({ min: 0, max: 9 }),
  org: fc.constantFrom('a', 'b', 'c'),
  confidence: fc.constantFrom(0, 0, 0.3, 1, 1),
  value: fc.constantFrom(...values),
  until: fc.constantFrom(null, null, null, NOW - 1, NOW, NOW + 1, NOW + 2),
  superseded: fc.integer({ min: 0, max: 9 }).map((n) => n === 0),
});
const manyOrgs = fc.constantFrom<readonly string[]>([], [], ['a', 'b', 'c'], ['a']);
const entriesOf = (maxLength: number): fc.Arbitrary<ViewEntry[]> =>
  fc.tuple(fc.array(draft, { maxLength }), manyOrgs).map(([drafts, many]) =>
    drafts.map(({ at, org, confidence, value, until, superseded }, i) => ({
      id: `s${String(i).padStart(2, '0')}`,
      hlc: hlc(at),
      org,
      confidence,
      value,
      claim: `claim-${i}`,
      until,
      supersededBy: superseded ? 'elsewhere' : null,
      many: many.includes(org),
    })),
  );
const resolutionsOf = (maxLength: number): fc.Arbitrary<ViewResolution[]> =>
  fc
    .array(
      fc.record({
        at: fc.integer({ min: 2, max: 12 }),
        sides: fc.uniqueArray(fc.constantFrom(...sideKeys), { minLength: 2, maxLength: 2 }),
        outcome: fc.constantFrom('first', 'first', 'second', 'both', 'third'),
        third: fc.constantFrom(...sideKeys),
      }),
      { maxLength },
    )
    .map((drafts) =>
      drafts.map(({ at, sides, outcome, third }, i) => ({
        id: `r${String(i).padStart(2, '0')}`,
        hlc: hlc(at),
        sides: [...sides].sort(),
        winner: outcome === 'both' ? null : { first: sides[0]!, second: sides[1]!, third }[outcome],
      })),
    );
const garden = fc.constantFrom(undefined, 'garden:roses');
const anySet = fc.tuple(entriesOf(12), resolutionsOf(6), garden);

/** Three values and judgements that run in a circle over them, among whatever else there is: chance alone makes few. */
const circleSet = anySet.map(([entries, resolutions, where]): [ViewEntry[], ViewResolution[], string | undefined] => {
  const three = ['X', 'Y', 'Z'] as const;
  const base = three.map((value, i) => ({
    id: `t${i}`,
    hlc: hlc(10 + i),
    org: `judged-${i}`,
    confidence: 1,
    value,
    claim: `claim-t${i}`,
    until: null,
    supersededBy: null,
    many: false,
  }));
  const circle = three.map((winner, i) => ({
    id: `t${i}`,
    hlc: hlc(20 + i),
    sides: [winner, three[(i + 1) % 3]!].sort(),
    winner,
  }));
  // The others judge after the circle, so that they beat it, cut it or stand beside it.
  return [[...entries, ...base], [...resolutions.map((r) => ({ ...r, hlc: hlc(30) })), ...circle], where];
});
const sets = fc.oneof({ weight: 3, arbitrary: anySet }, { weight: 1, arbitrary: circleSet });

const sorted = <T extends { id: string }>(list: readonly T[]): T[] => [...list].sort((a, b) => (a.id < b.id ? -1 : 1));
const statesOf = (view: KeyView, wanted: string): Set<string> =>
  new Set([...view.entries].filter(([, entry]) => entry.state === wanted).map(([id]) => id));
const overruledOf = (view: KeyView): string[] => [...view.entries].filter(([, e]) => e.overruled).map(([id]) => id);

describe('facts, properties: the current view', () => {
  it('is what the rules say, pair by pair', () => {
    check(
      fc.property(sets, ([entries, resolutions, where]) => {
        const view = viewKey(entries, resolutions, where, NOW);
        const naive = naiveView(entries, resolutions, where, NOW);
        assert.deepEqual(Object.fromEntries(view.entries), naive.entries);
        assert.equal(view.sides, naive.sides);
        assert.deepEqual([...view.preferred].sort(), [...naive.preferred].sort());
        const records = view.conflicts.map(({ id, a, b, resolvedBy }) => ({
          id,
          newer: a.id,
          older: b.id,
          resolvedBy,
        }));
        // A settled pair of which neither side stands against anything else need not be recorded.
        const missing = naive.conflicts.filter(({ id }) => !records.some((record) => record.id === id));
        for (const { resolvedBy } of missing) assert.notEqual(resolvedBy, null);
        assert.deepEqual(
          sorted(records),
          sorted(naive.conflicts.filter(({ id }) => !missing.some((conflict) => conflict.id === id))),
        );
      }),
      10_000,
    );
  });

  it('is the same for the same set in any order', () => {
    const shuffled = sets.chain(([entries, resolutions, where]) =>
      fc.tuple(
        fc.constant([entries, resolutions, where] as const),
        fc.shuffledSubarray(entries, { minLength: entries.length }),
        fc.shuffledSubarray(resolutions, { minLength: resolutions.length }),
      ),
    );
    const plain = (view: KeyView): unknown => ({ ...view, entries: [...view.entries] });
    check(
      fc.property(shuffled, ([[entries, resolutions, where], otherEntries, otherResolutions]) => {
        const view = viewKey(entries, resolutions, where, NOW);
        assert.deepEqual(plain(viewKey(otherEntries, otherResolutions, where, NOW)), plain(view));
      }),
      1500,
    );
  });

  it('gives every statement a state, and shows something wherever a value stands', () => {
    check(
      fc.property(sets, ([entries, resolutions, where]) => {
        const view = viewKey(entries, resolutions, where, NOW);
        assert.deepEqual([...view.entries.keys()].sort(), entries.map(({ id }) => id).sort());
        const overruledByDenial = resolutions.some(({ winner }) => winner?.startsWith('!'));
        const live = statesOf(view, 'current').size + statesOf(view, 'losing').size;
        if (live > 0 && !overruledByDenial) assert.ok(view.preferred.length > 0);
        for (const id of view.preferred) assert.equal(view.entries.get(id)?.state, 'current');
        for (const { contradicted, overruled } of view.entries.values()) assert.ok(!(contradicted && overruled));
        assert.equal(new Set(view.conflicts.map(({ id }) => id)).size, view.conflicts.length, 'ids are unique');
      }),
      2000,
    );
  });

  it('retraction never touches another org', () => {
    check(
      fc.property(entriesOf(12), fc.integer({ min: 0, max: 9 }), fc.constantFrom(...values), (entries, at, value) => {
        const zero: ViewEntry = {
          id: 'zz',
          hlc: hlc(at),
          org: 'b',
          confidence: 0,
          value,
          claim: 'claim-zz',
          until: null,
          supersededBy: null,
          many: false,
        };
        const gone = statesOf(viewKey(entries, [], undefined, NOW), 'retracted');
        const after = statesOf(viewKey([...entries, zero], [], undefined, NOW), 'retracted');
        for (const { id, org } of entries) if (org !== 'b') assert.equal(after.has(id), gone.has(id), id);
        for (const id of gone) assert.ok(after.has(id), 'and brings nothing back');
      }),
      2000,
    );
  });

  it('what an org retracts depends on its own statements alone', () => {
    check(
      fc.property(entriesOf(12), (entries) => {
        const all = statesOf(viewKey(entries, [], undefined, NOW), 'retracted');
        const own = entries.filter(({ org }) => org === 'b');
        const alone = statesOf(viewKey(own, [], undefined, NOW), 'retracted');
        assert.deepEqual([...all].filter((id) => own.some((entry) => entry.id === id)).sort(), [...alone].sort());
      }),
      2000,
    );
  });

  it('equal values never contradict, whoever states them', () => {
    check(
      fc.property(entriesOf(12), (entries) => {
        const same = entries.filter(({ confidence }) => confidence > 0).map((entry) => ({ ...entry, value: 'X' }));
        const view = viewKey(same, [], undefined, NOW);
        assert.deepEqual(view.conflicts, []);
        assert.equal(statesOf(view, 'losing').size, 0);
        assert.ok([...view.entries.values()].every(({ contradicted }) => !contradicted));
      }),
      1000,
    );
  });

  it('both_valid never hides a side', () => {
    const pair = fc.uniqueArray(fc.constantFrom(...sideKeys), { minLength: 2, maxLength: 2 });
    const at = fc.integer({ min: 0, max: 14 });
    check(
      fc.property(sets, pair, at, ([entries, resolutions, where], sides, when) => {
        // Cutting a circle of judgements lets the rest of it take effect: the one case in which less may be shown.
        fc.pre(!naiveView(entries, resolutions, where, NOW).circle);
        const both: ViewResolution = { id: 'zz', hlc: hlc(when), sides: [...sides].sort(), winner: null };
        const view = viewKey(entries, resolutions, where, NOW);
        const after = viewKey(entries, [...resolutions, both], where, NOW);
        const overruled = overruledOf(view);
        for (const id of overruledOf(after)) assert.ok(overruled.includes(id), `${id} was not overruled before`);
        const judged = resolutions.some(
          ({ sides: covered, winner }) =>
            winner !== null && sides.every((key) => covered.includes(key) || key === winner),
        );
        if (judged) return;
        const current = statesOf(after, 'current');
        for (const id of statesOf(view, 'current')) assert.ok(current.has(id), `${id} was current before`);
      }),
      3000,
    );
  });

  it("another org's echo of a value never makes the value lose", () => {
    check(
      fc.property(entriesOf(10), fc.constantFrom(0.01, 0.3, 1), (entries, confidence) => {
        const view = viewKey(entries, [], undefined, NOW);
        fc.pre(view.preferred.length === 1 && entries.every(({ many }) => !many));
        const preferred = entries.find(({ id }) => id === view.preferred[0])!;
        const echo = { ...preferred, id: 'zz', org: 'z', hlc: hlc(20), claim: 'claim-zz', confidence, until: null };
        const after = viewKey([...entries, echo], [], undefined, NOW);
        assert.equal(after.entries.get(preferred.id)?.state, 'current');
      }),
      1000,
    );
  });

  it('changes at the instant it names and at no earlier one', () => {
    check(
      fc.property(sets, ([entries, resolutions, where]) => {
        const view = viewKey(entries, resolutions, where, NOW);
        const states = (at: number): unknown => [...viewKey(entries, resolutions, where, at).entries];
        const same = [...view.entries];
        if (view.changesAt === null) assert.deepEqual(states(Number.MAX_SAFE_INTEGER), same);
        else {
          assert.deepEqual(states(view.changesAt - 1), same);
          assert.notDeepEqual(states(view.changesAt), same);
        }
      }),
      2000,
    );
  });
});

describe('facts, properties: the cost of a view', () => {
  /** A statement that counts how often the view looks at it. */
  function counted(total: { reads: number }, entry: ViewEntry): ViewEntry {
    const spy = {};
    for (const [name, given] of Object.entries(entry)) {
      Object.defineProperty(spy, name, {
        enumerable: true,
        get: () => {
          total.reads += 1;
          return given;
        },
      });
    }
    return spy as ViewEntry;
  }

  const shapes: Record<string, (i: number, n: number) => Partial<ViewEntry>> = {
    'as many values': () => ({}),
    'values at one clock reading': () => ({ hlc: hlc(0) }),
    'values and their denials': (i, n) => (i < n / 2 ? {} : { org: 'b', confidence: 0, value: `v${i - n / 2}` }),
    'values and sweeping denials': (i, n) => (i < n / 2 ? {} : { org: `b${i}`, confidence: 0 }),
    'retractions of everything': (i, n) => (i < n / 2 ? {} : { confidence: 0 }),
    'retractions of one value': (i, n) => ({ value: 'X', confidence: i < n / 2 ? 1 : 0 }),
    'echoes of one value': (i) => ({ value: 'X', org: `o${i}` }),
  };

  const build = (n: number, shape: (i: number, n: number) => Partial<ViewEntry>): ViewEntry[] =>
    Array.from({ length: n }, (_, i) => ({
      id: `s${String(i).padStart(5, '0')}`,
      hlc: hlc(i),
      org: 'a',
      confidence: 1,
      value: `v${i}`,
      claim: `claim-${i}`,
      until: null,
      supersededBy: null,
      many: false,
      ...shape(i, n),
    }));

  for (const [name, shape] of Object.entries(shapes)) {
    it(`grows with n log n: ${name}`, () => {
      const reads = (n: number): number => {
        const total = { reads: 0 };
        const entries = build(n, shape).map((entry) => counted(total, entry));
        const circle = entries.map((entry, i) => ({
          id: `r${i}`,
          hlc: hlc(2 * n),
          sides: [entry.value, entries[(i + 1) % n]!.value].sort(),
          winner: i % 3 === 0 ? null : entry.value,
        }));
        const view = viewKey(entries, circle, undefined, 0);
        assert.ok(view.conflicts.length <= (MAX_CONFLICT_SIDES * (MAX_CONFLICT_SIDES - 1)) / 2);
        return total.reads;
      };
      const [small, large] = [reads(1250), reads(10_000)];
      // Eight times as many: n log n reads some 10.4 times as much, n² 64 times.
      assert.ok(large < 16 * small, `${small} reads of 1250 statements, ${large} of 10000`);
    });
  }

  it('ten thousand values on one key are all marked and sixteen are paired', () => {
    const view = viewKey(
      build(10_000, () => ({})),
      [],
      undefined,
      0,
    );
    assert.equal(view.sides, 10_000);
    assert.equal(view.conflicts.length, 120);
    assert.equal([...view.entries.values()].filter(({ contradicted }) => contradicted).length, 10_000);
    assert.deepEqual(view.preferred, ['s09999']);
  });
});

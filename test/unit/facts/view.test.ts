import assert from 'node:assert/strict';
import { type ViewEntry, viewKey } from '../../../src/facts/index.ts';
import { eachVector } from './vectors.ts';

interface JsonEntry extends Omit<ViewEntry, 'supersededBy'> {
  readonly superseded_by: string | null;
}

interface JsonConflict {
  readonly id: string;
  readonly newer: string;
  readonly older: string;
  readonly resolved_by: string | null;
  readonly resolutions: readonly string[];
}

interface ViewVector {
  readonly garden: string | null;
  readonly now: number;
  readonly entries: readonly JsonEntry[];
  readonly resolutions: readonly { id: string; hlc: string; sides: string[]; winner: string | null }[];
  readonly expected: {
    readonly entries: Record<string, unknown>;
    readonly conflicts?: readonly JsonConflict[];
    readonly conflict_count?: number;
    readonly recorded?: readonly string[];
    readonly sides: number;
    readonly preferred: readonly string[];
    readonly changes_at: number | null;
  };
}

const byId = (a: { id: string }, b: { id: string }): number => (a.id < b.id ? -1 : 1);

describe('facts: the current view', () => {
  eachVector<ViewVector>('view', ({ garden, now, entries: given, resolutions, expected }) => {
    const entries = given.map(({ superseded_by, ...entry }) => ({ ...entry, supersededBy: superseded_by }));
    for (const order of [entries, [...entries].reverse()]) {
      const view = viewKey(order, [...resolutions].reverse(), garden ?? undefined, now);
      assert.deepEqual(Object.fromEntries([...view.entries].sort()), expected.entries);
      assert.deepEqual(view.preferred, expected.preferred);
      assert.equal(view.sides, expected.sides);
      assert.equal(view.changesAt, expected.changes_at);
      if (expected.conflicts) {
        const conflicts = view.conflicts.map(({ id, a, b, resolvedBy, resolutions: all }) => ({
          id,
          newer: a.id,
          older: b.id,
          resolved_by: resolvedBy,
          resolutions: all,
        }));
        assert.deepEqual(conflicts.sort(byId), [...expected.conflicts].sort(byId));
      }
      if (expected.conflict_count !== undefined) assert.equal(view.conflicts.length, expected.conflict_count);
      if (expected.recorded) {
        const recorded = new Set(view.conflicts.flatMap(({ a, b }) => [a.id, b.id]));
        assert.deepEqual([...recorded].sort(), [...expected.recorded].sort());
      }
    }
  });
});

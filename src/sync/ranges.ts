import { MODE, type Range } from './frames.ts';
import { afterReading, compareKeys, END_KEY, FIRST_KEY, type Key, separator, startOfReading } from './key.ts';
import { FAN_OUT, LEAF_TARGET, MAX_LEAF_IDS } from './limits.ts';
import type { SetIndex } from './set-index.ts';

/** Takes what is said of the range from `range.lower` up to `upper`. */
export type Emit = (upper: Key, range: Range) => void;

/**
 * Answers a range whose fingerprints differ (spec/reconciliation.md, section 5): few items by their ids, many by the
 * fingerprints of up to sixteen parts. The youngest part comes first.
 */
export function answerRange(index: SetIndex, low: Key, high: Key, emit: Emit): void {
  const count = index.rangeCount(low, high);
  if (count <= MAX_LEAF_IDS) {
    emit(high, { mode: MODE.ids, lower: low, ids: index.descending(low, high, MAX_LEAF_IDS) });
    return;
  }
  const parts = Math.min(FAN_OUT, Math.ceil(count / LEAF_TARGET));
  const starts: number[] = [];
  for (let part = parts - 1; part > 0; part--) starts.push(Math.floor((count * part) / parts));
  emitParts(index, low, high, starts, emit);
}

/** What {@link openSet} leaves to be sent without further talk: the own items from `low` up to `high`. */
export interface Surplus {
  readonly low: Key;
  readonly high: Key;
}

/**
 * Opens a set that differs (section 6). Most differences are at the young end, so the parts there are small and double in
 * size towards the old end; and where one side is known, or likely, to have nothing (above the other's youngest item,
 * below the own oldest), statements flow at once, without their ids.
 *
 * @param theirs the reading of the other side's youngest item, if it has any and it is known
 * @returns the own items above it: the other side lacks them
 */
export function openSet(index: SetIndex, theirs: Key | undefined, emit: Emit): Surplus | undefined {
  const newest = index.newestKey();
  if (newest === undefined) {
    emit(END_KEY, { mode: MODE.ids, lower: FIRST_KEY, ids: [] });
    return undefined;
  }
  let high: Key = END_KEY;
  let surplus: Surplus | undefined;
  const order = theirs === undefined ? 0 : compareKeys(startOfReading(newest), startOfReading(theirs));
  if (order > 0) {
    high = afterReading(theirs!);
    surplus = { low: high, high: END_KEY };
  } else if (order < 0) {
    high = afterReading(newest);
    emit(END_KEY, { mode: MODE.ids, lower: high, ids: [] });
  }
  const count = index.rank(high);
  if (count <= MAX_LEAF_IDS) {
    answerRange(index, FIRST_KEY, high, emit);
    return surplus;
  }
  const starts: number[] = [];
  const largest = Math.ceil(count / FAN_OUT);
  for (let size = MAX_LEAF_IDS, start = count - size; start > 0; size = Math.min(size * 2, largest), start -= size) {
    starts.push(start);
  }
  const bottom = startOfReading(index.keyAt(0));
  if (compareKeys(bottom, FIRST_KEY) === 0) emitParts(index, FIRST_KEY, high, starts, emit);
  else {
    emitParts(index, bottom, high, starts, emit);
    emit(bottom, { mode: MODE.ids, lower: FIRST_KEY, ids: [] });
  }
  return surplus;
}

/** Fingerprints of the parts between `high` and `low` that begin at these positions (relative to `low`, descending). */
function emitParts(index: SetIndex, low: Key, high: Key, starts: readonly number[], emit: Emit): void {
  const base = index.rank(low);
  let upper = high;
  for (const start of starts) {
    const lower = separator(index.keyAt(base + start - 1), index.keyAt(base + start));
    emit(upper, { mode: MODE.fingerprint, lower, fingerprint: index.rangeFingerprint(lower, upper) });
    upper = lower;
  }
  emit(upper, { mode: MODE.fingerprint, lower: low, fingerprint: index.rangeFingerprint(low, upper) });
}

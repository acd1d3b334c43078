import type { SetIndex } from './set-index.ts';

/** Sets are ordered by the bytes of their names (spec/reconciliation.md, section 3). */
export function byName(a: SetIndex, b: SetIndex): number {
  return Buffer.compare(a.nameBytes, b.nameBytes);
}

/** Puts one more into a list in that order. Whoever names a thousand sets has nothing sorted again. */
export function insertByName<T>(list: T[], added: T, indexOf: (one: T) => SetIndex): void {
  let low = 0;
  for (let high = list.length; low < high; ) {
    const middle = (low + high) >>> 1;
    if (byName(indexOf(list[middle]!), indexOf(added)) < 0) low = middle + 1;
    else high = middle;
  }
  list.splice(low, 0, added);
}

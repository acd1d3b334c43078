/** Work that is done a slice at a time: others get a turn where it yields. */
export type Slices<T> = Generator<undefined, T, undefined>;

/** Calls back with every item, and gives others a turn after so many. */
export function* inSlices<T>(items: Iterable<T>, size: number, each: (item: T) => void): Slices<void> {
  let left = size;
  for (const item of items) {
    if (left === 0) {
      yield;
      left = size;
    }
    left -= 1;
    each(item);
  }
}

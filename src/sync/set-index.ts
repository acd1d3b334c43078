import { type Digest, type Hlc, ownCopy } from '../facts/index.ts';
import { emptySum, Fingerprinter, NAME_LENGTH_BYTES, named, normalizeSum, SUM_WORDS, type Sum } from './fingerprint.ts';
import { compareAt, END_KEY, FIRST_KEY, hlcOfKey, KEY_WORDS, type Key, keyOf } from './key.ts';
import { BLOCK_ITEMS, FIRST_BLOCK_ITEMS, GROUP_BLOCKS, LOAD_SLICE } from './limits.ts';

/** Some items in order, with the sum of their digests. */
interface Block {
  keys: Uint32Array;
  count: number;
  readonly sum: Sum;
}

/** Some blocks in order, with count and sum of all their items. */
interface Group {
  readonly blocks: Block[];
  count: number;
  readonly sum: Sum;
}

/** One item to load: its clock reading and statement digest. */
export type IndexItem = readonly [hlc: Hlc, digest: Digest];

/**
 * The ordered index of one set: which statements it has, and fingerprints of any range of them, without the statements
 * (spec/reconciliation.md, sections 2 and 3). Three levels (groups, blocks, items) with cached sums: an insert moves
 * half a block at most, a fingerprint reads half a block at either end and the sums between. An item takes 40 bytes and
 * its share of what blocks leave free: nothing when items come in order, 60 % when they come at random.
 */
export class SetIndex {
  /** Name of the set; part of every fingerprint. */
  readonly name: string;
  /** The name as it is hashed: its length, its bytes. */
  readonly head: Uint8Array;
  /** The bytes alone, by which sets are ordered. */
  readonly nameBytes: Uint8Array;
  readonly #groups: Group[] = [];
  readonly #sum: Sum = emptySum();
  readonly #fingerprinter: Fingerprinter;
  #count = 0;
  #changes = 0;
  #whole: Uint8Array | undefined;
  /** Where the last search ended: group, block, item. */
  #g = 0;
  #b = 0;
  #i = 0;
  readonly #lanes = new Float64Array(SUM_WORDS);

  constructor(name: string) {
    this.name = name;
    this.head = ownCopy(named(name));
    this.nameBytes = this.head.subarray(NAME_LENGTH_BYTES);
    this.#fingerprinter = new Fingerprinter(this.head);
  }

  /** Items in the set. */
  get count(): number {
    return this.#count;
  }

  /** How often an item came or went since the index was made. */
  get changes(): number {
    return this.#changes;
  }

  /** Bytes that the items' blocks take, filled or not. */
  get allocatedBytes(): number {
    let bytes = 0;
    for (const { blocks } of this.#groups) for (const { keys } of blocks) bytes += keys.byteLength;
    return bytes;
  }

  /** Clock reading of the youngest item; undefined when there is none. */
  newest(): Hlc | undefined {
    const key = this.newestKey();
    return key && hlcOfKey(key);
  }

  newestKey(): Key | undefined {
    return this.#count === 0 ? undefined : this.keyAt(this.#count - 1);
  }

  has(hlc: Hlc, digest: Digest): boolean {
    return this.hasKey(keyOf(hlc, digest));
  }

  hasKey(key: Key): boolean {
    return this.#find(key);
  }

  /** @returns false when it was there already */
  insert(hlc: Hlc, digest: Digest): boolean {
    return this.#insert(keyOf(hlc, digest));
  }

  /** @returns false when it was not there */
  remove(hlc: Hlc, digest: Digest): boolean {
    const key = keyOf(hlc, digest);
    if (!this.#find(key)) return false;
    const group = this.#groups[this.#g]!;
    const block = group.blocks[this.#b]!;
    block.keys.copyWithin(this.#i * KEY_WORDS, (this.#i + 1) * KEY_WORDS, block.count * KEY_WORDS);
    block.count -= 1;
    group.count -= 1;
    this.#count -= 1;
    for (const sum of [block.sum, group.sum, this.#sum]) addToSum(sum, key, 2, -1);
    this.#changed();
    this.#mergeAround(group);
    return true;
  }

  /**
   * Loads many items, in ascending order at best, and pauses after every few thousand, so that the caller can give
   * others a turn: `for (const loaded of index.load(items)) await turn()`. Other calls may come between.
   *
   * @returns an iterator over the number of items loaded so far
   */
  *load(items: Iterable<IndexItem>): Generator<number, void> {
    let loaded = 0;
    for (const [hlc, digest] of items) {
      this.#insert(keyOf(hlc, digest));
      loaded += 1;
      if (loaded % LOAD_SLICE === 0) yield loaded;
    }
  }

  /** Fingerprint of the whole set, 16 bytes. Kept until the set changes. */
  fingerprint(): Uint8Array {
    this.#whole ??= this.#fingerprinter.of(this.#count, this.#sum);
    return this.#whole;
  }

  /** Fingerprint of the items from `low` up to, not including, `high`: 16 bytes. */
  rangeFingerprint(low: Key, high: Key): Uint8Array {
    this.#lanes.fill(0);
    const count = this.#addPrefix(high, 1) - this.#addPrefix(low, -1);
    return this.#fingerprinter.of(count, normalizeSum(this.#lanes));
  }

  /** Items from `low` up to, not including, `high`. */
  rangeCount(low: Key, high: Key): number {
    return this.rank(high) - this.rank(low);
  }

  /** Items below `key`. */
  rank(key: Key): number {
    this.#seek(key);
    let rank = this.#i;
    for (let g = 0; g < this.#g; g++) rank += this.#groups[g]!.count;
    const blocks = this.#groups[this.#g]?.blocks ?? [];
    for (let b = 0; b < this.#b; b++) rank += blocks[b]!.count;
    return rank;
  }

  /** The item with `rank` items below it; a copy. */
  keyAt(rank: number): Key {
    let rest = rank;
    for (const group of this.#groups) {
      if (rest >= group.count) {
        rest -= group.count;
        continue;
      }
      for (const block of group.blocks) {
        if (rest < block.count) return copyKey(block, rest);
        rest -= block.count;
      }
    }
    throw new RangeError(`rank ${rank} is not below the count ${this.#count}`);
  }

  /** Up to `limit` items from below `high` down to, including, `low`: the youngest first. */
  descending(low: Key, high: Key, limit: number): Key[] {
    const keys: Key[] = [];
    this.#seek(high);
    let [g, b, i] = [this.#g, this.#b, this.#i];
    while (keys.length < limit && g >= 0) {
      const blocks = this.#groups[g]?.blocks ?? [];
      if (i === 0) {
        if (b > 0) b -= 1;
        else {
          g -= 1;
          b = (this.#groups[g]?.blocks.length ?? 0) - 1;
        }
        i = this.#groups[g]?.blocks[b]?.count ?? 0;
        continue;
      }
      i -= 1;
      const block = blocks[b]!;
      if (compareAt(block.keys, i * KEY_WORDS, low, 0) < 0) break;
      keys.push(copyKey(block, i));
    }
    return keys;
  }

  /** All items in ascending order. The index must not change meanwhile. */
  *keys(): Generator<Key> {
    for (const { blocks } of this.#groups) {
      for (const block of blocks) for (let i = 0; i < block.count; i++) yield copyKey(block, i);
    }
  }

  /** Goes to the first item not below `key`, or behind the last item of a block; true when it is that item. */
  #find(key: Key): boolean {
    this.#seek(key);
    const block = this.#groups[this.#g]?.blocks[this.#b];
    return block !== undefined && this.#i < block.count && compareAt(block.keys, this.#i * KEY_WORDS, key, 0) === 0;
  }

  /** Binary searches: the last group, and in it the last block, that begins not above `key`; then the item. */
  #seek(key: Key): void {
    let low = 0;
    let high = this.#groups.length - 1;
    while (low < high) {
      const middle = (low + high + 1) >>> 1;
      if (compareAt(this.#groups[middle]!.blocks[0]!.keys, 0, key, 0) <= 0) low = middle;
      else high = middle - 1;
    }
    this.#g = low;
    const blocks = this.#groups[low]?.blocks ?? [];
    low = 0;
    high = blocks.length - 1;
    while (low < high) {
      const middle = (low + high + 1) >>> 1;
      if (compareAt(blocks[middle]!.keys, 0, key, 0) <= 0) low = middle;
      else high = middle - 1;
    }
    this.#b = low;
    const block = blocks[low];
    low = 0;
    high = block?.count ?? 0;
    while (low < high) {
      const middle = (low + high) >>> 1;
      if (compareAt(block!.keys, middle * KEY_WORDS, key, 0) < 0) low = middle + 1;
      else high = middle;
    }
    this.#i = low;
  }

  #insert(key: Key): boolean {
    if (compareAt(key, 0, END_KEY, 0) >= 0) throw new RangeError('no clock reading is that large');
    if (this.#find(key)) return false;
    if (this.#groups.length === 0)
      this.#groups.push({ blocks: [newBlock(FIRST_BLOCK_ITEMS)], count: 0, sum: emptySum() });
    if (this.#groups[this.#g]!.blocks[this.#b]!.count === BLOCK_ITEMS) {
      this.#splitBlock();
      this.#find(key);
    }
    const group = this.#groups[this.#g]!;
    const block = group.blocks[this.#b]!;
    if (block.count * KEY_WORDS === block.keys.length) {
      const grown = new Uint32Array(Math.min(BLOCK_ITEMS, block.count * 2) * KEY_WORDS);
      grown.set(block.keys);
      block.keys = grown;
    }
    const at = this.#i * KEY_WORDS;
    block.keys.copyWithin(at + KEY_WORDS, at, block.count * KEY_WORDS);
    block.keys.set(key, at);
    block.count += 1;
    group.count += 1;
    this.#count += 1;
    addToSum(block.sum, key, 2, 1);
    addToSum(group.sum, key, 2, 1);
    addToSum(this.#sum, key, 2, 1);
    this.#changed();
    return true;
  }

  /** Makes room in the full block where the search ended. What grows at its young end leaves full blocks behind. */
  #splitBlock(): void {
    const group = this.#groups[this.#g]!;
    const block = group.blocks[this.#b]!;
    const atEnd = this.#g === this.#groups.length - 1 && this.#b === group.blocks.length - 1 && this.#i === block.count;
    const kept = atEnd ? BLOCK_ITEMS - 1 : BLOCK_ITEMS >>> 1;
    const next = newBlock(BLOCK_ITEMS);
    next.keys.set(block.keys.subarray(kept * KEY_WORDS));
    next.count = block.count - kept;
    block.count = kept;
    for (let i = 0; i < next.count; i++) addToSum(next.sum, next.keys, i * KEY_WORDS + 2, 1);
    for (let i = 0; i < next.count; i++) addToSum(block.sum, next.keys, i * KEY_WORDS + 2, -1);
    group.blocks.splice(this.#b + 1, 0, next);
    if (group.blocks.length > GROUP_BLOCKS) this.#splitGroup(group, atEnd ? GROUP_BLOCKS : GROUP_BLOCKS >>> 1);
  }

  #splitGroup(group: Group, kept: number): void {
    const next: Group = { blocks: group.blocks.splice(kept), count: 0, sum: emptySum() };
    for (const { count, sum } of next.blocks) {
      next.count += count;
      addToSum(next.sum, sum, 0, 1);
      addToSum(group.sum, sum, 0, -1);
    }
    group.count -= next.count;
    this.#groups.splice(this.#g + 1, 0, next);
  }

  /** After a removal: drops what is empty and joins a block with its neighbour when both fit into half a block. */
  #mergeAround(group: Group): void {
    const { blocks } = group;
    const block = blocks[this.#b]!;
    if (block.count === 0) blocks.splice(this.#b, 1);
    else {
      const left = this.#b > 0 ? this.#b - 1 : this.#b;
      const [into, from] = [blocks[left], blocks[left + 1]];
      if (into && from && into.count + from.count <= BLOCK_ITEMS >>> 1) {
        const keys = new Uint32Array(BLOCK_ITEMS * KEY_WORDS);
        keys.set(into.keys.subarray(0, into.count * KEY_WORDS));
        keys.set(from.keys.subarray(0, from.count * KEY_WORDS), into.count * KEY_WORDS);
        into.keys = keys;
        into.count += from.count;
        addToSum(into.sum, from.sum, 0, 1);
        blocks.splice(left + 1, 1);
      }
    }
    if (blocks.length === 0) this.#groups.splice(this.#g, 1);
  }

  /** Adds (or subtracts) the digests of all items below `key` to the lanes; returns how many they are. */
  #addPrefix(key: Key, sign: 1 | -1): number {
    const lanes = this.#lanes;
    if (key === FIRST_KEY) return 0;
    if (key === END_KEY) {
      addToLanes(lanes, this.#sum, 0, sign);
      return this.#count;
    }
    this.#seek(key);
    let count = this.#i;
    for (let g = 0; g < this.#g; g++) {
      const group = this.#groups[g]!;
      count += group.count;
      addToLanes(lanes, group.sum, 0, sign);
    }
    const blocks = this.#groups[this.#g]?.blocks ?? [];
    for (let b = 0; b < this.#b; b++) {
      count += blocks[b]!.count;
      addToLanes(lanes, blocks[b]!.sum, 0, sign);
    }
    const block = blocks[this.#b];
    if (block === undefined) return count;
    if (this.#i <= block.count >>> 1) {
      for (let i = 0; i < this.#i; i++) addToLanes(lanes, block.keys, i * KEY_WORDS + 2, sign);
    } else {
      addToLanes(lanes, block.sum, 0, sign);
      for (let i = this.#i; i < block.count; i++) addToLanes(lanes, block.keys, i * KEY_WORDS + 2, -sign);
    }
    return count;
  }

  #changed(): void {
    this.#changes += 1;
    this.#whole = undefined;
  }
}

function newBlock(items: number): Block {
  return { keys: new Uint32Array(items * KEY_WORDS), count: 0, sum: emptySum() };
}

function copyKey(block: Block, item: number): Key {
  return block.keys.slice(item * KEY_WORDS, (item + 1) * KEY_WORDS);
}

/** sum := sum ± addend, mod 2^256. */
function addToSum(sum: Sum, addend: Uint32Array, offset: number, sign: 1 | -1): void {
  let carry = 0;
  for (let word = SUM_WORDS - 1; word >= 0; word--) {
    const value = sum[word]! + sign * addend[offset + word]! + carry;
    carry = value < 0 ? -1 : value > 0xffffffff ? 1 : 0;
    sum[word] = value;
  }
}

/** Lanes are exact without carries as long as fewer than 2^21 addends meet. */
function addToLanes(lanes: Float64Array, addend: Uint32Array, offset: number, sign: number): void {
  for (let word = 0; word < SUM_WORDS; word++) lanes[word]! += sign * addend[offset + word]!;
}

import { type RootRole, rootBody, rootFingerprint, setTag } from './fingerprint.ts';
import { MAX_SESSION_SETS } from './limits.ts';
import type { SetIndex } from './set-index.ts';

/** A set that both sides may hold, as far as this side knows. */
export interface SharedSet {
  readonly index: SetIndex;
  /** What stands for its name in this session, in hex. */
  readonly tag: string;
  /** The peer did not know the tag and was told the name; until it speaks of the set, it does not share it. */
  isAsked: boolean;
  /** The peer's vector has it. */
  isInVector: boolean;
}

/** The sets of one session, in the order of the bytes of their names. */
export class SharedSets {
  readonly #indexes: SetIndex[];
  readonly #byTag = new Map<string, SharedSet>();
  #nonces: readonly Uint8Array[] = [];
  #changesAtStart = 0;

  /** @throws RangeError when there are more than MAX_SESSION_SETS */
  constructor(indexes: Iterable<SetIndex>) {
    this.#indexes = [...indexes].sort(byName);
    if (this.#indexes.length > MAX_SESSION_SETS) throw new RangeError(`${this.size} sets are too many for one session`);
    for (const { changes } of this.#indexes) this.#changesAtStart += changes;
  }

  get size(): number {
    return this.#indexes.length;
  }

  /** Both nonces are known: sets get their tags. */
  begin(nonces: readonly Uint8Array[]): void {
    this.#nonces = nonces;
    for (const index of this.#indexes) this.#tag(index);
  }

  /** Adds a set that the peer named. */
  add(index: SetIndex): SharedSet {
    // A peer may name a thousand in one frame: each goes to its place, nothing is sorted again.
    let low = 0;
    for (let high = this.#indexes.length; low < high; ) {
      const middle = (low + high) >>> 1;
      if (byName(this.#indexes[middle]!, index) < 0) low = middle + 1;
      else high = middle;
    }
    this.#indexes.splice(low, 0, index);
    this.#changesAtStart += index.changes;
    return this.#tag(index);
  }

  byTag(tag: string): SharedSet | undefined {
    return this.#byTag.get(tag);
  }

  tagOf(name: string): string {
    return setTag(this.#nonces, name);
  }

  [Symbol.iterator](): Iterator<SharedSet> {
    return this.#byTag.values();
  }

  /** Changes of all sets since the session began. */
  changes(): number {
    let changes = -this.#changesAtStart;
    for (const index of this.#indexes) changes += index.changes;
    return changes;
  }

  /** What a root over all sets is made of. */
  body(): Buffer {
    return rootBody(this.#indexes);
  }

  /** The fingerprint over the sets that both sides know. */
  check(role: RootRole): Uint8Array {
    const unknown = new Set<SetIndex>();
    for (const { index, isAsked } of this.#byTag.values()) if (isAsked) unknown.add(index);
    const known = this.#indexes.filter((index) => !unknown.has(index));
    return rootFingerprint(role, this.#nonces, rootBody(known));
  }

  #tag(index: SetIndex): SharedSet {
    const tag = setTag(this.#nonces, index.name);
    const set = { index, tag, isAsked: false, isInVector: false };
    this.#byTag.set(tag, set);
    return set;
  }
}

function byName(a: SetIndex, b: SetIndex): number {
  return Buffer.compare(a.nameBytes, b.nameBytes);
}

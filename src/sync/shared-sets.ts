import { rootBody, setTag } from './fingerprint.ts';
import { MAX_SESSION_SETS, SETS_PER_STEP } from './limits.ts';
import { byName, insertByName } from './order.ts';
import type { SetIndex } from './set-index.ts';
import { inSlices, type Slices } from './slices.ts';

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
  *begin(nonces: readonly Uint8Array[]): Slices<void> {
    this.#nonces = nonces;
    yield* inSlices(this.#indexes, SETS_PER_STEP, (index) => this.#tag(index));
  }

  /** Adds a set that the peer named. */
  add(index: SetIndex): SharedSet {
    insertByName(this.#indexes, index, (one) => one);
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

  /** What a root over all sets is made of. Sets that change meanwhile are in it as they were when it came to them. */
  body(): Slices<Buffer> {
    return bodyOf(this.#indexes);
  }

  /** The same over the sets that both sides know. */
  knownBody(): Slices<Buffer> {
    const unknown = new Set<SetIndex>();
    for (const { index, isAsked } of this.#byTag.values()) if (isAsked) unknown.add(index);
    return bodyOf(unknown.size === 0 ? this.#indexes : this.#indexes.filter((index) => !unknown.has(index)));
  }

  #tag(index: SetIndex): SharedSet {
    const tag = setTag(this.#nonces, index.name);
    const set = { index, tag, isAsked: false, isInVector: false };
    this.#byTag.set(tag, set);
    return set;
  }
}

function* bodyOf(indexes: readonly SetIndex[]): Slices<Buffer> {
  const parts: Buffer[] = [];
  for (let at = 0; at < indexes.length; at += SETS_PER_STEP) {
    if (at > 0) yield;
    parts.push(rootBody(indexes.slice(at, at + SETS_PER_STEP)));
  }
  return Buffer.concat(parts);
}

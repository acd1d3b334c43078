import type { Digest } from '../facts/index.ts';
import { MAX_STATEMENT_BYTES } from '../facts/limits.ts';
import type { SyncBudget, SyncCounters } from './budget.ts';
import { SyncViolation } from './errors.ts';
import { encodeFrame, MODE, type Range, SIGNATURE_BYTES, type SignedBytes, type VectorEntry } from './frames.ts';
import { digestOfKey, digestToWords, END_KEY, FIRST_KEY, KEY_WORDS, type Key } from './key.ts';
import {
  LOAD_BATCH,
  MAX_FRAME_BYTES,
  MAX_LEAF_IDS,
  MAX_OPENING_RANGES,
  MAX_OUTSTANDING_WANTS,
  MAX_PENDING_RANGES,
  MAX_TURN_IDS,
  MAX_TURN_RANGES,
  MAX_VECTOR_SETS,
  SETS_PER_STEP,
  TURN_STATEMENT_BYTES,
  WORK_PER_STEP,
} from './limits.ts';
import { answerRange, openSet } from './ranges.ts';
import { SendQueue } from './send-queue.ts';
import type { SetIndex } from './set-index.ts';
import type { SharedSet, SharedSets } from './shared-sets.ts';
import { inSlices, type Slices } from './slices.ts';
import { BlockWriter, RangeWriter } from './writers.ts';

/** Work units of a fingerprint, beside 1 for an id, a range or a statement. */
const FINGERPRINT_WORK = 4;

export interface TurnWriterInit {
  readonly sets: SharedSets;
  readonly counters: SyncCounters;
  readonly budget: SyncBudget;
  readonly isUnwanted: (digest: Digest) => boolean;
}

/** Something to say about ranges. */
export type RangeTask =
  /** The peer gave this fingerprint of a range. */
  | { readonly set: SharedSet; readonly low: Key; readonly high: Key; readonly fingerprint: Uint8Array }
  /** A set differs, and this is the reading of the peer's youngest item, if that is known. */
  | { readonly set: SharedSet; readonly opens: Key | undefined }
  /** The peer's vector lacks this set of ours. */
  | { readonly set: SharedSet; readonly announces: true };

/** The peer gave all of its ids in a range; the first has this number among those of its turn. */
export interface IdsTask {
  readonly set: SharedSet;
  readonly low: Key;
  readonly high: Key;
  readonly ids: readonly Key[];
  readonly first: number;
}

export interface WriterStep {
  readonly frames: readonly Uint8Array[];
  /** Statements to load before going on. */
  readonly load?: { readonly set: string; readonly keys: readonly Digest[] };
  /** Everything that this turn can carry was handed out. */
  readonly isDone: boolean;
}

/** What this side has to say, and says in its turns. */
export class TurnWriter {
  readonly #init: TurnWriterInit;
  readonly #sends = new SendQueue();
  /** Ranges to speak of, the youngest first, from `#next` on. */
  #tasks: RangeTask[] = [];
  #next = 0;
  /** What the peer's current turn brings. */
  #incoming: RangeTask[] = [];
  #ids: IdsTask[] = [];
  #nextIds = 0;
  #asks: string[] = [];
  #names: string[] = [];
  #wants: number[] = [];
  /** Statements wanted and not yet received ({@link wantKey}). */
  readonly #outstanding = new Set<string>();
  /** Ids given in the last own turn, by their number. */
  #offered: { readonly index: SetIndex; readonly key: Key }[] = [];
  #stage: 'ids' | 'ranges' | 'flush' | 'statements' = 'ids';
  #ranges = new RangeWriter();
  readonly #block = new BlockWriter();
  #ready: Uint8Array[] = [];
  #turnRanges = 0;
  #turnBytes = 0;
  /** Being loaded. */
  #batch: { readonly index: SetIndex; readonly keys: readonly Key[] } | undefined;
  #hasSpoken = false;
  #limit: 'truncated' | 'budget_rounds' | undefined;
  /** Statement bytes that the peer takes in this session. */
  peerAccepts = 0;

  constructor(init: TurnWriterInit) {
    this.#init = init;
  }

  /** Something was left out because of this limit. */
  get limit(): 'truncated' | 'budget_rounds' | undefined {
    return this.#limit;
  }

  /** Wanted statements not yet received. */
  get outstanding(): number {
    return this.#outstanding.size;
  }

  /** There is more to say than fitted this turn. */
  get isPending(): boolean {
    return this.#next < this.#tasks.length || !this.#sends.isEmpty || this.#batch !== undefined;
  }

  /** This turn says something. */
  get hasSpoken(): boolean {
    return this.#hasSpoken;
  }

  addRange(task: RangeTask): void {
    this.#incoming.push(task);
  }

  addIds(task: IdsTask): void {
    this.#ids.push(task);
  }

  /** Asks for the name behind a tag. */
  ask(tag: string): void {
    this.#asks.push(tag);
  }

  /** Tells the name of a set that the peer asked for. */
  tell(name: string): void {
    this.#names.push(name);
  }

  /** The peer wants what was offered under these numbers. */
  addWants(ordinals: readonly number[]): void {
    const bySet = new Map<SetIndex, Key[]>();
    for (const ordinal of ordinals) {
      const offer = this.#offered[ordinal];
      if (offer === undefined) throw new SyncViolation('want_invalid', `id ${ordinal} of ${this.#offered.length}`);
      const keys = bySet.get(offer.index);
      if (keys) keys.push(offer.key);
      else bySet.set(offer.index, [offer.key]);
    }
    for (const [index, keys] of bySet) if (!this.#sends.addKeys(index, keys)) this.truncate('truncated', false);
  }

  /** A statement came in. */
  received(digest: Digest): void {
    digestToWords(digest, 0, scratch, 2);
    this.#outstanding.delete(wantKey(scratch));
  }

  /** A limit was reached: what is left is dropped, and a later session goes on. */
  truncate(limit: 'truncated' | 'budget_rounds', all = true): void {
    this.#limit ??= limit;
    if (!all) return;
    this.#tasks = [];
    this.#next = 0;
    this.#sends.clear();
    this.#batch = undefined;
  }

  beginTurn(): void {
    const left = this.#tasks.slice(this.#next);
    this.#tasks = this.#incoming.concat(left);
    this.#incoming = [];
    this.#next = 0;
    if (this.#tasks.length > MAX_PENDING_RANGES) {
      this.#tasks.length = MAX_PENDING_RANGES;
      this.truncate('truncated', false);
    }
    this.#offered = [];
    this.#turnRanges = 0;
    this.#turnBytes = 0;
    this.#hasSpoken = false;
    this.#stage = 'ids';
  }

  /** Round 0 of the responder: every set that has items. */
  *sendVector(): Slices<void> {
    this.#hasSpoken = true;
    // Tags are hashes: their first byte parts them into so many that sorting each is nothing.
    const parts = Array.from({ length: 256 }, (): SharedSet[] => []);
    yield* inSlices(this.#init.sets, SETS_PER_STEP, (set) => {
      if (set.index.count > 0) parts[Number.parseInt(set.tag.slice(0, 2), 16)]!.push(set);
    });
    let entries: VectorEntry[] = [];
    const flush = (): void => {
      if (entries.length > 0) this.#ready.push(encodeFrame({ type: 'vector', entries }));
      entries = [];
    };
    for (const part of parts) {
      part.sort((a, b) => (a.tag < b.tag ? -1 : 1));
      for (const { tag, index } of part) {
        entries.push({ tag, count: index.count, fingerprint: index.fingerprint(), newest: index.newestKey()! });
        if (entries.length < MAX_VECTOR_SETS) continue;
        flush();
        yield;
      }
    }
    flush();
  }

  /** Goes on for a few milliseconds at most. */
  step(): WriterStep {
    const { counters } = this.#init;
    const until = counters.work + WORK_PER_STEP;
    if (this.#stage === 'ids') {
      while (this.#nextIds < this.#ids.length) {
        if (counters.work >= until) return { frames: [], isDone: false };
        this.#answerIds(this.#ids[this.#nextIds++]!);
      }
      this.#ids = [];
      this.#nextIds = 0;
      this.#stage = 'ranges';
    }
    if (this.#stage === 'ranges') {
      while (this.#next < this.#tasks.length && this.#hasRoom()) {
        if (counters.work >= until) return { frames: [], isDone: false };
        this.#speakOf(this.#tasks[this.#next++]!);
      }
      this.#stage = 'flush';
    }
    if (this.#stage === 'flush') {
      this.#flush();
      this.#stage = 'statements';
    }
    if (this.#ready.length > 0) return { frames: this.#ready.splice(0), isDone: false };
    return this.#statements();
  }

  /** The statements asked for by the last step, or the first of them. Returns the frames that are full now. */
  loaded(statements: readonly (SignedBytes | undefined)[]): readonly Uint8Array[] {
    const { counters } = this.#init;
    const { index, keys } = this.#batch!;
    const rest = keys.slice(statements.length);
    this.#batch = rest.length > 0 ? { index, keys: rest } : undefined;
    for (const statement of statements) {
      counters.work += 1;
      if (statement === undefined || statement.bytes.length > MAX_STATEMENT_BYTES) {
        counters.gone += 1;
        continue;
      }
      const size = statement.bytes.length + SIGNATURE_BYTES;
      if (counters.statementBytesOut + size > this.#quota()) {
        this.truncate('truncated');
        break;
      }
      const full = this.#block.add(statement);
      if (full) this.#ready.push(full);
      counters.statementsOut += 1;
      counters.statementBytesOut += size;
      this.#turnBytes += size;
      this.#hasSpoken = true;
    }
    return this.#ready.splice(0);
  }

  #statements(): WriterStep {
    if (this.#turnBytes < TURN_STATEMENT_BYTES) {
      this.#batch ??= this.#sends.take(LOAD_BATCH);
      if (this.#batch !== undefined) {
        const { index, keys } = this.#batch;
        return { frames: [], load: { set: index.name, keys: keys.map(digestOfKey) }, isDone: false };
      }
    }
    const last = this.#block.take();
    return { frames: last ? [last] : [], isDone: true };
  }

  #quota(): number {
    return Math.min(this.peerAccepts, this.#init.budget.statementBytesOut);
  }

  #hasRoom(): boolean {
    return (
      this.#turnRanges + MAX_OPENING_RANGES <= MAX_TURN_RANGES && this.#offered.length + MAX_LEAF_IDS <= MAX_TURN_IDS
    );
  }

  /** Wants what is missing here; sends what the peer lacks. */
  #answerIds({ set: { index }, low, high, ids, first }: IdsTask): void {
    const { counters, budget, isUnwanted } = this.#init;
    counters.work += ids.length + 2;
    let common = 0;
    for (const [at, id] of ids.entries()) {
      if (index.hasKey(id)) {
        common += 1;
        continue;
      }
      if (isUnwanted(digestOfKey(id))) {
        counters.refused += 1;
      } else if (
        this.#outstanding.size >= MAX_OUTSTANDING_WANTS ||
        counters.statementBytesIn >= budget.statementBytesIn
      ) {
        this.truncate('truncated', false);
      } else {
        this.#outstanding.add(wantKey(id));
        this.#wants.push(first + at);
      }
    }
    if (index.rangeCount(low, high) > common && !this.#sends.addRange(index, low, high, ids)) {
      this.truncate('truncated', false);
    }
  }

  #speakOf(task: RangeTask): void {
    const { set } = task;
    const { index } = set;
    const emit = (upper: Key, range: Range): void => this.#say(set, upper, range);
    if ('announces' in task) {
      const fingerprint = index.fingerprint();
      emit(END_KEY, { mode: MODE.fingerprint, lower: FIRST_KEY, fingerprint });
    } else if ('opens' in task) {
      const surplus = openSet(index, task.opens, emit);
      if (surplus && !this.#sends.addRange(index, surplus.low, surplus.high)) this.truncate('truncated', false);
    } else {
      this.#init.counters.work += FINGERPRINT_WORK;
      const mine = index.rangeFingerprint(task.low, task.high);
      if (Buffer.compare(mine, task.fingerprint) !== 0) answerRange(index, task.low, task.high, emit);
    }
  }

  #say(set: SharedSet, upper: Key, range: Range): void {
    const { counters, budget } = this.#init;
    if (range.mode === MODE.ids) {
      if (counters.idsOut + range.ids.length > budget.ids) {
        this.truncate('truncated', false);
        return;
      }
      for (const key of range.ids) this.#offered.push({ index: set.index, key });
      counters.idsOut += range.ids.length;
      counters.work += range.ids.length;
    } else counters.work += FINGERPRINT_WORK;
    this.#ranges.add(set.tag, upper, range);
    this.#turnRanges += 1;
    counters.rangesOut += 1;
    this.#hasSpoken = true;
  }

  /** Frames of everything but statements. */
  #flush(): void {
    const frames = this.#ready;
    const before = frames.length;
    if (this.#asks.length > 0) frames.push(encodeFrame({ type: 'ask', tags: this.#asks }));
    let names: string[] = [];
    let bytes = 8;
    for (const name of this.#names) {
      const size = Buffer.byteLength(name) + 2;
      if (bytes + size > MAX_FRAME_BYTES) {
        frames.push(encodeFrame({ type: 'names', names }));
        names = [];
        bytes = 8;
      }
      names.push(name);
      bytes += size;
    }
    if (names.length > 0) frames.push(encodeFrame({ type: 'names', names }));
    if (this.#wants.length > 0) frames.push(encodeFrame({ type: 'want', ordinals: this.#wants }));
    this.#init.counters.wantsOut += this.#wants.length;
    frames.push(...this.#ranges.take());
    if (frames.length > before) this.#hasSpoken = true;
    this.#asks = [];
    this.#names = [];
    this.#wants = [];
  }
}

const scratch: Key = new Uint32Array(KEY_WORDS);

/** Half of a digest is enough to recognise what was asked for. */
function wantKey(key: Key): string {
  return `${key[2]} ${key[3]} ${key[4]} ${key[5]}`;
}

import { sha256 } from '../facts/index.ts';
import type { SyncBudget, SyncCounters } from './budget.ts';
import { SyncViolation } from './errors.ts';
import {
  type Frame,
  MODE,
  type Section,
  SIGNATURE_BYTES,
  type SignedBytes,
  type Turn,
  type VectorEntry,
} from './frames.ts';
import { compareKeys, type Key } from './key.ts';
import { MAX_SESSION_SETS, MAX_TURN_IDS, MAX_TURN_RANGES, SETS_PER_STEP } from './limits.ts';
import type { SetIndex } from './set-index.ts';
import type { SharedSets } from './shared-sets.ts';
import { inSlices, type Slices } from './slices.ts';
import type { TurnWriter } from './turn-writer.ts';

export interface TurnReaderInit {
  readonly sets: SharedSets;
  readonly counters: SyncCounters;
  readonly budget: SyncBudget;
  readonly writer: TurnWriter;
  readonly accept: (name: string) => SetIndex | undefined;
}

/** What the peer said of a set that differs. */
export interface PeerHead {
  readonly set: string;
  readonly count: number;
  readonly newest: Key;
}

/** Takes the frames of the peer's turns, checks them against what it may say, and hands the writer what to answer. */
export class TurnReader {
  readonly #init: TurnReaderInit;
  readonly heads: PeerHead[] = [];
  #isVector = false;
  #lastTag = '';
  #vectorSets = 0;
  /** Tags whose names were asked for; true when the name came. */
  readonly #asked = new Map<string, boolean>();
  /** Frames of the turn so far. */
  #frames = 0;
  #ranges = 0;
  #ids = 0;
  #lastWant = -1;
  /** How far down the turn has spoken of each set. */
  readonly #floors = new Map<string, Key>();

  constructor(init: TurnReaderInit) {
    this.#init = init;
  }

  /** The peer's next turn is the responder's first. */
  expectVector(): void {
    this.#isVector = true;
  }

  /**
   * @returns statements to deliver before the next frame
   * @throws SyncViolation
   */
  *take(frame: Exclude<Frame, { type: 'turn' | 'stop' }>): Slices<readonly SignedBytes[] | undefined> {
    this.#frames += 1;
    if (this.#isVector !== (frame.type === 'vector')) throw unexpected(frame.type);
    switch (frame.type) {
      case 'vector':
        yield* inSlices(frame.entries, SETS_PER_STEP, (entry) => this.#takeEntry(entry));
        return undefined;
      case 'ranges':
        for (const section of frame.sections) this.#takeSection(section);
        return undefined;
      case 'ask':
        yield* inSlices(frame.tags, SETS_PER_STEP, (tag) => this.#takeAsk(tag));
        return undefined;
      case 'names':
        yield* inSlices(frame.names, SETS_PER_STEP, (name) => this.#takeName(name));
        return undefined;
      case 'want':
        if (frame.ordinals[0]! <= this.#lastWant) throw new SyncViolation('want_invalid', 'wants out of order');
        this.#lastWant = frame.ordinals.at(-1)!;
        this.#init.counters.wantsIn += frame.ordinals.length;
        this.#init.writer.addWants(frame.ordinals);
        return undefined;
      case 'block':
        return this.#takeBlock(frame.statements);
      default:
        throw unexpected(frame.type);
    }
  }

  /** @throws SyncViolation */
  endTurn(turn: Turn): void {
    if (turn.fin && (this.#isVector || this.#frames > 0)) throw unexpected('fin');
    if (turn.pending && this.#frames === 0) throw new SyncViolation('idle_turn', 'nothing was sent');
    if (this.#isVector) {
      const { sets, writer } = this.#init;
      for (const set of sets) if (!set.isInVector && set.index.count > 0) writer.addRange({ set, announces: true });
    }
    this.#isVector = false;
    this.#frames = 0;
    this.#ranges = 0;
    this.#ids = 0;
    this.#lastWant = -1;
    this.#floors.clear();
  }

  #takeEntry({ tag, count, fingerprint, newest }: VectorEntry): void {
    const { sets, writer } = this.#init;
    if (tag <= this.#lastTag) throw new SyncViolation('frame_malformed', 'tags out of order');
    this.#lastTag = tag;
    if (++this.#vectorSets > MAX_SESSION_SETS) throw new SyncViolation('too_many_sets', 'sets in the vector');
    const set = sets.byTag(tag);
    if (set === undefined) {
      this.#ask(tag);
      return;
    }
    set.isInVector = true;
    if (set.index.count === count && Buffer.compare(set.index.fingerprint(), fingerprint) === 0) return;
    this.heads.push({ set: set.index.name, count, newest });
    writer.addRange({ set, opens: newest });
  }

  #takeSection({ tag, upper, ranges }: Section): void {
    const { sets, counters, budget, writer } = this.#init;
    const floor = this.#floors.get(tag);
    if (floor !== undefined && compareKeys(upper, floor) > 0) {
      throw new SyncViolation('ranges_disordered', 'a section above what was said before');
    }
    this.#floors.set(tag, ranges.at(-1)!.lower);
    this.#ranges += ranges.length;
    counters.rangesIn += ranges.length;
    counters.work += ranges.length;
    if (this.#ranges > MAX_TURN_RANGES) throw new SyncViolation('too_many_ranges', 'ranges in one turn');
    const set = sets.byTag(tag);
    if (set === undefined) this.#ask(tag);
    else set.isAsked = false;
    let high = upper;
    for (const range of ranges) {
      const low = range.lower;
      if (range.mode === MODE.ids) {
        if (set) writer.addIds({ set, low, high, ids: range.ids, first: this.#ids });
        this.#ids += range.ids.length;
        counters.idsIn += range.ids.length;
      } else if (range.mode === MODE.fingerprint && set) {
        writer.addRange({ set, low, high, fingerprint: range.fingerprint });
      }
      high = low;
    }
    if (this.#ids > MAX_TURN_IDS) throw new SyncViolation('too_many_ids', 'ids in one turn');
    if (counters.idsIn > budget.ids) throw new SyncViolation('too_many_ids', 'ids in one session');
  }

  /** A tag of a set that is not shared here, or does not exist: the two are not told apart. */
  #ask(tag: string): void {
    if (this.#asked.has(tag)) return;
    if (this.#asked.size >= MAX_SESSION_SETS) throw new SyncViolation('too_many_sets', 'unknown tags');
    this.#asked.set(tag, false);
    this.#init.counters.unknownTags += 1;
    this.#init.writer.ask(tag);
  }

  #takeAsk(tag: string): void {
    const set = this.#init.sets.byTag(tag);
    if (set === undefined || set.isAsked) return;
    set.isAsked = true;
    this.#init.writer.tell(set.index.name);
  }

  #takeName(name: string): void {
    const { sets, writer, accept } = this.#init;
    const tag = sets.tagOf(name);
    if (this.#asked.get(tag) !== false) throw new SyncViolation('name_invalid', 'a name that was not asked for');
    this.#asked.set(tag, true);
    const index = accept(name);
    if (index === undefined) return;
    if (index.name !== name) throw new Error(`asked for the index of ${name}, got that of ${index.name}`);
    if (sets.size >= MAX_SESSION_SETS) {
      // Each side within its limit, and not both together: nobody's fault.
      writer.truncate('truncated', false);
      return;
    }
    writer.addRange({ set: sets.add(index), opens: undefined });
  }

  #takeBlock(statements: readonly SignedBytes[]): readonly SignedBytes[] {
    const { counters, budget, writer } = this.#init;
    counters.statementsIn += statements.length;
    counters.work += statements.length;
    for (const { bytes } of statements) counters.statementBytesIn += bytes.length + SIGNATURE_BYTES;
    if (counters.statementBytesIn > budget.statementBytesIn) {
      throw new SyncViolation('quota_exceeded', `more than ${budget.statementBytesIn} bytes of statements`);
    }
    if (writer.outstanding > 0) for (const { bytes } of statements) writer.received(sha256(bytes));
    return statements;
  }
}

function unexpected(type: string): SyncViolation {
  return new SyncViolation('frame_unexpected', `${type} at this point`);
}

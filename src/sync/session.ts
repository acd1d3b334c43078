import type { Digest, Hlc } from '../facts/index.ts';
import { DEFAULT_BUDGET, newCounters, type SyncBudget, type SyncCounters } from './budget.ts';
import { SYNC_REASONS, type SyncReason, SyncViolation } from './errors.ts';
import { NONCE_BYTES, type RootRole, rootFingerprint } from './fingerprint.ts';
import { decodeFrame, encodeFrame, type Frame, type SignedBytes, type Turn } from './frames.ts';
import { hlcOfKey } from './key.ts';
import type { SetIndex } from './set-index.ts';
import { SharedSets } from './shared-sets.ts';
import type { Slices } from './slices.ts';
import { TurnReader } from './turn-reader.ts';
import { TurnWriter } from './turn-writer.ts';

export interface SyncSessionInit {
  /** Who opened the stream. */
  readonly role: 'initiator' | 'responder';
  /** 16 random bytes, fresh for every session. */
  readonly nonce: Uint8Array;
  /**
   * Indexes of all sets that this side may share with the peer, empty ones or not, each name once; at most
   * MAX_SESSION_SETS. No other set is ever named, hashed or counted in the session.
   */
  readonly sets: Iterable<SetIndex>;
  /** The index, usually empty, for a set that the peer named, if it may be shared with it; undefined refuses. */
  readonly accept?: ((name: string) => SetIndex | undefined) | undefined;
  /** Statements that are not wanted although they are missing here: refused before, or over quota. */
  readonly isUnwanted?: ((digest: Digest) => boolean) | undefined;
  readonly budget?: Partial<SyncBudget> | undefined;
  /** Milliseconds of a clock that never goes back. */
  readonly now: number;
}

/** What the driver has to do next. */
export type SyncAction =
  /** Write the frame, preceded by its length, to the stream. */
  | { readonly do: 'send'; readonly frame: Uint8Array }
  /** Read one frame and give it to `receive`. Nothing else happens until then. */
  | { readonly do: 'receive' }
  /** Read statements from the store and give them to `loaded`. */
  | { readonly do: 'load'; readonly set: string; readonly digests: readonly Digest[] }
  /** Bring statements through `admit()`, have the indexes follow, report to `delivered`. Views of a frame: copy what is kept. */
  | { readonly do: 'deliver'; readonly statements: readonly SignedBytes[] }
  /** There is more to compute: give others a turn of the event loop, then call `next` again. */
  | { readonly do: 'yield' }
  /** Close the stream. */
  | { readonly do: 'end'; readonly result: SyncResult };

/** What became of one `deliver`: how many were new, were here already, were not accepted. */
export interface Delivery {
  readonly accepted: number;
  readonly known: number;
  readonly refused: number;
}

export interface SyncResult {
  /** `progress`: not equal, but no fault, and a later session will get further. */
  readonly outcome: 'converged' | 'progress' | 'failed';
  /** Why it did not converge. */
  readonly reason?: SyncReason;
  readonly detail?: string;
  /** What to do about it. */
  readonly hint?: string;
  /** An honest peer would not have caused this. */
  readonly peerAtFault: boolean;
  readonly counters: Readonly<SyncCounters>;
  /**
   * Names of own sets that the peer was told and does not share: leave them out until its declaration changes. Empty after a
   * session that was cut short.
   */
  readonly notShared: readonly string[];
  /** What the peer's vector said of sets that differed; the responder sees none. */
  readonly peerHeads: readonly { readonly set: string; readonly count: number; readonly newest: Hlc }[];
}

/**
 * One session of set reconciliation with one peer (spec/reconciliation.md): a state machine without clock, randomness,
 * store or stream. The driver calls `next` and does what it says, again and again, until `end`. Hostile frames never
 * throw: they end the session. Calls out of order are errors of the driver and do throw.
 */
export class SyncSession {
  readonly #init: SyncSessionInit;
  readonly #budget: SyncBudget;
  readonly #counters = newCounters();
  readonly #sets: SharedSets;
  readonly #writer: TurnWriter;
  readonly #reader: TurnReader;
  /** Milliseconds at which the session ends, whatever happens; the driver's timer for `receive`. */
  readonly deadline: number;
  readonly #out: Uint8Array[] = [];
  #phase: 'hello' | 'welcome' | 'theirs' | 'mine' = 'hello';
  #waiting: 'receive' | 'loaded' | 'delivered' | undefined;
  #deliveries: readonly SignedBytes[] | undefined;
  /** How many answers `loaded` or `delivered` must speak of. */
  #asked = 0;
  /** What the initiator's first root was made of. */
  #helloBody: Buffer | undefined;
  #nonces: readonly Uint8Array[] = [];
  #peerTurn: Turn | undefined;
  /** What is being computed. */
  #job: Slices<void> | undefined;
  #rounds = 0;
  #result: SyncResult | undefined;
  /** Both sides said all they had to say, within every limit. */
  #hasConcluded = false;

  /** @throws RangeError for a nonce of another length, or more than MAX_SESSION_SETS sets */
  constructor(init: SyncSessionInit) {
    if (init.nonce.length !== NONCE_BYTES) throw new RangeError(`the nonce has ${NONCE_BYTES} bytes`);
    this.#init = init;
    this.#budget = { ...DEFAULT_BUDGET, ...init.budget };
    this.deadline = init.now + this.#budget.wallMs;
    this.#sets = new SharedSets(init.sets);
    const parts = { sets: this.#sets, counters: this.#counters, budget: this.#budget };
    this.#writer = new TurnWriter({ ...parts, isUnwanted: init.isUnwanted ?? (() => false) });
    this.#reader = new TurnReader({ ...parts, writer: this.#writer, accept: init.accept ?? (() => undefined) });
    if (init.role === 'initiator') this.#begin(this.#open());
  }

  get counters(): Readonly<SyncCounters> {
    return this.#counters;
  }

  /**
   * What to do next. Computes for a few milliseconds at most.
   *
   * @param now milliseconds, of the clock of `init.now`
   * @param cpuMs CPU milliseconds that the driver measured for this session's calls so far
   */
  next(now: number, cpuMs = 0): SyncAction {
    this.#counters.cpuMs = cpuMs;
    if (this.#job !== undefined && this.#out.length === 0 && this.#isWithinBudget(now)) {
      this.#goOn();
      if (this.#job !== undefined) return { do: 'yield' };
    }
    if (this.#result === undefined && this.#isWithinBudget(now) && this.#out.length === 0) {
      if (this.#waiting !== undefined && this.#waiting !== 'receive') throw misuse(`call ${this.#waiting} first`);
      if (this.#deliveries !== undefined) {
        const statements = this.#deliveries;
        this.#deliveries = undefined;
        this.#asked = statements.length;
        this.#waiting = 'delivered';
        return { do: 'deliver', statements };
      }
      if (this.#phase !== 'mine') {
        this.#waiting = 'receive';
        return { do: 'receive' };
      }
      const work = this.#work();
      if (work !== undefined) return work;
    }
    const frame = this.#out.shift();
    if (frame !== undefined) {
      this.#counters.framesOut += 1;
      this.#counters.bytesOut += frame.length;
      return { do: 'send', frame };
    }
    if (this.#result !== undefined) return { do: 'end', result: this.#result };
    return { do: 'yield' };
  }

  /** Takes one frame of the peer, without its length. After the end it is ignored. */
  receive(frame: Uint8Array, now: number): void {
    if (this.#result !== undefined || !this.#isWithinBudget(now)) return;
    if (this.#waiting !== 'receive') throw misuse('a frame was not asked for');
    this.#waiting = undefined;
    this.#counters.framesIn += 1;
    this.#counters.bytesIn += frame.length;
    try {
      if (this.#counters.framesIn > this.#budget.frames) throw new SyncViolation('budget_frames', 'frames received');
      if (this.#counters.bytesIn > this.#budget.bytes) throw new SyncViolation('budget_bytes', 'bytes received');
      this.#begin(this.#take(decodeFrame(frame)));
    } catch (error) {
      this.#violated(error);
    }
  }

  /**
   * Answers `load`: the statements in the order of the digests, undefined for what is no longer held. The list may end
   * early, to bound memory, but has at least one entry; the rest is asked for again.
   */
  loaded(statements: readonly (SignedBytes | undefined)[]): void {
    if (this.#result !== undefined) return;
    if (this.#waiting !== 'loaded') throw misuse('nothing was to be loaded');
    if (statements.length === 0 || statements.length > this.#asked) throw misuse(`1 to ${this.#asked} statements`);
    this.#waiting = undefined;
    this.#out.push(...this.#writer.loaded(statements));
  }

  /** Answers `deliver`, when the indexes hold what was accepted. */
  delivered({ accepted, known, refused }: Delivery): void {
    if (this.#result !== undefined) return;
    if (this.#waiting !== 'delivered') throw misuse('nothing was to be delivered');
    if (accepted + known + refused !== this.#asked) throw misuse(`${this.#asked} statements to account for`);
    this.#waiting = undefined;
    this.#counters.accepted += accepted;
    this.#counters.known += known;
    this.#counters.refused += refused;
  }

  /**
   * Ends the session on this side: `stopped`, and `budget_time` past the deadline, tell the peer; `disconnected` says that it
   * is gone.
   */
  close(reason: 'stopped' | 'budget_time' | 'disconnected', detail?: string): void {
    if (this.#result === undefined) this.#end(reason, detail, reason !== 'disconnected');
  }

  /** Computes a first slice of something; `next` goes on with it. */
  #begin(job: Slices<void>): void {
    this.#job = job;
    this.#goOn();
  }

  #goOn(): void {
    try {
      if (this.#job!.next().done) this.#job = undefined;
    } catch (error) {
      this.#violated(error);
    }
  }

  /** @throws what is not the peer's fault */
  #violated(error: unknown): void {
    if (!(error instanceof SyncViolation)) throw error;
    this.#fail(error.reason, error.message);
  }

  *#open(): Slices<void> {
    const body = yield* this.#sets.body();
    const { nonce } = this.#init;
    this.#helloBody = body;
    this.#out.push(
      encodeFrame({
        type: 'hello',
        nonce,
        root: rootFingerprint('hello', [nonce], body),
        accepts: this.#budget.statementBytesIn,
      }),
    );
    this.#counters.turns += 1;
    this.#rounds += 1;
    this.#phase = 'welcome';
  }

  *#take(frame: Frame): Slices<void> {
    if (frame.type === 'stop') {
      this.#end('peer_stopped', frame.reason, false);
      return;
    }
    if (this.#phase === 'hello') yield* this.#takeHello(frame);
    else if (this.#phase === 'welcome') yield* this.#takeWelcome(frame);
    else if (frame.type === 'turn') yield* this.#takeTurn(frame);
    else this.#deliveries = yield* this.#reader.take(frame);
  }

  *#takeHello(frame: Frame): Slices<void> {
    if (frame.type !== 'hello') throw new SyncViolation('frame_unexpected', `${frame.type} before hello`);
    const { nonce } = this.#init;
    const body = yield* this.#sets.body();
    this.#nonces = [frame.nonce, nonce];
    const equal = Buffer.compare(rootFingerprint('hello', [frame.nonce], body), frame.root) === 0;
    const proof = equal ? rootFingerprint('proof', this.#nonces, body) : null;
    this.#out.push(encodeFrame({ type: 'welcome', nonce, proof, accepts: this.#budget.statementBytesIn }));
    this.#counters.turns += 1;
    if (equal) {
      this.#counters.turns += 1;
      this.#converged();
      return;
    }
    yield* this.#sets.begin(this.#nonces);
    this.#beginTurn(frame.accepts);
    yield* this.#writer.sendVector();
  }

  *#takeWelcome(frame: Frame): Slices<void> {
    if (frame.type !== 'welcome') throw new SyncViolation('frame_unexpected', `${frame.type} before welcome`);
    this.#nonces = [this.#init.nonce, frame.nonce];
    const body = this.#helloBody!;
    this.#helloBody = undefined;
    if (frame.proof === null) {
      yield* this.#sets.begin(this.#nonces);
      this.#writer.peerAccepts = frame.accepts;
      this.#reader.expectVector();
      this.#phase = 'theirs';
      return;
    }
    this.#counters.turns += 1;
    if (Buffer.compare(rootFingerprint('proof', this.#nonces, body), frame.proof) === 0) this.#converged();
    else this.#fail('proof_mismatch', 'the peer says the sets are equal');
  }

  *#takeTurn(turn: Turn): Slices<void> {
    this.#reader.endTurn(turn);
    this.#counters.turns += 1;
    this.#peerTurn = turn;
    if (turn.fin) this.#conclude(turn, yield* this.#sets.knownBody());
    else this.#beginTurn();
  }

  #beginTurn(peerAccepts?: number): void {
    if (peerAccepts !== undefined) this.#writer.peerAccepts = peerAccepts;
    this.#phase = 'mine';
    this.#rounds += 1;
    this.#writer.beginTurn();
  }

  /** Goes on with the own turn; undefined when there are frames to send, or more to compute. */
  #work(): SyncAction | undefined {
    const isOver = this.#rounds > this.#budget.rounds;
    if (!isOver && this.#counters.bytesOut < this.#budget.bytes) {
      const step = this.#writer.step();
      this.#out.push(...step.frames);
      if (step.load !== undefined) {
        this.#asked = step.load.keys.length;
        this.#waiting = 'loaded';
        return { do: 'load', set: step.load.set, digests: step.load.keys };
      }
      if (!step.isDone) return undefined;
    } else this.#writer.truncate(isOver ? 'budget_rounds' : 'truncated');
    this.#begin(this.#endTurn(isOver));
    return undefined;
  }

  *#endTurn(isOver: boolean): Slices<void> {
    const body = yield* this.#sets.knownBody();
    const isPending = !isOver && this.#writer.isPending;
    const fin = isOver || (!this.#writer.hasSpoken && !isPending && this.#peerTurn?.pending !== true);
    const turn = {
      fin,
      pending: isPending,
      truncated: this.#writer.limit !== undefined,
      changed: this.#hasChanged(),
      gone: this.#counters.gone,
      refused: this.#counters.refused,
      check: rootFingerprint(this.#init.role, this.#nonces, body),
    };
    this.#out.push(encodeFrame({ type: 'turn', ...turn }));
    this.#counters.turns += 1;
    this.#phase = 'theirs';
    if (fin) this.#conclude(this.#peerTurn!, body);
  }

  /** Nobody has more to say: both sides compare what they have now. */
  #conclude(peer: Turn, body: Buffer): void {
    const peerRole: RootRole = this.#init.role === 'initiator' ? 'responder' : 'initiator';
    this.#hasConcluded = this.#writer.limit === undefined && !peer.truncated;
    // What a limit left out may be the name of a set, which is in neither side's check then.
    const check = rootFingerprint(peerRole, this.#nonces, body);
    if (this.#hasConcluded && Buffer.compare(check, peer.check) === 0) this.#converged();
    else this.#finish(this.#difference(peer));
  }

  /** Why the sets still differ. */
  #difference(peer: Turn): SyncReason {
    if (this.#writer.limit !== undefined) return this.#writer.limit;
    if (peer.truncated) return 'truncated';
    if (this.#writer.outstanding > peer.gone) return 'withheld';
    if (this.#hasChanged() || peer.changed) return 'changed';
    if (this.#counters.gone > 0 || peer.gone > 0) return 'gone';
    return this.#counters.refused > 0 || peer.refused > 0 ? 'refused' : 'diverged';
  }

  /**
   * Whether sets changed otherwise than by what this session brought. What was wanted and turns out to be known was brought by
   * somebody else meanwhile: the store may hold it a moment before its index does.
   */
  #hasChanged(): boolean {
    return this.#counters.known > 0 || this.#sets.changes() !== this.#counters.accepted;
  }

  #isWithinBudget(now: number): boolean {
    if (this.#result !== undefined) return false;
    const { cpuMs, work } = this.#counters;
    if (now > this.deadline) this.#end('budget_time', `${this.#budget.wallMs} ms`, true);
    else if (cpuMs > this.#budget.cpuMs) this.#end('budget_cpu', `${this.#budget.cpuMs} ms`, true);
    else if (work > this.#budget.work) this.#end('budget_work', `${this.#budget.work} units`, true);
    else return true;
    return false;
  }

  /** The peer did what an honest one does not. */
  #fail(reason: SyncReason, detail: string): void {
    this.#end(reason, detail, true);
  }

  #end(reason: SyncReason, detail: string | undefined, tell: boolean): void {
    this.#job = undefined;
    this.#out.length = 0;
    if (tell) this.#out.push(encodeFrame({ type: 'stop', reason }));
    this.#finish(reason, detail);
  }

  #converged(): void {
    this.#result = { outcome: 'converged', peerAtFault: false, ...this.#findings() };
  }

  #finish(reason: SyncReason, detail?: string): void {
    const { peerAtFault, hint } = SYNC_REASONS[reason];
    const hasMoved = this.#counters.accepted + this.#counters.statementsOut > 0;
    const isProgress = !peerAtFault && (hasMoved || reason === 'changed');
    this.#result = {
      outcome: isProgress ? 'progress' : 'failed',
      reason,
      ...(detail === undefined ? {} : { detail }),
      hint,
      peerAtFault,
      ...this.#findings(),
    };
  }

  #findings(): Pick<SyncResult, 'counters' | 'notShared' | 'peerHeads'> {
    // A peer that was cut short did not come to say that it has the set as well.
    const unanswered = this.#hasConcluded ? [...this.#sets].filter(({ isAsked }) => isAsked) : [];
    const notShared = unanswered.map(({ index }) => index.name);
    const peerHeads = this.#reader.heads.map(({ set, count, newest }) => ({ set, count, newest: hlcOfKey(newest) }));
    return { counters: { ...this.#counters }, notShared, peerHeads };
  }
}

function misuse(what: string): Error {
  return new Error(`sync session driven out of order: ${what}`);
}

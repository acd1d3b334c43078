import { setImmediate as nextTurn } from 'node:timers/promises';
import { FactError } from '../facts/errors.ts';
import type { HybridLogicalClock } from '../facts/hlc.ts';
import type { FactScope } from '../facts/scope.ts';
import type { Statement } from '../facts/statement.ts';
import { auditKey, metaKey, type NoteKind } from '../store/keys.ts';
import type { Store, StoreOp } from '../store/store.ts';
import { encodeAudit } from './audit.ts';
import { failureCode, NodeError } from './errors.ts';
import { MAX_GROUP_STATEMENTS, MAX_QUEUED_STATEMENTS, PREPARE_SLICE } from './limits.ts';
import type { NodeMetrics } from './metrics.ts';
import { fromJson, type Note, toJson } from './records.ts';
import type { AuditEvent, LocalChange, LocalWriter } from './services.ts';
import type { Key, KeyState, ViewTable } from './view-table.ts';

/** The counters of the store, written with every group so that none of them ever runs ahead of the log or behind it. */
export interface Head {
  readonly seq: number;
  readonly auditSeq: number;
  /** Newest reading of the local clock: readings after a restart continue above it. */
  readonly hlc: string | null;
  readonly statements: number;
  readonly facts: number;
  /** Facts of the current view, by scope. */
  readonly current: Readonly<Record<FactScope, number>>;
  readonly openConflicts: number;
  /** Unix ms of the last commit. */
  readonly at: number | null;
}

export const EMPTY_HEAD: Head = {
  seq: 0,
  auditSeq: 0,
  hlc: null,
  statements: 0,
  facts: 0,
  current: { local: 0, team: 0, company: 0, public: 0 },
  openConflicts: 0,
  at: null,
};

/** A remark about another statement, not yet in the store. */
export interface PendingNote {
  readonly kind: NoteKind;
  readonly hlc: string;
  /** Digest (hex) of the statement that makes it. */
  readonly id: string;
  readonly note: Note;
}

/** One group being prepared: everything that will share one atomic batch and one fsync. */
export class Group {
  readonly ops: StoreOp[] = [];
  readonly dirty = new Set<KeyState>();
  /** Statements added in this group by digest (hex): not yet in the store, and already taken. */
  readonly added = new Map<string, Statement>();
  /** What statements of this group say about others, by the digest (hex) of the other. */
  readonly notes = new Map<string, readonly PendingNote[]>();
  /** Answers to idempotency keys first used in this group, by name (hex). */
  readonly remembered = new Map<string, Buffer>();
  readonly #waits: Promise<() => void>[] = [];
  /** Called once the group is durable. */
  readonly afterCommit: (() => void)[] = [];
  readonly now: number;
  #head: { -readonly [K in keyof Head]: Head[K] };

  readonly #maxAuditEntries: number;

  constructor(head: Head, now: number, maxAuditEntries: number) {
    this.#head = { ...head };
    this.now = now;
    this.#maxAuditEntries = maxAuditEntries;
  }

  get head(): Head {
    return this.#head;
  }

  /** How much the group holds: a refused job must leave it as it was. */
  get extent(): number {
    return this.ops.length + this.dirty.size + this.added.size + this.#waits.length + this.afterCommit.length;
  }

  /**
   * Work that must end before the batch is written, beside the preparing of other jobs: what it answers is run after all
   * of them. Until then it must change nothing here, or the refusal of another job would look like half of a change.
   */
  later(work: Promise<() => void>): void {
    this.#waits.push(work);
    // A group that failed for another reason waits for nothing.
    work.catch(() => {});
  }

  /** Ends what {@link later} took. */
  async settleLater(): Promise<void> {
    for (const end of await Promise.all(this.#waits)) end();
  }

  /** Takes the next local sequence number for a statement. */
  nextSeq(isFact: boolean): number {
    this.#head.statements += 1;
    if (isFact) this.#head.facts += 1;
    return ++this.#head.seq;
  }

  /** Appends an audit entry and returns its sequence number. */
  audit(event: AuditEvent, indexByFact = true): number {
    const seq = ++this.#head.auditSeq;
    const outlived = seq - this.#maxAuditEntries;
    if (outlived > 0) this.ops.push({ type: 'del', key: auditKey(outlived) });
    for (const op of encodeAudit(event, seq, this.now, indexByFact)) this.ops.push(op);
    return seq;
  }

  /** Computes the view of every key touched and closes the head. */
  async finish(views: ViewTable, hlc: string | undefined): Promise<void> {
    let sinceTurn = 0;
    for (const state of this.dirty) {
      if (++sinceTurn % PREPARE_SLICE === 0) await nextTurn();
      const delta = await views.evaluate(state, this.now, this.ops);
      const { scope } = state.key;
      this.#head.current = { ...this.#head.current, [scope]: this.#head.current[scope] + delta.current };
      this.#head.openConflicts += delta.openConflicts;
    }
    this.#head.hlc = hlc ?? this.#head.hlc;
    this.#head.at = this.now;
    this.ops.push({ type: 'put', key: metaKey('head'), value: toJson(this.#head) });
  }
}

interface Job {
  readonly weight: number;
  readonly keys: readonly Key[];
  /**
   * Prepares in the writer's turn, once more for each time that its group is given up. What it throws is the caller's
   * answer; a refusal should have changed nothing.
   */
  readonly prepare: (group: Group) => Promise<() => void>;
  readonly reject: (error: unknown) => void;
}

export interface WriterComponents {
  readonly store: Store;
  readonly views: ViewTable;
  readonly clock: HybridLogicalClock;
  readonly now: () => number;
  readonly metrics: NodeMetrics | null;
}

export interface WriterInit {
  readonly head: Head;
  /** Audit entries kept. */
  readonly maxAuditEntries: number;
  /** fsync every group before it is acknowledged. */
  readonly durable: boolean;
  /** Told after each durable commit, before the callers are. */
  readonly onCommit: (head: Head) => void;
  /** Told when a group that had failed turned out to be on disk: whatever is held in memory must be read again. */
  readonly onResurrected: () => Promise<void>;
}

/**
 * The one writer of the store. Jobs are prepared one after the other, so each sees what the ones before it decided;
 * those that wait together share one batch and one fsync (group commit). Callers are answered after it.
 */
export class Writer implements LocalWriter {
  readonly #components: WriterComponents;
  readonly #init: WriterInit;
  #head: Head;
  #queue: Job[] = [];
  #queued = 0;
  /** Jobs at the head of the queue that were prepared already, in a group that was given up: the next group is theirs alone. */
  #again = 0;
  #running: Promise<void> | undefined;
  #stopped = false;
  #failure: unknown;
  /** A batch failed: whether it is on disk is known only once the store was recovered. */
  #inDoubt = false;

  constructor(components: WriterComponents, init: WriterInit) {
    this.#components = components;
    this.#init = init;
    this.#head = init.head;
  }

  get head(): Head {
    return this.#head;
  }

  /** Statements waiting for their turn. */
  get queued(): number {
    return this.#queued;
  }

  /** Why the store could not be read or written; undefined again once a group was written. Readiness follows it. */
  get failure(): unknown {
    return this.#failure;
  }

  /**
   * Runs `prepare` in the writer's turn and answers with its result once the group is durable.
   *
   * @param weight statements it will add, for the bound of the queue and of the group
   * @param keys keys of the view it will need, read for the whole group at once
   * @throws NodeError `busy`, `stopping`; StoreError when the batch failed; whatever `prepare` throws
   */
  submit<T>(weight: number, prepare: (group: Group) => Promise<T> | T, keys: readonly Key[] = []): Promise<T> {
    if (this.#stopped) return Promise.reject(stopping());
    if (this.#queued + weight > MAX_QUEUED_STATEMENTS && this.#queued > 0) {
      return Promise.reject(
        new NodeError(
          'busy',
          `${this.#queued} statements wait to be written`,
          'retry in a moment, or send fewer at once',
        ),
      );
    }
    return new Promise<T>((resolve, reject) => {
      this.#queue.push({
        weight,
        keys,
        reject,
        prepare: async (group) => {
          const result = await prepare(group);
          return () => resolve(result);
        },
      });
      this.#queued += weight;
      this.#running ??= this.#run();
    });
  }

  writeLocal<T>(decide: () => LocalChange<T> | Promise<LocalChange<T>>): Promise<T> {
    return this.submit(1, async (group) => {
      const { ops, audit, result } = await decide();
      for (const op of ops) group.ops.push(op);
      for (const event of audit) group.audit(event);
      return result;
    });
  }

  /** Writes nothing new, durably: finds out whether a store that failed can be written again. Never rejects. */
  async probe(): Promise<void> {
    const touch = (group: Group): void => {
      group.ops.push({ type: 'put', key: metaKey('head'), value: toJson(group.head) });
    };
    await this.submit(0, touch).catch(() => {});
  }

  /** Refuses new work, finishes what was accepted. */
  async stop(): Promise<void> {
    this.#stopped = true;
    await this.#running;
  }

  async #run(): Promise<void> {
    // Whoever calls in the same turn of the event loop shares the group.
    await nextTurn();
    while (this.#queue.length > 0) await this.#runGroup();
    this.#running = undefined;
  }

  /** The jobs of the next group, in order: at least one, and as many as the bound allows. */
  #take(): Job[] {
    const most = this.#again > 0 ? this.#again : this.#queue.length;
    this.#again = 0;
    let weight = 0;
    let count = 0;
    while (count < most) {
      weight += this.#queue[count]!.weight;
      if (count > 0 && weight > MAX_GROUP_STATEMENTS) break;
      count += 1;
    }
    const jobs = this.#queue.splice(0, count);
    for (const job of jobs) this.#queued -= job.weight;
    return jobs;
  }

  /**
   * Jobs of a group that was given up are prepared again, before all others: nothing of it was written. Those that were
   * prepared by then come without the rest, in which the next may be refused half-way, and so without end.
   */
  #putBack(prepared: readonly Job[], others: readonly Job[]): void {
    const jobs = [...prepared, ...others];
    this.#queue.unshift(...jobs);
    for (const job of jobs) this.#queued += job.weight;
    this.#again = prepared.length;
  }

  async #runGroup(): Promise<void> {
    const { store, views, clock, now, metrics } = this.#components;
    const answers: { settle: () => void; reject: (error: unknown) => void }[] = [];
    const failAll = (error: unknown): void => {
      views.clear();
      for (const { reject } of answers) reject(error);
    };
    const jobs = this.#take();
    const prepared: Job[] = [];
    let sinceTurn = 0;
    try {
      if (this.#inDoubt) await this.#recover();
      await views.prefetch(jobs.flatMap(({ keys }) => keys));
    } catch (error) {
      this.#fail(error);
      for (const { reject } of jobs) reject(error);
      return;
    }
    const timer = metrics?.group();
    const group = new Group(this.#head, now(), this.#init.maxAuditEntries);
    for (const [at, job] of jobs.entries()) {
      const extent = group.extent;
      try {
        const settle = await job.prepare(group);
        answers.push({ settle, reject: job.reject });
        prepared.push(job);
      } catch (error) {
        job.reject(error);
        if (isRefusal(error) && group.extent === extent) continue;
        // What the job changed cannot be told from the rest of the group: that is given up.
        if (isRefusal(error)) {
          views.clear();
          this.#putBack(prepared, jobs.slice(at + 1));
          return;
        }
        this.#fail(error);
        failAll(error);
        for (const { reject } of jobs.slice(at + 1)) reject(error);
        return;
      }
      sinceTurn += job.weight;
      if (sinceTurn >= PREPARE_SLICE) {
        sinceTurn = 0;
        await nextTurn();
      }
    }
    if (answers.length === 0) return;
    try {
      await group.settleLater();
      if (group.ops.length > 0 || group.dirty.size > 0) {
        await group.finish(views, clock.last);
        timer?.prepared();
        await store.batch(group.ops, { durable: this.#init.durable });
        timer?.committed(group.added.size);
        this.#head = group.head;
        for (const hook of group.afterCommit) hook();
        this.#init.onCommit(group.head);
        this.#failure = undefined;
      }
    } catch (error) {
      this.#fail(error);
      this.#inDoubt = true;
      failAll(error);
      return;
    }
    views.trim();
    for (const { settle } of answers) settle();
  }

  #fail(error: unknown): void {
    this.#failure = error;
    this.#components.metrics?.groupFailed(failureCode(error));
  }

  /** Continues from what the disk holds: a batch that failed may be there all the same, and then its numbers are taken. */
  async #recover(): Promise<void> {
    const { store, views } = this.#components;
    await store.recover();
    const stored = await store.get(metaKey('head'));
    const head = stored ? fromJson<Head>(stored) : EMPTY_HEAD;
    views.clear();
    if (JSON.stringify(head) !== JSON.stringify(this.#head)) {
      await this.#init.onResurrected();
      this.#head = head;
      this.#init.onCommit(head);
    }
    this.#inDoubt = false;
  }
}

/** Of the one request alone. What else is thrown, is a failure of the store or of ours. */
function isRefusal(error: unknown): boolean {
  return error instanceof NodeError || error instanceof FactError;
}

export function stopping(): NodeError {
  return new NodeError('stopping', 'the daemon is stopping', 'try again when it runs');
}

/** A write that had failed turned out to be on disk, and what is to be written now was decided without it. */
export function recovered(): NodeError {
  return new NodeError('busy', 'the store was recovered meanwhile', 'look at how things are now, and try again');
}

import { compareKeys, type Key } from './key.ts';
import { MAX_EXCLUDED_IDS, MAX_PENDING_SENDS } from './limits.ts';
import type { SetIndex } from './set-index.ts';

/** Items of a range that the other side lacks: all but those it named. Read from the index when their turn comes. */
interface RangeTask {
  readonly low: Key;
  high: Key;
  /** The youngest first. */
  readonly except: readonly Key[];
  passed: number;
}

/** Items the other side asked for, one by one. */
interface KeysTask {
  readonly keys: readonly Key[];
  sent: number;
}

export interface SendBatch {
  readonly index: SetIndex;
  readonly keys: readonly Key[];
}

/**
 * Statements that the other side lacks, as ranges rather than lists: a million of them wait in the space of one. Sets
 * take turns, so that a large one does not starve the others; within a set what was added first goes first.
 */
export class SendQueue {
  readonly #sets = new Map<SetIndex, (RangeTask | KeysTask)[]>();
  #tasks = 0;
  #excepted = 0;

  get isEmpty(): boolean {
    return this.#tasks === 0;
  }

  /** @returns false when the queue is full, and nothing was added */
  addRange(index: SetIndex, low: Key, high: Key, except: readonly Key[] = []): boolean {
    if (this.#tasks >= MAX_PENDING_SENDS || this.#excepted + except.length > MAX_EXCLUDED_IDS) return false;
    this.#excepted += except.length;
    this.#add(index, { low, high, except, passed: 0 });
    return true;
  }

  /** @returns false when the queue is full, and nothing was added */
  addKeys(index: SetIndex, keys: readonly Key[]): boolean {
    if (this.#tasks >= MAX_PENDING_SENDS) return false;
    this.#add(index, { keys, sent: 0 });
    return true;
  }

  /** The next items of one set, at most `limit`; undefined when there are none left. */
  take(limit: number): SendBatch | undefined {
    for (const [index, tasks] of this.#sets) {
      this.#sets.delete(index);
      const keys: Key[] = [];
      while (tasks.length > 0 && keys.length < limit) {
        const task = tasks[0]!;
        const isDone = 'keys' in task ? takeKeys(task, limit, keys) : takeRange(index, task, limit, keys);
        if (!isDone) continue;
        tasks.shift();
        this.#tasks -= 1;
        if ('except' in task) this.#excepted -= task.except.length;
      }
      if (tasks.length > 0) this.#sets.set(index, tasks);
      if (keys.length > 0) return { index, keys };
    }
    return undefined;
  }

  clear(): void {
    this.#sets.clear();
    this.#tasks = 0;
    this.#excepted = 0;
  }

  #add(index: SetIndex, task: RangeTask | KeysTask): void {
    const tasks = this.#sets.get(index);
    if (tasks) tasks.push(task);
    else this.#sets.set(index, [task]);
    this.#tasks += 1;
  }
}

function takeKeys(task: KeysTask, limit: number, into: Key[]): boolean {
  while (into.length < limit && task.sent < task.keys.length) into.push(task.keys[task.sent++]!);
  return task.sent === task.keys.length;
}

function takeRange(index: SetIndex, task: RangeTask, limit: number, into: Key[]): boolean {
  const room = limit - into.length;
  const keys = index.descending(task.low, task.high, room);
  for (const key of keys) {
    while (task.passed < task.except.length && compareKeys(task.except[task.passed]!, key) > 0) task.passed += 1;
    const excepted = task.except[task.passed];
    if (excepted === undefined || compareKeys(excepted, key) !== 0) into.push(key);
    task.high = key;
  }
  return keys.length < room;
}

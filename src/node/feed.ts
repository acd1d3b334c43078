import { type Statement, statementId } from '../facts/statement.ts';
import * as keys from '../store/keys.ts';
import { forEachSlice, type Reader } from '../store/store.ts';
import { NodeError } from './errors.ts';
import { FEED_FIRST_READ, FEED_PAGES, MAX_CURSORS } from './limits.ts';
import { type Moment, readFacts } from './reader.ts';
import { decodeLogRecord, storedStatement } from './records.ts';
import type { LocalWriter } from './services.ts';
import type { CommitEvent } from './types.ts';

export interface FeedComponents {
  readonly store: Reader;
  readonly moment: () => Moment;
}

/**
 * The commit feed: what everything else follows. It is the log in local sequence order, read from the store, so that a
 * follower has a position and never a queue: the slowest one costs nothing but its own delay.
 */
export class CommitFeed {
  readonly #components: FeedComponents;
  readonly #listeners = new Set<(seq: number) => void>();
  /** Followers in step ask for the same pages; the newest few are kept. */
  readonly #pages = new Map<string, Promise<CommitEvent[]>>();
  #head: number;

  constructor(components: FeedComponents, head: number) {
    this.#components = components;
    this.#head = head;
  }

  /** Newest committed sequence; 0 for an empty log. */
  head(): number {
    return this.#head;
  }

  get followers(): number {
    return this.#listeners.size;
  }

  /**
   * Events with `after < seq`, oldest first, at most `limit`, and no more once their statements have `maxBytes`: whoever
   * holds a page while its reader is slow says how much that may be. Facts show their state at the time of reading.
   */
  read(after: number, limit: number, maxBytes = Number.POSITIVE_INFINITY): Promise<CommitEvent[]> {
    const to = Math.min(this.#head, after + limit);
    if (to <= after) return Promise.resolve([]);
    // A page is named by where it ends, too: one read before the next commit is not the one read after it.
    const name = `${after} ${to} ${maxBytes}`;
    const cached = this.#pages.get(name);
    if (cached !== undefined) return cached;
    const page = this.#read(after + 1, to + 1, maxBytes);
    this.#pages.set(name, page);
    page.catch(() => this.#pages.delete(name));
    for (const oldest of this.#pages.keys()) {
      if (this.#pages.size <= FEED_PAGES) break;
      this.#pages.delete(oldest);
    }
    return page;
  }

  /** Calls the listener after each commit with the new head; returns what ends that. Listeners must not throw. */
  onCommit(listener: (seq: number) => void): () => void {
    this.#listeners.add(listener);
    return () => this.#listeners.delete(listener);
  }

  /** Told by the writer once a group is durable. */
  committed(head: number): void {
    if (head === this.#head) return;
    this.#head = head;
    for (const listener of this.#listeners) listener(head);
  }

  /** What there is may count otherwise now: somebody was paired with, parted from, revoked. */
  judged(): void {
    this.#pages.clear();
  }

  async #read(from: number, to: number, maxBytes: number): Promise<CommitEvent[]> {
    const { store, moment } = this.#components;
    const rows: { seq: number; digest: Buffer }[] = [];
    await forEachSlice(store, keys.sequenceRange(from, to), (entries) => {
      for (const { key, value } of entries)
        rows.push({ seq: keys.sequenceOf(key), digest: keys.sequenceDigest(value) });
      return undefined;
    });
    const events: CommitEvent[] = [];
    let bytes = 0;
    for (let at = 0; at < rows.length && bytes < maxBytes; ) {
      // As many as fit, going by what those before were like; the first few to find that out.
      const fitting = at === 0 ? FEED_FIRST_READ : Math.ceil(((maxBytes - bytes) * at) / (bytes + 1));
      const slice = rows.slice(at, at + (maxBytes === Number.POSITIVE_INFINITY ? rows.length : fitting));
      const read = moment();
      const digests = slice.map(({ digest }) => digest);
      const [facts, records] = await Promise.all([
        readFacts(store, digests, read),
        store.getMany(digests.map(keys.logKey)),
      ]);
      slice.forEach(({ seq, digest }, index) => {
        const fact = facts[index] ?? null;
        const record = records[index];
        bytes += record?.length ?? 0;
        const statement: Statement | undefined =
          fact?.statement ?? (record && storedStatement(decodeLogRecord(record, digest)));
        if (!statement) return;
        const standing = read.standingOf(statement, seq);
        events.push({ seq, id: statementId(digest), statement, fact, standing });
      });
      at += slice.length;
    }
    return events;
  }
}

/** Named positions in the feed that survive restarts: each internal follower stores how far it has come. */
export class DurableCursors {
  readonly #store: Reader;
  readonly #writer: LocalWriter;

  constructor(components: { readonly store: Reader; readonly writer: LocalWriter }) {
    this.#store = components.store;
    this.#writer = components.writer;
  }

  /** Last sequence the follower finished, 0 when it never ran. */
  async get(name: string): Promise<number> {
    const value = await this.#store.get(keys.cursorKey(name));
    return value ? keys.readU64(value) : 0;
  }

  /** @throws NodeError `limit_reached` when there would be too many names */
  async set(name: string, seq: number): Promise<void> {
    await this.#writer.writeLocal(async () => {
      if ((await this.#store.get(keys.cursorKey(name))) === undefined) {
        let count = 0;
        await forEachSlice(this.#store, keys.cursorRange(), (rows) => {
          count += rows.length;
          return undefined;
        });
        if (count >= MAX_CURSORS) throw new NodeError('limit_reached', 'too many feed cursors', 'remove unused ones');
      }
      const ops = [{ type: 'put' as const, key: keys.cursorKey(name), value: keys.u64(seq) }];
      return { ops, audit: [], result: undefined };
    });
  }
}

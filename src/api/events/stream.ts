import { setImmediate as nextTurn } from 'node:timers/promises';
import type { MeshEvent } from '../../node/federation.ts';
import type { GardenService } from '../../node/services.ts';
import type { CommitEvent } from '../../node/types.ts';
import type { Principal } from '../../policy/principal.ts';
import type { ApiInit, CommitFeed, Timers } from '../components.ts';
import {
  MAX_WAITING_MESH_EVENTS,
  SSE_DRAIN_MS,
  SSE_EVENTS_PER_TURN,
  SSE_HEARTBEAT_MS,
  SSE_PAGE,
  SSE_PAGE_BYTES,
  SSE_RETRY_MS,
} from '../limits.ts';
import { type EventFilter, isVisible, wireEvent } from './filter.ts';
import { isMeshVisible, meshEventData } from './mesh.ts';

/** Where the text of a stream goes: a socket, or a test. */
export interface EventSink {
  /** False: the reader has not taken what was written before; wait for `onDrain`. */
  write(text: string): boolean;
  onDrain(run: () => void): void;
  /** Called once, when the connection is gone from whichever side. */
  onClose(run: () => void): void;
  /** Ends the connection after what was written. */
  end(): void;
  /** Ends it at once. */
  destroy(): void;
}

/** Why a stream ended. */
export type EndReason = 'client' | 'slow_reader' | 'key_revoked' | 'stopping' | 'failed';

export interface EventStreamComponents {
  readonly feed: CommitFeed;
  readonly gardens: Pick<GardenService, 'mayRead'>;
  readonly timers: Timers;
}

export interface EventStreamInit {
  readonly filter: EventFilter;
  /** What to follow: commits, what happens on the mesh, or both. */
  readonly kinds: { readonly commits: boolean; readonly mesh: boolean };
  readonly compatCid: ApiInit['compatCid'];
  /** What all streams of an API share; absent: one of its own. */
  readonly texts?: EventTexts | undefined;
  /** The principal as of now; undefined once its key is revoked or expired. Asked before commits are shown and at every heartbeat. */
  readonly principal: () => Principal | undefined;
  /** `Last-Event-ID` or `after` as it was sent; undefined: only what comes. */
  readonly after: string | undefined;
}

/**
 * One follower of the commit feed as server-sent events (WHATWG HTML, section 9.2). It has a position in the log and no
 * queue: a page is read only when the socket has taken everything before, so a slow reader costs the size of one event.
 * Events of the mesh are in no log: a few of them wait, and they have no id, so that resuming is about commits alone.
 */
export class EventStream {
  readonly #components: EventStreamComponents;
  readonly #init: EventStreamInit;
  readonly #sink: EventSink;
  readonly #texts: EventTexts;
  #who: Principal;
  #position = 0;
  #ended: EndReason | undefined;
  #wake: (() => void) | undefined;
  #cancelDrain: (() => void) | undefined;
  #meshEvents: MeshEvent[] = [];
  #missed = 0;

  constructor(components: EventStreamComponents, init: EventStreamInit, sink: EventSink, who: Principal) {
    this.#components = components;
    this.#init = init;
    this.#sink = sink;
    this.#texts = init.texts ?? new EventTexts(init.compatCid);
    this.#who = who;
  }

  /** Runs until the stream has ended; never throws. */
  async run(): Promise<EndReason> {
    const { feed, timers } = this.#components;
    this.#sink.onClose(() => this.#end('client'));
    this.#sink.onDrain(() => this.#drained());
    const stopCommits = feed.onCommit(() => this.#signal());
    const stopHeartbeat = timers.every(SSE_HEARTBEAT_MS, () => this.#heartbeat());
    try {
      await this.#follow();
    } catch {
      // The log could not be read: the client reconnects from its last id, and the failure shows in /readyz.
      this.#end('failed');
    } finally {
      stopCommits();
      stopHeartbeat();
      // What such a reader has not taken would keep its socket open for as long as it likes. While stopping, whoever
      // stops sees to that, and a reader that is behind for a moment gets the rest.
      if (this.#cancelDrain !== undefined && this.#ended !== 'stopping') this.#sink.destroy();
      else this.#sink.end();
      this.#cancelDrain?.();
    }
    return this.#ended ?? 'failed';
  }

  /** Something happened on the mesh. While the reader is behind the oldest make room, and it is told how many. */
  notice(event: MeshEvent): void {
    if (!this.#init.kinds.mesh || !isMeshVisible(this.#who) || this.#ended !== undefined) return;
    if (this.#meshEvents.length >= MAX_WAITING_MESH_EVENTS) {
      this.#meshEvents.shift();
      this.#missed += 1;
    }
    this.#meshEvents.push(event);
    this.#signal();
  }

  /** Ends the stream from outside: the daemon stops. */
  stop(): void {
    this.#end('stopping');
  }

  async #follow(): Promise<void> {
    const { feed } = this.#components;
    await this.#write(`retry: ${SSE_RETRY_MS}\n\n${this.#start()}`);
    while (this.#ended === undefined) {
      if (this.#meshEvents.length > 0) await this.#writeMesh();
      const head = feed.head();
      if (!this.#init.kinds.commits) this.#position = head;
      if (head <= this.#position) {
        if (this.#meshEvents.length > 0) continue;
        await this.#pause();
        continue;
      }
      const commits = await feed.read(this.#position, SSE_PAGE, SSE_PAGE_BYTES);
      // A revoked key sees nothing that was committed after it was revoked.
      if (!this.#isAllowed()) return;
      for (const [at, commit] of commits.entries()) {
        // All streams show a page at the same moment, and others want their turn.
        if (at % SSE_EVENTS_PER_TURN === SSE_EVENTS_PER_TURN - 1) await nextTurn();
        if (this.#ended !== undefined) return;
        this.#position = commit.seq;
        if (!isVisible(commit, this.#init.filter, this.#who, this.#components.gardens)) continue;
        await this.#write(this.#texts.of(commit));
      }
      // A log with nothing to show between here and its head (kinds without events) must not be read for ever.
      if (commits.length === 0) this.#position = Math.min(head, this.#position + SSE_PAGE);
    }
  }

  /** What waits at this moment; what comes meanwhile has its turn after the commits. */
  async #writeMesh(): Promise<void> {
    const events = this.#meshEvents;
    const missed = this.#missed;
    this.#meshEvents = [];
    this.#missed = 0;
    // The key may have lost its permissions since the events came.
    if (!this.#isAllowed() || !isMeshVisible(this.#who)) return;
    if (missed > 0) await this.#write(eventText('mesh.missed', undefined, { count: missed }));
    for (const event of events) {
      if (this.#ended !== undefined) return;
      await this.#write(eventText(event.type, undefined, meshEventData(event)));
    }
  }

  /** Sets the first position; the text of the reset event where the one asked for does not exist. */
  #start(): string {
    const head = this.#components.feed.head();
    const { after } = this.#init;
    this.#position = head;
    if (after === undefined || after === '') return '';
    const wanted = /^\d{1,15}$/.test(after) ? Number(after) : Number.NaN;
    if (wanted <= head) {
      this.#position = wanted;
      return '';
    }
    return eventText('reset', head, { head, reason: 'the last event id is not one of this log: query again' });
  }

  /** Resolves when there may be something to do. */
  #pause(): Promise<void> {
    return new Promise((resolve) => {
      this.#wake = resolve;
    });
  }

  #signal(): void {
    const wake = this.#wake;
    this.#wake = undefined;
    wake?.();
  }

  /** Writes, then waits until the reader has taken it; one that does not within the deadline is dropped. */
  async #write(text: string): Promise<void> {
    this.#send(text);
    // Commits wake the stream as well; only the drain lets it go on.
    while (this.#cancelDrain !== undefined && this.#ended === undefined) await this.#pause();
  }

  #send(text: string): void {
    if (this.#ended !== undefined || this.#sink.write(text)) return;
    this.#cancelDrain ??= this.#components.timers.after(SSE_DRAIN_MS, () => this.#end('slow_reader'));
  }

  #drained(): void {
    this.#cancelDrain?.();
    this.#cancelDrain = undefined;
    this.#signal();
  }

  /** Looks the principal up again; ends the stream of one that may no longer read. */
  #isAllowed(): boolean {
    const who = this.#init.principal();
    if (who?.permissions.has('read')) {
      this.#who = who;
      return true;
    }
    this.#end('key_revoked');
    return false;
  }

  #heartbeat(): void {
    if (!this.#isAllowed()) return;
    // While the reader is behind, a heartbeat would only add to what waits. The id lets a client that sees nothing
    // for hours resume from here.
    if (this.#cancelDrain === undefined) this.#send(`: heartbeat\nid: ${this.#position}\n\n`);
  }

  #end(reason: EndReason): void {
    this.#ended ??= reason;
    this.#signal();
  }
}

/**
 * Commits as they are sent, the newest few: followers in step show the same ones at the same moment, hundreds of them, and
 * a commit looks the same to everybody who sees it.
 */
export class EventTexts {
  readonly #compatCid: ApiInit['compatCid'];
  readonly #texts = new Map<CommitEvent, string>();

  constructor(compatCid: ApiInit['compatCid']) {
    this.#compatCid = compatCid;
  }

  of(commit: CommitEvent): string {
    const known = this.#texts.get(commit);
    if (known !== undefined) return known;
    const { event, data } = wireEvent(commit, this.#compatCid);
    const text = eventText(event, commit.seq, data);
    this.#texts.set(commit, text);
    if (this.#texts.size > SSE_PAGE) this.#texts.delete(this.#texts.keys().next().value!);
    return text;
  }
}

/** JSON.stringify leaves no line break in the data, so it is one `data` line. Without an id the reader keeps the last. */
function eventText(event: string, id: number | undefined, data: object): string {
  return `event: ${event}\n${id === undefined ? '' : `id: ${id}\n`}data: ${JSON.stringify(data)}\n\n`;
}

import { NodeError } from '../node/errors.ts';
import type { SetsService } from '../node/mesh-services.ts';
import { ownSessionSurvives, type SyncResult } from '../sync/index.ts';
import {
  CROSSED_OPEN_MS,
  MAX_CHANGED_SESSIONS,
  MAX_INBOUND_SESSIONS,
  MAX_OWN_SESSIONS,
  MAX_REFUSED_DIGESTS,
  REFUSED_FINAL_MS,
  REFUSED_RETRY_MS,
  SYNC_BACKOFF_MAX_MS,
  SYNC_BACKOFF_MS,
  SYNC_CONTINUE_MS,
  SYNC_REFUSED_MS,
} from './data-limits.ts';
import { MeshError } from './errors.ts';
import { RecentDigests } from './recent-digests.ts';
import { type DriveComponents, driveSession, SYNC } from './sync-session.ts';
import { delay, elapsedClock, jittered } from './timers.ts';
import type { FrameStream, Transport } from './transport.ts';

export interface ReconcilerComponents extends DriveComponents {
  readonly transport: Pick<Transport, 'peerId' | 'open'>;
  readonly sets: DriveComponents['sets'] & Pick<SetsService, 'isReady' | 'ready'>;
  readonly onFinished: (peerId: string, result: SyncResult, ms: number) => void;
  /** The stream could not be opened, or this side failed. */
  readonly onFailed: (peerId: string, code: string, ms: number) => void;
}

interface Session {
  readonly isOwn: boolean;
  readonly stopped: AbortController;
  /** Never rejects; undefined when it could not be held. */
  readonly done: Promise<SyncResult | undefined>;
  /** The one with the same peer that begins next. */
  readonly next: PromiseWithResolvers<Session>;
}

/** What is remembered of one active peer. */
interface Peer {
  readonly peerId: string;
  readonly gone: AbortController;
  session: Session | undefined;
  /** The one that began last. */
  last: Session | undefined;
  /** When the next session is due, as the world's clock went when it was scheduled. */
  timer: unknown;
  dueAt: number;
  /** A session was asked for while one was under way. */
  isWanted: boolean;
  /** Sessions in a row that brought nothing and did not converge. */
  failures: number;
  notBefore: number;
  refused: RecentDigests<number>;
  readonly notShared: Set<string>;
}

/** Why a session that got on should go on at once: it reached one of its limits. */
const CONTINUES: ReadonlySet<string> = new Set([
  'truncated',
  'budget_rounds',
  'budget_work',
  'budget_cpu',
  'budget_time',
]);

/**
 * Decides when to reconcile with whom (mesh.md, "Reconciliation"): one session a peer at a time, whoever opened it; after
 * one that failed, the next waits longer and longer; one that reached a limit is continued.
 */
export class Reconciler {
  readonly #components: ReconcilerComponents;
  readonly #peers = new Map<string, Peer>();
  readonly #elapsed: () => number;
  #own = 0;
  #inbound = 0;

  constructor(components: ReconcilerComponents) {
    this.#components = components;
    this.#elapsed = elapsedClock(() => components.world.now());
  }

  /** Sessions under way. */
  get sessions(): number {
    return this.#own + this.#inbound;
  }

  /** A peer became active. */
  add(peerId: string): void {
    this.remove(peerId);
    this.#peers.set(peerId, {
      peerId,
      gone: new AbortController(),
      session: undefined,
      last: undefined,
      timer: undefined,
      dueAt: Number.POSITIVE_INFINITY,
      isWanted: false,
      failures: 0,
      notBefore: 0,
      refused: new RecentDigests(MAX_REFUSED_DIGESTS),
      notShared: new Set(),
    });
  }

  /** A peer is no longer active: its session ends. */
  remove(peerId: string): void {
    const peer = this.#peers.get(peerId);
    if (!peer) return;
    this.#peers.delete(peerId);
    this.#components.world.clearTimeout(peer.timer);
    peer.gone.abort();
    peer.session?.stopped.abort();
  }

  /** The terms of a peer changed: a session over the old ones ends, what was refused by them is forgotten. */
  changed(peerId: string): void {
    const peer = this.#peers.get(peerId);
    if (!peer) return;
    peer.refused = new RecentDigests(MAX_REFUSED_DIGESTS);
    peer.notShared.clear();
    peer.failures = 0;
    peer.notBefore = 0;
    peer.session?.stopped.abort();
    this.trigger(peerId);
  }

  /** What was refused from all peers may be accepted now: a manifest changed. */
  forgetRefused(): void {
    for (const peer of this.#peers.values()) peer.refused = new RecentDigests(MAX_REFUSED_DIGESTS);
  }

  /** Names of sets that a peer turned out not to share. */
  notShared(peerId: string): ReadonlySet<string> {
    return this.#peers.get(peerId)?.notShared ?? new Set();
  }

  /**
   * Asks for a session with a peer, in so many ms, or as soon as its last failure allows. One that is due earlier, or under
   * way, serves as well.
   */
  trigger(peerId: string, inMs = 0): void {
    const peer = this.#peers.get(peerId);
    if (peer) this.#schedule(peer, inMs);
  }

  /** Ends every session and whatever is due. */
  async stop(): Promise<void> {
    const sessions = [...this.#peers.values()].map(({ session }) => session?.done);
    for (const peerId of [...this.#peers.keys()]) this.remove(peerId);
    await Promise.all(sessions);
  }

  /**
   * Reconciles with a peer: what either side held when this was called, both hold when it is done. Not by a session that
   * was under way by then, which may have compared already and be about to end; but by any that begins later.
   *
   * @throws NodeError `sync_failed`
   */
  async sync(peerId: string, signal?: AbortSignal): Promise<void> {
    await this.#peers.get(peerId)?.session?.done;
    let session: Session | undefined;
    for (let changes = 0, waited = 0; ; ) {
      const peer = this.#peers.get(peerId);
      if (!peer) throw syncFailed('the peer is not connected and active', "see 'stigmesh peers'");
      if (!this.#components.sets.isReady) {
        throw syncFailed('the indexes are still being loaded', 'try again in a moment');
      }
      session ??= peer.session ?? this.#open(peer);
      if (!session) throw syncFailed('too many reconciliations are under way', 'try again in a moment');
      const result = await session.done;
      if (signal?.aborted) throw syncFailed('it was given up', 'it goes on in the background');
      if (result?.outcome === 'converged') return;
      const isChanged = result?.outcome === 'progress' && result.reason === 'changed';
      // Somebody writes all the time: what was there at the beginning is there by now.
      if (isChanged && ++changes >= MAX_CHANGED_SESSIONS) return;
      if (isChanged || (result?.outcome === 'progress' && CONTINUES.has(result.reason ?? ''))) {
        session = undefined;
        continue;
      }
      // Both opened at once: the other session is as good, and may be over already. Or the peer had not ended the last one.
      const waitMs = isCrossed(session, result)
        ? Math.min(Math.max(SYNC_CONTINUE_MS, 3 * waited), CROSSED_OPEN_MS - waited)
        : 0;
      session = await this.#following(session, waitMs, signal);
      waited += waitMs;
      if (session || (waitMs > 0 && !signal?.aborted)) continue;
      throw syncFailed(
        `reconciliation ended with ${result?.reason ?? 'a failure'}`,
        result?.hint ?? "the log says why; 'stigmesh peers' shows when it is tried again",
      );
    }
  }

  /** The session that began after this one, or begins in so many ms. */
  async #following({ next }: Session, waitMs: number, signal?: AbortSignal): Promise<Session | undefined> {
    const enough = new AbortController();
    const signals = signal ? [signal, enough.signal] : [enough.signal];
    const late = waitMs > 0 ? delay(this.#components.world, waitMs, AbortSignal.any(signals)) : undefined;
    const following = await Promise.race([next.promise, late]);
    enough.abort();
    return following ?? undefined;
  }

  /** Serves a session that a peer opened. Never rejects. */
  readonly serve = async (stream: FrameStream): Promise<void> => {
    const peer = this.#peers.get(stream.peerId);
    const refusal = this.#refusal(peer);
    if (!peer || refusal !== undefined) {
      stream.abort(new MeshError('stream_closed', `no session: ${refusal}`, 'try again later'));
      return;
    }
    const former = peer.session;
    former?.stopped.abort();
    const open = async (): Promise<FrameStream> => {
      await former?.done;
      return stream;
    };
    await this.#run(peer, false, open).done;
  };

  /** Why an incoming session is not served now. */
  #refusal(peer: Peer | undefined): string | undefined {
    const { sets, transport } = this.#components;
    if (!peer) return 'not an active peer';
    if (!sets.isReady) return 'the indexes are still being loaded';
    if (this.#inbound >= MAX_INBOUND_SESSIONS) return 'too many sessions';
    if (peer.session && !peer.session.isOwn) return 'another session is under way';
    if (peer.session && ownSessionSurvives(transport.peerId, peer.peerId)) return 'our session is under way';
    return undefined;
  }

  #schedule(peer: Peer, inMs: number): void {
    if (peer.gone.signal.aborted) return;
    const now = this.#elapsed();
    const due = Math.max(now + inMs, peer.notBefore);
    if (due >= peer.dueAt) return;
    const { world } = this.#components;
    world.clearTimeout(peer.timer);
    peer.dueAt = due;
    peer.timer = world.setTimeout(() => {
      peer.timer = undefined;
      peer.dueAt = Number.POSITIVE_INFINITY;
      this.#due(peer);
    }, due - now);
  }

  #due(peer: Peer): void {
    const { sets, world } = this.#components;
    if (peer.session) peer.isWanted = true;
    else if (!sets.isReady) void sets.ready.then(() => this.#schedule(peer, 0));
    else if (!this.#open(peer)) this.#schedule(peer, jittered(world, SYNC_CONTINUE_MS));
  }

  /** Opens a session, unless too many are under way. */
  #open(peer: Peer): Session | undefined {
    if (this.#own >= MAX_OWN_SESSIONS) return undefined;
    return this.#run(peer, true, () => this.#components.transport.open(peer.peerId, SYNC));
  }

  #run(peer: Peer, isOwn: boolean, open: () => Promise<FrameStream>): Session {
    const stopped = new AbortController();
    // Whatever was due is what this one does.
    this.#components.world.clearTimeout(peer.timer);
    peer.timer = undefined;
    peer.dueAt = Number.POSITIVE_INFINITY;
    peer.isWanted = false;
    if (isOwn) this.#own += 1;
    else this.#inbound += 1;
    const session: Session = {
      isOwn,
      stopped,
      next: Promise.withResolvers(),
      done: this.#hold(peer, isOwn, open, stopped.signal).finally(() => {
        if (isOwn) this.#own -= 1;
        else this.#inbound -= 1;
        if (peer.session !== session) return;
        peer.session = undefined;
        if (peer.isWanted) this.#schedule(peer, jittered(this.#components.world, SYNC_CONTINUE_MS));
      }),
    };
    peer.session = session;
    peer.last?.next.resolve(session);
    peer.last = session;
    return session;
  }

  async #hold(
    peer: Peer,
    isOwn: boolean,
    open: () => Promise<FrameStream>,
    signal: AbortSignal,
  ): Promise<SyncResult | undefined> {
    const { onFinished, onFailed, world } = this.#components;
    const { peerId, refused, notShared } = peer;
    const startedAt = this.#elapsed();
    const role = isOwn ? 'initiator' : 'responder';
    const refusalMs = (isRetryable: boolean): number => (isRetryable ? REFUSED_RETRY_MS : REFUSED_FINAL_MS);
    try {
      const stream = await open();
      const result = await driveSession(this.#components, { role, refused, notShared, refusalMs, signal }, stream);
      // Ended from here, for another session or other terms: no outcome of its own.
      if (signal.aborted && result.reason === 'stopped') return result;
      for (const name of result.notShared) notShared.add(name);
      this.#settle(peer, result);
      onFinished(peerId, result, this.#elapsed() - startedAt);
      return result;
    } catch (error) {
      if (peer.gone.signal.aborted) return undefined;
      this.#backOff(peer);
      const code = (error as { code?: unknown }).code;
      onFailed(peerId, typeof code === 'string' ? code : 'internal_error', this.#elapsed() - startedAt);
      this.#schedule(peer, jittered(world, SYNC_BACKOFF_MS));
      return undefined;
    }
  }

  /** What the end of a session means for the next one. */
  #settle(peer: Peer, { outcome, reason }: SyncResult): void {
    const { world } = this.#components;
    if (outcome === 'failed' && reason === 'refused') {
      peer.failures = 0;
      peer.notBefore = this.#elapsed() + jittered(world, SYNC_REFUSED_MS);
      return;
    }
    if (outcome === 'failed') {
      this.#backOff(peer);
      return;
    }
    peer.failures = 0;
    peer.notBefore = 0;
    if (outcome === 'progress' && CONTINUES.has(reason ?? '')) this.#schedule(peer, jittered(world, SYNC_CONTINUE_MS));
  }

  #backOff(peer: Peer): void {
    const pause = Math.min(SYNC_BACKOFF_MAX_MS, SYNC_BACKOFF_MS * 2 ** peer.failures);
    peer.failures += 1;
    peer.notBefore = this.#elapsed() + jittered(this.#components.world, pause);
  }
}

/** Whether the other side may have refused the stream because its own was on its way. */
function isCrossed({ isOwn }: Session, result: SyncResult | undefined): boolean {
  if (!isOwn) return false;
  return result === undefined || (result.reason === 'disconnected' && result.counters.framesIn === 0);
}

function syncFailed(message: string, hint: string): NodeError {
  return new NodeError('sync_failed', message, hint);
}

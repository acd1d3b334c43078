import type { SetsService } from '../node/mesh-services.ts';
import {
  HEADS_GRACE_MS,
  HEADS_INTERVAL_MS,
  HEADS_MIN_MS,
  HEADS_REPLY_MS,
  HEADS_SOON_MS,
  SYNC_FALLBACK_MS,
} from './data-limits.ts';
import { areEqual, headsOf, settledReading } from './heads.ts';
import type { Comparison, HeadCounts, Heads } from './push-frames.ts';
import type { PushSender } from './push-sender.ts';
import type { Reconciler } from './reconcile.ts';
import type { SyncLedger } from './sync-ledger.ts';
import { elapsedClock, jittered } from './timers.ts';
import type { PeeringView } from './types.ts';
import type { MeshWorld } from './world.ts';

export interface HeadsWatchComponents {
  readonly sets: Pick<SetsService, 'list' | 'isReady'>;
  readonly peering: Pick<PeeringView, 'pairing'>;
  readonly reconciler: Pick<Reconciler, 'trigger' | 'notShared'>;
  readonly ledger: SyncLedger;
  readonly world: MeshWorld;
}

const UNKNOWN = { result: 'unknown', counts: [0, 0, 0] } as const;

interface Watched {
  readonly sender: Pick<PushSender, 'tellHeads'>;
  timer: unknown;
  dueAt: number;
  /** When heads of the peer were compared last, and when both were last known to be the same. */
  comparedAt: number;
  equalAt: number;
}

/**
 * Tells each active peer now and then what is held here of what is shared, compares what they tell, and asks for a
 * reconciliation where the two differ (mesh.md, "Triggers").
 */
export class HeadsWatch {
  readonly #components: HeadsWatchComponents;
  readonly #peers = new Map<string, Watched>();
  readonly #elapsed: () => number;

  constructor(components: HeadsWatchComponents) {
    this.#components = components;
    this.#elapsed = elapsedClock(() => components.world.now());
  }

  add(peerId: string, sender: Pick<PushSender, 'tellHeads'>): void {
    this.remove(peerId);
    const comparedAt = Number.NEGATIVE_INFINITY;
    const dueAt = Number.POSITIVE_INFINITY;
    const watched: Watched = { sender, timer: undefined, dueAt, comparedAt, equalAt: this.#elapsed() };
    this.#peers.set(peerId, watched);
    this.#schedule(peerId, watched, HEADS_INTERVAL_MS);
  }

  remove(peerId: string): void {
    this.#components.world.clearTimeout(this.#peers.get(peerId)?.timer);
    this.#peers.delete(peerId);
  }

  /** Something came that others may lack, and nobody pushes it: they are told soon what is held here now. */
  soon(): void {
    for (const [peerId, watched] of this.#peers) this.#schedule(peerId, watched, HEADS_SOON_MS);
  }

  /** Compares what a peer tells with what is held here. */
  async compare(peerId: string, theirs: Heads): Promise<{ result: Comparison; counts: HeadCounts }> {
    const { reconciler, ledger, world } = this.#components;
    const watched = this.#peers.get(peerId);
    const now = this.#elapsed();
    if (!watched || now - watched.comparedAt < HEADS_MIN_MS) return UNKNOWN;
    watched.comparedAt = now;
    const ours = await this.#heads(peerId, theirs.below);
    if (!ours) return UNKNOWN;
    const { counts } = ours;
    if (areEqual(ours, theirs)) {
      this.#equal(peerId);
      return { result: 'equal', counts };
    }
    ledger.differs(peerId, counts, theirs.counts);
    reconciler.trigger(peerId, jittered(world, HEADS_REPLY_MS));
    return { result: 'differs', counts };
  }

  /** What a peer says of what it was told. Where it differs the peer reconciles; we do when it does not. */
  compared(peerId: string, ours: Heads, result: Comparison, theirs: HeadCounts): void {
    const { ledger, reconciler } = this.#components;
    if (result === 'equal') this.#equal(peerId);
    if (result !== 'differs') return;
    ledger.differs(peerId, ours.counts, theirs);
    reconciler.trigger(peerId, HEADS_GRACE_MS);
  }

  /** A session ended with both sides the same. */
  converged(peerId: string): void {
    const watched = this.#peers.get(peerId);
    if (watched) watched.equalAt = this.#elapsed();
  }

  #equal(peerId: string): void {
    this.#components.ledger.equal(peerId);
    this.converged(peerId);
  }

  #schedule(peerId: string, watched: Watched, inMs: number): void {
    const { world } = this.#components;
    const wait = jittered(world, inMs);
    const due = this.#elapsed() + wait;
    if (due >= watched.dueAt) return;
    world.clearTimeout(watched.timer);
    watched.dueAt = due;
    watched.timer = world.setTimeout(() => {
      watched.dueAt = Number.POSITIVE_INFINITY;
      void this.#tell(peerId, watched);
    }, wait);
  }

  async #tell(peerId: string, watched: Watched): Promise<void> {
    const { reconciler, world } = this.#components;
    // A peer that compares nothing, or with whom there is no stream, is reconciled with all the same.
    if (this.#elapsed() - watched.equalAt > SYNC_FALLBACK_MS) {
      watched.equalAt = this.#elapsed();
      reconciler.trigger(peerId);
    }
    const heads = await this.#heads(peerId, settledReading(world.now()));
    if (this.#peers.get(peerId) !== watched) return;
    if (heads) watched.sender.tellHeads(heads);
    this.#schedule(peerId, watched, HEADS_INTERVAL_MS);
  }

  async #heads(peerId: string, below: Uint8Array): Promise<Heads | undefined> {
    const { sets, peering, reconciler } = this.#components;
    const pairing = peering.pairing(peerId);
    if (!pairing || !sets.isReady) return undefined;
    const notShared = reconciler.notShared(peerId);
    const shared = sets.list(pairing).filter(({ set }) => !notShared.has(set.name));
    return headsOf(shared, pairing, below);
  }
}

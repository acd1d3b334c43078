import { hlcWall } from '../facts/index.ts';
import type { SetCommit, SetsService } from '../node/mesh-services.ts';
import { YOUNG_MS } from './data-limits.ts';
import type { GossipPublisher } from './gossip-publisher.ts';
import type { Intake } from './intake.ts';
import type { Outbox, Outgoing } from './outbox.ts';
import type { MeshWorld } from './world.ts';

export interface AnnouncerComponents {
  readonly sets: Pick<SetsService, 'on'>;
  readonly intake: Pick<Intake, 'arrivals' | 'held'>;
  readonly publisher: Pick<GossipPublisher, 'offer' | 'relay' | 'flush'>;
  readonly outbox: Pick<Outbox, 'append'>;
  readonly world: Pick<MeshWorld, 'now'>;
  /** Reconciliation brought statements that others may lack. */
  readonly onReconciled: () => void;
}

/**
 * Hands every commit to those who tell others of it, the moment it is durable. What was made here goes out whole; what came
 * from one peer is offered to the others that may hold it, which most of them need not fetch. What reconciliation brought is
 * offered while it is young, since heads do not speak of it yet; the rest is left to the reconciliation of others, so that no
 * old statement ever makes a wave.
 */
export class Announcer {
  readonly #components: AnnouncerComponents;
  #end: (() => void) | undefined;

  constructor(components: AnnouncerComponents) {
    this.#components = components;
  }

  start(): void {
    this.#end = this.#components.sets.on((commits) => this.#announce(commits));
  }

  stop(): void {
    this.#end?.();
    this.#end = undefined;
  }

  #announce(commits: readonly SetCommit[]): void {
    const { intake, publisher, outbox, world, onReconciled } = this.#components;
    const outgoing: Outgoing[] = [];
    let wasReconciled = false;
    for (const commit of commits) {
      const via = intake.arrivals.take(commit.digest);
      intake.held.set(commit.digest, commit.set);
      const own = commit.receivedFrom === null || commit.receivedFrom === 'import';
      const isReconciled = via === 'sync' || (via === undefined && !own);
      if (isReconciled) {
        wasReconciled = true;
        if (world.now() - hlcWall(commit.hlc) > YOUNG_MS) continue;
      }
      const isPublic = commit.set.audience === 'public';
      let gossiped = via === 'gossip';
      if (isPublic && own) gossiped = publisher.offer(commit);
      else if (isPublic && !gossiped && !isReconciled) {
        publisher.relay(commit);
        gossiped = true;
      }
      const { set, digest, receivedFrom, bytes, sig } = commit;
      outgoing.push({ set, digest, receivedFrom, gossiped, statement: own ? { bytes, sig } : null });
    }
    publisher.flush();
    if (outgoing.length > 0) outbox.append(outgoing);
    if (wasReconciled) onReconciled();
  }
}

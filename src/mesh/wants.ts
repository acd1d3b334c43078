import type { Digest } from '../facts/index.ts';
import type { SetsService } from '../node/mesh-services.ts';
import { MAX_ASKED, MAX_FETCH_DIGESTS, MAX_WANTED, WANT_DELAY_MS } from './data-limits.ts';
import type { Fetcher } from './fetch.ts';
import type { Intake } from './intake.ts';
import { digestKey } from './recent-digests.ts';
import { delay } from './timers.ts';
import type { PeeringView } from './types.ts';
import type { MeshWorld } from './world.ts';

export interface WantsComponents {
  readonly fetcher: Pick<Fetcher, 'statements'>;
  readonly intake: Pick<Intake, 'admit' | 'isHeld'>;
  readonly sets: Pick<SetsService, 'read'>;
  readonly peering: Pick<PeeringView, 'pairing'>;
  readonly world: MeshWorld;
}

/**
 * Fetches what peers say they have and we have not. Each statement is asked of one peer at a time, however many offer it.
 * What is not got is left to reconciliation.
 */
export class Wants {
  readonly #components: WantsComponents;
  /** What each peer offered, in the order it did. */
  readonly #offered = new Map<string, Digest[]>();
  readonly #asked = new Set<string>();
  #stopped = new AbortController();

  constructor(components: WantsComponents) {
    this.#components = components;
  }

  /** Digests that wait. */
  get waiting(): number {
    let waiting = 0;
    for (const digests of this.#offered.values()) waiting += digests.length;
    return waiting;
  }

  get asked(): number {
    return this.#asked.size;
  }

  offer(peerId: string, digests: readonly Digest[]): void {
    const { intake, peering } = this.#components;
    const pairing = peering.pairing(peerId);
    if (!pairing) return;
    const fresh = digests.filter((digest) => !intake.isHeld(digest, pairing));
    if (fresh.length === 0) return;
    const queue = this.#offered.get(peerId);
    if (queue) {
      queue.push(...fresh.slice(0, Math.max(0, MAX_WANTED - queue.length)));
      return;
    }
    this.#offered.set(peerId, fresh.slice(0, MAX_WANTED));
    void this.#run(peerId);
  }

  stop(): void {
    this.#stopped.abort();
    this.#stopped = new AbortController();
  }

  async #run(peerId: string): Promise<void> {
    const { signal } = this.#stopped;
    try {
      await delay(this.#components.world, WANT_DELAY_MS, signal);
      for (;;) {
        const digests = this.#offered.get(peerId)?.splice(0, MAX_FETCH_DIGESTS) ?? [];
        if (digests.length === 0 || signal.aborted) break;
        await this.#get(peerId, digests, signal);
      }
    } catch {
      // The peer is gone, slow or at fault: others may offer the same, and reconciliation brings it in any case.
    } finally {
      this.#offered.delete(peerId);
    }
  }

  async #get(peerId: string, offered: readonly Digest[], signal: AbortSignal): Promise<void> {
    const { fetcher, intake, sets, peering } = this.#components;
    const pairing = peering.pairing(peerId);
    if (!pairing) return;
    const fresh = offered.filter((digest) => !intake.isHeld(digest, pairing) && !this.#asked.has(digestKey(digest)));
    if (fresh.length === 0 || this.#asked.size + fresh.length > MAX_ASKED) return;
    for (const digest of fresh) this.#asked.add(digestKey(digest));
    try {
      const stored = await sets.read(pairing, fresh);
      const missing = fresh.filter((_, at) => stored[at] === undefined);
      if (missing.length === 0) return;
      const statements = await fetcher.statements(peerId, missing, signal);
      if (statements.length > 0) await intake.admit(peerId, 'fetch', statements, signal);
    } finally {
      for (const digest of fresh) this.#asked.delete(digestKey(digest));
    }
  }
}

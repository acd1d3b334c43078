import type { Pairing, PeerTerms } from '../policy/sharing.ts';
import { narrowed, sameTerms } from './terms.ts';
import type { ActivePeer } from './types.ts';

/** One side's terms as they were told, and when: what was told later counts, in whatever order exchanges end. */
export interface Told {
  readonly terms: PeerTerms;
  /** Of ours: the count of what we told; of theirs: when they signed it (Unix ms). */
  readonly at: number;
}

/** A connection to a peer, from its first moment to its last, and what was agreed on it. */
export class Session {
  readonly peerId: string;
  readonly remoteAddr: string;
  readonly outbound: boolean;
  /** Unix ms at which both sides agreed; null before. */
  since: number | null = null;
  /** Until then (Unix ms) the other side may act on earlier terms in good faith. */
  settlesAt = 0;
  /** An exchange of ours under way, and whether there is more to tell after it. */
  telling: Promise<void> | undefined;
  tellAgain = false;
  /** Exchanges of theirs under way. */
  answering = 0;
  /** What they were told last beside terms: signature of the own manifest, and when our declaration ends (Unix ms). */
  shown = '';
  expiresAt: number | null = null;
  /** Disconnects a peer that does not become active, or does not leave. */
  deadline: unknown;
  /** Declares ourselves to a peer that dialled us and says nothing. */
  nudge: unknown;
  /** Over: whatever is still under way on it counts for nothing. */
  isClosed = false;
  #pairing: Pairing | undefined;
  #ours: Told = NOTHING;
  #theirs: Told = NOTHING;
  #counter = 0;

  constructor(init: { readonly peerId: string; readonly remoteAddr: string; readonly outbound: boolean }) {
    this.peerId = init.peerId;
    this.remoteAddr = init.remoteAddr;
    this.outbound = init.outbound;
  }

  /** What is agreed; undefined until the first exchange went well. */
  get pairing(): Pairing | undefined {
    return this.#pairing;
  }

  get isActive(): boolean {
    return this.since !== null && this.#pairing !== undefined;
  }

  /** Terms of ours that they know. */
  get told(): PeerTerms {
    return this.#ours.terms;
  }

  /** The moment of telling, for {@link agree}. */
  next(): number {
    this.#counter += 1;
    return this.#counter;
  }

  /** Both sides said what they give and take. @returns the pairing before */
  agree(orgs: Pick<Pairing, 'org' | 'peerOrg'>, ours: Told, theirs: Told): Pairing | undefined {
    const before = this.#pairing;
    if (ours.at >= this.#ours.at) this.#ours = ours;
    if (theirs.at >= this.#theirs.at) this.#theirs = theirs;
    this.#pairing = { ...orgs, ours: this.#ours.terms, theirs: this.#theirs.terms };
    return before;
  }

  /**
   * Our operator decided otherwise, and they do not know yet. What is no longer allowed stops now; what is newly allowed
   * begins when they know of it.
   *
   * @returns the pairing before, if anything stopped
   */
  narrow(ours: PeerTerms): Pairing | undefined {
    const before = this.#pairing;
    if (before === undefined) return;
    const terms = narrowed(before.ours, ours);
    // An exchange under way tells them what is out of date: it must not widen this again.
    this.#ours = { terms, at: this.next() };
    if (sameTerms(terms, before.ours)) return;
    this.#pairing = { ...before, ours: terms };
    return before;
  }

  /** Nothing is agreed any more. */
  end(): void {
    this.#pairing = undefined;
    this.since = null;
  }
}

const NOTHING: Told = { terms: { gives: [], takes: [], namespaces: null }, at: Number.NEGATIVE_INFINITY };

/** Only of a session that is active. */
export function activePeer({ peerId, pairing, since }: Session): ActivePeer {
  return { peerId, pairing: pairing!, since: since! };
}

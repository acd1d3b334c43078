import type { PeerRecord } from '../../src/node/federation.ts';
import type { PeerTerms } from '../../src/policy/sharing.ts';

/** What an operator allowed, and when: from `from` to `until` (virtual ms; Infinity: still). */
interface Entry {
  readonly from: number;
  until: number;
  readonly terms: PeerTerms;
}

const NOTHING: PeerTerms = { gives: [], takes: [], namespaces: null };

/**
 * What every operator decided about every peer, and when: the truth that the daemons are measured against. A decision
 * counts from the moment it was asked for; what it replaces counts until it was acknowledged.
 */
export class TermsLedger {
  readonly #entries = new Map<string, Entry[]>();

  /** A decision is being made. @returns to be called once it was acknowledged */
  decide(owner: string, peer: string, terms: PeerTerms | null, now: number): (now: number) => void {
    const entries = this.#of(owner, peer);
    const replaced = entries.filter(({ until }) => until === Number.POSITIVE_INFINITY);
    entries.push({ from: now, until: Number.POSITIVE_INFINITY, terms: terms ?? NOTHING });
    return (at) => {
      for (const entry of replaced) entry.until = Math.min(entry.until, at);
    };
  }

  /** After a crash: which of the decisions under way holds. */
  settle(owner: string, record: PeerRecord | undefined, peer: string, now: number): void {
    const open = this.#of(owner, peer).filter(({ until }) => until === Number.POSITIVE_INFINITY);
    if (open.length < 2) return;
    const isBarred = record === undefined || record.suspended || record.revokedBy !== null || !record.approved;
    const holds = JSON.stringify(isBarred ? NOTHING : record.ours);
    const kept = open.findLast(({ terms }) => JSON.stringify(terms) === holds);
    if (!kept) throw new Error(`${owner} holds terms about ${peer} that nobody decided: ${holds}`);
    for (const entry of open) if (entry !== kept) entry.until = now;
  }

  /** What was in force at any moment of a time. */
  during(owner: string, peer: string, from: number, to: number): readonly PeerTerms[] {
    const entries = this.#of(owner, peer);
    return entries.filter((entry) => entry.from <= to && entry.until >= from).map(({ terms }) => terms);
  }

  /** What is in force; undefined while that is not certain, and for who decided nothing. */
  current(owner: string, peer: string): PeerTerms | undefined {
    const open = this.#of(owner, peer).filter(({ until }) => until === Number.POSITIVE_INFINITY);
    return open.length === 1 ? open[0]!.terms : undefined;
  }

  /** Whether a peer was approved once and nothing about that was ever changed. */
  isSteady(owner: string, peer: string): boolean {
    const entries = this.#of(owner, peer);
    return entries.length === 1 && entries[0]!.terms !== NOTHING;
  }

  #of(owner: string, peer: string): Entry[] {
    const name = `${owner} ${peer}`;
    const known = this.#entries.get(name);
    if (known) return known;
    const entries: Entry[] = [];
    this.#entries.set(name, entries);
    return entries;
  }
}

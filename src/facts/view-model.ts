import type { ConflictSide } from './conflict.ts';
import type { Hlc } from './hlc.ts';

/** What the current view is computed from, and what it comes to (spec/views.md). */

/** What the view needs to know of one fact statement on K. */
export interface ViewEntry {
  /** Statement digest, hex. */
  readonly id: string;
  readonly hlc: Hlc;
  readonly org: string;
  readonly confidence: number;
  /** valueDigest() of the claim. */
  readonly value: string;
  /** factDigest() of the claim, hex. */
  readonly claim: string;
  /** Instant (Unix ms) from which the statement is expired; null: never. Includes a stigmem:ttl of its own org. */
  readonly until: number | null;
  /** Statement digest (hex) of the own org's statement that supersedes this one, or null. */
  readonly supersededBy: string | null;
  /** Whether the relation is declared multi-valued for this statement's authority. */
  readonly many: boolean;
}

/** What the view needs to know of one trusted resolution on K. */
export interface ViewResolution {
  readonly id: string;
  readonly hlc: Hlc;
  readonly sides: readonly string[];
  readonly winner: string | null;
}

/**
 * - `current`: live and shown by default. - `losing`: live, but another value is preferred or won.
 * - `retraction`: a confidence-0 statement that retracted its own org's facts (or nothing). - `dispute`: one that denies
 *   another org's live fact. - `retracted`, `superseded`, `expired`: no longer live, for the reason named.
 */
export type ViewState = 'current' | 'losing' | 'retraction' | 'dispute' | 'retracted' | 'superseded' | 'expired';

/**
 * What keeps a statement out of the view altogether, as this node judges whoever signed it. - `quarantined`: nobody here
 * trusts its organisation (yet). - `revoked`: its key had been revoked when it was signed.
 */
export type BarredState = 'quarantined' | 'revoked';

export type EntryState = ViewState | BarredState;

export interface EntryView {
  readonly state: ViewState;
  /** Another live value or denial stands against this one, unresolved; never true of what was overruled. */
  readonly contradicted: boolean;
  /** The other side won a resolution against this one. */
  readonly overruled: boolean;
}

export interface ConflictView {
  readonly id: string;
  /** The two standing statements, newer first. */
  readonly a: ConflictSide;
  readonly b: ConflictSide;
  /** Statement digest (hex) of the effective resolution, null while unresolved. */
  readonly resolvedBy: string | null;
  /**
   * Every trusted resolution that covers this pair, newest first, also those that no longer bind, and the effective one
   * where it overruled one of the two in favour of a third. More than one with another outcome is itself a dispute.
   */
  readonly resolutions: readonly string[];
}

export interface KeyView {
  readonly entries: ReadonlyMap<string, EntryView>;
  /** Conflict records between at most MAX_CONFLICT_SIDES of the sides that stand against another. */
  readonly conflicts: readonly ConflictView[];
  /** Live values and denials standing on this key. */
  readonly sides: number;
  /**
   * Statement digests (hex) of the preferred facts: one, or several where the relation is many-valued, a resolution
   * said that both are valid, or all else is equal.
   */
  readonly preferred: readonly string[];
  /** Earliest future instant (Unix ms) at which a standing statement expires, null when none does. */
  readonly changesAt: number | null;
}

/** Orders statements by clock, then digest: total, and the same on every node. */
export function compareEntries(a: { hlc: Hlc; id: string }, b: { hlc: Hlc; id: string }): number {
  return a.hlc < b.hlc ? -1 : a.hlc > b.hlc ? 1 : a.id < b.id ? -1 : a.id > b.id ? 1 : 0;
}

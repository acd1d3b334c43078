import type { FactScope } from '../facts/index.ts';
import { PROTOCOL_NAMESPACE, type StatementSet } from './sets.ts';

/** What one side of a pairing declares: what it gives, what it takes, of which relation namespaces (null: all). */
export interface PeerTerms {
  readonly gives: readonly FactScope[];
  readonly takes: readonly FactScope[];
  readonly namespaces: readonly string[] | null;
}

/** Two daemons that declared themselves to each other, seen from one of them. */
export interface Pairing {
  /** Authority of the own organisation. */
  readonly org: string;
  /** Authority of the peer's organisation; equal for daemons of one organisation. */
  readonly peerOrg: string;
  /** Ours to them, theirs to us. Daemons of one organisation need none: they share all but `local`. */
  readonly ours: PeerTerms;
  readonly theirs: PeerTerms;
}

/**
 * Whether both sides may hold a set, and so reconcile it (mesh.md, "Sets"): a pure function of both declarations, so that
 * both sides come to the same answer. What one organisation states flows if it gives and the other takes; public statements
 * of a third organisation pass only where public flows both ways.
 */
export function isShared(set: StatementSet, { org, peerOrg, ours, theirs }: Pairing): boolean {
  if (org === peerOrg) return set.org === org || set.audience === 'public';
  if (set.audience === 'garden' || set.audience === 'own') return false;
  if (!names(ours, set) || !names(theirs, set)) return false;
  const out = ours.gives.includes(set.audience) && theirs.takes.includes(set.audience);
  const back = theirs.gives.includes(set.audience) && ours.takes.includes(set.audience);
  if (set.org === org) return out;
  if (set.org === peerOrg) return back;
  return set.audience === 'public' && out && back;
}

/** Public protocol statements are always named: among them are the manifests, without which nothing can be believed. */
function names({ namespaces }: PeerTerms, { audience, namespace }: StatementSet): boolean {
  if (namespaces === null || namespaces.includes(namespace)) return true;
  return namespace === PROTOCOL_NAMESPACE && audience === 'public';
}

import type { PeerRecord } from '../node/federation.ts';
import type { Pairing, PeerTerms } from '../policy/sharing.ts';

/** Whether two terms allow the same, in whatever order they say it. */
export function sameTerms(a: PeerTerms, b: PeerTerms): boolean {
  return sameSet(a.gives, b.gives) && sameSet(a.takes, b.takes) && sameNamespaces(a.namespaces, b.namespaces);
}

export function samePairing(a: Pairing, b: Pairing): boolean {
  return a.org === b.org && a.peerOrg === b.peerOrg && sameTerms(a.ours, b.ours) && sameTerms(a.theirs, b.theirs);
}

/** Whether terms are others than a moment before, or no terms any more. */
export function haveChanged(before: Pairing | undefined, now: Pairing | undefined): boolean {
  return before !== now && (before === undefined || now === undefined || !samePairing(before, now));
}

/** What both terms allow: in force while one side knows of a change and the other does not yet. */
export function narrowed(a: PeerTerms, b: PeerTerms): PeerTerms {
  return {
    gives: a.gives.filter((scope) => b.gives.includes(scope)),
    takes: a.takes.filter((scope) => b.takes.includes(scope)),
    namespaces:
      a.namespaces === null || b.namespaces === null
        ? (a.namespaces ?? b.namespaces)
        : a.namespaces.filter((name) => b.namespaces!.includes(name)),
  };
}

/** Whether our operator's decisions about a peer are the same. */
export function sameDecision(a: PeerRecord, b: PeerRecord): boolean {
  const isSame = a.approved === b.approved && a.expiresAt === b.expiresAt && isBarred(a) === isBarred(b);
  return isSame && sameTerms(a.ours, b.ours);
}

function isBarred({ state }: PeerRecord): boolean {
  return state === 'suspended' || state === 'revoked';
}

/** Whether a peer says the same about what it gives and takes. */
export function sameSaying({ theirs: a }: PeerRecord, { theirs: b }: PeerRecord): boolean {
  return a === null || b === null ? a === b : sameTerms(a, b) && a.expiresAt === b.expiresAt;
}

function sameNamespaces(a: readonly string[] | null, b: readonly string[] | null): boolean {
  return a === null || b === null ? a === b : sameSet(a, b);
}

function sameSet(a: readonly string[], b: readonly string[]): boolean {
  const [one, other] = [new Set(a), new Set(b)];
  return one.size === other.size && [...one].every((item) => other.has(item));
}

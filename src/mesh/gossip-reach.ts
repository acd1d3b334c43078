import type { Pairing, PeerTerms } from '../policy/sharing.ts';

/**
 * Whether gossip may be exchanged with a peer: its one topic carries all public statements both ways, so only where all of
 * them are shared both ways, whatever their namespace (spec/decisions/0051). With other peers, public statements that are
 * shared go by push.
 */
export function isReachedByGossip({ org, peerOrg, ours, theirs }: Pairing): boolean {
  if (org === peerOrg) return true;
  return carriesAllPublic(ours) && carriesAllPublic(theirs);
}

function carriesAllPublic({ gives, takes, namespaces }: PeerTerms): boolean {
  return namespaces === null && gives.includes('public') && takes.includes('public');
}

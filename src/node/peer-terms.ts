import { type FactScope, SCOPES } from '../facts/scope.ts';
import type { Principal } from '../policy/principal.ts';
import type { PeerTerms } from '../policy/sharing.ts';
import { NodeError } from './errors.ts';
import type { PeerRecord } from './federation.ts';
import { MAX_PEER_ADDR, MAX_PEER_ADDRS, MAX_TERM_NAMESPACE, MAX_TERM_NAMESPACES } from './mesh-limits.ts';

/** What daemons of one organisation share: everything but `local`. */
export const SIBLING_TERMS: PeerTerms = {
  gives: ['team', 'company', 'public'],
  takes: ['team', 'company', 'public'],
  namespaces: null,
};

/** A peer of which nothing is known but that it is there. @param at Unix ms */
export function blankRecord(peerId: string, via: PeerRecord['via'], at: number): PeerRecord {
  return {
    peerId,
    org: null,
    orgKey: null,
    addrs: [],
    state: 'pending',
    via,
    ours: { gives: [], takes: [], namespaces: null },
    expiresAt: null,
    approved: false,
    suspended: false,
    revokedBy: null,
    theirs: null,
    createdAt: at,
    changedAt: at,
    lastSeenAt: null,
  };
}

/** Stands for a peer in the audit log. It may nothing here: what it sends is judged by what it declared. */
export function peerPrincipal(peerId: string): Principal {
  return { keyId: null, entity: `peer:${peerId}`, permissions: new Set(), scopes: new Set() };
}

/** @throws NodeError `permission_denied` */
export function requireFederate(who: Principal): void {
  if (who.permissions.has('federate') || who.permissions.has('admin')) return;
  throw new NodeError(
    'permission_denied',
    'federate permission required',
    "use a key with permission 'federate' or 'admin'",
  );
}

/** Terms in their one spelling. @throws NodeError `invalid_terms` */
export function normalTerms({ gives, takes, namespaces }: PeerTerms): PeerTerms {
  return { gives: normalScopes(gives), takes: normalScopes(takes), namespaces: normalNamespaces(namespaces) };
}

/** In the order of SCOPES. `local` is shared with nobody, so naming it is a mistake that should be heard of. */
function normalScopes(scopes: readonly FactScope[]): FactScope[] {
  for (const scope of scopes) {
    if (scope === 'local' || !SCOPES.includes(scope)) {
      const what = String(scope).slice(0, 20);
      throw new NodeError('invalid_terms', `${what} cannot be shared`, 'name team, company or public');
    }
  }
  return SCOPES.filter((scope) => scopes.includes(scope));
}

function normalNamespaces(namespaces: readonly string[] | null): string[] | null {
  if (namespaces === null) return null;
  if (namespaces.length > MAX_TERM_NAMESPACES) {
    const hint = 'name fewer, or leave namespaces out for all';
    throw new NodeError('invalid_terms', `more than ${MAX_TERM_NAMESPACES} relation namespaces`, hint);
  }
  for (const name of namespaces) {
    if (name.length > MAX_TERM_NAMESPACE || name.includes(':')) {
      const hint = 'a relation namespace is what stands before the colon: memory for memory:role';
      throw new NodeError('invalid_terms', `${name.slice(0, 40)} is no relation namespace`, hint);
    }
  }
  return [...new Set(namespaces)].sort();
}

/** Addresses each once, in the order given. Whether they can be dialled is for the mesh to say. @throws NodeError `invalid_address` */
export function normalAddrs(addrs: readonly string[]): string[] {
  if (addrs.length > MAX_PEER_ADDRS) {
    throw new NodeError('invalid_address', `more than ${MAX_PEER_ADDRS} addresses`, 'name the ones that are reachable');
  }
  for (const addr of addrs) {
    if (addr.length > MAX_PEER_ADDR || !/^\/[\x21-\x7e]+$/.test(addr)) {
      throw new NodeError('invalid_address', 'not a multiaddr', 'for example /ip4/192.0.2.1/tcp/4701');
    }
  }
  return [...new Set(addrs)];
}

/** What the audit log says of a peer. */
export function peerDetail({ peerId, org, ours, expiresAt, state, via }: PeerRecord) {
  return {
    peer_id: peerId,
    org,
    state,
    via,
    gives: ours.gives,
    takes: ours.takes,
    namespaces: ours.namespaces,
    expires_at: expiresAt,
  };
}

export function sameJson(a: unknown, b: unknown): boolean {
  return JSON.stringify(a) === JSON.stringify(b);
}

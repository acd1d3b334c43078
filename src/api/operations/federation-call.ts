import { createHash } from 'node:crypto';
import { parseInstant } from '../../facts/index.ts';
import { fingerprint, parseFingerprint } from '../../identity/fingerprint.ts';
import { isPeerId, publicKeyFromPeerId } from '../../identity/node-key.ts';
import { NodeError } from '../../node/errors.ts';
import type { FederationService, PeerView } from '../../node/federation.ts';
import type { ErrorCode } from '../errors.ts';
import { keyFingerprint } from '../wire-federation.ts';
import type { Access, ApiContext } from './operation.ts';

/** What the operations of the mesh share. */

/** Who may look at the mesh, pair and unpair. */
export const FEDERATORS: Access = ['federate', 'admin'];

/** What every call that changes terms can be refused for. */
export const TERMS_ERRORS = [
  'invalid_terms',
  'invalid_timestamp',
  'mesh_disabled',
  'scope_denied',
] as const satisfies ErrorCode[];

/** What a peer can answer, or fail to, when it is dialled; its declaration and manifest are checked then. */
export const DIAL_ERRORS = [
  'peer_refused',
  'peer_unreachable',
  'peer_timeout',
  'peer_is_self',
  'private_address',
  'invalid_address',
  'declaration_too_large',
  'declaration_malformed',
  'declaration_wrong_node',
  'declaration_wrong_audience',
  'declaration_wrong_nonce',
  'declaration_stale',
  'declaration_expired',
  'manifest_too_large',
  'manifest_malformed',
  'manifest_invalid',
  'manifest_expired',
  'manifest_stale',
  'manifest_equivocation',
  'authority_mismatch',
  'rotation_unproven',
  'node_revoked',
  'node_not_listed',
  'bad_signature',
] as const satisfies ErrorCode[];

/** @throws NodeError `mesh_disabled` */
export function meshOf({ components }: Pick<ApiContext, 'components'>): FederationService {
  if (components.federation !== null) return components.federation;
  throw new NodeError(
    'mesh_disabled',
    'the mesh is off',
    'set mesh.enabled = true in the configuration and start the daemon again',
  );
}

/** A peer id from a path. What cannot be one names no peer. @throws NodeError `peer_not_found` */
export function peerName(text: string): string {
  if (isPeerId(text)) return text;
  throw new NodeError(
    'peer_not_found',
    'peer not found',
    'ids of peers look like 12D3KooW…; stigmesh peers lists them',
  );
}

/** Unix ms of an RFC 3339 instant to come; null: never. @throws FactError `invalid_timestamp`, NodeError `invalid_terms` */
export function expiryOf({ components }: Pick<ApiContext, 'components'>, text: string | null): number | null {
  if (text === null) return null;
  const at = parseInstant(text, 'expires_at');
  if (at > components.now()) return at;
  throw new NodeError('invalid_terms', 'expires_at has passed already', 'name an instant to come, or null for never');
}

/** Each once. */
export function distinct<T>(items: readonly T[]): T[] {
  return [...new Set(items)];
}

/**
 * Whether a fingerprint that somebody compared is one of this peer: of its organisation's key, of its own key, or of its
 * own key as Stigmem's clients make it (`sha256:` and the hash of the base64url text of the key).
 */
export function isFingerprintOf(peer: PeerView, given: string): boolean {
  const key = publicKeyFromPeerId(peer.peerId);
  if (given.startsWith('sha256:')) {
    const text = Buffer.from(key).toString('base64url');
    return given === `sha256:${createHash('sha256').update(text).digest('hex')}`;
  }
  let spelled: string;
  try {
    spelled = parseFingerprint(given);
  } catch {
    return false;
  }
  return spelled === keyFingerprint(peer.orgKey) || spelled === fingerprint(key);
}

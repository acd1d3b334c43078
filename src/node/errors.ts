import { StoreError } from '../store/store.ts';

/** What a command or query can refuse. Codes are stable; the API maps each once to HTTP, JSON-RPC and exit codes. */
export type NodeErrorCode =
  | 'permission_denied'
  | 'instruction_write_required'
  | 'scope_denied'
  | 'fact_not_found'
  | 'conflict_not_found'
  | 'conflict_resolved'
  | 'invalid_resolution'
  | 'unknown_supersedes'
  | 'foreign_supersedes'
  | 'reserved_entity'
  | 'idempotency_mismatch'
  | 'batch_too_large'
  | 'attestation_unknown'
  | 'invalid_cursor'
  | 'invalid_query'
  | 'garden_not_found'
  | 'garden_exists'
  | 'garden_forbidden'
  | 'garden_scope_mismatch'
  | 'garden_slug_invalid'
  | 'member_not_found'
  | 'member_exists'
  | 'last_admin'
  | 'key_not_found'
  | 'key_exists'
  | 'key_invalid'
  | 'job_not_found'
  | 'limit_reached'
  | 'unknown_origin'
  | 'busy'
  | 'stopping'
  | AdmissionErrorCode
  | FederationErrorCode;

/** Why the door of the log (admission.ts) refuses a statement that somebody else signed. */
export type AdmissionErrorCode =
  /** Nobody agreed to share this with that peer, or nobody may share it at all. */
  | 'scope_violation'
  /** The organisation's manifest is not known here: fetch it, then come again. */
  | 'unknown_org'
  /** The key had been revoked when it signed this. */
  | 'key_revoked'
  /** Our operator removed the node that signed this; nothing the one who passes it on could know. */
  | 'origin_removed'
  /** Our operator takes nothing of organisations nobody here is paired with (`mesh.unknown_origins`). */
  | 'origin_rejected'
  | 'too_many_namespaces'
  | 'too_many_sets'
  | 'quarantine_full';

/** What calls about the mesh can refuse. Errors of identity and mesh with one of these codes are answered as they are. */
export type FederationErrorCode =
  | 'mesh_disabled'
  | 'peer_not_found'
  | 'peer_exists'
  | 'peer_not_pending'
  | 'peer_revoked'
  | 'peer_is_self'
  | 'peer_refused'
  | 'peer_unreachable'
  | 'peer_timeout'
  | 'invalid_peer_id'
  | 'invalid_address'
  | 'invalid_terms'
  | 'private_address'
  | 'fingerprint_mismatch'
  | 'invite_not_found'
  | 'invite_truncated'
  | 'invite_checksum'
  | 'invite_version'
  | 'invite_malformed'
  | 'invite_expired'
  | 'invite_spent'
  | 'invite_revoked'
  | 'invite_refused'
  | 'sync_failed'
  | 'manifest_not_found'
  | 'manifest_invalid'
  | 'manifest_expired'
  | 'manifest_stale'
  | 'manifest_equivocation'
  | 'rotation_unproven'
  | 'org_key_missing'
  | 'node_not_listed'
  | 'node_listed'
  | 'not_owner';

/** A refusal: nothing was changed. `hint` says what the caller can do about it. */
export class NodeError extends Error {
  override readonly name = 'NodeError';
  readonly code: NodeErrorCode;
  readonly hint: string;

  constructor(code: NodeErrorCode, message: string, hint: string) {
    super(message);
    this.code = code;
    this.hint = hint;
  }
}

/** The code of what kept a group from being written: one of the store's, or `internal_error`. */
export function failureCode(failure: unknown): string {
  return failure instanceof StoreError ? failure.code : 'internal_error';
}

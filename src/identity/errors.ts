export type IdentityErrorCode =
  | 'key_missing'
  | 'key_exists'
  | 'key_permissions'
  | 'key_symlink'
  | 'key_damaged'
  | 'key_not_ed25519'
  | 'key_passphrase_required'
  | 'key_passphrase_wrong'
  | 'key_not_encrypted'
  | 'key_unreadable'
  | 'key_unwritable'
  | 'invalid_public_key'
  | 'invalid_peer_id'
  | 'invalid_fingerprint'
  // An org manifest.
  | 'manifest_too_large'
  | 'manifest_malformed'
  | 'manifest_expired'
  | 'manifest_equivocation'
  | 'authority_mismatch'
  | 'rotation_unproven'
  | 'org_key_mismatch'
  | 'too_many_nodes'
  | 'node_not_listed'
  | 'node_revoked'
  | 'node_not_revoked'
  | 'not_owner'
  // A peer declaration.
  | 'declaration_too_large'
  | 'declaration_malformed'
  | 'declaration_wrong_node'
  | 'declaration_wrong_audience'
  | 'declaration_wrong_nonce'
  | 'declaration_stale'
  | 'declaration_expired'
  // Either of them.
  | 'bad_signature'
  // An invite.
  | 'invite_too_large'
  | 'invite_truncated'
  | 'invite_checksum'
  | 'invite_version'
  | 'invite_malformed'
  | 'invite_expired';

export interface IdentityErrorOptions extends ErrorOptions {
  readonly field?: string | undefined;
}

/**
 * A key, a name of a key, or something signed that cannot be used. Never quotes key material, a passphrase or the secret
 * of an invite.
 */
export class IdentityError extends Error {
  override readonly name = 'IdentityError';
  readonly code: IdentityErrorCode;
  readonly hint: string;
  /** Dotted path of the offending member, where there is one (`nodes[2].namespaces`). */
  readonly field: string | undefined;

  constructor(code: IdentityErrorCode, message: string, hint: string, options?: IdentityErrorOptions) {
    super(message, options);
    this.code = code;
    this.hint = hint;
    this.field = options?.field;
  }
}

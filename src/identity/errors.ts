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
  | 'invalid_public_key'
  | 'invalid_peer_id'
  | 'invalid_fingerprint';

/** A key or a name of a key that cannot be used. Never quotes key material or a passphrase. */
export class IdentityError extends Error {
  override readonly name = 'IdentityError';
  readonly code: IdentityErrorCode;
  readonly hint: string;

  constructor(code: IdentityErrorCode, message: string, hint: string, options?: ErrorOptions) {
    super(message, options);
    this.code = code;
    this.hint = hint;
  }
}

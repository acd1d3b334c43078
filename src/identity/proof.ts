import { createHmac, timingSafeEqual } from 'node:crypto';
import { canonicalBytes, sha256 } from '../facts/index.ts';
import { IdentityError } from './errors.ts';
import { INVITE_SECRET_BYTES } from './limits.ts';

/** What both sides of a joining know of this stream. Both peer ids are proven by the connection. */
export type ProofContext = {
  /** 16 hex digits. */
  readonly inviteId: string;
  /** Nonce of the inviter on this stream, 32 hex digits. */
  readonly challenge: string;
  /** Nonce of the joiner on this stream, 32 hex digits. */
  readonly joinerNonce: string;
  readonly joinerPeerId: string;
  readonly inviterPeerId: string;
};

const SECRET_DOMAIN = 'stigmesh-invite-secret-v1\0';
const JOIN_DOMAIN = 'stigmesh-join-v1\0';
const INVITER_DOMAIN = 'stigmesh-inviter-v1\0';

const HASH = /^[0-9a-f]{64}$/;

/**
 * What the inviter keeps of a secret, and the key of both proofs: SHA-256(domain ‖ secret), 64 hex digits.
 *
 * @throws IdentityError `invite_malformed` unless the secret has 16 bytes
 */
export function hashSecret(secret: Uint8Array): string {
  if (secret.length !== INVITE_SECRET_BYTES) {
    throw malformed('secret', `the secret of an invite has ${INVITE_SECRET_BYTES} bytes, not ${secret.length}`);
  }
  return Buffer.from(sha256(Buffer.concat([Buffer.from(SECRET_DOMAIN), secret]))).toString('hex');
}

/**
 * The joiner's proof that it knows the secret, on this stream and between these two nodes only.
 *
 * @param secretHash of {@link hashSecret}
 * @returns 64 hex digits
 */
export function joinProof(secretHash: string, context: ProofContext): string {
  return proof(JOIN_DOMAIN, secretHash, context);
}

/** The inviter's answer, which proves the same to the joiner. It cannot be made of the joiner's proof. */
export function inviterProof(secretHash: string, context: ProofContext): string {
  return proof(INVITER_DOMAIN, secretHash, context);
}

/** Compares in constant time. @param given as received, whatever it is */
export function verifyProof(expected: string, given: unknown): boolean {
  if (typeof given !== 'string' || !HASH.test(given) || !HASH.test(expected)) return false;
  return timingSafeEqual(Buffer.from(expected, 'hex'), Buffer.from(given, 'hex'));
}

function proof(domain: string, secretHash: string, context: ProofContext): string {
  // Buffer.from would make an empty key of what is no hex.
  if (!HASH.test(secretHash)) throw malformed('secret', 'not the hash of a secret');
  const { inviteId, challenge, joinerNonce, joinerPeerId, inviterPeerId } = context;
  const digest = sha256(canonicalBytes({ inviteId, challenge, joinerNonce, joinerPeerId, inviterPeerId }));
  return createHmac('sha256', Buffer.from(secretHash, 'hex')).update(domain).update(digest).digest('hex');
}

function malformed(field: string, message: string): IdentityError {
  return new IdentityError('invite_malformed', message, 'take both from the invite as it was made', { field });
}

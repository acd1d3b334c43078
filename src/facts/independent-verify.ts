import { verifyAsync } from '@noble/ed25519';
import type { Digest } from './cid.ts';
import { signedMessage } from './signature.ts';

/**
 * Verifies a statement's signature with @noble/ed25519: another implementation than the one that signs and verifies on
 * the hot path, so that neither has to be believed alone. About a millisecond each.
 *
 * @param publicKey 32 bytes, from the origin's peer id
 */
export async function verifyIndependently(digest: Digest, sig: Uint8Array, publicKey: Uint8Array): Promise<boolean> {
  return sig.length === 64 && (await verifyAsync(sig, signedMessage(digest), publicKey));
}

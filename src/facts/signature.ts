import { type KeyObject, sign, verify } from 'node:crypto';
import type { Digest } from './cid.ts';
import { FactError } from './errors.ts';
import type { EncodedStatement, SignedStatement, Statement } from './statement.ts';

/** Domain tag: a statement signature can never be taken for a signature over anything else. */
const DOMAIN = Buffer.from('stigmesh-statement-v1\0');

/** The 54 bytes that are signed: domain tag and statement digest. */
export function signedMessage(digest: Digest): Uint8Array {
  return Buffer.concat([DOMAIN, digest]);
}

/** Signs off the event loop (thread pool form of crypto.sign). */
export function signStatement<S extends Statement>(
  encoded: EncodedStatement<S>,
  key: KeyObject,
): Promise<SignedStatement<S>> {
  return new Promise((resolve, reject) => {
    sign(null, signedMessage(encoded.digest), key, (error, sig) => {
      if (error) reject(error);
      else resolve({ ...encoded, sig });
    });
  });
}

/**
 * Verifies off the event loop.
 *
 * @throws FactError `bad_signature`
 */
export function verifyStatement(digest: Digest, sig: Uint8Array, key: KeyObject): Promise<void> {
  return new Promise((resolve, reject) => {
    verify(null, signedMessage(digest), key, sig, (error, ok) => {
      if (error === null && ok) resolve();
      else reject(badSignature());
    });
  });
}

function badSignature(): FactError {
  return new FactError(
    'bad_signature',
    "the signature is not the origin's signature over these bytes",
    'the statement was damaged or forged; fetch it again from its origin',
    'sig',
  );
}

import { createHash } from 'node:crypto';
import { BASE32_ALPHABET, BITS_PER_CHARACTER, repairBase32 } from './base32.ts';
import { IdentityError } from './errors.ts';
import { FINGERPRINT_BITS, PUBLIC_KEY_BYTES } from './limits.ts';

const GROUP = 5;
const CHARACTERS = FINGERPRINT_BITS / BITS_PER_CHARACTER;

/** Keeps this hash apart from every other use of SHA-256 over a key. */
const DOMAIN = 'stigmesh-fingerprint-v1\0';

/**
 * What people compare to know a key: the first 100 bits of SHA-256(domain ‖ key) as four groups of five characters,
 * for example `K7QX4-M2RDE-9PVTA-3HWNC`.
 *
 * @param raw a raw Ed25519 public key, 32 bytes
 * @throws IdentityError `invalid_public_key`
 */
export function fingerprint(raw: Uint8Array): string {
  if (raw.length !== PUBLIC_KEY_BYTES) {
    const message = `an Ed25519 public key has ${PUBLIC_KEY_BYTES} bytes, not ${raw.length}`;
    throw new IdentityError('invalid_public_key', message, 'pass the raw key, without any encoding around it');
  }
  const digest = createHash('sha256').update(DOMAIN).update(raw).digest('hex');
  const bits = BigInt(`0x${digest}`) >> BigInt(256 - FINGERPRINT_BITS);
  let text = '';
  for (let i = CHARACTERS - 1; i >= 0; i--) {
    text += BASE32_ALPHABET[Number((bits >> BigInt(i * BITS_PER_CHARACTER)) & 31n)];
  }
  return grouped(text);
}

/**
 * The one spelling of a fingerprint somebody typed: any case, any grouping, O for 0, I or L for 1.
 *
 * @throws IdentityError `invalid_fingerprint`
 */
export function parseFingerprint(text: string): string {
  const compact = repairBase32(text.trim().replaceAll(/[\s-]+/g, ''));
  if (compact.length !== CHARACTERS || [...compact].some((character) => !BASE32_ALPHABET.includes(character))) {
    throw new IdentityError(
      'invalid_fingerprint',
      'not a fingerprint',
      'a fingerprint has four groups of five letters and digits, like K7QX4-M2RDE-9PVTA-3HWNC',
    );
  }
  return grouped(compact);
}

function grouped(text: string): string {
  return (text.match(new RegExp(`.{${GROUP}}`, 'g')) as string[]).join('-');
}

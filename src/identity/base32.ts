/**
 * Crockford's base32: digits and upper-case letters without I, L, O and U. RFC 4648's alphabet has O and I, which
 * people confuse with 0 and 1 when they read a text to each other; here the confused form can be repaired.
 */
export const BASE32_ALPHABET = '0123456789ABCDEFGHJKMNPQRSTVWXYZ';
export const BITS_PER_CHARACTER = 5;

/** The alphabet's spelling of what somebody typed: upper case, O for 0, I and L for 1. Nothing beyond ASCII is touched. */
export function repairBase32(text: string): string {
  return text
    .replaceAll(/[a-z]/g, (letter) => letter.toUpperCase())
    .replaceAll('O', '0')
    .replaceAll(/[IL]/g, '1');
}

/** First bits first; the last character is filled up with zeros. */
export function encodeBase32(bytes: Uint8Array): string {
  let text = '';
  let value = 0;
  let bits = 0;
  for (const byte of bytes) {
    value = ((value << 8) | byte) & 0xfff;
    bits += 8;
    while (bits >= BITS_PER_CHARACTER) {
      bits -= BITS_PER_CHARACTER;
      text += BASE32_ALPHABET[(value >> bits) & 31];
    }
  }
  return bits === 0 ? text : text + BASE32_ALPHABET[(value << (BITS_PER_CHARACTER - bits)) & 31];
}

/** What {@link decodeBase32} found. */
export interface DecodedBase32 {
  /** As many as the text holds whole. */
  readonly bytes: Uint8Array;
  /** Whether the text is exactly what {@link encodeBase32} makes of these bytes. */
  readonly exact: boolean;
}

/** @param text of the alphabet alone; undefined if it holds anything else */
export function decodeBase32(text: string): DecodedBase32 | undefined {
  const bytes = new Uint8Array(Math.floor((text.length * BITS_PER_CHARACTER) / 8));
  let value = 0;
  let bits = 0;
  let at = 0;
  for (const character of text) {
    const digit = BASE32_ALPHABET.indexOf(character);
    if (digit === -1) return undefined;
    value = ((value << BITS_PER_CHARACTER) | digit) & 0xfff;
    bits += BITS_PER_CHARACTER;
    if (bits >= 8) {
      bits -= 8;
      bytes[at++] = value >> bits;
    }
  }
  const rest = value & ((1 << bits) - 1);
  return { bytes, exact: bits < BITS_PER_CHARACTER && rest === 0 };
}

/** Length of a raw Ed25519 public key (RFC 8032, 5.1.5). */
export const PUBLIC_KEY_BYTES = 32;

/** An encrypted Ed25519 key in PEM is about 400 bytes; explanatory text may precede it. */
export const MAX_KEY_FILE_BYTES = 16 * 1024;

/** A peer id of an Ed25519 key is 52 characters; longer text is not decoded at all (base58 is quadratic). */
export const MAX_PEER_ID_CHARACTERS = 64;

/** 100 of 256 bits: finding a second key with the same fingerprint takes 2^100 tries, and people still compare it. */
export const FINGERPRINT_BITS = 100;

/** Age after which a temporary key file is a crash's leftover: writing one takes milliseconds. */
export const STALE_TEMPORARY_MS = 10 * 60 * 1000;

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

/** Largest org manifest: 64 nodes and 64 rotations take some 27 KB; every new peer is sent one. */
export const MAX_MANIFEST_BYTES = 32 * 1024;

/** Node keys of one organisation, revoked ones included: each is compared with what is signed. */
export const MAX_MANIFEST_NODES = 64;

/** Namespaces of one node: its organisation's name covers all names below it, so a list is short. */
export const MAX_NODE_NAMESPACES = 16;

/** Rotations a manifest tells of, one signature check each. Older ones are left out: only who saw nothing since notices. */
export const MAX_ROTATIONS = 64;

/** Life of a manifest, after which peers ask for a newer one: a lost organisation does not speak for ever. */
export const MANIFEST_LIFE_MS = 365 * 24 * 60 * 60 * 1000;

/** Largest peer declaration: with a manifest and an invite's proof it fits a frame of 64 KiB. */
export const MAX_DECLARATION_BYTES = 24 * 1024;

/** Addresses in a declaration or an invite: some interfaces, IPv4 and IPv6, and a name. */
export const MAX_ADDRS = 16;

/** Characters of one multiaddr: a name of 180 with port and peer id, and what the length byte of an invite can say. */
export const MAX_ADDR_CHARACTERS = 255;

/** Relation namespaces that a declaration or an invite names: more is better said by naming none, which means all. */
export const MAX_DECLARED_NAMESPACES = 256;

/** Bytes of a nonce: 128 bits never repeat by chance. */
export const NONCE_BYTES = 16;

/** How far the clocks of two machines may differ for a declaration: the nonce already keeps replays out. */
export const DECLARATION_SKEW_MS = 5 * 60 * 1000;

/** Bytes of an invite's secret: 128 bits cannot be guessed, and its hash needs no stretching. */
export const INVITE_SECRET_BYTES = 16;

/** Bytes of an invite's id, which only tells the invites of one node apart. */
export const INVITE_ID_BYTES = 8;

/** Largest invite before base32: a few addresses take 200 bytes, and a message or a QR code must hold it. */
export const MAX_INVITE_BYTES = 2048;

/** Characters that are looked at for an invite: the largest one, wrapped into short lines. */
export const MAX_INVITE_CHARACTERS = 8192;

/** Former org keys read back from disk, newest first: as many as a manifest can tell of. */
export const MAX_FORMER_ORG_KEYS = 64;

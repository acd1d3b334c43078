import { crc32 } from 'node:zlib';
import { formatInstant, isAuthority, LAST_INSTANT } from '../facts/index.ts';
import { decodeBase32, encodeBase32, repairBase32 } from './base32.ts';
import { isAddrText, isNamespace, isSharedScope, SHARED_SCOPES, type SharedScope } from './declaration.ts';
import { IdentityError } from './errors.ts';
import {
  INVITE_ID_BYTES,
  INVITE_SECRET_BYTES,
  MAX_ADDRS,
  MAX_DECLARED_NAMESPACES,
  MAX_INVITE_BYTES,
  MAX_INVITE_CHARACTERS,
  PUBLIC_KEY_BYTES,
} from './limits.ts';
import { isPeerId, peerIdFromPublicKey, publicKeyFromPeerId } from './node-key.ts';
import { byCodeUnit } from './signed-json.ts';

const utf8 = new TextDecoder('utf-8', { fatal: true, ignoreBOM: true });

/** What one string carries from the operator who invites to the one who joins (spec/mesh.md, Invites). */
export interface Invite {
  /** Of the node that invites. */
  readonly peerId: string;
  /** Authority of its organisation. */
  readonly org: string;
  /** Org key, 32 bytes; the joiner pins it. */
  readonly orgKey: Uint8Array;
  /** Multiaddrs of the node, each ending in `/p2p/<peerId>`. */
  readonly addrs: readonly string[];
  /** 16 hex digits. */
  readonly id: string;
  /** 16 random bytes. Keep it away from logs. */
  readonly secret: Uint8Array;
  /** Unix ms. */
  readonly expiresAt: number;
  /** What the inviter gives and takes. */
  readonly gives: readonly SharedScope[];
  readonly takes: readonly SharedScope[];
  /** Relation namespaces; null: all. */
  readonly namespaces: readonly string[] | null;
}

const VERSION = '1';
const SCHEME = 'stigmesh-invite:';
const PREFIX = `${SCHEME}${VERSION}:`;
const LENGTH_BYTES = 2;
const EXPIRY_BYTES = 6;
const CHECKSUM_BYTES = 4;
/** In place of the number of namespaces: all of them. */
const ALL_NAMESPACES = 0xffff;
/** `takes` stands in the upper half of the byte that has `gives` in its lower. */
const TAKES_SHIFT = 4;

/**
 * The invite as one string: `stigmesh-invite:1:` and base32 (Crockford).
 *
 * @throws IdentityError `invite_malformed` with the field, `invite_too_large`
 */
export function encodeInvite(invite: Invite): string {
  check(invite);
  const { peerId, org, orgKey, addrs, id, secret, expiresAt, gives, takes, namespaces } = invite;
  const suffix = `/p2p/${peerId}`;
  const bare = [...new Set(addrs.map((addr) => (addr.endsWith(suffix) ? addr.slice(0, -suffix.length) : addr)))];
  const names = namespaces === null ? null : [...new Set(namespaces)].sort(byCodeUnit);
  const expiry = Buffer.alloc(EXPIRY_BYTES);
  expiry.writeUIntBE(expiresAt, 0, EXPIRY_BYTES);
  const body = Buffer.concat([
    publicKeyFromPeerId(peerId),
    orgKey,
    Buffer.from(id, 'hex'),
    secret,
    expiry,
    Buffer.of(scopeBits(gives) | (scopeBits(takes) << TAKES_SHIFT)),
    text(org),
    Buffer.of(bare.length),
    ...bare.map(text),
    uint16(names === null ? ALL_NAMESPACES : names.length),
    ...(names ?? []).map(text),
  ]);
  const length = LENGTH_BYTES + body.length + CHECKSUM_BYTES;
  if (length > MAX_INVITE_BYTES) {
    const message = `the invite has ${length} bytes, the limit is ${MAX_INVITE_BYTES}`;
    throw new IdentityError('invite_too_large', message, 'offer fewer addresses or namespaces', { field: 'addrs' });
  }
  const covered = Buffer.concat([uint16(length), body]);
  return PREFIX + encodeBase32(Buffer.concat([covered, checksum(covered)]));
}

/**
 * Reads what somebody pasted: white space is ignored, and so are case and confused letters (O for 0, I or L for 1) after
 * the prefix. Nothing is dialled or looked up: every error is found in the text alone.
 *
 * @param now Unix ms; if given, an expired invite is refused
 * @throws IdentityError `invite_malformed`, `invite_version`, `invite_truncated`, `invite_checksum`, `invite_expired`;
 *   `field` names what is wrong
 */
export function decodeInvite(pasted: string, now?: number): Invite {
  if (pasted.length > MAX_INVITE_CHARACTERS) {
    throw malformed('length', `has ${pasted.length} characters, the limit is ${MAX_INVITE_CHARACTERS}`);
  }
  const bytes = checkedBytes(payload(pasted.replaceAll(/\s+/g, '')));
  const invite = readBody(bytes.subarray(LENGTH_BYTES, -CHECKSUM_BYTES));
  if (now !== undefined && invite.expiresAt <= now) {
    const message = `the invite expired at ${formatInstant(invite.expiresAt)}`;
    throw new IdentityError('invite_expired', message, 'ask for a new one', { field: 'expires_at' });
  }
  return invite;
}

/** What stands after the prefix, in the alphabet's spelling. */
function payload(compact: string): string {
  if (PREFIX.startsWith(compact)) throw truncated('nothing but its beginning is there');
  if (!compact.startsWith(SCHEME)) throw notAnInvite('prefix', `the invite does not begin with ${SCHEME}`);
  const colon = compact.indexOf(':', SCHEME.length);
  if (colon === -1 || compact.slice(SCHEME.length, colon) !== VERSION) {
    const hint = 'update stigmesh on the machine that joins, or copy the invite again';
    const message = `the invite is not of version ${VERSION}, the only one known here`;
    throw new IdentityError('invite_version', message, hint, { field: 'version' });
  }
  return repairBase32(compact.slice(colon + 1));
}

function checkedBytes(text: string): Uint8Array {
  const decoded = decodeBase32(text);
  if (decoded === undefined) throw malformed('text', 'holds a character that no invite has');
  const { bytes, exact } = decoded;
  if (bytes.length < LENGTH_BYTES + CHECKSUM_BYTES) throw truncated(`${bytes.length} bytes are there`);
  const length = uint16At(bytes, 0);
  const covered = bytes.subarray(0, -CHECKSUM_BYTES);
  const isWhole = exact && length === bytes.length && checksum(covered).equals(bytes.subarray(-CHECKSUM_BYTES));
  if (isWhole && length <= MAX_INVITE_BYTES) return bytes;
  if (length > bytes.length && length <= MAX_INVITE_BYTES) {
    throw truncated(`${bytes.length} of ${length} bytes are there`);
  }
  const hint = 'a character is wrong, missing or too many: copy it again, or ask for a new one';
  throw new IdentityError('invite_checksum', 'the checksum of the invite is wrong', hint, { field: 'checksum' });
}

/** The checksum is right, so what is wrong here was made wrong. */
function readBody(body: Uint8Array): Invite {
  let at = 0;
  const take = (count: number, field: string): Uint8Array => {
    if (body.length - at < count) throw malformed(field, 'is missing');
    at += count;
    return body.slice(at - count, at);
  };
  const byte = (field: string) => take(1, field)[0]!;
  const string = (field: string): string => {
    const bytes = take(byte(field), field);
    try {
      return utf8.decode(bytes);
    } catch {
      throw malformed(field, 'is not UTF-8');
    }
  };
  const strings = (count: number, field: string): string[] => Array.from({ length: count }, () => string(field));

  const peerId = peerIdFromPublicKey(take(PUBLIC_KEY_BYTES, 'peer_id'));
  const orgKey = take(PUBLIC_KEY_BYTES, 'org_key');
  const id = Buffer.from(take(INVITE_ID_BYTES, 'id')).toString('hex');
  const secret = take(INVITE_SECRET_BYTES, 'secret');
  const expiresAt = Buffer.from(take(EXPIRY_BYTES, 'expires_at')).readUIntBE(0, EXPIRY_BYTES);
  const scopes = byte('scopes');
  const gives = scopesOf(scopes & 0x0f, 'gives');
  const takes = scopesOf(scopes >> TAKES_SHIFT, 'takes');
  const org = string('org');
  const addrCount = byte('addrs');
  if (addrCount > MAX_ADDRS) throw malformed('addrs', `has ${addrCount} entries, the limit is ${MAX_ADDRS}`);
  const addrs = strings(addrCount, 'addrs').map((addr) => `${addr}/p2p/${peerId}`);
  const nameCount = uint16At(take(2, 'namespaces'), 0);
  if (nameCount > MAX_DECLARED_NAMESPACES && nameCount !== ALL_NAMESPACES) {
    throw malformed('namespaces', `has ${nameCount} entries, the limit is ${MAX_DECLARED_NAMESPACES}`);
  }
  const namespaces = nameCount === ALL_NAMESPACES ? null : strings(nameCount, 'namespaces');
  if (at !== body.length) throw malformed('length', 'is longer than what it says');
  const invite = { peerId, org, orgKey, addrs, id, secret, expiresAt, gives, takes, namespaces };
  check(invite);
  return invite;
}

/** What holds for an invite that is made as for one that was received. */
function check({ peerId, org, orgKey, addrs, id, secret, expiresAt, gives, takes, namespaces }: Invite): void {
  if (!isPeerId(peerId)) throw malformed('peer_id', 'is not the peer id of an Ed25519 key');
  if (!isAuthority(org)) throw malformed('org', 'is not an authority name');
  if (orgKey.length !== PUBLIC_KEY_BYTES) throw malformed('org_key', `has not ${PUBLIC_KEY_BYTES} bytes`);
  if (!new RegExp(`^[0-9a-f]{${2 * INVITE_ID_BYTES}}$`).test(id)) {
    throw malformed('id', `is not ${INVITE_ID_BYTES} bytes in lower-case hex`);
  }
  if (secret.length !== INVITE_SECRET_BYTES) throw malformed('secret', `has not ${INVITE_SECRET_BYTES} bytes`);
  if (!Number.isSafeInteger(expiresAt) || expiresAt < 0 || expiresAt > LAST_INSTANT) {
    throw malformed('expires_at', 'is no instant');
  }
  for (const [field, scopes] of Object.entries({ gives, takes })) {
    if (!scopes.every(isSharedScope)) throw malformed(field, 'is not a list of team, company and public');
  }
  if (addrs.length > MAX_ADDRS) throw malformed('addrs', `has ${addrs.length} entries, the limit is ${MAX_ADDRS}`);
  const suffix = `/p2p/${peerId}`;
  for (const addr of addrs) {
    const bare = addr.endsWith(suffix) ? addr.slice(0, -suffix.length) : addr;
    if (!isAddrText(bare) || !isAddrText(bare + suffix)) throw malformed('addrs', 'holds what is not a multiaddr');
    if (/\/p2p\/[^/]*$/.test(bare)) throw malformed('addrs', 'holds an address of another peer');
  }
  if (namespaces === null) return;
  if (namespaces.length > MAX_DECLARED_NAMESPACES) {
    throw malformed('namespaces', `has ${namespaces.length} entries, the limit is ${MAX_DECLARED_NAMESPACES}`);
  }
  if (!namespaces.every(isNamespace)) throw malformed('namespaces', 'holds what is not a relation namespace');
}

/** One text of an invite: a length byte and UTF-8. */
function text(value: string): Uint8Array {
  const bytes = Buffer.from(value);
  return Buffer.concat([Buffer.of(bytes.length), bytes]);
}

function uint16(value: number): Uint8Array {
  return Buffer.of(value >> 8, value & 0xff);
}

function uint16At(bytes: Uint8Array, at: number): number {
  return (bytes[at]! << 8) | bytes[at + 1]!;
}

function scopeBits(scopes: readonly SharedScope[]): number {
  return scopes.reduce((bits, scope) => bits | (1 << SHARED_SCOPES.indexOf(scope)), 0);
}

function scopesOf(bits: number, field: string): SharedScope[] {
  if (bits >> SHARED_SCOPES.length !== 0) throw malformed(field, 'names a scope this version does not know');
  return SHARED_SCOPES.filter((_, at) => (bits >> at) & 1);
}

/** CRC-32: one wrong character is five neighbouring bits, which it always finds. Covers the prefix, too. */
function checksum(covered: Uint8Array): Buffer {
  const bytes = Buffer.alloc(CHECKSUM_BYTES);
  bytes.writeUInt32BE(crc32(covered, crc32(PREFIX)));
  return bytes;
}

function truncated(what: string): IdentityError {
  const hint = 'copy the whole of it, in one piece from stigmesh-invite: to its end';
  return new IdentityError('invite_truncated', `the invite is incomplete: ${what}`, hint, { field: 'length' });
}

function malformed(field: string, problem: string): IdentityError {
  return notAnInvite(field, `the invite: ${field} ${problem}`);
}

function notAnInvite(field: string, message: string): IdentityError {
  const hint = 'an invite is what `stigmesh invite` prints, from stigmesh-invite:1: to its end';
  return new IdentityError('invite_malformed', message, hint, { field });
}

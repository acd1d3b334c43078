import { createPublicKey, type KeyObject } from 'node:crypto';
import { base58btc } from 'multiformats/bases/base58';
import * as Digest from 'multiformats/hashes/digest';
import { identity } from 'multiformats/hashes/identity';
import { IdentityError } from './errors.ts';
import { MAX_PEER_ID_CHARACTERS, PUBLIC_KEY_BYTES } from './limits.ts';

/** The protobuf `PublicKey { Type = Ed25519 (1), Data = 32 bytes }` up to the key itself (libp2p spec, peer-ids). */
const PROTOBUF_HEADER = Uint8Array.of(0x08, 0x01, 0x12, PUBLIC_KEY_BYTES);

/** The SubjectPublicKeyInfo of an Ed25519 key up to the key itself (RFC 8410, 4). */
const SPKI_HEADER = Buffer.from('302a300506032b6570032100', 'hex');

/**
 * The libp2p peer id of an Ed25519 key, `12D3KooW…`: base58btc of the identity multihash of its protobuf form.
 *
 * @param raw 32 bytes
 * @throws IdentityError `invalid_public_key`
 */
export function peerIdFromPublicKey(raw: Uint8Array): string {
  assertPublicKey(raw);
  const protobuf = new Uint8Array(PROTOBUF_HEADER.length + PUBLIC_KEY_BYTES);
  protobuf.set(PROTOBUF_HEADER);
  protobuf.set(raw, PROTOBUF_HEADER.length);
  return base58btc.baseEncode(Digest.create(identity.code, protobuf).bytes);
}

/**
 * The key inside a peer id. Accepts exactly what {@link peerIdFromPublicKey} produces: no other key types, no CID or
 * multibase spelling, nothing with a second spelling.
 *
 * @returns 32 bytes
 * @throws IdentityError `invalid_peer_id`
 */
export function publicKeyFromPeerId(peerId: string): Uint8Array {
  if (peerId.length > MAX_PEER_ID_CHARACTERS) throw invalidPeerId('is too long');
  let bytes: Uint8Array;
  try {
    bytes = base58btc.baseDecode(peerId);
  } catch (cause) {
    throw invalidPeerId('is not base58', cause);
  }
  const raw = bytes.slice(-PUBLIC_KEY_BYTES);
  if (raw.length !== PUBLIC_KEY_BYTES || peerIdFromPublicKey(raw) !== peerId) {
    throw invalidPeerId('does not hold an Ed25519 key');
  }
  return raw;
}

/** Whether a value is the peer id of an Ed25519 key, in its one spelling. */
export function isPeerId(value: unknown): value is string {
  if (typeof value !== 'string') return false;
  try {
    return publicKeyFromPeerId(value).length === PUBLIC_KEY_BYTES;
  } catch {
    return false;
  }
}

/** The 32 bytes of an Ed25519 key, public or private. @throws IdentityError `key_not_ed25519` */
export function rawPublicKey(key: KeyObject): Uint8Array {
  if (key.asymmetricKeyType !== 'ed25519') {
    throw new IdentityError('key_not_ed25519', 'not an Ed25519 key', 'use a key that stigmesh init made');
  }
  const spki = (key.type === 'private' ? createPublicKey(key) : key).export({ type: 'spki', format: 'der' });
  return new Uint8Array(spki.subarray(SPKI_HEADER.length));
}

/** A key object for `crypto.verify`; keep it: making one costs more than a map lookup. @param raw 32 bytes */
export function publicKeyObject(raw: Uint8Array): KeyObject {
  assertPublicKey(raw);
  return createPublicKey({ key: Buffer.concat([SPKI_HEADER, raw]), format: 'der', type: 'spki' });
}

function assertPublicKey(raw: Uint8Array): void {
  if (raw.length === PUBLIC_KEY_BYTES) return;
  const message = `an Ed25519 public key has ${PUBLIC_KEY_BYTES} bytes, not ${raw.length}`;
  throw new IdentityError('invalid_public_key', message, 'pass the raw key, without any encoding around it');
}

function invalidPeerId(what: string, cause?: unknown): IdentityError {
  const hint = 'a peer id looks like 12D3KooW… and has 52 characters; `stigmesh status` prints it';
  return new IdentityError('invalid_peer_id', `the peer id ${what}`, hint, { cause });
}

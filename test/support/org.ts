import { createPrivateKey, type KeyObject } from 'node:crypto';
import { peerIdFromPublicKey, rawPublicKey } from '../../src/identity/index.ts';

/** The Ed25519 key of a seed that is one byte, thirty-two times (RFC 8410, 7): fast, and the same in every run. */
export function fixedKey(byte: number): KeyObject {
  const der = Buffer.concat([Buffer.from('302e020100300506032b657004220420', 'hex'), Buffer.alloc(32, byte)]);
  return createPrivateKey({ key: der, format: 'der', type: 'pkcs8' });
}

export function fixedPeer(byte: number): string {
  return peerIdFromPublicKey(rawPublicKey(fixedKey(byte)));
}

/** A peer id of a key that nobody holds. */
export function numberedPeer(number: number): string {
  const raw = Buffer.alloc(32, 0xee);
  raw.writeUInt32BE(number, 28);
  return peerIdFromPublicKey(raw);
}

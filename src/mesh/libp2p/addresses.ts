import type { KeyObject } from 'node:crypto';
import { privateKeyFromRaw } from '@libp2p/crypto/keys';
import type { PeerId, PrivateKey } from '@libp2p/interface';
import { peerIdFromString } from '@libp2p/peer-id';
import { type Multiaddr, multiaddr } from '@multiformats/multiaddr';
import { IdentityError, publicKeyFromPeerId } from '../../identity/index.ts';
import { peerIdOf, withoutPeerId } from '../addresses.ts';
import { MeshError } from '../errors.ts';
import { MAX_DIAL_ADDRESSES } from '../limits.ts';

/** The node's Ed25519 key as libp2p wants it: seed and public key, 64 bytes. The peer id comes out the same. */
export function libp2pKey(key: KeyObject): PrivateKey {
  const { d, x } = key.export({ format: 'jwk' });
  return privateKeyFromRaw(Buffer.concat([Buffer.from(d!, 'base64url'), Buffer.from(x!, 'base64url')]));
}

/** @throws MeshError `invalid_address` for anything but the peer id of an Ed25519 key */
export function libp2pPeerId(peerId: string): PeerId {
  try {
    publicKeyFromPeerId(peerId);
  } catch (cause) {
    if (!(cause instanceof IdentityError)) throw cause;
    throw new MeshError('invalid_address', cause.message, cause.hint, { cause });
  }
  return peerIdFromString(peerId);
}

/**
 * Addresses as libp2p dials them, each with the peer id that has to be found there.
 *
 * @returns at most `MAX_DIAL_ADDRESSES`
 * @throws MeshError `invalid_address` for an address that is not of a kind we dial, or that names another peer
 */
export function dialAddresses(peerId: string, addrs: readonly string[]): Multiaddr[] {
  return addrs.slice(0, MAX_DIAL_ADDRESSES).map((text) => {
    const named = peerIdOf(text);
    if (named === undefined) throw invalidAddress(text, 'is not of the form /ip4/192.0.2.1/tcp/4701');
    if (named !== null && named !== peerId) throw invalidAddress(text, 'names another peer');
    return multiaddr(`${withoutPeerId(text)}/p2p/${peerId}`);
  });
}

/** @throws MeshError `invalid_address` */
export function listenAddresses(addrs: readonly string[]): string[] {
  for (const text of addrs) {
    // Any port will do to listen, none to dial.
    if (peerIdOf(text.replace(/\/tcp\/0$/, '/tcp/1')) !== null) throw invalidAddress(text, 'cannot be listened on');
  }
  return [...addrs];
}

/** An address of libp2p without the peer id that may stand behind it. */
export function plainAddress(addr: Multiaddr): string {
  return withoutPeerId(addr.toString());
}

function invalidAddress(text: string, why: string): MeshError {
  const hint = 'use /ip4/…/tcp/…, /ip6/…/tcp/… or /dns4/…/tcp/…, with /p2p/<peer id> behind it or without';
  return new MeshError('invalid_address', `the address ${text.slice(0, 100)} ${why}`, hint);
}

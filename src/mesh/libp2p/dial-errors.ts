import { MeshError } from '../errors.ts';
import { DIAL_TIMEOUT_MS } from '../limits.ts';

/** What went wrong with a dial, in our words; of several addresses, what tells the operator most. */
export function dialError(error: unknown): MeshError {
  const failures = error instanceof AggregateError ? (error.errors as unknown[]) : [error];
  const told = failures.map(toMeshError);
  for (const code of ['wrong_peer', 'peer_denied', 'invalid_address', 'dial_failed', 'timeout'] as const) {
    const found = told.find((one) => one.code === code);
    if (found) return found;
  }
  return told[0] ?? unreachable('no address was dialled', error);
}

export function dialTimeout(): MeshError {
  const hint = 'check the address and the firewalls between; it is tried again';
  return new MeshError('timeout', `the peer did not answer for ${DIAL_TIMEOUT_MS} ms`, hint);
}

export function peerDenied(peerId: string): MeshError {
  return new MeshError('peer_denied', `${peerId} is denied here`, 'it was removed, revoked or banned on this node');
}

export function unreachable(why: string, cause?: unknown): MeshError {
  const hint = 'check that the peer runs and that its addresses are right; it is tried again';
  return new MeshError('dial_failed', `cannot reach the peer: ${why}`, hint, { cause });
}

function toMeshError(error: unknown): MeshError {
  if (error instanceof MeshError) return error;
  const { name, message } = error instanceof Error ? error : new Error(String(error));
  // Noise says so in words only: libp2p wraps its error and drops the class.
  if (/does not match expected remote identity key|UnexpectedPeer/i.test(`${name} ${message}`)) {
    const hint = 'the address belongs to another node now, or somebody is in between; compare fingerprints';
    return new MeshError('wrong_peer', 'another peer answers at this address', hint, { cause: error });
  }
  if (name === 'TimeoutError' || name === 'AbortError') return dialTimeout();
  if (name === 'DialDeniedError') return unreachable('its addresses lead where we do not dial', error);
  if (name === 'NoValidAddressesError') {
    const hint = 'use /ip4/…/tcp/…, /ip6/…/tcp/… or /dns4/…/tcp/…';
    return new MeshError('invalid_address', 'none of the addresses can be dialled', hint, { cause: error });
  }
  // Another port of that machine, or a daemon that has no room: what libp2p says of it is a parser's remark.
  if (name === 'EncryptionFailedError') {
    return unreachable(`what listens at its address ended no handshake of the mesh (${message})`, error);
  }
  return unreachable(message, error);
}

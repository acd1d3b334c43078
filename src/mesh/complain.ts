import { IdentityError } from '../identity/errors.ts';
import { NodeError } from '../node/errors.ts';
import { MeshError } from './errors.ts';
import type { MeshLog } from './types.ts';

/** Tells the log what went wrong with a peer: what it did wrong as a warning, that connections end hardly at all. */
export function complain(log: MeshLog, peerId: string, error: unknown, message: string): void {
  if (error instanceof IdentityError || error instanceof NodeError) {
    const { code, hint } = error;
    log.warn({ event: 'peer_refused', peer_id: peerId, code, hint }, `${message}: ${error.message}`);
    return;
  }
  if (!(error instanceof MeshError)) {
    // Messages of the runtime may quote what they choked on.
    const { name } = error as Error;
    log.warn({ event: 'declare_failed', peer_id: peerId, code: 'internal_error', error: name }, message);
    return;
  }
  const { code, hint } = error;
  const isWrong = code === 'malformed_frame' || code === 'protocol_violation' || code === 'frame_too_large';
  if (isWrong) log.warn({ event: 'declare_failed', peer_id: peerId, code, hint }, `${message}: ${error.message}`);
  else log.debug({ event: 'declare_failed', peer_id: peerId, code }, message);
}

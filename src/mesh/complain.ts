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
  const fields = { event: 'declare_failed', peer_id: peerId };
  if (!(error instanceof MeshError)) {
    // Messages of the runtime may quote what they choked on.
    log.warn({ ...fields, code: 'internal_error', error: (error as Error).name }, `${message}: an internal error`);
    return;
  }
  const { code, hint } = error;
  const isWrong = code === 'malformed_frame' || code === 'protocol_violation' || code === 'frame_too_large';
  if (isWrong) log.warn({ ...fields, code, hint }, `${message}: ${error.message}`);
  else log.debug({ ...fields, code }, message);
}

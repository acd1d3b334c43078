/** What the mesh can fail with. Codes are stable; what was refused by a peer's terms is a code of the node. */
export type MeshErrorCode =
  | 'listen_failed'
  | 'transport_stopped'
  | 'invalid_address'
  | 'dial_failed'
  | 'wrong_peer'
  | 'peer_denied'
  | 'not_connected'
  | 'protocol_unsupported'
  | 'stream_closed'
  | 'frame_too_large'
  | 'malformed_frame'
  | 'protocol_violation'
  | 'unrequested'
  | 'too_many_listeners'
  | 'limit_reached'
  | 'timeout';

/** A connection, stream or message that did not come about. `hint` says what the caller or the operator can do. */
export class MeshError extends Error {
  override readonly name = 'MeshError';
  readonly code: MeshErrorCode;
  readonly hint: string;

  constructor(code: MeshErrorCode, message: string, hint: string, options?: ErrorOptions) {
    super(message, options);
    this.code = code;
    this.hint = hint;
  }
}

/** Whether an error is the mesh's, with this code. */
export function isMeshError(error: unknown, code: MeshErrorCode): error is MeshError {
  return error instanceof MeshError && error.code === code;
}

const PEERS_FAULT: readonly MeshErrorCode[] = [
  'malformed_frame',
  'protocol_violation',
  'unrequested',
  'frame_too_large',
];

/** Whether an honest peer would not have caused this error while we read from it. */
export function isPeersFault(error: unknown): error is MeshError {
  return error instanceof MeshError && PEERS_FAULT.includes(error.code);
}

/** Whether bytes came that are no frame of their protocol: nothing that happens to honest peers, such as breaking off. */
export function isBadFrame(error: unknown): error is MeshError & { code: 'frame_too_large' | 'malformed_frame' } {
  return error instanceof MeshError && (error.code === 'frame_too_large' || error.code === 'malformed_frame');
}

/** A frame above what its protocol allows: sent by us, or announced by the other side's length prefix. */
export function frameTooLarge(bytes: number, max: number): MeshError {
  const hint = 'split it; whoever announces more than the protocol allows is not served';
  return new MeshError('frame_too_large', `a frame of ${bytes} bytes, where ${max} are allowed`, hint);
}

/** Bytes that are no frame of their protocol. Honest peers of this version send none. */
export function malformedFrame(why: string): MeshError {
  return new MeshError('malformed_frame', `not a frame of its protocol: ${why}`, "see the protocol's README");
}

/** A frame that its protocol does not allow here, or not so often. */
export function protocolViolation(why: string): MeshError {
  return new MeshError('protocol_violation', `against its protocol: ${why}`, "see the protocol's README");
}

/** An answer to something that was not asked. */
export function unrequested(what: string): MeshError {
  return new MeshError('unrequested', `not asked for: ${what}`, 'the peer is at fault; ask another one');
}

/** A stream that the other side or the network ended. */
export function streamClosed(why: string, options?: ErrorOptions): MeshError {
  const hint = 'open another stream; the peer may have gone, or may not admit us';
  return new MeshError('stream_closed', `the stream is closed: ${why}`, hint, options);
}

export function streamTimeout(what: string, ms: number): MeshError {
  const hint = 'the peer is slow, frozen or out of reach; its connection is checked, try again later';
  return new MeshError('timeout', `${what} for ${ms} ms`, hint);
}

export function notConnected(peerId: string): MeshError {
  return new MeshError('not_connected', `not connected to ${peerId}`, 'dial the peer first');
}

export function transportStopped(): MeshError {
  return new MeshError('transport_stopped', 'the mesh is not running', 'start it, or wait until it has started');
}

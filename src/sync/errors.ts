/**
 * Why a session did not converge (spec/reconciliation.md, section 9). Codes are stable; `peer_at_fault` says whether an
 * honest peer could have caused it.
 */
export const SYNC_REASONS = {
  frame_too_large: { peerAtFault: true, hint: 'the peer sent a frame above 256 KiB; check its version' },
  frame_malformed: { peerAtFault: true, hint: 'the peer sent bytes that are no frame; check its version' },
  frame_unknown: { peerAtFault: true, hint: 'the peer sent a frame of a type this version does not have' },
  frame_unexpected: { peerAtFault: true, hint: 'the peer sent a frame out of turn; check its version' },
  ranges_disordered: { peerAtFault: true, hint: 'ranges of the peer overlap or are not in descending order' },
  too_many_ranges: { peerAtFault: true, hint: 'the peer sent more ranges in one turn than the protocol allows' },
  too_many_ids: { peerAtFault: true, hint: 'the peer sent more ids than the protocol allows' },
  too_many_sets: { peerAtFault: true, hint: 'the peer named more sets than a session may cover' },
  want_invalid: { peerAtFault: true, hint: 'the peer wants statements that were not offered to it' },
  name_invalid: { peerAtFault: true, hint: 'the peer gave a set name that was not asked for' },
  proof_mismatch: { peerAtFault: true, hint: 'the peer claims equal sets but cannot show it; it may hold others' },
  idle_turn: { peerAtFault: true, hint: 'the peer says there is more to come and sends nothing' },
  withheld: { peerAtFault: true, hint: 'the peer offered statements and did not send them' },
  diverged: {
    peerAtFault: true,
    hint: 'everything was exchanged and the sets still differ; a fingerprint or count is false',
  },
  quota_exceeded: { peerAtFault: true, hint: 'the peer sent more statement bytes than it was told to' },
  budget_rounds: { peerAtFault: false, hint: 'the session took all its turns; a later one continues' },
  budget_frames: { peerAtFault: true, hint: 'the peer sent more frames than a session may have' },
  budget_bytes: { peerAtFault: true, hint: 'the peer sent more bytes than a session may have' },
  budget_work: { peerAtFault: false, hint: 'the session cost more computation than it may; a later one continues' },
  budget_cpu: { peerAtFault: false, hint: 'the session took more CPU time than it may; a later one continues' },
  budget_time: { peerAtFault: false, hint: 'the session took too long; a later one continues' },
  truncated: { peerAtFault: false, hint: 'a limit of the session was reached; the next one continues' },
  changed: { peerAtFault: false, hint: 'sets changed during the session; the next one has little to do' },
  gone: { peerAtFault: false, hint: 'some statements are no longer held by the side that offered them' },
  refused: { peerAtFault: false, hint: 'some statements were received and not accepted; the audit log says why' },
  peer_stopped: { peerAtFault: false, hint: 'the peer ended the session; its code says why' },
  stopped: { peerAtFault: false, hint: 'the session was ended on this side' },
  disconnected: { peerAtFault: false, hint: 'the stream ended before the session; the next one continues' },
} as const satisfies Readonly<Record<string, { readonly peerAtFault: boolean; readonly hint: string }>>;

export type SyncReason = keyof typeof SYNC_REASONS;

/** A violation found while frames are read; never leaves the room: sessions turn it into their result. */
export class SyncViolation extends Error {
  override readonly name = 'SyncViolation';
  readonly reason: SyncReason;

  constructor(reason: SyncReason, message: string) {
    super(message);
    this.reason = reason;
  }
}

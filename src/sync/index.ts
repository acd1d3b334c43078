export { DEFAULT_BUDGET, type SyncBudget, type SyncCounters } from './budget.ts';
export { SYNC_REASONS, type SyncReason } from './errors.ts';
export type { SignedBytes } from './frames.ts';
export { MAX_FRAME_BYTES, MAX_SESSION_SETS } from './limits.ts';
export { ownSessionSurvives } from './precedence.ts';
export {
  type Delivery,
  type SyncAction,
  type SyncResult,
  SyncSession,
  type SyncSessionInit,
} from './session.ts';
export { type IndexItem, SetIndex } from './set-index.ts';

/** Protocol id on libp2p (protocols/sync/README.md). */
export const SYNC_PROTOCOL = '/stigmesh/sync/1.0.0';

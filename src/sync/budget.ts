import {
  MAX_ROUNDS,
  MAX_SESSION_BYTES,
  MAX_SESSION_CPU_MS,
  MAX_SESSION_FRAMES,
  MAX_SESSION_IDS,
  MAX_SESSION_MS,
  MAX_SESSION_STATEMENT_BYTES,
  MAX_SESSION_WORK,
} from './limits.ts';

/** What one session may cost this side. Below the defaults, honest peers may run into it, too. */
export interface SyncBudget {
  /** Turns of this side. */
  readonly rounds: number;
  /** Frames received. */
  readonly frames: number;
  /** Bytes received, and bytes sent, in all. */
  readonly bytes: number;
  /** Bytes of statements with their signatures that this side takes; the peer is told. */
  readonly statementBytesIn: number;
  /** Bytes of statements with their signatures that this side sends. */
  readonly statementBytesOut: number;
  /** Ids received, and ids sent. */
  readonly ids: number;
  /** Work units; see WORK_PER_STEP. */
  readonly work: number;
  /** CPU milliseconds, as the driver measured them. */
  readonly cpuMs: number;
  /** Milliseconds from the first to the last frame. */
  readonly wallMs: number;
}

export const DEFAULT_BUDGET: SyncBudget = {
  rounds: MAX_ROUNDS,
  frames: MAX_SESSION_FRAMES,
  bytes: MAX_SESSION_BYTES,
  statementBytesIn: MAX_SESSION_STATEMENT_BYTES,
  statementBytesOut: MAX_SESSION_STATEMENT_BYTES,
  ids: MAX_SESSION_IDS,
  work: MAX_SESSION_WORK,
  cpuMs: MAX_SESSION_CPU_MS,
  wallMs: MAX_SESSION_MS,
};

/** What a session did so far, for status, metrics, audit and score. */
export interface SyncCounters {
  /** Turns of both sides, the opening ones included; two are a round trip. */
  turns: number;
  framesIn: number;
  framesOut: number;
  /** Without what delimits frames on the stream. */
  bytesIn: number;
  bytesOut: number;
  rangesIn: number;
  rangesOut: number;
  idsIn: number;
  idsOut: number;
  /** Statements asked for by the peer, and by this side. */
  wantsIn: number;
  wantsOut: number;
  statementsIn: number;
  statementsOut: number;
  /** Bytes of statements with their signatures. */
  statementBytesIn: number;
  statementBytesOut: number;
  /** Of the statements received: new here; here already; not accepted. */
  accepted: number;
  known: number;
  refused: number;
  /** Offered by this side, and no longer held when it came to sending. */
  gone: number;
  /** Set tags of the peer that this side does not share. */
  unknownTags: number;
  work: number;
  cpuMs: number;
}

export function newCounters(): SyncCounters {
  return {
    turns: 0,
    framesIn: 0,
    framesOut: 0,
    bytesIn: 0,
    bytesOut: 0,
    rangesIn: 0,
    rangesOut: 0,
    idsIn: 0,
    idsOut: 0,
    wantsIn: 0,
    wantsOut: 0,
    statementsIn: 0,
    statementsOut: 0,
    statementBytesIn: 0,
    statementBytesOut: 0,
    accepted: 0,
    known: 0,
    refused: 0,
    gone: 0,
    unknownTags: 0,
    work: 0,
    cpuMs: 0,
  };
}

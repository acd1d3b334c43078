/** Limits of who is who on the mesh: declare, peering, reconnection, joining, discovery. */

/** IP addresses taken from the answer to one name: a server has a few, a trap has thousands. */
export const MAX_RESOLVED_ADDRESSES = 8;

/** Longest declare frame in bytes: a declaration (24 KiB), a manifest (32 KiB) and what is around them. */
export const MAX_DECLARE_FRAME = 64 * 1024;
/** Declare streams that one peer may have open with us: one a side, and one that follows a change of terms. */
export const MAX_DECLARE_STREAMS = 3;
/** Time for each frame of a declare exchange, ms: the other side signs and writes one record in between. */
export const DECLARE_IDLE_MS = 5_000;

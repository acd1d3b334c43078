/** Limits of who is who on the mesh: declare, peering, reconnection, joining, discovery. */

/** IP addresses taken from the answer to one name: a server has a few, a trap has thousands. */
export const MAX_RESOLVED_ADDRESSES = 8;

/** Longest declare frame in bytes: a declaration (24 KiB), a manifest (32 KiB) and what is around them. */
export const MAX_DECLARE_FRAME = 64 * 1024;
/** Declare streams that one peer may have open with us: one a side, and one that follows a change of terms. */
export const MAX_DECLARE_STREAMS = 3;
/** Time for each frame of a declare exchange, ms: the other side signs and writes one record in between. */
export const DECLARE_IDLE_MS = 10_000;

/** Pauses between attempts to reach a declared peer, ms: from the first, doubling, to the longest; it never gives up. */
export const RECONNECT_FIRST_MS = 3_000;
export const RECONNECT_LONGEST_MS = 10 * 60_000;
/** Dials under way at a time: a thousand dead peers are tried once in ten minutes, and no burst looks like a scan. */
export const MAX_PARALLEL_DIALS = 16;
/** Found addresses of one peer remembered for the next dial, beside those on record. */
export const MAX_FOUND_ADDRESSES = 16;

/** Time from a connection to being active, ms; whoever is declared and does not get there is disconnected and tried again. */
export const ACTIVE_DEADLINE_MS = 15_000;
/** Time that a peer which dialled us gets to declare itself, ms, before we do: both may think that the other one dialled. */
export const DECLARE_WAIT_MS = 2_000;
/** Grace of a stranger that dialled us, ms: to begin to declare itself over a slow link, there and back; who began may finish. */
export const STRANGER_GRACE_MS = 3_000;
/** Grace of a stranger that we were made to dial, ms: what asked for it (a search for peers) takes a few seconds. */
export const OUTBOUND_STRANGER_GRACE_MS = 10_000;
/** Strangers remembered that connected and have said nothing yet; the oldest makes room. */
export const MAX_STRANGERS = 256;
/** Declare streams a minute that the strangers of one host get, and at once: each costs four signature checks and a write. */
export const STRANGER_DECLARES_PER_MINUTE = 60;
export const STRANGER_DECLARES_BURST = 30;
/** The same of all hosts together: one of them alone must not keep everybody else from pairing. */
export const ALL_STRANGERS_DECLARES_PER_MINUTE = 600;
export const ALL_STRANGERS_DECLARES_BURST = 120;
/** Hosts whose strangers are counted; the one longest unused is forgotten first. */
export const MAX_COUNTED_HOSTS = 4_096;
/** Declare streams a minute that one declared peer gets, and at once: terms change by hand, or by a script of one hand. */
export const PEER_DECLARES_PER_MINUTE = 120;
export const PEER_DECLARES_BURST = 60;
/** Peers whose declare streams are counted: all that can be declared. */
export const MAX_COUNTED_DECLARERS = 1_024;
/** Time after a change of terms in which a peer may still act on the old ones in good faith, ms. */
export const SETTLING_MS = 5_000;
/** Exchanges under way when everybody is told of a new manifest at once. */
export const MAX_PARALLEL_DECLARES = 32;
/** Bans remembered; the first that was made goes first. */
export const MAX_BANS = 1_024;
/** Longest time a timer is set to, ms: setTimeout takes 2^31 - 1; what is due later is looked at again then. */
export const LONGEST_TIMER_MS = 24 * 60 * 60_000;

/** Part of a manifest's life after which it is renewed, less up to the jitter: a third is left for whoever is offline. */
export const RENEWAL_SHARE = 2 / 3;
export const RENEWAL_JITTER = 1 / 100;
/** Pause before a renewal that failed is tried again, ms. */
export const RENEWAL_RETRY_MS = 10 * 60_000;

/** Pause between searches for peers that are out of reach, ms: each asks other daemons' tables. */
export const SEARCH_INTERVAL_MS = 5 * 60_000;
/** Organisations looked for in one round: the ones longest not looked for come first. */
export const MAX_SEARCHES = 8;
/** Peers that discovery found, remembered for `stigmesh peers discover`; the oldest makes room. */
export const MAX_REMEMBERED_FINDS = 256;
/** Found peers that are asked who they are when an operator wants to know, and how many of them at a time. */
export const MAX_LOOKS = 32;
export const MAX_PARALLEL_LOOKS = 8;
/** Time for finding and asking, ms; who did not answer by then is listed without an organisation. */
export const DISCOVER_MS = 15_000;

/** Time that joining waits for the first reconciliation, ms; after that it goes on by itself. */
export const FIRST_SYNC_MS = 10_000;
/** Reconciliations under way when an operator asks for all of them. */
export const MAX_PARALLEL_SYNCS = 8;

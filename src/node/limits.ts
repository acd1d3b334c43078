/** Limits of the node: what one group, one page, one queue may hold. docs/operations and spec name them. */

/** Statements that wait for the writer; above it writers are told to come back (503, code `busy`). */
export const MAX_QUEUED_STATEMENTS = 20_000;
/** Statements that share one fsync. Larger groups add latency without adding throughput. */
export const MAX_GROUP_STATEMENTS = 1000;
/** Statements prepared between two turns of the event loop: about 3 ms. */
export const PREPARE_SLICE = 48;

/** Statements on one key from which its view takes a noticeable time (64 take 50 µs, 10 000 take 5 ms). */
export const LARGE_KEY = 64;
/** Statements moved from one part of the indexes to another (15 rows each) between two turns of the event loop. */
export const MOVES_PER_TURN = 200;

/**
 * View entries held decoded in memory, over all keys, about 3 KB each. They spare a busy key its reads; a key written
 * once is not held. One key with more entries than this is held alone.
 */
export const MAX_CACHED_ENTRIES = 8_000;

/** Largest page of facts, conflicts or audit entries (Stigmem's bound). */
export const MAX_PAGE = 500;
/**
 * Bytes of statements after which a page ends: it is short then and has a cursor. 500 of the longest would be 32 MB,
 * read in one turn of the event loop and held until the client takes them; 500 common ones are a quarter of this.
 */
export const MAX_PAGE_BYTES = 2 * 1024 * 1024;
/** Facts read before their size is known. */
export const FIRST_READ = 64;
/** Index entries one page may look at. A page that reaches it is short and carries a cursor. */
export const MAX_SCANNED = 10_000;
/** Statements of one claim whose records are read for `claim.origins`: each may have 128 KiB. */
export const MAX_ORIGIN_SCAN = 128;
/** Statements of one claim that are counted for `claim.statements`; beyond it the count is a lower bound. */
export const MAX_CLAIM_SCAN = 1000;

/** Keys re-evaluated in one turn of the writer when facts expire. */
export const MAX_EXPIRY_SLICE = 256;
/** Keys re-evaluated in one turn when a relation's cardinality changes. */
export const MAX_RECOMPUTE_SLICE = 128;

/** Remembered idempotency keys live this long; the oldest go first. */
export const IDEMPOTENCY_TTL_MS = 24 * 60 * 60 * 1000;
/** Longest idempotency key in characters. */
export const MAX_IDEMPOTENCY_KEY = 255;
/** Expired idempotency keys removed beside one write that adds one. */
export const IDEMPOTENCY_PRUNE = 4;

/** Pages of commit events kept for followers that read in step. */
export const FEED_PAGES = 32;
/** Commits read before their size is known. */
export const FEED_FIRST_READ = 8;
/** Named durable cursors of internal followers. */
export const MAX_CURSORS = 1000;

/** Quarantined records that are counted at start; beyond it the count is a lower bound. */
export const MAX_QUARANTINE_COUNTED = 10_000;

/** Declared multi-valued relations held in memory: of our organisation, and of all others together. */
export const MAX_DECLARED_RELATIONS = 10_000;
/** Of one other organisation: as many as a configuration may declare, so that none takes the room of the rest. */
export const MAX_DECLARED_BY_OTHERS = 1000;

/** Filter of statements that something was said about, bytes: right about 98 in 100 others up to 2 million of them. */
export const NOTED_FILTER_BYTES = 2 * 1024 * 1024;
/** Notes read between two turns of the event loop, when the filter is loaded: about 3 ms. */
export const NOTED_LOAD_SLICE = 1000;

/** Limits of the local API. Each is reached by a test; docs/http.md names those a client can meet. */

/** Request line and headers together (431 above): keys and URIs are short, a cookie jar is not ours. */
export const MAX_HEADER_BYTES = 16 * 1024;
/** Time for the headers of a request to arrive: they fit one packet, more is a slow-header attack. */
export const HEADERS_TIMEOUT_MS = 10_000;
/** How often the server looks for connections that overran a timeout. */
export const CONNECTION_CHECK_MS = 5_000;
/** An idle connection is kept this long for the next request of the same client. */
export const KEEP_ALIVE_MS = 30_000;
/**
 * A connection on which nothing moves for this long is closed: a page of long texts is megabytes, held until it is read.
 * Longer than the pause an import may make and than the time between two heartbeats of an event stream.
 */
export const CONNECTION_IDLE_MS = 90_000;
/** Path parameters hold entity URIs, at most 2 048 bytes and three characters a byte when percent-encoded. */
export const MAX_PATH_PARAM = 3 * 2048;

/**
 * A refused request may still be sending its body. It is read and thrown away for this long before the answer goes out,
 * because a client whose connection is closed while it writes never reads the answer.
 */
export const DISCARD_BODY_MS = 1_000;

/**
 * A daemon that stops answers `stopping` for this long after the last answer it owed, before it closes connections: a
 * client that is told closes its own, one whose connection is closed under its request has to guess whether that was done.
 */
export const STOP_NOTICE_MS = 200;

/** Lines of each kind (refused, failed, secret in a query) that requests may cause: ten a second, a hundred at once. */
export const LOG_LINES_PER_MINUTE = 600;
export const LOG_LINES_BURST = 100;
/** Lines that were left out are counted in one line this long after the first of them. */
export const LOG_SUMMARY_MS = 10_000;

/** Lines of a streamed answer are sent in pieces of about this size. */
export const STREAM_PIECE_BYTES = 64 * 1024;

/** Deepest nesting of a request body: facts need 6 levels, the rest is head room for unknown members. */
export const MAX_BODY_DEPTH = 64;

/**
 * Values (members and items, at any depth) of one request body. Eight megabytes of `{},{},…` would become hundreds as
 * objects, and gigabytes as one validation issue each; 1 000 facts with 40 pieces of evidence each stay below.
 */
export const MAX_BODY_VALUES = 100_000;
/** Members of one object of a request body: the largest of ours has some twenty. */
export const MAX_BODY_MEMBERS = 1000;
/** Items of one list of a request: the largest batch. What is longer is refused before its items are looked at. */
export const MAX_LIST_ITEMS = 1000;
/** Problems named in one answer: a client mends the first ones and asks again. */
export const MAX_VALIDATION_ISSUES = 50;

/** Session ids are opaque names of a conversation; Stigmem refuses longer ones with `session_id_too_long`. */
export const MAX_SESSION_ID = 128;
/** Idempotency keys are UUIDs or digests. */
export const MAX_IDEMPOTENCY_KEY = 255;

/** Refused keys per remote address and minute before the answer becomes 429: a guess of 256 bits never succeeds anyway. */
export const AUTH_FAILURES_PER_MINUTE = 20;
/** Remote addresses whose failures are remembered. */
export const MAX_TRACKED_ADDRESSES = 4096;
/** API keys whose request rate is remembered; keys beyond start with a full allowance again. */
export const MAX_TRACKED_KEYS = 10_000;
/** Requests a key may send at once, as a share of its allowance per minute. */
export const RATE_BURST_SHARE = 1 / 6;

/** Calls in one JSON-RPC batch. */
export const MAX_RPC_BATCH = 50;
/** A JSON-RPC batch whose answers outgrow this is cut off: 50 full pages would be gigabytes. */
export const MAX_RPC_BATCH_ANSWER_BYTES = 16 * 1024 * 1024;

/** Answers are turned into text in pieces of this size, with a turn of the event loop between them (about 2 ms). */
export const STRINGIFY_SLICE_BYTES = 256 * 1024;

/** Peers described between two turns of the event loop, in a list of all there are (about 3 ms). */
export const PEERS_PER_TURN = 256;

/** Pages made at a time: the store reads with four threads, so more would only be held in memory side by side. */
export const MAX_PAGES_AT_ONCE = 16;
/** Answers that wait in sockets, all together, above which no page is begun (503, code `busy`). */
export const MAX_UNREAD_BYTES = 64 * 1024 * 1024;
/** Answers below this fit the buffers of a connection, and are not counted. */
export const LARGE_ANSWER_BYTES = 64 * 1024;
/** A reader that takes nothing of a large answer for this long is cut off. */
export const ANSWER_DRAIN_MS = 10_000;

/** Heartbeat of an event stream: below the idle timeout of every common proxy. */
export const SSE_HEARTBEAT_MS = 15_000;
/** A reader of events that takes nothing off its socket for this long is dropped. */
export const SSE_DRAIN_MS = 10_000;
/** Commits read from the feed at a time: bounds what one stream holds in memory. */
export const SSE_PAGE = 64;
/** Bytes of them after which the page ends: what a slow reader holds, and every reader has a position of its own. */
export const SSE_PAGE_BYTES = 256 * 1024;
/** Commits one stream shows between two turns of the event loop: as many as there may be streams do so in the same turn. */
export const SSE_EVENTS_PER_TURN = 8;
/** Events of the mesh that wait for a slow reader; older ones are left out and counted. They are in no log to resume from. */
export const MAX_WAITING_MESH_EVENTS = 256;
/** What a client should wait before it reconnects. */
export const SSE_RETRY_MS = 2_000;

/** Largest line of an import: a statement of 128 KiB, spelled with needless escapes and white space. */
export const MAX_IMPORT_LINE_BYTES = 512 * 1024;
/** Statements admitted together during an import, so that they share an fsync. */
export const IMPORT_CHUNK = 256;
/** Bytes of statements admitted together: bounds the memory of one import. */
export const IMPORT_CHUNK_BYTES = 4 * 1024 * 1024;
/** Refused lines an import reports; all of them are counted. */
export const MAX_IMPORT_ERRORS = 100;
/** An import whose sender pauses for longer is given up. */
export const IMPORT_IDLE_MS = 60_000;

/**
 * An answer waits for a reconciliation this long, then says that it goes on: a first one may take minutes, and a connection
 * on which nothing moves is closed.
 */
export const SYNC_WAIT_MS = 60_000;

/** Rows of one audit export (Stigmem's bound). */
export const MAX_AUDIT_EXPORT = 50_000;

/** Pages of documentation and the size of each: what the package ships, several times over. */
export const MAX_DOC_PAGES = 64;
export const MAX_DOC_PAGE_BYTES = 512 * 1024;

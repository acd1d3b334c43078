/** Limits of what travels between peers: blocks, push, gossip, fetch, reconciliation. Their protocols' READMEs name them. */

/** Listeners that follow mesh events: every event stream of the API is one, beside a few of the daemon itself. */
export const MAX_EVENT_LISTENERS = 1024;

/** Statements in one block: what the writer takes into one commit. */
export const MAX_BLOCK_STATEMENTS = 1000;
/** Bytes at which a block is sent; one statement more than that fits any frame. */
export const BLOCK_BYTES = 64 * 1024;

/** Statements a second that one peer may send, sustained and at once (mesh.md, "Limits"). */
export const GATE_STATEMENTS_PER_SECOND = 2_000;
export const GATE_BURST_STATEMENTS = 20_000;
/** Bytes a second that one peer may send, sustained and at once: a burst of statements of common size fits. */
export const GATE_BYTES_PER_SECOND = 8 * 1024 * 1024;
export const GATE_BURST_BYTES = 16 * 1024 * 1024;

/** Peers whose reputation and allowance are held: twice the peers that can be declared. */
export const MAX_SCORED_PEERS = 2_048;
/** Origins whose allowance is held: those of unknown organisations are among them. */
export const MAX_SOURCES = 8_192;
/** Kinds of refusal counted for one peer; what comes beyond counts as `other`. */
export const MAX_REFUSAL_CODES = 40;
/** Time in which half of what is held against a peer is forgotten, ms. */
export const SCORE_HALF_LIFE_MS = 10 * 60_000;
/** Score at which a peer is cut off: four forged statements within minutes, or ten outside of its terms. */
export const BAN_SCORE = -100;
/** Length of the first ban, ms; each further one is twice as long, up to the longest. */
export const FIRST_BAN_MS = 10 * 60_000;
export const MAX_BAN_MS = 24 * 60 * 60_000;

/** Digests of statements known to be held, about 100 bytes each: most of what gossip repeats is among them. */
export const MAX_RECENT_DIGESTS = 32_768;
/** Statements under admission whose way in is remembered: more than the writer queues. */
export const MAX_ARRIVALS = 32_768;
/** First pause before a busy writer is tried again, ms; it doubles. */
export const BUSY_RETRY_MS = 20;
/** Time after which a stream gives up on a busy writer, ms: its peer tries again later. */
export const BUSY_PATIENCE_MS = 30_000;
/** Unknown organisations of one block whose manifests are asked for; the rest waits for reconciliation. */
export const MAX_ORGS_ASKED = 8;
/** Time for which a peer that does not have a manifest is not asked again, ms. */
export const MANIFEST_RETRY_MS = 60_000;
/** Such answers remembered. */
export const MAX_UNANSWERED_ORGS = 1_024;

/** Newest commits kept for pushing to peers, over all peers: who is further behind is reconciled. */
export const MAX_OUTBOX_BYTES = 8 * 1024 * 1024;
export const MAX_OUTBOX_STATEMENTS = 16_384;
/** Entries of the outbox one peer looks at between two turns of the event loop. */
export const OUTBOX_STEP = 2_048;
/** Sets of which one peer's push remembers whether they are shared. */
export const MAX_SHARED_CACHE = 4_096;
/** Blocks, and bytes, on their way to one peer and not acknowledged. */
export const PUSH_WINDOW_BLOCKS = 4;
export const PUSH_WINDOW_BYTES = 1024 * 1024;
/** Digests in one frame that says what can be fetched. */
export const MAX_HAVE_DIGESTS = 1_024;
/** Pause before a push stream that failed is opened again, ms: the first, and the longest. */
export const PUSH_REOPEN_MS = 1_000;
export const PUSH_REOPEN_MAX_MS = 60_000;

/** Gossip messages under examination at a time; what comes beyond is left to reconciliation. */
export const MAX_GOSSIP_CHECKS = 256;
/**
 * Of them messages that one peer sent: it may have us wait for a manifest that it never gives. A third of a second of what
 * an honest one sends, for a disk that takes so long to write.
 */
export const MAX_GOSSIP_CHECKS_OF_PEER = 64;
/** Time one message may take to be examined, ms: the topic forgets it after a few seconds. */
export const GOSSIP_CHECK_MS = 2_000;
/** Digests of statements heard by gossip. */
export const MAX_GOSSIP_SEEN = 32_768;
/** Time within which further statements share a message, ms: half of what a commit takes. */
export const GOSSIP_COALESCE_MS = 5;
/** The same at most, where the machine is so busy that timers fire late, ms: larger and rarer messages cost everybody less. */
export const MAX_GOSSIP_COALESCE_MS = 100;
/** Statements a second this node gossips itself, sustained and at once: half of what others take from one peer. */
export const GOSSIP_STATEMENTS_PER_SECOND = 1_000;
export const GOSSIP_BURST_STATEMENTS = 10_000;
/** Longest wait before what came by push is passed on to the topic, ms: who hears it meanwhile keeps still. */
export const RELAY_DELAY_MS = 50;
/** Statements that wait for that; what comes beyond is left to reconciliation. */
export const MAX_RELAYS = 4_096;
export const MAX_RELAY_BYTES = 4 * 1024 * 1024;

/** Statements one fetch asks for. */
export const MAX_FETCH_DIGESTS = 64;
/** Bytes at which a block of an answer is sent. */
export const FETCH_BLOCK_BYTES = 128 * 1024;
/** Beat at which answers to fetches leave, ms: longer than it takes to read what is asked for. */
export const FETCH_ANSWER_GRID_MS = 20;
/** Time in which a fetch has to end, ms: 64 statements of the longest at 300 kB/s. */
export const FETCH_TIMEOUT_MS = 30_000;
/** Digests a peer said it has, waiting to be looked up and fetched, a peer; beyond it reconciliation brings them. */
export const MAX_WANTED = 4_096;
/** Digests being fetched, over all peers. */
export const MAX_ASKED = 16_384;
/** Pause before what a peer offers is fetched, ms: whoever made it may be sending it already. */
export const WANT_DELAY_MS = 25;

/** Age from which a statement counts in heads, ms: what is younger may be on its way by push or gossip. */
export const HEADS_SETTLE_MS = 5_000;
/** Age up to which what reconciliation brought is offered to other peers, ms: heads begin to show it a third of that later. */
export const YOUNG_MS = 15_000;
/** Interval at which each peer is told what is held here, ms. */
export const HEADS_INTERVAL_MS = 15_000;
/** Shortest time between two heads of one peer that are compared, ms. */
export const HEADS_MIN_MS = 1_000;
/** Sets looked at between two turns of the event loop for heads: about 3 ms when all of them just changed. */
export const HEADS_SLICE_SETS = 64;

/** Sets that a peer may be the first to name in one session. */
export const MAX_NAMED_SETS = 1_024;
/** Time a session gets beyond its own deadline to say so, ms. */
export const SYNC_DEADLINE_GRACE_MS = 5_000;
/** Sessions that we opened, and that peers opened, at a time: each may hold a few MiB. */
export const MAX_OWN_SESSIONS = 8;
export const MAX_INBOUND_SESSIONS = 32;
/** Statements refused from one peer in sessions that are not asked for again. */
export const MAX_REFUSED_DIGESTS = 8_192;
/** Time for which they are not, ms: when they may be accepted later, and when not. */
export const REFUSED_RETRY_MS = 5 * 60_000;
export const REFUSED_FINAL_MS = 24 * 60 * 60_000;
/** Pause after a session that failed, ms: the first, and the longest. */
export const SYNC_BACKOFF_MS = 5_000;
export const SYNC_BACKOFF_MAX_MS = 10 * 60_000;
/**
 * Pause after a session that exchanged all but what one side refuses, ms: that may stay so, by the doing of a third party,
 * and what is lost on other ways must not wait for long.
 */
export const SYNC_REFUSED_MS = 30_000;
/** Pause before a session that reached a limit is continued, ms: others get their turn. */
export const SYNC_CONTINUE_MS = 200;
/** Time in which a session of the peer that crossed with ours arrives, or its last one has ended there as well, ms. */
export const CROSSED_OPEN_MS = 2_000;
/** Sessions on demand that found sets changing under them before the demand counts as met. */
export const MAX_CHANGED_SESSIONS = 4;
/** Pause before what gossip had to leave out is reconciled, ms: whatever kept us busy is over by then, mostly. */
export const GOSSIP_GAP_MS = 500;
/** Time within which peers are told of what reconciliation brought, ms. */
export const HEADS_SOON_MS = 1_500;
/** Pause before a difference is reconciled, ms: the other side may have seen it, too. */
export const HEADS_REPLY_MS = 200;
/** Time a peer that saw a difference gets to reconcile before we do, ms. */
export const HEADS_GRACE_MS = 5_000;
/** Time that two sides may go without having compared before they reconcile anyway, ms. */
export const SYNC_FALLBACK_MS = 5 * 60_000;
/** Time in which the peer with the smaller id opens the first session, before the other does, ms. */
export const FIRST_SYNC_GRACE_MS = 3_000;

/** Time between two events about refusals of one kind by one peer, ms. */
export const REFUSAL_EVENT_MS = 5_000;
/** Kinds of refusal (peer and code) told of in such a time. */
export const MAX_REFUSAL_KINDS_TOLD = 256;
/** Time between two audit entries about failed sessions with one peer for one reason, ms. */
export const SYNC_AUDIT_MS = 10 * 60_000;

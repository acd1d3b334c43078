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
/** Kinds of refusal counted for one peer; what comes beyond counts as `other`. */
export const MAX_REFUSAL_CODES = 40;
/** Time in which half of what is held against a peer is forgotten, ms. */
export const SCORE_HALF_LIFE_MS = 10 * 60_000;
/** Score at which a peer is cut off: five forged statements, or ten outside of its terms. */
export const BAN_SCORE = -100;
/** Length of the first ban, ms; each further one is twice as long, up to the longest. */
export const FIRST_BAN_MS = 10 * 60_000;
export const MAX_BAN_MS = 24 * 60 * 60_000;

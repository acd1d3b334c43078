/** Limits of what travels between peers: blocks, push, gossip, fetch, reconciliation. Their protocols' READMEs name them. */

/** Listeners that follow mesh events: every event stream of the API is one, beside a few of the daemon itself. */
export const MAX_EVENT_LISTENERS = 1024;

/** Statements in one block: what the writer takes into one commit. */
export const MAX_BLOCK_STATEMENTS = 1000;
/** Bytes at which a block is sent; one statement more than that fits any frame. */
export const BLOCK_BYTES = 64 * 1024;

/** Limits of the mesh. Bounds of one protocol stand with its `Protocol`; these hold for the network as a whole. */

/** Longest gossip message in bytes: a lost one is cheap to repeat, and a slow peer is not kept busy by one. */
export const MAX_GOSSIP_BYTES = 64 * 1024;
/** Longest frame of any protocol; a `Protocol` may allow less. */
export const MAX_FRAME_BYTES = 256 * 1024;
/** Time in which a dial has to reach a proven connection, ms: slow links take a second, dead addresses for ever. */
export const DIAL_TIMEOUT_MS = 10_000;
/** Time in which a stream has to agree on its protocol, ms. */
export const OPEN_TIMEOUT_MS = 10_000;
/** Addresses of one peer that one dial tries; more cannot be told from a list of victims. */
export const MAX_DIAL_ADDRESSES = 16;
/** Bytes a stream holds before `send` waits for the other side to read. */
export const SEND_BUFFER_BYTES = 256 * 1024;
/** Score of a peer below which nothing it gossips is looked at, and nothing is gossiped to it. */
export const GRAYLIST_SCORE = -100;
/** Peers that one search for an organisation may return: an organisation runs a few daemons, a flood has thousands. */
export const MAX_FOUND_PEERS = 64;

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

/** Bytes of frames a stream holds that nobody has read, before it asks the other side to stop. */
export const UNREAD_BYTES = 256 * 1024;
/** Bytes a peer may send ahead on one stream: 10 MB/s over 100 ms, and what a stream that is not read may hold. */
export const STREAM_WINDOW_BYTES = 1024 * 1024;
/** Streams of one connection, all protocols together: what each protocol allows is less. */
export const MAX_STREAMS = 256;

/** Connections at a time: all peers that can be declared, and some to introduce themselves. */
export const MAX_CONNECTIONS = 1_200;
/** Incoming connections whose handshake is not done, all hosts together. */
export const MAX_HALF_OPEN = 64;
/** The same of one host: one alone cannot take all places. */
export const MAX_HALF_OPEN_PER_HOST = 32;
/** Time for that handshake, ms: six messages on a slow link. */
export const HANDSHAKE_TIMEOUT_MS = 5_000;
/** Connections one host may open in a second: a network behind one address that comes back after an outage. */
export const INBOUND_PER_SECOND = 50;
/** Time between two looks at whether a connected peer still answers, and for its answer, ms. */
export const PING_INTERVAL_MS = 10_000;
export const PING_TIMEOUT_MS = 10_000;
/** Time a connection has to end in order, ms: revoked peers are gone within a second. */
export const DISCONNECT_MS = 500;
/** Time the handlers of streams have to end when the node stops, ms. */
export const STOP_HANDLERS_MS = 2_000;

/** Addresses, and protocols, taken from what a peer says of itself, and the length of each name. */
export const MAX_IDENTIFY_ADDRESSES = 16;
export const MAX_IDENTIFY_PROTOCOLS = 64;
export const MAX_IDENTIFY_TEXT = 128;
/** Longest signed record of a peer's addresses, bytes. */
export const MAX_IDENTIFY_RECORD_BYTES = 2 * 1024;
/** Peers and records of the hash table that are remembered, of each kind, and the length of one. */
export const MAX_STORED_RECORDS = 4_096;
export const MAX_STORED_RECORD_BYTES = 8 * 1024;

/** Bytes of gossip waiting for one peer; above it the peer is cut off from gossip and left to reconciliation. */
export const GOSSIP_OUTBOUND_BYTES = 1024 * 1024;
/** Longest gossip packet taken from a peer: a message and the control messages that travel with it. */
export const MAX_GOSSIP_RPC_BYTES = 256 * 1024;
/** Gossip messages under examination; what comes beyond is left to reconciliation. */
export const MAX_GOSSIP_PENDING = 256;
/** Gossip messages one peer may send in a second, sustained and at once; each is remembered for two minutes (500 bytes). */
export const GOSSIP_MESSAGES_PER_SECOND = 500;
export const GOSSIP_BURST_MESSAGES = 2_500;
/** Entries of control messages one peer may send in a second, sustained and at once: announcements of all of these. */
export const GOSSIP_CONTROLS_PER_SECOND = 5_000;
export const GOSSIP_BURST_CONTROLS = 10_000;
/** Subscriptions of one connection to topics that do not exist: those of later versions are few. */
export const MAX_FOREIGN_TOPICS = 64;
/** Time for which a message is known again, ms. */
export const GOSSIP_SEEN_MS = 60_000;
/** Time between two looks for gossip streams that died, ms; and the longest pause when opening one does not help. */
export const WATCHDOG_MS = 10_000;
export const WATCHDOG_LONGEST_MS = 5 * 60_000;

/** Time one search may take, ms. */
export const FIND_TIMEOUT_MS = 10_000;
/** Organisations whose name this node provides: its own, and a few it hosts. */
export const MAX_PROVIDED = 16;
/** Time until a name that nobody took is offered again, and until one that was taken is, ms. */
export const PROVIDE_RETRY_MS = 10_000;
export const PROVIDE_AGAIN_MS = 15 * 60_000;
/** Time for which a name that was provided is told to others, ms: four times as long as it takes to come again. */
export const PROVIDED_FOR_MS = 60 * 60_000;
/** Found peers remembered, so that each is told of once. */
export const MAX_REMEMBERED_FOUND = 1_024;
/** Bootstrap addresses that are tried. */
export const MAX_BOOTSTRAP = 32;
/** Pause between two attempts to reach one, ms: the first, doubling, and the longest. */
export const BOOTSTRAP_RETRY_MS = 30_000;
export const BOOTSTRAP_LONGEST_MS = 10 * 60_000;

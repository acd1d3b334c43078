/** Limits of what the node keeps of other organisations. docs/limits.md says how each one shows. */

/** Peers our operator decided about (mesh.md, Limits), the removed ones not counted: each may have a connection. */
export const MAX_DECLARED_PEERS = 1000;
/** Peers nobody decided about: whoever knows an address can become one, so the oldest makes room. */
export const MAX_PENDING_PEERS = 256;
/** Removed peers that are remembered: beyond it the one removed longest ago is a stranger again. */
export const MAX_REMOVED_PEERS = 10_000;
/** How stale the stored moment a peer was last seen may be, ms: reconnecting is no reason to write. */
export const SEEN_WRITE_MS = 10 * 60 * 1000;
/** Addresses of one peer: as many as its declaration may name. */
export const MAX_PEER_ADDRS = 16;
/** Characters of one address: as in declarations. */
export const MAX_PEER_ADDR = 255;
/** Relation namespaces one side may name: as in declarations. More is better said by naming none, which means all. */
export const MAX_TERM_NAMESPACES = 256;
/** Characters of one such namespace: those of a relation. */
export const MAX_TERM_NAMESPACE = 256;

/** Invites that can be used: each is a door that stands ajar. */
export const MAX_OPEN_INVITES = 1000;
/** Invites that were used, taken back or ran out, kept for the record; the oldest go first. */
export const MAX_CLOSED_INVITES = 1000;
/** Longest life of an invite, seconds. */
export const MAX_INVITE_LIFE_S = 30 * 24 * 60 * 60;

/** Organisations whose manifest was only seen on the way: 4 KB each, about. The one longest unused is forgotten first. */
export const MAX_SEEN_MANIFESTS = 4096;
/** Node keys an organisation no longer lists but did: what they said while they were listed goes on counting. */
export const MAX_FORMER_NODES = 256;

/** Relation namespaces of one organisation (mesh.md, Sets). */
export const MAX_NAMESPACES = 1024;
/** Sets there may be: as many as one session of reconciliation can cover. */
export const MAX_SETS = 16_384;
/** Of them kept free for our own organisation: what peers make up must not keep us from writing. */
export const MIN_OWN_SETS = 4096;
/** Of them sets of organisations in quarantine: they must not keep anybody else from having one. */
export const MAX_QUARANTINED_SETS = 4096;
/** Statements up to which the indexes are loaded with the start, some 10 ms; those of a larger log wait until it is over. */
export const SETS_LOADED_AT_START = 5000;
/** Sequence rows looked at between two turns of the event loop, when the sets are loaded: about 3 ms. */
export const SET_LOAD_SLICE = 1000;
/** Sets of one organisation searched for a second statement with the same clock reading, beside the statement's own. */
export const MAX_SETS_SEARCHED = 64;
/** Statements with one reading of the clock that are looked at for each that comes: they are read whole, up to 128 KiB. */
export const MAX_SAME_READING = 4;

/** Statements of one organisation in quarantine (mesh.md, Limits). */
export const MAX_QUARANTINED = 10_000;
/** Statements of all organisations in quarantine: whoever is a peer can invent organisations. About 200 MB of disk. */
export const MAX_QUARANTINED_ALL = 200_000;
/** Statements judged again in one turn of the writer when an organisation's standing changes. */
export const REASSESS_SLICE = 128;

/** Time between two audit entries about refusals of one kind by one peer, ms: floods must not fill the audit log. */
export const REFUSAL_AUDIT_MS = 60_000;
/** Kinds of refusal (peer and code) that wait for their entry; beyond it the oldest is written at once. */
export const MAX_REFUSAL_KINDS = 1024;
/** Peers whose refusals are counted for their operator. */
export const MAX_REFUSING_PEERS = 1256;
/** Things noticed about peers that status warns of; the oldest make room. */
export const MAX_PEER_WARNINGS = 32;
/** How long status warns of a thing that was noticed once, ms. */
export const WARNING_MS = 24 * 60 * 60 * 1000;
/** Time before its end from which status warns that the own manifest expires, ms. */
export const MANIFEST_WARNING_MS = 30 * 24 * 60 * 60 * 1000;

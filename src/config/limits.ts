/** A configuration of every key and a thousand relations is about 100 KiB; more is not a configuration. */
export const MAX_CONFIG_BYTES = 1024 * 1024;

/** Relations that may be declared one by one; more belong into `stigmem:cardinality` facts. */
export const MAX_DECLARED_RELATIONS = 1000;

/** Problems reported at once: a screenful. The rest shows after the first ones are corrected. */
export const MAX_REPORTED_ISSUES = 50;

/** Extra names this node may be addressed by; the check runs on every request. */
export const MAX_ALLOWED_HOSTS = 64;

/** Each listening address is a socket; a host rarely has more interfaces than this. */
export const MAX_LISTEN_ADDRESSES = 16;

/** Addresses a daemon tells others; the same number as in a declaration (spec/mesh.md). */
export const MAX_ANNOUNCED_ADDRESSES = 16;

/** One that answers is enough; each is dialled at start. */
export const MAX_BOOTSTRAP_PEERS = 32;

/** Organisations trusted to judge conflicts, named one by one; compared at every conflict that has a resolution. */
export const MAX_TRUSTED_RESOLVERS = 256;

/** Thirty days: an invite is a secret in somebody's mailbox. */
export const MAX_INVITE_HOURS = 720;

/** A passphrase is typed or generated; anything longer is the wrong file. */
export const MAX_PASSPHRASE_BYTES = 4096;

/** Contract of the batch route (spec, API): up to 1 000 facts a request. */
export const MAX_BATCH_FACTS = 1000;

/** The smallest body limit under which one fact with the longest text (64 KiB, worst case escaped) still fits. */
export const MIN_BODY_LIMIT = 512 * 1024;

/** Bodies are held in memory whole, one per connection. */
export const MAX_BODY_LIMIT = 64 * 1024 * 1024;

/** Limits of the records beside the log: gardens, keys, audit reads, lint. */

/** Members of one garden: the whole list is stored and answered as one record. */
export const MAX_GARDEN_MEMBERS = 1000;
/** Longest name of a garden in characters: it is a title. */
export const MAX_GARDEN_NAME = 200;
/** Longest description of a garden or an API key in characters. */
export const MAX_DESCRIPTION = 2000;

/** Shortest secret a caller may bring along (Stigmem's contract). */
export const MIN_RAW_KEY = 32;
/** Longest secret that is looked at: it has to fit a header, and hashing must stay cheap for anybody's guess. */
export const MAX_RAW_KEY = 512;

/** Audit entries one page may look at. A page that reaches it is short and carries a cursor. */
export const MAX_AUDIT_SCANNED = 10_000;
/** Audit entries read between two turns of the event loop: each is parsed, about 2 ms together. */
export const AUDIT_SLICE = 500;
/** Entries answered about one statement, the oldest: a statement has a handful unless somebody writes them on purpose. */
export const MAX_AUDIT_OF_FACT = 1000;

/** Facts in a scope above which lint runs as a job (Stigmem's threshold): a request should not wait for more. */
export const LINT_JOB_THRESHOLD = 100_000;
/** Findings of one check that are kept, and of one run that are answered: about 4 MB of JSON. */
export const MAX_LINT_FINDINGS = 10_000;
/** Fact ids named by one finding. */
export const MAX_LINT_FACT_IDS = 20;
/** Entities one run keeps in memory while it looks for orphans: about 20 MB. */
export const MAX_LINT_ENTITIES = 100_000;
/** Targets whose state one run remembers, so that a popular entity is looked up once. */
export const MAX_LINT_TARGETS = 50_000;
/** Jobs kept, finished or not. */
export const MAX_LINT_JOBS = 100;
/** Findings kept over all finished jobs: the oldest jobs go first. */
export const MAX_KEPT_FINDINGS = 100_000;
/** A finished job is kept this long. */
export const LINT_JOB_TTL_MS = 60 * 60 * 1000;
/** Jobs that run at once: each reads the store without pause. */
export const MAX_RUNNING_LINT_JOBS = 1;

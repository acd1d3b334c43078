/** Limits of the command line. Each is reached by a test. */

/** An answer of the daemon takes milliseconds; half a minute is a daemon in trouble. `--timeout` overrides it. */
export const REQUEST_TIMEOUT_MS = 30_000;
/** A batch or a chunk of an import is up to a thousand signatures and an fsync. */
export const BULK_TIMEOUT_MS = 120_000;
/** Longest time `--timeout` takes, in seconds: a day. */
export const MAX_TIMEOUT_S = 86_400;

/** Largest answer held in memory: 500 facts of 64 KiB, every character escaped, are just below 200 MiB. */
export const MAX_ANSWER_BYTES = 256 * 1024 * 1024;
/** An error answer is a few hundred bytes; what is longer comes from something else. */
export const MAX_PROBLEM_BYTES = 256 * 1024;
/** Key files hold one line. */
export const MAX_KEY_FILE_BYTES = 4096;
/** Longest API key the daemon takes. */
export const MAX_KEY_CHARACTERS = 512;

/** Facts that `--all` collects: they are held in memory until they are printed. */
export const MAX_ALL_FACTS = 100_000;
/** Facts a page of the daemon holds at most. */
export const MAX_PAGE = 500;

/** A string value longer than this becomes a text. */
export const LONG_STRING_BYTES = 1024;
/** Largest value read from a file or stdin; the daemon takes 64 KiB and says so itself. */
export const MAX_VALUE_BYTES = 1024 * 1024;

/** Facts sent in one batch request (the daemon's own bound). */
export const BATCH_FACTS = 1000;
/** Bytes of one batch request: below the daemon's default body limit of 8 MiB. */
export const BATCH_BYTES = 4 * 1024 * 1024;
/** Longest line of a file that is read line by line: a statement of 128 KiB, spelled with needless escapes. */
export const MAX_LINE_BYTES = 512 * 1024;
/** Refused lines listed one by one; the rest is counted. */
export const MAX_LISTED_REFUSALS = 20;

/** Statements sent in one import request, so that progress shows and a timeout means something. */
export const IMPORT_LINES = 2000;
export const IMPORT_BYTES = 4 * 1024 * 1024;

/** Largest event of a stream: a fact with the longest text, every character escaped. */
export const MAX_EVENT_BYTES = 1024 * 1024;
/** Silence on an event stream after which it is taken for dead: three missed heartbeats of 15 s. */
export const WATCH_SILENCE_MS = 45_000;
/** Pauses between attempts to reconnect: doubled from the first to the last. */
export const WATCH_BACKOFF_MS = { first: 500, last: 30_000 } as const;

/** `stop` waits for the drain time of the daemon (10 s by default) and some more. */
export const STOP_TIMEOUT_MS = 20_000;
/** How often `stop` looks whether the process is gone. */
export const STOP_POLL_MS = 50;
/** Beyond its own drain time a stopping daemon gets this long before the process ends all the same. */
export const STOP_GRACE_MS = 5_000;
/** What may still hold the process after the daemon has stopped gets this long. */
export const LINGER_MS = 500;

/** Pauses between looks at a lint job. */
export const LINT_POLL_MS = 250;
/** A lint of everything a node holds takes minutes at most. */
export const LINT_TIMEOUT_MS = 10 * 60_000;

/** A file with an invite: the line, perhaps wrapped, and what somebody wrote around it. */
export const MAX_INVITE_FILE_BYTES = 16 * 1024;
/** A file with a manifest: 32 KiB, indented by somebody's editor. */
export const MAX_MANIFEST_FILE_BYTES = 256 * 1024;
/** Longest answer to a question: an invite of the largest size, pasted in one line. */
export const MAX_ANSWER_LINE = 8192;

/** How often progress is written over itself. */
export const PROGRESS_MS = 200;
/** Width of tables where the terminal does not tell its own. */
export const DEFAULT_COLUMNS = 80;

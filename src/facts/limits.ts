/** Limits of a single fact and its statement. Every one is reached by a test; spec/facts.md lists them. */

/**
 * Largest statement in bytes: a 64 KiB text fits unless nearly every character of it needs an escape, and a frame of
 * 256 KiB holds at least one with its signature.
 */
export const MAX_STATEMENT_BYTES = 128 * 1024;

/** Largest string or text value in UTF-8 bytes (facts.md); above it the HTTP API answers 413. */
export const MAX_TEXT_BYTES = 64 * 1024;

/** Largest entity, source, ref and garden URI in UTF-8 bytes: longer names are documents, not names. */
export const MAX_URI_BYTES = 2048;

/** Largest relation in UTF-8 bytes: it is a predicate, and part of every index key's hash input. */
export const MAX_RELATION_BYTES = 256;

/** Deepest nesting of arrays and objects in a statement: the envelope needs 4, derived_from items 2 more. */
export const MAX_JSON_DEPTH = 16;

/** Most statements one statement may supersede: each costs a lookup and an index move inside one commit. */
export const MAX_SUPERSEDES = 100;

/** Most provenance entries of one fact: enough for a summary of a long conversation. */
export const MAX_DERIVED_FROM = 256;

/** Largest note of a resolution in UTF-8 bytes. */
export const MAX_NOTE_BYTES = 4096;

/**
 * Sides of one key that are paired into conflict records. n values make n(n-1)/2 pairs, so a flood of values on one
 * key would otherwise cost quadratically; the values beyond are counted, stay queryable and stay marked contradicted.
 */
export const MAX_CONFLICT_SIDES = 16;

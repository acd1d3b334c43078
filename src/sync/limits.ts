/**
 * Limits of reconciliation (spec/reconciliation.md). Those of the wire are part of the protocol: an honest peer never
 * exceeds them, so whoever does is cut off. Those of a session are defaults of {@link SyncBudget}.
 */

/** Ranges into which one differing range is split: 1 M items are four levels, 16 M five. */
export const FAN_OUT = 16;

/** A range of at most this many items is answered with its ids instead of further fingerprints. */
export const MAX_LEAF_IDS = 32;

/** Items a part should have after the last split: half a leaf, so that the other side's part is a leaf as well. */
export const LEAF_TARGET = 16;

/** Most ranges with which a set is opened: sixteen equal parts, and parts that double in size from the young end on. */
export const MAX_OPENING_RANGES = 48;

/** Largest frame: the mesh's bound on what is read before it is looked at; one statement always fits. */
export const MAX_FRAME_BYTES = 256 * 1024;

/** Ranges one turn may carry: about 180 kB of fingerprints, and the most whose answers must be kept in mind. */
export const MAX_TURN_RANGES = 8192;

/** Ids one turn may carry, about 600 kB: what was offered is remembered for one turn, so that wants are ordinals. */
export const MAX_TURN_IDS = 16_384;

/** Statement bytes after which a turn ends: long enough to fill a fast link, short enough that both sides are heard. */
export const TURN_STATEMENT_BYTES = 4 * 1024 * 1024;

/** Differing ranges that wait for their turn; beyond it the oldest are left to a later session. */
export const MAX_PENDING_RANGES = 16_384;

/** Ranges whose statements wait to be sent; beyond it they are left to a later session. */
export const MAX_PENDING_SENDS = 16_384;

/** Ids kept beside such ranges because the other side has them already; beyond it a range is left to a later session. */
export const MAX_EXCLUDED_IDS = 65_536;

/** Wanted statements not yet received; beyond it nothing more is wanted in this session. */
export const MAX_OUTSTANDING_WANTS = 65_536;

/** Sets one session covers: all that a node holds (MAX_SETS), or whoever makes many up would end every session. */
export const MAX_SESSION_SETS = 16_384;

/** Sets in one frame of the vector: about 40 kB, which take 3 ms to write or read. */
export const MAX_VECTOR_SETS = 1024;

/** Longest set name in UTF-8 bytes: `garden/`, an authority, a relation namespace and a garden URI at their limits. */
export const MAX_SET_NAME_BYTES = 2600;

/** Longest reason code in a stop frame, in ASCII characters. */
export const MAX_REASON_CHARACTERS = 40;

/** Statements asked of the store at once: a quarter of a frame of common ones. */
export const LOAD_BATCH = 64;

/** Work units (a fingerprint is 4, an id 1) between two turns of the event loop: about 3 ms. */
export const WORK_PER_STEP = 1024;

/** Sets tagged, summed or named between two turns of the event loop: at most 3 ms. */
export const SETS_PER_STEP = 512;

/** Most turns of either side: the largest sets differ within 10, the rest is for statements (160 MiB of turns). */
export const MAX_ROUNDS = 40;

/** Most frames one session receives: 40 turns of full ones, ranges and ids included, and as many again. */
export const MAX_SESSION_FRAMES = 4096;

/** Statement bytes one session takes (told to the peer, who stops there) and sends. */
export const MAX_SESSION_STATEMENT_BYTES = 64 * 1024 * 1024;

/** Bytes one session receives, or sends, in all: the statements, and every turn's ranges and ids. */
export const MAX_SESSION_BYTES = 96 * 1024 * 1024;

/** Ids one session exchanges in either direction: sixteen full turns. */
export const MAX_SESSION_IDS = 262_144;

/** Work units one session may cost: every turn full of ranges that all differ. About ten seconds. */
export const MAX_SESSION_WORK = 4_000_000;

/** CPU time one session may cost, as the driver measures it: a session is background work. */
export const MAX_SESSION_CPU_MS = 10_000;

/** Wall time of one session: 64 MiB at half a megabyte a second. */
export const MAX_SESSION_MS = 120_000;

/** Items in one block of an index: 20 KiB, so that an insert moves 10 KiB and a sum reads 10 KiB on average. */
export const BLOCK_ITEMS = 512;

/** Blocks in one group of an index: with 1 M items there are some thirty groups to add up. */
export const GROUP_BLOCKS = 64;

/** Items of the first block of an index, which doubles: most sets are small. */
export const FIRST_BLOCK_ITEMS = 8;

/** Items loaded into an index between two turns of the event loop: about 3 ms. */
export const LOAD_SLICE = 4096;

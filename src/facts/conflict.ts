import { digestHex } from './cid.ts';
import type { Hlc } from './hlc.ts';

/** One side of a conflict: the statement that stands for a value, or for the denial of one. */
export interface ConflictSide {
  /** Value digest, with a leading `!` for a denial: what resolutions name. */
  readonly key: string;
  /** Statement digest, hex. */
  readonly id: string;
  /** Fact digest of the claim, hex: what the conflict id is made of. */
  readonly claim: string;
  readonly hlc: Hlc;
}

export const CONFLICT_PREFIX = 'stigmem:conflict:';

/**
 * Name of the conflict between two claims: the same on every node, whichever came first. A garden is part of the key
 * but not of the fact CID, so it is hashed along: the same two claims in two gardens are two conflicts.
 */
export function conflictId(claimA: string, claimB: string, garden: string | undefined): string {
  const [first, second] = claimA < claimB ? [claimA, claimB] : [claimB, claimA];
  return CONFLICT_PREFIX + digestHex(`stigmesh-conflict-v1\0${first}\0${second}\0${garden ?? ''}`).slice(0, 32);
}

/** The 16 bytes of a conflict id, or undefined when the text is none. */
export function conflictIdBytes(id: string): Uint8Array | undefined {
  const match = /^stigmem:conflict:([0-9a-f]{32})$/.exec(id);
  return match ? Buffer.from(match[1]!, 'hex') : undefined;
}

import { createHash } from 'node:crypto';
import { setImmediate as nextTurn } from 'node:timers/promises';
import { hlcToBytes } from '../facts/hlc.ts';
import { formatHlc } from '../facts/index.ts';
import type { NodeSet } from '../node/federation.ts';
import type { Pairing } from '../policy/sharing.ts';
import { FIRST_KEY, KEY_WORDS, type Key } from '../sync/key.ts';
import { byName } from '../sync/order.ts';
import type { SetIndex } from '../sync/set-index.ts';
import { HEADS_SETTLE_MS, HEADS_SLICE_SETS } from './data-limits.ts';
import { FINGERPRINT_BYTES, type HeadCounts, type Heads } from './push-frames.ts';

const DOMAIN = 'stigmesh-push-heads-v1\0';

/** The reading below which statements count at this moment: what is younger may still be on its way. 8 bytes. */
export function settledReading(nowMs: number): Uint8Array {
  const bytes = new Uint8Array(8);
  hlcToBytes(formatHlc(Math.max(0, nowMs - HEADS_SETTLE_MS), 0), bytes, 0);
  return bytes;
}

/**
 * What is held of some sets below a reading (protocols/push, "Heads"). Gives others a turn between slices of sets.
 *
 * @param below 8 bytes; any value
 */
export async function headsOf(sets: readonly NodeSet<SetIndex>[], pairing: Pairing, below: Uint8Array): Promise<Heads> {
  const bound = keyBelow(below);
  const hash = createHash('sha256').update(DOMAIN).update(below);
  const counts: [number, number, number] = [0, 0, 0];
  // The node lists them in this order: then it costs one look at each.
  const ordered = [...sets].sort((a, b) => byName(a.index, b.index));
  for (const [at, { set, index }] of ordered.entries()) {
    if (at % HEADS_SLICE_SETS === HEADS_SLICE_SETS - 1) await nextTurn();
    const newest = index.newestKey();
    if (newest === undefined) continue;
    // Of most sets everything is settled, and their fingerprint is known already.
    const isSettled = isReadingBelow(newest, bound);
    const count = isSettled ? index.count : index.rank(bound);
    if (count === 0) continue;
    hash.update(index.head);
    hash.update(isSettled ? index.fingerprint() : index.rangeFingerprint(FIRST_KEY, bound));
    const isOneOrg = pairing.org === pairing.peerOrg;
    counts[isOneOrg ? 2 : set.org === pairing.org ? 0 : set.org === pairing.peerOrg ? 1 : 2] += count;
  }
  return { below, fingerprint: hash.digest().subarray(0, FINGERPRINT_BYTES), counts };
}

export function areEqual(a: Heads, b: Heads): boolean {
  return Buffer.compare(a.fingerprint, b.fingerprint) === 0;
}

/** Statements that one side is behind the other, as far as counts tell: what each lacks of what the other shares. */
export function behind(ours: HeadCounts, theirs: HeadCounts): { readonly out: number; readonly in: number } {
  // What they call their own is what we call theirs.
  const [own, yours, others] = ours;
  const [theirOwn, theirYours, theirOthers] = theirs;
  return {
    out: Math.max(0, own - theirYours) + Math.max(0, others - theirOthers),
    in: Math.max(0, theirOwn - yours) + Math.max(0, theirOthers - others),
  };
}

function keyBelow(below: Uint8Array): Key {
  const key = new Uint32Array(KEY_WORDS);
  const view = new DataView(below.buffer, below.byteOffset, 8);
  key[0] = view.getUint32(0);
  key[1] = view.getUint32(4);
  return key;
}

function isReadingBelow(key: Key, bound: Key): boolean {
  return key[0]! < bound[0]! || (key[0] === bound[0] && key[1]! < bound[1]!);
}

import assert from 'node:assert/strict';
import { createHash } from 'node:crypto';
import { formatHlc, type Hlc } from '../../src/facts/index.ts';
import { type RootRole, rootBody, rootFingerprint, setTag } from '../../src/sync/fingerprint.ts';
import { compareKeys, digestOfKey, hlcOfKey, keyOf, separator } from '../../src/sync/key.ts';
import { type IndexItem, SetIndex } from '../../src/sync/set-index.ts';
import { prefixLength } from '../../src/sync/wire.ts';
import { eachVector } from './facts/vectors.ts';

type Item = [hlc: Hlc, digest: string];

type FingerprintVector =
  | { kind: 'fingerprint'; set: string; items: Item[] | null; fingerprint: string }
  | { kind: 'root'; role: RootRole; nonces: string[]; sets: { set: string; items: Item[] }[]; root: string }
  | { kind: 'tag'; nonces: string[]; set: string; tag: string }
  | { kind: 'separator'; before: Item; item: Item; bound: Item };

const bytes = (hex: string): Buffer => Buffer.from(hex, 'hex');
const hex = (value: Uint8Array): string => Buffer.from(value).toString('hex');

function indexOf(set: string, items: readonly IndexItem[]): SetIndex {
  const index = new SetIndex(set);
  for (const [hlc, digest] of items) assert.equal(index.insert(hlc, digest), true);
  return index;
}

describe('sync: fingerprints', () => {
  eachVector<FingerprintVector>('sync-fingerprint', (vector) => {
    if (vector.kind === 'fingerprint') {
      const items: IndexItem[] =
        vector.items?.map(([hlc, digest]) => [hlc, bytes(digest)]) ??
        Array.from({ length: 1000 }, (_, n) => [
          formatHlc(1_795_244_001_035 + 7 * n, n),
          createHash('sha256').update(String(n)).digest(),
        ]);
      assert.equal(hex(indexOf(vector.set, items).fingerprint()), vector.fingerprint);
      assert.equal(
        hex(indexOf(vector.set, items.toReversed()).fingerprint()),
        vector.fingerprint,
        'order is no matter',
      );
    } else if (vector.kind === 'root') {
      const sets = vector.sets.map(({ set, items }) => {
        return indexOf(
          set,
          items.map(([hlc, digest]) => [hlc, bytes(digest)]),
        );
      });
      sets.sort((a, b) => Buffer.compare(Buffer.from(a.name), Buffer.from(b.name)));
      assert.equal(hex(rootFingerprint(vector.role, vector.nonces.map(bytes), rootBody(sets))), vector.root);
    } else if (vector.kind === 'tag') {
      assert.equal(setTag(vector.nonces.map(bytes), vector.set), vector.tag);
    } else {
      const [before, item] = [vector.before, vector.item].map(([hlc, digest]) => keyOf(hlc, bytes(digest)));
      const bound = separator(before!, item!);
      assert.deepEqual(
        [hlcOfKey(bound), hex(digestOfKey(bound)).slice(0, prefixLength(bound) * 2)],
        vector.bound,
        'the bound as it travels',
      );
      assert.ok(compareKeys(before!, bound) < 0 && compareKeys(bound, item!) <= 0);
    }
  });
});

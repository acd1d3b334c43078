import assert from 'node:assert/strict';
import fc from 'fast-check';
import { formatHlc, sha256 } from '../../src/facts/index.ts';
import { SetIndex } from '../../src/sync/set-index.ts';
import { SharedSets } from '../../src/sync/shared-sets.ts';
import type { Slices } from '../../src/sync/slices.ts';

const NONCES = [new Uint8Array(16).fill(1), new Uint8Array(16).fill(2)];

/** A set with one statement in it: empty ones are not part of the root. */
function indexOf(name: string): SetIndex {
  const index = new SetIndex(name);
  index.insert(formatHlc(1_795_249_733_735, 0), sha256(Buffer.from(name)));
  return index;
}

/** All slices at once. */
function finish<T>(slices: Slices<T>): T {
  for (;;) {
    const step = slices.next();
    if (step.done) return step.value;
  }
}

const names = fc.uniqueArray(fc.string({ unit: 'grapheme', maxLength: 12 }), { maxLength: 40 });

describe('reconciliation: the sets of a session', () => {
  it('are in the order of the bytes of their names, whoever named them and when', () => {
    fc.assert(
      fc.property(names, fc.nat(40), (all, own) => {
        const given = new SharedSets(all.map(indexOf));
        const named = new SharedSets(all.slice(0, own).map(indexOf));
        for (const name of all.slice(own)) named.add(indexOf(name));
        const sorted = [...all].sort((a, b) => Buffer.compare(Buffer.from(a), Buffer.from(b)));
        const body = Buffer.concat(sorted.map(indexOf).flatMap((index) => [index.head, index.fingerprint()]));
        assert.deepEqual(finish(given.body()), body);
        assert.deepEqual(finish(named.body()), body);
      }),
      { seed: 20261121 },
    );
  });

  it('get a tag each once both nonces are known, and keep it', () => {
    const sets = new SharedSets(['public/acme.example/memory', 'public/acme.example/roadmap'].map(indexOf));
    assert.equal(sets.byTag(sets.tagOf('public/acme.example/memory')), undefined);
    finish(sets.begin(NONCES));
    const added = sets.add(indexOf('public/acme.example/notes'));
    assert.equal(sets.size, 3);
    assert.equal(sets.byTag(added.tag), added);
    for (const { index, tag } of sets) assert.equal(tag, sets.tagOf(index.name));
    assert.equal(sets.changes(), 0);
    added.index.insert(formatHlc(1_795_249_733_736, 0), sha256(Buffer.from('more')));
    assert.equal(sets.changes(), 1);
  });
});

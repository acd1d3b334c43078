import assert from 'node:assert/strict';
import { createHash } from 'node:crypto';
import fc from 'fast-check';
import { hlcFromBytes } from '../../../src/facts/hlc.ts';
import { formatHlc } from '../../../src/facts/index.ts';
import { HEADS_SETTLE_MS } from '../../../src/mesh/data-limits.ts';
import { areEqual, behind, headsOf, settledReading } from '../../../src/mesh/heads.ts';
import { parseSetName } from '../../../src/mesh/set-names.ts';
import { SyncLedger } from '../../../src/mesh/sync-ledger.ts';
import type { NodeSet } from '../../../src/node/federation.ts';
import { namedSet, SET_AUDIENCES, type StatementSet } from '../../../src/policy/sets.ts';
import { newCounters } from '../../../src/sync/budget.ts';
import { SetIndex } from '../../../src/sync/set-index.ts';
import { pairing } from '../../support/mesh-parts.ts';
import { TestWorld } from '../../support/test-world.ts';

const NOW = Date.UTC(2026, 10, 21, 12);
const ORGS = ['acme.example', 'bolt.example', 'core.example'];

/** Statement number `n` of a set: made so many ms ago. */
interface Item {
  readonly set: number;
  readonly n: number;
  readonly age: number;
}

const SETS: readonly StatementSet[] = ORGS.flatMap((org) => [
  namedSet('public', org, 'memory'),
  namedSet('company', org, 'road/map'),
]);

function setsOf(items: readonly Item[]): NodeSet<SetIndex>[] {
  const indexes = SETS.map((set) => new SetIndex(set.name));
  for (const { set, n, age } of items) {
    indexes[set]!.insert(formatHlc(NOW - age, 0), createHash('sha256').update(`${set} ${n} ${age}`).digest());
  }
  return SETS.map((set, at) => ({ set, index: indexes[at]! }));
}

const items = fc.uniqueArray(
  fc.record({ set: fc.nat(SETS.length - 1), n: fc.nat(50), age: fc.constantFrom(0, 1000, 4999, 5000, 5001, 60_000) }),
  { selector: ({ set, n, age }) => `${set} ${n} ${age}`, maxLength: 60 },
);

const below = settledReading(NOW);
const settled = ({ age }: Item): boolean => age > HEADS_SETTLE_MS;

describe('mesh: heads', () => {
  it('are equal exactly where the same is settled, whatever is on its way and in whatever order it came', async () => {
    await fc.assert(
      fc.asyncProperty(items, items, async (a, b) => {
        const [ours, theirs] = [await headsOf(setsOf(a), pairing(), below), await headsOf(setsOf(b), pairing(), below)];
        const names = (list: readonly Item[]): string =>
          list
            .filter(settled)
            .map(({ set, n, age }) => `${set} ${n} ${age}`)
            .sort()
            .join();
        assert.equal(areEqual(ours, theirs), names(a) === names(b));
        const again = await headsOf(setsOf(a.toReversed()).toReversed(), pairing(), below);
        assert.deepEqual(again, ours);
      }),
      { numRuns: 100 },
    );
  });

  it('count the settled statements of each side and of others', async () => {
    await fc.assert(
      fc.asyncProperty(items, async (list) => {
        const { counts } = await headsOf(setsOf(list), pairing(), below);
        const of = (org: string): number => list.filter((item) => settled(item) && SETS[item.set]!.org === org).length;
        assert.deepEqual(counts, ORGS.map(of));
        const siblings = await headsOf(setsOf(list), pairing({ peerOrg: 'acme.example' }), below);
        assert.deepEqual(siblings.counts, [0, 0, list.filter(settled).length]);
      }),
      { numRuns: 50 },
    );
  });

  it('say who is how far behind, from both sides the same', () => {
    // We hold 10 of ours and 3 of theirs; they hold 7 of ours and 5 of theirs.
    assert.deepEqual(behind([10, 3, 2], [5, 7, 2]), { out: 3, in: 2 });
    assert.deepEqual(behind([5, 7, 2], [10, 3, 2]), { out: 2, in: 3 });
    assert.deepEqual(behind([0, 0, 8], [0, 0, 8]), { out: 0, in: 0 });
    assert.deepEqual(behind([0, 0, 8], [0, 0, 9]), { out: 0, in: 1 });
  });

  it('are of what is older than a few seconds', () => {
    assert.equal(hlcFromBytes(below, 0), formatHlc(NOW - HEADS_SETTLE_MS, 0));
    assert.equal(hlcFromBytes(settledReading(0), 0), formatHlc(0, 0));
  });

  it('of any bound that a peer makes up can be told', async () => {
    const sets = setsOf([{ set: 0, n: 1, age: 60_000 }]);
    for (const bound of [new Uint8Array(8), new Uint8Array(8).fill(0xff)]) {
      const { counts } = await headsOf(sets, pairing(), bound);
      assert.deepEqual(counts, [bound[0] === 0 ? 0 : 1, 0, 0]);
    }
  });
});

describe('mesh: names of sets', () => {
  it('lead back to their sets', () => {
    const namespace = fc.string({ maxLength: 12 }).map((text) => text.replaceAll(':', ''));
    const garden = fc.constantFrom('stigmem://acme.example/garden/a', 'garden:roses', 'x:a/b:c');
    fc.assert(
      fc.property(fc.constantFrom(...SET_AUDIENCES), namespace, garden, (audience, ns, uri) => {
        const set = namedSet(audience, 'acme.example', ns, audience === 'garden' ? uri : undefined);
        assert.deepEqual(parseSetName(set.name), set);
      }),
    );
  });

  it('that no set has lead nowhere', () => {
    for (const name of ['', 'public', 'public/acme.example', 'local/acme.example/memory', 'public/ACME/memory']) {
      assert.equal(parseSetName(name), undefined, name);
    }
    assert.equal(parseSetName('public/acme.example/a:b'), undefined);
    assert.equal(parseSetName('garden/acme.example/memory'), undefined);
    assert.equal(parseSetName('garden/acme.example/memory/no colon'), undefined);
  });
});

describe('mesh: lag', () => {
  it('is unknown, then so many statements and seconds, then none', async () => {
    const world = new TestWorld(NOW);
    const ledger = new SyncLedger(world, 2);
    assert.deepEqual(ledger.lag('a'), { outStatements: null, inStatements: null, outSeconds: null, inSeconds: null });
    ledger.equal('a');
    assert.deepEqual(ledger.lag('a'), { outStatements: 0, inStatements: 0, outSeconds: 0, inSeconds: 0 });
    await world.advance(10_000);
    ledger.differs('a', [10, 3, 2], [5, 7, 2]);
    assert.deepEqual(ledger.lag('a'), { outStatements: 3, inStatements: 2, outSeconds: 10, inSeconds: 10 });
    await world.advance(5000);
    ledger.differs('a', [10, 5, 2], [5, 9, 2]);
    assert.deepEqual(ledger.lag('a'), { outStatements: 1, inStatements: 0, outSeconds: 15, inSeconds: 0 });
    ledger.equal('a');
    assert.deepEqual(ledger.lag('a'), { outStatements: 0, inStatements: 0, outSeconds: 0, inSeconds: 0 });
  });

  it('beside what all sessions brought since the peer became active', () => {
    const ledger = new SyncLedger(new TestWorld(NOW), 2);
    const finished = (accepted: number): void => {
      const counters = { ...newCounters(), accepted };
      ledger.finished('a', { outcome: 'converged', peerAtFault: false, counters, notShared: [], peerHeads: [] }, 1);
    };
    assert.equal(ledger.received('a'), 0);
    finished(7);
    ledger.begun('a');
    finished(3);
    finished(0);
    assert.deepEqual([ledger.received('a'), ledger.last('a')?.received], [3, 0]);
  });

  it('is kept for a bounded number of peers', () => {
    const ledger = new SyncLedger(new TestWorld(NOW), 2);
    for (const peer of ['a', 'b', 'c']) ledger.equal(peer);
    assert.equal(ledger.lag('a').inStatements, null);
    assert.equal(ledger.lag('c').inStatements, 0);
  });
});

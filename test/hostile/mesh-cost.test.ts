import assert from 'node:assert/strict';
import { sha256, statementId } from '../../src/facts/index.ts';
import { Cardinality } from '../../src/node/cardinality.ts';
import type { WireStatement } from '../../src/node/federation.ts';
import { MAX_DECLARED_BY_OTHERS } from '../../src/node/limits.ts';
import { KeyState } from '../../src/node/view-table.ts';
import { EMPTY_HEAD, Group } from '../../src/node/writer.ts';
import { MemoryStore } from '../../src/store/memory/memory-store.ts';
import type { Scan, ScanOptions } from '../../src/store/store.ts';
import {
  admitPeer,
  at,
  codes,
  give,
  OPEN_TERMS,
  type OrgNode,
  openOrgNode,
  pair,
  Signer,
  send,
} from '../support/node-pair.ts';
import { assertSound } from '../support/soundness.ts';
import { fact, TestClock, who } from '../support/test-node.ts';

/** A store that counts the rows read of it: what a statement costs shows here, whatever the machine is busy with. */
class CountingStore extends MemoryStore {
  rows = 0;
  bytes = 0;

  override async get(key: Uint8Array): Promise<Buffer | undefined> {
    const value = await super.get(key);
    this.#count([value]);
    return value;
  }

  override scan(options: ScanOptions): Scan {
    const scan = super.scan(options);
    const next = async (count: number) => {
      const entries = await scan.next(count);
      this.#count(entries.map(({ value }) => value));
      return entries;
    };
    return { next, close: () => scan.close() };
  }

  #count(values: readonly (Uint8Array | undefined)[]): void {
    for (const value of values) {
      this.rows += 1;
      this.bytes += value?.length ?? 0;
    }
  }

  /** What is read while something runs. */
  async during(run: () => Promise<unknown>): Promise<{ rows: number; bytes: number }> {
    const { rows, bytes } = this;
    await run();
    return { rows: this.rows - rows, bytes: this.bytes - bytes };
  }
}

const idOf = ({ bytes }: WireStatement): string => statementId(sha256(bytes));

describe('mesh: a small statement of a peer costs little, whatever it sent before', function () {
  this.timeout(60_000);
  let store: CountingStore;
  let clock: TestClock;
  let acme: OrgNode;
  let beta: Signer;
  let gamma: Signer;

  beforeEach(async () => {
    store = new CountingStore();
    clock = new TestClock();
    acme = await openOrgNode('acme.example', { clock, store });
    beta = new Signer('beta.example', clock.now);
    gamma = new Signer('gamma.example', clock.now);
    await admitPeer(acme, beta);
    await admitPeer(acme, gamma);
  });
  afterEach(() => acme.node.stop());

  const accepts = async (from: Signer, statements: readonly WireStatement[]): Promise<void> => {
    assert.deepEqual(new Set(codes(await send(acme, from.peerId, statements))), new Set(['accepted']));
  };
  const ttl = (by: Signer, of: string, ms: number, n: number, seconds = 1000 + n): WireStatement =>
    by.fact(at(clock, ms, n), {
      // A key of its own each: what is on one key is another matter.
      entity: n % 2 === 0 ? `fact:${of}` : of,
      relation: 'stigmem:ttl',
      value: { type: 'number', v: seconds },
    });
  const many = <T>(count: number, make: (n: number) => T): T[] => Array.from({ length: count }, (_, n) => make(n));

  it('an expiry set for the thousandth time reads none of those before it', async () => {
    const target = beta.fact(at(clock, -5000));
    await accepts(beta, [target]);
    await accepts(
      beta,
      many(800, (n) => ttl(beta, idOf(target), -4000, n)),
    );
    // The key of the first one is in memory then.
    await accepts(beta, [ttl(beta, idOf(target), -3000, 0)]);
    const { rows } = await store.during(() => accepts(beta, [ttl(beta, idOf(target), -2000, 2, 6)]));
    assert.ok(rows < 100, `${rows} rows for one statement`);
    const { fact: found } = await acme.node.facts.get(who, idOf(target));
    assert.equal(found.state, 'current');
    clock.advance(1000);
    assert.equal((await acme.node.facts.get(who, idOf(target))).fact.state, 'expired', 'the newest one counts');
  });

  it('what others say about a fact is not kept for it, whether it came before or after', async () => {
    const target = beta.fact(at(clock, -5000));
    const id = idOf(target);
    const before = many(400, (n) => ttl(gamma, id, -1000, n, 0));
    const after = many(400, (n) => ttl(gamma, id, -900, n, 0));
    const supersedes = gamma.fact(at(clock, -800), { entity: 'stigmem://gamma.example/a/b' }, { supersedes: [id] });
    await accepts(gamma, before);
    await accepts(beta, [target]);
    await accepts(gamma, [...after, supersedes]);
    await accepts(beta, [ttl(beta, id, -3000, 0)]);
    const { rows } = await store.during(() => accepts(beta, [ttl(beta, id, -2000, 2, 1)]));
    assert.ok(rows < 100, `${rows} rows for one statement`);
    assert.equal((await acme.node.facts.get(who, id)).fact.state, 'expired', 'its own organisation’s word does count');
    await acme.node.stop();
    await assertSound(store, () => acme.reopen());
  });

  it('however many large statements have its reading of the clock, few of them are read', async () => {
    const other = new Signer('beta.example', clock.now);
    beta.org.add({ peerId: other.peerId });
    await accepts(beta, [beta.manifest(at(clock, -6000))]);
    const large = { type: 'text', v: 'x'.repeat(50_000) } as const;
    const reading = at(clock, -5000);
    const entity = (n: number): string => `stigmem://beta.example/note/${n}`;
    const sized = (n: number) => beta.fact(reading, { entity: entity(n), relation: `topic${n % 40}:x`, value: large });
    await accepts(beta, many(160, sized));
    // A set of its own, which is not among the first, so that it is not found by the next.
    const small = (n: number) => other.fact(reading, { entity: entity(n), relation: `topic${n}:y` });
    const { bytes } = await store.during(() => accepts(beta, [small(1000)]));
    assert.ok(bytes < 10 * 50_000, `${bytes} bytes for one statement`);
  });

  it('declares no more relations multi-valued than there is room for, and takes none from us', async () => {
    const declare = (by: Signer, n: number, value = 'many') =>
      by.fact(at(clock, -4000 + Math.floor(n / 1000), n % 1000), {
        entity: `relation:topic:r${n}`,
        relation: 'stigmem:cardinality',
        value: { type: 'string', v: value },
      });
    await accepts(
      beta,
      many(MAX_DECLARED_BY_OTHERS, (n) => declare(beta, n)),
    );
    const last = MAX_DECLARED_BY_OTHERS;
    await accepts(beta, [declare(beta, last)]);
    await accepts(gamma, [declare(gamma, last)]);
    const ours = { relation: 'stigmem:cardinality', scope: 'public', v: 'many' } as const;
    await acme.node.facts.assert(who, fact({ ...ours, entity: `relation:topic:r${last}` }));
    await acme.node.settled();
    const two = (by: Signer) =>
      ['a', 'b'].map((v, n) =>
        by.fact(at(clock, -2000, n), { relation: `topic:r${last}`, value: { type: 'string', v } }),
      );
    await accepts(beta, two(beta));
    await accepts(gamma, two(gamma));
    for (const v of ['a', 'b']) await acme.node.facts.assert(who, fact({ relation: `topic:r${last}`, v }));
    const { conflicts } = await acme.node.conflicts.list(who, { limit: 10 });
    const entities = conflicts.map(({ factA }) => factA.statement.body.entity);
    assert.deepEqual(entities, ['stigmem://beta.example/user/bob'], 'only beta contradicts itself');
  });

  it('a block of statements on one key reads that key once', async () => {
    const on = (ms: number) => many(300, (n) => beta.fact(at(clock, ms, n), { value: { type: 'number', v: n } }));
    await accepts(beta, on(-5000));
    // New keys are not kept in memory: they are read again with the next block.
    const { rows } = await store.during(() => accepts(beta, on(-4000)));
    assert.ok(rows < 3000, `${rows} rows for 300 statements`);
  });

  it('a block of declarations on one key is one change of it', () => {
    const cardinality = new Cardinality(new Set(), 'acme.example');
    const group = new Group(EMPTY_HEAD, clock.ms, 100);
    const key = { relation: 'stigmem:cardinality', scope: 'public', garden: undefined } as const;
    for (let n = 0; n < 100; n++) cardinality.changed(group, new KeyState({ ...key, entity: 'relation:a:b' }));
    cardinality.changed(group, new KeyState({ ...key, entity: 'relation:a:c' }));
    assert.equal(group.afterCommit.length, 2);
  });
});

describe('mesh: a peer whose clock is as fast as may be', () => {
  it('fault 31: does not have us refused by others whose clocks are slow', async () => {
    const clock = new TestClock();
    const slow = new TestClock(clock.ms - 20_000);
    const acme = await openOrgNode('acme.example', { clock });
    const cara = await openOrgNode('cara.example', { clock: slow });
    const beta = new Signer('beta.example', clock.now);
    await pair(acme, cara);
    await admitPeer(acme, beta);
    const pushed = await send(acme, beta.peerId, [beta.manifest(at(clock)), beta.fact(at(clock, 60_000))]);
    assert.deepEqual(codes(pushed), ['accepted', 'accepted'], 'it is within what is believed of clocks');
    const { fact: stated } = await acme.node.facts.assert(who, fact());
    assert.deepEqual(
      (await give(acme, cara))
        .filter(({ status }) => status === 'refused')
        .map((one) => one.digest && statementId(one.digest)),
      [statementId(sha256(beta.fact(at(clock, 60_000)).bytes))],
    );
    assert.ok(await cara.node.facts.get(who, stated.id));
    // Ours follow each other: what another daemon of ours says is what we come after.
    const sibling = new Signer('acme.example', clock.now);
    acme.org.add({ peerId: sibling.peerId });
    await acme.node.manifests.publish(who, acme.org.manifest);
    const pairing = { org: 'acme.example', peerOrg: 'acme.example', ours: OPEN_TERMS, theirs: OPEN_TERMS };
    const ahead = at(clock, 50_000);
    assert.deepEqual(codes(await send(acme, sibling.peerId, [sibling.fact(ahead)], pairing)), ['accepted']);
    assert.ok((await acme.node.facts.assert(who, fact({ v: 'after' }))).fact.statement.hlc > ahead);
    await acme.node.stop();
    await cara.node.stop();
  });
});

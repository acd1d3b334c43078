import assert from 'node:assert/strict';
import { formatHlc, parseCid, sha256, statementId } from '../../../src/facts/index.ts';
import { NodeError } from '../../../src/node/errors.ts';
import { verifyLog } from '../../../src/node/maintenance.ts';
import { mend } from '../../../src/node/mend.ts';
import {
  MAX_NAMESPACES,
  MAX_QUARANTINED_SETS,
  MAX_SETS,
  MIN_OWN_SETS,
  SETS_LOADED_AT_START,
} from '../../../src/node/mesh-limits.ts';
import type { SetCommit } from '../../../src/node/mesh-services.ts';
import type { StigmeshNode } from '../../../src/node/node.ts';
import { namedSet } from '../../../src/policy/sets.ts';
import type { Pairing } from '../../../src/policy/sharing.ts';
import * as keys from '../../../src/store/keys.ts';
import { MemoryStore } from '../../../src/store/memory/memory-store.ts';
import { forEachSlice, type Scan, type ScanOptions, type Store } from '../../../src/store/store.ts';
import { FaultyStore } from '../../support/faulty-store.ts';
import {
  admitPeer,
  at,
  codes,
  give,
  type OrgNode,
  openOrgNode,
  pair,
  Signer,
  send,
  shared,
} from '../../support/node-pair.ts';
import { assertConsistent } from '../../support/soundness.ts';
import { fact, openTestNode, TestClock, who } from '../../support/test-node.ts';

/** Count and fingerprint of every set, by name. */
async function fingerprints(node: StigmeshNode, names: readonly string[]): Promise<[string, number, string][]> {
  await node.sets.ready;
  return names.map((name) => {
    const index = node.sets.get(name)?.index;
    return [name, index?.count ?? 0, Buffer.from(index?.fingerprint() ?? []).toString('hex')];
  });
}

/** Terms as both sides of a pairing might have them, where no pairing was made. */
function pairedWith(beta: Signer): Pairing {
  const { terms } = beta.declared();
  return { org: 'acme.example', peerOrg: 'beta.example', ours: terms, theirs: terms };
}

const sequenceRows = async (store: Store) => {
  const found: { key: Buffer; value: Buffer }[] = [];
  await forEachSlice(store, keys.sequenceRange(0, Number.MAX_SAFE_INTEGER), (rows) => {
    found.push(...rows);
    return undefined;
  });
  return found;
};

/** A store whose sequence is read no further than a first slice before the gate opens. */
function gated(store: Store, gate: Promise<void>): Store {
  return new Proxy(store, {
    get(target, name) {
      const value = Reflect.get(target, name) as unknown;
      if (name !== 'scan') return typeof value === 'function' ? value.bind(target) : value;
      return (range: ScanOptions): Scan => {
        const scan = target.scan(range);
        if (range.gte[0] !== keys.sequenceKey(0)[0]) return scan;
        let slices = 0;
        return {
          next: async (count) => {
            if (slices++ > 0) await gate;
            return scan.next(count);
          },
          close: () => scan.close(),
        };
      };
    },
  });
}

describe('sets', () => {
  let clock: TestClock;
  let acme: OrgNode;

  beforeEach(async () => {
    clock = new TestClock();
    acme = await openOrgNode('acme.example', { clock });
    await acme.node.sets.ready;
  });

  const state = (more: object) => acme.node.facts.assert(who, fact(more));
  const SOME = [
    'company/acme.example/memory',
    'public/acme.example/memory',
    'public/acme.example/stigmem',
    'team/acme.example/roadmap',
  ];

  it('partition what is stated by audience, organisation and topic; what is local is in none', async () => {
    const garden = await acme.node.gardens.create(who, { slug: 'lab', name: 'Lab', scope: 'company' });
    await state({ scope: 'local' });
    await state({ scope: 'company' });
    await state({ scope: 'public' });
    await state({ scope: 'team', relation: 'roadmap:next' });
    await state({ scope: 'company', garden_id: 'lab' });
    await state({ scope: 'public', relation: 'bare' });
    await state({ scope: 'public', entity: 'stigmem://beta.example/user/bob', v: 'foreign' });
    await state({ scope: 'public', source: 'stigmem://beta.example/agent/b', v: 'in their name' });
    const { sets } = acme.node;
    const counts = [
      ...SOME,
      'public/acme.example/',
      'own/acme.example/memory',
      `garden/acme.example/memory/${garden.garden_id}`,
    ];
    assert.deepEqual(
      counts.map((name) => sets.get(name)?.index.count),
      [1, 1, 1, 1, 1, 2, 1],
    );
    assert.equal(sets.size, counts.length);
    assert.equal(acme.node.figures().sets, counts.length);
    // Reopened, or indexed anew from the sequence: the same.
    const again = await acme.reopen();
    assert.deepEqual(await fingerprints(again, counts), await fingerprints(acme.node, counts));
    await assertConsistent(acme.store);
  });

  it('tell those who follow of every durable commit, with its bytes', async () => {
    const told: SetCommit[] = [];
    const end = acme.node.sets.on((commits) => told.push(...commits));
    await state({ scope: 'local' });
    const { fact: stated } = await state({ scope: 'public' });
    assert.deepEqual(
      told.map(({ set, receivedFrom }) => [set.name, receivedFrom]),
      [['public/acme.example/memory', null]],
    );
    const [{ bytes, sig, digest, hlc }] = told as [SetCommit];
    assert.deepEqual([Buffer.from(digest), hlc], [Buffer.from(parseCid(stated.id).digest), stated.statement.hlc]);
    assert.deepEqual(
      [Buffer.from(sha256(bytes)), Buffer.from(sig)],
      [Buffer.from(digest), Buffer.from(stated.signature)],
    );
    assert.ok(acme.node.sets.get('public/acme.example/memory')!.index.has(hlc, digest), 'indexed before it is told');
    end();
    await state({ scope: 'public', v: 'more' });
    assert.equal(told.length, 1);
  });

  it('are the same on two nodes that hold the same, however the statements came', async () => {
    const beta = await openOrgNode('beta.example', { clock });
    await pair(acme, beta);
    for (let n = 0; n < 40; n++)
      await state({ v: n, type: 'number', scope: n % 2 ? 'public' : 'company', entity: `user:u${n % 7}` });
    await give(acme, beta);
    const pairing = acme.node.peers.pairing(beta.peerId)!;
    const names = acme.node.sets.list(pairing).map(({ set }) => set.name);
    assert.deepEqual(await fingerprints(beta.node, names), await fingerprints(acme.node, names));
    const again = await beta.reopen();
    assert.deepEqual(await fingerprints(again, names), await fingerprints(acme.node, names));
  });

  it('are listed in the order of the bytes of their names, whenever they came', async () => {
    const beta = await openOrgNode('beta.example', { clock });
    await pair(acme, beta);
    // The order of UTF-16 would be another: U+1F600 before U+FF5E.
    for (const namespace of ['zeta', 'alpha', '\u{1F600}', '\uFF5E', 'mid']) {
      await state({ relation: `${namespace}:x`, scope: 'public' });
    }
    const namesOf = (node: typeof acme.node): string[] =>
      node.sets.list(acme.node.peers.pairing(beta.peerId)!).map(({ set }) => set.name);
    const names = namesOf(acme.node);
    assert.ok(names.length > 5);
    assert.deepEqual(
      names,
      names.toSorted((a, b) => Buffer.compare(Buffer.from(a), Buffer.from(b))),
    );
    assert.deepEqual(namesOf(await acme.reopen()), names);
  });

  it('are loaded in slices while others write, and nothing is missed or counted twice', async () => {
    for (let n = 0; n < 2500; n += 500) {
      const facts = Array.from({ length: 500 }, (_, i) =>
        fact({ v: n + i, type: 'number', entity: `user:u${n + i}`, scope: 'public' }),
      );
      await acme.node.facts.assertBatch(who, { facts, atomic: true });
    }
    let release = (): void => {};
    const gate = new Promise<void>((resolve) => {
      release = resolve;
    });
    // The first slice is read; the second comes when it is told to.
    const t = await openTestNode({ ...acme.init, store: gated(acme.store, gate), clock });
    await t.node.facts.assert(who, fact({ v: 'early', scope: 'public' }));
    assert.equal(t.node.sets.isReady, false);
    assert.ok(t.node.sets.get('public/acme.example/memory')!.index.count < 2501);
    release();
    await t.node.sets.ready;
    await t.node.facts.assert(who, fact({ v: 'late', scope: 'public' }));
    assert.equal(t.node.sets.get('public/acme.example/memory')!.index.count, 2502);
    assert.equal(t.node.sets.isReady, true);
  });

  it('are completed from the log where a row of the sequence does not tell them, or one nobody knows', async () => {
    for (const scope of ['company', 'public', 'local'] as const) await state({ scope });
    await state({ scope: 'team', relation: 'roadmap:next' });
    const before = await fingerprints(acme.node, SOME);
    const rows = await sequenceRows(acme.store);
    await acme.node.stop();
    const ops = rows.map(({ key, value }) => ({ type: 'put' as const, key, value: keys.sequenceDigest(value) }));
    await acme.store.batch(ops, { durable: true });
    const healed = await acme.reopen();
    assert.deepEqual(await fingerprints(healed, SOME), before);
    await healed.stop();
    assert.deepEqual(await sequenceRows(acme.store), rows);
    const sets: Buffer[] = [];
    await forEachSlice(acme.store, keys.setRange(), (found) => {
      sets.push(...found.map(({ key }) => key));
      return undefined;
    });
    await acme.store.batch(
      sets.map((key) => ({ type: 'del', key })),
      { durable: true },
    );
    const again = await acme.reopen();
    assert.deepEqual(await fingerprints(again, SOME), before);
    await again.stop();
    await assertConsistent(acme.store);
  });

  it('fault 43: lack what was set aside as damaged, so that a peer brings it back', async () => {
    const beta = await openOrgNode('beta.example', { clock });
    await pair(acme, beta);
    const { fact: lost } = await state({ scope: 'public', v: 'lost' });
    await state({ scope: 'public', v: 'kept' });
    await give(acme, beta);
    await acme.node.stop();
    const { digest } = parseCid(lost.id);
    const damaged = Buffer.from((await acme.store.get(keys.logKey(digest)))!);
    damaged[damaged.length - 3]! ^= 1;
    await acme.store.batch([{ type: 'put', key: keys.logKey(digest), value: damaged }], { durable: true });
    const report = await verifyLog(acme.store, async () => true, { quarantine: true });
    assert.equal(report.quarantined, 1);
    await mend(acme.store, false);
    const node = await acme.reopen();
    await node.sets.ready;
    assert.equal(node.sets.get('public/acme.example/memory')!.index.count, 1);
    const pairing = beta.node.peers.pairing(acme.peerId)!;
    const held = await shared(beta.node, pairing);
    const outcomes = await node.inbound.admit({ peerId: beta.peerId, pairing: node.peers.pairing(beta.peerId)! }, held);
    const back = outcomes.find((outcome) => outcome.digest && Buffer.from(digest).equals(outcome.digest));
    assert.equal(back?.status, 'accepted');
    assert.equal((await node.facts.get(who, lost.id)).fact.statement.body.value.v, 'lost');
    assert.equal(node.sets.get('public/acme.example/memory')!.index.count, 2);
  });

  it('go on where a disk failed while they were loaded', async () => {
    await state({ scope: 'public' });
    let isBroken = true;
    const failing = new Proxy(acme.store, {
      get(target, name) {
        const value = Reflect.get(target, name) as unknown;
        if (name !== 'scan') return typeof value === 'function' ? value.bind(target) : value;
        return (range: { gte: Uint8Array }) => {
          if (isBroken && range.gte[0] === keys.sequenceKey(0)[0]) throw new Error('EIO');
          return target.scan(range as never);
        };
      },
    });
    const t = await openTestNode({ ...acme.init, store: failing, clock });
    assert.equal(t.node.sets.isReady, false);
    await t.node.writer.probe();
    assert.ok((await t.node.status()).warnings.some((text) => text.includes('reconciliation')));
    const beta = new Signer('beta.example', clock.now);
    const refused = t.node.inbound.admit({ peerId: beta.peerId, pairing: pairedWith(beta) }, [beta.fact(at(clock))]);
    await assert.rejects(refused, (error) => error instanceof NodeError && error.code === 'busy');
    isBroken = false;
    t.tick();
    await t.node.sets.ready;
    assert.equal(t.node.sets.get('public/acme.example/memory')!.index.count, 1);
    assert.ok(!(await t.node.status()).warnings.some((text) => text.includes('reconciliation')));
  });

  it('are not loaded before the daemon serves, and nobody who waits for them keeps it from stopping', async () => {
    const t = await openTestNode({ clock });
    for (let n = 0; n <= SETS_LOADED_AT_START; n += 1000) {
      const facts = Array.from({ length: 1000 }, (_, at) => fact({ scope: 'public', entity: `user:u${n}-${at}` }));
      await t.node.facts.assertBatch(who, { facts, atomic: true });
    }
    await t.node.stop();
    const serving = Promise.withResolvers<void>();
    const late = await t.reopen({}, serving.promise);
    await late.facts.assert(who, fact({ scope: 'public', v: 'written meanwhile' }));
    await new Promise(setImmediate);
    assert.equal(late.sets.isReady, false);
    assert.equal(late.sets.get('public/acme.example/memory')!.index.count, 1, 'only what was written meanwhile');
    serving.resolve();
    await late.sets.ready;
    assert.equal(late.sets.get('public/acme.example/memory')!.index.count, SETS_LOADED_AT_START + 1001);
    await late.stop();

    const never = await t.reopen({}, new Promise<void>(() => {}));
    const beta = new Signer('beta.example', clock.now);
    const waiting = never.inbound.admit({ peerId: beta.peerId, pairing: pairedWith(beta) }, [beta.fact(at(clock))]);
    const refused = assert.rejects(waiting, (error) => error instanceof NodeError && error.code === 'stopping');
    await never.stop();
    await refused;
  });

  it('fault 44: hold what a failed group left on the disk all the same, and nothing it did not', async () => {
    const memory = new MemoryStore();
    const store = new FaultyStore(memory);
    const t = await openTestNode({ store, clock });
    await t.node.sets.ready;
    const count = async (): Promise<number> => {
      await t.node.sets.ready;
      return t.node.sets.get('public/acme.example/memory')?.index.count ?? 0;
    };
    for (const landed of [true, false, true]) {
      const before = await count();
      store.failBatches({ fault: 'EIO', times: 1, landed });
      await assert.rejects(t.node.facts.assert(who, fact({ scope: 'public', v: `${landed} ${before}` })));
      await t.node.writer.probe();
      assert.equal(t.node.readiness().ready, true);
      assert.equal(await count(), before + Number(landed));
      await t.node.facts.assert(who, fact({ scope: 'public', v: `after ${before}` }));
      assert.equal(await count(), before + Number(landed) + 1);
    }
    const index = t.node.sets.get('public/acme.example/memory')!.index;
    const again = await t.reopen();
    await again.sets.ready;
    assert.deepEqual(again.sets.get('public/acme.example/memory')!.index.fingerprint(), index.fingerprint());
  });

  it('are of so many namespaces an organisation: for peers and for our own alike', async () => {
    const beta = new Signer('beta.example', clock.now);
    await admitPeer(acme, beta);
    const wires = Array.from({ length: MAX_NAMESPACES + 2 }, (_, n) =>
      beta.fact(formatHlc(clock.ms, n % 1000), { relation: `n${n}:x`, entity: `user:u${n}` }),
    );
    const outcomes = codes(await send(acme, beta.peerId, wires));
    // One of them is the namespace of its manifests, which came with the pairing and not as a statement.
    assert.deepEqual(
      outcomes.slice(0, MAX_NAMESPACES).filter((code) => code !== 'accepted'),
      [],
    );
    assert.deepEqual(outcomes.slice(MAX_NAMESPACES), ['too_many_namespaces', 'too_many_namespaces']);
    const more = [
      beta.fact(at(clock, 5), { relation: 'n3:y' }),
      beta.fact(at(clock, 6), { relation: 'n3:y', scope: 'company' }),
    ];
    assert.deepEqual(codes(await send(acme, beta.peerId, more)), ['accepted', 'accepted'], 'known topics go on');
    const facts = Array.from({ length: MAX_NAMESPACES - 1 }, (_, n) => fact({ relation: `n${n}:x`, scope: 'public' }));
    await acme.node.facts.assertBatch(who, { facts: facts.slice(0, 1000), atomic: true });
    await acme.node.facts.assertBatch(who, { facts: facts.slice(1000), atomic: true });
    const beyond = state({ relation: 'further:x', scope: 'public' });
    await assert.rejects(beyond, (error) => error instanceof NodeError && error.code === 'too_many_namespaces');
    assert.ok((await state({ relation: 'further:x', scope: 'local' })).created, 'what is local is in no set');
  });

  it('are bounded in all, and strangers cannot take the room of everybody else', async () => {
    const beta = new Signer('beta.example', clock.now);
    await admitPeer(acme, beta);
    const row = (org: string, n: number) => {
      const { name, audience, namespace } = namedSet('public', org, `n${n}`);
      return {
        type: 'put' as const,
        key: keys.setKey(keys.subject(name)),
        value: Buffer.from(JSON.stringify({ audience, org, namespace })),
      };
    };
    const strange = Array.from({ length: MAX_QUARANTINED_SETS }, (_, n) => row(`s${n % 16}.example`, n));
    await acme.store.batch(strange, { durable: true });
    let node = await acme.reopen();
    const stranger = new Signer('stranger.example', clock.now);
    const pairing = node.peers.pairing(beta.peerId)!;
    const say = (statements: Parameters<typeof node.inbound.admit>[1]) =>
      node.inbound.admit({ peerId: beta.peerId, pairing }, statements);
    assert.deepEqual(codes(await say([stranger.manifest(at(clock))])), ['too_many_sets']);
    assert.deepEqual(codes(await say([beta.fact(at(clock))])), ['accepted']);
    await node.stop();
    const theirs = Array.from({ length: MAX_SETS - MIN_OWN_SETS - MAX_QUARANTINED_SETS }, (_, n) =>
      row('big.example', n),
    );
    await acme.store.batch(theirs, { durable: true });
    node = await acme.reopen();
    const [refused] = await say([beta.fact(at(clock, 1), { relation: 'other:x' })]);
    assert.ok(refused?.status === 'refused' && refused.code === 'too_many_sets' && refused.retryable);
    assert.deepEqual(codes(await say([beta.fact(at(clock, 2))])), ['accepted']);
    await node.facts.assert(who, fact({ relation: 'free:x', scope: 'public' }));
    await node.stop();
    const ours = Array.from({ length: MAX_SETS - node.sets.size }, (_, n) => row('acme.example', n));
    await acme.store.batch(ours, { durable: true });
    node = await acme.reopen();
    const mine = node.facts.assert(who, fact({ relation: 'free:x', scope: 'company' }));
    await assert.rejects(mine, (error) => error instanceof NodeError && error.code === 'too_many_sets');
  });
});

describe('sets: equivocation', () => {
  it('fault 8: two statements of one key with one clock reading are noticed, kept both, audited with both, and go on', async () => {
    const clock = new TestClock();
    const acme = await openOrgNode('acme.example', { clock });
    const beta = new Signer('beta.example', clock.now);
    await admitPeer(acme, beta);
    const one = beta.fact(at(clock), { value: { type: 'string', v: 'one' }, entity: 'user:a' });
    const other = beta.fact(at(clock), {
      value: { type: 'string', v: 'other' },
      entity: 'user:b',
      scope: 'company',
      relation: 'roadmap:x',
    });
    assert.deepEqual(codes(await send(acme, beta.peerId, [one])), ['accepted']);
    assert.deepEqual(codes(await send(acme, beta.peerId, [other])), ['accepted']);
    const audits = async () => (await acme.node.audit.list(who, { type: 'equivocation', limit: 10 })).entries;
    const [entry, ...more] = await audits();
    const evidence = [one, other].map(({ bytes }) => sha256(bytes));
    assert.deepEqual(entry!.detail!.statements, evidence.map(statementId).sort());
    assert.deepEqual([entry!.source, more.length, acme.node.figures().equivocations], [beta.peerId, 0, 1]);
    assert.ok(
      (await acme.node.status()).warnings.some((text) => text.startsWith('equivocation') && text.includes(beta.peerId)),
    );
    assert.equal((await acme.node.facts.query(who, { limit: 10, origin: beta.peerId })).facts.length, 2);
    // Within one batch, too; and a third of them is a further one, written once a minute.
    const pairOfThem = ['x', 'y'].map((v) =>
      beta.fact(at(clock, 1), { value: { type: 'string', v }, entity: `user:${v}` }),
    );
    assert.deepEqual(codes(await send(acme, beta.peerId, pairOfThem)), ['accepted', 'accepted']);
    assert.equal(acme.node.figures().equivocations, 2);
    assert.equal((await audits()).length, 1);
    clock.advance(60_000);
    const third = beta.fact(at(clock, -60_000), { value: { type: 'string', v: 'three' }, entity: 'user:c' });
    await send(acme, beta.peerId, [third]);
    assert.deepEqual(
      (await audits()).map(({ detail }) => detail!.count),
      [2, 1],
    );
  });

  it('fault 8: is none when another node of the organisation, or the same statement, has the reading', async () => {
    const clock = new TestClock();
    const acme = await openOrgNode('acme.example', { clock });
    const beta = new Signer('beta.example', clock.now);
    const second = new Signer('beta.example', clock.now);
    beta.org.add({ peerId: second.peerId });
    await admitPeer(acme, beta);
    const wire = beta.fact(at(clock));
    const sibling = second.fact(at(clock), { value: { type: 'string', v: 'CTO' } });
    assert.deepEqual(codes(await send(acme, beta.peerId, [wire, sibling, wire])), [
      'accepted',
      'accepted',
      'duplicate',
    ]);
    assert.equal(acme.node.figures().equivocations, 0);
  });

  it('fault 8: of our own key is noticed when the clone’s statements come in', async () => {
    const clock = new TestClock();
    const acme = await openOrgNode('acme.example', { clock });
    const clone = await openTestNode({ ...acme.init, clock });
    await clone.node.manifests.publish(who, acme.org.manifest);
    const beta = await openOrgNode('beta.example', { clock });
    await pair(acme, beta);
    await acme.node.facts.assert(who, fact({ scope: 'public', v: 'mine' }));
    await clone.node.facts.assert(who, fact({ scope: 'public', v: 'cloned' }));
    const exported = [];
    for await (const one of clone.node.transfer.exportStatements(who)) exported.push(one);
    const outcomes = await send(acme, beta.peerId, exported);
    assert.deepEqual(codes(outcomes), ['duplicate', 'accepted']);
    assert.equal(acme.node.figures().equivocations, 1);
    assert.match((await acme.node.status()).warnings.join('\n'), new RegExp(`equivocation: ${acme.peerId}`));
  });
});

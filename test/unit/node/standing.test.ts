import assert from 'node:assert/strict';
import { sha256, statementId, valueDigest } from '../../../src/facts/index.ts';
import { withoutNode, withoutRevokedNode } from '../../../src/identity/manifest-edit.ts';
import { Authority } from '../../../src/node/authority.ts';
import { NodeError } from '../../../src/node/errors.ts';
import { derivedDigest, reindex } from '../../../src/node/maintenance.ts';
import { MAX_QUARANTINED, MAX_QUARANTINED_ALL } from '../../../src/node/mesh-limits.ts';
import { fromJson, toJson } from '../../../src/node/records.ts';
import { Standing } from '../../../src/node/standing.ts';
import type { FactQuery, FactView } from '../../../src/node/types.ts';
import type { Head } from '../../../src/node/writer.ts';
import * as keys from '../../../src/store/keys.ts';
import { MemoryStore } from '../../../src/store/memory/memory-store.ts';
import { FaultyStore } from '../../support/faulty-store.ts';
import { admitPeer, at, codes, OPEN_TERMS, type OrgNode, openOrgNode, Signer, send } from '../../support/node-pair.ts';
import { assertSound } from '../../support/soundness.ts';
import { fact, openTestNode, TestClock, who } from '../../support/test-node.ts';

describe('standing: whose word counts', () => {
  let clock: TestClock;
  let acme: OrgNode;
  /** A peer that passes on what others made public. */
  let relay: Signer;
  let beta: Signer;

  beforeEach(async () => {
    clock = new TestClock();
    acme = await openOrgNode('acme.example', { clock });
    relay = new Signer('relay.example', clock.now);
    beta = new Signer('beta.example', clock.now);
    await admitPeer(acme, relay);
  });

  const pass = (statements: Parameters<typeof send>[2]) => send(acme, relay.peerId, statements);
  const facts = async (more: Partial<FactQuery> = {}): Promise<readonly FactView[]> =>
    (await acme.node.facts.query(who, { limit: 100, relation: 'memory:role', ...more })).facts;
  const shown = async (more: Partial<FactQuery> = {}) =>
    (await facts(more)).map(({ statement, state }) => `${statement.body.value.v} ${state}`);
  const sound = async (): Promise<void> => {
    await acme.node.stop();
    await assertSound(acme.store, () => acme.reopen());
  };
  const text = (v: string) => ({ type: 'string', v }) as const;

  it('what a stranger made public is kept in quarantine: in no view, no conflict, no default answer, no event', async () => {
    await acme.node.facts.assert(who, fact({ v: 'ours', entity: 'user:alice', scope: 'public' }));
    const wire = beta.fact(at(clock), { entity: 'user:alice', value: text('theirs') });
    const events: string[] = [];
    const { seq } = acme.node.figures();
    assert.deepEqual(codes(await pass([beta.manifest(at(clock, 1)), wire])), ['accepted', 'accepted']);
    assert.deepEqual(await shown(), ['ours current']);
    assert.deepEqual(await shown({ include: ['history', 'losing', 'retracted', 'superseded', 'expired'] }), [
      'ours current',
    ]);
    assert.deepEqual(await shown({ include: ['quarantined'] }), ['ours current', 'theirs quarantined']);
    assert.deepEqual((await acme.node.conflicts.list(who, { limit: 10 })).conflicts, []);
    const figures = acme.node.figures();
    assert.deepEqual([figures.untrusted, figures.currentFacts], [2, 1]);
    for (const { standing, statement } of await acme.node.feed.read(seq, 10))
      events.push(`${statement.kind} ${standing}`);
    assert.deepEqual(events, ['manifest quarantined', 'fact quarantined']);
    // By its own name it is found, and marked; by its claim it is not.
    const { fact: named } = await acme.node.facts.get(who, statementId(sha256(wire.bytes)));
    assert.equal(named.state, 'quarantined');
    await assert.rejects(acme.node.facts.get(who, named.cid), /not found/);
    // It is passed on as everything public is.
    assert.equal(acme.node.sets.get('public/beta.example/memory')!.index.count, 1);
    // That it asks to be our peer lets nothing out.
    await acme.node.peers.noteUnknown(beta.peerId, beta.declared());
    await acme.node.settled();
    assert.deepEqual(await shown({ include: ['quarantined'] }), ['ours current', 'theirs quarantined']);
    assert.equal(acme.node.figures().untrusted, 2);
    await sound();
  });

  it('fault 44: a pairing that failed and landed all the same frees the room in quarantine', async () => {
    const store = new FaultyStore(new MemoryStore());
    const t = await openOrgNode('acme.example', { clock, store });
    await admitPeer(t, relay);
    await send(t, relay.peerId, [beta.manifest(at(clock)), beta.fact(at(clock, 1))]);
    assert.equal(t.node.figures().untrusted, 2);
    await t.node.peers.approve(who, beta.peerId, OPEN_TERMS);
    store.failBatches({ fault: 'EIO', times: 1, landed: true });
    await assert.rejects(t.node.peers.declared(beta.peerId, beta.declared()), /EIO/);
    await t.node.writer.probe();
    await t.node.settled();
    assert.deepEqual([t.node.peers.isPaired('beta.example'), t.node.figures().untrusted], [true, 0]);
    await t.node.stop();
  });

  it('a stranger is accepted or rejected where the configuration says so', async () => {
    const wires = [beta.manifest(at(clock)), beta.fact(at(clock, 1), { value: text('theirs') })];
    await acme.node.stop();
    const strict = await acme.reopen({ unknownOrigins: 'reject' });
    const pairing = strict.peers.pairing(relay.peerId)!;
    const outcomes = await strict.inbound.admit({ peerId: relay.peerId, pairing }, wires);
    assert.deepEqual(codes(outcomes), ['origin_rejected', 'origin_rejected']);
    assert.ok(outcomes.every((one) => one.status === 'refused' && one.retryable));
    assert.equal(strict.manifests.known('beta.example'), undefined);
    await strict.stop();
    const open = await acme.reopen({ unknownOrigins: 'accept' });
    await open.inbound.admit({ peerId: relay.peerId, pairing }, wires);
    await open.settled();
    const visible = async (node: typeof open) =>
      (await node.facts.query(who, { limit: 9, relation: 'memory:role' })).facts.length;
    assert.equal(await visible(open), 1);
    await open.stop();
    // Edited between two runs, it is applied to what came before.
    const careful = await acme.reopen({ unknownOrigins: 'quarantine' });
    await careful.settled();
    assert.equal(await visible(careful), 0);
    await careful.stop();
    const again = await acme.reopen({ unknownOrigins: 'accept' });
    await again.settled();
    assert.equal(await visible(again), 1);
    assert.deepEqual(
      codes(
        await again.inbound.admit({ peerId: relay.peerId, pairing }, [
          beta.fact(at(clock, 2), { source: 'stigmem://acme.example/a/b' }),
        ]),
      ),
      ['not_owner'],
    );
  });

  it('pairing lets out what waited, with all that follows from it; parting keeps what was said, and stops what comes', async () => {
    const old = beta.fact(at(clock), { value: text('old'), entity: 'user:alice' });
    const id = (wire: { bytes: Uint8Array }): string => statementId(sha256(wire.bytes));
    const wires = [
      beta.manifest(at(clock)),
      old,
      beta.fact(at(clock, 1), { value: text('new'), entity: 'user:alice' }, { supersedes: [id(old)] }),
      beta.fact(at(clock, 2), { entity: `fact:${id(old)}`, relation: 'stigmem:ttl', value: { type: 'number', v: 60 } }),
      beta.fact(at(clock, 3), { entity: 'user:bob', value: text('x') }),
      beta.fact(at(clock, 4), { entity: 'user:bob', value: text('y') }),
      beta.fact(at(clock, 5), {
        entity: 'stigmem://beta.example/relation/memory:role',
        relation: 'stigmem:cardinality',
        value: text('many'),
      }),
    ];
    await acme.node.facts.assert(who, fact({ v: 'ours', entity: 'user:alice', scope: 'public' }));
    await pass(wires.toReversed());
    assert.deepEqual(await shown(), ['ours current']);
    await admitPeer(acme, beta);
    assert.equal(acme.node.figures().untrusted, 0);
    assert.deepEqual((await shown()).sort(), ['new current', 'ours current', 'x current', 'y current']);
    assert.deepEqual((await shown({ include: ['history'] })).sort(), [
      'new current',
      'old superseded',
      'ours current',
      'x current',
      'y current',
    ]);
    assert.equal((await acme.node.conflicts.list(who, { limit: 10 })).conflicts.length, 1);
    await acme.node.peers.update(who, beta.peerId, { suspended: true });
    await acme.node.settled();
    assert.equal((await shown()).includes('new current'), true, 'what was said while we were paired stays');
    const late = beta.fact(at(clock, 9), { value: text('late'), entity: 'user:carol' });
    assert.deepEqual(codes(await pass([late])), ['accepted']);
    assert.deepEqual(
      await shown({ include: ['quarantined'] }).then((all) => all.filter((one) => one.startsWith('late'))),
      ['late quarantined'],
    );
    assert.equal(acme.node.figures().untrusted, 1);
    // Nor does whatever else is decided meanwhile, or that another peer of it comes and goes.
    await acme.node.peers.update(who, beta.peerId, { gives: [] });
    await acme.node.settled();
    assert.equal((await shown()).includes('late current'), false);
    await acme.node.peers.update(who, beta.peerId, { suspended: false });
    await acme.node.settled();
    assert.equal((await shown()).includes('late current'), true);
    await sound();
  });

  it('what is quarantined counts for nothing: it retires, outlives and judges nobody', async () => {
    const insider = new Signer('beta.example', clock.now);
    await admitPeer(acme, beta);
    const good = beta.fact(at(clock), { value: text('good'), entity: 'user:alice' });
    await send(acme, beta.peerId, [good]);
    // A node that its organisation does not list yet, brought by our operator from a file.
    const id = statementId(sha256(good.bytes));
    const forged = [
      insider.fact(at(clock, 1), { value: text('bad'), entity: 'user:alice' }, { supersedes: [id] }),
      insider.fact(at(clock, 2), { entity: `fact:${id}`, relation: 'stigmem:ttl', value: { type: 'number', v: -1 } }),
      insider.fact(at(clock, 3), { entity: 'user:alice', confidence: 0, value: text('good') }),
    ];
    const refused = await acme.node.transfer.importStatements(who, forged);
    assert.ok(refused.every((one) => one.status === 'rejected' && one.code === 'not_owner'));
    assert.deepEqual(await shown(), ['good current']);
    // Once it is listed, its word is the organisation's.
    beta.org.add({ peerId: insider.peerId });
    await send(acme, beta.peerId, [beta.manifest(at(clock, 4)), ...forged]);
    const history = (await shown({ include: ['history'] })).sort();
    assert.deepEqual(history, ['bad current', 'good retraction', 'good superseded']);
  });

  it('what one organisation says of the statements of another retires none of them, whichever comes first', async () => {
    const gamma = new Signer('gamma.example', clock.now);
    for (const peer of [beta, gamma]) await admitPeer(acme, peer);
    for (const [n, isFirst] of [false, true].entries()) {
      const target = gamma.fact(at(clock, n), { value: text(`target ${n}`), entity: `user:t${n}` });
      const id = statementId(sha256(target.bytes));
      const notes = [
        beta.fact(at(clock, 10 + n), { value: text(`other ${n}`), entity: `user:o${n}` }, { supersedes: [id] }),
        beta.fact(at(clock, 20 + n), {
          ...{ entity: `fact:${id}`, relation: 'stigmem:ttl', value: { type: 'number', v: -60 } },
        }),
      ];
      const note = async (): Promise<void> => {
        await send(acme, beta.peerId, notes);
        const ours = { entity: `fact:${id}`, relation: 'stigmem:ttl', type: 'number', v: -60 };
        await acme.node.facts.assert(who, fact({ ...ours, scope: 'public' }));
      };
      if (isFirst) await note();
      await send(acme, gamma.peerId, [target]);
      if (!isFirst) await note();
    }
    const targets = (await shown({ include: ['history'] })).filter((one) => one.startsWith('target'));
    assert.deepEqual(targets.sort(), ['target 0 current', 'target 1 current']);
    await sound();
  });

  it('an organisation counts while one of its peers is active', async () => {
    const second = new Signer('beta.example', clock.now);
    beta.org.add({ peerId: second.peerId });
    await admitPeer(acme, beta);
    await admitPeer(acme, { peerId: second.peerId, org: beta.org });
    await acme.node.peers.remove(who, second.peerId);
    await send(acme, beta.peerId, [beta.fact(at(clock), { value: text('said') })]);
    assert.deepEqual(await shown(), ['said current']);
  });

  it('other nodes of our own organisation count if our manifest lists them, and this one until it is revoked', async () => {
    const sibling = new Signer('acme.example', clock.now);
    const say = (by: Signer, v: string) =>
      by.fact(at(clock, 1), { value: text(v), entity: `user:${v}`, source: 'agent:x' });
    const bare = new Signer('acme.example', clock.now);
    const lone = await openTestNode({ clock, nodeKey: bare.key, peerId: bare.peerId });
    await lone.node.transfer.importStatements(who, [say(sibling, 'unproven'), say(bare, 'own')]);
    const { facts: found } = await lone.node.facts.query(who, { limit: 9, include: ['quarantined'] });
    assert.deepEqual(found.map(({ statement, state }) => `${statement.body.value.v} ${state}`).sort(), [
      'own current',
      'unproven quarantined',
    ]);
    await acme.node.manifests.publish(who, acme.org.add({ peerId: sibling.peerId }));
    await acme.node.transfer.importStatements(who, [say(sibling, 'listed')]);
    clock.advance(10);
    await acme.node.facts.assert(who, fact({ v: 'ours' }));
    assert.deepEqual((await shown()).sort(), ['listed current', 'ours current']);
    await acme.node.manifests.publish(who, acme.org.revoke(acme.peerId, at(clock, -5)));
    await acme.node.settled();
    assert.deepEqual(await shown(), ['listed current']);
    await sound();
  });

  it('imports of an organisation nobody knows wait in quarantine for its manifest and a pairing', async () => {
    const wires = [
      beta.fact(at(clock), { scope: 'local', value: text('local') }),
      beta.fact(at(clock, 1), { value: text('public') }),
    ];
    const outcomes = await acme.node.transfer.importStatements(who, wires);
    assert.deepEqual(
      outcomes.map(({ status }) => status),
      ['accepted', 'accepted'],
    );
    assert.deepEqual(await shown(), []);
    await admitPeer(acme, beta);
    assert.deepEqual((await shown()).sort(), ['local current', 'public current'], 'what is in no set, too');
    // Not those of whom the manifest says nothing.
    const impostor = new Signer('gamma.example', clock.now);
    await acme.node.transfer.importStatements(who, [impostor.fact(at(clock, 2), { value: text('impostor') })]);
    await admitPeer(acme, new Signer('gamma.example', clock.now));
    assert.deepEqual(
      (await shown({ include: ['quarantined'] })).filter((one) => one.startsWith('impostor')),
      ['impostor quarantined'],
    );
    await sound();
  });

  it('imports are the operator’s decision: also of who is rejected, removed, or let its manifest expire', async () => {
    const picky = await openOrgNode('picky.example', { clock, unknownOrigins: 'reject' });
    const taken = async (n: number): Promise<string[]> => {
      const outcomes = await picky.node.transfer.importStatements(who, [
        beta.fact(at(clock), { entity: `user:u${n}` }),
      ]);
      return outcomes.map(({ status }) => status);
    };
    assert.deepEqual(await taken(1), ['accepted'], 'rejected');
    await admitPeer(picky, beta);
    await picky.node.peers.remove(who, beta.peerId);
    assert.deepEqual(await taken(2), ['accepted'], 'removed');
    clock.advance(366 * 24 * 60 * 60 * 1000);
    assert.deepEqual(await taken(3), ['accepted'], 'expired');
  });

  it('fault 6: a key revoked as of a moment: what it signed before stays, marked; what it signed after is in no view', async () => {
    const second = new Signer('beta.example', clock.now);
    beta.org.add({ peerId: second.peerId });
    await admitPeer(acme, beta);
    const [before, after] = [1, 5].map((ms) =>
      second.fact(at(clock, ms), { value: text(`at ${ms}`), entity: `user:u${ms}` }),
    );
    const retired = beta.fact(at(clock), { value: text('retired'), entity: 'user:r' });
    const thief = second.fact(
      at(clock, 6),
      { value: text('thief'), entity: 'user:r' },
      { supersedes: [statementId(sha256(retired.bytes))] },
    );
    await send(acme, beta.peerId, [retired, before!, after!, thief]);
    assert.deepEqual((await shown()).sort(), ['at 1 current', 'at 5 current', 'thief current']);
    beta.org.revoke(second.peerId, at(clock, 3));
    await send(acme, beta.peerId, [beta.manifest(at(clock, 7))]);
    assert.deepEqual((await shown()).sort(), ['at 1 current', 'retired current']);
    const marks = await facts({ include: ['quarantined'] });
    assert.deepEqual(
      marks.map(({ statement, state, sourceRevoked }) => `${statement.body.value.v} ${state} ${sourceRevoked}`).sort(),
      ['at 1 current true', 'at 5 revoked true', 'retired current false', 'thief revoked true'],
    );
    const late = [2, 3, 4].map((ms) =>
      second.fact(at(clock, ms), { value: text(`late ${ms}`), entity: `user:late${ms}` }),
    );
    assert.deepEqual(
      codes(await send(acme, beta.peerId, late)),
      ['accepted', 'accepted', 'key_revoked'],
      'what is older was signed rightfully, and so was what was said at that moment',
    );
    assert.deepEqual((await shown()).filter((one) => one.startsWith('late')).sort(), [
      'late 2 current',
      'late 3 current',
    ]);
    await sound();
  });

  it('a node its organisation dropped from the list goes on counting for what it said, and may say no more', async () => {
    const second = new Signer('beta.example', clock.now);
    beta.org.add({ peerId: second.peerId });
    await admitPeer(acme, beta);
    await send(acme, beta.peerId, [second.fact(at(clock, 1), { value: text('said') })]);
    const signing = { orgKey: beta.org.key, now: clock.ms };
    const revoked = withoutNode(beta.org.manifest, second.peerId, at(clock, 1), signing);
    const dropped = withoutRevokedNode(revoked, second.peerId, signing);
    assert.deepEqual(
      dropped.nodes.map(({ peer_id }) => peer_id),
      [beta.peerId],
    );
    for (const manifest of [revoked, dropped]) await acme.node.manifests.accept(who, manifest, { pin: true });
    await acme.node.settled();
    const [said] = await facts();
    assert.deepEqual([said!.state, said!.sourceRevoked], ['current', true]);
    const more = second.fact(at(clock, 1), { entity: 'user:more' });
    assert.deepEqual(codes(await send(acme, beta.peerId, [more])), ['not_owner']);
    await sound();
  });

  it('is judged again after a crash in the middle of it, and by a rebuild alike', async () => {
    const wires = Array.from({ length: 300 }, (_, n) =>
      beta.fact(at(clock, 0, n), { entity: `user:u${n % 30}`, value: { type: 'number', v: n } }),
    );
    await pass([beta.manifest(at(clock)), ...wires]);
    const { peers, manifests } = acme.node;
    await manifests.accept(who, beta.org.manifest, { pin: true });
    await peers.approve(who, beta.peerId, OPEN_TERMS);
    await peers.declared(beta.peerId, beta.declared());
    // Killed before the views were brought up to date: the store as it is, opened by another process.
    const next = await acme.reopen();
    await next.settled();
    const views = await derivedDigest(acme.store);
    assert.equal((await next.facts.query(who, { limit: 500, relation: 'memory:role' })).facts.length, 30);
    await next.stop();
    await acme.node.stop();
    const report = await reindex(acme.store, () => acme.reopen());
    assert.deepEqual([report.changed, report.after], [false, views]);
  });

  it('a rebuild learns again the manifests whose records were lost', async () => {
    await pass([beta.manifest(at(clock)), beta.fact(at(clock, 1))]);
    await acme.node.stop();
    await acme.store.batch([{ type: 'del', key: keys.manifestKey('beta.example') }], { durable: true });
    await reindex(acme.store, () => acme.reopen());
    const node = await acme.reopen();
    assert.equal(node.manifests.require('beta.example').fingerprint, beta.org.manifest.key_id);
  });

  it('what this node signed stays its own when its key or the name of its organisation is changed', async () => {
    await acme.node.facts.assert(who, fact({ v: 'mine', entity: 'user:alice' }));
    await acme.node.stop();
    const heir = new Signer('acme.example', clock.now);
    const node = await acme.reopen({ nodeKey: heir.key, peerId: heir.peerId });
    assert.equal((await node.facts.query(who, { limit: 9, relation: 'memory:role' })).facts[0]!.state, 'current');
    await node.stop();
    const report = await reindex(acme.store, () => acme.reopen({ nodeKey: heir.key, peerId: heir.peerId }));
    assert.equal(report.changed, false);
    const renamed = await acme.reopen({ nodeKey: heir.key, peerId: heir.peerId, org: 'renamed.example' });
    await renamed.settled();
    assert.equal((await renamed.facts.query(who, { limit: 9, relation: 'memory:role' })).facts[0]!.state, 'current');
  });

  it('resolutions of who is in quarantine are no opinion at all', async () => {
    const side = valueDigest(text('ours'));
    await acme.node.facts.assert(who, fact({ v: 'ours', entity: 'user:alice', scope: 'public' }));
    await acme.node.facts.assert(who, fact({ v: 'also ours', entity: 'user:alice', scope: 'public' }));
    const [conflict] = (await acme.node.conflicts.list(who, { limit: 10 })).conflicts;
    const judgement = beta.resolution(at(clock, 3), {
      conflict: conflict!.id,
      entity: 'user:alice',
      relation: 'memory:role',
      scope: 'public',
      source: 'stigmem://beta.example/agent/judge',
      verdict: 'winner',
      sides: [side, valueDigest(text('also ours'))].sort(),
      winner: side,
      winning_fact: conflict!.factB.id,
      note: '',
    });
    await acme.node.stop();
    const node = await acme.reopen({ trustedResolvers: ['beta.example'] });
    const pairing = node.peers.pairing(relay.peerId)!;
    await node.inbound.admit({ peerId: relay.peerId, pairing }, [beta.manifest(at(clock)), judgement]);
    await node.settled();
    const open = async () => (await node.conflicts.list(who, { status: 'unresolved', limit: 10 })).conflicts.length;
    assert.equal(await open(), 1);
    const id = statementId(sha256(judgement.bytes));
    assert.equal((await node.facts.get(who, id)).fact.state, 'quarantined');
    await admitPeer({ ...acme, node }, beta);
    assert.equal(await open(), 0);
  });
});

describe('standing: limits of the quarantine', () => {
  it('holds so many statements of one organisation, counted again at every start, until it is paired', async () => {
    const clock = new TestClock();
    const acme = await openOrgNode('acme.example', { clock });
    const relay = new Signer('relay.example', clock.now);
    await admitPeer(acme, relay);
    const beta = new Signer('beta.example', clock.now);
    await send(acme, relay.peerId, [beta.manifest(at(clock))]);
    const { seq } = acme.node.figures();
    await acme.node.stop();
    // As if that many had come: rows of the sequence, which is all that is read of them at a start.
    const set = keys.subject('public/beta.example/stigmem');
    const rows = Array.from({ length: MAX_QUARANTINED - 2 }, (_, n) => ({
      type: 'put' as const,
      key: keys.sequenceKey(seq + 1 + n),
      value: keys.sequenceValue(sha256(`statement ${n}`), at(clock), set),
    }));
    const head = fromJson<Head>((await acme.store.get(keys.metaKey('head')))!);
    const moved = toJson({ ...head, seq: seq + rows.length });
    await acme.store.batch([...rows, { type: 'put', key: keys.metaKey('head'), value: moved }], { durable: true });
    const node = await acme.reopen();
    const t = { ...acme, node };
    await node.sets.ready;
    assert.equal(node.figures().untrusted, MAX_QUARANTINED - 1);
    const wires = [1, 2, 3].map((n) => beta.fact(at(clock, n), { entity: `user:u${n}` }));
    const outcomes = await send(t, relay.peerId, wires);
    assert.deepEqual(codes(outcomes), ['accepted', 'quarantine_full', 'quarantine_full']);
    assert.ok(outcomes.slice(1).every((one) => one.status === 'refused' && one.retryable));
    assert.deepEqual(codes(await send(t, relay.peerId, [relay.fact(at(clock, 5))])), ['accepted']);
    await admitPeer(t, beta);
    assert.equal(node.figures().untrusted, 0);
    assert.deepEqual(codes(await send(t, relay.peerId, wires)), ['duplicate', 'accepted', 'accepted']);
  });

  it('holds so many of all organisations together, however many there are', () => {
    const manifests = { proof: () => undefined };
    const standing = new Standing(
      { store: new MemoryStore(), manifests, onChanged: () => {} },
      { org: 'acme.example', peerId: 'self', formerPeerIds: new Set(), unknownOrigins: 'quarantine' },
    );
    const components = { standing, manifests: manifests as never, isRemoved: () => false, now: () => 0 };
    const authority = new Authority(components, { org: 'acme.example', peerId: 'self' });
    for (let n = 0; n < MAX_QUARANTINED_ALL - 1; n++) standing.count(`s${n % 100}.example`, n);
    assert.doesNotThrow(() => authority.assertRoom('new.example', { ofOrg: 0, ofAll: 0 }));
    const full = (error: unknown): boolean => error instanceof NodeError && error.code === 'quarantine_full';
    assert.throws(() => authority.assertRoom('new.example', { ofOrg: 0, ofAll: 1 }), full);
    assert.throws(() => authority.assertRoom('new.example', { ofOrg: MAX_QUARANTINED, ofAll: 0 }), full);
    assert.doesNotThrow(() => authority.assertRoom('acme.example', { ofOrg: 0, ofAll: MAX_QUARANTINED_ALL }));
  });
});

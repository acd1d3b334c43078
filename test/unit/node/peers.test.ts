import assert from 'node:assert/strict';
import { generateKeyPairSync } from 'node:crypto';
import { peerIdFromPublicKey, rawPublicKey } from '../../../src/identity/index.ts';
import type { PeerRecord } from '../../../src/node/federation.ts';
import { mend } from '../../../src/node/mend.ts';
import {
  MAX_DECLARED_PEERS,
  MAX_PENDING_PEERS,
  MAX_REMOVED_PEERS,
  SEEN_WRITE_MS,
} from '../../../src/node/mesh-limits.ts';
import type { PeerChange } from '../../../src/node/mesh-services.ts';
import type { Principal } from '../../../src/policy/principal.ts';
import * as keys from '../../../src/store/keys.ts';
import { MemoryStore } from '../../../src/store/memory/memory-store.ts';
import { StoreError } from '../../../src/store/store.ts';
import { FaultyStore } from '../../support/faulty-store.ts';
import {
  admitPeer,
  at,
  codes,
  OPEN_TERMS,
  type OrgNode,
  openOrgNode,
  PUBLIC_TERMS,
  Signer,
  send,
} from '../../support/node-pair.ts';
import { fact, refuses, TestClock, who } from '../../support/test-node.ts';

const newPeerId = (): string => peerIdFromPublicKey(rawPublicKey(generateKeyPairSync('ed25519').privateKey));
const reader: Principal = { ...who, keyId: 'k', permissions: new Set(['read', 'write']) };

describe('peers', () => {
  let clock: TestClock;
  let acme: OrgNode;
  let beta: Signer;
  let changes: PeerChange[];

  beforeEach(async () => {
    clock = new TestClock();
    acme = await openOrgNode('acme.example', { clock });
    beta = new Signer('beta.example', clock.now);
    changes = [];
    acme.node.peers.on({ changed: (change) => changes.push(change) });
  });

  const states = () => changes.map(({ before, peer }) => `${before?.state ?? 'none'} → ${peer.state}`);
  const audits = async (type: string) => (await acme.node.audit.list(who, { type, limit: 500 })).entries;

  it('fault 1: who is unknown and declares itself is pending, shares nothing, and is told about once', async () => {
    const { peers } = acme.node;
    const record = await peers.noteUnknown(beta.peerId, beta.declared());
    assert.deepEqual(
      [record.state, record.org, record.approved, record.via],
      ['pending', 'beta.example', false, 'unknown'],
    );
    assert.equal(peers.pairing(beta.peerId), undefined);
    assert.equal(peers.isPaired('beta.example'), false);
    await peers.noteUnknown(beta.peerId, beta.declared());
    await peers.noteUnknown(beta.peerId, beta.declared());
    assert.deepEqual(states(), ['none → pending']);
    const [entry, ...more] = await audits('peer_pending');
    assert.deepEqual([entry!.detail!.peer_id, entry!.detail!.org, more.length], [beta.peerId, 'beta.example', 0]);
    // What it says about itself may change until somebody decides.
    await peers.noteUnknown(beta.peerId, beta.declared(PUBLIC_TERMS, { addrs: ['/ip4/192.0.2.7/tcp/1'] }));
    assert.deepEqual(peers.require(beta.peerId).addrs, ['/ip4/192.0.2.7/tcp/1']);
    assert.deepEqual(peers.require(beta.peerId).theirs!.gives, ['public']);
    assert.equal((await audits('peer_pending')).length, 1, 'strangers cannot fill the audit log');
    await peers.approve(who, beta.peerId, { ...OPEN_TERMS, expiresAt: clock.ms + 1 });
    const gamma = new Signer('gamma.example', clock.now);
    await peers.approve(who, gamma.peerId, OPEN_TERMS);
    for (const one of [beta, gamma])
      await peers.noteUnknown(one.peerId, one.declared(OPEN_TERMS, { org: 'x.example' }));
    assert.deepEqual([peers.require(beta.peerId).org, peers.require(gamma.peerId).org], ['beta.example', null]);
  });

  it('fault 1: pending peers are bounded: the oldest makes room, and nobody who was decided about', async () => {
    const { peers } = acme.node;
    await peers.approve(who, beta.peerId, OPEN_TERMS);
    const dropped: string[] = [];
    peers.on({ changed: () => {}, dropped: (peerId) => dropped.push(peerId) });
    const strangers = Array.from({ length: MAX_PENDING_PEERS + 3 }, newPeerId);
    for (const peerId of strangers) {
      clock.advance(1);
      await peers.noteUnknown(peerId, beta.declared());
    }
    assert.deepEqual(dropped, strangers.slice(0, 3));
    assert.equal(peers.list().length, MAX_PENDING_PEERS + 1);
    const again = await acme.reopen();
    assert.deepEqual(again.peers.list(), peers.list());
    assert.ok(again.peers.get(beta.peerId));
  });

  it('are active once both sides declared, in whichever order, with the terms of both', async () => {
    const { peers } = acme.node;
    await peers.approve(who, beta.peerId, {
      gives: ['public', 'company'],
      takes: ['public'],
      namespaces: ['roadmap', 'memory'],
    });
    assert.equal(peers.require(beta.peerId).state, 'pending');
    await peers.declared(beta.peerId, beta.declared());
    assert.deepEqual(peers.pairing(beta.peerId), {
      org: 'acme.example',
      peerOrg: 'beta.example',
      ours: { gives: ['company', 'public'], takes: ['public'], namespaces: ['memory', 'roadmap'] },
      theirs: { ...OPEN_TERMS, signedAt: 0, expiresAt: null },
    });
    const gamma = new Signer('gamma.example', clock.now);
    await peers.noteUnknown(gamma.peerId, gamma.declared());
    assert.equal((await peers.approve(who, gamma.peerId, OPEN_TERMS)).state, 'active');
    assert.ok(peers.isPaired('beta.example') && peers.isPaired('gamma.example') && peers.isPaired('acme.example'));
    assert.deepEqual(states(), ['none → pending', 'pending → active', 'none → pending', 'pending → active']);
    const again = await acme.reopen();
    assert.deepEqual(again.peers.pairing(beta.peerId), peers.pairing(beta.peerId));
  });

  it('that say the same again cost no write; who comes back is seen', async () => {
    const { peers } = acme.node;
    await admitPeer(acme, beta);
    const { auditSeq } = acme.node.figures();
    changes.length = 0;
    const { lastSeenAt } = peers.require(beta.peerId);
    clock.advance(SEEN_WRITE_MS - 1);
    await peers.declared(beta.peerId, beta.declared(OPEN_TERMS, { signedAt: clock.ms }));
    peers.seen(beta.peerId);
    assert.equal(acme.node.figures().auditSeq, auditSeq);
    assert.deepEqual(changes, []);
    assert.equal(peers.require(beta.peerId).lastSeenAt, lastSeenAt);
    clock.advance(1);
    peers.seen(beta.peerId);
    assert.equal(peers.require(beta.peerId).lastSeenAt, clock.ms);
    await acme.node.writer.probe();
    const again = await acme.reopen();
    assert.equal(again.peers.require(beta.peerId).lastSeenAt, clock.ms);
  });

  it('stay removed when they were seen while that was being written', async () => {
    const { peers } = acme.node;
    await admitPeer(acme, beta);
    clock.advance(SEEN_WRITE_MS);
    const removing = peers.remove(who, beta.peerId);
    // The writer takes what waits in the next turn of the event loop; until then the removal is with it, and undone.
    for (let step = 0; step < 20; step++) await undefined;
    peers.seen(beta.peerId);
    await removing;
    await acme.node.writer.probe();
    assert.equal(peers.require(beta.peerId).state, 'revoked');
    const again = await acme.reopen();
    assert.equal(again.peers.require(beta.peerId).state, 'revoked');
  });

  it('do not change their organisation, and declare nothing that nobody approved', async () => {
    const { peers } = acme.node;
    await assert.rejects(peers.declared(beta.peerId, beta.declared()), refuses('peer_not_found'));
    await peers.noteUnknown(beta.peerId, beta.declared());
    await assert.rejects(peers.declared(beta.peerId, beta.declared()), refuses('peer_refused'));
    await peers.approve(who, beta.peerId, OPEN_TERMS);
    const turncoat = beta.declared(OPEN_TERMS, { org: 'gamma.example' });
    await assert.rejects(peers.declared(beta.peerId, turncoat), refuses('peer_refused'));
    assert.equal(peers.require(beta.peerId).org, 'beta.example');
    // Another key than the operator compared.
    const gamma = new Signer('gamma.example', clock.now);
    await peers.noteUnknown(gamma.peerId, gamma.declared());
    const identity = { org: 'gamma.example', orgKey: beta.org.orgKey };
    await assert.rejects(
      peers.approve(who, gamma.peerId, { ...OPEN_TERMS, identity }),
      refuses('fingerprint_mismatch'),
    );
    assert.equal(peers.require(gamma.peerId).approved, false);
  });

  it('are suspended and resumed, and on other terms, at once and audited', async () => {
    const { peers } = acme.node;
    await admitPeer(acme, beta);
    changes.length = 0;
    await peers.update(who, beta.peerId, { suspended: true });
    assert.equal(peers.pairing(beta.peerId), undefined);
    // What it declares meanwhile does not bring it back.
    await peers.declared(beta.peerId, beta.declared(PUBLIC_TERMS));
    assert.equal(peers.require(beta.peerId).state, 'suspended');
    await peers.update(who, beta.peerId, { suspended: false });
    await peers.update(who, beta.peerId, { gives: [], namespaces: ['memory'] });
    assert.deepEqual(peers.pairing(beta.peerId)!.ours, {
      gives: [],
      takes: ['company', 'public'],
      namespaces: ['memory'],
    });
    await peers.update(who, beta.peerId, { gives: [], namespaces: ['memory'] });
    assert.deepEqual(states(), [
      'active → suspended',
      'suspended → suspended',
      'suspended → active',
      'active → active',
    ]);
    assert.equal((await audits('peer_suspended')).length, 1);
    assert.equal((await audits('peer_changed')).length, 2);
    await peers.update(who, beta.peerId, { suspended: true });
    await peers.update(who, beta.peerId, { gives: ['public'] });
    assert.deepEqual([(await audits('peer_suspended')).length, (await audits('peer_changed')).length], [2, 3]);
    assert.equal((await peers.approve(who, beta.peerId, OPEN_TERMS)).state, 'active', 'approving it again resumes it');
  });

  it('expire when the time of either side runs out: at once for who asks, and told by the next sweep', async () => {
    const { peers } = acme.node;
    await admitPeer(acme, beta);
    await peers.update(who, beta.peerId, { expiresAt: clock.ms + 1000 });
    const gamma = new Signer('gamma.example', clock.now);
    await admitPeer(acme, gamma);
    await peers.declared(gamma.peerId, gamma.declared(OPEN_TERMS, { expiresAt: clock.ms + 2000 }));
    changes.length = 0;
    clock.advance(1000);
    assert.equal(peers.pairing(beta.peerId), undefined);
    assert.equal(peers.require(beta.peerId).state, 'expired');
    assert.equal(peers.list().find(({ peerId }) => peerId === beta.peerId)!.state, 'expired');
    assert.equal(peers.isPaired('beta.example'), false);
    acme.tick();
    await acme.node.writer.probe();
    assert.deepEqual(states(), ['active → expired']);
    assert.deepEqual(
      (await audits('peer_expired')).map(({ detail }) => detail!.peer_id),
      [beta.peerId],
    );
    clock.advance(1000);
    acme.tick();
    await acme.node.writer.probe();
    assert.equal((await audits('peer_expired')).length, 2);
    await peers.update(who, beta.peerId, { expiresAt: null });
    assert.equal(peers.require(beta.peerId).state, 'active');
    await peers.update(who, beta.peerId, { expiresAt: clock.ms + 1000 });
    await acme.node.stop();
    const again = await acme.reopen();
    clock.advance(1000);
    acme.tick();
    await again.writer.probe();
    assert.equal((await again.audit.list(who, { type: 'peer_expired', limit: 9 })).entries.length, 3, 'as of before');
  });

  it('fault 6: a peer that was removed shares nothing from that moment, what it signs is refused, what it said stays', async () => {
    const { peers } = acme.node;
    const pairing = await admitPeer(acme, beta);
    await send(acme, beta.peerId, [beta.fact(at(clock))]);
    const removed = await peers.remove(who, beta.peerId);
    assert.deepEqual(
      [removed.state, removed.revokedBy, peers.pairing(beta.peerId)],
      ['revoked', 'operator', undefined],
    );
    assert.deepEqual(states().at(-1), 'active → revoked');
    // Through whomever it comes, and however old it says to be.
    const late = [beta.fact(at(clock, 1)), beta.fact(at(clock, -60_000))];
    assert.deepEqual(codes(await send(acme, beta.peerId, late, pairing)), ['origin_removed', 'origin_removed']);
    const [kept, ...others] = (await acme.node.facts.query(who, { limit: 10, relation: 'memory:role' })).facts;
    assert.deepEqual([kept!.state, kept!.sourceRevoked, others.length], ['current', true, 0]);
    await assert.rejects(peers.declared(beta.peerId, beta.declared()), refuses('peer_revoked'));
    await assert.rejects(peers.update(who, beta.peerId, { gives: [] }), refuses('peer_revoked'));
    await peers.noteUnknown(beta.peerId, beta.declared());
    assert.equal(peers.require(beta.peerId).state, 'revoked', 'it does not come back by itself');
    assert.deepEqual(states().at(-1), 'active → revoked', 'nor is anybody told so');
    await peers.remove(who, beta.peerId);
    assert.equal((await audits('peer_removed')).length, 1, 'once is enough');
    const again = await acme.reopen();
    assert.deepEqual(codes(await again.inbound.admit({ peerId: beta.peerId, pairing }, late)), [
      'origin_removed',
      'origin_removed',
    ]);
    // Our operator may take it back.
    assert.equal((await again.peers.approve(who, beta.peerId, OPEN_TERMS)).state, 'active');
    assert.equal((await again.facts.query(who, { limit: 10, relation: 'memory:role' })).facts[0]!.sourceRevoked, false);
  });

  it('fault 6: a peer whose organisation revoked its key is revoked here, and nobody brings it back', async () => {
    const { peers, manifests } = acme.node;
    await admitPeer(acme, beta);
    const old = beta.fact(at(clock));
    await send(acme, beta.peerId, [old]);
    const pairing = peers.pairing(beta.peerId)!;
    clock.advance(1000);
    beta.org.revoke(beta.peerId, at(clock));
    await manifests.accept(who, beta.org.manifest, { pin: true });
    await acme.node.settled();
    assert.deepEqual([peers.require(beta.peerId).state, peers.require(beta.peerId).revokedBy], ['revoked', 'manifest']);
    assert.equal(peers.pairing(beta.peerId), undefined);
    assert.deepEqual(codes(await send(acme, beta.peerId, [beta.fact(at(clock, 1))], pairing)), ['key_revoked']);
    const [kept] = (await acme.node.facts.query(who, { limit: 10, relation: 'memory:role' })).facts;
    assert.deepEqual([kept!.state, kept!.sourceRevoked], ['current', true]);
    await assert.rejects(peers.approve(who, beta.peerId, OPEN_TERMS), refuses('peer_revoked'));
    await manifests.accept(who, beta.org.add({ peerId: newPeerId() }), { pin: true });
    await acme.node.settled();
    assert.equal((await audits('peer_removed')).length, 1, 'once is enough');
    assert.equal((await peers.remove(who, beta.peerId)).revokedBy, 'operator');
  });

  it('of our own organisation are admitted without ceremony, and share all but what is local', async () => {
    const { peers } = acme.node;
    const sibling = newPeerId();
    const { authority, orgKey } = acme.org;
    const declared = { ...beta.declared(), org: authority, orgKey };
    const record = await peers.admitSibling(sibling, declared);
    assert.deepEqual([record.state, record.via, record.approved], ['active', 'org', true]);
    assert.deepEqual(peers.pairing(sibling)!.ours.gives, ['team', 'company', 'public']);
    const { auditSeq } = acme.node.figures();
    await peers.admitSibling(sibling, { ...declared, signedAt: 5 });
    assert.equal(acme.node.figures().auditSeq, auditSeq);
    await assert.rejects(peers.admitSibling(newPeerId(), beta.declared()), refuses('peer_refused'));
    const former = newPeerId();
    await peers.approve(who, former, { ...PUBLIC_TERMS, expiresAt: clock.ms + 1000 });
    assert.equal((await peers.admitSibling(former, declared)).expiresAt, null);
    await peers.remove(who, sibling);
    await assert.rejects(peers.admitSibling(sibling, declared), refuses('peer_revoked'));
  });

  it('are for operators who may federate, and with terms that can be kept', async () => {
    const { peers } = acme.node;
    const approve = (terms: object, by = who, peerId = beta.peerId) =>
      peers.approve(by, peerId, { ...OPEN_TERMS, ...terms } as typeof OPEN_TERMS);
    await assert.rejects(approve({}, reader), refuses('permission_denied'));
    await assert.rejects(approve({}, who, acme.peerId), refuses('peer_is_self'));
    await assert.rejects(approve({}, who, 'QmNotEd25519'), refuses('invalid_peer_id'));
    await assert.rejects(approve({ gives: ['local'] }), refuses('invalid_terms'));
    await assert.rejects(approve({ takes: ['world'] }), refuses('invalid_terms'));
    await assert.rejects(approve({ namespaces: ['memory:role'] }), refuses('invalid_terms'));
    await assert.rejects(approve({ namespaces: ['x'.repeat(257)] }), refuses('invalid_terms'));
    await assert.rejects(approve({ namespaces: Array.from({ length: 257 }, String) }), refuses('invalid_terms'));
    await assert.rejects(approve({ addrs: ['192.0.2.1:4701'] }), refuses('invalid_address'));
    await assert.rejects(approve({ addrs: [`/dns4/${'x'.repeat(250)}`] }), refuses('invalid_address'));
    await assert.rejects(
      approve({ addrs: Array.from({ length: 17 }, (_, n) => `/ip4/192.0.2.${n}/tcp/1`) }),
      refuses('invalid_address'),
    );
    for (const change of [peers.update(reader, beta.peerId, {}), peers.remove(reader, beta.peerId)]) {
      await assert.rejects(change, refuses('permission_denied'));
    }
    await assert.rejects(peers.remove(who, beta.peerId), refuses('peer_not_found'));
    assert.deepEqual(peers.list(), []);
  });

  it('fault 44: are as the disk has them when a write failed and landed all the same, and whoever follows is told', async () => {
    const store = new FaultyStore(new MemoryStore());
    const t = await openOrgNode('acme.example', { clock, store });
    await admitPeer(t, beta);
    await t.node.facts.assert(who, fact({ scope: 'public' }));
    const told: string[] = [];
    t.node.peers.on({ changed: ({ before, peer }) => told.push(`${before?.state} → ${peer.state}`) });
    for (const landed of [false, true]) {
      store.failBatches({ fault: 'EIO', times: 1, landed });
      await assert.rejects(t.node.peers.remove(who, beta.peerId), StoreError);
      assert.equal(t.node.peers.require(beta.peerId).state, 'active');
      await t.node.writer.probe();
      await t.node.settled();
      assert.equal(t.node.peers.require(beta.peerId).state, landed ? 'revoked' : 'active');
      assert.deepEqual(told, landed ? ['active → revoked'] : []);
    }
    assert.equal(t.node.peers.isPaired('beta.example'), false);
  });

  it('whose records were damaged are set aside by mending, and the node opens without them', async () => {
    await admitPeer(acme, beta);
    const gamma = new Signer('gamma.example', clock.now);
    await admitPeer(acme, gamma);
    await acme.node.stop();
    const broken = [keys.peerKey(beta.peerId), keys.organisationKey('beta.example'), keys.manifestKey('gamma.example')];
    await acme.store.batch(
      broken.map((key) => ({ type: 'put', key, value: Buffer.from('{"peerId":"12D') })),
      { durable: true },
    );
    await assert.rejects(acme.reopen(), (error) => error instanceof StoreError && error.code === 'store_corrupt');
    assert.equal((await mend(acme.store, false)).records, broken.length);
    const node = await acme.reopen();
    assert.deepEqual(
      [node.peers.get(beta.peerId), node.peers.require(gamma.peerId).state, node.manifests.known('gamma.example')],
      [undefined, 'active', undefined],
    );
  });

  it('are as many as may be declared, and removed ones are remembered to a bound', async () => {
    const template = await acme.node.peers.approve(who, beta.peerId, OPEN_TERMS);
    const row = (peerId: string, more: Partial<PeerRecord>) => ({
      type: 'put' as const,
      key: keys.peerKey(peerId),
      value: Buffer.from(JSON.stringify({ ...template, peerId, ...more })),
    });
    const gone = { approved: false, state: 'revoked' as const, revokedBy: 'operator' as const };
    await acme.store.batch(
      [
        ...Array.from({ length: MAX_DECLARED_PEERS - 1 }, (_, n) => row(`declared ${n}`, {})),
        ...Array.from({ length: MAX_REMOVED_PEERS }, (_, n) => row(`removed ${n}`, { ...gone, changedAt: n })),
      ],
      { durable: true },
    );
    const node = await acme.reopen();
    await assert.rejects(node.peers.approve(who, newPeerId(), OPEN_TERMS), refuses('limit_reached'));
    const { authority, orgKey } = acme.org;
    const sibling = { ...beta.declared(), org: authority, orgKey };
    await assert.rejects(node.peers.admitSibling(newPeerId(), sibling), refuses('limit_reached'));
    await node.peers.update(who, beta.peerId, { gives: ['public'] });
    await node.peers.remove(who, beta.peerId);
    assert.equal(node.peers.get('removed 0'), undefined);
    assert.equal(node.peers.list().filter(({ state }) => state === 'revoked').length, MAX_REMOVED_PEERS);
    assert.ok(await node.peers.approve(who, newPeerId(), OPEN_TERMS));
  });
});

import assert from 'node:assert/strict';
import { hashSecret } from '../../../src/identity/proof.ts';
import type { NodeError } from '../../../src/node/errors.ts';
import type { InviteRecord } from '../../../src/node/federation.ts';
import { MAX_CLOSED_INVITES, MAX_INVITE_LIFE_S, MAX_OPEN_INVITES } from '../../../src/node/mesh-limits.ts';
import type { Principal } from '../../../src/policy/principal.ts';
import * as keys from '../../../src/store/keys.ts';
import { MemoryStore } from '../../../src/store/memory/memory-store.ts';
import { FaultyStore } from '../../support/faulty-store.ts';
import { OPEN_TERMS, type OrgNode, openOrgNode, PUBLIC_TERMS, Signer } from '../../support/node-pair.ts';
import { refuses, TestClock, who } from '../../support/test-node.ts';

const reader: Principal = { ...who, keyId: 'k', permissions: new Set(['read', 'write']) };
const DAY = 24 * 60 * 60;

describe('invites', () => {
  let clock: TestClock;
  let acme: OrgNode;
  let beta: Signer;

  beforeEach(async () => {
    clock = new TestClock();
    acme = await openOrgNode('acme.example', { clock });
    beta = new Signer('beta.example', clock.now);
  });

  const audits = async (type: string) => {
    await acme.node.settled();
    return (await acme.node.audit.list(who, { type, limit: 500 })).entries;
  };
  const create = (more: object = {}) => acme.node.invites.create(who, { ...OPEN_TERMS, expiresIn: DAY, ...more });
  /** Joins as whoever has the secret does. */
  const redeem = (id: string, secret: Uint8Array, joiner = beta) =>
    acme.node.invites.redeem(id, joiner.peerId, joiner.declared(), ({ secretHash }) => {
      return secretHash === hashSecret(secret);
    });

  it('keep the hash of their secret alone, and are on record', async () => {
    const { record, secret } = await create();
    assert.equal(secret.length, 16);
    assert.match(record.id, /^[0-9a-f]{16}$/);
    assert.deepEqual([record.expiresAt, record.createdBy], [clock.ms + DAY * 1000, who.entity]);
    const stored = (await acme.store.get(keys.inviteKey(record.id)))!.toString();
    assert.ok(!stored.includes(Buffer.from(secret).toString('hex')) && stored.includes(record.secretHash));
    const [entry] = await audits('invite_created');
    assert.ok(!JSON.stringify(entry).includes(Buffer.from(secret).toString('hex')));
    assert.equal(entry!.detail!.invite, record.id);
    clock.advance(1);
    const { record: second } = await create();
    const again = await acme.reopen();
    assert.deepEqual(again.invites.list(), [second, record], 'newest first');
  });

  it('fault 2: are spent once, and make whoever spent them an active peer on their terms, in one write', async () => {
    const { record, secret } = await create({ ...PUBLIC_TERMS, namespaces: ['memory'] });
    const { seq, auditSeq } = acme.node.figures();
    const peer = await redeem(record.id, secret);
    assert.deepEqual(
      [peer.state, peer.via, peer.org, peer.ours],
      ['active', 'invite', 'beta.example', { ...PUBLIC_TERMS, namespaces: ['memory'] }],
    );
    assert.deepEqual([acme.node.figures().seq, acme.node.figures().auditSeq], [seq, auditSeq + 2]);
    const [used] = await audits('invite_used');
    assert.deepEqual(
      [used!.detail!.invite, used!.detail!.peer_id, used!.detail!.org],
      [record.id, beta.peerId, 'beta.example'],
    );

    const thief = new Signer('thief.example', clock.now);
    await assert.rejects(redeem(record.id, secret, thief), refuses('invite_spent'));
    assert.equal(acme.node.peers.get(thief.peerId), undefined);
    const friend = new Signer('friend.example', clock.now);
    await acme.node.peers.approve(who, friend.peerId, OPEN_TERMS);
    await assert.rejects(redeem(record.id, secret, friend), refuses('invite_spent'), 'nor to who is a peer anyway');
    const refused = (await audits('invite_refused')).map(({ detail }) => [detail!.code, detail!.peer_id]);
    assert.deepEqual(refused.toReversed(), [
      ['invite_spent', thief.peerId],
      ['invite_spent', friend.peerId],
    ]);
    // The same peer may come again, for its line may have broken; not once it was removed.
    assert.equal((await redeem(record.id, secret)).state, 'active');
    await acme.node.peers.remove(who, beta.peerId);
    await assert.rejects(redeem(record.id, secret), refuses('peer_revoked'));
    const again = await acme.reopen();
    assert.equal(again.invites.get(record.id)!.usedBy, beta.peerId);
  });

  it('fault 2: run out, are taken back, and say so only to whoever has the secret', async () => {
    const { record, secret } = await create();
    const wrong = new Uint8Array(16);
    await assert.rejects(redeem(record.id, wrong), refuses('invite_refused'));
    await assert.rejects(redeem('0123456789abcdef', secret), refuses('invite_not_found'));
    clock.advance(DAY * 1000);
    await assert.rejects(redeem(record.id, wrong), refuses('invite_refused'));
    await assert.rejects(redeem(record.id, secret), refuses('invite_expired'));
    const { record: second, secret: other } = await create();
    await acme.node.invites.revoke(who, second.id);
    await assert.rejects(redeem(second.id, other), refuses('invite_revoked'));
    await assert.rejects(acme.node.invites.revoke(who, second.id), refuses('invite_revoked'));
    await assert.rejects(acme.node.invites.revoke(who, 'nothing'), refuses('invite_not_found'));
    assert.equal(acme.node.peers.get(beta.peerId), undefined);
    assert.deepEqual(
      new Set((await audits('invite_refused')).map(({ detail }) => detail!.code)),
      new Set(['invite_refused', 'invite_not_found', 'invite_expired', 'invite_revoked']),
    );
    assert.equal((await audits('invite_revoked')).length, 1);
  });

  it('fault 3: of two who come with one invite at once, one joins and the other fails loudly', async () => {
    const { record, secret } = await create();
    const others = Array.from({ length: 5 }, (_, n) => new Signer(`org${n}.example`, clock.now));
    const outcomes = await Promise.allSettled(others.map((joiner) => redeem(record.id, secret, joiner)));
    assert.equal(outcomes.filter(({ status }) => status === 'fulfilled').length, 1);
    for (const outcome of outcomes)
      if (outcome.status === 'rejected') assert.ok(refuses('invite_spent')(outcome.reason));
    assert.equal(acme.node.peers.list().length, 1);
    // Our operator sees who it was, and cuts it off.
    const [used] = await audits('invite_used');
    await acme.node.peers.remove(who, used!.detail!.peer_id as string);
    assert.equal(acme.node.peers.isPaired(used!.detail!.org as string), false);
  });

  it('fault 3: of two who come with one invite while the disk fails, one joins, also when the failed write landed', async () => {
    const store = new FaultyStore(new MemoryStore());
    const t = await openOrgNode('acme.example', { clock, store });
    const thief = new Signer('thief.example', clock.now);
    const { record } = await t.node.invites.create(who, { ...OPEN_TERMS, expiresIn: DAY });
    store.failBatches({ fault: 'EIO', times: 1, landed: true });
    const results = await Promise.allSettled([
      t.node.invites.redeem(record.id, beta.peerId, beta.declared(), () => true),
      t.node.invites.redeem(record.id, thief.peerId, thief.declared(), () => true),
    ]);
    assert.deepEqual(
      results.map((result) => result.status === 'rejected' && (result.reason as NodeError).code),
      ['store_io', 'busy'],
    );
    const stealing = t.node.invites.redeem(record.id, thief.peerId, thief.declared(), () => true);
    await assert.rejects(stealing, refuses('invite_spent'));
    assert.equal(t.node.invites.get(record.id)!.usedBy, beta.peerId);
    assert.deepEqual(
      t.node.peers.list().map(({ peerId }) => peerId),
      [beta.peerId],
    );
    // Nor is one taken back that somebody used.
    const { record: second } = await t.node.invites.create(who, { ...OPEN_TERMS, expiresIn: DAY });
    store.failBatches({ fault: 'EIO', times: 1, landed: true });
    const gamma = new Signer('gamma.example', clock.now);
    const used = t.node.invites.redeem(second.id, gamma.peerId, gamma.declared(), () => true);
    const revoking = assert.rejects(t.node.invites.revoke(who, second.id), refuses('busy'));
    await assert.rejects(used);
    await revoking;
    await assert.rejects(t.node.invites.revoke(who, second.id), refuses('invite_spent'));
  });

  it('are refused to whoever shows another organisation than it is on record with', async () => {
    await acme.node.peers.noteUnknown(beta.peerId, beta.declared(OPEN_TERMS, { org: 'former.example' }));
    const { record, secret } = await create();
    await assert.rejects(redeem(record.id, secret), refuses('fingerprint_mismatch'));
    assert.equal(acme.node.invites.get(record.id)!.usedBy, null, 'the invite is as it was');
  });

  it('are made by operators who may federate, for a time and on terms that can be kept', async () => {
    const { invites } = acme.node;
    await assert.rejects(invites.create(reader, { ...OPEN_TERMS, expiresIn: 60 }), refuses('permission_denied'));
    await assert.rejects(invites.revoke(reader, 'x'), refuses('permission_denied'));
    await assert.rejects(create({ gives: ['local'] }), refuses('invalid_terms'));
    for (const expiresIn of [0, -1, 1.5, MAX_INVITE_LIFE_S + 1]) {
      await assert.rejects(create({ expiresIn }), refuses('invalid_terms'));
    }
    assert.ok(await create({ expiresIn: MAX_INVITE_LIFE_S }));
  });

  it('are bounded: so many open ones, and the newest of those that are closed', async () => {
    const { record } = await create();
    const row = (id: string, more: Partial<InviteRecord>) => ({
      type: 'put' as const,
      key: keys.inviteKey(id),
      value: Buffer.from(JSON.stringify({ ...record, id, ...more })),
    });
    await acme.store.batch(
      [
        ...Array.from({ length: MAX_OPEN_INVITES - 1 }, (_, n) => row(`open ${n}`, {})),
        ...Array.from({ length: MAX_CLOSED_INVITES + 5 }, (_, n) => row(`closed ${n}`, { revokedAt: 1, createdAt: n })),
      ],
      { durable: true },
    );
    const node = await acme.reopen();
    const input = { ...OPEN_TERMS, expiresIn: 60 };
    await assert.rejects(node.invites.create(who, input), refuses('limit_reached'));
    await node.invites.revoke(who, 'open 0');
    await node.invites.create(who, input);
    assert.equal(node.invites.get('closed 0'), undefined);
    assert.ok(node.invites.get(`closed ${MAX_CLOSED_INVITES}`));
    assert.equal(node.invites.list().length, MAX_OPEN_INVITES + MAX_CLOSED_INVITES);
    assert.equal(await acme.store.get(keys.inviteKey('closed 0')), undefined, 'on disk as in memory');
    // What was used, or has run out, takes nobody's room.
    const open = node.invites.list().filter(({ revokedAt }) => revokedAt === null);
    const used = row(open[0]!.id, { usedBy: beta.peerId, usedAt: clock.ms });
    const over = row(open[1]!.id, { expiresAt: clock.ms });
    await acme.store.batch([used, over], { durable: true });
    const again = await acme.reopen();
    for (let n = 0; n < 2; n++) await again.invites.create(who, input);
    await assert.rejects(again.invites.create(who, input), refuses('limit_reached'));
  });
});

import assert from 'node:assert/strict';
import { SEEN_WRITE_MS } from '../../../src/node/mesh-limits.ts';
import { MemoryStore } from '../../../src/store/memory/memory-store.ts';
import { StoreError } from '../../../src/store/store.ts';
import { FaultyStore } from '../../support/faulty-store.ts';
import { admitPeer, at, OPEN_TERMS, type OrgNode, openOrgNode, PUBLIC_TERMS, Signer } from '../../support/node-pair.ts';
import { refuses, TestClock, who } from '../../support/test-node.ts';

describe('peers: decisions that cross each other, and disks that fail', () => {
  let clock: TestClock;
  let acme: OrgNode;
  let beta: Signer;

  beforeEach(async () => {
    clock = new TestClock();
    acme = await openOrgNode('acme.example', { clock });
    beta = new Signer('beta.example', clock.now);
  });

  describe('after a write that failed, and landed all the same', () => {
    let store: FaultyStore;
    let t: OrgNode;

    beforeEach(async () => {
      store = new FaultyStore(new MemoryStore());
      t = await openOrgNode('acme.example', { clock, store });
      await admitPeer(t, beta);
      clock.advance(SEEN_WRITE_MS);
      store.failBatches({ fault: 'EIO', times: 1, landed: true });
    });

    const assertRemoved = async (): Promise<void> => {
      await t.node.settled();
      assert.equal(t.node.peers.require(beta.peerId).state, 'revoked');
      const again = await t.reopen();
      assert.equal(again.peers.require(beta.peerId).state, 'revoked');
    };

    it('fault 44: stay removed when they are seen', async () => {
      await assert.rejects(t.node.peers.remove(who, beta.peerId), StoreError);
      t.node.peers.seen(beta.peerId);
      await t.node.writer.probe();
      await assertRemoved();
    });

    it('fault 44: stay removed whatever was decided from the record before', async () => {
      const { peers } = t.node;
      const removing = assert.rejects(peers.remove(who, beta.peerId), StoreError);
      const changing = assert.rejects(peers.update(who, beta.peerId, { addrs: [] }), refuses('busy'));
      await Promise.all([removing, changing]);
      await assertRemoved();
      await assert.rejects(peers.declared(beta.peerId, beta.declared(PUBLIC_TERMS)), refuses('peer_revoked'));
    });

    it('fault 44: are not forgotten while they are read again, and that fails as well', async () => {
      const { peers, manifests } = t.node;
      await assert.rejects(peers.remove(who, beta.peerId), StoreError);
      // The counters can be read; the peers cannot.
      store.failReads({ fault: 'EIO', from: 2 });
      await t.node.writer.probe();
      assert.equal(peers.get(beta.peerId)?.state, 'active');
      assert.equal(manifests.known('beta.example')?.standing, 'pinned');
      store.heal();
      await t.node.writer.probe();
      await assertRemoved();
    });
  });

  it('fault 44: whose organisation revoked their key are removed once the disk takes it', async () => {
    const store = new FaultyStore(new MemoryStore());
    const t = await openOrgNode('acme.example', { clock, store });
    await admitPeer(t, beta);
    const revoked = beta.org.revoke(beta.peerId, at(clock));
    store.failBatches({ fault: 'EIO', from: 2, times: 1 });
    await t.node.manifests.accept(who, revoked, { pin: true });
    await t.node.settled();
    assert.equal(t.node.peers.require(beta.peerId).state, 'active');
    t.tick();
    await t.node.settled();
    assert.equal(t.node.peers.require(beta.peerId).revokedBy, 'manifest');
  });

  it('whose organisation revoked their key meanwhile are not taken for good', async () => {
    const { peers, manifests, invites } = acme.node;
    await manifests.accept(who, beta.org.manifest, { pin: true });
    await peers.approve(who, beta.peerId, OPEN_TERMS);
    const { record } = await invites.create(who, { ...OPEN_TERMS, expiresIn: 60 });
    await manifests.accept(who, beta.org.revoke(beta.peerId, at(clock)), { pin: true });
    await acme.node.settled();
    await assert.rejects(peers.declared(beta.peerId, beta.declared()), refuses('peer_revoked'));
    await assert.rejects(
      invites.redeem(record.id, beta.peerId, beta.declared(), () => true),
      refuses('peer_revoked'),
    );
    await peers.noteUnknown(beta.peerId, beta.declared());
    assert.equal(peers.isPaired('beta.example'), false);
    assert.equal(invites.get(record.id)!.usedBy, null);
  });

  it('do not come back by an invite from what our operator decided meanwhile', async () => {
    const { peers, invites } = acme.node;
    await admitPeer(acme, beta);
    const { record } = await invites.create(who, { ...OPEN_TERMS, expiresIn: 60 });
    const redeem = () => invites.redeem(record.id, beta.peerId, beta.declared(), () => true);
    const suspended = peers.update(who, beta.peerId, { suspended: true });
    await assert.rejects(redeem(), refuses('peer_refused'));
    assert.equal((await suspended).state, 'suspended');
    const removed = peers.remove(who, beta.peerId);
    // As joining does, which began when the peer was none that had been removed.
    const joined = peers.approve(who, beta.peerId, { ...OPEN_TERMS, via: 'invite' });
    await assert.rejects(joined, refuses('peer_revoked'));
    assert.equal((await removed).state, 'revoked');
    assert.equal((await peers.approve(who, beta.peerId, OPEN_TERMS)).revokedBy, null, 'approving is the way back');
  });
});

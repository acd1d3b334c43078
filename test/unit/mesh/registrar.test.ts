import assert from 'node:assert/strict';
import { signDeclaration } from '../../../src/identity/declaration.ts';
import type { OrgManifest } from '../../../src/identity/manifest.ts';
import {
  createManifest,
  renewed,
  withNode,
  withoutNode,
  withoutRevokedNode,
} from '../../../src/identity/manifest-edit.ts';
import type { Declared } from '../../../src/mesh/declare.ts';
import { Registrar } from '../../../src/mesh/registrar.ts';
import type { MeshWorld } from '../../../src/mesh/world.ts';
import { admitPeer, at, keyOf, OPEN_TERMS, type OrgNode, openOrgNode, Signer } from '../../support/node-pair.ts';
import { TestClock, who } from '../../support/test-node.ts';

const SEEN_AT = '/ip4/192.0.2.1/tcp/4701';
const NONCE = '0'.repeat(32);

describe('registrar: who somebody is, and what was agreed with it', () => {
  let clock: TestClock;
  let acme: OrgNode;
  let beta: Signer;
  let registrar: Registrar;

  beforeEach(async () => {
    clock = new TestClock();
    acme = await openOrgNode('acme.example', { clock });
    beta = new Signer('beta.example', clock.now);
    const { peers, invites, manifests } = acme.node;
    const world = { now: clock.now } as MeshWorld;
    const { nodeKey } = acme.init;
    registrar = new Registrar(
      { peers, invites, manifests, world },
      { peerId: acme.peerId, org: 'acme.example', nodeKey, addrs: () => [] },
    );
  });

  const declared = (by: Signer, manifest = by.org.manifest, more: Partial<Declared> = {}): Declared => {
    const own = { org: manifest.authority, addrs: [], audience: acme.peerId, terms: OPEN_TERMS };
    const declaration = signDeclaration({ ...own, nonce: NONCE, now: clock.ms, expiresAt: null }, by.key);
    return { peerId: by.peerId, declaration, manifest, nonce: NONCE, invite: null, ...more };
  };
  const decide = (...args: Parameters<typeof declared>) => registrar.decide(declared(...args), SEEN_AT);
  const recognise = (...args: Parameters<typeof declared>) => registrar.recognise(declared(...args), SEEN_AT);
  /** @returns what an invite of ours is shown with, and whoever used it */
  const invited = async (proves = true) => {
    const { record } = await acme.node.invites.create(who, { ...OPEN_TERMS, expiresIn: 60 });
    const usedBy = () => acme.node.invites.get(record.id)!.usedBy;
    return { invite: { id: record.id, proves: () => proves }, usedBy };
  };
  const audits = async (type: string) => {
    await acme.node.settled();
    return (await acme.node.audit.list(who, { type, limit: 9 })).entries;
  };
  const signing = () => ({ orgKey: acme.org.key, now: clock.ms });
  const version = (): unknown => acme.node.manifests.own?.version;
  /** Another daemon of ours, and the manifest that lists it, which this node does not know yet. */
  const sibling = (): [Signer, OrgManifest] => {
    const signer = new Signer('acme.example', clock.now);
    return [signer, withNode(acme.org.manifest, { peerId: signer.peerId }, signing())];
  };

  describe('standing', () => {
    it('is nothing for who waits for a decision, and for this node itself', async () => {
      assert.equal(registrar.isSibling(acme.peerId), false);
      assert.deepEqual(await decide(beta), { status: 'pending' });
      assert.equal(acme.node.peers.require(beta.peerId).state, 'pending');
      assert.deepEqual(registrar.standing(beta.peerId), { kind: 'unknown' });
      assert.equal(registrar.telling(beta.peerId), undefined);
      await assert.rejects(recognise(beta), { code: 'peer_revoked' });
    });

    it('ends at the moment that was agreed, and with a suspension', async () => {
      await admitPeer(acme, beta);
      await acme.node.peers.update(who, beta.peerId, { expiresAt: clock.ms + 1000 });
      assert.deepEqual(registrar.telling(beta.peerId), { terms: OPEN_TERMS, expiresAt: clock.ms + 1000 });
      clock.advance(1000);
      const expired = { kind: 'barred', code: 'peer_expired', reason: 'expired' };
      assert.deepEqual(registrar.standing(beta.peerId), expired);
      assert.deepEqual(await decide(beta), { status: 'refused', code: 'peer_expired' });
      await assert.rejects(recognise(beta), { code: 'peer_refused' });
      await acme.node.peers.update(who, beta.peerId, { expiresAt: null, suspended: true });
      await assert.rejects(recognise(beta), { code: 'peer_refused' });
    });

    it('is barred for who was one of ours, and whom its organisation revokes', async () => {
      const [former] = sibling();
      const { authority, orgKey } = acme.org;
      await acme.node.peers.admitSibling(former.peerId, { ...beta.declared(), org: authority, orgKey });
      const barred = { kind: 'barred', code: 'peer_revoked', reason: 'revoked' };
      assert.deepEqual(registrar.standing(former.peerId), barred);
      // At once: the record follows when the disk has it.
      await admitPeer(acme, beta);
      const heard: unknown[] = [];
      acme.node.manifests.on(() => heard.push(registrar.standing(beta.peerId)));
      await acme.node.manifests.accept(who, beta.org.revoke(beta.peerId, at(clock)), { pin: true });
      assert.deepEqual(heard, [barred]);
    });
  });

  describe('in our own name', () => {
    it('a newer manifest is learned of a daemon it lists, whoever asks', async () => {
      const [second, newer] = sibling();
      assert.equal((await decide(second, newer)).status, 'active');
      assert.equal(version(), 2);
      const [third] = sibling();
      const newest = withNode(newer, { peerId: third.peerId }, signing());
      assert.equal((await recognise(third, newest)).via, 'org');
      assert.equal(version(), 3);
      const older = await decide(second, newer);
      assert.deepEqual([older.status, version()], ['active', 3], 'an older one is no news');
      await acme.node.settled();
      const { seq } = acme.node.figures();
      await decide(second, newest);
      assert.equal(acme.node.figures().seq, seq);
    });

    it('nobody speaks who is not listed, whatever manifest of ours it shows', async () => {
      const stranger = new Signer('acme.example', clock.now);
      const refused = { status: 'refused', code: 'node_not_listed' };
      for (const manifest of [acme.org.manifest, renewed(acme.org.manifest, signing())])
        assert.deepEqual(await decide(stranger, manifest), refused);
      const { invite, usedBy } = await invited();
      assert.deepEqual(await decide(stranger, acme.org.manifest, { invite }), refused);
      assert.deepEqual(await decide(stranger, stranger.org.manifest, { invite }), refused);
      assert.deepEqual([acme.node.peers.get(stranger.peerId), usedBy()], [undefined, null]);
      assert.deepEqual(await audits('manifest_refused'), []);
    });

    it('a new daemon joins by invite: by a newer manifest, or with one it made for itself', async () => {
      const [second, newer] = sibling();
      const { invite, usedBy } = await invited();
      assert.equal((await decide(second, newer, { invite })).status, 'active');
      assert.deepEqual([usedBy(), version()], [second.peerId, 2]);
      assert.equal(acme.node.peers.require(second.peerId).via, 'org');
      const third = new Signer('acme.example', clock.now);
      await acme.node.manifests.publish(who, withNode(newer, { peerId: third.peerId }, signing()));
      const again = await invited();
      assert.equal((await decide(third, third.org.manifest, { invite: again.invite })).status, 'active');
      assert.deepEqual([again.usedBy(), version()], [third.peerId, 3], 'ours stays');
      assert.deepEqual(await audits('manifest_refused'), []);
    });

    it('one that is listed and contradicts us is refused loudly', async () => {
      const [second, newer] = sibling();
      await acme.node.manifests.publish(who, newer);
      const fork = withNode(acme.org.manifest, { peerId: second.peerId, namespaces: ['x.acme.example'] }, signing());
      assert.deepEqual(await decide(second, fork), { status: 'refused', code: 'manifest_equivocation' });
      assert.equal((await audits('manifest_refused')).length, 1);
    });
  });

  describe('of another organisation', () => {
    /** A manifest in the name of beta that beta's key never signed. */
    const forged = (): OrgManifest =>
      createManifest(
        { authority: 'beta.example', peerId: beta.peerId },
        { orgKey: keyOf('another key'), now: clock.ms },
      );

    it('who is not listed by the newest manifest we know of it shows an older one in vain', async () => {
      const old = beta.org.manifest;
      const heir = new Signer('beta.example', clock.now);
      const ending = { orgKey: beta.org.key, now: clock.ms };
      const revoked = withoutNode(beta.org.add({ peerId: heir.peerId }), beta.peerId, at(clock), ending);
      await acme.node.manifests.accept(who, withoutRevokedNode(revoked, beta.peerId, ending), { pin: true });
      await acme.node.peers.approve(who, beta.peerId, OPEN_TERMS);
      await assert.rejects(recognise(beta, old), { code: 'node_not_listed' });
      assert.equal(registrar.isDisowned({ peerId: beta.peerId, org: 'beta.example' }), true);
      assert.equal(acme.node.peers.isPaired('beta.example'), false);
    });

    it('whoever our operator compared is taken, with its manifest pinned, and nobody in its name', async () => {
      const { peers, manifests } = acme.node;
      const identity = { org: 'beta.example', orgKey: beta.org.orgKey };
      await peers.approve(who, beta.peerId, { ...OPEN_TERMS, identity });
      assert.deepEqual(await decide(beta, forged()), { status: 'refused', code: 'rotation_unproven' });
      assert.equal(manifests.known('beta.example'), undefined, 'nothing of it is kept');
      const other = createManifest({ authority: 'other.example', peerId: beta.peerId }, signing());
      assert.deepEqual(await decide(beta, other), { status: 'refused', code: 'peer_refused' });
      assert.equal((await decide(beta)).status, 'active');
      assert.equal(manifests.known('beta.example')!.standing, 'pinned');
      assert.deepEqual(await decide(beta, forged()), { status: 'refused', code: 'rotation_unproven' });
      assert.equal((await audits('manifest_refused')).length, 1, 'loudly, of whom we know');
      // Nor does another key that our operator took since make it another's peer: that takes pairing anew.
      await manifests.accept(who, forged(), { pin: true, replace: true });
      assert.deepEqual(await decide(beta, forged()), { status: 'refused', code: 'rotation_unproven' });
    });

    it('what was only seen on the way keeps nobody from declaring itself', async () => {
      await acme.node.manifests.accept(who, forged(), { pin: false });
      assert.deepEqual(await decide(beta), { status: 'pending' });
      assert.equal(acme.node.peers.require(beta.peerId).orgKey, beta.org.orgKey);
    });

    it('an invite makes nobody another one than it is on record as, and is not spent by who tries', async () => {
      await admitPeer(acme, beta);
      const { invite, usedBy } = await invited();
      const other = createManifest({ authority: 'other.example', peerId: beta.peerId }, signing());
      assert.deepEqual(await decide(beta, other, { invite }), { status: 'refused', code: 'peer_refused' });
      const impostor = new Signer('beta.example', clock.now);
      const refused = { status: 'refused', code: 'rotation_unproven' };
      assert.deepEqual(await decide(impostor, impostor.org.manifest, { invite }), refused);
      assert.equal(usedBy(), null);
      const vain = await invited(false);
      const gamma = new Signer('gamma.example', clock.now);
      const outcome = await decide(gamma, gamma.org.manifest, { invite: vain.invite });
      assert.deepEqual(outcome, { status: 'refused', code: 'invite_refused' });
      assert.equal((await decide(gamma, gamma.org.manifest, { invite })).status, 'active');
      assert.equal(acme.node.manifests.known('gamma.example')!.standing, 'pinned');
    });

    it('addresses are of the peer that declares them', async () => {
      const mine = `/ip4/192.0.2.9/tcp/1/p2p/${beta.peerId}`;
      const addrs = [mine, `/ip4/192.0.2.9/tcp/2/p2p/${acme.peerId}`, '/ip4/127.0.0.1/tcp/3'];
      const terms = { org: 'beta.example', addrs, audience: acme.peerId, terms: OPEN_TERMS };
      const declaration = signDeclaration({ ...terms, nonce: NONCE, now: clock.ms, expiresAt: null }, beta.key);
      await decide(beta, beta.org.manifest, { declaration });
      assert.deepEqual(acme.node.peers.require(beta.peerId).addrs, [mine]);
    });
  });
});

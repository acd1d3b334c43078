import assert from 'node:assert/strict';
import { generateKeyPairSync } from 'node:crypto';
import { peerIdFromPublicKey, rawPublicKey } from '../../../src/identity/index.ts';
import type { OrgManifest } from '../../../src/identity/manifest.ts';
import {
  createManifest,
  renewed,
  withNode,
  withoutNode,
  withoutRevokedNode,
  withRotation,
} from '../../../src/identity/manifest-edit.ts';
import type { KnownManifest } from '../../../src/node/federation.ts';
import { MAX_FORMER_NODES, MAX_SEEN_MANIFESTS } from '../../../src/node/mesh-limits.ts';
import * as keys from '../../../src/store/keys.ts';
import { forEachSlice } from '../../../src/store/store.ts';
import { admitPeer, at, codes, type OrgNode, openOrgNode, Signer, send } from '../../support/node-pair.ts';
import { fact, openTestNode, refuses, TestClock, who } from '../../support/test-node.ts';

const newKey = () => generateKeyPairSync('ed25519').privateKey;
const newPeerId = (): string => peerIdFromPublicKey(rawPublicKey(newKey()));

describe('manifests', () => {
  let clock: TestClock;
  let acme: OrgNode;
  let beta: Signer;

  beforeEach(async () => {
    clock = new TestClock();
    acme = await openOrgNode('acme.example', { clock });
    beta = new Signer('beta.example', clock.now);
  });

  const accept = (manifest: OrgManifest, pin = false) => acme.node.manifests.accept(who, manifest, { pin });
  const audits = async (type: string) => (await acme.node.audit.list(who, { type, limit: 100 })).entries;

  it('of our own is a statement of ours, in the public set, found again after a restart', async () => {
    const { manifests, sets } = acme.node;
    assert.deepEqual(manifests.own, acme.org.manifest);
    assert.deepEqual(manifests.require('acme.example').standing, 'own');
    await sets.ready;
    assert.equal(sets.get('public/acme.example/stigmem')!.index.count, 1);
    const carrier = await manifests.statement('acme.example');
    const json = JSON.parse(Buffer.from(carrier!.bytes).toString());
    assert.deepEqual([json.kind, json.audience, json.body, json.ext], ['manifest', 'public', acme.org.manifest, {}]);
    const again = await acme.reopen();
    assert.deepEqual(again.manifests.own, acme.org.manifest);
    // Publishing the same again writes nothing.
    const { seq } = again.figures();
    await again.manifests.publish(who, acme.org.manifest);
    assert.equal(again.figures().seq, seq);
  });

  it('are published by a node they list, each newer than the one before', async () => {
    const { manifests } = acme.node;
    const signing = { orgKey: acme.org.key, now: clock.ms };
    const elsewhere = createManifest({ authority: 'acme.example', peerId: newPeerId() }, signing);
    await assert.rejects(manifests.publish(who, elsewhere), refuses('node_not_listed'));
    await assert.rejects(manifests.publish(who, beta.org.manifest), refuses('manifest_invalid'));
    const next = withNode(acme.org.manifest, { peerId: newPeerId() }, signing);
    assert.equal((await manifests.publish(who, next)).version, 2);
    await assert.rejects(manifests.publish(who, acme.org.manifest), refuses('manifest_stale'));
    const fork = withNode(acme.org.manifest, { peerId: newPeerId() }, signing);
    await assert.rejects(manifests.publish(who, fork), refuses('manifest_equivocation'));
    const forged = { ...next, version: 9 };
    await assert.rejects(manifests.publish(who, forged), refuses('manifest_invalid'));
    assert.deepEqual(
      (await audits('manifest_published')).map(({ detail }) => detail!.version),
      [2, 1],
    );
  });

  it('that were accepted are known, pinned or seen, and told about; the same again is no news', async () => {
    const told: KnownManifest[] = [];
    acme.node.manifests.on((known) => told.push(known));
    assert.equal((await accept(beta.org.manifest)).standing, 'seen');
    assert.equal((await accept(beta.org.manifest, true)).standing, 'pinned');
    assert.equal((await accept(beta.org.manifest)).standing, 'pinned');
    const first = beta.org.manifest;
    const second = beta.org.add({ peerId: newPeerId() });
    await accept(second);
    assert.equal((await accept(first)).version, 2, 'an older one is history');
    assert.deepEqual(
      told.map(({ version }) => version),
      [1, 2],
    );
    assert.equal(acme.node.manifests.require('beta.example').fingerprint, second.key_id);
    assert.throws(() => acme.node.manifests.require('nobody.example'), refuses('manifest_not_found'));
    assert.deepEqual(
      acme.node.manifests.list().map(({ authority }) => authority),
      ['acme.example', 'beta.example'],
    );
    clock.advance(366 * 24 * 60 * 60 * 1000);
    assert.equal(acme.node.manifests.require('beta.example').expired, true);
  });

  it('fault 7: a rotated key is taken with the signature of the old one, refused loudly without', async () => {
    const old = (await accept(beta.org.manifest, true)).fingerprint;
    const stolen = createManifest(
      { authority: 'beta.example', peerId: newPeerId() },
      { orgKey: newKey(), now: clock.ms },
    );
    await assert.rejects(accept({ ...stolen } as OrgManifest, true), refuses('rotation_unproven'));
    const [refused] = await audits('manifest_refused');
    assert.deepEqual(
      [refused!.detail!.org, refused!.detail!.code, refused!.detail!.key_id, refused!.detail!.known_key_id],
      ['beta.example', 'rotation_unproven', stolen.key_id, old],
    );
    assert.ok((await acme.node.status()).warnings.some((text) => text.includes('beta.example')));
    assert.equal(acme.node.manifests.require('beta.example').fingerprint, old);

    const key = newKey();
    const rotated = withRotation(beta.org.manifest, key, { orgKey: beta.org.key, now: clock.ms });
    assert.notEqual((await accept(rotated)).fingerprint, old);
    const [learned] = await audits('manifest_learned');
    assert.equal(learned!.detail!.former_key_id, old);
    // The old key, stolen later, says nothing any more.
    const late = { orgKey: beta.org.key, now: clock.ms };
    const revenge = renewed(renewed(beta.org.manifest, late), late);
    await assert.rejects(accept(revenge, true), refuses('rotation_unproven'));
    // Who only came in now, or missed some in between, follows the chain all the same.
    const twice = withRotation(rotated, newKey(), { orgKey: key, now: clock.ms });
    const fresh = await openOrgNode('gamma.example', { clock });
    await fresh.node.manifests.accept(who, beta.org.manifest, { pin: true });
    assert.equal((await fresh.node.manifests.accept(who, twice, { pin: true })).fingerprint, twice.key_id);
  });

  it('with one version and two contents are an equivocation: the first stays, the second is refused and audited', async () => {
    const signing = { orgKey: beta.org.key, now: clock.ms };
    const one = withNode(beta.org.manifest, { peerId: newPeerId() }, signing);
    const other = withNode(beta.org.manifest, { peerId: newPeerId() }, signing);
    await accept(one, true);
    await assert.rejects(accept(other, true), refuses('manifest_equivocation'));
    assert.equal((acme.node.manifests.require('beta.example').manifest as OrgManifest).signature, one.signature);
    assert.equal((await audits('manifest_refused')).length, 1);
  });

  it('of a new key take the place of the known one when the operator compared it, and what the old one vouched for ends', async () => {
    await admitPeer(acme, beta);
    await send(acme, beta.peerId, [beta.fact(at(clock))]);
    const shown = async () => (await acme.node.facts.query(who, { limit: 10, relation: 'memory:role' })).facts.length;
    assert.equal(await shown(), 1);
    const fresh = new Signer('beta.example', clock.now);
    await acme.node.manifests.accept(who, fresh.org.manifest, { pin: true, replace: true });
    await acme.node.settled();
    assert.equal(acme.node.manifests.require('beta.example').fingerprint, fresh.org.manifest.key_id);
    assert.equal(await shown(), 0);
    const [learned] = await audits('manifest_learned');
    assert.equal(learned!.detail!.replaced, true);
  });

  it('of our own organisation no peer can bring before we have one', async () => {
    const bare = await openTestNode({ clock, org: 'bare.example' });
    const claimed = createManifest(
      { authority: 'bare.example', peerId: newPeerId() },
      { orgKey: newKey(), now: clock.ms },
    );
    const options = { pin: true, from: beta.peerId };
    await assert.rejects(bare.node.manifests.accept(who, claimed, options), refuses('rotation_unproven'));
    assert.equal((await bare.node.manifests.accept(who, claimed, { pin: true })).standing, 'own');
  });

  it('come as statements, too: only from a node they list, and any version in any order', async () => {
    await admitPeer(acme, beta);
    const from = (statements: Parameters<typeof send>[2]) => send(acme, beta.peerId, statements);
    const stranger = new Signer('stranger.example', clock.now);
    const first = stranger.org.manifest;
    const second = stranger.org.add({ peerId: newPeerId() });
    const third = stranger.org.add({ peerId: newPeerId() });
    const wires = [third, first, second].map((manifest, n) => stranger.manifest(at(clock, n), manifest));
    assert.deepEqual(codes(await from(wires)), ['accepted', 'accepted', 'accepted']);
    assert.equal(acme.node.manifests.require('stranger.example').version, 3);
    const carrier = await acme.node.manifests.statement('stranger.example');
    assert.deepEqual(Buffer.from(carrier!.bytes), Buffer.from(wires[0]!.bytes));
    assert.deepEqual(
      (await audits('manifest_learned')).map(({ detail }) => [detail!.version, detail!.from]),
      [
        [3, beta.peerId],
        [1, beta.peerId],
      ],
      'who brought it',
    );
    const { seq } = acme.node.figures();
    // A node that is not in it, a manifest of somebody else, a broken one, another key.
    const outsider = new Signer('stranger.example', clock.now);
    assert.deepEqual(codes(await from([outsider.manifest(at(clock, 5), third)])), ['not_owner']);
    const mixed = [outsider.manifest(at(clock, 6)), stranger.fact(at(clock, 6))];
    assert.deepEqual(codes(await from(mixed)), ['rotation_unproven', 'accepted']);
    assert.equal(acme.node.figures().seq, seq + 1, 'what is refused leaves no gap');
    const broken = { ...third, version: 4 } as OrgManifest;
    assert.deepEqual(codes(await from([stranger.manifest(at(clock, 7), broken)])), ['manifest_invalid']);
    const crooked = { ...third, nodes: [{ peer_id: 'x', namespaces: [] }] } as OrgManifest;
    assert.deepEqual(codes(await from([stranger.manifest(at(clock, 8), crooked)])), ['manifest_invalid']);
    const fork = withNode(second, { peerId: newPeerId() }, { orgKey: stranger.org.key, now: clock.ms });
    const warned = async (): Promise<string[]> =>
      (await acme.node.status()).warnings.filter((text) => text.includes('stranger.example'));
    assert.match((await warned()).join(), /another key/);
    assert.deepEqual(codes(await from([stranger.manifest(at(clock, 9), fork)])), ['manifest_equivocation']);
    assert.match((await warned()).join(), /two manifests/);
    const refused = new Set((await audits('manifest_refused')).map(({ detail }) => detail!.code));
    assert.deepEqual(refused, new Set(['rotation_unproven', 'manifest_equivocation']));
    // Those of one organisation are in one set, whatever became of them.
    assert.equal(acme.node.sets.get('public/stranger.example/stigmem')!.index.count, 3);
  });

  it('fault 6: are not brought by a node whose key was revoked, not even those that still listed it', async () => {
    const second = new Signer('beta.example', clock.now);
    const old = beta.org.add({ peerId: second.peerId });
    beta.org.revoke(second.peerId, at(clock, 3));
    await admitPeer(acme, beta);
    const late = [2, 5].map((ms) => second.manifest(at(clock, ms), old));
    assert.deepEqual(codes(await send(acme, beta.peerId, late)), ['accepted', 'key_revoked']);
  });

  it('fault 6: of one organisation revoke no peer that is of another', async () => {
    const { peers } = acme.node;
    await admitPeer(acme, beta);
    const mallory = new Signer('mallory.example', clock.now);
    mallory.org.add({ peerId: beta.peerId });
    await accept(mallory.org.revoke(beta.peerId, at(clock)), true);
    await acme.node.settled();
    assert.equal(peers.require(beta.peerId).state, 'active');
    assert.deepEqual(codes(await send(acme, beta.peerId, [beta.fact(at(clock, 1))])), ['accepted']);
  });

  it('merely seen are forgotten when there are too many, the one longest unused first; pinned ones never', async () => {
    await accept(beta.org.manifest, true);
    const row = async (authority: string, version: number) => {
      const manifest = createManifest({ authority, peerId: newPeerId() }, { orgKey: newKey(), now: clock.ms });
      const value = { manifest: { ...manifest, version }, standing: 'seen', statement: null, former: [] };
      return { type: 'put' as const, key: keys.manifestKey(authority), value: Buffer.from(JSON.stringify(value)) };
    };
    const template = await row('seen0.example', 1);
    const names = Array.from({ length: MAX_SEEN_MANIFESTS }, (_, n) => `seen${n}.example`);
    const text = template.value.toString();
    await acme.store.batch(
      names.map((name) => ({
        type: 'put',
        key: keys.manifestKey(name),
        value: Buffer.from(text.replaceAll('seen0.example', name)),
      })),
      { durable: true },
    );
    const node = await acme.reopen();
    assert.equal(node.figures().manifests, MAX_SEEN_MANIFESTS + 2);
    const one = new Signer('newcomer.example', clock.now);
    await node.manifests.accept(who, one.org.manifest, { pin: false });
    assert.equal(node.figures().manifests, MAX_SEEN_MANIFESTS + 2);
    assert.equal(node.manifests.known('seen0.example'), undefined);
    assert.ok(node.manifests.known('newcomer.example') && node.manifests.known('beta.example'));
    let rows = 0;
    await forEachSlice(acme.store, keys.manifestRange(), (found) => {
      rows += found.length;
      return undefined;
    });
    assert.equal(rows, MAX_SEEN_MANIFESTS + 2, 'on disk as in memory');
    // Nor is one that is pinned in the same write that makes room.
    const own = new Signer('seen1.example', clock.now);
    const two = new Signer('another.example', clock.now);
    await Promise.all([
      node.manifests.accept(who, own.org.manifest, { pin: true, replace: true }),
      node.manifests.accept(who, two.org.manifest, { pin: false }),
    ]);
    assert.equal(node.manifests.known('seen1.example')?.standing, 'pinned');
    assert.equal((await acme.reopen()).manifests.known('seen1.example')?.standing, 'pinned');
  });

  it('remember nodes they no longer list to a bound, those dropped last', async () => {
    await admitPeer(acme, beta);
    const signing = { orgKey: beta.org.key, now: clock.ms };
    const ids: string[] = [];
    let { manifest } = beta.org;
    // In rounds, since a manifest lists so many at a time.
    while (ids.length <= MAX_FORMER_NODES) {
      const round = Array.from({ length: 60 }, newPeerId);
      ids.push(...round);
      for (const peerId of round) manifest = withNode(manifest, { peerId }, signing);
      await acme.node.manifests.accept(who, manifest, { pin: true });
      for (const peerId of round)
        manifest = withoutRevokedNode(withoutNode(manifest, peerId, at(clock), signing), peerId, signing);
      await acme.node.manifests.accept(who, manifest, { pin: true });
    }
    const row = JSON.parse((await acme.store.get(keys.manifestKey('beta.example')))!.toString());
    assert.equal(row.former.length, MAX_FORMER_NODES);
    const kept = new Set(row.former.map(([peerId]: [string]) => peerId));
    assert.ok(!ids.slice(0, 60).every((peerId) => kept.has(peerId)));
    assert.ok(ids.slice(-60).every((peerId) => kept.has(peerId)));
  });

  it('warn their own organisation before they expire, and when they leave this node out', async () => {
    const warned = async () => (await acme.node.status()).warnings.join('\n');
    assert.doesNotMatch(await warned(), /manifest of acme/);
    clock.advance(340 * 24 * 60 * 60 * 1000);
    assert.match(await warned(), /manifest of acme\.example expires/);
    clock.advance(30 * 24 * 60 * 60 * 1000);
    assert.match(await warned(), /manifest of acme\.example expired/);
    const bare = await openTestNode({ clock, org: 'bare.example' });
    const without = createManifest(
      { authority: 'bare.example', peerId: newPeerId() },
      { orgKey: newKey(), now: clock.ms },
    );
    await bare.node.manifests.accept(who, without, { pin: true });
    assert.match((await bare.node.status()).warnings.join('\n'), /does not list this node/);
    // What it states is kept all the same.
    const { created } = await bare.node.facts.assert(who, fact({ source: 'stigmem://bare.example/agent/a' }));
    assert.ok(created);
  });
});

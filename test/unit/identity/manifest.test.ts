import assert from 'node:assert/strict';
import { canonicalBytes, formatHlc, type JsonObject, type JsonValue } from '../../../src/facts/index.ts';
import {
  createManifest,
  decodeManifest,
  isManifestExpired,
  type ManifestSigning,
  manifestFingerprint,
  mayName,
  namespacesOf,
  type OrgManifest,
  orgKeyOf,
  rawPublicKey,
  renewed,
  speaksFor,
  succeeds,
  verifyManifest,
  withMissingRotations,
  withNode,
  withoutNode,
  withoutRevokedNode,
  withRotation,
} from '../../../src/identity/index.ts';
import {
  MANIFEST_LIFE_MS,
  MAX_MANIFEST_BYTES,
  MAX_MANIFEST_NODES,
  MAX_NODE_NAMESPACES,
  MAX_ROTATIONS,
} from '../../../src/identity/limits.ts';
import { signJson } from '../../../src/identity/signed-json.ts';
import { fixedKey, fixedPeer, numberedPeer } from '../../support/org.ts';

const NOW = Date.UTC(2026, 10, 21);
const AUTHORITY = 'acme.example';
const A = fixedPeer(0x11);
const B = fixedPeer(0x12);

const by = (byte: number, now = NOW): ManifestSigning => ({ orgKey: fixedKey(byte), now });
const first = () => createManifest({ authority: AUTHORITY, peerId: A }, by(1));
const bytes = (manifest: OrgManifest) => canonicalBytes(manifest);
const resigned = (manifest: OrgManifest, change: JsonObject, byte = 1): JsonObject => {
  const json: JsonObject = { ...manifest, ...change };
  return { ...json, signature: signJson('stigmesh-manifest-v1\0', json, fixedKey(byte)) };
};

describe('identity: manifests', () => {
  it('begin with one node that speaks for the whole authority, and hold for a year', async () => {
    const manifest = first();
    assert.deepEqual(await verifyManifest(bytes(manifest), NOW), manifest);
    assert.equal(manifest.version, 1);
    assert.deepEqual(namespacesOf(manifest, A), [AUTHORITY]);
    assert.equal(Date.parse(manifest.expires_at) - Date.parse(manifest.issued_at), MANIFEST_LIFE_MS);
    assert.equal(isManifestExpired(manifest, NOW + MANIFEST_LIFE_MS - 1), false);
    assert.equal(isManifestExpired(manifest, NOW + MANIFEST_LIFE_MS), true);
    await assert.rejects(verifyManifest(bytes(manifest), NOW + MANIFEST_LIFE_MS), { code: 'manifest_expired' });
    assert.deepEqual(await verifyManifest(bytes(manifest)), manifest, 'without a time, age is not asked');
    assert.deepEqual(orgKeyOf(manifest), Buffer.from(rawPublicKey(fixedKey(1))));
    assert.equal(manifestFingerprint(manifest), manifest.key_id);
    const week = createManifest({ authority: AUTHORITY, peerId: A }, { ...by(1), lifeMs: 1000 });
    assert.equal(isManifestExpired(week, NOW + 1000), true);
  });

  it('come as bytes, which must be canonical, or as JSON in any order, and share nothing with it', async () => {
    const manifest = first();
    const reversed = Object.fromEntries(Object.entries(manifest).reverse());
    assert.deepEqual(await verifyManifest(reversed), manifest);
    await assert.rejects(verifyManifest(Buffer.from(JSON.stringify(reversed))), { code: 'manifest_malformed' });
    const json = JSON.parse(JSON.stringify(manifest)) as JsonObject & { nodes: JsonValue[] };
    const read = decodeManifest(json);
    json.nodes.length = 0;
    assert.equal(read.nodes.length, 1);
    for (const input of [null, [], 'x', 1, Buffer.from('[]'), Buffer.from('{'), Buffer.from('{}')]) {
      await assert.rejects(verifyManifest(input), { name: 'IdentityError', code: 'manifest_malformed' });
    }
    let nested: JsonObject = {};
    for (let depth = 0; depth < 20; depth++) nested = { nested };
    await assert.rejects(verifyManifest(nested), { code: 'manifest_malformed' });
    await assert.rejects(verifyManifest({ authority: '\ud800' }), { code: 'manifest_malformed' });
  });

  it('grow by a version with each change, and leave what they were made of alone', async () => {
    const start = first();
    const before = bytes(start);
    const node = withNode(start, { peerId: B, namespaces: ['eu.acme.example'] }, by(1, NOW + 1));
    const gone = withoutNode(node, A, formatHlc(NOW, 0), by(1, NOW + 2));
    const forgotten = withoutRevokedNode(gone, A, by(1, NOW + 3));
    const rotated = withRotation(forgotten, fixedKey(2), by(1, NOW + 4));
    const again = renewed(rotated, by(2, NOW + 5));
    const all = [start, node, gone, forgotten, rotated, again];
    assert.deepEqual(
      all.map(({ version }) => version),
      [1, 2, 3, 4, 5, 6],
    );
    for (const manifest of all) assert.deepEqual(await verifyManifest(bytes(manifest), NOW), manifest);
    for (const manifest of all.slice(1)) assert.equal(succeeds(start, manifest), true);
    assert.deepEqual(bytes(start), before);
    assert.deepEqual(
      again.nodes.map(({ peer_id }) => peer_id),
      [B],
    );
    assert.equal(again.issued_at, new Date(NOW + 5).toISOString());
  });

  it('say for whom a node speaks, and until when', () => {
    const at = formatHlc(NOW, 5);
    const manifest = withoutNode(
      withNode(first(), { peerId: B, namespaces: ['x.acme.example', 'eu.acme.example'] }, by(1)),
      B,
      at,
      by(1),
    );
    assert.equal(speaksFor(manifest, A, formatHlc(NOW * 2, 0)), 'yes');
    assert.equal(speaksFor(manifest, B, formatHlc(NOW, 4)), 'yes');
    assert.equal(speaksFor(manifest, B, at), 'yes');
    assert.equal(speaksFor(manifest, B, formatHlc(NOW, 6)), 'revoked');
    assert.equal(speaksFor(manifest, fixedPeer(0x13), formatHlc(NOW, 0)), 'not_listed');
    assert.deepEqual(namespacesOf(manifest, B), ['eu.acme.example', 'x.acme.example']);
    assert.deepEqual(namespacesOf(manifest, fixedPeer(0x13)), []);
    assert.equal(mayName(manifest, B, 'a.eu.acme.example'), true);
    assert.equal(mayName(manifest, B, 'acme.example'), false);
    assert.equal(mayName(manifest, B, 'heu.acme.example'), false);
    assert.equal(mayName(manifest, A, 'anything.acme.example'), true);
    assert.equal(mayName(manifest, A, 'other.example'), false);
  });

  it('move a revocation back, never forward', () => {
    const [early, late] = [formatHlc(NOW - 1000, 0), formatHlc(NOW, 0)];
    const once = withoutNode(first(), A, late, by(1));
    assert.equal(withoutNode(once, A, early, by(1)).nodes[0]!.revoked_at, early);
    assert.equal(withoutNode(withoutNode(once, A, early, by(1)), A, late, by(1)).nodes[0]!.revoked_at, early);
  });

  it('refuse changes that make no sense', () => {
    const revoked = withoutNode(first(), A, formatHlc(NOW, 0), by(1));
    const code = (expected: string) => ({ name: 'IdentityError', code: expected });
    assert.throws(() => withNode(revoked, { peerId: A }, by(1)), code('node_revoked'));
    assert.throws(() => withoutNode(revoked, B, formatHlc(NOW, 0), by(1)), code('node_not_listed'));
    assert.throws(() => withoutRevokedNode(revoked, B, by(1)), code('node_not_listed'));
    assert.throws(() => withoutRevokedNode(first(), A, by(1)), code('node_not_revoked'));
    assert.throws(() => withNode(first(), { peerId: 'x' }, by(1)), code('manifest_malformed'));
    assert.throws(() => withNode(first(), { peerId: B, namespaces: ['other.example'] }, by(1)), code('not_owner'));
    assert.throws(
      () => withNode(first(), { peerId: B, namespaces: ['Acme.example'] }, by(1)),
      code('manifest_malformed'),
    );
    assert.throws(() => withoutNode(first(), A, 'yesterday', by(1)), code('manifest_malformed'));
    assert.throws(() => createManifest({ authority: 'No Name', peerId: A }, by(1)), code('manifest_malformed'));
    assert.throws(() => withRotation(first(), fixedKey(1), by(1)), code('manifest_malformed'));
    const twice = withRotation(withRotation(first(), fixedKey(2), by(1)), fixedKey(3), by(2));
    assert.throws(() => withRotation(twice, fixedKey(1), by(3)), code('manifest_malformed'));
  });

  it('are edited with their own org key only', () => {
    const other = by(2);
    for (const edit of [
      () => renewed(first(), other),
      () => withNode(first(), { peerId: B }, other),
      () => withoutNode(first(), A, formatHlc(NOW, 0), other),
      () => withRotation(first(), fixedKey(3), other),
      () => withMissingRotations(first(), [fixedKey(3)], other),
    ]) {
      assert.throws(edit, { name: 'IdentityError', code: 'org_key_mismatch' });
    }
  });

  it('give a listed node other namespaces', () => {
    const manifest = withNode(
      first(),
      { peerId: A, namespaces: ['b.acme.example', 'a.acme.example', 'b.acme.example'] },
      by(1),
    );
    assert.equal(manifest.nodes.length, 1);
    assert.deepEqual(namespacesOf(manifest, A), ['a.acme.example', 'b.acme.example']);
    assert.deepEqual(namespacesOf(withNode(first(), { peerId: A, namespaces: [] }, by(1)), A), []);
  });

  it('catch up with keys on disk after a crash between rotation and publication', async () => {
    const former = [1, 2, 3].map(fixedKey);
    const now = by(4);
    const caught = withMissingRotations(first(), former, now);
    assert.equal(caught.version, 4);
    assert.equal(succeeds(first(), await verifyManifest(bytes(caught))), true);
    const half = withRotation(first(), fixedKey(2), by(1));
    assert.equal(succeeds(half, withMissingRotations(half, [...former, fixedKey(4)], now)), true);
    assert.equal(withMissingRotations(caught, former, now), caught);
  });

  it('refuse a chain that forks: who pinned a later key cannot be led back', async () => {
    const honest = withRotation(first(), fixedKey(2), by(1));
    const thief = renewed(renewed(withRotation(first(), fixedKey(9), by(1)), by(9)), by(9));
    assert.equal(succeeds(first(), await verifyManifest(thief)), true, 'who only knows the stolen key cannot tell');
    assert.throws(() => succeeds(honest, thief), { code: 'rotation_unproven' });
    const unpublished = withRotation(renewed(first(), by(1)), fixedKey(2), by(1));
    const ahead = renewed(renewed(renewed(first(), by(1)), by(1)), by(1));
    assert.throws(() => succeeds(ahead, unpublished), { code: 'manifest_equivocation' });
  });
});

describe('identity: limits of manifests', () => {
  const many = (count: number, namespaces: readonly string[] = [AUTHORITY]) =>
    Array.from({ length: count }, (_, number) => ({ peer_id: numberedPeer(number), namespaces })).sort((a, b) =>
      a.peer_id < b.peer_id ? -1 : 1,
    );

  it(`hold ${MAX_MANIFEST_NODES} nodes, revoked ones included`, async () => {
    let full = first();
    full = decodeManifest(resigned(full, { nodes: many(MAX_MANIFEST_NODES) }));
    assert.equal((await verifyManifest(bytes(full))).nodes.length, MAX_MANIFEST_NODES);
    assert.throws(() => withNode(full, { peerId: A }, by(1)), { code: 'too_many_nodes' });
    const { peer_id } = full.nodes[0]!;
    const revoked = withoutNode(full, peer_id, formatHlc(NOW, 0), by(1));
    assert.throws(() => withNode(revoked, { peerId: A }, by(1)), { code: 'too_many_nodes' });
    assert.equal(withNode(withoutRevokedNode(revoked, peer_id, by(1)), { peerId: A }, by(1)).nodes.length, 64);
    const field = 'nodes';
    const over = resigned(full, { nodes: many(MAX_MANIFEST_NODES + 1) });
    assert.throws(() => decodeManifest(over), { code: 'manifest_malformed', field });
  });

  it(`hold ${MAX_NODE_NAMESPACES} namespaces a node`, () => {
    const names = Array.from({ length: MAX_NODE_NAMESPACES + 1 }, (_, at) => `n${at}.${AUTHORITY}`);
    const fits = names.slice(1);
    assert.equal(namespacesOf(withNode(first(), { peerId: A, namespaces: fits }, by(1)), A).length, fits.length);
    assert.throws(() => withNode(first(), { peerId: A, namespaces: names }, by(1)), {
      code: 'manifest_malformed',
      field: 'nodes[0].namespaces',
    });
  });

  it(`tell of ${MAX_ROTATIONS} rotations, then leave out the oldest`, async () => {
    let manifest = first();
    for (let byte = 1; byte <= MAX_ROTATIONS; byte++) manifest = withRotation(manifest, fixedKey(byte + 1), by(byte));
    assert.equal(manifest.rotations.length, MAX_ROTATIONS);
    assert.equal(succeeds(first(), await verifyManifest(bytes(manifest))), true);
    const next = withRotation(manifest, fixedKey(200), by(MAX_ROTATIONS + 1));
    assert.equal(next.rotations.length, MAX_ROTATIONS);
    assert.equal(succeeds(manifest, await verifyManifest(bytes(next))), true);
    assert.throws(() => succeeds(first(), next), { code: 'rotation_unproven' });
    const over = resigned(next, { rotations: [manifest.rotations[0]!, ...next.rotations] }, 200);
    assert.throws(() => decodeManifest(over), { code: 'manifest_malformed', field: 'rotations' });
  });

  it(`fit ${MAX_MANIFEST_BYTES} bytes, also when every list is full`, () => {
    let manifest = decodeManifest(
      resigned(first(), {
        nodes: many(MAX_MANIFEST_NODES).map((node) => ({ ...node, revoked_at: formatHlc(NOW, 0) })),
      }),
    );
    for (let byte = 1; byte <= MAX_ROTATIONS; byte++) manifest = withRotation(manifest, fixedKey(byte + 1), by(byte));
    assert.ok(bytes(manifest).length < MAX_MANIFEST_BYTES);
  });

  it('are refused by their size before anything else', async () => {
    const label = 'x'.repeat(60);
    const long = Array.from({ length: 14 }, (_, at) => `${label}.${label}.${label}.a${at + 10}.${AUTHORITY}`);
    const fits = resigned(first(), { nodes: many(9, long) });
    assert.ok(canonicalBytes(fits).length < MAX_MANIFEST_BYTES);
    assert.equal((await verifyManifest(fits)).nodes.length, 9);
    const over = resigned(first(), { nodes: many(12, long) });
    await assert.rejects(verifyManifest(over), { code: 'manifest_too_large' });
    await assert.rejects(verifyManifest(canonicalBytes(over)), { code: 'manifest_too_large' });
    await assert.rejects(verifyManifest(new Uint8Array(MAX_MANIFEST_BYTES + 1)), { code: 'manifest_too_large' });
    await assert.rejects(verifyManifest(new Uint8Array(MAX_MANIFEST_BYTES)), { code: 'manifest_malformed' });
  });
});

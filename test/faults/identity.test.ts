import assert from 'node:assert/strict';
import { canonicalBytes, formatHlc, type JsonObject } from '../../src/facts/index.ts';
import {
  createManifest,
  decodeInvite,
  encodeInvite,
  hashSecret,
  IdentityError,
  type Invite,
  inviterProof,
  isPrivateAddr,
  isPrivateIp,
  joinProof,
  type ProofContext,
  rawPublicKey,
  renewed,
  signDeclaration,
  speaksFor,
  succeeds,
  verifyDeclaration,
  verifyManifest,
  verifyProof,
  withNode,
  withoutNode,
  withRotation,
} from '../../src/identity/index.ts';
import { signJson } from '../../src/identity/signed-json.ts';
import { fixedKey, fixedPeer } from '../support/org.ts';

const NOW = Date.UTC(2026, 10, 21);
const DAY = 24 * 60 * 60 * 1000;
const PREFIX = 'stigmesh-invite:1:';
const DIGITS = '0123456789ABCDEFGHJKMNPQRSTVWXYZ';

const [INVITER, JOINER, RELAY] = [fixedPeer(0x61), fixedPeer(0x62), fixedPeer(0x63)];
const by = (byte: number) => ({ orgKey: fixedKey(byte), now: NOW });
const manifest = () => createManifest({ authority: 'acme.example', peerId: INVITER }, by(1));

const invite = (): Invite => ({
  peerId: INVITER,
  org: 'acme.example',
  orgKey: rawPublicKey(fixedKey(1)),
  addrs: [`/dns4/mesh.acme.example/tcp/4701/p2p/${INVITER}`],
  id: '0011223344556677',
  secret: Uint8Array.from({ length: 16 }, (_, at) => at * 7),
  expiresAt: NOW + DAY,
  gives: ['company', 'public'],
  takes: ['public'],
  namespaces: ['memory'],
});
const text = encodeInvite(invite());

/** The code and field that a paste is refused with. */
function refusal(pasted: string): string {
  try {
    decodeInvite(pasted, NOW);
  } catch (error) {
    assert.ok(error instanceof IdentityError, String(error));
    assert.ok(error.field !== undefined && error.hint !== '');
    return `${error.code} ${error.field}`;
  }
  return 'none';
}

describe('identity and admission, where no network is needed', () => {
  it('fault 5: an invite cut off anywhere is refused as incomplete', () => {
    for (let length = 0; length < text.length; length++) {
      assert.equal(refusal(text.slice(0, length)), 'invite_truncated length', `${length} characters`);
    }
    for (let from = 1; from < text.length; from++) {
      assert.match(refusal(text.slice(from)), /^invite_malformed prefix$/);
    }
  });

  it('fault 5: any one wrong character of an invite is noticed', () => {
    const refused = /^invite_(checksum checksum|truncated length)$/;
    for (let at = PREFIX.length; at < text.length; at++) {
      for (const digit of DIGITS) {
        if (digit === text[at]) continue;
        assert.match(refusal(text.slice(0, at) + digit + text.slice(at + 1)), refused, `${digit} at ${at}`);
      }
      for (const sign of ['U', '-', '.', 'é', '\u0000', '😀']) {
        assert.match(refusal(text.slice(0, at) + sign + text.slice(at + 1)), /^invite_malformed text$/);
      }
    }
    for (let at = 0; at < PREFIX.length; at++) {
      for (const sign of ['0', '2', 'x', 'X', ':', '-', 'ſ']) {
        if (sign === PREFIX[at]) continue;
        const wrong = text.slice(0, at) + sign + text.slice(at + 1);
        assert.match(refusal(wrong), /^invite_(malformed prefix|version version)$/, wrong.slice(0, 20));
      }
    }
  });

  it('fault 5: a character too few, one too many and two in the wrong order are noticed', () => {
    for (let at = PREFIX.length; at < text.length; at++) {
      assert.match(refusal(text.slice(0, at) + text.slice(at + 1)), /^invite_(checksum|truncated) /, `without ${at}`);
      for (const digit of ['0', '7', 'Z']) {
        const more = text.slice(0, at) + digit + text.slice(at);
        assert.match(refusal(more), /^invite_(checksum|truncated) /, `${digit} before ${at}`);
      }
      if (at + 1 === text.length || text[at] === text[at + 1]) continue;
      const swapped = text.slice(0, at) + text[at + 1] + text[at] + text.slice(at + 2);
      assert.match(refusal(swapped), /^invite_(checksum|truncated) /, `swapped ${at}`);
    }
    assert.match(refusal(text + text), /^invite_malformed text$/);
    assert.match(refusal(`${text} ${text.slice(PREFIX.length)}`), /^invite_checksum /);
  });

  it('fault 2: an invite past its time is refused by what it says itself', () => {
    assert.equal(decodeInvite(text, NOW + DAY - 1).id, invite().id);
    assert.throws(() => decodeInvite(text, NOW + DAY), { code: 'invite_expired', field: 'expires_at' });
  });

  it('fault 4: a proof of joining holds on one stream between two nodes, in one direction', () => {
    const secretHash = hashSecret(invite().secret);
    const real: ProofContext = {
      inviteId: invite().id,
      challenge: 'a1'.repeat(16),
      joinerNonce: 'b2'.repeat(16),
      joinerPeerId: JOINER,
      inviterPeerId: INVITER,
    };
    const proof = joinProof(secretHash, real);
    assert.equal(verifyProof(joinProof(secretHash, real), proof), true);
    // What the inviter computes where somebody else presents it.
    const elsewhere: Record<string, ProofContext> = {
      'on a later stream, which has another challenge': { ...real, challenge: 'a2'.repeat(16) },
      'by a relay, whose connection proves another peer id': { ...real, joinerPeerId: RELAY },
      'to another node, which holds the same invite': { ...real, inviterPeerId: RELAY },
      'for another invite': { ...real, inviteId: '7766554433221100' },
      'with another nonce of the joiner': { ...real, joinerNonce: 'b3'.repeat(16) },
      'with challenge and nonce exchanged': { ...real, challenge: real.joinerNonce, joinerNonce: real.challenge },
    };
    for (const [how, context] of Object.entries(elsewhere)) {
      assert.equal(verifyProof(joinProof(secretHash, context), proof), false, how);
    }
    assert.equal(verifyProof(inviterProof(secretHash, real), proof), false, 'sent back to where it came from');
    assert.equal(verifyProof(joinProof(hashSecret(new Uint8Array(16)), real), proof), false, 'of another secret');
  });

  it('fault 4: a declaration is good for one stream, too', async () => {
    const declaration = signDeclaration(
      {
        org: 'acme.example',
        addrs: [],
        audience: INVITER,
        terms: { gives: [], takes: ['public'], namespaces: null },
        nonce: 'a1'.repeat(16),
        now: NOW,
        expiresAt: null,
      },
      fixedKey(0x62),
    );
    const here = { peerId: JOINER, audience: INVITER, nonce: 'a1'.repeat(16), now: NOW };
    const bytes = canonicalBytes(declaration);
    assert.deepEqual(await verifyDeclaration(bytes, here), declaration);
    const refused = (change: Partial<typeof here>, code: string) =>
      assert.rejects(verifyDeclaration(bytes, { ...here, ...change }), { code });
    await refused({ nonce: 'a2'.repeat(16) }, 'declaration_wrong_nonce');
    await refused({ peerId: RELAY }, 'declaration_wrong_node');
    await refused({ audience: RELAY }, 'declaration_wrong_audience');
  });

  it('fault 6: what a node signed before its key was revoked stays valid, and nothing after', async () => {
    const at = formatHlc(NOW, 3);
    const listed = withNode(manifest(), { peerId: JOINER }, by(1));
    const revoked = await verifyManifest(canonicalBytes(withoutNode(listed, JOINER, at, by(1))));
    assert.equal(succeeds(listed, revoked), true);
    assert.equal(speaksFor(listed, JOINER, formatHlc(NOW, 4)), 'yes');
    assert.equal(speaksFor(revoked, JOINER, at), 'yes');
    assert.equal(speaksFor(revoked, JOINER, formatHlc(NOW, 4)), 'revoked');
    assert.equal(speaksFor(revoked, INVITER, formatHlc(NOW, 4)), 'yes');
    assert.equal(succeeds(revoked, listed), false, 'an older manifest does not bring it back');
  });

  it('fault 7: a rotation signed by the old key is accepted, and its history can be verified', async () => {
    const known = manifest();
    const once = withRotation(known, fixedKey(2), by(1));
    const twice = renewed(withRotation(once, fixedKey(3), by(2)), by(3));
    for (const next of [once, twice]) assert.equal(succeeds(known, await verifyManifest(canonicalBytes(next))), true);
    assert.equal(succeeds(once, twice), true);
    assert.deepEqual(
      twice.rotations.map(({ to }) => to),
      [once.org_key, twice.org_key],
    );
  });

  it('fault 7: a rotation that the old key did not sign is refused, however it is put', async () => {
    const known = manifest();
    const rotated = withRotation(known, fixedKey(9), by(1));
    const { from, to, at } = rotated.rotations[0]!;
    const forge = (rotations: JsonObject[], change: JsonObject = {}): JsonObject => {
      const forged: JsonObject = { ...rotated, rotations, ...change };
      return { ...forged, signature: signJson('stigmesh-manifest-v1\0', forged, fixedKey(9)) };
    };
    const rotation = (signer: number, authority = known.authority): JsonObject => ({
      from,
      to,
      at,
      signature: signJson('stigmesh-rotation-v1\0', { authority, from, to, at }, fixedKey(signer)),
    });
    assert.equal(succeeds(known, await verifyManifest(forge([rotation(1)]))), true, 'the way it is done');
    const unproven = { code: 'rotation_unproven' };
    await assert.rejects(verifyManifest(forge([rotation(9)])), unproven, 'signed by the new key');
    await assert.rejects(verifyManifest(forge([rotation(1, 'other.example')])), unproven, "another organisation's");
    await assert.rejects(verifyManifest(forge([{ ...rotation(1), to: known.org_key }])), unproven, 'to another key');
    const silent = await verifyManifest(forge([]));
    assert.throws(() => succeeds(known, silent), unproven, 'no rotation at all');
    const louder = await verifyManifest(forge([], { version: 1000 }));
    assert.throws(() => succeeds(known, louder), unproven, 'nor with a higher version');
    const statement = { ...rotation(1), signature: known.signature };
    await assert.rejects(verifyManifest(forge([statement])), unproven, 'another signature of the old key');
  });

  it('fault 49: an invite may name addresses of this machine and its network, and each is told', () => {
    const inside = [
      '/ip4/127.0.0.1/tcp/4701',
      '/ip4/169.254.169.254/tcp/80',
      '/ip4/0.0.0.0/tcp/4701',
      '/ip4/10.0.0.1/tcp/4701',
      '/ip4/192.168.1.1/tcp/4701',
      '/ip6/::/tcp/4701',
      '/ip6/::1/tcp/4701',
      '/ip6/fe80::1/tcp/4701',
      '/ip6/fd00::1/tcp/4701',
      '/ip6/::ffff:127.0.0.1/tcp/4701',
      '/ip6/::ffff:a9fe:a9fe/tcp/80',
      '/dns4/localhost/tcp/4701',
      '/dns4/nas.local/tcp/4701',
      '/dns4/2130706433/tcp/4701',
      '/dns4/127.1/tcp/4701',
    ];
    const outside = ['/ip4/8.8.8.8/tcp/4701', '/ip6/2a00::1/tcp/4701', '/dns4/mesh.acme.example/tcp/4701'];
    const told = (addrs: string[]) =>
      addrs.flatMap((addr) => decodeInvite(encodeInvite({ ...invite(), addrs: [addr] }), NOW).addrs).map(isPrivateAddr);
    assert.deepEqual(
      told(inside),
      inside.map(() => true),
    );
    assert.deepEqual(
      told(outside),
      outside.map(() => false),
    );
    // What a name resolves to is judged as well, since a public name may lead to a private address.
    for (const ip of ['127.0.0.1', '::1', '::ffff:10.0.0.1', '64:ff9b::7f00:1']) assert.equal(isPrivateIp(ip), true);
    assert.equal(isPrivateIp('8.8.8.8'), false);
  });
});

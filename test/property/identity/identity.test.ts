import assert from 'node:assert/strict';
import fc from 'fast-check';
import { canonicalBytes, canonicalize, type JsonObject } from '../../../src/facts/index.ts';
import {
  decodeInvite,
  decodeManifest,
  encodeInvite,
  hashSecret,
  IdentityError,
  joinProof,
  type PeerDeclaration,
  signDeclaration,
  succeeds,
  verifyDeclaration,
  verifyManifest,
  verifyProof,
} from '../../../src/identity/index.ts';
import { fixedKey, fixedPeer } from '../../support/org.ts';
import { check } from '../facts/runs.ts';
import { addrs, authority, history, invite, mutated, NOW, namespaces, nonce, scopes } from './arbitraries.ts';

const isRefusal = (error: unknown): true => {
  assert.ok(error instanceof IdentityError, String(error));
  assert.ok(error.message !== '' && error.hint !== '');
  return true;
};

describe('identity: properties of manifests', () => {
  it('every manifest of a history verifies, comes back from its bytes, and follows every earlier one', async () => {
    await fc.assert(
      fc.asyncProperty(history, async (all) => {
        for (const [at, manifest] of all.entries()) {
          const bytes = canonicalBytes(manifest);
          assert.deepEqual(await verifyManifest(bytes, NOW), manifest);
          assert.deepEqual(canonicalBytes(decodeManifest(bytes)), bytes);
          assert.equal(manifest.version, at + 1);
          for (const earlier of all.slice(0, at)) {
            assert.equal(succeeds(earlier, manifest), true);
            assert.equal(succeeds(manifest, earlier), false);
          }
          assert.equal(succeeds(manifest, manifest), false);
        }
      }),
      { numRuns: 60 },
    );
  });

  it('any change of any member is refused', async () => {
    const changed = history.chain((all) => fc.tuple(fc.constant(all.at(-1)!), mutated(all.at(-1)!)));
    await fc.assert(
      fc.asyncProperty(changed, async ([manifest, other]) => {
        fc.pre(canonicalize(other) !== canonicalize(manifest));
        await assert.rejects(verifyManifest(other), isRefusal);
        await assert.rejects(verifyManifest(canonicalBytes(other)), isRefusal);
      }),
      { numRuns: 400 },
    );
  });

  it('any change of a byte is refused', async () => {
    await fc.assert(
      fc.asyncProperty(history, fc.nat(), fc.integer({ min: 1, max: 255 }), async (all, at, flip) => {
        const bytes = canonicalBytes(all.at(-1)!);
        bytes[at % bytes.length]! ^= flip;
        await assert.rejects(verifyManifest(bytes), isRefusal);
      }),
      { numRuns: 200 },
    );
  });

  it('whatever else is received is refused with a code', async () => {
    const noise = fc.oneof(fc.uint8Array({ maxLength: 200 }), fc.jsonValue() as fc.Arbitrary<JsonObject>);
    await fc.assert(
      fc.asyncProperty(noise, (input) => assert.rejects(verifyManifest(input), isRefusal)),
      { numRuns: 200 },
    );
  });
});

describe('identity: properties of declarations', () => {
  const [us, them] = [fixedPeer(0x51), fixedPeer(0x52)];
  const made = fc
    .record({
      org: authority,
      addrs,
      audience: fc.constant(us),
      terms: fc.record({ gives: scopes, takes: scopes, namespaces }),
      nonce,
      now: fc.constant(NOW),
      expiresAt: fc.option(fc.integer({ min: NOW + 1, max: NOW * 2 })),
    })
    .map((init) => signDeclaration(init, fixedKey(0x52)));
  const verified = (input: Uint8Array | JsonObject, { nonce: challenge }: PeerDeclaration) =>
    verifyDeclaration(input, { peerId: them, audience: us, nonce: challenge, now: NOW });

  it('each comes back from its bytes', async () => {
    await fc.assert(
      fc.asyncProperty(made, async (declaration) => {
        const bytes = canonicalBytes(declaration);
        assert.deepEqual(await verified(bytes, declaration), declaration);
        assert.deepEqual(canonicalBytes(await verified(declaration, declaration)), bytes);
      }),
      { numRuns: 200 },
    );
  });

  it('any change of any member, or of a byte, is refused', async () => {
    const changed = made.chain((declaration) => fc.tuple(fc.constant(declaration), mutated(declaration)));
    await fc.assert(
      fc.asyncProperty(changed, fc.nat(), fc.integer({ min: 1, max: 255 }), async ([declaration, other], at, flip) => {
        const bytes = canonicalBytes(declaration);
        bytes[at % bytes.length]! ^= flip;
        await assert.rejects(verified(bytes, declaration), isRefusal);
        fc.pre(canonicalize(other) !== canonicalize(declaration));
        await assert.rejects(verified(other, declaration), isRefusal);
        await assert.rejects(verified(canonicalBytes(other), declaration), isRefusal);
      }),
      { numRuns: 400 },
    );
  });
});

describe('identity: properties of invites', () => {
  it('each comes back from its text, wrapped and retyped as well', () => {
    check(
      fc.property(invite, fc.integer({ min: 1, max: 80 }), (given, width) => {
        const text = encodeInvite(given);
        assert.deepEqual(decodeInvite(text), given);
        const wrapped = text.match(new RegExp(`.{1,${width}}`, 'g'))!.join('\r\n  ');
        assert.deepEqual(decodeInvite(`\n${wrapped}\t`), given);
        const [scheme, version, payload] = text.split(':');
        const heard = payload!.toLowerCase().replaceAll('0', 'o').replaceAll('1', 'i');
        assert.deepEqual(decodeInvite(`${scheme}:${version}:${heard}`), given);
      }),
      200,
    );
  });

  it('whatever else is pasted is refused with a code that names a field', () => {
    const noise = fc.oneof(
      fc.string({ unit: 'binary' }),
      fc.stringMatching(/^stigmesh-invite:[0-9]{1,2}:[0-9A-Z]{0,80}$/),
    );
    check(
      fc.property(noise, (text) =>
        assert.throws(
          () => decodeInvite(text),
          (error: IdentityError) => isRefusal(error) && error.code.startsWith('invite_') && error.field !== undefined,
        ),
      ),
      500,
    );
  });
});

describe('identity: properties of proofs', () => {
  it('no other secret, stream or node gives the same', () => {
    const context = fc.record({
      inviteId: fc.constantFrom('00'.repeat(8), '01'.repeat(8)),
      challenge: fc.constantFrom('00'.repeat(16), '01'.repeat(16)),
      joinerNonce: fc.constantFrom('00'.repeat(16), '01'.repeat(16)),
      joinerPeerId: fc.constantFrom(fixedPeer(1), fixedPeer(2)),
      inviterPeerId: fc.constantFrom(fixedPeer(1), fixedPeer(2)),
    });
    const secret = fc.constantFrom(1, 2).map((byte) => new Uint8Array(16).fill(byte));
    check(
      fc.property(context, context, secret, secret, (a, b, secretA, secretB) => {
        const isSame = canonicalize(a) === canonicalize(b) && secretA[0] === secretB[0];
        assert.equal(verifyProof(joinProof(hashSecret(secretA), a), joinProof(hashSecret(secretB), b)), isSame);
      }),
      300,
    );
  });
});

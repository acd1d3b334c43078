import assert from 'node:assert/strict';
import { hashSecret, inviterProof, joinProof, type ProofContext, verifyProof } from '../../../src/identity/index.ts';
import { fixedPeer } from '../../support/org.ts';

const CONTEXT: ProofContext = {
  inviteId: '0011223344556677',
  challenge: 'c0'.repeat(16),
  joinerNonce: 'd1'.repeat(16),
  joinerPeerId: fixedPeer(0x41),
  inviterPeerId: fixedPeer(0x42),
};
const HASH = hashSecret(new Uint8Array(16).fill(1));

describe('identity: proofs of joining', () => {
  it('differ by secret and by everything of the stream', () => {
    const proofs = new Set([joinProof(HASH, CONTEXT), joinProof(hashSecret(new Uint8Array(16).fill(2)), CONTEXT)]);
    for (const name of Object.keys(CONTEXT) as (keyof ProofContext)[]) {
      proofs.add(joinProof(HASH, { ...CONTEXT, [name]: `${CONTEXT[name]}0` }));
    }
    const swapped = { ...CONTEXT, challenge: CONTEXT.joinerNonce, joinerNonce: CONTEXT.challenge };
    proofs.add(joinProof(HASH, swapped));
    proofs.add(inviterProof(HASH, CONTEXT));
    assert.equal(proofs.size, 9);
    for (const proof of proofs) assert.match(proof, /^[0-9a-f]{64}$/);
  });

  it('are compared whatever is received', () => {
    const proof = joinProof(HASH, CONTEXT);
    assert.equal(verifyProof(proof, proof), true);
    for (const given of [
      undefined,
      null,
      1,
      {},
      [proof],
      '',
      proof.slice(2),
      `${proof}00`,
      proof.toUpperCase(),
      `${proof.slice(0, -1)}g`,
      inviterProof(HASH, CONTEXT),
    ]) {
      assert.equal(verifyProof(proof, given), false, String(given));
    }
    assert.equal(verifyProof('', ''), false);
    for (let at = 0; at < proof.length; at++) {
      const changed = proof.slice(0, at) + (proof[at] === '0' ? '1' : '0') + proof.slice(at + 1);
      assert.equal(verifyProof(proof, changed), false);
    }
  });

  it('need a secret of sixteen bytes, and the hash of one', () => {
    for (const length of [0, 15, 17, 32]) {
      assert.throws(() => hashSecret(new Uint8Array(length)), { code: 'invite_malformed', field: 'secret' });
    }
    for (const hash of ['', 'zz'.repeat(32), HASH.slice(2), HASH.toUpperCase()]) {
      assert.throws(() => joinProof(hash, CONTEXT), { code: 'invite_malformed', field: 'secret' });
      assert.throws(() => inviterProof(hash, CONTEXT), { code: 'invite_malformed', field: 'secret' });
    }
  });
});

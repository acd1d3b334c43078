import assert from 'node:assert/strict';
import { createHash, createPrivateKey, generateKeyPairSync, sign, verify } from 'node:crypto';
import { publicKeyFromRaw } from '@libp2p/crypto/keys';
import { peerIdFromPublicKey as libp2pPeerId, peerIdFromString } from '@libp2p/peer-id';
import fc from 'fast-check';
import {
  fingerprint,
  parseFingerprint,
  peerIdFromPublicKey,
  publicKeyFromPeerId,
  publicKeyObject,
  rawPublicKey,
} from '../../../src/identity/index.ts';
import { MAX_PEER_ID_CHARACTERS } from '../../../src/identity/limits.ts';

const raw = fc.uint8Array({ minLength: 32, maxLength: 32 });
const bytes = (text: string) => new Uint8Array(Buffer.from(text, 'hex'));

/** RFC 8032, 7.1, test 1. */
const RFC_SECRET = '9d61b19deffd5a60ba844af492ec2cc44449c5697b326919703bac031cae7f60';
const RFC_PUBLIC = bytes('d75a980182b10ab7d54bfed3c964073a0ee172f3daa62325af021a68f707511a');

describe('identity: peer ids', () => {
  it('are those of libp2p, in both directions', () => {
    fc.assert(
      fc.property(raw, (key) => {
        const theirs = libp2pPeerId(publicKeyFromRaw(key)).toString();
        assert.equal(peerIdFromPublicKey(key), theirs);
        assert.deepEqual(publicKeyFromPeerId(theirs), key);
        assert.deepEqual(new Uint8Array(peerIdFromString(peerIdFromPublicKey(key)).publicKey?.raw ?? []), key);
      }),
    );
  });

  it('of generated keys round-trip through key objects', () => {
    for (let i = 0; i < 20; i++) {
      const { privateKey, publicKey } = generateKeyPairSync('ed25519');
      const key = rawPublicKey(privateKey);
      assert.deepEqual(key, rawPublicKey(publicKey));
      assert.match(peerIdFromPublicKey(key), /^12D3KooW[1-9A-HJ-NP-Za-km-z]{44}$/);
      const verifier = publicKeyObject(publicKeyFromPeerId(peerIdFromPublicKey(key)));
      const message = Buffer.from([i]);
      assert.equal(verify(null, message, verifier, sign(null, message, privateKey)), true);
    }
  });

  it('read the public key of a private one as RFC 8032 gives it', () => {
    const der = Buffer.concat([Buffer.from('302e020100300506032b657004220420', 'hex'), Buffer.from(RFC_SECRET, 'hex')]);
    assert.deepEqual(rawPublicKey(createPrivateKey({ key: der, format: 'der', type: 'pkcs8' })), RFC_PUBLIC);
  });

  it('refuse other lengths and other kinds of keys', () => {
    for (const length of [0, 31, 33]) {
      assert.throws(() => peerIdFromPublicKey(new Uint8Array(length)), { code: 'invalid_public_key' });
      assert.throws(() => publicKeyObject(new Uint8Array(length)), { code: 'invalid_public_key' });
      assert.throws(() => fingerprint(new Uint8Array(length)), { code: 'invalid_public_key' });
    }
    const { privateKey } = generateKeyPairSync('ec', { namedCurve: 'P-256' });
    assert.throws(() => rawPublicKey(privateKey), { code: 'key_not_ed25519' });
  });

  it('have one spelling: anything else is refused', () => {
    const good = peerIdFromPublicKey(RFC_PUBLIC);
    const others = [
      '',
      ` ${good}`,
      `${good} `,
      `1${good}`,
      `z${good}`,
      good.slice(0, -1),
      good.toLowerCase(),
      // An RSA and a secp256k1 peer id, and an Ed25519 one as a CID.
      'QmYyQSo1c1Ym7orWxLYvCrM2EmxFTANf8wXmmE7DWjhx5N',
      '16Uiu2HAm4v86W3bmT1BiH6oSPzcsSr31iDQpSN5Qa882BCjjwgrD',
      peerIdFromString(good).toCID().toString(),
      '0OIl',
      '1'.repeat(MAX_PEER_ID_CHARACTERS + 1),
    ];
    for (const peerId of others) assert.throws(() => publicKeyFromPeerId(peerId), { code: 'invalid_peer_id' }, peerId);
    fc.assert(
      fc.property(fc.nat(good.length - 1), fc.constantFrom(...'123456789ABCDEFGHJKLMNPQRSTUVWXYZ'), (at, character) => {
        const changed = good.slice(0, at) + character + good.slice(at + 1);
        try {
          assert.equal(peerIdFromPublicKey(publicKeyFromPeerId(changed)), changed);
        } catch (error) {
          assert.equal((error as { code?: string }).code, 'invalid_peer_id');
        }
      }),
    );
  });
});

describe('identity: fingerprints', () => {
  it('are the first 100 bits of the hash, in Crockford base32', () => {
    fc.assert(
      fc.property(raw, (key) => {
        const text = fingerprint(key);
        assert.match(text, /^[0-9A-HJKMNP-TV-Z]{5}(-[0-9A-HJKMNP-TV-Z]{5}){3}$/);
        const digits = '0123456789ABCDEFGHJKMNPQRSTVWXYZ';
        const bits = [...text.replaceAll('-', '')].map((c) => digits.indexOf(c).toString(2).padStart(5, '0')).join('');
        const hash = createHash('sha256').update('stigmesh-fingerprint-v1\0').update(key).digest();
        const expected = [...hash].map((byte) => byte.toString(2).padStart(8, '0')).join('');
        assert.equal(bits, expected.slice(0, 100));
      }),
    );
  });

  it('never change for a given key', () => {
    assert.equal(fingerprint(RFC_PUBLIC), 'Q121J-GHNG6-14B13-RRFFY');
    assert.equal(fingerprint(new Uint8Array(32)), '3QFNE-XSVJJ-AE21A-9VR9J');
  });

  it('are read as people type them', () => {
    fc.assert(
      fc.property(raw, (key) => {
        const text = fingerprint(key);
        assert.equal(parseFingerprint(text), text);
        assert.equal(parseFingerprint(` ${text.toLowerCase().replaceAll('-', ' ')} `), text);
        assert.equal(parseFingerprint(text.replaceAll('-', '').replaceAll('0', 'o').replaceAll('1', 'l')), text);
      }),
    );
    for (const text of [
      '',
      'K7QX4',
      'K7QX4-M2RDE-9PVTA-3HWNU',
      'K7QX4-M2RDE-9PVTA-3HWNC-0',
      'K7QX4_M2RDE_9PVTA_3HWNC',
    ]) {
      assert.throws(() => parseFingerprint(text), { code: 'invalid_fingerprint' }, text);
    }
    assert.equal(parseFingerprint('K7QX4-M2RDE-9PVTA-3HWNC'), 'K7QX4-M2RDE-9PVTA-3HWNC');
  });
});

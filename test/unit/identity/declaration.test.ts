import assert from 'node:assert/strict';
import { canonicalBytes, type JsonObject, type JsonValue } from '../../../src/facts/index.ts';
import {
  type DeclarationInit,
  declaredTerms,
  type PeerDeclaration,
  signDeclaration,
  verifyDeclaration,
} from '../../../src/identity/index.ts';
import {
  DECLARATION_SKEW_MS,
  MAX_ADDR_CHARACTERS,
  MAX_ADDRS,
  MAX_DECLARATION_BYTES,
  MAX_DECLARED_NAMESPACES,
  NONCE_BYTES,
} from '../../../src/identity/limits.ts';
import { fixedKey, fixedPeer } from '../../support/org.ts';

const NOW = Date.UTC(2026, 10, 21);
const NONCE = 'ab'.repeat(NONCE_BYTES);
const US = fixedPeer(0x21);
const THEM = fixedPeer(0x22);
const expected = { peerId: THEM, audience: US, nonce: NONCE, now: NOW };

const init = (change: Partial<DeclarationInit> = {}): DeclarationInit => ({
  org: 'acme.example',
  addrs: ['/ip4/198.51.100.7/tcp/4701'],
  audience: US,
  terms: { gives: ['public'], takes: ['public'], namespaces: null },
  nonce: NONCE,
  now: NOW,
  expiresAt: null,
  ...change,
});
const declared = (change: Partial<DeclarationInit> = {}) => signDeclaration(init(change), fixedKey(0x22));
const verified = (input: Uint8Array | JsonValue, now = NOW) => verifyDeclaration(input, { ...expected, now });
const malformed = (field: string) => ({ name: 'IdentityError', code: 'declaration_malformed', field });

describe('identity: declarations', () => {
  it('say what they were given, in one order', async () => {
    const declaration = declared({
      addrs: ['/ip4/198.51.100.7/tcp/4701', '/ip4/198.51.100.7/tcp/4701', '/ip4/198.51.100.6/tcp/4701'],
      terms: { gives: ['public', 'team', 'public'], takes: [], namespaces: ['b', '', 'a', 'b'] },
      expiresAt: NOW + 1000,
    });
    assert.deepEqual(await verified(canonicalBytes(declaration)), declaration);
    assert.deepEqual(declaration.addrs, ['/ip4/198.51.100.7/tcp/4701', '/ip4/198.51.100.6/tcp/4701']);
    const terms = { gives: ['team', 'public'], takes: [], namespaces: ['', 'a', 'b'] };
    assert.deepEqual(declaredTerms(declaration), terms);
    assert.equal(declaration.expires_at, new Date(NOW + 1000).toISOString());
    const all = declared();
    assert.equal(declaredTerms(all).namespaces, null);
    assert.equal('namespaces' in all || 'expires_at' in all, false);
  });

  it('never give or take what is local', () => {
    for (const field of ['gives', 'takes']) {
      const terms = { gives: [], takes: [], namespaces: null, [field]: ['local', 'public'] };
      assert.throws(() => declared({ terms }), malformed(`${field}[0]`));
    }
  });

  it('hold for one connection, one stream and a few minutes', async () => {
    const bytes = canonicalBytes(declared({ expiresAt: NOW + 1000 }));
    const refused = (code: string, change: Partial<typeof expected>) =>
      assert.rejects(verifyDeclaration(bytes, { ...expected, ...change }), { name: 'IdentityError', code });
    await refused('declaration_wrong_node', { peerId: fixedPeer(0x23) });
    await refused('declaration_wrong_audience', { audience: fixedPeer(0x23) });
    await refused('declaration_wrong_nonce', { nonce: 'ac'.repeat(NONCE_BYTES) });
    await refused('declaration_stale', { now: NOW + DECLARATION_SKEW_MS + 1 });
    await refused('declaration_stale', { now: NOW - DECLARATION_SKEW_MS - 1 });
    await refused('declaration_expired', { now: NOW + 1000 });
    await verified(bytes, NOW + 999);
    await verified(bytes, NOW - DECLARATION_SKEW_MS);
    await verified(canonicalBytes(declared()), NOW + DECLARATION_SKEW_MS);
  });

  it('are those of the key in them', async () => {
    const mine: PeerDeclaration = declared();
    const stolen = signDeclaration(init(), fixedKey(0x24));
    await assert.rejects(verified({ ...mine, signature: stolen.signature }), { code: 'bad_signature' });
    await assert.rejects(verified({ ...mine, public_key: stolen.public_key }), { code: 'declaration_wrong_node' });
    await assert.rejects(verified(stolen), { code: 'declaration_wrong_node' });
  });

  it('are refused when they end before they begin, or say what is no declaration', async () => {
    assert.throws(() => declared({ expiresAt: NOW }), malformed('expires_at'));
    assert.throws(() => declared({ nonce: 'ab' }), malformed('nonce'));
    assert.throws(() => declared({ audience: 'somebody' }), malformed('audience'));
    assert.throws(() => declared({ org: 'ACME' }), malformed('org'));
    for (const input of [null, [], 'x', Buffer.from('{}'), { v: 1 }]) {
      await assert.rejects(verified(input), { name: 'IdentityError', code: 'declaration_malformed' });
    }
  });

  it('hold namespaces as relations begin with them', () => {
    const name = (namespace: string) => declared({ terms: { gives: [], takes: [], namespaces: [namespace] } });
    for (const good of ['', 'memory', 'a b', 'é', 'x'.repeat(254)]) assert.deepEqual(name(good).namespaces, [good]);
    for (const bad of ['a:b', ' a', 'e\u0301', 'a\u0000', 'x'.repeat(255)]) {
      assert.throws(() => name(bad), malformed('namespaces[0]'), bad);
    }
    assert.throws(() => name('\ud800'), { name: 'IdentityError', code: 'declaration_malformed' });
  });
});

describe('identity: limits of declarations', () => {
  it(`hold ${MAX_ADDRS} addresses of ${MAX_ADDR_CHARACTERS} characters`, () => {
    const addr = (at: number, length: number) => `/dns4/${at + 10}`.padEnd(length - 9, 'a').concat('/tcp/4701');
    const addrs = Array.from({ length: MAX_ADDRS + 1 }, (_, at) => addr(at, MAX_ADDR_CHARACTERS));
    assert.equal(addrs[0]!.length, MAX_ADDR_CHARACTERS);
    assert.equal(declared({ addrs: addrs.slice(1) }).addrs.length, MAX_ADDRS);
    assert.throws(() => declared({ addrs }), malformed('addrs'));
    assert.throws(() => declared({ addrs: [addr(0, MAX_ADDR_CHARACTERS + 1)] }), malformed('addrs[0]'));
  });

  it('hold addresses in the outer form of a multiaddr', () => {
    for (const bad of ['', '/', 'ip4/1.2.3.4', '/ip4//tcp', '/ip4/1.2.3.4/', '/ip4/1.2.3.4 /tcp/1', '/ip4/\u00e9']) {
      assert.throws(() => declared({ addrs: [bad] }), malformed('addrs[0]'), bad);
    }
  });

  it(`hold ${MAX_DECLARED_NAMESPACES} namespaces`, () => {
    const names = Array.from({ length: MAX_DECLARED_NAMESPACES + 1 }, (_, at) => `n${at}`);
    const with_ = (namespaces: string[]) => declared({ terms: { gives: [], takes: [], namespaces } });
    assert.equal(with_(names.slice(1)).namespaces!.length, MAX_DECLARED_NAMESPACES);
    assert.throws(() => with_(names), malformed('namespaces'));
  });

  it(`fit ${MAX_DECLARATION_BYTES} bytes`, async () => {
    const long = (length: number) =>
      Array.from({ length: 128 }, (_, at) => `${at}`.padStart(4, '0').padEnd(length, 'x'));
    const with_ = (namespaces: string[]) => declared({ terms: { gives: [], takes: [], namespaces } });
    assert.ok(canonicalBytes(with_(long(180))).length < MAX_DECLARATION_BYTES);
    assert.throws(() => with_(long(200)), { name: 'IdentityError', code: 'declaration_too_large' });
    await assert.rejects(verified(new Uint8Array(MAX_DECLARATION_BYTES + 1)), { code: 'declaration_too_large' });
    await assert.rejects(verified(new Uint8Array(MAX_DECLARATION_BYTES)), { code: 'declaration_malformed' });
  });

  it(`have a nonce of ${NONCE_BYTES} bytes`, async () => {
    for (const nonce of ['', 'a', 'ab'.repeat(NONCE_BYTES - 1), 'ab'.repeat(NONCE_BYTES + 1), 'g'.repeat(32)]) {
      const declaration: JsonObject = { ...declared(), nonce };
      await assert.rejects(verified(declaration), malformed('nonce'));
    }
  });
});

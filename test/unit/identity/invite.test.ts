import assert from 'node:assert/strict';
import { crc32 } from 'node:zlib';
import { LAST_INSTANT } from '../../../src/facts/index.ts';
import { decodeBase32, encodeBase32 } from '../../../src/identity/base32.ts';
import { decodeInvite, encodeInvite, type Invite, rawPublicKey } from '../../../src/identity/index.ts';
import {
  INVITE_ID_BYTES,
  INVITE_SECRET_BYTES,
  MAX_ADDR_CHARACTERS,
  MAX_ADDRS,
  MAX_DECLARED_NAMESPACES,
  MAX_INVITE_BYTES,
  MAX_INVITE_CHARACTERS,
  PUBLIC_KEY_BYTES,
} from '../../../src/identity/limits.ts';
import { fixedKey, fixedPeer } from '../../support/org.ts';

const NOW = Date.UTC(2026, 10, 21);
const PEER = fixedPeer(0x31);
const PREFIX = 'stigmesh-invite:1:';

const invite = (change: Partial<Invite> = {}): Invite => ({
  peerId: PEER,
  org: 'acme.example',
  orgKey: rawPublicKey(fixedKey(1)),
  addrs: [`/ip4/198.51.100.7/tcp/4701/p2p/${PEER}`],
  id: '0011223344556677',
  secret: new Uint8Array(INVITE_SECRET_BYTES).fill(7),
  expiresAt: NOW,
  gives: ['public'],
  takes: [],
  namespaces: null,
  ...change,
});
const malformed = (field: string) => ({ name: 'IdentityError', code: 'invite_malformed', field });

/** An invite whose checksum is right, whatever else it says. */
function forged(change: (body: Buffer) => Buffer): string {
  const { bytes } = decodeBase32(encodeInvite(invite()).slice(PREFIX.length))!;
  const body = change(Buffer.from(bytes.slice(2, -4)));
  const covered = Buffer.concat([Buffer.alloc(2), body]);
  covered.writeUInt16BE(covered.length + 4);
  const checksum = Buffer.alloc(4);
  checksum.writeUInt32BE(crc32(covered, crc32(PREFIX)));
  return PREFIX + encodeBase32(Buffer.concat([covered, checksum]));
}

describe('identity: invites', () => {
  it('come back as they were made', () => {
    for (const change of [
      {},
      { addrs: [], gives: [], takes: ['team', 'company', 'public'] },
      { namespaces: [] },
      { namespaces: ['', 'memory', 'é'] },
      { expiresAt: 0 },
      { expiresAt: LAST_INSTANT },
      { org: 'a' },
    ] satisfies Partial<Invite>[]) {
      const made = invite(change);
      assert.deepEqual(decodeInvite(encodeInvite(made)), made);
    }
  });

  it('have one spelling: lists in order, addresses that end in the peer id', () => {
    const bare = '/ip4/198.51.100.7/tcp/4701';
    const text = encodeInvite(
      invite({
        addrs: [bare, `${bare}/p2p/${PEER}`],
        gives: ['public', 'team', 'public'],
        namespaces: ['b', 'a', 'b'],
      }),
    );
    const read = decodeInvite(text);
    assert.deepEqual(read.addrs, [`${bare}/p2p/${PEER}`]);
    assert.deepEqual(read.gives, ['team', 'public']);
    assert.deepEqual(read.namespaces, ['a', 'b']);
    assert.equal(encodeInvite(read), text);
  });

  it('are short enough for a message and a QR code, and hold nothing that a shell or a mail program changes', () => {
    const text = encodeInvite(invite());
    assert.match(text, /^stigmesh-invite:1:[0-9A-HJKMNP-TV-Z]+$/);
    assert.ok(text.length < 300, `${text.length}`);
  });

  it('are refused from the moment they expire on', () => {
    const text = encodeInvite(invite());
    assert.equal(decodeInvite(text, NOW - 1).expiresAt, NOW);
    assert.throws(() => decodeInvite(text, NOW), { code: 'invite_expired', message: /2026-11-21T00:00:00.000Z/ });
    assert.equal(decodeInvite(text).expiresAt, NOW);
  });

  it('never show their secret in an error', () => {
    const secret = new Uint8Array(INVITE_SECRET_BYTES).fill(0x5a);
    const text = encodeInvite(invite({ secret }));
    for (const [pasted, now] of [
      [text, NOW + 1],
      [text.slice(0, -3), NOW],
      [text.replace(/.$/, '!'), NOW],
      [`${text}0`, NOW],
    ] as const) {
      try {
        decodeInvite(pasted, now);
        assert.fail('refused');
      } catch (error) {
        const shown = `${(error as Error).stack} ${(error as { hint: string }).hint}`;
        assert.match(shown, /IdentityError/);
        for (const form of ['5a5a5a', 'B9D5', '90,90']) assert.ok(!shown.includes(form), shown);
      }
    }
  });

  it('are not made of what would be refused', () => {
    const fields: readonly [Partial<Invite>, string][] = [
      [{ peerId: 'QmX' }, 'peer_id'],
      [{ org: 'Acme' }, 'org'],
      [{ orgKey: new Uint8Array(PUBLIC_KEY_BYTES - 1) }, 'org_key'],
      [{ id: '0'.repeat(2 * INVITE_ID_BYTES - 1) }, 'id'],
      [{ id: 'A'.repeat(2 * INVITE_ID_BYTES) }, 'id'],
      [{ secret: new Uint8Array(INVITE_SECRET_BYTES + 1) }, 'secret'],
      [{ expiresAt: -1 }, 'expires_at'],
      [{ expiresAt: 1.5 }, 'expires_at'],
      [{ expiresAt: LAST_INSTANT + 1 }, 'expires_at'],
      [{ gives: ['local' as 'public'] }, 'gives'],
      [{ takes: ['local' as 'public'] }, 'takes'],
      [{ addrs: ['http://acme.example'] }, 'addrs'],
      [{ addrs: [`/ip4/198.51.100.7/tcp/1/p2p/${fixedPeer(0x32)}`] }, 'addrs'],
      [{ addrs: [`/dns4/${'a'.repeat(MAX_ADDR_CHARACTERS - 20)}/tcp/4701`] }, 'addrs'],
      [{ addrs: Array.from({ length: MAX_ADDRS + 1 }, (_, at) => `/ip4/198.51.100.${at}/tcp/1`) }, 'addrs'],
      [{ namespaces: ['a:b'] }, 'namespaces'],
      [{ namespaces: Array.from({ length: MAX_DECLARED_NAMESPACES + 1 }, (_, at) => `n${at}`) }, 'namespaces'],
    ];
    for (const [change, field] of fields) {
      assert.throws(() => encodeInvite(invite(change)), malformed(field), JSON.stringify(change));
    }
  });

  it('are refused for what they say, too, when the checksum is right', () => {
    assert.deepEqual(decodeInvite(forged((body) => body)), invite(), 'nothing forged yet');
    const at = { expiry: 88, scopes: 94, org: 95, addrs: 108, namespaces: -2 };
    const set = (position: number, ...values: number[]) =>
      forged((body) => {
        body.set(values, position < 0 ? body.length + position : position);
        return body;
      });
    assert.throws(() => decodeInvite(set(at.expiry, 0xff)), malformed('expires_at'));
    assert.throws(() => decodeInvite(set(at.scopes, 0x08)), malformed('gives'));
    assert.throws(() => decodeInvite(set(at.scopes, 0x80)), malformed('takes'));
    assert.throws(() => decodeInvite(set(at.org + 1, 0x41)), malformed('org'));
    assert.throws(() => decodeInvite(set(at.org + 1, 0xff)), malformed('org'));
    assert.throws(() => decodeInvite(set(at.org, 0xff)), malformed('org'));
    assert.throws(() => decodeInvite(set(at.addrs, MAX_ADDRS + 1)), malformed('addrs'));
    assert.throws(() => decodeInvite(set(at.addrs, 2)), malformed('addrs'));
    assert.throws(() => decodeInvite(set(at.addrs + 2, 0x20)), malformed('addrs'));
    assert.throws(() => decodeInvite(set(at.namespaces, 1, 1)), malformed('namespaces'));
    assert.throws(() => decodeInvite(set(at.namespaces, 0, 1)), malformed('namespaces'));
    assert.throws(() => decodeInvite(forged((body) => Buffer.concat([body, Buffer.of(0)]))), malformed('length'));
    for (let length = 0; length < 100; length++) {
      assert.throws(() => decodeInvite(forged((body) => body.subarray(0, length))), { code: 'invite_malformed' });
    }
  });
});

describe('identity: limits of invites', () => {
  it(`have ${MAX_INVITE_BYTES} bytes, which ${MAX_INVITE_CHARACTERS} characters hold several times`, () => {
    const names = (count: number) => Array.from({ length: count }, (_, at) => `name-${at}`.padEnd(18, 'x'));
    const large = encodeInvite(invite({ namespaces: names(97) }));
    assert.ok(large.length > (MAX_INVITE_BYTES * 7) / 5, `${large.length}`);
    assert.equal(decodeInvite(large).namespaces?.length, 97);
    assert.throws(() => encodeInvite(invite({ namespaces: names(110) })), {
      name: 'IdentityError',
      code: 'invite_too_large',
    });
    assert.equal(decodeInvite([...large].join('\n')).namespaces?.length, 97);
    const padded = large.padEnd(MAX_INVITE_CHARACTERS);
    assert.equal(decodeInvite(padded).namespaces?.length, 97);
    assert.throws(() => decodeInvite(`${padded} `), malformed('length'));
    assert.throws(() => decodeInvite('x'.repeat(10_000_000)), malformed('length'));
  });

  it('are refused when longer than any invite, though the checksum is right', () => {
    const text = forged((body) => Buffer.concat([body, Buffer.alloc(MAX_INVITE_BYTES)]));
    assert.throws(() => decodeInvite(text), { code: 'invite_checksum' });
  });
});

describe('identity: base32', () => {
  it('has the vectors of RFC 4648, in its own alphabet', () => {
    const rfc = 'ABCDEFGHIJKLMNOPQRSTUVWXYZ234567';
    const vectors = {
      '': '',
      f: 'MY',
      fo: 'MZXQ',
      foo: 'MZXW6',
      foob: 'MZXW6YQ',
      fooba: 'MZXW6YTB',
      foobar: 'MZXW6YTBOI',
    };
    for (const [plain, text] of Object.entries(vectors)) {
      const ours = [...text].map((digit) => '0123456789ABCDEFGHJKMNPQRSTVWXYZ'[rfc.indexOf(digit)]).join('');
      assert.equal(encodeBase32(Buffer.from(plain)), ours);
      assert.deepEqual(decodeBase32(ours), { bytes: new Uint8Array(Buffer.from(plain)), exact: true });
    }
  });

  it('tells what is no exact encoding', () => {
    assert.equal(decodeBase32('CQ')?.exact, false, 'bits that should be zero');
    assert.equal(decodeBase32('C')?.exact, false, 'not a whole byte');
    assert.equal(decodeBase32('CR0')?.exact, false, 'a character too many');
    for (const text of ['U', 'o', 'I', ' ', '=', 'é']) assert.equal(decodeBase32(text), undefined, text);
  });
});

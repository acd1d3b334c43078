import assert from 'node:assert/strict';
import { createHash } from 'node:crypto';
import { readFileSync } from 'node:fs';
import * as ed from '@noble/ed25519';
import oracle from 'canonicalize';
import { identityVectors, vectorText } from '../../../scripts/generate-identity-vectors.ts';
import {
  decodeInvite,
  decodeManifest,
  hashSecret,
  inviterProof,
  joinProof,
  manifestFingerprint,
  type OrgManifest,
  type PeerDeclaration,
  type ProofContext,
  succeeds,
  verifyDeclaration,
  verifyManifest,
  verifyProof,
} from '../../../src/identity/index.ts';
import { readVectors } from '../facts/vectors.ts';

type Json = Record<string, unknown>;

/** Kinds of vectors and their members. */
interface Kinds {
  readonly manifest: {
    readonly follows: string | null;
    readonly canonical: string;
    readonly message: string;
    readonly rotation_messages: readonly string[];
    readonly fingerprint: string;
  };
  readonly 'manifest-refused': { readonly canonical: string; readonly error: string; readonly field: string };
  readonly succession: {
    readonly known: string;
    readonly next: string;
    readonly succeeds?: boolean;
    readonly error?: string;
  };
  readonly declaration: { readonly canonical: string; readonly message: string; readonly expected: Expected };
  readonly 'declaration-refused': {
    readonly canonical: string;
    readonly expected: Expected;
    readonly error: string;
    readonly field: string;
  };
  readonly invite: { readonly text: string; readonly now: number; readonly invite: Json };
  readonly 'invite-refused': {
    readonly text: string;
    readonly now: number;
    readonly error: string;
    readonly field: string;
  };
  readonly proof: {
    readonly secret: string;
    readonly secret_hash: string;
    readonly context: ProofContext;
    readonly join_proof: string;
    readonly inviter_proof: string;
  };
}
interface Expected {
  readonly peer_id: string;
  readonly audience: string;
  readonly nonce: string;
  readonly now: number;
}

const file = readVectors<{ readonly kind: keyof Kinds }>('mesh-identity');

/** One test per vector of a kind. */
function each<K extends keyof Kinds>(kind: K, run: (vector: Kinds[K]) => void | Promise<void>): void {
  const vectors = file.vectors.filter((vector) => vector.kind === kind);
  assert.ok(vectors.length > 0, kind);
  for (const vector of vectors) it(`${vector.id}: ${vector.description}`, () => run(vector as unknown as Kinds[K]));
}

const key = (base64url: string) => new Uint8Array(Buffer.from(base64url, 'base64url'));
const sha256 = (...parts: readonly (string | Uint8Array)[]) => {
  const hash = createHash('sha256');
  for (const part of parts) hash.update(part);
  return hash.digest();
};

/** What is signed, by other implementations of RFC 8785 than ours. */
function message(domain: string, value: object): Buffer {
  const { signature: _, ...unsigned } = value as Json;
  return Buffer.concat([Buffer.from(`${domain}\0`), sha256(oracle(unsigned)!)]);
}

/** Ed25519 by @noble/ed25519. */
const isSigned = (signature: string, signed: Uint8Array, publicKey: string) =>
  ed.verifyAsync(key(signature), new Uint8Array(signed), key(publicKey));

describe('identity: vectors', () => {
  it('are what the generator makes (npm run generate:vectors)', () => {
    const text = readFileSync(new URL('../../../spec/vectors/mesh-identity.json', import.meta.url), 'utf8');
    assert.equal(text, vectorText(identityVectors()));
  });

  describe('of manifests', () => {
    each('manifest', async (vector) => {
      const manifest = await verifyManifest(Buffer.from(vector.canonical));
      const json = JSON.parse(vector.canonical) as OrgManifest;
      assert.deepEqual(manifest, json);
      assert.deepEqual(decodeManifest(json), json);
      assert.equal(manifestFingerprint(manifest), vector.fingerprint);
      if (vector.follows !== null) {
        const known = file.vectors.find(({ id }) => id === vector.follows) as unknown as Kinds['manifest'];
        assert.equal(succeeds(decodeManifest(Buffer.from(known.canonical)), manifest), true);
      }
      // The same again, with nothing of ours.
      assert.equal(oracle(json), vector.canonical);
      const signed = message('stigmesh-manifest-v1', json);
      assert.equal(signed.toString('hex'), vector.message);
      assert.ok(await isSigned(json.signature, signed, json.org_key));
      assert.equal(json.rotations.length, vector.rotation_messages.length);
      for (const [at, { from, to, at: moment, signature }] of json.rotations.entries()) {
        const rotation = message('stigmesh-rotation-v1', { authority: json.authority, from, to, at: moment });
        assert.equal(rotation.toString('hex'), vector.rotation_messages[at]);
        assert.ok(await isSigned(signature, rotation, from));
      }
    });
    each('manifest-refused', ({ canonical, error, field }) =>
      assert.rejects(verifyManifest(Buffer.from(canonical)), { name: 'IdentityError', code: error, field }),
    );
  });

  describe('of successions', () => {
    each('succession', async ({ known, next, succeeds: outcome, error }) => {
      const [before, after] = await Promise.all([
        verifyManifest(Buffer.from(known)),
        verifyManifest(Buffer.from(next)),
      ]);
      if (error !== undefined) assert.throws(() => succeeds(before, after), { name: 'IdentityError', code: error });
      else assert.equal(succeeds(before, after), outcome);
    });
  });

  const expected = ({ peer_id: peerId, audience, nonce, now }: Expected) => ({ peerId, audience, nonce, now });

  describe('of declarations', () => {
    each('declaration', async (vector) => {
      const declaration = await verifyDeclaration(Buffer.from(vector.canonical), expected(vector.expected));
      const json = JSON.parse(vector.canonical) as PeerDeclaration;
      assert.deepEqual(declaration, json);
      assert.equal(oracle(json), vector.canonical);
      const signed = message('stigmesh-declaration-v1', json);
      assert.equal(signed.toString('hex'), vector.message);
      assert.ok(await isSigned(json.signature, signed, json.public_key));
    });
    each('declaration-refused', (vector) =>
      assert.rejects(verifyDeclaration(Buffer.from(vector.canonical), expected(vector.expected)), {
        name: 'IdentityError',
        code: vector.error,
        field: vector.field,
      }),
    );
  });

  describe('of invites', () => {
    each('invite', ({ text, now, invite }) => {
      const { orgKey, secret, ...rest } = decodeInvite(text, now);
      const hex = (bytes: Uint8Array) => Buffer.from(bytes).toString('hex');
      assert.deepEqual({ ...rest, orgKey: hex(orgKey), secret: hex(secret) }, invite);
      assert.deepEqual(readByHand(text), { org: invite.org, secret: invite.secret, expiresAt: invite.expiresAt });
    });
    each('invite-refused', ({ text, now, error, field }) =>
      assert.throws(() => decodeInvite(text, now), { name: 'IdentityError', code: error, field }),
    );
  });

  describe('of proofs', () => {
    each('proof', (vector) => {
      const { context } = vector;
      const hash = hashSecret(Buffer.from(vector.secret, 'hex'));
      assert.equal(hash, vector.secret_hash);
      assert.equal(joinProof(hash, context), vector.join_proof);
      assert.equal(inviterProof(hash, context), vector.inviter_proof);
      assert.ok(verifyProof(vector.join_proof, vector.join_proof));
      // HMAC written out (RFC 2104).
      const secretHash = sha256('stigmesh-invite-secret-v1\0', Buffer.from(vector.secret, 'hex'));
      assert.equal(secretHash.toString('hex'), vector.secret_hash);
      const padded = Buffer.concat([secretHash, Buffer.alloc(32)]);
      const pad = (byte: number) => padded.map((value) => value ^ byte);
      const hmac = (domain: string) =>
        sha256(pad(0x5c), sha256(pad(0x36), `${domain}\0`, sha256(oracle(context)!))).toString('hex');
      assert.equal(hmac('stigmesh-join-v1'), vector.join_proof);
      assert.equal(hmac('stigmesh-inviter-v1'), vector.inviter_proof);
    });
  });
});

/** The fixed fields of an invite, by its layout in spec/mesh.md and big numbers. */
function readByHand(text: string): { org: string; secret: string; expiresAt: number } {
  const digits = '0123456789ABCDEFGHJKMNPQRSTVWXYZ';
  const spelled = text.replaceAll(/\s/g, '').slice('stigmesh-invite:1:'.length).toUpperCase();
  const repaired = spelled.replaceAll('O', '0').replaceAll(/[IL]/g, '1');
  const value = [...repaired].reduce((sum, digit) => sum * 32n + BigInt(digits.indexOf(digit)), 0n);
  const bits = repaired.length * 5;
  const length = Math.floor(bits / 8);
  assert.equal(value & ((1n << BigInt(bits - length * 8)) - 1n), 0n, 'filled up with zeros');
  const bytes = Buffer.from((value >> BigInt(bits - length * 8)).toString(16).padStart(length * 2, '0'), 'hex');
  assert.equal(bytes.readUInt16BE(0), length);
  const covered = Buffer.concat([Buffer.from('stigmesh-invite:1:'), bytes.subarray(0, -4)]);
  assert.equal(bytes.readUInt32BE(length - 4), crc32(covered), 'CRC-32');
  return {
    secret: bytes.subarray(74, 90).toString('hex'),
    expiresAt: bytes.readUIntBE(90, 6),
    org: bytes.subarray(98, 98 + bytes[97]!).toString(),
  };
}

/** ISO 3309, bit by bit. */
function crc32(bytes: Uint8Array): number {
  let crc = 0xffffffff;
  for (const byte of bytes) {
    crc ^= byte;
    for (let bit = 0; bit < 8; bit++) crc = (crc >>> 1) ^ (crc & 1 ? 0xedb88320 : 0);
  }
  return (crc ^ 0xffffffff) >>> 0;
}

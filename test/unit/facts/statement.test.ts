import assert from 'node:assert/strict';
import { createPrivateKey, createPublicKey, type KeyObject } from 'node:crypto';
import * as ed from '@noble/ed25519';
import oracle from 'canonicalize';
import {
  canonicalize,
  decodeStatement,
  encodeStatement,
  type FactStatement,
  factDigest,
  isFact,
  isManifest,
  isResolution,
  type ManifestStatement,
  normalizeExt,
  type ResolutionStatement,
  sha256Name,
  signedMessage,
  signStatement,
  statementId,
  verifyStatement,
} from '../../../src/facts/index.ts';
import { assertCode, eachVector, readVectors, type VectorFile } from './vectors.ts';

interface StatementVector {
  readonly kind: 'fact' | 'resolution' | 'manifest' | 'opaque';
  readonly canonical: string;
  readonly digest: string;
  readonly statement_id: string;
  readonly signature: string;
  readonly fact_cid?: string;
}

interface RefusedVector {
  readonly text?: string;
  readonly bytes?: string;
  readonly text_prefix?: string;
  readonly text_repeat?: string;
  readonly text_times?: number;
  readonly text_suffix?: string;
  readonly error: string;
}

type StatementFile = VectorFile<StatementVector> & { seed: string; public_key: string; peer_id: string };
const file = readVectors<StatementVector>('statement') as StatementFile;

/** PKCS 8 and SPKI heads of Ed25519 keys (RFC 8410). */
const privateKey = createPrivateKey({
  key: Buffer.concat([Buffer.from('302e020100300506032b657004220420', 'hex'), Buffer.from(file.seed, 'hex')]),
  format: 'der',
  type: 'pkcs8',
});
const publicKey: KeyObject = createPublicKey(privateKey);

describe('facts: statements', () => {
  for (const vector of file.vectors) {
    it(`${vector.id}: ${vector.description}`, async () => {
      const bytes = Buffer.from(vector.canonical);
      const decoded = decodeStatement(bytes);
      const { statement, digest } = decoded;
      assert.equal(Buffer.from(digest).toString('hex'), vector.digest);
      assert.equal(statementId(digest), vector.statement_id);
      assert.equal(statement.origin, file.peer_id);
      const kind = 'opaque' in statement ? 'opaque' : statement.kind;
      assert.deepEqual(
        [isFact, isResolution, isManifest].map((is) => is(statement)),
        ['fact', 'resolution', 'manifest'].map((one) => one === kind),
      );
      assert.equal(kind, vector.kind);
      assert.equal(oracle(JSON.parse(vector.canonical)), vector.canonical, 'the oracle agrees');
      if (kind !== 'opaque') {
        const encoded = encodeStatement(statement as FactStatement | ResolutionStatement | ManifestStatement);
        assert.equal(Buffer.from(encoded.bytes).toString(), vector.canonical);
        assert.equal(Buffer.from(encoded.digest).toString('hex'), vector.digest);
      }
      if (isFact(statement)) assert.equal(sha256Name(factDigest(statement.body)), vector.fact_cid);

      const { sig } = await signStatement(decoded, privateKey);
      assert.equal(Buffer.from(sig).toString('hex'), vector.signature);
      await verifyStatement(digest, sig, publicKey);
      // An independent implementation, which knows nothing of node:crypto, makes and accepts the same signature.
      const message = signedMessage(digest);
      assert.equal(await ed.verifyAsync(sig, message, Buffer.from(file.public_key, 'hex')), true);
      const theirs = await ed.signAsync(message, Buffer.from(file.seed, 'hex'));
      assert.equal(Buffer.from(theirs).toString('hex'), vector.signature);
    });
  }

  it('signs a domain tag and the digest', () => {
    const digest = Buffer.alloc(32, 7);
    const message = Buffer.from(signedMessage(digest));
    assert.equal(message.length, 54);
    assert.equal(message.subarray(0, 22).toString(), 'stigmesh-statement-v1\0');
    assert.deepEqual(message.subarray(22), digest);
  });

  it('refuses signatures over anything else, by another key, of another length', async () => {
    const [first, second] = file.vectors;
    const sig = Buffer.from(first!.signature, 'hex');
    const digest = Buffer.from(first!.digest, 'hex');
    const other = createPublicKey(
      createPrivateKey({
        key: Buffer.concat([Buffer.from('302e020100300506032b657004220420', 'hex'), Buffer.alloc(32, 9)]),
        format: 'der',
        type: 'pkcs8',
      }),
    );
    const flipped = Buffer.from(sig);
    flipped[63]! ^= 1;
    await verifyStatement(digest, sig, publicKey);
    for (const [d, s, k] of [
      [Buffer.from(second!.digest, 'hex'), sig, publicKey],
      [digest, flipped, publicKey],
      [digest, sig.subarray(0, 63), publicKey],
      [digest, Buffer.alloc(0), publicKey],
      [digest, Buffer.alloc(64), publicKey],
      [digest, sig, other],
    ] as const) {
      await assert.rejects(verifyStatement(d, s, k), { code: 'bad_signature' });
    }
    const untagged = await ed.signAsync(digest, Buffer.from(file.seed, 'hex'));
    await assert.rejects(verifyStatement(digest, untagged, publicKey), { code: 'bad_signature' });
  });
});

describe('facts: refused statements', () => {
  eachVector<RefusedVector>('statement-refused', (vector) => {
    const bytes =
      vector.bytes !== undefined
        ? Buffer.from(vector.bytes, 'hex')
        : Buffer.from(
            vector.text ??
              vector.text_prefix + vector.text_repeat!.repeat(vector.text_times!) + (vector.text_suffix ?? ''),
          );
    assertCode(() => decodeStatement(bytes), vector.error);
  });
});

describe('facts: terms', () => {
  it('one meaning has one spelling', () => {
    const id = file.vectors[0]!.statement_id;
    const ext = normalizeExt({
      valid_until: null,
      garden_id: ' Garden:Roses ',
      derived_from: [],
      interpret_as: 'content',
      supersedes: [`sha256:${file.vectors[0]!.digest}`, id, id],
      basis: undefined,
    });
    assert.equal(canonicalize(ext as never), `{"garden_id":"garden:roses","supersedes":["${id}"]}`);
  });

  it('keeps errors short, whatever the name of a strange term', () => {
    assert.throws(
      () => normalizeExt({ ['x'.repeat(100_000)]: 1 }),
      (error: Error & { field?: string }) => error.message.length < 200 && error.field!.length < 100,
    );
  });
});

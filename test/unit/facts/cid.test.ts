import assert from 'node:assert/strict';
import { CID } from 'multiformats/cid';
import * as json from 'multiformats/codecs/json';
import { sha256 as asyncSha256 } from 'multiformats/hashes/sha2';
import {
  canonicalize,
  cidText,
  conflictId,
  conflictIdBytes,
  type FactBody,
  factDigest,
  normalizeBody,
  parseCid,
  sha256,
  sha256Name,
  stigmemDigest,
} from '../../../src/facts/index.ts';
import { pythonFloat } from '../../../src/facts/stigmem-cid.ts';
import { assertCode, double, eachVector } from './vectors.ts';

interface FactCidVector {
  readonly body: FactBody;
  readonly canonical: string;
  readonly sha256: string;
  readonly cid: string;
  readonly stigmem_text: string;
  readonly stigmem_alias: string;
}

interface CidVector {
  readonly input: string;
  readonly form?: string;
  readonly digest?: string;
  readonly error?: string;
}

describe('facts: CIDs of claims', () => {
  eachVector<FactCidVector>('fact-cid', (vector) => {
    const body = normalizeBody({ ...vector.body });
    assert.deepEqual(body, vector.body);
    assert.equal(canonicalize(body as never), vector.canonical);
    const digest = factDigest(body);
    assert.equal(sha256Name(digest), vector.sha256);
    assert.equal(cidText(digest), vector.cid);
    assert.deepEqual(Buffer.from(parseCid(vector.cid).digest), Buffer.from(digest));
    assert.deepEqual(Buffer.from(parseCid(vector.sha256).digest), Buffer.from(digest));
    assert.equal(sha256Name(stigmemDigest(body)), vector.stigmem_alias);
    assert.equal(sha256Name(sha256(vector.stigmem_text)), vector.stigmem_alias);
  });

  it('agrees with multiformats put together by hand', async () => {
    const bytes = new TextEncoder().encode('{"a":1}');
    assert.equal(CID.createV1(json.code, await asyncSha256.digest(bytes)).toString(), cidText(sha256(bytes)));
  });
});

describe('facts: repr of a double', () => {
  eachVector<{ ieee754: string; repr: string }>('python-float', ({ ieee754, repr }) => {
    assert.equal(pythonFloat(double(ieee754)), repr);
  });
});

describe('facts: CIDs as text', () => {
  eachVector<CidVector>('cid', ({ input, form, digest, error }) => {
    if (error !== undefined) {
      assertCode(() => parseCid(input), error);
      return;
    }
    const parsed = parseCid(input);
    assert.equal(parsed.form, form);
    assert.equal(Buffer.from(parsed.digest).toString('hex'), digest);
    assert.equal(form === 'cid' ? cidText(parsed.digest) : sha256Name(parsed.digest), input);
  });
});

describe('facts: conflict ids', () => {
  eachVector<{ claims: [string, string]; garden: string | null; conflict: string }>('conflict-id', (vector) => {
    const id = conflictId(...vector.claims, vector.garden ?? undefined);
    assert.equal(id, vector.conflict);
    assert.equal(Buffer.from(conflictIdBytes(id)!).toString('hex'), id.slice('stigmem:conflict:'.length));
  });

  it('tells what is no conflict id', () => {
    for (const text of ['', 'stigmem:conflict:', `stigmem:conflict:${'A'.repeat(32)}`, `x:${'a'.repeat(32)}`]) {
      assert.equal(conflictIdBytes(text), undefined, text);
    }
  });
});

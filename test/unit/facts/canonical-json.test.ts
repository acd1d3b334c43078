import assert from 'node:assert/strict';
import oracle from 'canonicalize';
import { canonicalBytes, canonicalize, decodeCanonical, type JsonValue } from '../../../src/facts/index.ts';
import { assertCode, double, eachVector } from './vectors.ts';

type CanonicalVector =
  | { kind: 'encode'; json: string; canonical: string; bytes: string }
  | { kind: 'number'; ieee754: string; canonical: string }
  | { kind: 'accept'; bytes: string; text: string }
  | { kind: 'refuse'; bytes: string; text?: string; error: string };

const ENOUGH = 128 * 1024;

describe('facts: canonical JSON', () => {
  eachVector<CanonicalVector>('canonical-json', (vector) => {
    switch (vector.kind) {
      case 'encode': {
        const value = JSON.parse(vector.json) as JsonValue;
        assert.equal(canonicalize(value), vector.canonical);
        assert.equal(Buffer.from(canonicalBytes(value)).toString('hex'), vector.bytes);
        assert.equal(oracle(value), vector.canonical, 'the oracle agrees');
        assert.equal(canonicalize(decodeCanonical(Buffer.from(vector.bytes, 'hex'), ENOUGH)), vector.canonical);
        return;
      }
      case 'number':
        assert.equal(canonicalize(double(vector.ieee754)), vector.canonical);
        assert.equal(JSON.parse(vector.canonical), double(vector.ieee754));
        return;
      case 'accept':
        assert.equal(canonicalize(decodeCanonical(Buffer.from(vector.bytes, 'hex'), ENOUGH)), vector.text);
        return;
      case 'refuse':
        assertCode(() => decodeCanonical(Buffer.from(vector.bytes, 'hex'), ENOUGH), vector.error);
    }
  });

  it('leaves out undefined members and refuses what JSON cannot say', () => {
    assert.equal(canonicalize({ b: undefined, a: 1 }), '{"a":1}');
    for (const value of [Number.NaN, Number.POSITIVE_INFINITY, 1n, () => 1, [undefined], Symbol('x')]) {
      assertCode(() => canonicalize(value as never), 'not_canonical');
    }
  });

  it('never quotes what it refuses', () => {
    assert.throws(
      () => decodeCanonical(Buffer.from('{"password":hunter2}'), ENOUGH),
      (error: Error) => !error.message.includes('hunter2') && !error.message.includes('password'),
    );
  });
});

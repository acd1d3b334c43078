import assert from 'node:assert/strict';
import { canonicalize, normalizeValue, VALUE_TYPES, valueDigest } from '../../../src/facts/index.ts';
import { formatInstant, parseInstant, parseUtcInstant } from '../../../src/facts/time.ts';
import { assertCode, eachVector, expand, readVectors } from './vectors.ts';

interface ValueVector {
  readonly type: unknown;
  readonly v?: unknown;
  readonly v_json?: string;
  readonly expected?: { readonly type: string; readonly v: unknown };
  readonly canonical?: string;
  readonly digest?: string;
  readonly error?: string;
}

interface TimestampVector {
  readonly input: string;
  readonly unix_ms?: number;
  readonly utc?: boolean;
  readonly error?: string;
}

describe('facts: values', () => {
  eachVector<ValueVector>('value', ({ type, v, v_json, expected, canonical, digest, error }) => {
    const given = v_json === undefined ? expand(v) : (JSON.parse(v_json) as unknown);
    if (error !== undefined) {
      assertCode(() => normalizeValue(type, given), error);
      return;
    }
    const value = normalizeValue(type, given);
    assert.deepEqual(value, { type: expected?.type, v: expand(expected?.v) });
    assert.ok(!Object.is(value.v, -0));
    if (canonical === undefined) return;
    assert.equal(canonicalize(value), canonical);
    assert.equal(valueDigest(value), digest);
  });

  it('has a vector for every type', () => {
    const accepted = new Set(
      readVectors<ValueVector>('value').vectors.flatMap((vector) => vector.expected?.type ?? []),
    );
    assert.deepEqual([...accepted].sort(), [...VALUE_TYPES].sort());
  });
});

describe('facts: timestamps', () => {
  eachVector<TimestampVector>('timestamp', ({ input, unix_ms, utc, error }) => {
    if (error !== undefined) {
      assertCode(() => parseInstant(input, 'valid_until'), error);
      assertCode(() => parseUtcInstant(input, 'timestamp'), error);
      return;
    }
    assert.equal(parseInstant(input, 'valid_until'), unix_ms);
    if (utc) assert.equal(parseUtcInstant(input, 'timestamp'), unix_ms);
    else assertCode(() => parseUtcInstant(input, 'timestamp'), 'invalid_timestamp');
  });

  it('writes one spelling', () => {
    assert.equal(formatInstant(1795244001035), '2026-11-21T06:53:21.035Z');
    assert.equal(parseUtcInstant(formatInstant(0), 'timestamp'), 0);
  });
});

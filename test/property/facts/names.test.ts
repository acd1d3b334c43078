import assert from 'node:assert/strict';
import fc from 'fast-check';
import { FactError, normalizeRelation, normalizeUri } from '../../../src/facts/index.ts';
import { MAX_RELATION_BYTES, MAX_URI_BYTES } from '../../../src/facts/limits.ts';
import { check, unicode } from './runs.ts';

/** The result, or undefined where the input was refused with a FactError. */
function attempt(normalize: (text: string) => string, text: string): string | undefined {
  try {
    return normalize(text);
  } catch (error) {
    assert.ok(error instanceof FactError, String(error));
    return undefined;
  }
}

const anyText = fc.oneof(unicode, fc.string({ unit: 'binary' }), fc.string({ unit: 'grapheme' }));

describe('facts, properties: names', () => {
  it('normalizeUri is idempotent, within its limit and in NFC', () => {
    check(
      fc.property(anyText, (text) => {
        const uri = attempt(normalizeUri, text);
        if (uri === undefined) return;
        assert.equal(attempt(normalizeUri, uri), uri);
        assert.equal(uri.normalize('NFC'), uri);
        assert.ok(Buffer.byteLength(uri) <= MAX_URI_BYTES && uri !== '');
        assert.doesNotMatch(uri, /[\u0000-\u0020\u007f]/, 'no ASCII white space, no control characters');
        assert.doesNotMatch(uri, /%(?![0-9A-F]{2})/, 'whole triplets only, in upper case');
        assert.doesNotMatch(uri, /%(?:4[1-9A-F]|5[0-9A]|6[1-9A-F]|7[0-9AE]|3[0-9]|2[DE]|5F)/, 'none of them needless');
      }),
      20_000,
    );
  });

  it('spellings that differ in case, white space around and NFC are one stigmem:// name', () => {
    const part = fc.string({ unit: fc.constantFrom(...'abzé\u00e5xyz09-_.~'), minLength: 1, maxLength: 8 });
    check(
      fc.property(part, part, part, fc.boolean(), (authority, type, id, nfd) => {
        const plain = `stigmem://${authority}/${type}/${id}`;
        const other = `\t ${plain.toUpperCase().normalize(nfd ? 'NFD' : 'NFC')}\n`;
        assert.equal(normalizeUri(other), normalizeUri(plain));
      }),
      1000,
    );
  });

  it('normalizeRelation is idempotent, within its limit and in NFC', () => {
    check(
      fc.property(anyText, (text) => {
        const relation = attempt(normalizeRelation, text);
        if (relation === undefined) return;
        assert.equal(attempt(normalizeRelation, relation), relation);
        assert.equal(relation.normalize('NFC'), relation);
        assert.ok(Buffer.byteLength(relation) <= MAX_RELATION_BYTES && relation === relation.trim());
      }),
      10_000,
    );
  });

  it('text that is not well-formed Unicode is refused as such', () => {
    check(
      fc.property(unicode, unicode, fc.integer({ min: 0xd800, max: 0xdfff }), (before, after, unit) => {
        const text = `${before}x${String.fromCharCode(unit)}x${after}`;
        assert.throws(() => normalizeUri(text), { code: 'lone_surrogate' });
        assert.throws(() => normalizeRelation(text), { code: 'lone_surrogate' });
      }),
      500,
    );
  });
});

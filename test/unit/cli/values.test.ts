import assert from 'node:assert/strict';
import fc from 'fast-check';
import { LONG_STRING_BYTES } from '../../../src/cli/limits.ts';
import { inferValue, jsonValue, readValue, typedValue, VALUE_TYPES, valueText } from '../../../src/cli/values.ts';
import * as facts from '../../../src/facts/index.ts';

describe('cli: values', () => {
  it('knows the types that facts have', () => {
    assert.deepEqual([...VALUE_TYPES], [...facts.VALUE_TYPES]);
  });

  const inferred: readonly (readonly [string, string])[] = [
    ['true', 'boolean'],
    ['false', 'boolean'],
    ['True', 'string'],
    ['null', 'null'],
    ['NULL', 'string'],
    ['0', 'number'],
    ['-0', 'number'],
    ['42', 'number'],
    ['-1.50', 'number'],
    ['1e6', 'number'],
    ['1E-7', 'number'],
    ['0.1', 'number'],
    ['1.7976931348623157e308', 'number'],
    ['1e400', 'string'],
    ['01', 'string'],
    ['.5', 'string'],
    ['5.', 'string'],
    ['+5', 'string'],
    ['0x10', 'string'],
    ['NaN', 'string'],
    ['Infinity', 'string'],
    ['1_000', 'string'],
    ['9007199254740993', 'string'],
    ['12345678901234567890', 'string'],
    ['2030-01-01T00:00:00Z', 'datetime'],
    ['2030-01-01T00:00:00.123456789+00:00', 'datetime'],
    ['2028-02-29T23:59:59Z', 'datetime'],
    ['2030-02-30T00:00:00Z', 'string'],
    ['2030-01-01T24:00:00Z', 'string'],
    ['2030-01-01T00:00:00+02:00', 'string'],
    ['2030-01-01T00:00:00', 'string'],
    ['2030-01-01', 'string'],
    ['https://example.com/a?b#c', 'ref'],
    ['stigmem://acme.example/user/alice', 'ref'],
    ['urn:isbn:0451450523', 'ref'],
    ['user:alice', 'string'],
    ['mailto:a@b.example', 'string'],
    ['c://drive', 'string'],
    ['see https://example.com', 'string'],
    ['https://exa mple.com', 'string'],
    ['https://', 'string'],
    ['', 'string'],
    ['CEO', 'string'],
    ['two\nlines', 'text'],
    ['x'.repeat(LONG_STRING_BYTES), 'string'],
    ['x'.repeat(LONG_STRING_BYTES + 1), 'text'],
    ['é'.repeat(LONG_STRING_BYTES / 2 + 1), 'text'],
    [`https://example.com/${'x'.repeat(LONG_STRING_BYTES)}`, 'text'],
  ];
  for (const [text, type] of inferred) {
    const shown = text.length > 50 ? `${text.slice(0, 20)}… (${text.length})` : text;
    it(`infers ${JSON.stringify(shown)} as ${type}`, () => assert.equal(inferValue(text).type, type));
  }

  it('infers only what a fact accepts, and changes no text', () => {
    const texts = fc.oneof(
      fc.string({ unit: 'grapheme', maxLength: 60 }),
      fc.double().map(String),
      fc.webUrl(),
      fc.date({ noInvalidDate: true }).map((date) => date.toISOString()),
    );
    fc.assert(
      fc.property(texts, (text) => {
        const value = inferValue(text);
        assert.equal(facts.normalizeValue(value.type, value.v).type, value.type);
        if (typeof value.v === 'string') assert.equal(value.v, text);
      }),
    );
  });

  it('infers every double as the number it is', () => {
    fc.assert(
      fc.property(fc.double({ noNaN: true, noDefaultInfinity: true }), (number) => {
        assert.deepEqual(inferValue(JSON.stringify(number)), { type: 'number', v: number === 0 ? 0 : number });
      }),
    );
  });

  it('takes a type that is named', () => {
    assert.deepEqual(typedValue('string', 'true'), { type: 'string', v: 'true' });
    assert.deepEqual(typedValue('number', '1e3'), { type: 'number', v: 1000 });
    assert.deepEqual(typedValue('boolean', 'false'), { type: 'boolean', v: false });
    assert.deepEqual(typedValue('null', undefined), { type: 'null', v: null });
    assert.deepEqual(typedValue('ref', 'user:alice'), { type: 'ref', v: 'user:alice' });
    assert.deepEqual(typedValue('text', ''), { type: 'text', v: '' });
  });

  for (const [type, text] of [
    ['number', 'four'],
    ['number', '1e400'],
    ['number', undefined],
    ['boolean', 'yes'],
    ['datetime', '2030-01-01'],
    ['null', 'nothing'],
    ['string', undefined],
  ] as const) {
    it(`refuses ${text} as ${type}`, () => {
      assert.throws(() => typedValue(type, text), { code: 'usage', hint: /./ });
    });
  }

  it('asks for a value that is missing', () => {
    assert.throws(() => readValue(undefined, undefined), { code: 'usage', message: /missing/ });
  });

  it('takes the type of plain JSON as it is', () => {
    assert.deepEqual(jsonValue('42'), { type: 'string', v: '42' });
    assert.deepEqual(jsonValue(42), { type: 'number', v: 42 });
    assert.deepEqual(jsonValue(null), { type: 'null', v: null });
    assert.deepEqual(jsonValue('a\nb'), { type: 'text', v: 'a\nb' });
    assert.deepEqual(jsonValue({ type: 'ref', v: 'urn:x:y' }), { type: 'ref', v: 'urn:x:y' });
  });

  it('writes values as text', () => {
    assert.equal(valueText({ type: 'string', v: 'x' }), 'x');
    assert.equal(valueText({ type: 'number', v: 1.5 }), '1.5');
    assert.equal(valueText({ type: 'null' }), 'null');
  });
});

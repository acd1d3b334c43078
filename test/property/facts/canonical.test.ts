import assert from 'node:assert/strict';
import oracle from 'canonicalize';
import fc from 'fast-check';
import { canonicalBytes, canonicalize, decodeCanonical, FactError, type JsonValue } from '../../../src/facts/index.ts';
import { MAX_JSON_DEPTH } from '../../../src/facts/limits.ts';
import { encodedValue, pythonFloat } from '../../../src/facts/stigmem-cid.ts';
import { check, unicode } from './runs.ts';

const ENOUGH = 1 << 20;
const number = fc.oneof(
  fc.double({ noNaN: true, noDefaultInfinity: true }),
  fc.integer(),
  fc.constantFrom(0, -0, 1e21, 1e-7),
);
const json = fc.letrec<{ value: JsonValue }>((tie) => ({
  value: fc.oneof(
    { maxDepth: 5, withCrossShrink: true },
    fc.constantFrom<JsonValue>(null, true, false),
    number,
    unicode,
    fc.array(tie('value'), { maxLength: 4 }),
    fc.dictionary(fc.oneof(unicode, fc.constantFrom('__proto__', 'constructor', '1', '10', '2')), tie('value'), {
      maxKeys: 5,
    }),
  ),
})).value;

describe('facts, properties: canonical JSON', () => {
  it('is what the oracle prints, a fixed point, and decoded to the same value', () => {
    check(
      fc.property(json, (value) => {
        const text = canonicalize(value);
        assert.equal(text, oracle(value));
        const bytes = canonicalBytes(value);
        assert.equal(Buffer.from(bytes).toString(), text);
        const decoded = decodeCanonical(bytes, ENOUGH);
        assert.deepEqual(Buffer.from(canonicalBytes(decoded)), Buffer.from(bytes));
        assert.deepEqual(JSON.parse(JSON.stringify(value)), decoded);
      }),
      3000,
    );
  });

  it('refuses the same value with white space anywhere between its tokens', () => {
    check(
      fc.property(json, fc.nat(), fc.constantFrom(' ', '\n', '\t', '\r'), (value, at, space) => {
        const text = canonicalize(value);
        // Places between tokens: outside strings, and not inside a number or a word.
        const places = [0, text.length];
        for (const match of text.matchAll(/"(?:[^"\\]|\\.)*"|[[\]{},:]/gs)) {
          places.push(match.index, match.index + match[0].length);
        }
        const place = places[at % places.length]!;
        const spaced = text.slice(0, place) + space + text.slice(place);
        assert.doesNotThrow(() => JSON.parse(spaced));
        assert.throws(() => decodeCanonical(Buffer.from(spaced), ENOUGH), { code: 'not_canonical' });
      }),
      2000,
    );
  });

  it('refuses members in any other order', () => {
    const members = fc.uniqueArray(fc.tuple(unicode, number), {
      minLength: 2,
      maxLength: 6,
      selector: ([name]) => name,
    });
    check(
      fc.property(members, fc.nat(), (entries, turn) => {
        const sorted = [...entries].sort(([a], [b]) => (a < b ? -1 : 1));
        const by = 1 + (turn % (entries.length - 1));
        const turned = [...sorted.slice(by), ...sorted.slice(0, by)];
        const text = `{${turned.map(([name, n]) => `${JSON.stringify(name)}:${canonicalize(n)}`).join(',')}}`;
        assert.throws(() => decodeCanonical(Buffer.from(text), ENOUGH), { code: 'not_canonical' });
      }),
      2000,
    );
  });

  it('refuses every other spelling of a number', () => {
    check(
      fc.property(number, (x) => {
        const canonical = canonicalize(x);
        const [, sign, whole, fraction, exponent] = /^(-?)(\d+)(?:\.(\d+))?(?:e([+-]\d+))?$/.exec(canonical)!;
        const tail = exponent === undefined ? '' : `e${exponent}`;
        const others = [
          `${sign}${whole}.${fraction ?? ''}0${tail}`,
          exponent === undefined ? `${canonical}e0` : `${sign}${whole}${fraction ? `.${fraction}` : ''}E${exponent}`,
          exponent === undefined ? `${canonical}E+0` : canonical.replace(/e([+-])/, 'e$10'),
        ];
        for (const other of others) {
          assert.equal(JSON.parse(other) + 0, x + 0);
          assert.throws(() => decodeCanonical(Buffer.from(`[${other}]`), ENOUGH), { code: 'not_canonical' }, other);
        }
      }),
      2000,
    );
  });

  it('decodes exactly what is canonical, or throws a FactError, for any bytes', () => {
    const tokens = fc.array(fc.constantFrom(...'{}[],:"\\ue0123-. \n', 'true', 'null', '"a"', '1', '1.0'), {
      maxLength: 12,
    });
    const bytes = fc.oneof(
      fc.uint8Array({ maxLength: 40 }),
      tokens.map((parts) => new Uint8Array(Buffer.from(parts.join('')))),
    );
    check(
      fc.property(bytes, (given) => {
        try {
          const value = decodeCanonical(given, ENOUGH);
          assert.deepEqual(Buffer.from(canonicalBytes(value)), Buffer.from(given));
        } catch (error) {
          assert.ok(error instanceof FactError, String(error));
        }
      }),
      10_000,
    );
  });

  it('depth is the same limit for bytes and for values', () => {
    check(
      fc.property(fc.array(fc.boolean(), { maxLength: 2 * MAX_JSON_DEPTH }), (levels) => {
        const text = `${levels.map((array) => (array ? '[' : '{"a":')).join('')}1`;
        const closed =
          text +
          [...levels]
            .reverse()
            .map((array) => (array ? ']' : '}'))
            .join('');
        const fits = levels.length <= MAX_JSON_DEPTH;
        const attempts = [
          () => decodeCanonical(Buffer.from(closed), ENOUGH),
          () => canonicalize(JSON.parse(closed) as JsonValue),
        ];
        for (const attempt of attempts) {
          if (fits) attempt();
          else assert.throws(attempt, { code: 'too_deep' });
        }
      }),
      300,
    );
  });
});

describe('facts, properties: repr of a double', () => {
  it('reads back as the same double and has the form of a Python float', () => {
    check(
      fc.property(fc.double({ noNaN: true, noDefaultInfinity: true }), (x) => {
        const text = pythonFloat(x);
        assert.equal(Number(text), x + 0);
        assert.match(text, /^-?(?:\d+\.\d+|\d(?:\.\d+)?e[+-]\d{2,3})$/);
        const exponential = text.includes('e');
        assert.equal(exponential, x !== 0 && (Math.abs(x) < 1e-4 || Math.abs(x) >= 1e16));
        assert.equal(encodedValue({ type: 'number', v: x }), text);
      }),
      5000,
    );
  });
});

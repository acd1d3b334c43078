import assert from 'node:assert/strict';
import fc from 'fast-check';
import {
  BASES,
  canonicalize,
  cidText,
  decodeStatement,
  encodeStatement,
  type FactBody,
  FactError,
  type FactStatement,
  factDigest,
  formatHlc,
  formatInstant,
  isFact,
  type JsonObject,
  normalizeBody,
  normalizeExt,
  parseCid,
  SCOPES,
  sha256,
  sha256Name,
  stigmemDigest,
} from '../../../src/facts/index.ts';
import { check, unicode } from './runs.ts';

const text = unicode.filter((given) => given.isWellFormed());
const name = fc.string({ unit: fc.constantFrom(...'abcABC019 é%'), minLength: 1, maxLength: 10 });
const uri = fc.oneof(
  fc.tuple(name, name, name).map(([a, t, i]) => `stigmem://h${a.replaceAll(' ', '')}/t${t}/i${i}`),
  fc.tuple(name, name).map(([t, i]) => `t${t}:i${i}`),
);
const value = fc.oneof(
  fc.record({ type: fc.constantFrom('string', 'text'), v: text }),
  fc.record({ type: fc.constant('number'), v: fc.double({ noNaN: true, noDefaultInfinity: true }) }),
  fc.record({ type: fc.constant('boolean'), v: fc.boolean() }),
  fc.record({ type: fc.constant('null'), v: fc.constant(null) }),
  fc.record({ type: fc.constant('ref'), v: fc.constantFrom('user:bob', 'https://x.example/A') }),
  fc.record({ type: fc.constant('datetime'), v: fc.constantFrom('2030-01-01T00:00:00Z', '2030-01-01T00:00:00+00:00') }),
);
const body: fc.Arbitrary<FactBody> = fc
  .record({
    entity: uri,
    relation: name.map((given) => `m:${given}`),
    value,
    source: uri,
    confidence: fc.oneof(fc.constantFrom(0, -0, 1), fc.double({ min: 0, max: 1, noNaN: true })),
    scope: fc.constantFrom(...SCOPES),
  })
  .map(normalizeBody);
const id = fc.nat(5).map((n) => cidText(sha256(String(n))));
const ext = fc
  .record(
    {
      valid_until: fc.constantFrom('2030-01-01T00:00:00Z', '2030-01-01T00:00:00+02:00'),
      garden_id: uri,
      derived_from: fc.array(fc.dictionary(text, fc.oneof(text, fc.integer(), fc.constant(null))), { maxLength: 3 }),
      interpret_as: fc.constantFrom('content', 'instruction'),
      supersedes: fc.array(id, { maxLength: 4 }),
      basis: fc.constantFrom(...BASES),
    },
    { requiredKeys: [] },
  )
  .map((given) => normalizeExt(given));
const statement: fc.Arbitrary<FactStatement> = fc
  .tuple(body, ext, fc.nat(9_999_999_999_999), fc.nat(999))
  .map(([claim, terms, wall, counter]) => ({
    v: 1,
    kind: 'fact',
    origin: '12D3KooWFtExampLeXamp1eXamp1eXamp1eXamp1eXamp1eXamp1e',
    org: 'acme.example',
    audience: claim.scope,
    hlc: formatHlc(wall, counter),
    timestamp: formatInstant(wall),
    body: claim,
    ext: terms,
  }));

/** The decoded statement, or undefined where the bytes were refused with a FactError. */
function attempt(bytes: Uint8Array): ReturnType<typeof decodeStatement> | undefined {
  try {
    return decodeStatement(bytes);
  } catch (error) {
    assert.ok(error instanceof FactError, String((error as Error).stack));
    return undefined;
  }
}

describe('facts, properties: statements', () => {
  it('what is encoded decodes to the same statement, bytes and digest', () => {
    check(
      fc.property(statement, (given) => {
        const { bytes, digest } = encodeStatement(given);
        const decoded = decodeStatement(bytes);
        assert.ok(isFact(decoded.statement));
        assert.equal(canonicalize(decoded.statement as never), canonicalize(given as never));
        assert.deepEqual(Buffer.from(decoded.digest), Buffer.from(digest));
        assert.deepEqual(Buffer.from(encodeStatement(decoded.statement).bytes), Buffer.from(bytes));
      }),
      1000,
    );
  });

  it('equal claims have equal fact CIDs, and only they; terms and time do not count', () => {
    const few = fc.record({
      entity: fc.constantFrom('user:a', 'user:b'),
      relation: fc.constantFrom('m:r', 'm:s'),
      value: fc.oneof(
        fc.record({ type: fc.constantFrom('string', 'text'), v: fc.constantFrom('1', 'true', 'null') }),
        fc.record({ type: fc.constant('number'), v: fc.constantFrom(1, 0, -0) }),
        fc.constantFrom({ type: 'boolean', v: true }, { type: 'null', v: null }),
      ),
      source: fc.constantFrom('agent:a', 'agent:b'),
      confidence: fc.constantFrom(1, 0.5, 0, -0),
      scope: fc.constantFrom('local', 'public'),
    });
    const near = fc.tuple(few, few, fc.array(fc.boolean(), { minLength: 6, maxLength: 6 })).map(([a, b, keep]) => {
      const names = Object.keys(a) as (keyof typeof a)[];
      return [a, Object.fromEntries(names.map((member, i) => [member, keep[i] ? a[member] : b[member]]))] as const;
    });
    check(
      fc.property(near, ([a, b]) => {
        const [left, right] = [normalizeBody(a), normalizeBody(b)];
        const same = JSON.stringify(left) === JSON.stringify(right);
        assert.equal(sha256Name(factDigest(left)) === sha256Name(factDigest(right)), same);
        assert.equal(sha256Name(stigmemDigest(left)) === sha256Name(stigmemDigest(right)), same);
      }),
      3000,
    );
    check(
      fc.property(statement, statement, (a, b) => {
        const later = encodeStatement({ ...b, body: a.body, audience: a.audience });
        const decoded = decodeStatement(later.bytes).statement;
        assert.ok(isFact(decoded));
        assert.equal(sha256Name(factDigest(decoded.body)), sha256Name(factDigest(a.body)));
      }),
      300,
    );
  });

  it('normalising is idempotent: what was normalised normalises to itself', () => {
    check(
      fc.property(body, ext, (claim, terms) => {
        assert.equal(canonicalize(normalizeBody({ ...claim }) as never), canonicalize(claim as never));
        assert.equal(canonicalize(normalizeExt({ ...terms }) as never), canonicalize(terms as never));
      }),
      500,
    );
  });

  it('decoding any bytes throws nothing but a FactError', () => {
    check(
      fc.property(fc.uint8Array({ maxLength: 200 }), (bytes) => void attempt(bytes)),
      2000,
    );
  });

  it('decoding any JSON in place of a member throws nothing but a FactError', () => {
    const odd = fc.oneof(
      fc.jsonValue({ maxDepth: 3 }).map((given) => given as JsonObject[string]),
      fc.constantFrom<JsonObject[string]>(
        { toString: null, valueOf: null },
        [{ toString: 1, valueOf: 1 }],
        JSON.parse('{"__proto__":{"scope":"public"}}') as JsonObject,
        { length: 1, 0: 'x' },
        { constructor: { prototype: null } },
        -1,
        1e308,
        '',
        '\u0000',
        [[]],
      ),
    );
    const paths = fc.constantFrom(
      ...['v', 'kind', 'origin', 'org', 'audience', 'hlc', 'timestamp', 'body', 'ext'].map((member) => [member]),
      ...['entity', 'relation', 'value', 'source', 'confidence', 'scope', 'sides', 'winner'].map((m) => ['body', m]),
      ...['valid_until', 'garden_id', 'derived_from', 'interpret_as', 'supersedes', 'basis'].map((m) => ['ext', m]),
      ['body', 'value', 'type'],
      ['body', 'value', 'v'],
    );
    check(
      fc.property(statement, fc.constantFrom('fact', 'resolution'), paths, odd, (given, kind, path, replacement) => {
        const copy = { ...JSON.parse(canonicalize(given as never)), kind } as JsonObject;
        let at = copy as Record<string, unknown>;
        for (const member of path.slice(0, -1)) at = at[member] as Record<string, unknown>;
        at[path.at(-1)!] = replacement;
        let bytes: Uint8Array;
        try {
          bytes = Buffer.from(canonicalize(copy));
        } catch (error) {
          assert.ok(error instanceof FactError);
          return;
        }
        const decoded = attempt(bytes);
        if (decoded) assert.deepEqual(Buffer.from(decoded.digest), Buffer.from(sha256(bytes)));
      }),
      5000,
    );
  });

  it('decoding damaged bytes throws nothing but a FactError, and damage never keeps the digest', () => {
    const damage = fc.record({
      at: fc.nat(),
      byte: fc.nat(255),
      cut: fc.nat(3),
      insert: fc.uint8Array({ maxLength: 3 }),
    });
    check(
      fc.property(statement, fc.array(damage, { minLength: 1, maxLength: 3 }), (given, damages) => {
        const { bytes, digest } = encodeStatement(given);
        let damaged = Buffer.from(bytes);
        for (const { at, byte, cut, insert } of damages) {
          const place = at % damaged.length;
          damaged[place] = byte;
          damaged = Buffer.concat([damaged.subarray(0, place + 1), insert, damaged.subarray(place + 1 + cut)]);
        }
        const decoded = attempt(damaged);
        if (!decoded) return;
        assert.equal(Buffer.compare(decoded.digest, digest) === 0, damaged.equals(bytes));
        if (isFact(decoded.statement)) {
          assert.deepEqual(Buffer.from(encodeStatement(decoded.statement).bytes), damaged);
        }
      }),
      5000,
    );
  });

  it('any text is a content address in exactly one of two forms, or a FactError', () => {
    const near = fc
      .tuple(id, fc.nat(), fc.string({ unit: 'binary-ascii', minLength: 1, maxLength: 1 }))
      .map(([cid, at, c]) => {
        const place = at % cid.length;
        return cid.slice(0, place) + c + cid.slice(place + 1);
      });
    check(
      fc.property(fc.oneof(fc.string({ unit: 'binary' }), near, id), (given) => {
        try {
          const { form, digest } = parseCid(given);
          assert.equal(form === 'cid' ? cidText(digest) : sha256Name(digest), given);
        } catch (error) {
          assert.ok(error instanceof FactError && error.code === 'invalid_cid', String(error));
        }
      }),
      3000,
    );
  });
});

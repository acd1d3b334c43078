import assert from 'node:assert/strict';
import {
  canonicalize,
  decodeCanonical,
  decodeStatement,
  encodeStatement,
  type FactStatement,
  type JsonValue,
  normalizeExt,
  normalizeRelation,
  normalizeUri,
  normalizeValue,
  statementId,
  viewKey,
} from '../../../src/facts/index.ts';
import * as limits from '../../../src/facts/limits.ts';
import { assertCode, readVectors } from './vectors.ts';

type Limit = keyof typeof limits;

const statements = readVectors<{ canonical: string; digest: string }>('statement').vectors;
const statement = (id: string): Record<string, JsonValue> =>
  JSON.parse(statements.find((vector) => vector.id === id)!.canonical) as Record<string, JsonValue>;

/** A fact statement of exactly so many bytes, padded where only the overall limit holds. */
function ofSize(bytes: number): FactStatement {
  const fact = statement('minimal') as unknown as FactStatement;
  const padded = (pad: string): FactStatement => ({ ...fact, ext: { derived_from: [{ fact_id: pad }] } });
  return padded('a'.repeat(bytes - encodeStatement(padded('')).bytes.length));
}

const nested = (levels: number): string => '['.repeat(levels) + ']'.repeat(levels);
const ids = (n: number): string[] =>
  Array.from({ length: n }, (_, i) =>
    statementId(
      Buffer.alloc(32, 0)
        .fill(i, 0, 1)
        .fill(i >> 8, 1, 2),
    ),
  );

function withNote(note: string): Uint8Array {
  const resolution = statement('resolution-winner');
  return Buffer.from(canonicalize({ ...resolution, body: { ...(resolution.body as object), note } }));
}

/** What reaches a limit and passes, and what is one more and does not. */
const CASES: Record<Limit, (limit: number) => void> = {
  MAX_STATEMENT_BYTES: (limit) => {
    const most = encodeStatement(ofSize(limit));
    assert.equal(most.bytes.length, limit);
    assert.deepEqual(decodeStatement(most.bytes).statement, most.statement);
    assertCode(() => encodeStatement(ofSize(limit + 1)), 'statement_too_large');
    const more = Buffer.from(canonicalize(ofSize(limit + 1) as unknown as JsonValue));
    assert.equal(more.length, limit + 1);
    assertCode(() => decodeStatement(more), 'statement_too_large');
  },
  MAX_TEXT_BYTES: (limit) => {
    for (const type of ['text', 'string']) {
      assert.equal(normalizeValue(type, 'é'.repeat(limit / 2)).type, type);
      assertCode(() => normalizeValue(type, `${'é'.repeat(limit / 2)}a`), 'text_too_large');
    }
    const body = { ...(statement('minimal') as unknown as FactStatement).body };
    const plain = { ...ofSize(1000), body: { ...body, value: normalizeValue('text', 'a'.repeat(limit)) } };
    assert.ok(encodeStatement(plain).bytes.length > limit, 'the largest text fits into a statement');
    const quotes = { ...ofSize(1000), body: { ...body, value: normalizeValue('text', '"'.repeat(limit)) } };
    assertCode(() => encodeStatement(quotes), 'statement_too_large');
  },
  MAX_URI_BYTES: (limit) => {
    const longest = `user:${'a'.repeat(limit - 5)}`;
    assert.equal(normalizeUri(longest), longest);
    assertCode(() => normalizeUri(`${longest}a`), 'invalid_entity_uri');
    assert.equal(normalizeValue('ref', longest).v, longest);
    assertCode(() => normalizeValue('ref', `${longest}a`), 'text_too_large');
    assert.equal(normalizeExt({ garden_id: longest }).garden_id, longest);
    assertCode(() => normalizeExt({ garden_id: `${longest}a` }), 'invalid_entity_uri');
  },
  MAX_RELATION_BYTES: (limit) => {
    const longest = 'a'.repeat(limit);
    assert.equal(normalizeRelation(longest), longest);
    assertCode(() => normalizeRelation(`${longest}a`), 'invalid_relation');
  },
  MAX_JSON_DEPTH: (limit) => {
    assert.equal(canonicalize(decodeCanonical(Buffer.from(nested(limit)), 1000)), nested(limit));
    assertCode(() => decodeCanonical(Buffer.from(nested(limit + 1)), 1000), 'too_deep');
    assertCode(() => canonicalize(JSON.parse(nested(limit + 1)) as JsonValue), 'too_deep');
    assertCode(
      () => canonicalize(JSON.parse(`${'{"a":'.repeat(limit)}{}${'}'.repeat(limit)}`) as JsonValue),
      'too_deep',
    );
  },
  MAX_SUPERSEDES: (limit) => {
    assert.equal(normalizeExt({ supersedes: ids(limit) }).supersedes?.length, limit);
    assertCode(() => normalizeExt({ supersedes: ids(limit + 1) }), 'invalid_ext');
  },
  MAX_DERIVED_FROM: (limit) => {
    assert.equal(normalizeExt({ derived_from: Array(limit).fill({}) }).derived_from?.length, limit);
    assertCode(() => normalizeExt({ derived_from: Array(limit + 1).fill({}) }), 'invalid_ext');
  },
  MAX_NOTE_BYTES: (limit) => {
    assert.equal(decodeStatement(withNote('é'.repeat(limit / 2))).statement.kind, 'resolution');
    assertCode(() => decodeStatement(withNote(`${'é'.repeat(limit / 2)}a`)), 'invalid_statement');
  },
  MAX_CONFLICT_SIDES: (limit) => {
    const values = (n: number) =>
      Array.from({ length: n }, (_, i) => ({
        id: `s${i}`,
        hlc: `${1_000_000_000_000 + i}.000`,
        org: `org${i}`,
        confidence: 1,
        value: `v${i}`,
        claim: `c${i}`,
        until: null,
        supersededBy: null,
        many: false,
      }));
    const pairs = (limit * (limit - 1)) / 2;
    assert.equal(viewKey(values(limit), [], undefined, 0).conflicts.length, pairs);
    const more = viewKey(values(limit + 1), [], undefined, 0);
    assert.equal(more.conflicts.length, pairs);
    assert.equal(more.sides, limit + 1, 'the sides beyond are counted');
    assert.ok(
      [...more.entries.values()].every((entry) => entry.contradicted),
      'and marked',
    );
  },
};

describe('facts: limits', () => {
  for (const [name, limit] of Object.entries(limits)) {
    it(`${name} (${limit}) is reached and holds`, () => CASES[name as Limit](limit));
  }
});

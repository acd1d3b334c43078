import assert from 'node:assert/strict';
import {
  isFormalUri,
  isProtocolRelation,
  normalizeRelation,
  normalizeUri,
  relationNamespace,
  relationWarnings,
  uriAuthority,
  uriWarnings,
} from '../../../src/facts/index.ts';
import { assertCode, eachVector, expand } from './vectors.ts';

interface UriVector {
  readonly input: unknown;
  readonly expected?: unknown;
  readonly error?: string;
}

interface RelationVector extends UriVector {
  readonly namespace: string;
  readonly protocol: boolean;
  readonly warnings: number;
}

describe('facts: URIs', () => {
  eachVector<UriVector>('uri', ({ input, expected, error }) => {
    const text = expand(input) as string;
    if (error !== undefined) {
      assertCode(() => normalizeUri(text), error);
      return;
    }
    const uri = normalizeUri(text);
    assert.equal(uri, expand(expected));
    assert.equal(normalizeUri(uri), uri, 'a result normalises to itself');
  });

  it('names the offending member', () => {
    assert.throws(() => normalizeUri('', 'source'), { code: 'invalid_entity_uri', field: 'source' });
  });

  it('reads the authority of a formal URI and lends the org its own to an informal one', () => {
    assert.equal(uriAuthority('stigmem://acme.example:80/user/alice/x', 'other.example'), 'acme.example:80');
    assert.equal(uriAuthority('user:alice', 'other.example'), 'other.example');
    assert.equal(uriAuthority('https://acme.example/x', 'other.example'), 'other.example');
    assert.equal(isFormalUri('stigmem://a/b/c'), true);
    assert.equal(isFormalUri('stigmem:conflict:x'), false);
  });

  it('warns of informal URIs only', () => {
    for (const uri of ['stigmem://a/b/c', 'https://a.example/x', 'did:key:z6Mk', 'urn:isbn:1']) {
      assert.deepEqual(uriWarnings(uri, 'entity'), [], uri);
    }
    for (const uri of ['user:alice', 'alice', 'didactic:x']) assert.equal(uriWarnings(uri, 'source').length, 1, uri);
  });

  it('trims white space in the middle of a long name without backtracking', () => {
    const uri = `user:${' '.repeat(2040)}x`;
    assert.equal(normalizeUri(uri), 'user:x');
  });
});

describe('facts: relations', () => {
  eachVector<RelationVector>('relation', ({ input, expected, error, namespace, protocol, warnings }) => {
    const text = expand(input) as string;
    if (error !== undefined) {
      assertCode(() => normalizeRelation(text), error);
      return;
    }
    const relation = normalizeRelation(text);
    assert.equal(relation, expand(expected));
    assert.equal(normalizeRelation(relation), relation, 'a result normalises to itself');
    assert.equal(relationNamespace(relation), namespace);
    assert.equal(isProtocolRelation(relation), protocol);
    assert.equal(relationWarnings(relation).length, warnings);
  });
});

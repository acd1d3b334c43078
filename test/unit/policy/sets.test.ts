import assert from 'node:assert/strict';
import fc from 'fast-check';
import { type FactScope, type FactStatement, SCOPES, type Statement } from '../../../src/facts/index.ts';
import { namedSet, SET_AUDIENCES, type SetAudience, setOf, sharingWarnings } from '../../../src/policy/sets.ts';
import { isShared, type Pairing, type PeerTerms } from '../../../src/policy/sharing.ts';

interface Said {
  readonly audience?: FactScope;
  readonly kind?: string;
  readonly entity?: string;
  readonly relation?: string;
  readonly source?: string;
  readonly confidence?: number;
  readonly garden?: unknown;
}

function said(what: Said = {}): Statement {
  const { audience = 'public', kind = 'fact', entity = 'user:alice', relation = 'memory:role', garden } = what;
  const { source = 'stigmem://acme.example/agent/a', confidence = 1 } = what;
  const isKnown = kind === 'fact' || kind === 'resolution';
  return {
    ...{ v: 1, kind, origin: '12D3KooW', org: 'acme.example', audience, hlc: '', timestamp: '' },
    body: { entity, relation, source, confidence, scope: audience },
    ext: garden === undefined ? {} : { garden_id: garden },
    ...(isKnown ? {} : { opaque: true }),
  } as unknown as Statement;
}

const nameOf = (what: Said): string | undefined => setOf(said(what))?.name;

describe('policy: the set of a statement', () => {
  it('is fixed by audience, organisation and relation namespace', () => {
    assert.equal(nameOf({}), 'public/acme.example/memory');
    assert.equal(nameOf({ audience: 'company', relation: 'road:map:x' }), 'company/acme.example/road');
    assert.equal(nameOf({ audience: 'team', relation: 'bare' }), 'team/acme.example/');
    assert.equal(nameOf({ kind: 'resolution' }), 'public/acme.example/memory');
    for (const kind of ['manifest', 'dream']) assert.equal(nameOf({ kind }), 'public/acme.example/stigmem');
  });

  it('is none for what is local, whatever else it says', () => {
    for (const kind of ['fact', 'resolution', 'dream']) {
      assert.equal(nameOf({ audience: 'local', kind }), undefined);
      assert.equal(nameOf({ audience: 'local', kind, garden: 'stigmem://acme.example/garden/lab' }), undefined);
    }
  });

  it('is narrowed by a garden, also of kinds nobody knows yet', () => {
    const garden = 'stigmem://acme.example/garden/lab';
    for (const audience of ['team', 'company', 'public'] as const) {
      assert.equal(nameOf({ audience, garden }), `garden/acme.example/memory/${garden}`);
      assert.equal(nameOf({ audience, garden, kind: 'dream' }), `garden/acme.example/stigmem/${garden}`);
    }
    assert.equal(nameOf({ kind: 'dream', garden: 7 }), 'public/acme.example/stigmem', 'no text, no garden');
  });

  it('is the organisation’s own for what everybody else would refuse', () => {
    const theirs = 'stigmem://beta.example/user/bob';
    assert.equal(nameOf({ entity: theirs }), 'own/acme.example/memory');
    assert.equal(nameOf({ source: theirs }), 'own/acme.example/memory');
    assert.equal(nameOf({ source: theirs, confidence: 0 }), 'own/acme.example/memory');
    assert.equal(nameOf({ source: theirs, kind: 'resolution' }), 'own/acme.example/memory');
    assert.equal(nameOf({ entity: 'stigmem://xacme.example/user/bob' }), 'own/acme.example/memory');
    // Opinions travel, and so do names below one's own, and informal ones.
    assert.equal(nameOf({ entity: theirs, confidence: 0 }), 'public/acme.example/memory');
    assert.equal(nameOf({ entity: theirs, kind: 'resolution' }), 'public/acme.example/memory');
    assert.equal(nameOf({ entity: 'stigmem://eu.acme.example/user/bob' }), 'public/acme.example/memory');
    assert.equal(nameOf({ entity: 'user:bob', source: 'agent:x' }), 'public/acme.example/memory');
  });

  it('that stays with its organisation is warned of where its writer means others to see it', () => {
    const theirs = 'stigmem://beta.example/user/bob';
    const warned = (what: Said): string[] =>
      sharingWarnings('acme.example', (said(what) as FactStatement).body).map((text) => text.split(' ')[0]!);
    for (const audience of ['company', 'public'] as const) {
      assert.deepEqual(warned({ audience, entity: theirs }), ['entity'], audience);
      assert.deepEqual(warned({ audience, entity: theirs, source: theirs }), ['entity', 'source'], audience);
    }
    assert.deepEqual(warned({ entity: theirs, source: theirs, confidence: 0 }), ['source'], 'denials travel');
    assert.deepEqual(warned({ entity: 'user:bob', source: 'stigmem://eu.acme.example/agent/a' }), []);
    for (const audience of ['local', 'team'] as const) assert.deepEqual(warned({ audience, entity: theirs }), []);
  });
});

describe('policy: what two nodes share', () => {
  const all: PeerTerms = {
    gives: ['team', 'company', 'public'],
    takes: ['team', 'company', 'public'],
    namespaces: null,
  };
  const two = (ours: Partial<PeerTerms> = {}, theirs: Partial<PeerTerms> = {}): Pairing => ({
    org: 'acme.example',
    peerOrg: 'beta.example',
    ours: { ...all, ...ours },
    theirs: { ...all, ...theirs },
  });
  const shared = (audience: SetAudience, org: string, pairing: Pairing, namespace = 'memory'): boolean =>
    isShared(namedSet(audience, org, namespace, audience === 'garden' ? 'stigmem://x/garden/y' : undefined), pairing);

  it('is what one gives and the other takes, each way by itself', () => {
    const outOnly = two({ gives: ['company'] }, { gives: [] });
    assert.equal(shared('company', 'acme.example', outOnly), true);
    assert.equal(shared('company', 'beta.example', outOnly), false);
    assert.equal(shared('public', 'acme.example', outOnly), false);
    assert.equal(shared('company', 'acme.example', two({}, { takes: ['public'] })), false);
  });

  it('is never what is an organisation’s own, a garden’s, or a third one’s but for public', () => {
    for (const audience of ['own', 'garden'] as const) {
      for (const org of ['acme.example', 'beta.example', 'third.example'])
        assert.equal(shared(audience, org, two()), false);
    }
    for (const audience of ['team', 'company'] as const) assert.equal(shared(audience, 'third.example', two()), false);
    assert.equal(shared('public', 'third.example', two()), true);
    assert.equal(shared('public', 'third.example', two({ gives: ['company'] })), false, 'public must flow both ways');
    assert.equal(shared('public', 'third.example', two({}, { gives: ['company'] })), false);
  });

  it('is of the topics both name; manifests always', () => {
    const narrow = two({ namespaces: ['roadmap', 'memory'] }, { namespaces: ['memory'] });
    assert.equal(shared('public', 'acme.example', narrow), true);
    assert.equal(shared('public', 'acme.example', narrow, 'roadmap'), false);
    assert.equal(shared('public', 'acme.example', narrow, 'stigmem'), true);
    assert.equal(shared('company', 'acme.example', narrow, 'stigmem'), false);
  });

  it('is everything but other organisations’ private sets between nodes of one organisation', () => {
    const siblings: Pairing = { org: 'acme.example', peerOrg: 'acme.example', ours: all, theirs: all };
    for (const audience of SET_AUDIENCES) assert.equal(shared(audience, 'acme.example', siblings), true, audience);
    assert.equal(shared('public', 'third.example', siblings), true);
    assert.equal(shared('company', 'third.example', siblings), false);
  });

  it('is the same seen from either side', () => {
    const scopes = fc.subarray(SCOPES.filter((scope) => scope !== 'local'));
    const namespaces = fc.option(fc.subarray(['memory', 'roadmap', 'stigmem', '']), { nil: null });
    const terms = fc.record({ gives: scopes, takes: scopes, namespaces });
    const set = fc
      .tuple(
        fc.constantFrom(...SET_AUDIENCES),
        fc.constantFrom('a.example', 'b.example', 'c.example'),
        fc.constantFrom('memory', 'roadmap', 'stigmem', ''),
      )
      .map(([audience, org, namespace]) =>
        namedSet(audience, org, namespace, audience === 'garden' ? 'g:x' : undefined),
      );
    fc.assert(
      fc.property(set, terms, terms, fc.constantFrom('a.example', 'b.example'), (one, ours, theirs, peerOrg) => {
        const here = isShared(one, { org: 'a.example', peerOrg, ours, theirs });
        const there = isShared(one, { org: peerOrg, peerOrg: 'a.example', ours: theirs, theirs: ours });
        assert.equal(here, there);
      }),
    );
  });
});

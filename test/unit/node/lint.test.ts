import assert from 'node:assert/strict';
import fc from 'fast-check';
import { FactError } from '../../../src/facts/errors.ts';
import type { FactValue } from '../../../src/facts/value.ts';
import type { EntryState } from '../../../src/facts/view.ts';
import { NodeError, type NodeErrorCode } from '../../../src/node/errors.ts';
import { Linter } from '../../../src/node/lint.ts';
import { MAX_LINT_ENTITIES, MAX_LINT_FACT_IDS, MAX_LINT_FINDINGS } from '../../../src/node/local-limits.ts';
import { LINT_CHECKS, type LintQuery, type LintResult } from '../../../src/node/services.ts';
import type { Principal } from '../../../src/policy/principal.ts';
import { conflict, FakeSource, fact, reader, restart, START } from './lint-source.ts';
import { ANONYMOUS, countingUUID, principal } from './local-writer.ts';

const refusal = (code: NodeErrorCode) => (error: unknown) => error instanceof NodeError && error.code === code;

describe('lint', () => {
  let time: number;
  let source: FakeSource;
  let linter: Linter;

  const gardens = {
    mayRead: (who: Principal, uri: string) => who.permissions.has('admin') || uri === 'stigmem://acme/garden/open',
  };
  const make = (jobThreshold?: number): Linter =>
    new Linter({ source, gardens, now: () => time, randomUUID: countingUUID() }, { jobThreshold });

  beforeEach(() => {
    time = START;
    restart();
    source = new FakeSource();
    linter = make();
  });

  async function lint(query: Partial<LintQuery> = {}, who: Principal = reader): Promise<LintResult> {
    const answer = await linter.run(who, { scope: 'team', stale_lookahead_s: 0, ...query });
    assert.ok('result' in answer);
    return answer.result;
  }

  it('finds nothing on a healthy scope, and says what it looked at', async () => {
    source.facts = [fact(), fact({ state: 'losing' }), fact({ state: 'superseded' }), fact({ scope: 'local' })];
    assert.deepEqual(await lint(), {
      findings: [],
      checked_at: '2026-01-01T00:00:00.000Z',
      scope: 'team',
      checks_run: [...LINT_CHECKS],
      fact_count: 2,
      truncated: false,
    });
  });

  it('runs the checks asked for, each once, in their order; none named means all', async () => {
    assert.deepEqual((await lint({ checks: ['stale', 'contradiction', 'stale'] })).checks_run, [
      'contradiction',
      'stale',
    ]);
    assert.deepEqual((await lint({ checks: [] })).checks_run, [...LINT_CHECKS]);
    assert.deepEqual((await lint({ checks: null })).checks_run, [...LINT_CHECKS]);
  });

  describe('contradiction', () => {
    it('is an error for each unresolved conflict', async () => {
      const [a, b] = [fact(), fact()];
      const far = fact({ scope: 'public' });
      source.records = [conflict('stigmem:conflict:1', a, b), conflict('r', a, b, 'resolved'), conflict('p', far, far)];
      assert.deepEqual((await lint({ checks: ['contradiction'] })).findings, [
        {
          check: 'contradiction',
          severity: 'error',
          entity: 'user:alice',
          relation: 'memory:role',
          fact_ids: [a.id, b.id],
          detail: 'unresolved conflict stigmem:conflict:1',
        },
      ]);
    });
  });

  describe('stale', () => {
    it('warns of expired facts, and tells of those that expire within the look-ahead', async () => {
      source.facts = [
        fact({ id: 'gone', state: 'expired', until: '2025-12-31T23:00:00-01:00' }),
        fact({ id: 'late', until: '2026-01-01T00:00:00Z' }),
        fact({ id: 'soon', until: '2026-01-01T00:01:00Z' }),
        fact({ id: 'later', until: '2026-01-01T00:01:01Z' }),
        fact({ id: 'never' }),
        fact({ id: 'retracted', state: 'retracted', until: '2025-01-01T00:00:00Z' }),
      ];
      const found = (result: LintResult) =>
        result.findings.map(({ severity, fact_ids: [id], detail }) => [id, severity, detail]);
      assert.deepEqual(found(await lint({ checks: ['stale'] })), [
        ['gone', 'warning', 'expired at 2025-12-31T23:00:00-01:00'],
        ['late', 'warning', 'expired at 2026-01-01T00:00:00Z'],
      ]);
      assert.deepEqual(found(await lint({ checks: ['stale'], stale_lookahead_s: 60 })).slice(2), [
        ['soon', 'info', 'expires at 2026-01-01T00:01:00Z (within 60s)'],
      ]);
    });
  });

  describe('orphan', () => {
    it('is an entity that only dead facts are about', async () => {
      for (const [i, state] of (['retracted', 'retraction', 'superseded', 'expired', 'dispute'] as const).entries()) {
        source.facts.push(fact({ entity: `user:dead-${i}`, state }), fact({ entity: `user:dead-${i}`, state }));
        source.facts.push(fact({ entity: `user:alive-${i}`, state }), fact({ entity: `user:alive-${i}` }));
        source.facts.push(fact({ entity: `user:losing-${i}`, state }));
        source.facts.push(fact({ entity: `user:losing-${i}`, state: 'losing' }));
      }
      const { findings } = await lint({ checks: ['orphan'] });
      assert.deepEqual(findings[0], {
        check: 'orphan',
        severity: 'info',
        entity: 'user:dead-0',
        relation: null,
        fact_ids: [],
        detail: "entity 'user:dead-0' has no live facts in scope=team",
      });
      assert.deepEqual(
        findings.map(({ entity }) => entity),
        [0, 1, 2, 3, 4].map((i) => `user:dead-${i}`),
      );
    });

    it('counts live facts of the scope only, and of any relation', async () => {
      source.facts = [
        fact({ entity: 'user:a', state: 'retracted' }),
        fact({ entity: 'user:a', scope: 'public' }),
        fact({ entity: 'user:b', state: 'retracted', relation: 'memory:role' }),
        fact({ entity: 'user:b', relation: 'memory:other' }),
      ];
      const { findings } = await lint({ checks: ['orphan'], relation: 'memory:role' });
      assert.deepEqual(
        findings.map(({ entity }) => entity),
        ['user:a'],
      );
    });
  });

  describe('broken_ref', () => {
    const ref = (v: string): FactValue => ({ type: 'ref', v });

    it('warns of a target without live facts in any scope; broken intents are errors', async () => {
      source.facts = [
        fact({ entity: 'user:bob', scope: 'public' }),
        fact({ entity: 'user:carol', state: 'retracted' }),
        fact({ id: 'good', value: ref('User:Bob') }),
        fact({ id: 'bad', value: ref('user:carol') }),
        fact({ id: 'dead', value: ref('user:nobody'), state: 'superseded' }),
        fact({ id: 'text', value: { type: 'string', v: 'user:nobody' } }),
        fact({ id: 'hand', value: ref('user:nobody'), relation: 'intent:handoff_to' }),
        fact({ id: 'context', value: ref('user:nobody'), relation: 'intent:context_ref', state: 'losing' }),
        fact({ id: 'protocol', value: ref('user:nobody'), relation: 'stigmem:resolves' }),
        fact({ id: 'unnameable', value: ref('stigmem://x/') }),
      ];
      const { findings } = await lint({ checks: ['broken_ref'] });
      assert.deepEqual(findings[0], {
        check: 'broken_ref',
        severity: 'error',
        entity: 'user:alice',
        relation: 'intent:context_ref',
        fact_ids: ['context'],
        detail: "ref target entity 'user:nobody' has no live facts",
      });
      assert.deepEqual(
        findings.map(({ severity, fact_ids: [id] }) => [id, severity]),
        [
          ['context', 'error'],
          ['hand', 'error'],
          ['bad', 'warning'],
          ['unnameable', 'warning'],
        ],
      );
    });

    it('looks a target up once', async () => {
      source.facts = Array.from({ length: 50 }, (_, i) => fact({ value: ref(`user:${i % 2}`) }));
      assert.equal((await lint({ checks: ['broken_ref'] })).findings.length, 50);
      assert.equal(source.lookups, 2);
    });
  });

  describe('namespacing', () => {
    it('warns once for each entity and bare relation, naming a bounded number of facts', async () => {
      source.facts = [
        ...Array.from({ length: MAX_LINT_FACT_IDS + 5 }, () => fact({ relation: 'role' })),
        fact({ entity: 'user:bob', relation: 'role' }),
        fact({ relation: 'memory:role' }),
        fact({ relation: 'old', state: 'retracted' }),
      ];
      const { findings } = await lint({ checks: ['namespacing'] });
      assert.deepEqual(
        findings.map(({ entity, relation, severity, fact_ids }) => [entity, relation, severity, fact_ids.length]),
        [
          ['user:alice', 'role', 'warning', MAX_LINT_FACT_IDS],
          ['user:bob', 'role', 'warning', 1],
        ],
      );
      assert.equal(findings[1]?.detail, "relation 'role' has no namespace prefix");
    });
  });

  it('filters by entity and relation, in their one spelling', async () => {
    source.facts = [
      fact({ id: '1', entity: 'user:alice', relation: 'role' }),
      fact({ id: '2', entity: 'user:alice', relation: 'name' }),
      fact({ id: '3', entity: 'user:bob', relation: 'role' }),
    ];
    source.records = [
      conflict('c', source.facts[0]!, source.facts[0]!),
      conflict('d', source.facts[2]!, source.facts[2]!),
    ];
    const seen = (result: LintResult) => result.findings.map(({ check, fact_ids: [id] }) => `${check} ${id}`);
    const byEntity = await lint({ entity: ' User:Alice ' });
    assert.deepEqual(seen(byEntity), ['contradiction 1', 'namespacing 2', 'namespacing 1']);
    assert.equal(byEntity.fact_count, 2);
    assert.deepEqual(seen(await lint({ relation: ' role ' })), [
      'contradiction 1',
      'contradiction 3',
      'namespacing 1',
      'namespacing 3',
    ]);
    assert.deepEqual(seen(await lint({ entity: 'user:alice', relation: 'role' })), [
      'contradiction 1',
      'namespacing 1',
    ]);
    await assert.rejects(lint({ entity: ' ' }), FactError);
    await assert.rejects(lint({ relation: '' }), FactError);
  });

  it('sees nothing of gardens and scopes the caller may not read', async () => {
    const hidden = { garden: 'stigmem://acme/garden/closed' };
    source.facts = [
      fact({ entity: 'user:a', relation: 'bare', ...hidden }),
      fact({ entity: 'user:b', relation: 'bare', garden: 'stigmem://acme/garden/open' }),
      fact({ entity: 'user:c', state: 'expired', until: '2025-01-01T00:00:00Z', ...hidden }),
      fact({ entity: 'user:d', value: { type: 'ref', v: 'user:a' } }),
      fact({ entity: 'user:e', value: { type: 'ref', v: 'user:public' } }),
      fact({ entity: 'user:public', scope: 'public' }),
    ];
    source.records = [conflict('c', source.facts[0]!, source.facts[0]!)];
    const seen = (result: LintResult) => result.findings.map(({ check, entity }) => `${check} ${entity}`);
    const limited = await lint({}, principal('user:reader', ['read'], ['team']));
    assert.deepEqual(seen(limited), ['broken_ref user:d', 'broken_ref user:e', 'namespacing user:b']);
    assert.equal(limited.fact_count, 3);
    const everything = await lint({}, ANONYMOUS);
    assert.deepEqual(seen(everything), [
      'contradiction user:a',
      'stale user:c',
      'orphan user:c',
      'namespacing user:a',
      'namespacing user:b',
    ]);
    assert.equal(everything.fact_count, 4);
  });

  it('takes the permission read and the scope', async () => {
    await assert.rejects(lint({}, principal('user:w', ['write'])), refusal('permission_denied'));
    await assert.rejects(lint({}, principal('user:l', ['read'], ['local'])), refusal('scope_denied'));
  });

  it('finds the same in the same order, whatever the order and the slices it reads', async () => {
    const state = fc.constantFrom<EntryState>('current', 'losing', 'retracted', 'expired', 'superseded', 'dispute');
    const given = fc.record({
      entity: fc.constantFrom('user:a', 'user:b', 'user:c', 'user:d'),
      relation: fc.constantFrom('memory:x', 'bare', 'intent:handoff_to'),
      value: fc.constantFrom<FactValue>({ type: 'string', v: 'x' }, { type: 'ref', v: 'user:d' }),
      state,
      until: fc.constantFrom(null, '2025-01-01T00:00:00Z', '2026-01-01T00:00:30Z'),
    });
    await fc.assert(
      fc.asyncProperty(
        fc.array(given, { maxLength: 15 }).chain((all) => {
          const facts = all.map((each, i) => fact({ ...each, id: `f${String(i).padStart(2, '0')}` }));
          return fc.tuple(
            fc.constant(facts),
            fc.shuffledSubarray(facts, { minLength: facts.length }),
            fc.integer({ min: 1, max: 5 }),
          );
        }),
        async ([facts, shuffled, slice]) => {
          source.facts = facts;
          source.slice = 100;
          const expected = await lint({ stale_lookahead_s: 60 });
          source.facts = shuffled;
          source.slice = slice;
          assert.deepEqual(await lint({ stale_lookahead_s: 60 }), expected);
        },
      ),
      { numRuns: 100 },
    );
  });

  describe('limits', () => {
    it('cuts findings off and says so', async () => {
      source.slice = 1000;
      source.facts = Array.from({ length: MAX_LINT_FINDINGS }, (_, i) => fact({ entity: `user:${i}`, relation: 'r' }));
      const full = await lint();
      assert.equal(full.findings.length, MAX_LINT_FINDINGS);
      assert.equal(full.truncated, false);
      source.facts.push(fact({ entity: 'user:one-more', relation: 'r' }));
      const over = await lint();
      assert.equal(over.findings.length, MAX_LINT_FINDINGS);
      assert.equal(over.truncated, true);
      source.facts.pop();
      source.facts.push(fact({ entity: 'user:x', state: 'expired', until: '2025-01-01T00:00:00Z' }));
      const mixed = await lint();
      assert.equal(mixed.truncated, true);
      assert.equal(mixed.findings.filter(({ check }) => check === 'stale').length, 1, 'no check starves the others');
    });

    it('remembers a bounded number of entities', async () => {
      source.slice = 5000;
      const template = fact({ state: 'retracted' });
      source.facts = Array.from({ length: MAX_LINT_ENTITIES + 1 }, (_, i) => ({
        ...template,
        statement: { ...template.statement, body: { ...template.statement.body, entity: `user:${i}` } },
      }));
      const { findings, truncated } = await lint({ checks: ['orphan'] });
      assert.equal(findings.length, MAX_LINT_FINDINGS);
      assert.equal(truncated, true);
    });
  });
});

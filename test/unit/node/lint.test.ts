import assert from 'node:assert/strict';
import fc from 'fast-check';
import { FactError } from '../../../src/facts/errors.ts';
import type { FactScope } from '../../../src/facts/scope.ts';
import type { FactValue } from '../../../src/facts/value.ts';
import type { EntryState } from '../../../src/facts/view.ts';
import { NodeError, type NodeErrorCode } from '../../../src/node/errors.ts';
import { type FactSource, Linter } from '../../../src/node/lint.ts';
import {
  LINT_JOB_TTL_MS,
  MAX_KEPT_FINDINGS,
  MAX_LINT_ENTITIES,
  MAX_LINT_FACT_IDS,
  MAX_LINT_FINDINGS,
  MAX_LINT_JOBS,
} from '../../../src/node/local-limits.ts';
import { LINT_CHECKS, type LintJob, type LintQuery, type LintResult } from '../../../src/node/services.ts';
import type { ConflictRecord, FactView } from '../../../src/node/types.ts';
import type { Principal } from '../../../src/policy/principal.ts';
import { ANONYMOUS, countingUUID, principal } from './local-writer.ts';

const refusal = (code: NodeErrorCode) => (error: unknown) => error instanceof NodeError && error.code === code;
const START = Date.UTC(2026, 0, 1);
const reader = principal('user:reader', ['read']);

interface Given {
  readonly id?: string;
  readonly entity?: string;
  readonly relation?: string;
  readonly value?: FactValue;
  readonly scope?: FactScope;
  readonly garden?: string;
  readonly state?: EntryState;
  readonly until?: string | null;
}

let ids = 0;

/** A fact as far as lint looks at it. */
function fact(given: Given = {}): FactView {
  ids += 1;
  const id = given.id ?? `fact-${String(ids).padStart(6, '0')}`;
  return {
    id,
    cid: `sha256:${id}`,
    cidV1: id,
    stigmemCid: `sha256:${id}`,
    statement: {
      v: 1,
      kind: 'fact',
      origin: 'node',
      org: 'acme.example',
      audience: given.scope ?? 'team',
      hlc: '0001767225600.000',
      timestamp: '2026-01-01T00:00:00Z',
      body: {
        entity: given.entity ?? 'user:alice',
        relation: given.relation ?? 'memory:role',
        value: given.value ?? { type: 'string', v: 'x' },
        source: 'agent:x',
        confidence: 1,
        scope: given.scope ?? 'team',
      },
      ext: given.garden === undefined ? {} : { garden_id: given.garden },
    },
    state: given.state ?? 'current',
    contradicted: false,
    overruled: false,
    validUntil: given.until ?? null,
    seq: ids,
    receivedAt: START,
    receivedFrom: null,
    signature: new Uint8Array(64),
  };
}

/** Facts and conflicts in memory, read the way the store is: part after part, in slices. */
class FakeSource implements FactSource {
  facts: FactView[] = [];
  records: ConflictRecord[] = [];
  slice = 3;
  lookups = 0;
  /** Awaited before each slice. */
  gate: () => Promise<void> = async () => {};
  failure: Error | undefined;

  #of(scope: FactScope, part: 'current' | 'losing' | 'dead'): FactView[] {
    const partOf = ({ state }: FactView): string =>
      state === 'current' ? 'current' : state === 'losing' || state === 'dispute' ? 'losing' : 'dead';
    return this.facts.filter((each) => each.statement.body.scope === scope && partOf(each) === part);
  }

  async countCurrent(scope: FactScope): Promise<number> {
    return this.#of(scope, 'current').length;
  }

  async scan(
    scope: FactScope,
    visit: (facts: FactView[]) => Promise<void> | void,
    { include }: { readonly include: ('current' | 'losing' | 'dead')[] },
  ): Promise<void> {
    if (this.failure) throw this.failure;
    for (const part of include) {
      const facts = this.#of(scope, part);
      for (let at = 0; at < facts.length; at += this.slice) {
        await this.gate();
        await visit(facts.slice(at, at + this.slice));
      }
    }
  }

  async liveCount(entity: string, visible: (fact: FactView) => boolean): Promise<number> {
    this.lookups += 1;
    return this.facts.filter(
      (each) => each.statement.body.entity === entity && ['current', 'losing'].includes(each.state) && visible(each),
    ).length;
  }

  async *conflicts(scope: FactScope): AsyncGenerator<ConflictRecord> {
    for (const record of this.records) if (record.factA.statement.body.scope === scope) yield record;
  }
}

function conflict(id: string, factA: FactView, factB: FactView, status: ConflictRecord['status'] = 'unresolved') {
  return { id, factA, factB, status, resolvedBy: null, resolutions: [], detectedAt: START };
}

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
    ids = 0;
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

  describe('jobs', () => {
    /** Lets the job that waits at its first slice go on. */
    let open: () => void;

    beforeEach(() => {
      linter = make(2);
      source.facts = [fact({ relation: 'bare' }), fact(), fact()];
      const gate = Promise.withResolvers<void>();
      open = gate.resolve;
      source.gate = () => gate.promise;
    });

    async function start(who: Principal = reader): Promise<LintJob> {
      const answer = await linter.run(who, { scope: 'team', stale_lookahead_s: 0 });
      assert.ok('job' in answer);
      return answer.job;
    }

    async function finished(id: string, who: Principal = reader): Promise<LintJob> {
      for (let turns = 0; turns < 10_000; turns++) {
        const job = await linter.job(who, id);
        if (job.completed_at !== null) return job;
        await new Promise(setImmediate);
      }
      throw new Error('the job does not end');
    }

    it('take over above the threshold, one at a time', async () => {
      assert.deepEqual(await start(), {
        job_id: '00000000-0000-4000-8000-000000000001',
        status: 'pending',
        scope: 'team',
        estimated_s: 10,
        created_at: '2026-01-01T00:00:00.000Z',
        started_at: null,
        completed_at: null,
        error: null,
        result: null,
      });
      const second = await start();
      time += 5000;
      assert.equal((await linter.job(reader, '00000000-0000-4000-8000-000000000001')).status, 'running');
      assert.equal((await linter.job(reader, second.job_id)).status, 'pending');
      open();
      const done = await finished(second.job_id);
      assert.equal(done.status, 'done');
      assert.equal(done.started_at, '2026-01-01T00:00:05.000Z');
      assert.equal(done.completed_at, '2026-01-01T00:00:05.000Z');
      assert.equal(done.result?.findings.length, 1);
      assert.equal(done.result?.fact_count, 3);

      linter = make(3);
      assert.ok('result' in (await linter.run(reader, { scope: 'team', stale_lookahead_s: 0 })));
    });

    it('estimate by the number of facts', async () => {
      source.countCurrent = async () => 123_456;
      assert.equal((await start()).estimated_s, 24);
    });

    it('belong to their key; admins see all', async () => {
      open();
      const { job_id } = await start();
      await finished(job_id);
      const otherKey = { ...reader, keyId: 'another key' };
      await assert.rejects(linter.job(otherKey, job_id), refusal('job_not_found'));
      await assert.rejects(linter.job(principal('user:x', ['read']), job_id), refusal('job_not_found'));
      await assert.rejects(linter.job(reader, 'nothing'), refusal('job_not_found'));
      await assert.rejects(linter.job({ ...reader, permissions: new Set() }, job_id), refusal('permission_denied'));
      assert.equal((await linter.job(ANONYMOUS, job_id)).status, 'done');
    });

    it('fail with the reason', async () => {
      source.failure = new Error('the store is damaged');
      const job = await finished((await start()).job_id);
      assert.equal(job.status, 'failed');
      assert.equal(job.error, 'the store is damaged');
      assert.equal(job.result, null);
    });

    it('are bounded, and forgotten an hour after they ended', async () => {
      const jobs: LintJob[] = [];
      for (let i = 0; i < MAX_LINT_JOBS; i++) jobs.push(await start());
      await assert.rejects(start(), refusal('busy'));
      open();
      for (const { job_id } of jobs) await finished(job_id).catch(() => {});
      const next = await start();
      await assert.rejects(linter.job(reader, jobs[0]!.job_id), refusal('job_not_found'));
      await finished(next.job_id);
      time += LINT_JOB_TTL_MS - 1;
      await linter.job(reader, next.job_id);
      time += 1;
      await assert.rejects(linter.job(reader, next.job_id), refusal('job_not_found'));
    });

    it('keep a bounded number of findings, dropping the oldest results', async () => {
      open();
      source.slice = 5000;
      source.facts = Array.from({ length: MAX_LINT_FINDINGS }, (_, i) => fact({ entity: `user:${i}`, relation: 'r' }));
      const first = await start();
      await finished(first.job_id);
      const fitting = MAX_KEPT_FINDINGS / MAX_LINT_FINDINGS;
      for (let i = 1; i < fitting; i++) await finished((await start()).job_id);
      await linter.job(reader, first.job_id);
      await finished((await start()).job_id);
      await assert.rejects(linter.job(reader, first.job_id), refusal('job_not_found'));
    });

    it('end at their next slice when the daemon stops; nothing new begins', async () => {
      const running = await start();
      const waiting = await start();
      const stopped = linter.stop();
      open();
      await stopped;
      assert.equal((await linter.job(reader, running.job_id)).error, 'the daemon is stopping');
      assert.equal((await finished(waiting.job_id)).status, 'failed');
      await assert.rejects(start(), refusal('stopping'));
    });
  });
});

import assert from 'node:assert/strict';
import { NodeError, type NodeErrorCode } from '../../../src/node/errors.ts';
import { Linter } from '../../../src/node/lint.ts';
import {
  LINT_JOB_TTL_MS,
  MAX_KEPT_FINDINGS,
  MAX_LINT_FINDINGS,
  MAX_LINT_JOBS,
} from '../../../src/node/local-limits.ts';
import type { LintJob } from '../../../src/node/services.ts';
import type { Principal } from '../../../src/policy/principal.ts';
import { FakeSource, fact, reader, START } from './lint-source.ts';
import { ANONYMOUS, countingUUID, principal } from './local-writer.ts';

const refusal = (code: NodeErrorCode) => (error: unknown) => error instanceof NodeError && error.code === code;

describe('lint jobs', () => {
  let time: number;
  let source: FakeSource;
  let linter: Linter;
  /** Lets the job that waits at its first slice go on. */
  let open: () => void;

  const make = (jobThreshold: number): Linter =>
    new Linter(
      { source, gardens: { mayRead: () => true }, now: () => time, randomUUID: countingUUID() },
      { jobThreshold },
    );

  beforeEach(() => {
    time = START;
    source = new FakeSource();
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

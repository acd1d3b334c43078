import { normalizeUri } from '../facts/entity-uri.ts';
import { normalizeRelation } from '../facts/relation.ts';
import { formatInstant } from '../facts/time.ts';
import type { Principal } from '../policy/principal.ts';
import { NodeError } from './errors.ts';
import { type FactSource, LintRun, type LintRunOptions } from './lint-run.ts';
import {
  LINT_JOB_THRESHOLD,
  LINT_JOB_TTL_MS,
  MAX_KEPT_FINDINGS,
  MAX_LINT_JOBS,
  MAX_RUNNING_LINT_JOBS,
} from './local-limits.ts';
import {
  type GardenService,
  LINT_CHECKS,
  type LintJob,
  type LintQuery,
  type LintResult,
  type LintService,
} from './services.ts';

export type { FactSource } from './lint-run.ts';

export interface LinterComponents {
  readonly source: FactSource;
  readonly gardens: Pick<GardenService, 'mayRead'>;
  readonly now: () => number;
  readonly randomUUID: () => string;
}

export interface LinterInit {
  /** Facts in a scope above which a run becomes a job. */
  readonly jobThreshold?: number | undefined;
}

interface Job {
  view: LintJob;
  readonly owner: Principal;
  readonly work: () => Promise<LintResult>;
  /** Unix ms; infinite until it has finished. */
  expires: number;
}

/** Health checks over a scope. Nothing is written; jobs live in memory and are gone after a restart. */
export class Linter implements LintService {
  readonly #components: LinterComponents;
  readonly #threshold: number;
  /** In the order they came. */
  readonly #jobs = new Map<string, Job>();
  readonly #running = new Set<Promise<void>>();
  #stopped = false;

  constructor(components: LinterComponents, init: LinterInit = {}) {
    this.#components = components;
    this.#threshold = init.jobThreshold ?? LINT_JOB_THRESHOLD;
  }

  /**
   * @throws NodeError `permission_denied`, `scope_denied`, `busy` when every place for a job is taken, `stopping`;
   *   FactError for filters that are no URI or relation
   */
  async run(who: Principal, query: LintQuery): Promise<{ readonly result: LintResult } | { readonly job: LintJob }> {
    requireRead(who);
    if (!who.scopes.has(query.scope)) {
      throw new NodeError(
        'scope_denied',
        `this key may not use scope '${query.scope}'`,
        'use a key that has the scope',
      );
    }
    this.#assertRunning();
    const normalized: LintQuery = {
      ...query,
      entity: query.entity == null ? null : normalizeUri(query.entity),
      relation: query.relation == null ? null : normalizeRelation(query.relation),
    };
    const facts = await this.#components.source.countCurrent(query.scope);
    const work = (): Promise<LintResult> => this.#lint(who, normalized);
    if (facts <= this.#threshold) return { result: await work() };
    return { job: this.#enqueue(who, query, facts, work) };
  }

  /** A job of the same key; admins see every job. @throws NodeError `permission_denied`, `job_not_found` */
  async job(who: Principal, id: string): Promise<LintJob> {
    requireRead(who);
    this.#prune();
    const job = this.#jobs.get(id);
    const own = job && job.owner.keyId === who.keyId && job.owner.entity === who.entity;
    if (!job || !(own || who.permissions.has('admin'))) {
      throw new NodeError('job_not_found', 'job not found', 'jobs are kept for an hour and not over a restart');
    }
    return job.view;
  }

  /** Jobs that wait or run. */
  get unfinished(): number {
    let count = 0;
    for (const job of this.#jobs.values()) if (!isFinished(job)) count += 1;
    return count;
  }

  /** Ends running jobs at their next slice. The store may be closed afterwards. */
  async stop(): Promise<void> {
    this.#stopped = true;
    await Promise.all(this.#running);
  }

  async #lint(who: Principal, query: LintQuery): Promise<LintResult> {
    const { source, gardens, now: clock } = this.#components;
    const now = clock();
    const checks = query.checks?.length ? LINT_CHECKS.filter((check) => query.checks!.includes(check)) : LINT_CHECKS;
    const options: LintRunOptions = {
      scope: query.scope,
      checks,
      entity: query.entity ?? undefined,
      relation: query.relation ?? undefined,
      now,
      staleUntil: now + query.stale_lookahead_s * 1000,
      staleLookahead: query.stale_lookahead_s,
      visible: ({ statement: { body, ext } }) =>
        who.scopes.has(body.scope) && (ext.garden_id === undefined || gardens.mayRead(who, ext.garden_id)),
      proceed: () => this.#assertRunning(),
    };
    const { findings, factCount, truncated } = await new LintRun(source, options).run();
    return {
      findings,
      checked_at: formatInstant(now),
      scope: query.scope,
      checks_run: checks,
      fact_count: factCount,
      truncated,
    };
  }

  #enqueue(owner: Principal, query: LintQuery, facts: number, work: () => Promise<LintResult>): LintJob {
    this.#prune();
    if (this.#jobs.size >= MAX_LINT_JOBS) {
      throw new NodeError('busy', `${MAX_LINT_JOBS} lint jobs wait or run`, 'try again when one has finished');
    }
    const view: LintJob = {
      job_id: this.#components.randomUUID(),
      status: 'pending',
      scope: query.scope,
      estimated_s: Math.max(10, Math.floor(facts / 5000)),
      created_at: this.#instant(),
      started_at: null,
      completed_at: null,
      error: null,
      result: null,
    };
    this.#jobs.set(view.job_id, { view, owner, work, expires: Number.POSITIVE_INFINITY });
    this.#startNext();
    return view;
  }

  #startNext(): void {
    if (this.#running.size >= MAX_RUNNING_LINT_JOBS) return;
    const job = [...this.#jobs.values()].find(({ view }) => view.status === 'pending');
    if (!job) return;
    job.view = { ...job.view, status: 'running', started_at: this.#instant() };
    const running = this.#complete(job).finally(() => {
      this.#running.delete(running);
      this.#startNext();
    });
    this.#running.add(running);
  }

  /** Never rejects: how it went is the job's status. */
  async #complete(job: Job): Promise<void> {
    const end = (outcome: Pick<LintJob, 'status' | 'error' | 'result'>): void => {
      job.view = { ...job.view, ...outcome, completed_at: this.#instant() };
      job.expires = this.#components.now() + LINT_JOB_TTL_MS;
    };
    try {
      this.#assertRunning();
      end({ status: 'done', error: null, result: await job.work() });
    } catch (error) {
      end({ status: 'failed', error: (error as Error).message, result: null });
    }
    this.#prune();
  }

  /** Forgets what has expired, then the oldest finished jobs until there is room for one more. */
  #prune(): void {
    const now = this.#components.now();
    for (const [id, { expires }] of this.#jobs) if (expires <= now) this.#jobs.delete(id);
    let findings = 0;
    for (const { view } of this.#jobs.values()) findings += view.result?.findings.length ?? 0;
    const newest = [...this.#jobs.values()].filter(isFinished).at(-1);
    for (const [id, job] of this.#jobs) {
      if (this.#jobs.size < MAX_LINT_JOBS && findings <= MAX_KEPT_FINDINGS) return;
      if (!isFinished(job) || job === newest) continue;
      findings -= job.view.result?.findings.length ?? 0;
      this.#jobs.delete(id);
    }
  }

  #assertRunning(): void {
    if (this.#stopped) throw new NodeError('stopping', 'the daemon is stopping', 'try again when it runs');
  }

  #instant(): string {
    return formatInstant(this.#components.now());
  }
}

function isFinished({ view }: Job): boolean {
  return view.completed_at !== null;
}

function requireRead(who: Principal): void {
  if (who.permissions.has('read')) return;
  throw new NodeError('permission_denied', 'read permission required', "use a key with permission 'read'");
}

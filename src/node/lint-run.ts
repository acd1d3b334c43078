import { setImmediate as nextTurn } from 'node:timers/promises';
import { normalizeUri } from '../facts/entity-uri.ts';
import { isProtocolRelation, relationNamespace } from '../facts/relation.ts';
import type { FactScope } from '../facts/scope.ts';
import { parseInstant } from '../facts/time.ts';
import { MAX_LINT_ENTITIES, MAX_LINT_FACT_IDS, MAX_LINT_FINDINGS, MAX_LINT_TARGETS } from './local-limits.ts';
import { LINT_CHECKS, type LintCheck, type LintFinding } from './services.ts';
import type { ConflictRecord, FactView } from './types.ts';

/** Where lint reads facts: whole scopes, in slices, with turns of the event loop between them. */
export interface FactSource {
  /** Facts of a scope that a default query shows. */
  countCurrent(scope: FactScope): Promise<number>;
  /** Hands over every fact of the parts named, part after part in the order given, all of one moment. */
  scan(
    scope: FactScope,
    visit: (facts: FactView[]) => Promise<void> | void,
    options: { readonly include: ('current' | 'losing' | 'dead')[] },
  ): Promise<void>;
  /** Live facts about an entity in any scope, of those that `visible` accepts. May stop counting at the first. */
  liveCount(entity: string, visible: (fact: FactView) => boolean): Promise<number>;
  /** Unresolved conflicts of a scope. */
  conflicts(scope: FactScope): AsyncIterable<ConflictRecord>;
}

export interface LintRunOptions {
  readonly scope: FactScope;
  readonly checks: readonly LintCheck[];
  /** Normalised. */
  readonly entity: string | undefined;
  readonly relation: string | undefined;
  /** Unix ms: facts that expire up to then are named. */
  readonly staleUntil: number;
  readonly staleLookahead: number;
  /** Unix ms. */
  readonly now: number;
  /** What the caller may see. Everything else does not exist for this run. */
  readonly visible: (fact: FactView) => boolean;
  /** Called once a slice; throws to end the run. */
  readonly proceed: () => void;
}

export interface LintRunResult {
  /** In the order of the checks, then entity, relation and fact ids. */
  readonly findings: LintFinding[];
  /** Live facts looked at. */
  readonly factCount: number;
  readonly truncated: boolean;
}

/** Relations whose broken target stops work: an intent that nobody can pick up. */
const ERROR_RELATIONS = new Set(['intent:handoff_to', 'intent:context_ref']);

/** One sweep over a scope: reads only, keeps a bounded amount in memory, and finds the same on the same facts. */
export class LintRun {
  readonly #source: FactSource;
  readonly #options: LintRunOptions;
  readonly #found = new Map<LintCheck, LintFinding[]>(LINT_CHECKS.map((check) => [check, []]));
  /** Entities with dead facts, until a live one turns up. */
  readonly #orphans = new Set<string>();
  /** Whether a dead fact came after a live one: a dispute, or one that expired a moment ago. */
  #lateDead = false;
  #sawLive = false;
  /** Fact ids by entity and relation without a namespace. */
  readonly #bare = new Map<string, string[]>();
  readonly #targets = new Map<string, boolean>();
  #factCount = 0;
  #truncated = false;

  constructor(source: FactSource, options: LintRunOptions) {
    this.#source = source;
    this.#options = options;
  }

  async run(): Promise<LintRunResult> {
    const { scope } = this.#options;
    if (this.#runs('contradiction')) await this.#contradictions();
    const needsDead = this.#runs('stale') || this.#runs('orphan');
    await this.#source.scan(scope, (facts) => this.#visit(facts), {
      // The dead first: orphans are those of them that nothing live follows.
      include: needsDead ? ['dead', 'current', 'losing'] : ['current', 'losing'],
    });
    await this.#closeOrphans();
    this.#closeBare();
    const findings: LintFinding[] = [];
    for (const check of LINT_CHECKS) {
      findings.push(...(await sorted(this.#found.get(check)!)));
    }
    this.#truncated ||= findings.length > MAX_LINT_FINDINGS;
    return {
      findings: findings.slice(0, MAX_LINT_FINDINGS),
      factCount: this.#factCount,
      truncated: this.#truncated,
    };
  }

  async #contradictions(): Promise<void> {
    const { scope, visible, proceed } = this.#options;
    for await (const { id, status, factA, factB } of this.#source.conflicts(scope)) {
      proceed();
      if (status !== 'unresolved' || !visible(factA) || !visible(factB) || !this.#matches(factA)) continue;
      const { entity, relation } = factA.statement.body;
      const fact_ids = [factA.id, factB.id];
      const detail = `unresolved conflict ${id}`;
      this.#add({ check: 'contradiction', severity: 'error', entity, relation, fact_ids, detail });
    }
  }

  async #visit(facts: readonly FactView[]): Promise<void> {
    this.#options.proceed();
    for (const fact of facts) {
      if (!this.#options.visible(fact)) continue;
      const live = isLive(fact);
      // Any live fact about an entity keeps it from being an orphan, also one the filters leave out.
      if (live) this.#noteLive(fact.statement.body.entity);
      if (!this.#matches(fact)) continue;
      if (this.#runs('stale')) this.#checkStale(fact, live);
      if (live) {
        this.#factCount += 1;
        if (this.#runs('namespacing')) this.#checkRelation(fact);
        if (this.#runs('broken_ref')) await this.#checkRef(fact);
      } else if (this.#runs('orphan')) this.#noteDead(fact.statement.body.entity);
    }
  }

  #checkStale(fact: FactView, live: boolean): void {
    if (fact.validUntil === null || !(live || fact.state === 'expired')) return;
    const { now, staleUntil, staleLookahead } = this.#options;
    const until = parseInstant(fact.validUntil, 'valid_until');
    const { entity, relation } = fact.statement.body;
    const finding = { check: 'stale', entity, relation, fact_ids: [fact.id] } as const;
    if (until <= now) this.#add({ ...finding, severity: 'warning', detail: `expired at ${fact.validUntil}` });
    else if (until <= staleUntil) {
      const detail = `expires at ${fact.validUntil} (within ${staleLookahead}s)`;
      this.#add({ ...finding, severity: 'info', detail });
    }
  }

  #checkRelation(fact: FactView): void {
    const { entity, relation } = fact.statement.body;
    if (relationNamespace(relation) !== '') return;
    const key = `${entity}\0${relation}`;
    const ids = this.#bare.get(key);
    if (ids) {
      if (ids.length < MAX_LINT_FACT_IDS) ids.push(fact.id);
    } else if (this.#bare.size < MAX_LINT_FINDINGS) this.#bare.set(key, [fact.id]);
    else this.#truncated = true;
  }

  /** Refs of protocol relations name statements and records, not entities. */
  async #checkRef(fact: FactView): Promise<void> {
    const { entity, relation, value } = fact.statement.body;
    if (value.type !== 'ref' || isProtocolRelation(relation) || (await this.#isAlive(value.v))) return;
    this.#add({
      check: 'broken_ref',
      severity: ERROR_RELATIONS.has(relation) ? 'error' : 'warning',
      entity,
      relation,
      fact_ids: [fact.id],
      detail: `ref target entity '${value.v}' has no live facts`,
    });
  }

  async #isAlive(target: string): Promise<boolean> {
    const known = this.#targets.get(target);
    if (known !== undefined) return known;
    const entity = entityOf(target);
    const alive = entity !== undefined && (await this.#source.liveCount(entity, this.#options.visible)) > 0;
    if (this.#targets.size >= MAX_LINT_TARGETS) this.#targets.clear();
    this.#targets.set(target, alive);
    return alive;
  }

  #noteLive(entity: string): void {
    this.#sawLive = true;
    this.#orphans.delete(entity);
  }

  #noteDead(entity: string): void {
    this.#lateDead ||= this.#sawLive;
    if (this.#orphans.size < MAX_LINT_ENTITIES || this.#orphans.has(entity)) this.#orphans.add(entity);
    else this.#truncated = true;
  }

  async #closeOrphans(): Promise<void> {
    if (this.#lateDead) {
      const again = (facts: readonly FactView[]): void => {
        this.#options.proceed();
        for (const fact of facts)
          if (isLive(fact) && this.#options.visible(fact)) this.#noteLive(fact.statement.body.entity);
      };
      await this.#source.scan(this.#options.scope, again, { include: ['current', 'losing'] });
    }
    for (const entity of this.#orphans) {
      if (this.#found.get('orphan')!.length === MAX_LINT_FINDINGS) {
        this.#truncated = true;
        return;
      }
      const detail = `entity '${entity}' has no live facts in scope=${this.#options.scope}`;
      this.#add({ check: 'orphan', severity: 'info', entity, relation: null, fact_ids: [], detail });
    }
  }

  #closeBare(): void {
    for (const [key, ids] of this.#bare) {
      const [entity = '', relation = ''] = key.split('\0');
      const detail = `relation '${relation}' has no namespace prefix`;
      this.#add({ check: 'namespacing', severity: 'warning', entity, relation, fact_ids: ids.sort(), detail });
    }
  }

  #runs(check: LintCheck): boolean {
    return this.#options.checks.includes(check);
  }

  #matches({ statement: { body } }: FactView): boolean {
    const { entity, relation } = this.#options;
    return (entity === undefined || body.entity === entity) && (relation === undefined || body.relation === relation);
  }

  #add(finding: LintFinding): void {
    const findings = this.#found.get(finding.check)!;
    if (findings.length < MAX_LINT_FINDINGS) findings.push(finding);
    else this.#truncated = true;
  }
}

function isLive({ state }: FactView): boolean {
  return state === 'current' || state === 'losing';
}

/** The entity that a ref names; undefined when no entity can have that name. */
function entityOf(target: string): string | undefined {
  try {
    return normalizeUri(target);
  } catch {
    return undefined;
  }
}

/** Ten thousand findings take about 8 ms to name and 8 ms to sort. */
async function sorted(findings: LintFinding[]): Promise<LintFinding[]> {
  const keyed = findings.map((finding) => {
    const { entity, relation, fact_ids, detail } = finding;
    return { finding, key: [entity, relation ?? '', ...fact_ids, detail].join('\0') };
  });
  await nextTurn();
  keyed.sort((a, b) => (a.key < b.key ? -1 : a.key > b.key ? 1 : 0));
  await nextTurn();
  return keyed.map(({ finding }) => finding);
}

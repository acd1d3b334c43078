import { mayEverHold, type Said } from '../sim/oracle.ts';
import { call, metricsOf } from '../support/mesh-daemons.ts';
import type { Fleet, Member } from './fleet.ts';
import { type Entry, Ledger, mustHold, mustShow } from './ledger.ts';

/** How far the clocks of the fleet may be apart by the end, beside what the machine itself takes, ms. */
const CLOCKS_APART_MS = 45_000;
/** Resident memory and descriptors above which a daemon is said to leak: several times what it has after its start. */
const MOST_RSS_MIB = 800;
const MOST_DESCRIPTORS = 1_200;

/** What is not as it must be, each told once. */
export class Violations {
  readonly #found = new Set<string>();
  readonly #onFound: (violation: string) => void;

  constructor(onFound: (violation: string) => void = () => {}) {
    this.#onFound = onFound;
  }

  add(rule: string, detail: string): void {
    const violation = `${rule}: ${detail}`;
    if (this.#found.has(violation)) return;
    this.#found.add(violation);
    this.#onFound(violation);
  }

  get count(): number {
    return this.#found.size;
  }

  list(most = 50): string[] {
    return [...this.#found].slice(0, most);
  }
}

interface Exported {
  readonly id: string;
  readonly statement: Said;
}

interface Shown {
  readonly id: string;
  readonly entity: string;
  readonly value: { readonly v?: unknown };
}

/** Compares what daemons hold and show with what was written. */
export class Checker {
  readonly #fleet: Fleet;
  readonly #ledger: Ledger;
  readonly #violations: Violations;
  /** Statements looked at, over all checks. */
  statements = 0;
  answers = 0;

  constructor(fleet: Fleet, ledger: Ledger, violations: Violations) {
    this.#fleet = fleet;
    this.#ledger = ledger;
    this.#violations = violations;
  }

  /** How many acknowledged facts daemons lack that they must hold. */
  async missing(): Promise<number> {
    let missing = 0;
    for (const member of this.#fleet.members) {
      const expected = this.#expected(member).length;
      const facts = (await metricsOf(member.daemon!)).get('stigmesh_facts') ?? 0;
      if (facts < expected) missing += expected - facts;
      // Facts whose answer was lost are in the count: only a look at each tells.
      else missing += (await this.#absent(member)).length;
    }
    return missing;
  }

  /** Everything that must be so once all is healed and quiet. */
  async check(when: string): Promise<void> {
    const shown = new Map<Member, readonly Shown[]>();
    for (const member of this.#fleet.members) {
      await this.#checkHeld(member, when);
      shown.set(member, await this.#checkShown(member, when));
      await this.#checkHealth(member, when);
    }
    this.#checkAgreement(shown, when);
    await this.#checkConflicts(when);
  }

  #expected(member: Member): Entry[] {
    return [...this.#ledger.entries.values()].filter(
      (entry) => entry.id !== null && mustHold(this.#fleet, entry, member),
    );
  }

  async #absent(member: Member): Promise<Entry[]> {
    const held = new Set((await exported(member)).map(({ id }) => id));
    return this.#expected(member).filter(({ id }) => !held.has(id!));
  }

  async #checkHeld(member: Member, when: string): Promise<void> {
    const held = await exported(member);
    this.statements += held.length;
    const ids = new Set(held.map(({ id }) => id));
    for (const entry of this.#expected(member)) {
      if (ids.has(entry.id!)) continue;
      this.#violations.add(
        'missing',
        `${member.name} lacks ${entry.mark} (${entry.scope}) of ${entry.writer.name}, ${when}`,
      );
    }
    for (const { id, statement } of held) {
      const what = `${member.name} holds ${id} (${statement.audience} ${statement.kind} of ${statement.origin}), ${when}`;
      if (!mayEverHold(statement, { peerId: member.peerId, org: member.org })) this.#violations.add('not for it', what);
      if (statement.kind !== 'fact') continue;
      const entry = this.#ledger.entries.get(Ledger.markOf(JSON.stringify(statement.body.value)) ?? '');
      if (!entry || (entry.id !== null && entry.id !== id)) this.#violations.add('nobody wrote it', what);
      else if (!mustHold(this.#fleet, entry, member)) this.#violations.add('not for it', what);
    }
  }

  async #checkShown(member: Member, when: string): Promise<readonly Shown[]> {
    const all: Shown[] = [];
    let cursor: string | null = null;
    do {
      const query = cursor === null ? '' : `&cursor=${encodeURIComponent(cursor)}`;
      const page = (await call(member.daemon!, 'GET', `/v1/facts?limit=500${query}`)) as {
        facts: Shown[];
        cursor: string | null;
      };
      all.push(...page.facts);
      cursor = page.cursor;
    } while (cursor !== null);
    this.answers += all.length;
    for (const { id, value } of all) {
      const entry = this.#ledger.entries.get(Ledger.markOf(JSON.stringify(value)) ?? '');
      const what = `${member.name} answers with ${entry?.mark ?? id} of ${entry?.writer.name ?? 'nobody'}, ${when}`;
      if (!entry) this.#violations.add('nobody wrote it', what);
      else if (!mustShow(this.#fleet, entry, member)) this.#violations.add('visible where it must not be', what);
      else if (entry.expiresAt !== null && entry.expiresAt < Date.now() - CLOCKS_APART_MS) {
        this.#violations.add('visible after its expiry', what);
      }
    }
    return all;
  }

  /** About one entity, whoever must show the same facts shows the same current ones. */
  #checkAgreement(shown: ReadonlyMap<Member, readonly Shown[]>, when: string): void {
    const about = new Map<string, Entry[]>();
    for (const entry of this.#ledger.entries.values()) {
      // What expires goes by the clock of each daemon.
      if (entry.expiresAt !== null) continue;
      const entries = about.get(entry.entity) ?? [];
      entries.push(entry);
      about.set(entry.entity, entries);
    }
    const lists = new Map([...shown].map(([member, facts]) => [member, Map.groupBy(facts, ({ entity }) => entity)]));
    for (const [entity, entries] of about) {
      const seen = new Map<string, { text: string; member: Member }>();
      for (const member of this.#fleet.members) {
        const basis = entries.filter((entry) => mustShow(this.#fleet, entry, member)).map(({ mark }) => mark);
        if (basis.length === 0) continue;
        const facts = lists.get(member)?.get(entity) ?? [];
        const text = facts
          .map(({ id }) => id)
          .toSorted()
          .join(' ');
        const other = seen.get(basis.join(' '));
        if (!other) seen.set(basis.join(' '), { text, member });
        else if (other.text !== text) {
          this.#violations.add('not converged', `${other.member.name} and ${member.name} about ${entity}, ${when}`);
        }
        if (entries.some(({ id }) => id !== null) && facts.length === 0) {
          const acknowledged = entries.some((entry) => entry.id !== null && basis.includes(entry.mark));
          if (acknowledged) this.#violations.add('not shown', `${member.name} knows nothing of ${entity}, ${when}`);
        }
      }
    }
  }

  /** Daemons of one organisation with the same pairings know of the same conflicts. */
  async #checkConflicts(when: string): Promise<void> {
    const seen = new Map<string, { member: Member; ids: string }>();
    for (const member of this.#fleet.members) {
      const trusted = this.#fleet.members.filter((one) =>
        mustShow(this.#fleet, { scope: 'public', writer: one }, member),
      );
      const group = trusted.map(({ name }) => name).join(' ');
      const ids = (await conflictsOf(member)).toSorted().join(' ');
      const other = seen.get(group);
      if (!other) seen.set(group, { member, ids });
      else if (other.ids !== ids) {
        this.#violations.add('conflicts not converged', `${other.member.name} and ${member.name}, ${when}`);
      }
    }
  }

  async #checkHealth(member: Member, when: string): Promise<void> {
    const metrics = await metricsOf(member.daemon!);
    if (metrics.get('stigmesh_ready') !== 1) this.#violations.add('not ready', `${member.name}, ${when}`);
    const { peers } = (await call(member.daemon!, 'GET', '/v1/federation/peers')) as {
      peers: { org: string | null; refused: Record<string, number> }[];
    };
    for (const { org, refused } of peers) {
      for (const [code, count] of Object.entries(refused)) {
        // A suspension that was under way when it was sent.
        if (code === 'scope_violation') continue;
        this.#violations.add(
          'honest daemons have nothing to refuse',
          `${member.name} refused ${count} of ${org}: ${code}`,
        );
      }
    }
  }

  checkFootprint(member: Member, rssMiB: number, descriptors: number): void {
    if (rssMiB > MOST_RSS_MIB) this.#violations.add('memory', `${member.name} has more than ${MOST_RSS_MIB} MiB`);
    if (descriptors > MOST_DESCRIPTORS) {
      this.#violations.add('descriptors', `${member.name} has more than ${MOST_DESCRIPTORS} open`);
    }
  }
}

async function exported(member: Member): Promise<Exported[]> {
  const response = await member.daemon!.fetch('/v1/export');
  if (!response.ok) throw new Error(`export of ${member.name}: ${response.status}`);
  const text = await response.text();
  return text
    .split('\n')
    .filter((line) => line !== '')
    .map((line) => JSON.parse(line) as Exported);
}

/** Ids of conflicts about what is public: the only ones that organisations have in common. */
export async function conflictsOf(member: Member): Promise<string[]> {
  const ids: string[] = [];
  let cursor: string | null = null;
  do {
    const query = cursor === null ? '' : `&cursor=${encodeURIComponent(cursor)}`;
    const page = (await call(member.daemon!, 'GET', `/v1/conflicts?limit=500${query}`)) as {
      conflicts: { conflict_id: string; fact_a: { scope: string } }[];
      cursor: string | null;
    };
    for (const { conflict_id, fact_a } of page.conflicts) if (fact_a.scope === 'public') ids.push(conflict_id);
    cursor = page.cursor;
  } while (cursor !== null);
  return ids;
}

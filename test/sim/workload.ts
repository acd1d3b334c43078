import { FactError, hlcWall } from '../../src/facts/index.ts';
import { NodeError } from '../../src/node/errors.ts';
import type { StigmeshNode } from '../../src/node/node.ts';
import type { AssertInput } from '../../src/node/types.ts';
import { ANONYMOUS } from '../../src/policy/principal.ts';
import type { Random } from '../support/random.ts';
import type { Cluster } from './cluster.ts';
import type { SimDaemon } from './daemon.ts';
import type { Safety } from './safety.ts';

/** Few of each, so that writes of different daemons meet: contradictions, repetitions, retractions of what is there. */
const ENTITIES = 5;
const VALUES = 3;
/** Several namespaces, the empty one among them; `memory:likes` takes many values. */
export const RELATIONS = ['memory:role', 'memory:likes', 'roadmap:goal', 'topic:owner', 'note'] as const;
export const NAMESPACES = ['memory', 'roadmap', 'topic', ''] as const;

/** Now and then a batch of one topic makes a set too large to be told in one list of ids, or sent in one batch. */
const LARGE_SHARE = 0.05;
const LARGE_BATCH = 150;

/** Longest life of what expires, seconds. */
const LIFE_S = 20;

/** Gardens every daemon has, by slug: what they hold is of this scope, and goes no further than the organisation. */
const GARDENS = { herbs: 'company', roses: 'public' } as const;

/** What an agent of an organisation may be told when its write comes at a bad moment. */
const REFUSALS = /^(?:busy|stopping|fact_not_found|conflict_not_found|already_resolved|conflict_resolved)$/;

/** Agents at every daemon that write all the time, of every kind of write and in every scope. */
export class Workload {
  readonly #cluster: Cluster;
  readonly #safety: Safety;
  readonly #random: Random;
  #counter = 0;
  /** Writes acknowledged, by kind. */
  readonly done = new Map<string, number>();
  /** What writes failed with that nobody expected. */
  readonly failures: Error[] = [];

  constructor(cluster: Cluster, safety: Safety) {
    this.#cluster = cluster;
    this.#safety = safety;
    this.#random = cluster.simulation.random('workload');
  }

  /** When everything has expired by then that ever will (virtual ms). */
  expiredBy(): number {
    let last = 0;
    for (const daemon of this.#cluster.honest) {
      for (const { said } of this.#safety.held(daemon).values()) last = Math.max(last, hlcWall(said.hlc));
    }
    return last + LIFE_S * 1000 + 2_000;
  }

  async start(): Promise<void> {
    for (const daemon of this.#cluster.daemons) {
      for (const [slug, scope] of Object.entries(GARDENS)) {
        await this.#cluster.simulation.run(daemon.node.gardens.create(ANONYMOUS, { slug, name: slug, scope }));
      }
    }
  }

  /** Begins one write at some daemon that is up; it ends while time goes on. */
  write(at: SimDaemon = this.#random.pick(this.#cluster.up)): void {
    if (!at) return;
    const kind = this.#random.pick(KINDS);
    const name = `${at.name}/${++this.#counter}`;
    const { ledger: _, simulation } = this.#cluster;
    simulation.record(`${name} ${kind}`);
    const acting = WRITES[kind]({ daemon: at, node: at.node, random: this.#random, name, now: at.life.world.now() });
    acting.then(
      (ids) => {
        this.#safety.acknowledge(at, ids);
        if (ids.length > 0) this.done.set(kind, (this.done.get(kind) ?? 0) + 1);
      },
      (error: unknown) => {
        const isRefusal = (error instanceof NodeError || error instanceof FactError) && REFUSALS.test(error.code);
        if (!isRefusal) this.failures.push(error as Error);
      },
    );
  }
}

interface Writing {
  readonly daemon: SimDaemon;
  /** Of the life of the daemon in which the write began. */
  readonly node: StigmeshNode;
  readonly random: Random;
  readonly name: string;
  /** Unix ms by the daemon's clock. */
  readonly now: number;
}

/** Each answers with the ids (CIDs) of what is in the log by then. */
const WRITES = {
  assert: one,
  again: one,
  more: one,
  async batch({ daemon, node, random, name }) {
    const isLarge = random.next() < LARGE_SHARE;
    const size = isLarge ? LARGE_BATCH : 2 + random.below(6);
    const topic = isLarge ? fact(daemon, random) : undefined;
    const facts = Array.from({ length: size }, (_, at) => ({
      ...(topic ? { ...topic, entity: `project:${name.replace('/', '-')}-${at}` } : fact(daemon, random)),
      value: text(`${name} ${at}`),
    }));
    const { items } = await node.facts.assertBatch(ANONYMOUS, { facts, atomic: random.next() < 0.5 });
    return items.flatMap((item) => (item.status === 'error' ? [] : [item.factId]));
  },
  async garden({ daemon, node, random }) {
    const [slug, scope] = random.pick(Object.entries(GARDENS));
    const garden_id = `stigmem://${daemon.org}/garden/${slug}`;
    return [(await node.facts.assert(ANONYMOUS, { ...fact(daemon, random), scope, garden_id })).fact.id];
  },
  /** About what stands on another organisation's name: an opinion that stays at home. */
  async foreign({ daemon, node, random }) {
    const entity = `stigmem://elsewhere.example/user/u${random.below(ENTITIES)}`;
    return [(await node.facts.assert(ANONYMOUS, { ...fact(daemon, random), entity })).fact.id];
  },
  async expiring({ daemon, node, random, now }) {
    const valid_until = new Date(now + 1000 * (1 + random.below(LIFE_S))).toISOString();
    return [(await node.facts.assert(ANONYMOUS, { ...fact(daemon, random), valid_until })).fact.id];
  },
  async retract({ daemon, node, random }) {
    const { entity, relation, scope, source } = fact(daemon, random);
    return [(await node.facts.retract(ANONYMOUS, { entity, relation, scope, source })).fact.id];
  },
  /** A retraction of what others said: an opinion. */
  async deny({ daemon, node, random }) {
    return [(await node.facts.assert(ANONYMOUS, { ...fact(daemon, random), confidence: 0 })).fact.id];
  },
  async supersede({ daemon, node, random, name }) {
    const { facts } = await node.facts.query(ANONYMOUS, { limit: 20, relation: random.pick(RELATIONS) });
    const old = facts.filter(({ statement }) => statement.org === daemon.org)[0];
    if (!old) return [];
    const { entity, relation, scope, source } = old.statement.body;
    const garden_id = old.statement.ext.garden_id;
    const input = { entity, relation, scope, source, garden_id, confidence: 1, value: text(`instead ${name}`) };
    return [(await node.facts.assert(ANONYMOUS, { ...input, supersedes: [old.id] })).fact.id];
  },
  async ttl({ daemon, node, random }) {
    const { facts } = await node.facts.query(ANONYMOUS, { limit: 5, scope: 'team' });
    const target = facts[random.below(facts.length)];
    if (!target) return [];
    const about = { entity: `fact:${target.id}`, relation: 'stigmem:ttl', scope: 'team' } as const;
    const input = { ...fact(daemon, random), ...about, value: { type: 'number', v: random.below(LIFE_S) } };
    return [(await node.facts.assert(ANONYMOUS, input)).fact.id];
  },
  async resolve({ node, random }) {
    const { conflicts } = await node.conflicts.list(ANONYMOUS, { status: 'unresolved', limit: 10 });
    const conflict = conflicts[random.below(conflicts.length)];
    if (!conflict) return [];
    const side = random.pick([conflict.factA, conflict.factB]);
    const { resolutionId } = await node.conflicts.resolve(ANONYMOUS, conflict.id, { winning_fact_id: side.id });
    return [resolutionId];
  },
} satisfies Record<string, (writing: Writing) => Promise<readonly string[]>>;

const KINDS = Object.keys(WRITES) as (keyof typeof WRITES)[];

async function one({ daemon, node, random }: Writing): Promise<readonly string[]> {
  return [(await node.facts.assert(ANONYMOUS, fact(daemon, random))).fact.id];
}

/** Half of the entities are nobody's, so that organisations contradict each other. */
function fact({ org }: SimDaemon, random: Random): AssertInput {
  const n = random.below(ENTITIES);
  return {
    entity: random.next() < 0.5 ? `stigmem://${org}/user/u${n}` : `project:p${n}`,
    relation: random.pick(RELATIONS),
    value: text(`value ${random.below(VALUES)}`),
    source: `stigmem://${org}/agent/a${random.below(2)}`,
    confidence: random.pick([1, 1, 0.5]),
    scope: random.pick(['local', 'team', 'company', 'company', 'public', 'public', 'public'] as const),
  };
}

function text(v: string): { readonly type: string; readonly v: string } {
  return { type: 'string', v };
}

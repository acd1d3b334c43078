import { NodeError } from '../../src/node/errors.ts';
import type { StigmeshNode } from '../../src/node/node.ts';
import type { AssertInput } from '../../src/node/types.ts';
import type { Random } from './random.ts';
import { fact, who } from './test-node.ts';

/** One acknowledged write. */
export interface Ack {
  readonly kind: string;
  /** Ids of the statements that are in the log now, whether this write added them or found them there. */
  readonly ids: readonly string[];
}

/** Few of each, so that writes meet: contradictions, repetitions, retractions of what is there. */
const ENTITIES = 12;
const VALUES = 4;
const RELATIONS = ['memory:role', 'memory:likes', 'memory:seat'] as const;

/** Relation of facts that came in an atomic batch; their value is the name and the size of the batch. */
const BATCH_RELATION = 'test:batch';

/** Names of the atomic batches that are there in part. */
export async function brokenBatches(node: StigmeshNode): Promise<string[]> {
  const found = new Map<string, number>();
  let cursor: string | undefined;
  do {
    const page = await node.facts.query(who, { relation: BATCH_RELATION, limit: 500, cursor });
    for (const { statement } of page.facts) {
      const batch = String(statement.body.value.v);
      found.set(batch, (found.get(batch) ?? 0) + 1);
    }
    cursor = page.cursor ?? undefined;
  } while (cursor !== undefined);
  return [...found].filter(([batch, count]) => Number(batch.split(' ')[1]) !== count).map(([batch]) => batch);
}

/**
 * One random write, of every kind that there is. Refusals (nothing to retract, conflict gone meanwhile) are normal and
 * acknowledge nothing; whatever else is thrown is the caller's.
 *
 * @param name names this write among all others
 * @param now Unix ms, for facts that expire soon
 */
export async function randomWrite(node: StigmeshNode, random: Random, name: string, now: number): Promise<Ack> {
  // Each declaration of cardinality has every key of its relation computed again.
  const kind = random.below(RARELY) === 0 ? 'cardinality' : random.pick(KINDS);
  try {
    return { kind, ...(await WRITES[kind](node, random, name, now)) };
  } catch (error) {
    if (!(error instanceof NodeError) || error.code === 'busy' || error.code === 'stopping') throw error;
    return { kind, ids: [] };
  }
}

type Write = (node: StigmeshNode, random: Random, name: string, now: number) => Promise<Omit<Ack, 'kind'>>;

const WRITES = {
  async assert(node, random) {
    return { ids: [(await node.facts.assert(who, randomFact(random))).fact.id] };
  },
  async repeat(node, random, name) {
    const input = randomFact(random);
    const first = await node.facts.assert(who, input, { idempotencyKey: name });
    const second = await node.facts.assert(who, input, { idempotencyKey: name });
    if (first.fact.id !== second.fact.id || second.created) throw new Error('an idempotent repetition wrote again');
    return { ids: [first.fact.id] };
  },
  async expiring(node, random, _name, now) {
    const valid_until = new Date(now + random.below(60)).toISOString();
    return { ids: [(await node.facts.assert(who, randomFact(random, { valid_until }))).fact.id] };
  },
  async batch(node, random, name) {
    const size = 2 + random.below(12);
    const facts = Array.from({ length: size }, (_, at) =>
      fact({ entity: `stigmem://acme.example/batch/${name}-${at}`, v: `${name} ${size}`, relation: BATCH_RELATION }),
    );
    const { items } = await node.facts.assertBatch(who, { facts, atomic: true });
    return { ids: items.flatMap((item) => (item.status === 'error' ? [] : [item.factId])) };
  },
  async retract(node, random) {
    const { entity, relation, scope, source } = randomFact(random);
    return { ids: [(await node.facts.retract(who, { entity, relation, scope, source })).fact.id] };
  },
  async supersede(node, random, name) {
    const { facts } = await node.facts.query(who, { limit: 5, relation: random.pick(RELATIONS) });
    const old = facts[random.below(facts.length)];
    if (!old) return { ids: [] };
    const { entity, relation, scope, source } = old.statement.body;
    const input = { entity, relation, scope, source, supersedes: [old.id], v: `instead ${name}` };
    return { ids: [(await node.facts.assert(who, fact(input))).fact.id] };
  },
  async resolve(node, random) {
    const { conflicts } = await node.conflicts.list(who, { status: 'unresolved', limit: 5 });
    const conflict = conflicts[random.below(conflicts.length)];
    if (!conflict) return { ids: [] };
    const input =
      random.next() < 0.5
        ? { winning_fact_id: conflict.factA.id }
        : { new_value: { type: 'string', v: `settled ${random.below(VALUES)}` } };
    const { resolutionId, winningFactId } = await node.conflicts.resolve(who, conflict.id, input);
    return { ids: [resolutionId, ...(winningFactId === null ? [] : [winningFactId])] };
  },
  async ttl(node, random) {
    const { facts } = await node.facts.query(who, { limit: 5, relation: random.pick(RELATIONS) });
    const target = facts[random.below(facts.length)];
    if (!target) return { ids: [] };
    const about = { entity: `fact:${target.id}`, relation: 'stigmem:ttl', scope: 'local', type: 'number' } as const;
    return { ids: [(await node.facts.assert(who, fact({ ...about, v: random.below(3) }))).fact.id] };
  },
  async cardinality(node, random) {
    const about = { entity: 'stigmem://acme.example/relation/memory:likes', relation: 'stigmem:cardinality' };
    return { ids: [(await node.facts.assert(who, fact({ ...about, v: random.pick(['many', 'one']) }))).fact.id] };
  },
} satisfies Record<string, Write>;

const KINDS = (Object.keys(WRITES) as (keyof typeof WRITES)[]).filter((kind) => kind !== 'cardinality');
const RARELY = 60;

function randomFact(random: Random, changes: Partial<AssertInput> = {}): AssertInput {
  return fact({
    entity: `stigmem://acme.example/user/u${random.below(ENTITIES)}`,
    relation: random.pick(RELATIONS),
    v: `value ${random.below(VALUES)}`,
    scope: random.pick(['local', 'company', 'public'] as const),
    confidence: random.pick([1, 1, 0.5, 0]),
    ...changes,
  });
}

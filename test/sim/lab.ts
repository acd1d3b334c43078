import type { AssertInput } from '../../src/node/types.ts';
import { ANONYMOUS } from '../../src/policy/principal.ts';
import { ALL_TERMS, Cluster, type ClusterInit, type ClusterPlan, type DaemonPlan, type PairPlan } from './cluster.ts';
import { Convergence } from './convergence.ts';
import type { SimDaemon } from './daemon.ts';
import { Safety, type SafetyInit } from './safety.ts';
import type { Simulation } from './world.ts';

/** A cluster with its checkers, for runs that are written by hand. */
export class Lab {
  readonly cluster: Cluster;
  readonly safety: Safety;
  readonly convergence: Convergence;
  #facts = 0;

  constructor(cluster: Cluster, init: SafetyInit) {
    this.cluster = cluster;
    this.safety = new Safety(cluster, init);
    this.convergence = new Convergence(cluster, this.safety);
  }

  get simulation(): Simulation {
    return this.cluster.simulation;
  }

  daemon(name: string): SimDaemon {
    return this.cluster.daemon(name);
  }

  /** Writes a fact and waits until it is acknowledged. @returns its id */
  async write(
    at: SimDaemon,
    changes: Partial<Omit<AssertInput, 'value'>> & { readonly v?: string } = {},
  ): Promise<string> {
    const id = await this.simulation.run(this.begin(at, changes));
    return id;
  }

  /** Begins to write a fact; it is acknowledged as time goes on. */
  async begin(
    at: SimDaemon,
    changes: Partial<Omit<AssertInput, 'value'>> & { readonly v?: string } = {},
  ): Promise<string> {
    const { v = `fact ${++this.#facts}`, ...rest } = changes;
    const { fact } = await at.node.facts.assert(ANONYMOUS, {
      entity: `project:p${this.#facts % 7}`,
      relation: 'memory:likes',
      value: { type: 'string', v },
      source: `stigmem://${at.org}/agent/a`,
      confidence: 1,
      scope: 'public',
      ...rest,
    });
    this.safety.acknowledge(at, [fact.id]);
    return fact.id;
  }

  /** Lets time pass, with a look at everybody's log every so often. */
  async pass(seconds: number, stepMs = 1000): Promise<void> {
    const end = this.simulation.now + seconds * 1000;
    while (this.simulation.now < end) {
      await this.simulation.runFor(Math.min(stepMs, end - this.simulation.now));
      await this.safety.look();
    }
  }

  /** Waits until all agree, and then checks everything there is to check. @returns virtual ms until they agreed */
  async settle(maxMs: number): Promise<number> {
    const took = await this.convergence.wait(maxMs);
    await this.safety.checkAcknowledged();
    for (const daemon of this.cluster.honest) {
      if (daemon.isUp) this.safety.checkSets(daemon);
      await this.safety.checkViews(daemon);
    }
    await this.convergence.checkViews();
    return took;
  }
}

/** Runs something in a cluster that is up; a failure tells the seed and the end of the trace. */
export async function inLab(
  plan: ClusterPlan,
  init: ClusterInit & SafetyInit,
  work: (lab: Lab) => Promise<void>,
): Promise<void> {
  const cluster = new Cluster(plan, init);
  try {
    await cluster.start();
    await work(new Lab(cluster, init));
  } catch (error) {
    const lines = cluster.simulation.trace.lines.slice(-20).join('\n');
    (error as Error).message = `seed ${init.seed}: ${(error as Error).message}\n${lines}`;
    throw error;
  } finally {
    cluster.close();
  }
}

/** Daemons of one organisation each, in a ring or, without the last step, in a line. */
export function ring(names: readonly string[], isClosed = true, changes: Partial<DaemonPlan> = {}): ClusterPlan {
  const daemons = names.map((name): DaemonPlan => ({ name, org: `${name}.example`, ...changes }));
  const pairs: PairPlan[] = [];
  for (const [at, a] of names.entries()) {
    if (at + 1 < names.length) pairs.push(both(a, names[at + 1]!));
    else if (isClosed && names.length > 2) pairs.push(both(a, names[0]!));
  }
  return { daemons, pairs };
}

/** All of them paired with each other. */
export function full(daemons: readonly DaemonPlan[]): ClusterPlan {
  const pairs = daemons.flatMap((a, at) =>
    daemons.slice(at + 1).flatMap((b) => (a.org === b.org ? [] : [both(a.name, b.name)])),
  );
  return { daemons, pairs };
}

export function both(a: string, b: string, aTerms = ALL_TERMS, bTerms = ALL_TERMS): PairPlan {
  return { a, b, aTerms, bTerms };
}

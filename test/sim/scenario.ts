import type { Random } from '../support/random.ts';
import { LIARS, type Lie } from './byzantine.ts';
import { CALM, Chaos, type ChaosRates, drawPath, drawRates, drawTerms } from './chaos.ts';
import { Cluster, type ClusterPlan, type DaemonPlan, type PairPlan } from './cluster.ts';
import { Convergence, type Excuse } from './convergence.ts';
import type { SimDaemon } from './daemon.ts';
import type { PathTerms } from './network.ts';
import { Safety } from './safety.ts';
import { Workload } from './workload.ts';
import { Simulation } from './world.ts';

export interface ScenarioInit {
  readonly seed: number;
  /** Fewest and most daemons. */
  readonly nodes?: readonly [number, number] | undefined;
  /** Virtual seconds of writes and faults. */
  readonly seconds?: number | undefined;
  /** Chance of a write in a second, a daemon. */
  readonly writes?: number | undefined;
  /** Told of every line of the trace. */
  readonly onTrace?: ((line: string) => void) | undefined;
  /** How likely faults are, instead of what the seed says. */
  readonly rates?: Partial<ChaosRates> | undefined;
  /** How ways are, instead of what the seed says. */
  readonly network?: Partial<PathTerms> | undefined;
  /** Puts something else in the place of a daemon that was planned: a bug that has to be noticed. */
  readonly mutate?: ((daemon: DaemonPlan) => DaemonPlan) | undefined;
}

export interface ScenarioReport {
  readonly seed: number;
  readonly nodes: number;
  readonly orgs: number;
  readonly hash: string;
  readonly events: number;
  /** Virtual ms that everything took, and convergence of it. */
  readonly virtualMs: number;
  readonly convergedMs: number;
  readonly writes: number;
  readonly faults: Readonly<Record<string, number>>;
  /** Writes in the middle of whose fsync a daemon ended. */
  readonly torn: number;
  /** What one of them did that no honest daemon does. */
  readonly lie: string | undefined;
  /** Statements looked at by the oracle, views rebuilt, keys compared between daemons. */
  readonly checked: number;
  readonly rebuilt: number;
  readonly compared: number;
}

/** A run that showed something wrong: how to see it again. */
export class ScenarioFailure extends Error {
  override readonly name = 'ScenarioFailure';

  constructor(init: ScenarioInit, cause: unknown, trace: readonly string[]) {
    const nodes = init.nodes ? ` --nodes ${init.nodes.join('-')}` : '';
    const seconds = init.seconds === undefined ? '' : ` --seconds ${init.seconds}`;
    const writes = init.writes === undefined ? '' : ` --writes ${init.writes}`;
    const message = cause instanceof Error ? cause.message : String(cause);
    super(
      `seed ${init.seed}: ${message}\nreplay: npm run sim -- --seed ${init.seed}${nodes}${seconds}${writes} --trace`,
      { cause },
    );
    this.stack = `${this.message}\n${trace.slice(-30).join('\n')}\n${cause instanceof Error ? cause.stack : ''}`;
  }
}

/** Size of the runs that `npm test` makes. */
export const SMALL: readonly [number, number] = [3, 8];

/**
 * Virtual time in which everything has to agree after the last fault: the longest pause between two attempts to connect
 * (10 min), after a ban (10 min) that a wrong clock brought about, until what was refused for it is tried again (5 min).
 */
export const CONVERGE_MS = 45 * 60_000;

/** Organisations, their daemons and who is paired with whom, by the seed. */
export function drawPlan(random: Random, [least, most]: readonly [number, number]): ClusterPlan {
  const count = least + random.below(most - least + 1);
  const daemons: DaemonPlan[] = [];
  for (let org = 0; daemons.length < count; org++) {
    const size = Math.min(count - daemons.length, random.pick([1, 1, 2, 3]));
    for (let at = 0; at < size; at++) {
      daemons.push({ name: `n${String(daemons.length).padStart(2, '0')}`, org: `org${org}.example` });
    }
  }
  // Sometimes one of them lies: the only daemon of its organisation, so that nobody believes it as a sibling.
  const alone = daemons.filter(({ org }) => daemons.filter((one) => one.org === org).length === 1);
  if (alone.length > 0 && daemons.length > 3 && random.next() < 0.3) {
    const lie = random.pick(Object.keys(LIARS) as Lie[]);
    const at = daemons.indexOf(random.pick(alone));
    daemons[at] = { ...daemons[at]!, tamper: LIARS[lie], lies: lie };
  }
  const pairs: PairPlan[] = [];
  const pair = (a: DaemonPlan, b: DaemonPlan): void => {
    const isThere = pairs.some((one) => [a.name, b.name].includes(one.a) && [a.name, b.name].includes(one.b));
    if (a.org === b.org || isThere) return;
    pairs.push({ a: a.name, b: b.name, aTerms: drawTerms(random), bTerms: drawTerms(random) });
  };
  for (const [at, daemon] of daemons.entries()) if (at > 0) pair(daemon, daemons[random.below(at)]!);
  for (let more = random.below(count); more > 0; more--) pair(random.pick(daemons), random.pick(daemons));
  return { daemons, pairs };
}

/**
 * One run by its seed: a cluster, writes and faults for a while, then peace; every check along the way.
 *
 * @throws ScenarioFailure
 */
export async function runScenario(init: ScenarioInit): Promise<ScenarioReport> {
  const { seed, nodes = SMALL, seconds = 30, writes = 0.25, onTrace } = init;
  const draw = new Simulation({ seed });
  const random = draw.random('scenario');
  draw.close();
  const drawn = drawPlan(random, nodes);
  const plan = init.mutate ? { ...drawn, daemons: drawn.daemons.map(init.mutate) } : drawn;
  const rates: ChaosRates = init.rates ? { ...CALM, ...init.rates } : drawRates(random);
  const cluster = new Cluster(plan, { seed, network: init.network ?? drawPath(random), onTrace });
  const { simulation } = cluster;
  try {
    await cluster.start();
    const safety = new Safety(cluster, { termsChange: rates.terms + rates.remove > 0 });
    const workload = new Workload(cluster, safety);
    const chaos = new Chaos(cluster, rates);
    await workload.start();
    for (let second = 0; second < seconds; second++) {
      for (const daemon of cluster.up) if (random.next() < writes) workload.write(daemon);
      await chaos.second();
      await simulation.runFor(1000);
      await safety.look();
      if (workload.failures.length > 0) throw workload.failures[0]!;
    }
    await safety.checkAcknowledged();
    await chaos.end();
    const convergence = new Convergence(cluster, safety, excuse(cluster, safety, chaos));
    const convergedMs = await convergence.wait(CONVERGE_MS);
    // What may expire at any moment would show differently from one moment to the next.
    await simulation.runUntil(workload.expiredBy());
    await safety.look();
    await safety.checkAcknowledged();
    for (const daemon of cluster.honest) safety.checkSets(daemon);
    await safety.checkViews(random.pick(cluster.honest));
    const compared = await convergence.checkViews();
    if (workload.failures.length > 0) throw workload.failures[0]!;
    const { hash, events } = simulation.trace;
    return {
      seed,
      nodes: plan.daemons.length,
      orgs: new Set(plan.daemons.map(({ org }) => org)).size,
      hash,
      events,
      virtualMs: simulation.now - START,
      convergedMs,
      writes: [...workload.done.values()].reduce((sum, one) => sum + one, 0),
      faults: Object.fromEntries(chaos.done),
      torn: cluster.daemons.reduce((sum, { disk }) => sum + disk.torn, 0),
      lie: plan.daemons.find(({ lies }) => lies !== undefined)?.lies,
      checked: safety.checked,
      rebuilt: safety.rebuilt,
      compared,
    };
  } catch (error) {
    throw new ScenarioFailure(init, error, simulation.trace.lines);
  } finally {
    cluster.close();
  }
}

const START = Date.UTC(2026, 10, 21, 12);

/**
 * What somebody need not take although it may: what a daemon signed that was removed here;
 * what a liar signed, since it may keep back the manifest by which others would believe it; and what its sender cannot
 * prove, because it knows the organisation by a declaration alone and never got its manifest as a statement.
 */
function excuse(cluster: Cluster, safety: Safety, chaos: Chaos): Excuse {
  const hasProof = (daemon: SimDaemon, org: string): boolean =>
    [...safety.held(daemon).values()].some(
      ({ said }) => said.kind === 'manifest' && said.org === org && !cluster.isGivenUp(said),
    );
  return ({ said }, from, to) => {
    const origin = cluster.byPeerId(said.origin);
    if (!origin || cluster.isLiar(origin.name)) return true;
    if (chaos.removed.has(`${to.name} ${origin.name}`)) return true;
    return to.node.manifests.known(said.org) === undefined && !hasProof(from, said.org);
  };
}

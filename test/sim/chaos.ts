import type { PeerTerms } from '../../src/policy/sharing.ts';
import type { Random } from '../support/random.ts';
import type { Cluster } from './cluster.ts';
import type { SimDaemon } from './daemon.ts';
import type { PathTerms } from './network.ts';
import { NAMESPACES } from './workload.ts';

/** How likely each fault is in one second, for the whole cluster. */
export interface ChaosRates {
  readonly partition: number;
  readonly cut: number;
  readonly crash: number;
  readonly power: number;
  readonly stop: number;
  readonly freeze: number;
  readonly clock: number;
  readonly path: number;
  readonly terms: number;
  readonly remove: number;
}

/** No fault at all. */
export const CALM: ChaosRates = {
  ...{ partition: 0, cut: 0, crash: 0, power: 0, stop: 0, freeze: 0, clock: 0, path: 0, terms: 0, remove: 0 },
};

/** Draws how rough a run is: some have everything, most have a few kinds of fault. */
export function drawRates(random: Random): ChaosRates {
  const rate = (share: number, most: number): number => (random.next() < share ? most * random.next() : 0);
  return {
    partition: rate(0.5, 0.06),
    cut: rate(0.5, 0.2),
    crash: rate(0.4, 0.08),
    power: rate(0.5, 0.08),
    stop: rate(0.3, 0.04),
    freeze: rate(0.4, 0.06),
    clock: rate(0.4, 0.08),
    path: rate(0.4, 0.1),
    terms: rate(0.5, 0.15),
    remove: rate(0.1, 0.02),
  };
}

/** Everything that goes wrong, by chance and by the seed. */
export class Chaos {
  readonly #cluster: Cluster;
  readonly #random: Random;
  readonly #rates: ChaosRates;
  /** What ends by itself: at which virtual moment, and how. */
  readonly #endings: { readonly at: number; readonly end: () => Promise<void> | void }[] = [];
  readonly #frozen = new Set<string>();
  /** Decisions of operators under way. */
  readonly #deciding = new Set<Promise<void>>();
  /** `owner origin`: by name, who removed whom. */
  readonly removed = new Set<string>();
  /** Faults, by kind. */
  readonly done = new Map<string, number>();

  constructor(cluster: Cluster, rates: ChaosRates) {
    this.#cluster = cluster;
    this.#rates = rates;
    this.#random = cluster.simulation.random('chaos');
  }

  /** What happens in one second. */
  async second(): Promise<void> {
    const { now } = this.#cluster.simulation;
    for (const due of this.#endings.filter(({ at }) => at <= now)) {
      this.#endings.splice(this.#endings.indexOf(due), 1);
      await due.end();
    }
    for (const [kind, rate] of Object.entries(this.#rates) as [keyof ChaosRates, number][]) {
      if (this.#random.next() >= rate) continue;
      if (await this[kind]()) this.done.set(kind, (this.done.get(kind) ?? 0) + 1);
    }
  }

  /** Faults end: what is down starts, what stands still goes on, clocks are right, ways are free. */
  async end(): Promise<void> {
    const { network, daemons } = this.#cluster;
    this.#endings.length = 0;
    this.#heal();
    for (const daemon of daemons) {
      if (this.#frozen.has(daemon.name)) this.#thaw(daemon);
      daemon.setClock(0);
      if (!daemon.isUp) await this.#cluster.restart(daemon);
    }
    network.setAllPaths({ gossipLoss: 0, gossipDuplicates: 0, gossipReorderMs: 0 });
    await this.#cluster.simulation.run(Promise.all(this.#deciding));
  }

  partition(): boolean {
    const { network, daemons } = this.#cluster;
    const sides: [string[], string[]] = [[], []];
    for (const { peerId, isUp } of daemons) if (isUp) sides[this.#random.below(2)]!.push(peerId);
    if (sides.some((side) => side.length === 0)) return false;
    network.partition(...sides);
    this.#after(5 + this.#random.below(60), () => this.#heal());
    return true;
  }

  cut(): boolean {
    const [a, b] = this.#two();
    if (!a || !b || !a.life.peering.isConnected(b.peerId)) return false;
    this.#cluster.network.cut(a.peerId, b.peerId);
    return true;
  }

  crash(): Promise<boolean> {
    return this.#kill(false);
  }

  power(): Promise<boolean> {
    return this.#kill(true);
  }

  async stop(): Promise<boolean> {
    const daemon = this.#one();
    if (!daemon) return false;
    await this.#cluster.simulation.run(daemon.stop());
    this.#after(1 + this.#random.below(20), () => this.#restart(daemon));
    return true;
  }

  freeze(): boolean {
    const daemon = this.#one();
    if (!daemon) return false;
    this.#frozen.add(daemon.name);
    this.#cluster.network.freeze(daemon.peerId, { alive: this.#random.next() < 0.5 });
    this.#after(1 + this.#random.below(45), () => {
      if (this.#frozen.has(daemon.name)) this.#thaw(daemon);
    });
    return true;
  }

  /** A clock jumps, or begins to run too fast or too slow. Most stay within what others tolerate. */
  clock(): boolean {
    const daemon = this.#random.pick(this.#cluster.daemons);
    const span = this.#random.next() < 0.2 ? 180_000 : 20_000;
    daemon.setClock((this.#random.next() - 0.5) * span, (this.#random.next() - 0.5) * 0.02);
    return true;
  }

  path(): boolean {
    const [a, b] = this.#two();
    if (!a || !b) return false;
    this.#cluster.network.setPath(a.peerId, b.peerId, drawPath(this.#random));
    return true;
  }

  terms(): boolean {
    const pair = this.#pair();
    if (!pair) return false;
    const terms = this.#random.next() < 0.25 ? null : drawTerms(this.#random);
    this.#decide(pair, terms);
    return true;
  }

  remove(): boolean {
    const pair = this.#pair();
    if (!pair) return false;
    this.removed.add(`${pair[0].name} ${pair[1].name}`);
    this.#decide(pair, 'remove');
    return true;
  }

  #decide([owner, peer]: readonly [SimDaemon, SimDaemon], terms: PeerTerms | null | 'remove'): void {
    const { life } = owner;
    const deciding: Promise<void> = this.#cluster
      .decide(owner, peer, terms)
      .catch((error: unknown) => {
        if (owner.isUp && owner.life === life) throw error;
      })
      .finally(() => this.#deciding.delete(deciding));
    this.#deciding.add(deciding);
    // Of a daemon that crashes no answer ever comes.
    this.#cluster.simulation.world('chaos').setTimeout(() => this.#deciding.delete(deciding), 60_000);
  }

  async #kill(power: boolean): Promise<boolean> {
    const daemon = this.#one();
    if (!daemon) return false;
    await this.#untilItMatters(daemon);
    await daemon.crash(power);
    this.#after(1 + this.#random.below(20), () => this.#restart(daemon));
    return true;
  }

  /**
   * Somewhere in the second that begins; two times of three within the next write, if one comes soon, or right behind it:
   * what is half done when a process ends is what it can lose.
   */
  async #untilItMatters({ disk }: SimDaemon): Promise<void> {
    const { simulation } = this.#cluster;
    const isAimed = this.#random.next() < 0.67;
    const until = simulation.now + (isAimed ? 5000 : 1000 * this.#random.next());
    const isTime = (): boolean => simulation.now >= until || (isAimed && disk.isWriting);
    await simulation.runUntilTrue(isTime, 60_000, 'that time goes on');
    if (isAimed) await simulation.runFor(4 * this.#random.next());
  }

  async #restart(daemon: SimDaemon): Promise<void> {
    if (!daemon.isUp) await this.#cluster.restart(daemon);
  }

  #heal(): void {
    this.#cluster.network.heal();
  }

  #thaw(daemon: SimDaemon): void {
    this.#frozen.delete(daemon.name);
    if (daemon.isUp) this.#cluster.network.thaw(daemon.peerId);
  }

  #after(seconds: number, end: () => Promise<void> | void): void {
    this.#endings.push({ at: this.#cluster.simulation.now + seconds * 1000, end });
  }

  /** A daemon that runs and does not stand still; one at least stays so. */
  #one(): SimDaemon | undefined {
    const { up } = this.#cluster;
    const lively = up.filter(({ name }) => !this.#frozen.has(name));
    return lively.length < 2 ? undefined : this.#random.pick(lively);
  }

  #two(): [SimDaemon | undefined, SimDaemon | undefined] {
    const { up } = this.#cluster;
    if (up.length < 2) return [undefined, undefined];
    const a = this.#random.pick(up);
    return [a, this.#random.pick(up.filter((one) => one !== a))];
  }

  /** An operator who can decide, and about whom. */
  #pair(): readonly [SimDaemon, SimDaemon] | undefined {
    const { plan, ledger } = this.#cluster;
    if (plan.pairs.length === 0) return undefined;
    const { a, b } = this.#random.pick(plan.pairs);
    const [owner, peer] = this.#random.next() < 0.5 ? [a, b] : [b, a];
    const daemon = this.#cluster.daemon(owner!);
    const isDeciding = ledger.current(owner!, peer!) === undefined;
    if (!daemon.isUp || isDeciding || this.#frozen.has(owner!) || this.removed.has(`${owner} ${peer}`))
      return undefined;
    return [daemon, this.#cluster.daemon(peer!)];
  }
}

/** Terms of one operator about one peer. */
export function drawTerms(random: Random): PeerTerms {
  const some = <T>(items: readonly T[], share: number): T[] => items.filter(() => random.next() < share);
  return {
    gives: some(['team', 'company', 'public'] as const, 0.8).filter((scope) => scope !== 'team' || random.next() < 0.1),
    takes: some(['team', 'company', 'public'] as const, 0.85).filter(
      (scope) => scope !== 'team' || random.next() < 0.1,
    ),
    namespaces: random.next() < 0.7 ? null : some(NAMESPACES, 0.6),
  };
}

export function drawPath(random: Random): Partial<PathTerms> {
  const isBad = random.next() < 0.3;
  return {
    latencyMs: 1 + random.below(isBad ? 800 : 80),
    jitterMs: random.below(isBad ? 300 : 10),
    bytesPerSecond: isBad ? 20_000 + random.below(100_000) : 12_500_000,
    gossipLoss: random.next() < 0.5 ? 0 : 0.4 * random.next(),
    gossipDuplicates: random.next() < 0.5 ? 0 : 0.3 * random.next(),
    gossipReorderMs: random.next() < 0.5 ? 0 : random.below(500),
  };
}

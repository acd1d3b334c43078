import type { Random } from '../support/random.ts';
import type { SimConnectionEnd } from './connection.ts';
import { SimDiscovery } from './discovery.ts';
import { SimTransport } from './transport.ts';
import type { Simulation } from './world.ts';

/** What a way from one node to another is like. */
export interface PathTerms {
  readonly latencyMs: number;
  /** Added to the latency: between 0 and this. */
  readonly jitterMs: number;
  readonly bytesPerSecond: number;
  /** Share of gossip messages lost, and of those doubled, a hop. */
  readonly gossipLoss: number;
  readonly gossipDuplicates: number;
  /** Delay of a gossip message between 0 and this: above the interval between two, they overtake each other. */
  readonly gossipReorderMs: number;
}

/** A link between two sites: 20 ms, 100 Mbit/s, nothing lost. */
const USUAL: PathTerms = {
  latencyMs: 20,
  jitterMs: 2,
  bytesPerSecond: 12_500_000,
  gossipLoss: 0,
  gossipDuplicates: 0,
  gossipReorderMs: 0,
};

/** After this long without an answer to its pings, a node gives a connection up (libp2p's connection monitor). */
export const GIVE_UP_MS = 20_000;

interface Path {
  /** `from>to`. */
  readonly name: string;
  readonly random: Random;
  terms: PathTerms;
  freeAt: number;
  /** Time until so many bytes sent now have arrived, ms; they occupy the way meanwhile. */
  delay(bytes: number): number;
}

interface Accepted {
  readonly far: SimConnectionEnd;
  readonly arrived: () => void;
}

/**
 * A network of nodes in one process, under the clock and the seed of a {@link Simulation}. Connections and streams are
 * reliable, but slow, and can be cut; gossip is as unreliable as its terms say.
 */
export class SimNetwork {
  readonly #simulation: Simulation;
  readonly #usual: PathTerms;
  readonly #nodes = new Map<string, SimTransport>();
  readonly #byAddress = new Map<string, SimTransport>();
  readonly #ips = new Map<string, string>();
  readonly #paths = new Map<string, Path>();
  readonly #severed = new Set<string>();
  readonly #frozen = new Map<string, 'silent' | 'alive'>();
  /** Machines without power: they do not even refuse. */
  readonly #dark = new Set<string>();
  /** Ends that sent what did not get through yet, closed ones included. */
  readonly held = new Set<SimConnectionEnd>();
  /** Told of every frame that is sent on a stream. */
  onFrame: ((from: string, to: string, protocol: string, frame: Uint8Array) => void) | undefined;
  /** Who provides which name. */
  readonly rendezvous = new Map<string, Map<string, SimTransport>>();

  constructor(simulation: Simulation, terms: Partial<PathTerms> = {}) {
    this.#simulation = simulation;
    this.#usual = { ...USUAL, ...terms };
  }

  get now(): number {
    return this.#simulation.now;
  }

  /** A new transport for a node; not started. After a crash the node gets another one, at the same address. */
  transport(init: { peerId: string; name: string; dialable?: boolean }): SimTransport {
    let ip = this.#ips.get(init.name);
    if (ip === undefined) {
      const n = this.#ips.size + 1;
      ip = `10.0.${n >> 8}.${n & 255}`;
      this.#ips.set(init.name, ip);
    }
    const world = this.#simulation.world(init.name);
    return new SimTransport({ network: this, world }, { ...init, ip, dialable: init.dialable ?? true });
  }

  discovery(transport: SimTransport): SimDiscovery {
    return new SimDiscovery(this, transport);
  }

  random(name: string): Random {
    return this.#simulation.random(name);
  }

  schedule(actor: string, label: string, delayMs: number, run: () => void): void {
    this.#simulation.schedule(actor, label, delayMs, run, true);
  }

  /** Changes the ways between two nodes (peer ids), in both directions. */
  setPath(a: string, b: string, terms: Partial<PathTerms>): void {
    for (const path of [this.#path(this.#node(a), this.#node(b)), this.#path(this.#node(b), this.#node(a))]) {
      path.terms = { ...path.terms, ...terms };
    }
  }

  /** Changes all ways between nodes that run now. */
  setAllPaths(terms: Partial<PathTerms>): void {
    const ids = [...this.#nodes.keys()];
    for (const [at, a] of ids.entries()) for (const b of ids.slice(at + 1)) this.setPath(a, b, terms);
  }

  /** Nothing passes between nodes of different groups (peer ids); who is in no group reaches all. Connections notice late. */
  partition(...groups: readonly (readonly string[])[]): void {
    this.#simulation.record(
      `partition ${groups.map((group) => group.map((id) => this.#name(id)).join(',')).join(' | ')}`,
    );
    for (const [at, group] of groups.entries()) {
      for (const other of groups.slice(at + 1)) for (const a of group) for (const b of other) this.#sever(a, b);
    }
    this.#watch();
  }

  /** Nothing passes between two nodes. */
  sever(a: string, b: string): void {
    this.#simulation.record(`sever ${this.#name(a)} ${this.#name(b)}`);
    this.#sever(a, b);
    this.#watch();
  }

  /** Every way is free again. */
  heal(): void {
    this.#simulation.record('heal');
    this.#severed.clear();
    this.#release();
  }

  /** Ends the connections between two nodes at once; both notice. */
  cut(a: string, b: string): void {
    this.#simulation.record(`cut ${this.#name(a)} ${this.#name(b)}`);
    for (const end of [...this.#node(a).ends(b), ...this.#node(b).ends(a)]) {
      this.schedule(`${end.local.name}>${end.remote.name}`, 'cut', 0, () => end.lose('the connection was cut'));
    }
  }

  /**
   * A process is gone, with its timers; none of its code is told. The others notice at once (their packets are refused),
   * or, when the power went, only by silence.
   */
  crash(peerId: string, options: { power?: boolean } = {}): void {
    const node = this.#node(peerId);
    this.#simulation.record(`crash ${node.name}${options.power ? ' (power)' : ''}`);
    const ends = node.ends().map((end) => ({ end, remote: end.remote }));
    this.#simulation.end(node.name);
    if (options.power) this.#dark.add(node.name);
    node.crash(!options.power);
    for (const { remote } of ends) {
      for (const end of remote.ends(peerId)) if (options.power) this.#giveUp(end, () => !node.isRunning);
    }
  }

  /**
   * A process stands still (SIGSTOP, a suspended machine): it neither reads nor fires timers until it thaws. With `alive`
   * its connections stay up, as if something answered pings for it: the worst peer to write to.
   */
  freeze(peerId: string, options: { alive?: boolean } = {}): void {
    const node = this.#node(peerId);
    this.#simulation.record(`freeze ${node.name}`);
    this.#frozen.set(peerId, options.alive ? 'alive' : 'silent');
    node.world.freeze();
    this.#watch();
  }

  thaw(peerId: string): void {
    const node = this.#node(peerId);
    this.#simulation.record(`thaw ${node.name}`);
    this.#frozen.delete(peerId);
    node.world.thaw();
    this.#release();
  }

  /** Whether nothing gets from one to the other at the moment. */
  isBlocked(from: SimTransport, to: SimTransport): boolean {
    if (this.#frozen.has(from.peerId) || this.#frozen.has(to.peerId)) return true;
    return this.#severed.has(pair(from.peerId, to.peerId));
  }

  path(from: SimTransport, to: SimTransport): Path {
    return this.#path(from, to);
  }

  roundTrip(a: SimTransport, b: SimTransport): number {
    return this.#path(a, b).terms.latencyMs + this.#path(b, a).terms.latencyMs;
  }

  joined(node: SimTransport): void {
    this.#nodes.set(node.peerId, node);
    this.#byAddress.set(`${node.ip}:4701`, node);
    this.#dark.delete(node.name);
  }

  left(node: SimTransport): void {
    if (this.#nodes.get(node.peerId) === node) this.#nodes.delete(node.peerId);
    if (this.#byAddress.get(`${node.ip}:4701`) === node) this.#byAddress.delete(`${node.ip}:4701`);
    for (const providers of this.rendezvous.values()) {
      if (providers.get(node.peerId) === node) providers.delete(node.peerId);
    }
  }

  /** The other nodes that run. */
  others(node: SimTransport): readonly SimTransport[] {
    return [...this.#nodes.values()].filter((other) => other !== node);
  }

  /** The handshake of a connection: two round trips, of which the listener sees one and a half. */
  connect(
    from: SimTransport,
    address: string,
    answer: { refused: () => void; accepted: (remote: SimTransport) => Accepted | null },
  ): void {
    const ip = address.split(':')[0]!;
    const name = [...this.#ips].find(([, one]) => one === ip)?.[0];
    if (name === undefined || this.#dark.has(name)) {
      // An address where no machine is: nobody ever answers.
      return;
    }
    const there = this.#byAddress.get(address);
    if (!there) {
      this.schedule(`${name}>${from.name}`, 'refused', 2 * this.#usual.latencyMs, answer.refused);
      return;
    }
    const path = this.#path(from, there);
    this.schedule(path.name, 'dial', path.delay(0) + this.roundTrip(from, there), () => {
      if (this.isBlocked(from, there)) return;
      if (!there.isRunning || !there.isDialable) {
        this.schedule(`${there.name}>${from.name}`, 'refused', path.delay(0), answer.refused);
        return;
      }
      const accepted = answer.accepted(there);
      if (!accepted) return;
      accepted.far.transmit(0, 'accept', accepted.arrived);
      if (there.denies(from.peerId)) accepted.far.close('the peer is denied');
      else accepted.far.open();
    });
  }

  #path(from: SimTransport, to: SimTransport): Path {
    const name = `${from.name}>${to.name}`;
    let path = this.#paths.get(name);
    if (!path) {
      path = newPath(this.#simulation, name, this.#usual);
      this.#paths.set(name, path);
    }
    return path;
  }

  #node(peerId: string): SimTransport {
    const node = this.#nodes.get(peerId);
    if (!node) throw new Error(`no node ${peerId} runs in the simulation`);
    return node;
  }

  #name(peerId: string): string {
    return this.#nodes.get(peerId)?.name ?? peerId;
  }

  #sever(a: string, b: string): void {
    this.#severed.add(pair(a, b));
  }

  /** Whoever hears nothing for long enough gives its connections up. */
  #watch(): void {
    for (const node of this.#nodes.values()) {
      for (const end of node.ends()) if (end.isBlocked) this.#giveUp(end, () => end.isBlocked);
    }
  }

  #giveUp(end: SimConnectionEnd, isStill: () => boolean): void {
    const { name } = end.local;
    const delay = GIVE_UP_MS * (1 + 0.25 * this.#path(end.local, end.remote).random.next());
    this.#simulation.schedule(name, 'ping', delay, () => {
      // Who stands still notices nothing; who is alive only to pings is not given up.
      const remote = this.#frozen.get(end.peerId);
      if (!isStill() || this.#frozen.has(end.local.peerId)) return;
      if (remote !== 'alive' || this.#severed.has(pair(end.local.peerId, end.peerId))) end.close('no answer to pings');
    });
  }

  #release(): void {
    for (const end of [...this.held]) end.release();
  }
}

function newPath(simulation: Simulation, name: string, terms: PathTerms): Path {
  const random = simulation.random(`path/${name}`);
  const path: Path = {
    name,
    random,
    terms,
    freeAt: 0,
    delay(bytes) {
      const { latencyMs, jitterMs, bytesPerSecond } = path.terms;
      const departure = Math.max(simulation.now, path.freeAt) + (bytes / bytesPerSecond) * 1000;
      path.freeAt = departure;
      return departure - simulation.now + latencyMs + jitterMs * random.next();
    },
  };
  return path;
}

function pair(a: string, b: string): string {
  return a < b ? `${a} ${b}` : `${b} ${a}`;
}

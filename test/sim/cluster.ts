import { rawPublicKey } from '../../src/identity/index.ts';
import { SYSTEM } from '../../src/policy/principal.ts';
import type { PeerTerms } from '../../src/policy/sharing.ts';
import { SimDaemon, type SimDaemonInit } from './daemon.ts';
import { type PathTerms, SimNetwork } from './network.ts';
import type { Said } from './oracle.ts';
import { TermsLedger } from './terms-ledger.ts';
import { verifySynchronously } from './verifier.ts';
import { Simulation } from './world.ts';

/** One daemon to be. */
export interface DaemonPlan {
  readonly name: string;
  readonly org: string;
  readonly durable?: boolean | undefined;
  readonly storage?: SimDaemonInit['storage'];
  readonly unknownOrigins?: SimDaemonInit['unknownOrigins'];
  readonly tamper?: SimDaemonInit['tamper'];
  /** Why nothing it holds, says or counts can be relied on; absent: honest. */
  readonly lies?: string | undefined;
}

/** Two daemons (by name) of different organisations that are to be paired, and what each decides about the other. */
export interface PairPlan {
  readonly a: string;
  readonly b: string;
  readonly aTerms: PeerTerms;
  readonly bTerms: PeerTerms;
}

export interface ClusterPlan {
  readonly daemons: readonly DaemonPlan[];
  readonly pairs: readonly PairPlan[];
}

export interface ClusterInit {
  readonly seed: number;
  readonly network?: Partial<PathTerms> | undefined;
  /** Told of every line of the trace. */
  readonly onTrace?: ((line: string) => void) | undefined;
}

/** Longest that setting up may take, virtual ms. */
const SETUP_MS = 120_000;

export const ALL_TERMS: PeerTerms = { gives: ['company', 'public'], takes: ['company', 'public'], namespaces: null };

/** Daemons of several organisations, introduced to each other, and what their operators decided. */
export class Cluster {
  readonly simulation: Simulation;
  readonly network: SimNetwork;
  readonly ledger = new TermsLedger();
  readonly daemons: SimDaemon[] = [];
  readonly plan: ClusterPlan;
  readonly #restore: () => void;

  constructor(plan: ClusterPlan, init: ClusterInit) {
    this.plan = plan;
    this.#restore = verifySynchronously();
    this.simulation = new Simulation({ seed: init.seed, onTrace: init.onTrace });
    this.network = new SimNetwork(this.simulation, init.network);
    const orgs = [...new Set(plan.daemons.map(({ org }) => org))];
    for (const [at, daemon] of plan.daemons.entries()) {
      const isFirst = plan.daemons.findIndex(({ org }) => org === daemon.org) === at;
      const orgKey = this.simulation.key(isFirst ? `org/${daemon.org}` : `unused/${daemon.name}`);
      this.daemons.push(new SimDaemon(this.simulation, this.network, { ...daemon, orgKey, trustedResolvers: orgs }));
    }
    for (const daemon of this.daemons) daemon.siblings = this.daemons.filter(({ org }) => org === daemon.org);
  }

  /** Of daemons that keep to the rules. */
  get honest(): readonly SimDaemon[] {
    return this.daemons.filter(({ name }) => !this.isLiar(name));
  }

  get up(): readonly SimDaemon[] {
    return this.daemons.filter(({ isUp }) => isUp);
  }

  isLiar(name: string): boolean {
    return this.plan.daemons.find((one) => one.name === name)?.lies !== undefined;
  }

  daemon(name: string): SimDaemon {
    const found = this.daemons.find((one) => one.name === name);
    if (!found) throw new Error(`no daemon ${name}`);
    return found;
  }

  byPeerId(peerId: string): SimDaemon | undefined {
    return this.daemons.find((one) => one.peerId === peerId);
  }

  /** Whether a statement is the manifest a daemon made for itself before it took over its organisation's: nobody believes it. */
  isGivenUp({ kind, org, body }: Said): boolean {
    return kind === 'manifest' && body.org_key !== this.#orgKeyOf(org);
  }

  /** Whether two daemons are of one organisation, or were paired by plan. */
  areRelated(a: SimDaemon, b: SimDaemon): boolean {
    if (a === b) return false;
    return a.org === b.org || this.ledger.current(a.name, b.name) !== undefined;
  }

  /** Starts every daemon, has organisations list theirs, and pairs who is to be paired. */
  async start(): Promise<void> {
    const { simulation } = this;
    for (const daemon of this.daemons) await simulation.run(daemon.start(), SETUP_MS);
    for (const founder of new Set(this.daemons.map(({ siblings }) => siblings[0]!))) {
      const others = founder.siblings.slice(1);
      for (const { peerId } of others) await simulation.run(founder.life.ownManifest.addNode(SYSTEM, { peerId }));
      const { manifest } = founder.node.manifests.require(founder.org);
      for (const other of others) await simulation.run(other.life.ownManifest.adopt(SYSTEM, manifest));
      for (const daemon of founder.siblings) daemon.meetSiblings();
    }
    for (const { a, b, aTerms, bTerms } of this.plan.pairs) {
      await this.#approve(this.daemon(a), this.daemon(b), aTerms);
      await this.#approve(this.daemon(b), this.daemon(a), bTerms);
    }
    await simulation.runUntilTrue(() => this.#isConnected(), SETUP_MS, 'that all who should be are connected');
  }

  /** What the operator of one daemon decides about another one; null suspends it, `remove` ends it. */
  async decide(owner: SimDaemon, peer: SimDaemon, terms: PeerTerms | null | 'remove'): Promise<void> {
    const { peers } = owner.node;
    const { simulation } = this;
    simulation.record(`${owner.name} decides about ${peer.name}: ${JSON.stringify(terms)}`);
    const acknowledged = this.ledger.decide(owner.name, peer.name, terms === 'remove' ? null : terms, simulation.now);
    if (terms === 'remove') await peers.remove(SYSTEM, peer.peerId);
    else if (terms === null) await peers.update(SYSTEM, peer.peerId, { suspended: true });
    else await peers.update(SYSTEM, peer.peerId, { ...terms, suspended: false });
    acknowledged(simulation.now);
  }

  /** Starts a daemon again after a crash, and finds out what had become of the decisions under way. */
  async restart(daemon: SimDaemon): Promise<void> {
    await this.simulation.run(daemon.start(), SETUP_MS);
    for (const other of this.daemons) {
      const record = daemon.node.peers.get(other.peerId);
      this.ledger.settle(daemon.name, record, other.name, this.simulation.now);
      if (other !== daemon && other.org === daemon.org && other.isUp) other.meetSiblings();
    }
  }

  close(): void {
    this.simulation.close();
    this.#restore();
  }

  async #approve(owner: SimDaemon, peer: SimDaemon, terms: PeerTerms): Promise<void> {
    const { simulation } = this;
    const orgKey = this.#orgKeyOf(peer.org);
    const acknowledged = this.ledger.decide(owner.name, peer.name, terms, simulation.now);
    const approved = owner.node.peers.approve(SYSTEM, peer.peerId, {
      ...terms,
      addrs: peer.life.transport.addresses(),
      identity: { org: peer.org, orgKey },
    });
    await simulation.run(approved);
    acknowledged(simulation.now);
  }

  /** 32 bytes, base64url. */
  #orgKeyOf(org: string): string {
    return Buffer.from(rawPublicKey(this.simulation.key(`org/${org}`))).toString('base64url');
  }

  #isConnected(): boolean {
    return this.daemons.every((a) =>
      this.daemons.every((b) => !this.areRelated(a, b) || a.life.peering.admits(b.peerId)),
    );
  }
}

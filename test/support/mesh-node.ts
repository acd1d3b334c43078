import type { KeyObject } from 'node:crypto';
import { encodeStatement, formatHlc, formatInstant, signStatement } from '../../src/facts/index.ts';
import type { FactBody, FactExt, FactStatement } from '../../src/facts/statement.ts';
import { peerIdFromPublicKey, publicKeyFromPeerId, rawPublicKey } from '../../src/identity/index.ts';
import { MeshEvents } from '../../src/mesh/events.ts';
import { MeshDaemon, type MeshDaemonInit } from '../../src/mesh/mesh.ts';
import type { MeshMetrics } from '../../src/mesh/metrics.ts';
import { OwnManifest } from '../../src/mesh/own-manifest.ts';
import { Peering } from '../../src/mesh/peering.ts';
import { Registrar } from '../../src/mesh/registrar.ts';
import type { GossipVerdict } from '../../src/mesh/transport.ts';
import type { MeshLog } from '../../src/mesh/types.ts';
import type { ManifestJson, MeshEvent, WireStatement } from '../../src/node/federation.ts';
import { type NodeInit, StigmeshNode } from '../../src/node/node.ts';
import type { AssertInput, FactView } from '../../src/node/types.ts';
import { SYSTEM } from '../../src/policy/principal.ts';
import type { PeerTerms } from '../../src/policy/sharing.ts';
import { MemoryStore } from '../../src/store/memory/memory-store.ts';
import type { Store } from '../../src/store/store.ts';
import { type PathTerms, SimNetwork } from '../sim/network.ts';
import type { SimTransport } from '../sim/transport.ts';
import { Simulation, type SimWorld } from '../sim/world.ts';
import { fact, who } from './test-node.ts';

export const ALL_TERMS: PeerTerms = { gives: ['public', 'company'], takes: ['public', 'company'], namespaces: null };

export interface MeshNodeInit {
  readonly name: string;
  readonly org: string;
  readonly node?: Partial<NodeInit>;
  readonly mesh?: MeshDaemonInit;
  readonly metrics?: MeshMetrics;
  /** Of an earlier run. */
  readonly store?: Store;
}

const SILENT: MeshLog = { debug() {}, info() {}, warn() {} };

/** One daemon in the simulation: a real node on a store in memory, real peering, a real data plane, a simulated network. */
export class MeshNode {
  readonly name: string;
  readonly org: string;
  readonly peerId: string;
  readonly nodeKey: KeyObject;
  readonly node: StigmeshNode;
  readonly store: Store;
  readonly world: SimWorld;
  readonly transport: SimTransport;
  readonly peering: Peering;
  readonly mesh: MeshDaemon;
  readonly manifest: OwnManifest;
  /** What operators were told, oldest first. */
  readonly events: MeshEvent[] = [];
  /** Told of gossip as it comes. */
  onGossip: (data: Uint8Array) => void = () => {};
  /** What becomes of gossip, whatever the node says. */
  gossipVerdict: (verdict: GossipVerdict) => GossipVerdict = (verdict) => verdict;
  /** Statements signed so far: each has a clock reading of its own. */
  #signed = 0;

  private constructor(
    simulation: Simulation,
    network: SimNetwork,
    node: StigmeshNode,
    store: Store,
    init: MeshNodeInit,
  ) {
    const { name, org } = init;
    this.name = name;
    this.org = org;
    this.nodeKey = simulation.key(name);
    this.peerId = peerIdOf(this.nodeKey);
    this.node = node;
    this.store = store;
    this.world = simulation.world(name);
    const { world, peerId, nodeKey } = this;
    this.transport = network.transport({ peerId, name });
    const { transport } = this;
    const listen = transport.gossip.onMessage.bind(transport.gossip);
    transport.gossip.onMessage = (consume, admits) => {
      listen(async (data, from) => {
        this.onGossip(data);
        return this.gossipVerdict(await consume(data, from));
      }, admits);
    };
    const events = new MeshEvents();
    events.on((event) => this.events.push(event));
    const { peers, invites, manifests } = node;
    const log = SILENT;
    const orgKey = simulation.key(`org ${org}`);
    this.manifest = new OwnManifest(
      {
        manifests,
        keys: { orgKey, former: async () => [], rotate: () => Promise.reject(new Error('not in this test')) },
        world,
        log,
      },
      { org, peerId },
    );
    const registrar = new Registrar(
      { peers, invites, manifests, world },
      { peerId, org, nodeKey, addrs: () => transport.addresses() },
    );
    this.peering = new Peering({ transport, registrar, peers, manifests, world, events, log });
    this.mesh = new MeshDaemon(
      { transport, node, peering: this.peering, world, events, metrics: init.metrics ?? null, log },
      { cpu: () => 0, ...init.mesh },
    );
  }

  /** Opens a node as the daemon of this name has it. The name decides its key, its organisation the org key. */
  static async open(simulation: Simulation, init: MeshNodeInit & { readonly store: Store }): Promise<StigmeshNode> {
    const { name, org, store } = init;
    const nodeKey = simulation.key(name);
    const { now, randomUUID, randomBytes, setInterval, clearInterval } = simulation.world(name);
    return StigmeshNode.open(
      { store, now, randomUUID, randomBytes, setInterval, clearInterval },
      {
        nodeKey,
        peerId: peerIdOf(nodeKey),
        org,
        publicKeyOf: publicKeyFromPeerId,
        schema: 1,
        durable: true,
        maxSkewMs: 60_000,
        unknownOrigins: 'quarantine',
        trustedResolvers: [],
        manyRelations: new Set(),
        maxBatch: 1000,
        maxGardens: 100,
        maxApiKeys: 100,
        maxAuditEntries: 100_000,
        keyMaxAgeDays: 90,
        ...init.node,
      },
    );
  }

  static async start(simulation: Simulation, network: SimNetwork, init: MeshNodeInit): Promise<MeshNode> {
    const { store = new MemoryStore() } = init;
    const node = await MeshNode.open(simulation, { ...init, store });
    const daemon = new MeshNode(simulation, network, node, store, init);
    await daemon.manifest.start();
    // Others have to learn it in whatever way a test is about, not as news of the first pairing.
    await node.manifests.publish(SYSTEM, node.manifests.own!);
    await daemon.peering.start();
    await daemon.mesh.start();
    await daemon.transport.start();
    return daemon;
  }

  async stop(): Promise<void> {
    await this.mesh.stop();
    this.peering.stop();
    await this.transport.stop();
    await this.manifest.stop();
    await this.node.stop();
  }

  /** Another daemon of the same organisation joins this one's manifest, and takes it over. */
  async adopt(sibling: MeshNode): Promise<void> {
    await this.manifest.addNode(SYSTEM, { peerId: sibling.peerId });
    await sibling.node.manifests.accept(SYSTEM, this.node.manifests.own!, { pin: true });
  }

  /** Our organisation's manifest, as `manifests.accept` takes it. */
  ownManifest(): [typeof SYSTEM, ManifestJson, { readonly pin: boolean }] {
    return [SYSTEM, this.node.manifests.own!, { pin: true }];
  }

  async approve(peer: MeshNode, terms: Partial<PeerTerms> = {}): Promise<void> {
    await this.node.peers.approve(SYSTEM, peer.peerId, { ...ALL_TERMS, ...terms, addrs: peer.transport.addresses() });
  }

  async dial(peer: MeshNode): Promise<void> {
    await this.transport.dial(peer.peerId, peer.transport.addresses());
  }

  isActive(peer: MeshNode): boolean {
    return this.peering.active().some(({ peerId }) => peerId === peer.peerId);
  }

  /** Writes one fact; its entity is unique unless one is given. */
  async assert(v: string, changes: Partial<AssertInput> = {}): Promise<FactView> {
    const input = fact({
      entity: `stigmem://${this.org}/note/${v}`,
      source: `stigmem://${this.org}/agent/${this.name}`,
      v,
      ...changes,
    });
    return (await this.node.facts.assert(who, input)).fact;
  }

  /** The fact with an id; undefined where it is not held, whatever its state. */
  async get(id: string): Promise<FactView | undefined> {
    return this.node.facts.get(who, id).then(
      ({ fact: found }) => found,
      () => undefined,
    );
  }

  async holds(...facts: readonly Pick<FactView, 'id'>[]): Promise<boolean> {
    for (const { id } of facts) if ((await this.get(id)) === undefined) return false;
    return true;
  }

  /** A statement of this node that its own store does not have. */
  sign(
    v: string,
    changes: { hlcMs?: number; body?: Partial<FactBody>; ext?: FactExt; key?: KeyObject } = {},
  ): WireStatement {
    const { body = {}, ext = {}, key = this.nodeKey } = changes;
    const ms = Math.floor(changes.hlcMs ?? this.world.now());
    const scope = body.scope ?? 'public';
    const statement: FactStatement = {
      ...{ v: 1, kind: 'fact', origin: this.peerId, org: this.org, audience: scope },
      hlc: formatHlc(ms + Math.floor(this.#signed / 1000), this.#signed++ % 1000),
      timestamp: formatInstant(ms),
      body: {
        confidence: 1,
        entity: `stigmem://${this.org}/note/${v.replaceAll(' ', '-')}`,
        relation: 'memory:role',
        source: `stigmem://${this.org}/agent/${this.name}`,
        value: { type: 'string', v },
        ...body,
        scope,
      },
      ext,
    };
    const { bytes, sig } = signStatement(encodeStatement(statement), key);
    return { bytes, sig };
  }
}

function peerIdOf(key: KeyObject): string {
  return peerIdFromPublicKey(rawPublicKey(key));
}

/** Both approve each other, connect, and are active. */
export async function connect(
  simulation: Simulation,
  a: MeshNode,
  b: MeshNode,
  terms: { a?: Partial<PeerTerms>; b?: Partial<PeerTerms> } = {},
): Promise<void> {
  if (a.org !== b.org) {
    await a.approve(b, terms.a);
    await b.approve(a, terms.b);
  }
  await simulation.run(a.dial(b));
  await simulation.runUntilTrue(() => a.isActive(b) && b.isActive(a), 30_000, `${a.name} and ${b.name} are active`);
}

/** Runs until something holds that takes looking up; looked at four times a second. */
export async function until(
  simulation: Simulation,
  condition: () => Promise<boolean>,
  maxMs: number,
  what = 'the condition',
): Promise<void> {
  const end = simulation.now + maxMs;
  while (!(await condition())) {
    if (simulation.now > end) throw new Error(`seed ${simulation.seed}: ${what} does not hold after ${maxMs} ms`);
    await simulation.runFor(250);
  }
}

/** Seed of this run; give another in STIGMESH_SEED. */
export const SEED = Number(process.env.STIGMESH_SEED ?? 20261121);

/** A simulation with a network and daemons: what most tests of the mesh begin with. Close it at the end. */
export class TestMesh {
  readonly simulation: Simulation;
  readonly network: SimNetwork;
  readonly daemons: MeshNode[] = [];

  constructor(terms: Partial<PathTerms> = {}) {
    this.simulation = new Simulation({ seed: SEED });
    this.network = new SimNetwork(this.simulation, terms);
  }

  /** @param org by default one of its own, after its name */
  async start(name: string, init: Partial<MeshNodeInit> = {}): Promise<MeshNode> {
    const daemon = await MeshNode.start(this.simulation, this.network, { name, org: `${name}.example`, ...init });
    this.daemons.push(daemon);
    return daemon;
  }

  /** The process is gone at once, and another one starts on its store. @param between what is done with it meanwhile */
  async restart(
    daemon: MeshNode,
    between: (home: { store: Store; open: () => Promise<StigmeshNode> }) => Promise<void> = async () => {},
  ): Promise<MeshNode> {
    this.network.crash(daemon.peerId);
    this.daemons.splice(this.daemons.indexOf(daemon), 1);
    await this.run(1000);
    const { name, org, store } = daemon;
    await between({ store, open: () => MeshNode.open(this.simulation, { name, org, store }) });
    return this.start(name, { org, store });
  }

  connect(a: MeshNode, b: MeshNode, terms: { a?: Partial<PeerTerms>; b?: Partial<PeerTerms> } = {}): Promise<void> {
    return connect(this.simulation, a, b, terms);
  }

  run(ms: number): Promise<void> {
    return this.simulation.runFor(ms);
  }

  until(condition: () => Promise<boolean>, maxMs: number, what: string): Promise<void> {
    return until(this.simulation, condition, maxMs, what);
  }

  /** Runs until every daemon named holds all of it. */
  async spread(facts: readonly Pick<FactView, 'id'>[], maxMs: number, daemons = this.daemons): Promise<void> {
    for (const daemon of daemons) await this.until(() => daemon.holds(...facts), maxMs, `${daemon.name} holds it`);
  }

  async close(): Promise<void> {
    await this.simulation.run(Promise.all(this.daemons.map((daemon) => daemon.stop())));
    this.simulation.close();
  }
}

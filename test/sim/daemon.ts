import type { KeyObject } from 'node:crypto';
import { peerIdFromPublicKey, publicKeyFromPeerId, rawPublicKey } from '../../src/identity/index.ts';
import { MeshEvents } from '../../src/mesh/events.ts';
import { Joining } from '../../src/mesh/join.ts';
import { MeshDaemon, type MeshDaemonComponents } from '../../src/mesh/mesh.ts';
import { OwnManifest } from '../../src/mesh/own-manifest.ts';
import { Peering } from '../../src/mesh/peering.ts';
import { Registrar } from '../../src/mesh/registrar.ts';
import { Supervisor } from '../../src/mesh/supervisor.ts';
import type { Transport } from '../../src/mesh/transport.ts';
import type { MeshLog } from '../../src/mesh/types.ts';
import { type NodeInit, StigmeshNode } from '../../src/node/node.ts';
import type { Store } from '../../src/store/store.ts';
import { SimDisk } from './disk.ts';
import type { SimNetwork } from './network.ts';
import type { SimTransport } from './transport.ts';
import type { Simulation, SimWorld } from './world.ts';

/** What the mesh of a daemon is made of, for whoever puts something else in between. */
export type MeshParts = Pick<MeshDaemonComponents, 'transport' | 'node' | 'peering'>;

export interface SimDaemonInit {
  readonly name: string;
  readonly org: string;
  /** Of the organisation, or, for a further daemon of one, a key it made for itself and gives up. */
  readonly orgKey: KeyObject;
  /** Organisations whose resolutions of conflicts apply, besides the own one. */
  readonly trustedResolvers: readonly string[];
  readonly unknownOrigins?: NodeInit['unknownOrigins'] | undefined;
  /** Whether it waits for the disk before it acknowledges. */
  readonly durable?: boolean | undefined;
  readonly fsyncMs?: number | undefined;
  /** Something else in the place of its store: a bug. */
  readonly storage?: ((store: Store) => Store) | undefined;
  /** Something else in the place of what the data plane stands on: a bug, or a liar. */
  readonly tamper?: ((parts: MeshParts, daemon: SimDaemon) => MeshParts) | undefined;
}

/** One life of a daemon, from its start to its end. */
export interface Life {
  readonly world: SimWorld;
  readonly node: StigmeshNode;
  readonly transport: SimTransport;
  readonly ownManifest: OwnManifest;
  readonly peering: Peering;
  readonly joining: Joining;
  readonly supervisor: Supervisor;
  readonly mesh: MeshDaemon;
  readonly events: MeshEvents;
}

const MAX_SKEW_MS = 60_000;

/** One daemon of the simulation: the real node and mesh over a simulated machine, with a disk that outlives it. */
export class SimDaemon {
  readonly name: string;
  readonly org: string;
  readonly peerId: string;
  readonly disk: SimDisk;
  readonly key: KeyObject;
  readonly #simulation: Simulation;
  readonly #network: SimNetwork;
  readonly #init: SimDaemonInit;
  #clock = { skewMs: 0, rate: 0, since: 0 };
  #life: Life | undefined;
  /** Where daemons of its organisation are, as a local network tells. */
  siblings: readonly SimDaemon[] = [];

  constructor(simulation: Simulation, network: SimNetwork, init: SimDaemonInit) {
    this.name = init.name;
    this.org = init.org;
    this.key = simulation.key(init.name);
    this.peerId = peerIdFromPublicKey(rawPublicKey(this.key));
    const random = simulation.random(`disk/${init.name}`);
    this.disk = new SimDisk(random, init.fsyncMs ?? 1 + 2 * random.next());
    this.#simulation = simulation;
    this.#network = network;
    this.#init = init;
  }

  get isUp(): boolean {
    return this.#life !== undefined;
  }

  /** What runs now. @throws Error when nothing does */
  get life(): Life {
    if (!this.#life) throw new Error(`${this.name} does not run`);
    return this.#life;
  }

  get node(): StigmeshNode {
    return this.life.node;
  }

  /** Sets the clock: what it is off by now, and how much it gains a second (s/s) from now on. */
  setClock(skewMs: number, rate = 0): void {
    this.#clock = { skewMs, rate, since: this.#simulation.now };
    this.#applyClock(this.#life?.world);
  }

  /** Opens the node, and then the mesh. */
  async start(): Promise<Life> {
    if (this.#life) throw new Error(`${this.name} runs already`);
    const { name, peerId, org, key } = this;
    const world = this.#simulation.world(name);
    this.#applyClock(world);
    const store = this.disk.open(world);
    const node = await this.openNode(this.#init.storage?.(store) ?? store, world);
    const transport = this.#network.transport({ peerId, name });
    const { peers, invites, manifests } = node;
    const log = this.#log();
    const events = new MeshEvents();
    const { orgKey } = this.#init;
    const keys = { orgKey, former: async () => [], rotate: () => Promise.reject(new Error('not simulated')) };
    const ownManifest = new OwnManifest({ manifests, keys, world, log }, { org, peerId });
    await ownManifest.start();
    const addrs = (): readonly string[] => transport.addresses();
    const registrar = new Registrar({ peers, invites, manifests, world }, { peerId, org, nodeKey: key, addrs });
    const peering = new Peering({ transport, registrar, peers, manifests, world, events, log });
    ownManifest.follow(peering);
    await peering.start();
    const resolve = async (): Promise<readonly string[]> => [];
    const parts: MeshParts = { transport, node, peering };
    const { tamper } = this.#init;
    const mesh = new MeshDaemon(
      { ...(tamper ? tamper(parts, this) : parts), world, events, metrics: null, log },
      // Virtual: what a machine needs for the work differs from run to run.
      { cpu: () => 0 },
    );
    await mesh.start();
    const supervisor = new Supervisor({
      ...{ transport: transport as Transport, peers, peering, world, resolve, log },
      isSibling: (id) => registrar.isSibling(id),
    });
    const joining = new Joining(
      { transport, peering, registrar, peers, invites, manifests, ownManifest, world, resolve },
      { peerId, org, addrs },
    );
    const life: Life = { world, node, transport, ownManifest, peering, joining, supervisor, mesh, events };
    this.#life = life;
    await transport.start();
    supervisor.start();
    this.meetSiblings();
    this.#simulation.record(`${name} is up`);
    return life;
  }

  /** Opens a node of this daemon on a store, such as a copy of its own. */
  openNode(
    store: Store,
    world: Pick<SimWorld, 'now' | 'randomUUID' | 'randomBytes' | 'setInterval' | 'clearInterval'>,
  ) {
    const { now, randomUUID, randomBytes, setInterval, clearInterval } = world;
    const init: NodeInit = {
      nodeKey: this.key,
      peerId: this.peerId,
      org: this.org,
      publicKeyOf: publicKeyFromPeerId,
      schema: 1,
      durable: this.#init.durable ?? true,
      maxSkewMs: MAX_SKEW_MS,
      manyRelations: new Set(['memory:likes']),
      unknownOrigins: this.#init.unknownOrigins ?? 'quarantine',
      trustedResolvers: this.#init.trustedResolvers,
      maxBatch: 1000,
      maxGardens: 100,
      maxApiKeys: 10,
      maxAuditEntries: 100_000,
      keyMaxAgeDays: 0,
    };
    return StigmeshNode.open({ store, now, randomUUID, randomBytes, setInterval, clearInterval, metrics: null }, init);
  }

  /** Finds the daemons of its organisation, as mDNS would. */
  meetSiblings(): void {
    const { supervisor } = this.life;
    for (const { peerId, isUp, life } of this.siblings.filter((one) => one !== this && one.isUp)) {
      if (isUp) supervisor.found({ peerId, addrs: life.transport.addresses(), via: 'mdns' });
    }
  }

  /** Stops it as SIGTERM does. */
  async stop(): Promise<void> {
    const { supervisor, mesh, peering, ownManifest, transport, node } = this.life;
    this.#life = undefined;
    await supervisor.stop();
    await mesh.stop();
    peering.stop();
    await ownManifest.stop();
    await transport.stop();
    await node.stop();
    this.#simulation.end(this.name);
    await this.disk.crash(false);
    this.#simulation.record(`${this.name} is down`);
  }

  /** Ends it in the middle of whatever it does. @param power whether what was not fsynced is gone as well */
  async crash(power: boolean): Promise<void> {
    if (!this.#life) return;
    this.#life = undefined;
    this.#network.crash(this.peerId, { power });
    await this.disk.crash(power);
  }

  #applyClock(world: SimWorld | undefined): void {
    if (!world) return;
    world.skewMs = this.#clock.skewMs;
    world.drift = { rate: this.#clock.rate, since: this.#clock.since };
  }

  /** What it logs is part of the trace: it tells apart what looks the same on the network. */
  #log(): MeshLog {
    const line = (fields: object): void => this.#simulation.record(`${this.name} log ${JSON.stringify(fields)}`);
    return { debug: () => {}, info: line, warn: line };
  }
}

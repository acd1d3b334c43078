import type { KeyObject } from 'node:crypto';
import type {
  InboundService,
  InviteService,
  ManifestService,
  PeerService,
  SetsService,
} from '../node/mesh-services.ts';
import type { LocalWriter } from '../node/services.ts';
import type { ResolveName } from './addresses.ts';
import type { Discovery } from './discovery.ts';
import { MeshEvents } from './events.ts';
import { Federation } from './federation.ts';
import { Finder } from './finder.ts';
import { Joining } from './join.ts';
import { MeshDaemon, type MeshDaemonInit } from './mesh.ts';
import type { MeshMetrics } from './metrics.ts';
import { type OrgKeys, OwnManifest } from './own-manifest.ts';
import { Peering } from './peering.ts';
import { Registrar } from './registrar.ts';
import { Supervisor } from './supervisor.ts';
import type { Transport } from './transport.ts';
import type { MeshLog } from './types.ts';
import type { MeshWorld } from './world.ts';

export interface MeshServiceComponents {
  /** Not started. */
  readonly transport: Transport;
  /** Null: neither DHT, mDNS nor bootstrap peers. */
  readonly discovery: Discovery | null;
  readonly node: {
    readonly peers: PeerService;
    readonly invites: InviteService;
    readonly manifests: ManifestService;
    readonly inbound: InboundService;
    readonly sets: SetsService;
    readonly writer: LocalWriter;
  };
  readonly keys: OrgKeys;
  readonly world: MeshWorld;
  readonly resolve: ResolveName;
  readonly metrics: MeshMetrics | null;
  readonly log: MeshLog;
}

export interface MeshServiceInit {
  readonly org: string;
  readonly nodeKey: KeyObject;
  /** Multiaddrs told to others instead of those listened on; empty: those. */
  readonly announce: readonly string[];
  readonly data?: MeshDaemonInit | undefined;
}

/** All of the mesh over one transport: who is who (control plane) and what flows between them (data plane). */
export class MeshService {
  readonly events = new MeshEvents();
  readonly ownManifest: OwnManifest;
  readonly peering: Peering;
  readonly data: MeshDaemon;
  readonly supervisor: Supervisor;
  readonly federation: Federation;
  readonly #transport: Transport;
  readonly #finder: Finder;
  readonly #announce: readonly string[];

  constructor(components: MeshServiceComponents, init: MeshServiceInit) {
    const { transport, discovery, node, keys, world, resolve, metrics, log } = components;
    const { peers, invites, manifests } = node;
    const { org, nodeKey, announce } = init;
    const { peerId } = transport;
    const { events } = this;
    this.#transport = transport;
    this.#announce = announce;
    const addrs = (): readonly string[] => this.addrs();
    this.ownManifest = new OwnManifest({ manifests, keys, world, log }, { org, peerId });
    const { ownManifest } = this;
    const registrar = new Registrar({ peers, invites, manifests, world }, { peerId, org, nodeKey, addrs });
    this.peering = new Peering({ transport, registrar, peers, manifests, world, events, log });
    const { peering } = this;
    this.data = new MeshDaemon({ transport, node, peering, world, events, metrics, log }, init.data);
    const { data } = this;
    peering.on({ misbehaved: (of, what) => data.offended(of, what) });
    ownManifest.follow(peering);
    const isSibling = (of: string): boolean => registrar.isSibling(of);
    this.supervisor = new Supervisor({ transport, peers, peering, world, resolve, log, isSibling });
    const { supervisor } = this;
    const looking = { transport, peering, registrar, peers, manifests, world, resolve };
    this.#finder = new Finder({ ...looking, discovery, supervisor, log }, { org });
    const joining = new Joining({ ...looking, invites, ownManifest }, { peerId, org, addrs });
    this.federation = new Federation({
      ...{ transport, peering, joining, finder: this.#finder, ownManifest, peers, invites, manifests },
      ...{ sync: data, world, addrs },
    });
  }

  /** Multiaddrs that others can reach us at, with `/p2p/<peer id>`. */
  addrs(): readonly string[] {
    if (this.#announce.length === 0) return this.#transport.addresses();
    return this.#announce.map((addr) => `${addr}/p2p/${this.#transport.peerId}`);
  }

  /** @throws MeshError `listen_failed`; what publishing the own manifest throws. Then nothing of it runs. */
  async start(): Promise<void> {
    try {
      await this.ownManifest.start();
      // Whoever connects finds everything in its place.
      await this.peering.start();
      await this.data.start();
      this.#finder.attach();
      await this.#transport.start();
    } catch (error) {
      await this.stop();
      throw error;
    }
    this.supervisor.start();
    await this.#finder.start();
  }

  /** Also of what has only half begun. */
  async stop(): Promise<void> {
    await this.#finder.stop();
    await this.supervisor.stop();
    await this.data.stop();
    this.peering.stop();
    await this.#transport.stop();
    await this.ownManifest.stop();
  }
}

import { generateKeyPairSync, type KeyObject } from 'node:crypto';
import { peerIdFromPublicKey, publicKeyFromPeerId, rawPublicKey } from '../../src/identity/index.ts';
import type { ResolveName } from '../../src/mesh/addresses.ts';
import type { FoundPeer } from '../../src/mesh/discovery.ts';
import type { Federation } from '../../src/mesh/federation.ts';
import { MeshService } from '../../src/mesh/service.ts';
import type { InactiveReason } from '../../src/mesh/types.ts';
import type { MeshEvent, PeerRecord } from '../../src/node/federation.ts';
import { StigmeshNode } from '../../src/node/node.ts';
import type { AuditEntry } from '../../src/node/services.ts';
import { ANONYMOUS, type Principal } from '../../src/policy/principal.ts';
import type { PeerTerms } from '../../src/policy/sharing.ts';
import { MemoryStore } from '../../src/store/memory/memory-store.ts';
import type { SimDiscovery } from './discovery.ts';
import { SimNetwork } from './network.ts';
import type { SimTransport } from './transport.ts';
import { Simulation } from './world.ts';

/** The operator of every daemon. */
export const OPERATOR: Principal = { ...ANONYMOUS, entity: 'agent:operator' };

export const SHARED: PeerTerms = { gives: ['public', 'company'], takes: ['public', 'company'], namespaces: null };

export interface ControlInit {
  readonly name: string;
  /** Default: `<name>.example`. */
  readonly org?: string;
  /** A daemon that shares its private org key. */
  readonly orgKeyOf?: ControlDaemon;
  readonly announce?: readonly string[];
  readonly resolve?: ResolveName;
}

export interface Logged {
  readonly level: 'debug' | 'info' | 'warn';
  readonly fields: Readonly<Record<string, unknown>>;
  readonly message: string;
}

/** What one life of a daemon consists of. */
interface Life {
  readonly node: StigmeshNode;
  readonly transport: SimTransport;
  readonly discovery: SimDiscovery;
  readonly mesh: MeshService;
}

/** A daemon as its operator knows it: a real node and the whole mesh over a simulated network. */
export class ControlDaemon {
  readonly name: string;
  readonly org: string;
  readonly peerId: string;
  readonly key: KeyObject;
  readonly log: Logged[] = [];
  readonly events: MeshEvent[] = [];
  /** Who became active or inactive, in order. */
  readonly seen: string[] = [];
  /** Lets it find a peer, as discovery would. */
  find: (peer: FoundPeer) => void = () => {};
  /** Org keys, oldest first: what its key directory holds. */
  readonly orgKeys: KeyObject[];
  readonly #simulation: Simulation;
  readonly #network: SimNetwork;
  readonly #init: ControlInit;
  readonly #store = new MemoryStore();
  #life: Life | undefined;

  constructor(simulation: Simulation, network: SimNetwork, init: ControlInit) {
    this.name = init.name;
    this.org = init.org ?? `${init.name}.example`;
    this.key = simulation.key(init.name);
    this.peerId = peerIdFromPublicKey(rawPublicKey(this.key));
    this.orgKeys = init.orgKeyOf ? [...init.orgKeyOf.orgKeys] : [simulation.key(`org key of ${init.name}`)];
    this.#simulation = simulation;
    this.#network = network;
    this.#init = init;
  }

  async start(): Promise<this> {
    const simulation = this.#simulation;
    const world = simulation.world(this.name);
    const { peerId, name, org, key } = this;
    const { now, randomUUID, randomBytes, setInterval, clearInterval } = world;
    const node = await StigmeshNode.open(
      { store: this.#store, now, randomUUID, randomBytes, setInterval, clearInterval },
      {
        nodeKey: key,
        peerId,
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
      },
    );
    const transport = this.#network.transport({ peerId, name });
    const discovery = this.#network.discovery(transport);
    const onFound = discovery.onFound.bind(discovery);
    discovery.onFound = (found) => {
      this.find = found;
      onFound(found);
    };
    const tell = (level: Logged['level']) => (fields: object, message: string) => {
      this.log.push({ level, fields: fields as Logged['fields'], message });
    };
    const keys = this.orgKeys;
    const mesh = new MeshService(
      {
        transport,
        discovery,
        node,
        keys: {
          orgKey: keys.at(-1)!,
          former: async () => keys.slice(0, -1),
          rotate: async () => {
            const orgKey = simulation.key(`${name} org key ${keys.length}`);
            keys.push(orgKey);
            return { former: keys.at(-2)!, orgKey };
          },
        },
        world,
        resolve: this.#init.resolve ?? (async () => []),
        metrics: null,
        log: { debug: tell('debug'), info: tell('info'), warn: tell('warn') },
      },
      { org, nodeKey: key, announce: this.#init.announce ?? [], data: { cpu: () => 0 } },
    );
    mesh.events.on((event) => this.events.push(event));
    mesh.peering.on({
      active: (peer) => this.seen.push(`active ${peer.peerId}`),
      inactive: (id: string, reason: InactiveReason) => this.seen.push(`inactive ${id} ${reason}`),
      changed: (peer) => this.seen.push(`changed ${peer.peerId}`),
    });
    await mesh.start();
    this.#life = { node, transport, discovery, mesh };
    return this;
  }

  get life(): Life {
    if (!this.#life) throw new Error(`${this.name} does not run`);
    return this.#life;
  }

  get node(): StigmeshNode {
    return this.life.node;
  }

  get mesh(): MeshService {
    return this.life.mesh;
  }

  get federation(): Federation {
    return this.life.mesh.federation;
  }

  get addrs(): readonly string[] {
    return this.life.transport.addresses();
  }

  /** Whether another daemon is active here. */
  has(other: ControlDaemon): boolean {
    return this.mesh.peering.active().some(({ peerId }) => peerId === other.peerId);
  }

  record(other: ControlDaemon): PeerRecord | undefined {
    return this.node.peers.get(other.peerId);
  }

  async audit(type?: string): Promise<readonly AuditEntry[]> {
    return (await this.node.audit.list(OPERATOR, { type, limit: 500 })).entries;
  }

  warnings(): Logged[] {
    return this.log.filter(({ level }) => level === 'warn');
  }

  async stop(): Promise<void> {
    const { mesh, node } = this.life;
    await mesh.stop();
    await node.stop();
    this.#life = undefined;
  }

  /** The process is gone; what it wrote stays. */
  crash(): void {
    this.#network.crash(this.peerId);
    this.#life = undefined;
  }
}

/** A simulation with a network and daemons on it. */
export class Town {
  readonly simulation: Simulation;
  readonly network: SimNetwork;
  readonly #daemons: ControlDaemon[] = [];

  constructor(seed: number) {
    this.simulation = new Simulation({ seed });
    this.network = new SimNetwork(this.simulation);
  }

  async daemon(init: ControlInit): Promise<ControlDaemon> {
    const daemon = await new ControlDaemon(this.simulation, this.network, init).start();
    this.#daemons.push(daemon);
    return daemon;
  }

  run<T>(promise: Promise<T>, maxMs = 60_000): Promise<T> {
    return this.simulation.run(promise, maxMs);
  }

  /** Runs until something holds. @returns virtual ms that took */
  async until(condition: () => boolean, maxMs: number, what?: string): Promise<number> {
    const start = this.simulation.now;
    await this.simulation.runUntilTrue(condition, maxMs, what);
    return this.simulation.now - start;
  }

  async invite(by: ControlDaemon, changes: Partial<Parameters<Federation['createInvite']>[1]> = {}): Promise<string> {
    const input = { ...SHARED, expiresIn: 3600, ...changes };
    return (await this.run(by.federation.createInvite(OPERATOR, input))).invite;
  }

  /** Redeems an invite, and tells how that ended. */
  async join(who: ControlDaemon, invite: string, changes: Partial<PeerTerms> & { allowPrivate?: boolean } = {}) {
    return this.run(who.federation.join(OPERATOR, { invite, ...SHARED, allowPrivate: true, ...changes }));
  }

  /** Pairs two daemons by an invite; both are active then. */
  async pair(inviter: ControlDaemon, joiner: ControlDaemon): Promise<void> {
    await this.join(joiner, await this.invite(inviter));
    await this.until(
      () => inviter.has(joiner) && joiner.has(inviter),
      5000,
      `${inviter.name} and ${joiner.name} are active`,
    );
  }

  async close(): Promise<void> {
    for (const daemon of this.#daemons) {
      try {
        await this.run(daemon.stop());
      } catch {
        // It had ended before.
      }
    }
    this.simulation.close();
  }
}

/** A key that nobody in the town has. */
export function strangeKey(): KeyObject {
  return generateKeyPairSync('ed25519').privateKey;
}

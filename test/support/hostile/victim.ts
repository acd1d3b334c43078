import { generateKeyPairSync, type KeyObject, randomBytes, randomUUID } from 'node:crypto';
import { Registry } from 'prom-client';
import { peerIdFromPublicKey, publicKeyFromPeerId, rawPublicKey } from '../../../src/identity/index.ts';
import { Libp2pTransport } from '../../../src/mesh/libp2p/transport.ts';
import type { MeshDaemonInit } from '../../../src/mesh/mesh.ts';
import { createMeshMetrics } from '../../../src/mesh/metrics.ts';
import { MeshService } from '../../../src/mesh/service.ts';
import type { MeshWorld } from '../../../src/mesh/world.ts';
import type { CreateInvite, MeshEvent } from '../../../src/node/federation.ts';
import { type NodeInit, StigmeshNode } from '../../../src/node/node.ts';
import type { AuditEntry } from '../../../src/node/services.ts';
import type { AssertInput, FactView } from '../../../src/node/types.ts';
import { SYSTEM } from '../../../src/policy/principal.ts';
import type { PeerTerms } from '../../../src/policy/sharing.ts';
import { MemoryStore } from '../../../src/store/memory/memory-store.ts';
import { fact, who } from '../test-node.ts';
import { realWorld } from '../transport.ts';
import { until } from '../until.ts';

export const SHARED: PeerTerms = { gives: ['public', 'company'], takes: ['public', 'company'], namespaces: null };

export interface VictimInit {
  /** Before `.example`; the daemon's organisation unless one is named. */
  readonly name: string;
  readonly org?: string;
  readonly orgKey?: KeyObject;
  readonly node?: Partial<NodeInit>;
  readonly data?: MeshDaemonInit;
  readonly world?: MeshWorld;
}

/** A store that counts what is read of it: what an answer costs shows here, whatever the machine is busy with. */
class CountingStore extends MemoryStore {
  /** Calls, and keys they asked for. */
  reads = { calls: 0, keys: 0, found: 0 };

  override async get(key: Uint8Array): Promise<Buffer | undefined> {
    const value = await super.get(key);
    this.#note([value]);
    return value;
  }

  override async getMany(keys: readonly Uint8Array[]): Promise<(Buffer | undefined)[]> {
    const values = await super.getMany(keys);
    this.#note(values);
    return values;
  }

  #note(values: readonly unknown[]): void {
    const { calls, keys, found } = this.reads;
    const hits = values.filter((value) => value !== undefined).length;
    this.reads = { calls: calls + 1, keys: keys + values.length, found: found + hits };
  }
}

/** A whole daemon but for its API, in this process: a real node and mesh over libp2p, on loopback. */
export class Victim {
  readonly name: string;
  readonly org: string;
  readonly orgKey: KeyObject;
  readonly peerId: string;
  readonly key: KeyObject;
  readonly store: CountingStore;
  readonly node: StigmeshNode;
  readonly transport: Libp2pTransport;
  readonly mesh: MeshService;
  readonly registry = new Registry();
  /** What operators were told. */
  readonly events: MeshEvent[] = [];
  /** Warnings and lines of the log, as objects. */
  readonly logs: Record<string, unknown>[] = [];

  private constructor(init: VictimInit, key: KeyObject, store: CountingStore, node: StigmeshNode) {
    const { name, org = `${name}.example`, world = realWorld } = init;
    this.name = name;
    this.org = org;
    this.orgKey = init.orgKey ?? generateKeyPairSync('ed25519').privateKey;
    this.key = key;
    this.peerId = peerIdOf(key);
    this.store = store;
    this.node = node;
    this.transport = new Libp2pTransport(
      { world },
      {
        nodeKey: key,
        listen: ['/ip4/127.0.0.1/tcp/0'],
        announce: [],
        agent: 'stigmesh/0.0.0-test',
        discovery: { bootstrap: [], mdns: false, dht: null },
        inboundPerSecond: 10_000,
      },
    );
    const { orgKey } = this;
    const keep = (fields: object): void => void this.logs.push(fields as Record<string, unknown>);
    this.mesh = new MeshService(
      {
        ...{ transport: this.transport, discovery: null, node, world },
        keys: { orgKey, former: async () => [], rotate: () => Promise.reject(new Error('not in this test')) },
        resolve: async () => [],
        metrics: createMeshMetrics(this.registry),
        log: { debug: () => {}, info: keep, warn: keep },
      },
      { org, nodeKey: key, announce: [], data: init.data },
    );
    this.mesh.events.on((event) => this.events.push(event));
  }

  static async start(init: VictimInit): Promise<Victim> {
    const key = generateKeyPairSync('ed25519').privateKey;
    const store = new CountingStore();
    const { now } = init.world ?? realWorld;
    const node = await StigmeshNode.open(
      { store, now, randomUUID, randomBytes, setInterval, clearInterval: (timer) => clearInterval(timer) },
      {
        ...{ nodeKey: key, peerId: peerIdOf(key), org: init.org ?? `${init.name}.example` },
        ...{ publicKeyOf: publicKeyFromPeerId, schema: 1, durable: true, maxSkewMs: 60_000 },
        ...{ unknownOrigins: 'quarantine', trustedResolvers: [], manyRelations: new Set(), maxBatch: 1000 },
        ...{ maxGardens: 100, maxApiKeys: 100, maxAuditEntries: 100_000, keyMaxAgeDays: 90 },
        ...init.node,
      },
    );
    const victim = new Victim(init, key, store, node);
    await victim.mesh.start();
    return victim;
  }

  async stop(): Promise<void> {
    await this.mesh.stop();
    await this.node.stop();
  }

  get addrs(): readonly string[] {
    return this.mesh.addrs();
  }

  async invite(terms: Partial<CreateInvite> = {}): Promise<string> {
    const { invite } = await this.mesh.federation.createInvite(SYSTEM, { ...SHARED, expiresIn: 3600, ...terms });
    return invite;
  }

  /** Pairs with another daemon by an invite of this one. */
  async pair(other: Victim, ours: Partial<PeerTerms> = {}, theirs: Partial<PeerTerms> = {}): Promise<void> {
    const invite = await this.invite(ours);
    await other.mesh.federation.join(SYSTEM, { invite, ...SHARED, ...theirs, allowPrivate: true });
    await until(() => this.isActive(other.peerId) && other.isActive(this.peerId), 'both are active');
  }

  isActive(peerId: string): boolean {
    return this.mesh.peering.active().some((peer) => peer.peerId === peerId);
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

  /** The fact with an id; undefined where it is not held. */
  async get(id: string): Promise<FactView | undefined> {
    return this.node.facts.get(who, id).then(
      ({ fact: found }) => found,
      () => undefined,
    );
  }

  /**
   * Says something public until another daemon hears it by gossip. Then the topic has found together, and whatever was
   * gossiped to it from here before has been judged.
   *
   * @param isOnce the first has to come by gossip
   */
  async gossipsTo(other: Victim, { isOnce = false } = {}): Promise<void> {
    const taken = (kind: object = {}): Promise<number> =>
      other.metric('stigmesh_mesh_statements_received_total', { ...kind, outcome: 'accepted' });
    for (let isHeard = false; !isHeard; ) {
      const [all, gossiped] = [await taken(), await taken({ kind: 'gossip' })];
      const { id } = await this.assert(`gossip-${randomUUID()}`, { scope: 'public' });
      await until(async () => (await other.get(id)) !== undefined, `${other.name} has what ${this.name} said`);
      // It is counted, by the way it came, a moment after it is there.
      await until(async () => (await taken()) > all, 'it is counted');
      isHeard = (await taken({ kind: 'gossip' })) > gossiped;
      if (isOnce && !isHeard) throw new Error(`${other.name} heard ${this.name}, but not by gossip`);
    }
    if (!isOnce)
      await until(() => other.mesh.data.figures().queues.gossip_checks === 0, 'nothing is under examination');
  }

  async audit(type: string): Promise<readonly AuditEntry[]> {
    const { entries } = await this.node.audit.list(who, { type, limit: 1000 });
    return entries;
  }

  /** Codes in the audit log, of one type. */
  async audited(type: string): Promise<Set<unknown>> {
    return new Set((await this.audit(type)).map(({ detail }) => detail?.code));
  }

  /** Value of a counter of the mesh; the sum over all labels that are not named. */
  async metric(name: string, labels: Readonly<Record<string, string>> = {}): Promise<number> {
    const found = (await this.registry.getMetricsAsJSON()).find((one) => one.name === name);
    const values = (found?.values ?? []) as { value: number; labels: Record<string, string> }[];
    const isNamed = (has: Record<string, string>): boolean =>
      Object.entries(labels).every(([label, value]) => has[label] === value);
    return values.filter((one) => isNamed(one.labels)).reduce((sum, { value }) => sum + value, 0);
  }
}

export function peerIdOf(key: KeyObject): string {
  return peerIdFromPublicKey(rawPublicKey(key));
}

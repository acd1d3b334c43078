import { createHash } from 'node:crypto';
import type { Libp2p, PeerInfo } from '@libp2p/interface';
import { type KadDHT, type KadDHTComponents, kadDHT, passthroughMapper } from '@libp2p/kad-dht';
import { mdns } from '@libp2p/mdns';
import { CID } from 'multiformats/cid';
import * as Digest from 'multiformats/hashes/digest';
import { peerIdOf, withoutPeerId } from '../addresses.ts';
import type { Discovery, FoundPeer } from '../discovery.ts';
import { isMeshError, MeshError } from '../errors.ts';
import {
  BOOTSTRAP_LONGEST_MS,
  BOOTSTRAP_RETRY_MS,
  FIND_TIMEOUT_MS,
  MAX_BOOTSTRAP,
  MAX_DIAL_ADDRESSES,
  MAX_FOUND_PEERS,
  MAX_PROVIDED,
  MAX_REMEMBERED_FOUND,
  PROVIDE_AGAIN_MS,
  PROVIDE_RETRY_MS,
  PROVIDED_FOR_MS,
} from '../limits.ts';
import { jittered } from '../timers.ts';
import type { MeshWorld } from '../world.ts';
import { plainAddress } from './addresses.ts';
import { AdmissionGate } from './admission.ts';

const DHT_PROTOCOL = '/stigmesh/kad/1.0.0';
const MDNS_SERVICE = '_stigmesh._udp.local';
/** Multicodec `raw` and `sha2-256`: how a digest becomes a key of the hash table. */
const RAW = 0x55;
const SHA2_256 = 0x12;

export interface DiscoveryInit {
  /** Multiaddrs with `/p2p/<peer id>`: dialled at the start, and again while they are not connected. */
  readonly bootstrap: readonly string[];
  /** Whether to look, and be seen, on the local network. */
  readonly mdns: boolean;
  /** The distributed hash table; null: without. */
  readonly dht: {
    /** Peers it is shared with: who may ask us, and enter our table. */
    readonly admits: (peerId: string) => boolean;
    /** Whether what it says may send us to addresses of private networks and of this machine. */
    readonly dialsPrivate: boolean;
  } | null;
}

/** Bootstrap peers, multicast DNS, and a Kademlia table of our own under a private protocol. */
export class Libp2pDiscovery implements Discovery {
  /** Null without a hash table. */
  readonly gate: AdmissionGate | null;
  readonly #world: MeshWorld;
  readonly #self: string;
  readonly #dial: (peerId: string, addrs: readonly string[]) => Promise<unknown>;
  readonly #isConnected: (peerId: string) => boolean;
  readonly #init: DiscoveryInit;
  readonly #bootstrap: readonly FoundPeer[];
  #dht: KadDHT | null = null;
  #found: (peer: FoundPeer) => void = () => {};
  /** Who was told of already, by which means and where. */
  readonly #told = new Map<string, string>();
  readonly #provided = new Map<string, unknown>();
  readonly #stopped = new AbortController();
  readonly #timers = new Set<unknown>();
  #isRunning = false;

  /** @throws MeshError `invalid_address` */
  constructor(
    components: {
      world: MeshWorld;
      self: string;
      dial: (peerId: string, addrs: readonly string[]) => Promise<unknown>;
      isConnected: (peerId: string) => boolean;
    },
    init: DiscoveryInit,
  ) {
    this.#world = components.world;
    this.#self = components.self;
    this.#dial = components.dial;
    this.#isConnected = components.isConnected;
    this.#init = init;
    this.#bootstrap = init.bootstrap.slice(0, MAX_BOOTSTRAP).map(bootstrapPeer);
    this.gate = init.dht && new AdmissionGate(init.dht.admits);
  }

  onFound(found: (peer: FoundPeer) => void): void {
    this.#found = found;
  }

  async provide(authority: string): Promise<void> {
    if (this.#provided.has(authority)) return;
    if (this.#provided.size >= MAX_PROVIDED) {
      const hint = 'a node provides the names of its own organisation only';
      throw new MeshError('limit_reached', `${MAX_PROVIDED} names are provided already`, hint);
    }
    this.#provided.set(authority, null);
    if (this.#isRunning) this.#offer(authority);
  }

  async find(authority: string, signal?: AbortSignal): Promise<readonly FoundPeer[]> {
    signal?.throwIfAborted();
    const dht = this.#dht;
    if (!dht || !this.#isRunning) return [];
    const controller = new AbortController();
    const end = (): void => controller.abort();
    const timer = this.#world.setTimeout(end, FIND_TIMEOUT_MS);
    signal?.addEventListener('abort', end, { once: true });
    this.#stopped.signal.addEventListener('abort', end, { once: true });
    const found = new Map<string, FoundPeer>();
    try {
      for await (const event of dht.findProviders(rendezvous(authority), { signal: controller.signal })) {
        if (event.name !== 'PROVIDER') continue;
        for (const info of event.providers) this.#collect(found, info);
        if (found.size >= MAX_FOUND_PEERS) break;
      }
    } catch (error) {
      // Out of time, or nobody to ask: what was found until then is the answer.
      if (signal?.aborted) throw signal.reason;
      if (!controller.signal.aborted && !isNobodyToAsk(error)) throw error;
    } finally {
      this.#world.clearTimeout(timer);
      signal?.removeEventListener('abort', end);
      this.#stopped.signal.removeEventListener('abort', end);
    }
    const peers = [...found.values()];
    for (const peer of peers) this.#tell(peer);
    return peers;
  }

  /** Modules for libp2p to run: what discovers by itself. */
  modules(): ReturnType<typeof mdns>[] {
    if (!this.#init.mdns) return [];
    const create = mdns({ serviceTag: MDNS_SERVICE });
    return [
      (components) => {
        const module = create(components);
        module.addEventListener('peer', ({ detail }) => this.#heard(detail, 'mdns'));
        return module;
      },
    ];
  }

  /** The hash table as a service for libp2p to run. Only where `gate` is. */
  service(components: KadDHTComponents): KadDHT {
    const create = kadDHT({
      protocol: DHT_PROTOCOL,
      // The defaults are for the public network: nodes without a public address would serve nobody.
      clientMode: false,
      peerInfoMapper: passthroughMapper,
      allowQueryWithZeroPeers: true,
      // Whoever may put values can fill our memory; nobody of us does. `pk` is the one kind accepted by default.
      validators: { pk: refuseValue },
      // Only tidies up here: our own names are offered again by ourselves.
      reprovide: { interval: PROVIDE_AGAIN_MS, validity: PROVIDED_FOR_MS, threshold: 0 },
    });
    const peerStore = withoutTags(components.peerStore);
    const dht = create(this.gate!.components(components, { peerStore }));
    this.#dht = dht;
    return dht;
  }

  follow(host: Libp2p): void {
    this.gate?.follow(host);
  }

  /** Once the host runs. */
  start(): void {
    this.#isRunning = true;
    for (const peer of this.#bootstrap) {
      this.#tell(peer);
      this.#reach(peer);
    }
    for (const authority of this.#provided.keys()) this.#offer(authority);
  }

  /** Before the host stops. */
  stop(): void {
    this.#isRunning = false;
    this.#stopped.abort();
    for (const timer of this.#timers) this.#world.clearTimeout(timer);
    this.#timers.clear();
  }

  #later(ms: number, run: () => void): void {
    // What was under way at a stop ends after it.
    if (!this.#isRunning) return;
    const timer = this.#world.setTimeout(
      () => {
        this.#timers.delete(timer);
        run();
      },
      jittered(this.#world, ms),
    );
    this.#timers.add(timer);
  }

  /** Dials a bootstrap peer, and again while it is not connected, less and less often: without it nobody can be asked. */
  #reach(peer: FoundPeer, pause = BOOTSTRAP_RETRY_MS): void {
    if (this.#isConnected(peer.peerId)) {
      this.#later(BOOTSTRAP_RETRY_MS, () => this.#reach(peer));
      return;
    }
    const again = (): void => this.#later(pause, () => this.#reach(peer, Math.min(2 * pause, BOOTSTRAP_LONGEST_MS)));
    this.#dial(peer.peerId, peer.addrs).then(again, again);
  }

  /** Tells the peers nearest to a name's key that we provide it, until some took it, and then from time to time. */
  #offer(authority: string): void {
    void this.#announce(authority).then((taken) =>
      this.#later(taken > 0 ? PROVIDE_AGAIN_MS : PROVIDE_RETRY_MS, () => this.#offer(authority)),
    );
  }

  async #announce(authority: string): Promise<number> {
    if (!this.#dht) return 0;
    const controller = new AbortController();
    const end = (): void => controller.abort();
    const timer = this.#world.setTimeout(end, FIND_TIMEOUT_MS);
    this.#stopped.signal.addEventListener('abort', end, { once: true });
    let taken = 0;
    try {
      for await (const event of this.#dht.provide(rendezvous(authority), { signal: controller.signal })) {
        if (event.name === 'PEER_RESPONSE' && event.messageName === 'ADD_PROVIDER') taken++;
      }
    } catch {
      // Counts as taken by those who took it before.
    } finally {
      this.#world.clearTimeout(timer);
      this.#stopped.signal.removeEventListener('abort', end);
    }
    return taken;
  }

  #collect(found: Map<string, FoundPeer>, info: PeerInfo): void {
    const peer = foundPeer(info, 'dht');
    if (peer && peer.peerId !== this.#self && found.size < MAX_FOUND_PEERS) found.set(peer.peerId, peer);
  }

  #heard(info: PeerInfo, via: FoundPeer['via']): void {
    const peer = foundPeer(info, via);
    if (peer && peer.peerId !== this.#self && this.#isRunning) this.#tell(peer);
  }

  /** Tells of a peer, once as long as nothing changes: others decide how often they are heard. */
  #tell(peer: FoundPeer): void {
    const what = `${peer.via} ${[...peer.addrs].sort().join(' ')}`;
    if (this.#told.get(peer.peerId) === what) return;
    this.#told.delete(peer.peerId);
    this.#told.set(peer.peerId, what);
    if (this.#told.size > MAX_REMEMBERED_FOUND) this.#told.delete(this.#told.keys().next().value!);
    this.#found(peer);
  }
}

/** The key under which an organisation's daemons are found. Nothing that is said of it can be told from the digest. */
export function rendezvous(authority: string): CID {
  const digest = createHash('sha256').update(`stigmesh/org/${authority}`).digest();
  return CID.createV1(RAW, Digest.create(SHA2_256, digest));
}

function bootstrapPeer(text: string): FoundPeer {
  const peerId = peerIdOf(text);
  if (!peerId) {
    const hint = 'write the peer id behind it: /dns4/node.example/tcp/4701/p2p/12D3KooW…';
    throw new MeshError('invalid_address', `not the address of a bootstrap peer: ${text.slice(0, 100)}`, hint);
  }
  return { peerId, addrs: [withoutPeerId(text)], via: 'bootstrap' };
}

/** What others say of a peer, as far as it makes sense to us. */
function foundPeer({ id, multiaddrs }: PeerInfo, via: FoundPeer['via']): FoundPeer | undefined {
  const addrs = new Set(multiaddrs.map(plainAddress).filter((text) => peerIdOf(text) === null));
  if (id.type !== 'Ed25519' || addrs.size === 0) return undefined;
  return { peerId: id.toString(), addrs: [...addrs].slice(0, MAX_DIAL_ADDRESSES), via };
}

async function refuseValue(): Promise<void> {
  throw new Error('values are not kept here');
}

/** The peer store without tags: the hash table tags its neighbours, and libp2p would keep them connected behind our back. */
function withoutTags<T extends KadDHTComponents['peerStore']>(store: T): T {
  return new Proxy(store, {
    get: (target, name) => {
      const member = Reflect.get(target, name) as unknown;
      if (typeof member !== 'function') return member;
      if (name !== 'merge' && name !== 'patch' && name !== 'save') return member.bind(target);
      return (id: unknown, { tags: _, ...data }: { tags?: unknown }, ...rest: unknown[]) =>
        member.call(target, id, data, ...rest);
    },
  });
}

function isNobodyToAsk(error: unknown): boolean {
  return (
    isMeshError(error, 'transport_stopped') ||
    (error instanceof Error && /QueryAborted|NotFound|NoPeers/.test(error.name))
  );
}

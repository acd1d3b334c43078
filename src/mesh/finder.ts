import { fingerprint } from '../identity/fingerprint.ts';
import type { OrgManifest } from '../identity/manifest.ts';
import type { DiscoveredPeer, PeerRecord } from '../node/federation.ts';
import type { ManifestService, PeerService } from '../node/mesh-services.ts';
import { dialable, type ResolveName, reachFound } from './addresses.ts';
import {
  DISCOVER_MS,
  MAX_LOOKS,
  MAX_PARALLEL_LOOKS,
  MAX_REMEMBERED_FINDS,
  MAX_SEARCHES,
  SEARCH_INTERVAL_MS,
} from './control-limits.ts';
import type { Discovery, FoundPeer } from './discovery.ts';
import type { Peering } from './peering.ts';
import type { Registrar } from './registrar.ts';
import { activeAt, type Supervisor } from './supervisor.ts';
import { delay, jittered } from './timers.ts';
import type { Transport } from './transport.ts';
import type { MeshLog } from './types.ts';
import type { MeshWorld } from './world.ts';

export interface FinderComponents {
  /** Null: neither DHT, mDNS nor bootstrap peers. */
  readonly discovery: Discovery | null;
  readonly transport: Transport;
  readonly peering: Peering;
  readonly registrar: Registrar;
  readonly supervisor: Supervisor;
  readonly peers: PeerService;
  readonly manifests: ManifestService;
  readonly world: MeshWorld;
  readonly resolve: ResolveName;
  readonly log: MeshLog;
}

/** What discovery is used for: ways to peers that are declared, and names of strangers for an operator to look at. */
export class Finder {
  readonly #components: FinderComponents;
  readonly #org: string;
  readonly #finds = new Map<string, FoundPeer>();
  /** Unix ms at which an organisation was looked for last. */
  readonly #searched = new Map<string, number>();
  readonly #stopping = new AbortController();
  #round: Promise<void> | undefined;
  #timer: unknown;

  /** @param init.org authority of our organisation */
  constructor(components: FinderComponents, init: { readonly org: string }) {
    this.#components = components;
    this.#org = init.org;
  }

  /** Listens to what is found; before the transport starts. */
  attach(): void {
    this.#components.discovery?.onFound((peer) => this.#found(peer));
  }

  /** Lets others find us, and looks for declared peers that are out of reach; once the transport runs. */
  async start(): Promise<void> {
    const { discovery, log } = this.#components;
    if (discovery === null) return;
    this.#schedule();
    await discovery.provide(this.#org).catch((error: Error) => {
      log.warn(
        { event: 'provide_failed', error: error.name },
        'others cannot find this daemon by the name of its organisation',
      );
    });
  }

  async stop(): Promise<void> {
    this.#stopping.abort();
    this.#components.world.clearTimeout(this.#timer);
    await this.#round;
  }

  /**
   * Who is there: declared peers, and what discovery found, now (for one organisation) or lately. Strangers are asked for
   * their manifest, which proves their organisation and its key, and nothing more: finding grants nothing.
   *
   * @param org only of this organisation
   */
  async discover(org: string | null): Promise<readonly DiscoveredPeer[]> {
    const { peers, world } = this.#components;
    const limit = new AbortController();
    const timer = world.setTimeout(() => limit.abort(), DISCOVER_MS);
    try {
      if (org !== null) await this.#search(org, limit.signal);
      const declared = peers.list().filter((record) => record.approved && (org === null || record.org === org));
      const known = new Set(declared.map(({ peerId }) => peerId));
      const strangers = [...this.#finds.values()].filter(({ peerId }) => !known.has(peerId)).reverse();
      const seen = await this.#lookAt(strangers.slice(0, MAX_LOOKS), limit.signal);
      if (org !== null) return [...declared.map(asDeclared), ...seen.filter((peer) => peer.org === org)];
      return [...declared.map(asDeclared), ...seen, ...strangers.slice(MAX_LOOKS).map(asFound)];
    } finally {
      world.clearTimeout(timer);
      limit.abort();
    }
  }

  #found(peer: FoundPeer): void {
    this.#finds.delete(peer.peerId);
    this.#finds.set(peer.peerId, peer);
    if (this.#finds.size > MAX_REMEMBERED_FINDS) {
      const oldest = this.#finds.keys().next();
      if (!oldest.done) this.#finds.delete(oldest.value);
    }
    this.#components.supervisor.found(peer);
  }

  #schedule(): void {
    const { world } = this.#components;
    this.#timer = world.setTimeout(
      () => {
        this.#round = this.#searchRound().finally(() => {
          if (!this.#stopping.signal.aborted) this.#schedule();
        });
      },
      jittered(world, SEARCH_INTERVAL_MS),
    );
  }

  async #searchRound(): Promise<void> {
    for (const org of this.#missing()) {
      if (this.#stopping.signal.aborted) return;
      await this.#search(org, this.#stopping.signal);
    }
  }

  /** Organisations of which somebody who should be connected is not; ours, if another daemon of it was never seen. */
  #missing(): string[] {
    const { peers, peering, registrar } = this.#components;
    const missing = new Set<string>();
    for (const { approved, state, org, peerId } of peers.list()) {
      if (approved && state !== 'suspended' && org !== null && !peering.admits(peerId)) missing.add(org);
    }
    const siblings = registrar.manifest.nodes.filter(({ peer_id }) => registrar.isSibling(peer_id));
    if (siblings.some(({ peer_id }) => !peering.admits(peer_id))) missing.add(this.#org);
    const last = (org: string): number => this.#searched.get(org) ?? 0;
    for (const org of this.#searched.keys()) if (!missing.has(org)) this.#searched.delete(org);
    return [...missing].sort((a, b) => last(a) - last(b)).slice(0, MAX_SEARCHES);
  }

  async #search(org: string, signal: AbortSignal): Promise<void> {
    const { discovery, world, log } = this.#components;
    if (discovery === null) return;
    this.#searched.set(org, world.now());
    try {
      for (const peer of await discovery.find(org, signal)) this.#found(peer);
    } catch (error) {
      if (signal.aborted) return;
      log.debug({ event: 'search_failed', org, error: (error as Error).name }, 'a search for peers failed');
    }
  }

  async #lookAt(found: readonly FoundPeer[], signal: AbortSignal): Promise<DiscoveredPeer[]> {
    const seen: DiscoveredPeer[] = [];
    const waiting = found.values();
    const worker = async (): Promise<void> => {
      for (const peer of waiting) {
        const manifest = signal.aborted ? null : await this.#look(peer, signal);
        const shown = manifest && { org: manifest.authority, fingerprint: manifest.key_id };
        seen.push({ ...asFound(peer), ...shown });
      }
    };
    await Promise.all(Array.from({ length: MAX_PARALLEL_LOOKS }, worker));
    return seen;
  }

  /** Asks a stranger for its manifest, telling nothing but that we ask. */
  async #look({ peerId, addrs, via }: FoundPeer, signal: AbortSignal): Promise<OrgManifest | null> {
    const { transport, peering, resolve, world, log } = this.#components;
    const release = peering.hold(peerId);
    const wasConnected = peering.isConnected(peerId);
    const looked = async (): Promise<OrgManifest | null> => {
      const allowed = reachFound(via, activeAt(transport, peering));
      const ways = await dialable(addrs, () => allowed, resolve);
      if (ways.addrs.length === 0 && !wasConnected) return null;
      await transport.dial(peerId, ways.addrs, signal);
      const { manifest } = await peering.exchange(peerId, { tell: () => null, accept: neverAccepts });
      return manifest;
    };
    try {
      const given = delay(world, DISCOVER_MS, signal).then(() => null);
      return await Promise.race([looked(), given]);
    } catch (error) {
      log.debug({ event: 'look_failed', peer_id: peerId, error: (error as Error).name }, 'a found peer said nothing');
      return null;
    } finally {
      release();
      if (!wasConnected && !peering.admits(peerId)) await transport.disconnect(peerId);
    }
  }
}

async function neverAccepts(): Promise<PeerRecord> {
  throw new Error('a look has no answer to accept');
}

function asFound({ peerId, addrs, via }: FoundPeer): DiscoveredPeer {
  return { peerId, addrs, via, org: null, fingerprint: null };
}

function asDeclared({ peerId, org, orgKey, addrs }: PeerRecord): DiscoveredPeer {
  const shown = orgKey === null ? null : fingerprint(Buffer.from(orgKey, 'base64url'));
  return { peerId, org, fingerprint: shown, addrs, via: 'declared' };
}

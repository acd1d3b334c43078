import type { Discovery, FoundPeer } from '../../src/mesh/discovery.ts';
import { MAX_FOUND_PEERS } from '../../src/mesh/limits.ts';
import type { SimNetwork } from './network.ts';
import type { SimTransport } from './transport.ts';

/** Round trips that a search in a distributed hash table takes. */
const HOPS = 3;

/** Finds whoever provides a name and can be reached, as if a table held by everybody were asked. */
export class SimDiscovery implements Discovery {
  readonly #network: SimNetwork;
  readonly #transport: SimTransport;
  #found: (peer: FoundPeer) => void = () => {};

  constructor(network: SimNetwork, transport: SimTransport) {
    this.#network = network;
    this.#transport = transport;
  }

  onFound(found: (peer: FoundPeer) => void): void {
    this.#found = found;
  }

  async provide(authority: string): Promise<void> {
    const providers = this.#network.rendezvous.get(authority) ?? new Map<string, SimTransport>();
    this.#network.rendezvous.set(authority, providers);
    providers.set(this.#transport.peerId, this.#transport);
  }

  async find(authority: string, signal?: AbortSignal): Promise<readonly FoundPeer[]> {
    signal?.throwIfAborted();
    const reachable = this.#network
      .others(this.#transport)
      .filter((node) => !this.#network.isBlocked(this.#transport, node));
    if (reachable.length === 0) return [];
    const wait = HOPS * this.#network.roundTrip(this.#transport, reachable[0]!);
    await new Promise<void>((resolve) => this.#transport.world.setTimeout(resolve, wait));
    signal?.throwIfAborted();
    const providers = this.#network.rendezvous.get(authority) ?? new Map<string, SimTransport>();
    const found = [...providers.values()]
      .filter((node) => node !== this.#transport && !this.#network.isBlocked(this.#transport, node))
      .slice(0, MAX_FOUND_PEERS)
      .map((node): FoundPeer => ({ peerId: node.peerId, addrs: node.addresses(), via: 'dht' }));
    for (const peer of found) this.#found(peer);
    return found;
  }

  /** Both hear of each other, as on one local network. */
  meet(other: SimDiscovery): void {
    for (const [one, two] of [
      [this, other],
      [other, this],
    ] as const) {
      one.#found({ peerId: two.#transport.peerId, addrs: two.#transport.addresses(), via: 'mdns' });
    }
  }
}

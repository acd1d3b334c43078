/** A peer that somebody says exists, at addresses that somebody says are its own. Nothing of it is proven. */
export interface FoundPeer {
  readonly peerId: string;
  /** Multiaddrs, at most `MAX_DIAL_ADDRESSES`. */
  readonly addrs: readonly string[];
  readonly via: 'bootstrap' | 'mdns' | 'dht';
}

/**
 * Ways to find peers that nobody told us the address of. Finding grants nothing: who is found is still a stranger. What
 * others can see of it is that somebody asks for an organisation's name, by the digest of that name.
 */
export interface Discovery {
  /** Called for every peer that is found, by whatever means, and again for a peer found anew. Set before `start`. */
  onFound(found: (peer: FoundPeer) => void): void;
  /**
   * Lets others find us under the name of an organisation, until the transport stops; renewed by itself.
   *
   * @param authority such as `acme.example`
   */
  provide(authority: string): Promise<void>;
  /**
   * Peers that provide the name of an organisation, ourselves excepted. Empty when nobody can be asked.
   *
   * @returns at most `MAX_FOUND_PEERS`
   */
  find(authority: string, signal?: AbortSignal): Promise<readonly FoundPeer[]>;
}

import type { ConnectionGater, MultiaddrConnection, PeerId } from '@libp2p/interface';
import type { Multiaddr } from '@multiformats/multiaddr';
import { hostOf, peerIdOf, reachOf } from '../addresses.ts';
import { MAX_HALF_OPEN_PER_HOST } from '../limits.ts';
import { plainAddress } from './addresses.ts';

/**
 * Decides who gets a connection at all, before any protocol is spoken: denied peers get none, one host cannot have all the
 * places of connections whose handshake is not done, and addresses that third parties told (the hash table) are dialled
 * only when they lead outside.
 */
export class Gater implements ConnectionGater {
  /** Set by the transport. */
  denied: (peerId: string) => boolean = () => false;
  readonly #dialsPrivate: boolean;
  /** Addresses that we were asked to dial ourselves, and how many dials are under way. */
  readonly #asked = new Map<string, number>();
  /** Connections of each host whose handshake is not done. */
  readonly #halfOpen = new Map<string, number>();
  readonly #handshaking = new Set<MultiaddrConnection>();
  #refused = 0;

  /** @param init.dialsPrivate whether addresses told by third parties may lead into private networks */
  constructor(init: { dialsPrivate: boolean }) {
    this.#dialsPrivate = init.dialsPrivate;
  }

  /** Inbound connections whose handshake is not done. */
  get halfOpen(): number {
    return this.#handshaking.size;
  }

  /** Inbound connections refused so far: too many of one host, or of a denied peer. */
  get refused(): number {
    return this.#refused;
  }

  /** Lets addresses be dialled, wherever they lead, while `dial` runs. */
  async asked<T>(addrs: readonly Multiaddr[], dial: () => Promise<T>): Promise<T> {
    const texts = addrs.map(plainAddress);
    for (const text of texts) this.#asked.set(text, (this.#asked.get(text) ?? 0) + 1);
    try {
      return await dial();
    } finally {
      for (const text of texts) {
        const left = this.#asked.get(text)! - 1;
        if (left === 0) this.#asked.delete(text);
        else this.#asked.set(text, left);
      }
    }
  }

  denyDialPeer(peerId: PeerId): boolean {
    return this.denied(peerId.toString());
  }

  denyDialMultiaddr(addr: Multiaddr): boolean {
    const text = plainAddress(addr);
    if (this.#asked.has(text)) return false;
    // Names are not dialled for third parties at all: what they lead to cannot be told beforehand.
    const reach = text.startsWith('/ip') ? reachOf(text) : 'never';
    return !(reach === 'public' || (this.#dialsPrivate && reach !== 'never'));
  }

  denyInboundConnection(connection: MultiaddrConnection): boolean {
    const host = hostOf(connection.remoteAddr.toString());
    const open = this.#halfOpen.get(host) ?? 0;
    if (open >= MAX_HALF_OPEN_PER_HOST) {
      this.#refused++;
      return true;
    }
    this.#halfOpen.set(host, open + 1);
    this.#handshaking.add(connection);
    connection.addEventListener('close', () => this.#handshakeOver(connection), { once: true });
    return false;
  }

  denyInboundEncryptedConnection(peerId: PeerId): boolean {
    const isDenied = this.denied(peerId.toString());
    if (isDenied) this.#refused++;
    return isDenied;
  }

  denyOutboundEncryptedConnection(peerId: PeerId): boolean {
    return this.denied(peerId.toString());
  }

  denyInboundUpgradedConnection(_peerId: PeerId, connection: MultiaddrConnection): boolean {
    this.#handshakeOver(connection);
    return false;
  }

  /** What others say of a peer's addresses is kept only if we could dial it. */
  filterMultiaddrForPeer(_peerId: PeerId, addr: Multiaddr): boolean {
    return peerIdOf(addr.toString()) !== undefined;
  }

  #handshakeOver(connection: MultiaddrConnection): void {
    if (!this.#handshaking.delete(connection)) return;
    const host = hostOf(connection.remoteAddr.toString());
    const left = this.#halfOpen.get(host)! - 1;
    if (left === 0) this.#halfOpen.delete(host);
    else this.#halfOpen.set(host, left);
  }
}

import { createHash } from 'node:crypto';
import { crc32 } from 'node:zlib';
import { frameTooLarge, transportStopped } from '../../src/mesh/errors.ts';
import { GRAYLIST_SCORE, MAX_GOSSIP_BYTES } from '../../src/mesh/limits.ts';
import type { Gossip, GossipVerdict } from '../../src/mesh/transport.ts';
import type { Random } from '../support/random.ts';
import type { SimConnectionEnd } from './connection.ts';
import type { SimNetwork } from './network.ts';
import type { SimTransport } from './transport.ts';
import type { SimWorld } from './world.ts';

/** As gossipsub: how many peers a message is passed on to, and for how long it is known again. */
const DEGREE = 8;
const SEEN_MS = 120_000;

/** The topic as one node takes part in it. Messages may be lost, doubled and overtaken, as the network's terms say. */
export class SimGossip implements Gossip {
  readonly #network: SimNetwork;
  readonly #world: SimWorld;
  readonly #transport: SimTransport;
  readonly #random: Random;
  readonly #seen = new Map<string, number>();
  #consume: ((data: Uint8Array, from: string) => Promise<GossipVerdict>) | null = null;
  #admits: (peerId: string) => boolean = () => false;
  #score: (peerId: string) => number = () => 0;

  constructor(components: { network: SimNetwork; world: SimWorld }, transport: SimTransport) {
    this.#network = components.network;
    this.#world = components.world;
    this.#transport = transport;
    this.#random = components.network.random(`gossip/${transport.name}`);
  }

  async publish(data: Uint8Array): Promise<number> {
    if (data.length > MAX_GOSSIP_BYTES) throw frameTooLarge(data.length, MAX_GOSSIP_BYTES);
    if (!this.#transport.isRunning) throw transportStopped();
    this.#isNew(data);
    const ends = this.#listeners();
    for (const end of ends) this.#send(end, data);
    return ends.length;
  }

  onMessage(
    consume: (data: Uint8Array, from: string) => Promise<GossipVerdict>,
    admits: (peerId: string) => boolean,
  ): void {
    this.#consume = consume;
    this.#admits = admits;
  }

  setScorer(score: (peerId: string) => number): void {
    this.#score = score;
  }

  async #receive(data: Uint8Array, from: string): Promise<void> {
    if (!this.#consume || !this.#listensTo(from) || !this.#isNew(data)) return;
    const verdict = await this.#consume(data, from).catch(() => 'ignore' as const);
    if (verdict !== 'accept' || !this.#transport.isRunning) return;
    const ends = this.#listeners().filter(({ peerId }) => peerId !== from);
    while (ends.length > DEGREE) ends.splice(this.#random.below(ends.length), 1);
    for (const end of ends) this.#send(end, data);
  }

  /** One connection to each peer that we do not shun. */
  #listeners(): SimConnectionEnd[] {
    const ends = new Map(this.#transport.connections().map((end) => [end.peerId, end]));
    return [...ends.values()].filter(({ peerId }) => this.#listensTo(peerId));
  }

  #listensTo(peerId: string): boolean {
    return this.#admits(peerId) && this.#score(peerId) >= GRAYLIST_SCORE;
  }

  #send(end: SimConnectionEnd, data: Uint8Array): void {
    const path = this.#network.path(this.#transport, end.remote);
    const { gossipLoss, gossipDuplicates, gossipReorderMs } = path.terms;
    const copies = path.random.next() < gossipLoss ? 0 : path.random.next() < gossipDuplicates ? 2 : 1;
    const copy = new Uint8Array(data);
    for (let n = 0; n < copies; n++) {
      const delay = path.delay(data.length) + path.random.next() * gossipReorderMs;
      this.#network.schedule(path.name, `gossip ${data.length} ${crc32(data).toString(16)}`, delay, () => {
        const { remote } = end;
        if (end.isOpen && remote.isRunning && !end.isBlocked) void remote.gossip.#receive(copy, this.#transport.peerId);
      });
    }
  }

  #isNew(data: Uint8Array): boolean {
    const now = this.#world.now();
    for (const [id, at] of this.#seen) {
      if (now - at < SEEN_MS) break;
      this.#seen.delete(id);
    }
    const id = createHash('sha256').update(data).digest('base64');
    if (this.#seen.has(id)) return false;
    this.#seen.set(id, now);
    return true;
  }
}

import type { PeerRecord } from '../node/federation.ts';
import type { PeerService } from '../node/mesh-services.ts';
import {
  allowedOnRecord,
  dialable,
  furthest,
  isWithin,
  type Reach,
  type ResolveName,
  reachFound,
  withoutPeerId,
} from './addresses.ts';
import { MAX_FOUND_ADDRESSES, MAX_PARALLEL_DIALS, RECONNECT_FIRST_MS, RECONNECT_LONGEST_MS } from './control-limits.ts';
import type { FoundPeer } from './discovery.ts';
import { MeshError } from './errors.ts';
import type { Transport } from './transport.ts';
import type { MeshLog, PeeringView } from './types.ts';
import type { MeshWorld } from './world.ts';

export interface SupervisorComponents {
  readonly transport: Pick<Transport, 'dial' | 'connections'>;
  readonly peers: PeerService;
  readonly peering: PeeringView;
  readonly world: MeshWorld;
  readonly resolve: ResolveName;
  readonly log: MeshLog;
  /** Whether a peer without a record may be dialled: a daemon of our own organisation. */
  readonly isSibling: (peerId: string) => boolean;
}

/** A peer that should be connected and is not. */
interface Target {
  readonly peerId: string;
  /** Attempts since it was last active. */
  attempts: number;
  lastAttemptAt: number;
  /** Addresses that discovery found, and how far inside each may lead. */
  found: ReadonlyMap<string, Reach>;
  state: 'waiting' | 'queued' | 'dialling';
  timer: unknown;
  readonly abandon: AbortController;
}

/**
 * Keeps declared peers connected: whoever should be active and is not is dialled, again and again, with pauses that grow
 * and differ by chance. A connection is no success yet; that a peer became active is.
 */
export class Supervisor {
  readonly #components: SupervisorComponents;
  readonly #targets = new Map<string, Target>();
  readonly #queue: Target[] = [];
  readonly #dialling = new Set<Promise<void>>();
  #endings: (() => void)[] = [];
  #isRunning = false;

  constructor(components: SupervisorComponents) {
    this.#components = components;
  }

  /** Peers that are waited for or dialled at the moment. */
  get targets(): number {
    return this.#targets.size;
  }

  start(): void {
    const { peers, peering } = this.#components;
    this.#isRunning = true;
    this.#endings = [
      peers.on({
        changed: ({ peer, before }) => this.#changed(peer, before),
        dropped: (peerId) => this.#forget(peerId),
      }),
      peering.on({
        active: ({ peerId }) => this.#forget(peerId),
        inactive: (peerId) => this.#consider(peerId, 'later'),
      }),
    ];
    for (const { peerId } of peers.list()) this.#consider(peerId, 'now');
  }

  /** Ends every attempt and waits for those under way. */
  async stop(): Promise<void> {
    this.#isRunning = false;
    for (const end of this.#endings) end();
    this.#endings = [];
    for (const peerId of [...this.#targets.keys()]) this.#forget(peerId);
    await Promise.all(this.#dialling);
  }

  /** A way to a peer was found. Of use only for peers that are declared anyway: finding grants nothing. */
  found({ peerId, addrs, via }: FoundPeer): void {
    const target = this.#consider(peerId, 'later');
    if (!target) return;
    const allowed = this.#believes(peerId, via);
    const fresh = addrs.map(withoutPeerId).filter((addr) => !target.found.has(addr));
    if (fresh.length === 0) return;
    const all = [...fresh.map((addr): [string, Reach] => [addr, allowed]), ...target.found];
    target.found = new Map(all.slice(0, MAX_FOUND_ADDRESSES));
    this.#soon(target);
  }

  #believes(peerId: string, via: FoundPeer['via']): Reach {
    const { peers, transport, peering } = this.#components;
    const found = reachFound(via, activeAt(transport, peering));
    const onRecord = furthest(peers.get(peerId)?.addrs ?? []);
    return isWithin(found, onRecord) ? onRecord : found;
  }

  #changed(peer: PeerRecord, before: PeerRecord | undefined): void {
    if (!this.#isWanted(peer.peerId)) {
      this.#forget(peer.peerId);
      return;
    }
    const isNew = !before || !isEligible(before, this.#components.world.now());
    const target = this.#consider(peer.peerId, isNew ? 'now' : 'later');
    if (!target || isNew || peer.addrs.join() === before.addrs.join()) return;
    target.attempts = 0;
    this.#soon(target);
  }

  #isWanted(peerId: string): boolean {
    const { peers, peering, isSibling, world } = this.#components;
    if (!this.#isRunning || peering.admits(peerId)) return false;
    const record = peers.get(peerId);
    return record ? isEligible(record, world.now()) : isSibling(peerId);
  }

  /** Makes sure that a wanted peer is on the list. @returns its place, if it is wanted */
  #consider(peerId: string, when: 'now' | 'later'): Target | undefined {
    if (!this.#isWanted(peerId)) return;
    const known = this.#targets.get(peerId);
    if (known) return known;
    const target: Target = {
      peerId,
      attempts: 0,
      lastAttemptAt: Number.NEGATIVE_INFINITY,
      found: new Map(),
      state: 'waiting',
      timer: undefined,
      abandon: new AbortController(),
    };
    this.#targets.set(peerId, target);
    if (when === 'now') this.#enqueue(target);
    else this.#wait(target, this.#pause(target));
    return target;
  }

  #forget(peerId: string): void {
    const target = this.#targets.get(peerId);
    if (!target) return;
    this.#targets.delete(peerId);
    this.#components.world.clearTimeout(target.timer);
    const at = this.#queue.indexOf(target);
    if (at >= 0) this.#queue.splice(at, 1);
    target.abandon.abort();
  }

  /** Tries at once, but never twice within the shortest pause: news can come in floods. */
  #soon(target: Target): void {
    if (target.state !== 'waiting') return;
    // A clock that was set back must not make this a wait for as long as it was set back.
    const since = Math.max(0, this.#components.world.now() - target.lastAttemptAt);
    if (since >= RECONNECT_FIRST_MS) this.#enqueue(target);
    else this.#wait(target, RECONNECT_FIRST_MS - since);
  }

  #wait(target: Target, ms: number): void {
    const { world } = this.#components;
    world.clearTimeout(target.timer);
    target.state = 'waiting';
    target.timer = world.setTimeout(() => this.#enqueue(target), ms);
  }

  /** Up to twice a base that doubles with each attempt, so that nobody stays in step with anybody. */
  #pause({ attempts }: Target): number {
    const base = RECONNECT_FIRST_MS * 2 ** Math.min(Math.max(0, attempts - 1), 20);
    return Math.min(RECONNECT_LONGEST_MS / 2, base) * (1 + this.#components.world.random());
  }

  #enqueue(target: Target): void {
    this.#components.world.clearTimeout(target.timer);
    target.state = 'queued';
    this.#queue.push(target);
    this.#next();
  }

  #next(): void {
    while (this.#dialling.size < MAX_PARALLEL_DIALS) {
      const target = this.#queue.shift();
      if (!target) return;
      const dial = this.#dial(target).finally(() => {
        this.#dialling.delete(dial);
        this.#next();
      });
      this.#dialling.add(dial);
    }
  }

  async #dial(target: Target): Promise<void> {
    const { transport, peers, resolve, world, log } = this.#components;
    const { peerId, found, abandon } = target;
    target.state = 'dialling';
    target.lastAttemptAt = world.now();
    const recorded = peers.get(peerId)?.addrs ?? [];
    try {
      const allowed = allowedOnRecord(recorded);
      const ways = Promise.all([
        dialable(recorded, allowed, resolve),
        dialable([...found.keys()], (addr) => found.get(addr)!, resolve),
      ]);
      // Names cannot be given up, and without a network each takes as long as it likes.
      const [onRecord, discovered] = await orAborted(ways, abandon.signal);
      const addrs = [...new Set([...onRecord.addrs, ...discovered.addrs])];
      if (addrs.length > 0) await transport.dial(peerId, addrs, abandon.signal);
    } catch (error) {
      const code = error instanceof MeshError ? error.code : 'internal_error';
      if (!abandon.signal.aborted) {
        log.debug(
          { event: 'dial_failed', peer_id: peerId, code, attempts: target.attempts + 1 },
          'a peer is out of reach',
        );
      }
    }
    target.attempts += 1;
    // It becomes active, and is forgotten here, or it is tried again.
    if (this.#targets.get(peerId) === target) this.#wait(target, this.#pause(target));
  }
}

/** What comes of some work, unless the signal aborts first: then whatever comes of it is nobody's business. @throws signal.reason */
async function orAborted<T>(work: Promise<T>, signal: AbortSignal): Promise<T> {
  const { promise: aborted, reject } = Promise.withResolvers<never>();
  const abort = (): void => reject(signal.reason);
  signal.addEventListener('abort', abort, { once: true });
  try {
    return await Promise.race([work, aborted]);
  } finally {
    signal.removeEventListener('abort', abort);
  }
}

/** Where the active peers are, as their connections say. */
export function activeAt(transport: Pick<Transport, 'connections'>, peering: PeeringView): string[] {
  const active = transport.connections().filter(({ peerId }) => peering.admits(peerId));
  return active.map(({ remoteAddr }) => remoteAddr);
}

/** Whether our operator wants a peer connected; that its own declaration ran out is no reason not to ask for a new one. */
function isEligible({ approved, state, expiresAt }: PeerRecord, now: number): boolean {
  if (!approved || state === 'suspended' || state === 'revoked') return false;
  return expiresAt === null || expiresAt > now;
}

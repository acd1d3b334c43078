import type { WireStatement } from '../node/federation.ts';
import { isShared, type Pairing } from '../policy/sharing.ts';
import { BlockBuilder } from './block.ts';
import {
  MAX_HAVE_DIGESTS,
  MAX_SHARED_CACHE,
  OUTBOX_STEP,
  PUSH_REOPEN_MAX_MS,
  PUSH_REOPEN_MS,
  PUSH_WINDOW_BLOCKS,
  PUSH_WINDOW_BYTES,
} from './data-limits.ts';
import { protocolViolation } from './errors.ts';
import { isReachedByGossip } from './gossip-reach.ts';
import { type Outbox, type Outgoing, Wake } from './outbox.ts';
import {
  type Comparison,
  decodePushAnswer,
  encodeHave,
  encodeHeads,
  encodePushBlock,
  type HeadCounts,
  type Heads,
  PUSH,
} from './push-frames.ts';
import { haveChanged } from './terms.ts';
import { delay, jittered } from './timers.ts';
import type { FrameStream, Transport } from './transport.ts';
import type { PeeringView } from './types.ts';
import type { MeshWorld } from './world.ts';

export interface PushSenderComponents {
  readonly transport: Pick<Transport, 'open'>;
  readonly peering: Pick<PeeringView, 'pairing'>;
  readonly outbox: Outbox;
  readonly world: MeshWorld;
  /** Something was left out: only reconciliation can bring it. */
  readonly onGap: (peerId: string) => void;
  readonly onPushed: (statements: number) => void;
  /** How what the peer holds compares with what it was told. */
  readonly onCompared: (peerId: string, heads: Heads, result: Comparison, theirs: HeadCounts) => void;
  /** The other side answered against the protocol. */
  readonly onViolation: (peerId: string, error: unknown) => void;
}

/**
 * Pushes to one active peer, for as long as it is active: one stream, reopened when it fails. Statements made here go
 * whole, those of others as digests the peer may fetch. At most a few blocks are on their way at a time; while they are,
 * the rest waits in the outbox that all peers share.
 */
export class PushSender {
  readonly peerId: string;
  readonly #components: PushSenderComponents;
  readonly #stopped = new AbortController();
  readonly #wake = new Wake();
  #position: number;
  #heads: Heads | undefined;
  /** Heads that were sent and not compared yet. */
  #comparing: Heads | undefined;
  /** Sizes of the blocks that were sent and not taken yet. */
  #inFlight: number[] = [];
  #inFlightBytes = 0;
  /** Which sets are shared, as long as the terms are the same. */
  #shared: { readonly pairing: Pairing; readonly sets: Map<string, boolean> } | undefined;
  #isOpen = false;

  constructor(peerId: string, components: PushSenderComponents) {
    this.peerId = peerId;
    this.#components = components;
    // What was committed before it became active is a matter of the first reconciliation.
    this.#position = components.outbox.head;
  }

  /** Whether a stream is up. */
  get isOpen(): boolean {
    return this.#isOpen;
  }

  /** Entries of the outbox it has not looked at. */
  get behind(): number {
    return this.#components.outbox.head - this.#position;
  }

  get inFlightBytes(): number {
    return this.#inFlightBytes;
  }

  /** Tells the peer what is held here, unless it has not compared yet what it was told before. */
  tellHeads(heads: Heads): void {
    if (this.#comparing !== undefined) return;
    this.#heads = heads;
    this.#wake.wake();
  }

  /** Runs until {@link stop}; never rejects. */
  async run(): Promise<void> {
    const { outbox, world, transport, onGap } = this.#components;
    const { signal } = this.#stopped;
    const unfollow = outbox.follow(this.#wake);
    let pause = PUSH_REOPEN_MS;
    while (!signal.aborted) {
      const openedAt = world.now();
      const stream = await transport.open(this.peerId, PUSH).catch(() => undefined);
      if (stream) {
        await this.#use(stream);
        if (signal.aborted) break;
        // Blocks that were under way may have been lost with the stream.
        onGap(this.peerId);
        if (world.now() - openedAt > PUSH_REOPEN_MAX_MS) pause = PUSH_REOPEN_MS;
      }
      await delay(world, jittered(world, pause), signal);
      pause = Math.min(PUSH_REOPEN_MAX_MS, pause * 2);
    }
    unfollow();
  }

  stop(): void {
    this.#stopped.abort();
    this.#wake.wake();
  }

  async #use(stream: FrameStream): Promise<void> {
    const { signal } = this.#stopped;
    if (signal.aborted) {
      stream.abort(new Error('the peer is no longer active'));
      return;
    }
    let isOver = false;
    const end = (reason: unknown): void => {
      isOver = true;
      stream.abort(reason instanceof Error ? reason : new Error('the push ended'));
      this.#wake.wake();
    };
    const onStop = (): void => end(new Error('the peer is no longer active'));
    signal.addEventListener('abort', onStop, { once: true });
    this.#isOpen = true;
    this.#inFlight = [];
    this.#inFlightBytes = 0;
    this.#comparing = undefined;
    const answers = this.#readAnswers(stream).then(() => end(undefined), end);
    try {
      while (!isOver && !signal.aborted) {
        const sent = await this.#sendSome(stream);
        if (!sent && !isOver) await this.#wake.wait();
      }
    } catch (error) {
      end(error);
    }
    await answers;
    signal.removeEventListener('abort', onStop);
    this.#isOpen = false;
  }

  async #readAnswers(stream: FrameStream): Promise<void> {
    const { onCompared, onViolation } = this.#components;
    for (;;) {
      const frame = await stream.receive();
      if (frame === undefined) return;
      try {
        const answer = decodePushAnswer(frame);
        if (answer.type === 'compared') {
          const heads = this.#comparing;
          if (heads === undefined) throw protocolViolation('it compares heads it was not told');
          this.#comparing = undefined;
          onCompared(this.peerId, heads, answer.result, answer.counts);
        } else {
          if (answer.blocks > this.#inFlight.length) throw protocolViolation('it took more blocks than were sent');
          for (const size of this.#inFlight.splice(0, answer.blocks)) this.#inFlightBytes -= size;
        }
        this.#wake.wake();
      } catch (error) {
        onViolation(this.peerId, error);
        throw error;
      }
    }
  }

  /** Sends what there is to send at the moment. @returns whether there was anything */
  async #sendSome(stream: FrameStream): Promise<boolean> {
    if (this.#heads !== undefined) {
      const heads = this.#heads;
      this.#heads = undefined;
      this.#comparing = heads;
      await stream.send(encodeHeads(heads));
      return true;
    }
    if (this.#inFlight.length >= PUSH_WINDOW_BLOCKS || this.#inFlightBytes >= PUSH_WINDOW_BYTES) return false;
    const { block, digests, pairing } = this.#collect();
    if (digests.length > 0) {
      await stream.send(encodeHave(digests));
      // A slow reader may have had its terms narrowed since: what is still shared of the block, reconciliation brings.
      if (block.length > 0 && haveChanged(pairing, this.#components.peering.pairing(this.peerId))) {
        this.#components.onGap(this.peerId);
        return true;
      }
    }
    if (block.length > 0) {
      const frame = encodePushBlock(block);
      this.#inFlight.push(frame.length);
      this.#inFlightBytes += frame.length;
      await stream.send(frame);
      this.#components.onPushed(block.length);
    }
    // Also when nothing of it was for this peer: there may be more in the outbox.
    return block.length > 0 || digests.length > 0 || this.behind > 0;
  }

  /** Takes from the outbox what is for this peer, as much as one block holds. */
  #collect(): {
    readonly block: readonly WireStatement[];
    readonly digests: Uint8Array[];
    readonly pairing: Pairing | undefined;
  } {
    const { outbox, peering, onGap } = this.#components;
    if (this.#position < outbox.oldest) {
      // What fell out of the outbox is fetched by reconciliation, and all that is in it by now along with it.
      this.#position = outbox.head;
      onGap(this.peerId);
    }
    const pairing = peering.pairing(this.peerId);
    const builder = new BlockBuilder();
    const digests: Uint8Array[] = [];
    for (let step = 0; step < OUTBOX_STEP && digests.length < MAX_HAVE_DIGESTS; step++) {
      const entry = outbox.at(this.#position);
      if (entry === undefined) break;
      const isForPeer = pairing !== undefined && this.#isFor(entry, pairing);
      if (isForPeer && entry.statement && !builder.fits(entry.statement)) break;
      this.#position += 1;
      if (!isForPeer) continue;
      if (entry.statement) builder.add(entry.statement);
      else digests.push(entry.digest);
    }
    return { block: builder.take(), digests, pairing };
  }

  #isFor(entry: Outgoing, pairing: Pairing): boolean {
    if (entry.receivedFrom === this.peerId) return false;
    if (entry.gossiped && isReachedByGossip(pairing)) return false;
    if (this.#shared?.pairing !== pairing) this.#shared = { pairing, sets: new Map() };
    const { sets } = this.#shared;
    const known = sets.get(entry.set.name);
    if (known !== undefined) return known;
    const answer = isShared(entry.set, pairing);
    if (sets.size >= MAX_SHARED_CACHE) sets.clear();
    sets.set(entry.set.name, answer);
    return answer;
  }
}

import type { Connection, Stream } from '@libp2p/interface';
import type { Handler, Protocol } from '../transport.ts';
import type { MeshWorld } from '../world.ts';
import { Libp2pFrameStream } from './frames.ts';

/** One protocol that we serve: who is let in, how many streams at a time, and what runs on them. */
export class ServedProtocol {
  readonly protocol: Protocol;
  readonly #world: MeshWorld;
  readonly #handler: Handler;
  readonly #admits: (peerId: string) => boolean;
  /** Streams of each peer, over all its connections: until the handler is done and both directions are closed. */
  readonly #open = new Map<string, Set<Libp2pFrameStream>>();
  readonly #running = new Set<Promise<void>>();

  constructor(
    components: { world: MeshWorld; handler: Handler; admits: (peerId: string) => boolean },
    protocol: Protocol,
  ) {
    this.protocol = protocol;
    this.#world = components.world;
    this.#handler = components.handler;
    this.#admits = components.admits;
  }

  /** Streams that are open now. */
  get streams(): number {
    let count = 0;
    for (const streams of this.#open.values()) count += streams.size;
    return count;
  }

  /** Takes an inbound stream of libp2p, or resets it. */
  readonly accept = (stream: Stream, connection: Connection): void => {
    const peerId = connection.remotePeer.toString();
    const streams = this.#open.get(peerId) ?? new Set();
    if (!this.#admits(peerId) || streams.size >= this.protocol.maxInboundStreams) {
      stream.abort(new Error('not admitted'));
      return;
    }
    const frames = new Libp2pFrameStream({ stream, world: this.#world }, peerId, this.protocol);
    this.#open.set(peerId, streams);
    streams.add(frames);
    const run = this.#run(frames).finally(() => {
      this.#running.delete(run);
      streams.delete(frames);
      if (streams.size === 0 && this.#open.get(peerId) === streams) this.#open.delete(peerId);
    });
    this.#running.add(run);
  };

  /** Resets the streams of a peer that is not admitted any more. */
  recheck(peerId: string): void {
    if (this.#admits(peerId)) return;
    for (const stream of this.#open.get(peerId) ?? []) stream.abort(new Error('not admitted any more'));
  }

  /** Resets every stream; resolves when no handler runs any more. */
  async stop(): Promise<void> {
    for (const streams of this.#open.values()) {
      for (const stream of streams) stream.abort(new Error('this node is stopping'));
    }
    await Promise.all(this.#running);
  }

  async #run(frames: Libp2pFrameStream): Promise<void> {
    try {
      await this.#handler(frames);
      await frames.close();
    } catch (error) {
      frames.abort(error instanceof Error ? error : new Error(String(error)));
    }
    frames.discard();
    // The other side has as long to close its direction as it has for anything else.
    const timer = this.#world.setTimeout(
      () => frames.abort(new Error('the other side did not close it')),
      this.protocol.idleMs,
    );
    await frames.over;
    this.#world.clearTimeout(timer);
  }
}

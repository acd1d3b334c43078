import { frameTooLarge, type MeshError, streamClosed, streamTimeout } from '../../src/mesh/errors.ts';
import { SEND_BUFFER_BYTES } from '../../src/mesh/limits.ts';
import type { FrameStream, Protocol } from '../../src/mesh/transport.ts';
import type { MeshWorld } from '../../src/mesh/world.ts';

/** What one end of a stream says to the other. */
export type StreamMessage =
  | { readonly type: 'data'; readonly frame: Uint8Array }
  /** So many bytes were read: the sender may send as many again. */
  | { readonly type: 'credit'; readonly bytes: number }
  | { readonly type: 'fin' }
  | { readonly type: 'reset' };

interface Waiter {
  readonly resolve: (frame: Uint8Array | undefined) => void;
  readonly reject: (error: Error) => void;
  timer: unknown;
}

/**
 * One end of a simulated stream: reliable, in order, with a window as a muxer has. `transmit` hands a message to the
 * connection; `ended` is called once, when neither direction is open any more.
 */
export class SimStream implements FrameStream {
  readonly peerId: string;
  readonly protocol: string;
  readonly #terms: Protocol;
  readonly #world: MeshWorld;
  readonly #transmit: (message: StreamMessage) => void;
  readonly #ended: () => void;
  readonly #unread: Uint8Array[] = [];
  readonly #readers: Waiter[] = [];
  readonly #senders: { readonly resolve: () => void; readonly reject: (error: Error) => void; timer: unknown }[] = [];
  #unacknowledged = 0;
  #isClosedHere = false;
  #isClosedThere = false;
  #failure: MeshError | null = null;
  #isOver = false;
  #isDiscarding = false;

  constructor(components: {
    peerId: string;
    protocol: Protocol;
    world: MeshWorld;
    transmit: (message: StreamMessage) => void;
    ended: () => void;
  }) {
    this.peerId = components.peerId;
    this.protocol = components.protocol.id;
    this.#terms = components.protocol;
    this.#world = components.world;
    this.#transmit = components.transmit;
    this.#ended = components.ended;
  }

  /** Bytes received that nobody has read: what a test of back-pressure looks at. */
  get unreadBytes(): number {
    return this.#unread.reduce((sum, frame) => sum + frame.length, 0);
  }

  async send(frame: Uint8Array): Promise<void> {
    if (frame.length > this.#terms.maxFrame) throw frameTooLarge(frame.length, this.#terms.maxFrame);
    if (this.#failure) throw this.#failure;
    if (this.#isClosedHere) throw streamClosed('it was closed here');
    this.#unacknowledged += frame.length;
    this.#transmit({ type: 'data', frame: new Uint8Array(frame) });
    if (this.#unacknowledged < SEND_BUFFER_BYTES) return;
    await new Promise<void>((resolve, reject) => {
      const timer = this.#world.setTimeout(() => {
        const error = streamTimeout('the peer took nothing', this.#terms.idleMs);
        this.#fail(error, true);
      }, this.#terms.idleMs);
      this.#senders.push({ resolve, reject, timer });
    });
  }

  async receive(): Promise<Uint8Array | undefined> {
    const frame = this.#unread.shift();
    if (frame) {
      this.#transmit({ type: 'credit', bytes: frame.length });
      return frame;
    }
    if (this.#failure) throw this.#failure;
    if (this.#isClosedThere) return undefined;
    return new Promise((resolve, reject) => {
      const timer = this.#world.setTimeout(() => {
        this.#fail(streamTimeout('nothing arrived', this.#terms.idleMs), true);
      }, this.#terms.idleMs);
      this.#readers.push({ resolve, reject, timer });
    });
  }

  async close(): Promise<void> {
    if (this.#isClosedHere || this.#failure) return;
    this.#isClosedHere = true;
    this.#transmit({ type: 'fin' });
    this.#checkOver();
  }

  abort(reason: Error): void {
    this.#fail(streamClosed(reason.message, { cause: reason }), true);
  }

  /** Nobody reads any more: what still arrives is dropped, so that the other side can finish. */
  discard(): void {
    this.#isDiscarding = true;
    const bytes = this.unreadBytes;
    this.#unread.length = 0;
    if (bytes > 0) this.#transmit({ type: 'credit', bytes });
  }

  /** What the other end said. */
  take(message: StreamMessage): void {
    if (this.#failure) return;
    if (message.type === 'data') this.#takeFrame(message.frame);
    else if (message.type === 'credit') this.#takeCredit(message.bytes);
    else if (message.type === 'reset') this.lose('the other side reset it');
    else {
      this.#isClosedThere = true;
      for (const reader of this.#readers.splice(0)) {
        this.#world.clearTimeout(reader.timer);
        reader.resolve(undefined);
      }
      this.#checkOver();
    }
  }

  /** The other end or the connection is gone. */
  lose(why: string): void {
    this.#fail(streamClosed(why), false);
  }

  #takeFrame(frame: Uint8Array): void {
    // The real one refuses by the length prefix, before a byte of the frame has arrived.
    if (frame.length > this.#terms.maxFrame) {
      this.#fail(frameTooLarge(frame.length, this.#terms.maxFrame), true);
      return;
    }
    if (this.#isDiscarding) {
      this.#transmit({ type: 'credit', bytes: frame.length });
      return;
    }
    const reader = this.#readers.shift();
    if (!reader) {
      this.#unread.push(frame);
      return;
    }
    this.#world.clearTimeout(reader.timer);
    this.#transmit({ type: 'credit', bytes: frame.length });
    reader.resolve(frame);
  }

  #takeCredit(bytes: number): void {
    this.#unacknowledged -= bytes;
    if (this.#unacknowledged >= SEND_BUFFER_BYTES) return;
    for (const sender of this.#senders.splice(0)) {
      this.#world.clearTimeout(sender.timer);
      sender.resolve();
    }
    this.#checkOver();
  }

  #fail(error: MeshError, tell: boolean): void {
    if (this.#failure || this.#isOver) return;
    this.#failure = error;
    // What was received before a reset is lost, as with yamux.
    this.#unread.length = 0;
    if (tell) this.#transmit({ type: 'reset' });
    for (const waiting of [...this.#readers.splice(0), ...this.#senders.splice(0)]) {
      this.#world.clearTimeout(waiting.timer);
      waiting.reject(error);
    }
    this.#end();
  }

  #checkOver(): void {
    if (this.#isClosedHere && this.#isClosedThere && this.#senders.length === 0) this.#end();
  }

  #end(): void {
    if (this.#isOver) return;
    this.#isOver = true;
    this.#ended();
  }
}

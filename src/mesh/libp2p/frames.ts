import type { Stream, StreamCloseEvent, StreamMessageEvent } from '@libp2p/interface';
import { frameTooLarge, type MeshError, streamClosed, streamTimeout } from '../errors.ts';
import { SEND_BUFFER_BYTES, UNREAD_BYTES } from '../limits.ts';
import type { FrameStream, Protocol } from '../transport.ts';
import type { MeshWorld } from '../world.ts';
import { FrameAssembler, withPrefix } from './assembler.ts';

interface Waiter {
  readonly resolve: (frame: Uint8Array | undefined) => void;
  readonly reject: (error: Error) => void;
  readonly timer: unknown;
}

/**
 * Frames over a libp2p stream.
 *
 * What libp2p 3 leaves to its users: its streams hand over data whether anybody reads or not (so this one pauses them, and
 * the other side's window runs out); `onDrain()` waits only the first time (so the events are listened to); its async
 * iterator loses what is buffered when the other side closes while paused (so it is not used); and a connection that ends
 * looks like an orderly end of the stream (so only a `remoteCloseWrite` that was seen counts as one).
 */
export class Libp2pFrameStream implements FrameStream {
  readonly peerId: string;
  readonly protocol: string;
  /** Resolves once neither direction is open any more, however that came about. */
  readonly over: Promise<void>;
  readonly #stream: Stream;
  readonly #terms: Protocol;
  readonly #world: MeshWorld;
  readonly #assembler: FrameAssembler;
  readonly #readers: Waiter[] = [];
  #failure: MeshError | null = null;
  #isClosedHere = false;
  #saidItsEnd = false;
  #hasEnded = false;
  #isDiscarding = false;
  #isResuming = false;

  constructor(components: { stream: Stream; world: MeshWorld }, peerId: string, protocol: Protocol) {
    const { stream } = components;
    this.peerId = peerId;
    this.protocol = protocol.id;
    this.#stream = stream;
    this.#terms = protocol;
    this.#world = components.world;
    this.#assembler = new FrameAssembler(protocol.maxFrame);
    this.over = new Promise((resolve) => {
      stream.addEventListener('close', () => resolve(), { once: true });
      if (stream.status !== 'open' && stream.status !== 'closing') resolve();
    });
    // It may have said so before anybody listened; whatever ended it since, what it sent is still buffered.
    const { remoteWriteStatus } = stream as Stream & { remoteWriteStatus?: string };
    if (stream.status === 'open' || stream.status === 'closing') this.#saidItsEnd = remoteWriteStatus === 'closed';
    else this.#fail(streamClosed('the other side reset it'), false);
    stream.addEventListener('remoteCloseWrite', () => {
      this.#saidItsEnd = true;
    });
    // A muxer may tell the end before the last data of the same packet.
    stream.addEventListener('end', () => queueMicrotask(() => this.#end()));
    stream.addEventListener('close', (event) => this.#lost(event));
    stream.addEventListener('message', (event) => this.#received(event));
    if (stream.readableEnded) this.#end();
  }

  async send(frame: Uint8Array): Promise<void> {
    if (frame.length > this.#terms.maxFrame) throw frameTooLarge(frame.length, this.#terms.maxFrame);
    if (this.#failure) throw this.#failure;
    if (this.#isClosedHere) throw streamClosed('it was closed here');
    try {
      this.#stream.send(withPrefix(frame));
    } catch (cause) {
      this.#fail(streamClosed('it does not take data any more', { cause }), true);
    }
    while (this.#failure === null && this.#stream.writeBufferLength >= SEND_BUFFER_BYTES) await this.#drained();
    if (this.#failure) throw this.#failure;
  }

  receive(): Promise<Uint8Array | undefined> {
    const frame = this.#assembler.take();
    if (frame !== undefined) {
      if (this.#assembler.heldBytes < UNREAD_BYTES / 2) this.#setReading(true);
      return Promise.resolve(frame);
    }
    if (this.#failure) return Promise.reject(this.#failure);
    if (this.#hasEnded) return Promise.resolve(undefined);
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
    const controller = new AbortController();
    const timer = this.#world.setTimeout(() => controller.abort(), this.#terms.idleMs);
    try {
      await this.#stream.close({ signal: controller.signal });
    } catch (cause) {
      if (controller.signal.aborted) this.#fail(streamTimeout('the peer took nothing', this.#terms.idleMs), true);
      else this.#fail(streamClosed('it ended while it was being closed', { cause }), true);
    } finally {
      this.#world.clearTimeout(timer);
    }
  }

  abort(reason: Error): void {
    this.#fail(streamClosed(reason.message, { cause: reason }), true);
  }

  /** Nobody reads any more: what still arrives is dropped, so that the other side can finish. */
  discard(): void {
    this.#isDiscarding = true;
    this.#assembler.clear();
    this.#setReading(true);
  }

  /** Waits for the other side to take something, for as long as the protocol allows. */
  #drained(): Promise<void> {
    return new Promise((resolve) => {
      const done = (): void => {
        this.#world.clearTimeout(timer);
        this.#stream.removeEventListener('drain', drained);
        this.#stream.removeEventListener('close', done);
        resolve();
      };
      // The stream itself goes on writing in a microtask after this event; look at its buffer after that.
      const drained = (): void => queueMicrotask(() => queueMicrotask(done));
      const timer = this.#world.setTimeout(() => {
        this.#fail(streamTimeout('the peer took nothing', this.#terms.idleMs), true);
        done();
      }, this.#terms.idleMs);
      this.#stream.addEventListener('drain', drained);
      this.#stream.addEventListener('close', done);
    });
  }

  #received({ data }: StreamMessageEvent): void {
    if (this.#failure || this.#isDiscarding) return;
    try {
      if (data instanceof Uint8Array) this.#assembler.push(data);
      else for (const chunk of data) this.#assembler.push(chunk);
    } catch (error) {
      this.#fail(error as MeshError, true);
      return;
    }
    while (this.#readers.length > 0) {
      const frame = this.#assembler.take();
      if (frame === undefined) break;
      this.#settle(this.#readers.shift()!).resolve(frame);
    }
    if (this.#assembler.heldBytes > UNREAD_BYTES) this.#setReading(false);
  }

  /**
   * A stream that is paused while it hands over what it held back believes that it is resumed, and gives the other side
   * another window each time: so it is paused only after that.
   */
  #setReading(on: boolean): void {
    if (this.#isResuming) return;
    if (on) {
      if (this.#stream.readStatus !== 'paused') return;
      this.#isResuming = true;
      this.#stream.resume();
      this.#isResuming = false;
      if (this.#isDiscarding || this.#assembler.heldBytes <= UNREAD_BYTES) return;
    }
    if (this.#stream.readStatus === 'readable') this.#stream.pause();
  }

  #end(): void {
    if (this.#hasEnded || this.#failure) return;
    if (!this.#saidItsEnd) {
      this.#fail(streamClosed('the connection ended'), false);
      return;
    }
    try {
      if (!this.#isDiscarding) this.#assembler.end();
    } catch (error) {
      this.#fail(error as MeshError, true);
      return;
    }
    this.#hasEnded = true;
    for (const reader of this.#readers.splice(0)) this.#settle(reader).resolve(undefined);
  }

  #lost({ error }: StreamCloseEvent): void {
    if (error) this.#fail(streamClosed('the other side reset it, or the connection is gone', { cause: error }), false);
    else if (!this.#saidItsEnd) this.#fail(streamClosed('the connection ended'), false);
  }

  #fail(error: MeshError, tell: boolean): void {
    if (this.#failure) return;
    this.#failure = error;
    this.#assembler.clear();
    if (tell) this.#stream.abort(error);
    for (const reader of this.#readers.splice(0)) this.#settle(reader).reject(error);
  }

  #settle(reader: Waiter): Waiter {
    this.#world.clearTimeout(reader.timer);
    return reader;
  }
}

import { streamClosed } from '../../src/mesh/errors.ts';
import type { FrameStream } from '../../src/mesh/transport.ts';

/** The other end of a {@link FakeStream}, as a test holds it. */
export interface FarEnd {
  /** Frames sent to it so far. */
  readonly received: Uint8Array[];
  /** Why the stream was aborted; undefined while it is not. */
  readonly aborted: Error | undefined;
  readonly isClosed: boolean;
  send(frame: Uint8Array): void;
  /** No more frames. */
  close(): void;
  /** Resolves once so many frames were received. */
  until(count: number): Promise<void>;
}

/** One end of a stream in memory. With `room`, sends wait until a test says that there is some. */
export class FakeStream implements FrameStream {
  readonly peerId: string;
  readonly protocol = '/test';
  readonly far: FarEnd;
  #isBlocked = false;
  readonly #blocked: { readonly resolve: () => void; readonly reject: (error: Error) => void }[] = [];
  readonly #frames: (Uint8Array | undefined)[] = [];
  readonly #readers: {
    readonly resolve: (frame: Uint8Array | undefined) => void;
    readonly reject: (error: Error) => void;
  }[] = [];
  readonly #received: Uint8Array[] = [];
  #watchers: (() => void)[] = [];
  #aborted: Error | undefined;
  #isClosed = false;

  constructor(peerId: string) {
    this.peerId = peerId;
    const self = this;
    this.far = {
      received: this.#received,
      get aborted() {
        return self.#aborted;
      },
      get isClosed() {
        return self.#isClosed;
      },
      send: (frame) => this.#push(frame),
      close: () => this.#push(undefined),
      until: async (count) => {
        while (this.#received.length < count) {
          await new Promise<void>((resolve) => {
            this.#watchers.push(resolve);
          });
        }
      },
    };
  }

  /** From now on sends do not resolve. */
  block(): void {
    this.#isBlocked = true;
  }

  /** Sends resolve again, those that wait first. */
  unblock(): void {
    this.#isBlocked = false;
    for (const { resolve } of this.#blocked.splice(0)) resolve();
  }

  async send(frame: Uint8Array): Promise<void> {
    if (this.#aborted) throw streamClosed('aborted', { cause: this.#aborted });
    if (this.#isClosed) throw streamClosed('closed here');
    this.#received.push(frame.slice());
    for (const watcher of this.#watchers.splice(0)) watcher();
    if (!this.#isBlocked) return;
    await new Promise<void>((resolve, reject) => {
      this.#blocked.push({ resolve, reject });
    });
  }

  async receive(): Promise<Uint8Array | undefined> {
    if (this.#frames.length > 0) return this.#frames.shift();
    if (this.#aborted) throw streamClosed('aborted', { cause: this.#aborted });
    return new Promise((resolve, reject) => {
      this.#readers.push({ resolve, reject });
    });
  }

  async close(): Promise<void> {
    this.#isClosed = true;
  }

  abort(reason: Error): void {
    if (this.#aborted) return;
    this.#aborted = reason;
    const error = streamClosed('aborted', { cause: reason });
    for (const { reject } of [...this.#readers.splice(0), ...this.#blocked.splice(0)]) reject(error);
    for (const watcher of this.#watchers.splice(0)) watcher();
  }

  #push(frame: Uint8Array | undefined): void {
    const reader = this.#readers.shift();
    if (reader) reader.resolve(frame);
    else this.#frames.push(frame);
  }
}

import { frameTooLarge, streamClosed } from '../../src/mesh/errors.ts';
import type { FrameStream, Protocol } from '../../src/mesh/transport.ts';

/** A stream in memory between two peers: what one end sends, the other receives. */
export class PairedStream implements FrameStream {
  readonly peerId: string;
  readonly protocol: string;
  /** Frames sent by this end. */
  readonly sent: Uint8Array[] = [];
  readonly #maxFrame: number;
  readonly #inbox: (Uint8Array | undefined | Error)[] = [];
  #wake = (): void => {};
  #far!: PairedStream;

  private constructor(peerId: string, { id, maxFrame }: Protocol) {
    this.peerId = peerId;
    this.protocol = id;
    this.#maxFrame = maxFrame;
  }

  /** @returns the end of `a`, which sees `b`, and the end of `b` */
  static between(a: string, b: string, protocol: Protocol): [PairedStream, PairedStream] {
    const [near, far] = [new PairedStream(b, protocol), new PairedStream(a, protocol)];
    near.#far = far;
    far.#far = near;
    return [near, far];
  }

  async send(frame: Uint8Array): Promise<void> {
    if (frame.length > this.#maxFrame) throw frameTooLarge(frame.length, this.#maxFrame);
    this.sent.push(frame);
    this.#far.#take(frame);
  }

  async receive(): Promise<Uint8Array | undefined> {
    while (this.#inbox.length === 0) {
      await new Promise<void>((resolve) => {
        this.#wake = resolve;
      });
    }
    const next = this.#inbox[0];
    if (next instanceof Error) throw next;
    // The end of the stream stays at its end.
    if (next !== undefined) this.#inbox.shift();
    return next;
  }

  async close(): Promise<void> {
    this.#far.#take(undefined);
  }

  abort(reason: Error): void {
    this.#inbox.unshift(streamClosed('aborted here', { cause: reason }));
    this.#far.#take(streamClosed('reset by the other side'));
  }

  #take(frame: Uint8Array | undefined | Error): void {
    this.#inbox.push(frame);
    this.#wake();
  }
}

import { frameTooLarge, streamClosed } from '../errors.ts';

/** Length of the prefix of a frame: an unsigned 32-bit big-endian number of bytes. */
export const PREFIX_BYTES = 4;

/** What one held frame costs beside its bytes: empty frames are not free. */
export const FRAME_OVERHEAD_BYTES = 64;

/** Puts the prefix before a frame, in a copy: whoever sends may use its buffer again. */
export function withPrefix(frame: Uint8Array): Uint8Array {
  const bytes = new Uint8Array(PREFIX_BYTES + frame.length);
  new DataView(bytes.buffer).setUint32(0, frame.length);
  bytes.set(frame, PREFIX_BYTES);
  return bytes;
}

/**
 * Takes bytes as they come and gives frames. A length is compared with the bound before a byte is reserved for it; what is
 * held beyond whole frames is at most one frame.
 */
export class FrameAssembler {
  readonly #maxFrame: number;
  readonly #frames: (Uint8Array | undefined)[] = [];
  /** Index of the next frame to hand out: shifting a long array costs. */
  #next = 0;
  #heldBytes = 0;
  readonly #prefix = new Uint8Array(PREFIX_BYTES);
  #prefixFilled = 0;
  #body: Uint8Array | null = null;
  #bodyFilled = 0;

  constructor(maxFrame: number) {
    this.#maxFrame = maxFrame;
  }

  /** What the frames cost that nobody took yet. */
  get heldBytes(): number {
    return this.#heldBytes;
  }

  /** @throws MeshError `frame_too_large`; nothing can be read after that */
  push(chunk: Uint8Array): void {
    let at = 0;
    while (at < chunk.length) {
      if (this.#body === null) {
        at += this.#fillPrefix(chunk, at);
        if (this.#prefixFilled < PREFIX_BYTES) return;
        const length = new DataView(this.#prefix.buffer).getUint32(0);
        if (length > this.#maxFrame) throw frameTooLarge(length, this.#maxFrame);
        this.#body = new Uint8Array(length);
      }
      const taken = Math.min(this.#body.length - this.#bodyFilled, chunk.length - at);
      this.#body.set(chunk.subarray(at, at + taken), this.#bodyFilled);
      this.#bodyFilled += taken;
      at += taken;
      if (this.#bodyFilled === this.#body.length) this.#finish(this.#body);
    }
  }

  take(): Uint8Array | undefined {
    const frame = this.#frames[this.#next];
    if (frame === undefined) return undefined;
    this.#frames[this.#next++] = undefined;
    if (this.#next === this.#frames.length) {
      this.#frames.length = 0;
      this.#next = 0;
    }
    this.#heldBytes -= frame.length + FRAME_OVERHEAD_BYTES;
    return frame;
  }

  /** @throws MeshError `stream_closed` when the bytes end within a frame */
  end(): void {
    if (this.#body !== null || this.#prefixFilled > 0) throw streamClosed('it ended in the middle of a frame');
  }

  clear(): void {
    this.#frames.length = 0;
    this.#next = 0;
    this.#heldBytes = 0;
    this.#body = null;
    this.#prefixFilled = 0;
  }

  #fillPrefix(chunk: Uint8Array, at: number): number {
    const taken = Math.min(PREFIX_BYTES - this.#prefixFilled, chunk.length - at);
    this.#prefix.set(chunk.subarray(at, at + taken), this.#prefixFilled);
    this.#prefixFilled += taken;
    return taken;
  }

  #finish(frame: Uint8Array): void {
    this.#frames.push(frame);
    this.#heldBytes += frame.length + FRAME_OVERHEAD_BYTES;
    this.#body = null;
    this.#bodyFilled = 0;
    this.#prefixFilled = 0;
  }
}

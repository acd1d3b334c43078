import { FRAME, MODE, type Range, SIGNATURE_BYTES, type SignedBytes } from './frames.ts';
import { compareKeys, FIRST_KEY, type Key } from './key.ts';
import { MAX_FRAME_BYTES } from './limits.ts';
import { TOP, Writer, writeBound } from './wire.ts';

/** Largest record of a range without its ids: a bound with a whole digest and a fingerprint. */
const RANGE_BYTES = 64;
/** Largest id: a varint of 64 bits and a digest. */
const ID_BYTES = 42;

/** Builds frames of ranges, a record at a time; sections begin and end by themselves. */
export class RangeWriter {
  readonly #frames: Uint8Array[] = [];
  #sections: Uint8Array[] = [];
  #bytes = 0;
  #writer: Writer | undefined;
  #records = 0;
  #head: Uint8Array = new Uint8Array();
  #tag = '';
  #at: Key = FIRST_KEY;

  /** Adds the range from `lower` up to `upper`; of one set, ranges come in descending order. */
  add(tag: string, upper: Key, range: Range): void {
    const size = RANGE_BYTES + (range.mode === MODE.ids ? range.ids.length * ID_BYTES : 0);
    if (this.#bytes + (this.#writer?.length ?? 0) + size + RANGE_BYTES > MAX_FRAME_BYTES) this.#endFrame();
    if (this.#writer === undefined || this.#tag !== tag || compareKeys(this.#at, upper) !== 0) {
      this.#endSection();
      this.#tag = tag;
      const head = new Writer(64).bytes(Buffer.from(tag, 'hex'));
      writeBound(head, 0, TOP, upper);
      this.#head = head.take();
      this.#writer = new Writer(512);
    }
    const writer = this.#writer;
    writeBound(writer, range.mode, upper, range.lower);
    if (range.mode === MODE.fingerprint) writer.bytes(range.fingerprint);
    if (range.mode === MODE.ids) {
      writer.varint(range.ids.length);
      let previous = upper;
      for (const id of range.ids) {
        writer.readingBelow(previous, id).digest(id);
        previous = id;
      }
    }
    this.#records += 1;
    this.#at = range.lower;
  }

  /** The finished frames; the writer is empty again. */
  take(): Uint8Array[] {
    this.#endFrame();
    return this.#frames.splice(0);
  }

  #endSection(): void {
    if (this.#writer === undefined) return;
    const section = new Writer(this.#head.length + this.#writer.length + 8);
    section.bytes(this.#head).varint(this.#records).bytes(this.#writer.take());
    this.#sections.push(section.take());
    this.#bytes += section.length;
    this.#writer = undefined;
    this.#records = 0;
  }

  #endFrame(): void {
    this.#endSection();
    if (this.#sections.length === 0) return;
    const frame = new Writer(this.#bytes + 8).byte(FRAME.ranges).varint(this.#sections.length);
    for (const section of this.#sections) frame.bytes(section);
    this.#frames.push(frame.take());
    this.#sections = [];
    this.#bytes = 0;
  }
}

/** Packs statements into frames. */
export class BlockWriter {
  #writer: Writer | undefined;

  /** @returns the frame that is full now, because the statement had to go into a new one */
  add({ bytes, signature }: SignedBytes): Uint8Array | undefined {
    const size = bytes.length + SIGNATURE_BYTES + 3;
    const full = this.#writer && this.#writer.length + size > MAX_FRAME_BYTES ? this.take() : undefined;
    this.#writer ??= new Writer(4096).byte(FRAME.block);
    this.#writer.varint(bytes.length).bytes(bytes).bytes(signature);
    return full;
  }

  take(): Uint8Array | undefined {
    const frame = this.#writer?.take();
    this.#writer = undefined;
    return frame;
  }
}

/**
 * What of LevelDB's file formats it takes to check files without LevelDB (doc/log_format.md and doc/table_format.md of its
 * source): checksums, records of a log, blocks of a table, compressed blocks.
 */

/** Tables of CRC-32C (Castagnoli, reflected), eight bytes at a time: a gigabyte a second, where node:zlib has CRC-32 only. */
const POLYNOMIAL = 0x82f63b78;
const TABLES: readonly Uint32Array[] = makeTables();

function makeTables(): Uint32Array[] {
  const tables = Array.from({ length: 8 }, () => new Uint32Array(256));
  for (let n = 0; n < 256; n++) {
    let crc = n;
    for (let bit = 0; bit < 8; bit++) crc = crc & 1 ? (crc >>> 1) ^ POLYNOMIAL : crc >>> 1;
    tables[0]![n] = crc;
  }
  for (let n = 0; n < 256; n++) {
    for (let k = 1; k < 8; k++) {
      const before = tables[k - 1]![n]!;
      tables[k]![n] = (before >>> 8) ^ tables[0]![before & 0xff]!;
    }
  }
  return tables;
}

export function crc32c(bytes: Uint8Array, from: number, to: number): number {
  const [t0, t1, t2, t3, t4, t5, t6, t7] = TABLES as [
    Uint32Array,
    Uint32Array,
    Uint32Array,
    Uint32Array,
    Uint32Array,
    Uint32Array,
    Uint32Array,
    Uint32Array,
  ];
  let crc = -1;
  let at = from;
  for (const end = to - 8; at <= end; at += 8) {
    crc ^= bytes[at]! | (bytes[at + 1]! << 8) | (bytes[at + 2]! << 16) | (bytes[at + 3]! << 24);
    crc =
      t7[crc & 0xff]! ^
      t6[(crc >>> 8) & 0xff]! ^
      t5[(crc >>> 16) & 0xff]! ^
      t4[crc >>> 24]! ^
      t3[bytes[at + 4]!]! ^
      t2[bytes[at + 5]!]! ^
      t1[bytes[at + 6]!]! ^
      t0[bytes[at + 7]!]!;
  }
  for (; at < to; at++) crc = (crc >>> 8) ^ t0[(crc ^ bytes[at]!) & 0xff]!;
  return ~crc >>> 0;
}

/** Checksums are stored rotated and shifted, so that a checksum over bytes that hold one stays meaningful. */
export function masked(crc: number): number {
  return (((crc >>> 15) | (crc << 17)) + 0xa282ead8) >>> 0;
}

/** A reader of variable-length integers; asking beyond the end throws a RangeError. */
export class VarintReader {
  readonly bytes: Uint8Array;
  at: number;

  constructor(bytes: Uint8Array, at = 0) {
    this.bytes = bytes;
    this.at = at;
  }

  get done(): boolean {
    return this.at >= this.bytes.length;
  }

  /** Up to 2^53: sizes and file numbers are far below. */
  next(): number {
    let value = 0;
    for (let factor = 1; ; factor *= 128) {
      const byte = this.bytes[this.at++];
      if (byte === undefined || factor > 2 ** 49) throw new RangeError('a number does not end');
      value += (byte & 0x7f) * factor;
      if (byte < 0x80) return value;
    }
  }

  skip(count: number): void {
    this.at += count;
    if (this.at > this.bytes.length) throw new RangeError('a field does not end');
  }
}

/**
 * Snappy, as LevelDB uses it for blocks (google/snappy format_description.txt).
 *
 * @throws RangeError when the bytes are no such thing
 */
export function snappyDecompress(input: Uint8Array): Uint8Array {
  const reader = new VarintReader(input);
  const length = reader.next();
  if (length > MAX_BLOCK_BYTES) throw new RangeError('a block of impossible size');
  const output = new Uint8Array(length);
  let at = 0;
  let from = reader.at;
  const little = (count: number): number => {
    let value = 0;
    for (let n = 0; n < count; n++) value += (input[from++] ?? 0) * 2 ** (8 * n);
    return value;
  };
  while (from < input.length) {
    const tag = input[from++]!;
    if ((tag & 3) === 0) {
      const short = tag >> 2;
      const count = (short < 60 ? short : little(short - 59)) + 1;
      if (from + count > input.length || at + count > length) throw new RangeError('a literal does not end');
      output.set(input.subarray(from, from + count), at);
      from += count;
      at += count;
      continue;
    }
    const count = (tag & 3) === 1 ? ((tag >> 2) & 7) + 4 : (tag >> 2) + 1;
    const offset = (tag & 3) === 1 ? ((tag >> 5) << 8) + little(1) : little((tag & 3) === 2 ? 2 : 4);
    if (offset === 0 || offset > at || at + count > length) throw new RangeError('a copy from nowhere');
    // Byte by byte: a copy may overlap itself.
    for (let n = 0; n < count; n++, at++) output[at] = output[at - offset]!;
  }
  if (at !== length) throw new RangeError('a block of another size than it says');
  return output;
}

/** Far above what this store writes (4 KiB blocks, and index blocks of a table of megabytes); bounds one allocation. */
const MAX_BLOCK_BYTES = 64 * 1024 * 1024;

/** Something in a file that cannot be what was written. */
export interface Flaw {
  readonly offset: number;
  readonly message: string;
}

const LOG_BLOCK = 32 * 1024;
const LOG_HEADER = 7;

export interface LogContent {
  /** Records that are whole, in order; of no use where only flaws are looked for. */
  readonly records: Uint8Array[];
  /** The first flaw with whole records after it: something in the middle is damaged. */
  readonly flaw: Flaw | undefined;
  /** Bytes at the end that hold no whole record: a write that was not finished, or damage to the last one. */
  readonly tail: number;
  /** Whether the tail is what an interrupted write leaves: the beginning of a record, or nothing but zeros. */
  readonly isTorn: boolean;
}

/** Reads a log (write-ahead log or manifest) as far as its checksums allow. */
export function readLog(file: Uint8Array): LogContent {
  const bytes = Buffer.from(file.buffer, file.byteOffset, file.length);
  const records: Uint8Array[] = [];
  let parts: Uint8Array[] | undefined;
  let bad: Flaw | undefined;
  let flaw: Flaw | undefined;
  /** Where the last whole record ends. */
  let good = 0;
  let at = 0;
  const fail = (message: string): void => {
    bad ??= { offset: at, message };
    parts = undefined;
  };
  while (at < bytes.length) {
    const left = LOG_BLOCK - (at % LOG_BLOCK);
    if (left < LOG_HEADER) {
      at += left;
      continue;
    }
    const next = at - (at % LOG_BLOCK) + LOG_BLOCK;
    if (at + LOG_HEADER > bytes.length) break;
    const length = bytes.readUInt16LE(at + 4);
    const type = bytes[at + 6]!;
    const end = at + LOG_HEADER + length;
    if (end > next || type < FULL || type > LAST) {
      fail('a record of impossible form');
      at = nextRecord(bytes, at + 1, next) ?? next;
      continue;
    }
    if (end > bytes.length) {
      // The beginning of a record that was not finished; or a whole one whose length is damaged.
      const further = nextRecord(bytes, at + 1, bytes.length);
      if (further === undefined) break;
      fail('a record of impossible length');
      at = further;
      continue;
    }
    if (bytes.readUInt32LE(at) !== masked(crc32c(bytes, at + 6, end))) {
      fail('a record does not match its checksum');
      at = end;
      continue;
    }
    const data = bytes.subarray(at + LOG_HEADER, end);
    const isStart = type === FULL || type === FIRST;
    if (isStart ? parts !== undefined : parts === undefined) fail('a record lacks a part');
    if (isStart) parts = [];
    parts?.push(data);
    if ((type === FULL || type === LAST) && parts) {
      records.push(parts.length === 1 ? parts[0]! : Buffer.concat(parts));
      parts = undefined;
      flaw ??= bad;
      good = end;
    }
    at = end;
  }
  const rest = bytes.subarray(good);
  return {
    records,
    flaw,
    tail: rest.length,
    isTorn: bad === undefined || flaw !== undefined || rest.every((byte) => byte === 0),
  };
}

const FULL = 1;
const FIRST = 2;
const LAST = 4;

/** Where the next whole record of a block begins, its checksum being the proof. */
function nextRecord(bytes: Buffer, from: number, to: number): number | undefined {
  const end = Math.min(to, bytes.length);
  for (let at = from; at + LOG_HEADER <= end; at++) {
    const type = bytes[at + 6]!;
    if (type < FULL || type > LAST) continue;
    const last = at + LOG_HEADER + bytes.readUInt16LE(at + 4);
    if (last <= end && bytes.readUInt32LE(at) === masked(crc32c(bytes, at + 6, last))) return at;
  }
  return undefined;
}

export const FOOTER_BYTES = 48;
export const TRAILER_BYTES = 5;
/** Little-endian 0xdb4775248b80fb57. */
const MAGIC = Buffer.from('57fb808b247547db', 'hex');

/** Looks at every byte of a table that means something. Undefined: it is as it was written. */
export function tableFlaw(file: Uint8Array): Flaw | undefined {
  const bytes = Buffer.from(file.buffer, file.byteOffset, file.length);
  const footer = bytes.length - FOOTER_BYTES;
  if (footer < 0 || !bytes.subarray(-MAGIC.length).equals(MAGIC)) {
    return { offset: Math.max(0, footer), message: 'the table does not end as tables do' };
  }
  const seen: [number, number][] = [];
  let at = footer;
  try {
    const handles = new VarintReader(bytes, footer);
    const meta = [handles.next(), handles.next()] as const;
    const index = [handles.next(), handles.next()] as const;
    for (const [offset, size] of [index, meta]) {
      at = offset;
      for (const handle of handlesOf(block(bytes, offset, size))) {
        at = handle[0];
        check(bytes, ...handle);
        seen.push(handle);
      }
      seen.push([offset, size]);
    }
  } catch (error) {
    if (error instanceof RangeError) return { offset: at, message: error.message };
    throw error;
  }
  // Blocks lie end to end: what none of them covers was lost from the index.
  let end = 0;
  for (const [offset, size] of seen.sort((a, b) => a[0] - b[0])) {
    if (offset !== end) return { offset: end, message: 'a block is missing from the index of the table' };
    end = offset + size + TRAILER_BYTES;
  }
  return end === footer ? undefined : { offset: end, message: 'a block is missing from the index of the table' };
}

/** @throws RangeError */
function check(bytes: Buffer, offset: number, size: number): void {
  const end = offset + size;
  if (end + TRAILER_BYTES > bytes.length - FOOTER_BYTES) throw new RangeError('a block beyond the end of the table');
  if (bytes.readUInt32LE(end + 1) !== masked(crc32c(bytes, offset, end + 1))) {
    throw new RangeError('a block does not match its checksum');
  }
}

/** The content of a block. @throws RangeError when it is not what was written */
export function block(bytes: Buffer, offset: number, size: number): Uint8Array {
  check(bytes, offset, size);
  const data = bytes.subarray(offset, offset + size);
  return bytes[offset + size] === 1 ? snappyDecompress(data) : data;
}

/** The values of an index block: where the blocks of the table are. @throws RangeError */
export function handlesOf(index: Uint8Array): [number, number][] {
  const restarts = Buffer.from(index.buffer, index.byteOffset, index.length).readUInt32LE(index.length - 4);
  const reader = new VarintReader(index.subarray(0, index.length - 4 * (restarts + 1)));
  const handles: [number, number][] = [];
  while (!reader.done) {
    reader.next();
    const keyBytes = reader.next();
    const valueBytes = reader.next();
    reader.skip(keyBytes);
    const value = new VarintReader(reader.bytes, reader.at);
    handles.push([value.next(), value.next()]);
    reader.skip(valueBytes);
  }
  return handles;
}

/** The tables and logs that a database consists of, by file number. */
export interface Manifest {
  /** Size in bytes by number. */
  readonly tables: ReadonlyMap<number, number>;
  /** Logs below this number are obsolete. */
  readonly logNumber: number;
  readonly previousLog: number;
}

/** @throws RangeError when the records are no version edits */
export function readManifest(records: readonly Uint8Array[]): Manifest {
  const tables = new Map<number, number>();
  let logNumber = 0;
  let previousLog = 0;
  for (const record of records) {
    const reader = new VarintReader(record);
    while (!reader.done) {
      const tag = reader.next();
      if (tag === 1) reader.skip(reader.next());
      else if (tag === 2) logNumber = reader.next();
      else if (tag === 3 || tag === 4) skipVarint(reader);
      else if (tag === 5) {
        reader.next();
        reader.skip(reader.next());
      } else if (tag === 6) {
        reader.next();
        tables.delete(reader.next());
      } else if (tag === 7) {
        reader.next();
        const number = reader.next();
        tables.set(number, reader.next());
        reader.skip(reader.next());
        reader.skip(reader.next());
      } else if (tag === 9) previousLog = reader.next();
      else throw new RangeError('a version edit of unknown form');
    }
  }
  return { tables, logNumber, previousLog };
}

/** Sequence numbers of LevelDB may have more bits than a double. */
function skipVarint(reader: VarintReader): void {
  while ((reader.bytes[reader.at] ?? 0) >= 0x80) reader.skip(1);
  reader.skip(1);
}

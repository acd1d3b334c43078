import { block, crc32c, FOOTER_BYTES, handlesOf, masked, readLog, TRAILER_BYTES, VarintReader } from './format.ts';

/** One version of one key, as LevelDB keeps it. */
export interface Version {
  readonly key: Buffer;
  /** LevelDB's own sequence number: of several versions the highest counts. */
  readonly sequence: number;
  /** Null: the key was deleted. */
  readonly value: Buffer | null;
}

const DELETION = 0;
const VALUE = 1;
/** Sequence and type behind every key of a table. */
const KEY_TRAILER_BYTES = 8;
/** Blocks of this store have 4 KiB before they are compressed, and one entry may be larger: statement, signature, key. */
const MAX_DATA_BLOCK = 256 * 1024;

/** What the whole blocks of a table hold. Blocks that do not match their checksum are left out. */
export function* tableVersions(file: Uint8Array): Generator<Version[]> {
  const bytes = Buffer.from(file.buffer, file.byteOffset, file.length);
  for (const data of dataBlocks(bytes)) {
    const versions = blockVersions(data, bytes.length);
    if (versions) yield versions;
  }
}

function* dataBlocks(bytes: Buffer): Generator<Uint8Array> {
  const handles = indexed(bytes);
  if (handles) {
    for (const [offset, size] of handles) {
      const data = readBlock(bytes, offset, size);
      if (data) yield data;
    }
    return;
  }
  // Without an index: blocks lie end to end, and a checksum proves where one ends.
  for (let at = 0; at < bytes.length; ) {
    const size = blockSize(bytes, at);
    if (size === undefined) {
      at += 1;
      continue;
    }
    const data = readBlock(bytes, at, size);
    if (data) yield data;
    at += size + TRAILER_BYTES;
  }
}

function indexed(bytes: Buffer): [number, number][] | undefined {
  try {
    const footer = new VarintReader(bytes, bytes.length - FOOTER_BYTES);
    footer.next();
    footer.next();
    return handlesOf(block(bytes, footer.next(), footer.next()));
  } catch (error) {
    return onlyRangeError(error);
  }
}

function readBlock(bytes: Buffer, offset: number, size: number): Uint8Array | undefined {
  try {
    return block(bytes, offset, size);
  } catch (error) {
    return onlyRangeError(error);
  }
}

/** Size of the block that begins here, when one does. */
function blockSize(bytes: Buffer, from: number): number | undefined {
  const end = Math.min(bytes.length - TRAILER_BYTES, from + MAX_DATA_BLOCK);
  for (let at = from + 1; at <= end; at++) {
    // The type of the block (plain or Snappy) is under the checksum, and the checksum behind it.
    if (bytes[at]! > 1) continue;
    if (bytes.readUInt32LE(at + 1) === masked(crc32c(bytes, from, at + 1))) return at - from;
  }
  return undefined;
}

/** The entries of a data block; undefined for a block of another kind. */
function blockVersions(data: Uint8Array, fileBytes: number): Version[] | undefined {
  const versions: Version[] = [];
  let looksLikeIndex = true;
  try {
    const bytes = Buffer.from(data.buffer, data.byteOffset, data.length);
    const restarts = bytes.readUInt32LE(bytes.length - 4);
    const end = bytes.length - 4 * (restarts + 1);
    if (restarts < 1 || end < 0) return undefined;
    const reader = new VarintReader(bytes.subarray(0, end));
    let last = Buffer.alloc(0);
    while (!reader.done) {
      const shared = reader.next();
      const unshared = reader.next();
      const valueBytes = reader.next();
      const at = reader.at;
      reader.skip(unshared + valueBytes);
      if (shared > last.length) return undefined;
      last = Buffer.concat([last.subarray(0, shared), bytes.subarray(at, at + unshared)]);
      const version = versionOf(last, Buffer.from(bytes.subarray(at + unshared, at + unshared + valueBytes)));
      if (!version) return undefined;
      looksLikeIndex &&= version.value !== null && isHandle(version.value, fileBytes);
      versions.push(version);
    }
  } catch (error) {
    return onlyRangeError(error);
  }
  return looksLikeIndex ? undefined : versions;
}

function versionOf(internal: Buffer, value: Buffer): Version | undefined {
  const end = internal.length - KEY_TRAILER_BYTES;
  if (end < 1) return undefined;
  const type = internal[end]!;
  if (type !== DELETION && type !== VALUE) return undefined;
  const sequence = internal.readUIntLE(end + 1, 6) + internal[end + 7]! * 2 ** 48;
  return { key: Buffer.from(internal.subarray(0, end)), sequence, value: type === VALUE ? value : null };
}

/** Whether a value is what an index block holds: an offset and a size inside the file, and nothing else. */
function isHandle(value: Buffer, fileBytes: number): boolean {
  try {
    const reader = new VarintReader(value);
    return reader.next() + reader.next() <= fileBytes && reader.done;
  } catch (error) {
    onlyRangeError(error);
    return false;
  }
}

/** What the whole records of a write-ahead log hold, a batch at a time. */
export function* logVersions(file: Uint8Array): Generator<Version[]> {
  for (const record of readLog(file).records) {
    const bytes = Buffer.from(record.buffer, record.byteOffset, record.length);
    const versions: Version[] = [];
    try {
      let sequence = bytes.readUIntLE(0, 6) + bytes.readUInt16LE(6) * 2 ** 48;
      const reader = new VarintReader(bytes, 12);
      while (!reader.done) {
        const type = bytes[reader.at++]!;
        const key = field(reader);
        versions.push({ key, sequence, value: type === VALUE ? field(reader) : null });
        sequence += 1;
      }
    } catch (error) {
      onlyRangeError(error);
      continue;
    }
    yield versions;
  }
}

function field(reader: VarintReader): Buffer {
  const length = reader.next();
  const at = reader.at;
  reader.skip(length);
  return Buffer.from(reader.bytes.subarray(at, at + length));
}

function onlyRangeError(error: unknown): undefined {
  if (!(error instanceof RangeError)) throw error;
  return undefined;
}

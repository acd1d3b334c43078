import { createReadStream } from 'node:fs';
import { CliError } from './errors.ts';
import { MAX_LINE_BYTES } from './limits.ts';

/** One line of a file with its number, counted from 1. */
export interface Line {
  readonly number: number;
  readonly text: string;
}

/** Bytes of a file, or of stdin for `-`. */
export function readSource(name: string, stdin: AsyncIterable<Uint8Array>): AsyncIterable<Uint8Array> {
  return name === '-' ? stdin : createReadStream(name);
}

/**
 * Lines that hold something. Both line ends are taken; the last line needs none.
 *
 * @throws CliError `file_unusable` for a line above MAX_LINE_BYTES, or bytes that are not UTF-8
 */
export async function* splitLines(source: AsyncIterable<Uint8Array>): AsyncGenerator<Line> {
  let rest = Buffer.alloc(0);
  let number = 0;
  const line = (bytes: Uint8Array): Line | undefined => {
    number += 1;
    if (bytes.length > MAX_LINE_BYTES) throw unusable(`line ${number} is longer than ${MAX_LINE_BYTES} bytes`);
    let text: string;
    try {
      text = new TextDecoder('utf-8', { fatal: true }).decode(bytes).trim();
    } catch {
      throw unusable(`line ${number} is not UTF-8 text`);
    }
    return text === '' ? undefined : { number, text };
  };
  for await (const chunk of source) {
    let start = 0;
    for (let end = chunk.indexOf(10); end !== -1; end = chunk.indexOf(10, start)) {
      const piece = chunk.subarray(start, end);
      const found = line(rest.length === 0 ? piece : Buffer.concat([rest, piece]));
      rest = Buffer.alloc(0);
      start = end + 1;
      if (found !== undefined) yield found;
    }
    if (start < chunk.length) rest = Buffer.concat([rest, chunk.subarray(start)]);
    if (rest.length > MAX_LINE_BYTES) throw unusable(`line ${number + 1} is longer than ${MAX_LINE_BYTES} bytes`);
  }
  const last = rest.length === 0 ? undefined : line(rest);
  if (last !== undefined) yield last;
}

/** Items in groups of at most so many, and so many bytes (one item more than that is a group of its own). */
export async function* inGroups<T>(
  items: AsyncIterable<T>,
  bounds: { readonly items: number; readonly bytes: number },
  sizeOf: (item: T) => number,
): AsyncGenerator<T[]> {
  let group: T[] = [];
  let bytes = 0;
  for await (const item of items) {
    const size = sizeOf(item);
    if (group.length > 0 && (group.length === bounds.items || bytes + size > bounds.bytes)) {
      yield group;
      group = [];
      bytes = 0;
    }
    group.push(item);
    bytes += size;
  }
  if (group.length > 0) yield group;
}

/** The whole source as text. @throws CliError `file_unusable` above so many bytes, or when it is not UTF-8 */
export async function readText(source: AsyncIterable<Uint8Array>, maxBytes: number): Promise<string> {
  const chunks: Uint8Array[] = [];
  let bytes = 0;
  for await (const chunk of source) {
    bytes += chunk.length;
    if (bytes > maxBytes) throw unusable(`the input is larger than ${maxBytes} bytes`);
    chunks.push(chunk);
  }
  try {
    return new TextDecoder('utf-8', { fatal: true }).decode(Buffer.concat(chunks));
  } catch {
    throw unusable('the input is not UTF-8 text');
  }
}

function unusable(message: string): CliError {
  return new CliError('file_unusable', message, 'check that this is the file you mean');
}

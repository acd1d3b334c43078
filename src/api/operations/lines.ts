export interface Line {
  /** From 1. */
  readonly number: number;
  /** Without the line feed (a carriage return before it is white space to JSON); null when it was longer than allowed. */
  readonly bytes: Uint8Array | null;
}

/**
 * Splits a stream into lines, holding at most one line of `maxBytes`. Of longer ones only the number is kept. Empty
 * lines are counted but not returned.
 */
export async function* lines(chunks: AsyncIterable<Uint8Array>, maxBytes: number): AsyncIterable<Line> {
  let parts: Uint8Array[] = [];
  let length = 0;
  let number = 1;

  const take = (piece: Uint8Array): void => {
    length += piece.length;
    if (length > maxBytes) parts = [];
    else if (piece.length > 0) parts.push(piece);
  };
  const finish = (): Line | undefined => {
    const line = length > maxBytes ? null : parts.length === 1 ? parts[0]! : Buffer.concat(parts);
    const blank = length === 0 || (length === 1 && line?.[0] === 0x0d);
    const result = blank ? undefined : { number, bytes: line };
    parts = [];
    length = 0;
    number++;
    return result;
  };

  for await (const chunk of chunks) {
    let start = 0;
    for (;;) {
      const end = chunk.indexOf(0x0a, start);
      if (end === -1) break;
      take(chunk.subarray(start, end));
      const line = finish();
      if (line !== undefined) yield line;
      start = end + 1;
    }
    take(chunk.subarray(start));
  }
  const last = finish();
  if (last !== undefined) yield last;
}

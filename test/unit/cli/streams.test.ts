import assert from 'node:assert/strict';
import fc from 'fast-check';
import { MAX_EVENT_BYTES, MAX_LINE_BYTES } from '../../../src/cli/limits.ts';
import { inGroups, type Line, readText, splitLines } from '../../../src/cli/lines.ts';
import { readEvents, type ServerEvent, type SseState } from '../../../src/cli/sse.ts';

/** The bytes in pieces that end anywhere, also inside a character. */
async function* inPieces(text: string | Uint8Array, size: number): AsyncGenerator<Uint8Array> {
  const bytes = Buffer.from(text as string);
  for (let at = 0; at < bytes.length; at += size) yield bytes.subarray(at, at + size);
}

async function all<T>(source: AsyncIterable<T>): Promise<T[]> {
  const items: T[] = [];
  for await (const item of source) items.push(item);
  return items;
}

describe('cli: lines', () => {
  it('numbers lines, skips empty ones, takes both line ends', async () => {
    const lines: Line[] = await all(splitLines(inPieces('a\r\n\n  \n é \nlast', 3)));
    assert.deepEqual(lines, [
      { number: 1, text: 'a' },
      { number: 4, text: 'é' },
      { number: 5, text: 'last' },
    ]);
  });

  it('finds the same lines however the bytes arrive', async () => {
    await fc.assert(
      fc.asyncProperty(
        fc.array(fc.string({ unit: 'grapheme' }).map((text) => text.replace(/\s+/g, '-'))),
        fc.integer({ min: 1, max: 7 }),
        async (texts, size) => {
          const lines = await all(splitLines(inPieces(texts.join('\n'), size)));
          assert.deepEqual(
            lines.map(({ text }) => text),
            texts.filter((text) => text.trim() !== '').map((text) => text.trim()),
          );
        },
      ),
    );
  });

  it('refuses lines that are too long, with or without an end', async () => {
    const long = 'x'.repeat(MAX_LINE_BYTES);
    assert.equal((await all(splitLines(inPieces(`${long}\n`, 65536))))[0]?.text.length, MAX_LINE_BYTES);
    for (const end of ['\n', '']) {
      await assert.rejects(all(splitLines(inPieces(`a\n${long}x${end}`, 65536))), {
        code: 'file_unusable',
        message: /line 2/,
      });
    }
  });

  it('refuses what is not UTF-8', async () => {
    await assert.rejects(all(splitLines(inPieces(Uint8Array.of(0x61, 10, 0xff, 10), 4))), {
      message: /line 2 is not UTF-8/,
    });
    await assert.rejects(readText(inPieces(Uint8Array.of(0xff), 1), 10), { message: /not UTF-8/ });
  });

  it('reads text up to a limit', async () => {
    assert.equal(await readText(inPieces('héllo', 2), 6), 'héllo');
    await assert.rejects(readText(inPieces('héllo!', 2), 6), { code: 'file_unusable' });
  });

  it('groups by count and by size, and lets an oversized item through alone', async () => {
    async function* sizes() {
      yield* [1, 1, 1, 5, 20, 1];
    }
    const groups = await all(inGroups(sizes(), { items: 2, bytes: 6 }, (size) => size));
    assert.deepEqual(groups, [[1, 1], [1, 5], [20], [1]]);
  });
});

describe('cli: server-sent events', () => {
  const read = async (text: string, size = 1000) => {
    const state: SseState = { lastEventId: undefined };
    return { events: (await all(readEvents(inPieces(text, size), state))) as ServerEvent[], id: state.lastEventId };
  };

  it('reads events, ids, comments and retry lines', async () => {
    const text = 'retry: 2000\n\nevent: fact\nid: 7\ndata: {"a":"é"}\n\n: heartbeat\nid: 9\n\n';
    for (const size of [1, 3, 1000]) {
      assert.deepEqual(await read(text, size), { events: [{ event: 'fact', data: '{"a":"é"}' }], id: '9' });
    }
  });

  it('joins data lines and names the nameless', async () => {
    assert.deepEqual((await read('data:a\r\ndata: b\r\n\r\n')).events, [{ event: 'message', data: 'a\nb' }]);
  });

  it('does not count an event that was cut off', async () => {
    assert.deepEqual(await read('id: 1\ndata: a\n\nid: 2\ndata: b\n'), {
      events: [{ event: 'message', data: 'a' }],
      id: '1',
    });
  });

  it('takes no event above its limit', async () => {
    const data = 'x'.repeat(MAX_EVENT_BYTES);
    await assert.rejects(read(`data: ${data}\n\n`, 65536), { code: 'answer_too_large' });
    await assert.rejects(read(`data: ${data}`, 65536), { code: 'answer_too_large' });
    await assert.rejects(read(`data: ${'x'.repeat(1000)}\n`.repeat(MAX_EVENT_BYTES / 1000 + 1), 65536), {
      code: 'answer_too_large',
    });
  });
});

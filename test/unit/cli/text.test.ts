import assert from 'node:assert/strict';
import fc from 'fast-check';
import { tableLines } from '../../../src/cli/table.ts';
import { byteCount, clip, displayWidth, printable, safeJson, shortId, shortInstant } from '../../../src/cli/text.ts';

/** Controls, formats without the joiners, separators, surrogates: by code point, not by the expression under test. */
function isUnsafe(text: string): boolean {
  return [...text].some((character) => {
    const code = character.codePointAt(0) as number;
    return (
      code < 0x20 ||
      (code >= 0x7f && code <= 0x9f) ||
      code === 0x200b ||
      code === 0x200e ||
      code === 0x200f ||
      (code >= 0x2028 && code <= 0x202e) ||
      (code >= 0x2066 && code <= 0x2069) ||
      code === 0xfeff ||
      (code >= 0xd800 && code <= 0xdfff) ||
      (code >= 0xe0000 && code <= 0xe007f)
    );
  });
}

const anyText = fc.oneof(
  fc.string({ unit: 'binary', maxLength: 80 }),
  fc.string({ unit: 'grapheme', maxLength: 80 }),
  fc.string({ unit: fc.integer({ min: 0, max: 0xffff }).map((unit) => String.fromCharCode(unit)), maxLength: 80 }),
);

describe('cli: text for a terminal', () => {
  it('spells out what could drive a terminal', () => {
    assert.equal(printable('\u001b[31mred\u0007'), '\\u001b[31mred\\u0007');
    assert.equal(printable('\u009b2J'), '\\u009b2J');
    assert.equal(printable('a\r\nb\tc'), 'a\\r\\nb\\tc');
    assert.equal(printable('user\u202egnp.exe'), 'user\\u202egnp.exe');
    assert.equal(printable('\u{e0041}\ud800'), '\\u{e0041}\\ud800');
    assert.equal(printable('\u2028\ufeff'), '\\u2028\\ufeff');
    // Places among the tags that no character was given yet.
    assert.equal(printable('\u{e0000}\u{e001f}'), '\\u{e0000}\\u{e001f}');
  });

  it('leaves text of people alone', () => {
    for (const text of ['Zürich', '日本語', 'می‌خواهم', '👩‍👩‍👧', 'a\\b "c"']) assert.equal(printable(text), text);
  });

  it('lets nothing unsafe through, in text and in JSON', () => {
    fc.assert(
      fc.property(anyText, (text) => {
        assert.equal(isUnsafe(printable(text)), false);
        assert.equal(isUnsafe(safeJson({ [text]: [text] })), false);
      }),
    );
  });

  it('writes JSON that reads as what it was', () => {
    fc.assert(
      fc.property(fc.jsonValue(), (value) =>
        assert.equal(JSON.stringify(JSON.parse(safeJson(value))), JSON.stringify(value)),
      ),
    );
    assert.equal(safeJson('\u{e0041}'), '"\\udb40\\udc41"');
    assert.equal(safeJson('\u{e0000}'), '"\\udb40\\udc00"');
    assert.match(safeJson({ a: 1 }, 2), /^\{\n {2}"a": 1\n\}$/);
  });

  it('measures columns, not code units', () => {
    assert.equal(displayWidth('abc'), 3);
    assert.equal(displayWidth('日本'), 4);
    assert.equal(displayWidth('e\u0301'), 1);
    assert.equal(displayWidth('👩‍👩‍👧'), 2);
    assert.equal(displayWidth(''), 0);
  });

  it('cuts to a width and says that it did', () => {
    assert.equal(clip('abcdef', 6), 'abcdef');
    assert.equal(clip('abcdefg', 6), 'abcde…');
    assert.equal(clip('日本語', 5), '日本…');
    assert.equal(clip('日本語', 4), '日…');
    assert.equal(clip('abc', 0), '');
    assert.equal(clip('x'.repeat(100_000), 3), 'xx…');
    assert.equal(clip(`a${'\u0301'.repeat(100_000)}b`, 10), '…');
  });

  it('never exceeds the width', () => {
    fc.assert(
      fc.property(anyText, fc.integer({ min: 1, max: 30 }), (text, width) => {
        assert.ok(displayWidth(clip(printable(text), width)) <= width);
      }),
    );
  });

  it('shortens names and instants, and counts bytes', () => {
    assert.equal(shortId('bagaaierav3xfc4ihzmdriqvjttbonigbsr7wlceiunhfvm34sqiiei7ddbea'), 'bagaaiera…bea');
    assert.equal(shortId('short'), 'short');
    assert.equal(shortInstant('2030-01-01T00:00:00.123Z'), '2030-01-01T00:00:00Z');
    assert.equal(byteCount(0), '0 B');
    assert.equal(byteCount(1536), '1.5 KiB');
    assert.equal(byteCount(3 * 1024 ** 4), '3.0 TiB');
  });
});

describe('cli: tables', () => {
  const columns = [{ title: 'ID' }, { title: 'ENTITY', min: 8 }, { title: 'VALUE', min: 8 }];
  const rows = [
    ['1', 'user:alice', 'short'],
    ['2', 'user:bob', 'a value that goes on and on, much longer than any terminal is wide, and then some more'],
  ];

  it('fits the terminal', () => {
    for (const width of [30, 40, 80]) {
      const lines = tableLines(columns, rows, { width });
      assert.ok(
        lines.every((line) => displayWidth(line) <= width),
        lines.join('\n'),
      );
    }
    assert.match(tableLines(columns, rows, { width: 40 })[2] as string, /^2 {3}user:bob {4}a value .*…$/);
  });

  it('keeps what must not be cut, even where that is too wide', () => {
    const [, line] = tableLines(columns, [['an-identifier-of-some-length', 'user:alice', 'value']], { width: 20 });
    assert.match(line as string, /^an-identifier-of-some-length {2}/);
  });

  it('cuts nothing off a terminal', () => {
    assert.ok(tableLines(columns, rows)[2]?.endsWith('some more'));
  });

  it('makes cells printable, also where they are cut', () => {
    const hostile = [['1', 'user:\u001b]0;pwned\u0007', '\u001b[2J'.repeat(1000)]];
    for (const width of [undefined, 40])
      assert.equal(isUnsafe(tableLines(columns, hostile, { width }).join('')), false);
  });

  it('fits whatever it is given', () => {
    const cells = fc.array(fc.tuple(fc.constant('1'), anyText, anyText), { maxLength: 5 });
    fc.assert(
      fc.property(cells, fc.integer({ min: 30, max: 120 }), (content, width) => {
        for (const line of tableLines(columns, content, { width })) assert.ok(displayWidth(line) <= width);
      }),
    );
  });
});

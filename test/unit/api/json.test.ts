import assert from 'node:assert/strict';
import fc from 'fast-check';
import { ApiError } from '../../../src/api/errors.ts';
import { parseStrictJson, parseStrictText } from '../../../src/api/json.ts';
import { MAX_BODY_DEPTH, MAX_BODY_MEMBERS, MAX_BODY_VALUES, STRINGIFY_SLICE_BYTES } from '../../../src/api/limits.ts';
import { stringify } from '../../../src/api/stringify.ts';

function refused(text: string | Uint8Array, message?: RegExp): void {
  assert.throws(
    () => (typeof text === 'string' ? parseStrictText(text) : parseStrictJson(text)),
    (error) =>
      error instanceof ApiError &&
      error.code === 'json_invalid' &&
      (message === undefined || message.test(error.message)),
    `${String(text).slice(0, 60)} was not refused`,
  );
}

describe('strict JSON', () => {
  it('reads whatever JSON.stringify writes', () => {
    fc.assert(
      fc.property(fc.jsonValue({ maxDepth: 10 }), fc.boolean(), (value, pretty) => {
        const text = JSON.stringify(value, null, pretty ? 2 : 0);
        if (text.includes('__proto__')) return;
        assert.deepEqual(parseStrictJson(Buffer.from(text)), JSON.parse(text));
      }),
    );
  });

  it('refuses what JSON.parse refuses, and nothing else than duplicates, depth and __proto__', () => {
    fc.assert(
      fc.property(fc.stringMatching(/^[{}[\],:"\\a0 ]{0,24}$/), (text) => {
        let parsed: unknown;
        let valid = true;
        try {
          parsed = JSON.parse(text);
        } catch {
          valid = false;
        }
        if (!valid) refused(text);
        else {
          try {
            assert.deepEqual(parseStrictText(text), parsed);
          } catch (error) {
            assert.match((error as Error).message, /given twice/);
          }
        }
      }),
      { numRuns: 2000 },
    );
  });

  it('refuses members given twice, also when one is spelled with escapes, and only within one object', () => {
    refused('{"a":1,"a":2}', /twice/);
    refused('{"a":1,"\\u0061":2}', /twice/);
    refused('[{"x":{"b":1,"c":[{}],"b":2}}]', /twice/);
    refused('{"a":{"b":1},"c":"}","a":1}', /twice/);
    assert.deepEqual(parseStrictText('{"a":{"a":{"a":"a"}},"b":[{"a":1},{"a":2}]}'), {
      a: { a: { a: 'a' } },
      b: [{ a: 1 }, { a: 2 }],
    });
    assert.deepEqual(parseStrictText('["a","a",",","a"]'), ['a', 'a', ',', 'a']);
    assert.deepEqual(parseStrictText('{"a":"b","b":"a","c":"\\",\\"a\\":"}'), { a: 'b', b: 'a', c: '","a":' });
  });

  it('refuses __proto__ and lets constructor be an ordinary member', () => {
    refused('{"__proto__":{"polluted":true}}', /__proto__/);
    refused('{"a":[{"\\u005f_proto__":1}]}', /__proto__/);
    const parsed = parseStrictText('{"constructor":{"prototype":{"polluted":true}}}');
    assert.deepEqual(Object.keys(parsed as object), ['constructor']);
    assert.equal(({} as { polluted?: unknown }).polluted, undefined);
  });

  it(`refuses more than ${MAX_BODY_DEPTH} levels before parsing, however deep`, () => {
    const nested = (depth: number) => '['.repeat(depth) + ']'.repeat(depth);
    assert.ok(parseStrictText(nested(MAX_BODY_DEPTH)));
    refused(nested(MAX_BODY_DEPTH + 1), /deeper/);
    refused('{"a":'.repeat(1_000_000), /deeper/);
    assert.ok(parseStrictText(`["${'['.repeat(1000)}"]`), 'brackets in strings are text');
  });

  it('refuses more values than a request needs, and objects with too many members, with 413', () => {
    const tooLarge = (text: string) =>
      assert.throws(
        () => parseStrictText(text),
        (error) => error instanceof ApiError && error.code === 'body_too_large',
      );
    const list = (count: number) => `[${Array(count).fill('0').join(',')}]`;
    assert.ok(parseStrictText(list(MAX_BODY_VALUES)));
    tooLarge(list(MAX_BODY_VALUES + 1));
    tooLarge(`[${'{},'.repeat(MAX_BODY_VALUES)}`);
    const object = (count: number) =>
      JSON.stringify(Object.fromEntries([...Array(count).keys()].map((i) => [`m${i}`, 0])));
    assert.ok(parseStrictText(object(MAX_BODY_MEMBERS)));
    tooLarge(object(MAX_BODY_MEMBERS + 1));
  });

  it('refuses what is not UTF-8, a byte order mark, and nothing at all', () => {
    refused(Buffer.from([0x22, 0xff, 0x22]), /UTF-8/);
    refused(Buffer.from('\ufeff{}'));
    refused('');
    refused('NaN');
    refused('{"a":1');
    refused('{"a');
    refused('"\\');
  });

  it('never quotes the input in its message', () => {
    try {
      parseStrictText('{"secret-value": oops}');
      assert.fail('was not refused');
    } catch (error) {
      assert.ok(error instanceof ApiError);
      assert.doesNotMatch(JSON.stringify([error.message, error.options]), /secret-value|oops/);
    }
  });

  it('is linear: megabytes of quotes, escapes or brackets are looked through, and not for minutes', () => {
    // At this size whatever is not linear runs into mocha's limit, on any machine.
    const escaped = ['\\', '\\"', '\\\\"', '"\\'].map((part) => `{"${part.repeat(1 << 21)}`);
    for (const text of ['"'.repeat(1 << 22), ...escaped, `[${'{},'.repeat(1 << 20)}{}]`]) {
      assert.throws(() => parseStrictText(text), ApiError, text.slice(0, 8));
    }
  });
});

describe('sliced stringify', () => {
  it('writes what JSON.stringify writes', async () => {
    await fc.assert(
      fc.asyncProperty(fc.jsonValue(), async (value) => {
        assert.equal(await stringify(value), JSON.stringify(value));
      }),
    );
    assert.equal(await stringify({ a: undefined, b: [1, 2], c: [undefined, 1] }), '{"b":[1,2],"c":[null,1]}');
  });

  it('lets the event loop turn while it writes a large page', async () => {
    const page = { facts: Array.from({ length: 200 }, () => ({ v: 'x'.repeat(64 * 1024) })) };
    let turns = 0;
    let isWriting = true;
    const count = (): void => {
      turns++;
      if (isWriting) setImmediate(count);
    };
    setImmediate(count);
    const text = await stringify(page);
    isWriting = false;
    assert.ok(text.length > 200 * 64 * 1024);
    assert.ok(turns >= Math.floor(text.length / STRINGIFY_SLICE_BYTES / 2), `${turns} turns`);
  });
});

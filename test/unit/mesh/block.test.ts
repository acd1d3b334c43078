import assert from 'node:assert/strict';
import fc from 'fast-check';
import { MAX_STATEMENT_BYTES } from '../../../src/facts/limits.ts';
import {
  BlockBuilder,
  decodeBlock,
  encodeBlock,
  readVarint,
  SIGNATURE_BYTES,
  varintSize,
  wireSize,
  writeVarint,
} from '../../../src/mesh/block.ts';
import { MAX_BLOCK_STATEMENTS } from '../../../src/mesh/data-limits.ts';
import { MeshError } from '../../../src/mesh/errors.ts';
import type { WireStatement } from '../../../src/node/federation.ts';

const malformed = (error: unknown): boolean => error instanceof MeshError && error.code === 'malformed_frame';

const statement = (length: number, fill = 7): WireStatement => ({
  bytes: new Uint8Array(length).fill(fill),
  sig: new Uint8Array(SIGNATURE_BYTES).fill(fill + 1),
});

const statements = fc.array(
  fc.record({
    bytes: fc.uint8Array({ minLength: 1, maxLength: 400 }),
    sig: fc.uint8Array({ minLength: SIGNATURE_BYTES, maxLength: SIGNATURE_BYTES }),
  }),
  { maxLength: 20 },
);

describe('mesh: blocks of statements', () => {
  it('come back as they were sent, after whatever head', () => {
    fc.assert(
      fc.property(statements, fc.nat(5), (list, head) => {
        const block = encodeBlock(list, head);
        const size = list.reduce((sum, one) => sum + wireSize(one), head + varintSize(list.length));
        assert.equal(block.length, size);
        const back = decodeBlock(block, head);
        assert.deepEqual(
          back.map(({ bytes, sig }) => [Buffer.from(bytes), Buffer.from(sig)]),
          list.map(({ bytes, sig }) => [Buffer.from(bytes), Buffer.from(sig)]),
        );
      }),
    );
  });

  it('have one spelling: whatever decodes encodes to the same bytes, and anything else is malformed', () => {
    fc.assert(
      fc.property(statements, fc.nat(), fc.nat(255), (list, at, value) => {
        const block = encodeBlock(list);
        const changed = block.slice();
        changed[at % block.length] = value;
        for (const bytes of [changed, block.subarray(0, at % block.length), Buffer.concat([block, Buffer.of(value)])]) {
          try {
            assert.deepEqual(Buffer.from(encodeBlock(decodeBlock(bytes))), Buffer.from(bytes));
          } catch (error) {
            if (!malformed(error)) throw error;
          }
        }
      }),
      { numRuns: 300 },
    );
  });

  it('are views of the frame: nothing is copied', () => {
    const block = encodeBlock([statement(100), statement(200)]);
    for (const { bytes, sig } of decodeBlock(block)) {
      assert.equal(bytes.buffer, block.buffer);
      assert.equal(sig.buffer, block.buffer);
    }
  });

  it('are refused before anything is allocated on the word of a number', () => {
    const cases: readonly (readonly [string, Uint8Array])[] = [
      ['nothing', new Uint8Array()],
      ['a thousand and one statements', varint(MAX_BLOCK_STATEMENTS + 1)],
      ['268 million statements', Uint8Array.of(0xff, 0xff, 0xff, 0x7f)],
      ['a number of five bytes', Uint8Array.of(0x80, 0x80, 0x80, 0x80, 0x01)],
      ['a number with a needless byte', Uint8Array.of(0x81, 0x00)],
      ['an empty statement', Buffer.concat([Buffer.of(1, 0), Buffer.alloc(SIGNATURE_BYTES)])],
      [
        'a statement above its limit',
        Buffer.concat([Buffer.of(1), varint(MAX_STATEMENT_BYTES + 1), Buffer.alloc(300)]),
      ],
      ['a statement of 268 MB', Buffer.concat([Buffer.of(1), Buffer.of(0xff, 0xff, 0xff, 0x7f)])],
      ['half a signature', Buffer.concat([Buffer.of(1, 5), Buffer.alloc(5 + 32)])],
      ['something behind its end', Buffer.concat([encodeBlock([statement(3)]), Buffer.of(0)])],
    ];
    for (const [what, bytes] of cases) assert.throws(() => decodeBlock(bytes), malformed, what);
  });

  it('hold as many statements as a commit, each up to its limit', () => {
    const many = Array.from({ length: MAX_BLOCK_STATEMENTS }, () => statement(1));
    assert.equal(decodeBlock(encodeBlock(many)).length, MAX_BLOCK_STATEMENTS);
    const [largest] = decodeBlock(encodeBlock([statement(MAX_STATEMENT_BYTES)]));
    assert.equal(largest!.bytes.length, MAX_STATEMENT_BYTES);
  });

  it('use numbers in their shortest form', () => {
    for (const n of [0, 1, 0x7f, 0x80, 0x3fff, 0x4000, 0x1f_ffff, 0x20_0000, 0xfff_ffff]) {
      const bytes = varint(n);
      assert.equal(bytes.length, varintSize(n), `${n}`);
      assert.deepEqual(readVarint(bytes, 0), { value: n, end: bytes.length });
    }
  });

  it('are built up to a size, and never of nothing', () => {
    const builder = new BlockBuilder(1000);
    assert.ok(builder.fits(statement(5000)), 'a first one always fits');
    builder.add(statement(800));
    assert.ok(!builder.fits(statement(200)));
    assert.ok(builder.fits(statement(50)));
    builder.add(statement(50));
    const block = encodeBlock(builder.take());
    assert.ok(block.length <= 1000);
    assert.equal(builder.size, 0);
    assert.equal(builder.bytes, 0);
    for (let i = 0; i < MAX_BLOCK_STATEMENTS; i++) builder.add(statement(1));
    assert.ok(!builder.fits(statement(1)), 'not more than a block may hold');
  });
});

function varint(n: number): Uint8Array {
  const bytes = new Uint8Array(8);
  return bytes.subarray(0, writeVarint(bytes, 0, n));
}

import assert from 'node:assert/strict';
import fc from 'fast-check';
import { isMeshError } from '../../../../src/mesh/errors.ts';
import {
  FRAME_OVERHEAD_BYTES,
  FrameAssembler,
  PREFIX_BYTES,
  withPrefix,
} from '../../../../src/mesh/libp2p/assembler.ts';

const taken = (assembler: FrameAssembler): Uint8Array[] => {
  const frames: Uint8Array[] = [];
  for (let frame = assembler.take(); frame; frame = assembler.take()) frames.push(frame);
  return frames;
};

describe('frames out of bytes', () => {
  it('are the same however the bytes are cut', () => {
    fc.assert(
      fc.property(
        fc.array(fc.uint8Array({ maxLength: 300 }), { maxLength: 20 }),
        fc.array(fc.integer({ min: 1, max: 200 }), { maxLength: 50 }),
        (frames, cuts) => {
          const bytes = Buffer.concat(frames.map(withPrefix));
          const assembler = new FrameAssembler(300);
          const got: Uint8Array[] = [];
          let at = 0;
          for (const cut of [...cuts, bytes.length]) {
            assembler.push(bytes.subarray(at, at + cut));
            at = Math.min(bytes.length, at + cut);
            if (cut % 2 === 0) got.push(...taken(assembler));
          }
          got.push(...taken(assembler));
          assert.deepEqual(got, frames);
          assert.equal(assembler.heldBytes, 0);
          assembler.end();
        },
      ),
    );
  });

  it('are refused by their length, with nothing behind it', () => {
    const assembler = new FrameAssembler(1000);
    assembler.push(withPrefix(new Uint8Array(1000)));
    for (const [prefix, max] of [
      ['000003e9', 1000],
      ['7fffffff', 1000],
      ['ffffffff', 2 ** 32 - 2],
    ] as const) {
      const other = new FrameAssembler(max);
      other.push(Buffer.from(prefix.slice(0, 6), 'hex'));
      assert.throws(
        () => other.push(Buffer.from(prefix.slice(6), 'hex')),
        (error) => isMeshError(error, 'frame_too_large'),
      );
    }
    assert.equal(assembler.take()?.length, 1000);
  });

  it('count what they cost, empty ones too', () => {
    const assembler = new FrameAssembler(10);
    for (let n = 0; n < 100; n++) assembler.push(withPrefix(new Uint8Array(0)));
    assert.equal(assembler.heldBytes, 100 * FRAME_OVERHEAD_BYTES);
    assert.equal(assembler.take()?.length, 0);
    assert.equal(assembler.heldBytes, 99 * FRAME_OVERHEAD_BYTES);
    assembler.clear();
    assert.equal(assembler.heldBytes, 0);
    assert.equal(assembler.take(), undefined);
  });

  it('do not end in the middle of one', () => {
    for (let length = 1; length < PREFIX_BYTES + 5; length++) {
      const assembler = new FrameAssembler(10);
      assembler.push(withPrefix(new Uint8Array(5)).subarray(0, length));
      assert.throws(
        () => assembler.end(),
        (error) => isMeshError(error, 'stream_closed'),
      );
    }
  });
});

import assert from 'node:assert/strict';
import { wireSize } from '../../../src/mesh/block.ts';
import {
  decodePushAnswer,
  encodeHave,
  encodeHeads,
  encodePushBlock,
  type Heads,
} from '../../../src/mesh/push-frames.ts';
import { PushReceiver } from '../../../src/mesh/push-receiver.ts';
import type { InboundOutcome, WireStatement } from '../../../src/node/federation.ts';
import { FakeStream } from '../../support/fake-stream.ts';
import { commit } from '../../support/mesh-parts.ts';
import { settle } from '../../support/test-world.ts';

const HEADS: Heads = { below: new Uint8Array(8), fingerprint: new Uint8Array(16), counts: [1, 2, 3] };

describe('mesh: taking what is pushed', () => {
  const makeReceiver = () => {
    /** In order, what the other parts were asked. */
    const calls: unknown[] = [];
    const state = { admits: true, isOpen: true };
    const waits: (() => void)[] = [];
    const pass = async (): Promise<void> => {
      if (!state.isOpen) await new Promise<void>((resolve) => waits.push(resolve));
    };
    let signal: AbortSignal | undefined;
    const receiver = new PushReceiver({
      intake: {
        admit: async (peerId, via, statements, given): Promise<InboundOutcome[]> => {
          signal = given;
          calls.push(['admit', peerId, via, statements.length]);
          await pass();
          return [];
        },
      },
      gate: {
        take: async (peerId, statements, bytes, given) => {
          signal = given;
          calls.push(['gate', peerId, statements, bytes]);
          await pass();
          return false;
        },
      },
      scores: { refuse: (peerId, code) => void calls.push(['refuse', peerId, code]) },
      peering: { admits: () => state.admits },
      onHave: (peerId, digests) => void calls.push(['have', peerId, digests.length]),
      onHeads: async (peerId) => {
        calls.push(['heads', peerId]);
        return { result: 'equal', counts: HEADS.counts };
      },
    });
    const stream = new FakeStream('peer');
    const served = receiver.serve(stream);
    const open = (): void => {
      for (const resume of waits.splice(0)) resume();
    };
    return { receiver, stream, served, calls, state, open, signal: () => signal };
  };
  const statements: WireStatement[] = [commit(1), commit(2)];
  const answers = ({ far }: FakeStream): string[] => far.received.map((frame) => decodePushAnswer(frame).type);

  it('takes everything from the allowance of the peer first: statements, digests and heads', async () => {
    const { stream, served, calls } = makeReceiver();
    const digests = Array.from({ length: 25 }, (_, n) => commit(n).digest);
    for (const frame of [encodePushBlock(statements), encodeHave(digests), encodeHeads(HEADS)]) stream.far.send(frame);
    stream.far.close();
    await served;
    const bytes = statements.reduce((sum, one) => sum + wireSize(one), 0);
    assert.deepEqual(calls, [
      ['gate', 'peer', 2, bytes],
      ['admit', 'peer', 'push', 2],
      ['gate', 'peer', 3, 25 * 32],
      ['have', 'peer', 25],
      ['gate', 'peer', 1, 0],
      ['heads', 'peer'],
    ]);
    assert.deepEqual(answers(stream), ['taken', 'compared']);
    assert.ok(stream.far.isClosed && stream.far.aborted === undefined);
  });

  it('says that a block is taken when it is durable, and reads the next one then', async () => {
    const { stream, calls, state, open } = makeReceiver();
    state.isOpen = false;
    for (let n = 0; n < 2; n++) stream.far.send(encodePushBlock(statements));
    await settle();
    assert.deepEqual([calls.length, answers(stream)], [1, []], 'it waits for its allowance');
    open();
    await settle();
    assert.deepEqual([calls.length, answers(stream)], [2, []], 'it is being written');
    open();
    await settle();
    assert.deepEqual([calls.length, answers(stream)], [3, ['taken']]);
  });

  it('takes nothing of who is no longer active, and holds it against nobody', async () => {
    const { receiver, stream, served, calls, state } = makeReceiver();
    state.admits = false;
    assert.equal(receiver.streams, 1);
    stream.far.send(encodePushBlock(statements));
    await served;
    assert.deepEqual([calls, receiver.streams], [[], 0]);
    assert.ok(stream.far.aborted);
  });

  it('ends every wait when it stops, and takes nothing more', async () => {
    for (const waitsFor of [1, 2]) {
      const { receiver, stream, served, calls, state, open, signal } = makeReceiver();
      state.isOpen = false;
      for (let n = 0; n < 2; n++) stream.far.send(encodePushBlock(statements));
      await settle();
      for (let n = 1; n < waitsFor; n++) {
        open();
        await settle();
      }
      assert.equal(calls.length, waitsFor);
      assert.equal(signal()?.aborted, false);
      receiver.stop();
      assert.equal(signal()?.aborted, true);
      state.isOpen = true;
      open();
      await served;
      assert.deepEqual([calls.length, receiver.streams], [2, 0], 'not the second block');
    }
  });

  it('holds frames that are none against the peer', async () => {
    const { stream, served, calls } = makeReceiver();
    stream.far.send(Uint8Array.of(0x77));
    await served;
    assert.deepEqual(calls, [['refuse', 'peer', 'malformed_frame']]);
    assert.ok(stream.far.aborted);
  });
});

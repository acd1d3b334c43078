import assert from 'node:assert/strict';
import { decodeBlock } from '../../../src/mesh/block.ts';
import {
  MAX_HAVE_DIGESTS,
  MAX_OUTBOX_BYTES,
  MAX_OUTBOX_STATEMENTS,
  PUSH_REOPEN_MAX_MS,
  PUSH_WINDOW_BLOCKS,
  PUSH_WINDOW_BYTES,
} from '../../../src/mesh/data-limits.ts';
import { isMeshError } from '../../../src/mesh/errors.ts';
import { Outbox, type Outgoing } from '../../../src/mesh/outbox.ts';
import {
  decodePushAnswer,
  decodePushFrame,
  encodeHave,
  encodeHeads,
  encodePushAnswer,
  encodePushBlock,
  type Heads,
} from '../../../src/mesh/push-frames.ts';
import { PushSender } from '../../../src/mesh/push-sender.ts';
import type { SetCommit } from '../../../src/node/mesh-services.ts';
import type { Pairing } from '../../../src/policy/sharing.ts';
import { FakeStream } from '../../support/fake-stream.ts';
import { commit, pairing } from '../../support/mesh-parts.ts';
import { settle, TestWorld } from '../../support/test-world.ts';

const heads: Heads = {
  below: Uint8Array.of(1, 2, 3, 4, 5, 6, 7, 8),
  fingerprint: new Uint8Array(16).fill(9),
  counts: [1, 2, 4_000_000_000],
};

function outgoing(of: SetCommit, changes: Partial<Outgoing> = {}): Outgoing {
  const { set, digest, receivedFrom, bytes, sig } = of;
  const statement = receivedFrom === null ? { bytes, sig } : null;
  return { set, digest, receivedFrom, statement, gossiped: false, ...changes };
}

/** A sender over streams that a test holds the other end of. */
function makeSender(options: { pairing?: Pairing; outbox?: Outbox } = {}) {
  const world = new TestWorld();
  const outbox = options.outbox ?? new Outbox();
  const streams: FakeStream[] = [];
  const terms = { pairing: options.pairing ?? pairing() };
  const told = { gaps: 0, compared: [] as string[], violations: 0, pushed: 0 };
  const sender = new PushSender('peer', {
    transport: {
      open: async () => {
        const stream = new FakeStream('peer');
        streams.push(stream);
        return stream;
      },
    },
    peering: { pairing: () => terms.pairing },
    outbox,
    world,
    onGap: () => {
      told.gaps += 1;
    },
    onPushed: (count) => {
      told.pushed += count;
    },
    onCompared: (_peer, _heads, result) => told.compared.push(result),
    onViolation: () => {
      told.violations += 1;
    },
  });
  const done = sender.run();
  const stop = async (): Promise<void> => {
    sender.stop();
    await settle();
    await done;
  };
  return { sender, world, outbox, streams, terms, told, stop };
}

/** Bytes of the statements in a stream's blocks, in order. */
function statementsOf(stream: FakeStream): number[] {
  return stream.far.received.flatMap((bytes) => {
    const frame = decodePushFrame(bytes);
    return frame.type === 'block' ? frame.statements.map((one) => Buffer.from(one.bytes).readUInt32BE()) : [];
  });
}

describe('mesh: push frames', () => {
  it('come back as they were sent', () => {
    const { bytes, sig } = commit(1);
    const block = decodePushFrame(encodePushBlock([{ bytes, sig }]));
    assert.equal(block.type, 'block');
    assert.equal(block.statements.length, 1);
    const digests = [commit(1).digest, commit(2).digest];
    const have = decodePushFrame(encodeHave(digests));
    assert.equal(have.type, 'have');
    assert.deepEqual(
      have.digests.map((one) => Buffer.from(one)),
      digests,
    );
    assert.deepEqual(decodePushFrame(encodeHeads(heads)), { type: 'heads', heads });
    for (const result of ['equal', 'differs', 'unknown'] as const) {
      const answer = { type: 'compared', result, counts: [1, 2, 4_000_000_000] } as const;
      assert.deepEqual(decodePushAnswer(encodePushAnswer(answer)), answer);
    }
    assert.deepEqual(decodePushAnswer(encodePushAnswer({ type: 'taken', blocks: 3 })), { type: 'taken', blocks: 3 });
  });

  it('are strict', () => {
    const bad = [
      Buffer.of(),
      Buffer.of(0x01),
      Buffer.of(0x01, 0),
      Buffer.of(0x02),
      Buffer.alloc(1 + 33, 0x02),
      Buffer.concat([Buffer.of(0x02), Buffer.alloc(32 * (MAX_HAVE_DIGESTS + 1))]),
      encodeHeads(heads).slice(0, -1),
      Buffer.concat([encodeHeads(heads), Buffer.of(0)]),
      Buffer.of(0x04, 1),
    ];
    for (const frame of bad) {
      assert.throws(
        () => decodePushFrame(frame),
        (error) => isMeshError(error, 'malformed_frame'),
        frame.toString('hex'),
      );
    }
    const answers = [
      [],
      [0x81],
      [0x81, 0],
      [0x81, PUSH_WINDOW_BLOCKS + 1],
      [0x82],
      [0x82, 0, 0],
      [0x82, 3, ...Array(12).fill(0)],
      [0x01, 1],
    ];
    for (const answer of answers) {
      assert.throws(
        () => decodePushAnswer(Uint8Array.from(answer)),
        (error) => isMeshError(error, 'malformed_frame'),
      );
    }
  });
});

describe('mesh: the outbox', () => {
  it('has a position for everybody and room for so much', () => {
    const outbox = new Outbox({ maxBytes: 10_000, maxStatements: 1000 });
    for (let n = 0; n < 500; n++) outbox.append([outgoing(commit(n))]);
    assert.equal(outbox.head, 500);
    assert.ok(outbox.bytes <= 10_000);
    assert.equal(outbox.oldest, 500 - outbox.size);
    assert.equal(outbox.at(outbox.oldest - 1), undefined);
    assert.equal(outbox.at(500), undefined);
    for (let at = outbox.oldest; at < 500; at++) {
      assert.deepEqual(outbox.at(at)!.digest, commit(at).digest);
    }
  });

  it('is bounded in statements, too, and what came from others takes no bytes of theirs', () => {
    const outbox = new Outbox();
    const foreign = Array.from({ length: MAX_OUTBOX_STATEMENTS + 10 }, (_, n) => outgoing(commit(n, { from: 'x' })));
    outbox.append(foreign);
    assert.equal(outbox.size, MAX_OUTBOX_STATEMENTS);
    outbox.append(Array.from({ length: 200 }, (_, n) => outgoing(commit(n, { bytes: 100_000 }))));
    assert.ok(outbox.bytes <= MAX_OUTBOX_BYTES && outbox.size > 50);
  });
});

describe('mesh: pushing to a peer', () => {
  it('sends what was made here whole, what came from others as a digest, and nothing that is not shared', async () => {
    const { outbox, streams, stop } = makeSender();
    await settle();
    outbox.append([
      outgoing(commit(1)),
      outgoing(commit(2, { audience: 'team' })),
      outgoing(commit(3, { audience: 'company', org: 'acme.example', from: 'another daemon of ours' })),
      outgoing(commit(4, { audience: 'company', org: 'bolt.example', from: 'peer' })),
      outgoing(commit(5, { audience: 'company', org: 'third.example', from: 'x' })),
      outgoing(commit(6, { audience: 'garden' })),
      outgoing(commit(7, { audience: 'public' }), { gossiped: true }),
      outgoing(commit(8, { audience: 'public' })),
      outgoing(commit(9, { audience: 'public', org: 'third.example', from: 'x' }), { gossiped: true }),
    ]);
    await settle();
    const frames = streams[0]!.far.received.map((bytes) => decodePushFrame(bytes));
    assert.deepEqual(
      frames.map(({ type }) => type),
      ['have', 'block'],
    );
    assert.deepEqual(statementsOf(streams[0]!), [1, 8]);
    const have = frames.find((frame) => frame.type === 'have')!;
    assert.deepEqual(
      have.digests.map((one) => Buffer.from(one)),
      [commit(3).digest],
    );
    await stop();
  });

  it('sends public statements to peers that gossip does not reach', async () => {
    const terms = pairing({ theirs: { namespaces: ['memory'] } });
    const { outbox, streams, stop } = makeSender({ pairing: terms });
    await settle();
    outbox.append([
      outgoing(commit(1, { audience: 'public' }), { gossiped: true }),
      outgoing(commit(2, { audience: 'public', namespace: 'roadmap' }), { gossiped: true }),
    ]);
    await settle();
    assert.deepEqual(statementsOf(streams[0]!), [1]);
    await stop();
  });

  it('stops a set at once when the terms no longer share it', async () => {
    const { outbox, streams, terms, stop } = makeSender();
    await settle();
    outbox.append([outgoing(commit(1))]);
    await settle();
    terms.pairing = pairing({ ours: { gives: ['public'] } });
    outbox.append([outgoing(commit(2))]);
    await settle();
    assert.deepEqual(statementsOf(streams[0]!), [1]);
    await stop();
  });

  it('sends nothing of a set that the terms no longer share once a slow peer has read what came before', async () => {
    const { outbox, streams, terms, told, stop } = makeSender();
    await settle();
    streams[0]!.block();
    // What came from others is told as a digest, before the block with what was made here.
    const sibling = commit(1, { audience: 'company', org: 'acme.example', from: 'another daemon of ours' });
    outbox.append([outgoing(sibling), outgoing(commit(2)), outgoing(commit(3))]);
    await settle();
    terms.pairing = pairing({ ours: { gives: ['public'] } });
    streams[0]!.unblock();
    await settle();
    assert.deepEqual(statementsOf(streams[0]!), []);
    assert.equal(told.gaps, 1, 'what is still shared of it is brought by reconciliation');
    outbox.append([outgoing(commit(4, { audience: 'public' }))]);
    await settle();
    assert.deepEqual(statementsOf(streams[0]!), [4]);
    await stop();
  });

  it('has so many blocks on their way, and goes on when they are taken', async () => {
    const { sender, outbox, streams, stop } = makeSender();
    await settle();
    const large = { bytes: 60_000 };
    outbox.append(Array.from({ length: 10 }, (_, n) => outgoing(commit(n, large))));
    await settle();
    const { far } = streams[0]!;
    assert.equal(far.received.length, PUSH_WINDOW_BLOCKS);
    assert.ok(sender.inFlightBytes <= PUSH_WINDOW_BYTES);
    far.send(encodePushAnswer({ type: 'taken', blocks: 2 }));
    await settle();
    assert.equal(far.received.length, PUSH_WINDOW_BLOCKS + 2);
    for (let n = 0; n < 3; n++) {
      far.send(encodePushAnswer({ type: 'taken', blocks: 2 }));
      await settle();
    }
    assert.deepEqual(statementsOf(streams[0]!), [0, 1, 2, 3, 4, 5, 6, 7, 8, 9]);
    await stop();
  });

  it('fault 28: costs nothing but its delay when the peer takes nothing, and leaves a gap when it falls behind', async () => {
    const { sender, outbox, streams, told, stop } = makeSender({ outbox: new Outbox({ maxBytes: 1_000_000 }) });
    await settle();
    streams[0]!.block();
    for (let n = 0; n < 2000; n++) {
      outbox.append([outgoing(commit(n, { bytes: 10_000 }))]);
      if (n % 100 === 0) await settle();
    }
    assert.ok(outbox.bytes <= 1_000_000);
    assert.ok(sender.inFlightBytes <= PUSH_WINDOW_BYTES);
    assert.equal(streams[0]!.far.received.length, 1, 'one block was handed over, and nothing after it');
    assert.equal(told.gaps, 0);
    // It thaws: the stream fails, another one is opened, and what fell out is left to reconciliation.
    streams[0]!.abort(new Error('thawed'));
    await settle();
    assert.equal(told.gaps, 1);
    await stop();
  });

  it('skips what fell out of the outbox, and says so', async () => {
    const { outbox, streams, told, world, stop } = makeSender({ outbox: new Outbox({ maxBytes: 50_000 }) });
    await settle();
    for (let n = 0; n < 10; n++) outbox.append([outgoing(commit(n, { bytes: 60_000 }))]);
    for (let n = 10; n < 14; n++) outbox.append([outgoing(commit(n))]);
    await settle();
    assert.ok(told.gaps >= 1);
    assert.deepEqual(statementsOf(streams[0]!), [], 'all of it is brought by the same reconciliation');
    outbox.append([outgoing(commit(14))]);
    await settle();
    assert.deepEqual(statementsOf(streams[0]!), [14]);
    assert.equal(world.pending, 0);
    await stop();
  });

  it('opens another stream after one failed, later each time, and asks for a reconciliation', async () => {
    const { streams, told, world, stop } = makeSender();
    await settle();
    for (let n = 0; n < 12; n++) {
      streams.at(-1)!.abort(new Error('reset'));
      await settle();
      await world.advance(2 * PUSH_REOPEN_MAX_MS);
      assert.equal(streams.length, n + 2);
    }
    assert.equal(told.gaps, 12);
    await stop();
    assert.equal(world.pending, 0);
  });

  it('tells heads one at a time, and hears how they compare', async () => {
    const { sender, streams, told, stop } = makeSender();
    await settle();
    sender.tellHeads(heads);
    await settle();
    sender.tellHeads(heads);
    await settle();
    const { far } = streams[0]!;
    assert.equal(far.received.length, 1, 'the first were not compared yet');
    far.send(encodePushAnswer({ type: 'compared', result: 'differs', counts: [0, 0, 0] }));
    await settle();
    assert.deepEqual(told.compared, ['differs']);
    sender.tellHeads(heads);
    await settle();
    assert.equal(far.received.length, 2);
    await stop();
  });

  it('ends a stream whose other side answers what was not asked', async () => {
    for (const answer of [
      encodePushAnswer({ type: 'taken', blocks: 1 }),
      encodePushAnswer({ type: 'compared', result: 'equal', counts: [0, 0, 0] }),
      Buffer.of(0x55),
    ]) {
      const { streams, told, stop } = makeSender();
      await settle();
      streams[0]!.far.send(answer);
      await settle();
      assert.equal(told.violations, 1);
      assert.ok(streams[0]!.far.aborted);
      await stop();
    }
  });

  it('sends equal statements as equal blocks', () => {
    const { bytes, sig } = commit(3);
    const frame = encodePushBlock([{ bytes, sig }]);
    assert.equal(frame[0], 0x01);
    assert.deepEqual(Buffer.from(decodeBlock(frame, 1)[0]!.bytes), bytes);
  });
});

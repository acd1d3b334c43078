import assert from 'node:assert/strict';
import { isMeshError } from '../../src/mesh/errors.ts';
import type { FrameStream } from '../../src/mesh/transport.ts';
import {
  deferred,
  HASTY,
  has,
  type Node,
  PATIENCE_MS,
  PROTOCOL,
  type Test,
  type TransportCase,
} from './transport-case.ts';

export function streamCases(name: string, test: Test): void {
  describe(`${name}: streams`, () => {
    /** Two connected nodes; the second serves. */
    const pair = async (
      net: TransportCase,
      handler: (stream: FrameStream) => Promise<void>,
      protocol = PROTOCOL,
    ): Promise<[Node, Node]> => {
      const [a, b] = (await net.start(2)) as [Node, Node];
      await net.serve(b, handler, protocol);
      await net.connect(a, b);
      return [a, b];
    };

    test('bring frames of any length in order, both ways, and know whose they are', async (net) => {
      const seen: string[] = [];
      const [a, b] = await pair(net, async (stream) => {
        seen.push(stream.peerId, stream.protocol);
        await echo(stream);
      });
      const stream = await a.transport.open(b.peerId, PROTOCOL);
      assert.equal(stream.peerId, b.peerId);
      assert.equal(stream.protocol, PROTOCOL.id);
      const frames = Array.from({ length: 300 }, (_, n) => Buffer.alloc(n % 7 === 0 ? 0 : (n * 1009) % 9000, n));
      frames.push(Buffer.alloc(PROTOCOL.maxFrame, 1), Buffer.alloc(1, 2));
      const sending = (async () => {
        for (const frame of frames) await stream.send(frame);
        await stream.close();
      })();
      for (const [n, frame] of frames.entries()) {
        const got = await stream.receive();
        assert.ok(got && Buffer.compare(got, frame) === 0, `frame ${n} of ${frame.length} bytes`);
      }
      assert.equal(await stream.receive(), undefined);
      assert.equal(await stream.receive(), undefined);
      await sending;
      assert.deepEqual(seen, [a.peerId, PROTOCOL.id]);
    });

    test('take a copy of what is sent', async (net) => {
      const [a, b] = await pair(net, echo);
      const stream = await a.transport.open(b.peerId, PROTOCOL);
      const frame = Buffer.from('first');
      await stream.send(frame);
      frame.fill('x');
      assert.equal(String(Buffer.from((await stream.receive())!)), 'first');
    });

    test('of a protocol nobody serves are refused', async (net) => {
      const [a, b] = await pair(net, echo);
      await net.fails(a.transport.open(b.peerId, { ...PROTOCOL, id: '/stigmesh/other/1.0.0' }), 'protocol_unsupported');
      await net.fails(a.transport.open(a.peerId, PROTOCOL), 'not_connected');
    });

    test('do not send a frame above the bound, and go on', async (net) => {
      const [a, b] = await pair(net, echo);
      const stream = await a.transport.open(b.peerId, PROTOCOL);
      await net.fails(stream.send(new Uint8Array(PROTOCOL.maxFrame + 1)), 'frame_too_large');
      await stream.send(Buffer.from('ok'));
      assert.equal((await stream.receive())?.length, 2);
    });

    test('end when a frame above the bound is announced', async (net) => {
      const failure = deferred<unknown>();
      const [a, b] = await pair(net, async (stream) => {
        await stream.receive();
        await stream.receive().catch(failure.resolve);
      });
      // The same protocol with another bound: what a peer that does not keep to it sends.
      const stream = await a.transport.open(b.peerId, { ...PROTOCOL, maxFrame: PROTOCOL.maxFrame * 2 });
      await stream.send(new Uint8Array(PROTOCOL.maxFrame));
      await stream.send(new Uint8Array(PROTOCOL.maxFrame + 1)).catch(() => {});
      assert.ok(isMeshError(await net.within(failure.promise, 'the refusal'), 'frame_too_large'));
      await net.fails(stream.receive(), 'stream_closed');
    });

    test('make who sends wait for who does not read, and lose nothing', async (net) => {
      const go = deferred<void>();
      let read = 0;
      const [a, b] = await pair(net, async (stream) => {
        await go.promise;
        while (await stream.receive()) read++;
      });
      const stream = await a.transport.open(b.peerId, PROTOCOL);
      const frame = new Uint8Array(32 * 1024);
      let sent = 0;
      let isDone = false;
      const sending = (async () => {
        for (; sent < 400; sent++) await stream.send(frame);
        await stream.close();
      })().finally(() => {
        isDone = true;
      });
      let before = -1;
      while (sent === 0 || before !== sent) {
        before = sent;
        await net.sleep(500);
      }
      assert.equal(isDone, false);
      assert.ok(sent * frame.length < 4 * 1024 * 1024, `${sent} frames are on their way to who reads nothing`);
      go.resolve();
      await net.within(sending, 'everything to be sent');
      await net.until(() => read === 400, 'everything to be read');
    });

    test('make who sends wait for who reads slowly, too, and lose nothing', async (net) => {
      let read = 0;
      const [a, b] = await pair(net, async (stream) => {
        while (await stream.receive()) if (++read % 8 === 0) await net.sleep(15);
      });
      const stream = await a.transport.open(b.peerId, PROTOCOL);
      const frame = new Uint8Array(PROTOCOL.maxFrame);
      let most = 0;
      for (let sent = 0; sent < 256; sent++) {
        await stream.send(frame);
        most = Math.max(most, (sent - read) * frame.length);
      }
      await stream.close();
      await net.until(() => read === 256, 'everything to be read');
      assert.ok(most < 4 * 1024 * 1024, `${most} bytes were on their way`);
    });

    test('give up on who does not read', async (net) => {
      const go = deferred<void>();
      const [a, b] = await pair(net, () => go.promise, HASTY);
      const stream = await a.transport.open(b.peerId, HASTY);
      const sending = (async () => {
        for (;;) await stream.send(new Uint8Array(64 * 1024));
      })();
      await net.fails(sending, 'timeout');
      await net.fails(stream.receive(), 'timeout');
      go.resolve();
    });

    test('give up on who says nothing, and tell it', async (net) => {
      const failure = deferred<unknown>();
      const [a, b] = await pair(
        net,
        async (stream) => {
          await stream.receive();
          await stream.receive().catch(failure.resolve);
        },
        HASTY,
      );
      const stream = await a.transport.open(b.peerId, { ...HASTY, idleMs: 10_000 });
      await stream.send(Buffer.from('something'));
      assert.ok(isMeshError(await net.within(failure.promise, 'the deadline'), 'timeout'));
      await net.fails(stream.receive(), 'stream_closed');
    });

    test('can be closed in one direction', async (net) => {
      const [a, b] = await pair(net, async (stream) => {
        let sum = 0;
        for (let frame = await stream.receive(); frame; frame = await stream.receive()) sum += frame.length;
        for (let n = 0; n < 100; n++) await stream.send(Buffer.from(String(sum)));
      });
      const stream = await a.transport.open(b.peerId, PROTOCOL);
      await stream.send(new Uint8Array(1000));
      await stream.send(new Uint8Array(234));
      await stream.close();
      await net.fails(stream.send(new Uint8Array(1)), 'stream_closed');
      let count = 0;
      for (let frame = await stream.receive(); frame; frame = await stream.receive()) {
        assert.equal(Buffer.from(frame).toString(), '1234');
        count++;
      }
      assert.equal(count, 100);
      await stream.close();
    });

    test('can be aborted, which ends both directions at both ends', async (net) => {
      const failures: unknown[] = [];
      const [a, b] = await pair(net, async (stream) => {
        try {
          while (await stream.receive());
        } catch (error) {
          failures.push(error);
        }
        await stream.send(new Uint8Array(1)).catch((error: unknown) => failures.push(error));
      });
      const stream = await a.transport.open(b.peerId, PROTOCOL);
      await stream.send(new Uint8Array(10));
      const pending = stream.receive();
      stream.abort(new Error('enough'));
      await net.fails(pending, 'stream_closed');
      await net.fails(stream.receive(), 'stream_closed');
      await net.fails(stream.send(new Uint8Array(1)), 'stream_closed');
      await stream.close();
      stream.abort(new Error('again'));
      await net.until(() => failures.length === 2, 'the other end to notice');
      for (const failure of failures) assert.ok(isMeshError(failure, 'stream_closed'), String(failure));
      assert.ok(has(a, b), 'the connection stays');
    });

    test('end with their handler: in order when it returns, by a reset when it fails', async (net) => {
      const [a, b] = await pair(net, async (stream) => {
        const frame = await stream.receive();
        if (frame?.length === 1) throw new Error('of no concern to the other side');
        await stream.send(new Uint8Array(5));
      });
      const good = await a.transport.open(b.peerId, PROTOCOL);
      await good.send(new Uint8Array(2));
      assert.equal((await good.receive())?.length, 5);
      assert.equal(await good.receive(), undefined);
      await good.close();
      const bad = await a.transport.open(b.peerId, PROTOCOL);
      await bad.send(new Uint8Array(1));
      await net.fails(bad.receive(), 'stream_closed');
    });

    test('whose handler is done do not wait for ever for the other side to be', async (net) => {
      const [a, b] = await pair(net, async () => {}, HASTY);
      const open = await Promise.all([1, 2].map(() => a.transport.open(b.peerId, HASTY)));
      assert.deepEqual(await Promise.all(open.map((stream) => stream.receive())), [undefined, undefined]);
      for (const stream of open) {
        // Nobody reads this; nobody has to wait for that either.
        for (let n = 0; n < 20; n++) await stream.send(new Uint8Array(32 * 1024)).catch(() => {});
      }
      let again: FrameStream | null = null;
      const deadline = PATIENCE_MS / 50;
      for (let n = 0; n < deadline && !again; n++) {
        await net.sleep(50);
        const stream = await a.transport.open(b.peerId, HASTY);
        again = await stream.receive().then(
          () => stream,
          () => null,
        );
      }
      assert.ok(again, 'the places are free again');
    });

    test('are as many as the protocol allows a peer, and others have their own', async (net) => {
      const running: { stream: FrameStream; done: () => void }[] = [];
      const hold = (stream: FrameStream): Promise<void> => new Promise((done) => running.push({ stream, done }));
      const [a, b] = await pair(net, hold);
      const c = await net.node();
      await net.connect(c, b);
      const open: FrameStream[] = [];
      for (let n = 0; n < PROTOCOL.maxInboundStreams; n++) {
        open.push(await a.transport.open(b.peerId, PROTOCOL));
      }
      await net.until(() => running.length === 2, 'two streams to be served');
      const refused = async (): Promise<void> => {
        const stream = await a.transport.open(b.peerId, PROTOCOL);
        await stream.receive();
      };
      await net.fails(refused(), 'stream_closed');
      assert.equal(running.length, 2);
      await c.transport.open(b.peerId, PROTOCOL);
      await net.until(() => running.length === 3, 'the other peer to be served');
      running[0]!.done();
      await open[0]!.close();
      assert.equal(await open[0]!.receive(), undefined);
      let again: FrameStream | null = null;
      const deadline = PATIENCE_MS / 100;
      for (let n = 0; n < deadline && running.length < 4; n++) {
        again = await a.transport.open(b.peerId, PROTOCOL).catch(() => null);
        await net.sleep(100);
      }
      assert.ok(again);
      assert.equal(running.length, 4);
      for (const { done } of running) done();
    });

    test('of peers that are not admitted are reset, those that run too once it is looked at again', async (net) => {
      let served = 0;
      const [a, b] = await pair(net, async (stream) => {
        served++;
        await echo(stream);
      });
      b.unwelcome.add(a.peerId);
      const refused = async (): Promise<void> => {
        const stream = await a.transport.open(b.peerId, PROTOCOL);
        await stream.send(new Uint8Array(1)).catch(() => {});
        await stream.receive();
      };
      await net.fails(refused(), 'stream_closed');
      assert.equal(served, 0);
      b.unwelcome.clear();
      const stream = await a.transport.open(b.peerId, PROTOCOL);
      await stream.send(new Uint8Array(1));
      assert.equal((await stream.receive())?.length, 1);
      b.transport.recheck(a.peerId);
      await stream.send(new Uint8Array(2));
      assert.equal((await stream.receive())?.length, 2);
      b.unwelcome.add(a.peerId);
      b.transport.recheck(a.peerId);
      await net.fails(stream.receive(), 'stream_closed');
      assert.equal(served, 1);
    });
  });
}

export async function echo(stream: FrameStream): Promise<void> {
  for (;;) {
    const frame = await stream.receive();
    if (!frame) return;
    await stream.send(frame);
  }
}

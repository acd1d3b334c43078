import assert from 'node:assert/strict';
import { type Digest, sha256 } from '../../../src/facts/index.ts';
import { decodeBlock, encodeBlock, wireSize } from '../../../src/mesh/block.ts';
import {
  FETCH_ANSWER_GRID_MS,
  FETCH_TIMEOUT_MS,
  MAX_ASKED,
  MAX_FETCH_DIGESTS,
  MAX_WANTED,
  WANT_DELAY_MS,
} from '../../../src/mesh/data-limits.ts';
import { isMeshError } from '../../../src/mesh/errors.ts';
import {
  decodeFetchRequest,
  encodeFetchRequest,
  Fetcher,
  type FetchRequest,
  FetchServer,
} from '../../../src/mesh/fetch.ts';
import { Wants } from '../../../src/mesh/wants.ts';
import type { WireStatement } from '../../../src/node/federation.ts';
import type { Pairing } from '../../../src/policy/sharing.ts';
import { FakeStream } from '../../support/fake-stream.ts';
import { commit, pairing } from '../../support/mesh-parts.ts';
import { settle, TestWorld } from '../../support/test-world.ts';

const statement = (n: number, bytes = 100): WireStatement => {
  const { bytes: content, sig } = commit(n, { bytes });
  return { bytes: content, sig };
};
const digestOf = ({ bytes }: WireStatement): Digest => sha256(bytes);

describe('mesh: fetch requests', () => {
  it('come back as they were sent', () => {
    const requests: FetchRequest[] = [
      { type: 'manifest', authority: 'acme.example' },
      { type: 'statements', digests: [digestOf(statement(1)), digestOf(statement(2))] },
    ];
    for (const request of requests) {
      const back = decodeFetchRequest(encodeFetchRequest(request));
      assert.deepEqual(JSON.stringify(back), JSON.stringify(request));
    }
  });

  it('are strict', () => {
    const bad = [
      [],
      [0x01],
      [0x01, ...Buffer.alloc(31)],
      [0x01, ...Buffer.alloc(33)],
      [0x01, ...Buffer.alloc(32 * (MAX_FETCH_DIGESTS + 1))],
      [0x02],
      [0x02, ...Buffer.from('ACME')],
      [0x02, ...Buffer.alloc(300, 'a')],
      [0x03, 1],
    ];
    for (const frame of bad) {
      assert.throws(
        () => decodeFetchRequest(Uint8Array.from(frame)),
        (error) => isMeshError(error, 'malformed_frame'),
      );
    }
  });
});

describe('mesh: answering fetches', () => {
  const held = [statement(1), statement(2, 60_000), statement(3, 60_000), statement(4, 60_000)];

  /** @param narrowedAfter takings from the allowance after which the terms are others */
  const makeServer = (readMs = 0, terms: Pairing | undefined = pairing(), narrowedAfter = Number.POSITIVE_INFINITY) => {
    const world = new TestWorld();
    const refused: string[] = [];
    /** What was taken from the allowance of the peer: statements, bytes. */
    const taken: [number, number][] = [];
    let reads = 0;
    const server = new FetchServer({
      sets: {
        read: async (_, digests) => {
          reads += 1;
          world.jump(readMs);
          return digests.map((digest) => held.find((one) => Buffer.compare(digestOf(one), digest) === 0));
        },
      },
      manifests: { statement: async (authority) => (authority === 'acme.example' ? held[0] : undefined) },
      peering: { pairing: () => (taken.length > narrowedAfter ? pairing({ ours: { gives: [] } }) : terms) },
      gate: {
        take: async (_, statements, bytes) => {
          taken.push([statements, bytes]);
          return false;
        },
      },
      scores: { refuse: (_, code) => void refused.push(code) },
      world,
    });
    const ask = async (request: Uint8Array): Promise<FakeStream> => {
      const stream = new FakeStream('peer');
      stream.far.send(request);
      void server.serve(stream);
      await world.advance(FETCH_ANSWER_GRID_MS);
      await settle();
      return stream;
    };
    return { world, server, ask, refused, taken, reads: () => reads };
  };
  const contents = ({ far }: FakeStream): WireStatement[] => far.received.flatMap((frame) => decodeBlock(frame));

  it('sends what is held, in blocks, and nothing else', async () => {
    const { ask } = makeServer();
    const digests = [...held.map(digestOf), digestOf(statement(99))];
    const stream = await ask(encodeFetchRequest({ type: 'statements', digests }));
    assert.deepEqual(contents(stream).map(digestOf), held.map(digestOf));
    assert.ok(stream.far.received.length > 1);
    assert.ok(stream.far.isClosed);
    const nothing = await ask(encodeFetchRequest({ type: 'statements', digests: [digestOf(statement(99))] }));
    assert.deepEqual(nothing.far.received, [encodeBlock([])]);
  });

  it('takes what it is asked for, and each block of what it sends, from the allowance of the peer', async () => {
    const { ask, taken } = makeServer();
    const { far } = await ask(encodeFetchRequest({ type: 'statements', digests: held.map(digestOf) }));
    const blocks = far.received.map((frame) => decodeBlock(frame).reduce((sum, one) => sum + wireSize(one), 0));
    assert.ok(blocks.length > 1);
    assert.deepEqual(taken, [[held.length, 0], ...blocks.map((bytes) => [1, bytes])]);
    taken.length = 0;
    await ask(encodeFetchRequest({ type: 'manifest', authority: 'nobody.example' }));
    assert.deepEqual(taken[0], [1, 0]);
  });

  it('sends nothing more once the terms are others, however slow the reader', async () => {
    for (const narrowedAfter of [1, 2]) {
      const { ask } = makeServer(0, pairing(), narrowedAfter);
      const { far } = await ask(encodeFetchRequest({ type: 'statements', digests: held.map(digestOf) }));
      assert.equal(far.received.length, narrowedAfter - 1);
      assert.ok(isMeshError(far.aborted, 'stream_closed'));
    }
  });

  it('sends manifests where they are shared', async () => {
    const own = encodeFetchRequest({ type: 'manifest', authority: 'acme.example' });
    assert.equal(contents(await makeServer().ask(own)).length, 1);
    const other = encodeFetchRequest({ type: 'manifest', authority: 'nobody.example' });
    assert.equal(contents(await makeServer().ask(other)).length, 0);
    const closed = makeServer(0, pairing({ ours: { gives: ['company'] } }));
    assert.equal(contents(await closed.ask(own)).length, 0);
  });

  it('fault 16: answers at a beat of its clock, however long it took to look', async () => {
    for (const readMs of [0, 3, 11, 19]) {
      const { server, world } = makeServer(readMs);
      const stream = new FakeStream('peer');
      stream.far.send(encodeFetchRequest({ type: 'statements', digests: [digestOf(statement(99))] }));
      void server.serve(stream);
      await settle();
      await world.advance(FETCH_ANSWER_GRID_MS - readMs - 1);
      assert.equal(stream.far.received.length, 0, 'not before the beat');
      await world.advance(1);
      assert.equal(stream.far.received.length, 1, `${readMs} ms`);
    }
  });

  it('resets what is no request, and holds it against the peer', async () => {
    const { ask, refused, reads } = makeServer();
    const stream = await ask(Buffer.of(9));
    assert.ok(stream.far.aborted);
    assert.deepEqual(refused, ['malformed_frame']);
    assert.equal(reads(), 0);
  });

  it('reads nothing for a peer that is no longer active', async () => {
    const world = new TestWorld();
    let reads = 0;
    const server = new FetchServer({
      sets: {
        read: async () => {
          reads += 1;
          return [];
        },
      },
      manifests: { statement: async () => undefined },
      peering: { pairing: () => undefined },
      gate: { take: async () => false },
      scores: { refuse: () => {} },
      world,
    });
    const stream = new FakeStream('peer');
    stream.far.send(encodeFetchRequest({ type: 'statements', digests: [digestOf(statement(1))] }));
    await server.serve(stream);
    assert.ok(stream.far.aborted);
    assert.equal(reads, 0);
  });
});

describe('mesh: asking for statements', () => {
  const makeFetcher = () => {
    const world = new TestWorld();
    const refused: string[] = [];
    const stream = new FakeStream('peer');
    const fetcher = new Fetcher({
      transport: { open: async () => stream },
      scores: { refuse: (_, code) => void refused.push(code) },
      world,
    });
    return { world, refused, stream, fetcher };
  };
  const wanted = [statement(1), statement(2), statement(3)];

  it('takes what was asked for, in any order, not all of it', async () => {
    const { fetcher, stream, world } = makeFetcher();
    stream.far.send(encodeBlock([wanted[2]!]));
    stream.far.send(encodeBlock([wanted[0]!]));
    stream.far.close();
    const got = await fetcher.statements('peer', wanted.map(digestOf));
    assert.deepEqual(got.map(digestOf), [digestOf(wanted[2]!), digestOf(wanted[0]!)]);
    assert.ok(stream.far.isClosed, 'there is one request a stream');
    assert.equal(world.pending, 0);
  });

  it('fault 27: takes nothing else, and holds it against the peer', async () => {
    const cases: readonly (readonly [string, readonly Uint8Array[]])[] = [
      ['unrequested', [encodeBlock([statement(9)])]],
      ['unrequested', [encodeBlock([wanted[0]!, wanted[0]!])]],
      ['unrequested', [encodeBlock([wanted[0]!]), encodeBlock([wanted[0]!])]],
      ['protocol_violation', [encodeBlock([]), encodeBlock([])]],
      ['protocol_violation', [encodeBlock([]), encodeBlock([wanted[0]!])]],
      ['protocol_violation', [encodeBlock([wanted[0]!]), encodeBlock([])]],
      ['malformed_frame', [Buffer.of(1, 2, 3)]],
    ];
    for (const [code, frames] of cases) {
      const { fetcher, stream, refused } = makeFetcher();
      for (const frame of frames) stream.far.send(frame);
      await assert.rejects(fetcher.statements('peer', wanted.map(digestOf)), { code });
      assert.deepEqual(refused, [code]);
      assert.ok(stream.far.aborted);
    }
  });

  it('gives up in time, and when it is told to', async () => {
    const { fetcher, stream, world } = makeFetcher();
    const slow = assert.rejects(fetcher.statements('peer', wanted.map(digestOf)), { code: 'stream_closed' });
    await world.advance(FETCH_TIMEOUT_MS);
    await slow;
    assert.ok(stream.far.aborted);
    const other = makeFetcher();
    const stopped = new AbortController();
    const pending = assert.rejects(other.fetcher.statements('peer', wanted.map(digestOf), stopped.signal));
    await settle();
    stopped.abort();
    await pending;
    assert.deepEqual(other.refused, [], 'which is nobody’s fault');
    assert.equal(other.world.pending, 0);
  });
});

describe('mesh: fetching what peers offer', () => {
  const makeWants = (held: readonly WireStatement[] = []) => {
    const world = new TestWorld();
    const fetched: [string, number[]][] = [];
    const admitted: number[] = [];
    const gates: (() => void)[] = [];
    const state = { isBlocked: false };
    const numbers = new Map([1, 2, 3, 4].map((n) => [Buffer.from(digestOf(statement(n))).toString('hex'), n]));
    const wants = new Wants({
      fetcher: {
        statements: async (peerId, digests) => {
          const asked = digests.map((digest) => numbers.get(Buffer.from(digest).toString('hex')) ?? 0);
          fetched.push([peerId, asked]);
          if (state.isBlocked) await new Promise<void>((resolve) => gates.push(resolve));
          return asked.map((n) => statement(n));
        },
      },
      intake: {
        admit: async (_, via, list) => {
          assert.equal(via, 'fetch');
          for (const one of list) admitted.push(Buffer.from(one.bytes).readUInt32BE());
          return [];
        },
        isHeld: () => false,
      },
      sets: {
        read: async (_, digests) =>
          digests.map((digest) => held.find((one) => Buffer.compare(digestOf(one), digest) === 0)),
      },
      peering: { pairing: () => pairing() },
      world,
    });
    return { wants, world, fetched, admitted, gates, state };
  };
  const digests = (...numbers: number[]): Digest[] => numbers.map((n) => digestOf(statement(n)));

  it('waits a moment, leaves out what is held, and asks one peer for each', async () => {
    const { wants, world, fetched, admitted, gates, state } = makeWants([statement(2)]);
    state.isBlocked = true;
    wants.offer('a', digests(1, 2, 3));
    wants.offer('b', digests(1, 3, 4));
    await world.advance(WANT_DELAY_MS - 1);
    assert.deepEqual(fetched, []);
    await world.advance(1);
    assert.deepEqual(fetched, [
      ['a', [1, 3]],
      ['b', [4]],
    ]);
    for (const open of gates) open();
    await settle();
    assert.deepEqual(admitted.toSorted(), [1, 3, 4]);
    assert.equal(wants.waiting + wants.asked, 0);
  });

  it('is bounded, whatever is offered', async () => {
    const { wants, world, state, gates } = makeWants();
    state.isBlocked = true;
    const flood = Array.from({ length: 2000 }, (_, n) => sha256(`digest ${n}`));
    for (let n = 0; n < 10; n++) wants.offer('a', flood);
    await world.advance(WANT_DELAY_MS);
    assert.ok(wants.waiting <= MAX_WANTED);
    assert.ok(wants.asked <= MAX_FETCH_DIGESTS && wants.asked <= MAX_ASKED);
    wants.stop();
    for (const open of gates) open();
    await settle();
    assert.equal(wants.waiting, 0);
    assert.equal(world.pending, 0);
  });
});

import assert from 'node:assert/strict';
import { formatHlc } from '../../src/facts/index.ts';
import { type Frame, MODE, type Range } from '../../src/sync/frames.ts';
import { ownSessionSurvives, SYNC_PROTOCOL, type SyncReason, SyncSession } from '../../src/sync/index.ts';
import { END_KEY, FIRST_KEY, type Key, keyOf } from '../../src/sync/key.ts';
import { MAX_SESSION_SETS, MAX_TURN_IDS, MAX_TURN_RANGES } from '../../src/sync/limits.ts';
import { SetIndex } from '../../src/sync/set-index.ts';
import { type FakeStatement, fakeStatement, runPair, SyncSide } from '../support/sync-pair.ts';
import { block, ranges, ScriptedPeer } from '../support/sync-script.ts';

const SET = 'public/acme.example/memory';
const SECRET = 'team/acme.example/secret';
const START = 1_795_244_001_000;
const at = (n: number): string => formatHlc(START + n, 0);
const statement = (n: number, set = SET): FakeStatement => fakeStatement(set, at(n), n);
const statements = (from: number, count: number, set = SET): FakeStatement[] =>
  Array.from({ length: count }, (_, n) => statement(from + n, set));
const keyAt = ({ hlc, digest }: FakeStatement): Key => keyOf(hlc, digest);

function side(...all: readonly FakeStatement[]): SyncSide {
  const side = new SyncSide();
  side.index(SET);
  side.add(...all);
  return side;
}

/** A session of this side that was told something, and should have failed. */
function assertFails(peer: ScriptedPeer, reason: SyncReason, isPeerAtFault = true): void {
  const result = peer.result();
  assert.ok(result, 'the session ended');
  assert.deepEqual([result.outcome, result.reason, result.peerAtFault], ['failed', reason, isPeerAtFault]);
  const last = peer.hear().at(-1);
  if (reason !== 'peer_stopped' && reason !== 'withheld' && reason !== 'diverged') {
    assert.deepEqual(last, { type: 'stop', reason }, 'the peer is told');
  }
}

const ids = (lower: Key, ...all: readonly FakeStatement[]): Range => ({
  mode: MODE.ids,
  lower,
  ids: all.map(keyAt).reverse(),
});
const wrong = (lower: Key): Range => ({ mode: MODE.fingerprint, lower, fingerprint: Buffer.alloc(16, 6) });

describe('sync: sessions', () => {
  it('of equal sets are one round trip of less than a kilobyte, with many sets, too', () => {
    const sets = Array.from({ length: 300 }, (_, n) => statement(n, `company/acme.example/n${n}`));
    const { roundTrips, bytes, initiator, responder } = runPair(side(...sets), side(...sets));
    assert.deepEqual([initiator.outcome, responder.outcome, roundTrips], ['converged', 'converged', 1]);
    assert.ok(bytes < 100, `${bytes} bytes`);
  });

  it('take a set the other side does not have for an empty one, in both directions', () => {
    const first = side(...statements(0, 3, 'public/a.example/x'));
    const second = side(...statements(0, 100, 'public/b.example/y'));
    const { initiator, responder } = runPair(first, second);
    assert.deepEqual([initiator.outcome, responder.outcome], ['converged', 'converged']);
    assert.deepEqual([initiator.notShared, responder.notShared], [[], []]);
    assert.equal(first.index('public/b.example/y').count, 100);
    assert.equal(second.index('public/a.example/x').count, 3);
  });

  it('report which sets the peer does not share, and converge on the others', () => {
    const first = side(...statements(0, 3), ...statements(0, 50, 'public/a.example/x'));
    const second = new SyncSide((name) => name === SET);
    second.add(...statements(2, 3));
    for (const [a, b] of [
      [first, second],
      [second, first],
    ] as const) {
      const { initiator, responder } = runPair(a, b);
      assert.deepEqual([initiator.outcome, responder.outcome], ['converged', 'converged']);
      const [mine, theirs] = a === first ? [initiator, responder] : [responder, initiator];
      assert.deepEqual([mine.notShared, theirs.notShared], [['public/a.example/x'], []]);
    }
    assert.deepEqual([...second.indexes.keys()], [SET]);
    assert.equal(second.index(SET).count, 5);
  });

  it('blame nobody for a statement that the store holds a moment before its index does', () => {
    for (const opens of ['us', 'them'] as const) {
      const us = side(...statements(0, 60));
      const them = side(...statements(0, 80));
      // Another session brings the same, and is just being written.
      us.deliver = (received) => ({ accepted: 0, known: received.length, refused: 0 });
      const { initiator, responder } = runPair(...(opens === 'us' ? ([us, them] as const) : ([them, us] as const)));
      for (const { outcome, reason, peerAtFault } of [initiator, responder]) {
        assert.deepEqual([outcome, reason, peerAtFault], ['progress', 'changed', false]);
      }
    }
  });

  it('are not converged when a limit kept the name of a set from being told', () => {
    const other = 'public/acme.example/other';
    for (let bytes = 40; bytes < 1500; bytes += 7) {
      const first = side(statement(0), statement(1, other), statement(2));
      const second = side(statement(0));
      const { initiator, responder } = runPair(first, second, { initiator: { budget: { bytes } } });
      const isEqual = first.statements.size === second.statements.size;
      for (const { outcome } of [initiator, responder]) assert.ok(outcome !== 'converged' || isEqual, `${bytes} bytes`);
    }
  });

  it('report nothing about sharing when they were cut short', () => {
    for (let cutAt = 1; ; cutAt++) {
      let frames = 0;
      const first = side(...statements(0, 3), ...statements(0, 50, 'public/a.example/x'));
      const second = side(...statements(2, 3));
      const { initiator, responder } = runPair(first, second, {
        onFrame: (frame) => (++frames === cutAt ? undefined : frame),
      });
      assert.deepEqual([initiator.notShared, responder.notShared], [[], []], `cut at frame ${cutAt}`);
      if (frames < cutAt) break;
    }
  });

  it('fault 16: of a set that is not shared, nothing can be told: sessions with and without it are the same bytes', () => {
    const transcript = (hasSecret: boolean, opens: 'us' | 'them'): string[] => {
      const us = new SyncSide((name) => name !== SECRET);
      us.add(...statements(0, 60), ...(hasSecret ? statements(0, 40, SECRET) : []));
      const them = side(...statements(30, 60), ...statements(20, 40, SECRET));
      const frames: string[] = [];
      const pair = opens === 'us' ? ([us, them] as const) : ([them, us] as const);
      const ends = runPair(...pair, {
        onFrame: (frame) => {
          frames.push(Buffer.from(frame).toString('hex'));
          return frame;
        },
      });
      const theirs = opens === 'us' ? ends.responder : ends.initiator;
      assert.deepEqual([theirs.outcome, theirs.notShared], ['converged', [SECRET]]);
      assert.equal(us.index(SECRET).count, hasSecret ? 40 : 0);
      return frames;
    };
    for (const opens of ['us', 'them'] as const) assert.deepEqual(transcript(true, opens), transcript(false, opens));
  });

  it('fault 16: wants are numbers of offers, so that no statement can be asked for by its digest', () => {
    const peer = new ScriptedPeer(side(...statements(0, 20)), 'responder').begin();
    const [vector] = peer.hear().filter(({ type }) => type === 'vector');
    assert.ok(vector);
    peer.give({ type: 'want', ordinals: [0] });
    assertFails(peer, 'want_invalid');

    const other = new ScriptedPeer(side(...statements(0, 20)), 'responder').begin();
    other.give(
      ranges(other.tag(SET), END_KEY, wrong(FIRST_KEY)),
      other.turn(),
      { type: 'want', ordinals: [19] },
      other.turn(),
    );
    assert.equal(other.hear().filter(({ type }) => type === 'block').length, 1, 'what was offered is sent');
    other.give({ type: 'want', ordinals: [0] });
    assertFails(other, 'want_invalid');
  });

  it('send what the other side lacks at its young end at once, without ids', () => {
    const [first, second] = [side(...statements(0, 200)), side(...statements(0, 100))];
    const { initiator, responder, roundTrips } = runPair(first, second);
    assert.deepEqual([responder.outcome, roundTrips], ['converged', 2]);
    assert.equal(initiator.counters.idsOut + responder.counters.idsOut, 0);
    assert.deepEqual(
      initiator.peerHeads.map(({ set, count, newest }) => [set, count, newest]),
      [[SET, 100, at(99)]],
    );
  });

  it('do not want what is unwanted, say so, and fail when nothing else is left', () => {
    const [first, second] = [side(...statements(0, 20)), side(...statements(10, 20))];
    const unwanted = statement(5);
    const isUnwanted = (digest: Uint8Array): boolean => Buffer.compare(digest, unwanted.digest) === 0;
    const once = runPair(first, second, { responder: { isUnwanted } });
    assert.deepEqual([once.initiator.outcome, once.initiator.reason], ['progress', 'refused']);
    assert.deepEqual([once.responder.outcome, once.responder.reason], ['progress', 'refused']);
    assert.equal(second.index(SET).count, 29);
    const again = runPair(first, second, { responder: { isUnwanted } });
    assert.deepEqual([again.initiator.outcome, again.initiator.reason], ['failed', 'refused']);
    assert.equal(again.initiator.peerAtFault, false);
  });

  it('say what is gone and what was refused on admission', () => {
    const [first, second] = [side(...statements(0, 20)), side(...statements(0, 10))];
    const [lost, bad] = [statement(15), statement(17)].map(({ digest }) => Buffer.from(digest).toString('hex'));
    first.statements.delete(lost!);
    const gone = runPair(first, second);
    assert.deepEqual([gone.initiator.reason, gone.responder.reason], ['gone', 'gone']);
    assert.equal(gone.initiator.counters.gone, 1);
    const third = side(...statements(0, 10));
    third.refused.add(bad!);
    first.add(statement(15));
    const refused = runPair(first, third);
    assert.deepEqual([refused.initiator.reason, refused.responder.reason], ['refused', 'refused']);
    assert.deepEqual([refused.responder.counters.refused, refused.responder.counters.accepted], [1, 9]);
  });

  it('end for both when one side closes', () => {
    const peer = new ScriptedPeer(side(...statements(0, 20)), 'responder').begin();
    peer.give({ type: 'stop', reason: 'some_later_reason' });
    const result = peer.result()!;
    assert.deepEqual([result.outcome, result.reason, result.detail], ['failed', 'peer_stopped', 'some_later_reason']);
    const other = new ScriptedPeer(side(...statements(0, 20)), 'responder').begin();
    other.session.close('stopped', 'shutdown');
    assert.deepEqual(other.hear().at(-1), { type: 'stop', reason: 'stopped' });
    assert.equal(other.result()?.detail, 'shutdown');
  });

  it('throw when their driver calls out of order, and only then', () => {
    const peer = new ScriptedPeer(side(statement(0)), 'responder');
    assert.throws(() => peer.session.receive(Buffer.alloc(3), 0), /out of order/);
    assert.throws(() => peer.session.loaded([]), /out of order/);
    assert.throws(() => peer.session.delivered({ accepted: 0, known: 0, refused: 0 }), /out of order/);
    const sets = Array.from({ length: MAX_SESSION_SETS + 1 }, (_, n) => new SetIndex(`public/acme.example/n${n}`));
    assert.throws(() => new SyncSession({ role: 'initiator', nonce: Buffer.alloc(16), sets, now: 0 }), RangeError);
    assert.throws(() => new SyncSession({ role: 'initiator', nonce: Buffer.alloc(8), sets: [], now: 0 }), RangeError);
  });

  it('of two that were opened at once, one survives, the same for both sides', () => {
    const [a, b] = ['12D3KooWA', '12D3KooWB'];
    assert.equal(ownSessionSurvives(a!, b!), true);
    assert.equal(ownSessionSurvives(b!, a!), false);
    assert.equal(SYNC_PROTOCOL, '/stigmesh/sync/1.0.0');
  });
});

describe('sync: what a peer may not do', () => {
  const us = (): SyncSide => side(...statements(0, 100));
  const begun = (init: ConstructorParameters<typeof ScriptedPeer>[2] = {}): ScriptedPeer =>
    new ScriptedPeer(us(), 'responder', init).begin();

  const cases: readonly [what: string, reason: SyncReason, run: () => ScriptedPeer][] = [
    [
      'speaks before hello',
      'frame_unexpected',
      () => new ScriptedPeer(us(), 'responder').give({ type: 'ask', tags: ['00'.repeat(8)] }),
    ],
    ['says hello twice', 'frame_unexpected', () => begun().begin()],
    [
      'answers hello with hello',
      'frame_unexpected',
      () =>
        new ScriptedPeer(us(), 'initiator').give({
          type: 'hello',
          nonce: Buffer.alloc(16),
          root: Buffer.alloc(16),
          accepts: 1,
        }),
    ],
    [
      'claims equal sets without proof',
      'proof_mismatch',
      () =>
        new ScriptedPeer(us(), 'initiator').give({
          type: 'welcome',
          nonce: Buffer.alloc(16),
          proof: Buffer.alloc(16),
          accepts: 1,
        }),
    ],
    [
      'sends statements before its vector',
      'frame_unexpected',
      () => new ScriptedPeer(us(), 'initiator').begin().give(block(statement(1))),
    ],
    [
      'sends a vector later',
      'frame_unexpected',
      () =>
        begun().give({
          type: 'vector',
          entries: [
            { tag: '00'.repeat(8), count: 1, fingerprint: Buffer.alloc(16), newest: keyOf(at(0), Buffer.alloc(32)) },
          ],
        }),
    ],
    [
      'ends the session in a turn that says something',
      'frame_unexpected',
      () => {
        const peer = begun();
        return peer.give({ type: 'ask', tags: ['00'.repeat(8)] }, peer.turn({ fin: true }));
      },
    ],
    [
      'says more will come and sends nothing',
      'idle_turn',
      () => {
        const peer = begun();
        return peer.give(peer.turn({ pending: true }));
      },
    ],
    [
      'gives overlapping sections',
      'ranges_disordered',
      () => {
        const peer = begun();
        const frame = ranges(peer.tag(SET), END_KEY, wrong(keyAt(statement(50))));
        return peer.give(frame, frame);
      },
    ],
    [
      'gives ascending sections',
      'ranges_disordered',
      () => {
        const peer = begun();
        const tag = peer.tag(SET);
        return peer.give(
          ranges(tag, keyAt(statement(50)), wrong(FIRST_KEY)),
          ranges(tag, END_KEY, wrong(keyAt(statement(50)))),
        );
      },
    ],
    [
      'names a set nobody asked for',
      'name_invalid',
      () => begun().give({ type: 'names', names: ['public/acme.example/other'] }),
    ],
    [
      'wants in descending order',
      'want_invalid',
      () => {
        const peer = begun();
        return peer.give(
          ranges(peer.tag(SET), keyAt(statement(20)), wrong(FIRST_KEY)),
          peer.turn(),
          { type: 'want', ordinals: [3] },
          { type: 'want', ordinals: [2] },
        );
      },
    ],
    [
      'offers statements and sends none',
      'withheld',
      () => {
        const peer = begun();
        return peer.give(
          ranges(peer.tag(SET), END_KEY, ids(keyAt(statement(200)), statement(201))),
          peer.turn(),
          peer.turn({ fin: true }),
        );
      },
    ],
    [
      'ends with a false fingerprint',
      'diverged',
      () => {
        const peer = begun();
        return peer.give(peer.turn({ fin: true }));
      },
    ],
    [
      'sends more statement bytes than it was told',
      'quota_exceeded',
      () => begun({ budget: { statementBytesIn: 1000 } }).give(block(...statements(500, 20))),
    ],
    [
      'names more unknown sets than a session covers',
      'too_many_sets',
      () => {
        const peer = begun();
        const section = (n: number) => {
          return { tag: n.toString(16).padStart(16, '0'), upper: END_KEY, ranges: [ids(FIRST_KEY)] };
        };
        // More than one turn may speak of.
        for (let from = 0; from <= MAX_SESSION_SETS; from += 6000) {
          const count = Math.min(6000, MAX_SESSION_SETS + 1 - from);
          const sections = Array.from({ length: count }, (_, n) => section(from + n));
          peer.give({ type: 'ranges', sections }, peer.turn());
        }
        return peer;
      },
    ],
    [
      'sends too many frames',
      'budget_frames',
      () =>
        begun({ budget: { frames: 3 } }).give(
          ...Array.from({ length: 3 }, (): Frame => ({ type: 'ask', tags: ['00'.repeat(8)] })),
        ),
    ],
    [
      'sends too many bytes',
      'budget_bytes',
      () =>
        begun({ budget: { bytes: 500 } }).give({ type: 'ask', tags: Array.from({ length: 60 }, () => '00'.repeat(8)) }),
    ],
  ];
  for (const [what, reason, run] of cases) {
    it(`${reason}: ${what}`, () => assertFails(run(), reason));
  }

  it('too_many_ranges, too_many_ids: sends more of them in one turn than the protocol has, in any number of frames', () => {
    const down = (n: number): Key => keyOf(formatHlc(START - n, 0), Buffer.alloc(32));
    for (const [reason, most, range] of [
      ['too_many_ranges', MAX_TURN_RANGES, (n: number): Range => ({ mode: MODE.skip, lower: down(n + 1) })],
      [
        'too_many_ids',
        MAX_TURN_IDS,
        (n: number): Range => ({
          mode: MODE.ids,
          lower: down(n + 1),
          ids: Array.from({ length: 32 }, (_, i) => keyOf(formatHlc(START - n - 1, 31 - i), Buffer.alloc(32, 7))),
        }),
      ],
    ] as const) {
      const peer = begun();
      const step = reason === 'too_many_ids' ? 32 : 1;
      const list: Frame[] = [];
      for (let n = 0; n * step < most; n += 128) {
        list.push(ranges(peer.tag(SET), down(n), ...Array.from({ length: 128 }, (_, i) => range(n + i))));
      }
      peer.give(...list);
      assert.equal(peer.result(), undefined, 'the limit itself is allowed');
      peer.give(ranges(peer.tag(SET), down(most), range(most)));
      assertFails(peer, reason);
    }
    const session = begun({ budget: { ids: 31 } });
    assertFails(session.give(ranges(session.tag(SET), down(0), range32(down(1)))), 'too_many_ids');
  });

  it('fault 27: streams statements for ever: the session ends at the bytes it was told', () => {
    const peer = begun();
    const frame = block(...Array.from({ length: 2 }, (_, n) => fakeStatement(SET, at(n), n, 120_000)));
    let frames = 0;
    while (peer.result() === undefined) {
      peer.give(frame);
      frames += 1;
    }
    const { reason, counters } = peer.result()!;
    assert.equal(reason, 'quota_exceeded');
    assert.ok(counters.statementBytesIn <= 64 * 1024 * 1024 + frame.length && frames < 300);
  });

  it('fault 26: never converges: the session ends after its rounds, with little said', () => {
    const peer = begun();
    let turns = 0;
    while (peer.result() === undefined) {
      peer.give(ranges(peer.tag(SET), END_KEY, wrong(FIRST_KEY)), peer.turn());
      turns += 1;
    }
    const { outcome, reason, counters } = peer.result()!;
    assert.deepEqual([outcome, reason, turns], ['failed', 'budget_rounds', 40]);
    assert.ok(counters.bytesOut < 100_000 && counters.work < 100_000);
  });

  it('fault 26: costs more work, CPU time or wall time than a session may', () => {
    const work = begun({ budget: { work: 500 } });
    for (let n = 0; n < 30; n++) work.give(ranges(work.tag(SET), END_KEY, wrong(FIRST_KEY)), work.turn());
    assertFails(work, 'budget_work', false);
    const cpu = begun();
    cpu.cpuMs = 10_001;
    assertFails(cpu, 'budget_cpu', false);
    const wall = begun();
    wall.now = wall.session.deadline;
    assert.equal(wall.result(), undefined);
    wall.now += 1;
    assertFails(wall, 'budget_time', false);
  });
});

function range32(lower: Key): Range {
  const list = Array.from({ length: 32 }, (_, i) => keyOf(formatHlc(START - 1, 31 - i), Buffer.alloc(32, 7)));
  return { mode: MODE.ids, lower, ids: list };
}

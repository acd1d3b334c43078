import assert from 'node:assert/strict';
import { formatHlc } from '../../src/facts/index.ts';
import { type Frame, MODE, type Range, type Turn } from '../../src/sync/frames.ts';
import { END_KEY, FIRST_KEY, type Key, keyOf } from '../../src/sync/key.ts';
import {
  LOAD_BATCH,
  MAX_EXCLUDED_IDS,
  MAX_FRAME_BYTES,
  MAX_OPENING_RANGES,
  MAX_OUTSTANDING_WANTS,
  MAX_PENDING_RANGES,
  MAX_PENDING_SENDS,
  MAX_TURN_IDS,
  TURN_STATEMENT_BYTES,
} from '../../src/sync/limits.ts';
import { openSet } from '../../src/sync/ranges.ts';
import { SendQueue } from '../../src/sync/send-queue.ts';
import { SetIndex } from '../../src/sync/set-index.ts';
import { Random } from '../support/random.ts';
import { fakeStatement, runPair, SyncSide, syntheticItems } from '../support/sync-pair.ts';
import { ranges, ScriptedPeer } from '../support/sync-script.ts';

const SET = 'public/acme.example/memory';
const START = 1_795_244_001_000;

function synthetic(count: number): SyncSide {
  const side = new SyncSide();
  for (const [hlc, digest] of syntheticItems(count, new Random(5))) side.index(SET).insert(hlc, digest);
  return side;
}

function turnOf(frames: readonly Frame[]): Turn {
  const last = frames.at(-1);
  assert.ok(last?.type === 'turn');
  return last;
}

/** A range about which nothing can be right. */
const wrong = (lower: Key): Range => ({ mode: MODE.fingerprint, lower, fingerprint: Buffer.alloc(16, 6) });

describe('sync: limits of a turn and of what waits', () => {
  it('more differing ranges, and ids, than one turn carries wait for the next', () => {
    const [a, b] = [synthetic(150_000), synthetic(150_000)];
    const random = new Random(6);
    for (let n = 0; n < 3000; n++) {
      const wall = 1_790_000_000_000 + random.below(150_000 * 1250);
      (random.below(2) === 0 ? a : b).add(fakeStatement(SET, formatHlc(wall, 999), n));
    }
    const pending: boolean[] = [];
    const { initiator, responder } = runPair(a, b, {
      onFrame: (frame) => {
        if (frame[0] === 0x09) pending.push((frame[1]! & 2) !== 0);
        return frame;
      },
    });
    assert.deepEqual([initiator.outcome, responder.outcome], ['converged', 'converged']);
    assert.ok(pending.includes(true));
    assert.deepEqual(a.index(SET).fingerprint(), b.index(SET).fingerprint());
  });

  it('more statements than one turn carries wait for the next, on both sides, and end nothing early', () => {
    const [a, b] = [new SyncSide(), new SyncSide()];
    for (let n = 0; n < 200; n++) {
      a.add(fakeStatement(SET, formatHlc(START + n, 0), n, 60_000));
      b.add(fakeStatement('public/acme.example/other', formatHlc(START + n, 0), n, 60_000));
    }
    let turnBytes = 0;
    let longest = 0;
    const { initiator, responder } = runPair(a, b, {
      onFrame: (frame) => {
        turnBytes = frame[0] === 0x09 ? 0 : turnBytes + frame.length;
        longest = Math.max(longest, turnBytes);
        return frame;
      },
    });
    assert.deepEqual([initiator.outcome, responder.outcome], ['converged', 'converged']);
    assert.ok(longest > TURN_STATEMENT_BYTES && longest < TURN_STATEMENT_BYTES + LOAD_BATCH * 61_000);
    assert.deepEqual([initiator.counters.known, responder.counters.known], [0, 0]);
    const fresh = new SyncSide();
    const filled = runPair(fresh, a);
    assert.deepEqual([filled.initiator.outcome, filled.responder.outcome], ['converged', 'converged']);
    assert.equal(fresh.statements.size, 400);
  });

  it('differing ranges beyond MAX_PENDING_RANGES are left out, and the peer is told', () => {
    const side = synthetic(70_000);
    const index = side.index(SET);
    const peer = new ScriptedPeer(side, 'responder').begin();
    const lowers = Array.from({ length: 2048 }, (_, n) => index.keyAt(70_000 - (n + 1) * 32));
    const frame = ranges(peer.tag(SET), END_KEY, ...lowers.map(wrong));
    peer.hear();
    let waiting = 0;
    for (let turns = 1; ; turns++) {
      const { truncated, pending } = turnOf(peer.give(frame, peer.turn()).hear());
      waiting += 2048 - Math.floor(MAX_TURN_IDS / 32);
      assert.equal(pending, true);
      if (truncated) break;
      assert.ok(waiting <= MAX_PENDING_RANGES + 2048 && turns < 20, `${waiting} wait`);
    }
    assert.ok(waiting > MAX_PENDING_RANGES - 2048);
  });

  it('beyond MAX_OUTSTANDING_WANTS nothing more is wanted, and the peer is told', () => {
    const side = new SyncSide();
    side.index(SET);
    const wanting = new ScriptedPeer(side, 'responder').begin();
    let wants = 0;
    let offered = 0;
    const id = (n: number): Key => {
      const digest = Buffer.alloc(32, 7);
      digest.writeUInt32BE(n);
      return keyOf(formatHlc(START - n, 0), digest);
    };
    for (let turns = 0; turns < 5; turns++) {
      const list: Range[] = [];
      const upper = keyOf(formatHlc(START - offered + 1, 0), Buffer.alloc(32));
      for (let n = 0; n < MAX_TURN_IDS; n += 32) {
        const ids = Array.from({ length: 32 }, () => id(offered++));
        list.push({ mode: MODE.ids, lower: ids.at(-1)!, ids });
      }
      wanting.hear();
      const frames: Frame[] = [];
      for (let n = 0; n < list.length; n += 64) {
        frames.push(ranges(wanting.tag(SET), n === 0 ? upper : list[n - 1]!.lower, ...list.slice(n, n + 64)));
      }
      const heard = wanting.give(...frames, wanting.turn()).hear();
      for (const frame of heard) if (frame.type === 'want') wants += frame.ordinals.length;
      assert.equal(turnOf(heard).truncated, turns === 4);
    }
    assert.equal(wants, MAX_OUTSTANDING_WANTS);
  });

  it('sends beyond MAX_PENDING_SENDS or MAX_EXCLUDED_IDS are not queued', () => {
    const index = synthetic(100).index(SET);
    const queue = new SendQueue();
    for (let n = 0; n < MAX_PENDING_SENDS; n++) assert.equal(queue.addKeys(index, [index.keyAt(n % 100)]), true);
    assert.equal(queue.addKeys(index, [index.keyAt(0)]), false);
    assert.equal(queue.addRange(index, FIRST_KEY, END_KEY), false);
    queue.clear();
    const except = Array.from({ length: 32 }, (_, n) => index.keyAt(99 - n));
    for (let n = 0; n < MAX_EXCLUDED_IDS / 32; n++) {
      assert.equal(queue.addRange(index, FIRST_KEY, END_KEY, except), true);
    }
    assert.equal(queue.addRange(index, FIRST_KEY, END_KEY, except), false);
    assert.equal(queue.take(LOAD_BATCH)!.keys.length, LOAD_BATCH);
    while (!queue.isEmpty) queue.take(LOAD_BATCH);
    assert.equal(queue.addRange(index, FIRST_KEY, END_KEY, except), true, 'what was sent makes room');
  });

  it('sends of several sets take turns, and skip what the other side has', () => {
    const [a, b] = [synthetic(150).index(SET), new SetIndex('public/acme.example/other')];
    for (const key of a.keys()) b.insert(formatHlc(START, key[9]! % 1000), Buffer.alloc(32, key[9]! % 251));
    const queue = new SendQueue();
    queue.addRange(a, FIRST_KEY, END_KEY, [a.keyAt(149), a.keyAt(100)]);
    queue.addRange(b, FIRST_KEY, END_KEY);
    const taken = Array.from({ length: 3 }, () => queue.take(64)!);
    assert.deepEqual(
      taken.map(({ index }) => index.name),
      [a.name, b.name, a.name],
    );
    const all = [taken[0]!, taken[2]!].flatMap(({ keys }) => keys);
    assert.deepEqual(all[0], a.keyAt(148));
    assert.ok(!all.some((key) => Buffer.compare(Buffer.from(key.buffer), Buffer.from(a.keyAt(100).buffer)) === 0));
  });

  it('an opening has at most MAX_OPENING_RANGES ranges, whatever the size', () => {
    const index = synthetic(200_000).index(SET);
    let count = 0;
    openSet(index, index.keyAt(199_990), () => {
      count += 1;
    });
    // Ten million times as many items would double the small parts twenty-three times more.
    assert.ok(count > 16 && count + 23 <= MAX_OPENING_RANGES, `${count} ranges`);
  });

  it('names of sets fill several frames, and an unknown tag is asked for once', () => {
    const a = new SyncSide();
    for (let n = 0; n < 150; n++) {
      const set = `garden/acme.example/x/${String(n).padStart(2500, 'g')}`;
      a.add(fakeStatement(set, formatHlc(START, 0), n));
    }
    const types: number[] = [];
    const { initiator, responder } = runPair(new SyncSide(), a, {
      onFrame: (frame) => {
        assert.ok(frame.length <= MAX_FRAME_BYTES);
        types.push(frame[0]!);
        return frame;
      },
    });
    assert.deepEqual([initiator.outcome, responder.outcome], ['converged', 'converged']);
    assert.equal(types.filter((type) => type === 0x06).length, 2);
    assert.equal(types.filter((type) => type === 0x05).length, 1);

    const peer = new ScriptedPeer(a, 'responder').begin();
    const frame = ranges('00'.repeat(8), END_KEY, wrong(FIRST_KEY));
    const asks = (): number => peer.hear().filter(({ type }) => type === 'ask').length;
    peer.give(frame, peer.turn({ pending: true }));
    assert.equal(asks(), 1);
    peer.give(frame, peer.turn({ pending: true }));
    assert.equal(asks(), 0);
  });
});

import assert from 'node:assert/strict';
import {
  CROSSED_OPEN_MS,
  MAX_INBOUND_SESSIONS,
  MAX_OWN_SESSIONS,
  SYNC_BACKOFF_MAX_MS,
  SYNC_BACKOFF_MS,
  SYNC_CONTINUE_MS,
} from '../../../src/mesh/data-limits.ts';
import { MeshError } from '../../../src/mesh/errors.ts';
import { RecentDigests } from '../../../src/mesh/recent-digests.ts';
import { Reconciler } from '../../../src/mesh/reconcile.ts';
import { SetIndex, type SyncAction, SyncSession } from '../../../src/sync/index.ts';
import { FakeStream } from '../../support/fake-stream.ts';
import { commit, pairing } from '../../support/mesh-parts.ts';
import { settle, TestWorld } from '../../support/test-world.ts';

/** A reconciler whose peers are streams that the test holds the other end of. */
function makeReconciler(self = 'm') {
  const world = new TestWorld();
  const opened: FakeStream[] = [];
  const told: string[] = [];
  const state = { fails: false };
  const ready = Promise.withResolvers<void>();
  const sets = {
    isReady: true,
    ready: ready.promise,
    get: () => undefined,
    list: () => [{ set: commit(1).set, index: new SetIndex(commit(1).set.name) }],
    read: async () => [],
    on: () => () => {},
  };
  const reconciler = new Reconciler({
    transport: {
      peerId: self,
      open: async (peerId) => {
        if (state.fails) throw new MeshError('stream_closed', 'no', 'no');
        const stream = new FakeStream(peerId);
        opened.push(stream);
        return stream;
      },
    },
    sets,
    intake: { admit: async () => [] },
    gate: { take: async () => false },
    peering: { pairing: () => pairing() },
    scores: { refuse: () => {} },
    world,
    cpu: () => 0,
    onFinished: (peerId, { outcome, reason }) => told.push(`${peerId} ${reason ?? outcome}`),
    onFailed: (peerId, code) => told.push(`${peerId} ${code}`),
  });
  return { reconciler, world, opened, told, state, sets, ready };
}

/** The other side of a session, over no sets at all. */
async function answer(stream: FakeStream, role: 'initiator' | 'responder'): Promise<string> {
  const session = new SyncSession({ role, nonce: new Uint8Array(16).fill(3), sets: [], now: 0 });
  let read = 0;
  for (;;) {
    const action: SyncAction = session.next(0);
    if (action.do === 'send') stream.far.send(action.frame);
    else if (action.do === 'end') return action.result.outcome;
    else if (action.do === 'receive') {
      await stream.far.until(read + 1);
      session.receive(stream.far.received[read++]!, 0);
    } else await settle();
  }
}

describe('mesh: when to reconcile with whom', () => {
  it('is one session a peer at a time, and one more when that is asked for meanwhile', async () => {
    const { reconciler, world, opened, told } = makeReconciler();
    reconciler.add('z');
    reconciler.trigger('z');
    await world.advance(1);
    assert.equal(opened.length, 1);
    for (let n = 0; n < 5; n++) reconciler.trigger('z');
    await world.advance(1000);
    assert.equal(opened.length, 1);
    await answer(opened[0]!, 'responder');
    await world.advance(1000);
    assert.deepEqual(told, ['z converged']);
    assert.equal(opened.length, 2);
    await answer(opened[1]!, 'responder');
    await world.advance(60_000);
    assert.equal(opened.length, 2, 'and no more without a reason');
    assert.equal(world.pending, 0);
  });

  it('is not before the indexes are loaded', async () => {
    const { reconciler, world, opened, sets, ready } = makeReconciler();
    sets.isReady = false;
    reconciler.add('z');
    reconciler.trigger('z');
    await world.advance(60_000);
    const theirs = new FakeStream('z');
    await reconciler.serve(theirs);
    assert.ok(theirs.far.aborted);
    await assert.rejects(reconciler.sync('z'), { code: 'sync_failed' });
    assert.equal(opened.length, 0);
    sets.isReady = true;
    ready.resolve();
    await world.advance(1);
    assert.equal(opened.length, 1);
  });

  it('serves peers that are active, and nobody else', async () => {
    const { reconciler, told } = makeReconciler();
    const stranger = new FakeStream('z');
    await reconciler.serve(stranger);
    assert.ok(stranger.far.aborted);
    reconciler.add('z');
    const stream = new FakeStream('z');
    const serving = reconciler.serve(stream);
    assert.equal(await answer(stream, 'initiator'), 'converged');
    await serving;
    assert.deepEqual(told, ['z converged']);
  });

  it('lets the session of the smaller peer id survive when both opened one', async () => {
    for (const [peer, survives] of [
      ['z', true],
      ['a', false],
    ] as const) {
      const { reconciler, world, opened, told } = makeReconciler('m');
      reconciler.add(peer);
      reconciler.trigger(peer);
      await world.advance(1);
      const theirs = new FakeStream(peer);
      const serving = reconciler.serve(theirs);
      await settle();
      assert.equal(opened[0]!.far.aborted === undefined, survives);
      assert.equal(theirs.far.aborted === undefined, !survives);
      if (survives) await answer(opened[0]!, 'responder');
      else await answer(theirs, 'initiator');
      await serving;
      await settle();
      assert.deepEqual(told, [`${peer} converged`], 'the other one has no outcome of its own');
    }
  });

  it('asked for by somebody, compares what was there when it was asked for, not what an earlier one had compared', async () => {
    const { reconciler, world, opened, told } = makeReconciler();
    reconciler.add('z');
    reconciler.trigger('z');
    await world.advance(1);
    let isDone = false;
    const asked = reconciler.sync('z').then(() => {
      isDone = true;
    });
    await answer(opened[0]!, 'responder');
    await settle();
    assert.deepEqual(told, ['z converged']);
    assert.ok(!isDone && opened.length === 2);
    await answer(opened[1]!, 'responder');
    await asked;
    assert.deepEqual(told, ['z converged', 'z converged']);
  });

  it('asked for by somebody, is one that the peer opens meanwhile', async () => {
    const { reconciler, world, opened } = makeReconciler('z');
    reconciler.add('a');
    reconciler.trigger('a');
    await world.advance(1);
    const asked = reconciler.sync('a');
    const theirs = new FakeStream('a');
    const serving = reconciler.serve(theirs);
    await answer(theirs, 'initiator');
    await serving;
    await asked;
    assert.equal(opened.length, 1, 'the one it ended for theirs');
  });

  it('asked for on both sides at once, is the one that survives, though it be over when the other one is refused', async () => {
    const { reconciler, world, opened } = makeReconciler('z');
    reconciler.add('a');
    const asked = reconciler.sync('a');
    await settle();
    opened[0]!.far.close();
    await settle();
    // Theirs comes and goes while ours is given up.
    const theirs = new FakeStream('a');
    const serving = reconciler.serve(theirs);
    await answer(theirs, 'initiator');
    await serving;
    await asked;
    assert.equal(opened.length, 1);
    assert.equal(world.pending, 0, 'nothing waits any longer');
    await reconciler.stop();
  });

  it('asked for by somebody, begins again where the peer refused it because it had not ended the last one', async () => {
    const { reconciler, world, opened } = makeReconciler();
    reconciler.add('z');
    const first = reconciler.sync('z');
    await settle();
    await answer(opened[0]!, 'responder');
    await first;
    // Here it is over, there not yet.
    const second = reconciler.sync('z');
    await settle();
    opened[1]!.far.close();
    await settle();
    await world.advance(SYNC_CONTINUE_MS);
    assert.equal(opened.length, 3);
    await answer(opened[2]!, 'responder');
    await second;
    assert.equal(world.pending, 0);
    // Who refuses every one is not asked for ever.
    const failing = assert.rejects(reconciler.sync('z'), { code: 'sync_failed' });
    for (let step = 0; step <= 10; step++) {
      await settle();
      opened.at(-1)!.far.close();
      await settle();
      await world.advance(CROSSED_OPEN_MS / 10);
    }
    await failing;
    assert.ok(opened.length <= 7, `${opened.length - 3} sessions`);
    await reconciler.stop();
  });

  it('refuses a second session of a peer', async () => {
    const { reconciler } = makeReconciler();
    reconciler.add('z');
    const first = new FakeStream('z');
    void reconciler.serve(first);
    const second = new FakeStream('z');
    await reconciler.serve(second);
    assert.ok(second.far.aborted && !first.far.aborted);
  });

  it('has a bounded number of sessions, own ones waiting for their turn', async () => {
    const { reconciler, world, opened } = makeReconciler();
    const peers = Array.from({ length: MAX_INBOUND_SESSIONS + 10 }, (_, n) => `peer ${n}`);
    for (const peer of peers) reconciler.add(peer);
    for (const peer of peers.slice(0, MAX_OWN_SESSIONS + 2)) reconciler.trigger(peer);
    await world.advance(1000);
    assert.equal(opened.length, MAX_OWN_SESSIONS);
    await answer(opened[0]!, 'responder');
    await world.advance(1000);
    assert.equal(opened.length, MAX_OWN_SESSIONS + 1);
    await reconciler.stop();
    assert.equal(reconciler.sessions, 0);
    for (const peer of peers) reconciler.add(peer);
    const streams = peers.map((peer) => new FakeStream(peer));
    for (const stream of streams) void reconciler.serve(stream);
    await settle();
    assert.equal(reconciler.sessions, MAX_INBOUND_SESSIONS);
    assert.equal(streams.filter(({ far }) => far.aborted).length, 10);
    await reconciler.stop();
    assert.equal(world.pending, 0);
  });

  it('waits longer after each failure, not when somebody asks, and begins anew after a success', async () => {
    const { reconciler, world, opened, told, state } = makeReconciler();
    state.fails = true;
    reconciler.add('z');
    reconciler.trigger('z');
    const at: number[] = [];
    const begin = world.now();
    for (let seconds = 0; seconds < 3600; seconds++) {
      const before = told.length;
      await world.advance(1000);
      if (told.length > before) at.push(world.now() - begin);
    }
    const pauses = at.slice(1).map((time, n) => time - at[n]!);
    assert.ok(pauses[0]! < 2 * SYNC_BACKOFF_MS && pauses.length < 12, pauses.join());
    assert.ok(Math.max(...pauses) <= 1.25 * SYNC_BACKOFF_MAX_MS + 1000);
    const failing = assert.rejects(reconciler.sync('z'), { code: 'sync_failed' });
    // It waits for the other side's session, which may have been on its way.
    await world.advance(CROSSED_OPEN_MS);
    await failing;
    state.fails = false;
    const asked = reconciler.sync('z');
    await settle();
    await answer(opened[0]!, 'responder');
    await asked;
    reconciler.trigger('z');
    await world.advance(1);
    assert.equal(opened.length, 2, 'at once again');
    await reconciler.stop();
  });

  it('ends a session when the peer is gone, or its terms changed', async () => {
    const { reconciler, world, opened, told } = makeReconciler();
    reconciler.add('z');
    reconciler.trigger('z');
    await world.advance(1);
    reconciler.changed('z');
    await world.advance(1000);
    assert.ok(opened[0]!.far.aborted);
    assert.equal(opened.length, 2, 'and another one begins over the new terms');
    reconciler.remove('z');
    await settle();
    assert.ok(opened[1]!.far.aborted);
    assert.equal(reconciler.sessions, 0);
    assert.deepEqual(told, []);
    reconciler.trigger('z');
    await world.advance(60_000);
    assert.equal(opened.length, 2);
    await assert.rejects(reconciler.sync('z'), { code: 'sync_failed' });
  });
});

describe('mesh: digests met lately', () => {
  it('are bounded, the ones longest unmet go first', () => {
    const recent = new RecentDigests<number>(3);
    const digests = [1, 2, 3, 4].map((n) => commit(n).digest);
    for (const [n, digest] of digests.slice(0, 3).entries()) recent.set(digest, n);
    recent.set(digests[0]!, 9);
    recent.set(digests[3]!, 3);
    assert.equal(recent.size, 3);
    assert.equal(recent.get(digests[0]!), 9);
    assert.ok(!recent.has(digests[1]!));
    assert.equal(recent.take(digests[2]!), 2);
    assert.ok(!recent.has(digests[2]!));
  });
});

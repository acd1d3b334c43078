import assert from 'node:assert/strict';
import { hlcWall } from '../../../src/facts/index.ts';
import { Announcer } from '../../../src/mesh/announce.ts';
import { decodeBlock } from '../../../src/mesh/block.ts';
import {
  GOSSIP_BURST_STATEMENTS,
  GOSSIP_COALESCE_MS,
  MAX_EVENT_LISTENERS,
  MAX_GOSSIP_COALESCE_MS,
  MAX_RELAY_BYTES,
  MAX_RELAYS,
  REFUSAL_EVENT_MS,
  RELAY_DELAY_MS,
  YOUNG_MS,
} from '../../../src/mesh/data-limits.ts';
import { MeshEvents } from '../../../src/mesh/events.ts';
import { GossipPublisher } from '../../../src/mesh/gossip-publisher.ts';
import { isReachedByGossip } from '../../../src/mesh/gossip-reach.ts';
import type { Via } from '../../../src/mesh/intake.ts';
import { MAX_GOSSIP_BYTES } from '../../../src/mesh/limits.ts';
import { Outbox } from '../../../src/mesh/outbox.ts';
import { digestKey, RecentDigests } from '../../../src/mesh/recent-digests.ts';
import { RefusalReport } from '../../../src/mesh/refusals.ts';
import type { SetCommit } from '../../../src/node/mesh-services.ts';
import type { StatementSet } from '../../../src/policy/sets.ts';
import { commit, pairing } from '../../support/mesh-parts.ts';
import { settle, TestWorld } from '../../support/test-world.ts';

function makePublisher() {
  const world = new TestWorld();
  const published: number[][] = [];
  const heard = new Set<string>();
  const publisher = new GossipPublisher({
    gossip: {
      publish: async (data) => {
        assert.ok(data.length <= MAX_GOSSIP_BYTES);
        published.push(decodeBlock(data).map(({ bytes }) => Buffer.from(bytes).readUInt32BE()));
        return 1;
      },
    },
    world,
    hasHeard: (digest) => heard.has(digestKey(digest)),
    onPublished: () => {},
  });
  return { world, publisher, published, heard };
}

describe('mesh: putting statements into gossip', () => {
  it('sends a first one at once, and those of the next milliseconds together', async () => {
    const { world, publisher, published } = makePublisher();
    publisher.offer(commit(1));
    publisher.flush();
    assert.deepEqual(published, [[1]]);
    for (const n of [2, 3, 4]) {
      publisher.offer(commit(n));
      publisher.flush();
      await world.advance(1);
    }
    assert.deepEqual(published, [[1]]);
    await world.advance(GOSSIP_COALESCE_MS);
    assert.deepEqual(published, [[1], [2, 3, 4]]);
    await world.advance(1000);
    publisher.offer(commit(5));
    publisher.flush();
    assert.deepEqual(published.at(-1), [5]);
    assert.equal(world.pending, 0);
  });

  it('sends larger messages more rarely where timers fire late, and goes back when they do not', async () => {
    const { world, publisher, published } = makePublisher();
    let n = 0;
    const gathered = async (late: number): Promise<number> => {
      const messages = published.length;
      publisher.offer(commit(n++));
      publisher.flush();
      assert.equal(published.length, messages, 'it waits for others');
      world.jump(late);
      let waited = 0;
      for (; published.length === messages; waited++) await world.advance(1);
      return waited;
    };
    publisher.offer(commit(n++));
    publisher.flush();
    assert.ok((await gathered(0)) <= GOSSIP_COALESCE_MS);
    await gathered(45);
    const busy = await gathered(0);
    assert.ok(busy > 4 * GOSSIP_COALESCE_MS && busy <= 45, `${busy} ms`);
    for (let round = 0; round < 5; round++) await gathered(0);
    assert.ok((await gathered(0)) <= GOSSIP_COALESCE_MS);
    await gathered(10_000);
    const most = await gathered(0);
    assert.ok(most > MAX_GOSSIP_COALESCE_MS / 2 && most <= MAX_GOSSIP_COALESCE_MS, `${most} ms`);
    assert.equal(world.pending, 0);
  });

  it('fills messages up to their size, and leaves to push what is larger', async () => {
    const { world, publisher, published } = makePublisher();
    for (let n = 0; n < 10; n++) assert.ok(publisher.offer(commit(n, { bytes: 20_000 })));
    publisher.flush();
    await world.advance(100);
    assert.deepEqual(published, [[0, 1, 2], [3, 4, 5], [6, 7, 8], [9]]);
    assert.ok(!publisher.offer(commit(10, { bytes: MAX_GOSSIP_BYTES })));
    assert.ok(publisher.offer(commit(11, { bytes: MAX_GOSSIP_BYTES - 80 })));
  });

  it('leaves to push what is more than others would take from one peer', async () => {
    const { world, publisher } = makePublisher();
    let taken = 0;
    while (publisher.offer(commit(taken))) taken += 1;
    assert.equal(taken, GOSSIP_BURST_STATEMENTS);
    await world.advance(1000);
    assert.ok(publisher.offer(commit(1)));
  });

  it('passes on what came otherwise after a moment, unless the topic has it by then', async () => {
    const { world, publisher, published, heard } = makePublisher();
    for (const n of [1, 2, 3]) publisher.relay(commit(n));
    assert.deepEqual(published, []);
    heard.add(digestKey(commit(2).digest));
    await world.advance(RELAY_DELAY_MS + GOSSIP_COALESCE_MS);
    assert.deepEqual(published, [[1, 3]]);
    assert.equal(publisher.waiting, 0);
  });

  it('keeps a bounded number and size of them, and none when it stops', async () => {
    const { world, publisher, published } = makePublisher();
    for (let n = 0; n < MAX_RELAYS + 100; n++) publisher.relay(commit(n));
    assert.equal(publisher.waiting, MAX_RELAYS);
    publisher.stop();
    assert.equal(publisher.waiting, 0);
    for (let n = 0; n < 60; n++) publisher.relay(commit(n, { bytes: 120_000 }));
    assert.ok(publisher.waiting * 120_000 <= MAX_RELAY_BYTES);
    publisher.stop();
    await world.advance(1000);
    assert.deepEqual(published, []);
    assert.equal(world.pending, 0);
  });

  it('reaches who shares everything public both ways, and nobody else', () => {
    assert.ok(isReachedByGossip(pairing()));
    assert.ok(isReachedByGossip(pairing({ peerOrg: 'acme.example', ours: { gives: [] } })));
    for (const side of ['ours', 'theirs'] as const) {
      assert.ok(!isReachedByGossip(pairing({ [side]: { gives: ['company'] } })));
      assert.ok(!isReachedByGossip(pairing({ [side]: { takes: ['company'] } })));
      assert.ok(!isReachedByGossip(pairing({ [side]: { namespaces: ['memory'] } })));
    }
  });
});

describe('mesh: announcing commits', () => {
  const announce = (of: SetCommit, via?: Via, age = 60_000) => {
    let listener: (commits: readonly SetCommit[]) => void = () => {};
    const arrivals = new RecentDigests<Via>(10);
    const held = new RecentDigests<StatementSet>(10);
    const told = { offered: 0, relayed: 0, reconciled: 0 };
    const outbox = new Outbox();
    const announcer = new Announcer({
      sets: {
        on: (listen) => {
          listener = listen;
          return () => {};
        },
      },
      intake: { arrivals, held },
      publisher: {
        offer: () => {
          told.offered += 1;
          return true;
        },
        relay: () => {
          told.relayed += 1;
        },
        flush: () => {},
      },
      outbox,
      world: { now: () => hlcWall(of.hlc) + age },
      onReconciled: () => {
        told.reconciled += 1;
      },
    });
    announcer.start();
    if (via) arrivals.set(of.digest, via);
    listener([of]);
    assert.equal(arrivals.size, 0, 'the way in is not remembered for longer');
    assert.ok(held.has(of.digest));
    const entry = outbox.at(0);
    return { ...told, entry: entry && { whole: entry.statement !== null, gossiped: entry.gossiped } };
  };

  it('sends what was made here by gossip or whole by push', () => {
    const own = { relayed: 0, reconciled: 0 };
    assert.deepEqual(announce(commit(1)), { ...own, offered: 0, entry: { whole: true, gossiped: false } });
    assert.deepEqual(announce(commit(1, { audience: 'public' })), {
      ...own,
      offered: 1,
      entry: { whole: true, gossiped: true },
    });
    const imported = announce(commit(1, { from: 'import' }));
    assert.deepEqual(imported.entry, { whole: true, gossiped: false });
  });

  it('offers what came from a peer, and passes public statements on where gossip did not bring them', () => {
    const open = commit(1, { audience: 'public', from: 'peer' });
    const offered = { whole: false, gossiped: true };
    assert.deepEqual(announce(open, 'gossip'), { offered: 0, relayed: 0, reconciled: 0, entry: offered });
    assert.deepEqual(announce(open, 'push'), { offered: 0, relayed: 1, reconciled: 0, entry: offered });
    assert.deepEqual(announce(open, 'fetch'), { offered: 0, relayed: 1, reconciled: 0, entry: offered });
    const team = commit(1, { audience: 'team', from: 'peer' });
    assert.deepEqual(announce(team, 'push').entry, { whole: false, gossiped: false });
  });

  it('leaves what reconciliation brought to the reconciliation of others', () => {
    for (const one of [
      commit(1, { audience: 'public', from: 'peer' }),
      commit(1, { audience: 'team', from: 'peer' }),
    ]) {
      assert.deepEqual(announce(one, 'sync'), { offered: 0, relayed: 0, reconciled: 1, entry: undefined });
      assert.deepEqual(announce(one), { offered: 0, relayed: 0, reconciled: 1, entry: undefined });
    }
  });

  it('offers what reconciliation brought while it is young, and puts none of it into gossip', () => {
    for (const audience of ['public', 'team'] as const) {
      const told = announce(commit(1, { audience, from: 'peer' }), 'sync', YOUNG_MS);
      assert.deepEqual(told, { offered: 0, relayed: 0, reconciled: 1, entry: { whole: false, gossiped: false } });
    }
  });
});

describe('mesh: what operators are told', () => {
  it('is a bounded number of listeners, each of which can leave', () => {
    const events = new MeshEvents();
    const event = { type: 'peer.disconnected', at: 1, peerId: 'a', org: null } as const;
    let told = 0;
    const listener = (): void => {
      told += 1;
    };
    const ends = [events.on(listener), events.on(listener)];
    events.emit(event);
    assert.equal(told, 2);
    ends[0]!();
    ends[0]!();
    events.emit(event);
    assert.equal(told, 3);
    for (let n = events.listeners; n < MAX_EVENT_LISTENERS; n++) events.on(listener);
    assert.throws(() => events.on(listener), { code: 'too_many_listeners' });
    ends[1]!();
    assert.doesNotThrow(() => events.on(listener));
  });

  it('of refusals is the first of a kind at once, then a number now and then', async () => {
    const world = new TestWorld();
    const told: [string, string, number][] = [];
    const report = new RefusalReport(world, (...one) => told.push(one));
    report.add('a', 'bad_signature', 2);
    for (let n = 0; n < 1000; n++) report.add('a', 'bad_signature', 1);
    report.add('b', 'bad_signature', 1);
    await settle();
    assert.deepEqual(told.splice(0), [
      ['a', 'bad_signature', 2],
      ['b', 'bad_signature', 1],
    ]);
    await world.advance(REFUSAL_EVENT_MS);
    assert.deepEqual(told.splice(0), [['a', 'bad_signature', 1000]]);
    await world.advance(3 * REFUSAL_EVENT_MS);
    assert.deepEqual(told, []);
    assert.equal(world.pending, 0, 'nothing runs while nothing happens');
    report.add('a', 'bad_signature', 1);
    assert.equal(told.length, 1);
    report.stop();
    assert.equal(world.pending, 0);
  });

  it('of refusals is bounded in kinds', () => {
    let told = 0;
    const counting = new RefusalReport(new TestWorld(), () => {
      told += 1;
    });
    for (let n = 0; n < 1000; n++) counting.add(`peer ${n}`, 'bad_signature', 1);
    assert.equal(told, 256);
    counting.stop();
  });
});

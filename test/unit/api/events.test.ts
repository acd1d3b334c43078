import assert from 'node:assert/strict';
import { eventFilter, isVisible } from '../../../src/api/events/filter.ts';
import { EventStream, type EventStreamInit, EventTexts } from '../../../src/api/events/stream.ts';
import { SSE_DRAIN_MS, SSE_EVENTS_PER_TURN, SSE_HEARTBEAT_MS, SSE_PAGE } from '../../../src/api/limits.ts';
import type { ResolutionStatement, Statement } from '../../../src/facts/index.ts';
import type { CommitEvent } from '../../../src/node/types.ts';
import { until } from '../../support/until.ts';
import { FakeSink, NO_FILTER } from './fake-sink.ts';
import { FakeFeed, FakeTimers, factView, principal, settle } from './fakes.ts';

describe('event stream', () => {
  let feed: FakeFeed;
  let timers: FakeTimers;
  let sink: FakeSink;
  beforeEach(() => {
    feed = new FakeFeed();
    timers = new FakeTimers();
    sink = new FakeSink();
  });

  async function follow(init: Partial<EventStreamInit> = {}, gardens = { mayRead: () => true }) {
    const who = principal(['read']);
    const stream = new EventStream(
      { feed, timers, gardens },
      {
        filter: NO_FILTER,
        kinds: { commits: true, mesh: false },
        compatCid: 'rfc8785',
        principal: () => who,
        after: undefined,
        ...init,
      },
      sink,
      who,
    );
    const done = stream.run();
    await settle();
    return { stream, done };
  }
  const commit = (count: number) => {
    for (let i = 0; i < count; i++) feed.commit(factView({ value: { type: 'number', v: feed.head() + 1 } }));
  };

  it('without a position sends only what comes', async () => {
    commit(3);
    await follow();
    assert.match(sink.text, /^retry: \d+\n\n$/);
    commit(1);
    await settle();
    assert.deepEqual(sink.ids, [4]);
    assert.equal(sink.events[0]?.event, 'fact');
    assert.equal(sink.events[0]?.data.seq, 4);
    assert.equal((sink.events[0]!.data.value as { v: number }).v, 4);
  });

  it('resumes after the id it is given, without a gap and without a repeat, then stays live', async () => {
    commit(SSE_PAGE * 2 + 5);
    await follow({ after: '3' });
    commit(2);
    await until(() => sink.ids.length >= SSE_PAGE * 2 + 4, 'all of them');
    await settle();
    const expected = Array.from({ length: SSE_PAGE * 2 + 4 }, (_, index) => index + 4);
    assert.deepEqual(sink.ids, expected);
  });

  it('resumes from the beginning with 0 and from now with the head', async () => {
    commit(2);
    await follow({ after: '0' });
    assert.deepEqual(sink.ids, [1, 2]);
    sink = new FakeSink();
    await follow({ after: '2' });
    assert.deepEqual(sink.ids, []);
    assert.doesNotMatch(sink.text, /reset/);
  });

  for (const after of ['4', '99999', 'abc', '-1', '1.5', '1e3', '9'.repeat(40)]) {
    it(`answers reset to the unknown id ${after.slice(0, 10)} and goes on live`, async () => {
      commit(3);
      await follow({ after });
      assert.deepEqual(
        sink.events.map(({ event, id, data }) => [event, id, data.head]),
        [['reset', 3, 3]],
      );
      commit(1);
      await settle();
      assert.deepEqual(sink.ids, [3, 4]);
    });
  }

  it('shows neither scopes nor gardens the principal may not read', async () => {
    const who = principal(['read'], { scopes: new Set(['public', 'team'] as const) });
    const garden = 'stigmem://acme.example/garden/secret';
    const stream = new EventStream(
      { feed, timers, gardens: { mayRead: (_who, uri) => uri !== garden } },
      {
        filter: NO_FILTER,
        kinds: { commits: true, mesh: false },
        compatCid: 'rfc8785',
        principal: () => who,
        after: '0',
      },
      sink,
      who,
    );
    feed.commit(factView({ scope: 'company' }));
    feed.commit(factView({ scope: 'public' }));
    feed.commit(factView({ scope: 'team' }, { garden_id: garden }));
    feed.commit(factView({ scope: 'team' }, { garden_id: 'stigmem://acme.example/garden/open' }));
    const done = stream.run();
    await settle();
    assert.deepEqual(sink.ids, [2, 4]);
    sink.close();
    assert.equal(await done, 'client');
  });

  it('filters by entity, relation, prefix, scope and source, in normalised spelling', async () => {
    const views = [
      factView({ entity: 'user:alice', relation: 'memory:role' }),
      factView({ entity: 'user:bob', relation: 'memory:role', source: 'agent:y' }),
      factView({ entity: 'user:bob', relation: 'memory:age', scope: 'public' }),
      factView({ entity: 'user:bob', relation: 'other:role' }),
    ];
    for (const view of views) feed.commit(view);
    const matching = (query: Parameters<typeof eventFilter>[0]) =>
      feed.commits
        .filter((event) => isVisible(event, eventFilter(query), principal(), { mayRead: () => true }))
        .map(({ seq }) => seq);
    assert.deepEqual(matching({}), [1, 2, 3, 4]);
    assert.deepEqual(matching({ entity: ' User:ALICE ' }), [1]);
    assert.deepEqual(matching({ relation: 'memory:role' }), [1, 2]);
    assert.deepEqual(matching({ relation: 'memory:*' }), [1, 2, 3]);
    assert.deepEqual(matching({ relation_prefix: 'memory:r' }), [1, 2]);
    assert.deepEqual(matching({ relation: '*' }), [1, 2, 3, 4]);
    assert.deepEqual(matching({ scope: 'public' }), [3]);
    assert.deepEqual(matching({ source: 'Agent:y' }), [2]);
    assert.deepEqual(matching({ entity: 'user:bob', relation: 'memory:*', scope: 'public' }), [3]);
    assert.throws(() => eventFilter({ entity: 'stigmem://x' }), /authority|type|id/);
  });

  it('sends resolutions as events of their own and nothing for kinds it does not know', async () => {
    const { statement } = factView();
    const { body: _body, ext: _ext, v: _v, kind: _kind, ...envelope } = statement;
    const resolution: ResolutionStatement = {
      ...envelope,
      v: 1,
      kind: 'resolution',
      ext: {},
      body: {
        conflict: 'stigmem:conflict:0123',
        entity: 'user:alice',
        relation: 'memory:role',
        scope: 'company',
        source: 'agent:x',
        verdict: 'winner',
        sides: ['a', 'b'],
        winner: 'a',
        winning_fact: 'bagwin',
        note: 'because',
      },
    };
    const opaque: Statement = { ...envelope, v: 2, kind: 'manifest', opaque: true };
    await follow();
    feed.push({ seq: 1, id: 'bag1', statement: opaque, fact: null, standing: 'good' });
    feed.push({ seq: 2, id: 'bag2', statement: resolution, fact: null, standing: 'good' });
    feed.push({ seq: 3, id: 'bag3', statement: resolution, fact: null, standing: 'quarantined' });
    await settle();
    assert.equal(sink.events.length, 1);
    const { event, id, data } = sink.events[0]!;
    assert.deepEqual(
      [event, id, data.conflict_id, data.winning_fact_id, data.resolution_note],
      ['resolution', 2, 'stigmem:conflict:0123', 'bagwin', 'because'],
    );
  });

  it('shows a page a few commits at a time: hundreds of streams do so at the same moment', async () => {
    commit(SSE_PAGE);
    await follow({ after: '0' });
    // As many turns of the event loop as `settle` waits, and one before the first of them.
    assert.ok(sink.ids.length >= SSE_EVENTS_PER_TURN - 1, `${sink.ids.length}`);
    assert.ok(sink.ids.length <= 6 * SSE_EVENTS_PER_TURN && 6 * SSE_EVENTS_PER_TURN < SSE_PAGE, `${sink.ids.length}`);
    await until(() => sink.ids.length === SSE_PAGE, 'the rest');
  });

  it('writes a commit down once for all streams, and forgets what it wrote a page ago', async () => {
    commit(2 * SSE_PAGE);
    const texts = new EventTexts('rfc8785');
    const commits = await feed.read(0, 2 * SSE_PAGE);
    const first = texts.of(commits[0]!);
    let looks = 0;
    const counted: CommitEvent = {
      ...commits[0]!,
      get fact() {
        looks += 1;
        return commits[0]!.fact;
      },
    };
    for (let stream = 0; stream < 5; stream++) assert.equal(texts.of(counted), first);
    assert.equal(looks, 1);
    for (const one of commits.slice(1)) texts.of(one);
    assert.equal(texts.of(counted), first);
    assert.equal(looks, 2);
  });

  it('sends a heartbeat with the position it has reached', async () => {
    commit(2);
    await follow({ after: '0', filter: { ...NO_FILTER, entity: 'user:nobody' } });
    timers.advance(SSE_HEARTBEAT_MS);
    assert.match(sink.text, /: heartbeat\nid: 2\n\n$/);
    assert.equal(sink.events.length, 0);
  });

  it('reads nothing from the feed while the reader is behind, and goes on once it has drained', async () => {
    commit(SSE_PAGE * 3);
    sink.stuck = true;
    await follow({ after: '0' });
    const { reads } = feed;
    const { written } = sink;
    commit(500);
    timers.advance(SSE_DRAIN_MS - 1);
    await settle();
    assert.ok(reads <= 1);
    assert.equal(feed.reads, reads, 'not one page more');
    assert.equal(sink.written, written, 'not one byte more, heartbeats included');
    sink.drain();
    await until(() => sink.ids.length >= SSE_PAGE * 3 + 500, 'all of them');
    await settle();
    assert.equal(sink.ids.length, SSE_PAGE * 3 + 500);
    assert.deepEqual(
      sink.ids,
      sink.ids.toSorted((a, b) => a - b),
    );
    timers.advance(SSE_DRAIN_MS * 2);
    assert.equal(sink.destroyed, false, 'the deadline of the past is gone');
  });

  it('drops a reader that does not drain in time, holding one event and no more', async () => {
    commit(100);
    await follow();
    sink.stuck = true;
    const before = sink.written;
    const { done } = await follow({ after: '0' });
    commit(100);
    await settle();
    timers.advance(SSE_DRAIN_MS);
    assert.equal(await done, 'slow_reader');
    assert.equal(sink.destroyed, true);
    assert.ok(sink.written - before < 4000, `${sink.written - before} bytes`);
  });

  it('drops a reader that is stuck while only heartbeats come', async () => {
    const { done } = await follow();
    sink.stuck = true;
    timers.advance(SSE_HEARTBEAT_MS + SSE_DRAIN_MS);
    assert.equal(await done, 'slow_reader');
  });

  it('ends when the key is revoked or loses its permission, at the next heartbeat', async () => {
    for (const later of [undefined, principal(['write'])]) {
      sink = new FakeSink();
      let who: ReturnType<typeof principal> | undefined = principal(['read']);
      const { done } = await follow({ principal: () => who });
      timers.advance(SSE_HEARTBEAT_MS);
      assert.equal(sink.ended, false);
      who = later;
      timers.advance(SSE_HEARTBEAT_MS);
      assert.equal(await done, 'key_revoked');
      assert.equal(sink.ended, true);
    }
  });

  it('narrows what it shows when the key’s scopes are narrowed', async () => {
    let who = principal(['read']);
    await follow({ principal: () => who });
    who = principal(['read'], { scopes: new Set(['public'] as const) });
    timers.advance(SSE_HEARTBEAT_MS);
    commit(1);
    await settle();
    assert.deepEqual(sink.ids, []);
  });

  it('leaves nothing behind, whoever ends it', async () => {
    const { done } = await follow();
    assert.equal(feed.followers, 1);
    sink.close();
    assert.equal(await done, 'client');
    const second = await follow();
    second.stream.stop();
    assert.equal(await second.done, 'stopping');
    assert.equal(feed.followers, 0);
    assert.equal(timers.pending, 0);
  });

  it('ends when the log cannot be read', async () => {
    const { done } = await follow();
    feed.read = () => Promise.reject(new Error('disk'));
    commit(1);
    assert.equal(await done, 'failed');
    assert.equal(sink.ended, true);
    assert.equal(feed.followers, 0);
  });
});

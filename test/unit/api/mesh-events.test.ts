import assert from 'node:assert/strict';
import { eventKinds } from '../../../src/api/events/filter.ts';
import { MESH_EVENT_NAMES, meshEventData } from '../../../src/api/events/mesh.ts';
import { EventStream } from '../../../src/api/events/stream.ts';
import { MAX_WAITING_MESH_EVENTS, SSE_HEARTBEAT_MS } from '../../../src/api/limits.ts';
import type { MeshEvent } from '../../../src/node/federation.ts';
import type { Principal } from '../../../src/policy/principal.ts';
import { FakeFederation } from '../../support/fake-federation.ts';
import { FakeSink, NO_FILTER } from './fake-sink.ts';
import { FakeFeed, FakeTimers, factView, principal, settle, start, stopAll } from './fakes.ts';

const PEER = '12D3KooWGvCZTgC6JVRrj6oaw4cLLfvGhLmMD4oQNtotaSzBd8Tc';
const about = { at: Date.UTC(2026, 10, 21), peerId: PEER, org: 'other.example' };
const connected: MeshEvent = { ...about, type: 'peer.connected', remoteAddr: '/ip4/192.0.2.7/tcp/4701' };

describe('event stream: the mesh', () => {
  let feed: FakeFeed;
  let timers: FakeTimers;
  let sink: FakeSink;
  let who: Principal | undefined;
  beforeEach(() => {
    feed = new FakeFeed();
    timers = new FakeTimers();
    sink = new FakeSink();
    who = principal(['read', 'federate']);
  });

  async function follow(kinds = { commits: true, mesh: true }, after?: string) {
    const stream = new EventStream(
      { feed, timers, gardens: { mayRead: () => true } },
      { filter: NO_FILTER, kinds, compatCid: 'rfc8785', principal: () => who, after },
      sink,
      who!,
    );
    const done = stream.run();
    await settle();
    return { stream, done };
  }

  it('shows events without an id, between commits that have one', async () => {
    feed.commit(factView());
    const { stream } = await follow();
    stream.notice(connected);
    await settle();
    feed.commit(factView());
    await settle();
    stream.notice({ ...about, type: 'sync.finished', sent: 1, received: 2, ms: 3 });
    await settle();
    const blocks = sink.text.split('\n\n').slice(1, -1);
    assert.equal(
      blocks[0],
      `event: peer.connected\ndata: {"at":"2026-11-21T00:00:00.000Z","peer_id":"${PEER}","org":"other.example","remote_addr":"/ip4/192.0.2.7/tcp/4701"}`,
    );
    assert.match(blocks[1]!, /^event: fact\nid: 2\n/);
    assert.match(blocks[2]!, /^event: sync\.finished\ndata: \{.*"sent":1,"received":2,"ms":3\}$/);
    assert.equal(blocks.length, 3);
  });

  it('leaves the position to the commits: a heartbeat after events of the mesh still names the last of those', async () => {
    feed.commit(factView());
    feed.commit(factView());
    const { stream } = await follow(undefined, '0');
    for (let i = 0; i < 5; i++) stream.notice(connected);
    await settle();
    timers.advance(SSE_HEARTBEAT_MS);
    assert.match(sink.text, /: heartbeat\nid: 2\n\n$/);
  });

  it('keeps them from whoever may not see peers, and from a key that lost that', async () => {
    who = principal(['read']);
    const { stream } = await follow();
    stream.notice(connected);
    await settle();
    assert.doesNotMatch(sink.text, /peer/);

    who = principal(['read', 'admin']);
    sink = new FakeSink();
    const second = await follow();
    who = principal(['read']);
    second.stream.notice(connected);
    await settle();
    assert.doesNotMatch(sink.text, /peer/);
    who = undefined;
    timers.advance(SSE_HEARTBEAT_MS);
    assert.equal(await second.done, 'key_revoked');
  });

  it('keeps a bounded number for a slow reader, and says how many it missed', async () => {
    const { stream } = await follow();
    sink.stuck = true;
    stream.notice(connected);
    await settle();
    const before = sink.text.length;
    const extra = 7;
    for (let count = 0; count < MAX_WAITING_MESH_EVENTS + extra; count++) {
      stream.notice({ ...about, type: 'statement.refused', code: 'not_owner', count });
    }
    await settle();
    assert.equal(sink.text.length, before);
    sink.drain();
    await settle();
    const shown = sink.text.slice(before);
    assert.match(shown, /^event: mesh\.missed\ndata: \{"count":7\}\n\n/);
    assert.equal(shown.match(/statement\.refused/g)!.length, MAX_WAITING_MESH_EVENTS);
    assert.match(shown, /"count":7\}\n\nevent: statement\.refused\n[^\n]*"count":7\}/);
  });

  it('shows what was asked for alone', async () => {
    const { stream } = await follow({ commits: false, mesh: true }, '0');
    feed.commit(factView());
    stream.notice(connected);
    await settle();
    assert.doesNotMatch(sink.text, /event: fact/);
    assert.match(sink.text, /event: peer\.connected/);
    assert.equal(feed.reads, 0);

    sink = new FakeSink();
    const commits = await follow({ commits: true, mesh: false });
    commits.stream.notice(connected);
    await settle();
    assert.doesNotMatch(sink.text, /peer/);
  });

  it('follows both unless a filter is about commits or the request says otherwise', () => {
    assert.deepEqual(eventKinds(undefined, NO_FILTER), { commits: true, mesh: true });
    assert.deepEqual(eventKinds(undefined, { ...NO_FILTER, scope: 'team' }), { commits: true, mesh: false });
    assert.deepEqual(eventKinds(['mesh'], NO_FILTER), { commits: false, mesh: true });
    assert.deepEqual(eventKinds(['commits'], NO_FILTER), { commits: true, mesh: false });
    assert.deepEqual(eventKinds(['commits', 'mesh'], { ...NO_FILTER, scope: 'team' }), { commits: true, mesh: true });
  });

  it('has a name and snake_case members for every kind of event', () => {
    const events: MeshEvent[] = [
      connected,
      { ...about, type: 'peer.disconnected' },
      { ...about, type: 'peer.changed', state: 'suspended' },
      { ...about, type: 'sync.finished', sent: 0, received: 0, ms: 1 },
      { ...about, type: 'sync.failed', code: 'timeout', ms: 1 },
      { ...about, type: 'statement.refused', code: 'not_owner', count: 1 },
    ];
    assert.deepEqual([...new Set(events.map(({ type }) => type)), 'mesh.missed'], [...MESH_EVENT_NAMES]);
    for (const event of events) {
      const data = meshEventData(event) as Record<string, unknown>;
      assert.equal(data.peer_id, PEER);
      for (const name of Object.keys(data)) assert.match(name, /^[a-z_]+$/);
    }
  });
});

describe('GET /v1/events: the mesh', () => {
  afterEach(stopAll);

  it('follows the mesh of the daemon, with one listener however many follow', async () => {
    const mesh = new FakeFederation();
    const { api } = await start({ more: { federation: mesh, meshEvents: mesh } });
    const open = async () => {
      const response = await fetch(`${api.url}/v1/events?events=mesh`, {
        headers: { authorization: 'Bearer admin-key-of-the-tests' },
      });
      const reader = response.body!.getReader();
      const first = Buffer.from((await reader.read()).value!).toString();
      assert.match(first, /^retry: /);
      return reader;
    };
    const readers = [await open(), await open()];
    assert.equal(mesh.followers, 1);
    mesh.emit(connected);
    for (const reader of readers) {
      assert.match(Buffer.from((await reader.read()).value!).toString(), /^event: peer\.connected\ndata: /);
      await reader.cancel();
    }
  });
});

import assert from 'node:assert/strict';
import { type RunningDaemon, startDaemon } from '../support/daemon.ts';
import { until } from '../support/until.ts';
import { Follower } from './follower.ts';
import { aFact, complaints, refused, send } from './support.ts';

describe('hostile: event streams', () => {
  let said = 0;
  let daemon: RunningDaemon;
  const followers: Follower[] = [];
  const follow = (options?: ConstructorParameters<typeof Follower>[1]): Follower => {
    const follower = new Follower(daemon, options);
    followers.push(follower);
    return follower;
  };
  const say = async (v: string, changes = {}): Promise<void> => {
    assert.equal(
      (
        await send(daemon, {
          path: '/v1/facts',
          body: aFact({ entity: 'user:said', relation: `m:${++said}`, value: { type: 'text', v }, ...changes }),
        })
      ).status,
      201,
    );
  };
  const clients = async (): Promise<number> => (await send(daemon, { path: '/v1/status' })).json.sse_clients;
  before(async () => {
    daemon = await startDaemon({ env: { STIGMESH_LIMITS_SSE_CLIENTS: '8' } });
    await say('first');
  });
  afterEach(async () => {
    for (const { socket } of followers.splice(0)) socket.destroy();
    await until(async () => (await clients()) === 0, 'every stream is gone');
  });
  after(async () => {
    assert.deepEqual(complaints(daemon), []);
    await daemon.stop();
  });

  it('positions that are none start anew, and say so', async () => {
    for (const id of [
      'x',
      '-1',
      '1e3',
      '1.5',
      '999999999999999',
      '99999999999999999999999',
      '0x1',
      '__proto__',
      ';',
      '\u00e9',
    ]) {
      const follower = follow({ headers: { 'Last-Event-ID': id } });
      await until(() => follower.events.includes('reset'), `a reset after ${id}`);
      assert.deepEqual(follower.events, ['reset'], id);
      follower.socket.destroy();
      await until(async () => (await clients()) === 0, 'the stream is gone');
    }
    const query = follow({ query: '?after=nonsense' });
    await until(() => query.events.length > 0, 'a reset');
    assert.deepEqual(query.events, ['reset']);
    const replay = follow({ headers: { 'Last-Event-ID': '0' } });
    await until(() => replay.events.includes('fact'), 'what was said before');
  });

  it('filters that are none are refused before the stream begins', async () => {
    for (const [query, code] of [
      ['scope=world', 'invalid_query'],
      ['entity=%20', 'invalid_entity_uri'],
      ['relation=%00', 'invalid_relation'],
      ['entity=a&entity=b', 'validation_failed'],
      ['source=', 'validation_failed'],
    ] as const) {
      await refused(daemon, code, { path: `/v1/events?${query}` });
    }
  });

  it('one client too many is refused; when one goes, there is room', async () => {
    const all = Array.from({ length: 8 }, () => follow());
    for (const follower of all) await follower.started();
    await refused(daemon, 'too_many_clients', { path: '/v1/events' });
    all[0]!.socket.destroy();
    await until(async () => (await clients()) === 7, 'one is gone');
    await follow().started();
  });

  it('a revoked key sees nothing that is said after it was revoked', async () => {
    const made = (
      await send(daemon, { path: '/v1/auth/keys', body: { entity_uri: 'user:listener', permissions: ['read'] } })
    ).json;
    const follower = follow({ key: made.api_key });
    await follower.started();
    await say('before');
    await until(() => follower.text.includes('"v":"before"'), 'the event before');
    assert.equal((await send(daemon, { method: 'DELETE', path: `/v1/auth/keys/${made.id}` })).status, 204);
    await say('after');
    await until(() => follower.ended, 'the end of the stream');
    assert.ok(!follower.text.includes('"v":"after"'));
  });

  it('a follower of one scope hears nothing of another', async () => {
    const made = (
      await send(daemon, {
        path: '/v1/auth/keys',
        body: { entity_uri: 'user:public', permissions: ['read'], scopes: ['public'] },
      })
    ).json;
    const follower = follow({ key: made.api_key, headers: { 'Last-Event-ID': '0' } });
    await follower.started();
    await say('secret', { scope: 'company' });
    await say('open', { scope: 'public' });
    await until(() => follower.text.includes('"v":"open"'), 'the public event');
    assert.doesNotMatch(follower.text, /"v":"(?:secret|first)"/);
    assert.deepEqual(follower.events, ['fact']);
  });

  it('what is said cannot end an event and begin another', async () => {
    const follower = follow();
    await follower.started();
    const evil = 'a\n\nevent: fact\nid: 999\ndata: {"forged":true}\r\n\r\rdata: x\u2028\u2029\u0085';
    await say(evil);
    await until(() => follower.text.includes('forged'), 'the event');
    await say('next');
    await until(() => follower.text.includes('"v":"next"'), 'the next event');
    assert.deepEqual(follower.events, ['fact', 'fact']);
    assert.doesNotMatch(follower.text, /^id: 999$/m);
  });
});

import assert from 'node:assert/strict';
import type { Socket } from 'node:net';
import { type RunningDaemon, startDaemon } from '../support/daemon.ts';
import { until } from '../support/until.ts';
import { Follower } from './follower.ts';
import { aFact, complaints, openSocket, rawExchange, residentMiB, send } from './support.ts';

/** Connections that cost their client nothing: half of them silent, half a byte at a time. */
const IDLE = 1000;
/** Answers that somebody who asks like any other gets meanwhile. */
const ANSWERS = 50;

/** Requests made one after the other until told to stop: how many were answered. */
function keepAsking(daemon: RunningDaemon): { answers(): number; stop(): Promise<void> } {
  let going = true;
  let answers = 0;
  const done = (async () => {
    while (going) {
      assert.equal((await send(daemon, { path: '/v1/facts?limit=1' })).status, 200);
      answers += 1;
    }
  })();
  done.catch(() => {});
  return {
    answers: () => answers,
    async stop() {
      going = false;
      await done;
    },
  };
}

describe('hostile: slow clients', function () {
  this.timeout(300_000);
  let daemon: RunningDaemon;
  let patient: RunningDaemon;
  before(async () => {
    [daemon, patient] = await Promise.all([
      startDaemon({ env: { STIGMESH_API_REQUEST_TIMEOUT_S: '1' } }),
      startDaemon({ env: { STIGMESH_API_RATE_LIMIT_READ: '10000000' } }),
    ]);
  });
  after(async () => {
    assert.deepEqual([...complaints(daemon), ...complaints(patient)], []);
    await Promise.all([daemon.stop(), patient.stop()]);
  });

  it('a body that trickles is given up after its time', async () => {
    const head = `POST /v1/facts HTTP/1.1\r\nHost: 127.0.0.1\r\nAuthorization: Bearer ${daemon.key}\r\nContent-Type: application/json\r\n`;
    const bodies = ['Content-Length: 100\r\n\r\n{', 'Transfer-Encoding: chunked\r\n\r\n1\r\n{\r\n'];
    const answers = bodies.map((body) => rawExchange(daemon, head + body));
    for (const { text } of await Promise.all(answers)) {
      assert.match(text, /^HTTP\/1.1 408 /);
      assert.match(text, /"code":"request_timeout"/);
    }
  });

  it('fault 28: a thousand idle connections, followers that read nothing, answers nobody takes: the others are served, and all of it ends', async () => {
    const rounds = 12;
    const each = 24;
    const batch = (round: number) =>
      Array.from({ length: each }, (_, i) =>
        aFact({ entity: `user:loud-${round}-${i}`, value: { type: 'text', v: `${round}-${i}-${'x'.repeat(60_000)}` } }),
      );
    const shout = async (from: number, isHeard: () => boolean = () => true): Promise<void> => {
      for (let round = from; round < from + rounds; round++) {
        const sent = { path: '/v1/facts/batch', body: { facts: batch(round) } };
        assert.equal((await send(patient, sent)).json.accepted, each);
        await until(isHeard, 'whoever listens has heard it');
      }
    };
    // What storing costs by itself, in caches and an expanded heap, is not what is asked.
    await shout(0);
    await send(patient, { path: '/v1/facts?limit=500' });
    const slow = Array.from({ length: 6 }, () => new Follower(patient, { reads: false }));
    const good = new Follower(patient);
    await good.started();
    await until(async () => (await send(patient, { path: '/v1/status' })).json.sse_clients === 7, 'all follow');
    const before = residentMiB(patient);

    const idle: Socket[] = [];
    for (let i = 0; i < IDLE; i++) {
      const socket = openSocket(patient);
      socket.on('error', () => {});
      idle.push(socket);
      await new Promise((resolve) => socket.once('connect', resolve));
    }
    const open = new Set(idle);
    for (const socket of idle) {
      socket.on('data', () => {});
      socket.on('close', () => open.delete(socket));
    }
    const text = 'GET /v1/me HTTP/1.1\r\nHost: 127.0.0.1\r\nX-Slow: ';
    let byte = 0;
    const trickle = setInterval(() => {
      byte += 1;
      for (let i = 0; i < IDLE; i += 2) if (open.has(idle[i]!)) idle[i]!.write(text[byte - 1] ?? 'a');
    }, 100);

    const asking = keepAsking(patient);
    let heard = 0;
    // This process reads for all of them: the one that reads must not become slow by what the others are sent.
    await shout(rounds, () => {
      if (good.events.length < heard + each) return false;
      heard += each;
      return true;
    });
    const unread = Array.from({ length: 12 }, () => {
      const socket = openSocket(patient);
      socket.on('error', () => {});
      socket.pause();
      socket.write(
        `GET /v1/facts?limit=500 HTTP/1.1\r\nHost: 127.0.0.1\r\nAuthorization: Bearer ${patient.key}\r\n\r\n`,
      );
      return socket;
    });
    assert.equal(good.events.length, rounds * each, 'the reader that reads has heard everything');
    const already = asking.answers();
    await until(() => asking.answers() >= already + ANSWERS, 'whoever asks is answered all the while');
    await asking.stop();
    const after = residentMiB(patient);
    // 17 MB were said. Six readers that do not read and twelve answers that nobody takes must not cost that each.
    if (before !== undefined && after !== undefined)
      assert.ok(after - before < 300, `${before} MiB, then ${after} MiB`);

    await until(
      async () => (await send(patient, { path: '/v1/status' })).json.sse_clients === 1,
      'slow followers are dropped',
    );
    await until(() => open.size === 0, 'idle connections are closed');
    clearInterval(trickle);
    const { text: metrics } = await send(patient, { path: '/metrics' });
    assert.match(metrics, /stigmesh_sse_dropped_total\{reason="slow_reader"\} 6/);
    assert.match(metrics, /stigmesh_api_refusals_total\{code="request_timeout"\} \d{3,4}/);
    for (const socket of [...unread, ...slow.map((one) => one.socket), good.socket]) socket.destroy();
  });
});

import assert from 'node:assert/strict';
import { once } from 'node:events';
import { existsSync, mkdtempSync, rmSync } from 'node:fs';
import { Agent, type IncomingMessage, request } from 'node:http';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { parseCid } from '../../src/facts/index.ts';
import { openHome, reindexHome } from '../../src/home.ts';
import { type RunningDaemon, startDaemon } from '../support/daemon.ts';
import { homeOptions } from '../support/home.ts';
import { assertConsistent } from '../support/soundness.ts';

const WRITERS = 24;
const READERS = 8;
/** Acknowledged writes before the signal: the load is under way then. */
const WARM = 400;

interface Answer {
  readonly status: number;
  readonly headers: IncomingMessage['headers'];
  readonly text: string;
}

/** One writer or reader of a daemon, on connections of its own. */
class Client {
  readonly #daemon: RunningDaemon;
  readonly #agent: Agent;

  constructor(daemon: RunningDaemon, keepAlive: boolean) {
    this.#daemon = daemon;
    this.#agent = new Agent({ keepAlive, maxSockets: 1 });
  }

  open(method: string, path: string, body?: unknown): Promise<IncomingMessage> {
    const { url, key } = this.#daemon;
    const headers = { authorization: `Bearer ${key}`, 'content-type': 'application/json' };
    return new Promise((resolve, reject) => {
      const outgoing = request(url + path, { method, agent: this.#agent, headers }, resolve);
      outgoing.on('error', reject);
      outgoing.end(body === undefined ? undefined : JSON.stringify(body));
    });
  }

  async send(method: string, path: string, body?: unknown): Promise<Answer> {
    return answerOf(await this.open(method, path, body));
  }

  close(): void {
    this.#agent.destroy();
  }
}

/** Begins a request, as far as the daemon having it; what this returns finishes it. */
async function openWrite(daemon: RunningDaemon, body: unknown): Promise<() => Promise<Answer>> {
  const outgoing = request(`${daemon.url}/v1/facts`, {
    method: 'POST',
    headers: { authorization: `Bearer ${daemon.key}`, 'content-type': 'application/json', expect: '100-continue' },
  });
  outgoing.flushHeaders();
  await once(outgoing, 'continue');
  return async () => {
    outgoing.end(JSON.stringify(body));
    const [incoming] = (await once(outgoing, 'response')) as [IncomingMessage];
    return answerOf(incoming);
  };
}

async function answerOf(incoming: IncomingMessage): Promise<Answer> {
  let text = '';
  for await (const chunk of incoming) text += String(chunk);
  return { status: incoming.statusCode ?? 0, headers: incoming.headers, text };
}

const factOf = (writer: number, n: number) => ({
  entity: `user:w${writer}`,
  relation: `load:r${n % 50}`,
  value: { type: 'number', v: n },
  source: 'agent:load',
  scope: 'company',
});

describe('stopping a daemon', () => {
  let home: string;

  beforeEach(() => {
    home = mkdtempSync(join(tmpdir(), 'stigmesh-stop-'));
  });

  afterEach(() => rmSync(home, { recursive: true, force: true }));

  it('also track: SIGTERM under load drains in 10 s, keeps what it acknowledged and refuses the rest cleanly', async () => {
    const daemon = await startDaemon({ home });
    const acked = new Set<string>();
    const refusals: Answer[] = [];
    const warm = Promise.withResolvers<void>();

    const write = async (writer: number): Promise<void> => {
      // Every third writer opens a connection for each request; every fourth sends batches.
      const client = new Client(daemon, writer % 3 !== 0);
      const isBatch = writer % 4 === 0;
      try {
        for (let n = 0; ; n++) {
          const facts = Array.from({ length: 10 }, (_, at) => factOf(writer, n * 10 + at));
          const answer = isBatch
            ? await client.send('POST', '/v1/facts/batch', { facts })
            : await client.send('POST', '/v1/facts', factOf(writer, n));
          if (answer.status >= 400) {
            refusals.push(answer);
            return;
          }
          const body = JSON.parse(answer.text) as { id: string; results?: { fact_id: string }[] };
          for (const { fact_id } of body.results ?? [{ fact_id: body.id }]) acked.add(fact_id);
          if (acked.size >= WARM) warm.resolve();
        }
      } finally {
        client.close();
      }
    };
    /** Resolves when the stream has ended as a stream should: an error would reject. */
    const follow = async (): Promise<number> => {
      const client = new Client(daemon, false);
      let events = 0;
      for await (const chunk of await client.open('GET', '/v1/events')) {
        events += String(chunk).split('event: fact').length - 1;
      }
      return events;
    };

    const readers = Array.from({ length: READERS }, follow);
    const writers = Array.from({ length: WRITERS }, (_, writer) => write(writer));
    await Promise.race([warm.promise, Promise.all(writers)]);
    // A request that is under way keeps the daemon draining until every writer has come by and was told.
    const finish = await openWrite(daemon, factOf(WRITERS, 0));
    daemon.process.kill('SIGTERM');
    await Promise.all(writers);
    const last = await finish();
    assert.deepEqual([last.status, last.headers.connection], [201, 'close']);
    acked.add((JSON.parse(last.text) as { id: string }).id);
    assert.deepEqual(await daemon.ended, [0, null]);
    // The daemon's own deadline, 10 s, has not cut anything off.
    assert.deepEqual(
      daemon.logs.filter(({ event }) => event === 'drain_timeout' || event === 'stop_timeout'),
      [],
    );
    assert.equal(refusals.length, WRITERS, 'every writer was told');
    for (const { status, headers, text } of refusals) {
      assert.deepEqual([status, JSON.parse(text).code, headers.connection], [503, 'stopping', 'close']);
      assert.ok(Number(headers['retry-after']) >= 1);
    }
    for (const events of await Promise.all(readers)) assert.ok(events > 0, 'a reader that saw nothing proves nothing');
    assert.deepEqual(
      daemon.logs.filter(({ event }) => event === 'stopping' || event === 'stopped').map(({ event }) => event),
      ['stopping', 'stopped'],
    );
    assert.ok(!existsSync(join(home, 'state/daemon.json')) && !existsSync(join(home, 'state/daemon.lock')));

    const { store, close } = await openHome(homeOptions(home));
    const { log } = await assertConsistent(store);
    await close();
    for (const id of acked) {
      assert.ok(log.has(Buffer.from(parseCid(id).digest).toString('hex')), `acknowledged and lost: ${id}`);
    }
    assert.equal((await reindexHome(homeOptions(home))).changed, false);
  });

  it('cuts off a request that does not come to its end, and says so', async () => {
    const daemon = await startDaemon({ home, env: { STIGMESH_DAEMON_DRAIN_TIMEOUT_S: '1' } });
    const outgoing = request(`${daemon.url}/v1/facts`, {
      method: 'POST',
      headers: { authorization: `Bearer ${daemon.key}`, 'content-type': 'application/json', 'content-length': '100' },
    });
    const failed = new Promise<Error>((resolve) => outgoing.on('error', resolve));
    outgoing.write('{"entity":');
    await until(async () => {
      const status = (await (await daemon.fetch('/v1/status')).json()) as { requests: number };
      return status.requests >= 2;
    });
    daemon.process.kill('SIGTERM');
    assert.deepEqual(await daemon.ended, [0, null]);
    assert.match((await failed).message, /hang up|ECONNRESET/);
    const cut = daemon.logs.find(({ event }) => event === 'drain_timeout');
    assert.equal(cut?.requests, 1);
  });

  it('ends at once on another signal, with the code that says so, and loses nothing it acknowledged', async () => {
    const daemon = await startDaemon({ home, env: { STIGMESH_DAEMON_DRAIN_TIMEOUT_S: '300' } });
    const written = await daemon.fetch('/v1/facts', { method: 'POST', json: factOf(1, 1) });
    const { id } = (await written.json()) as { id: string };
    const outgoing = request(`${daemon.url}/v1/facts`, {
      method: 'POST',
      headers: { authorization: `Bearer ${daemon.key}`, 'content-type': 'application/json', 'content-length': '100' },
    });
    outgoing.on('error', () => {});
    outgoing.write('{"entity":');
    await until(async () => {
      const status = (await (await daemon.fetch('/v1/status')).json()) as { requests: number };
      return status.requests >= 2;
    });
    daemon.process.kill('SIGTERM');
    await until(async () => daemon.logs.some(({ event }) => event === 'stopping'));
    // Another name: the launcher takes the same signal within 300 ms for a copy of the first.
    daemon.process.kill('SIGINT');
    assert.deepEqual(await daemon.ended, [1, null]);
    assert.ok(!daemon.logs.some(({ event }) => event === 'stopped'));

    const again = await startDaemon({ home });
    assert.equal((await again.fetch(`/v1/facts/${id}`)).status, 200);
    assert.equal(await again.stop(), 0);
  });
});

describe('a daemon that meets an error nobody expected', () => {
  it('says what and where, without what the error quotes, and ends so that it is started again', async () => {
    // A preload throws where nothing catches; the runtime's messages quote what they choked on.
    const crash = "process.on('SIGUSR2', () => JSON.parse(process.env.CRASH_INPUT))";
    const daemon = await startDaemon({
      env: { NODE_OPTIONS: `--import=data:text/javascript,${encodeURIComponent(crash)}`, CRASH_INPUT: 'canary' },
    });
    daemon.process.kill('SIGUSR2');
    assert.deepEqual(await daemon.ended, [1, null]);
    const last = daemon.logs.at(-1)!;
    assert.deepEqual([last.event, last.level, last.type], ['crashed', 60, 'SyntaxError']);
    assert.match(String((last.at as string[])[0]), /^at JSON.parse/);
    assert.doesNotMatch(JSON.stringify(daemon.logs), /canary/);
    await daemon.stop();
  });
});

/** Asks again and again; mocha's timeout is the limit. */
async function until(isTrue: () => Promise<boolean>): Promise<void> {
  while (!(await isTrue())) await new Promise((resolve) => setTimeout(resolve, 10));
}

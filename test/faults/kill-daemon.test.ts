import assert from 'node:assert/strict';
import { reindexHome } from '../../src/home.ts';
import { type RunningDaemon, startDaemon } from '../support/daemon.ts';
import { homeOptions, makeHome, type TestHome } from '../support/home.ts';
import { Random } from '../support/random.ts';

/** Rounds in `npm test`; `npm run test:long` has a tenth as many as of those without HTTP. */
const ROUNDS = Math.max(3, Math.round(Number(process.env.STIGMESH_KILL_ROUNDS ?? 0) / 10));
const SEED = Number(process.env.STIGMESH_SEED ?? 20261121);
/** Requests under way at once. */
const CLIENTS = 8;
/** Acknowledgements after which a round is killed, at the most. */
const MOST_ACKS = 150;
const ROUND_MS = 90_000;

interface Acked {
  readonly id: string;
  readonly value: string;
}

describe('kill -9 of the daemon', () => {
  let home: TestHome;
  let daemon: RunningDaemon | undefined;

  before(async () => {
    home = await makeHome();
  });

  afterEach(async () => {
    if (daemon?.process.exitCode === null && daemon.process.signalCode === null) await daemon.kill();
  });

  after(() => home.dispose());

  const start = async (): Promise<RunningDaemon> => {
    daemon = await startDaemon({
      home: home.directory,
      // As many as a burst of a few thousand needs.
      env: {
        STIGMESH_ORG_AUTHORITY: 'acme.example',
        STIGMESH_API_RATE_LIMIT_WRITE: '1000000',
        STIGMESH_API_RATE_LIMIT_READ: '1000000',
      },
    });
    return daemon;
  };

  /** Writes from several clients until that many answers arrived, then kills it; answers all that was acknowledged. */
  async function writeAndKill(running: RunningDaemon, random: Random, round: number, acks: number): Promise<Acked[]> {
    const acked: Acked[] = [];
    let killed: Promise<void> | undefined;
    const client = async (name: number): Promise<void> => {
      for (let n = 0; killed === undefined; n++) {
        const value = `${round}-${name}-${n}`;
        const facts = Array.from({ length: random.below(5) === 0 ? 5 : 1 }, (_, at) => ({
          entity: `stigmem://acme.example/user/u${random.below(10)}`,
          relation: 'memory:note',
          value: { type: 'string', v: `${value}-${at}` },
          source: 'stigmem://acme.example/agent/kill',
          scope: 'company',
        }));
        const isBatch = facts.length > 1;
        const answer = await running
          .fetch(isBatch ? '/v1/facts/batch' : '/v1/facts', {
            method: 'POST',
            json: isBatch ? { facts, atomic: true } : facts[0],
          })
          .then(async (response) => ({ status: response.status, body: (await response.json()) as unknown }))
          .catch(() => undefined);
        // No answer, or half of one: the daemon is gone, and nothing was promised.
        if (!answer) return;
        assert.ok(answer.status === 201 || answer.status === 200, JSON.stringify(answer));
        const ids = isBatch
          ? (answer.body as { results: { fact_id: string }[] }).results.map(({ fact_id }) => fact_id)
          : [(answer.body as { id: string }).id];
        for (const [at, id] of ids.entries()) acked.push({ id, value: `${value}-${at}` });
        if (acked.length >= acks) killed ??= running.kill();
      }
    };
    await Promise.all(Array.from({ length: CLIENTS }, (_, name) => client(name)));
    await killed;
    return acked;
  }

  it(`fault 41: ${ROUNDS} kills under requests: every answer of 201 is there after the restart`, async function () {
    this.timeout(ROUND_MS * (ROUNDS + 1));
    const random = new Random(SEED);
    const all: Acked[] = [];
    let seq = 0;
    let hlc = '';
    for (let round = 0; round < ROUNDS; round++) {
      const running = await start();
      all.push(...(await writeAndKill(running, random, round, 1 + random.below(MOST_ACKS))));
      const again = await start();
      for (const { id, value } of all) {
        const response = await again.fetch(`/v1/facts/${id}`);
        assert.equal(response.status, 200, `round ${round}: acknowledged and lost: ${value}`);
        const body = (await response.json()) as { value: { v: string } };
        assert.equal(body.value.v, value);
      }
      const status = (await (await again.fetch('/v1/status')).json()) as { seq: number; hlc: string };
      assert.ok(status.seq > seq && status.hlc > hlc, `round ${round}: sequence or clock went back`);
      ({ seq, hlc } = status);
      assert.equal((await again.fetch('/readyz', { key: null })).status, 200);
      assert.ok(again.logs.some(({ msg }) => /took over the lock of pid/.test(String(msg))));
      assert.equal(await again.stop(), 0);
      assert.equal((await reindexHome(homeOptions(home.directory))).changed, false);
    }
  });

  it('fault 45: a second daemon on the same home ends with 1 and names the first', async () => {
    const first = await start();
    await assert.rejects(
      startDaemon({ home: home.directory, env: { STIGMESH_ORG_AUTHORITY: 'acme.example' } }),
      (error: Error) => new RegExp(`ended with 1[^]*pid ${first.process.pid}\\b`).test(error.message),
    );
    assert.equal((await first.fetch('/healthz', { key: null })).status, 200);
    assert.equal(await first.stop(), 0);
  });
});

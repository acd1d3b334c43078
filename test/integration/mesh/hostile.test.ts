import assert from 'node:assert/strict';
import { decodeStatement } from '../../../src/facts/index.ts';
import { encodeBlock } from '../../../src/mesh/block.ts';
import { FETCH_TIMEOUT_MS, MAX_FETCH_DIGESTS, SYNC_DEADLINE_GRACE_MS } from '../../../src/mesh/data-limits.ts';
import { encodeFetchRequest, FETCH, Fetcher } from '../../../src/mesh/fetch.ts';
import { decodePushAnswer, encodeHeads, encodePushBlock, PUSH } from '../../../src/mesh/push-frames.ts';
import { SYNC } from '../../../src/mesh/sync-session.ts';
import type { FrameStream, Protocol } from '../../../src/mesh/transport.ts';
import type { WireStatement } from '../../../src/node/federation.ts';
import { encodeFrame } from '../../../src/sync/frames.ts';
import { FIRST_KEY } from '../../../src/sync/key.ts';
import { MAX_SESSION_MS } from '../../../src/sync/limits.ts';
import { type MeshNode, SEED, TestMesh } from '../../support/mesh-node.ts';
import { who } from '../../support/test-node.ts';

const nothing = { refuse: (): void => {} };

describe(`mesh: what hostile peers send (seed ${SEED})`, () => {
  let mesh: TestMesh;
  let acme: MeshNode;
  /** Paired with acme; its node is honest, its transport sends what a test makes up. */
  let rogue: MeshNode;

  const begin = async (gate = {}): Promise<void> => {
    acme = await mesh.start('acme', { mesh: { cpu: () => 0, gate } });
    rogue = await mesh.start('rogue');
    await mesh.connect(acme, rogue);
    await mesh.run(5000);
  };

  beforeEach(() => {
    mesh = new TestMesh();
  });
  afterEach(() => mesh.close());

  const push = async (...statements: WireStatement[]): Promise<void> => {
    const stream = await mesh.simulation.run(rogue.transport.open(acme.peerId, PUSH));
    await mesh.simulation.run(stream.send(encodePushBlock(statements)));
    const answer = await mesh.simulation.run(stream.receive());
    assert.deepEqual(decodePushAnswer(answer!), { type: 'taken', blocks: 1 });
    stream.abort(new Error('done'));
    await mesh.run(100);
  };

  const gossip = async (...statements: WireStatement[]): Promise<void> => {
    await mesh.simulation.run(rogue.transport.gossip.publish(encodeBlock(statements)));
    await mesh.run(200);
  };

  /** Digests that acme answers with statements. */
  const fetched = async (...digests: Uint8Array[]): Promise<{ count: number; ms: number }> => {
    const fetcher = new Fetcher({ transport: rogue.transport, scores: nothing, world: rogue.world });
    const startedAt = mesh.simulation.now;
    const statements = await mesh.simulation.run(fetcher.statements(acme.peerId, digests));
    return { count: statements.length, ms: mesh.simulation.now - startedAt };
  };

  const holds = async (statement: WireStatement): Promise<boolean> => {
    const { digest } = decodeStatement(statement.bytes);
    const [record] = await acme.node.sets.read(acme.peering.pairing(rogue.peerId)!, [digest]);
    return record !== undefined;
  };

  const audited = async (type: string): Promise<readonly (string | undefined)[]> => {
    const { entries } = await acme.node.audit.list(who, { type, limit: 50 });
    return entries.map(({ detail }) => detail?.code as string | undefined);
  };

  it('fault 9: a flipped bit is no statement of its origin: dropped, penalised, never stored', async () => {
    await begin();
    const good = rogue.sign('good');
    const seq = acme.node.feed.head();
    for (const at of [5, 60, 200, good.bytes.length - 2]) {
      const bytes = good.bytes.slice();
      bytes[at]! ^= 1;
      await push({ bytes, sig: good.sig });
    }
    const sig = good.sig.slice();
    sig[40]! ^= 1;
    await gossip({ bytes: good.bytes, sig });
    assert.equal(acme.node.feed.head(), seq);
    assert.ok(acme.mesh.score(rogue.peerId) <= -100);
    assert.ok(!acme.isActive(rogue), 'cut off');
    assert.ok((await audited('peer_penalised')).length > 0);
  });

  it('fault 10: forged signatures and foreign names are refused by their codes, and audited', async () => {
    await begin();
    await push(rogue.sign('forged', { key: acme.nodeKey }), rogue.sign('fine'));
    await push(rogue.sign('source', { body: { source: 'stigmem://acme.example/agent/hr' } }));
    await push(rogue.sign('entity', { body: { entity: 'stigmem://acme.example/user/alice' } }));
    await mesh.run(1000);
    const refused = acme.mesh.refused(rogue.peerId);
    assert.equal(refused.bad_signature, 1);
    // What claims something in our name is in no set that could be shared.
    assert.equal((refused.not_owner ?? 0) + (refused.scope_violation ?? 0), 2);
    assert.deepEqual(new Set(await audited('statement_refused')), new Set(Object.keys(refused)));
    assert.equal(
      refused.bad_signature! + 2,
      Object.values(refused).reduce((sum, n) => sum + n, 0),
      'the good one passed',
    );
    assert.ok(acme.events.some((event) => event.type === 'statement.refused' && event.code === 'bad_signature'));
  });

  it('fault 15: what is outside the terms is refused, audited and penalised, by whatever way it comes', async () => {
    acme = await mesh.start('acme');
    rogue = await mesh.start('rogue');
    await mesh.connect(acme, rogue, { a: { takes: ['public'], gives: ['public'] } });
    await mesh.run(60_000);
    const company = rogue.sign('company', { body: { scope: 'company' } });
    const team = rogue.sign('team', { body: { scope: 'team' } });
    await push(company, team);
    await gossip(rogue.sign('by gossip', { body: { scope: 'company' } }));
    assert.equal(acme.mesh.refused(rogue.peerId).scope_violation, 3);
    assert.ok(acme.mesh.score(rogue.peerId) < 0);
    assert.ok((await audited('statement_refused')).includes('scope_violation'));
    assert.ok(!(await holds(company)) && !(await holds(team)));
  });

  it('takes nothing but public statements from gossip, whatever else is shared', async () => {
    await begin();
    const company = rogue.sign('company', { body: { scope: 'company' } });
    await gossip(company);
    assert.ok(!(await holds(company)));
    assert.equal(acme.mesh.refused(rogue.peerId).scope_violation, 1);
    await push(company);
    assert.ok(await holds(company));
  });

  it('fault 16: a local fact is answered as one that nobody has, in the same time, and shows in no fingerprint', async () => {
    await begin();
    const local = await acme.assert('local', { scope: 'local' });
    const shared = await acme.assert('shared', { scope: 'company' });
    await mesh.run(60_000);
    const digestOf = (fact: { statement: unknown }): Uint8Array =>
      decodeStatement(Buffer.from(JSON.stringify(sorted(fact.statement)))).digest;
    const unknown = Buffer.alloc(32, 7);
    const known = await fetched(digestOf(shared));
    const hidden = await fetched(digestOf(local));
    const missing = await fetched(unknown);
    assert.deepEqual([known.count, hidden.count, missing.count], [1, 0, 0]);
    // The jitter of the way, and no beat of the answer's clock.
    assert.ok(Math.abs(hidden.ms - missing.ms) < 10 && Math.abs(known.ms - missing.ms) < 10, 'same class of time');
    const mixed = await fetched(digestOf(local), digestOf(shared), unknown);
    assert.equal(mixed.count, 1);
    assert.equal(acme.mesh.lag(rogue.peerId).outStatements, 0, 'heads are equal, so it counts nowhere');
    assert.equal(rogue.mesh.lag(acme.peerId).inStatements, 0);
  });

  it('fault 17: what is replayed changes nothing and tells nobody', async () => {
    await begin();
    const old = rogue.sign('old');
    await push(old);
    const head = acme.node.feed.head();
    let told = 0;
    acme.node.sets.on(() => {
      told += 1;
    });
    await push(old, old);
    await gossip(old);
    await mesh.run(60_000);
    assert.equal(acme.node.feed.head(), head);
    assert.equal(told, 0);
    assert.equal(acme.mesh.score(rogue.peerId), 0, 'a repeat is no offence');
  });

  it('fault 25: a flood of valid facts is slowed on streams and dropped from gossip; other peers notice nothing', async () => {
    await begin({ statementsPerSecond: 50, burstStatements: 200 });
    const other = await mesh.start('other');
    await mesh.connect(acme, other);
    await mesh.run(5000);
    const flood = Array.from({ length: 2000 }, (_, n) => rogue.sign(`flood ${n}`));
    const stream = await mesh.simulation.run(rogue.transport.open(acme.peerId, PUSH));
    const before = acme.node.feed.head();
    const sending = (async () => {
      for (let at = 0; at < 1000; at += 100) await stream.send(encodePushBlock(flood.slice(at, at + 100)));
    })();
    const seconds = 10;
    const fair = await other.assert('fair', { scope: 'company' });
    await mesh.run(100);
    assert.ok(await acme.holds(fair), 'at once, in the middle of the flood');
    await mesh.run(seconds * 1000 - 100);
    const taken = acme.node.feed.head() - before - 1;
    assert.ok(taken <= 200 + 50 * seconds + 100, `${taken} taken in ${seconds} s`);
    assert.ok(taken >= 50 * (seconds - 2), `${taken} taken: slowed, not refused`);
    stream.abort(new Error('enough'));
    await assert.doesNotReject(mesh.simulation.run(sending.catch(() => {})));
    const held = acme.node.feed.head();
    for (let at = 1000; at < 2000; at += 50)
      await rogue.transport.gossip.publish(encodeBlock(flood.slice(at, at + 50)));
    await mesh.run(1000);
    assert.ok(acme.node.feed.head() - held <= 100, 'what is over the allowance is not looked at');
    assert.ok(acme.mesh.refused(rogue.peerId).over_quota! > 0);
    assert.equal(acme.mesh.score(other.peerId), 0);
  });

  it('fault 27: an answer that does not end is cut off, by what it holds or by its time', async () => {
    await begin();
    const asked = Array.from({ length: MAX_FETCH_DIGESTS }, (_, n) => Buffer.alloc(32, n));
    const answers: readonly ((stream: FrameStream) => Promise<void>)[] = [
      async (stream) => {
        for (let n = 0; ; n++) await stream.send(encodeBlock([rogue.sign(`endless ${n}`)]));
      },
      async (stream) => {
        for (;;) await stream.send(encodeBlock([]));
      },
      async (stream) => {
        for (;;) {
          await stream.send(Buffer.alloc(1000, 0xff));
        }
      },
      async () => new Promise(() => {}),
    ];
    for (const answer of answers) {
      await rogue.transport.handle(FETCH, answer, () => true);
      const refused: string[] = [];
      const scores = { refuse: (_: string, code: string) => void refused.push(code) };
      const fetcher = new Fetcher({ transport: acme.transport, scores, world: acme.world });
      const startedAt = mesh.simulation.now;
      const outcome = mesh.simulation.run(fetcher.statements(rogue.peerId, asked));
      await assert.rejects(outcome, { name: 'MeshError' });
      assert.ok(mesh.simulation.now - startedAt <= FETCH_TIMEOUT_MS + 1000);
      if (answer !== answers.at(-1)) assert.equal(refused.length, 1);
    }
  });

  it('fault 27: a reconciliation that does not end is cut off, and its peer penalised', async () => {
    await begin();
    let sent = 0;
    await rogue.transport.handle(
      SYNC,
      async (stream) => {
        await stream.receive();
        const block = Buffer.concat([Buffer.of(0x08), encodeBlock([rogue.sign('endless')]).subarray(1)]);
        for (;;) {
          await stream.send(block);
          sent += 1;
        }
      },
      () => true,
    );
    await assert.rejects(mesh.simulation.run(acme.mesh.sync(rogue.peerId)), { code: 'sync_failed' });
    assert.ok(sent < 10_000);
    assert.ok(acme.mesh.score(rogue.peerId) < 0);
    assert.ok(acme.events.some(({ type }) => type === 'sync.failed'));
    assert.ok((await audited('sync_failed')).length > 0);
  });

  it('fault 26: a reconciliation that hardly moves ends at its time, told and audited; other peers notice nothing', async () => {
    await begin();
    const other = await mesh.start('other');
    await mesh.connect(acme, other);
    await mesh.run(5000);
    await rogue.transport.handle(
      SYNC,
      async (stream) => {
        await stream.receive();
        await stream.send(encodeFrame({ type: 'welcome', nonce: Buffer.alloc(16), proof: null, accepts: 1 }));
        for (let n = 1; ; n++) {
          // Just before the stream would count as dead.
          await new Promise<void>((resolve) => rogue.world.setTimeout(resolve, SYNC.idleMs - 10_000));
          const entry = { tag: `${n}`.padStart(16, '0'), count: 1, fingerprint: Buffer.alloc(16), newest: FIRST_KEY };
          await stream.send(encodeFrame({ type: 'vector', entries: [entry] }));
        }
      },
      () => true,
    );
    const startedAt = mesh.simulation.now;
    const asked = assert.rejects(acme.mesh.sync(rogue.peerId), { code: 'sync_failed', message: /budget_time/ });
    await mesh.run(10_000);
    const fair = await other.assert('fair', { scope: 'company' });
    await mesh.simulation.run(acme.mesh.sync(other.peerId));
    assert.ok(await acme.holds(fair));
    await mesh.simulation.run(asked);
    assert.ok(mesh.simulation.now - startedAt <= MAX_SESSION_MS + SYNC_DEADLINE_GRACE_MS + 1000);
    assert.equal(acme.mesh.lastSync(rogue.peerId)?.result, 'budget_time');
    const { entries } = await acme.node.audit.list(who, { type: 'sync_failed', limit: 50 });
    assert.ok(JSON.stringify(entries).includes('budget_time'), JSON.stringify(entries));
  });

  it('fault 31: a statement a day ahead is refused, told, and does not move our clock', async () => {
    await begin();
    const ahead = rogue.sign('ahead', { hlcMs: mesh.simulation.now + 86_400_000 });
    await push(ahead);
    await gossip(ahead);
    assert.ok(!(await holds(ahead)));
    assert.ok(acme.mesh.refused(rogue.peerId).hlc_ahead! >= 1);
    assert.ok((await audited('statement_refused')).includes('hlc_ahead'));
    const mine = await acme.assert('mine');
    assert.ok(Number(mine.statement.hlc.slice(0, 13)) <= mesh.simulation.now + 1000);
    assert.ok((await acme.node.status()).warnings.some((warning) => warning.includes('clock')));
  });

  const broken: readonly (readonly [string, Protocol, Uint8Array])[] = [
    ['an unknown frame of push', PUSH, Buffer.of(0x7f)],
    ['a block of 268 million statements', PUSH, Buffer.of(0x01, 0xff, 0xff, 0xff, 0x7f)],
    ['an unknown request', FETCH, Buffer.of(0x03)],
    ['a request for nothing', FETCH, encodeFetchRequest({ type: 'statements', digests: [] })],
  ];
  for (const [what, protocol, frame] of broken) {
    it(`ends a stream with ${what}, and holds it against the peer`, async () => {
      await begin();
      const stream = await mesh.simulation.run(rogue.transport.open(acme.peerId, protocol));
      await mesh.simulation.run(stream.send(frame));
      await assert.rejects(mesh.simulation.run(stream.receive()), { code: 'stream_closed' });
      assert.deepEqual(acme.mesh.refused(rogue.peerId), { malformed_frame: 1 });
      assert.ok(acme.mesh.score(rogue.peerId) < 0);
    });
  }

  it('tries a peer that resets every reconciliation less and less often', async () => {
    await begin();
    const times: number[] = [];
    await rogue.transport.handle(
      SYNC,
      async (stream) => {
        times.push(mesh.simulation.now);
        stream.abort(new Error('no'));
      },
      () => true,
    );
    const open = rogue.transport.open.bind(rogue.transport);
    rogue.transport.open = (peerId, protocol) =>
      protocol === SYNC ? Promise.reject(new Error('it opens none either')) : open(peerId, protocol);
    // Something that only reconciliation could bring, so that there is a reason all the time.
    mesh.network.setAllPaths({ gossipLoss: 1 });
    await acme.assert('lost', { scope: 'public' });
    await mesh.run(30 * 60_000);
    assert.ok(times.length >= 4 && times.length < 20, `${times.length} times in half an hour`);
    const pauses = times.slice(1).map((at, n) => at - times[n]!);
    assert.ok(pauses.at(-1)! > 2 * pauses[0]!, pauses.join());
    assert.ok(acme.events.filter(({ type }) => type === 'sync.failed').length >= 4);
    assert.ok((await audited('sync_failed')).length < times.length, 'and audited even less often');
  });

  it('compares heads no more often than it has to', async () => {
    await begin();
    const stream = await mesh.simulation.run(rogue.transport.open(acme.peerId, PUSH));
    const heads = encodeHeads({ below: new Uint8Array(8), fingerprint: new Uint8Array(16), counts: [0, 0, 0] });
    const results: string[] = [];
    for (let n = 0; n < 5; n++) {
      await mesh.simulation.run(stream.send(heads));
      const answer = decodePushAnswer((await mesh.simulation.run(stream.receive()))!);
      results.push(answer.type === 'compared' ? answer.result : answer.type);
    }
    assert.deepEqual(results.slice(1), ['unknown', 'unknown', 'unknown', 'unknown']);
    stream.abort(new Error('done'));
  });
});

function sorted(value: unknown): unknown {
  if (Array.isArray(value)) return value.map(sorted);
  if (typeof value !== 'object' || value === null) return value;
  return Object.fromEntries(
    Object.entries(value)
      .sort(([a], [b]) => (a < b ? -1 : 1))
      .map(([name, member]) => [name, sorted(member)]),
  );
}

import assert from 'node:assert/strict';
import {
  GATE_BURST_BYTES,
  GATE_BURST_STATEMENTS,
  GATE_BYTES_PER_SECOND,
  GATE_STATEMENTS_PER_SECOND,
  MAX_SCORED_PEERS,
  MAX_SOURCES,
} from '../../../src/mesh/data-limits.ts';
import { InboundGate } from '../../../src/mesh/inbound-gate.ts';
import { settle, TestWorld } from '../../support/test-world.ts';

/** What gets through of an endless supply within so many seconds. */
async function throughput(statements: number, bytes: number, seconds: number): Promise<number> {
  const world = new TestWorld();
  const gate = new InboundGate(world);
  const stopped = new AbortController();
  let taken = 0;
  const run = async (): Promise<void> => {
    while (!stopped.signal.aborted) {
      await gate.take('a', statements, bytes, stopped.signal);
      if (!stopped.signal.aborted) taken += 1;
    }
  };
  const done = run();
  await world.advance(seconds * 1000);
  stopped.abort();
  await done;
  assert.equal(gate.waiting, 0);
  return taken;
}

describe('mesh: allowance of a peer', () => {
  it('fault 25: is so many statements at once and so many a second, whoever sends ten times as much', async () => {
    const taken = (await throughput(500, 1000, 20)) * 500;
    const allowed = GATE_BURST_STATEMENTS + 20 * GATE_STATEMENTS_PER_SECOND;
    assert.ok(taken <= allowed + 500 && taken >= allowed - 1000, `${taken} of ${allowed}`);
  });

  it('is so many bytes at once and so many a second', async () => {
    const size = 128 * 1024;
    const taken = (await throughput(1, size, 20)) * size;
    const allowed = GATE_BURST_BYTES + 20 * GATE_BYTES_PER_SECOND;
    assert.ok(taken <= allowed + size && taken >= allowed - 2 * size, `${taken} of ${allowed}`);
  });

  it('fault 25: of one peer is nothing to another', async () => {
    const gate = new InboundGate(new TestWorld());
    while (gate.tryTake('flood', 1000, 1000).allowed);
    assert.ok(gate.tryTake('other', 1000, 1000).allowed);
  });

  it('fault 25: of one source is the same, by however many peers it comes', () => {
    const gate = new InboundGate(new TestWorld(), { statementsPerSecond: 100, burstStatements: 10 });
    let taken = 0;
    while (gate.takesFrom('origin')) taken += 1;
    assert.equal(taken, 10);
    gate.giveBack('origin');
    gate.giveBack('nobody');
    assert.deepEqual(
      [gate.takesFrom('origin'), gate.takesFrom('origin')],
      [true, false],
      'what was given back, and no more',
    );
    assert.ok(gate.takesFrom('another'));
    for (let n = 0; n < 2 * MAX_SOURCES; n++) assert.ok(gate.takesFrom(`origin ${n}`));
    assert.ok(gate.takesFrom('origin'), 'it was forgotten for others: the table is bounded');
  });

  it('says when to come back, and is there then', async () => {
    const world = new TestWorld();
    const gate = new InboundGate(world, { statementsPerSecond: 100, burstStatements: 10 });
    assert.ok(gate.tryTake('a', 10, 1).allowed);
    const refused = gate.tryTake('a', 5, 1);
    assert.ok(!refused.allowed);
    assert.equal(refused.retryAfterMs, 50);
    await world.advance(refused.retryAfterMs);
    assert.ok(gate.tryTake('a', 5, 1).allowed);
  });

  it('takes a block above its burst as the whole burst: slowed down, never locked out', async () => {
    const world = new TestWorld();
    const gate = new InboundGate(world, { statementsPerSecond: 100, burstStatements: 10 });
    let taken = 0;
    const run = async (): Promise<void> => {
      for (let i = 0; i < 3; i++) {
        await gate.take('a', 1000, 1);
        taken += 1;
      }
    };
    const done = run();
    await world.advance(1000);
    await done;
    assert.equal(taken, 3);
  });

  it('ends a wait when it is told to', async () => {
    const world = new TestWorld();
    const gate = new InboundGate(world, { statementsPerSecond: 1, burstStatements: 1 });
    await gate.take('a', 1, 1);
    const stopped = new AbortController();
    const waiting = gate.take('a', 1, 1, stopped.signal);
    await settle();
    assert.equal(gate.waiting, 1);
    stopped.abort();
    assert.ok(await waiting);
    assert.equal(gate.waiting, 0);
    assert.equal(world.pending, 0, 'no timer is left');
  });

  it('goes on when the wall clock is set back an hour', async () => {
    const world = new TestWorld();
    const gate = new InboundGate(world, { statementsPerSecond: 100, burstStatements: 10 });
    assert.ok(gate.tryTake('a', 10, 1).allowed);
    world.jump(-3_600_000);
    assert.ok(!gate.tryTake('a', 10, 1).allowed);
    await world.advance(100);
    assert.ok(gate.tryTake('a', 10, 1).allowed);
  });

  it('is kept for a bounded number of peers', () => {
    const gate = new InboundGate(new TestWorld());
    for (let n = 0; n < 2 * MAX_SCORED_PEERS; n++) assert.ok(gate.tryTake(`peer ${n}`, 1, 1).allowed);
  });
});

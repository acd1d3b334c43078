import assert from 'node:assert/strict';
import { Registry } from 'prom-client';
import { createNodeMetrics, observeNode } from '../../../src/node/metrics.ts';
import type { StigmeshNode } from '../../../src/node/node.ts';
import { quarantineKey } from '../../../src/store/keys.ts';
import { MemoryStore } from '../../../src/store/memory/memory-store.ts';
import { FaultyStore } from '../../support/faulty-store.ts';
import { fact, openTestNode, type TestNode, who } from '../../support/test-node.ts';

describe('metrics and status of a node', () => {
  let store: FaultyStore;
  let registry: Registry;
  let t: TestNode;

  beforeEach(async () => {
    store = new FaultyStore(new MemoryStore());
    registry = new Registry();
    t = await openTestNode({ store, metrics: createNodeMetrics(registry) });
    observeNode(registry, t.node);
  });

  afterEach(() => t.node.stop());

  /** Value of one series; undefined when it is absent. */
  const read = async (series: string): Promise<number | undefined> => {
    const line = (await registry.metrics()).split('\n').find((one) => one.startsWith(`${series} `));
    return line === undefined ? undefined : Number(line.slice(series.length + 1));
  };

  it('count what is held and how it was committed', async () => {
    await t.node.facts.assert(who, fact({ v: 'a', scope: 'company' }));
    await t.node.facts.assertBatch(who, {
      facts: [fact({ v: 'b', scope: 'company' }), fact({ entity: 'user:x', scope: 'local' })],
      atomic: false,
    });
    assert.equal(await read('stigmesh_statements'), 3);
    assert.equal(await read('stigmesh_statements_committed_total'), 3);
    assert.equal(await read('stigmesh_commit_statements_sum'), 3);
    assert.equal(await read('stigmesh_commit_statements_count'), 2);
    assert.equal(await read('stigmesh_commit_write_seconds_count'), 2);
    assert.equal(await read('stigmesh_commit_prepare_seconds_count'), 2);
    assert.equal(await read('stigmesh_open_conflicts'), 1);
    assert.equal(await read('stigmesh_current_facts{scope="company"}'), 1);
    assert.equal(await read('stigmesh_current_facts{scope="local"}'), 1);
    assert.equal(await read('stigmesh_current_facts{scope="public"}'), 0);
    assert.equal(await read('stigmesh_sequence'), 3);
    assert.equal(await read('stigmesh_last_commit_timestamp_seconds'), t.clock.ms / 1000);
    assert.equal(await read('stigmesh_write_queue_statements'), 0);
    assert.ok((await read('stigmesh_view_cache_entries'))! > 0);
    assert.ok((await read('stigmesh_store_bytes'))! > 0);
    assert.equal(await read('stigmesh_ready'), 1);
  });

  it('show what waits in the queue while the disk takes its time', async () => {
    const pending = Array.from({ length: 5 }, (_, n) => t.node.facts.assert(who, fact({ v: `v${n}` })));
    assert.equal(t.node.figures().writeQueue, 5);
    await Promise.all(pending);
    assert.equal(t.node.figures().writeQueue, 0);
  });

  it('tell of a disk that fails: by code, in readiness, in the status, without its size', async () => {
    store.failBatches({ fault: 'ENOSPC' });
    await assert.rejects(t.node.facts.assert(who, fact()), { code: 'store_full' });
    assert.equal(await read('stigmesh_commit_failures_total{code="store_full"}'), 1);
    assert.equal(await read('stigmesh_ready'), 0);
    assert.equal(await read('stigmesh_statements_committed_total'), 0);
    const { readiness, warnings } = await t.node.status();
    assert.deepEqual([readiness.ready, readiness.code], [false, 'store_full']);
    assert.match(warnings.join('\n'), /the last write failed/);
    store.heal();
    await t.node.facts.assert(who, fact());
    assert.equal(await read('stigmesh_ready'), 1);
  });

  it('are there although the size of the store cannot be told', async () => {
    store.size = () => Promise.reject(new Error('EIO'));
    assert.equal((await t.node.status()).storeBytes, null);
    assert.equal(await read('stigmesh_store_bytes'), undefined);
    assert.equal(await read('stigmesh_statements'), 0);
  });

  it('show expiry that is overdue, and count it once it is settled', async () => {
    const until = new Date(t.clock.ms + 10_000).toISOString();
    await t.node.facts.assert(who, fact({ valid_until: until }));
    assert.equal(await read('stigmesh_expiry_overdue_seconds'), 0);
    t.clock.advance(70_000);
    assert.equal(await read('stigmesh_expiry_overdue_seconds'), 60);
    await t.node.settled();
    assert.equal(await read('stigmesh_expiry_overdue_seconds'), 0);
    assert.equal(await read('stigmesh_expired_total'), 1);
    assert.equal((await t.node.status()).currentFacts, 0);
  });

  it('count what was set aside, from the next start on, and warn of it', async () => {
    const rows = [1, 2, 3].map((n) => ({
      type: 'put' as const,
      key: quarantineKey(Buffer.alloc(32, n)),
      value: Buffer.from('damaged\n'),
    }));
    await store.batch(rows, { durable: true });
    const again: StigmeshNode = await t.reopen();
    const { quarantined, warnings } = await again.status();
    assert.equal(quarantined, 3);
    assert.match(warnings.join('\n'), /set aside: 3;/);
    await again.stop();
  });

  it('show how far the logical clock is ahead', async () => {
    await t.node.facts.assert(who, fact());
    t.clock.advance(-120_000);
    assert.equal(await read('stigmesh_hlc_ahead_seconds'), 120);
    assert.match((await t.node.status()).warnings.join(), /logical clock runs 120 s ahead/);
  });
});

import assert from 'node:assert/strict';
import { setImmediate as nextTurn } from 'node:timers/promises';
import { NodeError } from '../../../src/node/errors.ts';
import { IDEMPOTENCY_TTL_MS, PREPARE_SLICE } from '../../../src/node/limits.ts';
import * as keys from '../../../src/store/keys.ts';
import { MemoryStore } from '../../../src/store/memory/memory-store.ts';
import type { ScanOptions } from '../../../src/store/store.ts';
import { diskError } from '../../support/faulty-store.ts';
import { fact, openTestNode, TestClock, type TestNode, who } from '../../support/test-node.ts';

/** A store whose scans of old idempotency keys end when the test says so. */
class HeldStore extends MemoryStore {
  /** Called before such a scan answers. */
  held: () => Promise<void> = async () => {};

  override scan(options: ScanOptions): ReturnType<MemoryStore['scan']> {
    const scan = super.scan(options);
    if (Buffer.compare(options.gte, keys.idempotencyAgeRange(1).gte) !== 0) return scan;
    return {
      next: async (count) => {
        await this.held();
        return scan.next(count);
      },
      close: () => scan.close(),
    };
  }
}

describe('idempotency keys that are a day old', () => {
  let t: TestNode;
  let clock: TestClock;
  let store: HeldStore;

  beforeEach(async () => {
    clock = new TestClock();
    store = new HeldStore();
    t = await openTestNode({ store, clock });
    await t.node.facts.assert(who, fact({ v: 'yesterday' }), { idempotencyKey: 'old' });
    clock.advance(IDEMPOTENCY_TTL_MS + 1);
  });

  afterEach(() => t.node.stop());

  const remembered = async (): Promise<number> => {
    const scan = store.scan(keys.allIdempotency());
    const rows = await scan.next(100);
    await scan.close();
    return rows.length;
  };

  it('are removed without getting in the way of whoever is refused at the same moment', async () => {
    const { facts } = t.node;
    const keyed = facts.assert(who, fact({ v: 'today' }), { idempotencyKey: 'new' });
    // Nothing is there to retract; while that is looked up, the old keys are found.
    const nothing = facts.retract(who, {
      ...fact({ entity: 'stigmem://acme.example/user/nobody' }),
      garden_id: undefined,
    });
    const refused = assert.rejects(nothing, (error) => error instanceof NodeError && error.code === 'fact_not_found');
    assert.equal((await keyed).created, true);
    await refused;
    assert.equal(t.node.readiness().ready, true);
    assert.equal(await remembered(), 1);
  });

  it('are kept when they are used again in the same group', async () => {
    const { facts } = t.node;
    const [first, again] = await Promise.all([
      facts.assert(who, fact({ v: 'other' }), { idempotencyKey: 'new' }),
      facts.assert(who, fact({ v: 'today' }), { idempotencyKey: 'old' }),
    ]);
    assert.equal(first.created && again.created, true);
    const replay = await facts.assert(who, fact({ v: 'today' }), { idempotencyKey: 'old' });
    assert.deepEqual([replay.created, replay.fact.id], [false, again.fact.id]);
  });

  it('fault 44: that cannot be read fail the write, and nothing else', async () => {
    const { facts } = t.node;
    const stray: unknown[] = [];
    const note = (reason: unknown): number => stray.push(reason);
    const former = process.listeners('unhandledRejection');
    process.removeAllListeners('unhandledRejection');
    process.on('unhandledRejection', note);
    try {
      store.held = async () => {
        throw diskError('EIO');
      };
      const keyed = facts.assert(who, fact({ v: 'today' }), { idempotencyKey: 'new' });
      // So many that preparing their group takes more than one turn of the event loop.
      const others = Array.from({ length: 2 * PREPARE_SLICE }, (_, n) => facts.assert(who, fact({ v: `${n}` })));
      const results = await Promise.allSettled([keyed, ...others]);
      for (const result of results) assert.match(String((result as PromiseRejectedResult).reason), /EIO/);
      await nextTurn();
      assert.deepEqual(stray, []);
    } finally {
      process.removeListener('unhandledRejection', note);
      for (const listener of former) process.on('unhandledRejection', listener);
    }
  });
});

import assert from 'node:assert/strict';
import { formatHlc } from '../../../src/facts/index.ts';
import { NOTED_LOAD_SLICE } from '../../../src/node/limits.ts';
import { NotedTargets } from '../../../src/node/noted.ts';
import type { ExportedStatement } from '../../../src/node/types.ts';
import * as keys from '../../../src/store/keys.ts';
import { MemoryStore } from '../../../src/store/memory/memory-store.ts';
import { Random } from '../../support/random.ts';
import { fact, openTestNode, who } from '../../support/test-node.ts';

const random = new Random(20261121);
const digest = (): Buffer => Buffer.from(Array.from({ length: 32 }, () => random.below(256)));

async function storeWith(targets: readonly Uint8Array[]): Promise<MemoryStore> {
  const store = new MemoryStore();
  const ops = targets.map((target, n) => {
    const kind = n % 2 === 0 ? keys.NOTE.supersedes : keys.NOTE.ttl;
    return {
      type: 'put' as const,
      key: keys.noteKey(target, kind, formatHlc(1000 + n, 0), digest()),
      value: Buffer.alloc(0),
    };
  });
  await store.batch(ops, { durable: true });
  return store;
}

describe('node: what something was said about', () => {
  it('takes everything for it until the store was read', async () => {
    const noted = new NotedTargets(await storeWith([]));
    assert.ok(noted.mayHave(digest()));
    await noted.load();
    assert.ok(noted.isLoaded);
    assert.ok(!noted.mayHave(digest()));
  });

  it('misses nothing, of several slices, and of what is added later', async () => {
    const targets = Array.from({ length: 2 * NOTED_LOAD_SLICE + 1 }, digest);
    const noted = new NotedTargets(await storeWith(targets));
    await noted.load();
    const later = digest();
    noted.add(later);
    for (const target of [...targets, later]) assert.ok(noted.mayHave(target));
    const wrong = Array.from({ length: 10_000 }, digest).filter((other) => noted.mayHave(other)).length;
    assert.ok(wrong < 10, `${wrong} of 10000 taken for one`);
  });

  it('is tried again when the store cannot be read, and works meanwhile', async () => {
    const store = await storeWith([]);
    let fails = true;
    const failing = Object.create(store, {
      scan: {
        value: (...args: Parameters<MemoryStore['scan']>) => {
          if (fails) throw new Error('no disk');
          return MemoryStore.prototype.scan.apply(store, args);
        },
      },
    }) as MemoryStore;
    const noted = new NotedTargets(failing);
    await noted.load();
    assert.ok(!noted.isLoaded && noted.mayHave(digest()));
    fails = false;
    await noted.load();
    assert.ok(noted.isLoaded);
  });

  it('ends when the node does', async () => {
    const noted = new NotedTargets(await storeWith(Array.from({ length: 3 * NOTED_LOAD_SLICE }, digest)));
    const loading = noted.load();
    await noted.stop();
    await loading;
    assert.ok(!noted.isLoaded && noted.mayHave(digest()));
  });

  it('is known again after a restart: what was said of a statement before it came still holds', async () => {
    const origin = await openTestNode();
    const { fact: old } = await origin.node.facts.assert(who, fact({ v: 'CEO' }));
    await origin.node.facts.assert(who, fact({ v: 'CTO', supersedes: [old.id] }));
    const exported: ExportedStatement[] = [];
    for await (const statement of origin.node.transfer.exportStatements(who)) exported.push(statement);
    const [first, second] = exported;
    const store = new MemoryStore();
    const options = { store, clock: origin.clock, unknownOrigins: 'accept' as const };
    const before = await openTestNode(options);
    await before.node.transfer.importStatements(who, [second!]);
    await before.node.stop();
    const after = await openTestNode(options);
    await after.node.transfer.importStatements(who, [first!]);
    const { facts } = await after.node.facts.query(who, { limit: 10, include: ['history'] });
    assert.deepEqual(facts.map(({ id, state }) => [id, state]).at(-1), [old.id, 'superseded']);
    await Promise.all([origin.node.stop(), after.node.stop()]);
  });
});

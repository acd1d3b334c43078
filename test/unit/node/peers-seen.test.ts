import assert from 'node:assert/strict';
import { MAX_DECLARED_PEERS, SEEN_WRITE_MS } from '../../../src/node/mesh-limits.ts';
import { MemoryStore } from '../../../src/store/memory/memory-store.ts';
import { FaultyStore } from '../../support/faulty-store.ts';
import { OPEN_TERMS, openOrgNode } from '../../support/node-pair.ts';
import { numberedPeer } from '../../support/org.ts';
import { TestClock, who } from '../../support/test-node.ts';

describe('peers', () => {
  it('that are seen all at once, as when the network fails or the daemon stops, cost one write', async () => {
    const clock = new TestClock();
    const store = new FaultyStore(new MemoryStore());
    const { node, reopen } = await openOrgNode('acme.example', { clock, store });
    const many = Array.from({ length: MAX_DECLARED_PEERS / 10 }, (_, n) => numberedPeer(n));
    for (const peerId of many) await node.peers.approve(who, peerId, OPEN_TERMS);
    clock.advance(SEEN_WRITE_MS);
    const before = store.batches;
    for (const peerId of many) node.peers.seen(peerId);
    // What is decided after that comes after it.
    await node.peers.remove(who, many[0]!);
    await node.stop();
    assert.equal(store.batches - before, 2);
    const again = await reopen();
    assert.deepEqual([...new Set(many.map((peerId) => again.peers.require(peerId).lastSeenAt))], [clock.ms]);
    assert.equal(again.peers.require(many[0]!).state, 'revoked');
  });
});

import assert from 'node:assert/strict';
import { GRAYLIST_SCORE, MAX_GOSSIP_BYTES } from '../../src/mesh/limits.ts';
import { has, heard, type Node, PATIENCE_MS, PROTOCOL, type Test, type TransportCase } from './transport-case.ts';
import { echo } from './transport-streams.ts';

export function gossipCases(name: string, test: Test): void {
  describe(`${name}: gossip`, () => {
    /** Three in a row: the outer ones know only the middle one. */
    const line = async (net: TransportCase): Promise<[Node, Node, Node]> => {
      const [a, b, c] = (await net.start(3)) as [Node, Node, Node];
      await net.connect(a, b);
      await net.connect(c, b);
      await net.gossip(b, 'all here', 2);
      // Both ways: what a node published while it knew of nobody, it may announce later.
      for (const node of [a, c]) await net.gossip(node, 'here');
      await net.until(() => heard(a, 'all here') && heard(c, 'all here') && heard(b, 'here'), 'everybody to take part');
      return [a, b, c];
    };

    /** Resolves when what a node sent to another before has arrived there, and an answer here. */
    const roundTrip = async (from: Node, to: Node): Promise<void> => {
      const stream = await from.transport.open(to.peerId, PROTOCOL);
      await stream.send(new Uint8Array(1));
      await stream.receive();
      await stream.close();
    };

    test('reaches those beyond, from whoever passed it on, and nobody hears itself', async (net) => {
      const [a, b, c] = await line(net);
      await net.gossip(a, 'news');
      await net.until(() => heard(c, 'news'), 'the news to arrive');
      assert.equal(b.heard.find(({ data }) => data.startsWith('news'))?.from, a.peerId);
      assert.equal(c.heard.find(({ data }) => data.startsWith('news'))?.from, b.peerId);
      await net.gossip(c, 'reply');
      await net.until(() => heard(a, 'reply'), 'the reply to arrive');
      assert.ok(!heard(a, 'news') && !heard(c, 'reply') && !heard(b, 'all here'));
    });

    for (const verdict of ['ignore', 'reject'] as const) {
      test(`ends where it is answered with ${verdict}`, async (net) => {
        const [a, b, c] = await line(net);
        b.verdict = verdict;
        await net.gossip(a, 'rumour');
        await net.until(() => heard(b, 'rumour'), 'the rumour to arrive');
        b.verdict = 'accept';
        await net.gossip(a, 'news');
        await net.until(() => heard(c, 'news'), 'the news to arrive');
        assert.ok(!heard(c, 'rumour'));
      });
    }

    test('ends where looking at it fails', async (net) => {
      const [a, b, c] = await line(net);
      b.transport.gossip.onMessage(
        async (data) => {
          if (Buffer.from(data).toString().startsWith('poison')) throw new Error('cannot look at this');
          return 'accept';
        },
        () => true,
      );
      await net.gossip(a, 'poison');
      await net.gossip(a, 'news');
      await net.until(() => heard(c, 'news'), 'the news to arrive');
      assert.ok(!heard(c, 'poison'));
    });

    test('brings each message once, whatever the ways', async (net) => {
      const nodes = await net.start(4);
      for (const [at, node] of nodes.entries()) for (const peer of nodes.slice(at + 1)) await net.connect(node, peer);
      for (const [n, node] of nodes.entries()) await net.gossip(node, `hello ${n}`, 3);
      for (let n = 0; n < 20; n++) await nodes[0]!.transport.gossip.publish(Buffer.from(`number ${n}`));
      const all = (node: Node): string[] => node.heard.map(({ data }) => data).filter((data) => /^number/.test(data));
      await net.until(() => nodes.slice(1).every((node) => all(node).length >= 20), 'everything to arrive');
      // Whatever others passed on, they passed on before they say this.
      for (const node of nodes) await net.gossip(node, `bye of ${node.peerId}`, 3);
      const others = (node: Node): Node[] => nodes.filter((one) => one !== node);
      await net.until(
        () => nodes.every((node) => others(node).every(({ peerId }) => heard(node, `bye of ${peerId}`))),
        'everybody to have said its last',
      );
      for (const node of nodes.slice(1)) {
        assert.deepEqual([...new Set(all(node))].sort(), all(node).sort());
      }
      assert.deepEqual(all(nodes[0]!), []);
    });

    test('says how many took a message: nobody when alone; a message has a bound', async (net) => {
      const [a] = await net.start(1);
      assert.equal(await a!.transport.gossip.publish(Buffer.from('hello?')), 0);
      await net.fails(a!.transport.gossip.publish(new Uint8Array(MAX_GOSSIP_BYTES + 1)), 'frame_too_large');
      await a!.transport.gossip.publish(new Uint8Array(MAX_GOSSIP_BYTES));
    });

    test('is for those who are admitted, from the moment on at which it is looked at again', async (net) => {
      const [a, b, c] = (await net.start(3)) as [Node, Node, Node];
      await net.serve(b, echo);
      /** A stream that is not admitted is reset: by then everything that was sent before, either way, has arrived. */
      const knock = () => net.fails(roundTrip(a, b), 'stream_closed');
      b.unwelcome.add(a.peerId);
      await net.connect(a, b);
      await net.connect(c, b);
      await net.gossip(c, 'sync');
      await net.gossip(b, 'sync too');
      await net.until(() => heard(b, 'sync') && heard(c, 'sync too'), 'those who are admitted to gossip');
      for (let n = 0; n < 5; n++) await knock();
      await a.transport.gossip.publish(Buffer.from('let me in'));
      assert.equal(await b.transport.gossip.publish(Buffer.from('members only')), 1);
      await net.until(() => heard(c, 'members only'), 'the member to hear');
      await knock();
      assert.deepEqual(a.heard, []);
      assert.ok(!heard(b, 'let me in'));
      b.unwelcome.clear();
      b.transport.recheck(a.peerId);
      await net.gossip(b, 'welcome', 2);
      await net.gossip(a, 'thanks');
      await net.until(() => heard(a, 'welcome') && heard(b, 'thanks') && heard(c, 'thanks'), 'the new member');
      b.unwelcome.add(a.peerId);
      b.transport.recheck(a.peerId);
      await net.gossip(b, 'alone again');
      await net.until(() => heard(c, 'alone again'), 'the member to hear');
      await a.transport.gossip.publish(Buffer.from('still there?'));
      for (let n = 0; n < 3; n++) await knock();
      assert.ok(!heard(a, 'alone again') && !heard(b, 'still there?'));
      assert.ok(has(a, b), 'the connection stays');
    });

    test('is not listened to from whoever has no good name, until it has one again', async (net) => {
      const [a, b] = (await net.start(2)) as [Node, Node];
      const scores = new Map<string, number>([[a.peerId, GRAYLIST_SCORE - 1]]);
      b.transport.gossip.setScorer((peerId) => scores.get(peerId) ?? 0);
      await net.serve(b, echo);
      await net.connect(a, b);
      await net.gossip(a, 'lies');
      for (let n = 0; n < 3; n++) await roundTrip(a, b);
      assert.deepEqual(b.heard, []);
      scores.clear();
      for (let n = 0; !heard(b, 'truth'); n++) {
        assert.ok(n < PATIENCE_MS / 100, 'never heard again');
        await a.transport.gossip.publish(Buffer.from(`truth#${n}`));
        await net.sleep(100);
      }
    });
  });
}

import assert from 'node:assert/strict';
import { admitPeer, at, openOrgNode, Signer, send } from '../../support/node-pair.ts';
import { fact, TestClock, who } from '../../support/test-node.ts';

describe('the commit feed', () => {
  it('shows whose word counts as of now, also on a page that somebody has read before', async () => {
    const clock = new TestClock();
    const acme = await openOrgNode('acme.example', { clock });
    const relay = new Signer('relay.example', clock.now);
    const beta = new Signer('beta.example', clock.now);
    await admitPeer(acme, relay);
    const { seq } = acme.node.figures();
    await send(acme, relay.peerId, [beta.manifest(at(clock)), beta.fact(at(clock, 1))]);
    const read = async (): Promise<string[]> =>
      (await acme.node.feed.read(seq, 10)).map(
        ({ statement, standing, fact: view }) => `${statement.kind} ${standing} ${view?.state}`,
      );
    assert.deepEqual(await read(), ['manifest quarantined undefined', 'fact quarantined quarantined']);
    await admitPeer(acme, beta);
    assert.equal(acme.node.feed.head(), seq + 2, 'nothing was stated since');
    assert.deepEqual(await read(), ['manifest good undefined', 'fact good current']);
    await acme.node.stop();
  });

  it('does so, too, when others write all the while', async () => {
    const clock = new TestClock();
    const acme = await openOrgNode('acme.example', { clock });
    const { writer, facts, feed } = acme.node;
    const relay = new Signer('relay.example', clock.now);
    const beta = new Signer('beta.example', clock.now);
    await admitPeer(acme, relay);
    const { seq } = acme.node.figures();
    await send(acme, relay.peerId, [beta.manifest(at(clock)), beta.fact(at(clock, 1))]);
    const read = async (): Promise<string[]> =>
      (await feed.read(seq, 2)).map(
        ({ statement, standing, fact: view }) => `${statement.kind} ${standing} ${view?.state}`,
      );
    const before = ['manifest quarantined undefined', 'fact quarantined quarantined'];
    assert.deepEqual(await read(), before);
    // Every group has a statement in it.
    const submit = writer.submit.bind(writer);
    const shown: string[][] = [];
    let others = Promise.resolve();
    let written = 0;
    writer.submit = async (...job) => {
      const result = submit(...job);
      const other = facts.assert.bind(facts);
      writer.submit = submit;
      const beside = other(who, fact({ v: `${written++}` }));
      writer.submit = accompanied;
      others = Promise.all([others, beside]).then(async () => void shown.push(await read()));
      return result;
    };
    const accompanied = writer.submit;
    await admitPeer(acme, beta);
    await acme.node.settled();
    await others;
    assert.ok(feed.head() >= seq + 2 + written && written > 1);
    assert.deepEqual(await read(), ['manifest good undefined', 'fact good current']);
    assert.notDeepEqual(shown, [], 'which was read in between as well');
    writer.submit = submit;
    await acme.node.stop();
  });
});

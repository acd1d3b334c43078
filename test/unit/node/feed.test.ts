import assert from 'node:assert/strict';
import { admitPeer, at, type OrgNode, openOrgNode, Signer, send } from '../../support/node-pair.ts';
import { fact, TestClock, who } from '../../support/test-node.ts';

describe('the commit feed', () => {
  let acme: OrgNode;
  let beta: Signer;
  let seq: number;

  beforeEach(async () => {
    const clock = new TestClock();
    acme = await openOrgNode('acme.example', { clock });
    const relay = new Signer('relay.example', clock.now);
    beta = new Signer('beta.example', clock.now);
    await admitPeer(acme, relay);
    seq = acme.node.figures().seq;
    await send(acme, relay.peerId, [beta.manifest(at(clock)), beta.fact(at(clock, 1))]);
    assert.deepEqual(await read(), ['manifest quarantined undefined', 'fact quarantined quarantined']);
  });
  afterEach(() => acme.node.stop());

  /** A page that begins with the manifest that a relay passed on, and what its organisation said. */
  const read = async (limit = 10): Promise<string[]> =>
    (await acme.node.feed.read(seq, limit)).map(
      ({ statement, standing, fact: view }) => `${statement.kind} ${standing} ${view?.state}`,
    );

  it('shows whose word counts as of now, also on a page that somebody has read before', async () => {
    await admitPeer(acme, beta);
    assert.equal(acme.node.feed.head(), seq + 2, 'nothing was stated since');
    assert.deepEqual(await read(), ['manifest good undefined', 'fact good current']);
  });

  it('does so, too, when others write all the while', async () => {
    const { writer, facts, feed } = acme.node;
    assert.deepEqual(await read(2), ['manifest quarantined undefined', 'fact quarantined quarantined']);
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
      others = Promise.all([others, beside]).then(async () => void shown.push(await read(2)));
      return result;
    };
    const accompanied = writer.submit;
    await admitPeer(acme, beta);
    await acme.node.settled();
    await others;
    assert.ok(feed.head() >= seq + 2 + written && written > 1);
    assert.deepEqual(await read(2), ['manifest good undefined', 'fact good current']);
    assert.notDeepEqual(shown, [], 'which was read in between as well');
    writer.submit = submit;
  });
});

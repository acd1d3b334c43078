import assert from 'node:assert/strict';
import { admitPeer, at, openOrgNode, Signer, send } from '../../support/node-pair.ts';
import { TestClock } from '../../support/test-node.ts';

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
        ({ statement, standing, fact }) => `${statement.kind} ${standing} ${fact?.state}`,
      );
    assert.deepEqual(await read(), ['manifest quarantined undefined', 'fact quarantined quarantined']);
    await admitPeer(acme, beta);
    assert.equal(acme.node.feed.head(), seq + 2, 'nothing was stated since');
    assert.deepEqual(await read(), ['manifest good undefined', 'fact good current']);
    await acme.node.stop();
  });
});

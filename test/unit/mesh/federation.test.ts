import assert from 'node:assert/strict';
import { Federation, type FederationComponents } from '../../../src/mesh/federation.ts';
import type { Connection } from '../../../src/mesh/transport.ts';
import { blankRecord } from '../../../src/node/peer-terms.ts';
import { numberedPeer } from '../../support/org.ts';
import { who } from '../../support/test-node.ts';

const PEERS = 100;

/** What operators see of so many peers, every second of them connected; and how often somebody asked for connections. */
function crowd() {
  const records = Array.from({ length: PEERS }, (_, n) => blankRecord(numberedPeer(n), 'approval', n));
  const connections = records
    .filter((_, n) => n % 2 === 0)
    .flatMap(({ peerId }, n): Connection[] => [
      { peerId, outbound: true, remoteAddr: `/ip4/192.0.2.${n}/tcp/1` },
      // The same peer dialled, too: the one that was there first is shown.
      { peerId, outbound: false, remoteAddr: '/ip4/198.51.100.1/tcp/1' },
    ]);
  const asked = { times: 0 };
  const transport = {
    connections: () => {
      asked.times += 1;
      return connections;
    },
    roundTrip: () => 20,
  };
  const sync = { lag: () => ({}), lastSync: () => null, refused: () => ({}), score: () => 0, sync: async () => {} };
  const federation = new Federation({
    transport,
    sync,
    peering: {
      admits: (peerId: string) => connections.some((one) => one.peerId === peerId),
      active: () => records.filter((_, n) => n % 2 === 0),
      strangers: { list: () => [], get: () => undefined },
    },
    peers: {
      list: () => records,
      get: (peerId: string) => records.find((record) => record.peerId === peerId),
      require: (peerId: string) => records.find((record) => record.peerId === peerId),
    },
    world: { now: () => 5 },
  } as unknown as FederationComponents);
  return { federation, records, asked };
}

describe('mesh: what operators see', () => {
  it('of many peers looks at the connections once, not for each of them', async () => {
    const { federation, records, asked } = crowd();
    const views = await federation.peers(who);
    assert.deepEqual(
      views.map(({ peerId, remoteAddr, roundTripMs }) => [peerId, remoteAddr, roundTripMs]),
      records.map(({ peerId }, n) =>
        n % 2 === 0 ? [peerId, `/ip4/192.0.2.${n / 2}/tcp/1`, 20] : [peerId, null, null],
      ),
    );
    assert.equal(asked.times, 1);
    assert.equal((await federation.sync(who, null)).length, PEERS / 2);
    assert.equal(asked.times, 2);
    assert.equal((await federation.peer(who, numberedPeer(2))).remoteAddr, '/ip4/192.0.2.1/tcp/1');
  });
});

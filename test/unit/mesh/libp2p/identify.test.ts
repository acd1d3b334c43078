import assert from 'node:assert/strict';
import { cutIdentified, type Identified } from '../../../../src/mesh/libp2p/host.ts';
import {
  MAX_IDENTIFY_ADDRESSES,
  MAX_IDENTIFY_PROTOCOLS,
  MAX_IDENTIFY_RECORD_BYTES,
  MAX_IDENTIFY_TEXT,
} from '../../../../src/mesh/limits.ts';

describe('what a peer says of itself', () => {
  it('is taken as it is when it is what peers say', () => {
    const usual: Identified = {
      agentVersion: 'stigmesh/1.0.0',
      protocolVersion: 'ipfs/0.1.0',
      listenAddrs: [Buffer.from('047f00000106115c', 'hex')],
      protocols: ['/meshsub/1.2.0', '/ipfs/id/1.0.0'],
      signedPeerRecord: new Uint8Array(300),
    };
    assert.deepEqual(cutIdentified(usual), usual);
    assert.deepEqual(cutIdentified({ listenAddrs: [], protocols: [] }), { listenAddrs: [], protocols: [] });
  });

  it('is cut to what is of use', () => {
    const long = 'x'.repeat(MAX_IDENTIFY_TEXT + 1);
    const cut = cutIdentified({
      agentVersion: long,
      protocolVersion: long,
      listenAddrs: [new Uint8Array(MAX_IDENTIFY_TEXT + 1), ...Array.from({ length: 5000 }, () => new Uint8Array(8))],
      protocols: [long, ...Array.from({ length: 5000 }, (_, n) => `/x/${n}`)],
      signedPeerRecord: new Uint8Array(MAX_IDENTIFY_RECORD_BYTES + 1),
    });
    assert.equal(cut.agentVersion?.length, MAX_IDENTIFY_TEXT);
    assert.equal(cut.protocolVersion?.length, MAX_IDENTIFY_TEXT);
    assert.equal(cut.listenAddrs.length, MAX_IDENTIFY_ADDRESSES);
    assert.ok(cut.listenAddrs.every(({ length }) => length === 8));
    assert.equal(cut.protocols.length, MAX_IDENTIFY_PROTOCOLS);
    assert.equal(cut.protocols[0], '/x/0');
    assert.ok(!('signedPeerRecord' in cut));
  });
});

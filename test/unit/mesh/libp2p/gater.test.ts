import assert from 'node:assert/strict';
import type { MultiaddrConnection, PeerId } from '@libp2p/interface';
import { multiaddr } from '@multiformats/multiaddr';
import { hostOf } from '../../../../src/mesh/addresses.ts';
import { Gater } from '../../../../src/mesh/libp2p/gater.ts';
import { MAX_HALF_OPEN_PER_HOST } from '../../../../src/mesh/limits.ts';

const peer = (name: string): PeerId => ({ toString: () => name }) as PeerId;

function incoming(addr: string): MultiaddrConnection & EventTarget {
  return Object.assign(new EventTarget(), { remoteAddr: multiaddr(addr) }) as never;
}

describe('the gate before connections', () => {
  it('dials what third parties name only where it leads outside', async () => {
    const gater = new Gater({ dialsPrivate: false });
    const denied = (addr: string): boolean => gater.denyDialMultiaddr(multiaddr(addr));
    assert.equal(denied('/ip4/8.8.8.8/tcp/4701'), false);
    for (const addr of [
      '/ip4/127.0.0.1/tcp/4701',
      '/ip4/10.0.0.1/tcp/22',
      '/ip4/169.254.169.254/tcp/80',
      '/ip4/0.0.0.0/tcp/4701',
      '/ip6/::1/tcp/4701',
      '/ip6/::ffff:127.0.0.1/tcp/4701',
      '/dns4/localhost/tcp/4701',
      '/dns4/node.example/tcp/4701',
      '/ip4/8.8.8.8/udp/4701/quic-v1',
    ]) {
      assert.equal(denied(addr), true, addr);
    }
    // What our own side asked for may lead anywhere, for as long as it is asked for.
    const asked = multiaddr('/ip4/127.0.0.1/tcp/4701');
    await gater.asked([asked], async () => {
      await gater.asked([asked], async () => assert.equal(denied('/ip4/127.0.0.1/tcp/4701'), false));
      assert.equal(denied('/ip4/127.0.0.1/tcp/4701'), false);
      assert.equal(denied('/ip4/127.0.0.1/tcp/4702'), true);
    });
    await assert.rejects(gater.asked([asked], () => Promise.reject(new Error('no luck'))));
    assert.equal(denied('/ip4/127.0.0.1/tcp/4701'), true);
  });

  it('dials private addresses of third parties where that is wanted, and never names', () => {
    const gater = new Gater({ dialsPrivate: true });
    assert.equal(gater.denyDialMultiaddr(multiaddr('/ip4/10.0.0.1/tcp/4701')), false);
    assert.equal(gater.denyDialMultiaddr(multiaddr('/dns4/node.example/tcp/4701')), true);
  });

  it('asks each time whether a peer is denied', () => {
    const gater = new Gater({ dialsPrivate: false });
    const all = (): boolean[] => [
      gater.denyDialPeer(peer('mallory')),
      gater.denyInboundEncryptedConnection(peer('mallory')),
      gater.denyOutboundEncryptedConnection(peer('mallory')),
    ];
    assert.deepEqual(all(), [false, false, false]);
    gater.denied = (peerId) => peerId === 'mallory';
    assert.deepEqual(all(), [true, true, true]);
    assert.equal(gater.refused, 1);
  });

  it('gives one host a part of the places for handshakes, until they are done or gone', () => {
    const gater = new Gater({ dialsPrivate: false });
    const open = Array.from({ length: MAX_HALF_OPEN_PER_HOST }, (_, n) => incoming(`/ip4/192.0.2.1/tcp/${1000 + n}`));
    for (const connection of open) assert.equal(gater.denyInboundConnection(connection), false);
    assert.equal(gater.denyInboundConnection(incoming('/ip4/192.0.2.1/tcp/2000')), true);
    assert.equal(gater.denyInboundConnection(incoming('/ip4/192.0.2.2/tcp/2000')), false);
    assert.equal(gater.halfOpen, MAX_HALF_OPEN_PER_HOST + 1);
    gater.denyInboundUpgradedConnection(peer('a'), open[0]!);
    open[0]!.dispatchEvent(new Event('close'));
    open[1]!.dispatchEvent(new Event('close'));
    assert.equal(gater.halfOpen, MAX_HALF_OPEN_PER_HOST - 1);
    assert.equal(gater.denyInboundConnection(incoming('/ip4/192.0.2.1/tcp/2001')), false);
    assert.equal(gater.denyInboundConnection(incoming('/ip4/192.0.2.1/tcp/2002')), false);
    assert.equal(gater.denyInboundConnection(incoming('/ip4/192.0.2.1/tcp/2003')), true);
  });

  it('counts an IPv6 network as one host', () => {
    const host = (addr: string): string => hostOf(`${addr}/tcp/1`);
    assert.equal(host('/ip6/2001:db8:1:2::1'), host('/ip6/2001:db8:1:2:ffff::9'));
    assert.notEqual(host('/ip6/2001:db8:1:2::1'), host('/ip6/2001:db8:1:3::1'));
    assert.equal(host('/ip6/::1'), '0:0:0:0');
    assert.equal(host('/ip4/192.0.2.1'), '192.0.2.1');
    assert.equal(host('/ip6/::ffff:c000:201'), host('/ip4/192.0.2.1'));
  });

  it('keeps only addresses of peers that we could dial', () => {
    const gater = new Gater({ dialsPrivate: false });
    const keeps = (addr: string): boolean => gater.filterMultiaddrForPeer(peer('a'), multiaddr(addr));
    assert.ok(keeps('/ip4/192.0.2.1/tcp/4701') && keeps('/dns4/node.example/tcp/4701'));
    assert.ok(!keeps('/ip4/192.0.2.1/udp/4701') && !keeps('/unix/tmp%2Fsocket'));
  });
});

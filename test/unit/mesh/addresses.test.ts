import assert from 'node:assert/strict';
import fc from 'fast-check';
import {
  allowedOnRecord,
  dialable,
  furthest,
  isWithin,
  peerIdOf,
  plausible,
  type Reach,
  reachOf,
  reachSeen,
  tellable,
  withoutPeerId,
} from '../../../src/mesh/addresses.ts';
import { MAX_RESOLVED_ADDRESSES } from '../../../src/mesh/control-limits.ts';
import { fixedPeer } from '../../support/org.ts';

const PEER = fixedPeer(1);
const noNames = async (): Promise<readonly string[]> => {
  throw new Error('nothing is to be resolved');
};
const anywhere = (reach: Reach) => (): Reach => reach;

describe('mesh: where addresses lead', () => {
  const cases: readonly (readonly [string, Reach])[] = [
    ['/ip4/8.8.8.8/tcp/4701', 'public'],
    [`/ip4/8.8.8.8/tcp/4701/p2p/${PEER}`, 'public'],
    ['/ip6/2606:4700::1111/tcp/1', 'public'],
    ['/dns/mesh.acme.example/tcp/4701', 'public'],
    ['/ip4/10.1.2.3/tcp/4701', 'private'],
    ['/ip4/172.16.0.1/tcp/4701', 'private'],
    ['/ip4/192.168.1.1/tcp/4701', 'private'],
    ['/ip4/100.64.0.1/tcp/4701', 'private'],
    ['/ip4/169.254.169.254/tcp/80', 'private'],
    ['/ip6/fe80::1/tcp/1', 'private'],
    ['/ip6/fd00::1/tcp/1', 'private'],
    ['/dns4/daemon-b/tcp/4701', 'private'],
    ['/dns/printer.local/tcp/4701', 'private'],
    ['/ip4/127.0.0.1/tcp/4701', 'loopback'],
    ['/ip4/127.8.9.10/tcp/4701', 'loopback'],
    ['/ip6/::1/tcp/4701', 'loopback'],
    ['/dns/localhost/tcp/4701', 'loopback'],
    ['/dns4/x.localhost/tcp/4701', 'loopback'],
    ['/ip4/0.0.0.0/tcp/4701', 'never'],
    ['/ip6/::/tcp/4701', 'never'],
    ['/ip6/::ffff:127.0.0.1/tcp/4701', 'never'],
    ['/ip6/::ffff:7f00:1/tcp/4701', 'never'],
    ['/ip6/64:ff9b::7f00:1/tcp/4701', 'loopback'],
    ['/ip6/2002:7f00:1::/tcp/4701', 'loopback'],
    ['/ip6/fe80::1%eth0/tcp/1', 'never'],
    ['/dns/127.1/tcp/4701', 'never'],
    ['/dns/2130706433/tcp/4701', 'never'],
    ['/dns/0x7f000001/tcp/4701', 'never'],
    ['/ip4/8.8.8.8/tcp/0', 'never'],
    ['/ip4/8.8.8.8/tcp/65536', 'never'],
    ['/ip4/8.8.8.8/udp/4701', 'never'],
    ['/ip4/8.8.8.8/udp/4701/quic-v1', 'never'],
    ['/ip4/8.8.8.8/tcp/80/ws', 'never'],
    ['/dnsaddr/mesh.acme.example', 'never'],
    [`/ip4/8.8.8.8/tcp/4701/p2p/${PEER}/p2p-circuit/p2p/${PEER}`, 'never'],
    ['/unix/tmp/socket', 'never'],
    ['8.8.8.8:4701', 'never'],
    ['', 'never'],
  ];

  it('tells the public network from ours, this machine, and nowhere', () => {
    for (const [text, reach] of cases) assert.equal(reachOf(text), reach, text);
  });

  it('lets nobody send us further inside than allowed', () => {
    const order: Reach[] = ['public', 'private', 'loopback'];
    for (const [at, reach] of order.entries()) {
      for (const [to, allowed] of order.entries())
        assert.equal(isWithin(reach, allowed), at <= to, `${reach} ${allowed}`);
      assert.equal(isWithin('never', reach), false);
      assert.equal(isWithin(reach, 'never'), false);
    }
  });

  it('never says public of anything a random IPv4 address in a private block is written as', () => {
    const blocks = fc.constantFrom([10], [127], [192, 168], [172, 20], [169, 254], [0], [100, 100]);
    const tail = fc.array(fc.nat(255), { minLength: 3, maxLength: 3 });
    fc.assert(
      fc.property(blocks, tail, (head, rest) => {
        const bytes = [...head, ...rest].slice(0, 4);
        const hex = bytes.map((byte) => byte.toString(16).padStart(2, '0')).join('');
        const groups = `${hex.slice(0, 4)}:${hex.slice(4)}`;
        for (const text of [
          `/ip4/${bytes.join('.')}/tcp/1`,
          `/ip6/::ffff:${bytes.join('.')}/tcp/1`,
          `/ip6/::ffff:${groups}/tcp/1`,
          `/ip6/::${bytes.join('.')}/tcp/1`,
          `/ip6/64:ff9b::${groups}/tcp/1`,
          `/ip6/2002:${groups}::1/tcp/1`,
        ]) {
          assert.notEqual(reachOf(text), 'public', text);
        }
      }),
    );
  });

  it('finds the peer id at the end', () => {
    assert.equal(peerIdOf(`/ip4/8.8.8.8/tcp/1/p2p/${PEER}`), PEER);
    assert.equal(peerIdOf('/ip4/8.8.8.8/tcp/1'), null);
    assert.equal(peerIdOf('/ip4/8.8.8.8/udp/1'), undefined);
    assert.equal(withoutPeerId(`/ip4/8.8.8.8/tcp/1/p2p/${PEER}`), '/ip4/8.8.8.8/tcp/1');
    assert.equal(withoutPeerId('/ip4/8.8.8.8/tcp/1'), '/ip4/8.8.8.8/tcp/1');
  });

  it('believes a peer no address further inside than where it was seen', () => {
    const claimed = ['/ip4/8.8.8.8/tcp/1', '/ip4/10.0.0.1/tcp/1', '/ip4/127.0.0.1/tcp/1', '/ip4/0.0.0.0/tcp/1', 'x'];
    assert.deepEqual(plausible(claimed, '/ip4/9.9.9.9/tcp/50000'), claimed.slice(0, 1));
    assert.deepEqual(plausible(claimed, '/ip4/10.9.9.9/tcp/50000'), claimed.slice(0, 2));
    assert.deepEqual(plausible(claimed, '/ip4/127.0.0.1/tcp/50000'), claimed.slice(0, 3));
    assert.deepEqual(plausible(claimed, '/memory/1'), claimed.slice(0, 1));
    assert.equal(reachSeen('/ip4/127.0.0.1'), 'loopback');
  });

  it('tells others the addresses furthest out, and only those', () => {
    const [open, inner, own] = ['/ip4/8.8.8.8/tcp/1', '/ip4/10.0.0.1/tcp/1', '/ip4/127.0.0.1/tcp/1'];
    assert.deepEqual(tellable([own, inner, open]), [open]);
    assert.deepEqual(tellable([own, inner]), [inner]);
    assert.deepEqual(tellable([own]), [own]);
    assert.deepEqual(tellable(['/ip4/0.0.0.0/tcp/1']), []);
  });
});

describe('mesh: what is dialled', () => {
  it('dials literal addresses as far inside as allowed, each once, without the peer id', async () => {
    const given = [
      `/ip4/8.8.8.8/tcp/1/p2p/${PEER}`,
      '/ip4/8.8.8.8/tcp/1',
      '/ip4/10.0.0.1/tcp/1',
      '/ip4/127.0.0.1/tcp/1',
    ];
    const open = await dialable(given, anywhere('public'), noNames);
    assert.deepEqual(open, { addrs: ['/ip4/8.8.8.8/tcp/1'], refused: given.slice(2) });
    const all = await dialable(given, anywhere('loopback'), noNames);
    assert.deepEqual(all, { addrs: given.slice(1), refused: [] });
  });

  it('resolves a name once and dials what was looked at', async () => {
    let asked = 0;
    const rebinding = async (): Promise<readonly string[]> => (asked++ === 0 ? ['8.8.8.8'] : ['127.0.0.1']);
    const { addrs } = await dialable(['/dns/evil.example/tcp/22'], anywhere('public'), rebinding);
    assert.deepEqual(addrs, ['/ip4/8.8.8.8/tcp/22']);
    assert.equal(asked, 1);
  });

  it('refuses names that lead inside', async () => {
    const resolve = async (): Promise<readonly string[]> => [
      '127.0.0.1',
      '::1',
      '10.0.0.1',
      '::ffff:127.0.0.1',
      '8.8.8.8',
    ];
    const { addrs, refused } = await dialable(['/dns/evil.example/tcp/22'], anywhere('public'), resolve);
    assert.deepEqual(addrs, ['/ip4/8.8.8.8/tcp/22']);
    assert.deepEqual(refused, ['/dns/evil.example/tcp/22']);
  });

  it('asks for the family that the name says, and takes a few answers only', async () => {
    const asked: (readonly [string, number])[] = [];
    const resolve = async (name: string, family: number): Promise<readonly string[]> => {
      asked.push([name, family]);
      return Array.from({ length: 100 }, (_, n) => `8.8.8.${n}`);
    };
    const names = ['/dns/a.example/tcp/1', '/dns4/b.example/tcp/2', '/dns6/c.example/tcp/3'];
    const { addrs } = await dialable(names, anywhere('public'), resolve);
    assert.deepEqual(asked, [
      ['a.example', 0],
      ['b.example', 4],
      ['c.example', 6],
    ]);
    assert.equal(addrs.length, 3 * MAX_RESOLVED_ADDRESSES);
  });

  it('goes on without a name that cannot be resolved', async () => {
    const { addrs, refused } = await dialable(
      ['/dns/gone.example/tcp/1', '/ip4/8.8.8.8/tcp/1'],
      anywhere('public'),
      noNames,
    );
    assert.deepEqual({ addrs, refused }, { addrs: ['/ip4/8.8.8.8/tcp/1'], refused: [] });
  });

  it('lets a name on record lead as far as its spelling, or a literal address beside it', async () => {
    const inward = async (): Promise<readonly string[]> => ['10.0.0.5'];
    const dial = async (addrs: string[]) => (await dialable(addrs, allowedOnRecord(addrs), inward)).addrs;
    assert.deepEqual(await dial(['/dns/mesh.acme.example/tcp/1']), []);
    assert.deepEqual(await dial(['/dns/daemon-b/tcp/1']), ['/ip4/10.0.0.5/tcp/1']);
    const beside = ['/dns/mesh.acme.example/tcp/1', '/ip4/10.0.0.9/tcp/1'];
    assert.deepEqual(await dial(beside), ['/ip4/10.0.0.5/tcp/1', '/ip4/10.0.0.9/tcp/1']);
    assert.equal(furthest(['/dns/localhost/tcp/1', '/ip4/8.8.8.8/tcp/1']), 'public');
  });
});

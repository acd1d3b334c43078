import assert from 'node:assert/strict';
import { BlockList } from 'node:net';
import fc from 'fast-check';
import {
  type AddrClass,
  classifyAddr,
  classifyIp,
  type IpClass,
  isPrivateAddr,
  isPrivateIp,
} from '../../../src/identity/index.ts';
import { MAX_ADDR_CHARACTERS } from '../../../src/identity/limits.ts';

/** First and last addresses of each block, and their neighbours outside. */
const IPS: Readonly<Record<IpClass, readonly string[]>> = {
  unspecified: ['0.0.0.0', '0.255.255.255', '::', '0:0:0:0:0:0:0:0', '::0.0.0.0'],
  loopback: ['127.0.0.1', '127.255.255.255', '::1', '0:0::1', '::0.0.0.1', '64:ff9b::127.0.0.1', '2002:7f00:1::'],
  private: [
    '10.0.0.0',
    '10.255.255.255',
    '172.16.0.0',
    '172.31.255.255',
    '192.168.0.0',
    '192.168.255.255',
    '100.64.0.0',
    '100.127.255.255',
    'fc00::',
    'fdff:ffff:ffff:ffff:ffff:ffff:ffff:ffff',
    'fec0::1',
    '64:ff9b::a00:1',
    '2002:c0a8:101::1',
  ],
  link_local: ['169.254.0.0', '169.254.169.254', '169.254.255.255', 'fe80::1', 'febf::1', 'fe80::1%eth0', '2a00::1%1'],
  ipv4_mapped: ['::ffff:127.0.0.1', '::ffff:7f00:1', '::ffff:8.8.8.8', '0:0:0:0:0:FFFF:808:808'],
  reserved: [
    '192.0.0.8',
    '192.0.2.1',
    '192.88.99.1',
    '198.18.0.1',
    '198.19.255.255',
    '198.51.100.1',
    '203.0.113.1',
    '224.0.0.1',
    '240.0.0.1',
    '255.255.255.255',
    '::2',
    '::127.0.0.1',
    '100::1',
    '64:ff9b:1::1',
    '2001::1',
    '2001:1ff::1',
    '2001:db8::1',
    '3fff:fff::1',
    '4000::1',
    '5f00::1',
    'ff02::1',
    '1fff::1',
  ],
  public: [
    '1.1.1.1',
    '9.255.255.255',
    '11.0.0.0',
    '100.63.255.255',
    '100.128.0.0',
    '126.255.255.255',
    '128.0.0.0',
    '169.253.255.255',
    '169.255.0.0',
    '172.15.255.255',
    '172.32.0.0',
    '192.167.255.255',
    '192.169.0.0',
    '223.255.255.255',
    '2000::',
    '2001:200::1',
    '2001:db9::1',
    '2a00:1450:4001::200e',
    '3fff:1000::1',
    '64:ff9b::8.8.8.8',
    '2002:808:808::1',
  ],
  invalid: [
    '',
    '1.2.3',
    '1.2.3.4.5',
    '256.1.1.1',
    '01.2.3.4',
    '0x7f.0.0.1',
    ':::',
    '::1::',
    'localhost',
    '127.1',
    '[::1]',
  ],
};

const ADDRS: Readonly<Partial<Record<AddrClass, readonly string[]>>> = {
  public: ['/ip4/8.8.8.8/tcp/4701', '/ip6/2a00::1/tcp/4701', '/ip4/8.8.8.8/udp/1/quic-v1', '/ip4/8.8.8.8/tcp/1/p2p/x'],
  loopback: ['/ip4/127.0.0.1/tcp/4701', '/ip6/::1/tcp/1', '/dns4/acme.example/tcp/1/ip4/127.0.0.1/tcp/1'],
  private: ['/ip4/10.1.2.3/tcp/4701', '/ip6/fd00::1/tcp/1', '/ip4/8.8.8.8/tcp/1/ip4/10.0.0.1/tcp/1'],
  link_local: ['/ip4/169.254.169.254/tcp/80', '/ip6/fe80::1/tcp/1', '/ip6/fe80::1%eth0/tcp/1'],
  unspecified: ['/ip4/0.0.0.0/tcp/4701', '/ip6/::/tcp/1'],
  ipv4_mapped: ['/ip6/::ffff:127.0.0.1/tcp/1', '/ip6/::ffff:808:808/tcp/1'],
  reserved: ['/ip4/255.255.255.255/tcp/1', '/ip4/224.0.0.251/udp/5353'],
  name: [
    '/dns4/mesh.acme.example/tcp/4701',
    '/dns6/a.b/tcp/1',
    '/dns/a.example./tcp/1',
    '/dnsaddr/a.example',
    '/dns4/local.example/tcp/1',
  ],
  local_name: [
    '/dns4/localhost/tcp/1',
    '/dns4/LOCALHOST./tcp/1',
    '/dns/a.localhost/tcp/1',
    '/dns4/printer.local/tcp/1',
    '/dns4/db.internal/tcp/1',
    '/dns4/nas.home.arpa/tcp/1',
    '/dns4/router/tcp/1',
    '/dns4/a.example/tcp/1/dns4/b.local/tcp/1',
  ],
  invalid: [
    '',
    '/',
    'x',
    '/tcp/4701',
    '/ip4',
    '/ip4/',
    '/ip4/127.1/tcp/1',
    '/ip4/::1/tcp/1',
    '/ip6/127.0.0.1/tcp/1',
    '/ip4/8.8.8.8/tcp',
    'ip4/8.8.8.8/tcp/1',
    '/ip4/8.8.8.8/tcp/1/p2p-circuit',
    '/ip6zone/eth0/ip6/fe80::1',
    '/unix/run/docker.sock',
    '/constructor/x',
    '/dns4/127.1/tcp/1',
    '/dns4/2130706433/tcp/1',
    '/dns4/0x7f000001/tcp/1',
    '/dns4/127.0.0.0x1/tcp/1',
    '/dns4/a..b/tcp/1',
    '/dns4/ⓛocalhost/tcp/1',
    '/dns4/127。0。0。1/tcp/1',
    '/dns4//tcp/1',
    `/dns4/${'a.'.repeat(MAX_ADDR_CHARACTERS / 2)}example/tcp/1`,
  ],
};

describe('identity: where addresses lead', () => {
  for (const [expected, ips] of Object.entries(IPS)) {
    it(`tells IP addresses that are ${expected}`, () => {
      for (const ip of ips) {
        assert.equal(classifyIp(ip), expected, ip);
        assert.equal(isPrivateIp(ip), expected !== 'public', ip);
      }
    });
  }

  for (const [expected, addrs] of Object.entries(ADDRS)) {
    it(`tells multiaddrs that are ${expected}`, () => {
      for (const addr of addrs) {
        assert.equal(classifyAddr(addr), expected, addr);
        assert.equal(isPrivateAddr(addr), expected !== 'public' && expected !== 'name', addr);
      }
    });
  }

  it('agrees with the block lists of Node on what is on this machine or its network', () => {
    // One list a family: one for both takes ::ffff:0:0/96 for all of IPv4.
    const [blocks4, blocks6] = [new BlockList(), new BlockList()];
    const ipv4Blocks = { '10.0.0.0': 8, '127.0.0.0': 8, '169.254.0.0': 16, '172.16.0.0': 12, '192.168.0.0': 16 };
    for (const [ip, length] of Object.entries(ipv4Blocks)) blocks4.addSubnet(ip, length);
    const ipv6Blocks = { '::': 127, 'fc00::': 7, 'fe80::': 10, 'ff00::': 8, '::ffff:0:0': 96 };
    for (const [ip, length] of Object.entries(ipv6Blocks)) blocks6.addSubnet(ip, length, 'ipv6');
    const near4 = fc.constantFrom('10.', '127.', '169.254.', '172.16.', '172.31.', '192.168.', '172.32.', '11.');
    const ipv4 = fc.oneof(
      fc.ipV4(),
      fc.tuple(near4, fc.ipV4()).map(
        ([head, ip]) =>
          head +
          ip
            .split('.')
            .slice(head.split('.').length - 1)
            .join('.'),
      ),
    );
    const near6 = fc.constantFrom('fc00', 'fdff', 'fe80', 'febf', 'ff02', 'fe00');
    const ipv6 = fc.oneof(
      fc.ipV6(),
      near6.map((head) => `${head}::1`),
      fc.ipV4().map((ip) => `::ffff:${ip}`),
    );
    const listed = (ip: string, family: 'ipv4' | 'ipv6') => {
      if ((family === 'ipv4' ? blocks4 : blocks6).check(ip, family)) assert.equal(isPrivateIp(ip), true, ip);
    };
    fc.assert(
      fc.property(ipv4, (ip) => listed(ip, 'ipv4')),
      { numRuns: 500 },
    );
    fc.assert(
      fc.property(ipv6, (ip) => listed(ip, 'ipv6')),
      { numRuns: 500 },
    );
  });

  it('gives every spelling of an IPv6 address one class', () => {
    const groups = fc.array(fc.oneof(fc.constant(0), fc.nat(0xffff)), { minLength: 8, maxLength: 8 });
    fc.assert(
      fc.property(groups, (all) => {
        const long = all.map((group) => group.toString(16).padStart(4, '0')).join(':');
        const short = new URL(`http://[${long}]/`).hostname.slice(1, -1);
        const dotted = `${all
          .slice(0, 6)
          .map((group) => group.toString(16))
          .join(':')}:${all
          .slice(6)
          .flatMap((group) => [group >> 8, group & 255])
          .join('.')}`;
        assert.equal(classifyIp(short), classifyIp(long));
        assert.equal(classifyIp(dotted), classifyIp(long));
        assert.equal(classifyIp(long.toUpperCase()), classifyIp(long));
      }),
    );
  });
});

import { isIPv4, isIPv6 } from 'node:net';
import { MAX_ADDR_CHARACTERS } from './limits.ts';

/**
 * Where an IP address leads (IANA special-purpose registries, RFC 6890): `public` is globally reachable, everything else
 * is this machine, its network, or nowhere.
 */
export type IpClass =
  | 'public'
  | 'private'
  | 'loopback'
  | 'link_local'
  | 'unspecified'
  | 'ipv4_mapped'
  | 'reserved'
  | 'invalid';

/** As {@link IpClass}; `name`: a DNS name, which says nothing until it is resolved; `local_name`: one of this network. */
export type AddrClass = IpClass | 'name' | 'local_name';

/** IPv4 blocks that are not globally reachable: first address, prefix length, class. */
const IPV4_BLOCKS: readonly (readonly [string, number, IpClass])[] = [
  ['0.0.0.0', 8, 'unspecified'],
  ['10.0.0.0', 8, 'private'],
  ['100.64.0.0', 10, 'private'],
  ['127.0.0.0', 8, 'loopback'],
  ['169.254.0.0', 16, 'link_local'],
  ['172.16.0.0', 12, 'private'],
  ['192.0.0.0', 24, 'reserved'],
  ['192.0.2.0', 24, 'reserved'],
  ['192.88.99.0', 24, 'reserved'],
  ['192.168.0.0', 16, 'private'],
  ['198.18.0.0', 15, 'reserved'],
  ['198.51.100.0', 24, 'reserved'],
  ['203.0.113.0', 24, 'reserved'],
  ['224.0.0.0', 3, 'reserved'],
];

/** Names that never lead into the public network: RFC 6761, 6762, 8375, and ICANN's `internal`. */
const LOCAL_SUFFIXES = ['localhost', 'local', 'internal', 'home.arpa'];

/**
 * The class of one resolved IP address, in any spelling of RFC 4291 or dotted decimal. What carries an IPv4 address
 * inside (NAT64, 6to4) has the class of that one.
 */
export function classifyIp(ip: string): IpClass {
  if (isIPv4(ip)) return ipv4Class(ip.split('.').reduce((value, part) => value * 256 + Number(part), 0));
  if (!isIPv6(ip)) return 'invalid';
  // A zone is a link of this machine, whatever the address in front of it.
  if (ip.includes('%')) return 'link_local';
  return ipv6Class(ipv6Groups(ip));
}

/** Whether a resolved address is anything but globally reachable: then it is dialled only if the operator said so. */
export function isPrivateIp(ip: string): boolean {
  return classifyIp(ip) !== 'public';
}

/**
 * The class of a multiaddr by its text alone; nothing is resolved. Of several addresses in one the least public counts.
 * `invalid` for what holds no address, or a component this version does not know.
 */
export function classifyAddr(addr: string): AddrClass {
  const classes = addr.length > MAX_ADDR_CHARACTERS ? [] : componentClasses(addr);
  return (
    classes.find((one) => one !== 'public' && one !== 'name') ??
    classes.find((one) => one === 'name') ??
    classes[0] ??
    'invalid'
  );
}

/**
 * Whether a multiaddr needs the operator's word before it is dialled (fault row 49). False also for DNS names that look
 * public: whoever dials one resolves it and asks {@link isPrivateIp} of each result, then dials that very result.
 */
export function isPrivateAddr(addr: string): boolean {
  const found = classifyAddr(addr);
  return found !== 'public' && found !== 'name';
}

/** Number of values that follow each protocol name we dial. */
const ARITY: Readonly<Record<string, 0 | 1>> = {
  ip4: 1,
  ip6: 1,
  dns: 1,
  dns4: 1,
  dns6: 1,
  dnsaddr: 1,
  tcp: 1,
  udp: 1,
  p2p: 1,
  ws: 0,
  wss: 0,
  tls: 0,
  'quic-v1': 0,
};

function componentClasses(addr: string): readonly AddrClass[] {
  const parts = addr.split('/');
  if (parts.shift() !== '') return [];
  const classes: AddrClass[] = [];
  while (parts.length > 0) {
    const protocol = parts.shift()!;
    const arity = Object.hasOwn(ARITY, protocol) ? ARITY[protocol] : undefined;
    const value = arity === 1 ? parts.shift() : '';
    if (arity === undefined || value === undefined) return ['invalid'];
    if (protocol === 'ip4') classes.push(isIPv4(value) ? classifyIp(value) : 'invalid');
    else if (protocol === 'ip6') classes.push(isIPv6(value) ? classifyIp(value) : 'invalid');
    else if (protocol.startsWith('dns')) classes.push(nameClass(value));
  }
  return classes;
}

function nameClass(text: string): AddrClass {
  const name = text.toLowerCase().replace(/\.$/, '');
  if (!/^[a-z0-9_-]+(\.[a-z0-9_-]+)*$/.test(name)) return 'invalid';
  const labels = name.split('.');
  // `127.1`, `2130706433` and `0x7f000001` are addresses to a resolver (inet_aton), in a spelling that hides which.
  if (/^(0x[0-9a-f]*|[0-9]+)$/.test(labels.at(-1)!)) return 'invalid';
  if (labels.length === 1) return 'local_name';
  return LOCAL_SUFFIXES.some((suffix) => name === suffix || name.endsWith(`.${suffix}`)) ? 'local_name' : 'name';
}

function ipv4Class(value: number): IpClass {
  for (const [first, length, found] of IPV4_BLOCKS) {
    const size = 2 ** (32 - length);
    const start = first.split('.').reduce((sum, part) => sum * 256 + Number(part), 0);
    if (Math.floor(value / size) === Math.floor(start / size)) return found;
  }
  return 'public';
}

function ipv6Class(groups: readonly number[]): IpClass {
  const [a, b, c, d, e, f, g, h] = groups as [number, number, number, number, number, number, number, number];
  const last32 = g * 65536 + h;
  if (a === 0 && b === 0 && c === 0 && d === 0 && e === 0) {
    if (f === 0xffff) return 'ipv4_mapped';
    if (f === 0 && last32 === 0) return 'unspecified';
    if (f === 0 && last32 === 1) return 'loopback';
    return 'reserved';
  }
  if (a === 0x64 && b === 0xff9b && c === 0 && d === 0 && e === 0 && f === 0) return ipv4Class(last32);
  if ((a & 0xfe00) === 0xfc00) return 'private';
  if ((a & 0xffc0) === 0xfe80) return 'link_local';
  if ((a & 0xffc0) === 0xfec0) return 'private';
  if (a === 0x2002) return ipv4Class(b * 65536 + c);
  const isIetf = a === 0x2001 && b < 0x0200;
  const isDocumentation = (a === 0x2001 && b === 0x0db8) || (a === 0x3fff && b < 0x1000);
  return (a & 0xe000) === 0x2000 && !isIetf && !isDocumentation ? 'public' : 'reserved';
}

/** The eight groups of a valid address. */
function ipv6Groups(ip: string): readonly number[] {
  const dotted = /^(.*:)(\d+)\.(\d+)\.(\d+)\.(\d+)$/.exec(ip);
  const text = dotted === null ? ip : `${dotted[1]}${pair(dotted[2]!, dotted[3]!)}:${pair(dotted[4]!, dotted[5]!)}`;
  const [head = '', tail] = text.split('::');
  const before = head === '' ? [] : head.split(':');
  const after = tail === undefined || tail === '' ? [] : tail.split(':');
  const zeros = Array<string>(8 - before.length - after.length).fill('0');
  return [...before, ...zeros, ...after].map((group) => Number.parseInt(group, 16));
}

function pair(high: string, low: string): string {
  return (Number(high) * 256 + Number(low)).toString(16);
}

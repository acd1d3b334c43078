import { isIPv4, isIPv6 } from 'node:net';
import { type AddrClass, classifyAddr, classifyIp } from '../identity/addr-class.ts';
import { MAX_RESOLVED_ADDRESSES } from './control-limits.ts';

/**
 * How far inside an address leads: to the public network, to one that only its members reach, to this machine. `never`:
 * it names no machine, or is spelled so that nobody can tell.
 */
export type Reach = 'public' | 'private' | 'loopback' | 'never';

/** IP addresses of a name; empty when there are none. A component, so that tests need no network. */
export type ResolveName = (name: string, family: 4 | 6 | 0) => Promise<readonly string[]>;

const INWARD = { public: 0, private: 1, loopback: 2 } as const;

/** The kinds of address this mesh dials: TCP to an IP address or a name. */
const TCP = /^\/(ip4|ip6|dns|dns4|dns6)\/([^/]+)\/tcp\/([1-9]\d{0,4})(?:\/p2p\/([^/]+))?$/;

interface TcpAddress {
  readonly family: 'ip4' | 'ip6' | 'dns' | 'dns4' | 'dns6';
  readonly host: string;
  readonly port: string;
  readonly peerId: string | undefined;
}

function parse(text: string): TcpAddress | undefined {
  const [, family, host, port, peerId] = TCP.exec(text) ?? [];
  if (host === undefined || port === undefined || Number(port) > 65535) return;
  if ((family === 'ip4' && !isIPv4(host)) || (family === 'ip6' && (!isIPv6(host) || host.includes('%')))) return;
  return { family: family as TcpAddress['family'], host, port, peerId };
}

const isName = ({ family }: TcpAddress): boolean => family !== 'ip4' && family !== 'ip6';

/** The peer id at the end of a multiaddr; null without one, undefined for what this mesh does not dial. */
export function peerIdOf(text: string): string | null | undefined {
  const address = parse(text);
  return address && (address.peerId ?? null);
}

/** Without `/p2p/…` at its end. */
export function withoutPeerId(text: string): string {
  return text.replace(/\/p2p\/[^/]+$/, '');
}

/** How far inside a multiaddr leads; of a name, as far as its spelling tells. Everything this mesh does not dial: never. */
export function reachOf(text: string): Reach {
  const address = parse(text);
  if (address === undefined) return 'never';
  if (isName(address) && /(?:^|\.)localhost$/i.test(address.host)) return 'loopback';
  return reachOfClass(classifyAddr(text));
}

/** How far inside the furthest of these leads that is no name: where names lead, may change. */
export function furthest(addrs: readonly string[]): Reach {
  return furthestOf(addrs.filter((text) => !/^\/dns/.test(text)).map(reachOf));
}

function furthestOf(reaches: readonly Reach[]): Reach {
  return reaches.reduce((far, one) => (one !== 'never' && isWithin(far, one) ? one : far), 'public');
}

/**
 * How far inside each address of a peer on record may lead when it is dialled. The record holds what our operator gave or
 * confirmed, and of what the peer claimed only the plausible: a literal address may lead where it says. A name may lead as
 * far as its spelling or any literal address beside it.
 */
export function allowedOnRecord(addrs: readonly string[]): (text: string) => Reach {
  const beside = furthest(addrs);
  return (text) => {
    const spelled = reachOf(text);
    return isWithin(spelled, beside) ? beside : spelled;
  };
}

/** Whether somewhere `reach` inside may be dialled for who may send us as far as `allowed`. */
export function isWithin(reach: Reach, allowed: Reach): boolean {
  return reach !== 'never' && allowed !== 'never' && INWARD[reach] <= INWARD[allowed];
}

/**
 * What to believe of addresses that a peer claims as its own: those no further inside than where it was seen, so that
 * nobody from outside sends us to our own network or machine (fault row 49).
 */
export function plausible(addrs: readonly string[], seenAt: string): string[] {
  const reach = reachSeen(seenAt);
  return addrs.filter((text) => isWithin(reachOf(text), reach));
}

/** How far inside somebody is whose connection has this address at its other end. */
export function reachSeen(remoteAddr: string): Reach {
  // An incoming connection's address may lack what a dial needs, such as a known port; only its IP matters.
  const [, host] = /^(\/ip[46]\/[^/]+)/.exec(remoteAddr) ?? [];
  const reach = reachOf(host === undefined ? remoteAddr : `${host}/tcp/1`);
  return reach === 'never' ? 'public' : reach;
}

/** What to tell others of our own addresses: the ones furthest out, and none that leads to another machine there. */
export function tellable(addrs: readonly string[]): string[] {
  for (const wanted of ['public', 'private', 'loopback'] as const) {
    const found = addrs.filter((text) => reachOf(text) === wanted);
    if (found.length > 0) return found;
  }
  return [];
}

/** Who counts as one: an IPv4 address, or the /64 of an IPv6 address, which one machine has all of. */
export function hostOf(addr: string): string {
  const host = addr.split('/')[2] ?? '';
  if (!host.includes(':')) return host;
  const [head = '', tail] = host.split('::');
  const left = head.split(':').filter(Boolean);
  const right = (tail ?? '').split(':').filter(Boolean);
  const zeros = tail === undefined ? [] : Array<string>(Math.max(0, 8 - left.length - right.length)).fill('0');
  const groups = [...left, ...zeros, ...right];
  const network = groups.slice(0, 4).join(':');
  // An IPv4 address in IPv6 spelling (RFC 4291, 2.5.5.2) is that address.
  if (groups.slice(0, 6).join(':') !== '0:0:0:0:0:ffff') return network;
  const bits = groups.slice(6).map((group) => Number.parseInt(group, 16));
  return bits.flatMap((pair) => [pair >> 8, pair & 255]).join('.');
}

/**
 * How far inside what discovery says may lead. Our operator's word on bootstrap peers counts, and a local network can name
 * its own. A table that peers hold may lead as far inside as those peers are themselves.
 *
 * @param peersAt where active peers are, as their connections say
 */
export function reachFound(via: 'bootstrap' | 'mdns' | 'dht', peersAt: readonly string[]): Reach {
  if (via === 'bootstrap') return 'loopback';
  return via === 'mdns' ? 'private' : furthestOf(peersAt.map(reachSeen));
}

export interface Dialable {
  /** What a transport may dial: literal addresses, without doubles. */
  readonly addrs: readonly string[];
  /** The given addresses that lead further inside than allowed. */
  readonly refused: readonly string[];
}

/**
 * Turns addresses into literal ones that lead no further inside than allowed. Names are resolved here and now, so that
 * what was looked at is what is dialled: a name may answer otherwise the next time.
 */
export async function dialable(
  addrs: readonly string[],
  allowed: (text: string) => Reach,
  resolve: ResolveName,
): Promise<Dialable> {
  const good = new Set<string>();
  const refused = new Set<string>();
  const all = await Promise.all(addrs.map((text) => literals(text, resolve)));
  for (const [at, found] of all.entries()) {
    for (const { text, reach } of found) {
      if (isWithin(reach, allowed(addrs[at]!))) good.add(text);
      else refused.add(addrs[at]!);
    }
  }
  return { addrs: [...good], refused: [...refused] };
}

async function literals(text: string, resolve: ResolveName): Promise<{ text: string; reach: Reach }[]> {
  const address = parse(text);
  if (address === undefined) return [{ text, reach: 'never' }];
  if (!isName(address)) return [{ text: withoutPeerId(text), reach: reachOf(text) }];
  const { family, host, port } = address;
  const ips = await resolve(host, family === 'dns4' ? 4 : family === 'dns6' ? 6 : 0).catch(() => []);
  return ips.slice(0, MAX_RESOLVED_ADDRESSES).map((ip) => ({
    text: `/${isIPv4(ip) ? 'ip4' : 'ip6'}/${ip}/tcp/${port}`,
    reach: reachOfClass(classifyIp(ip)),
  }));
}

function reachOfClass(found: AddrClass): Reach {
  switch (found) {
    case 'public':
    case 'name':
      return 'public';
    case 'loopback':
      return 'loopback';
    case 'private':
    case 'link_local':
    case 'reserved':
    case 'local_name':
      return 'private';
    default:
      return 'never';
  }
}

import { networkInterfaces } from 'node:os';
import { MeshError } from '../errors.ts';

/** What the system says of an address, and what to do about it. libp2p keeps it in a sentence, with a stack. */
const REASONS: readonly (readonly [errno: string, reason: string, hint: string])[] = [
  [
    'EADDRINUSE',
    'another program uses this port',
    'stop the other one, perhaps a daemon of another home; or choose another port: --set mesh.listen=/ip4/0.0.0.0/tcp/0 takes any free one',
  ],
  ['EADDRNOTAVAIL', 'this machine has no such address', 'check mesh.listen'],
  ['EACCES', 'this port is not allowed', 'choose a port above 1023 in mesh.listen'],
  [
    'uv_interface_addresses',
    'this process may not ask for the addresses of this machine',
    'allow it netlink sockets (systemd: RestrictAddressFamilies=AF_NETLINK beside the others), or name one address in mesh.listen',
  ],
];

/** Every address there is, of IPv4 or IPv6. */
const WILDCARD = /^\/ip[46]\/(0\.0\.0\.0|::)\//;

/** libp2p asks for the addresses behind a wildcard at any moment later, where nobody would catch what a sandbox answers. */
export function assertAddressesKnown(listen: readonly string[]): void {
  if (listen.some((address) => WILDCARD.test(address))) networkInterfaces();
}

/** Why a mesh could not begin to listen, in our words where they are known. */
export function listenError(listen: readonly string[], cause: unknown): MeshError {
  const text = cause instanceof Error ? cause.message : String(cause);
  const message = `cannot listen on ${listen.join(', ')}`;
  const found = REASONS.find(([errno]) => text.includes(errno));
  if (found !== undefined) return new MeshError('listen_failed', `${message}: ${found[1]}`, found[2]);
  return new MeshError('listen_failed', message, 'check mesh.listen', { cause });
}

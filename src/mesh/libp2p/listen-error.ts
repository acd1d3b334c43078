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
];

/** Why a mesh could not begin to listen, in our words where they are known. */
export function listenError(listen: readonly string[], cause: unknown): MeshError {
  const text = cause instanceof Error ? cause.message : String(cause);
  const message = `cannot listen on ${listen.join(', ')}`;
  const found = REASONS.find(([errno]) => text.includes(errno));
  if (found !== undefined) return new MeshError('listen_failed', `${message}: ${found[1]}`, found[2]);
  return new MeshError('listen_failed', message, 'check mesh.listen', { cause });
}

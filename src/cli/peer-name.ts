import type { z } from 'zod';
import type { peerList } from '../api/schema/federation.ts';
import type { Client } from './client.ts';
import { CliError, usage } from './errors.ts';
import type { Peer } from './peer-text.ts';

/** Fewer characters of a peer id than that name too many. */
const MIN_PART = 4;

const PEER_ID = /^12D3KooW[1-9A-HJ-NP-Za-km-z]{44}$/;

export const PEER_ARGUMENT = 'peer id, its beginning or end, or the name of its organisation';

export async function listPeers(client: Client, query: { readonly state?: string } = {}): Promise<Peer[]> {
  return (await client.get<z.output<typeof peerList>>('/v1/federation/peers', { query })).peers;
}

export function peerPath(peerId: string, ...rest: readonly string[]): string {
  return ['/v1/federation/peers', encodeURIComponent(peerId), ...rest].join('/');
}

/**
 * The peer somebody means: by its id, as the table shows it (`12D3KooW…8Tc`), by a part of the id, or by its organisation.
 *
 * @throws CliError `nothing_found`, `usage` when several fit; ProblemError `peer_not_found`
 */
export async function findPeer(client: Client, name: string): Promise<Peer> {
  if (PEER_ID.test(name)) return client.get<Peer>(peerPath(name));
  const peers = await listPeers(client);
  const fitting = peers.filter((peer) => isMeant(peer, name));
  // One that was removed is meant only when no other is.
  const present = fitting.filter(({ state }) => state !== 'revoked');
  const [peer, ...others] = present.length === 0 ? fitting : present;
  if (peer === undefined) {
    throw new CliError('nothing_found', `no peer is called ${name}`, 'stigmesh peers lists them');
  }
  if (others.length === 0) return peer;
  const ids = [peer, ...others].map(({ peer_id }) => peer_id);
  throw usage(`${name} fits ${ids.length} peers`, `name one of them: ${ids.join(', ')}`);
}

function isMeant({ peer_id, org }: Peer, name: string): boolean {
  if (org === name.toLowerCase()) return true;
  const [head = '', tail, ...rest] = name.split('…');
  if (tail !== undefined) return rest.length === 0 && peer_id.startsWith(head) && peer_id.endsWith(tail);
  return name.length >= MIN_PART && (peer_id.startsWith(name) || peer_id.endsWith(name));
}

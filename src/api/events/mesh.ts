import { formatInstant } from '../../facts/index.ts';
import type { MeshEvent } from '../../node/federation.ts';
import type { Principal } from '../../policy/principal.ts';

/** Names of events of the mesh, for those who follow; `mesh.missed` counts what a slow reader was not shown. */
export const MESH_EVENT_NAMES = [
  'peer.connected',
  'peer.disconnected',
  'peer.changed',
  'sync.finished',
  'sync.failed',
  'statement.refused',
  'mesh.missed',
] as const satisfies readonly (MeshEvent['type'] | 'mesh.missed')[];

/** Who may see peers may see what happens with them. */
export function isMeshVisible({ permissions }: Principal): boolean {
  return permissions.has('federate') || permissions.has('admin');
}

/** Data of an event, in the words of the HTTP API. */
export function meshEventData(event: MeshEvent): object {
  const { type: _type, at, peerId, org, ...rest } = event;
  const { remoteAddr, ...members } = rest as typeof rest & { readonly remoteAddr?: string };
  return {
    at: formatInstant(at),
    peer_id: peerId,
    org,
    ...(remoteAddr === undefined ? {} : { remote_addr: remoteAddr }),
    ...members,
  };
}

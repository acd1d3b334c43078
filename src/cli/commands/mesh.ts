import type { Command } from 'commander';
import type { z } from 'zod';
import type { meshStatus } from '../../api/schema/federation.ts';
import type { wellKnown } from '../../api/schema/records.ts';
import type { Cli } from '../cli.ts';
import { meshLines } from '../mesh-graph.ts';
import { listPeers } from '../peer-name.ts';

export function define(command: Command, cli: Cli): void {
  command
    .description(
      'Draw the mesh as this daemon sees it: peers, what flows in each direction, how far behind they are. Takes the ' +
        'permission federate or admin.',
    )
    .option('--all', 'also peers that were removed')
    .action(
      cli.action<{ all?: boolean }>(async (session, _args, { all }) => {
        const { out, world } = session;
        const client = await session.client();
        const [node, status, every] = await Promise.all([
          client.get<z.output<typeof wellKnown>>('/.well-known/stigmem'),
          client.get<z.output<typeof meshStatus>>('/v1/federation/status'),
          listPeers(client),
        ]);
        const peers = all ? every : every.filter(({ state }) => state !== 'revoked');
        const { peer_id, org, fingerprint } = node;
        await out.answer({
          json: { node: { peer_id, org, fingerprint }, status, peers },
          quiet: peers.filter(({ connected }) => connected).map((peer) => peer.peer_id),
          human: () => meshLines(out, { node, status, peers, now: world.now() }),
        });
        if (out.json || out.quiet) return;
        if (!status.enabled) out.note('the mesh is off: set mesh.enabled = true and start the daemon again');
        else if (peers.length === 0) out.note('no peers; to pair with one: stigmesh invite, or stigmesh join');
        for (const warning of status.warnings) out.warn(warning);
      }),
    );
}

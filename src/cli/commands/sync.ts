import type { Command } from 'commander';
import type { z } from 'zod';
import type { syncReport } from '../../api/schema/federation.ts';
import type { Cli } from '../cli.ts';
import { CliError } from '../errors.ts';
import { EXIT } from '../exit-codes.ts';
import { findPeer, PEER_ARGUMENT } from '../peer-name.ts';
import { behindText, isGoodSync, shortPeer } from '../peer-text.ts';
import { printable } from '../text.ts';

type State = z.output<typeof syncReport>['peers'][number];

export function define(command: Command, cli: Cli): void {
  command
    .description(
      'Reconcile with one peer, or with every connected one, now. It happens by itself as well: on connecting, and ' +
        'whenever one side has what the other lacks. Exit code 1 when one fails, 6 when it is not done in time.',
    )
    .argument('[peer]', PEER_ARGUMENT)
    .option('--no-wait', 'start it and return')
    .action(
      cli.action<{ wait: boolean }>(async (session, [name], { wait }) => {
        const { out } = session;
        const client = await session.client();
        const peer_id = name === undefined ? null : (await findPeer(client, name)).peer_id;
        const report = await client.post<z.output<typeof syncReport>>(
          '/v1/federation/sync',
          { peer_id, wait },
          { bulk: true },
        );
        const { peers, finished } = report;
        await out.answer({
          json: report,
          quiet: peers.map(({ last_sync }) => last_sync?.result ?? 'running'),
          human: () => peers.map((peer) => printable(finished ? resultLine(peer, out.done) : lagLine(peer))),
        });
        if (!finished) {
          if (!wait) return;
          throw new CliError('wait_timeout', 'the reconciliation goes on', 'stigmesh peers shows how far it has come');
        }
        if (peers.length === 0) throw new CliError('nothing_found', 'no peer is connected', 'see stigmesh peers');
        return peers.every(({ last_sync }) => isGoodSync(last_sync)) ? EXIT.ok : EXIT.failed;
      }),
    );
}

const nameOf = ({ org, peer_id }: State): string => `${shortPeer(peer_id)}${org === null ? '' : `  ${org}`}`;

function resultLine(state: State, done: string): string {
  const { last_sync: last } = state;
  if (last === null || !isGoodSync(last)) return `✗ ${nameOf(state)}  ${last?.result ?? 'not reconciled'}`;
  return `${done} ${nameOf(state)}  ${last.sent} sent, ${last.received} received in ${Math.round(last.ms)} ms`;
}

function lagLine(state: State): string {
  const { lag } = state;
  return `… ${nameOf(state)}  ${behindText(lag.in_statements, lag.in_seconds) ?? 'under way'}`;
}

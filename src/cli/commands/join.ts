import type { Command } from 'commander';
import type { Cli } from '../cli.ts';
import type { JoinOptions } from '../join.ts';
import { addTerms } from '../terms.ts';

const HELP = `
The invite is a secret until it is used. Every user of a machine can read the arguments of its commands, so scripts hand it
over on stdin:  stigmesh join - --yes < invite.txt`;

export function define(command: Command, cli: Cli): void {
  addTerms(
    command
      .description(
        'Use an invite: shows who made it and what is offered, asks, connects and pairs. Takes the permission federate or ' +
          'admin.',
      )
      .argument('[invite]', 'the line that stigmesh invite printed; - is stdin; left out, it is asked for')
      .option('--file <file>', 'read the invite from a file'),
    {
      gives: ['--gives <scopes>', 'scopes you share back (default: public)'],
      takes: 'scopes you take (default: as offered)',
    },
  )
    .option('--allow-private', 'also dial addresses of this machine and of private networks')
    .option('--yes', 'do not ask')
    .addHelpText('after', HELP)
    .action(
      cli.action<JoinOptions>(async (session, [invite], options) => {
        const { join } = await import('../join.ts');
        await join(session, invite, options);
      }),
    );
}

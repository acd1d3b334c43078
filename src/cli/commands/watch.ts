import type { Command } from 'commander';
import { scopeOption, wholeNumber } from '../arguments.ts';
import type { Cli } from '../cli.ts';
import type { WatchOptions } from '../watch.ts';

export function define(command: Command, cli: Cli): void {
  command
    .description(
      'Follow facts as they are committed, until Ctrl-C. Reconnects by itself and misses nothing: a gap in the log is ' +
        'said, not skipped.',
    )
    .argument('[relation]', "a relation, or its beginning and *: 'memory:*'")
    .option('--entity <uri>', 'only facts about this entity')
    .addOption(scopeOption('only this scope'))
    .option('--source <uri>', 'only what this source claims')
    .option(
      '--since <sequence>',
      'begin after this local sequence number; 0 is the beginning',
      wholeNumber('--since', 0, 1e15 - 1),
    )
    .option('--mesh', 'also what happens on the mesh, from now on; takes the permission federate or admin')
    .option('--count <events>', 'end after so many events', wholeNumber('--count', 1, 1e9))
    .addHelpText('after', '\nWith --json, each line is one event: {"event":…,"id":…,"data":…}.')
    .action(
      cli.action<WatchOptions>(async (session, [relation], options) => {
        const { watch } = await import('../watch.ts');
        return watch(session, relation, options);
      }),
    );
}

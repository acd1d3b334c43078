import type { Command } from 'commander';
import type { Cli } from '../cli.ts';

export function define(command: Command, cli: Cli): void {
  command
    .description(
      'Write every statement of the log with its signature, one JSON object a line. An existing file is not ' +
        'overwritten; a file that is there is whole and on disk. Takes the permission admin.',
    )
    .argument('[file]', 'left out or -: stdout')
    .action(
      cli.action(async (session, [file]) => {
        const { exportTo } = await import('../transfer.ts');
        await exportTo(session, file === undefined || file === '-' ? undefined : file);
      }),
    );
}

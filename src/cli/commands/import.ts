import type { Command } from 'commander';
import type { Cli } from '../cli.ts';

export function define(command: Command, cli: Cli): void {
  command
    .description(
      'Read statements that export wrote. Each passes the checks that every statement passes; what is known already ' +
        'is skipped, so an import may be repeated. Exit code 1 when any line is refused. Takes the permission admin.',
    )
    .argument('<file>', '- is stdin')
    .action(
      cli.action(async (session, [file]) => {
        const { importFrom } = await import('../transfer.ts');
        return importFrom(session, file as string);
      }),
    );
}

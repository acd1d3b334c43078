import type { Command } from 'commander';
import type { Cli } from '../cli.ts';
import { counted } from '../text.ts';

export function define(command: Command, cli: Cli): void {
  command
    .description(
      'Rebuild every index and the current view from the log. The daemon must not run. Answers whether anything ' +
        'changed: in a sound store nothing does.',
    )
    .action(
      cli.action(async (session) => {
        const { out, world } = session;
        const { reindexHome } = await import('../../daemon.ts');
        const begin = world.uptime();
        const report = await reindexHome({
          ...(await session.homeOptions()),
          notice: (message) => out.note(message),
          progress: (done) => out.progress(`${done} statements indexed`),
        });
        const seconds = (world.uptime() - begin) / 1000;
        await out.answer({
          json: { ...report, seconds },
          quiet: report.changed ? 'changed' : 'unchanged',
          human: () => [
            `${out.done} ${counted(report.statements, 'statement')} indexed in ${seconds.toFixed(1)} s: ${
              report.changed ? 'the indexes were not what the log says, and now are' : 'nothing changed'
            }`,
          ],
        });
      }),
    );
}

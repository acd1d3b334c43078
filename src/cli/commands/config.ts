import type { Command } from 'commander';
import type { Cli } from '../cli.ts';

export function define(command: Command, cli: Cli): void {
  command
    .command('show')
    .summary('show every setting')
    .description('Show every setting with its value; secrets are redacted.')
    .option('--origin', 'also where each value comes from: flag, env, file or default')
    .action(
      cli.action<{ origin?: boolean }>(async (session, _args, options) => {
        const { out } = session;
        const loaded = await session.loadConfig();
        const { configRows } = await import('../../config/show.ts');
        const rows = configRows(loaded, session.world.surroundings.env);
        await out.answer({
          json: rows,
          quiet: rows.map(({ key, value }) => `${key} = ${value}`),
          human: () =>
            out.table(
              [
                { title: 'KEY' },
                { title: 'VALUE', min: 16 },
                ...(options.origin ? [{ title: 'ORIGIN', min: 12 }] : []),
              ],
              rows.map(({ key, value, source, detail }) => [
                key,
                value,
                ...(options.origin ? [source === 'default' ? `default, ${detail}` : `${source}: ${detail}`] : []),
              ]),
            ),
        });
        if (!out.json) for (const warning of loaded.warnings) out.warn(warning);
      }),
    );
  command
    .command('path')
    .summary('print where the configuration is')
    .description('Print the path of the configuration file, and with --json all paths of this home.')
    .action(
      cli.action(async ({ out, paths }) => {
        await out.answer({ json: paths, quiet: paths.configFile, human: () => [paths.configFile] });
      }),
    );
  command
    .command('check')
    .summary('check the configuration')
    .description('Check file, environment and their combination without starting anything; all problems at once.')
    .action(
      cli.action(async (session) => {
        const { out, paths } = session;
        const { warnings } = await session.loadConfig();
        await out.answer({
          json: { ok: true, file: paths.configFile, warnings },
          quiet: 'ok',
          human: () => [`${out.done} ${session.shownPath(paths.configFile)}`],
        });
        if (!out.json) for (const warning of warnings) out.warn(warning);
      }),
    );
}

import type { Command } from 'commander';
import type { Cli } from '../cli.ts';

interface Options {
  readonly org?: string;
}

export function define(command: Command, cli: Cli): void {
  command
    .description(
      'Make what a home lacks: configuration, keys, the first API key, the data directory. Changes nothing that is there.',
    )
    .option(
      '--org <authority>',
      'name of your organisation in entity URIs, such as acme.example (default: from the host name)',
    )
    .action(
      cli.action<Options>(async (session, _args, options) => {
        const { out, paths } = session;
        const flags = options.org === undefined ? {} : { 'org.authority': options.org };
        const { initHome } = await import('../../daemon.ts');
        const report = await initHome({ ...(await session.homeOptions(flags)), authority: options.org });
        const place = (path: string) => session.shownPath(path);
        await out.answer({
          json: { ...report, keysDir: paths.keysDir, stateDir: paths.stateDir },
          quiet: report.peerId,
          human: () => [
            `${out.done} ${report.created ? 'initialised' : 'was initialised already; nothing changed'}`,
            ...out.record([
              ['node key', report.peerId],
              ['org', report.org],
              ['fingerprint', report.fingerprint],
              ['config', place(report.configFile)],
              ['API key', `${place(report.apiKeyFile)} (0600)`],
              ['keys', `${place(paths.keysDir)} (0700): back them up`],
              ['data', place(report.dataDir)],
              ['state', place(paths.stateDir)],
            ]),
            'Next: stigmesh start',
          ],
        });
      }),
    );
}

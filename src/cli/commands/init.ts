import { access } from 'node:fs/promises';
import type { Command } from 'commander';
import type { Cli } from '../cli.ts';
import { usage } from '../errors.ts';
import type { Session } from '../session.ts';

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
        if (options.org !== undefined) await refuseOtherOrg(session, options.org);
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

/** A home keeps its name: nothing that is there is changed, and nobody should believe that it was. */
async function refuseOtherOrg(session: Session, org: string): Promise<void> {
  const { configFile } = session.paths;
  const { config, origins } = await session.loadConfig();
  const held = config.org.authority;
  if (held === org) return;
  const origin = origins.get('org.authority');
  if (origin?.source === 'default' && !(await exists(configFile))) return;
  throw usage(
    `this home is of ${held} already (${origin?.source === 'env' ? origin.detail : session.shownPath(configFile)})`,
    'leave --org out, or make another home: --home, STIGMESH_HOME',
  );
}

function exists(path: string): Promise<boolean> {
  return access(path).then(
    () => true,
    () => false,
  );
}

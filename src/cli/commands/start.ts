import type { Command } from 'commander';
import type { Cli } from '../cli.ts';
import { usage } from '../errors.ts';

export interface StartOptions {
  readonly host?: string;
  readonly port?: string;
  readonly logLevel?: string;
  readonly logFormat?: string;
  readonly set?: readonly string[];
  readonly pretty?: boolean;
}

const HELP = `
On a terminal, a summary goes to stdout and the log, made readable, to stderr. Elsewhere stdout carries the log as JSON
lines and nothing else; the record with "event":"ready" says that the daemon serves, and where.

Signals: SIGTERM and SIGINT finish open requests (daemon.drain_timeout_s) and stop; a second one ends the process at
once. SIGHUP reads the configuration again and applies the log level; when it says that the terminal was closed, the
daemon stops.`;

export function define(command: Command, cli: Cli): void {
  command
    .description('Run the daemon in the foreground. On first start it initialises the home.')
    .option('--host <address>', 'address of the local API (api.host)')
    .option('--port <port>', 'port of the local API, 0 for any free one (api.port)')
    .option('--log-level <level>', 'least severity that is logged (log.level)')
    .option('--log-format <format>', 'auto, json or pretty (log.format)')
    .option('--set <key=value>', 'any key of the configuration, for example store.cache_mb=128', repeated)
    .option('--pretty', 'print the summary and a readable log also off a terminal')
    .addHelpText('after', HELP)
    .action(
      cli.action<StartOptions>(async (session, _args, options) => {
        const { runDaemon } = await import('../run-daemon.ts');
        return runDaemon(session, configFlags(options), options.pretty ?? false);
      }),
    );
}

/** The option again and again; values may hold commas. */
function repeated(text: string, before: readonly string[] = []): string[] {
  return [...before, text];
}

/** Options by key of the configuration. @throws CliError `usage` */
export function configFlags(options: StartOptions): Record<string, unknown> {
  const flags: Record<string, unknown> = {};
  for (const pair of options.set ?? []) {
    const at = pair.indexOf('=');
    if (at < 1) throw usage('--set takes key=value', 'write for example --set store.cache_mb=128');
    flags[pair.slice(0, at)] = pair.slice(at + 1);
  }
  const named = {
    'api.host': options.host,
    'api.port': options.port,
    'log.level': options.logLevel,
    'log.format': options.logFormat,
  };
  for (const [key, value] of Object.entries(named)) if (value !== undefined) flags[key] = value;
  return flags;
}

import { Command, CommanderError, Option } from 'commander';
import { positiveNumber } from './arguments.ts';
import type { Cli } from './cli.ts';
import { type CliError, reportOf, usage } from './errors.ts';
import { EXIT, EXIT_MEANINGS, type ExitCode, exitCodeOf } from './exit-codes.ts';
import { MAX_TIMEOUT_S } from './limits.ts';
import { registry } from './registry.ts';
import { type GlobalOptions, Session } from './session.ts';
import type { World } from './world.ts';

const EXAMPLES = `
Examples:
  $ stigmesh assert user:alice memory:role CEO --scope company
  $ stigmesh query user:alice memory:role
  $ stigmesh watch 'memory:*'

Exit codes: ${Object.entries(EXIT_MEANINGS)
  .map(([code, meaning]) => `${code} ${meaning}`)
  .join('; ')}.
Documentation: docs/cli.md, and /docs of the running daemon.`;

/**
 * The command tree.
 *
 * @param wanted which commands to define in full; the others are known by name and summary only
 */
export async function buildProgram(world: World, wanted: (name: string) => boolean, cli: Cli): Promise<Command> {
  const program = new Command('stigmesh');
  program
    .description('Signed, shared memory for AI agents: one daemon an organisation, facts that are never overwritten.')
    .exitOverride()
    .configureOutput({
      writeOut: (text) => void world.stdout.write(text),
      writeErr: (text) => void world.stderr.write(text),
      // Errors are shown by run(), in one form for all.
      outputError: () => {},
      getOutHelpWidth: () => world.stdout.columns ?? 100,
      getErrHelpWidth: () => world.stderr.columns ?? 100,
      getOutHasColors: () => false,
      getErrHasColors: () => false,
    })
    .configureHelp({ showGlobalOptions: true })
    .version(world.version, '-V, --version', 'print the version')
    .helpOption('-h, --help', 'show help')
    .helpCommand('help [command]', 'show help for a command')
    .addOption(new Option('--home <dir>', 'directory of configuration, keys and data (STIGMESH_HOME)'))
    .addOption(new Option('--config <file>', 'configuration file, instead of the one in the home'))
    .addOption(new Option('--url <url>', 'where the daemon is (STIGMESH_URL)'))
    .addOption(new Option('--json', 'print the answer as JSON'))
    .addOption(new Option('-q, --quiet', 'print only the one value'))
    .addOption(new Option('--full', 'cut nothing to the width of the terminal'))
    .addOption(new Option('--no-color', 'no colours (NO_COLOR)'))
    .addOption(
      new Option('--timeout <seconds>', 'how long to wait for the daemon').argParser(
        positiveNumber('--timeout', MAX_TIMEOUT_S),
      ),
    )
    .addHelpText('after', EXAMPLES);
  for (const { name, group, summary, load } of registry) {
    const command = program.command(name).summary(summary).description(sentence(summary)).helpGroup(group);
    if (wanted(name)) (await load()).define(command, cli);
    else command.allowUnknownOption().allowExcessArguments();
  }
  return program;
}

function sentence(summary: string): string {
  return `${summary.charAt(0).toUpperCase()}${summary.slice(1)}.`;
}

/** Every command defined: for completions and documentation. */
export function fullProgram(world: World): Promise<Command> {
  return buildProgram(
    world,
    () => true,
    makeCli(world, () => {}),
  );
}

function makeCli(world: World, ended: (code: ExitCode) => void): Cli {
  return {
    fullProgram: () => fullProgram(world),
    action: (action) =>
      async function (this: Command, ...given) {
        // Commander passes the declared arguments, then the options, then the command.
        const args = given.slice(0, -2) as (string | undefined)[];
        const session = new Session(world, this.optsWithGlobals<GlobalOptions>());
        ended((await action(session, args, this.opts(), this)) ?? EXIT.ok);
      },
  };
}

/** Runs one command line. Never throws; what went wrong is on stderr and in the exit code. */
export async function run(world: World, argv: readonly string[]): Promise<ExitCode> {
  let exitCode: ExitCode = EXIT.ok;
  const cli = makeCli(world, (code) => {
    exitCode = code;
  });
  let program: Command | undefined;
  try {
    program = await buildProgram(world, (name) => argv.includes(name), cli);
    if (argv.length === 0) program.outputHelp();
    else await program.parseAsync([...argv], { from: 'user' });
    return exitCode;
  } catch (error) {
    return fail(world, argv, error, program);
  }
}

function fail(world: World, argv: readonly string[], thrown: unknown, program: Command | undefined): ExitCode {
  let error = thrown;
  if (thrown instanceof CommanderError) {
    if (thrown.exitCode === 0) return EXIT.ok;
    // Help was asked for by naming a group without a command: it has been printed on stderr.
    if (thrown.code === 'commander.help') return EXIT.usage;
    error = usageError(thrown, helpCommand(program, argv, thrown.code === 'commander.unknownCommand'));
  }
  const report = reportOf(error, world.uid);
  // The options may be what could not be read, so they are looked for by hand.
  const options = { json: argv.includes('--json'), color: !argv.includes('--no-color') };
  new Session(world, options).out.error(report);
  return exitCodeOf(report);
}

/** Commander's message without its prefix and its own jargon; its suggestion becomes the hint. */
function usageError(error: CommanderError, help: string): CliError {
  const [first = '', ...rest] = error.message.replace(/^error: /, '').split('\n');
  const message = first.replace(/^command-argument value /, '');
  const suggestion = /\(Did you mean (?:one of )?(.+)\?\)/.exec(rest.join(' '))?.[1];
  return usage(message, suggestion === undefined ? `see ${help}` : `did you mean ${suggestion}? See ${help}`);
}

/** The command line that shows the help of the command that was meant, down to the subcommand whose options were read. */
function helpCommand(program: Command | undefined, argv: readonly string[], isUnknownCommand: boolean): string {
  const names = ['stigmesh'];
  let command = program;
  for (const word of argv) {
    const next = command?.commands.find((each) => each.name() === word);
    if (next === undefined) continue;
    names.push(word);
    command = next;
  }
  // A group alone stands for its default command, which read the options. Commander keeps that name to itself.
  const implied = (command as { readonly _defaultCommandName?: string | null } | undefined)?._defaultCommandName;
  if (command !== program && implied && !isUnknownCommand) names.push(implied);
  return `${names.join(' ')} --help`;
}

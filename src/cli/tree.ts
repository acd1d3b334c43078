import type { Argument, Command, Option } from 'commander';

/** The command tree as data, for completions and for the documentation. */
export interface CommandNode {
  /** Names from below `stigmesh`; empty for the program itself. */
  readonly path: readonly string[];
  readonly summary: string;
  readonly description: string;
  /** As in the usage line: `[options] <entity>`. */
  readonly usage: string;
  readonly group: string;
  readonly arguments: readonly Argument[];
  readonly options: readonly Option[];
  readonly commands: readonly CommandNode[];
}

export function commandTree(command: Command, path: readonly string[] = []): CommandNode {
  const help = command.createHelp();
  return {
    path,
    summary: command.summary(),
    description: command.description(),
    usage: command.usage(),
    group: command.helpGroup(),
    arguments: command.registeredArguments,
    options: help.visibleOptions(command),
    commands: help
      .visibleCommands(command)
      .filter((each) => each.name() !== 'help')
      .map((each) => commandTree(each, [...path, each.name()])),
  };
}

/** The node and everything below it. */
export function* walk(node: CommandNode): Generator<CommandNode> {
  yield node;
  for (const each of node.commands) yield* walk(each);
}

import type { Command } from 'commander';
import type { ExitCode } from './exit-codes.ts';
import type { Session } from './session.ts';

/** What a command does with its arguments and options. Returns nothing for success. */
export type Action<O> = (
  session: Session,
  args: (string | undefined)[],
  options: O,
  command: Command,
) => Promise<ExitCode | undefined>;

/** What the definitions of commands need of the program. */
export interface Cli {
  /** Wraps an action for commander. */
  action<O extends object>(run: Action<O>): (this: Command, ...args: unknown[]) => Promise<void>;
  /** The whole tree, every command defined. */
  fullProgram(): Promise<Command>;
}

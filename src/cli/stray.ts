import type { Command } from 'commander';
import { type CliError, usage } from './errors.ts';

/** What to say of a word that a group with a default command does not know. */
export async function unknownCommand(group: Command, word: string): Promise<CliError> {
  const { nearest } = await import('../config/settings.ts');
  const guess = nearest(
    word,
    group.commands.map((each) => each.name()),
  );
  const help = `stigmesh ${group.name()} --help`;
  return usage(
    `unknown command '${group.name()} ${word}'`,
    guess === undefined ? `see ${help}` : `did you mean ${guess}? See ${help}`,
  );
}

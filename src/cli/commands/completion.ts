import type { Command } from 'commander';
import type { Cli } from '../cli.ts';

const SHELLS = ['bash', 'zsh', 'fish'] as const;

const HELP = `
Examples:
  $ stigmesh completion bash > ~/.local/share/bash-completion/completions/stigmesh
  $ stigmesh completion zsh > ~/.zfunc/_stigmesh        # a directory of your fpath
  $ stigmesh completion fish > ~/.config/fish/completions/stigmesh.fish`;

export function define(command: Command, cli: Cli): void {
  command
    .description('Print a completion script for a shell: commands, options and fixed words.')
    .addArgument(command.createArgument('<shell>', 'which shell').choices(SHELLS))
    .addHelpText('after', HELP)
    .action(
      cli.action(async ({ out }, [shell]) => {
        const { completionScript } = await import('../completion.ts');
        await out.write(completionScript(shell as (typeof SHELLS)[number], await cli.fullProgram()));
      }),
    );
}

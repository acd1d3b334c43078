import type { Command } from 'commander';
import type { Cli } from '../cli.ts';

export function define(command: Command, cli: Cli): void {
  command.action(
    cli.action(async ({ out, world }) => {
      const { version, platform } = world;
      const node = process.versions.node;
      await out.answer({
        json: { version, node, platform, arch: process.arch },
        quiet: version,
        human: () => [`stigmesh ${version} (Node ${node}, ${platform} ${process.arch})`],
      });
    }),
  );
}

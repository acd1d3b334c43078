import { tmpdir } from 'node:os';
import type { Command } from 'commander';
import type { Cli } from '../cli.ts';
import { EXIT } from '../exit-codes.ts';
import { printable } from '../text.ts';

export function define(command: Command, cli: Cli): void {
  command
    .description(
      'Three throw-away organisations in one process play pairing, sharing, contradiction, partition and healing, over real ' +
        'sockets on loopback. Touches no home, needs no daemon, leaves nothing behind.',
    )
    .action(
      cli.action(async (session) => {
        const { out, world } = session;
        const { playDemo } = await import('../../demo.ts');
        const ending = new AbortController();
        const releases = (['SIGINT', 'SIGTERM'] as const).map((name) => world.onSignal(name, () => ending.abort()));
        try {
          await playDemo({
            tmpdir: tmpdir(),
            hostname: world.surroundings.hostname,
            version: world.version,
            now: world.now,
            uptime: world.uptime,
            say: (line) => out.lines(line.split('\n').map(printable)),
            done: out.done,
            signal: ending.signal,
          });
        } catch (error) {
          if (!ending.signal.aborted) throw error;
          out.note('stopped; everything it made is gone');
          return EXIT.failed;
        } finally {
          for (const release of releases) release();
        }
      }),
    );
}

import type { Command } from 'commander';
import type { Cli } from '../cli.ts';
import { CliError } from '../errors.ts';
import { STOP_POLL_MS, STOP_TIMEOUT_MS } from '../limits.ts';
import { findHolder, isRunning } from '../running.ts';
import { notRunning } from '../session.ts';

export function define(command: Command, cli: Cli): void {
  command
    .description(
      'Stop the daemon of this home: asks it to finish open requests and waits for its end, ' +
        `${STOP_TIMEOUT_MS / 1000} s unless --timeout says otherwise.`,
    )
    .action(
      cli.action(async (session) => {
        const { out, world, paths } = session;
        const holder = await findHolder(paths, session.holderWorld);
        const place = session.shownPath(paths.stateDir);
        if (holder === undefined) throw notRunning(`no daemon holds the home with the state directory ${place}`);
        const { pid } = holder;
        try {
          world.kill(pid, 'SIGTERM');
        } catch (error) {
          // It has ended by itself in between.
          if ((error as NodeJS.ErrnoException).code !== 'ESRCH') throw error;
        }
        const limit = session.timeoutMs ?? STOP_TIMEOUT_MS;
        const begin = world.uptime();
        while (await isRunning(holder, world.platform)) {
          if (world.uptime() - begin >= limit) {
            throw new CliError(
              'wait_timeout',
              `the daemon (pid ${pid}) still runs after ${limit / 1000} s`,
              `look at its log; kill ${pid} a second time ends it at once`,
            );
          }
          await world.sleep(STOP_POLL_MS);
        }
        await out.answer({
          json: { stopped: true, pid },
          quiet: String(pid),
          human: () => [`${out.done} stopped (pid ${pid})`],
        });
      }),
    );
}

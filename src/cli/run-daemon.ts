import { open } from 'node:fs/promises';
import { type Logger, pino } from 'pino';
import { failureDetails } from '../api/failure.ts';
import type { LoadedConfig } from '../config/load.ts';
import { type Daemon, initHome, startDaemon } from '../daemon.ts';
import { reportOf } from './errors.ts';
import { EXIT, type ExitCode } from './exit-codes.ts';
import { LINGER_MS, STOP_GRACE_MS } from './limits.ts';
import type { Session } from './session.ts';
import { counted, printable, shortId } from './text.ts';
import type { OutputStream } from './world.ts';

/** Runs the daemon until a signal ends it. */
export async function runDaemon(
  session: Session,
  flags: Readonly<Record<string, unknown>>,
  isPretty: boolean,
): Promise<ExitCode> {
  const { world, out } = session;
  const signals = new StopSignals(session);
  let stopCatching = (): void => {};
  try {
    const options = await session.homeOptions(flags);
    const { created } = await initHome(options);
    // The first start has written the configuration it is to run on.
    const loaded = created ? await session.loadConfig(flags) : options.loaded;
    const { format } = loaded.config.log;
    const hasSummary = isPretty || (Boolean(world.stdout.isTTY) && format !== 'json' && !out.json);
    const log = await makeLog(session, loaded, isPretty, hasSummary ? world.stderr : world.stdout);
    // What is not durable was not acknowledged; what else is in memory cannot be relied on any more.
    stopCatching = world.onCrash((error) => {
      log.fatal({ event: 'crashed', ...failureDetails(error) }, 'an error nobody expected ends the daemon');
      world.exit(EXIT.failed);
    });
    const daemon = await startDaemon({ ...options, loaded, log });
    const terminal = await hasTerminal();
    const hangUp = async () => {
      // The same signal says that the terminal was closed: then nobody is there to stop the daemon later.
      if (terminal && !(await hasTerminal())) signals.ask();
      else await reload(session, daemon, flags, log);
    };
    // Before it says that it serves: whoever reads that may send the signal, which unheard ends a process.
    const stopReloading = world.onSignal('SIGHUP', () => void hangUp());
    // Who serves does not end because nobody reads the log any more.
    world.surviveLostOutput();
    try {
      if (hasSummary) await out.lines(summary(session, daemon, created));
      else announce(log, daemon);
      await signals.asked;
    } finally {
      stopReloading();
    }
    return await stop(session, daemon, loaded, log);
  } finally {
    signals.release();
    stopCatching();
  }
}

/** Whether the process has a controlling terminal; one that was closed cannot be opened any more (ENXIO, tty(4)). */
async function hasTerminal(): Promise<boolean> {
  try {
    await (await open('/dev/tty', 'r')).close();
    return true;
  } catch {
    return false;
  }
}

/** JSON lines, or readable ones: on a terminal unless the configuration says otherwise. */
async function makeLog(
  session: Session,
  loaded: LoadedConfig,
  isPretty: boolean,
  stream: OutputStream,
): Promise<Logger> {
  const { level, format } = loaded.config.log;
  const init = { level, base: null, timestamp: pino.stdTimeFunctions.isoTime };
  const isReadable = isPretty
    ? format !== 'json'
    : format === 'pretty' || (format === 'auto' && !session.out.json && stream.isTTY);
  if (!isReadable) return pino(init, stream);
  const { default: pretty } = await import('pino-pretty');
  const colorize = session.out.init.color && Boolean(stream.isTTY);
  return pino(
    init,
    pretty({ destination: stream, colorize, translateTime: 'HH:MM:ss', ignore: 'pid,hostname', singleLine: true }),
  );
}

/** The same for those who read the log: the record by which scripts know that the daemon serves, and where. */
function announce(log: Logger, { url, peerId, org, facts, migrated, warnings }: Daemon): void {
  for (const step of migrated) log.info({ event: 'migrated' }, step);
  for (const warning of warnings) log.warn({ event: 'warning' }, warning);
  log.info({ event: 'ready', url, peer_id: peerId, org, facts }, 'ready');
}

/** The lines of product.md. */
function summary(session: Session, daemon: Daemon, created: boolean): string[] {
  const { out, paths, world } = session;
  const line = (name: string, text: string) => `${out.done} ${name.padEnd(13)}${printable(text)}`;
  const durable = daemon.durable ? 'durable writes' : 'writes NOT durable (store.sync = false)';
  const key = `key: ${session.shownPath(paths.apiKeyFile)} (0600)`;
  return [
    ...(created ? [line('home', `initialised: ${session.shownPath(paths.configFile)}`)] : []),
    line(
      'node key',
      `${shortId(daemon.peerId, 10)} (Ed25519, 0600)      org ${daemon.org}   fingerprint ${daemon.fingerprint}`,
    ),
    line('store', `${counted(daemon.facts, 'fact')}, schema ${daemon.schema}, ${durable}`),
    ...daemon.migrated.map((step) => line('migrated', step)),
    line('mesh', daemon.mesh),
    line('API', `${daemon.url}   ${key}   docs ${daemon.url}/docs`),
    ...daemon.warnings.map((warning) => `${out.style('yellow', '!')} ${printable(warning)}`),
    `Ready in ${(world.uptime() / 1000).toFixed(1)} s. Next: stigmesh assert … | stigmesh invite | stigmesh watch`,
  ];
}

async function reload(
  session: Session,
  daemon: Daemon,
  flags: Readonly<Record<string, unknown>>,
  log: Logger,
): Promise<void> {
  try {
    daemon.reload(await session.loadConfig(flags));
  } catch (error) {
    const { code, message, hint } = reportOf(error);
    log.error({ event: 'reload_failed', code, hint }, `the configuration was not read again: ${message}`);
  }
}

/** Drains and stops; the process ends in bounded time whatever happens. */
async function stop(session: Session, daemon: Daemon, loaded: LoadedConfig, log: Logger): Promise<ExitCode> {
  const { world } = session;
  const limit = loaded.config.daemon.drain_timeout_s * 1000 + STOP_GRACE_MS;
  const deadline = setTimeout(() => {
    log.fatal({ event: 'stop_timeout' }, `not stopped after ${limit / 1000} s; ending all the same`);
    world.exit(EXIT.timedOut);
  }, limit);
  try {
    await daemon.stop();
  } finally {
    clearTimeout(deadline);
  }
  // Whatever still keeps the process alive has nothing left to say.
  setTimeout(() => world.exit(EXIT.ok), LINGER_MS).unref();
  return EXIT.ok;
}

/** Waits for a signal to stop; the second one ends the process at once, wherever it is. */
class StopSignals {
  /** Resolves at the first signal, also one that comes while the daemon is still starting. */
  readonly asked: Promise<void>;
  /** The first signal, by whatever else means the same. */
  readonly ask: () => void;
  readonly #releases: readonly (() => void)[];

  constructor({ world, out }: Session) {
    const { promise, resolve } = Promise.withResolvers<void>();
    this.asked = promise;
    this.ask = resolve;
    let count = 0;
    this.#releases = (['SIGTERM', 'SIGINT'] as const).map((name) =>
      world.onSignal(name, () => {
        count += 1;
        if (count > 1) world.exit(EXIT.failed);
        if (!out.quiet && world.stderr.isTTY) out.note('stopping; once more ends it at once');
        resolve();
      }),
    );
  }

  release(): void {
    for (const release of this.#releases) release();
  }
}

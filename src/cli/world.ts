import { readFileSync, writeSync } from 'node:fs';
import { userInfo } from 'node:os';
import type { Writable } from 'node:stream';
import { type Surroundings, systemSurroundings } from '../config/environment.ts';
import { CliError, reportOf } from './errors.ts';
import { EXIT, exitCodeOf } from './exit-codes.ts';
import { safeJson } from './text.ts';

/** A stream of the process, or a stand-in. */
export type OutputStream = Writable & { readonly isTTY?: boolean; readonly columns?: number };

/** Everything the command line takes from outside. */
export interface World {
  readonly surroundings: Surroundings;
  /** Name of the operating system's user; undefined where it has none. */
  readonly username: string | undefined;
  /** The user's number; undefined where the system numbers nobody (Windows). */
  readonly uid: number | undefined;
  readonly version: string;
  readonly pid: number;
  readonly platform: NodeJS.Platform;
  readonly stdin: AsyncIterable<Uint8Array> & { readonly isTTY?: boolean };
  readonly stdout: OutputStream;
  readonly stderr: OutputStream;
  readonly fetch: typeof fetch;
  /** Unix milliseconds. */
  now(): number;
  /** Milliseconds since the process started. */
  uptime(): number;
  /** Calls back on each signal. Returns the way to end it. */
  onSignal(name: NodeJS.Signals, run: () => void): () => void;
  /** Sends a signal. @throws NodeJS.ErrnoException ESRCH when there is no such process */
  kill(pid: number, signal: NodeJS.Signals): void;
  sleep(ms: number, signal?: AbortSignal): Promise<void>;
  /**
   * From now on the process goes on when nobody takes its output any more, also when that is a file on a full disk. Until
   * then it ends: `stigmesh query | head` closes our output early, and that is the reader's good right.
   */
  surviveLostOutput(): void;
  /** Calls back with an error that nobody caught; the process does not end by itself then. Returns the way to end that. */
  onCrash(run: (error: unknown) => void): () => void;
  /** Ends the process without waiting for anything. */
  exit(code: number): never;
}

/** The version in package.json, which lies two levels up from here in the sources and in the built package. */
export function packageVersion(): string {
  const text = readFileSync(new URL('../../package.json', import.meta.url), 'utf8');
  return (JSON.parse(text) as { version: string }).version;
}

export function systemWorld(): World {
  const { stdout, stderr } = process;
  let survives = false;
  const lost = (error: NodeJS.ErrnoException): void => {
    if (survives) return;
    // A pipe without a reader, or a terminal that was closed.
    if (error.code !== 'EPIPE' && error.code !== 'EIO') sayLost(error);
    process.exit();
  };
  return {
    surroundings: systemSurroundings(),
    username: userName(),
    uid: process.getuid?.(),
    version: packageVersion(),
    pid: process.pid,
    platform: process.platform,
    // Only when somebody reads it: opening it costs time, and a pipe may be meant for whoever comes next.
    get stdin() {
      return process.stdin;
    },
    stdout: stdout.on('error', lost),
    stderr: stderr.on('error', lost),
    fetch: (input, init) => fetch(input, init),
    now: () => Date.now(),
    uptime: () => performance.now(),
    onSignal(name, run) {
      process.on(name, run);
      return () => process.off(name, run);
    },
    onCrash(run) {
      process.on('uncaughtException', run);
      return () => process.off('uncaughtException', run);
    },
    kill: (pid, signal) => void process.kill(pid, signal),
    sleep: async (ms, signal) => {
      const { setTimeout: sleep } = await import('node:timers/promises');
      await sleep(ms, undefined, signal === undefined ? {} : { signal });
    },
    surviveLostOutput: () => {
      survives = true;
    },
    exit: (code) => process.exit(code),
  };
}

/** Half an answer is no answer: exit code 1, and why. Written at once, because the process ends now. */
function sayLost(error: NodeJS.ErrnoException): void {
  process.exitCode = EXIT.failed;
  const report = reportOf(
    new CliError('output_lost', 'the output cannot be written', 'write it elsewhere', { cause: error }),
  );
  const { code, message, hint, causes } = report;
  const line = process.argv.includes('--json')
    ? safeJson({ error: { code, message, hint, exit_code: exitCodeOf(report), causes } })
    : `error: ${message}\ncause: ${causes.join('; ')}\nhint: ${hint}`;
  try {
    writeSync(2, `${line}\n`);
  } catch {
    // stderr lies on the same disk: the exit code has to do.
  }
}

/** A process may run under a uid that has no name, as containers like to do. */
function userName(): string | undefined {
  try {
    return userInfo().username;
  } catch {
    return undefined;
  }
}

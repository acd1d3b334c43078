import { execFile } from 'node:child_process';
import { readFile } from 'node:fs/promises';
import { promisify } from 'node:util';

export interface ProcessStartInit {
  readonly platform: NodeJS.Platform;
  readonly readFile?: (path: string) => Promise<string>;
  /** Runs `ps` with these arguments and answers its standard output; rejects with `code` 1 when it found nothing. */
  readonly ps?: (args: readonly string[]) => Promise<string>;
  /** Whether a process with this pid exists, where nothing better is at hand. */
  readonly exists?: (pid: number) => boolean;
}

const PS_TIMEOUT_MS = 5000;

/**
 * A function that tells when a process started, as a text to compare for equality: a pid alone names a process only
 * until it is reused. Undefined: there is no such process, or only its zombie. Empty: there is one, its start is unknown.
 *
 * Linux: boot id and field 22 of /proc/<pid>/stat (proc_pid_stat(5): clock ticks since boot); elsewhere `ps`.
 */
export function processStart(init: ProcessStartInit): (pid: number) => Promise<string | undefined> {
  const read = init.readFile ?? ((path) => readFile(path, 'utf8'));
  const ps = init.ps ?? runPs;
  const exists = init.exists ?? signalReaches;
  if (init.platform === 'linux') return (pid) => fromProc(pid, read);
  return async (pid) => {
    try {
      const [state, ...started] = (await ps(['-o', 'stat=,lstart=', '-p', String(pid)])).trim().split(/\s+/);
      if (state === undefined || state === '' || state.startsWith('Z')) return undefined;
      return started.join(' ');
    } catch (error) {
      if ((error as { code?: unknown }).code === 1) return undefined;
      return exists(pid) ? '' : undefined;
    }
  };
}

async function fromProc(pid: number, read: (path: string) => Promise<string>): Promise<string | undefined> {
  const stat = await read(`/proc/${pid}/stat`).catch(() => undefined);
  if (stat === undefined) return undefined;
  // The command name, second, may hold spaces and parentheses: fields are counted from its last parenthesis.
  const fields = stat.slice(stat.lastIndexOf(')') + 2).split(' ');
  const [state] = fields;
  if (state === 'Z' || state === 'X') return undefined;
  const boot = await read('/proc/sys/kernel/random/boot_id').catch(() => '');
  return `${boot.trim()}:${fields[22 - 3]}`;
}

async function runPs(args: readonly string[]): Promise<string> {
  // A fixed zone and language: the text is compared across runs.
  const env = { PATH: '/bin:/usr/bin', LC_ALL: 'C', TZ: 'UTC' };
  const { stdout } = await promisify(execFile)('ps', args, { env, timeout: PS_TIMEOUT_MS });
  return stdout;
}

function signalReaches(pid: number): boolean {
  try {
    process.kill(pid, 0);
    return true;
  } catch (error) {
    return (error as NodeJS.ErrnoException).code === 'EPERM';
  }
}

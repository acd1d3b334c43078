import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { BIN, cleanEnvironment } from './daemon.ts';

export interface Ran {
  readonly code: number | null;
  readonly stdout: string;
  readonly stderr: string;
}

/**
 * Runs the command as a user would. STIGMESH_URL is not set: the command has to find the daemon of the home.
 *
 * @param within a command to run it in, such as one that enters a network namespace
 */
export async function stigmesh(
  home: string,
  args: readonly string[],
  stdin = '',
  within: readonly string[] = [],
): Promise<Ran> {
  const [file = process.execPath, ...before] = [...within, process.execPath];
  const child = spawn(file, [...before, BIN, ...args], {
    env: { ...cleanEnvironment(), STIGMESH_HOME: home },
    stdio: ['pipe', 'pipe', 'pipe'],
  });
  let stdout = '';
  let stderr = '';
  child.stdout.setEncoding('utf8').on('data', (text: string) => {
    stdout += text;
  });
  child.stderr.setEncoding('utf8').on('data', (text: string) => {
    stderr += text;
  });
  child.stdin.on('error', () => {});
  child.stdin.end(stdin);
  const [code] = await once(child, 'close');
  return { code: code as number | null, stdout, stderr };
}

import assert from 'node:assert/strict';
import { type ChildProcess, type ChildProcessWithoutNullStreams, spawn } from 'node:child_process';
import { once } from 'node:events';
import { mkdtempSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { cleanEnvironment, ROOT } from './daemon.ts';
import { freePorts } from './ports.ts';

/** One command of a documentation block and the output printed below it. */
export interface DocCommand {
  readonly line: number;
  readonly command: string;
  readonly expected: readonly string[];
}

/** A part of an expected line, or alone a number of lines, that may be anything. */
const ANYTHING = '…';
/** Longest that one command runs, on however slow a machine. */
const COMMAND_MS = 120_000;

const DEFAULT_PORT = 8765;
const DEFAULT_MESH_PORT = 4701;

/** Commands of the `console` blocks of a Markdown file. Other shell fences are refused: they would never be run. */
export function docCommands(path: string): DocCommand[] {
  const commands: { line: number; command: string; expected: string[] }[] = [];
  let fence: string | undefined;
  readFileSync(path, 'utf8')
    .split('\n')
    .forEach((line, at) => {
      const mark = /^```(\w*)\s*$/.exec(line);
      if (mark) {
        fence = fence === undefined ? mark[1] : undefined;
        assert.ok(
          !['sh', 'bash', 'shell'].includes(fence ?? ''),
          `${path}:${at + 1}: shell blocks are fenced as console, so that they are run`,
        );
        return;
      }
      if (fence !== 'console') return;
      const last = commands.at(-1);
      if (line.startsWith('$ ')) commands.push({ line: at + 1, command: line.slice(2), expected: [] });
      else if (line.startsWith('> ') && last) last.command += `\n${line.slice(2)}`;
      else if (last) last.expected.push(line);
    });
  return commands;
}

/**
 * Runs documentation commands in one shell, in a home directory of their own, and compares what they print. `npm start`
 * runs on a terminal of its own until the session ends. The default ports are replaced by free ones, and back; the mesh
 * listens on loopback alone.
 */
export class DocSession {
  readonly #home = mkdtempSync(join(tmpdir(), 'stigmesh-docs-'));
  #shell: ChildProcessWithoutNullStreams | undefined;
  #daemon: ChildProcess | undefined;
  #port = 0;
  #meshPort = 0;

  async start(): Promise<void> {
    [this.#port, this.#meshPort] = (await freePorts(2)) as [number, number];
    const env = {
      ...this.#environment(),
      COLUMNS: '110',
      NO_COLOR: '1',
    };
    for (const name of ['XDG_CONFIG_HOME', 'XDG_DATA_HOME', 'XDG_STATE_HOME']) delete (env as NodeJS.ProcessEnv)[name];
    // With a process group of its own: what a block that failed left running ends with it.
    this.#shell = spawn('bash', ['--noprofile', '--norc'], { cwd: ROOT, env, detached: true });
    this.#shell.stdin.write('exec 2>&1\n');
  }

  #environment(): NodeJS.ProcessEnv {
    return {
      ...cleanEnvironment(),
      HOME: this.#home,
      STIGMESH_API_PORT: String(this.#port),
      STIGMESH_MESH_LISTEN: `/ip4/127.0.0.1/tcp/${this.#meshPort}`,
    };
  }

  async run({ command, expected, line }: DocCommand): Promise<void> {
    const actual = command === 'npm start' ? await this.#npmStart() : await this.#inShell(command);
    const message = `line ${line}: $ ${command}\n--- printed\n${actual}\n--- documented\n${expected.join('\n')}\n---`;
    assert.ok(matches(actual.trimEnd().split('\n'), trimEnd(expected)), message);
  }

  async stop(): Promise<void> {
    const [daemon, shell] = [this.#daemon, this.#shell];
    this.#stopDaemon();
    if (daemon?.exitCode === null && daemon.signalCode === null) await once(daemon, 'exit');
    if (shell?.pid !== undefined && shell.exitCode === null && shell.signalCode === null) {
      const ended = once(shell, 'exit');
      process.kill(-shell.pid, 'SIGKILL');
      await ended;
    }
    rmSync(this.#home, { recursive: true, force: true });
  }

  /** The daemon itself, by what it wrote down: a signal to its terminal would leave it running. */
  #stopDaemon(): void {
    try {
      const record = readFileSync(join(this.#home, '.local/state/stigmesh/daemon.json'), 'utf8');
      process.kill((JSON.parse(record) as { pid: number }).pid, 'SIGTERM');
    } catch {
      this.#daemon?.kill('SIGTERM');
    }
  }

  async #inShell(command: string): Promise<string> {
    const shell = this.#shell!;
    const end = `end-of-command-${Math.floor(performance.now() * 1000)}`;
    shell.stdin.write(`${exchangePort(command, DEFAULT_PORT, this.#port)}\necho "${end} $?"\n`);
    const output = await collect(shell, (text) => text.includes(`${end} `) && text.endsWith('\n'), command);
    return this.#restore(output.slice(0, output.indexOf(end)));
  }

  /** On a pseudo-terminal (util-linux script), as a newcomer would see it. */
  async #npmStart(): Promise<string> {
    const env = { ...this.#environment(), NO_COLOR: '1' };
    const child = spawn('script', ['-qfec', 'stty -echo cols 140; npm start', '/dev/null'], {
      cwd: ROOT,
      env,
      stdio: ['pipe', 'pipe', 'pipe'],
    });
    this.#daemon = child;
    const output = await collect(child, (text) => /Ready in [^\n]*\n/.test(text), 'npm start');
    return this.#restore(shown(output.replaceAll('\r', '')));
  }

  #restore(text: string): string {
    const documented = exchangePort(text, this.#port, DEFAULT_PORT);
    return exchangePort(documented, this.#meshPort, DEFAULT_MESH_PORT).replaceAll(this.#home, '~');
  }
}

/**
 * A text with another port in its URLs and multiaddrs, and nowhere else: any other number may happen to be the same, as
 * 25519 was, which is a port like all others and in the name of a signature scheme.
 */
export function exchangePort(text: string, from: number, to: number): string {
  return text.replaceAll(new RegExp(`(?<=[\\w\\]]:|/tcp/)${from}(?!\\d)`, 'g'), String(to));
}

/** To the beginning of the line, and erase it: what was there before is not to be seen. */
const ERASE_LINE = '\u001b[1G\u001b[0K';

/** What stays on a terminal: npm turns a spinner, which it erases again, on a machine where it takes a while to begin. */
export function shown(text: string): string {
  return text
    .split('\n')
    .map((line) => line.split(ERASE_LINE).at(-1))
    .join('\n');
}

function collect(
  child: ChildProcessWithoutNullStreams,
  complete: (text: string) => boolean,
  command: string,
): Promise<string> {
  return new Promise((resolve, reject) => {
    let text = '';
    const onData = (chunk: Buffer): void => {
      text += chunk.toString('utf8');
      if (complete(text)) finish(() => resolve(text));
    };
    const onEnd = (): void => finish(() => reject(new Error(`the shell ended during: ${command}\n${text}`)));
    const timer = setTimeout(
      () => finish(() => reject(new Error(`no end in ${COMMAND_MS} ms: ${command}\n${text}`))),
      COMMAND_MS,
    );
    const finish = (answer: () => void): void => {
      clearTimeout(timer);
      for (const stream of [child.stdout, child.stderr]) stream.off('data', onData);
      child.off('close', onEnd);
      answer();
    };
    for (const stream of [child.stdout, child.stderr]) stream.on('data', onData);
    // Not 'exit': what it printed last is read after that.
    child.on('close', onEnd);
  });
}

/** Whether printed lines are the documented ones, with `…` standing for anything. */
export function matches(actual: readonly string[], expected: readonly string[]): boolean {
  const [line, ...rest] = expected;
  if (line === undefined) return actual.length === 0 || (actual.length === 1 && actual[0] === '');
  if (line.trim() === ANYTHING) {
    for (let skip = 0; skip <= actual.length; skip++) if (matches(actual.slice(skip), rest)) return true;
    return false;
  }
  const [first, ...others] = actual;
  if (first === undefined) return false;
  const pattern = line.split(ANYTHING).map((part) => part.replace(/[.*+?^${}()|[\]\\]/g, '\\$&'));
  return new RegExp(`^${pattern.join('.*')}$`).test(first.trimEnd()) && matches(others, rest);
}

function trimEnd(lines: readonly string[]): readonly string[] {
  return lines.at(-1)?.trim() === '' ? trimEnd(lines.slice(0, -1)) : lines;
}

import { type ChildProcess, spawn } from 'node:child_process';
import { once } from 'node:events';
import { cpSync, existsSync, mkdirSync, mkdtempSync, readFileSync, realpathSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { dirname, join } from 'node:path';
import { fileURLToPath } from 'node:url';

export const BIN = fileURLToPath(new URL('../../scripts/bin/', import.meta.url));

/** The locked packages of a fixture: none but the root, so that an empty node_modules satisfies it. */
export const EMPTY_LOCK = JSON.stringify({ lockfileVersion: 3, packages: { '': { name: 'fixture' } } });

/**
 * Stands in for npm: logs its arguments, waits for the file named by FAKE_NPM_GATE if there is one, fails if told to,
 * and otherwise "installs" a Node that claims to be the pinned one, or npm's record of an installation.
 */
const FAKE_NPM = `
const fs = require('fs');
const path = require('path');
fs.appendFileSync(process.env.FAKE_NPM_LOG, process.argv.slice(2).join(' ') + '\\n');
function act() {
  if (process.env.FAKE_NPM_FAILS) {
    console.error('npm error code ENOTFOUND');
    process.exit(3);
  }
  const prefix = process.argv.indexOf('--prefix');
  if (prefix === -1) {
    fs.mkdirSync('node_modules', { recursive: true });
    return;
  }
  const spec = process.argv.find((arg) => arg.startsWith('node-'));
  const [name, version] = spec.split('@');
  const bin = path.join(process.argv[prefix + 1], 'node_modules', name, 'bin');
  fs.mkdirSync(bin, { recursive: true });
  const strip = '--experimental-strip-types --disable-warning=ExperimentalWarning';
  const node = 'exec "' + process.execPath + '" ' + strip + ' "$@"';
  const script = '#!/bin/sh\\n[ "$1" = --version ] && echo v' + version + ' && exit 0\\n' + node + '\\n';
  fs.writeFileSync(path.join(bin, 'node'), script, { mode: 0o755 });
}
const gate = process.env.FAKE_NPM_GATE;
if (gate && !fs.existsSync(gate)) {
  const timer = setInterval(() => {
    if (!fs.existsSync(gate)) return;
    clearInterval(timer);
    act();
  }, 10);
} else act();
`;

export interface Launched {
  readonly process: ChildProcess;
  /** What has been printed so far. */
  readonly stdout: () => string;
  readonly stderr: () => string;
  /** Resolves when the given stream contains the text; rejects if the process ends without it. */
  readonly printed: (text: string, stream?: 'stdout' | 'stderr') => Promise<void>;
  readonly ended: Promise<{ code: number | null; signal: NodeJS.Signals | null }>;
}

/** A throw-away package root with a copy of the launcher and a stand-in for npm. */
export class Fixture {
  readonly root: string;
  readonly npmLog: string;
  readonly #base: string;
  readonly #running = new Set<ChildProcess>();

  constructor(folder = 'clone') {
    this.#base = realpathSync(mkdtempSync(join(tmpdir(), 'stigmesh-launcher-')));
    this.root = join(this.#base, folder);
    this.npmLog = join(this.#base, 'npm.log');
    cpSync(BIN, join(this.root, 'scripts', 'bin'), { recursive: true });
    this.write('package.json', '{ "name": "fixture", "version": "0.0.0", "type": "module" }');
    this.write('package-lock.json', EMPTY_LOCK);
    mkdirSync(join(this.#base, 'npm'));
    writeFileSync(join(this.#base, 'npm', 'npm-cli.js'), FAKE_NPM);
    writeFileSync(join(this.#base, 'old-node.cjs'), fakeVersion('20.11.1'));
  }

  /** Writes a file under the package root. */
  write(path: string, content: string): string {
    const file = join(this.root, path);
    mkdirSync(dirname(file), { recursive: true });
    writeFileSync(file, content);
    return file;
  }

  has(path: string): boolean {
    return existsSync(join(this.root, path));
  }

  /** Arguments of every call of npm so far. */
  npmCalls(): string[] {
    return existsSync(this.npmLog) ? readFileSync(this.npmLog, 'utf8').trim().split('\n') : [];
  }

  /** Starts `scripts/bin/<command>`; `oldNode` makes the launcher believe it runs on Node 20.11.1. */
  launch(
    command: 'stigmesh' | 'with-runtime',
    args: string[],
    options: { oldNode?: boolean; env?: Record<string, string>; detached?: boolean } = {},
  ): Launched {
    const preload = options.oldNode ? ['--require', join(this.#base, 'old-node.cjs')] : [];
    const child = spawn(process.execPath, [...preload, join(this.root, 'scripts', 'bin', command), ...args], {
      cwd: this.root,
      detached: options.detached ?? false,
      stdio: ['ignore', 'pipe', 'pipe'],
      env: {
        PATH: process.env.PATH,
        npm_execpath: join(this.#base, 'npm', 'npm-cli.js'),
        FAKE_NPM_LOG: this.npmLog,
        ...options.env,
      },
    });
    this.#running.add(child);
    const text = { stdout: '', stderr: '' };
    for (const stream of ['stdout', 'stderr'] as const) {
      child[stream].setEncoding('utf8').on('data', (chunk: string) => {
        text[stream] += chunk;
      });
    }
    const ended = once(child, 'close').then(([code, signal]) => {
      this.#running.delete(child);
      return { code: code as number | null, signal: signal as NodeJS.Signals | null };
    });
    const printed = (wanted: string, stream: 'stdout' | 'stderr' = 'stdout') =>
      new Promise<void>((resolve, reject) => {
        const check = () => {
          if (text[stream].includes(wanted)) resolve();
        };
        child[stream].on('data', check);
        child.once('close', () => reject(new Error(`ended without printing ${wanted}: ${text.stdout}${text.stderr}`)));
        check();
      });
    return { process: child, stdout: () => text.stdout, stderr: () => text.stderr, printed, ended };
  }

  /** Runs to the end. */
  async run(...args: Parameters<Fixture['launch']>): Promise<{ code: number | null; stdout: string; stderr: string }> {
    const launched = this.launch(...args);
    const { code } = await launched.ended;
    return { code, stdout: launched.stdout(), stderr: launched.stderr() };
  }

  dispose(): void {
    for (const child of this.#running) child.kill('SIGKILL');
    rmSync(this.#base, { recursive: true, force: true });
  }
}

function fakeVersion(version: string): string {
  return `Object.defineProperty(process, 'versions', { value: { ...process.versions, node: '${version}' } });`;
}

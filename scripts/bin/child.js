'use strict';
/** Runs a child process in the launcher's place: signals go down, the exit status comes back up. */
const { spawn } = require('child_process');
const os = require('os');
const tty = require('tty');

/** Ways to die that say nothing about the launcher itself; others (SIGSEGV, SIGABRT) would dump its core as well. */
const RAISED_AGAIN = new Set(['SIGINT', 'SIGTERM', 'SIGHUP', 'SIGKILL']);

/** Characters kept of a piped child's output for an error message: enough for npm's report, little for a runaway. */
const OUTPUT_KEPT = 64 * 1024;

/** If raising the signal again did not end us (it is ignored or blocked), leave by exit code after this long. */
const RAISE_GRACE_MS = 500;

/**
 * Starts `command` and waits for its end. SIGTERM and SIGHUP that reach only the launcher are passed on. SIGINT is
 * passed on too, unless it came from the terminal, which has then signalled the child as well; the kernel does not
 * tell who sent it, so having a terminal decides, except where `repeatsAreDropped`.
 *
 * @param {string} command
 * @param {string[]} args
 * @param {object} options as for `child_process.spawn`, and `repeatsAreDropped`: the child loads signal-guard.js, so
 *   a SIGINT may be passed on in any case
 * @returns {Promise<{ code: number | null, signal: string | null, output: string }>} `output` is the beginning of what
 *   the child wrote, where its stdio is piped
 */
function runChild(command, args, options) {
  const { repeatsAreDropped, ...spawnOptions } = options;
  const forwarded = ['SIGTERM', 'SIGHUP', 'SIGINT'];
  const terminal = tty.isatty(0) || tty.isatty(1) || tty.isatty(2);
  return new Promise((resolve, reject) => {
    let child;
    const forward = (signal) => {
      if (signal === 'SIGINT' && terminal && !repeatsAreDropped) return;
      child.kill(signal);
    };
    // Handlers first: a signal between spawn and registration would end the launcher and orphan the child.
    for (const signal of forwarded) process.on(signal, forward);
    const done = () => {
      for (const signal of forwarded) process.removeListener(signal, forward);
    };
    child = spawn(command, args, spawnOptions);
    let output = '';
    const keep = (chunk) => {
      output = (output + chunk).slice(0, OUTPUT_KEPT);
    };
    if (child.stdout) child.stdout.setEncoding('utf8').on('data', keep);
    if (child.stderr) child.stderr.setEncoding('utf8').on('data', keep);
    child.once('error', (error) => {
      done();
      reject(error);
    });
    child.once('close', (code, signal) => {
      done();
      resolve({ code, signal, output });
    });
  });
}

/** Ends this process the way its child ended. */
function exitLike(result) {
  if (result.signal === null) {
    process.exit(result.code === null ? 1 : result.code);
  }
  const status = 128 + (os.constants.signals[result.signal] || 0);
  if (!RAISED_AGAIN.has(result.signal)) process.exit(status);
  process.removeAllListeners(result.signal);
  setTimeout(() => process.exit(status), RAISE_GRACE_MS);
  process.kill(process.pid, result.signal);
}

module.exports = { exitLike, runChild };

'use strict';
/**
 * Makes one request to stop arrive once. Loading this file changes `process`.
 *
 * One Ctrl-C reaches a program several times: the terminal signals the whole process group, and npm and the launcher
 * forward what they got on top. `timeout` and systemd do the same with SIGTERM. A daemon that leaves at once on the
 * second signal would then never drain. So repeats of a stop signal within a short window are dropped; a later one is
 * a person who means it. SIGHUP is left alone: reloading twice is harmless, losing a reload is not.
 */

/** Forwarded copies arrive within a few milliseconds; a deliberate second Ctrl-C takes a person longer than this. */
const REPEAT_WINDOW_MS = 300;

const GUARDED = new Set(['SIGINT', 'SIGTERM']);

/**
 * @param {{ emit: Function }} target `process`, or a stand-in
 * @param {() => number} now monotonic milliseconds
 */
function guardSignals(target, now) {
  const emit = target.emit;
  const last = new Map();
  target.emit = function (name, ...args) {
    if (GUARDED.has(name)) {
      const time = now();
      const previous = last.get(name);
      if (previous !== undefined && time - previous < REPEAT_WINDOW_MS) return true;
      last.set(name, time);
    }
    return emit.call(this, name, ...args);
  };
}

const GUARD_MARK = Symbol.for('stigmesh.signal-guard');
if (!process[GUARD_MARK]) {
  Object.defineProperty(process, GUARD_MARK, { value: true });
  guardSignals(process, () => Number(process.hrtime.bigint() / BigInt(1000000)));
}

module.exports = { REPEAT_WINDOW_MS, guardSignals };

'use strict';
/**
 * Lets the first process of a container end by a signal that nobody handles, as any other process does. Loading this
 * file changes `process`.
 *
 * The kernel takes no default action for process 1 of a pid namespace (pid_namespaces(7)). A SIGTERM that came while
 * the command was still loading its modules would be lost, and the container killed when its time to stop is over;
 * Ctrl-C would not end a command that handles no signals. What comes before Node itself runs stays lost: for that,
 * containers have an init (`docker run --init`).
 */
const os = require('os');

const DEADLY = ['SIGTERM', 'SIGINT', 'SIGHUP'];

/** @param {{ pid: number, on: Function, listenerCount: Function, exit: Function }} target `process`, or a stand-in */
function endBySignals(target) {
  if (target.pid !== 1) return;
  for (const name of DEADLY) {
    target.on(name, () => {
      // Whoever else listens decides.
      if (target.listenerCount(name) === 1) target.exit(128 + os.constants.signals[name]);
    });
  }
}

const END_MARK = Symbol.for('stigmesh.first-process');
if (!process[END_MARK]) {
  Object.defineProperty(process, END_MARK, { value: true });
  endBySignals(process);
}

module.exports = { endBySignals };

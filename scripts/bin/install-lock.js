'use strict';
/** A lock file, so that two terminals starting a fresh clone at once do not install into the same directory. */
const fs = require('fs');
const path = require('path');

/** How often a waiting launcher looks again: unnoticeable to a person, cheap for the machine. */
const POLL_MS = 200;

/** The holder touches the lock this often. */
const HEARTBEAT_MS = 2000;

/** A lock nobody has touched for this long belongs to a process that died: ten missed heartbeats. */
const STALE_MS = 20000;

const sleep = (ms) => new Promise((resolve) => setTimeout(resolve, ms));

/**
 * Runs `work` while holding the lock at `file`. Waits while somebody else holds it; takes over a lock whose holder
 * has died (a kill -9 leaves the file behind). Process ids are not consulted, because a clone may be shared between
 * containers that do not see each other's processes; the heartbeat works there too.
 *
 * @param {string} file
 * @param {(holder: string) => void} onWait called once if the lock is held; `holder` is what the holder wrote
 * @param {() => Promise<T>} work
 * @returns {Promise<T>}
 * @template T
 */
async function withInstallLock(file, onWait, work) {
  const token = `${process.pid} ${process.hrtime.bigint()}\n`;
  fs.mkdirSync(path.dirname(file), { recursive: true });
  let told = false;
  while (!tryCreate(file, token)) {
    const state = look(file);
    if (state !== undefined && state.age > STALE_MS) {
      takeOver(file, state.content);
      continue;
    }
    if (state !== undefined && !told) {
      told = true;
      onWait(state.content.split(' ')[0]);
    }
    await sleep(POLL_MS);
  }
  const release = () => {
    const state = look(file);
    if (state !== undefined && state.content === token) removeIfThere(file);
  };
  const heartbeat = setInterval(() => touch(file), HEARTBEAT_MS);
  process.once('exit', release);
  try {
    return await work();
  } finally {
    clearInterval(heartbeat);
    process.removeListener('exit', release);
    release();
  }
}

function tryCreate(file, content) {
  try {
    fs.writeFileSync(file, content, { flag: 'wx' });
    return true;
  } catch (error) {
    if (error.code === 'EEXIST') return false;
    throw error;
  }
}

function look(file) {
  try {
    return { content: fs.readFileSync(file, 'utf8'), age: Date.now() - fs.statSync(file).mtimeMs };
  } catch (error) {
    if (error.code === 'ENOENT') return undefined;
    throw error;
  }
}

/** Removes a dead lock. A second file makes this exclusive: a slow rival could else remove the new holder's lock. */
function takeOver(file, content) {
  const guard = `${file}.takeover`;
  if (!tryCreate(guard, String(process.pid))) {
    const state = look(guard);
    if (state !== undefined && state.age > STALE_MS) removeIfThere(guard);
    return;
  }
  try {
    const state = look(file);
    if (state !== undefined && state.content === content && state.age > STALE_MS) removeIfThere(file);
  } finally {
    removeIfThere(guard);
  }
}

function touch(file) {
  try {
    const now = new Date();
    fs.utimesSync(file, now, now);
  } catch (error) {
    // Somebody cleaned up the directory under us; the installation itself will say so if it matters.
    if (error.code !== 'ENOENT') throw error;
  }
}

function removeIfThere(file) {
  try {
    fs.unlinkSync(file);
  } catch (error) {
    if (error.code !== 'ENOENT') throw error;
  }
}

module.exports = { withInstallLock };

'use strict';
/** Whether node_modules is what package-lock.json describes, at the price of one hash when it is. */
const crypto = require('crypto');
const fs = require('fs');
const path = require('path');

/** Part of the stamp: raise it when the way of installing changes, so that old installations are checked again. */
const STAMP_VERSION = 1;

function readIfThere(file) {
  try {
    return fs.readFileSync(file);
  } catch (error) {
    if (error.code === 'ENOENT' || error.code === 'ENOTDIR') return undefined;
    throw error;
  }
}

const stampFile = (root) => path.join(root, 'node_modules', '.stigmesh-installed');

/** What the stamp must say: the lock's digest, and the platform, because some packages carry native binaries. */
function expectedStamp(root, platform, arch) {
  const source =
    readIfThere(path.join(root, 'package-lock.json')) || readIfThere(path.join(root, 'package.json')) || '';
  const digest = crypto.createHash('sha256').update(source).digest('hex');
  return `${STAMP_VERSION} ${platform}-${arch} ${digest}\n`;
}

/** @returns {boolean} whether the last installation here was of this lock, on this platform */
function isStamped(root, platform, arch) {
  const stamp = readIfThere(stampFile(root));
  return stamp !== undefined && stamp.toString('utf8') === expectedStamp(root, platform, arch);
}

/** Records that node_modules now matches the lock. Atomic, so that a crash leaves no half stamp. */
function writeStamp(root, platform, arch) {
  const file = stampFile(root);
  const temporary = `${file}.${process.pid}`;
  fs.mkdirSync(path.dirname(file), { recursive: true });
  fs.writeFileSync(temporary, expectedStamp(root, platform, arch));
  fs.renameSync(temporary, file);
}

/** A stamp must not outlive the files it vouches for when an installation starts to replace them. */
function removeStamp(root) {
  try {
    fs.unlinkSync(stampFile(root));
  } catch (error) {
    if (error.code !== 'ENOENT' && error.code !== 'ENOTDIR') throw error;
  }
}

/**
 * Whether somebody has already installed this lock by hand (`npm install`, `npm ci`): compares package-lock.json with
 * the record npm leaves in node_modules when it has finished. Then there is nothing to install, only to stamp.
 * @returns {boolean}
 */
function matchesLock(root, platform, arch) {
  const wanted = packagesOf(path.join(root, 'package-lock.json'));
  const found = packagesOf(path.join(root, 'node_modules', '.package-lock.json'));
  if (wanted === undefined || found === undefined) return false;
  for (const name of Object.keys(wanted)) {
    if (name === '') continue;
    const entry = wanted[name];
    const installed = found[name];
    if (installed === undefined) {
      if (entry.optional && !isFor(entry, platform, arch)) continue;
      return false;
    }
    if (installed.version !== entry.version || installed.integrity !== entry.integrity) return false;
    if (!fs.existsSync(path.join(root, name, 'package.json'))) return false;
  }
  return true;
}

function packagesOf(file) {
  const text = readIfThere(file);
  if (text === undefined) return undefined;
  try {
    return JSON.parse(text.toString('utf8')).packages;
  } catch (error) {
    if (error instanceof SyntaxError) return undefined;
    throw error;
  }
}

/** npm's `os` and `cpu` lists. Node 12 cannot tell its libc, so a package made for one libc is never insisted on. */
function isFor(entry, platform, arch) {
  if (entry.libc !== undefined) return false;
  const allows = (list, value) => {
    if (list === undefined) return true;
    const names = [].concat(list);
    if (names.includes(`!${value}`)) return false;
    return names.every((name) => name[0] === '!') || names.includes(value);
  };
  return allows(entry.os, platform) && allows(entry.cpu, arch);
}

module.exports = { isStamped, matchesLock, removeStamp, writeStamp };

import assert from 'node:assert/strict';
import { storeError } from '../../../src/store/level/level-errors.ts';

const codeOf = (message: string): string => storeError(new Error(message)).code;

describe('errors of LevelDB', () => {
  it('have the code of what they say', () => {
    for (const [message, code] of [
      ['IO error: lock /home/u/data/LOCK: Resource temporarily unavailable', 'store_locked'],
      ['IO error: lock /home/u/data/LOCK: already held by process', 'store_locked'],
      ['IO error: /home/u/data/000005.log: No space left on device', 'store_full'],
      ["ENOSPC: no space left on device, write '/home/u/data/closed.mark'", 'store_full'],
      ['IO error: /home/u/data/000005.log: Read-only file system', 'store_readonly'],
      ["EACCES: permission denied, open '/home/u/data/CURRENT'", 'store_readonly'],
      ['Invalid argument: /home/u/data: does not exist (create_if_missing is false)', 'store_io'],
      ['Corruption: 1 missing files; e.g.: /home/u/data/000005.ldb', 'store_corrupt'],
      ['IO error: /home/u/data/000005.ldb: No such file or directory', 'store_corrupt'],
      ['IO error: /home/u/data/000005.log: Input/output error', 'store_io'],
    ] as const) {
      assert.equal(codeOf(message), code, message);
    }
  });

  it('do not change by the name of the directory', () => {
    const names = ['corruption', 'ENOENT', 'tmp-xErOfS', 'efbig9', 'no space left', 'permission denied', 'C:\\enospc'];
    for (const name of names) {
      assert.equal(codeOf(`IO error: /srv/${name}/data/000005.log: Input/output error`), 'store_io', name);
      assert.equal(codeOf(`IO error: ${name}/data/000005.log: No space left on device`), 'store_full', name);
      assert.equal(codeOf(`EIO: i/o error, fsync '/srv/${name}/data'`), 'store_io', name);
    }
  });
});

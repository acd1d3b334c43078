import assert from 'node:assert/strict';
import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { link, mkdtemp, readdir, readFile, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { acquireHomeLock, type HomeLockInit, LockError, type LockRecord } from '../../../src/store/lock.ts';
import { processStart } from '../../../src/store/process-start.ts';

const code = (expected: string) => (error: unknown) => error instanceof LockError && error.code === expected;

describe('home lock', () => {
  let home: string;
  let path: string;
  /** Start marks of the processes that run in this world. */
  let running: Map<number, string>;
  let nonces: number;

  beforeEach(async () => {
    home = await mkdtemp(join(tmpdir(), 'stigmesh-lock-'));
    path = join(home, 'daemon.lock');
    running = new Map();
    nonces = 0;
  });

  afterEach(() => rm(home, { recursive: true }));

  function daemon(pid: number, start: string, over: Partial<HomeLockInit> = {}): HomeLockInit {
    running.set(pid, start);
    return {
      pid,
      host: 'here',
      now: () => Date.UTC(2026, 0, 1),
      randomUUID: () => `nonce-${++nonces}`,
      startOf: async (asked) => running.get(asked),
      ...over,
    };
  }

  const current = async (): Promise<LockRecord> => JSON.parse(await readFile(path, 'utf8'));

  it('writes who holds it, and leaves nothing behind when released', async () => {
    const lock = await acquireHomeLock(path, daemon(10, 'a'));
    assert.equal(lock.takenOver, null);
    assert.deepEqual(await current(), {
      pid: 10,
      process_started: 'a',
      host: 'here',
      created_at: '2026-01-01T00:00:00.000Z',
      nonce: 'nonce-1',
    });
    await lock.release();
    await lock.release();
    assert.deepEqual(await readdir(home), []);
  });

  it('refuses while the holder lives, naming its pid and since when', async () => {
    await acquireHomeLock(path, daemon(10, 'a'));
    await assert.rejects(acquireHomeLock(path, daemon(11, 'b')), (error: LockError) => {
      assert.equal(error.code, 'home_locked');
      assert.equal(error.pid, 10);
      assert.match(error.message, /pid 10/);
      assert.match(error.message, /since 2026-01-01T00:00:00.000Z/);
      assert.match(error.hint, /stigmesh stop/);
      return true;
    });
    assert.equal((await current()).pid, 10);
    assert.deepEqual(await readdir(home), ['daemon.lock']);
  });

  it('refuses a second lock of the same process', async () => {
    const self = daemon(10, 'a');
    await acquireHomeLock(path, self);
    await assert.rejects(acquireHomeLock(path, self), code('home_locked'));
  });

  it('takes over from a dead holder, saying so', async () => {
    await acquireHomeLock(path, daemon(10, 'a'));
    running.delete(10);
    const lock = await acquireHomeLock(path, daemon(11, 'b'));
    assert.match(lock.takenOver ?? '', /pid 10 .*that process is gone/);
    assert.equal((await current()).pid, 11);
    assert.deepEqual(await readdir(home), ['daemon.lock']);
  });

  it('takes over when the pid was reused, by another process or by ourselves', async () => {
    await acquireHomeLock(path, daemon(10, 'a'));
    running.set(10, 'another program');
    const second = await acquireHomeLock(path, daemon(11, 'b'));
    assert.match(second.takenOver ?? '', /belongs to another process/);
    running.delete(11);
    const third = await acquireHomeLock(path, daemon(11, 'later'));
    assert.match(third.takenOver ?? '', /pid 11 .*belongs to another process/);
  });

  it('without start marks trusts the pid, except its own', async () => {
    await acquireHomeLock(path, daemon(10, ''));
    await assert.rejects(acquireHomeLock(path, daemon(11, '')), code('home_locked'));
    const again = await acquireHomeLock(path, daemon(10, ''));
    assert.notEqual(again.takenOver, null);
  });

  it('takes over from another host, naming it', async () => {
    await acquireHomeLock(path, daemon(10, 'a', { host: 'container-1' }));
    const lock = await acquireHomeLock(path, daemon(11, 'b', { host: 'container-2' }));
    assert.match(lock.takenOver ?? '', /container-1/);
  });

  it('releases only what is its own', async () => {
    const first = await acquireHomeLock(path, daemon(10, 'a'));
    running.delete(10);
    await acquireHomeLock(path, daemon(11, 'b'));
    await first.release();
    assert.equal((await current()).pid, 11);
  });

  it('lets exactly one of many takers win, whether the lock is free or stale', async () => {
    for (const stale of [false, true]) {
      for (let round = 0; round < 10; round++) {
        await rm(path, { force: true });
        if (stale) {
          await acquireHomeLock(path, daemon(9, 'dead'));
          running.delete(9);
        }
        const takers = Array.from({ length: 8 }, (_, i) => acquireHomeLock(path, daemon(100 + i, `s${i}`)));
        const results = await Promise.allSettled(takers);
        const winners = results.filter((result) => result.status === 'fulfilled');
        assert.equal(winners.length, 1);
        for (const result of results) {
          if (result.status === 'rejected') assert.ok(code('home_locked')(result.reason), String(result.reason));
        }
        assert.deepEqual(await current(), winners[0]!.value.record);
        assert.deepEqual(await readdir(home), ['daemon.lock']);
      }
    }
  });

  it('a taker that was overtaken between its look and its link gives way', async () => {
    await acquireHomeLock(path, daemon(9, 'dead'));
    running.delete(9);
    let overtaken = false;
    const slow = daemon(20, 'slow', {
      link: async (from, to) => {
        if (!overtaken) {
          overtaken = true;
          await acquireHomeLock(path, daemon(21, 'fast'));
        }
        await link(from, to);
      },
    });
    await assert.rejects(acquireHomeLock(path, slow), (error: LockError) => error.pid === 21);
    assert.equal((await current()).pid, 21);
    assert.deepEqual(await readdir(home), ['daemon.lock']);
  });

  it('succeeds a taker that died between its link and its rename', async () => {
    const dead = (await acquireHomeLock(path, daemon(9, 'dead'))).record;
    running.delete(9);
    const half: LockRecord = { ...dead, pid: 30, process_started: 'half', nonce: 'half' };
    await writeFile(`${path}.next-${dead.nonce}`, JSON.stringify(half));
    running.set(30, 'half');
    await assert.rejects(acquireHomeLock(path, daemon(31, 'b')), (error: LockError) => error.pid === 30);
    running.delete(30);
    const lock = await acquireHomeLock(path, daemon(31, 'b'));
    assert.match(lock.takenOver ?? '', /pid 30/);
    assert.deepEqual(await current(), lock.record);
    assert.deepEqual(await readdir(home), ['daemon.lock']);
  });

  it('copies exclusively where the file system has no links', async () => {
    const noLinks = async (): Promise<void> => {
      throw Object.assign(new Error('not supported'), { code: 'EPERM' });
    };
    await acquireHomeLock(path, daemon(10, 'a', { link: noLinks }));
    await assert.rejects(acquireHomeLock(path, daemon(11, 'b', { link: noLinks })), code('home_locked'));
    running.delete(10);
    const lock = await acquireHomeLock(path, daemon(12, 'c', { link: noLinks }));
    assert.match(lock.takenOver ?? '', /pid 10/);
  });

  it('never guesses about a file it did not write', async () => {
    const valid = { pid: 1, process_started: 'a', host: 'h', created_at: 'x', nonce: 'n' };
    const foreign = [
      '',
      'not json',
      'null',
      '{}',
      JSON.stringify({ ...valid, pid: -1 }),
      JSON.stringify({ ...valid, nonce: '../../etc/passwd' }),
      JSON.stringify({ ...valid, host: 'x'.repeat(5000) }),
    ];
    for (const content of foreign) {
      await writeFile(path, content);
      await assert.rejects(acquireHomeLock(path, daemon(10, 'a')), code('home_lock_unreadable'), content);
      assert.equal(await readFile(path, 'utf8'), content);
    }
  });

  it('gives up when the lock changes hands without end', async () => {
    const restless = daemon(10, 'a', {
      link: async () => {
        throw Object.assign(new Error('exists'), { code: 'EEXIST' });
      },
    });
    await assert.rejects(acquireHomeLock(path, restless), code('home_lock_failed'));
  });

  it('says home_lock_failed when there is no home', async () => {
    const missing = join(home, 'missing', 'daemon.lock');
    await assert.rejects(acquireHomeLock(missing, daemon(10, 'a')), code('home_lock_failed'));
  });

  it('takes over from a real daemon killed with -9, not before', async () => {
    const module = (name: string): string =>
      JSON.stringify(new URL(`../../../src/store/${name}`, import.meta.url).href);
    const holder = spawn(
      process.execPath,
      [
        '--input-type=module',
        '--eval',
        `import { acquireHomeLock } from ${module('lock.ts')};
         import { processStart } from ${module('process-start.ts')};
         await acquireHomeLock(${JSON.stringify(path)}, { pid: process.pid, host: 'here', now: Date.now,
           randomUUID: () => crypto.randomUUID(), startOf: processStart({ platform: process.platform }) });
         console.log('held');
         setInterval(() => {}, 1000);`,
      ],
      { stdio: ['ignore', 'pipe', 'inherit'] },
    );
    const exited = once(holder, 'exit');
    await once(holder.stdout, 'data');
    const self = daemon(process.pid, '', { startOf: processStart({ platform: process.platform }) });
    await assert.rejects(acquireHomeLock(path, self), (error: LockError) => error.pid === holder.pid);
    holder.kill('SIGKILL');
    await exited;
    assert.match((await acquireHomeLock(path, self)).takenOver ?? '', new RegExp(`pid ${holder.pid} `));
  });
});

describe('start of a process', () => {
  const stat = (state: string, start: string, name = 'node') =>
    `42 (${name}) ${state} 1 42 42 0 -1 4194560 1 0 0 0 0 0 0 0 20 0 11 0 ${start} 1000000 500 184467\n`;

  function linux(files: Record<string, string>): (pid: number) => Promise<string | undefined> {
    return processStart({
      platform: 'linux',
      readFile: async (path) => {
        const text = files[path];
        if (text === undefined) throw Object.assign(new Error('missing'), { code: 'ENOENT' });
        return text;
      },
    });
  }

  it('on Linux is the boot and the ticks since then, whatever the name of the command', async () => {
    const boot = '/proc/sys/kernel/random/boot_id';
    assert.equal(await linux({ '/proc/42/stat': stat('S', '777'), [boot]: 'b1\n' })(42), 'b1:777');
    assert.equal(await linux({ '/proc/42/stat': stat('R', '778', 'a) S 1 (b') })(42), ':778');
    assert.equal(await linux({})(42), undefined);
  });

  it('takes a zombie for dead', async () => {
    assert.equal(await linux({ '/proc/42/stat': stat('Z', '777') })(42), undefined);
  });

  it('elsewhere is what ps prints', async () => {
    const darwin = (ps: (args: readonly string[]) => Promise<string>) =>
      processStart({ platform: 'darwin', ps, exists: (pid) => pid === 42 });
    const asked: string[][] = [];
    const found = darwin(async (args) => {
      asked.push([...args]);
      return 'Ss   Thu Jan  1 10:00:00 2026\n';
    });
    assert.equal(await found(42), 'Thu Jan 1 10:00:00 2026');
    assert.deepEqual(asked, [['-o', 'stat=,lstart=', '-p', '42']]);
    assert.equal(await darwin(async () => 'Z    Thu Jan  1 10:00:00 2026\n')(42), undefined);
    const failing = (failure: object) =>
      darwin(async () => {
        throw Object.assign(new Error('ps'), failure);
      });
    assert.equal(await failing({ code: 1 })(42), undefined);
    assert.equal(await failing({ code: 'ENOENT' })(42), '');
    assert.equal(await failing({ code: 'ENOENT' })(43), undefined);
  });

  it('finds this process, the same each time, and none for a pid that is not used', async () => {
    const start = processStart({ platform: process.platform });
    const own = await start(process.pid);
    assert.ok(own);
    assert.equal(await start(process.pid), own);
    assert.equal(await start(2 ** 22 + 1), undefined);
    const viaPs = processStart({ platform: 'darwin' });
    assert.notEqual(await viaPs(process.pid), undefined);
  });
});

import assert from 'node:assert/strict';
import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { cp, mkdtemp, readFile, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { lockFile, openHome, reindexHome, verifyHome } from '../../src/home.ts';
import { metaKey } from '../../src/store/keys.ts';
import { LevelStore } from '../../src/store/level/level-store.ts';
import { LockError, type LockRecord } from '../../src/store/lock.ts';
import type { Migration } from '../../src/store/migrations/migrations.ts';
import { openStore } from '../../src/store/migrations/open-store.ts';
import { forEachSlice, type Store, StoreError } from '../../src/store/store.ts';
import { makeHome, type TestHome } from '../support/home.ts';
import { fact, who } from '../support/test-node.ts';

const code = (expected: string) => (error: unknown) => (error as { code?: string }).code === expected;

describe('a home', () => {
  let home: TestHome;

  beforeEach(async () => {
    home = await makeHome();
  });

  afterEach(() => home.dispose());

  const everything = { gte: Buffer.alloc(0), lt: Buffer.alloc(1, 0xff) };
  async function dump(store: Store): Promise<Map<string, string>> {
    const rows = new Map<string, string>();
    await forEachSlice(store, everything, (entries) => {
      for (const { key, value } of entries) rows.set(key.toString('hex'), value.toString('hex'));
      return undefined;
    });
    return rows;
  }

  it('fault 45: a second process on the same home is refused naming the first, whatever it wants to do', async () => {
    const first = await openHome(home.options);
    const refusals = [
      openHome(home.options),
      reindexHome(home.options),
      verifyHome({ ...home.options, quarantine: true }),
    ];
    for (const refusal of await Promise.allSettled(refusals)) {
      assert.ok(refusal.status === 'rejected' && refusal.reason instanceof LockError);
      assert.equal(refusal.reason.code, 'home_locked');
      assert.equal(refusal.reason.pid, process.pid);
      assert.match(refusal.reason.message, new RegExp(`pid ${process.pid}\\b`));
    }
    // The first is none the worse for it.
    await first.node.facts.assert(who, fact());
    await first.close();
    await (await openHome(home.options)).close();
  });

  it('fault 45: the lock of a dead process is taken over, with a line that says so', async () => {
    const child = spawn(process.execPath, ['--eval', '0']);
    const pid = child.pid!;
    await once(child, 'exit');
    const first = await openHome(home.options);
    const path = lockFile(home.options.paths);
    const record = JSON.parse(await readFile(path, 'utf8')) as LockRecord;
    await first.close();
    await writeFile(path, JSON.stringify({ ...record, pid, nonce: 'dead' }));
    const second = await openHome(home.options);
    assert.match(second.takenOver ?? '', new RegExp(`pid ${pid} .*that process is gone`));
    assert.ok(home.notices.includes(second.takenOver!));
    await second.close();
  });

  it('fault 45: without the lock file the store itself still keeps two processes apart', async () => {
    const first = await openHome(home.options);
    await rm(lockFile(home.options.paths));
    await assert.rejects(openHome(home.options), code('store_locked'));
    await first.node.facts.assert(who, fact());
    await first.close();
  });

  it('fault 46: a store of a newer program is refused with what to do, by every command, and is not touched', async () => {
    const location = home.options.paths.dataDir;
    const store = await LevelStore.open({ location });
    const record = Buffer.from(JSON.stringify({ version: 99, written_by: 'stigmesh/9.0.0' }));
    await store.batch([{ type: 'put', key: metaKey('schema'), value: record }], { durable: true });
    const before = await dump(store);
    await store.close();
    for (const act of [
      () => openHome(home.options),
      () => reindexHome(home.options),
      () => verifyHome({ ...home.options, quarantine: true }),
    ]) {
      await assert.rejects(act(), (error) => {
        assert.ok(error instanceof StoreError && error.code === 'store_schema_newer');
        assert.match(error.message, /schema 99, written by stigmesh\/9\.0\.0/);
        assert.match(error.hint, /\.bak/);
        return true;
      });
    }
    const again = await LevelStore.open({ location });
    assert.deepEqual(await dump(again), before);
    await again.close();
  });

  it('fault 46: a migration interrupted at every one of its steps ends as if nothing had happened, from one copy', async () => {
    const opened = await openHome(home.options);
    for (let n = 0; n < 20; n++) await opened.node.facts.assert(who, fact({ entity: `user:u${n}` }));
    await opened.close();
    const scratch = await mkdtemp(join(tmpdir(), 'stigmesh-migrate-'));
    const marker = (n: number): Buffer => Buffer.from(`~${n}`);
    /** Fails before its n-th write, or after it when `late`. */
    const migrations = (failAt: number, late: boolean): Migration[] => {
      let writes = 0;
      const step = (to: number): Migration => ({
        to,
        description: `step ${to}`,
        async run(store) {
          for (let n = 0; n < 3; n++) {
            writes += 1;
            if (writes === failAt && !late) throw new Error('pulled the plug');
            const value = Buffer.from(`schema ${to}`);
            await store.batch([{ type: 'put', key: marker(10 * to + n), value }], { durable: true });
            if (writes === failAt && late) throw new Error('pulled the plug');
          }
          const old = await store.get(marker(0));
          // Must not happen twice, so it goes with the version.
          return [{ type: 'put', key: marker(0), value: Buffer.from(`${old?.toString() ?? ''}+${to}`) }];
        },
      });
      return [step(2), step(3)];
    };
    const run = async (location: string, failAt: number, late: boolean) => {
      const log: string[] = [];
      const init = { location, writtenBy: 'stigmesh/2', now: () => 1, log: (line: string) => log.push(line) };
      const result = await openStore({ ...init, migrations: migrations(failAt, late) }).then(
        ({ store }) => store,
        (error: unknown) => error,
      );
      return { result, copies: log.filter((line) => line.startsWith('copying')).length };
    };
    let expected: Map<string, string> | undefined;
    for (let failAt = 0; failAt <= 6; failAt++) {
      for (const late of [false, true]) {
        const location = join(scratch, `${failAt}-${late}`, 'data');
        await cp(home.options.paths.dataDir, location, { recursive: true });
        let copies = 0;
        if (failAt > 0) {
          const first = await run(location, failAt, late);
          copies += first.copies;
          assert.ok(first.result instanceof StoreError && first.result.code === 'store_migration_failed');
          assert.match(first.result.hint, /the migration resumes; the store as it was is at .*\.bak/);
          // The program from before the upgrade keeps off a store that is half way.
          await assert.rejects(
            openStore({ location, writtenBy: 'stigmesh/1', now: () => 2, log: () => {}, migrations: [] }),
            code('store_schema_newer'),
          );
        }
        const second = await run(location, 0, false);
        assert.ok(second.result instanceof LevelStore, String(second.result));
        assert.equal(copies + second.copies, 1);
        const rows = await dump(second.result);
        expected ??= rows;
        assert.deepEqual(rows, expected, `interrupted at write ${failAt}, ${late ? 'after' : 'before'} it`);
        await second.result.close();
      }
    }
    assert.equal(Buffer.from(expected!.get(marker(0).toString('hex'))!, 'hex').toString(), '+2+3');
    await rm(scratch, { recursive: true });
  });
});

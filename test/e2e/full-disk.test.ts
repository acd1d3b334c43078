import assert from 'node:assert/strict';
import { execFileSync } from 'node:child_process';
import { mkdtempSync, rmdirSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { type RunningDaemon, startDaemon } from '../support/daemon.ts';

/** Room for a store and not for much more. */
const MEGABYTES = 48;

/** A file system of its own for one home, or why this machine gives none. */
function mountSmall(): string | Error {
  const directory = mkdtempSync(join(tmpdir(), 'stigmesh-full-'));
  try {
    execFileSync('mount', ['-t', 'tmpfs', '-o', `size=${MEGABYTES}m`, 'tmpfs', directory], { stdio: 'pipe' });
    return directory;
  } catch (error) {
    rmdirSync(directory);
    return error as Error;
  }
}

describe('e2e: a daemon whose disk is full', () => {
  let home: string | undefined;
  let daemon: RunningDaemon | undefined;

  before(async function () {
    const mounted = mountSmall();
    if (mounted instanceof Error) {
      console.error('      not run: a small tmpfs cannot be mounted here (Linux, root only)');
      this.skip();
    }
    home = mounted;
    daemon = await startDaemon({ home });
  });

  after(async () => {
    await daemon?.stop();
    if (home === undefined) return;
    execFileSync('umount', [home]);
    rmdirSync(home);
  });

  it('fault 44: says so at /readyz, in status, metrics and log, goes on reading, and recovers without a restart', async () => {
    const { fetch, logs } = daemon!;
    const write = (n: number) =>
      fetch('/v1/facts', {
        method: 'POST',
        json: { entity: 'user:a', relation: 'memory:n', value: { type: 'number', v: n }, source: 'agent:x' },
      });
    const before = await write(1);
    assert.equal(before.status, 201);
    const { id } = (await before.json()) as { id: string };
    const ballast = join(home!, 'ballast');
    assert.throws(() => writeFileSync(ballast, Buffer.alloc(2 * MEGABYTES * 1024 * 1024, 1)), { code: 'ENOSPC' });

    let refused = await write(2);
    // What is left in the last block of the log takes a few more.
    for (let n = 3; refused.status === 201 && n < 1000; n++) refused = await write(n);
    const problem = (await refused.json()) as { code: string; hint: string };
    assert.deepEqual([refused.status, problem.code], [507, 'store_full']);
    const ready = await fetch('/readyz', { key: null });
    assert.deepEqual([ready.status, await ready.json()], [503, { status: 'unavailable', code: 'store_full' }]);
    const status = (await (await fetch('/v1/status')).json()) as { status: string; reason: { code: string } };
    assert.deepEqual([status.status, status.reason.code], ['unavailable', 'store_full']);
    const metrics = await (await fetch('/metrics')).text();
    assert.match(metrics, /^stigmesh_ready 0$/m);
    assert.match(metrics, /^stigmesh_commit_failures_total\{code="store_full"\} [1-9]/m);
    assert.match(metrics, /^stigmesh_api_refusals_total\{code="store_full"\} [1-9]/m);
    for (const path of ['/livez', '/healthz', `/v1/facts/${id}`]) assert.equal((await fetch(path)).status, 200, path);
    await until(() => logs.some(({ event, code }) => event === 'not_ready' && code === 'store_full'));

    rmSync(ballast);
    await until(async () => (await fetch('/readyz')).status === 200);
    assert.equal((await write(1001)).status, 201);
    await until(() => logs.some(({ event }) => event === 'ready_again'));
    assert.equal(await daemon!.stop(), 0);
  });
});

/** Asks again and again; mocha's timeout is the limit. */
async function until(isTrue: () => boolean | Promise<boolean>): Promise<void> {
  while (!(await isTrue())) await new Promise((resolve) => setTimeout(resolve, 20));
}

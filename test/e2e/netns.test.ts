import assert from 'node:assert/strict';
import { execFile } from 'node:child_process';
import { readdirSync } from 'node:fs';
import { join } from 'node:path';
import { cleanEnvironment, ROOT } from '../support/daemon.ts';
import { whyNoNamespaces } from '../support/netns.ts';

const LAB = join(ROOT, 'scripts/netns-lab.ts');

/** Exit code and output of the lab. */
function lab(args: readonly string[]): Promise<{ code: number; output: string; pid: number }> {
  return new Promise((resolve) => {
    const child = execFile(process.execPath, [LAB, ...args], { env: cleanEnvironment() }, (error, stdout, stderr) => {
      resolve({ code: error ? Number(error.code) : 0, output: stdout + stderr, pid: child.pid! });
    });
  });
}

describe('e2e: daemons in network namespaces', function () {
  this.timeout(400_000);

  it('a lab of no size is refused', async () => {
    assert.equal((await lab(['--nodes', '1'])).code, 2);
  });

  it('fault 18: a partition on the network itself: both sides write, all converge once it heals', async function () {
    const why = whyNoNamespaces();
    if (why !== null) {
      console.log(`      not run here: ${why}`);
      this.skip();
    }
    const { code, output, pid } = await lab(['--nodes', '3', '--facts', '6', '--cut', '3']);
    assert.equal(code, 0, output);
    assert.match(output, /^✓ partition until both sides notice, both write, heal: noticed after .* converged after /m);
    assert.match(output, /^passed: 3 daemons, \d+ facts, everywhere$/m);
    for (const [line] of output.matchAll(/^- not run: .*$/gm)) console.log(`      ${line.slice(2)}`);
    assert.deepEqual(
      readdirSync('/run/netns').filter((name) => name.includes(`-${pid}-`)),
      [],
      'it cleans up',
    );
  });
});

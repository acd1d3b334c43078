import assert from 'node:assert/strict';
import { execFile } from 'node:child_process';
import { mkdtempSync, readdirSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { promisify } from 'node:util';
import { BIN, cleanEnvironment } from '../support/daemon.ts';

const run = promisify(execFile);

describe('stigmesh demo', () => {
  const directory = mkdtempSync(join(tmpdir(), 'stigmesh-play-'));
  after(() => rmSync(directory, { recursive: true, force: true }));

  it('plays pairing, sharing, contradiction, partition and healing, and leaves nothing behind', async function () {
    this.timeout(120_000);
    const env = { ...cleanEnvironment(), HOME: directory, TMPDIR: directory };
    const { stdout } = await run(process.execPath, [BIN, 'demo'], { env, timeout: 110_000 });
    const acts = [...stdout.matchAll(/^\d\. (\w+)/gm)].map(([, act]) => act);
    assert.deepEqual(acts, ['Three', 'Pairing', 'Sharing', 'Contradiction', 'Partition', 'Healing']);
    assert.match(stdout, /✓ acme\.example ⇄ bolt\.example {2}share public, company\n/);
    assert.match(stdout, /✓ bolt {2}holds it within \d+ ms, signed by acme\.example\n/);
    assert.match(stdout, /✓ cora {2}does not: /);
    assert.match(stdout, /list the same conflict, stigmem:conflict:[0-9a-f]{32}\n/);
    const [, acme, bolt] = /acme holds (\d+), bolt (\d+)\n/.exec(stdout) ?? [];
    const [, both] = /✓ both hold (\d+) facts, \d+ ms after/.exec(stdout) ?? [];
    assert.equal(Number(both), Number(acme) + 101);
    assert.equal(acme, bolt);
    assert.match(stdout, /Played in \d+\.\d s\./);
    assert.deepEqual(readdirSync(directory), []);
  });
});

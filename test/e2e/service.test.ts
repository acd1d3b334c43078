import assert from 'node:assert/strict';
import { spawn, spawnSync } from 'node:child_process';
import { once } from 'node:events';
import { mkdtempSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { BIN, cleanEnvironment, ROOT } from '../support/daemon.ts';

const exists = (command: string, ...args: string[]): boolean => spawnSync(command, args).status === 0;
const hasTools = exists('strace', '-V') && exists('systemd-analyze', 'syscall-filter', '@system-service');

/** System calls of one of systemd's groups, and of the groups in it. */
function group(name: string): Set<string> {
  const calls = new Set<string>();
  const { stdout } = spawnSync('systemd-analyze', ['syscall-filter', name], { encoding: 'utf8' });
  for (const line of stdout.split('\n')) {
    const word = /^ +([@\w-]+)/.exec(line)?.[1];
    if (word === undefined) continue;
    if (!word.startsWith('@')) calls.add(word);
    else for (const call of group(word)) calls.add(call);
  }
  return calls;
}

/** What a filter of the unit lets through: groups in order, `~` takes away. */
function allowedCalls(unit: string): Set<string> {
  const allowed = new Set<string>();
  for (const [, takesAway, names] of unit.matchAll(/^SystemCallFilter=(~?)(.*)$/gm)) {
    for (const call of names!.split(' ').flatMap((name) => [...group(name)])) {
      if (takesAway === '~') allowed.delete(call);
      else allowed.add(call);
    }
  }
  return allowed;
}

describe('e2e: the system calls of a daemon', () => {
  let home: string;
  before(() => {
    home = mkdtempSync(join(tmpdir(), 'stigmesh-calls-'));
  });
  after(() => rmSync(home, { recursive: true, force: true }));

  const test = hasTools ? it : it.skip;
  test('are those that config/stigmesh.service allows (not run without strace and systemd)', async () => {
    // Every address of the machine, as by default: the daemon has to ask which there are.
    const listen = '/ip4/0.0.0.0/tcp/0';
    const env = {
      ...cleanEnvironment(),
      STIGMESH_HOME: home,
      STIGMESH_API_PORT: '0',
      STIGMESH_MESH_LISTEN: listen,
    };
    const trace = join(home, 'trace');
    const args = ['-f', '-qq', '-o', trace, process.execPath, BIN, 'start'];
    const child = spawn('strace', args, { env, stdio: ['ignore', 'pipe', 'inherit'] });
    const exited = once(child, 'exit');
    let out = '';
    for await (const chunk of child.stdout) {
      out += String(chunk);
      if (out.includes('"ready"')) break;
    }
    child.stdout.resume();
    const cli = (...words: string[]) => {
      const { status, stderr } = spawnSync(process.execPath, [BIN, ...words], { env, encoding: 'utf8' });
      assert.equal(status, 0, stderr);
    };
    cli('assert', 'user:a', 'memory:role', 'x', '--source', 'user:b');
    cli('query', 'user:a');
    cli('status');
    cli('export', join(home, 'export.jsonl'));
    cli('import', join(home, 'export.jsonl'));
    cli('stop');
    await exited;

    const traced = readFileSync(trace, 'utf8');
    const used = new Set([...traced.matchAll(/^\d+ +(\w+)\(/gm)].map(([, call]) => call!));
    assert.ok(used.has('fdatasync') || used.has('fsync'), 'a daemon that never synced was not traced');
    const unit = readFileSync(join(ROOT, 'config/stigmesh.service'), 'utf8');
    const allowed = allowedCalls(unit);
    assert.ok(allowed.size > 100);
    assert.deepEqual(
      [...used].filter((call) => !allowed.has(call)),
      [],
    );
    const families = new Set([...traced.matchAll(/\bsocket\((AF_\w+)/g)].map(([, family]) => family!));
    assert.ok(families.has('AF_INET') && families.has('AF_NETLINK'), 'the mesh has listened, and asked for addresses');
    const open = /^RestrictAddressFamilies=(.*)$/m.exec(unit)![1]!.split(' ');
    assert.deepEqual(
      [...families].filter((family) => !open.includes(family)),
      [],
    );
  });
});

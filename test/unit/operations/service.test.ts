import assert from 'node:assert/strict';
import { execFileSync, spawnSync } from 'node:child_process';
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join, resolve } from 'node:path';
import { STOP_GRACE_MS } from '../../../src/cli/limits.ts';
import { resolveConfig } from '../../../src/config/index.ts';

const UNIT = resolve(import.meta.dirname, '../../../config/stigmesh.service');
const text = readFileSync(UNIT, 'utf8');

/** Values by section and key, in order; a key may come several times. */
function parse(unit: string): Map<string, string[]> {
  const found = new Map<string, string[]>();
  let section = '';
  for (const line of unit.split('\n')) {
    if (line === '' || line.startsWith('#')) continue;
    const head = /^\[(\w+)\]$/.exec(line);
    if (head) {
      section = head[1]!;
      continue;
    }
    const [, key, value] = /^(\w+)=(.*)$/.exec(line) ?? assert.fail(`not a line of a unit: ${line}`);
    const name = `${section}.${key}`;
    found.set(name, [...(found.get(name) ?? []), value!]);
  }
  return found;
}

/** Version of systemd's tools here, 0 without them: the tests that need them are then reported as not run. */
const systemd = Number(
  /^systemd (\d+)/.exec(spawnSync('systemd-analyze', ['--version'], { encoding: 'utf8' }).stdout ?? '')?.[1] ?? 0,
);
/** The first that reviews a unit that is not installed. */
const withAnalyze = systemd >= 250 ? it : it.skip;

describe('operations: the systemd unit', () => {
  const unit = parse(text);
  const one = (name: string): string => {
    const values = unit.get(name) ?? assert.fail(`${name} is missing`);
    assert.equal(values.length, 1, name);
    return values[0]!;
  };

  it('runs as a user of its own, with nothing writable but its home', () => {
    const wanted = {
      User: 'stigmesh',
      StateDirectory: 'stigmesh',
      StateDirectoryMode: '0700',
      UMask: '0077',
      ProtectSystem: 'strict',
      ProtectHome: 'yes',
      PrivateTmp: 'yes',
      PrivateDevices: 'yes',
      PrivateUsers: 'yes',
      NoNewPrivileges: 'yes',
      CapabilityBoundingSet: '',
      RestrictNamespaces: 'yes',
      RestrictSUIDSGID: 'yes',
      LockPersonality: 'yes',
      SystemCallArchitectures: 'native',
      SystemCallErrorNumber: 'EPERM',
      LimitCORE: '0',
    };
    for (const [key, value] of Object.entries(wanted)) assert.equal(one(`Service.${key}`), value, key);
    assert.ok(unit.get('Service.Environment')!.includes(`STIGMESH_HOME=/var/lib/${one('Service.StateDirectory')}`));
    assert.deepEqual(unit.get('Service.SystemCallFilter'), ['@system-service', '~@privileged @resources']);
    // V8 writes the code it runs; a unit that forbids it does not start.
    assert.equal(one('Service.MemoryDenyWriteExecute'), 'no');
    // Without it the start mark of the lock differs inside and outside.
    assert.equal(unit.get('Service.ProcSubset'), undefined);
  });

  it('lets the mesh of the default configuration listen and dial', () => {
    const { config } = resolveConfig({ env: {}, hostname: 'x' });
    assert.ok(config.mesh.enabled && config.mesh.listen.some((address) => address.startsWith('/ip4/0.0.0.0/')));
    // Of an address that stands for all of them libp2p asks the kernel by netlink which these are, and dies without.
    const families = one('Service.RestrictAddressFamilies').split(' ');
    assert.deepEqual(families.sort(), ['AF_INET', 'AF_INET6', 'AF_NETLINK', 'AF_UNIX']);
    for (const key of ['IPAddressDeny', 'PrivateNetwork', 'SocketBindDeny', 'RestrictNetworkInterfaces'])
      assert.equal(unit.get(`Service.${key}`), undefined, `${key} keeps peers away`);
  });

  it('gives a stop the time it may take, and room for every connection', () => {
    const { config } = resolveConfig({ env: {}, hostname: 'x' });
    const longest = config.daemon.drain_timeout_s + STOP_GRACE_MS / 1000;
    assert.ok(Number(one('Service.TimeoutStopSec')) > longest, `${longest} s`);
    assert.equal(one('Service.KillMode'), 'mixed');
    assert.ok(Number(one('Service.LimitNOFILE')) >= 2 * (config.api.max_connections + 1000));
    assert.equal(one('Service.Restart'), 'on-failure');
    assert.match(one('Service.ExecReload'), /-HUP \$MAINPID$/);
  });

  it('waits until the daemon answers, and no longer than there is one', () => {
    const script = /^\/bin\/sh -c '(.*)'$/.exec(one('Service.ExecStartPost'))?.[1]?.replaceAll('$$', '$');
    assert.ok(script !== undefined);
    const dead = spawnSync('/bin/sh', ['-c', script.replaceAll('/usr/bin/stigmesh', 'false')], {
      env: { ...process.env, MAINPID: '999999999' },
    });
    assert.equal(dead.status, 1);
    const alive = spawnSync('/bin/sh', ['-c', script.replaceAll('/usr/bin/stigmesh', 'true')], {
      env: { ...process.env, MAINPID: String(process.pid) },
    });
    assert.equal(alive.status, 0);
  });

  withAnalyze(
    'passes systemd-analyze verify, and its security review at 1.5 or better (not run without systemd 250)',
    () => {
      const directory = mkdtempSync(join(tmpdir(), 'stigmesh-unit-'));
      try {
        // Everything but the program is checked as it is: that is not installed here.
        const file = join(directory, 'stigmesh.service');
        writeFileSync(file, text.replaceAll('/usr/bin/stigmesh', process.execPath));
        const verified = spawnSync('systemd-analyze', ['verify', file], { encoding: 'utf8' });
        // It may have something to say about units of this machine, too.
        const ours = verified.stderr.split('\n').filter((line) => line.includes('stigmesh'));
        assert.deepEqual([verified.status, ours], [0, []]);
        execFileSync('systemd-analyze', ['security', '--offline=true', '--threshold=15', file], { stdio: 'ignore' });
      } finally {
        rmSync(directory, { recursive: true, force: true });
      }
    },
  );
});

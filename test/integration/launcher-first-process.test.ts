import assert from 'node:assert/strict';
import { spawnSync } from 'node:child_process';
import { EventEmitter } from 'node:events';
import { createRequire } from 'node:module';
import { constants } from 'node:os';
import { join } from 'node:path';
import { BIN, Fixture } from './launcher-fixture.ts';

const { endBySignals } = createRequire(import.meta.url)(join(BIN, 'first-process.js')) as {
  endBySignals(target: object): void;
};

class FakeProcess extends EventEmitter {
  readonly exits: number[] = [];
  readonly pid: number;

  constructor(pid: number) {
    super();
    this.pid = pid;
  }

  exit(code: number): void {
    this.exits.push(code);
  }
}

/** Runs a command as the first process of a pid namespace, as whoever may make one here. */
const asFirst = (...command: string[]) => {
  const mapped = process.getuid?.() === 0 ? [] : ['--user', '--map-root-user'];
  return spawnSync('unshare', [...mapped, '--pid', '--fork', ...command], { encoding: 'utf8' });
};

const canBeFirst = process.platform === 'linux' && asFirst('true').status === 0;

describe('launcher: as the first process of a container', () => {
  it('ends by a signal that nobody handles', () => {
    const first = new FakeProcess(1);
    endBySignals(first);
    for (const name of ['SIGTERM', 'SIGINT', 'SIGHUP'] as const) {
      first.emit(name);
      assert.equal(first.exits.at(-1), 128 + constants.signals[name]);
    }
    assert.equal(first.exits.length, 3);
  });

  it('leaves a signal to whoever handles it, and every process but the first alone', () => {
    const first = new FakeProcess(1);
    endBySignals(first);
    const handled: string[] = [];
    const handle = () => void handled.push('SIGTERM');
    first.on('SIGTERM', handle);
    first.emit('SIGTERM');
    assert.deepEqual([handled, first.exits], [['SIGTERM'], []]);
    first.off('SIGTERM', handle);
    first.emit('SIGTERM');
    assert.deepEqual(first.exits, [143]);

    const other = new FakeProcess(2);
    endBySignals(other);
    assert.equal(other.listenerCount('SIGTERM'), 0);
  });

  const title = 'does not lose a SIGTERM that comes before the daemon listens (run where pid namespaces may be made)';
  (canBeFirst ? it : it.skip)(title, () => {
    const fixture = new Fixture('node_modules/stigmesh');
    try {
      const early = "process.kill(1, 'SIGTERM');\nsetTimeout(() => process.exit(9), 10_000);";
      fixture.write('dist/cli/main.js', `if (process.pid !== 1) process.exit(8);\n${early}`);
      for (const command of ['start', 'verify']) {
        const ended = asFirst(process.execPath, join(fixture.root, 'scripts/bin/stigmesh'), command);
        assert.equal(ended.status, 143, ended.stderr);
      }
    } finally {
      fixture.dispose();
    }
  });
});

import assert from 'node:assert/strict';
import { mkdirSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { STOP_TIMEOUT_MS } from '../../../src/cli/limits.ts';
import { registry } from '../../../src/cli/registry.ts';
import { lockFileOf } from '../../../src/cli/running.ts';
import { processStart } from '../../../src/store/process-start.ts';
import { Bench, FakeDaemon, factRecord, type RunOptions } from './fixture.ts';

describe('cli: command lines', () => {
  const bench = new Bench();

  describe('the program', () => {
    it('shows its commands in groups, examples and exit codes', async () => {
      const { code, stdout, stderr } = await bench.run([]);
      assert.equal(code, 0);
      assert.equal(stderr, '');
      for (const { name, group, summary } of registry) {
        assert.ok(stdout.includes(`${group}\n`), group);
        assert.ok(stdout.includes(summary), name);
      }
      assert.equal(stdout.match(/^ {2}\$ stigmesh /gm)?.length, 3);
      assert.match(stdout, /3 the daemon is not running/);
      assert.equal((await bench.run(['--help'])).stdout, stdout);
    });

    it('suggests the nearest command, option and subcommand', async () => {
      for (const [args, message, hint] of [
        [['statsu'], "unknown command 'statsu'", 'did you mean status?'],
        [['query', '--scop', 'x'], "unknown option '--scop'", 'did you mean --scope?'],
        [['keys', 'lst'], "unknown command 'lst'", 'did you mean list?'],
        [['conflicts', 'resolv'], "unknown command 'conflicts resolv'", 'did you mean resolve?'],
      ] as const) {
        const { code, stdout, stderr } = await bench.run(args);
        assert.deepEqual([code, stdout], [2, '']);
        assert.ok(stderr.includes(`error: ${message}`), stderr);
        assert.ok(stderr.includes(`hint: ${hint}`), stderr);
      }
    });

    it('names what is missing, wrong or too much', async () => {
      for (const args of [
        ['get'],
        ['query', 'a', 'b', 'c'],
        ['query', '--scope', 'everybody'],
        ['query', '--limit', '501'],
        ['query', '--all', '--limit', '3'],
        ['query', '--include', 'all'],
        ['assert', 'user:a', 'x:y', '1', '--confidence', '2'],
        ['status', '--timeout', '0'],
        ['status', '--timeout', 'soon'],
        ['completion', 'tcsh'],
        ['keys'],
      ]) {
        const { code, stdout, stderr } = await bench.run(args);
        assert.deepEqual([code, stdout], [2, ''], args.join(' '));
        assert.match(stderr, /hint: see stigmesh|Usage: stigmesh keys/);
      }
      assert.equal(bench.daemon.requests.length, 0);
    });

    it('points to the help in which the arguments and options stand', async () => {
      for (const [line, hint] of [
        ['conflicts resolve', 'see stigmesh conflicts resolve --help'],
        ['keys create', 'see stigmesh keys create --help'],
        ['keys create me --permisions read', 'did you mean --permissions? See stigmesh keys create --help'],
        ['invite --scopes local', 'see stigmesh invite create --help'],
        ['invite list --all', 'did you mean --full? See stigmesh invite list --help'],
        ['config shw', 'did you mean show? See stigmesh config --help'],
        ['peers zzzzzz', 'see stigmesh peers --help'],
        ['--homee', 'did you mean --home? See stigmesh --help'],
        ['fact', 'see stigmesh --help'],
      ] as const) {
        const { code, stderr } = await bench.run(line.split(' '), { env: { STIGMESH_URL: bench.daemon.url } });
        assert.equal(code, 2, line);
        assert.ok(stderr.endsWith(`hint: ${hint}\n`), `${line}: ${stderr}`);
      }
      const { stderr } = await bench.run(['lint', 'everything']);
      assert.match(stderr, /^error: 'everything' is invalid for argument 'scope'\. Allowed choices are /);
    });

    it('writes errors as JSON when asked for JSON', async () => {
      const { code, stdout, stderr } = await bench.run(['statsu', '--json']);
      assert.deepEqual([code, stdout], [2, '']);
      const { error } = JSON.parse(stderr);
      assert.deepEqual([error.code, error.exit_code], ['usage', 2]);
      bench.answer(403, { code: 'scope_denied', hint: 'h', detail: 'd' });
      const refused = JSON.parse((await bench.run(['query', '--json'])).stderr);
      assert.deepEqual(refused, {
        error: { code: 'scope_denied', message: 'd', hint: 'h', status: 403, exit_code: 5 },
      });
    });

    it('prints its version in three forms', async () => {
      assert.match((await bench.run(['version'])).stdout, /^stigmesh 9\.9\.9 \(Node /);
      assert.equal((await bench.run(['version', '-q'])).stdout, '9.9.9\n');
      assert.equal(JSON.parse((await bench.run(['version', '--json'])).stdout).version, '9.9.9');
      assert.equal((await bench.run(['--version'])).stdout, '9.9.9\n');
    });

    it('colours terminals only, and those only when wanted', async () => {
      bench.answer(200, { facts: [factRecord()], total: 1, cursor: null, head: 'h' });
      const isColoured = async (args: string[], options: RunOptions) =>
        (await bench.run(['query', ...args], options)).stdout.includes('\u001b[');
      assert.equal(await isColoured([], { columns: 100 }), true);
      assert.equal(await isColoured([], {}), false);
      assert.equal(await isColoured(['--no-color'], { columns: 100 }), false);
      assert.equal(await isColoured([], { columns: 100, env: { NO_COLOR: '1' } }), false);
      assert.equal(await isColoured([], { columns: 100, env: { TERM: 'dumb' } }), false);
    });

    it('says that the daemon is not running, and where everything is', async () => {
      const env = { STIGMESH_URL: '', STIGMESH_API_PORT: '0' };
      const { code, stdout, stderr } = await bench.home.run(['query'], { env });
      assert.deepEqual([code, stdout], [3, '']);
      assert.match(stderr, /hint: start it with: stigmesh start/);
      const status = await bench.home.run(['status', '--url', await closedUrl()]);
      assert.equal(status.code, 3);
      assert.match(status.stdout, new RegExp(`config +${bench.home.directory}/config.toml`));
    });
  });

  async function closedUrl(): Promise<string> {
    const gone = await FakeDaemon.start();
    const { url } = gone;
    await gone.stop();
    return url;
  }

  it('config shows values, their origin, and no secrets', async () => {
    writeFileSync(join(bench.home.directory, 'config.toml'), 'version = 1\n[api]\nport = 1234\n');
    const { stdout } = await bench.run(['config', 'show', '--origin'], { env: { STIGMESH_API_KEY: 'smk_secret' } });
    assert.match(stdout, /^api\.port +1234 +file: .*config\.toml$/m);
    assert.ok(!stdout.includes('smk_secret'));
    assert.equal((await bench.run(['config', 'path', '-q'])).stdout, `${bench.home.directory}/config.toml\n`);
    assert.equal((await bench.run(['config', 'check'])).code, 0);
    writeFileSync(join(bench.home.directory, 'config.toml'), 'version = 1\n[api]\nprot = 1234\n');
    const { code, stderr } = await bench.run(['config', 'check']);
    assert.equal(code, 2);
    assert.match(stderr, /hint: did you mean api\.port/);
  });

  describe('stop', () => {
    it('has nothing to stop', async () => {
      assert.equal((await bench.run(['stop'])).code, 3);
    });

    it('gives up in time', async () => {
      const started = (await processStart({ platform: process.platform })(process.pid)) ?? '';
      const record = { pid: process.pid, process_started: started, host: 'test-host', created_at: '', nonce: 'n' };
      const stateDir = join(bench.home.directory, 'state');
      mkdirSync(stateDir);
      writeFileSync(lockFileOf({ stateDir }), JSON.stringify(record));
      const sent: unknown[] = [];
      let time = 0;
      const world = {
        kill: (pid: number, signal: string) => void sent.push(pid, signal),
        uptime: () => time,
        sleep: async () => {
          time += STOP_TIMEOUT_MS / 10;
        },
      };
      const { code, stderr } = await bench.run(['stop'], { world });
      assert.equal(code, 6);
      assert.deepEqual(sent, [process.pid, 'SIGTERM']);
      assert.match(stderr, /still runs after 20 s/);
    });
  });
});

import assert from 'node:assert/strict';
import { type ChildProcess, spawn, spawnSync } from 'node:child_process';
import { once } from 'node:events';
import { existsSync, mkdtempSync, readdirSync, readFileSync, rmSync, statSync, writeFileSync } from 'node:fs';
import { connect } from 'node:net';
import { hostname, tmpdir } from 'node:os';
import { join } from 'node:path';
import { findHolder, isRunning, lockFileOf } from '../../src/cli/running.ts';
import { resolvePaths } from '../../src/config/paths.ts';
import { stigmesh } from '../support/command.ts';
import { BIN, cleanEnvironment, type RunningDaemon, startDaemon } from '../support/daemon.ts';
import { until } from '../support/until.ts';

const children = new Set<ChildProcess>();

/** A command that runs on. What a failed test leaves behind is killed after it. */
function start(home: string, args: readonly string[], program = [process.execPath, BIN]): ChildProcess {
  const [command = '', ...rest] = program;
  const child = spawn(command, [...rest, ...args], {
    env: { ...cleanEnvironment(), STIGMESH_HOME: home, STIGMESH_MESH_LISTEN: '/ip4/127.0.0.1/tcp/0' },
    stdio: ['ignore', 'pipe', 'pipe'],
  });
  children.add(child);
  child.once('exit', () => children.delete(child));
  return child;
}

function killLeftovers(): void {
  for (const child of children) child.kill('SIGKILL');
}

/** Resolves when the stream of a child has printed the text; the last it prints is read after its 'exit'. */
function printed(child: ChildProcess, stream: 'stdout' | 'stderr', text: string): Promise<string> {
  return new Promise((resolve, reject) => {
    let all = '';
    child[stream]?.on('data', (chunk: Buffer) => {
      all += chunk.toString('utf8');
      if (all.includes(text)) resolve(all);
    });
    child.once('close', () => reject(new Error(`ended before printing ${text}: ${all}`)));
  });
}

describe('e2e: the command line against a real daemon', () => {
  let daemon: RunningDaemon;
  let scratch: string;
  afterEach(killLeftovers);
  const run = (args: string, stdin?: string) => stigmesh(daemon.home, args.split(' '), stdin);
  const ok = async (args: string, stdin?: string): Promise<string> => {
    const { code, stdout, stderr } = await run(args, stdin);
    assert.equal(code, 0, `${args}\n${stdout}${stderr}`);
    return stdout;
  };
  const okJson = async (args: string, stdin?: string) => JSON.parse(await ok(`${args} --json`, stdin));

  before(async () => {
    daemon = await startDaemon();
    scratch = mkdtempSync(join(tmpdir(), 'stigmesh-cli-e2e-'));
  });
  after(async () => {
    await daemon.stop();
    rmSync(scratch, { recursive: true, force: true });
  });

  it('writes the first key for its owner alone, and logs no key', () => {
    if (process.platform !== 'win32') assert.equal(statSync(join(daemon.home, 'api.key')).mode & 0o777, 0o600);
    assert.ok(!JSON.stringify(daemon.logs).includes(daemon.key));
    assert.equal(daemon.logs.filter(({ event }) => event === 'ready').length, 1);
  });

  it('asserts, queries, retracts and shows the history', async () => {
    assert.match(
      await ok('assert user:alice memory:role CEO --scope company'),
      /^✓ bagaaiera…\w{3} {2}stored, indexed, announced to 0 peers\n$/,
    );
    assert.equal(await ok('query user:alice memory:role -q'), 'CEO\n');
    const id = (await ok('assert user:alice memory:level 7 --scope company -q')).trim();
    assert.deepEqual((await okJson(`get ${id}`)).value, { type: 'number', v: 7, interpret_as: 'content' });
    assert.match(await ok('assert user:alice memory:level 7 --scope company'), /known already/);
    assert.equal(await ok(`get ${id} -q`), '7\n');
    assert.match(await ok(`verify ${id}`), /content +✓ good\nsignature +✓ good/);
    assert.match(await ok(`retract ${id}`), /retracted/);
    assert.equal((await run('query user:alice memory:level -q')).code, 4);
    const history = await okJson('history user:alice memory:level');
    assert.deepEqual(
      history.facts.map(({ state }: { state: string }) => state),
      ['retraction', 'retracted'],
    );
    const { facts } = await okJson('query user:alice memory:level --include retracted');
    assert.ok(facts.some(({ id: found }: { id: string }) => found === id));
  });

  it('shows a contradiction and resolves it', async () => {
    await ok('assert user:carol memory:role CEO --scope company --confidence 0.9');
    const output = await ok('assert user:carol memory:role CTO --scope company --confidence 0.8');
    assert.match(output, /contradicts another value/);
    const { conflicts } = await okJson('conflicts');
    assert.equal(conflicts.length, 1);
    const winner = [conflicts[0].fact_a, conflicts[0].fact_b].find(({ value }) => value.v === 'CTO').id;
    assert.match(
      await ok(`conflicts resolve ${conflicts[0].conflict_id} --winner ${winner} --note checked`),
      /resolved/,
    );
    assert.equal(await ok('query user:carol memory:role -q'), 'CTO\n');
    assert.equal(await ok('conflicts list -q'), '');
    assert.equal((await run(`conflicts resolve ${conflicts[0].conflict_id} --both-valid`)).code, 1);
    assert.equal((await run('conflicts resolve stigmem:conflict:0 --both-valid')).code, 4);
  });

  it('takes many facts, and values from files', async () => {
    const lines = Array.from(
      { length: 1200 },
      (_, at) => `{"entity":"item:${at}","relation":"bulk:n","value":${at}}`,
    ).join('\n');
    const report = await okJson('assert --stdin --idempotency-key bulk', lines);
    assert.deepEqual([report.accepted, report.existing, report.rejected], [1200, 0, 0]);
    assert.equal((await okJson('query --relation-prefix bulk: --all')).facts.length, 1200);
    const broken = await run(
      'assert --stdin',
      '{"entity":"item:x","relation":"bulk:n","value":1}\n{"entity":"stigmem://","relation":"bulk:n","value":1}\n',
    );
    assert.equal(broken.code, 1);
    assert.match(broken.stderr, /^line 2: /m);
    const file = join(scratch, 'note.txt');
    writeFileSync(file, 'two\nlines\n');
    assert.equal((await okJson(`assert user:alice memory:note --file ${file}`)).value.type, 'text');
    assert.equal(await ok('query user:alice memory:note -q'), 'two\\nlines\n');
  });

  it('follows what is committed, from where it is told', async () => {
    const { seq } = await okJson('status');
    await ok('assert user:dora watch:before 1');
    const child = start(daemon.home, ['watch', 'watch:*', '--since', String(seq), '--count', '2', '--json']);
    const ended = once(child, 'close');
    const first = await printed(child, 'stdout', '\n');
    let rest = '';
    child.stdout?.on('data', (chunk: Buffer) => {
      rest += chunk.toString('utf8');
    });
    await ok('assert user:dora other:relation 1');
    await ok('assert user:dora watch:after 2');
    const [code] = await ended;
    assert.equal(code, 0);
    const events = (first + rest)
      .trim()
      .split('\n')
      .map((line) => JSON.parse(line));
    assert.deepEqual(
      events.map(({ event, data }) => [event, data.relation]),
      [
        ['fact', 'watch:before'],
        ['fact', 'watch:after'],
      ],
    );
    assert.equal(Number(events[1].id), events[1].data.seq);
  });

  it('manages keys, and their permissions hold', async () => {
    const reader = (await ok('keys create agent:reader --permissions read -q')).trim();
    const keyFile = join(scratch, 'reader.key');
    writeFileSync(keyFile, reader, { mode: 0o600 });
    const as = (args: string) => {
      const env = { ...cleanEnvironment(), STIGMESH_HOME: daemon.home, STIGMESH_API_KEY_FILE: keyFile };
      const child = spawn(process.execPath, [BIN, ...args.split(' ')], { env, stdio: 'ignore' });
      return once(child, 'close').then(([code]) => code);
    };
    assert.equal(await as('query user:alice'), 0);
    assert.equal(await as('assert user:alice memory:x 1'), 5);
    const { id } = (await okJson('keys list --all')).find(
      (key: { entity_uri: string }) => key.entity_uri === 'agent:reader',
    );
    await ok(`keys revoke ${id}`);
    assert.equal(await as('query user:alice'), 5);
    assert.equal((await run('keys revoke 00000000-0000-4000-8000-000000000000')).code, 4);
  });

  it('manages gardens', async () => {
    assert.match(await ok('gardens create roses --name Roses --scope team'), /✓ stigmem:\/\/.*\/garden\/roses/);
    await ok('assert user:erin memory:secret 1 --scope team --garden roses');
    await ok('gardens add roses agent:helper --role writer');
    await ok('gardens role roses agent:helper reader');
    assert.match(await ok('gardens members roses'), /agent:helper +reader/);
    await ok('gardens remove roses agent:helper');
    assert.equal((await okJson('gardens show roses')).members.length, 1);
    assert.equal((await run('gardens show tulips')).code, 4);
    assert.equal((await run('gardens create roses')).code, 1);
    await ok('gardens delete roses --yes');
    assert.equal(await ok('gardens list -q'), '');
  });

  it('shows status, audit and findings', async () => {
    const status = await okJson('status');
    assert.equal(status.url, daemon.url);
    assert.equal(typeof status.pid, 'number');
    assert.match(await ok('status'), new RegExp(`^data +${daemon.home}/data$`, 'm'));
    assert.match(await ok('audit --type key_create'), /key_create/);
    const id = (await ok('assert user:frank memory:audited 1 -q')).trim();
    assert.equal((await okJson(`audit --fact ${id}`)).length, 1);
    assert.match(await ok('lint company'), /findings? in \d+ facts?/);
  });

  it('exports everything and imports it into another home, signatures and all', async () => {
    const file = join(scratch, 'export.jsonl');
    const { statements } = await okJson(`export ${file}`);
    assert.equal(readFileSync(file, 'utf8').trim().split('\n').length, statements);
    if (process.platform !== 'win32') assert.equal(statSync(file).mode & 0o777, 0o600);
    assert.equal((await run(`export ${file}`)).code, 1);
    assert.deepEqual(await okJson(`import ${file}`).then(({ accepted, duplicates }) => [accepted, duplicates]), [
      0,
      statements,
    ]);
    const damaged = readFileSync(file, 'utf8').replace('"CEO"', '"CFO"');
    const { code, stderr } = await run('import -', damaged);
    assert.equal(code, 1);
    assert.match(stderr, /line 1: .*bad_signature/);
  });

  it('leaves the store to the daemon while that runs', async () => {
    for (const command of ['verify', 'reindex']) {
      const { code, stderr } = await run(command);
      assert.equal(code, 1);
      assert.match(stderr, /another daemon \(pid \d+\)/);
      assert.match(stderr, /hint: stop it with 'stigmesh stop'/);
    }
    const second = await run('start --port 0');
    assert.equal(second.code, 1);
    assert.match(second.stderr, /another daemon \(pid \d+\)/);
  });

  it('reads its configuration again on SIGHUP', async () => {
    writeFileSync(
      join(daemon.home, 'config.toml'),
      `${readFileSync(join(daemon.home, 'config.toml'), 'utf8')}\n[log]\nlevel = "debug"\n`,
    );
    const { pid } = await okJson('status');
    const logged = (wanted: string) => daemon.logs.find(({ event }) => event === wanted);
    process.kill(pid, 'SIGHUP');
    await until(() => logged('reloaded') !== undefined, 'the configuration to be read');
    assert.match(JSON.stringify(logged('reloaded')), /"level":"debug"/);
    writeFileSync(join(daemon.home, 'config.toml'), 'nonsense');
    process.kill(pid, 'SIGHUP');
    await until(() => logged('reload_failed') !== undefined, 'the configuration to be refused');
    assert.equal(logged('reload_failed')?.code, 'config_syntax');
    writeFileSync(join(daemon.home, 'config.toml'), 'version = 1\n');
    assert.equal(await ok('status -q'), 'ok\n');
  });

  it('stops the daemon, and says so when there is none', async () => {
    assert.match(await ok('stop'), /✓ stopped \(pid \d+\)/);
    assert.deepEqual(await daemon.ended, [0, null]);
    assert.equal((await run('stop')).code, 3);
    assert.equal(existsSync(join(daemon.home, 'state', 'daemon.json')), false);
    assert.match(await ok('verify'), /statements good: content and signature/);
    assert.equal(await ok('reindex -q'), 'unchanged\n');
  });

  it('fault 43: says after a quarantine what is gone, and which numbers were only left out', async () => {
    const data = join(daemon.home, 'data');
    const [table] = readdirSync(data)
      .filter((name) => name.endsWith('.ldb'))
      .sort((a, b) => statSync(join(data, b)).size - statSync(join(data, a)).size);
    const bytes = readFileSync(join(data, table!));
    bytes[20]! ^= 1;
    writeFileSync(join(data, table!), bytes);
    const found = await run('verify');
    assert.deepEqual([found.code, found.stdout.includes(table!)], [1, true]);
    assert.equal((await run('verify --quarantine')).code, 1);
    const { code, stdout, stderr } = await run('verify --full');
    assert.equal(code, 1);
    assert.match(stdout, /–\d+ +lost +sequence numbers without statements: gone, or never given \(.* 100000 out\)/);
    assert.match(stderr, /error: 0 of \d+ statements? damaged, sequence numbers without statements\n/);
  });
});

describe('e2e: starting and ending', () => {
  let home: string;
  beforeEach(() => {
    home = mkdtempSync(join(tmpdir(), 'stigmesh-start-'));
  });
  afterEach(() => {
    killLeftovers();
    rmSync(home, { recursive: true, force: true });
  });

  it('init makes a home once, and tells where everything is', async () => {
    const first = await stigmesh(home, ['init', '--org', 'acme.example']);
    assert.equal(first.code, 0, first.stderr);
    assert.match(first.stdout, /^✓ initialised$/m);
    assert.match(first.stdout, /^org +acme\.example$/m);
    const key = readFileSync(join(home, 'api.key'), 'utf8');
    assert.ok(!first.stdout.includes(key.trim()));
    const again = await stigmesh(home, ['init', '--json']);
    const report = JSON.parse(again.stdout);
    assert.deepEqual([report.created, report.org], [false, 'acme.example']);
    assert.equal(readFileSync(join(home, 'api.key'), 'utf8'), key);
  });

  it('prints the summary where it is asked for, and the log elsewhere', async () => {
    const child = start(home, ['start', '--port', '0', '--pretty']);
    const summary = await printed(child, 'stdout', 'Ready in');
    for (const line of [
      /^✓ node key {5}12D3KooW\S+ \(Ed25519, 0600\) {6}org \S+ {3}fingerprint \S+$/m,
      /^✓ store {8}0 facts, schema 1, durable writes$/m,
      /^✓ mesh {9}listening \/ip4\/127\.0\.0\.1\/tcp\/\d+ \(noise, yamux\); no peers declared yet$/m,
      /^✓ API {10}http:\/\/127\.0\.0\.1:\d+ {3}key: \S+ \(0600\) {3}docs http:\/\/\S+\/docs$/m,
    ]) {
      assert.match(summary, line);
    }
    const stopped = printed(child, 'stderr', 'stopped');
    const ended = once(child, 'exit');
    child.kill('SIGINT');
    await stopped;
    assert.deepEqual(await ended, [0, null]);
  });

  it('takes settings from the command line, and refuses wrong ones before anything is made', async () => {
    const wrong = await stigmesh(home, ['start', '--set', 'api.prot=1', '--port', 'x']);
    assert.equal(wrong.code, 2);
    assert.match(wrong.stderr, /2 problems[\s\S]*did you mean api\.port/);
    assert.equal(existsSync(join(home, 'keys')), false);
    const daemon = await startDaemon({ home, args: ['--set', 'auth.required=false', '--log-format', 'json'] });
    try {
      assert.equal((await daemon.fetch('/v1/facts', { key: null })).status, 200);
      assert.ok(daemon.logs.some(({ msg }) => String(msg).includes('auth.required = false')));
    } finally {
      assert.equal(await daemon.stop(), 0);
    }
  });

  it('goes on when its log lies on a full disk; an answer that cannot be written is an error', async function () {
    if (!existsSync('/dev/full')) this.skip();
    const full = (args: string) =>
      start(home, [], ['bash', '-c', `exec "${process.execPath}" "${BIN}" ${args} > /dev/full`]);
    for (const [args, said] of [
      ['version', /^error: the output cannot be written\ncause: ENOSPC: .*\nhint: .*\n$/],
      ['version --json', /^\{"error":\{"code":"output_lost",.*"exit_code":1,.*\}\}\n$/],
    ] as const) {
      const child = full(args);
      let stderr = '';
      child.stderr?.on('data', (chunk: Buffer) => {
        stderr += chunk.toString('utf8');
      });
      assert.deepEqual(await once(child, 'close'), [1, null]);
      assert.match(stderr, said);
    }
    const daemon = full('start --port 0');
    const ended = once(daemon, 'exit');
    await until(async () => (await stigmesh(home, ['status', '-q'])).stdout === 'ok\n', 'it to serve');
    assert.equal((await stigmesh(home, ['stop'])).code, 0);
    assert.deepEqual(await ended, [0, null]);
  });

  it('goes on when its log has no reader any more, and ends in order when its terminal is closed', async function () {
    const { error } = spawnSync('script', ['--version']);
    // util-linux has the only `script` that runs a command this way.
    if (error !== undefined || process.platform !== 'linux') this.skip();
    const daemon = await startDaemon({ home });
    daemon.process.stdout?.destroy();
    daemon.process.stderr?.destroy();
    daemon.process.kill('SIGHUP');
    assert.equal(
      (
        await daemon.fetch('/v1/facts', {
          json: { entity: 'user:a', relation: 'x:y', value: { type: 'null' }, source: 'user:a' },
          method: 'POST',
        })
      ).status,
      201,
    );
    assert.equal(await daemon.stop(), 0);

    const terminal = start(home, [], ['script', '-qfec', `"${process.execPath}" "${BIN}" start --port 0`, '/dev/null']);
    await printed(terminal, 'stdout', 'Ready in');
    const paths = resolvePaths({ env: {}, homedir: home, cwd: home, home });
    const holder = await findHolder(paths, { platform: process.platform, hostname: hostname() });
    assert.ok(holder);
    terminal.kill('SIGKILL');
    await until(async () => !(await isRunning(holder, process.platform)), 'the daemon to end', 30_000);
    // In order: the lock was released, not left behind.
    assert.equal(existsSync(lockFileOf(paths)), false);
  });

  it('finishes open requests at the first signal, and ends at once at the second', async () => {
    // So long that what ends it is the signal.
    const daemon = await startDaemon({ home, env: { STIGMESH_DAEMON_DRAIN_TIMEOUT_S: '300' } });
    const { port } = new URL(daemon.url);
    // A request that has begun and does not go on keeps the daemon draining.
    const socket = connect(Number(port), '127.0.0.1');
    socket.on('error', () => {});
    await once(socket, 'connect');
    socket.write(
      `POST /v1/facts HTTP/1.1\r\nHost: 127.0.0.1:${port}\r\nAuthorization: Bearer ${daemon.key}\r\nContent-Type: application/json\r\nContent-Length: 1000\r\nExpect: 100-continue\r\n\r\n`,
    );
    await once(socket, 'data');
    daemon.process.kill('SIGTERM');
    await until(() => daemon.logs.some(({ event }) => event === 'stopping'), 'the first signal to be heard');
    daemon.process.kill('SIGINT');
    assert.deepEqual(await daemon.ended, [1, null]);
    socket.destroy();
    // The lock of the one that was cut off is taken over.
    const next = await startDaemon({ home });
    assert.equal(await next.stop(), 0);
  });
});

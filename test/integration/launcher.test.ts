import assert from 'node:assert/strict';
import { readFileSync, utimesSync } from 'node:fs';
import { createRequire } from 'node:module';
import { dirname, join } from 'node:path';
import fc from 'fast-check';
import { BIN, EMPTY_LOCK, Fixture } from './launcher-fixture.ts';

const require = createRequire(import.meta.url);
const runtime = require(join(BIN, 'runtime.js')) as {
  MINIMUM_NODE: string;
  RUNTIME_VERSION: string;
  RUNTIME_PACKAGES: Record<string, string>;
  isAtLeast(found: string, wanted: string): boolean;
  typeScriptFlags(version: string): string[];
  daemonFlags(args: string[], given: string[]): string[];
};
const { guardSignals, REPEAT_WINDOW_MS } = require(join(BIN, 'signal-guard.js')) as {
  REPEAT_WINDOW_MS: number;
  guardSignals(target: { emit: (...args: unknown[]) => boolean }, now: () => number): void;
};
const { matchesLock } = require(join(BIN, 'dependencies.js')) as {
  matchesLock(root: string, platform: string, arch: string): boolean;
};

/** Reports every signal it gets; on the second SIGHUP it reports the totals and ends with code 7. */
const SIGNAL_COUNTER = `
const seen = { SIGTERM: 0, SIGINT: 0, SIGHUP: 0 };
for (const name of Object.keys(seen)) {
  process.on(name, () => {
    seen[name] += 1;
    console.log(name + ' ' + seen[name]);
    if (seen.SIGHUP === 2) {
      console.log('total ' + JSON.stringify(seen));
      process.exit(7);
    }
  });
}
setInterval(() => {}, 1000);
console.log('pid ' + process.pid + ' parent ' + process.ppid);
console.log('ready');
`;

const REPORT = `console.log(JSON.stringify({ argv: process.argv.slice(2), pid: process.pid, ppid: process.ppid }));
process.exitCode = 5;`;

const posixOnly = process.platform === 'win32' ? describe.skip : describe;

describe('launcher: versions', () => {
  const version = fc.tuple(fc.nat(40), fc.nat(40), fc.nat(40));

  it('orders versions by number, part by part', () => {
    fc.assert(
      fc.property(version, version, (a, b) => {
        const order = a[0] - b[0] || a[1] - b[1] || a[2] - b[2];
        assert.equal(runtime.isAtLeast(a.join('.'), b.join('.')), order >= 0);
      }),
    );
    assert.equal(runtime.isAtLeast('v22.12', '22.12.0'), true);
    assert.equal(runtime.isAtLeast('24.0.0-nightly2025', '24.0.0'), true);
    assert.throws(() => runtime.isAtLeast('latest', '22.0.0'), TypeError);
  });

  it('asks for the Node that package.json declares, and pins one that satisfies it', () => {
    const manifest = JSON.parse(readFileSync(join(BIN, '../../package.json'), 'utf8'));
    assert.equal(`${manifest.engines.node.replace('>=', '')}.0`, runtime.MINIMUM_NODE);
    assert.equal(runtime.isAtLeast(runtime.RUNTIME_VERSION, runtime.MINIMUM_NODE), true);
  });

  it('adds the flags for TypeScript only where stripping is not on by default', () => {
    for (const version of ['22.12.0', '22.17.9', '23.0.0', '23.5.0']) {
      assert.deepEqual(
        runtime.typeScriptFlags(version),
        ['--experimental-strip-types', '--disable-warning=ExperimentalWarning'],
        version,
      );
    }
    for (const version of ['22.18.0', '22.20.1', '23.6.0', '24.0.0', runtime.RUNTIME_VERSION]) {
      assert.deepEqual(runtime.typeScriptFlags(version), [], version);
    }
  });

  it('gives the command that serves a small young generation, unless the user chose one', () => {
    const [flag, ...more] = runtime.daemonFlags(['start', '--json'], ['--enable-source-maps', '']);
    assert.match(flag!, /^--max-semi-space-size=\d+$/);
    assert.deepEqual(more, []);
    assert.deepEqual(runtime.daemonFlags(['status'], []), []);
    for (const chosen of [
      '--max-semi-space-size=64',
      '--max_semi_space_size=64',
      '--min-semi-space-size=16 --inspect',
    ]) {
      assert.deepEqual(runtime.daemonFlags(['start'], [chosen]), [], chosen);
    }
  });
});

describe('launcher: signal guard', () => {
  function guarded() {
    const emitted: string[] = [];
    const clock = { now: 0 };
    const target = {
      emit: (...args: unknown[]) => {
        emitted.push(String(args[0]));
        return true;
      },
    };
    guardSignals(target, () => clock.now);
    return { emitted, clock, target };
  }

  it('drops a repeated stop signal within the window and lets a later one through', () => {
    const { emitted, clock, target } = guarded();
    target.emit('SIGINT');
    clock.now = REPEAT_WINDOW_MS - 1;
    assert.equal(target.emit('SIGINT'), true);
    assert.deepEqual(emitted, ['SIGINT']);
    clock.now = REPEAT_WINDOW_MS;
    target.emit('SIGINT');
    assert.deepEqual(emitted, ['SIGINT', 'SIGINT']);
  });

  it('counts each signal for itself and leaves everything else alone', () => {
    const { emitted, target } = guarded();
    for (const name of ['SIGINT', 'SIGTERM', 'SIGHUP', 'SIGHUP', 'exit', 'exit']) target.emit(name);
    assert.deepEqual(emitted, ['SIGINT', 'SIGTERM', 'SIGHUP', 'SIGHUP', 'exit', 'exit']);
  });
});

describe('launcher: what is installed', () => {
  let fixture: Fixture;
  beforeEach(() => {
    fixture = new Fixture();
  });
  afterEach(() => fixture.dispose());

  const lock = (packages: object) => JSON.stringify({ lockfileVersion: 3, packages: { '': {}, ...packages } });
  const matches = () => matchesLock(fixture.root, 'linux', 'x64');

  it('accepts an installation npm has finished, without packages made for other platforms', () => {
    fixture.write(
      'package-lock.json',
      lock({
        'node_modules/a': { version: '1.0.0', integrity: 'sha512-a' },
        'node_modules/b': { version: '1.0.0', optional: true, os: ['darwin'], cpu: ['arm64'] },
        'node_modules/c': { version: '1.0.0', optional: true, os: ['!linux'] },
      }),
    );
    fixture.write('node_modules/a/package.json', '{}');
    assert.equal(matches(), false, 'npm has not finished');
    fixture.write(
      'node_modules/.package-lock.json',
      lock({ 'node_modules/a': { version: '1.0.0', integrity: 'sha512-a' } }),
    );
    assert.equal(matches(), true);
  });

  it('refuses another version, other bytes, a missing package and a damaged record', () => {
    const wanted = { 'node_modules/a': { version: '1.0.0', integrity: 'sha512-a' } };
    fixture.write('package-lock.json', lock(wanted));
    fixture.write('node_modules/a/package.json', '{}');
    for (const found of [
      { 'node_modules/a': { version: '1.0.1', integrity: 'sha512-a' } },
      { 'node_modules/a': { version: '1.0.0', integrity: 'sha512-b' } },
      {},
    ]) {
      fixture.write('node_modules/.package-lock.json', lock(found));
      assert.equal(matches(), false, JSON.stringify(found));
    }
    fixture.write('node_modules/.package-lock.json', '{"packages":');
    assert.equal(matches(), false);
    fixture.write('node_modules/.package-lock.json', lock(wanted));
    fixture.write('package-lock.json', lock({ ...wanted, 'node_modules/z': { version: '1.0.0', integrity: 'x' } }));
    assert.equal(matches(), false);
  });

  it('calls npm once, and again only when the lock has changed', async () => {
    fixture.write('src/cli/main.ts', REPORT);
    const first = await fixture.run('stigmesh', []);
    assert.equal(first.code, 5);
    assert.match(first.stderr, /^stigmesh: installing dependencies \(npm ci\) …\n$/);
    const second = await fixture.run('stigmesh', []);
    assert.equal(second.stderr, '');
    assert.equal(fixture.npmCalls().length, 1);
    assert.match(fixture.npmCalls()[0] ?? '', /^ci --include=dev /);
    fixture.write('package-lock.json', `${EMPTY_LOCK}\n`);
    await fixture.run('stigmesh', []);
    assert.equal(fixture.npmCalls().length, 2);
  });

  it('reports what npm said, with a hint, and tries again the next time', async () => {
    fixture.write('src/cli/main.ts', REPORT);
    const failed = await fixture.run('stigmesh', [], { env: { FAKE_NPM_FAILS: '1' } });
    assert.equal(failed.code, 1);
    assert.equal(failed.stdout, '');
    assert.match(failed.stderr, /npm ci failed \(exit 3\)\n {2}npm error code ENOTFOUND\n {2}hint: check the network/);
    assert.equal(fixture.has('.runtime/install.lock'), false);
    assert.equal((await fixture.run('stigmesh', [])).code, 5);
  });

  it('lets only one of two launchers install', async () => {
    fixture.write('src/cli/main.ts', REPORT);
    const env = { FAKE_NPM_GATE: join(fixture.root, 'gate') };
    const first = fixture.launch('stigmesh', [], { env });
    await first.printed('installing dependencies', 'stderr');
    const second = fixture.launch('stigmesh', [], { env });
    await second.printed('waiting for another installation', 'stderr');
    fixture.write('gate', '');
    assert.equal((await first.ended).code, 5);
    assert.equal((await second.ended).code, 5);
    assert.equal(fixture.npmCalls().length, 1);
  });

  it('takes over the lock of an installer that died', async () => {
    fixture.write('src/cli/main.ts', REPORT);
    const lockFile = fixture.write('.runtime/install.lock', '1 1\n');
    const longAgo = new Date(Date.now() - 3_600_000);
    utimesSync(lockFile, longAgo, longAgo);
    assert.equal((await fixture.run('stigmesh', [])).code, 5);
    assert.equal(fixture.has('.runtime/install.lock'), false);
  });

  posixOnly('interrupted', () => {
    it('stops npm, gives the lock back and dies by the same signal', async () => {
      fixture.write('src/cli/main.ts', REPORT);
      const launched = fixture.launch('stigmesh', [], { env: { FAKE_NPM_GATE: join(fixture.root, 'gate') } });
      await launched.printed('installing dependencies', 'stderr');
      launched.process.kill('SIGTERM');
      assert.equal((await launched.ended).signal, 'SIGTERM');
      assert.match(launched.stderr(), /^stigmesh: stopping as soon as npm has ended …$/m);
      assert.equal(fixture.has('.runtime/install.lock'), false);
      assert.equal(fixture.has('node_modules/.stigmesh-installed'), false);
    });
  });
});

describe('launcher: which Node runs what', () => {
  let fixture: Fixture;
  afterEach(() => fixture.dispose());

  it('runs the sources of a clone in its own process on a current Node', async () => {
    fixture = new Fixture();
    fixture.write('src/cli/main.ts', `const typed: string = 'x';\n${REPORT}`);
    const launched = fixture.launch('stigmesh', ['status', '--json', 'a b']);
    assert.equal((await launched.ended).code, 5);
    const report = JSON.parse(launched.stdout());
    assert.deepEqual(report.argv, ['status', '--json', 'a b']);
    if (runtime.typeScriptFlags(process.versions.node).length === 0) assert.equal(report.pid, launched.process.pid);
  });

  it('begins the serving process anew with its flags: same pid, same arguments, once', async () => {
    fixture = new Fixture();
    const flags = 'console.log(JSON.stringify(process.execArgv));';
    fixture.write('src/cli/main.ts', `${flags}\n${REPORT}`);
    const launched = fixture.launch('stigmesh', ['start', 'a b']);
    assert.equal((await launched.ended).code, 5);
    const [execArgv, report] = launched
      .stdout()
      .trim()
      .split('\n')
      .map((line) => JSON.parse(line));
    assert.deepEqual(report.argv, ['start', 'a b']);
    assert.doesNotMatch(launched.stderr(), /Warning/);
    const isOwn = runtime.typeScriptFlags(process.versions.node).length === 0;
    if (isOwn) assert.equal(report.pid, launched.process.pid);
    if (isOwn && 'execve' in process) {
      assert.deepEqual(
        execArgv.filter((flag: string) => flag.includes('semi-space')),
        runtime.daemonFlags(['start'], []),
      );
    }
  });

  it('runs the built files of an installed package, even if it ships sources', async () => {
    fixture = new Fixture('node_modules/stigmesh');
    fixture.write('src/cli/main.ts', 'process.exit(99);');
    fixture.write('dist/cli/main.js', REPORT);
    const launched = fixture.launch('stigmesh', ['--version']);
    assert.equal((await launched.ended).code, 5);
    assert.equal(JSON.parse(launched.stdout()).pid, launched.process.pid);
    assert.deepEqual(fixture.npmCalls(), []);
  });

  it('tells the user of an installed package kindly that Node is too old', async () => {
    fixture = new Fixture('node_modules/stigmesh');
    fixture.write('dist/cli/main.js', 'process.exit(99);');
    const result = await fixture.run('stigmesh', ['status'], { oldNode: true });
    assert.equal(result.code, 1);
    assert.equal(result.stdout, '');
    assert.match(
      result.stderr,
      /^stigmesh: this is Node 20\.11\.1; Stigmesh needs Node 22\.12\.0 or newer\n {2}hint: /,
    );
    assert.match(result.stderr, /nodejs\.org/);
  });

  it('shows the error of an entry that cannot start', async () => {
    fixture = new Fixture('node_modules/stigmesh');
    fixture.write('dist/cli/main.js', "throw new Error('entry broke');");
    const result = await fixture.run('stigmesh', []);
    assert.equal(result.code, 1);
    assert.match(result.stderr, /Error: entry broke\n\s+at /);
  });

  posixOnly('in a clone on an old Node', () => {
    it('brings the pinned runtime once, then the dependencies, and runs on it', async function () {
      if (runtime.RUNTIME_PACKAGES[`${process.platform}-${process.arch}`] === undefined) return this.skip();
      fixture = new Fixture();
      fixture.write('src/cli/main.ts', REPORT);
      const launched = fixture.launch('stigmesh', ['x'], { oldNode: true });
      assert.equal((await launched.ended).code, 5);
      const report = JSON.parse(launched.stdout());
      assert.deepEqual(report.argv, ['x']);
      assert.equal(report.ppid, launched.process.pid);
      assert.match(
        launched.stderr(),
        /installing Node 24\.\d+\.\d+ into \.runtime \(this is Node 20\.11\.1\) …\n.*npm ci/,
      );
      const calls = fixture.npmCalls();
      assert.equal(calls.length, 2);
      assert.match(calls[0] ?? '', /^install --prefix \S+ --no-save node-\S+@24\./);
      const again = await fixture.run('stigmesh', ['x'], { oldNode: true });
      assert.equal(again.code, 5);
      assert.equal(again.stderr, '');
      assert.equal(fixture.npmCalls().length, 2);
    });
  });
});

posixOnly('launcher: signals to a launcher with a child', () => {
  let fixture: Fixture;
  beforeEach(function () {
    if (runtime.RUNTIME_PACKAGES[`${process.platform}-${process.arch}`] === undefined) return this.skip();
    fixture = new Fixture();
    fixture.write('src/cli/main.ts', SIGNAL_COUNTER);
  });
  afterEach(() => fixture?.dispose());

  /** Two SIGHUPs one after the other: when the second has arrived, so has whatever was sent before the first. */
  async function total(launched: ReturnType<Fixture['launch']>): Promise<Record<string, number>> {
    launched.process.kill('SIGHUP');
    await launched.printed('SIGHUP 1');
    launched.process.kill('SIGHUP');
    await launched.printed('total');
    return JSON.parse(/total (.*)/.exec(launched.stdout())?.[1] ?? '');
  }

  for (const signal of ['SIGTERM', 'SIGINT'] as const) {
    it(`passes ${signal} on exactly once and exits with the child's code`, async () => {
      const launched = fixture.launch('stigmesh', [], { oldNode: true });
      await launched.printed('ready');
      launched.process.kill(signal);
      await launched.printed(`${signal} 1`);
      assert.deepEqual(await total(launched), { SIGTERM: 0, SIGINT: 0, SIGHUP: 2, [signal]: 1 });
      assert.deepEqual(await launched.ended, { code: 7, signal: null });
    });

    it(`delivers a ${signal} to the whole process group once`, async () => {
      const launched = fixture.launch('stigmesh', [], { oldNode: true, detached: true });
      await launched.printed('ready');
      process.kill(-(launched.process.pid as number), signal);
      await launched.printed(`${signal} 1`);
      assert.equal((await total(launched))[signal], 1);
      assert.deepEqual(await launched.ended, { code: 7, signal: null });
    });
  }

  it('dies by the signal its child died by', async () => {
    const launched = fixture.launch('stigmesh', [], { oldNode: true });
    await launched.printed('ready');
    const pid = Number(/pid (\d+)/.exec(launched.stdout())?.[1]);
    process.kill(pid, 'SIGKILL');
    assert.deepEqual(await launched.ended, { code: null, signal: 'SIGKILL' });
  });
});

describe('with-runtime', () => {
  let fixture: Fixture;
  beforeEach(() => {
    fixture = new Fixture();
  });
  afterEach(() => fixture.dispose());

  it('puts its Node first in PATH, then the commands of installed packages', async () => {
    const print = 'console.log(process.env.PATH)';
    const result = await fixture.run('with-runtime', ['node', '-e', print]);
    assert.equal(result.code, 0);
    assert.deepEqual(result.stdout.split(':').slice(0, 2), [
      dirname(process.execPath),
      join(fixture.root, 'node_modules', '.bin'),
    ]);
  });

  it("returns the command's exit code", async () => {
    assert.equal((await fixture.run('with-runtime', ['node', '-e', 'process.exit(9)'])).code, 9);
  });

  it('explains a missing command and missing arguments', async () => {
    const unknown = await fixture.run('with-runtime', ['no-such-command-here']);
    assert.equal(unknown.code, 1);
    assert.match(unknown.stderr, /command not found: no-such-command-here\n {2}hint: /);
    const none = await fixture.run('with-runtime', []);
    assert.equal(none.code, 2);
    assert.match(none.stderr, /usage: with-runtime/);
  });
});

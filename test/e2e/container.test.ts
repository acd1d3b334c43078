import assert from 'node:assert/strict';
import { execFileSync, spawn, spawnSync } from 'node:child_process';
import { once } from 'node:events';
import { cpSync, existsSync, mkdirSync, mkdtempSync, readFileSync, rmSync, symlinkSync } from 'node:fs';
import { createRequire } from 'node:module';
import { tmpdir } from 'node:os';
import { dirname, join } from 'node:path';
import { createInterface } from 'node:readline';
import { ContainerEngine } from '../support/container-engine.ts';
import { cleanEnvironment, ROOT } from '../support/daemon.ts';

const { RUNTIME_VERSION } = createRequire(import.meta.url)(join(ROOT, 'scripts/bin/runtime.js')) as {
  RUNTIME_VERSION: string;
};

interface Instruction {
  readonly stage: number;
  readonly name: string;
  readonly args: string;
}

/** Instructions of a Dockerfile with the number of their stage; continued lines are joined. */
function instructions(text: string): Instruction[] {
  let stage = -1;
  const found: Instruction[] = [];
  for (const line of text.replaceAll('\\\n', ' ').split('\n')) {
    const match = /^([A-Z]+) +(.*)$/.exec(line);
    if (!match) continue;
    if (match[1] === 'FROM') stage += 1;
    found.push({ stage, name: match[1]!, args: match[2]! });
  }
  return found;
}

const dockerfile = instructions(readFileSync(join(ROOT, 'docker/Dockerfile'), 'utf8').replace(/^#.*\n/gm, ''));
const of = (name: string, stage?: number) =>
  dockerfile.filter((one) => one.name === name && (stage === undefined || one.stage === stage)).map(({ args }) => args);

/** Fetching the base image and building on it. */
const ENGINE_MS = 900_000;

describe('e2e: the container', function () {
  this.timeout(300_000);

  it('is built on the pinned runtime, runs as nobody and says when it is well', () => {
    for (const base of of('FROM')) assert.match(base, new RegExp(`^node:${RUNTIME_VERSION}-[a-z]+-slim( AS build)?$`));
    assert.deepEqual(of('USER', 1), ['10001:10001']);
    assert.match(of('HEALTHCHECK')[0]!, /\/readyz/);
    assert.deepEqual(of('ADD'), []);
    const compose = readFileSync(join(ROOT, 'docker/compose.yaml'), 'utf8');
    for (const line of [
      'init: true',
      'read_only: true',
      '- ALL',
      '- no-new-privileges:true',
      '- 127.0.0.1:8765:8765',
    ]) {
      assert.ok(compose.includes(line), line);
    }
    const services = [...compose.matchAll(/^ {2}(\w+):\n {4}<<: \*daemon\n([\s\S]*?) {4}ports:/gm)];
    assert.equal(services.length, 3);
    for (const [, service, env] of services) {
      // Other addresses at the next start would part peers for good.
      assert.ok(env!.includes(`STIGMESH_MESH_ANNOUNCE: /dns4/${service}/tcp/4701`), service);
    }
    assert.doesNotMatch(compose, /privileged: true|network_mode: host|\/var\/run\/docker.sock/);
  });

  it('is given nothing but what it copies', () => {
    const ignore = readFileSync(join(ROOT, '.dockerignore'), 'utf8').split('\n');
    const rules = ignore.filter((line) => line !== '' && !line.startsWith('#'));
    assert.equal(rules[0], '*');
    const given = rules.slice(1).map((rule) => /^!(\S+)$/.exec(rule)?.[1] ?? assert.fail(rule));
    const copied = of('COPY')
      .filter((args) => !args.startsWith('--from='))
      .flatMap((args) => args.split(' ').slice(0, -1));
    assert.deepEqual([...new Set(copied)].sort(), given.sort());
    for (const name of copied) assert.ok(existsSync(join(ROOT, name)), name);
  });

  describe('laid out as the image is, without an engine', () => {
    let root: string;
    const build = () => join(root, 'src');
    const image = () => join(root, 'opt/stigmesh');

    before(() => {
      root = mkdtempSync(join(tmpdir(), 'stigmesh-image-'));
      mkdirSync(build(), { recursive: true });
      mkdirSync(image(), { recursive: true });
      copy(0, build());
      // What npm ci would bring, at the versions of the lock file.
      symlinkSync(join(ROOT, 'node_modules'), join(build(), 'node_modules'));
      execFileSync('npm', ['run', 'build', '--silent'], { cwd: build(), stdio: ['ignore', 'ignore', 'inherit'] });
      copy(1, image());
    });

    after(() => rmSync(root, { recursive: true, force: true }));

    /** The COPY instructions of a stage, as far as they are about files of this repository or of the stage before. */
    function copy(stage: number, to: string): void {
      for (const args of of('COPY', stage)) {
        const words = args.split(' ');
        const isFromBuild = words[0]!.startsWith('--from=');
        const sources = words
          .slice(isFromBuild ? 1 : 0, -1)
          .map((name) => (isFromBuild ? join(root, name) : join(ROOT, name)));
        const target = words.at(-1)!;
        for (const source of sources) {
          const place = target.endsWith('/')
            ? join(to, target, source.slice(source.lastIndexOf('/') + 1))
            : join(to, target);
          mkdirSync(dirname(place), { recursive: true });
          cpSync(source, place, { recursive: true, verbatimSymlinks: true });
        }
      }
    }

    it('starts, is healthy by its own check, serves its documentation, and stops', async () => {
      const home = join(root, 'home');
      const ports = { STIGMESH_API_PORT: '0', STIGMESH_MESH_LISTEN: '/ip4/127.0.0.1/tcp/0' };
      const env = { ...cleanEnvironment(), STIGMESH_HOME: home, ...ports, STIGMESH_LOG_FORMAT: 'json' };
      const [command, ...entry] = JSON.parse(of('ENTRYPOINT')[0]!) as [string, ...string[]];
      const [start] = JSON.parse(of('CMD')[0]!) as [string];
      assert.deepEqual([command, start], ['node', 'start']);
      const daemon = spawn(process.execPath, [...entry, start], {
        cwd: image(),
        env,
        stdio: ['ignore', 'pipe', 'inherit'],
      });
      const exited = once(daemon, 'exit');
      let url = '';
      for await (const line of createInterface({ input: daemon.stdout })) {
        const { event, url: at } = JSON.parse(line) as { event: string; url: string };
        if (event !== 'ready') continue;
        url = at;
        break;
      }
      daemon.stdout.resume();
      const [, ...check] = JSON.parse(/CMD (\[.*\])$/.exec(of('HEALTHCHECK')[0]!)![1]!) as string[];
      const health = (port: string) =>
        spawnSync(process.execPath, check, { env: { ...env, STIGMESH_API_PORT: port } }).status;
      assert.equal(health(new URL(url).port), 0);
      assert.equal(health('1'), 1);
      const page = await fetch(`${url}/docs/operations`);
      assert.equal(page.status, 200);
      daemon.kill('SIGTERM');
      assert.deepEqual(await exited, [0, null]);
    });
  });

  describe('built and run by an engine (pending without Docker or Podman, or where it cannot have the base image)', () => {
    const tag = `stigmesh-test-${process.pid}`;
    const volume = `${tag}-home`;
    const strict = ['--read-only', '--tmpfs', '/tmp', '--cap-drop', 'ALL', '--security-opt', 'no-new-privileges'];
    let engine: ContainerEngine;

    before(function () {
      this.timeout(ENGINE_MS);
      const found = ContainerEngine.find();
      if (!found?.has(of('FROM', 1)[0]!)) return this.skip();
      engine = found;
      engine.build('docker/Dockerfile', tag, ROOT);
    });

    after(() => {
      engine?.run('volume', 'rm', '--force', volume);
      engine?.run('rmi', '--force', tag);
    });

    /** Runs a daemon on the volume until `use` is through with it. */
    function withDaemon(use: (id: string) => void): void {
      const org = ['--env', 'STIGMESH_ORG_AUTHORITY=acme.example'];
      const id = engine.do('run', '--detach', ...strict, '--volume', `${volume}:/home/stigmesh`, ...org, tag);
      try {
        assert.ok(engine.becomesHealthy(id), engine.run('logs', id).stderr);
        use(id);
      } finally {
        engine.run('rm', '--force', id);
      }
    }

    it('is healthy as nobody with a read-only root, stops in order, and a container made anew has its data', () => {
      const fact = ['stigmem://acme.example/user/alice', 'memory:role'];
      withDaemon((id) => {
        assert.equal(engine.do('exec', id, 'id', '-u'), '10001');
        assert.equal(engine.do('exec', id, 'stigmesh', 'status', '--quiet'), 'ok');
        assert.match(engine.run('exec', id, 'touch', '/opt/stigmesh/x').stderr, /Read-only file system/);
        engine.do('exec', id, 'stigmesh', 'assert', ...fact, 'CEO', '--quiet');
        engine.do('stop', '--time', '20', id);
        assert.equal(engine.do('inspect', '--format', '{{.State.ExitCode}}', id), '0');
        assert.match(engine.do('logs', id), /"event":"stopped"/);
      });
      withDaemon((id) => {
        assert.equal(engine.do('exec', id, 'stigmesh', 'query', ...fact, '--quiet'), 'CEO');
      });
    });

    it('says what is wrong with a home that is not its own', () => {
      const { status, stderr } = engine.run('run', '--rm', ...strict, '--tmpfs', '/home/stigmesh:mode=755', tag);
      assert.equal(status, 1);
      assert.match(
        stderr,
        /(EACCES|permission denied)[\s\S]*\/home\/stigmesh[\s\S]*hint: .*permissions; this process runs as uid 10001$/m,
      );
    });
  });
});

import assert from 'node:assert/strict';
import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { hostname, tmpdir } from 'node:os';
import { join } from 'node:path';
import { type EndpointSources, findEndpoint, reachableUrl } from '../../../src/cli/endpoint.ts';
import { MAX_KEY_CHARACTERS, MAX_KEY_FILE_BYTES } from '../../../src/cli/limits.ts';
import { findHolder, isRunning, lockFileOf, recordFileOf } from '../../../src/cli/running.ts';
import { resolvePaths } from '../../../src/config/index.ts';
import { daemonFile, lockFile } from '../../../src/daemon.ts';
import { processStart } from '../../../src/store/process-start.ts';

describe('cli: endpoint', () => {
  let directory: string;
  let apiKeyFile: string;
  beforeEach(() => {
    directory = mkdtempSync(join(tmpdir(), 'stigmesh-endpoint-'));
    apiKeyFile = join(directory, 'api.key');
  });
  afterEach(() => rmSync(directory, { recursive: true, force: true }));

  const nothing = { url: undefined, apiKey: undefined, apiKeyFile: undefined, noColor: false };
  const find = (sources: Partial<EndpointSources> = {}) =>
    findEndpoint({
      url: undefined,
      environment: nothing,
      apiKeyFile,
      homeUrl: async () => 'http://127.0.0.1:8765',
      ...sources,
    });

  it('prefers the option, then the variable, then the home', async () => {
    const environment = { ...nothing, url: 'http://127.0.0.1:2/' };
    assert.equal((await find({ url: 'http://127.0.0.1:1', environment })).url, 'http://127.0.0.1:1');
    assert.equal((await find({ environment })).url, 'http://127.0.0.1:2');
    assert.equal((await find()).url, 'http://127.0.0.1:8765');
    assert.equal((await find({ url: 'https://host.example/prefix//' })).url, 'https://host.example/prefix');
  });

  for (const url of [
    '8765',
    'ftp://127.0.0.1',
    'unix:/run/x',
    'http://u:p@127.0.0.1',
    'http://127.0.0.1/?key=x',
    'http://127.0.0.1/#x',
  ]) {
    it(`refuses ${url}`, async () => {
      await assert.rejects(find({ url }), (error: Error & { code: string }) => {
        assert.equal(error.code, 'usage');
        // A URL with a password in it is not repeated.
        assert.ok(!error.message.includes('u:p'));
        return true;
      });
    });
  }

  it('takes the key of the file named, of the variable, of the home', async () => {
    writeFileSync(apiKeyFile, 'home-key\n', { mode: 0o600 });
    const other = join(directory, 'other.key');
    writeFileSync(other, '  other-key \n', { mode: 0o644 });
    assert.equal((await find()).key, 'home-key');
    assert.equal((await find({ environment: { ...nothing, apiKey: 'variable' } })).key, 'variable');
    const both = await find({ environment: { ...nothing, apiKey: 'variable', apiKeyFile: other } });
    assert.deepEqual([both.key, both.warnings], ['other-key', []]);
  });

  it('does without the key of the home, but not without one that was named', async () => {
    assert.equal((await find()).key, undefined);
    const apiKeyFile = join(directory, 'nowhere');
    await assert.rejects(find({ environment: { ...nothing, apiKeyFile } }), {
      code: 'key_unusable',
      hint: /API_KEY_FILE/,
    });
  });

  it('sends the key of the home to this machine only', async () => {
    writeFileSync(apiKeyFile, 'home-key', { mode: 0o600 });
    for (const url of ['http://127.0.0.1:1', 'http://[::1]:1', 'http://localhost:1', 'http://127.8.9.1']) {
      assert.equal((await find({ url })).key, 'home-key', url);
    }
    for (const url of ['http://10.0.0.1', 'https://localhost.example', 'http://0.0.0.0:1']) {
      assert.equal((await find({ url })).key, undefined, url);
    }
  });

  it('warns when a key travels in the clear', async () => {
    const environment = { ...nothing, apiKey: 'variable' };
    assert.match((await find({ url: 'http://10.0.0.1', environment })).warnings.join(), /unencrypted/);
    assert.deepEqual((await find({ url: 'https://10.0.0.1', environment })).warnings, []);
  });

  it('warns when others can read the key of the home', async function () {
    if (process.platform === 'win32') this.skip();
    writeFileSync(apiKeyFile, 'home-key', { mode: 0o640 });
    assert.match((await find()).warnings.join(), /chmod 600/);
  });

  it('refuses what is no key, without repeating it', async () => {
    for (const content of [
      '',
      'two words',
      'line\nline',
      'schlüssel',
      'x'.repeat(MAX_KEY_CHARACTERS + 1),
      'x'.repeat(MAX_KEY_FILE_BYTES + 1),
    ]) {
      writeFileSync(apiKeyFile, content, { mode: 0o600 });
      await assert.rejects(find(), (error: Error & { code: string }) => {
        assert.equal(error.code, 'key_unusable');
        assert.ok(content === '' || !error.message.includes(content));
        return true;
      });
    }
    rmSync(apiKeyFile);
    mkdirSync(apiKeyFile);
    await assert.rejects(find(), { code: 'key_unusable' });
  });

  it('reaches a daemon that listens everywhere', () => {
    assert.equal(reachableUrl('http://0.0.0.0:8765'), 'http://127.0.0.1:8765');
    assert.equal(reachableUrl('http://[::]:8765'), 'http://127.0.0.1:8765');
    assert.equal(reachableUrl('http://10.0.0.0:1'), 'http://10.0.0.0:1');
    assert.equal(reachableUrl('http://0.0.0.0.example'), 'http://0.0.0.0.example');
  });
});

describe('cli: the daemon of a home', () => {
  let stateDir: string;
  beforeEach(() => {
    stateDir = mkdtempSync(join(tmpdir(), 'stigmesh-state-'));
  });
  afterEach(() => rmSync(stateDir, { recursive: true, force: true }));

  const world = { platform: process.platform, hostname: hostname() };
  const write = (lock: object | string, record?: object) => {
    writeFileSync(lockFileOf({ stateDir }), typeof lock === 'string' ? lock : JSON.stringify(lock));
    if (record !== undefined) writeFileSync(recordFileOf({ stateDir }), JSON.stringify(record));
  };
  const own = async () => ({
    pid: process.pid,
    process_started: (await processStart({ platform: process.platform })(process.pid)) ?? '',
    host: hostname(),
    created_at: '2030-01-01T00:00:00.000Z',
    nonce: 'n',
  });

  it('leaves its files where the daemon puts them', () => {
    const paths = resolvePaths({ env: {}, homedir: '/home/x', cwd: '/', home: '/srv/stigmesh' });
    assert.equal(lockFileOf(paths), lockFile(paths));
    assert.equal(recordFileOf(paths), daemonFile(paths));
  });

  it('is found while its process lives', async () => {
    assert.equal(await findHolder({ stateDir }, world), undefined);
    write(await own(), { pid: process.pid, url: 'http://127.0.0.1:1', version: '1' });
    const holder = await findHolder({ stateDir }, world);
    assert.deepEqual([holder?.pid, holder?.url, holder?.version], [process.pid, 'http://127.0.0.1:1', '1']);
    assert.equal(await isRunning(holder!, process.platform), true);
  });

  it('has no URL before it serves, and never that of another process', async () => {
    write(await own());
    assert.equal((await findHolder({ stateDir }, world))?.url, undefined);
    write(await own(), { pid: process.pid + 1, url: 'http://127.0.0.1:1', version: '1' });
    assert.equal((await findHolder({ stateDir }, world))?.url, undefined);
  });

  it('is not a later process with the same pid', async () => {
    write({ ...(await own()), process_started: 'another boot:1' }, { pid: process.pid, url: 'http://127.0.0.1:1' });
    assert.equal(await findHolder({ stateDir }, world), undefined);
  });

  it('is known by its start mark also after the machine was renamed, and without one only under its name', async () => {
    write({ ...(await own()), host: 'old-name' });
    assert.equal((await findHolder({ stateDir }, world))?.pid, process.pid);
    write({ ...(await own()), host: 'old-name', process_started: '' });
    assert.equal(await findHolder({ stateDir }, world), undefined);
    write({ ...(await own()), process_started: '' });
    assert.equal((await findHolder({ stateDir }, world))?.pid, process.pid);
  });

  it('is nobody when the files make no sense', async () => {
    for (const text of ['', 'null', '[]', '{"pid":-1}', '{"pid":"1"}', 'x'.repeat(5000), '{"pid":1}']) {
      write(text);
      assert.equal(await findHolder({ stateDir }, world), undefined, text.slice(0, 20));
    }
  });
});

import assert from 'node:assert/strict';
import {
  chmodSync,
  mkdirSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  rmSync,
  statSync,
  utimesSync,
  writeFileSync,
} from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { Ajv2020 } from 'ajv/dist/2020.js';
import { parse } from 'smol-toml';
import { documentation, exampleToml, generatedFiles } from '../../../scripts/generate-config.ts';
import {
  type Config,
  clientEnvironment,
  configRows,
  loadConfig,
  REDACTED,
  readPassphrase,
  resolveConfig,
  resolvePaths,
  settings,
  systemSurroundings,
  writeInitialConfig,
} from '../../../src/config/index.ts';
import { MAX_CONFIG_BYTES, MAX_PASSPHRASE_BYTES } from '../../../src/config/limits.ts';

const ROOT = new URL('../../../', import.meta.url);

describe('config: files', () => {
  let directory: string;
  let configFile: string;
  beforeEach(() => {
    directory = mkdtempSync(join(tmpdir(), 'stigmesh-config-'));
    configFile = join(directory, 'config.toml');
  });
  afterEach(() => rmSync(directory, { recursive: true, force: true }));

  const load = (configFileRequired = false) =>
    loadConfig({ paths: { configFile, configFileRequired }, env: {}, hostname: 'acme' });

  describe('loadConfig', () => {
    it('reads the file, and does without it unless it was named', async () => {
      assert.equal((await load()).config.api.port, 8765);
      await assert.rejects(load(true), { code: 'config_unreadable', hint: /--config/ });
      writeFileSync(configFile, 'version = 1\n[api]\nport = 1234\n');
      const { config, origins } = await load(true);
      assert.equal(config.api.port, 1234);
      assert.deepEqual(origins.get('api.port'), { source: 'file', detail: configFile });
    });

    it('refuses what is not a configuration file', async () => {
      mkdirSync(configFile);
      await assert.rejects(load(), { code: 'config_unreadable' });
      rmSync(configFile, { recursive: true });
      writeFileSync(configFile, Buffer.from([0x76, 0xff, 0xfe]));
      await assert.rejects(load(), { code: 'config_unreadable', message: /UTF-8/ });
    });

    it('reads a file of the largest size and no larger', async () => {
      const text = 'version = 1\n#';
      writeFileSync(configFile, text + 'x'.repeat(MAX_CONFIG_BYTES - text.length));
      await load();
      writeFileSync(configFile, text + 'x'.repeat(MAX_CONFIG_BYTES - text.length + 1));
      await assert.rejects(load(), { code: 'config_unreadable', message: /larger/ });
    });

    it('warns about a file that others can change', async function () {
      if (process.platform === 'win32') return this.skip();
      writeFileSync(configFile, 'version = 1\n[org]\nauthority = "a.b"\n');
      chmodSync(configFile, 0o644);
      assert.deepEqual((await load()).warnings, []);
      chmodSync(configFile, 0o664);
      assert.match((await load()).warnings.join(), /can be changed by other users \(chmod go-w/);
    });
  });

  describe('writeInitialConfig', () => {
    it('writes a file that names the organisation, once', async () => {
      configFile = join(directory, 'new', 'config.toml');
      assert.equal(await writeInitialConfig({ configFile }, 'acme.example'), true);
      const { config, warnings } = await load();
      assert.equal(config.org.authority, 'acme.example');
      assert.deepEqual(warnings, []);
      assert.equal(await writeInitialConfig({ configFile }, 'other.example'), false);
      assert.equal((await load()).config.org.authority, 'acme.example');
      assert.deepEqual(readdirSync(join(directory, 'new')), ['config.toml']);
      if (process.platform !== 'win32') assert.equal(statSync(configFile).mode & 0o777, 0o600);
    });

    it('writes nothing, not even beside it, where there is one', async () => {
      configFile = join(directory, 'mounted', 'config.toml');
      assert.equal(await writeInitialConfig({ configFile }, 'acme.example'), true);
      // Root writes into any directory; whether somebody did, its time tells.
      utimesSync(join(directory, 'mounted'), 0, 0);
      assert.equal(await writeInitialConfig({ configFile }, 'other.example'), false);
      assert.equal(statSync(join(directory, 'mounted')).mtimeMs, 0);
    });

    it('leaves one whole file when several start at once', async () => {
      const names = Array.from({ length: 8 }, (_, i) => `org${i}.example`);
      const written = await Promise.all(names.map((name) => writeInitialConfig({ configFile }, name)));
      assert.equal(written.filter(Boolean).length, 1);
      assert.equal((await load()).config.org.authority, names[written.indexOf(true)]);
      assert.deepEqual(readdirSync(directory), ['config.toml']);
    });
  });

  describe('readPassphrase', () => {
    const identity = (values: Partial<Config['identity']>) => ({ identity: values as Config['identity'] });
    const read = (values: Partial<Config['identity']>, env = {}) =>
      readPassphrase(identity(values), env, { configFile });

    it('takes it from a variable or a file beside the configuration', async () => {
      assert.deepEqual(await read({}), { passphrase: undefined, warnings: [] });
      assert.equal((await read({ passphrase_env: 'X' }, { X: ' s p ' })).passphrase, ' s p ');
      writeFileSync(join(directory, 'pass'), 'two words \r\n', { mode: 0o600 });
      assert.deepEqual(await read({ passphrase_file: 'pass' }), { passphrase: 'two words ', warnings: [] });
    });

    it('warns about a file that is open to others', async function () {
      if (process.platform === 'win32') return this.skip();
      const file = join(directory, 'pass');
      writeFileSync(file, 'secret');
      chmodSync(file, 0o640);
      const { passphrase, warnings } = await read({ passphrase_file: file });
      assert.equal(passphrase, 'secret');
      assert.match(warnings.join(), /open to other users/);
      assert.doesNotMatch(warnings.join(), /secret/);
    });

    it('says what is missing', async () => {
      const code = 'config_secret_unavailable';
      await assert.rejects(read({ passphrase_env: 'X' }), { code, message: /X is not set/ });
      await assert.rejects(read({ passphrase_env: 'X' }, { X: '' }), { code });
      await assert.rejects(read({ passphrase_file: 'nowhere' }), { code, message: /ENOENT/ });
      await assert.rejects(read({ passphrase_file: '.' }), { code });
      writeFileSync(join(directory, 'pass'), '\n');
      await assert.rejects(read({ passphrase_file: 'pass' }), { code, message: /is empty/ });
    });

    it('bounds its length', async () => {
      const file = join(directory, 'pass');
      writeFileSync(file, `${'x'.repeat(MAX_PASSPHRASE_BYTES)}\r\n`, { mode: 0o600 });
      assert.equal((await read({ passphrase_file: file })).passphrase?.length, MAX_PASSPHRASE_BYTES);
      writeFileSync(file, 'x'.repeat(MAX_PASSPHRASE_BYTES + 1));
      await assert.rejects(read({ passphrase_file: file }), {
        code: 'config_secret_unavailable',
        message: /more than/,
      });
    });
  });
});

describe('config: paths', () => {
  const resolve = (env: Record<string, string>, more = {}) =>
    resolvePaths({ env, homedir: '/home/u', cwd: '/work', ...more });

  it('follows XDG without a home', () => {
    assert.deepEqual(resolve({}), {
      home: undefined,
      configDir: '/home/u/.config/stigmesh',
      configFile: '/home/u/.config/stigmesh/config.toml',
      configFileRequired: false,
      apiKeyFile: '/home/u/.config/stigmesh/api.key',
      keysDir: '/home/u/.config/stigmesh/keys',
      dataDir: '/home/u/.local/share/stigmesh/data',
      stateDir: '/home/u/.local/state/stigmesh',
    });
    const custom = resolve({ XDG_CONFIG_HOME: '/c', XDG_DATA_HOME: '/d', XDG_STATE_HOME: 'relative' });
    assert.equal(custom.keysDir, '/c/stigmesh/keys');
    assert.equal(custom.dataDir, '/d/stigmesh/data');
    assert.equal(custom.stateDir, '/home/u/.local/state/stigmesh');
  });

  it('puts everything under a home, whatever XDG says; the option beats the variable', () => {
    const paths = resolve({ STIGMESH_HOME: '/one', XDG_CONFIG_HOME: '/c' });
    assert.equal(paths.configFile, '/one/config.toml');
    assert.equal(paths.dataDir, '/one/data');
    assert.equal(paths.keysDir, '/one/keys');
    assert.equal(paths.apiKeyFile, '/one/api.key');
    assert.equal(resolve({ STIGMESH_HOME: '/one' }, { home: 'two' }).home, '/work/two');
    assert.equal(resolve({ STIGMESH_HOME: '' }).home, undefined);
  });

  it('shares nothing between two homes', () => {
    const all = (home: string) => Object.values(resolve({}, { home })).filter((value) => typeof value === 'string');
    assert.deepEqual(
      all('/a').filter((path) => all('/b').includes(path)),
      [],
    );
    assert.ok(all('/a').every((path) => path === '/a' || path.startsWith('/a/')));
  });

  it('lets --config move the configuration file alone', () => {
    const paths = resolve({ STIGMESH_HOME: '/one' }, { config: 'other.toml' });
    assert.equal(paths.configFile, '/work/other.toml');
    assert.equal(paths.configFileRequired, true);
    assert.equal(paths.keysDir, '/one/keys');
  });
});

describe('config: surroundings', () => {
  it('are read once, as a copy', () => {
    const { env, hostname, homedir, cwd } = systemSurroundings();
    assert.notEqual(env, process.env);
    assert.equal(env.PATH, process.env.PATH);
    assert.equal(cwd, process.cwd());
    assert.ok(hostname.length > 0 && homedir.length > 0);
  });

  it('of the client commands', () => {
    assert.deepEqual(clientEnvironment({ STIGMESH_URL: 'http://x', STIGMESH_API_KEY: '', NO_COLOR: '1' }), {
      url: 'http://x',
      apiKey: undefined,
      apiKeyFile: undefined,
      noColor: true,
    });
  });
});

describe('config: show', () => {
  it('has a row for every setting, with its origin', () => {
    const env = { STIGMESH_API_PORT: '1' };
    const rows = configRows(resolveConfig({ env, hostname: 'h' }), env);
    assert.deepEqual(
      rows.map(({ key }) => key),
      settings.map(({ key }) => key),
    );
    const row = rows.find(({ key }) => key === 'api.port');
    assert.deepEqual(
      { ...row, description: '' },
      { key: 'api.port', value: '1', source: 'env', detail: 'STIGMESH_API_PORT', description: '' },
    );
    assert.equal(rows.find(({ key }) => key === 'mesh.listen')?.value, '["/ip4/0.0.0.0/tcp/4701"]');
    assert.equal(rows.find(({ key }) => key === 'identity.passphrase_file')?.value, '');
  });

  it('shows relations and client variables, and no secret', () => {
    const env = { STIGMESH_API_KEY: 'k3y', STIGMESH_URL: 'http://me:pw@127.0.0.1:1/' };
    const loaded = resolveConfig({ env, hostname: 'h', flags: { 'relations."a:b".cardinality': 'many' } });
    const rows = configRows(loaded, env);
    assert.equal(rows.find(({ key }) => key === 'relations."a:b".cardinality')?.value, '"many"');
    assert.equal(rows.find(({ key }) => key === 'STIGMESH_API_KEY')?.value, REDACTED);
    assert.equal(rows.find(({ key }) => key === 'STIGMESH_URL')?.value, `"http://${REDACTED}@127.0.0.1:1/"`);
    assert.doesNotMatch(JSON.stringify(rows), /k3y|me:pw/);
  });
});

describe('config: generated files', () => {
  const text = (path: string) => readFileSync(new URL(path, ROOT), 'utf8');
  const resolveText = (toml: string) => resolveConfig({ env: {}, hostname: 'h' }, { path: 'f', text: toml });

  for (const [path, content] of generatedFiles(ROOT)) {
    it(`${path} is what npm run generate:config writes`, () => assert.equal(text(path), content));
  }

  it('the example changes nothing, and every line of it is a default', () => {
    assert.deepEqual(resolveText(exampleToml()).config, resolveConfig({ env: {}, hostname: 'h' }).config);
    const uncommented = exampleToml().replaceAll(/^# ((?:\w+ = .*)|\[relations.*)$/gm, '$1');
    const { origins } = resolveText(uncommented.replace(/^passphrase_env.*$/m, ''));
    const fromFile = [...origins].filter(([, { source }]) => source === 'file').map(([key]) => key);
    assert.equal(fromFile.length, settings.length);
    for (const setting of settings) {
      if (setting.defaultValue === undefined) continue;
      const table = parse(uncommented)[setting.section] as Record<string, unknown>;
      assert.deepEqual(table[setting.name], setting.defaultValue, setting.key);
    }
  });

  it('the JSON Schema accepts the example and refuses unknown keys and wrong types', () => {
    const validate = new Ajv2020({ strict: false }).compile(JSON.parse(text('config/stigmesh.schema.json')));
    assert.equal(validate(parse(exampleToml())), true);
    assert.equal(
      validate({ version: 1, mesh: { listen: '/ip4/127.0.0.1/tcp/1' }, relations: { 'a:b': { cardinality: 'many' } } }),
      true,
    );
    for (const wrong of [
      {},
      { version: 2 },
      { version: 1, api: { prot: 1 } },
      { version: 1, api: { port: 'x' } },
      { version: 1, x: {} },
    ]) {
      assert.equal(validate(wrong), false, JSON.stringify(wrong));
    }
  });

  it('the page is left alone outside its generated parts, and its TOML loads', () => {
    const page = text('docs/configuration.md');
    assert.throws(() => documentation('# no parts'), /no generated part/);
    const blocks = [...page.matchAll(/```toml\n([\s\S]*?)```/g)].map((match) => match[1] as string);
    assert.ok(blocks.length > 0);
    for (const block of blocks) resolveText(block);
  });
});

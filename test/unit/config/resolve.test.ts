import assert from 'node:assert/strict';
import fc from 'fast-check';
import { ConfigError, type LoadedConfig, resolveConfig, type Setting, settings } from '../../../src/config/index.ts';
import {
  MAX_ALLOWED_HOSTS,
  MAX_ANNOUNCED_ADDRESSES,
  MAX_BODY_LIMIT,
  MAX_BOOTSTRAP_PEERS,
  MAX_DECLARED_RELATIONS,
  MAX_INVITE_HOURS,
  MAX_LISTEN_ADDRESSES,
  MAX_REPORTED_ISSUES,
  MAX_TRUSTED_RESOLVERS,
  MIN_BODY_LIMIT,
} from '../../../src/config/limits.ts';

interface Given {
  file?: string;
  env?: Record<string, string>;
  flags?: Record<string, unknown>;
}

/** The body of a file, without its version line. */
function resolve({ file, env = {}, flags = {} }: Given = {}): LoadedConfig {
  const text = file === undefined ? undefined : { path: '/etc/config.toml', text: `version = 1\n${file}` };
  return resolveConfig({ env, flags, hostname: 'acme' }, text);
}

function refusal(given: Given): ConfigError {
  try {
    resolve(given);
  } catch (error) {
    assert.ok(error instanceof ConfigError, String(error));
    return error;
  }
  assert.fail(`accepted ${JSON.stringify(given)}`);
}

const PEER_ID = '12D3KooWDpJ7As7BWAwRMfu1VU2WCqNjvq387JEYKDBj4kx6nXTN';

/** A valid value other than the default, as TOML, as text and as it should come out. */
function otherValues(setting: Setting): unknown[] {
  if (setting.kind === 'boolean') return [true, false];
  if (setting.kind === 'integer') return [setting.defaultValue, Number(setting.defaultValue) - 1];
  if (setting.options !== undefined) return [...setting.options];
  if (setting.key === 'mesh.listen') return [['/ip6/::1/tcp/1'], ['/ip4/0.0.0.0/tcp/0', '/ip4/10.0.0.1/tcp/65535']];
  if (setting.key === 'mesh.announce') return [['/dns/a.example/tcp/1'], ['/ip4/10.0.0.1/tcp/2', '/ip6/::1/tcp/3']];
  if (setting.key === 'mesh.bootstrap')
    return [[`/ip4/10.0.0.1/tcp/1/p2p/${PEER_ID}`], [`/dns/a/tcp/2/p2p/${PEER_ID}`]];
  if (setting.kind === 'list') return [['a.example'], ['b.example', 'c.example']];
  if (setting.key === 'identity.passphrase_env') return ['ONE', 'TWO'];
  return setting.key === 'api.host' ? ['127.0.0.2', '::1'] : ['acme.example', 'other'];
}

/** Settings that other settings restrict when they change alone. */
const FREE = settings.filter(({ key }) => !['auth.required', 'api.body_limit', 'api.host'].includes(key));

function at(loaded: LoadedConfig, setting: Setting): unknown {
  return (loaded.config as unknown as Record<string, Record<string, unknown>>)[setting.section]?.[setting.name];
}

const asText = (value: unknown): string => (Array.isArray(value) ? value.join(', ') : String(value));

describe('config: defaults', () => {
  it('are what the documentation promises', () => {
    const { config, origins, warnings } = resolve({ file: '[org]\nauthority = "acme.example"' });
    assert.equal(config.api.host, '127.0.0.1');
    assert.equal(config.api.port, 8765);
    assert.equal(config.auth.required, true);
    assert.equal(config.store.sync, true);
    assert.equal(config.mesh.enabled, true);
    assert.deepEqual(config.mesh.listen, ['/ip4/0.0.0.0/tcp/4701']);
    assert.equal(config.mesh.mdns, false);
    assert.equal(config.mesh.dht, true);
    assert.equal(config.mesh.unknown_origins, 'quarantine');
    assert.equal(config.mesh.invite_hours, 24);
    for (const key of ['announce', 'bootstrap', 'trusted_resolvers'] as const) assert.deepEqual(config.mesh[key], []);
    assert.equal(config.facts.default_scope, 'local');
    assert.equal(config.compat.cid, 'rfc8785');
    assert.equal(config.org.authority, 'acme.example');
    assert.deepEqual(warnings, []);
    assert.deepEqual(origins.get('api.port'), { source: 'default', detail: 'built in' });
    assert.equal(origins.size, settings.length);
  });

  it('names the organisation after the host until somebody does, and says so', () => {
    const { config, origins, warnings } = resolveConfig({ env: {}, hostname: 'Büro PC_7.corp.example' });
    assert.equal(config.org.authority, 'buro-pc-7.local');
    assert.deepEqual(origins.get('org.authority'), { source: 'default', detail: 'from the host name' });
    assert.match(warnings.join(), /org\.authority is not set; "buro-pc-7\.local" comes from the host name/);
  });

  it('makes a valid authority of any host name', () => {
    fc.assert(
      fc.property(fc.string({ unit: 'binary' }), (hostname) => {
        const { authority } = resolveConfig({ env: {}, hostname }).config.org;
        const again = resolve({ file: `[org]\nauthority = ${JSON.stringify(authority)}` });
        assert.equal(again.config.org.authority, authority);
      }),
    );
  });

  it('gives every setting a description and a variable of its own', () => {
    for (const setting of settings) assert.match(setting.description, /^[A-Z`].*\.$/, setting.key);
    assert.equal(new Set(settings.map(({ env }) => env)).size, settings.length);
  });

  it('is frozen all the way down', () => {
    const { config } = resolve({ file: '[relations."a:b"]\ncardinality = "many"' });
    assert.throws(() => Object.assign(config.api, { port: 1 }), TypeError);
    assert.throws(() => (config.mesh.listen as string[]).push('x'), TypeError);
    assert.throws(() => Object.assign(config.relations, { x: 1 }), TypeError);
  });
});

describe('config: precedence', () => {
  it('is flag > variable > file > default, for every setting', () => {
    fc.assert(
      fc.property(fc.constantFrom(...FREE), fc.array(fc.nat(1), { minLength: 3, maxLength: 3 }), (setting, picks) => {
        const values = otherValues(setting);
        const [inFile, inEnv, inFlag] = picks.map((pick) => values[pick % values.length]);
        const file = `[${setting.section}]\n${setting.name} = ${JSON.stringify(inFile)}`;
        const env = { [setting.env]: asText(inEnv) };
        const flags = { [setting.key]: asText(inFlag) };
        const cases = [
          { given: {}, value: undefined, source: 'default' },
          { given: { file }, value: inFile, source: 'file' },
          { given: { file, env }, value: inEnv, source: 'env' },
          { given: { file, env, flags }, value: inFlag, source: 'flag' },
        ];
        for (const { given, value, source } of cases) {
          const loaded = resolve(given);
          assert.equal(loaded.origins.get(setting.key)?.source, source);
          if (value !== undefined) assert.deepEqual(at(loaded, setting), value);
        }
      }),
    );
  });

  it('names the variable and the file a value came from', () => {
    const { origins } = resolve({
      file: '[api]\ndocs = false',
      env: { STIGMESH_API_PORT: '1' },
      flags: { 'log.level': 'warn' },
    });
    assert.equal(origins.get('api.docs')?.detail, '/etc/config.toml');
    assert.equal(origins.get('api.port')?.detail, 'STIGMESH_API_PORT');
    assert.equal(origins.get('log.level')?.source, 'flag');
  });

  it('takes typed flags as they are, and leaves out those that were not given', () => {
    const { config } = resolve({ flags: { 'api.port': 9000, 'store.sync': false, 'log.level': undefined } });
    assert.equal(config.api.port, 9000);
    assert.equal(config.store.sync, false);
    assert.equal(config.log.level, 'info');
  });

  it('counts an empty variable as unset, and reads 1 and 0 as switches', () => {
    const { config } = resolve({ env: { STIGMESH_API_PORT: '', STIGMESH_API_DOCS: '0', STIGMESH_MESH_ENABLED: '1' } });
    assert.equal(config.api.port, 8765);
    assert.equal(config.api.docs, false);
    assert.equal(config.mesh.enabled, true);
  });

  it('checks a value even where a stronger one overrides it', () => {
    const error = refusal({ file: '[api]\nport = "many"', env: { STIGMESH_API_PORT: '1' } });
    assert.equal(error.code, 'config_invalid_value');
    assert.equal(error.issues[0]?.key, 'api.port');
  });
});

describe('config: unknown keys', () => {
  const hintFor = (given: Given) => {
    const error = refusal(given);
    assert.equal(error.code, 'config_unknown_key');
    return error.hint;
  };

  it('are errors that name the nearest known one', () => {
    assert.match(hintFor({ file: '[api]\nprot = 1' }), /did you mean api\.port/);
    assert.match(hintFor({ file: '[appi]\nport = 1' }), /did you mean api\?/);
    assert.match(hintFor({ file: 'port = 1' }), /did you mean api\.port \(in section \[api\]\)/);
    assert.match(hintFor({ file: '[store]\nlisten = "x"' }), /did you mean mesh\.listen/);
    assert.match(hintFor({ file: '[relations."a:b"]\ncardinalty = "one"' }), /did you mean cardinality/);
    assert.match(hintFor({ file: '[store]\nzzzzzzzzzzzzzz = 1' }), /known are in \[store\]: sync, cache_mb/);
    assert.match(hintFor({ env: { STIGMESH_API_PROT: '1' } }), /did you mean STIGMESH_API_PORT/);
    assert.match(hintFor({ env: { STIGMESH_APIKEY: 'abc' } }), /did you mean STIGMESH_API_KEY/);
    assert.match(hintFor({ env: { STIGMESH_QQQQQQQQ: '1' } }), /unset it/);
    assert.match(hintFor({ flags: { 'api.prot': '1' } }), /did you mean api\.port/);
  });

  it('include names that every object has', () => {
    for (const name of ['constructor', 'toString', '__proto__', 'hasOwnProperty']) {
      assert.equal(refusal({ file: `[api]\n${name} = 1` }).code, 'config_unknown_key');
      assert.equal(refusal({ file: `${name} = 1` }).code, 'config_unknown_key');
      assert.equal(refusal({ flags: Object.fromEntries([[`api.${name}`, '1']]) }).code, 'config_unknown_key');
    }
    assert.equal(refusal({ env: { STIGMESH_constructor: '1' } }).code, 'config_unknown_key');
  });

  it('do not include our other variables, those of others, nor the one that holds the passphrase', () => {
    resolve({
      env: {
        STIGMESH_HOME: '/h',
        STIGMESH_API_KEY: 'k',
        STIGMESH_API_KEY_FILE: '/k',
        STIGMESH_URL: 'http://127.0.0.1:1',
        PATH: '/bin',
        STIGMESH_PASSPHRASE: 's3cret',
      },
      file: '[identity]\npassphrase_env = "STIGMESH_PASSPHRASE"',
    });
    resolve({ env: { STIGMESH_IDENTITY_PASSPHRASE_ENV: 'STIGMESH_PP', STIGMESH_PP: 's3cret' } });
    resolve({ flags: { 'identity.passphrase_env': 'STIGMESH_PP' }, env: { STIGMESH_PP: 's3cret' } });
  });
});

describe('config: what a file may not be', () => {
  it('reports TOML errors with line and column', () => {
    const error = refusal({ file: '[api]\nport = = 1' });
    assert.equal(error.code, 'config_syntax');
    assert.match(error.message, /^line 3, column \d+: .* \(\/etc\/config\.toml\)$/);
    assert.equal(refusal({ file: '[api]\nport = 1\nport = 2' }).code, 'config_syntax');
  });

  it('wants the version it knows', () => {
    for (const [text, hint] of [
      ['[api]\nport = 1', /put version = 1 at the top/],
      ['version = 2\n[api]\nfuture = 1', /use the stigmesh that wrote this file/],
      ['version = "1"', /write version = 1/],
    ] as const) {
      assert.throws(
        () => resolveConfig({ env: {}, hostname: 'a' }, { path: 'f', text }),
        (error) => error instanceof ConfigError && error.code === 'config_version' && hint.test(error.hint),
      );
    }
  });

  it('refuses secrets anywhere, without repeating them', () => {
    const hidden = 'correct horse';
    for (const file of [
      `[identity]\npassphrase = "${hidden}"`,
      `[auth]\ntoken = "${hidden}"`,
      `[client]\napi_key = "${hidden}"`,
      `password = "${hidden}"`,
      `[a.b.c]\nClientSecret = "${hidden}"`,
      `[relations."a:b"]\nkey = "${hidden}"`,
    ]) {
      const error = refusal({ file });
      assert.equal(error.code, 'config_inline_secret', file);
      assert.ok(!JSON.stringify([error.message, error.hint, error.issues]).includes(hidden), file);
      assert.match(error.hint, /passphrase_file/);
    }
    assert.equal(refusal({ flags: { 'identity.passphrase': hidden } }).code, 'config_inline_secret');
    assert.ok(!refusal({ env: { STIGMESH_IDENTITY_PASSPHRASE: hidden } }).message.includes(hidden));
    const old = () =>
      resolveConfig({ env: {}, hostname: 'a' }, { path: 'f', text: `version = 9\ntoken = "${hidden}"` });
    assert.throws(old, { code: 'config_inline_secret' });
  });

  it('does not take a relation about keys for a secret', () => {
    assert.equal(
      resolve({ file: '[relations."acme:key"]\ncardinality = "many"' }).config.relations['acme:key']?.cardinality,
      'many',
    );
  });

  it('reports all problems at once, the leaked secret in the code', () => {
    const error = refusal({ file: '[api]\nport = -1\nfoo = 1\n[auth]\ntoken = "x"', env: { STIGMESH_NOPE_NOPE: '1' } });
    assert.equal(error.code, 'config_inline_secret');
    assert.deepEqual(error.issues.map(({ key }) => key).sort(), [
      'STIGMESH_NOPE_NOPE',
      'api.foo',
      'api.port',
      'auth.token',
    ]);
    assert.match(error.message, /^4 problems in the configuration\n/);
    assert.equal(refusal({ file: '[api]\nport = -1\nfoo = 1' }).code, 'config_invalid');
  });

  it(`reports at most ${MAX_REPORTED_ISSUES} problems`, () => {
    const keys = Array.from({ length: MAX_REPORTED_ISSUES + 1 }, (_, i) => `unknown${i} = 1`).join('\n');
    assert.equal(refusal({ file: `[api]\n${keys}` }).issues.length, MAX_REPORTED_ISSUES);
  });

  it('refuses sections that are values and values that are sections', () => {
    for (const file of ['api = 5', 'api = [1]', '[relations]\n"a:b" = "many"', '[api.port]\nx = 1', 'relations = 1']) {
      assert.equal(refusal({ file }).code, 'config_invalid_value', file);
    }
  });

  it('never throws anything but a ConfigError, whatever the file says', () => {
    const line = fc.oneof(
      fc.constantFrom('[api]', '[mesh]', 'port = 1', 'listen = "x"', '[relations."__proto__"]', 'cardinality = "many"'),
      fc.string({ maxLength: 30 }),
    );
    fc.assert(
      fc.property(fc.array(line, { maxLength: 12 }), (lines) => {
        try {
          resolve({ file: lines.join('\n') });
        } catch (error) {
          assert.ok(error instanceof ConfigError, String(error));
          assert.ok(error.issues.every((issue) => issue.hint !== '' && issue.message !== ''));
        }
      }),
    );
  });
});

describe('config: values', () => {
  const accepts = (key: string, value: unknown) => resolve({ flags: { [key]: value } });
  const refuses = (key: string, value: unknown) => {
    const error = refusal({ flags: { [key]: value } });
    assert.equal(error.code, 'config_invalid_value', `${key} = ${JSON.stringify(value)}`);
    assert.equal(error.issues[0]?.key, key);
  };

  it('keeps numbers in their bounds', () => {
    for (const port of [0, 1, 65535]) accepts('api.port', port);
    for (const port of [-1, 65536, 1.5, '0x10', 'x', ' 1', '1e3', Number.NaN]) refuses('api.port', port);
    for (const bytes of [MIN_BODY_LIMIT, MAX_BODY_LIMIT]) accepts('api.body_limit', bytes);
    for (const bytes of [MIN_BODY_LIMIT - 1, MAX_BODY_LIMIT + 1]) refuses('api.body_limit', bytes);
    accepts('limits.batch_facts', 1000);
    refuses('limits.batch_facts', 1001);
    refuses('limits.batch_facts', 0);
    refuses('api.docs', 'yes');
  });

  it('checks multiaddrs', () => {
    accepts('mesh.listen', '/ip4/0.0.0.0/tcp/4701,/ip6/::/tcp/4701');
    for (const address of [
      '',
      '4701',
      '/ip4/1.2.3/tcp/1',
      '/ip6/1.2.3.4/tcp/1',
      '/ip4/1.2.3.4/udp/1',
      '/ip4/1.2.3.4/tcp/65536',
      '/ip4/1.2.3.4/tcp/1/ws',
      'x/ip4/1.2.3.4/tcp/1',
    ]) {
      refuses('mesh.listen', [address]);
    }
    refuses('mesh.listen', []);
    refuses('mesh.listen', ',');
    const many = (n: number) => Array.from({ length: n }, (_, i) => `/ip4/127.0.0.1/tcp/${i}`);
    accepts('mesh.listen', many(MAX_LISTEN_ADDRESSES));
    refuses('mesh.listen', many(MAX_LISTEN_ADDRESSES + 1));
  });

  it('checks what is announced: addresses and names, without a peer id, with a port that can be dialled', () => {
    accepts('mesh.announce', '/dns/mesh.acme.example/tcp/4701,/dns4/a/tcp/1,/dns6/b/tcp/1,/ip4/192.0.2.7/tcp/4701');
    for (const address of [
      '/ip4/192.0.2.7/tcp/0',
      '/dns/-a/tcp/1',
      '/dns/a..b/tcp/1',
      '/dns/a b/tcp/1',
      '/dnsaddr/a.example/tcp/1',
      '/ip6/fe80::1%eth0/tcp/1',
      `/ip4/192.0.2.7/tcp/1/p2p/${PEER_ID}`,
    ]) {
      refuses('mesh.announce', [address]);
    }
    const many = (n: number) => Array.from({ length: n }, (_, i) => `/ip4/192.0.2.7/tcp/${i + 1}`);
    accepts('mesh.announce', many(MAX_ANNOUNCED_ADDRESSES));
    refuses('mesh.announce', many(MAX_ANNOUNCED_ADDRESSES + 1));
    refuses('mesh.listen', ['/dns/mesh.acme.example/tcp/4701']);
  });

  it('checks bootstrap peers: an address and whose it is', () => {
    accepts('mesh.bootstrap', `/dns/mesh.acme.example/tcp/4701/p2p/${PEER_ID}`);
    for (const address of [
      '/ip4/192.0.2.7/tcp/4701',
      '/ip4/192.0.2.7/tcp/4701/p2p/',
      '/ip4/192.0.2.7/tcp/4701/p2p/QmYyQSo1c1Ym7orWxLYvCrM2EmxFTANf8wXmmE7DWjhx5N',
      `/ip4/192.0.2.7/tcp/0/p2p/${PEER_ID}`,
      `/p2p/${PEER_ID}`,
    ]) {
      refuses('mesh.bootstrap', [address]);
    }
    const many = (n: number) => Array.from({ length: n }, (_, i) => `/ip4/192.0.2.7/tcp/${i + 1}/p2p/${PEER_ID}`);
    accepts('mesh.bootstrap', many(MAX_BOOTSTRAP_PEERS));
    refuses('mesh.bootstrap', many(MAX_BOOTSTRAP_PEERS + 1));
  });

  it('bounds what is taken from one peer', () => {
    accepts('mesh.peer_statements_per_second', 100);
    accepts('mesh.peer_statements_per_second', 1_000_000);
    refuses('mesh.peer_statements_per_second', 99);
    refuses('mesh.peer_statements_per_second', 1_000_001);
  });

  it('bounds the life of an invite and the number of trusted resolvers', () => {
    accepts('mesh.invite_hours', MAX_INVITE_HOURS);
    refuses('mesh.invite_hours', MAX_INVITE_HOURS + 1);
    refuses('mesh.invite_hours', 0);
    refuses('mesh.unknown_origins', 'trust');
    const many = (n: number) => Array.from({ length: n }, (_, i) => `o${i}.example`);
    accepts('mesh.trusted_resolvers', many(MAX_TRUSTED_RESOLVERS));
    refuses('mesh.trusted_resolvers', many(MAX_TRUSTED_RESOLVERS + 1));
    refuses('mesh.trusted_resolvers', ['Acme.Example']);
  });

  it('checks host names', () => {
    const { config } = accepts('api.allowed_hosts', 'memory.acme.example, 10.0.0.1,[::1]');
    assert.deepEqual(config.api.allowed_hosts, ['memory.acme.example', '10.0.0.1', '[::1]']);
    for (const host of ['http://x', 'a b', 'x/y', '-x']) refuses('api.allowed_hosts', [host]);
    accepts(
      'api.allowed_hosts',
      Array.from({ length: MAX_ALLOWED_HOSTS }, (_, i) => `h${i}`),
    );
    refuses(
      'api.allowed_hosts',
      Array.from({ length: MAX_ALLOWED_HOSTS + 1 }, (_, i) => `h${i}`),
    );
  });

  it('checks the authority', () => {
    accepts('org.authority', 'acme.example');
    for (const authority of ['Acme', 'acme_example', '-a', 'a..b', 'a/b', `${'a'.repeat(64)}.local`]) {
      refuses('org.authority', authority);
    }
  });

  it('reads relations, also from the command line', () => {
    const { config, origins } = resolve({
      file: '[relations."memory:likes"]\ncardinality = "many"\n[relations."memory:role"]\ncardinality = "one"',
      flags: { 'relations."memory:role".cardinality': 'many', 'relations.a.b:c.cardinality': 'many' },
    });
    assert.deepEqual(
      { ...config.relations },
      {
        'memory:likes': { cardinality: 'many' },
        'memory:role': { cardinality: 'many' },
        'a.b:c': { cardinality: 'many' },
      },
    );
    assert.equal(origins.get('relations."memory:role".cardinality')?.source, 'flag');
    assert.equal(config.relations.constructor, undefined);
    assert.equal(refusal({ file: '[relations."a:b"]\ncardinality = "few"' }).code, 'config_invalid_value');
    for (const name of [' a:b', '', '__proto__', 'a\\u0000b', 'a\\"b', 'a\\nb', 'x'.repeat(257)]) {
      assert.equal(refusal({ file: `[relations."${name}"]\ncardinality = "many"` }).code, 'config_invalid_value', name);
    }
  });

  it(`takes ${MAX_DECLARED_RELATIONS} relations and no more`, () => {
    const tables = (n: number) =>
      Array.from({ length: n }, (_, i) => `[relations."a:r${i}"]\ncardinality = "many"`).join('\n');
    resolve({ file: tables(MAX_DECLARED_RELATIONS) });
    assert.match(refusal({ file: tables(MAX_DECLARED_RELATIONS + 1) }).message, /1001 relations are declared/);
  });
});

describe('config: choices that belong together', () => {
  it('binds beyond loopback only on explicit demand, and warns', () => {
    for (const host of ['0.0.0.0', '::', '[::]', '192.168.1.2', 'acme.example', '::ffff:10.0.0.1', '128.0.0.1']) {
      const error = refusal({ flags: { 'api.host': host } });
      assert.equal(error.code, 'config_remote_bind', host);
      const { warnings } = resolve({ flags: { 'api.host': host, 'api.allow_remote': true } });
      assert.match(warnings.join('\n'), /other machines can reach the API/);
    }
    for (const host of ['127.0.0.1', '127.8.9.10', '::1', '[::1]', 'localhost', 'LOCALHOST']) {
      assert.doesNotMatch(resolve({ flags: { 'api.host': host } }).warnings.join('\n'), /other machines/);
    }
  });

  it('never serves without keys beyond loopback', () => {
    const flags = { 'api.host': '0.0.0.0', 'api.allow_remote': true, 'auth.required': false };
    const error = refusal({ flags });
    assert.equal(error.code, 'config_remote_bind');
    assert.equal(error.issues[0]?.key, 'auth.required');
  });

  it('warns about missing keys and weak durability', () => {
    const { warnings } = resolve({ flags: { 'auth.required': false, 'store.sync': false, 'org.authority': 'a.b' } });
    assert.equal(warnings.length, 2);
    assert.match(warnings[0] ?? '', /auth\.required = false/);
    assert.match(warnings[1] ?? '', /store\.sync = false/);
  });

  it('wants one source of the passphrase', () => {
    const flags = { 'identity.passphrase_file': '/x', 'identity.passphrase_env': 'X' };
    assert.match(refusal({ flags }).hint, /keep one/);
  });
});

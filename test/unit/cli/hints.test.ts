import assert from 'node:assert/strict';
import { mkdirSync, readdirSync, readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { instantOrSpan, parseSpan, spanBetween } from '../../../src/cli/times.ts';
import { Bench, factRecord } from './fixture.ts';

/** What newcomers do wrong, and what they are told. Every hint is true, and leads on. */
describe('cli: mistakes and their hints', () => {
  const bench = new Bench();
  const now = Date.UTC(2030, 0, 1);

  async function refused(args: readonly string[], env: Readonly<Record<string, string>> = {}) {
    const { code, stdout, stderr } = await bench.run(args, { env });
    const [, message, hint] = /^error: (.*)\n(?:[\s\S]*\n)?hint: (.*)\n$/.exec(stderr) ?? [];
    return { code, stdout, message, hint };
  }

  it('a time that is none: says what the option takes', () => {
    for (const text of ['never', 'yesterday', '1y', '0d', '']) {
      assert.throws(() => instantOrSpan(text, '--expires', now), {
        code: 'usage',
        message: /^--expires is (neither|not)/,
      });
      assert.throws(() => parseSpan(text, '--ttl'), { code: 'usage', message: '--ttl is not a span of time' });
    }
    assert.equal(instantOrSpan('2h', '--expires', now), '2030-01-01T02:00:00.000Z');
    assert.equal(instantOrSpan('2031-01-01T00:00:00Z', '--expires', now), '2031-01-01T00:00:00Z');
    assert.equal(spanBetween('30d', '--expires', '1m', '30d'), 30 * 86_400_000);
    for (const text of ['59s', '31d', '5w']) {
      assert.throws(() => spanBetween(text, '--expires', '1m', '30d'), { hint: 'give from 1m to 30d' });
    }
  });

  it('an invite that would live too long or too short: the option, not a member of the request', async () => {
    const { code, message, hint } = await refused(['invite', '--expires', '60d']);
    assert.deepEqual([code, message, hint], [2, '--expires is 60d', 'give from 1m to 30d']);
    assert.equal(bench.daemon.requests.length, 0);
  });

  it('a URL that leads nowhere: the URL is what to look at', async () => {
    const failing = (cause: Error, env: Readonly<Record<string, string>>, url: readonly string[]) =>
      bench.run([...url, 'query'], {
        env: { STIGMESH_URL: '', ...env },
        world: { fetch: () => Promise.reject(new TypeError('fetch failed', { cause })) },
      });
    const refusal = Object.assign(new Error(), { code: 'ECONNREFUSED' });
    const given = await failing(refusal, {}, ['--url', 'http://127.0.0.1:9999']);
    assert.equal(given.code, 3);
    assert.match(given.stderr, /^error: no daemon answers at http:\/\/127\.0\.0\.1:9999\nhint: check --url: /m);
    const variable = await failing(refusal, { STIGMESH_URL: 'http://127.0.0.1:9999' }, []);
    assert.match(variable.stderr, /^hint: check STIGMESH_URL: /m);
    assert.match((await failing(refusal, {}, [])).stderr, /^hint: start it with: stigmesh start /m);
    const unknown = Object.assign(new Error(), { code: 'ENOTFOUND' });
    const { code, stderr } = await failing(unknown, {}, ['--url', 'http://nosuch.example']);
    assert.equal(code, 3);
    assert.match(stderr, /^error: no machine is called nosuch\.example$/m);
    const blocked = await failing(new Error('bad port'), {}, ['--url', 'http://127.0.0.1:6000']);
    assert.deepEqual([blocked.code, /^hint: choose another api\.port/m.test(blocked.stderr)], [2, true]);
  });

  it('a home without a key: says which file is not there', async () => {
    bench.answer(401, { code: 'authorization_required', hint: 'h', detail: 'Authorization header required' });
    const { code, hint } = await refused(['query']);
    assert.equal(code, 5);
    assert.ok(hint?.includes(`because ${join(bench.home.directory, 'api.key')} is not there`), hint);
  });

  it('a daemon of Python words: they are left out', async () => {
    bench.answer(422, {
      code: 'validation_failed',
      hint: 'h',
      detail: [{ loc: ['body', 'addrs'], msg: 'Value error, bad' }],
    });
    assert.equal((await refused(['invite'])).message, 'addrs: bad');
    bench.answer(422, { code: 'x', hint: 'h', detail: [{ loc: ['body'], msg: 'Value error, not a CID' }] });
    assert.equal((await refused(['query'])).message, 'not a CID');
  });

  it('what is not there to be retracted: nobody gave an id', async () => {
    bench.answer(404, { code: 'fact_not_found', hint: 'check the id', detail: 'fact not found' });
    const { code, message, hint } = await refused(['retract', 'user:alice', 'memory:role', '--scope', 'team']);
    assert.deepEqual([code, message], [4, 'your organisation states no such fact in scope team']);
    assert.match(String(hint), /^stigmesh history shows /);
  });

  it('a fact that was over before it was stated: stored, with a warning', async () => {
    bench.answer(201, { ...factRecord(), created: true, announced_to: 0, valid_until: '2020-01-01T00:00:00Z' });
    const { code, stderr } = await bench.run(['assert', 'user:a', 'x:y', '1', '--valid-until', '2020-01-01T00:00:00Z']);
    assert.equal(code, 0);
    assert.match(stderr, /^warning: it was valid until 2020-01-01T00:00:00Z, which is past/m);
  });

  it('a file that cannot be read or written: its name, and no other', async () => {
    const missing = join(bench.home.directory, 'missing');
    const read = await refused(['assert', '--file', missing]);
    assert.deepEqual([read.code, read.message], [1, `${missing}: no such file or directory`]);
    bench.answer(200, {});
    const written = await refused(['export', join(missing, 'x')]);
    assert.deepEqual([written.code, written.message], [1, `${join(missing, 'x')}: no such file or directory`]);
  });

  it('a part of an import that was refused gets no mark of success', async () => {
    const report = { accepted: 1, duplicates: 0, rejected: 1, errors: [], errors_truncated: false };
    bench.answer(200, report);
    const { code, stdout } = await bench.run(['import', '-'], { stdin: 'x\ny\n' });
    assert.equal(code, 1);
    assert.match(stdout, /^! 1 statement accepted, 0 known already, 1 refused\n$/);
  });

  it('a setting that does not fit: what was expected, in words', async () => {
    for (const [pair, message] of [
      ['store.cache_mb=x', 'expected a whole number'],
      ['store.cache_mb=1000000', 'expected at most 65536'],
      ['store.cache_mb=0', 'expected at least '],
      ['auth.required=perhaps', 'expected true or false'],
      ['log.level=loud', 'expected trace, debug, info, warn, error, fatal or silent'],
    ]) {
      const { code, message: printed, hint } = await refused(['start', '--set', String(pair)]);
      assert.equal(code, 2, pair);
      assert.ok(printed?.includes(String(message)), printed);
      assert.match(String(hint), /[.!] For example: \S+ = /);
    }
    assert.deepEqual(readdirSync(bench.home.directory), []);
    assert.match(String((await refused(['start', '--set', 'foo=bar'])).hint), /^known are the sections /);
  });

  describe('init with the name of another organisation', () => {
    const configFile = () => join(bench.home.directory, 'config.toml');

    it('is refused where the home has a name, and changes nothing', async () => {
      const text = 'version = 1\n[org]\nauthority = "acme.example"\n';
      writeFileSync(configFile(), text);
      const { code, message, hint } = await refused(['init', '--org', 'other.example']);
      assert.deepEqual([code, message], [2, `this home is of acme.example already (${configFile()})`]);
      assert.match(String(hint), /--home/);
      assert.equal(readFileSync(configFile(), 'utf8'), text);
      assert.deepEqual(readdirSync(bench.home.directory), ['config.toml']);
    });

    it('is refused where a variable or a file without a name would win later', async () => {
      const env = { STIGMESH_ORG_AUTHORITY: 'acme.example' };
      assert.equal(
        (await refused(['init', '--org', 'other.example'], env)).message,
        'this home is of acme.example already (STIGMESH_ORG_AUTHORITY)',
      );
      mkdirSync(bench.home.directory, { recursive: true });
      writeFileSync(configFile(), 'version = 1\n');
      assert.equal((await refused(['init', '--org', 'other.example'])).code, 2);
    });
  });
});

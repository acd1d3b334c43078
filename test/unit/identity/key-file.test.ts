import assert from 'node:assert/strict';
import { execFileSync } from 'node:child_process';
import { generateKeyPairSync, type KeyObject } from 'node:crypto';
import {
  chmodSync,
  mkdirSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  renameSync,
  rmSync,
  statSync,
  symlinkSync,
  utimesSync,
  writeFileSync,
} from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import {
  createKeyDirectory,
  createKeyFile,
  IdentityError,
  initIdentity,
  loadIdentity,
  loadKeyFile,
  rawPublicKey,
} from '../../../src/identity/index.ts';
import { MAX_KEY_FILE_BYTES, STALE_TEMPORARY_MS } from '../../../src/identity/limits.ts';

const posix = process.platform === 'win32' ? it.skip : it;
const mode = (path: string) => statSync(path).mode & 0o777;
const pkcs8 = (key: KeyObject) => key.export({ type: 'pkcs8', format: 'pem' }).toString();
const same = (a: KeyObject, b: KeyObject) => assert.deepEqual(rawPublicKey(a), rawPublicKey(b));

describe('identity: key files', () => {
  let directory: string;
  let path: string;
  beforeEach(() => {
    directory = mkdtempSync(join(tmpdir(), 'stigmesh-keys-'));
    path = join(directory, 'node.key');
  });
  afterEach(() => rmSync(directory, { recursive: true, force: true }));

  const write = (content: string | Buffer) => writeFileSync(path, content, { mode: 0o600 });
  const refused = (code: string, options = {}) =>
    assert.rejects(loadKeyFile(path, options), { name: 'IdentityError', code });

  it('come back as they were written', async () => {
    const key = await createKeyFile(path);
    same(await loadKeyFile(path), key);
    assert.match(readFileSync(path, 'utf8'), /^-----BEGIN PRIVATE KEY-----\n/);
    assert.deepEqual(readdirSync(directory), ['node.key']);
  });

  posix('are readable by their owner only, in a directory of his own, whatever the umask', async () => {
    for (const umask of [0o000, 0o022, 0o377]) {
      const previous = process.umask(umask);
      const keys = join(directory, `a${umask}`, 'keys');
      try {
        if (umask !== 0o377) await createKeyDirectory(keys);
        else {
          mkdirSync(join(directory, `a${umask}`), { mode: 0o700 });
          chmodSync(join(directory, `a${umask}`), 0o700);
          await createKeyDirectory(keys);
        }
        await createKeyFile(join(keys, 'node.key'));
      } finally {
        process.umask(previous);
      }
      assert.equal(mode(keys), 0o700);
      assert.equal(mode(join(keys, 'node.key')), 0o600);
    }
  });

  it('are never overwritten', async () => {
    const first = await createKeyFile(path);
    await assert.rejects(createKeyFile(path), { code: 'key_exists' });
    same(await loadKeyFile(path), first);
    assert.deepEqual(readdirSync(directory), ['node.key']);
  });

  it('are encrypted with a passphrase, which is then needed', async () => {
    const key = await createKeyFile(path, { passphrase: 'correct horse' });
    assert.match(readFileSync(path, 'utf8'), /^-----BEGIN ENCRYPTED PRIVATE KEY-----\n/);
    same(await loadKeyFile(path, { passphrase: 'correct horse' }), key);
    await refused('key_passphrase_required');
    await refused('key_passphrase_required', { passphrase: '' });
    for (let i = 0; i < 20; i++) await refused('key_passphrase_wrong', { passphrase: `wrong ${i}` });
    await assert.rejects(createKeyFile(join(directory, 'x.key'), { passphrase: '' }), {
      code: 'key_passphrase_required',
    });
  });

  it('must be encrypted if a passphrase is configured', async () => {
    await createKeyFile(path);
    await refused('key_not_encrypted', { passphrase: 'x' });
  });

  it('may come from OpenSSL', async function () {
    try {
      write(execFileSync('openssl', ['genpkey', '-algorithm', 'ed25519'], { stdio: ['ignore', 'pipe', 'ignore'] }));
    } catch {
      return this.skip();
    }
    assert.equal((await loadKeyFile(path)).asymmetricKeyType, 'ed25519');
  });

  posix('are refused in every mode that others can use', async () => {
    await createKeyFile(path);
    for (let bits = 0; bits < 0o100; bits++) {
      chmodSync(path, 0o600 | bits);
      if (bits === 0) await loadKeyFile(path);
      else await refused('key_permissions');
    }
    await assert.rejects(loadKeyFile(path), { hint: new RegExp(`^chmod 600 ${path}`) });
    chmodSync(path, 0o400);
    await loadKeyFile(path);
  });

  posix('are refused in a directory that others can enter', async () => {
    await createKeyFile(path);
    chmodSync(directory, 0o750);
    await refused('key_permissions');
    await assert.rejects(loadKeyFile(path), { hint: new RegExp(`^chmod 700 ${directory}`) });
    await assert.rejects(createKeyDirectory(directory), { code: 'key_permissions' });
  });

  posix('are not followed through links, and may not be directories or pipes', async () => {
    await createKeyFile(join(directory, 'real.key'));
    symlinkSync(join(directory, 'real.key'), path);
    await refused('key_symlink');
    rmSync(path);
    mkdirSync(path);
    await assert.rejects(loadKeyFile(path), IdentityError);
    rmSync(path, { recursive: true });
    execFileSync('mkfifo', ['-m', '600', path]);
    await refused('key_damaged');
  });

  it('say when they are missing', () => refused('key_missing'));

  it('are refused when damaged: every truncation, other text, other formats', async () => {
    const pem = pkcs8(generateKeyPairSync('ed25519').privateKey);
    write(pem);
    await loadKeyFile(path);
    const whole = pem.trimEnd().length;
    for (let length = 0; length < whole; length++) {
      write(pem.slice(0, length));
      await refused('key_damaged');
    }
    for (const content of [
      `${pem}${pem}`,
      pem.replace('MC4C', 'MC4D'),
      pem.replaceAll('PRIVATE', 'PUBLIC'),
      pem.replace(/\n(.)/, '\n*$1'),
      pem.replace('BEGIN PRIVATE', 'BEGIN ENCRYPTED PRIVATE'),
      Buffer.alloc(200),
    ]) {
      write(content);
      await refused('key_damaged');
    }
  });

  it('are refused when an encrypted one is damaged', async () => {
    const passphrase = 'p';
    await createKeyFile(path, { passphrase });
    const pem = readFileSync(path, 'utf8');
    for (let length = 0; length < pem.trimEnd().length; length += 7) {
      write(pem.slice(0, length));
      await refused('key_damaged', { passphrase });
    }
  });

  it('are refused for other algorithms', async () => {
    write(pkcs8(generateKeyPairSync('x25519').privateKey));
    await refused('key_not_ed25519');
    write(pkcs8(generateKeyPairSync('ec', { namedCurve: 'P-256' }).privateKey));
    await refused('key_not_ed25519');
  });

  it('are bounded in size', async () => {
    const pem = pkcs8(generateKeyPairSync('ed25519').privateKey);
    write(`${pem}${' '.repeat(MAX_KEY_FILE_BYTES + 1 - pem.length)}`);
    await assert.rejects(loadKeyFile(path), { code: 'key_damaged', message: /larger than/ });
    write(`${pem}${' '.repeat(MAX_KEY_FILE_BYTES - pem.length)}`);
    await assert.rejects(loadKeyFile(path), { code: 'key_damaged', message: /one PKCS#8/ });
  });

  it('never show key material or passphrase in an error', async () => {
    const passphrase = 'correct horse battery';
    const pem = pkcs8(generateKeyPairSync('ed25519').privateKey);
    const body = pem.split('\n')[1] as string;
    const show = async () => {
      const error = (await loadKeyFile(path, { passphrase }).catch((e) => e)) as IdentityError;
      return `${error.stack} ${error.hint} ${String(error.cause)}`;
    };
    for (const content of [pem, pem.slice(0, -4), pem.replaceAll('PRIVATE', 'ENCRYPTED PRIVATE')]) {
      write(content);
      const shown = await show();
      assert.match(shown, /IdentityError/);
      assert.ok(!shown.includes(body) && !shown.includes(passphrase), shown);
    }
  });
});

describe('identity: init', () => {
  let home: string;
  let keysDir: string;
  beforeEach(() => {
    home = mkdtempSync(join(tmpdir(), 'stigmesh-init-'));
    keysDir = join(home, 'deep', 'keys');
  });
  afterEach(() => rmSync(home, { recursive: true, force: true }));

  const files = () => readdirSync(keysDir).sort();

  it('makes two different keys once, and finds them again', async () => {
    const first = await initIdentity({ keysDir });
    assert.deepEqual(first.created, ['node', 'org']);
    assert.deepEqual(files(), ['node.key', 'org.key']);
    assert.notDeepEqual(first.nodePublicKey, first.orgPublicKey);
    const again = await initIdentity({ keysDir });
    assert.deepEqual(again.created, []);
    const loaded = await loadIdentity({ keysDir });
    for (const identity of [again, loaded]) {
      assert.equal(identity.peerId, first.peerId);
      assert.equal(identity.orgFingerprint, first.orgFingerprint);
      same(identity.nodeKey, first.nodeKey);
      same(identity.orgKey, first.orgKey);
    }
  });

  it('makes only what is missing', async () => {
    const first = await initIdentity({ keysDir });
    rmSync(join(keysDir, 'org.key'));
    await assert.rejects(loadIdentity({ keysDir }), { code: 'key_missing' });
    const again = await initIdentity({ keysDir });
    assert.deepEqual(again.created, ['org']);
    assert.equal(again.peerId, first.peerId);
    assert.notEqual(again.orgFingerprint, first.orgFingerprint);
  });

  it('agrees on one identity when many start at once', async () => {
    const all = await Promise.all(Array.from({ length: 8 }, () => initIdentity({ keysDir })));
    assert.equal(new Set(all.map(({ peerId }) => peerId)).size, 1);
    assert.equal(new Set(all.map(({ orgFingerprint }) => orgFingerprint)).size, 1);
    assert.equal(all.filter(({ created }) => created.includes('node')).length, 1);
    assert.deepEqual(files(), ['node.key', 'org.key']);
  });

  it('ignores what a crash left half written, and sweeps it up once it is old', async () => {
    const { peerId } = await initIdentity({ keysDir });
    const now = Date.now();
    const half = join(keysDir, 'node.key.0123456789abcdef.tmp');
    renameSync(join(keysDir, 'org.key'), join(keysDir, 'org.key.0123456789abcdef.tmp'));
    writeFileSync(half, '-----BEGIN PRI', { mode: 0o600 });
    writeFileSync(join(keysDir, 'notes.tmp'), 'mine');
    const young = await initIdentity({ keysDir }, { now });
    assert.equal(young.peerId, peerId);
    assert.deepEqual(young.created, ['org']);
    assert.equal(files().length, 5);
    const old = new Date(now - STALE_TEMPORARY_MS - 1000);
    for (const name of files()) utimesSync(join(keysDir, name), old, old);
    await initIdentity({ keysDir }, { now });
    assert.deepEqual(files(), ['node.key', 'notes.tmp', 'org.key']);
  });

  it('leaves a damaged key as it is and says so', async () => {
    await initIdentity({ keysDir });
    writeFileSync(join(keysDir, 'node.key'), '-----BEGIN PRI', { mode: 0o600 });
    await assert.rejects(initIdentity({ keysDir }), { code: 'key_damaged' });
    assert.equal(readFileSync(join(keysDir, 'node.key'), 'utf8'), '-----BEGIN PRI');
  });

  posix('does not write a key through a dangling link', async () => {
    mkdirSync(keysDir, { recursive: true, mode: 0o700 });
    chmodSync(keysDir, 0o700);
    symlinkSync(join(home, 'elsewhere'), join(keysDir, 'node.key'));
    await assert.rejects(initIdentity({ keysDir }), { code: 'key_symlink' });
    assert.deepEqual(readdirSync(home), ['deep']);
  });

  it('encrypts both keys with a passphrase', async () => {
    const { peerId } = await initIdentity({ keysDir }, { passphrase: 'p' });
    for (const name of files()) assert.match(readFileSync(join(keysDir, name), 'utf8'), /BEGIN ENCRYPTED/);
    assert.equal((await loadIdentity({ keysDir }, { passphrase: 'p' })).peerId, peerId);
    await assert.rejects(loadIdentity({ keysDir }), { code: 'key_passphrase_required' });
  });
});

import assert from 'node:assert/strict';
import { spawn } from 'node:child_process';
import { once } from 'node:events';
import {
  chmodSync,
  copyFileSync,
  linkSync,
  mkdirSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  renameSync,
  rmSync,
  statSync,
  writeFileSync,
} from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { createInterface } from 'node:readline';
import {
  createKeyFile,
  createManifest,
  fingerprint,
  initIdentity,
  loadFormerOrgKeys,
  loadIdentity,
  loadKeyFile,
  rawPublicKey,
  rotateOrgKey,
  succeeds,
  verifyManifest,
  withMissingRotations,
} from '../../../src/identity/index.ts';
import { MAX_FORMER_ORG_KEYS } from '../../../src/identity/limits.ts';

const LONGEST_PATH = 4096;
const posix = process.platform === 'win32' ? it.skip : it;
const linux = process.platform === 'linux' ? it : it.skip;

describe('identity: rotation of the org key on disk', () => {
  let home: string;
  let keysDir: string;
  beforeEach(() => {
    home = mkdtempSync(join(tmpdir(), 'stigmesh-rotate-'));
    keysDir = join(home, 'keys');
  });
  afterEach(() => rmSync(home, { recursive: true, force: true }));

  const path = (name: string) => join(keysDir, name);
  const files = () => readdirSync(keysDir).sort();
  const former = async (options = {}) =>
    (await loadFormerOrgKeys({ keysDir }, options)).map((key) => fingerprint(rawPublicKey(key)));

  it('makes a new key and keeps the old ones, numbered', async () => {
    const first = await initIdentity({ keysDir });
    assert.deepEqual(await former(), []);
    const once = await rotateOrgKey({ keysDir });
    assert.equal(once.file, 'org.key.1');
    assert.deepEqual(rawPublicKey(once.former), first.orgPublicKey);
    const twice = await rotateOrgKey({ keysDir });
    assert.equal(twice.file, 'org.key.2');
    assert.deepEqual(rawPublicKey(twice.former), once.orgPublicKey);
    const now = await loadIdentity({ keysDir });
    assert.equal(now.orgFingerprint, twice.orgFingerprint);
    assert.deepEqual(now.orgPublicKey, rawPublicKey(twice.orgKey));
    assert.equal(now.peerId, first.peerId);
    assert.deepEqual(files(), ['node.key', 'org.key', 'org.key.1', 'org.key.2']);
    assert.deepEqual(await former(), [first.orgFingerprint, once.orgFingerprint]);
  });

  posix('keeps old keys as private as the new one', async () => {
    await initIdentity({ keysDir });
    await rotateOrgKey({ keysDir });
    for (const name of files()) assert.equal(statSync(path(name)).mode & 0o777, 0o600, name);
    chmodSync(path('org.key.1'), 0o640);
    await assert.rejects(loadFormerOrgKeys({ keysDir }), { code: 'key_permissions' });
  });

  it('encrypts the new key with the same passphrase', async () => {
    const options = { passphrase: 'correct horse' };
    await initIdentity({ keysDir }, options);
    await assert.rejects(rotateOrgKey({ keysDir }), { code: 'key_passphrase_required' });
    await assert.rejects(rotateOrgKey({ keysDir }, { passphrase: 'wrong' }), { code: 'key_passphrase_wrong' });
    assert.deepEqual(files(), ['node.key', 'org.key']);
    await rotateOrgKey({ keysDir }, options);
    for (const name of files()) assert.match(readFileSync(path(name), 'utf8'), /BEGIN ENCRYPTED/);
    assert.equal((await former(options)).length, 1);
  });

  it('finishes what a crash stopped, at every step', async () => {
    const { orgFingerprint } = await initIdentity({ keysDir });
    const states: Record<string, () => unknown> = {
      'while the next key was written': () =>
        writeFileSync(path('org.next.key.0123456789abcdef.tmp'), '-----BEGIN', { mode: 0o600 }),
      'once the next key was there': () => createKeyFile(path('org.next.key')),
      'once the old key was kept': async () => {
        await createKeyFile(path('org.next.key'));
        linkSync(path('org.key'), path('org.key.1'));
      },
      'once the old key was kept, and restored from a backup since': async () => {
        await createKeyFile(path('org.next.key'));
        linkSync(path('org.key'), path('org.key.1'));
        copyFileSync(path('org.key'), path('copy'));
        renameSync(path('copy'), path('org.key'));
      },
    };
    for (const [when, crash] of Object.entries(states)) {
      const saved = join(home, 'saved');
      mkdirSync(saved);
      for (const name of files()) copyFileSync(path(name), join(saved, name));
      await crash();
      assert.equal((await loadIdentity({ keysDir })).orgFingerprint, orgFingerprint, when);
      const rotated = await rotateOrgKey({ keysDir });
      assert.ok(!files().includes('org.next.key'), when);
      assert.equal(rotated.file, 'org.key.1', when);
      assert.deepEqual(await former(), [orgFingerprint], when);
      assert.equal((await loadIdentity({ keysDir })).orgFingerprint, rotated.orgFingerprint, when);
      rmSync(keysDir, { recursive: true });
      renameSync(saved, keysDir);
      chmodSync(keysDir, 0o700);
    }
  });

  it('sweeps up a next key that was being written when it crashed', async () => {
    await initIdentity({ keysDir });
    writeFileSync(path('org.next.key.0123456789abcdef.tmp'), '-----BEGIN', { mode: 0o600 });
    await initIdentity({ keysDir }, { now: Date.now() + 24 * 60 * 60 * 1000 });
    assert.deepEqual(files(), ['node.key', 'org.key']);
  });

  it('loses no key and no link of the chain, whenever it is killed', async () => {
    const { orgFingerprint, orgKey, peerId } = await initIdentity({ keysDir });
    const seen = [orgFingerprint];
    const manifest = createManifest({ authority: 'acme.example', peerId }, { orgKey, now: 0 });
    const module = new URL('../../../src/identity/index.ts', import.meta.url).href;
    const program = `const { rotateOrgKey } = await import(${JSON.stringify(module)});
      for (let i = 0; i < 12; i++) console.log((await rotateOrgKey({ keysDir: ${JSON.stringify(keysDir)} })).orgFingerprint);`;
    for (let round = 0; round < 4; round++) {
      const child = spawn(process.execPath, ['--input-type=module', '-e', program], {
        stdio: ['ignore', 'pipe', 'inherit'],
      });
      const exit = once(child, 'exit');
      let rotations = 0;
      for await (const line of createInterface({ input: child.stdout })) {
        seen.push(line);
        // Somewhere within the rotation that follows.
        if (++rotations === 3) setTimeout(() => child.kill('SIGKILL'), round);
      }
      await exit;
      const now = await loadIdentity({ keysDir });
      const kept = await former();
      assert.ok(seen.every((one) => one === now.orgFingerprint || kept.includes(one)));
      const keys = await loadFormerOrgKeys({ keysDir });
      const caughtUp = withMissingRotations(manifest, keys, { orgKey: now.orgKey, now: 1 });
      assert.equal(succeeds(manifest, await verifyManifest(caughtUp)), true);
      assert.equal(caughtUp.key_id, now.orgFingerprint);
    }
    assert.ok(seen.length > 12);
  });

  it('says what is wrong with the key it should replace, and changes nothing', async () => {
    await assert.rejects(rotateOrgKey({ keysDir }), { code: 'key_missing' });
    await initIdentity({ keysDir });
    writeFileSync(path('org.key'), 'damaged', { mode: 0o600 });
    await assert.rejects(rotateOrgKey({ keysDir }), { code: 'key_damaged' });
    assert.deepEqual(files(), ['node.key', 'org.key']);
  });

  it('is not kept from it by what else lies there', async () => {
    const { orgFingerprint } = await initIdentity({ keysDir });
    writeFileSync(path('org.key.3'), 'damaged', { mode: 0o600 });
    writeFileSync(path('org.next.key'), 'damaged', { mode: 0o644 });
    const { file, former: replaced } = await rotateOrgKey({ keysDir });
    assert.equal(file, 'org.key.4');
    assert.equal(fingerprint(rawPublicKey(replaced)), orgFingerprint);
    assert.equal(readFileSync(path('org.key.3'), 'utf8'), 'damaged');
    await assert.rejects(loadFormerOrgKeys({ keysDir }), { code: 'key_damaged', message: /org\.key\.3/ });
  });

  linux('says when the disk refuses', async () => {
    // There is room for the path of org.key, and none for that of the temporary file of its successor.
    let deep = home;
    while (deep.length < LONGEST_PATH - 250) deep = join(deep, 'd'.repeat(200));
    deep = join(deep, 'd'.repeat(LONGEST_PATH - 35 - deep.length));
    mkdirSync(deep, { recursive: true, mode: 0o700 });
    const at = process.cwd();
    await initIdentity({ keysDir });
    process.chdir(deep);
    try {
      copyFileSync(path('org.key'), 'org.key');
      chmodSync('org.key', 0o600);
    } finally {
      process.chdir(at);
    }
    await assert.rejects(rotateOrgKey({ keysDir: deep }), { code: 'key_unwritable', message: /ENAMETOOLONG/ });
  });

  it(`reads the ${MAX_FORMER_ORG_KEYS} newest of the old keys`, async () => {
    await initIdentity({ keysDir });
    for (let number = 1; number <= MAX_FORMER_ORG_KEYS + 2; number++)
      copyFileSync(path('org.key'), path(`org.key.${number}`));
    await createKeyFile(path('org.key.100'));
    const keys = await former();
    assert.equal(keys.length, MAX_FORMER_ORG_KEYS);
    assert.equal(new Set(keys).size, 2);
    assert.equal(keys.at(-1), fingerprint(rawPublicKey(await loadKeyFile(path('org.key.100')))));
  });
});

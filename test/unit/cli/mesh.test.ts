import assert from 'node:assert/strict';
import { readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { MAX_ANSWER_LINE, MAX_INVITE_FILE_BYTES, MAX_MANIFEST_FILE_BYTES } from '../../../src/cli/limits.ts';
import { fingerprint } from '../../../src/identity/index.ts';
import { FakeFederation, testKey } from '../../support/fake-federation.ts';
import { principal } from '../api/fakes.ts';
import { MeshBench, typed } from './mesh-fixture.ts';

/** Of another organisation, so that it can be joined. */
async function inviteOf(inviter: FakeFederation, more: object = {}): Promise<string> {
  const input = { gives: ['company', 'public'], takes: ['public'], expiresIn: 3600, ...more } as never;
  return (await inviter.createInvite(principal(), input)).invite;
}

describe('cli: invite', () => {
  const bench = new MeshBench();

  it('prints one line to send, and tells how to take it back', async () => {
    const { code, stdout, stderr } = await bench.run(['invite', '--scopes', 'public,company', '--expires', '24h']);
    assert.equal(code, 0, stderr);
    const [first, second, ...rest] = stdout.split('\n');
    assert.match(
      first!,
      /^Send this line to ONE peer over a channel you trust\. It works once, until \d{4}-\d\d-\d\d \d\d:\d\dZ\.$/,
    );
    assert.match(second!, /^ {2}stigmesh-invite:1:[0-9A-Z]+$/);
    assert.deepEqual(rest, ['']);
    assert.match(
      stderr,
      /^offered: company, public; taken: company, public\nto take it back: stigmesh invite revoke [0-9a-f]{16}\n$/,
    );
    const [made] = [...bench.mesh.issued.values()];
    assert.deepEqual(made!.record.terms, {
      gives: ['public', 'company'],
      takes: ['public', 'company'],
      namespaces: null,
    });
  });

  it('prints nothing but the invite with -q, and all of it with --json', async () => {
    const { stdout, stderr } = await bench.run(['invite', '-q', '--takes', 'none', '--namespaces', 'memory,-']);
    assert.match(stdout, /^stigmesh-invite:1:[0-9A-Z]+\n$/);
    assert.equal(stderr, '');
    const made = JSON.parse((await bench.run(['invite', 'create', '--json', '--expires', '5m'])).stdout);
    assert.equal(Date.parse(made.expires_at) - Date.parse(made.created_at), 300_000);
    const [first] = [...bench.mesh.issued.values()];
    assert.deepEqual(first!.record.terms, { gives: ['public'], takes: [], namespaces: ['memory', ''] });
  });

  it('lists invites without their secrets, and takes one back', async () => {
    const text = (await bench.run(['invite', '-q'])).stdout.trim();
    const listed = await bench.run(['invite', 'list']);
    assert.match(
      listed.stdout,
      /^ID +STATE +OFFERED +TAKEN +MADE +UNTIL +BY +USED BY\n[0-9a-f]{16} +open +public +public/,
    );
    assert.ok(!listed.stdout.includes(text.slice(20)));
    const id = (await bench.run(['invite', 'list', '-q'])).stdout.trim();
    assert.match((await bench.run(['invite', 'revoke', id])).stdout, /✓ revoked/);
    assert.match((await bench.run(['invite', 'list'])).stdout, / revoked /);
    assert.equal((await bench.run(['invite', 'revoke', '00'])).code, 4);
  });

  it('refuses scopes that cannot be shared, spans that are none, and commands that do not exist', async () => {
    for (const args of [
      ['--scopes', 'local'],
      ['--scopes', 'public,everything'],
      ['--scopes', ''],
      ['--expires', 'soon'],
      ['--expires', '31d'],
      ['--address', 'http://x'],
    ]) {
      assert.equal((await bench.run(['invite', ...args])).code, 2, args.join(' '));
    }
    const { code, stderr } = await bench.run(['invite', 'lsit']);
    assert.deepEqual([code, /did you mean list\?/.test(stderr)], [2, true]);
    assert.equal(bench.mesh.issued.size, 0);
  });
});

describe('cli: join', () => {
  const bench = new MeshBench();
  let inviter: FakeFederation;
  beforeEach(() => {
    inviter = new FakeFederation('other.example', () => bench.now);
    inviter.addrs = ['/dns4/mesh.other.example/tcp/4701'];
    bench.mesh.reconcile = async () => ({ sent: 0, received: 1 });
  });

  it('shows who invites and what is offered, asks, and pairs', async () => {
    const { code, stdout, stderr } = await bench.run(['join', await inviteOf(inviter)], typed('y\n'));
    assert.equal(code, 0, stderr);
    const short = `${inviter.node.peerId.slice(0, 12)}…${inviter.node.peerId.slice(-4)}`;
    assert.equal(
      stderr,
      `Peer  other.example  ${short}   fingerprint ${inviter.orgKey.fingerprint}  (compare with what they see)\n` +
        'They offer company, public.\n' +
        'You will share back: public.    Trust this peer? [y/N] ',
    );
    assert.equal(
      stdout,
      '✓ connected (noise, direct)   ✓ declarations exchanged   ✓ first sync: 1 statement in 38 ms\n',
    );
    const peer = bench.mesh.records.get(inviter.node.peerId)!;
    assert.deepEqual(peer.ours, { gives: ['public'], takes: ['company', 'public'], namespaces: null });
  });

  it('takes the invite from stdin, from a file, or asks for it; never more than one', async () => {
    const invite = await inviteOf(inviter);
    const file = join(bench.home.directory, 'invite.txt');
    writeFileSync(file, `\n  ${invite.slice(0, 60)}\n  ${invite.slice(60)}\n`);
    for (const [args, options] of [
      [['join', '-', '--yes'], { stdin: `${invite}\n` }],
      [['join', '--file', file, '--yes'], {}],
      [['join'], typed(`${invite}\ny\n`)],
      [['join', '-'], typed(`${invite}\nyes\n`)],
    ] as const) {
      bench.mesh.records.clear();
      const { code, stderr } = await bench.run([...args], options);
      assert.equal(code, 0, `${args.join(' ')}\n${stderr}`);
      assert.equal(bench.mesh.records.size, 1);
    }
    assert.equal((await bench.run(['join', invite, '--file', file])).code, 2);
    assert.equal((await bench.run(['join'])).code, 2);
  });

  it('does nothing unless somebody agrees', async () => {
    const invite = await inviteOf(inviter);
    for (const answer of ['n\n', '\n', '', 'yeah\n']) {
      const { code, stderr } = await bench.run(['join', invite], typed(answer));
      assert.equal(code, 1);
      assert.match(stderr, /error: not confirmed, nothing was done\nhint: /);
    }
    const { code, stderr } = await bench.run(['join', '-'], { stdin: invite });
    assert.equal(code, 2);
    assert.match(
      stderr,
      /nobody is there to confirm: you would share public with other\.example\nhint: repeat it with --yes/,
    );
    assert.equal(bench.mesh.records.size, 0);
  });

  it('asks nobody to trust where there is nothing to join: the own invite, no daemon', async () => {
    const own = (await bench.run(['invite', '-q'])).stdout.trim();
    const { code, stderr } = await bench.run(['join', own], typed('y\n'));
    assert.deepEqual([code, stderr.split('\n')[0]], [2, 'error: this invite was made here']);
    const invite = await inviteOf(inviter);
    const nowhere = await bench.run(['join', invite, '--url', 'http://127.0.0.1:9'], {
      ...typed('y\n'),
      env: { STIGMESH_API_KEY: 'smk_x' },
    });
    assert.doesNotMatch(nowhere.stderr, /Trust/);
    assert.notEqual(nowhere.code, 0);
  });

  it('names what is wrong with an invite without dialling anybody', async () => {
    let dialled = 0;
    bench.mesh.dial = async () => void dialled++;
    const invite = await inviteOf(inviter);
    for (const [text, error] of [
      [invite.slice(0, -10), /incomplete/],
      [invite.replace(/.$/, (last) => (last === '0' ? '1' : '0')), /checksum/],
      [invite.replace(':1:', ':9:'), /version/],
      ['hello', /the invite does not begin with stigmesh-invite:\n/],
    ] as const) {
      const { code, stderr } = await bench.run(['join', text, '--yes']);
      assert.equal(code, 2);
      assert.match(stderr, error);
      assert.match(stderr, /hint: /);
    }
    bench.now += 7_200_000;
    const late = await bench.run(['join', invite, '--yes']);
    assert.equal(late.code, 5);
    assert.match(late.stderr, /error: the invite expired/);
    assert.equal(dialled, 0);
  });

  it('fault 49: dials private addresses only when that was said, or shown and agreed to', async () => {
    inviter.addrs = ['/ip4/127.0.0.1/tcp/4701'];
    const invite = await inviteOf(inviter);
    const refused = await bench.run(['join', invite, '--yes']);
    assert.equal(refused.code, 5);
    assert.match(refused.stderr, /--allow-private/);
    assert.equal((await bench.run(['join', invite, '--yes', '--allow-private'])).code, 0);
    const asked = await bench.run(['join', invite], typed('y\n'));
    assert.equal(asked.code, 0);
    assert.match(asked.stderr, /on this machine or a private network: \/ip4\/127\.0\.0\.1\/tcp\/4701\n/);
  });

  it('says that the first sync goes on, that they have not approved yet, or why they refuse', async () => {
    const invite = await inviteOf(inviter);
    const join_ = bench.mesh.join.bind(bench.mesh);
    bench.mesh.join = async (who, input) => ({ ...(await join_(who, input)), firstSync: null });
    assert.match(
      (await bench.run(['join', invite, '--yes'])).stdout,
      / {3}first sync goes on by itself: stigmesh peers show other\.example\n$/,
    );
    const refusal = Object.assign(new Error('the invite was used already'), {
      code: 'invite_spent',
      hint: 'ask for another',
    });
    bench.mesh.join = () => Promise.reject(refusal);
    const spent = await bench.run(['join', invite, '--yes', '--json']);
    assert.equal(spent.code, 5);
    assert.deepEqual(JSON.parse(spent.stderr).error, {
      code: 'invite_spent',
      message: 'the invite was used already',
      hint: 'ask for another',
      status: 403,
      exit_code: 5,
    });
    bench.mesh.join = () =>
      Promise.reject(Object.assign(new Error('late'), { code: 'peer_timeout', hint: 'try again' }));
    assert.equal((await bench.run(['join', invite, '--yes'])).code, 6);
  });

  it('prints the peer id with -q', async () => {
    const { stdout, stderr } = await bench.run(['join', await inviteOf(inviter), '--yes', '-q', '--gives', 'none']);
    assert.equal(stdout, `${inviter.node.peerId}\n`);
    assert.equal(stderr, '');
    assert.deepEqual(bench.mesh.records.get(inviter.node.peerId)!.ours.gives, []);
  });
});

describe('cli: org', () => {
  const bench = new MeshBench();

  it('shows the own organisation, and others that are known', async () => {
    const { stdout } = await bench.run(['org']);
    assert.match(stdout, /^org +acme\.example\nfingerprint +[0-9A-Z-]{23}\nmanifest +version 1, own\n/);
    assert.match(stdout, /\n\nNODE +MAY SPEAK FOR +STATE\n12D3KooW\S{44} +acme\.example +listed\n$/);
    assert.equal((await bench.run(['org', 'show', '-q'])).stdout, `${bench.mesh.orgKey.fingerprint}\n`);
    assert.match((await bench.run(['org', 'list'])).stdout, /^ORG .*\nacme\.example .* own /);
    assert.equal((await bench.run(['org', 'show', 'nobody.example'])).code, 4);
    assert.equal((await bench.run(['org', 'show', 'exprot'])).code, 4);
    const { code, stderr } = await bench.run(['org', 'exprot']);
    assert.equal(code, 2);
    assert.ok(stderr.endsWith('hint: did you mean export? See stigmesh org --help\n'), stderr);
  });

  it('changes the key only when somebody agrees', async () => {
    const before = bench.mesh.orgKey.fingerprint;
    assert.equal((await bench.run(['org', 'rotate-key'])).code, 2);
    assert.equal((await bench.run(['org', 'rotate-key'], typed('n\n'))).code, 1);
    assert.equal(bench.mesh.orgKey.fingerprint, before);
    const { stdout, code } = await bench.run(['org', 'rotate-key', '--yes']);
    assert.equal(code, 0);
    assert.match(stdout, /^✓ acme\.example {2}new key, fingerprint [0-9A-Z-]{23}; manifest version 2\n$/);
    assert.notEqual(bench.mesh.orgKey.fingerprint, before);
  });

  it('adds and revokes nodes, and hands the manifest to another machine', async () => {
    const second = testKey();
    assert.match(
      (await bench.run(['org', 'add-node', second.peerId, '--names', 'lab.acme.example'])).stdout,
      /^✓ acme\.example {2}2 nodes may speak for it; manifest version 2\n$/,
    );
    const file = join(bench.home.directory, 'manifest.json');
    assert.match(
      (await bench.run(['org', 'export', file])).stdout,
      /✓ manifest version 2 of acme\.example written to /,
    );
    assert.equal((await bench.run(['org', 'export', file])).code, 1);
    assert.deepEqual(JSON.parse((await bench.run(['org', 'export'])).stdout), JSON.parse(readFileSync(file, 'utf8')));
    assert.equal((await bench.run(['org', 'forget-node', second.peerId, '--yes'])).code, 1);
    assert.equal((await bench.run(['org', 'revoke-node', second.peerId])).code, 2);
    assert.match(
      (await bench.run(['org', 'revoke-node', second.peerId, '--yes'])).stdout,
      /revoked; manifest version 3/,
    );
    assert.equal((await bench.run(['org', 'revoke-node', testKey().peerId, '--yes'])).code, 4);
    assert.equal((await bench.run(['org', 'forget-node', second.peerId])).code, 2);
    assert.match(
      (await bench.run(['org', 'forget-node', second.peerId, '--yes'])).stdout,
      /forgotten; manifest version 4/,
    );
    assert.match((await bench.run(['org', 'adopt', file])).stdout, /manifest version 2/);
    const text = readFileSync(file, 'utf8');
    assert.equal((await bench.run(['org', 'adopt', '-'], { stdin: text })).code, 0);
    assert.equal(
      (await bench.run(['org', 'adopt', '-'], { stdin: text.replace('"version":2', '"version":3') })).code,
      2,
    );
    assert.equal((await bench.run(['org', 'adopt', '-'], { stdin: 'x' })).code, 2);
  });
});

describe('cli: sync', () => {
  const bench = new MeshBench();

  it('reconciles with one peer or all, and fails when one does', async () => {
    const other = bench.put({ org: 'other.example', state: 'active', connected: true });
    bench.mesh.reconcile = async () => ({ sent: 2, received: 3 });
    const { stdout } = await bench.run(['sync', 'other.example']);
    assert.match(stdout, /^✓ 12D3KooW\S+ {2}other\.example {2}2 sent, 3 received in 5 ms\n$/);
    assert.equal((await bench.run(['sync', '-q'])).stdout, 'converged\n');
    bench.mesh.sync = async () => [
      { ...other, lastSync: { at: 0, result: 'budget_exceeded', sent: 0, received: 0, ms: 1 } },
    ];
    const failed = await bench.run(['sync']);
    assert.deepEqual([failed.code, /^✗ .*budget_exceeded\n$/.test(failed.stdout)], [1, true]);
  });

  it('says that nobody is connected, that a peer is unknown or away, and that it takes longer', async () => {
    assert.equal((await bench.run(['sync'])).code, 4);
    assert.equal((await bench.run(['sync', 'nobody.example'])).code, 4);
    const { peerId } = bench.put({ org: 'other.example', state: 'active' });
    assert.equal((await bench.run(['sync', peerId])).code, 1);
    bench.put({ peerId, org: 'other.example', state: 'active', connected: true });
    const gate = Promise.withResolvers<{ sent: number; received: number }>();
    bench.mesh.reconcile = () => gate.promise;
    const started = await bench.run(['sync', peerId, '--no-wait']);
    assert.deepEqual([started.code, /under way/.test(started.stdout)], [0, true]);
    gate.resolve({ sent: 0, received: 0 });
  });
});

describe('cli: what is read for the mesh', () => {
  const bench = new MeshBench();

  it('is bounded: files with invites and manifests, and lines that somebody types', async () => {
    const file = join(bench.home.directory, 'large');
    writeFileSync(file, 'x'.repeat(MAX_INVITE_FILE_BYTES + 1));
    const invite = await bench.run(['join', '--file', file, '--yes']);
    assert.match(invite.stderr, new RegExp(`larger than ${MAX_INVITE_FILE_BYTES} bytes`));
    writeFileSync(file, 'x'.repeat(MAX_MANIFEST_FILE_BYTES + 1));
    const manifest = await bench.run(['org', 'adopt', file]);
    assert.match(manifest.stderr, new RegExp(`larger than ${MAX_MANIFEST_FILE_BYTES} bytes`));
    let taken = 0;
    async function* endless(): AsyncGenerator<Uint8Array> {
      for (; taken < 100; taken++) yield Buffer.from('x'.repeat(MAX_ANSWER_LINE));
    }
    const stdin = Object.assign(endless(), { isTTY: true });
    assert.equal((await bench.run(['join'], { world: { stdin } })).code, 2);
    assert.ok(taken <= 2);
  });
});

describe('cli: fingerprints', () => {
  it('are those of the organisation’s key, as its own status shows them', () => {
    const key = testKey();
    assert.equal(key.fingerprint, fingerprint(key.raw));
  });
});

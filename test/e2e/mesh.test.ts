import assert from 'node:assert/strict';
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { type Ran, stigmesh } from '../support/command.ts';
import { type RunningDaemon, startDaemon } from '../support/daemon.ts';
import { PATIENCE_MS } from '../support/until.ts';

describe('e2e: two organisations, each by its own command line', () => {
  let acme: RunningDaemon;
  let other: RunningDaemon;
  const homes: string[] = [];

  const run = (daemon: RunningDaemon, args: string, stdin?: string) => stigmesh(daemon.home, args.split(' '), stdin);
  const ok = async (daemon: RunningDaemon, args: string, stdin?: string): Promise<Ran> => {
    const ran = await run(daemon, args, stdin);
    assert.equal(ran.code, 0, `${args}\n${ran.stdout}${ran.stderr}`);
    return ran;
  };
  const okJson = async (daemon: RunningDaemon, args: string) => JSON.parse((await ok(daemon, `${args} --json`)).stdout);
  /** Repeats a command until what it prints is as expected. */
  const until = async (daemon: RunningDaemon, args: string, isExpected: (ran: Ran) => boolean): Promise<Ran> => {
    const end = performance.now() + PATIENCE_MS;
    for (;;) {
      const ran = await run(daemon, args);
      if (isExpected(ran)) return ran;
      if (performance.now() > end) assert.fail(`${args}: waited in vain\n${ran.stdout}${ran.stderr}`);
    }
  };

  before(async () => {
    const begin = async (org: string): Promise<RunningDaemon> => {
      const home = mkdtempSync(join(tmpdir(), 'stigmesh-mesh-'));
      homes.push(home);
      return startDaemon({ home, env: { STIGMESH_MESH_ENABLED: 'true', STIGMESH_ORG_AUTHORITY: org } });
    };
    [acme, other] = await Promise.all([begin('acme.example'), begin('other.example')]);
  });
  after(async () => {
    await Promise.all([acme?.stop(), other?.stop()]);
    for (const home of homes) rmSync(home, { recursive: true, force: true });
  });

  it('an invite pairs them, and the first reconciliation carries over what was there', async () => {
    await ok(acme, 'assert stigmem://acme.example/user/alice memory:role CEO --scope company');
    await ok(acme, 'assert stigmem://acme.example/user/alice memory:desk 7 --scope local');
    const invite = (await ok(acme, 'invite --scopes public,company -q')).stdout.trim();
    assert.match(invite, /^stigmesh-invite:1:[0-9A-Z]+$/);

    const unsaid = await run(other, 'join - --yes', invite);
    assert.equal(unsaid.code, 5);
    assert.match(
      unsaid.stderr,
      /error: the invite leads to this machine or its private network: \/ip4\/127\.0\.0\.1\/tcp\/\d+/,
    );
    assert.match(unsaid.stderr, /hint: .*--allow-private/);

    const { fingerprint, peer_id: acmeId } = await okJson(acme, 'status');
    const joined = await ok(other, 'join - --yes --allow-private', invite);
    assert.ok(
      joined.stderr.startsWith(
        `Peer  acme.example  ${acmeId.slice(0, 12)}…${acmeId.slice(-4)}   fingerprint ${fingerprint}  `,
      ),
    );
    assert.match(
      joined.stdout,
      /^✓ connected \(noise, direct\) {3}✓ declarations exchanged {3}✓ first sync: [1-9]\d* statements? in \d+ ms\n$/,
    );
    assert.equal((await ok(other, 'query stigmem://acme.example/user/alice memory:role -q')).stdout, 'CEO\n');
    assert.equal((await run(other, 'query stigmem://acme.example/user/alice memory:desk -q')).code, 4);
    const used = await okJson(acme, 'invite list');
    assert.equal(used.invites[0].state, 'used');
  });

  it('an invite works once', async () => {
    const invite = (await ok(acme, 'invite -q')).stdout.trim();
    const { invites } = await okJson(acme, 'invite list');
    await ok(acme, `invite revoke ${invites.find(({ state }: { state: string }) => state === 'open').id}`);
    const late = await run(other, 'join - --yes --allow-private', invite);
    assert.equal(late.code, 5);
    assert.match(late.stderr, /error: the invite was taken back\nhint: /);
  });

  it('both list the other, with what flows each way', async () => {
    const row =
      /^active +other\.example +12D3KooW\w{44} +\/ip4\/127\.0\.0\.1\/tcp\/\d+ +[\d.]+ ms +company, public \/ company, public +in step +\d+ (s|min) ago: \d+ sent, \d+ received$/m;
    const { stdout } = await until(acme, 'peers', ({ stdout: text }) => row.test(text));
    assert.match(stdout, /^STATE +ORG +PEER +ADDRESS +RTT +GIVES \/ TAKES +LAG +LAST SYNC +REFUSED\n/);
    assert.equal(stdout.split('\n').length, 3);
    const shown = await ok(other, 'peers show acme.example');
    for (const line of [
      /^state +active, by invite$/m,
      /^we give +public$/m,
      /^flows +out public; in company, public$/m,
    ]) {
      assert.match(shown.stdout, line);
    }
    const graph =
      /^● other\.example {2}12D3KooW\S+ {3}\(this node\)\n│ {3}\/ip4\/127\.0\.0\.1\/tcp\/\d+\n│\n├── public ─+▶ ● acme\.example {2}12D3\S+\n├◀─ company, public ── {4}active, [\d.]+ ms; in step\n$/;
    await until(other, 'mesh', ({ stdout: text }) => graph.test(text));
    assert.match((await ok(other, 'status')).stdout, /^mesh +on, 1 of 1 active peer connected, \d+ sets?$/m);
  });

  it('what is stated flows at once, and a reconciliation that is asked for says what it did', async () => {
    const public_ = await ok(acme, 'assert stigmem://acme.example/user/bob memory:role CTO --scope public');
    assert.match(public_.stdout, /^✓ bagaaiera…\w{3} {2}stored, indexed, announced to 1 peer\n$/);
    const local = await ok(acme, 'assert stigmem://acme.example/user/bob memory:pin 1 --scope local');
    assert.match(local.stdout, /announced to 0 peers\n$/);
    await until(other, 'query stigmem://acme.example/user/bob memory:role -q', ({ stdout }) => stdout === 'CTO\n');
    const synced = await ok(other, 'sync acme.example');
    assert.match(synced.stdout, /^✓ 12D3KooW\S+ {2}acme\.example {2}\d+ sent, \d+ received in \d+ ms\n$/);
  });

  it('terms that change hold at once', async () => {
    const set = await ok(acme, 'peers set other.example --gives public --namespaces memory');
    assert.match(
      set.stdout,
      /^✓ \S+ {2}other\.example {2}active: we give public of memory; we take company, public of memory\n$/,
    );
    const narrowed = ({ stdout }: Ran) => /^flows +out public; in public$/m.test(stdout);
    await until(other, 'peers show acme.example', narrowed);
    await ok(acme, 'assert stigmem://acme.example/user/bob memory:salary 1 --scope company');
    await ok(acme, 'assert stigmem://acme.example/user/bob memory:mood good --scope public');
    await until(other, 'query stigmem://acme.example/user/bob memory:mood -q', ({ stdout }) => stdout === 'good\n');
    await ok(other, 'sync acme.example');
    assert.equal((await run(other, 'query stigmem://acme.example/user/bob memory:salary -q')).code, 4);
  });

  it('a suspended peer gets nothing, and everything again when it is resumed', async () => {
    assert.match((await ok(acme, 'peers suspend other.example')).stdout, /suspended\n$/);
    await ok(acme, 'assert stigmem://acme.example/user/bob memory:desk 9 --scope public');
    const alone = await run(acme, 'sync other.example');
    assert.equal(alone.code, 1);
    assert.match(alone.stderr, /error: .*suspended/);
    assert.equal((await run(other, 'query stigmem://acme.example/user/bob memory:desk -q')).code, 4);
    assert.match((await ok(acme, 'peers resume other.example')).stdout, /active/);
    await until(other, 'query stigmem://acme.example/user/bob memory:desk -q', ({ stdout }) => stdout === '9\n');
  });

  it('an organisation changes its key, and its peers follow', async () => {
    const before = (await ok(acme, 'org show -q')).stdout;
    await ok(acme, 'org rotate-key --yes');
    const after = (await ok(acme, 'org show -q')).stdout;
    assert.notEqual(before, after);
    await until(other, 'org show acme.example -q', ({ stdout }) => stdout === after);
    const peer = await okJson(other, 'peers show acme.example');
    assert.equal(`${peer.fingerprint}\n`, after);
  });

  it('fault 6: a removed peer is cut off within a second, and what it says later is refused', async () => {
    const removed = await ok(acme, 'peers remove other.example --yes');
    assert.match(removed.stdout, /^✓ \S+ {2}other\.example {2}removed; what it said before stays\n$/);
    await until(acme, 'mesh -q', ({ stdout }) => stdout === '');
    assert.equal((await ok(acme, 'peers')).stdout, '');
    assert.match((await ok(acme, 'peers --all')).stdout, /^revoked +other\.example/m);
    await ok(acme, 'assert stigmem://acme.example/user/bob memory:after 1 --scope public');
    assert.equal((await run(other, 'query stigmem://acme.example/user/bob memory:after -q')).code, 4);
    const types = new Set(
      (await okJson(acme, 'audit --all')).entries.map((entry: { event_type: string }) => entry.event_type),
    );
    for (const type of ['invite_created', 'invite_used', 'peer_changed', 'peer_suspended', 'peer_removed']) {
      assert.ok(types.has(type), `${type} in ${[...types].join(', ')}`);
    }
  });

  it('whoever asks without an invite waits until both operators agree', async () => {
    const { peer_id: acmeId, mesh } = await okJson(acme, 'status');
    const { peer_id: otherId } = await okJson(other, 'status');
    const address = mesh.addrs.find((addr: string) => addr.includes('/127.0.0.1/'));
    assert.ok(address.endsWith(acmeId));
    await ok(other, `peers remove ${acmeId} --yes`);
    assert.equal((await run(other, `peers show ${acmeId} -q`)).stdout, 'revoked\n');
    await ok(other, `peers approve ${acmeId} --yes`);
    await ok(acme, `peers approve ${otherId} --yes --gives public`);
    await until(acme, `peers show ${otherId} -q`, ({ stdout }) => stdout === 'active\n');
  });

  it('says nothing of an invite in its log, nor where it may be read', async () => {
    const invite = (await ok(acme, 'invite -q')).stdout.trim();
    const file = join(homes[0]!, 'invite.txt');
    writeFileSync(file, invite, { mode: 0o600 });
    assert.equal((await run(acme, `join --file ${file} --yes --allow-private`)).code, 2);
    for (const daemon of [acme, other]) {
      assert.ok(!JSON.stringify(daemon.logs).includes(invite.slice(20, 80)));
    }
  });
});

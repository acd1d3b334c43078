import assert from 'node:assert/strict';
import type { PeerView } from '../../../src/node/federation.ts';
import { testKey } from '../../support/fake-federation.ts';
import { until } from '../../support/until.ts';
import { MeshBench, typed } from './mesh-fixture.ts';

const short = (peerId: string): string => `${peerId.slice(0, 12)}…${peerId.slice(-4)}`;

describe('cli: peers', () => {
  const bench = new MeshBench();

  /** A peer with which everything goes well. */
  function active(more: Partial<PeerView> = {}): PeerView {
    const key = testKey();
    return bench.put({
      peerId: key.peerId,
      org: 'other.example',
      orgKey: testKey().text,
      state: 'active',
      via: 'invite',
      approved: true,
      addrs: [`/ip4/192.0.2.7/tcp/4701/p2p/${key.peerId}`],
      ours: { gives: ['company', 'public'], takes: ['public'], namespaces: null },
      theirs: { gives: ['public'], takes: ['company'], namespaces: null, signedAt: bench.now, expiresAt: null },
      connected: true,
      remoteAddr: '/ip4/192.0.2.7/tcp/4701',
      roundTripMs: 12.34,
      lag: { outStatements: 3, inStatements: 0, outSeconds: 65, inSeconds: 0 },
      lastSync: { at: bench.now - 42_000, result: 'converged', sent: 1, received: 2, ms: 38 },
      lastSeenAt: bench.now - 1000,
      ...more,
    });
  }

  it('lists them with state, organisation, address, round trip, terms, lag, last sync and refusals', async () => {
    const one = active({ refused: { not_owner: 2, bad_signature: 7 } });
    const { stdout, stderr, code } = await bench.run(['peers']);
    assert.deepEqual([code, stderr], [0, '']);
    const [title, row, ...rest] = stdout.trimEnd().split('\n');
    assert.match(title!, /^STATE +ORG +PEER +ADDRESS +RTT +GIVES \/ TAKES +LAG +LAST SYNC +REFUSED$/);
    assert.equal(
      row!.replaceAll(/ {2,}/g, '  '),
      `active  other.example  ${one.peerId}  /ip4/192.0.2.7/tcp/4701  12 ms  company, public / public  ` +
        'they: 3 statements, 65 s behind; we: in step  42 s ago: 1 sent, 2 received  bad_signature 7, not_owner 2',
    );
    assert.deepEqual(rest, []);
    assert.equal((await bench.run(['peers', 'list', '-q'])).stdout, `${one.peerId}\n`);
    assert.equal(JSON.parse((await bench.run(['peers', '--json'])).stdout).peers[0].peer_id, one.peerId);
  });

  it('fits a terminal, and shortens ids in a way that can be typed', async () => {
    const one = active();
    for (const columns of [100, 120, 160]) {
      const { stdout } = await bench.run(['peers'], { columns });
      const lines = stdout
        .replaceAll(/\u001b\[\d+m/g, '')
        .trimEnd()
        .split('\n');
      assert.ok(
        lines.every((line) => line.length <= columns),
        stdout,
      );
      assert.ok(stdout.includes(short(one.peerId)));
    }
    assert.match((await bench.run(['peers', 'show', short(one.peerId), '-q'])).stdout, /^active\n$/);
  });

  it('shows whoever asks, with what to compare and what to type; those that were removed only on demand', async () => {
    assert.equal(
      (await bench.run(['peers'])).stderr,
      'no peers; to pair with one: stigmesh invite, or stigmesh join\n',
    );
    const org = testKey();
    const asking = bench.put({ org: 'third.example', orgKey: org.text });
    bench.put({ state: 'revoked', org: 'gone.example' });
    const { stdout, stderr } = await bench.run(['peers']);
    assert.match(stdout, /^pending, asks +third\.example/m);
    assert.doesNotMatch(stdout, /gone\.example/);
    const name = short(asking.peerId);
    assert.equal(
      stderr,
      `${name} asks to be a peer: compare ${org.fingerprint} with what they see, then stigmesh peers approve ${name}\n`,
    );
    assert.match((await bench.run(['peers', '--all'])).stdout, /^revoked +gone\.example/m);
  });

  it('tells pending, unanswered and away apart', async () => {
    active({ connected: false, remoteAddr: null });
    bench.put({ approved: true, via: 'approval' });
    bench.put({ state: 'suspended' });
    bench.put({ state: 'expired' });
    const { stdout } = await bench.run(['peers']);
    for (const text of [/^active, away /m, /^pending, unanswered /m, /^suspended /m, /^expired /m]) {
      assert.match(stdout, text);
    }
  });

  it('shows one peer, named by id, by its ends or by its organisation', async () => {
    const one = active();
    const other = active({ org: 'fourth.example' });
    for (const name of [one.peerId, 'other.example', 'OTHER.example', one.peerId.slice(-8), one.peerId.slice(0, 20)]) {
      assert.equal(JSON.parse((await bench.run(['peers', 'show', name, '--json'])).stdout).peer_id, one.peerId, name);
    }
    const { stdout } = await bench.run(['peers', 'show', 'other.example']);
    for (const line of [
      `peer         ${one.peerId}`,
      'org          other.example',
      'state        active, by invite',
      'connection   /ip4/192.0.2.7/tcp/4701  12 ms',
      'we give      company, public',
      'they take    company',
      'flows        out company; in public',
      'they are     3 statements, 65 s behind',
      'we are       in step',
      'last sync    42 s ago: 1 sent, 2 received',
    ]) {
      assert.ok(stdout.split('\n').includes(line), `${line}\n${stdout}`);
    }
    const ambiguous = await bench.run(['peers', 'show', '12D3KooW']);
    assert.equal(ambiguous.code, 2);
    assert.ok(ambiguous.stderr.includes(one.peerId) && ambiguous.stderr.includes(other.peerId));
    for (const name of ['nobody.example', 'abc', testKey().peerId]) {
      assert.equal((await bench.run(['peers', 'show', name])).code, 4, name);
    }
    const { code, stderr } = await bench.run(['peers', 'aprove']);
    assert.deepEqual([code, /did you mean approve\?/.test(stderr)], [2, true]);
  });

  it('means by an organisation the peer that is not removed', async () => {
    bench.put({ org: 'other.example', state: 'revoked' });
    const one = active();
    assert.equal(
      JSON.parse((await bench.run(['peers', 'show', 'other.example', '--json'])).stdout).peer_id,
      one.peerId,
    );
  });

  it('approves after showing what to compare, and only the one that was compared', async () => {
    const org = testKey();
    const theirs = { gives: [], takes: [], namespaces: null, signedAt: 1, expiresAt: null };
    const asking = bench.put({ org: 'third.example', orgKey: org.text, theirs });
    const approve = (args: string[], answer?: string) =>
      bench.run(['peers', 'approve', 'third.example', ...args], answer === undefined ? {} : typed(answer));
    assert.equal((await approve([])).code, 2);
    assert.equal((await approve([], 'n\n')).code, 1);
    assert.equal((await approve(['--fingerprint', testKey().fingerprint])).code, 2);
    assert.equal(bench.mesh.records.get(asking.peerId)!.state, 'pending');
    const { code, stdout, stderr } = await approve(
      ['--gives', 'public,company', '--takes', 'none', '--expires', '30d'],
      'y\n',
    );
    assert.equal(code, 0, stderr);
    assert.equal(
      stderr,
      `Peer  third.example  ${asking.peerId}\nfingerprint ${org.fingerprint}  (compare with what they see)\n` +
        'You will share public, company. Trust this peer? [y/N] ',
    );
    assert.equal(
      stdout,
      `✓ ${short(asking.peerId)}  third.example  active, away: we give company, public; we take nothing\n`,
    );
    const approved = bench.mesh.records.get(asking.peerId)!;
    assert.equal(approved.expiresAt, bench.now + 30 * 86_400_000);
    assert.equal((await approve(['--yes'])).code, 1);
    bench.put({ ...asking, state: 'pending', approved: false });
    assert.equal((await approve(['--fingerprint', org.fingerprint.toLowerCase()])).code, 0);
  });

  it('changes terms, suspends, resumes and removes', async () => {
    const one = active();
    const set = (...args: string[]) => bench.run(['peers', 'set', 'other.example', ...args]);
    assert.equal((await set()).code, 2);
    assert.equal((await set('--gives', 'local')).code, 2);
    const changed = await set('--gives', 'public', '--namespaces', 'memory,roadmap', '--expires', 'never');
    assert.equal(
      changed.stdout,
      `✓ ${short(one.peerId)}  other.example  active: we give public of memory, roadmap; we take public of memory, roadmap\n`,
    );
    assert.equal((await set('--namespaces', 'all', '--address', '/ip4/192.0.2.8/tcp/1')).code, 0);
    assert.deepEqual(bench.mesh.records.get(one.peerId)!.addrs, ['/ip4/192.0.2.8/tcp/1']);
    assert.equal(bench.mesh.records.get(one.peerId)!.ours.namespaces, null);
    assert.match(
      (await bench.run(['peers', 'suspend', 'other.example'])).stdout,
      /^✓ \S+ {2}other\.example {2}suspended\n$/,
    );
    assert.match((await bench.run(['peers', 'resume', 'other.example'])).stdout, / active\n$/);
    assert.equal((await bench.run(['peers', 'remove', 'other.example'])).code, 2);
    assert.equal((await bench.run(['peers', 'remove', 'other.example'], typed('no\n'))).code, 1);
    const removed = await bench.run(['peers', 'remove', 'other.example'], typed('y\n'));
    assert.equal(removed.stderr, `Remove ${short(one.peerId)} of other.example? [y/N] `);
    assert.match(removed.stdout, /removed; what it said before stays\n$/);
    assert.equal((await bench.run(['peers', 'remove', one.peerId, '--yes', '-q'])).stdout, 'revoked\n');
  });

  it('looks for daemons, and declares one without an invite', async () => {
    const key = testKey();
    assert.equal((await bench.run(['peers', 'discover'])).stderr, 'nobody was found\n');
    bench.mesh.found = [
      {
        peerId: key.peerId,
        org: 'other.example',
        fingerprint: key.fingerprint,
        addrs: ['/ip4/192.0.2.7/tcp/1'],
        via: 'mdns',
      },
      { peerId: testKey().peerId, org: null, fingerprint: null, addrs: [], via: 'dht' },
    ];
    const { stdout, stderr } = await bench.run(['peers', 'discover']);
    assert.match(
      stdout,
      /^ORG +FINGERPRINT +PEER +ADDRESS +FOUND BY +STATE\nother\.example +\S+ +12D3\S+ +\/ip4\/192\.0\.2\.7\/tcp\/1 +mdns +no peer\nunknown /,
    );
    assert.equal(stderr, '2 daemons found\n');
    assert.equal((await bench.run(['peers', 'discover', 'other.example', '-q'])).stdout, `${key.peerId}\n`);
    const added = await bench.run(['peers', 'add', `/ip4/192.0.2.7/tcp/1/p2p/${key.peerId}`, '/dns4/x.example/tcp/2']);
    assert.equal(added.code, 0, added.stderr);
    assert.match(added.stdout, /pending, unanswered: we give public; we take company, public\n$/);
    assert.deepEqual(bench.mesh.records.get(key.peerId)!.addrs, ['/ip4/192.0.2.7/tcp/1', '/dns4/x.example/tcp/2']);
    assert.equal((await bench.run(['peers', 'add', key.peerId])).code, 1);
    assert.equal((await bench.run(['peers', 'add', 'x'])).code, 2);
  });

  it('lets no name of a peer drive the terminal', async () => {
    const hostile = '\u001b]0;pwned\u0007\u009b2J\r\nnext\u202e';
    active({ org: hostile, remoteAddr: hostile, refused: { [hostile]: 1 } });
    for (const args of [['peers'], ['peers', '--json'], ['mesh'], ['mesh', '--json'], ['peers', 'show', '12D3KooW']]) {
      for (const columns of [undefined, 120]) {
        const { stdout, code } = await bench.run([...args, '--no-color'], columns === undefined ? {} : { columns });
        assert.equal(code, 0);
        assert.doesNotMatch(stdout, /[\u0000-\u0009\u000b-\u001f\u007f-\u009f\u202e]/, args.join(' '));
      }
    }
  });
});

describe('cli: status and watch', () => {
  const bench = new MeshBench();

  it('show the mesh: addresses, peers by state, lag, what is set aside, warnings', async () => {
    bench.put({ state: 'active', connected: true });
    bench.put({ state: 'active' });
    bench.put();
    bench.put({ state: 'suspended' });
    bench.mesh.warnings = ['no address is reachable from outside'];
    bench.node = { untrusted: 4, equivocations: 1 };
    const lag = { outStatements: 7, inStatements: 0, outSeconds: 65, inSeconds: 0 };
    const status = bench.mesh.status.bind(bench.mesh);
    bench.mesh.status = () => ({ ...status(), lag });
    const shown = await bench.run(['status']);
    assert.equal(shown.code, 0, shown.stderr);
    const line = (name: string) => new RegExp(`^${name} +(.*)$`, 'm').exec(shown.stdout)?.[1];
    assert.equal(line('mesh'), 'on, 1 of 2 active peers connected, 1 pending, 1 suspended, 3 sets');
    assert.equal(line('addresses'), `/ip4/192.0.2.10/tcp/4701/p2p/${bench.mesh.node.peerId}`);
    assert.equal(line('lag'), 'they: 7 statements, 65 s behind; we: in step');
    assert.equal(line('quarantine'), '4 statements of organisations that nobody here trusts, 1 EQUIVOCATION seen');
    assert.equal(shown.stderr, 'warning: no address is reachable from outside\n');
    bench.mesh.status = () => ({ ...status(), indexed: false, peers: { ...status().peers, active: 0 } });
    assert.match((await bench.run(['status'])).stdout, /^mesh +on, no active peers, .*indexes LOADING/m);
  });

  it('follow what happens on the mesh when that is asked for', async () => {
    bench.node = { seq: 0 };
    const { peerId } = bench.put({ state: 'active' });
    const following = bench.run(['watch', '--mesh', '--count', '2']);
    const json = bench.run(['watch', '--mesh', '--count', '1', '--json']);
    const about = { at: bench.now, peerId, org: 'other.example' };
    let isShown = false;
    void Promise.all([following, json]).then(() => {
      isShown = true;
    });
    // Nobody says when a stream has begun: it is told until it has heard enough.
    await until(() => {
      bench.mesh.emit({ ...about, type: 'sync.finished', sent: 1, received: 2, ms: 3 });
      return isShown;
    }, 'both to have heard enough');
    const line = `2030-01-01T00:00:00.000Z  sync.finished  ${short(peerId)}  other.example  sent 1, received 2, ms 3`;
    assert.equal((await following).stdout, `${line}\n${line}\n`);
    const event = JSON.parse((await json).stdout);
    assert.deepEqual([event.event, event.id, event.data.peer_id], ['sync.finished', null, peerId]);
  });
});

describe('cli: mesh', () => {
  const bench = new MeshBench();

  it('draws this node, and what flows to and from each peer', async () => {
    const terms = { gives: ['public'], takes: ['public', 'company'], namespaces: null } as const;
    const theirs = {
      gives: ['company', 'public'],
      takes: ['public'],
      namespaces: null,
      signedAt: 1,
      expiresAt: null,
    } as const;
    const waiting = bench.put({ org: null });
    const away = bench.put({
      org: 'far.example',
      state: 'active',
      ours: { ...terms, namespaces: ['memory'] },
      theirs,
      lastSeenAt: bench.now - 7_200_000,
    });
    const near = bench.put({
      org: 'other.example',
      state: 'active',
      ours: terms,
      theirs,
      connected: true,
      roundTripMs: 3,
      lag: { outStatements: 3, inStatements: 0, outSeconds: null, inSeconds: null },
    });
    bench.put({ state: 'revoked', org: 'gone.example' });
    const { stdout, code } = await bench.run(['mesh']);
    assert.equal(code, 0);
    assert.equal(
      stdout,
      [
        `● acme.example  ${short(bench.mesh.node.peerId)}   (this node)`,
        '│   /ip4/192.0.2.10/tcp/4701',
        '│',
        `├── public of memory ───────────▶ ○ far.example  ${short(away.peerId)}`,
        '├◀─ company, public of memory ──    active, away, seen 2 h ago',
        '│',
        `├── public ─────────────────────▶ ● other.example  ${short(near.peerId)}`,
        '├◀─ company, public ────────────    active, 3 ms; they are 3 statements behind',
        '│',
        `├┄┄ nothing ┄┄┄┄┄┄┄┄┄┄┄┄┄┄┄┄┄┄┄┄▶ ○ unknown organisation  ${short(waiting.peerId)}`,
        '├◀┄ nothing ┄┄┄┄┄┄┄┄┄┄┄┄┄┄┄┄┄┄┄┄    pending, asks',
        '',
      ].join('\n'),
    );
    assert.match((await bench.run(['mesh', '--all'])).stdout, /gone\.example/);
    assert.equal((await bench.run(['mesh', '-q'])).stdout, `${near.peerId}\n`);
    const { node, status, peers } = JSON.parse((await bench.run(['mesh', '--json'])).stdout);
    assert.deepEqual([node.org, status.peers.active, peers.length], ['acme.example', 2, 3]);
  });

  it('says what is missing, and what the mesh warns of', async () => {
    bench.mesh.warnings = ['no address is reachable from outside'];
    const { stderr } = await bench.run(['mesh']);
    assert.match(stderr, /^no peers; .*\nwarning: no address is reachable from outside\n$/);
  });

  it('fits a terminal', async () => {
    bench.put({ org: `${'long.'.repeat(40)}example`, state: 'active', connected: true });
    for (const line of (await bench.run(['mesh'], { columns: 80 })).stdout.split('\n')) assert.ok(line.length <= 80);
  });
});

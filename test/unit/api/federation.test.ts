import assert from 'node:assert/strict';
import { createHash } from 'node:crypto';
import { join } from 'node:path';
import type { ApiComponents } from '../../../src/api/components.ts';
import { PEERS_PER_TURN, SYNC_WAIT_MS } from '../../../src/api/limits.ts';
import { endpoints } from '../../../src/api/operations/index.ts';
import type { Call, Operation } from '../../../src/api/operations/operation.ts';
import { createManifest, decodeInvite } from '../../../src/identity/index.ts';
import { PEER_STATES } from '../../../src/node/federation.ts';
import type { AuditEntry, AuditQuery } from '../../../src/node/services.ts';
import type { Permission } from '../../../src/policy/principal.ts';
import { Contract } from '../../conformance/contract.ts';
import { FakeFederation, testKey } from '../../support/fake-federation.ts';
import { numberedPeer } from '../../support/org.ts';
import { FakeTimers, principal, type Running, settle, start, stopAll } from './fakes.ts';

const contract = new Contract(join(import.meta.dirname, '../../conformance/data/stigmem-openapi-0.9.0a10.json'));
const BASE = '/v1/federation';

describe('API of the mesh', () => {
  let mesh: FakeFederation;
  let run: Running;
  beforeEach(async () => {
    mesh = new FakeFederation();
    run = await start({ more: { federation: mesh, meshEvents: mesh } });
  });
  afterEach(stopAll);

  /** Sends, and holds what comes back against the contract where that has the path. */
  async function call(method: string, path: string, body?: unknown) {
    const answer = await run.send({ method, path: BASE + path, ...(body === undefined ? {} : { body }) });
    if (contract.template(BASE + path) !== undefined) {
      contract.validate(method, BASE + path, answer.status, answer.json);
    }
    return answer;
  }
  const ok = async (method: string, path: string, body?: unknown, status = 200) => {
    const answer = await call(method, path, body);
    assert.equal(answer.status, status, answer.text);
    return answer.json;
  };
  const refused = async (code: string, method: string, path: string, body?: unknown) => {
    const answer = await call(method, path, body);
    assert.equal(answer.json?.code, code, answer.text);
    assert.ok(answer.json.hint.length > 5);
    return answer;
  };

  it('lists peers with the members and words of the contract, and the finer state beside them', async () => {
    const other = testKey();
    const now = Date.now();
    mesh.put({
      peerId: other.peerId,
      org: 'other.example',
      orgKey: other.text,
      addrs: ['/ip4/192.0.2.7/tcp/4701'],
      state: 'active',
      ours: { gives: ['public', 'company'], takes: ['public'], namespaces: null },
      theirs: { gives: ['public'], takes: ['public'], namespaces: ['memory'], signedAt: now, expiresAt: null },
      lag: { outStatements: 3, inStatements: 0, outSeconds: 1.5, inSeconds: null },
      lastSync: { at: now, result: 'converged', sent: 1, received: 2, ms: 38 },
      refused: { not_owner: 2 },
    });
    for (const state of PEER_STATES) mesh.put({ peerId: testKey().peerId, state });
    const { peers } = await ok('GET', '/peers');
    const words = new Map(peers.map((peer: { state: string; status: string }) => [peer.state, peer.status]));
    assert.deepEqual(Object.fromEntries(words), {
      pending: 'pending_verification',
      active: 'active',
      suspended: 'rejected',
      expired: 'rejected',
      revoked: 'revoked',
    });
    const [peer] = peers;
    assert.deepEqual(
      [peer.peer_id, peer.node_id, peer.node_url, peer.fingerprint],
      [other.peerId, other.peerId, '/ip4/192.0.2.7/tcp/4701', other.fingerprint],
    );
    assert.deepEqual(
      [peer.gives, peer.allowed_scopes],
      [
        ['company', 'public'],
        ['company', 'public'],
      ],
    );
    assert.deepEqual(peer.flows, { out: ['public'], in: ['public'] });
    assert.deepEqual(peer.lag, { out_statements: 3, in_statements: 0, out_seconds: 1.5, in_seconds: null });
    assert.deepEqual([peer.last_sync.received, peer.refused], [2, { not_owner: 2 }]);
    assert.equal((await ok('GET', '/peers?state=active')).peers.length, 2);
    assert.equal((await call('GET', '/peers?state=gone')).status, 422);
    assert.deepEqual(await ok('GET', `/peers/${other.peerId}`), peer);
  });

  it('lists thousands of peers with turns of the event loop in between', async () => {
    for (let n = 0; n < 2 * PEERS_PER_TURN; n++) mesh.put({ peerId: numberedPeer(n), state: 'revoked' });
    const list = endpoints.find(({ name }) => name === 'peer.list') as Operation;
    const identity = { org: 'acme.example' };
    const components = { federation: mesh, identity } as unknown as ApiComponents;
    let turns = 0;
    const count = (): void => {
      turns += 1;
      if (turns < 100) setImmediate(count);
    };
    setImmediate(count);
    const input = { params: {}, query: {}, headers: {}, body: {} };
    const { body } = await list.handler({ components, who: principal() } as Call, input);
    const during = turns;
    assert.equal((body as { peers: unknown[] }).peers.length, 2 * PEERS_PER_TURN);
    assert.ok(during >= 2, `${during} turns`);
  });

  it('says what flows: what one side gives and the other takes, everything within an organisation, nothing unless active', async () => {
    const terms = { gives: ['company', 'public'], takes: ['public'], namespaces: null } as const;
    const theirs = { gives: ['public'], takes: ['company'], namespaces: null, signedAt: 1, expiresAt: null } as const;
    const flows = async (more: object) => {
      const { peerId } = mesh.put({ peerId: testKey().peerId, ours: terms, theirs, org: 'other.example', ...more });
      return (await ok('GET', `/peers/${peerId}`)).flows;
    };
    assert.deepEqual(await flows({ state: 'active' }), { out: ['company'], in: ['public'] });
    assert.deepEqual(await flows({ state: 'suspended' }), { out: [], in: [] });
    assert.deepEqual(await flows({ state: 'active', theirs: null }), { out: [], in: [] });
    // `acme.example` is what the components say this daemon's organisation is.
    const all = ['team', 'company', 'public'];
    assert.deepEqual(await flows({ state: 'active', org: 'acme.example', theirs: null }), { out: all, in: all });
  });

  it('declares a peer in our words and in those of the contract', async () => {
    const [ours, theirs] = [testKey(), testKey()];
    const made = await ok('POST', '/peers', { peer_id: ours.peerId, addrs: ['/dns4/x.example/tcp/4701'] }, 201);
    assert.deepEqual(
      [made.peer_id, made.status, made.verified_at, made.gives, made.takes],
      [ours.peerId, 'pending_verification', null, ['public'], ['company', 'public']],
    );
    const stigmem = {
      node_url: '/ip4/192.0.2.9/tcp/4701',
      node_id: theirs.peerId,
      federation_pubkey: theirs.text,
      allowed_scopes: ['public', 'company'],
      declaration_sig: 'c2ln',
      signed_at: '2026-01-01T00:00:00Z',
    };
    const second = await ok('POST', '/peers', stigmem, 201);
    assert.deepEqual(
      [second.gives, second.takes, second.addrs],
      [['company', 'public'], ['company', 'public'], ['/ip4/192.0.2.9/tcp/4701']],
    );
    assert.equal((await refused('peer_exists', 'POST', '/peers', stigmem)).status, 409);
    assert.equal(
      (await refused('invalid_peer_id', 'POST', '/peers', { ...stigmem, node_id: 'stigmem:node:x' })).status,
      422,
    );
    const foreign = { ...stigmem, node_id: testKey().peerId };
    assert.equal((await refused('invalid_public_key', 'POST', '/peers', foreign)).status, 422);
    const missing = await refused('validation_failed', 'POST', '/peers', { addrs: [] });
    assert.deepEqual(missing.json.detail[0].loc, ['body', 'peer_id']);
    for (const wrong of [
      { allowed_scopes: ['local'] },
      { gives: ['everything'] },
      { addrs: ['http://127.0.0.1:8765'] },
      { namespaces: ['a:b'] },
      { addrs: Array.from({ length: 17 }, () => '/ip4/192.0.2.9/tcp/1') },
      { namespaces: Array.from({ length: 257 }, (_, at) => `n${at}`) },
    ]) {
      await refused('validation_failed', 'POST', '/peers', { peer_id: testKey().peerId, ...wrong });
    }
    const past = { peer_id: testKey().peerId, expires_at: '2020-01-01T00:00:00Z' };
    await refused('invalid_terms', 'POST', '/peers', past);
    await refused('invalid_timestamp', 'POST', '/peers', { ...past, expires_at: 'soon' });
  });

  it('approves a pending peer whose fingerprint was compared, in any of its spellings', async () => {
    const org = testKey();
    const approve = (peerId: string, body: object) => call('POST', `/peers/${peerId}/approve`, body);
    const pending = (state: 'pending' | 'revoked' = 'pending') => {
      const key = testKey();
      const theirs = { gives: [], takes: [], namespaces: null, signedAt: 1, expiresAt: null };
      mesh.put({ peerId: key.peerId, org: 'other.example', orgKey: org.text, theirs, state });
      return key;
    };
    const compared = (key: ReturnType<typeof testKey>) => [
      org.fingerprint,
      org.fingerprint.toLowerCase().replaceAll('-', ' '),
      key.fingerprint,
      `sha256:${createHash('sha256').update(key.text).digest('hex')}`,
    ];
    for (const at of [0, 1, 2, 3]) {
      const key = pending();
      const answer = await approve(key.peerId, { pubkey_fingerprint: compared(key)[at], gives: ['company'] });
      assert.equal(answer.status, 200, answer.text);
      assert.deepEqual([answer.json.status, answer.json.gives], ['active', ['company']]);
      assert.match(answer.json.approved_at, /^\d{4}-.*Z$/);
    }
    const { peerId } = pending();
    for (const wrong of ['sha256:00', 'AAAAA-BBBBB-CCCCC-DDDDD', 'x', testKey().fingerprint]) {
      const answer = await refused('fingerprint_mismatch', 'POST', `/peers/${peerId}/approve`, {
        pubkey_fingerprint: wrong,
      });
      assert.deepEqual([answer.status, answer.json.detail], [400, 'fingerprint mismatch']);
    }
    assert.equal((await approve(peerId, {})).status, 200);
    const again = await refused('peer_not_pending', 'POST', `/peers/${peerId}/approve`, {});
    assert.deepEqual([again.status, again.json.detail], [409, 'peer is not pending approval (status=active)']);
    assert.equal((await approve(pending('revoked').peerId, {})).status, 200);
  });

  it('hands the compared key on, so that a peer that says to be another one meanwhile is not approved', async () => {
    const [org, key] = [testKey(), testKey()];
    mesh.put({ peerId: key.peerId, org: 'other.example', orgKey: org.text });
    const read = mesh.peer.bind(mesh);
    mesh.peer = async (who, peerId) => {
      const before = await read(who, peerId);
      mesh.put({ ...before, orgKey: testKey().text });
      return before;
    };
    const body = { pubkey_fingerprint: org.fingerprint };
    await refused('fingerprint_mismatch', 'POST', `/peers/${key.peerId}/approve`, body);
  });

  it('changes, suspends, resumes and removes a peer, each of it seen at once', async () => {
    const { peerId } = mesh.put({ peerId: testKey().peerId, state: 'active' });
    const path = `/peers/${peerId}`;
    const events: string[] = [];
    mesh.on((event) => events.push(event.type));
    const changed = await ok('PATCH', path, {
      gives: ['public', 'public'],
      namespaces: ['roadmap', ''],
      expires_at: '2099-01-01T00:00:00+02:00',
    });
    assert.deepEqual(
      [changed.gives, changed.namespaces, changed.expires_at],
      [['public'], ['roadmap', ''], '2098-12-31T22:00:00.000Z'],
    );
    assert.deepEqual((await ok('PATCH', path, { namespaces: null, expires_at: null })).expires_at, null);
    assert.equal((await ok('PATCH', path, { suspended: true })).state, 'suspended');
    assert.equal((await ok('PATCH', path, { suspended: false })).state, 'active');
    const removed = await ok('DELETE', path);
    assert.deepEqual([removed.state, removed.status], ['revoked', 'revoked']);
    await refused('peer_revoked', 'PATCH', path, { suspended: false });
    assert.equal(events.length, 5);
  });

  it('knows no peer by what is no peer id', async () => {
    for (const name of ['x', 'stigmem:node:1', testKey().peerId, '%00', '12D3KooW%2F..']) {
      for (const [method, rest, body] of [
        ['GET', '', undefined],
        ['PATCH', '', {}],
        ['DELETE', '', undefined],
        ['POST', '/approve', {}],
      ] as const) {
        const answer = await refused('peer_not_found', method, `/peers/${name}${rest}`, body);
        assert.deepEqual([answer.status, answer.json.detail], [404, 'peer not found']);
      }
    }
  });

  it('makes an invite that is shown once, lists what became of each, and takes one back', async () => {
    const made = await ok('POST', '/invites', { gives: ['company', 'public'], expires_in: 3600 }, 201);
    const invite = decodeInvite(made.invite, Date.now());
    assert.deepEqual([invite.peerId, invite.org, invite.id], [mesh.node.peerId, 'acme.example', made.id]);
    assert.deepEqual([made.gives, made.takes, made.state], [['company', 'public'], ['company', 'public'], 'open']);
    assert.equal(Date.parse(made.expires_at) - Date.parse(made.created_at), 3_600_000);
    const listed = await ok('GET', '/invites');
    assert.equal(listed.invites.length, 1);
    assert.equal(listed.invites[0].invite, undefined);
    assert.ok(!JSON.stringify(listed).includes(Buffer.from(invite.secret).toString('hex')));
    assert.equal((await call('DELETE', `/invites/${made.id}`)).status, 204);
    assert.equal((await ok('GET', '/invites')).invites[0].state, 'revoked');
    assert.equal((await refused('invite_not_found', 'DELETE', '/invites/00ff')).status, 404);
    const { id } = await ok('POST', '/invites', {}, 201);
    const stored = mesh.issued.get(id)!;
    stored.record = { ...stored.record, usedBy: testKey().peerId, usedAt: Date.now() };
    await refused('invite_spent', 'DELETE', `/invites/${id}`);
    stored.record = { ...stored.record, usedBy: null, expiresAt: Date.now() - 1 };
    assert.equal((await ok('GET', '/invites')).invites[1].state, 'expired');
    for (const wrong of [
      { expires_in: 59 },
      { expires_in: 31 * 86_400 },
      { gives: ['local'] },
      { addrs: ['nowhere'] },
    ]) {
      await refused('validation_failed', 'POST', '/invites', wrong);
    }
  });

  it('joins by an invite, private addresses only when that was said, and names what is wrong with one', async () => {
    const inviter = new FakeFederation('other.example');
    inviter.addrs = ['/ip4/127.0.0.1/tcp/4701'];
    const { invite } = await inviter.createInvite(principal(), {
      gives: ['company'],
      takes: ['public'],
      expiresIn: 60,
    });
    assert.equal((await refused('private_address', 'POST', '/join', { invite })).status, 403);
    const joined = await ok('POST', '/join', { invite, allow_private: true });
    assert.deepEqual(
      [joined.peer.peer_id, joined.peer.org, joined.peer.fingerprint, joined.first_sync.ms],
      [inviter.node.peerId, 'other.example', inviter.orgKey.fingerprint, 38],
    );
    assert.deepEqual(joined.peer.flows, { out: ['public'], in: ['company'] });
    const cases: [string, string][] = [
      [invite.slice(0, -8), 'invite_truncated'],
      [invite.replace(/.$/, (last) => (last === '0' ? '1' : '0')), 'invite_checksum'],
      [invite.replace(':1:', ':2:'), 'invite_version'],
      ['hello', 'invite_malformed'],
    ];
    for (const [text, code] of cases)
      assert.equal((await refused(code, 'POST', '/join', { invite: text })).status, 422);
    await refused('validation_failed', 'POST', '/join', { invite: 'x'.repeat(10_000) });
    const late = { invite, allow_private: true };
    mesh.dial = () =>
      Promise.reject(Object.assign(new Error('used'), { code: 'invite_spent', hint: 'ask for another' }));
    assert.equal((await refused('invite_spent', 'POST', '/join', late)).status, 403);
  });

  it('lists what was found, and whether it is a peer', async () => {
    const [one, two] = [testKey(), testKey()];
    mesh.put({ peerId: two.peerId, state: 'active' });
    mesh.found = [
      {
        peerId: one.peerId,
        org: 'other.example',
        fingerprint: one.fingerprint,
        addrs: ['/ip4/192.0.2.1/tcp/1'],
        via: 'mdns',
      },
      { peerId: two.peerId, org: null, fingerprint: null, addrs: [], via: 'dht' },
    ];
    const { peers } = await ok('GET', '/discover');
    assert.deepEqual(
      peers.map((each: Record<string, unknown>) => [each.peer_id, each.via, each.state]),
      [
        [one.peerId, 'mdns', null],
        [two.peerId, 'dht', 'active'],
      ],
    );
    for (const name of ['other.example', 'Other.Example']) {
      assert.equal((await ok('GET', `/discover?org=${name}`)).peers.length, 1, name);
    }
    for (const name of ['bad%20name!', 'other..example', `${'o'.repeat(250)}.co`]) {
      assert.equal((await refused('invalid_query', 'GET', `/discover?org=${name}`)).status, 400, name);
    }
  });

  it('reconciles with one peer or all, and tells how far behind each is', async () => {
    const { peerId } = mesh.put({ peerId: testKey().peerId, state: 'active', connected: true });
    mesh.put({ peerId: testKey().peerId, state: 'suspended' });
    mesh.reconcile = async () => ({ sent: 1, received: 4 });
    const { finished, peers } = await ok('POST', '/sync', { peer_id: peerId });
    assert.deepEqual([finished, peers[0].last_sync.received, peers[0].last_sync.result], [true, 4, 'converged']);
    assert.equal((await ok('POST', '/sync', {})).peers.length, 1);
    assert.equal((await ok('GET', '/sync')).peers.length, 1);
    assert.equal((await ok('GET', `/sync?peer_id=${peerId}`)).peers[0].peer_id, peerId);
    await refused('peer_not_found', 'POST', '/sync', { peer_id: testKey().peerId });
    await refused('peer_not_found', 'POST', '/sync', { peer_id: testKey().peerId, wait: false });
    await refused('peer_not_found', 'GET', '/sync?peer_id=nobody');
    mesh.put({ peerId, state: 'active' });
    assert.equal((await refused('peer_unreachable', 'POST', '/sync', { peer_id: peerId })).status, 503);
  });

  it('answers at once to whoever does not wait, and nobody is hurt when that fails later', async () => {
    const { peerId } = mesh.put({ peerId: testKey().peerId, state: 'active', connected: true });
    const gate = Promise.withResolvers<{ sent: number; received: number }>();
    mesh.reconcile = () => gate.promise;
    const { finished, peers } = await ok('POST', '/sync', { peer_id: peerId, wait: false });
    assert.deepEqual([finished, peers[0].last_sync], [false, null]);
    gate.reject(new Error('the connection broke'));
    await settle();
  });

  it('waits for a reconciliation no longer than a connection may idle', async () => {
    const timers = new FakeTimers();
    const { peerId } = mesh.put({ peerId: testKey().peerId, state: 'active', connected: true });
    const gate = Promise.withResolvers<{ sent: number; received: number }>();
    mesh.reconcile = () => gate.promise;
    const sync = endpoints.find(({ name }) => name === 'mesh.sync') as Operation;
    const context = { components: { federation: mesh, timers } as Partial<ApiComponents>, who: principal() } as Call;
    const input = { params: {}, query: {}, headers: {}, body: { peer_id: peerId, wait: true } };
    const answered = sync.handler(context, input);
    await settle();
    timers.advance(SYNC_WAIT_MS);
    const { body } = (await answered) as { body: { finished: boolean; peers: unknown[] } };
    assert.deepEqual([body.finished, body.peers.length, timers.pending], [false, 1, 0]);
    gate.resolve({ sent: 0, received: 0 });
    const done = (await sync.handler(context, input)) as { body: { finished: boolean } };
    assert.deepEqual([done.body.finished, timers.pending], [true, 0]);
  });

  it('shows, adopts and changes the manifest of the organisation', async () => {
    const own = await ok('GET', '/manifest/acme.example');
    assert.deepEqual(
      [own.entity_uri, own.authority, own.key_id, own.standing, own.version],
      ['stigmem://acme.example', 'acme.example', mesh.orgKey.fingerprint, 'own', 1],
    );
    assert.equal(own.manifest.nodes.length, 1);
    for (const name of ['stigmem%3A%2F%2Facme.example', 'stigmem://acme.example/agent/x', 'ACME.example']) {
      assert.deepEqual(await ok('GET', `/manifest/${name}`), own);
    }
    assert.equal((await ok('GET', '/manifest')).manifests.length, 1);
    for (const name of ['nobody.example', 'not%20a%20name', '%00']) {
      const answer = await refused('manifest_not_found', 'GET', `/manifest/${name}`);
      assert.equal(answer.json.detail, 'manifest not found or expired');
    }
    const second = testKey();
    const added = await ok('POST', '/org/nodes', { peer_id: second.peerId, namespaces: ['lab.acme.example'] });
    assert.deepEqual([added.version, added.manifest.nodes.length], [2, 2]);
    const revoked = await ok('DELETE', `/org/nodes/${second.peerId}`);
    assert.equal(revoked.version, 3);
    await refused('node_not_listed', 'DELETE', `/org/nodes/${testKey().peerId}`);
    await refused('invalid_peer_id', 'POST', '/org/nodes', { peer_id: 'x' });
    await refused('validation_failed', 'POST', '/org/nodes', { peer_id: second.peerId, namespaces: ['NOT A NAME'] });
    const before = mesh.orgKey.fingerprint;
    const rotated = await ok('POST', '/org/rotate-key');
    assert.notEqual(rotated.fingerprint, before);
    assert.equal(rotated.manifest.rotations.length, 1);

    const key = testKey();
    const manifest = createManifest(
      { authority: 'acme.example', peerId: second.peerId },
      { orgKey: key.key, now: Date.now() },
    );
    assert.equal((await ok('PUT', '/manifest', manifest)).key_id, key.fingerprint);
    assert.equal((await ok('PUT', '/manifest', { manifest })).key_id, key.fingerprint);
    await refused('bad_signature', 'PUT', '/manifest', { ...manifest, version: 9 });
    await refused('manifest_malformed', 'PUT', '/manifest', { entity_uri: 'stigmem://acme.example' });
    await refused('validation_failed', 'PUT', '/manifest', []);
  });

  it('shows the audit log of the mesh in the shape of the contract', async () => {
    await stopAll();
    const asked: AuditQuery[] = [];
    const entry = {
      seq: 7,
      type: 'peer_approved',
      ts: '2026-11-21T00:00:00.000Z',
      principal: 'agent:admin',
      keyId: null,
    };
    const entries: AuditEntry[] = [
      { ...entry, factId: null, source: 'agent:admin', detail: { peer_id: 'p', org: 'other.example', n: 1 } },
      { ...entry, factId: null, source: 'agent:admin', detail: null },
    ];
    const list = async (_who: unknown, query: AuditQuery) => {
      asked.push(query);
      return { entries, cursor: 'next' };
    };
    run = await start({ audit: { list }, more: { federation: mesh } });
    const page = await ok('GET', '/audit?peer_id=p&event_type=peer_approved&limit=2');
    assert.deepEqual(asked[0], { federation: { peerId: 'p' }, type: 'peer_approved', cursor: undefined, limit: 2 });
    assert.deepEqual([page.cursor, page.has_more, page.entries.length], ['next', true, 2]);
    const { id, peer_id, event_type, detail, org } = page.entries[0];
    assert.deepEqual([id, peer_id, event_type, detail.n, org], ['7', 'p', 'peer_approved', 1, 'other.example']);
    assert.deepEqual([page.entries[1].peer_id, page.entries[1].detail], [null, null]);
  });

  it('is open to whoever may federate, and closed to whoever may only read', async () => {
    const permitted = async (permissions: readonly Permission[]) => {
      const who = principal(permissions);
      await stopAll();
      run = await start({ keys: { authenticate: () => who }, more: { federation: mesh } });
      const statuses: Record<string, number> = {};
      for (const [method, path, body] of [
        ['GET', '/peers', undefined],
        ['POST', '/invites', {}],
        ['GET', '/status', undefined],
        ['GET', '/manifest/acme.example', undefined],
        ['POST', '/org/rotate-key', undefined],
      ] as const) {
        statuses[`${method} ${path}`] = (await call(method, path, body)).status;
      }
      return Object.values(statuses);
    };
    assert.deepEqual(await permitted(['read', 'write']), [403, 403, 200, 200, 403]);
    assert.deepEqual(await permitted(['federate']), [200, 201, 200, 200, 403]);
    assert.deepEqual(await permitted(['admin']), [200, 201, 200, 200, 200]);
  });

  it('is the same over JSON-RPC', async () => {
    const rpc = async (method: string, params: object) => {
      const { json } = await run.send({
        method: 'POST',
        path: '/rpc',
        body: { jsonrpc: '2.0', id: 1, method, params },
      });
      return json.result ?? json.error;
    };
    const { peerId } = mesh.put({ peerId: testKey().peerId, state: 'active', connected: true });
    assert.deepEqual(await rpc('peer.list', {}), await ok('GET', '/peers'));
    assert.deepEqual(await rpc('peer.get', { peer_id: peerId }), await ok('GET', `/peers/${peerId}`));
    assert.equal((await rpc('peer.update', { peer_id: peerId, suspended: true })).state, 'suspended');
    assert.equal((await rpc('mesh.sync', { peer_id: 'x' })).code, -31001);
    assert.match((await rpc('invite.create', {})).invite, /^stigmesh-invite:1:/);
    const own = await rpc('org.get', { authority: 'acme.example' });
    assert.equal((await rpc('org.adopt', { manifest: own.manifest })).version, 1);
    assert.equal((await rpc('mesh.status', {})).enabled, true);
  });
});

import assert from 'node:assert/strict';
import type { FactScope } from '../../../src/facts/scope.ts';
import { FakeFederation, testKey } from '../../support/fake-federation.ts';
import { factView, nodeStatus, type Running, start, stopAll } from './fakes.ts';

const BASE = '/v1/federation';

describe('API of a daemon whose mesh is off', () => {
  let run: Running;
  beforeEach(async () => {
    run = await start({ audit: { list: async () => ({ entries: [], cursor: null }) } });
  });
  afterEach(stopAll);

  it('lists nothing, and says how to turn it on wherever something is to be done', async () => {
    const lists = {
      '/peers': 'peers',
      '/invites': 'invites',
      '/manifest': 'manifests',
      '/sync': 'peers',
      '/audit': 'entries',
    };
    for (const [path, member] of Object.entries(lists)) {
      const answer = await run.send({ path: BASE + path });
      assert.equal(answer.status, 200, path);
      assert.deepEqual(answer.json[member], [], path);
    }
    const { peerId } = testKey();
    for (const [method, path, body] of [
      ['POST', '/peers', { peer_id: peerId }],
      ['GET', `/peers/${peerId}`, undefined],
      ['PATCH', `/peers/${peerId}`, {}],
      ['DELETE', `/peers/${peerId}`, undefined],
      ['POST', `/peers/${peerId}/approve`, {}],
      ['POST', '/invites', {}],
      ['DELETE', '/invites/00', undefined],
      ['POST', '/join', { invite: 'x' }],
      ['GET', '/discover', undefined],
      ['POST', '/sync', {}],
      ['GET', '/manifest/acme.example', undefined],
      ['PUT', '/manifest', {}],
      ['POST', '/org/rotate-key', undefined],
      ['POST', '/org/nodes', { peer_id: peerId }],
      ['DELETE', `/org/nodes/${peerId}`, undefined],
    ] as const) {
      const { status, json, headers } = await run.send({ method, path: BASE + path, ...(body ? { body } : {}) });
      assert.deepEqual([status, json.code], [503, 'mesh_disabled'], `${method} ${path}`);
      assert.match(json.hint, /mesh\.enabled/);
      assert.equal(headers['retry-after'], undefined);
    }
    const { json } = await run.send({ path: `${BASE}/status` });
    assert.deepEqual([json.enabled, json.addrs, json.peers.active], [false, [], 0]);
  });

  it('says so to everybody', async () => {
    const { json } = await run.send({ path: '/.well-known/stigmem' }, null);
    assert.equal(json.federation, 'disabled');
    for (const member of ['federation_pubkey', 'federation_version', 'federation_endpoints', 'addrs']) {
      assert.ok(!(member in json), member);
    }
  });
});

describe('what a daemon on the mesh says of itself', () => {
  afterEach(stopAll);

  it('has the members of the contract in the well-known document, its addresses, and no version that promises HTTP', async () => {
    const mesh = new FakeFederation();
    const identity = { peerId: mesh.node.peerId, org: 'acme.example', fingerprint: mesh.orgKey.fingerprint };
    const { send } = await start({ more: { federation: mesh, identity } });
    const { json } = await send({ path: '/.well-known/stigmem' }, null);
    assert.deepEqual(
      [json.federation, json.node_id, json.peer_id, json.org, json.fingerprint, json.federation_pubkey],
      ['enabled', mesh.node.peerId, mesh.node.peerId, 'acme.example', mesh.orgKey.fingerprint, mesh.node.text],
    );
    assert.deepEqual(json.addrs, [`/ip4/192.0.2.10/tcp/4701/p2p/${mesh.node.peerId}`]);
    assert.notEqual(json.federation_version, '0.5');
    // Stigmem's clients take it for the routes of its own federation, and fail on one without them.
    assert.ok(!('federation_endpoints' in json));
  });

  it('says to how many connected peers an assertion goes: none that was known, none that may not hold it', async () => {
    const mesh = new FakeFederation();
    const ours = { gives: ['company'], takes: [], namespaces: null } as const;
    for (const connected of [true, true, false])
      mesh.put({ peerId: testKey().peerId, state: 'active', ours, connected });
    let created = true;
    const assert_ = async (_who: unknown, { scope }: { scope: FactScope }) => ({
      fact: factView({ scope }),
      created,
      warnings: [],
    });
    const { send } = await start({ facts: { assert: assert_ }, more: { federation: mesh } });
    const announced = async (scope: FactScope) => {
      const fact = { entity: 'user:a', relation: 'm:r', value: { type: 'null' }, source: 'user:a', scope };
      return (await send({ method: 'POST', path: '/v1/facts', body: fact })).json.announced_to;
    };
    assert.deepEqual([await announced('company'), await announced('public')], [2, 0]);
    created = false;
    assert.equal(await announced('company'), 0);
  });

  it('shows the mesh in its status, and its warnings once', async () => {
    const mesh = new FakeFederation();
    mesh.warnings = ['the clock of other.example is wrong', 'both'];
    mesh.put({ peerId: testKey().peerId, state: 'active', connected: true });
    const status = async () => nodeStatus({ warnings: ['both'], untrusted: 4, equivocations: 1 });
    const { send } = await start({ more: { federation: mesh, status } });
    const { json } = await send({ path: '/v1/status' });
    assert.deepEqual(json.warnings, ['both', 'the clock of other.example is wrong']);
    assert.deepEqual([json.mesh.enabled, json.mesh.peers.active, json.mesh.peers.connected], [true, 1, 1]);
    assert.deepEqual(json.mesh.addrs, [`/ip4/192.0.2.10/tcp/4701/p2p/${mesh.node.peerId}`]);
    assert.deepEqual([json.untrusted, json.equivocations, json.manifests], [4, 1, 1]);
  });

  it('shows the fingerprint of today after the key was rotated, also where the key is not', async () => {
    const mesh = new FakeFederation();
    const identity = { peerId: mesh.node.peerId, org: 'acme.example', fingerprint: 'AAAAA-BBBBB-CCCCC-DDDDD' };
    const { send } = await start({ more: { federation: mesh, identity, status: async () => nodeStatus() } });
    await send({ method: 'POST', path: `${BASE}/org/rotate-key` });
    for (const path of ['/.well-known/stigmem', '/v1/status']) {
      assert.equal((await send({ path })).json.fingerprint, mesh.orgKey.fingerprint, path);
    }
    mesh.manifest = () => Promise.reject(new Error('none yet'));
    assert.equal((await send({ path: '/.well-known/stigmem' })).json.fingerprint, identity.fingerprint);
  });
});

import assert from 'node:assert/strict';
import { eventually, Member } from '../support/federation.ts';

/** Three organisations that do not know each other's peers may pass public facts on; here they are believed. */
const ENV = { STIGMESH_MESH_UNKNOWN_ORIGINS: 'accept', STIGMESH_MESH_DHT_PRIVATE_ADDRESSES: 'true' };

describe('e2e: five daemons of four organisations', function () {
  this.timeout(180_000);
  let acme: Member;
  let bolt: Member;
  let cora: Member;
  let dora: Member;
  let acme2: Member;
  const members: Member[] = [];

  before(async () => {
    const begin = async (org: string): Promise<Member> => {
      const member = await Member.start(org, ENV);
      members.push(member);
      return member;
    };
    const orgs = ['acme.example', 'bolt.example', 'cora.example', 'dora.example', 'acme.example'];
    const started = await Promise.allSettled(orgs.map(begin));
    for (const one of started) if (one.status === 'rejected') throw one.reason;
    [acme, bolt, cora, dora, acme2] = started.map((one) => (one as PromiseFulfilledResult<Member>).value) as [
      Member,
      Member,
      Member,
      Member,
      Member,
    ];
  });
  after(() => Promise.all(members.map((member) => member.end())));

  const has = (member: Member, entity: string, relation: string, values: readonly string[]) =>
    eventually(
      `${member.org} on ${entity}`,
      () => member.values(entity, relation),
      (found) => JSON.stringify(found) === JSON.stringify([...values].sort()),
    );

  it('an address book that starts with one peer ends with all', async () => {
    await acme.pair(bolt, ['public', 'company']);
    await acme.pair(cora, ['public']);
    await acme.pair(dora, ['public']);
    type Found = { peers: { peer_id: string; org: string | null; fingerprint: string | null; addrs: string[] }[] };
    for (const wanted of [bolt, cora]) {
      const { peers } = await eventually(
        `dora finds ${wanted.org}`,
        () => dora.call<Found>('GET', `/v1/federation/discover?org=${wanted.org}`),
        (found) => found.peers.some(({ peer_id, org }) => peer_id === wanted.peerId && org !== null),
      );
      const found = peers.find(({ peer_id }) => peer_id === wanted.peerId)!;
      assert.equal(found.org, wanted.org);
      assert.equal(found.fingerprint, wanted.fingerprint);
      // Finding grants nothing: it takes a word of both operators.
      assert.ok(!(await dora.activePeers()).includes(wanted.peerId));
      const terms = { gives: ['public'], takes: ['public'] };
      await dora.call('POST', '/v1/federation/peers', { peer_id: wanted.peerId, addrs: found.addrs, ...terms });
      await eventually(
        `${wanted.org} lists dora`,
        () => wanted.call<Found>('GET', '/v1/federation/peers'),
        (listed) => listed.peers.some(({ peer_id }) => peer_id === dora.peerId),
      );
      await wanted.call('POST', `/v1/federation/peers/${dora.peerId}/approve`, terms);
    }
    const all = [acme, bolt, cora].map(({ peerId }) => peerId).sort();
    await eventually(
      'dora is connected to all',
      async () => (await dora.activePeers()).sort(),
      (active) => JSON.stringify(active) === JSON.stringify(all),
    );
  });

  it('shares by scope, and nobody else learns of it', async () => {
    const on = { entity: 'project:apollo', relation: 'roadmap:launch' };
    const ids: Record<string, string> = {};
    for (const scope of ['local', 'team', 'company', 'public'] as const) {
      ids[scope] = await acme.say({ ...on, relation: `roadmap:${scope}`, value: scope, scope });
    }
    for (const member of [bolt, cora, dora]) await has(member, on.entity, 'roadmap:public', ['public']);
    await has(bolt, on.entity, 'roadmap:company', ['company']);
    const logs = await Promise.all([bolt, cora, dora].map((member) => member.log()));
    assert.deepEqual(
      logs.map((log) => ['local', 'team', 'company', 'public'].filter((scope) => log.has(ids[scope]!))),
      [['company', 'public'], ['public'], ['public']],
    );
  });

  it('fault 35: a contradiction on all of them is one conflict with one id; a resolution binds who trusts it', async () => {
    const on = { entity: 'project:apollo', relation: 'roadmap:colour', scope: 'public' } as const;
    await acme.say({ ...on, value: 'red' });
    await bolt.say({ ...on, value: 'blue' });
    const all = [acme, bolt, cora, dora];
    const ids = await Promise.all(
      all.map((member) =>
        eventually(
          `${member.org} lists the conflict`,
          () => member.conflicts(),
          (conflicts) => conflicts.length === 1,
        ),
      ),
    );
    assert.equal(new Set(ids.flat()).size, 1);
    const [conflict] = ids[0]!;
    for (const member of all) await has(member, on.entity, on.relation, ['blue', 'red']);
    type Conflicts = { conflicts: { fact_a: { id: string; value: { v: string } }; fact_b: { id: string } }[] };
    const { conflicts } = await acme.call<Conflicts>('GET', '/v1/conflicts?status=unresolved');
    const { fact_a, fact_b } = conflicts[0]!;
    const winner = fact_a.value.v === 'red' ? fact_a.id : fact_b.id;
    const before = await acme.log();
    await acme.call('POST', `/v1/conflicts/${encodeURIComponent(conflict!)}/resolve`, {
      winning_fact_id: winner,
      resolution_note: 'as painted',
    });
    assert.deepEqual(await acme.conflicts(), []);
    assert.deepEqual(await acme.conflicts('resolved'), [conflict]);
    const resolution = [...(await acme.log())].filter((id) => !before.has(id));
    assert.equal(resolution.length, 1);
    await eventually(
      'bolt has the resolution',
      () => bolt.log(),
      (log) => log.has(resolution[0]!),
    );
    assert.deepEqual(await bolt.conflicts(), [conflict], 'bolt does not trust resolutions of acme');
  });

  it('a second daemon of an organisation gets all but `local`, and serves its peers when the first is away', async () => {
    await acme.call('POST', '/v1/federation/org/nodes', { peer_id: acme2.peerId });
    await acme.pair(acme2, ['public']);
    for (const scope of ['team', 'company', 'public'] as const) {
      await has(acme2, 'project:apollo', `roadmap:${scope}`, [scope]);
    }
    assert.deepEqual(await acme2.values('project:apollo', 'roadmap:local'), []);
    await acme2.pair(bolt, ['public', 'company']);
    await acme2.say({ entity: 'project:zeus', relation: 'roadmap:owner', value: 'alice', scope: 'company' });
    await has(bolt, 'project:zeus', 'roadmap:owner', ['alice']);
    await has(acme, 'project:zeus', 'roadmap:owner', ['alice']);

    await acme.stop();
    await acme2.say({ entity: 'project:hera', relation: 'roadmap:owner', value: 'bob', scope: 'company' });
    await has(bolt, 'project:hera', 'roadmap:owner', ['bob']);
    const back = await Member.start('acme.example', ENV, acme.daemon.home);
    members.push(back);
    acme = back;
    await has(acme, 'project:hera', 'roadmap:owner', ['bob']);
    assert.deepEqual(await cora.values('project:hera', 'roadmap:owner'), []);
  });

  it('fault 7: a rotated org key is followed by everybody, and what the organisation says goes on to arrive', async () => {
    const before = (await acme.call<{ fingerprint: string }>('GET', '/v1/federation/manifest/acme.example'))
      .fingerprint;
    await acme.call('POST', '/v1/federation/org/rotate-key');
    const manifest = (member: Member) =>
      member.call<{ fingerprint: string; version: number }>('GET', '/v1/federation/manifest/acme.example');
    const { fingerprint } = await manifest(acme);
    assert.notEqual(fingerprint, before);
    for (const member of [bolt, cora, dora, acme2]) {
      await eventually(
        `${member.org} follows`,
        () => manifest(member),
        (known) => known.fingerprint === fingerprint,
      );
    }
    await acme.say({ entity: 'project:apollo', relation: 'roadmap:after', value: 'rotation', scope: 'public' });
    for (const member of [bolt, cora, dora, acme2]) await has(member, 'project:apollo', 'roadmap:after', ['rotation']);
  });

  it('a suspended peer gets nothing until it is resumed; a removed one never again', async () => {
    const path = `/v1/federation/peers/${dora.peerId}`;
    // All who could pass it on.
    for (const member of [acme, bolt, cora]) await member.call('PATCH', path, { suspended: true });
    await eventually(
      'dora is alone',
      () => dora.activePeers(),
      (active) => active.length === 0,
    );
    const on = { entity: 'project:apollo', relation: 'roadmap:secretive', scope: 'public' } as const;
    await acme.say({ ...on, value: 'for a while' });
    await has(cora, on.entity, on.relation, ['for a while']);
    assert.deepEqual(await dora.values(on.entity, on.relation), []);
    await acme.call('PATCH', path, { suspended: false });
    await has(dora, on.entity, on.relation, ['for a while']);

    await acme.call('DELETE', path);
    await eventually(
      'dora is cut off',
      () => dora.activePeers(),
      (active) => active.length === 0,
    );
    await acme.say({ ...on, relation: 'roadmap:forever', value: 'gone' });
    await has(bolt, on.entity, 'roadmap:forever', ['gone']);
    assert.deepEqual(await dora.values(on.entity, 'roadmap:forever'), []);
    assert.deepEqual(await dora.values(on.entity, on.relation), ['for a while'], 'what it had stays');
  });

  it('ends with equal logs of what all may hold, on all that are connected', async () => {
    const publicOf = async (member: Member): Promise<string> => {
      const { facts } = await member.call<{ facts: { id: string }[] }>(
        'GET',
        '/v1/facts?scope=public&include_contradicted=true&limit=500',
      );
      return JSON.stringify(facts.map(({ id }) => id).sort());
    };
    await eventually(
      'acme, bolt, cora and acme2 hold the same public facts',
      async () => new Set(await Promise.all([acme, bolt, cora, acme2].map(publicOf))).size,
      (different) => different === 1,
    );
  });
});

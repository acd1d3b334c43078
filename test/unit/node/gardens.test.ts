import assert from 'node:assert/strict';
import { FactError } from '../../../src/facts/errors.ts';
import { NodeError, type NodeErrorCode } from '../../../src/node/errors.ts';
import { Gardens } from '../../../src/node/gardens.ts';
import { MAX_DESCRIPTION, MAX_GARDEN_MEMBERS, MAX_GARDEN_NAME } from '../../../src/node/local-limits.ts';
import type { GardenRole } from '../../../src/node/services.ts';
import { MemoryStore } from '../../../src/store/memory/memory-store.ts';
import { StoreError } from '../../../src/store/store.ts';
import { FaultyStore } from '../../support/faulty-store.ts';
import { openTestNode } from '../../support/test-node.ts';
import { ANONYMOUS, countingUUID, FakeWriter, principal } from './local-writer.ts';

const refusal = (code: NodeErrorCode, message?: string | RegExp) => (error: unknown) => {
  assert.ok(error instanceof NodeError, String(error));
  assert.equal(error.code, code);
  if (typeof message === 'string') assert.equal(error.message, message);
  else if (message) assert.match(error.message, message);
  assert.notEqual(error.hint, '');
  return true;
};

const alice = principal('user:alice', ['read', 'write']);
const bob = principal('user:bob', ['read', 'write']);
const admin = principal('user:root', ['admin', 'read', 'write']);

describe('gardens', () => {
  let time: number;
  let writer: FakeWriter;
  let gardens: Gardens;

  const make = (maxGardens = 100): Gardens =>
    new Gardens(
      { store: writer.store, writer, now: () => time, randomUUID: countingUUID() },
      { org: 'acme.example', maxGardens },
    );

  beforeEach(() => {
    time = Date.UTC(2026, 0, 1);
    writer = new FakeWriter(() => time);
    gardens = make();
  });

  const alpha = { slug: 'alpha', name: 'Alpha', scope: 'team' } as const;

  describe('create', () => {
    it('makes a garden whose creator is admin, and remembers it', async () => {
      const garden = await gardens.create(alice, { ...alpha, slug: ' Alpha ', description: 'first', quarantine: true });
      assert.deepEqual(garden, {
        id: '00000000-0000-4000-8000-000000000001',
        garden_id: 'stigmem://acme.example/garden/alpha',
        slug: 'alpha',
        name: 'Alpha',
        scope: 'team',
        description: 'first',
        created_by: 'user:alice',
        created_at: '2026-01-01T00:00:00.000Z',
        members: [
          {
            entity_uri: 'user:alice',
            role: 'admin',
            added_by: 'user:alice',
            added_at: '2026-01-01T00:00:00.000Z',
          },
        ],
        quarantine: true,
      });
      const later = make();
      await later.load();
      assert.deepEqual(await later.get(alice, 'alpha'), garden);
    });

    it('refuses slugs that do not fit, or could be taken for ids', async () => {
      const bad = ['Invalid_Slug!', '', '-a', 'a b', 'ä', 'a/b', 'x'.repeat(64)];
      for (const slug of bad) {
        await assert.rejects(
          gardens.create(alice, { ...alpha, slug }),
          refusal('garden_slug_invalid', 'slug must match ^[a-z0-9][a-z0-9\\-]{0,62}$'),
        );
      }
      const uuid = '123e4567-e89b-42d3-a456-426614174000';
      await assert.rejects(
        gardens.create(alice, { ...alpha, slug: uuid }),
        refusal('garden_slug_invalid', /like an id/),
      );
      assert.equal((await gardens.create(alice, { ...alpha, slug: 'x'.repeat(63) })).slug.length, 63);
    });

    it('refuses a slug in use, also among creations at the same time', async () => {
      const results = await Promise.allSettled([1, 2, 3].map(() => gardens.create(alice, alpha)));
      assert.deepEqual(results.map(({ status }) => status).sort(), ['fulfilled', 'rejected', 'rejected']);
      await assert.rejects(gardens.create(bob, alpha), refusal('garden_exists', 'slug already exists'));
      assert.equal((await gardens.list(ANONYMOUS)).length, 1);
    });

    it('takes the permission write and the scope', async () => {
      await assert.rejects(
        gardens.create(principal('user:r', ['read']), alpha),
        refusal('permission_denied', 'write permission required'),
      );
      const local = principal('user:l', ['write'], ['local']);
      await assert.rejects(gardens.create(local, alpha), refusal('scope_denied'));
    });

    it('bounds names, descriptions and the number of gardens', async () => {
      await assert.rejects(gardens.create(alice, { ...alpha, name: '' }), refusal('invalid_query'));
      const name = 'n'.repeat(MAX_GARDEN_NAME);
      const description = 'd'.repeat(MAX_DESCRIPTION);
      await assert.rejects(gardens.create(alice, { ...alpha, name: `${name}n` }), refusal('invalid_query'));
      const long = { ...alpha, description: `${description}d` };
      await assert.rejects(gardens.create(alice, long), refusal('invalid_query'));
      await gardens.create(alice, { ...alpha, name, description });

      const few = make(2);
      await few.load();
      await few.create(alice, { ...alpha, slug: 'beta' });
      await few.remove(alice, 'beta');
      await assert.rejects(few.create(admin, { ...alpha, slug: 'gamma' }), refusal('limit_reached'));
      await few.create(admin, { ...alpha, slug: 'beta' });
    });

    it('changes nothing when the write fails', async () => {
      writer.failure = new Error('disk full');
      await assert.rejects(gardens.create(alice, alpha), /disk full/);
      assert.throws(() => gardens.resolve('alpha'), refusal('garden_not_found'));
      await gardens.create(alice, alpha);
    });
  });

  describe('reading', () => {
    beforeEach(async () => {
      await gardens.create(alice, alpha);
      time += 1000;
      await gardens.create(bob, { ...alpha, slug: 'beta', scope: 'company' });
    });

    it('lists what the caller may read, oldest first, without members', async () => {
      const slugs = async (who: typeof alice): Promise<string[]> => (await gardens.list(who)).map(({ slug }) => slug);
      assert.deepEqual(await slugs(alice), ['alpha']);
      assert.deepEqual(await slugs(bob), ['beta']);
      assert.deepEqual(await slugs(admin), ['alpha', 'beta']);
      assert.deepEqual(await slugs(ANONYMOUS), ['alpha', 'beta']);
      assert.deepEqual(await slugs(principal('user:root', ['admin'], ['company'])), ['beta']);
      assert.deepEqual((await gardens.list(alice))[0]?.members, []);
      assert.equal((await gardens.get(alice, 'alpha')).members.length, 1);
    });

    it('refuses others, who has no permission, and what is not there', async () => {
      const outsider = refusal('garden_forbidden', 'not a member of this garden');
      await assert.rejects(gardens.get(bob, 'alpha'), outsider);
      await assert.rejects(gardens.members(bob, 'alpha'), outsider);
      await assert.rejects(gardens.get(admin, 'nothing'), refusal('garden_not_found', 'garden not found'));
      const writeOnly = principal('user:alice', ['write']);
      await assert.rejects(gardens.get(writeOnly, 'alpha'), refusal('permission_denied', 'read permission required'));
      await assert.rejects(gardens.list(writeOnly), refusal('permission_denied'));
      await assert.rejects(gardens.members(writeOnly, 'alpha'), refusal('permission_denied'));
    });

    it('resolves URIs of any authority, ids and slugs', () => {
      const { id } = gardens.resolve('alpha');
      for (const reference of [
        'stigmem://acme.example/garden/alpha',
        'stigmem://testnode/garden/alpha',
        'stigmem://testnode/garden/alpha//',
        `stigmem://x/garden/${id}`,
        ' ALPHA ',
        id.toUpperCase(),
      ]) {
        assert.equal(gardens.resolve(reference).id, id, reference);
      }
      for (const reference of ['', 'alph', 'stigmem://x/garden/', 'stigmem://x/garden/a/garden/alpha', 'alpha/']) {
        assert.throws(() => gardens.resolve(reference), refusal('garden_not_found'), reference);
      }
    });

    it('says who may read facts: members of any role and node admins, within their scopes', async () => {
      const uri = 'stigmem://acme.example/garden/alpha';
      const roles: GardenRole[] = ['admin', 'writer', 'reader', 'quarantine:moderator'];
      for (const [i, role] of roles.entries()) {
        await gardens.addMember(alice, 'alpha', { entity_uri: `user:m${i}`, role });
        assert.equal(gardens.mayRead(principal(`user:m${i}`, ['read']), uri), true);
        assert.equal(gardens.mayRead(principal(`user:m${i}`, ['read'], ['local']), uri), false);
      }
      assert.equal(gardens.mayRead(bob, uri), false);
      assert.equal(gardens.mayRead(admin, uri), true);
      assert.equal(gardens.mayRead(admin, 'stigmem://other.example/garden/alpha'), true);
      assert.equal(gardens.mayRead(alice, 'stigmem://other.example/garden/alpha'), false);
    });

    it('says who may write facts: admins, writers and node admins', async () => {
      const garden = gardens.resolve('alpha');
      const member = (role: GardenRole) => ({ entity_uri: `user:${role.replace(':', '-')}`, role });
      for (const role of ['writer', 'reader', 'quarantine:moderator'] as const) {
        await gardens.addMember(alice, 'alpha', member(role));
      }
      gardens.assertMayWrite(alice, garden);
      gardens.assertMayWrite(principal('user:writer', ['write']), garden);
      gardens.assertMayWrite(ANONYMOUS, garden);
      assert.throws(
        () => gardens.assertMayWrite(principal('user:reader', ['write']), garden),
        refusal('garden_forbidden', 'write permission required — you are a reader in this garden'),
      );
      assert.throws(
        () => gardens.assertMayWrite(principal('user:quarantine-moderator', ['write']), garden),
        refusal('garden_forbidden', 'write permission required — you are a quarantine:moderator in this garden'),
      );
      assert.throws(
        () => gardens.assertMayWrite(bob, garden),
        refusal('garden_forbidden', 'not a member of this garden'),
      );
      await gardens.remove(alice, 'alpha');
      assert.throws(() => gardens.assertMayWrite(alice, garden), refusal('garden_not_found'));
    });
  });

  describe('deletion', () => {
    beforeEach(() => gardens.create(alice, alpha));

    it('takes an admin of the garden or of the node', async () => {
      await gardens.addMember(alice, 'alpha', { entity_uri: 'user:bob', role: 'writer' });
      await assert.rejects(
        gardens.remove(bob, 'alpha'),
        refusal('garden_forbidden', 'garden admin permission required'),
      );
      await gardens.remove(admin, 'alpha');
      await assert.rejects(gardens.remove(admin, 'alpha'), refusal('garden_not_found'));
      assert.deepEqual(await gardens.list(admin), []);
    });

    it('leaves its facts to node admins, and its slug too, over a restart', async () => {
      await gardens.remove(alice, 'alpha');
      for (const each of [gardens, make()]) {
        await each.load();
        assert.equal(each.mayRead(alice, 'stigmem://acme.example/garden/alpha'), false);
        assert.equal(each.mayRead(admin, 'stigmem://acme.example/garden/alpha'), true);
        assert.throws(() => each.resolve('alpha'), refusal('garden_not_found'));
        await assert.rejects(each.create(alice, alpha), (error: NodeError) => {
          return refusal('garden_exists')(error) && /node admin/.test(error.hint);
        });
      }
      const again = await gardens.create(admin, alpha);
      assert.equal(gardens.mayRead(alice, again.garden_id), false);
      assert.equal(gardens.resolve('alpha').id, again.id);
    });
  });

  describe('members', () => {
    beforeEach(() => gardens.create(alice, alpha));

    it('are added once, under one spelling of their URI', async () => {
      time += 1000;
      const member = await gardens.addMember(alice, 'alpha', {
        entity_uri: ' STIGMEM://TestNode/User/Alice ',
        role: 'writer',
      });
      assert.deepEqual(member, {
        entity_uri: 'stigmem://testnode/user/alice',
        role: 'writer',
        added_by: 'user:alice',
        added_at: '2026-01-01T00:00:01.000Z',
      });
      await assert.rejects(
        gardens.addMember(alice, 'alpha', { entity_uri: 'stigmem://testnode/user/alice', role: 'reader' }),
        refusal('member_exists', "entity is already a member with role 'writer'; use PATCH to change role"),
      );
      assert.deepEqual(
        (await gardens.members(alice, 'alpha')).map(({ entity_uri }) => entity_uri),
        ['user:alice', 'stigmem://testnode/user/alice'],
      );
      await assert.rejects(
        gardens.addMember(alice, 'alpha', { entity_uri: ' ', role: 'reader' }),
        (error) => error instanceof FactError && error.code === 'invalid_entity_uri',
      );
    });

    it('change role and leave; the last admin does neither', async () => {
      const last = refusal('last_admin', 'cannot remove or demote the last admin; promote another member first');
      await gardens.addMember(alice, 'alpha', { entity_uri: 'user:bob', role: 'reader' });
      await assert.rejects(gardens.setRole(alice, 'alpha', 'user:alice', 'writer'), last);
      await assert.rejects(gardens.removeMember(admin, 'alpha', 'user:alice'), last);
      assert.equal((await gardens.setRole(alice, 'alpha', 'user:alice', 'admin')).role, 'admin');

      assert.equal((await gardens.setRole(alice, 'alpha', 'User:Bob', 'admin')).role, 'admin');
      assert.equal((await gardens.setRole(bob, 'alpha', 'user:alice', 'writer')).role, 'writer');
      await gardens.removeMember(bob, 'alpha', 'user:alice');
      assert.deepEqual(
        (await gardens.members(bob, 'alpha')).map(({ entity_uri, role }) => [entity_uri, role]),
        [['user:bob', 'admin']],
      );
      assert.equal(gardens.mayRead(alice, 'stigmem://acme.example/garden/alpha'), false);
      const unknown = refusal('member_not_found', 'member not found');
      await assert.rejects(gardens.removeMember(bob, 'alpha', 'user:alice'), unknown);
      await assert.rejects(gardens.setRole(bob, 'alpha', 'user:alice', 'admin'), unknown);
    });

    it('two admins who demote each other at once leave one', async () => {
      await gardens.addMember(alice, 'alpha', { entity_uri: 'user:bob', role: 'admin' });
      const results = await Promise.allSettled([
        gardens.setRole(alice, 'alpha', 'user:bob', 'reader'),
        gardens.setRole(bob, 'alpha', 'user:alice', 'reader'),
      ]);
      assert.deepEqual(
        results.map(({ status }) => status),
        ['fulfilled', 'rejected'],
      );
    });

    it('are managed by garden admins and node admins only', async () => {
      await gardens.addMember(alice, 'alpha', { entity_uri: 'user:bob', role: 'writer' });
      const denied = refusal('garden_forbidden', 'garden admin permission required');
      await assert.rejects(gardens.addMember(bob, 'alpha', { entity_uri: 'user:c', role: 'reader' }), denied);
      await assert.rejects(gardens.setRole(bob, 'alpha', 'user:bob', 'admin'), denied);
      await assert.rejects(gardens.removeMember(bob, 'alpha', 'user:alice'), denied);
      await gardens.addMember(admin, 'alpha', { entity_uri: 'user:c', role: 'reader' });
    });

    it('are bounded', async () => {
      for (let i = 1; i < MAX_GARDEN_MEMBERS; i++) {
        await gardens.addMember(alice, 'alpha', { entity_uri: `user:m${i}`, role: 'reader' });
      }
      await assert.rejects(
        gardens.addMember(alice, 'alpha', { entity_uri: 'user:one-more', role: 'reader' }),
        refusal('limit_reached'),
      );
    });
  });

  it('audits every change, with who and what', async () => {
    await gardens.create(alice, alpha);
    await gardens.addMember(alice, 'alpha', { entity_uri: 'user:bob', role: 'reader' });
    await gardens.setRole(alice, 'alpha', 'user:bob', 'writer');
    await gardens.removeMember(alice, 'alpha', 'user:bob');
    await assert.rejects(gardens.removeMember(alice, 'alpha', 'user:bob'));
    await gardens.remove(admin, 'alpha');
    const garden = 'stigmem://acme.example/garden/alpha';
    const id = '00000000-0000-4000-8000-000000000001';
    assert.deepEqual(
      writer.events.map(({ type, who, detail }) => [type, who.entity, detail]),
      [
        ['garden_create', 'user:alice', { garden, id, scope: 'team', quarantine: false }],
        ['garden_member_add', 'user:alice', { garden, member: 'user:bob', role: 'reader' }],
        ['garden_member_role', 'user:alice', { garden, member: 'user:bob', role: 'writer', was: 'reader' }],
        ['garden_member_remove', 'user:alice', { garden, member: 'user:bob', was: 'writer' }],
        ['garden_delete', 'user:root', { garden, id }],
      ],
    );
  });

  it('fault 44: whom a write removed that failed and landed all the same, stays removed', async () => {
    const store = new FaultyStore(new MemoryStore());
    const t = await openTestNode({ store });
    await t.node.gardens.create(alice, alpha);
    await t.node.gardens.addMember(alice, 'alpha', { entity_uri: 'user:bob', role: 'reader' });
    store.failBatches({ fault: 'EIO', times: 1, landed: true });
    await Promise.all([
      assert.rejects(t.node.gardens.removeMember(alice, 'alpha', 'user:bob'), StoreError),
      assert.rejects(
        t.node.gardens.addMember(alice, 'alpha', { entity_uri: 'user:carol', role: 'reader' }),
        refusal('busy'),
      ),
    ]);
    await t.node.gardens.addMember(alice, 'alpha', { entity_uri: 'user:carol', role: 'reader' });
    const names = t.node.gardens.resolve('alpha').members.map(({ entity_uri }) => entity_uri);
    assert.deepEqual(names, ['user:alice', 'user:carol']);
    await t.node.stop();
  });
});

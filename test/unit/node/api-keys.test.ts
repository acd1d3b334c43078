import assert from 'node:assert/strict';
import { createHash } from 'node:crypto';
import { FactError } from '../../../src/facts/errors.ts';
import { SCOPES } from '../../../src/facts/scope.ts';
import { ApiKeys, SECRET_PREFIX } from '../../../src/node/api-keys.ts';
import { NodeError, type NodeErrorCode } from '../../../src/node/errors.ts';
import { MAX_DESCRIPTION, MAX_RAW_KEY, MIN_RAW_KEY } from '../../../src/node/local-limits.ts';
import { PERMISSIONS } from '../../../src/policy/principal.ts';
import { forEachSlice } from '../../../src/store/store.ts';
import { ANONYMOUS, countingUUID, FakeWriter, principal } from './local-writer.ts';

const refusal = (code: NodeErrorCode, message?: string | RegExp) => (error: unknown) => {
  assert.ok(error instanceof NodeError, String(error));
  assert.equal(error.code, code);
  if (typeof message === 'string') assert.equal(error.message, message);
  else if (message) assert.match(error.message, message);
  assert.notEqual(error.hint, '');
  return true;
};

const DAY = 24 * 60 * 60 * 1000;
const START = Date.UTC(2026, 0, 1);
const admin = principal('agent:admin', ['admin']);
const alice = principal('user:alice', ['read', 'write']);

describe('API keys', () => {
  let time: number;
  let writer: FakeWriter;
  let keys: ApiKeys;
  let random: number;

  const make = (init: { maxKeys?: number; maxAgeDays?: number } = {}): ApiKeys =>
    new ApiKeys(
      {
        store: writer.store,
        writer,
        now: () => time,
        randomUUID: countingUUID(),
        randomBytes: (size) => new Uint8Array(size).fill(++random),
      },
      { maxKeys: init.maxKeys ?? 100, maxAgeDays: init.maxAgeDays ?? 90 },
    );

  beforeEach(() => {
    time = START;
    random = 0;
    writer = new FakeWriter(() => time);
    keys = make();
  });

  const agent = { entity_uri: 'agent:writer', permissions: ['write', 'read'] };

  describe('creation', () => {
    it('makes a secret of 256 random bits, shown once', async () => {
      const { info, secret } = await keys.create(admin, { ...agent, description: 'for the editor' });
      assert.equal(secret, SECRET_PREFIX + Buffer.alloc(32, 1).toString('base64url'));
      assert.deepEqual(info, {
        id: '00000000-0000-4000-8000-000000000001',
        entity_uri: 'agent:writer',
        permissions: ['read', 'write'],
        scopes: SCOPES,
        description: 'for the editor',
        created_at: '2026-01-01T00:00:00.000Z',
        expires_at: '2026-04-01T00:00:00.000Z',
        revoked_at: null,
      });
    });

    it("takes the caller's own secret and never gives it back", async () => {
      const raw_key = 'k'.repeat(MIN_RAW_KEY);
      const { secret, info } = await keys.create(admin, { ...agent, raw_key });
      assert.equal(secret, null);
      assert.ok(!JSON.stringify(info).includes(raw_key));
      assert.equal(keys.authenticate(raw_key)?.entity, 'agent:writer');
      await assert.rejects(
        keys.create(admin, { ...agent, raw_key }),
        refusal('key_exists', 'raw_key already exists; generate a new key value'),
      );
      await keys.revoke(admin, info.id);
      await assert.rejects(keys.create(admin, { ...agent, raw_key }), refusal('key_exists'));
    });

    it('refuses secrets that are short, endless, or cannot stand in a header', async () => {
      const bad = ['', 'k'.repeat(MIN_RAW_KEY - 1), 'k'.repeat(MAX_RAW_KEY + 1), `${'k'.repeat(40)} k`, 'ü'.repeat(40)];
      for (const raw_key of bad) {
        await assert.rejects(keys.create(admin, { ...agent, raw_key }), refusal('key_invalid', /raw_key/));
      }
      const raw_key = 'k'.repeat(MAX_RAW_KEY);
      await keys.create(admin, { ...agent, raw_key });
      assert.ok(keys.authenticate(raw_key));
    });

    it('stores the SHA-256 of a secret and nothing else of it', async () => {
      const { secret } = await keys.create(admin, agent);
      const stored: string[] = [];
      await forEachSlice(writer.store, { gte: Buffer.alloc(0), lt: Buffer.alloc(1, 255) }, (rows) => {
        stored.push(...rows.map(({ value }) => value.toString()));
        return undefined;
      });
      const all = stored.join('\n');
      assert.ok(!all.includes(secret!) && !all.includes(secret!.slice(SECRET_PREFIX.length)));
      assert.ok(all.includes(createHash('sha256').update(secret!).digest('hex')));
    });

    it('takes the permission admin, and then gives any permission and scope', async () => {
      const everything = { ...agent, permissions: [...PERMISSIONS], scopes: ['public', 'local'] as const };
      await assert.rejects(
        keys.create(alice, everything),
        refusal('permission_denied', 'admin permission required to mint API keys'),
      );
      const { info, secret } = await keys.create(admin, everything);
      assert.deepEqual(info.permissions, ['admin', 'audit.read', 'federate', 'instruction:write', 'read', 'write']);
      assert.deepEqual(info.scopes, ['local', 'public']);
      const who = keys.authenticate(secret!)!;
      assert.equal(who.keyId, info.id);
      assert.deepEqual([...who.scopes], ['local', 'public']);
      assert.deepEqual([...who.permissions].sort(), info.permissions);
    });

    it('names what is wrong in the words of the reference', async () => {
      await assert.rejects(
        keys.create(admin, { ...agent, permissions: ['root', 'read', 'god'] }),
        refusal(
          'key_invalid',
          "unknown permissions: ['god', 'root']; allowed: ['admin', 'audit.read', 'federate', 'instruction:write', 'read', 'write']",
        ),
      );
      await assert.rejects(
        keys.create(admin, { ...agent, permissions: [] }),
        refusal('key_invalid', 'permissions list must be non-empty'),
      );
      await assert.rejects(keys.create(admin, { ...agent, scopes: [] }), refusal('key_invalid', /scopes/));
      await assert.rejects(
        keys.create(admin, { ...agent, scopes: ['all' as 'team'] }),
        refusal('key_invalid', /'all'/),
      );
      const description = 'd'.repeat(MAX_DESCRIPTION);
      await keys.create(admin, { ...agent, description });
      await assert.rejects(keys.create(admin, { ...agent, description: `${description}d` }), refusal('key_invalid'));
      await assert.rejects(
        keys.create(admin, { ...agent, entity_uri: '' }),
        (error) => error instanceof FactError && error.code === 'invalid_entity_uri',
      );
    });

    it('normalises the entity, so that memberships find it', async () => {
      const { info } = await keys.create(admin, { ...agent, entity_uri: ' STIGMEM://Acme/Agent/X ' });
      assert.equal(info.entity_uri, 'stigmem://acme/agent/x');
    });

    it('bounds live keys; expired and revoked ones make room', async () => {
      const few = make({ maxKeys: 2 });
      const first = await few.create(admin, agent);
      await few.create(admin, { ...agent, expires_at: '2026-01-02T00:00:00Z' });
      await assert.rejects(few.create(admin, agent), refusal('limit_reached'));
      await few.revoke(admin, first.info.id);
      await few.create(admin, agent);
      await assert.rejects(few.create(admin, agent), refusal('limit_reached'));
      time += 2 * DAY;
      await few.create(admin, agent);
    });

    it('keeps as many dead records as live ones are allowed, dropping the longest dead', async () => {
      const few = make({ maxKeys: 2 });
      const ids: string[] = [];
      for (let i = 0; i < 5; i++) {
        time += 1000;
        const { info } = await few.create(admin, agent);
        ids.push(info.id);
        await few.revoke(admin, info.id);
      }
      await few.create(admin, agent);
      const kept = (await few.list(admin, { all: true })).map(({ id }) => id);
      assert.deepEqual(kept.slice(0, 2), ids.slice(3));
      assert.equal(kept.length, 3);
      const again = make({ maxKeys: 2 });
      await again.load();
      assert.deepEqual(
        (await again.list(admin, { all: true })).map(({ id }) => id),
        kept,
      );
      const purged = writer.events.filter(({ type }) => type === 'key_purge').map(({ detail }) => detail?.key);
      assert.deepEqual(purged, ids.slice(0, 3));
    });
  });

  describe('expiry', () => {
    it('is compared as an instant, whatever the spelling', async () => {
      const { secret, info } = await keys.create(admin, { ...agent, expires_at: '2026-01-02T02:00:00+02:00' });
      assert.equal(info.expires_at, '2026-01-02T00:00:00.000Z');
      time = START + DAY - 1;
      assert.ok(keys.authenticate(secret!));
      time = START + DAY;
      assert.equal(keys.authenticate(secret!), undefined);
    });

    it('has a configured maximum, which is the default', async () => {
      const exact = '2026-04-01T00:00:00Z';
      await keys.create(admin, { ...agent, expires_at: exact });
      await assert.rejects(
        keys.create(admin, { ...agent, expires_at: '2026-04-01T00:00:01Z' }),
        refusal('key_invalid', 'expires_at exceeds configured static API key max age (90 days)'),
      );
      await assert.rejects(
        keys.create(admin, { ...agent, expires_at: '2026-01-01T00:00:00Z' }),
        refusal('key_invalid'),
      );
      await assert.rejects(
        keys.create(admin, { ...agent, expires_at: 'never' }),
        (error) => error instanceof FactError && error.code === 'invalid_timestamp',
      );
      const unlimited = make({ maxAgeDays: 0 });
      assert.equal((await unlimited.create(admin, agent)).info.expires_at, null);
      const far = await unlimited.create(admin, { ...agent, expires_at: '2036-01-01T00:00:00Z' });
      assert.equal(far.info.expires_at, '2036-01-01T00:00:00.000Z');
    });

    it('can be looked up ahead, by admins, soonest first', async () => {
      const in20 = await keys.create(admin, { ...agent, expires_at: '2026-01-21T00:00:00Z' });
      const in10 = await keys.create(admin, { ...agent, expires_at: '2026-01-11T12:00:00Z' });
      const gone = await keys.create(admin, { ...agent, expires_at: '2026-01-05T00:00:00Z' });
      await keys.create(admin, agent);
      await keys.revoke(admin, gone.info.id);
      const soon = await keys.expiringSoon(admin, 30);
      assert.deepEqual(
        soon.map(({ id, days_remaining }) => [id, days_remaining]),
        [
          [in10.info.id, 10.5],
          [in20.info.id, 20],
        ],
      );
      assert.deepEqual(await keys.expiringSoon(admin, 10), []);
      await assert.rejects(
        keys.expiringSoon(alice, 30),
        refusal('permission_denied', 'admin permission required to list expiring API keys'),
      );
    });
  });

  describe('authentication', () => {
    it('knows nothing but live secrets', async () => {
      const { secret } = await keys.create(admin, agent);
      for (const wrong of ['', 'x', secret!.slice(0, -1), `${secret} `, secret!.toLowerCase(), 'x'.repeat(1_000_000)]) {
        assert.equal(keys.authenticate(wrong), undefined);
      }
      assert.equal(keys.authenticate(secret!)?.entity, 'agent:writer');
    });

    it('survives a restart', async () => {
      const { secret, info } = await keys.create(admin, agent);
      const again = make();
      assert.equal(again.authenticate(secret!), undefined);
      await again.load();
      assert.equal(again.authenticate(secret!)?.keyId, info.id);
    });

    it('knows no key whose write failed', async () => {
      writer.failure = new Error('disk full');
      const raw_key = 'k'.repeat(40);
      await assert.rejects(keys.create(admin, { ...agent, raw_key }), /disk full/);
      assert.equal(keys.authenticate(raw_key), undefined);
    });
  });

  describe('revocation', () => {
    it('by its owner or an admin ends a key at once and keeps its record', async () => {
      const mine = await keys.create(admin, { ...agent, entity_uri: 'user:alice' });
      const other = await keys.create(admin, agent);
      await assert.rejects(
        keys.revoke(alice, other.info.id),
        refusal('permission_denied', "Cannot revoke another entity's key"),
      );
      time += DAY;
      await keys.revoke(alice, mine.info.id);
      await keys.revoke(admin, other.info.id);
      assert.equal(keys.authenticate(mine.secret!), undefined);
      assert.equal(keys.authenticate(other.secret!), undefined);
      const again = make();
      await again.load();
      assert.equal(again.authenticate(mine.secret!), undefined);
      assert.deepEqual(
        (await again.list(admin, { all: true })).map(({ revoked_at }) => revoked_at),
        ['2026-01-02T00:00:00.000Z', '2026-01-02T00:00:00.000Z'],
      );
      await assert.rejects(keys.revoke(admin, mine.info.id), refusal('key_not_found', 'Key not found'));
      await assert.rejects(keys.revoke(admin, 'nothing'), refusal('key_not_found'));
    });

    it('holds before it is on disk, and also when it could not be written; then it can be asked for again', async () => {
      const { info, secret } = await keys.create(admin, agent);
      writer.failure = new Error('disk full');
      const revoking = keys.revoke(admin, info.id);
      const failed = assert.rejects(revoking, /disk full/);
      await undefined;
      assert.equal(keys.authenticate(secret!), undefined, 'while it is written');
      await failed;
      assert.equal(keys.authenticate(secret!), undefined);
      assert.equal(keys.live, 0);
      await keys.revoke(admin, info.id);
      const again = make();
      await again.load();
      assert.equal(again.authenticate(secret!), undefined);
      await assert.rejects(keys.revoke(admin, info.id), refusal('key_not_found'));
    });
  });

  describe('listing', () => {
    it('shows own live keys, and every key on record to admins who ask', async () => {
      const mine = await keys.create(admin, { ...agent, entity_uri: 'user:alice' });
      await keys.create(admin, { ...agent, entity_uri: 'user:alice', expires_at: '2026-01-02T00:00:00Z' });
      const revoked = await keys.create(admin, { ...agent, entity_uri: 'user:alice' });
      await keys.revoke(admin, revoked.info.id);
      await keys.create(admin, agent);
      time += 2 * DAY;
      const own = await keys.list(alice);
      assert.deepEqual(own, [mine.info]);
      assert.equal((await keys.list(admin, { all: true })).length, 4);
      assert.ok(!JSON.stringify(await keys.list(admin, { all: true })).includes('hash'));
      await assert.rejects(keys.list(alice, { all: true }), refusal('permission_denied'));
      assert.equal((await keys.list(ANONYMOUS, { all: true })).length, 4);
    });
  });

  describe('bootstrap', () => {
    it('makes an operator key that has every permission and does not expire', async () => {
      const { info, secret } = await keys.bootstrap({ entity_uri: 'agent:admin', description: 'made by init' });
      assert.equal(info.expires_at, null);
      assert.deepEqual(info.scopes, SCOPES);
      time += 1000 * DAY;
      assert.equal(keys.authenticate(secret)?.permissions.size, PERMISSIONS.length);
    });

    it('works again when the key was lost, even at the limit, and takes narrower wishes', async () => {
      const few = make({ maxKeys: 1 });
      await few.bootstrap({ entity_uri: 'agent:admin' });
      const second = await few.bootstrap({
        entity_uri: 'agent:admin',
        permissions: ['admin'],
        expires_at: '2026-02-01T00:00:00Z',
      });
      assert.deepEqual(second.info.permissions, ['admin']);
      assert.equal(second.info.expires_at, '2026-02-01T00:00:00.000Z');
    });
  });

  it('audits creation and revocation, without the secret', async () => {
    const { info, secret } = await keys.create(admin, agent);
    await keys.revoke(admin, info.id);
    await keys.bootstrap({ entity_uri: 'agent:admin' });
    assert.deepEqual(
      writer.events.map(({ type, who, detail }) => [type, who.entity, detail?.key]),
      [
        ['key_create', 'agent:admin', info.id],
        ['key_revoke', 'agent:admin', info.id],
        ['key_create', 'system:stigmesh', '00000000-0000-4000-8000-000000000002'],
      ],
    );
    assert.deepEqual(writer.events[0]?.detail, {
      key: info.id,
      entity_uri: 'agent:writer',
      permissions: ['read', 'write'],
      scopes: [...SCOPES],
      expires_at: '2026-04-01T00:00:00.000Z',
    });
    const written = JSON.stringify(writer.events.map(({ detail }) => detail));
    assert.ok(!written.includes(secret!) && !written.includes(createHash('sha256').update(secret!).digest('hex')));
  });
});

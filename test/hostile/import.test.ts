import assert from 'node:assert/strict';
import { generateKeyPairSync, type KeyObject, sign } from 'node:crypto';
import { canonicalBytes, formatHlc, type JsonObject, sha256, signedMessage } from '../../src/facts/index.ts';
import { peerIdFromPublicKey, rawPublicKey } from '../../src/identity/index.ts';
import { type RunningDaemon, startDaemon } from '../support/daemon.ts';
import { type Answered, aFact, complaints, footprint, refused, residentMiB, send } from './support.ts';

/** Another node, that signs whatever it is given. */
class Foreigner {
  readonly key: KeyObject = generateKeyPairSync('ed25519').privateKey;
  readonly peerId = peerIdFromPublicKey(rawPublicKey(this.key));
  #counter = 0;

  statement(changes: Readonly<Record<string, unknown>> = {}, body: Readonly<Record<string, unknown>> = {}): JsonObject {
    return {
      v: 1,
      kind: 'fact',
      origin: this.peerId,
      org: 'other.example',
      audience: 'company',
      hlc: formatHlc(Date.now(), this.#counter++ % 1000),
      timestamp: new Date().toISOString(),
      body: {
        entity: 'stigmem://other.example/user/bob',
        relation: 'memory:role',
        value: { type: 'string', v: `CEO ${this.#counter}` },
        source: 'stigmem://other.example/agent/hr',
        confidence: 1,
        scope: 'company',
        ...body,
      },
      ext: {},
      ...changes,
    } as JsonObject;
  }

  sign(statement: JsonObject): string {
    return sign(null, signedMessage(sha256(canonicalBytes(statement))), this.key).toString('base64url');
  }

  line(statement: JsonObject): string {
    return JSON.stringify({ sig: this.sign(statement), statement });
  }
}

const HEADERS = { 'content-type': 'application/x-ndjson' };

describe('hostile: import', () => {
  let daemon: RunningDaemon;
  const bob = new Foreigner();
  const load = (body: string | Buffer): Promise<Answered> =>
    send(daemon, { path: '/v1/import', body, headers: HEADERS });
  before(async () => {
    daemon = await startDaemon();
  });
  after(async () => {
    assert.deepEqual(complaints(daemon), []);
    await daemon.stop();
  });

  /** Each line is refused for its own reason, the good one between them is not. */
  async function sorted(cases: readonly (readonly [string | Buffer, string])[]): Promise<void> {
    const good = bob.line(bob.statement());
    const parts = [...cases.map(([line]) => line), good].flatMap((line) => [Buffer.from(line), Buffer.from('\n')]);
    const { status, json } = await load(Buffer.concat(parts));
    assert.equal(status, 200);
    assert.deepEqual(
      json.errors.map(({ line, code }: { line: number; code: string }) => [line, code]),
      cases.map(([, code], index) => [index + 1, code]),
    );
    assert.ok(json.errors.every(({ message }: { message: string }) => message !== '' && message.length < 400));
    assert.deepEqual([json.accepted, json.duplicates, json.rejected], [1, 0, cases.length]);
  }

  it('lines that are no lines of an export', async () => {
    const good = bob.statement();
    const sig = bob.sign(good);
    await sorted([
      ['{', 'json_invalid'],
      ['null', 'validation_failed'],
      ['[]', 'validation_failed'],
      ['{}', 'validation_failed'],
      [JSON.stringify({ sig, statement: 'x' }), 'validation_failed'],
      [JSON.stringify({ sig: 'short', statement: good }), 'validation_failed'],
      [JSON.stringify({ sig: `${sig}=`, statement: good }), 'validation_failed'],
      [`{"sig":"${sig}","sig":"${sig}","statement":{}}`, 'json_invalid'],
      [`{"sig":"${sig}","statement":{"__proto__":{}}}`, 'json_invalid'],
      [`{"sig":"${sig}","statement":{"a":"\\ud800"}}`, 'lone_surrogate'],
      [`{"sig":"${sig}","statement":${'{"a":'.repeat(40)}1${'}'.repeat(40)}}`, 'too_deep'],
      [`{"sig":"${sig}","statement":${'{"a":'.repeat(70)}1${'}'.repeat(70)}}`, 'json_invalid'],
      [Buffer.from([0xff, 0xfe, 0x00, 0x7b]), 'json_invalid'],
      ['\u0000\u0000', 'json_invalid'],
      ['a'.repeat(600 * 1024), 'statement_too_large'],
      [JSON.stringify({ sig, statement: { a: 'a'.repeat(200 * 1024) } }), 'statement_too_large'],
      [JSON.stringify({ sig, statement: {} }), 'invalid_statement'],
    ]);
  });

  it('fault 10: statements that are forged, damaged, or spelled otherwise', async () => {
    const good = bob.statement();
    const line = (changes: object, body: object = {}) => bob.line(bob.statement(changes as never, body as never));
    const eve = new Foreigner();
    const ours = (await send(daemon, { path: '/v1/status' })).json;
    const body = good.body as JsonObject;
    await sorted([
      [JSON.stringify({ sig: eve.sign(good), statement: good }), 'bad_signature'],
      [
        JSON.stringify({ sig: bob.sign(good), statement: { ...good, body: { ...body, confidence: 0 } } }),
        'bad_signature',
      ],
      [
        JSON.stringify({ sig: bob.sign(good), statement: { ...good, ext: { valid_until: '2030-01-01T00:00:00Z' } } }),
        'bad_signature',
      ],
      [JSON.stringify({ sig: bob.sign(good), statement: { ...good, origin: eve.peerId } }), 'bad_signature'],
      [JSON.stringify({ sig: 'A'.repeat(86), statement: good }), 'bad_signature'],
      [eve.line(bob.statement({ origin: ours.peer_id, org: ours.org })), 'bad_signature'],
      [line({ origin: `2${bob.peerId.slice(1)}` }), 'unknown_origin'],
      [line({ origin: 'x' }), 'invalid_statement'],
      [line({ org: 'Other.Example' }), 'invalid_statement'],
      [line({ org: '' }), 'invalid_statement'],
      [line({ v: 0 }), 'invalid_statement'],
      [line({ v: 1.5 }), 'invalid_statement'],
      [line({ kind: 'FACT' }), 'invalid_statement'],
      [line({ audience: 'public' }), 'invalid_statement'],
      [line({ audience: 'world' }), 'invalid_statement'],
      [line({ extra: 1 }), 'invalid_statement'],
      [line({}, { extra: 1 }), 'invalid_statement'],
      [line({ ext: { received_from: bob.peerId } }), 'invalid_ext'],
      [line({ ext: { supersedes: [] } }), 'not_canonical'],
      [line({ ext: { interpret_as: 'content' } }), 'not_canonical'],
      [line({ timestamp: 'now' }), 'invalid_timestamp'],
      [line({ timestamp: '2026-01-01T00:00:00+01:00' }), 'invalid_timestamp'],
      [line({}, { entity: 'STIGMEM://other.example/user/bob' }), 'not_canonical'],
      [line({}, { entity: ' ' }), 'invalid_entity_uri'],
      [line({}, { relation: 'memory:role ' }), 'not_canonical'],
      [line({}, { value: { type: 'number', v: '1' } }), 'invalid_value'],
      [line({}, { value: { type: 'string', v: 'a', extra: 1 } }), 'invalid_statement'],
      [line({}, { value: { type: 'text', v: 'a'.repeat(64 * 1024 + 1) } }), 'text_too_large'],
      [line({}, { confidence: 1.5 }), 'invalid_confidence'],
      [line({}, { entity: `stigmem:conflict:${'0'.repeat(32)}` }), 'reserved_entity'],
      [line({}, { entity: 'stigmem:resolution:x' }), 'reserved_entity'],
      [line({ kind: 'resolution' }), 'invalid_statement'],
    ]);
  });

  it('fault 31: clocks that are ahead, overflow, or are none', async () => {
    const before = (await send(daemon, { path: '/v1/status' })).json.hlc_ahead_ms;
    const line = (hlc: string) => bob.line(bob.statement({ hlc }));
    await sorted([
      [line(formatHlc(Date.now() + 24 * 3600_000, 0)), 'hlc_ahead'],
      [line(formatHlc(Date.now() + 120_000, 0)), 'hlc_ahead'],
      [line('9999999999999.999'), 'hlc_ahead'],
      [line('99999999999999.000'), 'invalid_hlc'],
      [line(`${Date.now()}.1000`), 'invalid_hlc'],
      [line(`${Date.now()}.-01`), 'invalid_hlc'],
      [line(`${Date.now()}`), 'invalid_hlc'],
      [line('1e12'), 'invalid_hlc'],
      [line(''), 'invalid_hlc'],
    ]);
    const { hlc_ahead_ms: ahead, hlc } = (await send(daemon, { path: '/v1/status' })).json;
    assert.ok(ahead - before < 5000 && Number(hlc.slice(0, 13)) < Date.now() + 5000, `the clock is ${ahead} ms ahead`);
    // The last reading of a millisecond is good, and what is written next sorts after it.
    const full = formatHlc(Date.now() + 1000, 999);
    assert.equal((await load(line(full))).json.accepted, 1);
    const { json } = await send(daemon, { path: '/v1/facts', body: aFact({ entity: 'user:later' }) });
    assert.ok(json.hlc > full && /^\d{13}\.\d{3}$/.test(json.hlc));
  });

  it('fault 34: what was stated long ago is admitted as history and moves no clock', async () => {
    const { hlc } = (await send(daemon, { path: '/v1/status' })).json;
    const old = bob.statement({ hlc: formatHlc(1, 0), timestamp: '1970-01-01T00:00:00.001Z' });
    assert.equal((await load(bob.line(old))).json.accepted, 1);
    assert.equal((await send(daemon, { path: '/v1/status' })).json.hlc, hlc);
  });

  it('fault 17: the same again is a duplicate and writes nothing', async () => {
    const line = bob.line(bob.statement());
    assert.equal((await load(line)).json.accepted, 1);
    const before = await footprint(daemon);
    const again = (await load(`${line}\n${line}\r\n\n\n${line}`)).json;
    assert.deepEqual([again.accepted, again.duplicates, again.rejected], [0, 3, 0]);
    assert.equal(await footprint(daemon), before);
  });

  it('fault 13: kinds and versions nobody knows are kept as they are and shown to nobody', async () => {
    const future = [
      bob.statement({ kind: 'tombstone', body: { a: [1, { b: null }] } }),
      bob.statement({ v: 2, body: 'anything' }),
      bob.statement({ v: 9e15, kind: 'x' }),
    ];
    const before = (await send(daemon, { path: '/v1/status' })).json;
    const { json } = await load(future.map((statement) => bob.line(statement)).join('\n'));
    assert.deepEqual([json.accepted, json.rejected], [3, 0]);
    const after = (await send(daemon, { path: '/v1/status' })).json;
    assert.deepEqual([after.statements - before.statements, after.facts - before.facts], [3, 0]);
    assert.equal((await send(daemon, { path: '/v1/facts?include=history&limit=500' })).status, 200);
    assert.equal((await send(daemon, { path: '/v1/conflicts' })).status, 200);
    const { text: exported } = await send(daemon, { path: '/v1/export' });
    for (const statement of future) assert.ok(exported.includes(`"sig":"${bob.sign(statement)}"`));
    // What cannot be placed is still checked: its form, its signature, its size.
    const forged = { ...future[0], body: { a: 2 } } as JsonObject;
    assert.equal(
      (await load(JSON.stringify({ sig: bob.sign(future[0]!), statement: forged }))).json.errors[0].code,
      'bad_signature',
    );
  });

  it('fault 37: what another organisation retracts, supersedes or lets expire stays', async () => {
    const { json: mine } = await send(daemon, {
      path: '/v1/facts',
      body: aFact({ entity: 'user:mine', scope: 'company' }),
    });
    const { entity, relation, value, source, scope } = mine;
    const claim = { entity, relation, source, scope, value: { type: value.type, v: value.v } };
    const lines = [
      bob.line(bob.statement({}, { ...claim, confidence: 0 })),
      bob.line(bob.statement({ ext: { supersedes: [mine.id] } })),
      bob.line(
        bob.statement({}, { entity: `fact:${mine.id}`, relation: 'stigmem:ttl', value: { type: 'number', v: 0 } }),
      ),
      bob.line(
        bob.statement({}, { entity: `fact:${mine.id}`, relation: 'stigmem:ttl', value: { type: 'number', v: 1e300 } }),
      ),
      bob.line(
        bob.statement(
          {},
          { entity: `relation:${relation}`, relation: 'stigmem:cardinality', value: { type: 'string', v: 'many' } },
        ),
      ),
    ];
    assert.equal((await load(lines.join('\n'))).json.accepted, lines.length);
    const { json: still } = await send(daemon, { path: `/v1/facts/${mine.id}` });
    assert.ok(['current', 'losing'].includes(still.state), still.state);
    assert.equal(still.valid_until, null);
    const theirsAt = '/v1/facts?entity=stigmem://other.example/user/bob&limit=1';
    // Nobody here is paired with them: what they say waits in quarantine.
    assert.deepEqual((await send(daemon, { path: theirsAt })).json.facts, []);
    const [theirs] = (await send(daemon, { path: `${theirsAt}&include=quarantined` })).json.facts;
    await refused(daemon, 'foreign_supersedes', {
      path: '/v1/facts',
      body: aFact({ scope: 'company', supersedes: [theirs.id] }),
    });
  });

  it('other bodies are refused, and empty ones are empty', async () => {
    await refused(daemon, 'unsupported_media_type', { path: '/v1/import', body: '{}' });
    await refused(daemon, 'unsupported_media_type', {
      path: '/v1/import',
      body: '{}',
      headers: { ...HEADERS, 'content-encoding': 'gzip' },
    });
    for (const body of ['', '\n', '\r\n\r\n\n']) {
      const { status, json } = await send(daemon, { method: 'POST', path: '/v1/import', body, headers: HEADERS });
      assert.deepEqual([status, json?.accepted, json?.rejected], [200, 0, 0], JSON.stringify(body));
    }
  });

  it('twenty megabytes of garbage cost their reading, and are reported in a hundred lines', async () => {
    const before = residentMiB(daemon);
    const stored = await footprint(daemon);
    const noise = Buffer.from(Array.from({ length: 1024 * 1024 }, (_, i) => (i * 2654435761) >>> 24));
    const { json } = await load(Buffer.concat([...Array(19).fill(noise), Buffer.alloc(1024 * 1024)]));
    assert.equal(json.accepted, 0);
    assert.equal(json.errors.length, Math.min(json.rejected, 100));
    assert.equal(json.errors_truncated, json.rejected > 100);
    assert.equal(await footprint(daemon), stored);
    const after = residentMiB(daemon);
    if (before !== undefined && after !== undefined)
      assert.ok(after - before < 100, `${before} MiB, then ${after} MiB`);
  });
});

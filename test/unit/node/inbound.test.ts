import assert from 'node:assert/strict';
import {
  canonicalBytes,
  type JsonObject,
  type JsonValue,
  sha256,
  statementId,
  valueDigest,
} from '../../../src/facts/index.ts';
import { createManifest, renewed } from '../../../src/identity/manifest-edit.ts';
import { NodeError } from '../../../src/node/errors.ts';
import type { WireStatement } from '../../../src/node/federation.ts';
import type { FactQuery } from '../../../src/node/types.ts';
import {
  admitPeer,
  at,
  codes,
  give,
  OPEN_TERMS,
  type OrgNode,
  openOrgNode,
  PUBLIC_TERMS,
  pair,
  Signer,
  send,
  shared,
} from '../../support/node-pair.ts';
import { fact, openTestNode, TestClock, who } from '../../support/test-node.ts';

const query = async (t: OrgNode, more: Partial<FactQuery> = {}) =>
  (await t.node.facts.query(who, { limit: 100, ...more })).facts;
const values = async (t: OrgNode, more: Partial<FactQuery> = {}): Promise<unknown[]> =>
  (await query(t, { relation: 'memory:role', ...more })).map(({ statement }) => statement.body.value.v);
const audits = async (t: OrgNode, type: string) => (await t.node.audit.list(who, { type, limit: 100 })).entries;

/** The statement with one member changed, signature as it was. */
function altered(wire: WireStatement, change: (json: Record<string, JsonValue>) => void): WireStatement {
  const json = JSON.parse(Buffer.from(wire.bytes).toString()) as Record<string, JsonValue>;
  change(json);
  return { bytes: canonicalBytes(json as JsonObject), sig: wire.sig };
}

describe('inbound: what peers send', () => {
  let clock: TestClock;
  let acme: OrgNode;
  let beta: Signer;

  beforeEach(async () => {
    clock = new TestClock();
    acme = await openOrgNode('acme.example', { clock });
    beta = new Signer('beta.example', clock.now);
    await admitPeer(acme, beta);
  });

  const from = (statements: readonly WireStatement[]) => send(acme, beta.peerId, statements);

  it('is committed once it passed, with who sent it, and told to whoever follows the sets', async () => {
    const told: unknown[] = [];
    acme.node.sets.on((commits) => told.push(...commits.map(({ set, receivedFrom }) => [set.name, receivedFrom])));
    const wire = beta.fact(at(clock), { scope: 'company' });
    const [outcome] = await from([wire]);
    assert.deepEqual(outcome, { status: 'accepted', digest: sha256(wire.bytes) });
    const [stored] = await query(acme);
    assert.equal(stored!.id, statementId(sha256(wire.bytes)));
    assert.deepEqual([stored!.receivedFrom, stored!.sourceRevoked, stored!.state], [beta.peerId, false, 'current']);
    assert.deepEqual(stored!.signature, wire.sig);
    assert.deepEqual(told, [['company/beta.example/memory', beta.peerId]]);
    const [entry] = await audits(acme, 'fact_write');
    assert.equal(entry!.principal, `peer:${beta.peerId}`);
    const again = await acme.reopen();
    await again.sets.ready;
    assert.equal(again.sets.get('company/beta.example/memory')!.index.count, 1);
  });

  it('fault 17: a replay changes nothing: no event, no sequence number, no audit entry', async () => {
    const wire = beta.fact(at(clock));
    await from([wire]);
    const { seq, auditSeq } = acme.node.figures();
    let commits = 0;
    acme.node.sets.on(() => commits++);
    assert.deepEqual(codes(await from([wire, wire])), ['duplicate', 'duplicate']);
    assert.deepEqual(codes(await from([wire])), ['duplicate']);
    const after = acme.node.figures();
    assert.deepEqual([after.seq, after.auditSeq, commits], [seq, auditSeq, 0]);
    // Also within one batch, and long after.
    const other = beta.fact(at(clock, 1));
    assert.deepEqual(codes(await from([other, other])), ['accepted', 'duplicate']);
    clock.advance(400 * 24 * 60 * 60 * 1000);
    assert.deepEqual(codes(await from([wire])), ['duplicate'], 'a replay costs no look at a manifest that has expired');
  });

  it('fault 9: a bit flipped on the way is noticed, refused, and nothing of it is stored', async () => {
    const wire = beta.fact(at(clock), { value: { type: 'string', v: 'CEO' } });
    const text = Buffer.from(wire.bytes).toString();
    const flips = ['CEO', '"confidence":1', 'bob', '"v":1', 'public'].map(
      (part) => text.indexOf(part) + part.length - 1,
    );
    for (const byte of flips) {
      const bytes = Buffer.from(wire.bytes);
      bytes[byte]! ^= 1;
      const [outcome] = await from([{ bytes, sig: wire.sig }]);
      assert.ok(outcome?.status === 'refused' && !outcome.retryable);
    }
    const sig = Buffer.from(wire.sig);
    sig[0]! ^= 1;
    assert.deepEqual(codes(await from([{ bytes: wire.bytes, sig }])), ['bad_signature']);
    assert.deepEqual(await query(acme, { include: ['history', 'quarantined'] }), []);
    assert.ok(Object.values(acme.node.inbound.refused(beta.peerId)).reduce((a, b) => a + b) === flips.length + 1);
    assert.deepEqual(codes(await from([wire])), ['accepted'], 'the honest one comes in all the same');
  });

  it('fault 10: a bad signature, the signature of somebody else, and a claim in another name are refused and audited', async () => {
    const carol = new Signer('carol.example', clock.now);
    const honest = beta.fact(at(clock));
    const cases: [string, WireStatement, string][] = [
      ['bad signature', { bytes: honest.bytes, sig: new Uint8Array(64) }, 'bad_signature'],
      ['short signature', { bytes: honest.bytes, sig: honest.sig.subarray(0, 63) }, 'bad_signature'],
      ['signed by another org', { bytes: honest.bytes, sig: carol.fact(at(clock)).sig }, 'bad_signature'],
      ['origin of another org', beta.fact(at(clock), {}, {}, { origin: carol.peerId }), 'not_owner'],
      ['entity of another org', beta.fact(at(clock), { entity: 'stigmem://acme.example/user/alice' }), 'not_owner'],
      ['source of another org', beta.fact(at(clock), { source: 'stigmem://acme.example/agent/hr' }), 'not_owner'],
    ];
    for (const [what, wire, code] of cases) assert.deepEqual(codes(await from([wire])), [code], what);
    assert.deepEqual(await query(acme, { include: ['quarantined'] }), []);
    const entries = await audits(acme, 'statement_refused');
    assert.deepEqual(new Set(entries.map(({ detail }) => detail!.code)), new Set(['bad_signature', 'not_owner']));
    assert.equal(entries[0]!.detail!.peer_id, beta.peerId);
    // A denial is an opinion, and an informal name is the speaker's own.
    const opinion = beta.fact(at(clock, 1), { entity: 'stigmem://acme.example/user/alice', confidence: 0 });
    const informal = beta.fact(at(clock, 2), { entity: 'user:alice', source: 'agent:hr' });
    assert.deepEqual(codes(await from([opinion, informal])), ['accepted', 'accepted']);
  });

  it('fault 10: a node speaks in the namespaces its organisation gave it, and in no others', async () => {
    const sales = new Signer('gamma.example', clock.now, { namespaces: ['sales.gamma.example'] });
    await admitPeer(acme, sales);
    const say = (body: Parameters<Signer['fact']>[1]) => send(acme, sales.peerId, [sales.fact(at(clock), body)]);
    const source = 'stigmem://sales.gamma.example/agent/a';
    const entity = 'stigmem://sales.gamma.example/user/x';
    assert.deepEqual(codes(await say({ source, entity })), ['accepted']);
    assert.deepEqual(codes(await say({ source, entity: 'stigmem://eu.sales.gamma.example/user/x' })), ['accepted']);
    assert.deepEqual(codes(await say({ source, entity: 'stigmem://gamma.example/user/x' })), ['not_owner']);
    assert.deepEqual(codes(await say({ source: 'stigmem://gamma.example/agent/a', entity })), ['not_owner']);
    assert.deepEqual(codes(await say({ source: 'stigmem://xsales.gamma.example/agent/a', entity })), ['not_owner']);
    const denial = { source, entity: 'stigmem://gamma.example/user/x', confidence: 0 };
    assert.deepEqual(codes(await say(denial)), ['accepted'], 'a denial is an opinion');
    const judged = (name: string, ms: number): WireStatement =>
      sales.resolution(at(clock, ms), {
        conflict: `stigmem:conflict:${'0'.repeat(32)}`,
        entity: 'stigmem://gamma.example/user/x',
        relation: 'memory:role',
        scope: 'public',
        source: name,
        verdict: 'both_valid',
        sides: ['CEO', 'CTO'].map((v) => valueDigest({ type: 'string', v })).sort(),
        winner: null,
        winning_fact: null,
        note: '',
      });
    const judgements = [judged(source, 1), judged('stigmem://gamma.example/agent/a', 2)];
    assert.deepEqual(codes(await send(acme, sales.peerId, judgements)), ['accepted', 'not_owner']);
  });

  it('fault 10: so does this node itself; names of others it may use at home', async () => {
    const { authority } = acme.org;
    const signing = { orgKey: acme.org.key, now: clock.ms };
    const node = { peerId: acme.peerId, namespaces: [`sales.${authority}`] };
    const manifest = renewed(createManifest({ authority, ...node }, signing), signing);
    await acme.node.manifests.publish(who, manifest);
    const say = (source: string, entity: string) =>
      acme.node.facts.assert(who, fact({ source: `stigmem://${source}`, entity: `stigmem://${entity}` }));
    const refused = (error: unknown): boolean => error instanceof NodeError && error.code === 'not_owner';
    await assert.rejects(say('acme.example/agent/a', 'sales.acme.example/user/x'), refused);
    await assert.rejects(say('sales.acme.example/agent/a', 'acme.example/user/x'), refused);
    await say('sales.acme.example/agent/a', 'sales.acme.example/user/x');
    await say('sales.acme.example/agent/a', 'beta.example/user/x');
  });

  it('fault 11: another encoding of the same statement is refused, whoever signed it', async () => {
    const wire = beta.fact(at(clock), { value: { type: 'number', v: 1 } });
    const text = Buffer.from(wire.bytes).toString();
    const spellings = [
      text.replace('"v":1}', '"v":1.0}'),
      text.replace('"v":1}', '"v":1e0}'),
      ` ${text}`,
      text.replace('{"audience":"public",', '{').replace(/}$/, ',"audience":"public"}'),
      text.replace('"kind":"fact"', '"kind":"fact","kind":"fact"'),
      text.replace('bob', '\\u0062ob'),
    ];
    for (const spelling of spellings) {
      assert.notEqual(spelling, text);
      const bytes = Buffer.from(spelling);
      assert.deepEqual(codes(await from([{ bytes, sig: wire.sig }])), ['not_canonical'], spelling.slice(0, 80));
    }
  });

  it('fault 12: no relay can alter or add anything that means something', async () => {
    const wire = beta.fact(at(clock), {}, { valid_until: '2027-01-01T00:00:00Z' });
    const changes: ((json: Record<string, JsonValue>) => void)[] = [
      (json) => ((json.ext as Record<string, JsonValue>).valid_until = '2099-01-01T00:00:00Z'),
      (json) => ((json.ext as Record<string, JsonValue>).basis = 'observed'),
      (json) => ((json.body as Record<string, JsonValue>).confidence = 0.5),
      (json) => (json.hlc = at(clock, 5)),
    ];
    for (const change of changes) assert.deepEqual(codes(await from([altered(wire, change)])), ['bad_signature']);
    assert.deepEqual(codes(await from([altered(wire, (json) => (json.trust = 1))])), ['invalid_statement']);
  });

  it('fault 13: a kind or version from the future is kept, not shown, and passed on unchanged', async () => {
    const future = altered(beta.fact(at(clock)), (json) => {
      json.v = 7;
      json.kind = 'dream';
      json.body = { anything: ['goes', 1] };
      json.surprise = true;
    });
    const wire = beta.sign({ ...JSON.parse(Buffer.from(future.bytes).toString()) });
    assert.deepEqual(codes(await from([wire])), ['accepted']);
    assert.deepEqual(await query(acme, { include: ['history', 'quarantined'] }), []);
    const dora = new Signer('dora.example', clock.now);
    const pairing = await admitPeer(acme, dora);
    const passed = (await shared(acme.node, pairing)).find(({ bytes }) => Buffer.from(bytes).includes('dream'));
    assert.deepEqual(
      [Buffer.from(passed!.bytes), Buffer.from(passed!.sig)],
      [Buffer.from(wire.bytes), Buffer.from(wire.sig)],
    );
    // Not signed by who it says, it is nothing.
    assert.deepEqual(codes(await from([altered(wire, (json) => (json.surprise = false))])), ['bad_signature']);
  });

  it('fault 15: what was not granted, by scope, topic or direction, is refused, audited, and a gossip carries nothing but public', async () => {
    await acme.node.peers.update(who, beta.peerId, { takes: ['public'], namespaces: ['roadmap'] });
    const roadmap = { relation: 'roadmap:next' };
    const cases: [Parameters<Signer['fact']>[1], string][] = [
      [{ scope: 'company', ...roadmap }, 'scope_violation'],
      [{ scope: 'team', ...roadmap }, 'scope_violation'],
      [{ scope: 'local', ...roadmap }, 'scope_violation'],
      [{ scope: 'company', ...roadmap, entity: 'stigmem://acme.example/user/alice' }, 'scope_violation'],
      [{ scope: 'public' }, 'scope_violation'],
      [{ scope: 'public', relation: 'bare' }, 'scope_violation'],
      [{ scope: 'public', ...roadmap }, 'accepted'],
    ];
    for (const [body, code] of cases) {
      assert.deepEqual(codes(await from([beta.fact(at(clock), body)])), [code], JSON.stringify(body));
    }
    const garden = beta.fact(at(clock, 1), roadmap, { garden_id: 'stigmem://beta.example/garden/lab' });
    const [refused] = await from([garden]);
    assert.deepEqual(codes([refused!]), ['scope_violation']);
    assert.deepEqual(refused!.digest, sha256(garden.bytes));
    assert.equal(acme.node.inbound.refused(beta.peerId).scope_violation, 7);
    const [entry] = await audits(acme, 'statement_refused');
    assert.deepEqual([entry!.detail!.code, entry!.detail!.peer_id], ['scope_violation', beta.peerId]);

    await acme.node.peers.update(who, beta.peerId, { takes: ['company', 'public'], namespaces: null });
    const pairing = acme.node.peers.pairing(beta.peerId)!;
    const company = beta.fact(at(clock, 2), { scope: 'company' });
    const byGossip = await acme.node.inbound.admit({ peerId: beta.peerId, pairing, only: 'public' }, [company]);
    assert.deepEqual(codes(byGossip), ['scope_violation']);
    assert.deepEqual(codes(await from([company])), ['accepted']);
  });

  it('fault 16: what is local is asked for in vain, exactly as what does not exist', async () => {
    const { fact: secret } = await acme.node.facts.assert(who, fact({ scope: 'local', v: 'secret' }));
    const { fact: team } = await acme.node.facts.assert(who, fact({ scope: 'team', v: 'team' }));
    const { fact: open } = await acme.node.facts.assert(who, fact({ scope: 'public', v: 'open' }));
    const pairing = acme.node.peers.pairing(beta.peerId)!;
    const digestOf = async (id: string): Promise<Uint8Array> => {
      for await (const one of acme.node.transfer.exportStatements(who)) if (one.id === id) return sha256(one.bytes);
      throw new Error('not exported');
    };
    const digests = [await digestOf(secret.id), await digestOf(team.id), sha256('nothing'), await digestOf(open.id)];
    const found = await acme.node.sets.read(pairing, digests);
    assert.deepEqual(found.slice(0, 3), [undefined, undefined, undefined]);
    assert.equal(sha256(found[3]!.bytes).toString(), digests[3]!.toString());
    const names = acme.node.sets.list(pairing).map(({ set }) => set.name);
    assert.deepEqual(names, ['public/acme.example/memory', 'public/acme.example/stigmem']);
    const all = await shared(acme.node, pairing);
    assert.ok(
      all.every(({ bytes }) => !Buffer.from(bytes).includes('secret') && !Buffer.from(bytes).includes('"team"')),
    );
    // Nor does sending it to us tell whether we have it.
    const secretBytes: WireStatement[] = [];
    for await (const one of acme.node.transfer.exportStatements(who)) if (one.id === secret.id) secretBytes.push(one);
    const strange = beta.fact(at(clock), { scope: 'local' });
    assert.deepEqual(codes(await from([...secretBytes, strange])), ['scope_violation', 'scope_violation']);
  });

  it('fault 31: a clock a day ahead is refused, does not drag ours, and is warned of', async () => {
    const day = 24 * 60 * 60 * 1000;
    const before = (await acme.node.status()).hlc!;
    const outcomes = await from([
      beta.fact(at(clock, day)),
      beta.fact(at(clock, 60_001)),
      beta.fact(at(clock, 60_000)),
      beta.fact(at(clock, 30_000)),
    ]);
    assert.deepEqual(codes(outcomes), ['hlc_ahead', 'hlc_ahead', 'accepted', 'accepted']);
    assert.equal(outcomes[0]!.status === 'refused' && outcomes[0]!.retryable, true);
    const { hlc, warnings } = await acme.node.status();
    assert.ok(hlc! > before && hlc! <= at(clock, 30_000, 999), 'pushed by what is followed alone');
    assert.ok(warnings.some((text) => text.includes(beta.peerId) && text.includes('ahead')));
    const refused = (await audits(acme, 'statement_refused')).find(({ detail }) => detail!.code === 'hlc_ahead');
    assert.equal(refused!.detail!.count, 2);
    clock.advance(day);
    assert.deepEqual(codes(await from([beta.fact(at(clock, 0))])), ['accepted']);
  });

  it('fault 37: a peer that retracts or resolves what it does not own says its opinion, and hides nothing', async () => {
    const dora = new Signer('dora.example', clock.now);
    await admitPeer(acme, dora);
    const { fact: ours } = await acme.node.facts.assert(who, fact({ v: 'CEO', entity: 'user:alice' }));
    const zero = beta.fact(at(clock, 1), {
      scope: 'company',
      entity: 'user:alice',
      confidence: 0,
      value: { type: 'string', v: 'CEO' },
    });
    assert.deepEqual(codes(await from([zero])), ['accepted']);
    assert.deepEqual(await values(acme), ['CEO']);
    const [conflict] = (await acme.node.conflicts.list(who, { limit: 10 })).conflicts;
    assert.deepEqual(
      [conflict!.status, conflict!.factB.id === ours.id || conflict!.factA.id === ours.id],
      ['unresolved', true],
    );

    // Another value, and a judgement that it wins.
    const other = dora.fact(at(clock, 2), {
      scope: 'company',
      entity: 'user:alice',
      value: { type: 'string', v: 'CTO' },
      confidence: 0.5,
    });
    assert.deepEqual(codes(await send(acme, dora.peerId, [other])), ['accepted']);
    const winner = valueDigest({ type: 'string', v: 'CTO' });
    const judgement = dora.resolution(at(clock, 3), {
      conflict: conflict!.id,
      entity: 'user:alice',
      relation: 'memory:role',
      scope: 'company',
      source: 'stigmem://dora.example/agent/judge',
      verdict: 'winner',
      sides: [winner, valueDigest({ type: 'string', v: 'CEO' })].sort(),
      winner,
      winning_fact: statementId(sha256(other.bytes)),
      note: 'we know better',
    });
    assert.deepEqual(codes(await send(acme, dora.peerId, [judgement])), ['accepted']);
    assert.deepEqual(await values(acme), ['CEO']);
    // Trusted by configuration, it applies; and not any more when that is taken back.
    const trusting = await acme.reopen({ trustedResolvers: ['dora.example'] });
    await trusting.sets.ready;
    await trusting.settled();
    const shown = async (node: typeof trusting) =>
      (await node.facts.query(who, { limit: 9, relation: 'memory:role' })).facts;
    assert.deepEqual(
      (await shown(trusting)).map(({ statement }) => statement.body.value.v),
      ['CTO'],
    );
    await trusting.stop();
    const again = await acme.reopen();
    await again.settled();
    assert.deepEqual(
      (await shown(again)).map(({ statement }) => statement.body.value.v),
      ['CEO'],
    );
  });

  it('refuses what it cannot judge yet, retryable, and takes it once the manifest is known', async () => {
    const stranger = new Signer('stranger.example', clock.now);
    const wire = stranger.fact(at(clock));
    const [outcome] = await from([wire]);
    assert.ok(outcome?.status === 'refused' && outcome.code === 'unknown_org' && outcome.retryable);
    assert.deepEqual(codes(await from([wire, stranger.manifest(at(clock, 1))])), ['accepted', 'accepted']);
  });

  it('believes nobody in our name before our own manifest is known, but for what this node signed', async () => {
    const own = new Signer('acme.example', clock.now);
    const bare = await openTestNode({ clock, nodeKey: own.key, peerId: own.peerId });
    const pairing = { org: 'acme.example', peerOrg: 'beta.example', ours: OPEN_TERMS, theirs: OPEN_TERMS };
    const said = [
      own.fact(at(clock)),
      new Signer('acme.example', clock.now).fact(at(clock)),
      own.fact(at(clock, 1), { entity: 'user:x', source: 'agent:x' }, {}, { org: 'third.example' }),
    ];
    const outcomes = await bare.node.inbound.admit({ peerId: beta.peerId, pairing }, said);
    assert.deepEqual(codes(outcomes), ['accepted', 'unknown_org', 'unknown_org']);
  });

  it('fault 10: a batch that revokes a key brings nothing that was signed with it later', async () => {
    const second = new Signer('beta.example', clock.now);
    await acme.node.manifests.accept(who, beta.org.add({ peerId: second.peerId }), { pin: true });
    beta.org.revoke(second.peerId, at(clock, 3));
    const said = [3, 4].map((ms) => second.fact(at(clock, ms), { entity: `user:u${ms}` }));
    const outcomes = await from([...said, beta.manifest(at(clock, 5))]);
    assert.deepEqual(codes(outcomes), ['accepted', 'key_revoked', 'accepted']);
  });

  it('takes nothing once the manifest has expired, until it is renewed', async () => {
    clock.advance(366 * 24 * 60 * 60 * 1000);
    const wire = beta.fact(at(clock));
    const [outcome] = await from([wire]);
    assert.ok(outcome?.status === 'refused' && outcome.code === 'manifest_expired' && outcome.retryable);
    beta.org.add({ peerId: new Signer('x.example', clock.now).peerId });
    assert.deepEqual(codes(await from([beta.manifest(at(clock, 1)), wire])), ['accepted', 'accepted']);
  });

  it('writes one audit entry a minute for each kind of refusal, with the count, whatever floods in', async () => {
    const forged = (n: number): WireStatement => ({ bytes: beta.fact(at(clock, 0, n)).bytes, sig: new Uint8Array(64) });
    for (let round = 0; round < 5; round++) await from(Array.from({ length: 20 }, (_, n) => forged(n)));
    let entries = await audits(acme, 'statement_refused');
    assert.deepEqual(
      entries.map(({ detail }) => detail!.count),
      [20],
    );
    clock.advance(60_000);
    acme.tick();
    await acme.node.settled();
    entries = await audits(acme, 'statement_refused');
    assert.deepEqual(
      entries.map(({ detail }) => detail!.count),
      [80, 20],
    );
    assert.equal(acme.node.inbound.refused(beta.peerId).bad_signature, 100);
  });
});

describe('inbound: three organisations', () => {
  it('fault 30: what A shares with B does not reach C through B, but for what A made public', async () => {
    const clock = new TestClock();
    const [a, b, c] = await Promise.all(['a', 'b', 'c'].map((name) => openOrgNode(`${name}.example`, { clock })));
    await pair(a!, b!);
    await pair(b!, c!);
    const mine = { entity: 'stigmem://a.example/user/alice', source: 'stigmem://a.example/agent/hr' };
    await a!.node.facts.assert(who, fact({ ...mine, v: 'for partners', scope: 'company' }));
    await a!.node.facts.assert(who, fact({ ...mine, v: 'for all', scope: 'public' }));
    await a!.node.facts.assert(who, fact({ ...mine, v: 'for us', scope: 'team' }));
    await give(a!, b!);
    assert.deepEqual((await values(b!)).sort(), ['for all', 'for partners']);
    const outcomes = await give(b!, c!);
    assert.ok(outcomes.every(({ status }) => status === 'accepted'));
    // C knows A by A's own manifest, which came along, and has no pairing with A.
    assert.deepEqual(await values(c!), []);
    assert.deepEqual(await values(c!, { include: ['quarantined'] }), ['for all']);
    // And B cannot push it on: C refuses what was not for C.
    const pairing = c!.node.peers.pairing(b!.peerId)!;
    const held = await shared(b!.node, b!.node.peers.pairing(a!.peerId)!);
    const company = held.filter(({ bytes }) => Buffer.from(bytes).includes('for partners'));
    assert.deepEqual(codes(await c!.node.inbound.admit({ peerId: b!.peerId, pairing }, company)), ['scope_violation']);
  });

  it('two nodes of two organisations hold the same after exchanging, whoever begins', async () => {
    const clock = new TestClock();
    const a = await openOrgNode('a.example', { clock });
    const b = await openOrgNode('b.example', { clock });
    await pair(a, b, { b: PUBLIC_TERMS });
    for (const [t, v] of [
      [a, 'from a'],
      [b, 'from b'],
    ] as const) {
      const { authority } = t.org;
      await t.node.facts.assert(
        who,
        fact({ v, scope: 'public', entity: 'user:alice', source: `stigmem://${authority}/agent/x` }),
      );
    }
    await give(a, b);
    await give(b, a);
    await give(a, b);
    const shown = async (t: OrgNode) =>
      (await query(t, { include: ['history'] })).map(({ id, state, contradicted }) => [id, state, contradicted]);
    assert.deepEqual(await shown(a), await shown(b));
    assert.equal((await shown(a)).length, 2);
    assert.deepEqual(
      codes(await give(b, a)).filter((code) => code !== 'duplicate'),
      [],
    );
  });
});

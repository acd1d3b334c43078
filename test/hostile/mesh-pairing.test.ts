import assert from 'node:assert/strict';
import { randomBytes } from 'node:crypto';
import { canonicalBytes, type JsonObject, parseCid } from '../../src/facts/index.ts';
import { decodeInvite } from '../../src/identity/invite.ts';
import { withoutNode } from '../../src/identity/manifest-edit.ts';
import { hashSecret } from '../../src/identity/proof.ts';
import { DECLARE, type Introduction } from '../../src/mesh/declare.ts';
import { encodeFetchRequest, FETCH } from '../../src/mesh/fetch.ts';
import { encodePushBlock } from '../../src/mesh/push-frames.ts';
import { SYSTEM } from '../../src/policy/principal.ts';
import { Rogue } from '../support/hostile/rogue.ts';
import { SHARED, Victim } from '../support/hostile/victim.ts';
import { realWorld } from '../support/transport.ts';
import { until } from '../support/until.ts';

describe('mesh: who is not who they say, and who is not wanted any more', function () {
  this.timeout(180_000);
  let acme: Victim;
  let rogue: Rogue;
  /** By how much the clock of acme is fast, ms. */
  let ahead: number;

  beforeEach(async () => {
    ahead = 0;
    acme = await Victim.start({ name: 'acme', world: { ...realWorld, now: () => Date.now() + ahead } });
    rogue = await Rogue.start({ org: 'rogue.example' });
  });
  afterEach(async () => {
    await rogue.stop();
    await acme.stop();
  });

  const refusal = async (declaring: ReturnType<Rogue['declare']>): Promise<string> => {
    const answer = await declaring;
    assert.equal(answer.status, 'refused');
    return answer.status === 'refused' ? answer.code : '';
  };

  it('fault 2: an invite works once, and not after its time; both are on record', async () => {
    const invite = await acme.invite();
    assert.equal((await rogue.declare(acme, { invite })).status, 'active');
    const second = await Rogue.start({ org: 'second.example' });
    try {
      assert.equal(await refusal(second.declare(acme, { invite })), 'invite_spent');
      const short = await acme.invite({ expiresIn: 1 });
      ahead += 1000;
      assert.equal(await refusal(second.declare(acme, { invite: short })), 'invite_expired');
      await until(async () => (await acme.audited('invite_refused')).size === 2, 'both are audited');
      assert.deepEqual(await acme.audited('invite_refused'), new Set(['invite_spent', 'invite_expired']));
      assert.equal(acme.node.peers.get(second.peerId)?.approved ?? false, false);
    } finally {
      await second.stop();
    }
  });

  it('fault 3: of a stolen invite the inviter sees who used it, cuts it off, and the real invitee fails loudly', async () => {
    const invite = await acme.invite();
    assert.equal((await rogue.declare(acme, { invite })).status, 'active');
    await until(() => acme.isActive(rogue.peerId), 'the thief is in');
    const event = acme.events.find(({ type, peerId }) => type === 'peer.connected' && peerId === rogue.peerId);
    assert.equal(event?.org, 'rogue.example');
    const [used] = await acme.audit('invite_used');
    assert.equal(used?.detail?.peer_id, rogue.peerId);
    const invitee = await Victim.start({ name: 'invitee' });
    try {
      const joining = invitee.mesh.federation.join(SYSTEM, { invite, ...SHARED, allowPrivate: true });
      await assert.rejects(joining, { code: 'invite_spent' });
      await acme.mesh.federation.remove(SYSTEM, rogue.peerId);
      assert.ok(!acme.isActive(rogue.peerId), 'the thief gets nothing more');
      await until(() => !rogue.isConnected(acme), 'the thief is out');
      await assert.rejects(rogue.declare(acme, { invite }), 'and does not come back with it');
    } finally {
      await invitee.stop();
    }
  });

  it('fault 4: a proof that a man in the middle had made for itself proves nothing to the inviter', async () => {
    // The rogue stands between: an honest joiner proves its secret to the rogue's session, and the rogue hands that on.
    const invite = decodeInvite(await acme.invite(), Date.now());
    const relayed: Promise<JsonObject>[] = [];
    rogue.serves.set(DECLARE.id, async (stream) => {
      const hello = JSON.parse(Buffer.from((await stream.receive())!).toString()) as { nonce: string };
      const onward = await rogue.open(acme, DECLARE);
      await onward.send(canonicalBytes({ type: 'hello', nonce: hello.nonce }));
      const challenge = JSON.parse(Buffer.from((await onward.receive())!).toString()) as JsonObject;
      // The nonce of acme, under the rogue's own name, as the connection proves it.
      await stream.send(canonicalBytes({ ...challenge, manifest: rogue.manifest }));
      const said = JSON.parse(Buffer.from((await stream.receive())!).toString()) as JsonObject;
      const declaration = rogue.declaration(acme.peerId, challenge.nonce as string);
      await onward.send(canonicalBytes({ ...said, declaration, manifest: rogue.manifest }));
      relayed.push(onward.receive().then((frame) => JSON.parse(Buffer.from(frame!).toString()) as JsonObject));
    });
    const joiner = await Rogue.start({ org: 'joiner.example' });
    try {
      const secretHash = hashSecret(invite.secret);
      const target = { name: 'rogue', peerId: rogue.peerId, addrs: rogue.addrs };
      const withSecret = (ours: Introduction): Introduction => ({ ...ours, invite: { id: invite.id, secretHash } });
      joiner
        .declare({ ...target, invite: async () => '', isActive: () => false }, { introduce: withSecret })
        .catch(() => {});
      await until(() => relayed.length > 0, 'it was handed on');
      const answer = await relayed[0]!;
      assert.deepEqual({ status: answer.status, code: answer.code }, { status: 'refused', code: 'invite_refused' });
      assert.ok((await acme.audited('invite_refused')).has('invite_refused'));
      assert.equal(acme.node.invites.get(invite.id)?.usedBy, null, 'the invite is still good');
    } finally {
      await joiner.stop();
    }
  });

  it('fault 4: a declaration heard on one stream is worth nothing on another, or for another, or later', async () => {
    const wrong: readonly [string, (ours: Introduction) => Introduction][] = [
      [
        'declaration_wrong_nonce',
        (ours) => ({ ...ours, declaration: rogue.declaration(acme.peerId, 'ab'.repeat(16)) }),
      ],
      [
        'declaration_wrong_audience',
        (ours) => ({ ...ours, declaration: rogue.declaration(rogue.peerId, ours.declaration.nonce) }),
      ],
      [
        'declaration_stale',
        ({ declaration, ...ours }) => ({
          ...ours,
          declaration: rogue.declaration(acme.peerId, declaration.nonce, SHARED, { now: Date.now() - 6 * 60_000 }),
        }),
      ],
      ['bad_signature', (ours) => ({ ...ours, declaration: { ...ours.declaration, addrs: [] } })],
    ];
    for (const [code, introduce] of wrong) assert.equal(await refusal(rogue.declare(acme, { introduce })), code);
    const other = await Rogue.start({ org: 'other.example' });
    try {
      const stolen = (ours: Introduction): Introduction => ({
        ...ours,
        declaration: other.declaration(acme.peerId, ours.declaration.nonce),
        manifest: other.manifest,
      });
      assert.equal(await refusal(rogue.declare(acme, { introduce: stolen })), 'declaration_wrong_node');
      const borrowed = (ours: Introduction): Introduction => ({ ...ours, manifest: other.manifest });
      assert.equal(await refusal(rogue.declare(acme, { introduce: borrowed })), 'authority_mismatch');
    } finally {
      await other.stop();
    }
    assert.equal(acme.node.peers.get(rogue.peerId), undefined, 'nothing of it is noted');
  });

  it('whether there is an invite, nobody learns who cannot prove it', async () => {
    const invite = decodeInvite(await acme.invite(), Date.now());
    const codes: string[] = [];
    for (const id of [invite.id, '0123456789abcdef']) {
      const introduce = (ours: Introduction): Introduction => ({
        ...ours,
        invite: { id, secretHash: hashSecret(randomBytes(16)) },
      });
      codes.push(await refusal(rogue.declare(acme, { introduce })));
    }
    assert.deepEqual(codes, ['invite_refused', 'invite_refused']);
  });

  it('whom a daemon is paired with, strangers do not learn by taking a name', async () => {
    assert.equal((await rogue.declare(acme, { invite: await acme.invite() })).status, 'active');
    const bogus = await acme.invite();
    await acme.mesh.federation.revokeInvite(SYSTEM, acme.node.invites.list().find(({ usedBy }) => usedBy === null)!.id);
    const heard: unknown[] = [];
    for (const org of ['rogue.example', 'nobody.example']) {
      const stranger = await Rogue.start({ org });
      const wrong = await Rogue.start({ org });
      try {
        const forged = (ours: Introduction): Introduction => ({
          ...ours,
          invite: { id: ours.invite!.id, secretHash: hashSecret(randomBytes(16)) },
        });
        heard.push([
          (await stranger.declare(acme)).status,
          await refusal(wrong.declare(acme, { invite: bogus, introduce: forged })),
        ]);
      } finally {
        await stranger.stop();
        await wrong.stop();
      }
    }
    assert.deepEqual(heard, Array(2).fill(['pending', 'invite_refused']));
  });

  it('in our own name strangers fill no audit log', async () => {
    const stranger = await Rogue.start({ org: acme.org });
    try {
      for (let n = 0; n < 3; n++) assert.equal(await refusal(stranger.declare(acme)), 'rotation_unproven');
      assert.deepEqual(await acme.audit('manifest_refused'), []);
    } finally {
      await stranger.stop();
    }
  });

  // How long that takes is measured by a clock of its own: test/faults/mesh-admission.test.ts.
  it('fault 6: a key that its organisation revokes is cut off at once; what it says later is refused', async () => {
    await rogue.join(acme);
    const before = rogue.sign('before');
    await rogue.push(acme, [encodePushBlock([before])]);
    const revoked = withoutNode(rogue.manifest, rogue.peerId, hlcNow(), { orgKey: rogue.orgKey, now: Date.now() });
    await acme.node.manifests.accept(SYSTEM, revoked, { pin: true });
    assert.ok(!acme.isActive(rogue.peerId), 'it is admitted no more');
    await until(() => !rogue.isConnected(acme), 'it is cut off');
    await assert.rejects(rogue.push(acme, [encodePushBlock([rogue.sign('after')])]));
    const [fact] = (await acme.node.facts.query(SYSTEM, { source: 'stigmem://rogue.example/agent/rogue', limit: 10 }))
      .facts;
    assert.equal(fact?.sourceRevoked, true, 'what it said before stays, marked');
  });

  /** What comes after the end on the stream that facts are pushed on; none: the connection is closed. */
  type After = Parameters<Victim['assert']>[1];
  const endings: readonly [string, () => Promise<unknown>, After?][] = [
    [
      'narrowed terms',
      () => acme.mesh.federation.update(SYSTEM, rogue.peerId, { gives: ['public'] }),
      { scope: 'public' },
    ],
    [
      'fewer namespaces',
      () => acme.mesh.federation.update(SYSTEM, rogue.peerId, { namespaces: ['nothing'] }),
      { scope: 'company', relation: 'nothing:at-all' },
    ],
    ['suspended', () => acme.mesh.federation.update(SYSTEM, rogue.peerId, { suspended: true })],
    ['removed', () => acme.mesh.federation.remove(SYSTEM, rogue.peerId)],
  ];
  for (const [what, end, after] of endings) {
    it(`fault 6: ${what}: at once nothing more is given, also to who reads slowly`, async () => {
      const large = 'x'.repeat(60_000);
      const digests: Uint8Array[] = [];
      for (let n = 0; n < 64; n++) {
        const { id } = await acme.assert(`large-${n}`, { value: { type: 'text', v: `${large}${n}` } });
        digests.push(parseCid(id).digest);
      }
      // Of some topics only, so that public facts are pushed to it as well, and not gossiped.
      const theirs = { ...SHARED, namespaces: ['memory', 'nothing'] };
      rogue.agrees(theirs);
      await rogue.join(acme, {}, theirs);
      let n = 0;
      let isOver = false;
      const writing = (async () => {
        while (!isOver) await acme.assert(`steady-${n++}-company`, { scope: 'company' });
      })();
      try {
        await until(() => rogue.tap.heard(Buffer.from('steady-1-')), 'facts flow');
        // A request made while it was allowed, its answer read when it is not any more.
        const stream = await rogue.raw(acme, FETCH.id);
        let slowly = 0;
        let isSlow = true;
        stream.addEventListener('message', ({ data }) => {
          slowly += data.byteLength;
          if (isSlow) stream.pause();
        });
        const request = encodeFetchRequest({ type: 'statements', digests });
        stream.send(Buffer.concat([Buffer.of(0, 0, request.length >> 8, request.length & 0xff), request]));
        await until(() => slowly > 0, 'the answer began');
        await end();
        // The one under way may have been committed before; those that follow are not.
        const first = n;
        await until(() => n > first + 20, 'writing goes on');
        if (after) {
          await acme.assert('afterwards', after);
          await until(() => rogue.tap.heard(Buffer.from('note/afterwards')), 'what is still given comes');
        } else await until(() => !rogue.isConnected(acme), 'the connection is closed');
        isSlow = false;
        if (stream.status === 'open') stream.resume();
        await until(() => stream.status !== 'open', 'the answer ends');
        assert.ok(slowly < 64 * 60_000, `${slowly} bytes of an answer of ${64 * 60_000}`);
        for (let at = first; at < n; at++) assert.ok(!rogue.tap.heard(Buffer.from(`steady-${at}-`)), `${what}: ${at}`);
      } finally {
        isOver = true;
        await writing;
      }
    });
  }
});

function hlcNow(): string {
  return `${Date.now()}.999`;
}

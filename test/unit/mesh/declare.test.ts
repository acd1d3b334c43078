import assert from 'node:assert/strict';
import type { KeyObject } from 'node:crypto';
import fc from 'fast-check';
import { canonicalBytes, type JsonObject } from '../../../src/facts/index.ts';
import { type PeerDeclaration, signDeclaration } from '../../../src/identity/declaration.ts';
import { peerIdFromPublicKey, rawPublicKey } from '../../../src/identity/index.ts';
import type { OrgManifest } from '../../../src/identity/manifest.ts';
import { createManifest, withNode, withoutNode } from '../../../src/identity/manifest-edit.ts';
import { hashSecret, inviterProof } from '../../../src/identity/proof.ts';
import { MAX_DECLARE_FRAME, MAX_DECLARE_STREAMS } from '../../../src/mesh/control-limits.ts';
import {
  answerDeclare,
  DECLARE,
  type Decision,
  type DeclareAnswer,
  type Declared,
  type DeclareOutcome,
  declare,
  type Introduction,
} from '../../../src/mesh/declare.ts';
import { fixedKey } from '../../support/org.ts';
import { Random } from '../../support/random.ts';
import { PairedStream } from '../../support/stream-pair.ts';

const NOW = Date.UTC(2026, 10, 21, 12);
const ALL = { gives: ['public'] as const, takes: ['public'] as const, namespaces: null };
const SECRET = new Uint8Array(16).fill(9);
const INVITE = { id: '0123456789abcdef', secretHash: hashSecret(SECRET) };

class Party {
  readonly key: KeyObject;
  readonly peerId: string;
  readonly org: string;
  manifest: OrgManifest;
  readonly random: Random;
  now: number = NOW;

  constructor(seed: number, org: string) {
    this.key = fixedKey(seed);
    this.peerId = peerIdFromPublicKey(rawPublicKey(this.key));
    this.org = org;
    this.manifest = createManifest({ authority: org, peerId: this.peerId }, { orgKey: fixedKey(seed + 100), now: NOW });
    this.random = new Random(seed);
  }

  get self() {
    const randomBytes = (count: number): Uint8Array => Uint8Array.from({ length: count }, () => this.random.below(256));
    return { peerId: this.peerId, now: () => this.now, randomBytes };
  }

  sign(audience: string, nonce: string, changes: Partial<Parameters<typeof signDeclaration>[0]> = {}): PeerDeclaration {
    const base = { org: this.org, addrs: [], audience, terms: ALL, nonce, now: this.now, expiresAt: null };
    return signDeclaration({ ...base, ...changes }, this.key);
  }
}

interface Script {
  readonly introduce?: (joiner: Party, host: Party, nonce: string) => Introduction | null;
  readonly decide?: (host: Party, declared: Declared) => Decision | Promise<Decision>;
  /** What the asking side does when it has its answer. */
  readonly end?: 'close' | 'abort' | 'more';
}

interface Ended {
  readonly asked: DeclareAnswer | Error;
  readonly answered: DeclareOutcome | Error;
}

const agree = (host: Party, { peerId, nonce }: Declared): Decision => ({
  status: 'active',
  declaration: host.sign(peerId, nonce),
});

async function run(
  joiner: Party,
  host: Party,
  { introduce, decide = agree, end = 'close' }: Script = {},
): Promise<Ended> {
  const [near, far] = PairedStream.between(joiner.peerId, host.peerId, DECLARE);
  const asked = declare(near, joiner.self, ({ nonce }) =>
    introduce
      ? introduce(joiner, host, nonce)
      : { declaration: joiner.sign(host.peerId, nonce), manifest: joiner.manifest },
  )
    .then(async (answer) => {
      if (end === 'abort') near.abort(new Error('not taken'));
      else if (end === 'more') await near.send(Buffer.from('{}'));
      else await near.close();
      return answer;
    })
    .catch((error: Error) => {
      near.abort(error);
      return error;
    });
  const answered = answerDeclare(far, {
    ...host.self,
    manifest: () => host.manifest,
    decide: async (declared) => decide(host, declared),
  }).catch((error: Error) => {
    far.abort(error);
    return error;
  });
  return { asked: await asked, answered: await answered };
}

function codeOf(result: unknown): string {
  assert.ok(result instanceof Error, `expected an error, got ${JSON.stringify(result)}`);
  return (result as Error & { code: string }).code;
}

describe('mesh: declare', () => {
  const joiner = new Party(1, 'bolt.example');
  const host = new Party(2, 'acme.example');

  it('tells each side who the other is, and that both agree', async () => {
    let seen: Declared | undefined;
    const { asked, answered } = await run(joiner, host, {
      decide: (party, declared) => {
        seen = declared;
        return agree(party, declared);
      },
    });
    assert.deepEqual(answered, { status: 'taken' });
    assert.ok(!(asked instanceof Error) && asked.status === 'active');
    assert.equal(asked.declaration.org, 'acme.example');
    assert.equal(asked.manifest.key_id, host.manifest.key_id);
    assert.equal(seen?.declaration.org, 'bolt.example');
    assert.equal(seen?.invite, null);
  });

  it('tells a stranger nothing but that somebody has to decide', async () => {
    const { asked, answered } = await run(joiner, host, { decide: () => ({ status: 'pending' }) });
    assert.deepEqual(answered, { status: 'pending' });
    assert.ok(!(asked instanceof Error) && asked.status === 'pending');
    assert.ok(!('declaration' in asked));
  });

  it('tells whoever is refused why', async () => {
    const { asked, answered } = await run(joiner, host, {
      decide: () => ({ status: 'refused', code: 'peer_suspended' }),
    });
    assert.deepEqual(answered, { status: 'refused', code: 'peer_suspended' });
    assert.ok(!(asked instanceof Error) && asked.status === 'refused');
    assert.equal(asked.code, 'peer_suspended');
  });

  it('shows the manifest to whoever only looks', async () => {
    const { asked, answered } = await run(joiner, host, {
      introduce: () => null,
      decide: () => assert.fail('nobody asked'),
    });
    assert.deepEqual(answered, { status: 'looked' });
    assert.ok(!(asked instanceof Error) && asked.status === 'looked' && asked.manifest.authority === 'acme.example');
  });

  it('stands only when the asking side ended the stream well', async () => {
    assert.deepEqual((await run(joiner, host, { end: 'abort' })).answered, { status: 'untaken' });
    assert.equal(codeOf((await run(joiner, host, { end: 'more' })).answered), 'malformed_frame');
  });

  it('refuses what does not hold, with its code', async () => {
    const other = new Party(3, 'other.example');
    const revoked = withoutNode(
      withNode(joiner.manifest, { peerId: other.peerId }, { orgKey: fixedKey(101), now: NOW }),
      joiner.peerId,
      `${NOW}.999`,
      { orgKey: fixedKey(101), now: NOW },
    );
    const past = createManifest(
      { authority: 'bolt.example', peerId: joiner.peerId },
      { orgKey: fixedKey(101), now: NOW - 2000, lifeMs: 1000 },
    );
    const flipped = { ...joiner.manifest, signature: host.manifest.signature };
    const cases: Record<string, (nonce: string) => Introduction> = {
      declaration_wrong_audience: (nonce) => ({
        declaration: joiner.sign(other.peerId, nonce),
        manifest: joiner.manifest,
      }),
      declaration_wrong_nonce: () => ({
        declaration: joiner.sign(host.peerId, '00'.repeat(16)),
        manifest: joiner.manifest,
      }),
      declaration_wrong_node: (nonce) => ({
        declaration: other.sign(host.peerId, nonce, { org: 'bolt.example' }),
        manifest: joiner.manifest,
      }),
      declaration_stale: (nonce) => ({
        declaration: joiner.sign(host.peerId, nonce, { now: NOW - 301_000 }),
        manifest: joiner.manifest,
      }),
      declaration_expired: (nonce) => ({
        declaration: joiner.sign(host.peerId, nonce, { now: NOW - 1000, expiresAt: NOW }),
        manifest: joiner.manifest,
      }),
      declaration_malformed: (nonce) => ({
        declaration: { ...joiner.sign(host.peerId, nonce), gives: ['local'] } as never,
        manifest: joiner.manifest,
      }),
      authority_mismatch: (nonce) => ({
        declaration: joiner.sign(host.peerId, nonce, { org: 'acme.example' }),
        manifest: joiner.manifest,
      }),
      node_not_listed: (nonce) => ({
        declaration: joiner.sign(host.peerId, nonce, { org: 'other.example' }),
        manifest: other.manifest,
      }),
      node_revoked: (nonce) => ({ declaration: joiner.sign(host.peerId, nonce), manifest: revoked }),
      manifest_expired: (nonce) => ({ declaration: joiner.sign(host.peerId, nonce), manifest: past }),
      bad_signature: (nonce) => ({ declaration: joiner.sign(host.peerId, nonce), manifest: flipped }),
    };
    for (const [code, make] of Object.entries(cases)) {
      const { asked, answered } = await run(joiner, host, {
        introduce: (_joiner, _host, nonce) => make(nonce),
        decide: () => assert.fail(`${code} was let through`),
      });
      assert.deepEqual(answered, { status: 'refused', code });
      assert.ok(!(asked instanceof Error) && asked.status === 'refused', code);
      assert.equal(asked.code, code);
    }
  });

  it('breaks off when the other side does not prove to be who its manifest says', async () => {
    const other = new Party(3, 'other.example');
    const impostor = new Party(4, 'x.example');
    impostor.manifest = other.manifest;
    assert.equal(codeOf((await run(joiner, impostor)).asked), 'node_not_listed');
    const relayed = (party: Party, { nonce }: Declared): Decision => ({
      status: 'active',
      declaration: party.sign(other.peerId, nonce),
    });
    const wrong = await run(joiner, host, { decide: relayed });
    assert.equal(codeOf(wrong.asked), 'declaration_wrong_audience');
    assert.deepEqual(wrong.answered, { status: 'untaken' });
    // Nor is what was heard on another stream, or names another organisation, an answer.
    for (const [code, nonce, org] of [
      ['declaration_wrong_nonce', '00'.repeat(16), host.org],
      ['authority_mismatch', null, 'x.example'],
    ] as const) {
      const { asked, answered } = await run(joiner, host, {
        decide: (party, declared) => ({
          status: 'active',
          declaration: party.sign(declared.peerId, nonce ?? declared.nonce, { org }),
        }),
      });
      assert.equal(codeOf(asked), code);
      assert.deepEqual(answered, { status: 'untaken' });
    }
  });

  it('says nothing about itself to whoever shows a manifest that does not hold', async () => {
    const mute = { introduce: () => assert.fail('introduced itself') };
    const forger = new Party(2, 'acme.example');
    forger.manifest = { ...host.manifest, signature: joiner.manifest.signature };
    assert.equal(codeOf((await run(joiner, forger, mute)).asked), 'bad_signature');
    const past = { orgKey: fixedKey(102), now: NOW - 2000, lifeMs: 1000 };
    forger.manifest = createManifest({ authority: 'acme.example', peerId: forger.peerId }, past);
    assert.equal(codeOf((await run(joiner, forger, mute)).asked), 'manifest_expired');
  });

  it('answers an error of its own with internal_error, and keeps it to itself', async () => {
    const { asked, answered } = await run(joiner, host, {
      decide: () => {
        throw Object.assign(new Error('the secret plan'), { code: 'store_corrupt' });
      },
    });
    assert.ok(!(asked instanceof Error) && asked.status === 'refused');
    assert.equal(asked.code, 'internal_error');
    assert.match(String(answered), /the secret plan/);
  });
});

describe('mesh: declare with an invite', () => {
  const joiner = new Party(1, 'bolt.example');
  const host = new Party(2, 'acme.example');
  const withInvite = (secretHash: string) => (party: Party, to: Party, nonce: string) => ({
    declaration: party.sign(to.peerId, nonce),
    manifest: party.manifest,
    invite: { id: INVITE.id, secretHash },
  });
  const redeem = (party: Party, declared: Declared): Decision => {
    assert.equal(declared.invite?.id, INVITE.id);
    if (!declared.invite.proves(INVITE.secretHash)) return { status: 'refused', code: 'invite_refused' };
    return { ...agree(party, declared), secretHash: INVITE.secretHash } as Decision;
  };

  it('proves the secret both ways without sending it', async () => {
    const { asked, answered } = await run(joiner, host, { introduce: withInvite(INVITE.secretHash), decide: redeem });
    assert.ok(!(asked instanceof Error) && asked.status === 'active');
    assert.deepEqual(answered, { status: 'taken' });
  });

  it('refuses another secret', async () => {
    const other = hashSecret(new Uint8Array(16).fill(8));
    const { asked } = await run(joiner, host, { introduce: withInvite(other), decide: redeem });
    assert.ok(!(asked instanceof Error) && asked.status === 'refused' && asked.code === 'invite_refused');
  });

  it('does not believe an inviter that does not know the secret', async () => {
    const cases: ((party: Party, declared: Declared) => Decision)[] = [
      agree,
      (party, declared) => ({ ...agree(party, declared), secretHash: hashSecret(new Uint8Array(16)) }) as Decision,
    ];
    for (const decide of cases) {
      const { asked, answered } = await run(joiner, host, { introduce: withInvite(INVITE.secretHash), decide });
      assert.equal(codeOf(asked), 'protocol_violation');
      assert.deepEqual(answered, { status: 'untaken' });
    }
  });

  it('fault 4: a proof relayed to another session, or between other peers, proves nothing', async () => {
    // Mallory sits between both and holds a connection to each, with her own key: nobody has another peer's key.
    const mallory = new Party(5, 'bolt.example');
    const [near, middleNear] = PairedStream.between(joiner.peerId, mallory.peerId, DECLARE);
    const [middleFar, far] = PairedStream.between(mallory.peerId, host.peerId, DECLARE);
    let proven: boolean | undefined;
    const answered = answerDeclare(far, {
      ...host.self,
      manifest: () => host.manifest,
      decide: async (declared) => {
        proven = declared.invite?.proves(INVITE.secretHash);
        return { status: 'refused', code: 'invite_refused' };
      },
    });
    // To the joiner she shows a manifest that lists her; its declaration she cannot use, the proof is what she is after.
    const asked = declare(near, joiner.self, ({ nonce }) => withInvite(INVITE.secretHash)(joiner, mallory, nonce));
    const hello = (await middleNear.receive())!;
    await middleFar.send(hello);
    const challenge = JSON.parse(Buffer.from((await middleFar.receive())!).toString()) as JsonObject;
    await middleNear.send(canonicalBytes({ ...challenge, manifest: mallory.manifest }));
    const said = JSON.parse(Buffer.from((await middleNear.receive())!).toString()) as JsonObject;
    const declaration = mallory.sign(host.peerId, challenge.nonce as string);
    await middleFar.send(canonicalBytes({ ...said, declaration, manifest: mallory.manifest }));
    assert.deepEqual(await answered, { status: 'refused', code: 'invite_refused' });
    assert.equal(proven, false);
    middleNear.abort(new Error('done'));
    await assert.rejects(asked, { code: 'stream_closed' });

    // The frames of a session that went well, played back by the joiner's own connection on another stream.
    const [first, firstFar] = PairedStream.between(joiner.peerId, host.peerId, DECLARE);
    const good = declare(first, joiner.self, ({ nonce }) => withInvite(INVITE.secretHash)(joiner, host, nonce)).then(
      () => first.close(),
    );
    const told = answerDeclare(firstFar, {
      ...host.self,
      manifest: () => host.manifest,
      decide: async (d) => redeem(host, d),
    });
    await Promise.all([good, told]);
    const [second, secondFar] = PairedStream.between(joiner.peerId, host.peerId, DECLARE);
    const replayed = answerDeclare(secondFar, {
      ...host.self,
      manifest: () => host.manifest,
      decide: async () => assert.fail('a replay was let through'),
    });
    for (const frame of first.sent) await second.send(frame);
    assert.deepEqual(await replayed, { status: 'refused', code: 'declaration_wrong_nonce' });
  });

  it('keeps the proofs of both directions apart', () => {
    const context = {
      inviteId: INVITE.id,
      challenge: '11'.repeat(16),
      joinerNonce: '22'.repeat(16),
      joinerPeerId: joiner.peerId,
      inviterPeerId: host.peerId,
    };
    const swapped = { ...context, joinerPeerId: host.peerId, inviterPeerId: joiner.peerId };
    assert.notEqual(inviterProof(INVITE.secretHash, context), inviterProof(INVITE.secretHash, swapped));
  });
});

describe('mesh: declare, frames', () => {
  const joiner = new Party(1, 'bolt.example');
  const host = new Party(2, 'acme.example');
  const nonce = '00'.repeat(16);
  const hello = canonicalBytes({ type: 'hello', nonce });

  /** What a host makes of these frames, the last of which it must refuse. */
  async function hostOn(...frames: readonly (Uint8Array | null)[]): Promise<unknown> {
    const [near, far] = PairedStream.between(joiner.peerId, host.peerId, DECLARE);
    for (const frame of frames) {
      if (frame === null) await near.close();
      else await near.send(frame);
    }
    return answerDeclare(far, {
      ...host.self,
      manifest: () => host.manifest,
      decide: async () => ({ status: 'pending' }),
    }).catch((error: unknown) => error);
  }

  /** What a joiner makes of an answer in this place. */
  async function joinerOn(challenge: Uint8Array | null, answer?: Uint8Array | null): Promise<unknown> {
    const [near, far] = PairedStream.between(joiner.peerId, host.peerId, DECLARE);
    const asked = declare(near, joiner.self, (them) => ({
      declaration: joiner.sign(host.peerId, them.nonce),
      manifest: joiner.manifest,
    })).catch((error: unknown) => error);
    await far.receive();
    if (challenge === null) await far.close();
    else await far.send(challenge);
    if (answer === null) await far.close();
    else if (answer !== undefined) await far.send(answer);
    return asked;
  }

  it('takes nothing but what is written down', async () => {
    const bad = [
      Buffer.from(''),
      Buffer.from('x'),
      Buffer.from('[]'),
      Buffer.from('null'),
      Buffer.from('{"type":"hello"}'),
      Buffer.from(`{"nonce":"${nonce}", "type":"hello"}`),
      Buffer.from(`{"type":"hello","nonce":"${nonce}"}`),
      Buffer.from(`{"nonce":"${nonce}","nonce":"${nonce}","type":"hello"}`),
      canonicalBytes({ type: 'hello', nonce: 'AA'.repeat(16) }),
      canonicalBytes({ type: 'hello', nonce: '00' }),
      canonicalBytes({ type: 'hello', nonce: 5 }),
      canonicalBytes({ type: 'hello', nonce, extra: 1 }),
      canonicalBytes({ type: 'challenge', nonce }),
      Buffer.from('['.repeat(40_000)),
    ];
    for (const frame of bad)
      assert.equal(codeOf(await hostOn(frame)), 'malformed_frame', frame.toString().slice(0, 60));
    assert.equal(codeOf(await hostOn(null)), 'protocol_violation');
    for (const frame of bad) assert.equal(codeOf(await hostOn(hello, frame)), 'malformed_frame');
    const declaration = joiner.sign(host.peerId, nonce) as unknown as JsonObject;
    const manifest = joiner.manifest as unknown as JsonObject;
    for (const invite of [null, {}, { id: '0123456789abcdef' }, { id: 'x', proof: '' }, { id: 5, proof: 5 }, []]) {
      const frame = canonicalBytes({ type: 'declare', declaration, manifest, invite } as never);
      assert.equal(codeOf(await hostOn(hello, frame)), 'malformed_frame');
    }
  });

  it('takes no answer but those written down', async () => {
    const challenge = canonicalBytes({ type: 'challenge', nonce, manifest: host.manifest as unknown as JsonObject });
    const answers: JsonObject[] = [
      {},
      { status: 'pending' },
      { type: 'declared' },
      { type: 'declared', status: 'maybe' },
      { type: 'declared', status: 'pending', code: 'x' },
      { type: 'declared', status: 'pending', declaration: null },
      { type: 'declared', status: 'refused' },
      { type: 'declared', status: 'refused', code: '' },
      { type: 'declared', status: 'refused', code: 'Nope!' },
      { type: 'declared', status: 'refused', code: 'x'.repeat(65) },
      { type: 'declared', status: 'active' },
      { type: 'declared', status: 'active', declaration: {}, code: 'x' },
    ];
    for (const answer of answers) {
      const result = await joinerOn(challenge, canonicalBytes(answer));
      assert.equal(codeOf(result), 'malformed_frame', JSON.stringify(answer));
    }
    const empty = canonicalBytes({ type: 'declared', status: 'active', declaration: {} });
    assert.equal(codeOf(await joinerOn(challenge, empty)), 'declaration_malformed');
    assert.equal(codeOf(await joinerOn(null)), 'protocol_violation');
    assert.equal(codeOf(await joinerOn(challenge, null)), 'protocol_violation');
  });

  it('survives any bytes in any place', async () => {
    const bytes = fc.uint8Array({ maxLength: 200 });
    const json = fc.json({ maxDepth: 3 }).map((text) => canonicalBytes(JSON.parse(text)));
    await fc.assert(
      fc.asyncProperty(fc.oneof(bytes, json), fc.boolean(), async (frame, isFirst) => {
        const result = await hostOn(...(isFirst ? [frame] : [hello, frame]));
        assert.ok(result instanceof Error || (result as DeclareOutcome).status === 'refused');
      }),
      { numRuns: 200 },
    );
  });

  it(`fits the largest declaration and manifest into ${MAX_DECLARE_FRAME} bytes`, async () => {
    const signing = { orgKey: fixedKey(101), now: NOW };
    const manifest = Array.from({ length: 63 }, (_, n) => {
      const key = fixedKey(150 + n);
      return peerIdFromPublicKey(rawPublicKey(key));
    }).reduce((all, peerId) => withNode(all, { peerId }, signing), joiner.manifest);
    const namespaces = Array.from(
      { length: 256 },
      (_, n) => `namespace-number-${String(n).padStart(4, '0')}-of-many-names`,
    );
    const addrs = Array.from({ length: 16 }, (_, n) => `/dns/${'a'.repeat(60)}.${'b'.repeat(60)}.example/tcp/${n + 1}`);
    const { answered } = await run(joiner, host, {
      introduce: (_joiner, _host, theirs) => ({
        declaration: joiner.sign(host.peerId, theirs, { addrs, terms: { ...ALL, namespaces } }),
        manifest,
      }),
    });
    assert.deepEqual(answered, { status: 'taken' });
    assert.equal(DECLARE.maxFrame, MAX_DECLARE_FRAME);
    assert.equal(DECLARE.maxInboundStreams, MAX_DECLARE_STREAMS);
  });
});

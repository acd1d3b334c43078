import assert from 'node:assert/strict';
import { isDeepStrictEqual } from 'node:util';
import { parseCid } from '../../src/facts/index.ts';
import { encodeBlock } from '../../src/mesh/block.ts';
import { encodeFetchRequest, FETCH } from '../../src/mesh/fetch.ts';
import { isReachedByGossip } from '../../src/mesh/gossip-reach.ts';
import { decodePushAnswer, encodeHave, encodeHeads, encodePushBlock, PUSH } from '../../src/mesh/push-frames.ts';
import type { WireStatement } from '../../src/node/federation.ts';
import { decodeLogRecord } from '../../src/node/records.ts';
import type { FactView } from '../../src/node/types.ts';
import { SYSTEM } from '../../src/policy/principal.ts';
import { setOf } from '../../src/policy/sets.ts';
import type { PeerTerms } from '../../src/policy/sharing.ts';
import { logKey } from '../../src/store/keys.ts';
import type { Frame } from '../../src/sync/frames.ts';
import { Rogue } from '../support/hostile/rogue.ts';
import { SyncTalk } from '../support/hostile/sync-talk.ts';
import { Victim } from '../support/hostile/victim.ts';
import { until } from '../support/until.ts';

/** A fact that a peer must not learn of, and everything that names it. */
interface Secret {
  readonly what: string;
  readonly digest: Uint8Array;
  readonly statement: WireStatement;
  /** What may not be heard: digest, CIDs, entity, value, names of its namespace and set. */
  readonly names: readonly (string | Uint8Array)[];
  /** Of the set it is in; of a local one the name it would have. */
  readonly set: string;
}

/** What a peer may hold, and what it may hear then. */
type Terms = Pick<PeerTerms, 'gives' | 'takes' | 'namespaces'>;

const WIDE: Terms = { gives: ['public', 'company'], takes: ['public', 'company'], namespaces: null };

/** Who asks: the more is shared, the more ways there are. */
const CURIOUS: readonly { readonly org: string; readonly terms: Terms; readonly hears: readonly string[] }[] = [
  { org: 'wide.example', terms: WIDE, hears: ['open', 'own', 'topic', 'topic-own'] },
  { org: 'narrow.example', terms: { ...WIDE, namespaces: ['memory'] }, hears: ['open', 'own'] },
  { org: 'outer.example', terms: { ...WIDE, gives: ['public'], takes: ['public'] }, hears: ['open', 'topic'] },
  // Takes everything and is given nothing.
  { org: 'dark.example', terms: { gives: [], takes: ['public'], namespaces: null }, hears: [] },
];

describe('mesh: what a peer may not hold it does not learn of', function () {
  this.timeout(180_000);
  let acme: Victim;
  let core: Victim;
  const rogues = new Map<string, Rogue>();
  const secrets = new Map<string, Secret>();
  /** The same of facts that do not exist. */
  const phantoms = new Map<string, Secret>();
  const shared = new Map<string, FactView>();

  before(async () => {
    acme = await Victim.start({ name: 'acme' });
    core = await Victim.start({ name: 'core' });
    await acme.pair(core);
    for (const { org, terms } of CURIOUS) {
      const rogue = await Rogue.start({ org });
      rogues.set(org, rogue);
      await rogue.join(acme, terms);
      await rogue.gossip(acme);
    }
    // What each says of itself with its first peer, so that nothing comes between what is compared below.
    const has = async (at: Victim, { org }: Victim) => (await at.node.manifests.statement(org)) !== undefined;
    await until(async () => {
      await acme.mesh.data.sync(core.peerId).catch(() => {});
      return (await has(acme, core)) && (await has(core, acme));
    }, 'both have the manifest of the other');
  });
  after(async () => {
    for (const rogue of rogues.values()) await rogue.stop();
    await core.stop();
    await acme.stop();
  });

  /** A request and its answer on every connection: what was sent before has come. */
  const settle = async (): Promise<void> => {
    const request = encodeFetchRequest({ type: 'statements', digests: [Buffer.alloc(32)] });
    for (const rogue of rogues.values()) assert.equal((await rogue.ask(acme, FETCH, request)).end, 'closed');
  };

  /**
   * Two things have one effect. What else the daemon does at the moment shows in what is measured, too: what tells them
   * apart does so every time.
   */
  const assertAlike = async <T>(one: () => Promise<T>, other: () => Promise<T>, what: string): Promise<T> => {
    for (let tries = 1; ; tries++) {
      const [effect, expected] = [await one(), await other()];
      if (isDeepStrictEqual(effect, expected)) return effect;
      if (tries === 3) assert.deepEqual(effect, expected, what);
    }
  };

  async function statementOf(at: Victim, { id }: FactView): Promise<WireStatement & { digest: Uint8Array }> {
    const { digest } = parseCid(id);
    const { bytes, sig } = decodeLogRecord((await at.store.get(logKey(digest)))!, digest);
    return { bytes, sig, digest };
  }

  async function secret(what: string, at: Victim, fact: FactView): Promise<Secret> {
    const { digest, ...statement } = await statementOf(at, fact);
    const { body } = fact.statement as { body: { entity: string; relation: string; scope: string } };
    const namespace = body.relation.split(':')[0]!;
    const set = setOf(fact.statement)?.name ?? `local/${at.org}/${namespace}`;
    const names = [digest, fact.id, fact.cid, Buffer.from(digest).toString('hex'), body.entity, namespace, set];
    return { what, digest, statement, names, set };
  }

  /** Those that a peer must not hold. */
  const hiddenFrom = (org: string): Secret[] => {
    const { hears } = CURIOUS.find((one) => one.org === org)!;
    return [...secrets.values()].filter(({ what }) => !hears.includes(what));
  };

  const assertHeardNothing = (but?: 'digest'): void => {
    for (const [org, rogue] of rogues) {
      for (const { what, digest, names } of hiddenFrom(org)) {
        for (const name of names.filter((one) => but !== 'digest' || one !== digest)) {
          assert.ok(!rogue.tap.heard(Buffer.from(name as string)), `${org} heard of ${what}: ${String(name)}`);
        }
      }
    }
  };

  it('fault 16: writes of every kind reach whom they are for, and nobody else hears a byte of them', async () => {
    const { garden_id } = await acme.node.gardens.create(SYSTEM, { slug: 'kitchen', name: 'k', scope: 'company' });
    const write = async (what: string, at: Victim, changes: Parameters<Victim['assert']>[1]): Promise<void> => {
      const fact = await at.assert(`entity-${what}`, changes);
      shared.set(what, fact);
      secrets.set(what, await secret(what, at, fact));
    };
    await write('local', acme, { scope: 'local', relation: 'nslocal:role' });
    await write('team', acme, { scope: 'team', relation: 'nsteam:role' });
    await write('garden', acme, { scope: 'company', relation: 'nsgarden:role', garden_id });
    await write('foreign', core, { scope: 'company', relation: 'nsforeign:role' });
    await write('topic-own', acme, { scope: 'company', relation: 'nstopicown:role' });
    await write('topic', acme, { scope: 'public', relation: 'nstopic:role' });
    await write('own', acme, { scope: 'company', relation: 'memory:own' });
    await write('open', acme, { scope: 'public', relation: 'memory:open' });
    // Namespaces and sets that others of the same kind share are no secret; what is in them is.
    for (const what of ['own', 'open']) {
      const one = secrets.get(what)!;
      const isOfItself = (name: string | Uint8Array): boolean => name !== 'memory' && name !== one.set;
      secrets.set(what, { ...one, names: one.names.filter(isOfItself) });
    }
    await until(async () => (await acme.get(shared.get('foreign')!.id)) !== undefined, "core's reach acme");
    for (const [name, { what, set, statement }] of secrets) {
      const bytes = Buffer.from(statement.bytes);
      bytes[bytes.indexOf('entity-')] = 'x'.charCodeAt(0);
      const digest = Buffer.alloc(32, name.charCodeAt(0));
      phantoms.set(name, {
        what,
        set: set.replace(/ns/, 'no'),
        digest,
        statement: { bytes, sig: statement.sig },
        names: [],
      });
    }
    for (const { org, hears } of CURIOUS) {
      for (const what of hears) {
        const { digest, statement } = secrets.get(what)!;
        const heard = (): boolean => rogues.get(org)!.tap.heard(statement.bytes);
        await until(heard, `${org} hears ${what} (${Buffer.from(digest).toString('hex').slice(0, 8)})`);
      }
    }
    await settle();
    assertHeardNothing();
  });

  it('fault 16: fetched by its CID, what is not shared is answered as what nobody has: byte for byte, read for read', async () => {
    for (const { org } of CURIOUS) {
      const rogue = rogues.get(org)!;
      const ask = async (...digests: Uint8Array[]): Promise<{ answer: string; calls: number; keys: number }> => {
        const before = acme.store.reads;
        const { frames, end } = await rogue.ask(acme, FETCH, encodeFetchRequest({ type: 'statements', digests }));
        const { calls, keys } = acme.store.reads;
        const answer = `${end} ${frames.map((frame) => Buffer.from(frame).toString('hex')).join()}`;
        return { answer, calls: calls - before.calls, keys: keys - before.keys };
      };
      for (const { what, digest } of hiddenFrom(org)) {
        const { digest: unknown } = phantoms.get(what)!;
        const { answer } = await assertAlike(
          () => ask(digest),
          () => ask(unknown),
          `${org} fetches ${what}`,
        );
        assert.equal(answer, 'closed 00');
        await assertAlike(
          () => ask(digest, unknown, digest),
          () => ask(unknown, unknown, unknown),
          `${org}, ${what}`,
        );
      }
    }
    assertHeardNothing();
  });

  it('a manifest that may not be had is asked for in vain, at the same cost as one that nobody has', async () => {
    const rogue = rogues.get('dark.example')!;
    const ask = async (authority: string) => {
      const before = acme.store.reads;
      const { frames, end } = await rogue.ask(acme, FETCH, encodeFetchRequest({ type: 'manifest', authority }));
      const { calls, keys } = acme.store.reads;
      const answer = frames.map((frame) => Buffer.from(frame).toString('hex'));
      return { answer, end, calls: calls - before.calls, keys: keys - before.keys };
    };
    for (const authority of ['core.example', 'wide.example', 'acme.example']) {
      const { answer } = await assertAlike(
        () => ask(authority),
        () => ask('nobody.example'),
        authority,
      );
      assert.deepEqual(answer, ['00']);
    }
  });

  it('what a peer says it has is asked for or not by what the peer may hold alone', async () => {
    for (const { org } of CURIOUS) {
      const rogue = rogues.get(org)!;
      const requests: string[] = [];
      rogue.serves.set(FETCH.id, async (stream) => {
        const request = (await stream.receive())!;
        for (let at = 1; at < request.length; at += 32) {
          requests.push(Buffer.from(request.subarray(at, at + 32)).toString('hex'));
        }
        await stream.send(encodeBlock([]));
        await stream.close();
      });
      const stream = await rogue.open(acme, PUSH);
      const hidden = hiddenFrom(org);
      const offered = hidden.flatMap(({ what, digest }) => [digest, phantoms.get(what)!.digest]);
      for (const digest of offered) await stream.send(encodeHave([digest]));
      const names = offered.map((digest) => Buffer.from(digest).toString('hex'));
      await until(
        () => names.every((name) => requests.includes(name)),
        `${org} is asked for all it offers, held or not`,
      ).catch((error: Error) => {
        const kept = hidden.filter(({ digest }) => !requests.includes(Buffer.from(digest).toString('hex')));
        assert.fail(`${error.message}; not for ${kept.map(({ what }) => what).join()}`);
      });
      stream.abort(new Error('done'));
      rogue.serves.delete(FETCH.id);
    }
    assertHeardNothing('digest');
    // What it was asked for were the digests it had offered itself.
    for (const rogue of rogues.values()) rogue.tap.clear();
  });

  it('what a peer sends outside of its terms is refused alike, whether it is held or not, and costs the same', async () => {
    const says = await Promise.all([...rogues.values()].map((rogue) => rogue.gossip(acme)));
    for (const [at, { org }] of CURIOUS.entries()) {
      const rogue = rogues.get(org)!;
      const isInGossip = isReachedByGossip(acme.mesh.peering.pairing(rogue.peerId)!);
      // A message that was seen is passed over by gossipsub: each has something that is held already and no other has.
      const filler = async (): Promise<WireStatement> => {
        const one = rogue.sign('filler');
        await rogue.push(acme, [encodePushBlock([one])]);
        return one;
      };
      for (const { what, statement } of hiddenFrom(org)) {
        const effect = async (send: (held: WireStatement) => Promise<unknown>) => {
          const held = await filler();
          acme.mesh.data.scores.pardon(rogue.peerId);
          const [before, refused] = [acme.store.reads, acme.mesh.data.refused(rogue.peerId)];
          await send(held);
          const after = acme.mesh.data.refused(rogue.peerId);
          const codes = Object.entries(after).map(([code, n]) => [code, n - (refused[code] ?? 0)]);
          const { calls, keys } = acme.store.reads;
          return {
            codes: codes.filter(([, n]) => n !== 0),
            score: Math.round(acme.mesh.data.score(rogue.peerId)),
            reads: [calls - before.calls, keys - before.keys],
          };
        };
        const push = (one: WireStatement) => () => rogue.push(acme, [encodePushBlock([one])]);
        const phantom = phantoms.get(what)!.statement;
        await assertAlike(
          () => effect(push(statement)),
          () => effect(push(phantom)),
          `${org} pushes ${what}`,
        );
        const judged = (): Promise<number> => acme.metric('stigmesh_mesh_gossip_messages_total');
        const gossip = (one: WireStatement) => async (held: WireStatement) => {
          if (!isInGossip) return;
          const seen = await judged();
          says[at]!(encodeBlock([one, held]));
          await until(async () => (await judged()) > seen, 'the message was judged');
        };
        await assertAlike(
          () => effect(gossip(statement)),
          () => effect(gossip(phantom)),
          `${org} gossips ${what}`,
        );
      }
      acme.mesh.data.scores.pardon(rogue.peerId);
    }
    assertHeardNothing();
  });

  it('fault 16: reconciliation has no word, count or fingerprint of it, and guessed names are as good as none', async () => {
    for (const { org, hears } of CURIOUS) {
      const rogue = rogues.get(org)!;
      const session = async (named: (what: string) => string): Promise<unknown[]> => {
        const { talk, vector } = await SyncTalk.next(rogue, acme);
        const told = vector.flatMap((frame) => (frame.type === 'vector' ? frame.entries : []));
        const visible = new Set(hears.map((what) => secrets.get(what)!.set));
        for (const { set, what } of hiddenFrom(org)) {
          assert.ok(
            !told.some(({ tag }) => tag === talk.tag(set)) || visible.has(set),
            `${org} sees the set of ${what}`,
          );
        }
        // Every guess as a set of our own that differs: a fingerprint, then the name when it is asked for.
        const guesses = hiddenFrom(org).filter(({ set }) => !visible.has(set));
        const tags = guesses.map(({ what }) => talk.tag(named(what)));
        await talk.say({ type: 'ask', tags: [...tags].sort() });
        for (const tag of tags) {
          const lower = new Uint32Array(10);
          const upper = new Uint32Array(10).fill(0xffffffff);
          await talk.say({
            type: 'ranges',
            sections: [{ tag, upper, ranges: [{ mode: 1, lower, fingerprint: Buffer.alloc(16, 5) }] }],
          });
        }
        await talk.pass();
        const first = await talk.turn();
        await talk.say({ type: 'names', names: guesses.map(({ what }) => named(what)) });
        await talk.pass();
        const second = await talk.turn();
        talk.end();
        const order = new Map(tags.map((tag, at) => [tag, at]));
        return [...first, ...second].map((frame) => shape(frame, order));
      };
      const guessed = await session((what) => secrets.get(what)!.set);
      const madeUp = await session((what) => phantoms.get(what)!.set);
      assert.deepEqual(guessed, madeUp, org);
    }
    assertHeardNothing();
  });

  it('fault 16: digests of heads are the same before and after it is written', async () => {
    const heads = encodeHeads({ below: Buffer.alloc(8, 0xff), fingerprint: new Uint8Array(16), counts: [0, 0, 0] });
    const compare = async (rogue: Rogue): Promise<string> => {
      const stream = await rogue.open(acme, PUSH);
      let answer = Buffer.alloc(0);
      // What comes within a second of the last is not compared.
      await until(async () => {
        await stream.send(heads);
        answer = Buffer.from((await stream.receive())!);
        const said = decodePushAnswer(answer);
        return said.type === 'compared' && said.result !== 'unknown';
      }, 'the heads are compared');
      stream.abort(new Error('done'));
      return answer.toString('hex');
    };
    const fingerprints = async (rogue: Rogue): Promise<unknown> => {
      const { talk, vector } = await SyncTalk.next(rogue, acme);
      talk.end();
      const entries = vector.flatMap((frame) => (frame.type === 'vector' ? frame.entries : []));
      return entries.map(({ count, fingerprint }) => `${count} ${Buffer.from(fingerprint).toString('hex')}`).sort();
    };
    const look = async (): Promise<unknown> => {
      const seen: unknown[] = [];
      for (const rogue of rogues.values()) seen.push(await compare(rogue), await fingerprints(rogue));
      return seen;
    };
    const before = await look();
    for (let n = 0; n < 20; n++) {
      await acme.assert(`more-local-${n}`, { scope: 'local' });
      await acme.assert(`more-team-${n}`, { scope: 'team' });
      const { id } = await core.assert(`more-foreign-${n}`, { scope: 'company' });
      await until(async () => (await acme.get(id)) !== undefined, "core's reach acme");
    }
    assert.deepEqual(await look(), before);
  });

  it('fault 1: a stranger gets identify and declare, is noted, and hears nothing but who we are', async () => {
    const stranger = await Rogue.start({ org: 'stranger.example' });
    try {
      await stranger.dial(acme);
      const fetched = await stranger.ask(
        acme,
        FETCH,
        encodeFetchRequest({ type: 'statements', digests: [secrets.get('open')!.digest] }),
      );
      assert.deepEqual(fetched.frames, []);
      const pushed = await stranger.ask(acme, PUSH, encodePushBlock([stranger.sign('from nowhere')]));
      assert.deepEqual(pushed.frames, []);
      await assert.rejects(SyncTalk.open(stranger, acme));
      const say = await stranger.gossip(acme);
      say(encodeBlock([stranger.sign('by gossip')]));
      await acme.assert('after', { scope: 'public' });
      // Its grace may end at any moment, and its connection with it: then there is another one.
      await until(
        () =>
          stranger.declare(acme).then(
            ({ status }) => status === 'pending',
            () => false,
          ),
        'it declares itself, which takes it nowhere',
      );
      await until(() => !stranger.isConnected(acme), 'it is disconnected');
      assert.equal(acme.node.peers.get(stranger.peerId)?.state, 'pending');
      assert.ok((await acme.audit('peer_pending')).some(({ detail }) => detail?.peer_id === stranger.peerId));
      for (const { names } of secrets.values()) {
        for (const name of names.filter((one) => one !== 'memory'))
          assert.ok(!stranger.tap.heard(Buffer.from(name as string)));
      }
      assert.ok(!stranger.tap.heard(Buffer.from('"after"')));
      assert.deepEqual(acme.mesh.data.refused(stranger.peerId), {});
    } finally {
      await stranger.stop();
    }
  });

  it('fault 30: company facts of a third organisation are not passed on, to nobody and by no way', () => {
    const { statement, digest } = secrets.get('foreign')!;
    for (const rogue of rogues.values()) {
      assert.ok(!rogue.tap.heard(statement.bytes));
      assert.ok(!rogue.tap.heard(digest));
      assert.ok(!rogue.tap.heard(Buffer.from('more-foreign')));
    }
  });
});

/** A frame without what is random in it: tags by their place among those guessed, no digests of the session. */
function shape(frame: Frame, order: ReadonlyMap<string, number>): unknown {
  switch (frame.type) {
    case 'ask':
      return { ask: frame.tags.map((tag) => order.get(tag) ?? tag).sort() };
    case 'ranges':
      return { ranges: frame.sections.map(({ tag }) => order.get(tag)).sort() };
    case 'turn':
      return { ...frame, check: frame.check.length };
    case 'block':
      return { block: frame.statements.length };
    default:
      return frame;
  }
}

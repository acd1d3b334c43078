import assert from 'node:assert/strict';
import fc from 'fast-check';
import { type FactBody, formatHlc, sha256, statementId } from '../../../src/facts/index.ts';
import { peerIdFromPublicKey, rawPublicKey } from '../../../src/identity/index.ts';
import { withNode, withoutNode } from '../../../src/identity/manifest-edit.ts';
import type { WireStatement } from '../../../src/node/federation.ts';
import { reindex } from '../../../src/node/maintenance.ts';
import { admitPeer, keyOf, OPEN_TERMS, Org, type OrgNode, openOrgNode, Signer, send } from '../../support/node-pair.ts';
import { TestClock, who } from '../../support/test-node.ts';
import { checkAsync } from '../facts/runs.ts';

const RUNS = 40;
/** The same node in every run: its own statements have the same ids then. */
const SELF = { nodeKey: keyOf('self'), peerId: peerIdFromPublicKey(rawPublicKey(keyOf('self'))) };
const VALUES = ['a', 'b', 'c'];
const ENTITIES = ['user:alice', 'user:bob'];

/** What one node of the other organisation says, in short. */
const saying = fc.record({
  by: fc.constantFrom('first', 'second'),
  kind: fc.constantFrom('assert', 'assert', 'assert', 'deny', 'supersede', 'ttl', 'many'),
  entity: fc.constantFrom(...ENTITIES),
  value: fc.constantFrom(...VALUES),
  confidence: fc.constantFrom(1, 0.5),
  of: fc.nat(20),
});

/** A story of one organisation: its nodes, what they say, which of them is revoked and when, and how it reaches us. */
const story = fc.record({
  sayings: fc.array(saying, { minLength: 1, maxLength: 12 }),
  revokedAfter: fc.option(fc.nat(12), { nil: null }),
  ours: fc.array(fc.record({ entity: fc.constantFrom(...ENTITIES), value: fc.constantFrom(...VALUES) }), {
    maxLength: 2,
  }),
  orders: fc.array(fc.array(fc.nat(1000), { minLength: 16, maxLength: 16 }), { minLength: 2, maxLength: 2 }),
  batches: fc.array(fc.integer({ min: 1, max: 5 }), { minLength: 2, maxLength: 2 }),
  pairedAt: fc.array(fc.nat(8), { minLength: 2, maxLength: 2 }),
});

type Story = typeof story extends fc.Arbitrary<infer T> ? T : never;

/** A pairing that moves the sides of conflicts about, and leaves every conflict as it is. */
const REORDERED: Story = {
  sayings: (['b', 'a'] as const).map((value) => ({
    ...{ by: 'first', kind: 'assert', entity: 'user:alice', value, confidence: 1, of: 0 },
  })),
  revokedAfter: 0,
  ours: ['c', 'b'].map((value) => ({ entity: 'user:alice', value })),
  orders: [
    [0, 2, 0, 0, 0],
    [330, 5, 0, 413, 759],
  ],
  batches: [1, 1],
  pairedAt: [1, 0],
};

/** The same keys in every run: a failing seed can be replayed. */
function tell({ sayings, revokedAfter }: Story, clock: TestClock): { beta: Signer; wires: WireStatement[] } {
  const beta = new Signer('beta.example', clock.now, { seed: 'first' });
  const second = new Signer('beta.example', clock.now, { seed: 'second' });
  const hlc = (n: number): string => formatHlc(clock.ms - 1000 + n, 0);
  const signing = { orgKey: beta.org.key, now: clock.ms };
  const v1 = beta.org.manifest;
  const v2 = withNode(v1, { peerId: second.peerId }, signing);
  const manifests = [v1, v2];
  if (revokedAfter !== null) manifests.push(withoutNode(v2, second.peerId, hlc(revokedAfter), signing));
  const wires: WireStatement[] = [];
  for (const [n, { by, kind, entity, value, confidence, of }] of sayings.entries()) {
    const signer = by === 'first' ? beta : second;
    const earlier = wires.length === 0 ? null : statementId(sha256(wires[of % wires.length]!.bytes));
    const body: Partial<FactBody> = { entity, value: { type: 'string', v: value }, confidence };
    const source = 'stigmem://beta.example/agent/a';
    if (kind === 'deny') wires.push(signer.fact(hlc(n), { ...body, source, confidence: 0 }));
    else if (kind === 'many') {
      const relation = 'stigmem://beta.example/relation/memory:role';
      const declared = {
        entity: relation,
        relation: 'stigmem:cardinality',
        source,
        value: { type: 'string', v: 'many' },
      } as const;
      wires.push(signer.fact(hlc(n), declared));
    } else if (kind === 'ttl' && earlier) {
      const ttl = {
        entity: `fact:${earlier}`,
        relation: 'stigmem:ttl',
        source,
        value: { type: 'number', v: of * 60 },
      } as const;
      wires.push(signer.fact(hlc(n), ttl));
    } else {
      const terms = kind === 'supersede' && earlier ? { supersedes: [earlier] } : {};
      wires.push(signer.fact(hlc(n), { ...body, source }, terms));
    }
  }
  wires.push(...manifests.map((manifest, n) => beta.manifest(hlc(100 + n), manifest)));
  return { beta, wires };
}

/** Brings the statements in an order, in batches, and what was refused again and again until nothing new comes of it. */
async function deliver(
  t: OrgNode,
  relay: Signer,
  wires: readonly WireStatement[],
  size: number,
  pairAt: number,
  pairUp: () => Promise<unknown>,
) {
  let left = [...wires];
  let batches = 0;
  for (let progress = true; progress; ) {
    progress = false;
    const refused: WireStatement[] = [];
    for (let at = 0; at < left.length; at += size) {
      if (batches++ === pairAt) await pairUp();
      const slice = left.slice(at, at + size);
      const outcomes = await send(t, relay.peerId, slice);
      for (const [i, { status }] of outcomes.entries()) {
        if (status === 'refused') refused.push(slice[i]!);
        if (status === 'accepted') progress = true;
      }
    }
    if (batches <= pairAt) {
      await pairUp();
      batches = pairAt + 1;
      progress = true;
    }
    left = refused;
  }
  await t.node.settled();
}

/** Everything an agent can see. */
async function visible(t: OrgNode): Promise<unknown> {
  const { facts } = await t.node.facts.query(who, { limit: 500, include: ['history'] });
  const { conflicts } = await t.node.conflicts.list(who, { limit: 500 });
  return {
    facts: facts.map(({ id, state, contradicted, overruled, validUntil, sourceRevoked }) => [
      ...[id, state, contradicted, overruled, validUntil, sourceRevoked],
    ]),
    conflicts: conflicts.map(({ id, status, factA, factB }) => [id, status, factA.id, factB.id]).sort(),
  };
}

describe('arrival: what another organisation says', () => {
  it('comes to the same view in any order, manifests before or after the facts they vouch for, paired early or late', async () => {
    await checkAsync(
      fc.asyncProperty(story, async (given) => {
        const clock = new TestClock();
        const { beta, wires } = tell(given, clock);
        const views: unknown[] = [];
        for (const [run, order] of given.orders.entries()) {
          const own = new Org('acme.example', { peerId: SELF.peerId }, clock.now, keyOf('acme'));
          const t = await openOrgNode('acme.example', { clock, issuer: own, ...SELF });
          const relay = new Signer('relay.example', clock.now, { seed: 'relay' });
          await admitPeer(t, relay);
          for (const { entity, value } of given.ours) {
            const source = 'agent:ours';
            const body = {
              entity,
              relation: 'memory:role',
              value: { type: 'string', v: value },
              source,
              confidence: 1,
            };
            await t.node.facts.assert(who, { ...body, scope: 'public' });
          }
          const shuffled = wires
            .map((wire, n) => ({ wire, key: order[n % order.length]! * 100 + n }))
            .toSorted((a, b) => a.key - b.key);
          const pairUp = async () => {
            await t.node.manifests.accept(who, beta.org.manifest, { pin: true });
            await t.node.peers.approve(who, beta.peerId, OPEN_TERMS);
            await t.node.peers.declared(beta.peerId, beta.declared());
          };
          await deliver(
            t,
            relay,
            shuffled.map(({ wire }) => wire),
            given.batches[run]!,
            given.pairedAt[run]!,
            pairUp,
          );
          views.push(await visible(t));
          // And a rebuild from the log tells nothing else.
          await t.node.stop();
          assert.equal((await reindex(t.store, () => t.reopen())).changed, false);
        }
        assert.deepEqual(views[1], views[0]);
      }),
      RUNS,
      [[REORDERED]],
    );
  });
});

import assert from 'node:assert/strict';
import { type Digest, sha256 } from '../../../src/facts/index.ts';
import { encodeBlock } from '../../../src/mesh/block.ts';
import {
  BUSY_PATIENCE_MS,
  MANIFEST_RETRY_MS,
  MAX_GOSSIP_CHECKS,
  MAX_ORGS_ASKED,
} from '../../../src/mesh/data-limits.ts';
import { GossipIntake } from '../../../src/mesh/gossip.ts';
import { Intake, NotAdmitted } from '../../../src/mesh/intake.ts';
import { NodeError } from '../../../src/node/errors.ts';
import type { InboundOutcome, WireStatement } from '../../../src/node/federation.ts';
import type { InboundService } from '../../../src/node/mesh-services.ts';
import type { Pairing } from '../../../src/policy/sharing.ts';
import { commit, pairing } from '../../support/mesh-parts.ts';
import { Origin } from '../../support/origin.ts';
import { settle, TestWorld } from '../../support/test-world.ts';

const origin = new Origin('bolt.example');
const statements: WireStatement[] = [];
for (let n = 0; n < 6; n++) {
  const hlc = `1795262400000.00${n}`;
  const body = { entity: `stigmem://bolt.example/note/${n}`, scope: 'public' } as const;
  statements.push(await origin.state(hlc, body));
}

type Answer = 'accepted' | 'duplicate' | string | NodeError;

/** An intake over a node that answers as it is told to. */
function makeIntake(answer: (statement: WireStatement, attempt: number) => Answer) {
  const world = new TestWorld();
  const refused: [string, string, number, boolean | undefined][] = [];
  const calls: { readonly count: number; readonly only: unknown }[] = [];
  const asked: string[] = [];
  const terms: { pairing: Pairing | undefined; isSettling: boolean; knows: boolean } = {
    pairing: pairing(),
    isSettling: false,
    knows: true,
  };
  const admit: InboundService['admit'] = async ({ only }, list) => {
    calls.push({ count: list.length, only });
    return list.map((statement): InboundOutcome => {
      const digest = sha256(statement.bytes);
      const said = answer(statement, calls.length);
      if (said instanceof NodeError) throw said;
      if (said === 'accepted' || said === 'duplicate') return { status: said, digest };
      return { status: 'refused', digest, code: said, retryable: said === 'unknown_org' };
    });
  };
  const intake = new Intake({
    inbound: { admit },
    peering: { pairing: () => terms.pairing, isSettling: () => terms.isSettling },
    scores: { refuse: (...one) => refused.push(one as [string, string, number, boolean | undefined]) },
    world,
    learnManifest: async (_, authority) => {
      asked.push(authority);
      return terms.knows;
    },
    onOutcomes: () => {},
  });
  return { intake, world, refused, calls, asked, terms };
}

const digestOf = ({ bytes }: WireStatement): Digest => sha256(bytes);
const busy = new NodeError('busy', 'full', 'later');

describe('mesh: the way in', () => {
  it('remembers by which way a statement came until its commit is announced, and no longer', async () => {
    const [accepted, known, bad] = statements as [WireStatement, WireStatement, WireStatement];
    const { intake } = makeIntake((one) =>
      one === accepted ? 'accepted' : one === known ? 'duplicate' : 'bad_signature',
    );
    await intake.admit('peer', 'push', [accepted, known, bad]);
    assert.equal(intake.arrivals.get(digestOf(accepted)), 'push');
    assert.equal(intake.arrivals.size, 1);
  });

  it('knows what was committed lately, for those it is shared with', () => {
    const { intake } = makeIntake(() => 'accepted');
    const { digest, set } = commit(1);
    intake.held.set(digest, set);
    assert.ok(intake.isHeld(digest, pairing()));
    assert.ok(!intake.isHeld(digest, pairing({ ours: { gives: [] } })));
    assert.ok(!intake.isHeld(commit(2).digest, pairing()));
  });

  it('keeps the first of two ways', async () => {
    const [one] = statements as [WireStatement];
    const { intake } = makeIntake(() => 'accepted');
    await Promise.all([intake.admit('a', 'gossip', [one]), intake.admit('b', 'push', [one])]);
    assert.equal(intake.arrivals.get(digestOf(one)), 'gossip');
  });

  it('charges the peer for each refusal by its code, and not for what was on its way while terms changed', async () => {
    const codes = ['bad_signature', 'scope_violation', 'scope_violation'];
    const { intake, refused, terms } = makeIntake((one) => codes[statements.indexOf(one)]!);
    await intake.admit('peer', 'push', statements.slice(0, 3));
    assert.deepEqual(refused.splice(0), [
      ['peer', 'bad_signature', 1],
      ['peer', 'scope_violation', 2],
    ]);
    terms.isSettling = true;
    await intake.admit('peer', 'push', statements.slice(0, 3));
    assert.deepEqual(refused, [
      ['peer', 'bad_signature', 1],
      ['peer', 'scope_violation', 2, true],
    ]);
  });

  it('charges for what others said only whoever says it in its own name, and for its form whoever sends it', async () => {
    const codes = ['not_owner', 'bad_signature'];
    const { intake, refused, terms } = makeIntake((one) => codes[statements.indexOf(one)]!);
    const charged = async (peerId: string, peerOrg: string) => {
      terms.pairing = pairing({ peerOrg });
      await intake.admit(peerId, 'sync', statements.slice(0, 2));
      return refused.splice(0).map(([, code, count, isBlameless]) => [code, count, isBlameless === true]);
    };
    const form = ['bad_signature', 1, false];
    assert.deepEqual(await charged('relay', 'relay.example'), [['not_owner', 1, true], form]);
    assert.deepEqual(await charged('another node of it', origin.org), [['not_owner', 1, false], form]);
    assert.deepEqual(await charged(origin.peerId, 'relay.example'), [['not_owner', 1, false], form]);
  });

  it('tries nothing again of whom nothing was learned, and asks for so many manifests at once', async () => {
    const orgs = Array.from({ length: MAX_ORGS_ASKED + 1 }, (_, n) => new Origin(`o${n}.example`));
    const said = await Promise.all(orgs.map((one) => one.state('1795262400000.000', { scope: 'public' })));
    const { intake, calls, asked, terms } = makeIntake(() => 'unknown_org');
    terms.knows = false;
    const outcomes = await intake.admit('peer', 'sync', said);
    assert.ok(outcomes.every((one) => one.status === 'refused' && one.retryable));
    assert.deepEqual([calls.length, asked.length], [1, MAX_ORGS_ASKED]);
    const bad = makeIntake(() => 'bad_signature');
    await bad.intake.admit('peer', 'sync', said);
    assert.deepEqual([bad.calls.length, bad.asked], [1, []], 'nor is anybody asked for what would not help');
  });

  it('takes only public statements from gossip', async () => {
    const { intake, calls } = makeIntake(() => 'accepted');
    await intake.admit('peer', 'gossip', statements.slice(0, 1));
    await intake.admit('peer', 'sync', statements.slice(1, 2));
    assert.deepEqual(calls, [
      { count: 1, only: 'public' },
      { count: 1, only: undefined },
    ]);
  });

  it('asks for a missing manifest and tries once more, those alone that lacked it', async () => {
    const lacking = statements.slice(1, 3);
    const { intake, calls, asked, refused } = makeIntake((one, attempt) =>
      lacking.includes(one) && attempt === 1 ? 'unknown_org' : 'accepted',
    );
    const outcomes = await intake.admit('peer', 'push', statements.slice(0, 4));
    assert.ok(outcomes.every(({ status }) => status === 'accepted'));
    assert.deepEqual(
      calls.map(({ count }) => count),
      [4, 2],
    );
    assert.deepEqual(asked, ['bolt.example']);
    assert.deepEqual(refused, []);
  });

  it('does not ask a peer again for a while that could not give a manifest', async () => {
    const { intake, asked, terms, world } = makeIntake(() => 'unknown_org');
    terms.knows = false;
    for (let n = 0; n < 5; n++) await intake.admit('peer', 'push', statements);
    assert.equal(asked.length, 1);
    await intake.admit('other', 'push', statements);
    assert.equal(asked.length, 2, 'another one may have it');
    await world.advance(MANIFEST_RETRY_MS);
    await intake.admit('peer', 'push', statements);
    assert.equal(asked.length, 3);
    // Nor for longer when the clock is set back meanwhile.
    world.jump(-24 * 3_600_000);
    await intake.admit('peer', 'push', statements);
    await world.advance(MANIFEST_RETRY_MS);
    await intake.admit('peer', 'push', statements);
    assert.equal(asked.length, 4);
  });

  it('waits while the writer is busy, on streams, and gives up in the end', async () => {
    const { intake, world, calls } = makeIntake((_, attempt) => (attempt < 4 ? busy : 'accepted'));
    const waiting = intake.admit('peer', 'push', statements);
    await world.advance(1000);
    assert.ok((await waiting).every(({ status }) => status === 'accepted'));
    assert.equal(calls.length, 4);
    const stuck = makeIntake(() => busy);
    const failing = assert.rejects(stuck.intake.admit('peer', 'sync', statements), { code: 'busy' });
    await stuck.world.advance(3 * BUSY_PATIENCE_MS);
    await failing;
    assert.equal(stuck.intake.arrivals.size, 0);
    await assert.rejects(stuck.intake.admit('peer', 'gossip', statements), { code: 'busy' });
  });

  it('is closed to peers that are not active', async () => {
    const { intake, terms, calls } = makeIntake(() => 'accepted');
    terms.pairing = undefined;
    await assert.rejects(intake.admit('peer', 'push', statements), NotAdmitted);
    assert.equal(calls.length, 0);
    assert.equal(intake.arrivals.size, 0);
  });
});

describe('mesh: judging gossip', () => {
  const judge = (
    answer: Answer | ((one: WireStatement) => Answer),
    allowance = true,
    takesFrom: (of: string) => boolean = () => true,
  ) => {
    const parts = makeIntake((one) => (typeof answer === 'function' ? answer(one) : answer));
    const givenBack: string[] = [];
    const gossip = new GossipIntake({
      intake: parts.intake,
      gate: {
        tryTake: () => (allowance ? { allowed: true } : { allowed: false, retryAfterMs: 1 }),
        takesFrom: (of) => takesFrom(of),
        giveBack: (of) => void givenBack.push(of),
      },
      scores: { refuse: (...one) => void parts.refused.push(one as never), score: () => -5 },
      peering: { pairing: () => parts.terms.pairing, isSettling: () => parts.terms.isSettling },
      world: parts.world,
      onVerdict: () => {},
      onGap: () => {},
    });
    return { ...parts, gossip, givenBack };
  };
  const message = encodeBlock(statements.slice(0, 3));

  it('accepts what is new and good', async () => {
    const { gossip } = judge('accepted');
    assert.equal(await gossip.consume(message, 'peer'), 'accept');
    assert.ok(gossip.hasHeard(digestOf(statements[0]!)));
    assert.ok(!gossip.hasHeard(digestOf(statements[5]!)));
  });

  it('rejects what is forged, malformed or not public, whatever else is in the message', async () => {
    for (const code of ['bad_signature', 'not_canonical', 'invalid_value', 'scope_violation']) {
      const { gossip } = judge((one) => (Buffer.compare(one.bytes, statements[1]!.bytes) === 0 ? code : 'accepted'));
      assert.equal(await gossip.consume(message, 'peer'), 'reject', code);
    }
    const { gossip, refused, calls } = judge('accepted');
    for (const data of [Buffer.of(), Buffer.of(0), message.subarray(0, -1), Buffer.alloc(70_000)]) {
      assert.equal(await gossip.consume(data, 'peer'), 'reject');
    }
    assert.deepEqual(new Set(refused.map(([, code]) => code)), new Set(['malformed_frame']));
    assert.equal(calls.length, 0, 'and no work went into it');
  });

  it('ignores what honest peers may see otherwise, repeats, and what came while terms changed', async () => {
    for (const code of ['hlc_ahead', 'unknown_org', 'key_revoked', 'not_owner', 'quarantine_full', 'duplicate']) {
      assert.equal(await judge(code).gossip.consume(message, 'peer'), 'ignore', code);
    }
    const settling = judge('scope_violation');
    settling.terms.isSettling = true;
    assert.equal(await settling.gossip.consume(message, 'peer'), 'ignore');
    const narrowed: ReturnType<typeof judge> = judge(() => {
      narrowed.terms.pairing = pairing({ theirs: { namespaces: ['memory'] } });
      return 'scope_violation';
    });
    assert.equal(await narrowed.gossip.consume(message, 'peer'), 'ignore', 'while it was judged');
    const { gossip, calls, intake } = judge('accepted');
    for (const one of statements.slice(0, 3)) intake.held.set(digestOf(one), commit(1, { audience: 'public' }).set);
    assert.equal(await gossip.consume(message, 'peer'), 'ignore');
    assert.equal(calls.length, 0, 'what is known to be held is not asked of the node');
  });

  it('ignores peers that take no part, floods, and what the node has no time for', async () => {
    const narrow = judge('accepted');
    narrow.terms.pairing = pairing({ theirs: { namespaces: ['memory'] } });
    assert.equal(await narrow.gossip.consume(message, 'peer'), 'ignore');
    assert.ok(!narrow.gossip.admits('peer'));
    assert.ok(narrow.gossip.score('peer') < -100);
    assert.equal(judge('accepted').gossip.score('peer'), -5);
    const flooded = judge('accepted', false);
    assert.equal(await flooded.gossip.consume(message, 'peer'), 'ignore');
    assert.equal(flooded.refused[0]![1], 'over_quota');
    assert.equal(await judge(busy).gossip.consume(message, 'peer'), 'ignore');
  });

  it('fault 25: leaves out what is above the allowance of its source, whoever passes it on', async () => {
    const asked: string[] = [];
    const { gossip, calls, refused } = judge('accepted', true, (of) => asked.push(of) <= 2);
    assert.equal(await gossip.consume(message, 'peer'), 'ignore', 'what was not looked at is not passed on');
    assert.deepEqual(asked, Array(3).fill(origin.peerId));
    assert.deepEqual(calls, [{ count: 2, only: 'public' }], 'and the rest is kept');
    assert.deepEqual(refused, [], 'by no fault of the peer');
  });

  it('fault 25: nobody spends the allowance of another by naming it, or by saying again what it said', async () => {
    for (const code of ['unknown_org', 'not_owner', 'bad_signature', 'duplicate'] as const) {
      const { gossip, givenBack } = judge(code);
      await gossip.consume(message, 'peer');
      assert.deepEqual(givenBack, Array(3).fill(origin.peerId), code);
    }
    const failed = judge(busy);
    await failed.gossip.consume(message, 'peer');
    assert.equal(failed.givenBack.length, 3, 'it comes again');
    const { gossip, givenBack } = judge('accepted');
    await gossip.consume(message, 'peer');
    assert.deepEqual(givenBack, []);
  });

  it('examines a bounded number of messages at a time', async () => {
    const parts = judge('accepted');
    const gates: (() => void)[] = [];
    const gaps: string[] = [];
    const gossip = new GossipIntake({
      intake: {
        admit: () => new Promise((resolve) => gates.push(() => resolve([]))),
        isHeld: () => false,
      },
      gate: { tryTake: () => ({ allowed: true }), takesFrom: () => true, giveBack: () => {} },
      scores: { refuse: () => {}, score: () => 0 },
      peering: { pairing: () => parts.terms.pairing, isSettling: () => false },
      world: parts.world,
      onVerdict: () => {},
      onGap: (peerId) => gaps.push(peerId),
    });
    const running = Array.from({ length: MAX_GOSSIP_CHECKS }, (_, n) => gossip.consume(message, `peer ${n % 8}`));
    await settle();
    assert.equal(gossip.checks, MAX_GOSSIP_CHECKS);
    assert.deepEqual(gaps, []);
    assert.equal(await gossip.consume(message, 'another'), 'ignore');
    assert.deepEqual(gaps, ['another'], 'reconciliation has to bring it');
    for (const open of gates) open();
    await Promise.all(running);
    assert.equal(gossip.checks, 0);
    assert.equal(parts.world.pending, 0);
  });
});

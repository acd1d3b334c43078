import assert from 'node:assert/strict';
import { setImmediate as nextTurn } from 'node:timers/promises';
import { sha256, statementId } from '../../../src/facts/index.ts';
import { Intake, NotAdmitted } from '../../../src/mesh/intake.ts';
import { penaltyOf } from '../../../src/mesh/scores.ts';
import type { WireStatement } from '../../../src/node/federation.ts';
import type { Pairing } from '../../../src/policy/sharing.ts';
import { admitPeer, at, type OrgNode, openOrgNode, PUBLIC_TERMS, Signer } from '../../support/node-pair.ts';
import { TestClock, who } from '../../support/test-node.ts';
import { TestWorld } from '../../support/test-world.ts';

describe('mesh: what is on its way when the terms change', () => {
  let clock: TestClock;
  let acme: OrgNode;
  let beta: Signer;
  let terms: Pairing | undefined;
  let intake: Intake;
  let charged: string[];
  let isSettling: boolean;
  let statement: WireStatement;

  beforeEach(async () => {
    clock = new TestClock();
    acme = await openOrgNode('acme.example', { clock });
    beta = new Signer('beta.example', clock.now);
    terms = await admitPeer(acme, beta);
    charged = [];
    isSettling = true;
    intake = new Intake({
      inbound: acme.node.inbound,
      peering: { pairing: () => terms, isSettling: () => isSettling },
      scores: { refuse: (_, code, count, blameless) => charged.push(`${code} ${count} ${blameless}`) },
      world: new TestWorld(),
      learnManifest: async () => false,
      onOutcomes: () => {},
    });
    statement = beta.fact(at(clock), { scope: 'company' });
  });

  afterEach(() => acme.node.stop());

  const isHeld = async (): Promise<boolean> => {
    const found = acme.node.facts.get(who, statementId(sha256(statement.bytes)));
    return found.then(
      () => true,
      () => false,
    );
  };

  it('is refused when it is not shared any more, which is no offence', async () => {
    const admitting = intake.admit(beta.peerId, 'push', [statement]);
    terms = { ...terms!, ours: PUBLIC_TERMS };
    const [outcome] = await admitting;
    assert.equal(outcome!.status === 'refused' && outcome!.code, 'scope_violation');
    assert.equal(await isHeld(), false);
    assert.deepEqual(charged, ['scope_violation 1 true']);
  });

  it('is no offence either when the writer took longer than peers have to stop', async () => {
    const admitting = intake.admit(beta.peerId, 'push', [statement]);
    terms = { ...terms!, ours: PUBLIC_TERMS };
    isSettling = false;
    await admitting;
    assert.deepEqual(charged, ['scope_violation 1 true']);
    // What comes now was sent on the terms of now; to say the same again does not excuse it.
    const again = intake.admit(beta.peerId, 'push', [statement]);
    terms = { ...terms };
    await again;
    assert.deepEqual(charged.slice(1), ['scope_violation 1 undefined']);
  });

  it('is not taken from a peer that was suspended, removed or lost', async () => {
    const forged = { ...beta.fact(at(clock), { scope: 'company', relation: 'memory:forged' }), sig: statement.sig };
    const admitting = intake.admit(beta.peerId, 'push', [forged, statement]);
    await nextTurn();
    terms = undefined;
    const codes = (await admitting).map((outcome) => outcome.status === 'refused' && outcome.code);
    assert.deepEqual(codes, ['bad_signature', 'peer_refused']);
    assert.equal(await isHeld(), false);
    assert.equal(penaltyOf('peer_refused'), 0);
    assert.deepEqual(charged, ['bad_signature 1 undefined', 'peer_refused 1 undefined']);
    await assert.rejects(intake.admit(beta.peerId, 'push', [statement]), NotAdmitted);
    assert.equal(acme.node.readiness().ready, true);
    assert.equal(intake.arrivals.size, 0);
  });

  it('is taken when the terms are the same, or wider', async () => {
    const admitting = intake.admit(beta.peerId, 'push', [statement]);
    terms = { ...terms! };
    assert.deepEqual(
      (await admitting).map(({ status }) => status),
      ['accepted'],
    );
    assert.equal(await isHeld(), true);
  });
});

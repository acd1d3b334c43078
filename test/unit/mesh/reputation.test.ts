import assert from 'node:assert/strict';
import {
  BAN_SCORE,
  FIRST_BAN_MS,
  MAX_BAN_MS,
  MAX_REFUSAL_CODES,
  MAX_SCORED_PEERS,
  SCORE_HALF_LIFE_MS,
} from '../../../src/mesh/data-limits.ts';
import { isForgery, penaltyOf, Scores } from '../../../src/mesh/scores.ts';

interface Ban {
  readonly peerId: string;
  readonly code: string;
  readonly until: number;
}

function makeScores(): { scores: Scores; bans: Ban[]; clock: { now: number } } {
  const clock = { now: 1_000_000 };
  const bans: Ban[] = [];
  const scores = new Scores({
    now: () => clock.now,
    onBan: (peerId, code, until) => bans.push({ peerId, code, until }),
  });
  return { scores, bans, clock };
}

describe('mesh: reputation', () => {
  it('is neutral for who is not known', () => {
    const { scores } = makeScores();
    assert.equal(scores.score('a'), 0);
    assert.ok(!scores.isBanned('a'));
    assert.deepEqual(scores.refused('a'), {});
    assert.equal(scores.size, 0);
  });

  it('counts what was refused, and costs by what an honest peer could have sent', () => {
    const { scores } = makeScores();
    scores.refuse('a', 'bad_signature');
    scores.refuse('a', 'hlc_ahead', 3);
    scores.refuse('a', 'unknown_org', 50);
    assert.deepEqual(scores.refused('a'), { bad_signature: 1, hlc_ahead: 3, unknown_org: 50 });
    assert.equal(scores.score('a'), -(penaltyOf('bad_signature') + 3 * penaltyOf('hlc_ahead')));
    assert.equal(scores.score('b'), 0, 'and nobody else');
  });

  it('knows what nobody passes on in good faith', () => {
    for (const code of ['bad_signature', 'not_canonical', 'invalid_value', 'text_too_large', 'malformed_frame'])
      assert.ok(isForgery(code), code);
    for (const code of ['hlc_ahead', 'unknown_org', 'key_revoked', 'quarantine_full', 'not_owner', 'over_quota'])
      assert.ok(!isForgery(code), code);
  });

  it('forgets half in its half-life', () => {
    const { scores, clock } = makeScores();
    scores.refuse('a', 'scope_violation', 8);
    assert.equal(scores.score('a'), -80);
    clock.now += SCORE_HALF_LIFE_MS;
    assert.equal(Math.round(scores.score('a')), -40);
    clock.now += 20 * SCORE_HALF_LIFE_MS;
    assert.equal(scores.score('a'), 0);
  });

  it('cuts a peer off at its limit, once, and longer each time, up to a day', () => {
    const { scores, bans, clock } = makeScores();
    scores.refuse('a', 'scope_violation', 9);
    assert.equal(bans.length, 0);
    scores.refuse('a', 'scope_violation', 5);
    scores.refuse('a', 'bad_signature', 100);
    assert.deepEqual(bans, [{ peerId: 'a', code: 'scope_violation', until: clock.now + FIRST_BAN_MS }]);
    assert.ok(scores.isBanned('a'));
    assert.ok(scores.score('a') < BAN_SCORE, 'gossip does not listen to it either');
    for (let n = 1; n < 12; n++) {
      clock.now += MAX_BAN_MS;
      assert.ok(!scores.isBanned('a'));
      scores.refuse('a', 'bad_signature', 5);
      assert.equal(bans[n]!.until - clock.now, Math.min(MAX_BAN_MS, FIRST_BAN_MS * 2 ** n));
    }
  });

  it('lets a peer come back on probation', () => {
    const { scores, bans, clock } = makeScores();
    scores.refuse('a', 'bad_signature', 5);
    clock.now = bans[0]!.until;
    assert.ok(!scores.isBanned('a'));
    assert.ok(scores.score('a') < 0 && scores.score('a') > BAN_SCORE);
    scores.pardon('a');
    assert.equal(scores.score('a'), 0);
  });

  it('does not hold against a peer what was on its way while terms changed', () => {
    const { scores, bans } = makeScores();
    scores.refuse('a', 'scope_violation', 1000, true);
    assert.equal(scores.score('a'), 0);
    assert.equal(bans.length, 0);
    assert.deepEqual(scores.refused('a'), { scope_violation: 1000 });
  });

  it('is bounded in peers and codes, and forgets nobody who is cut off for somebody who is not', () => {
    const { scores } = makeScores();
    scores.refuse('bad', 'bad_signature', 5);
    for (let n = 0; n < MAX_SCORED_PEERS + 100; n++) scores.refuse(`peer ${n}`, 'hlc_ahead');
    assert.equal(scores.size, MAX_SCORED_PEERS);
    assert.ok(scores.isBanned('bad'));
    for (let n = 0; n < MAX_REFUSAL_CODES + 10; n++) scores.refuse('codes', `code_${n}`);
    const codes = scores.refused('codes');
    assert.equal(Object.keys(codes).length, MAX_REFUSAL_CODES + 1);
    assert.equal(codes.other, 10);
  });
});

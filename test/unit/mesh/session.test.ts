import assert from 'node:assert/strict';
import fc from 'fast-check';
import { Alarm } from '../../../src/mesh/alarm.ts';
import { Bans } from '../../../src/mesh/bans.ts';
import {
  ALL_STRANGERS_DECLARES_BURST,
  LONGEST_TIMER_MS,
  MAX_BANS,
  MAX_COUNTED_HOSTS,
  MAX_STRANGERS,
  PEER_DECLARES_BURST,
  STRANGER_DECLARES_BURST,
  STRANGER_DECLARES_PER_MINUTE,
} from '../../../src/mesh/control-limits.ts';
import { Session } from '../../../src/mesh/session.ts';
import { Strangers } from '../../../src/mesh/strangers.ts';
import { narrowed, sameTerms } from '../../../src/mesh/terms.ts';
import { namedSet } from '../../../src/policy/sets.ts';
import { isShared, type Pairing, type PeerTerms } from '../../../src/policy/sharing.ts';
import { TestWorld } from '../../support/test-world.ts';

const scopes = fc.subarray(['team', 'company', 'public'] as const);
const terms: fc.Arbitrary<PeerTerms> = fc.record({
  gives: scopes,
  takes: scopes,
  namespaces: fc.option(fc.subarray(['memory', 'roadmap', 'ci'])),
});

function makeTerms(changes: Partial<PeerTerms> = {}): PeerTerms {
  return { gives: ['public', 'company'], takes: ['public'], namespaces: null, ...changes };
}

describe('mesh: terms', () => {
  it('narrowed: shares exactly what both terms would share', () => {
    const sets = ['team', 'company', 'public'].flatMap((audience) =>
      ['memory', 'roadmap', 'other'].flatMap((namespace) =>
        ['acme.example', 'bolt.example'].map((org) => namedSet(audience as 'team', org, namespace)),
      ),
    );
    fc.assert(
      fc.property(terms, terms, terms, (one, other, theirs) => {
        const pair = (ours: PeerTerms): Pairing => ({ org: 'acme.example', peerOrg: 'bolt.example', ours, theirs });
        for (const set of sets) {
          const both = isShared(set, pair(one)) && isShared(set, pair(other));
          assert.equal(isShared(set, pair(narrowed(one, other))), both, set.name);
        }
        assert.ok(sameTerms(narrowed(one, other), narrowed(other, one)));
        assert.ok(sameTerms(narrowed(one, one), one));
      }),
    );
  });

  it('are the same in any order, and not when one of them says all', () => {
    assert.ok(sameTerms(makeTerms(), makeTerms({ gives: ['company', 'public'] })));
    assert.ok(!sameTerms(makeTerms(), makeTerms({ namespaces: [] })));
    assert.ok(!sameTerms(makeTerms({ namespaces: ['a'] }), makeTerms({ namespaces: ['a', 'b'] })));
  });
});

describe('mesh: session', () => {
  const orgs = { org: 'acme.example', peerOrg: 'bolt.example' };
  const open = (): Session => new Session({ peerId: 'p', remoteAddr: '/ip4/10.0.0.1/tcp/1', outbound: true });

  it('takes what was told last, in whatever order exchanges end', () => {
    const session = open();
    const [first, second] = [session.next(), session.next()];
    session.agree(orgs, { terms: makeTerms({ gives: ['company'] }), at: second }, { terms: makeTerms(), at: 200 });
    session.agree(
      orgs,
      { terms: makeTerms({ gives: ['public'] }), at: first },
      { terms: makeTerms({ takes: [] }), at: 100 },
    );
    assert.deepEqual(session.pairing?.ours.gives, ['company']);
    assert.deepEqual(session.pairing?.theirs.takes, ['public']);
  });

  it('narrows at once and widens once they were told', () => {
    const session = open();
    session.agree(orgs, { terms: makeTerms({ gives: ['public'] }), at: session.next() }, { terms: makeTerms(), at: 1 });
    const underWay = session.next();
    const before = session.narrow(makeTerms({ gives: ['company'], takes: ['public'] }));
    assert.deepEqual(before?.ours.gives, ['public']);
    assert.deepEqual(session.pairing?.ours.gives, [], 'what both allow, and that is nothing');
    session.agree(orgs, { terms: makeTerms({ gives: ['public'] }), at: underWay }, { terms: makeTerms(), at: 2 });
    assert.deepEqual(session.pairing?.ours.gives, [], 'an exchange that began before does not undo it');
    session.agree(
      orgs,
      { terms: makeTerms({ gives: ['company'] }), at: session.next() },
      { terms: makeTerms(), at: 3 },
    );
    assert.deepEqual(session.pairing?.ours.gives, ['company']);
  });

  it('says that nothing stopped when terms only became wider', () => {
    const session = open();
    session.agree(orgs, { terms: makeTerms({ gives: ['public'] }), at: session.next() }, { terms: makeTerms(), at: 1 });
    assert.equal(session.narrow(makeTerms({ gives: ['public', 'company'] })), undefined);
    assert.deepEqual(session.pairing?.ours.gives, ['public']);
  });
});

describe('mesh: alarm', () => {
  it('runs at moments further away than a timer reaches', async () => {
    const world = new TestWorld();
    const start = world.now();
    const ran: number[] = [];
    const alarm = new Alarm(world, () => ran.push(world.now()));
    const at = start + 3.5 * LONGEST_TIMER_MS;
    alarm.set(at);
    await world.advance(4 * LONGEST_TIMER_MS);
    assert.deepEqual(ran, [at]);
    assert.equal(world.pending, 0);
  });

  it('forgets a moment for another, or for none', async () => {
    const world = new TestWorld();
    let runs = 0;
    const alarm = new Alarm(world, () => {
      runs += 1;
    });
    alarm.set(world.now() + 1000);
    alarm.set(world.now() + 5000);
    await world.advance(2000);
    assert.equal(runs, 0);
    alarm.set(null);
    await world.advance(10_000);
    assert.equal(runs, 0);
    assert.equal(world.pending, 0);
  });

  it('runs at once for what is past', async () => {
    const world = new TestWorld();
    let runs = 0;
    const alarm = new Alarm(world, () => {
      runs += 1;
    });
    alarm.set(world.now() - 5000);
    await world.advance(1);
    assert.equal(runs, 1);
  });
});

describe('mesh: strangers and bans', () => {
  it(`remembers ${MAX_STRANGERS} strangers, the newest`, () => {
    const strangers = new Strangers(() => 0);
    for (let n = 0; n < MAX_STRANGERS + 10; n++) strangers.note(`peer${n}`, '/ip4/10.0.0.1/tcp/1', n);
    assert.equal(strangers.list().length, MAX_STRANGERS);
    assert.equal(strangers.get('peer9'), undefined);
    assert.equal(strangers.get('peer10')?.firstSeenAt, 10);
    assert.equal(strangers.count, MAX_STRANGERS + 10);
    strangers.note('peer10', '/ip4/10.0.0.1/tcp/2', 999);
    assert.deepEqual(strangers.get('peer10'), {
      peerId: 'peer10',
      remoteAddr: '/ip4/10.0.0.1/tcp/2',
      firstSeenAt: 10,
      lastSeenAt: 999,
    });
  });

  it('lets the strangers of a host declare so often, those of all hosts, and each peer for itself', () => {
    let now = 0;
    const strangers = new Strangers(() => now);
    const at = (host: number): string => `/ip4/192.0.2.${host}/tcp/1`;
    const served = (from: string | null, tries: number): number => {
      const may = (n: number): boolean => strangers.mayDeclare(from === null ? 'peer' : `s${n}`, from);
      return Array.from({ length: tries }, (_, n) => may(n)).filter(Boolean).length;
    };
    assert.equal(served(at(1), 100), STRANGER_DECLARES_BURST);
    assert.equal(served(at(2), 100), STRANGER_DECLARES_BURST, 'another host has its own');
    assert.equal(served(null, 100), PEER_DECLARES_BURST);
    now += 60_000;
    assert.equal(served(at(1), 1000), STRANGER_DECLARES_BURST);
    now += 60_000 / STRANGER_DECLARES_PER_MINUTE;
    assert.equal(served(at(1), 10), 1);
    assert.ok(strangers.mayDeclare('another', null));
    now += 60_000;
    const ofAll = Array.from({ length: 20 }, (_, host) => served(at(host), 100)).reduce((sum, n) => sum + n, 0);
    assert.equal(ofAll, ALL_STRANGERS_DECLARES_BURST);
  });

  it('counts the strangers of so many hosts', () => {
    const strangers = new Strangers(() => 0);
    const host = (n: number): string => `/ip4/10.0.${n >> 8}.${n & 255}/tcp/1`;
    while (strangers.mayDeclare('s', host(0)));
    for (let n = 1; n <= MAX_COUNTED_HOSTS; n++) strangers.mayDeclare('s', host(n));
    assert.ok(strangers.hosts <= MAX_COUNTED_HOSTS);
  });

  it(`bans until a moment, ${MAX_BANS} peers at most`, () => {
    let now = 1000;
    const bans = new Bans(() => now);
    bans.add('a', 2000);
    assert.ok(bans.has('a'));
    now = 2000;
    assert.ok(!bans.has('a'));
    for (let n = 0; n < MAX_BANS + 1; n++) bans.add(`p${n}`, 9000);
    assert.ok(!bans.has('p0'));
    assert.ok(bans.has('p1'));
    bans.lift('p1');
    assert.ok(!bans.has('p1'));
  });
});

import assert from 'node:assert/strict';
import {
  MAX_PEER_WARNINGS,
  MAX_REFUSAL_KINDS,
  MAX_REFUSING_PEERS,
  REFUSAL_AUDIT_MS,
  WARNING_MS,
} from '../../../src/node/mesh-limits.ts';
import { Refusals } from '../../../src/node/refusals.ts';
import type { AuditEvent } from '../../../src/node/services.ts';
import { Warnings } from '../../../src/node/warnings.ts';
import type { Group } from '../../../src/node/writer.ts';
import { TestClock } from '../../support/test-node.ts';

describe('refusals of peers', () => {
  let clock: TestClock;
  let audited: AuditEvent[];
  let failure: Error | undefined;
  let refusals: Refusals;

  beforeEach(() => {
    clock = new TestClock();
    audited = [];
    failure = undefined;
    const writer = {
      submit: async <T>(_weight: number, prepare: (group: Group) => Promise<T> | T): Promise<T> => {
        if (failure) throw failure;
        return prepare({ audit: (event: AuditEvent) => audited.push(event) } as unknown as Group);
      },
    };
    refusals = new Refusals({ writer, now: clock.now });
  });

  const note = (peerId: string, code = 'bad_signature', count = 1) =>
    refusals.note({ type: 'statement_refused', peerId, code, count, detail: { statement: 'x' } });
  const entries = () => audited.map(({ detail }) => `${detail!.peer_id} ${detail!.code} ${detail!.count}`);

  it('are written at once, then once a minute with what came meanwhile, each kind by itself', () => {
    note('a');
    note('a');
    note('a', 'bad_signature', 5);
    note('a', 'not_owner');
    note('b');
    assert.deepEqual(entries(), ['a bad_signature 1', 'a not_owner 1', 'b bad_signature 1']);
    clock.advance(REFUSAL_AUDIT_MS - 1);
    refusals.flush();
    assert.equal(audited.length, 3);
    clock.advance(1);
    refusals.flush();
    assert.deepEqual(entries().slice(3), ['a bad_signature 6']);
    assert.equal(audited[3]!.who.entity, 'peer:a');
    clock.advance(10 * REFUSAL_AUDIT_MS);
    refusals.flush();
    assert.equal(audited.length, 4, 'nothing is written about nothing');
  });

  it('that wait are written when the node stops', () => {
    note('a');
    note('a', 'bad_signature', 3);
    refusals.flush(true);
    assert.deepEqual(entries(), ['a bad_signature 1', 'a bad_signature 3']);
  });

  it('of very many kinds lose no count, and memory stays bounded', () => {
    for (let n = 0; n < MAX_REFUSAL_KINDS + 50; n++) {
      note(`peer ${n}`);
      note(`peer ${n}`);
    }
    clock.advance(REFUSAL_AUDIT_MS);
    refusals.flush();
    const total = audited.reduce((sum, { detail }) => sum + (detail!.count as number), 0);
    assert.equal(total, 2 * (MAX_REFUSAL_KINDS + 50));
  });

  it('are counted by peer and code, of the peers refused last', () => {
    note('first', 'bad_signature', 7);
    note('first', 'hlc_ahead');
    assert.deepEqual(refusals.of('first'), { bad_signature: 7, hlc_ahead: 1 });
    assert.deepEqual(refusals.of('nobody'), {});
    refusals.note({ type: 'invite_refused', peerId: 'first', code: 'invite_spent' });
    assert.equal(refusals.of('first').invite_spent, undefined, 'statements alone');
    for (let n = 0; n < MAX_REFUSING_PEERS; n++) note(`peer ${n}`);
    assert.deepEqual(refusals.of('first'), {});
    assert.deepEqual(refusals.of('peer 0'), { bad_signature: 1 });
  });

  it('that a failing disk does not take are counted all the same', async () => {
    failure = new Error('EIO');
    note('a');
    await refusals.settled();
    assert.deepEqual(refusals.of('a'), { bad_signature: 1 });
  });
});

describe('warnings about peers', () => {
  it('are shown for a day, one of each thing, the newest ones', () => {
    const clock = new TestClock();
    const warnings = new Warnings(clock.now);
    warnings.add('x', 'first');
    warnings.add('y', 'other');
    warnings.add('x', 'second');
    assert.deepEqual(warnings.list(), ['other', 'second']);
    clock.advance(WARNING_MS - 1);
    warnings.add('z', 'late');
    clock.advance(1);
    assert.deepEqual(warnings.list(), ['late']);
    for (let n = 0; n < MAX_PEER_WARNINGS; n++) warnings.add(String(n), `warning ${n}`);
    assert.equal(warnings.list().length, MAX_PEER_WARNINGS);
    assert.ok(!warnings.list().includes('late'));
  });
});

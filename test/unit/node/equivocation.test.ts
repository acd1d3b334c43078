import assert from 'node:assert/strict';
import { type Statement, sha256 } from '../../../src/facts/index.ts';
import { Equivocations } from '../../../src/node/equivocation.ts';
import { REFUSAL_AUDIT_MS } from '../../../src/node/mesh-limits.ts';
import { Warnings } from '../../../src/node/warnings.ts';
import { EMPTY_HEAD, Group } from '../../../src/node/writer.ts';
import { who } from '../../support/test-node.ts';

describe('equivocations that are noticed', () => {
  const [one, other] = ['one', 'other'].map((text) => sha256(Buffer.from(text))) as [Uint8Array, Uint8Array];
  const statement = { origin: 'o', org: 'beta.example', hlc: '1' } as Statement;
  let equivocations: Equivocations;

  beforeEach(() => {
    const sets = { sameReading: async () => other };
    equivocations = new Equivocations({ sets, warnings: new Warnings(() => 0) });
  });

  /** Looks at one so many times in one group. @returns the audit entries that it holds */
  const look = async (group: Group, times = 1): Promise<number> => {
    for (let n = 0; n < times; n++) await equivocations.look(group, who, statement, one);
    return group.head.auditSeq;
  };
  const commit = (group: Group): void => {
    for (const hook of group.afterCommit) hook();
  };

  it('fault 8: are audited and counted by the group that is written, not by one that is given up or fails', async () => {
    assert.equal(await look(new Group(EMPTY_HEAD, 1000, 100)), 1);
    assert.equal(equivocations.count, 0);
    const again = new Group(EMPTY_HEAD, 1001, 100);
    assert.equal(await look(again), 1);
    commit(again);
    assert.equal(equivocations.count, 1);
  });

  it('fault 8: are audited once a minute of each origin, within a group and over several', async () => {
    const first = new Group(EMPTY_HEAD, 1000, 100);
    assert.equal(await look(first, 3), 1);
    commit(first);
    const second = new Group(EMPTY_HEAD, 2000, 100);
    assert.equal(await look(second, 2), 0);
    commit(second);
    const later = new Group(EMPTY_HEAD, 1000 + REFUSAL_AUDIT_MS, 100);
    assert.equal(await look(later), 1);
    commit(later);
    assert.equal(equivocations.count, 6);
    const entry = later.ops.map((op) => (op.type === 'put' ? Buffer.from(op.value).toString('utf8') : '')).join('');
    assert.match(entry, /"count":5\b/, 'those since the last entry, and this one');
  });
});

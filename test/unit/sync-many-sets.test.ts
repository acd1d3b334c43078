import assert from 'node:assert/strict';
import { formatHlc, sha256 } from '../../src/facts/index.ts';
import { type SyncAction, type SyncResult, SyncSession } from '../../src/sync/index.ts';
import { MAX_VECTOR_SETS, SETS_PER_STEP } from '../../src/sync/limits.ts';
import { SetIndex } from '../../src/sync/set-index.ts';

const SETS = 3 * MAX_VECTOR_SETS + 1;
const NOW = 1_795_249_733_735;

/** How many sets were looked at. */
let looked = 0;

class CountingIndex extends SetIndex {
  override fingerprint(): Uint8Array {
    looked += 1;
    return super.fingerprint();
  }
}

function insert(index: SetIndex, what: string): void {
  index.insert(formatHlc(NOW, 0), sha256(Buffer.from(`${index.name} ${what}`)));
}

function makeSets(): SetIndex[] {
  return Array.from({ length: SETS }, (_, n) => {
    const index = new CountingIndex(`public/acme.example/topic-${n}`);
    insert(index, 'first');
    return index;
  });
}

class Side {
  readonly session: SyncSession;
  readonly inbox: Uint8Array[] = [];
  isReading = false;
  result: SyncResult | undefined;
  yields = 0;
  /** Most sets that one call looked at. */
  most = 0;

  constructor(role: 'initiator' | 'responder', sets: readonly SetIndex[]) {
    const nonce = new Uint8Array(16).fill(role.length);
    this.session = this.#measured(() => new SyncSession({ role, nonce, sets, now: 0 }));
  }

  step(other: Side): void {
    if (this.result) return;
    const action = this.isReading ? this.#read() : this.#measured(() => this.session.next(0));
    if (action === undefined) return;
    if (action.do === 'send') other.inbox.push(action.frame);
    else if (action.do === 'receive') this.isReading = true;
    else if (action.do === 'yield') this.yields += 1;
    else if (action.do === 'end') this.result = action.result;
    else assert.fail(`${action.do}: nothing is missing anywhere`);
  }

  #read(): SyncAction | undefined {
    const frame = this.inbox.shift();
    if (frame === undefined) return;
    this.isReading = false;
    this.#measured(() => this.session.receive(frame, 0));
    return;
  }

  #measured<T>(run: () => T): T {
    looked = 0;
    const result = run();
    this.most = Math.max(this.most, looked);
    return result;
  }
}

function hold(a: Side, b: Side): void {
  for (let n = 0; !(a.result && b.result); n++) {
    assert.ok(n < 10_000, 'the session ends');
    a.step(b);
    b.step(a);
  }
}

describe('sync: many sets', () => {
  it('are gone through a slice at a time, so that nobody waits for all of them', () => {
    const [ours, theirs] = [makeSets(), makeSets()];
    const equal = [new Side('initiator', ours), new Side('responder', theirs)] as const;
    hold(...equal);
    assert.deepEqual([equal[0].result?.outcome, equal[1].result?.outcome], ['converged', 'converged']);
    // One set is not shared, so that the responder sends its vector, and both check all the others at the end.
    const other = new CountingIndex('public/acme.example/zero');
    insert(other, 'first');
    const sides = [new Side('initiator', ours), new Side('responder', [...theirs, other])] as const;
    hold(...sides);
    assert.deepEqual(sides[1].result?.notShared, ['public/acme.example/zero']);
    for (const { result } of sides) assert.equal(result?.outcome, 'converged');
    for (const side of [...equal, ...sides]) {
      assert.ok(side.most > 0 && side.most <= MAX_VECTOR_SETS, `${side.most} sets in one call`);
    }
    for (const side of sides) assert.ok(side.yields > (2 * SETS) / SETS_PER_STEP, `${side.yields} pauses`);
  });
});

import assert from 'node:assert/strict';
import { EventEmitter } from 'node:events';
import type { ServerResponse } from 'node:http';
import { ANSWER_DRAIN_MS, MAX_PAGES_AT_ONCE, MAX_UNREAD_BYTES } from '../../../src/api/limits.ts';
import { PageGate } from '../../../src/api/page-gate.ts';

/** As much of an answer as the gate looks at. */
class FakeResponse extends EventEmitter {
  destroyed = false;
  stall: (() => void) | undefined;
  drainMs: number | undefined;

  setTimeout(ms: number, stall: () => void): void {
    this.drainMs = ms;
    this.stall = stall;
  }

  destroy(): void {
    this.destroyed = true;
    this.emit('close');
  }
}

const held = (gate: PageGate, bytes: number): FakeResponse => {
  const response = new FakeResponse();
  gate.hold(bytes, response as unknown as ServerResponse);
  return response;
};

describe('page gate', () => {
  it(`makes ${MAX_PAGES_AT_ONCE} pages at a time, in the order they were asked for`, async () => {
    const gate = new PageGate();
    const begun: number[] = [];
    const ends: (() => void)[] = [];
    const pages = Array.from({ length: MAX_PAGES_AT_ONCE + 3 }, (_, n) =>
      gate.run(() => {
        begun.push(n);
        return new Promise<number>((resolve) => ends.push(() => resolve(n)));
      }),
    );
    await Promise.resolve();
    assert.equal(begun.length, MAX_PAGES_AT_ONCE);
    ends[0]!();
    assert.equal(await pages[0], 0);
    await new Promise(setImmediate);
    assert.deepEqual(begun.slice(MAX_PAGES_AT_ONCE), [MAX_PAGES_AT_ONCE]);
    for (let n = 1; n < pages.length; n++) {
      ends[n]!();
      assert.equal(await pages[n], n);
      await new Promise(setImmediate);
    }
    assert.equal(begun.length, pages.length);
  });

  it('gives its place back when making a page fails', async () => {
    const gate = new PageGate();
    for (let n = 0; n < 2 * MAX_PAGES_AT_ONCE; n++) {
      await assert.rejects(
        gate.run(() => Promise.reject(new Error('no'))),
        /no/,
      );
    }
    assert.equal(await gate.run(async () => 1), 1);
  });

  it('begins no page while too much waits to be read, and goes on once it was', async () => {
    const gate = new PageGate();
    const [first, second] = [held(gate, MAX_UNREAD_BYTES), held(gate, 1)];
    assert.equal(gate.unread, MAX_UNREAD_BYTES + 1);
    await assert.rejects(
      gate.run(async () => 1),
      { code: 'busy' },
    );
    first.emit('close');
    second.emit('close');
    assert.equal(gate.unread, 0);
    assert.equal(await gate.run(async () => 1), 1);
  });

  it('cuts off a reader that takes nothing, and does not count one that is gone already', () => {
    const gate = new PageGate();
    const response = held(gate, 1000);
    assert.equal(response.drainMs, ANSWER_DRAIN_MS);
    response.stall!();
    assert.equal(response.destroyed, true);
    const gone = new FakeResponse();
    gone.destroyed = true;
    gate.hold(1000, gone as unknown as ServerResponse);
    assert.equal(gate.unread, 0);
  });
});

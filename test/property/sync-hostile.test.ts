import assert from 'node:assert/strict';
import fc from 'fast-check';
import { formatHlc } from '../../src/facts/index.ts';
import { FRAME, type Frame, MODE, type Range } from '../../src/sync/frames.ts';
import { SYNC_REASONS, type SyncResult } from '../../src/sync/index.ts';
import { compareKeys, END_KEY, FIRST_KEY, type Key, keyOf } from '../../src/sync/key.ts';
import { fakeStatement, runPair, SyncSide } from '../support/sync-pair.ts';
import { ScriptedPeer } from '../support/sync-script.ts';
import { check } from './facts/runs.ts';

const SET = 'public/acme.example/memory';
const START = 1_795_244_001_000;
/** Small enough to be reached. */
const BUDGET = {
  rounds: 6,
  frames: 60,
  bytes: 200_000,
  statementBytesIn: 20_000,
  statementBytesOut: 20_000,
  ids: 500,
  work: 20_000,
};

function sideOf(from: number, count: number): SyncSide {
  const side = new SyncSide();
  side.index(SET);
  for (let n = from; n < from + count; n++) side.add(fakeStatement(SET, formatHlc(START + n, 0), n));
  return side;
}

/** It ended, said why, and stayed within its budget, but for the one frame, range or batch that went beyond. */
function assertBounded({ outcome, reason, counters }: SyncResult): void {
  if (outcome !== 'converged') assert.ok(reason && reason in SYNC_REASONS);
  assert.ok(counters.framesIn <= BUDGET.frames + 1);
  assert.ok(counters.bytesIn <= BUDGET.bytes + 256 * 1024);
  assert.ok(counters.bytesOut <= BUDGET.bytes + 300_000, `${counters.bytesOut} bytes out`);
  assert.ok(counters.statementBytesOut <= BUDGET.statementBytesOut);
  assert.ok(counters.idsOut <= BUDGET.ids);
  assert.ok(counters.work <= BUDGET.work + 20_000, `${counters.work} units of work`);
  assert.ok(counters.turns <= 4 * BUDGET.rounds);
}

const key: fc.Arbitrary<Key> = fc.oneof(
  fc.constantFrom(FIRST_KEY, END_KEY),
  fc
    .tuple(fc.integer({ min: START - 5, max: START + 400 }), fc.nat({ max: 3 }), fc.nat({ max: 400 }))
    .map(([wall, counter, n]) =>
      keyOf(formatHlc(wall, counter), fakeStatement(SET, formatHlc(START + n, 0), n).digest),
    ),
);
const fingerprint = fc.uint8Array({ minLength: 16, maxLength: 16 });
const descending = (keys: readonly Key[]): Key[] =>
  [...keys]
    .sort((a, b) => compareKeys(b, a))
    .filter((one, at, all) => at === 0 || compareKeys(one, all[at - 1]!) !== 0);

/** Ranges in good order that say anything whatever. */
const section = fc
  .tuple(fc.array(key, { minLength: 2, maxLength: 12 }), fc.infiniteStream(fc.tuple(fc.nat({ max: 2 }), fingerprint)))
  .map(([keys, modes]) => {
    const [upper, ...lowers] = descending(keys);
    const ranges = lowers.map((lower, at): Range => {
      const [mode, fingerprint] = modes.next().value!;
      if (mode === MODE.skip) return { mode, lower };
      if (mode === MODE.fingerprint) return { mode, lower, fingerprint };
      const high = at === 0 ? upper! : lowers[at - 1]!;
      const ids = keys.map((one) =>
        keyOf(formatHlc(START + (one[1]! % 300), 0), fakeStatement(SET, '', one[9]!).digest),
      );
      return {
        mode: MODE.ids,
        lower,
        ids: descending(ids).filter((id) => compareKeys(id, high) < 0 && compareKeys(id, lower) >= 0),
      };
    });
    return { upper: upper!, ranges };
  })
  .filter(({ ranges }) => ranges.length > 0);

/** Frames in good form, in any order, that say anything whatever. */
const lie = (tags: readonly string[]): fc.Arbitrary<Frame> => {
  const tag = fc.constantFrom(...tags);
  return fc.oneof(
    {
      weight: 5,
      arbitrary: fc
        .tuple(tag, section)
        .map(([tag, section]): Frame => ({ type: 'ranges', sections: [{ tag, ...section }] })),
    },
    fc.array(tag, { minLength: 1, maxLength: 3 }).map((tags): Frame => ({ type: 'ask', tags })),
    fc.constantFrom(SET, 'team/acme.example/secret').map((name): Frame => ({ type: 'names', names: [name] })),
    fc
      .uniqueArray(fc.nat({ max: 40 }), { minLength: 1, maxLength: 5 })
      .map((list): Frame => ({ type: 'want', ordinals: list.sort((a, b) => a - b) })),
    fc
      .nat({ max: 500 })
      .map((n): Frame => ({ type: 'block', statements: [fakeStatement(SET, formatHlc(START + n, 0), n, n)] })),
    {
      weight: 5,
      arbitrary: fc
        .record({
          fin: fc.constantFrom(false, false, false, true),
          pending: fc.boolean(),
          truncated: fc.boolean(),
          changed: fc.boolean(),
          gone: fc.nat(),
          refused: fc.nat(),
          check: fingerprint,
        })
        .map((turn): Frame => ({ type: 'turn', ...turn })),
    },
  );
};

describe('sync, properties: hostile peers', () => {
  it('fault 26: bytes that are no frames end a session and throw nothing', () => {
    const bytes = fc.oneof(
      fc.uint8Array({ maxLength: 300 }),
      fc
        .tuple(fc.constantFrom(...Object.values(FRAME)), fc.uint8Array({ maxLength: 300 }))
        .map(([type, rest]) => Buffer.of(type, ...rest)),
    );
    const role = fc.constantFrom('initiator' as const, 'responder' as const);
    check(
      fc.property(role, fc.boolean(), fc.array(bytes, { minLength: 1, maxLength: 8 }), (role, hasBegun, frames) => {
        const peer = new ScriptedPeer(sideOf(0, 100), role, { budget: BUDGET });
        if (hasBegun) peer.begin();
        peer.give(...frames);
        peer.session.close('disconnected');
        assertBounded(peer.result()!);
      }),
      150,
    );
  });

  it('fault 26: frames damaged on their way never make a session throw, run on, or call different sets equal', () => {
    const damage = fc.record({
      frame: fc.nat({ max: 12 }),
      at: fc.nat({ max: 1000 }),
      how: fc.constantFrom('flip', 'cut', 'twice', 'insert'),
      bits: fc.integer({ min: 1, max: 255 }),
    });
    check(
      fc.property(fc.array(damage, { minLength: 1, maxLength: 3 }), fc.nat({ max: 300 }), (damages, shift) => {
        const [a, b] = [sideOf(0, 300), sideOf(shift, 200)];
        let count = 0;
        const { initiator, responder } = runPair(a, b, {
          initiator: { budget: BUDGET },
          responder: { budget: BUDGET },
          onFrame: (frame) => {
            const now = damages.filter((one) => one.frame === count);
            count += 1;
            return now.reduce<Uint8Array>((bytes, { at, how, bits }) => {
              const place = at % (bytes.length + 1);
              if (how === 'cut') return bytes.subarray(0, place);
              if (how === 'twice') return Buffer.concat([bytes, bytes]);
              if (how === 'insert')
                return Buffer.concat([bytes.subarray(0, place), Buffer.of(bits), bytes.subarray(place)]);
              const flipped = Buffer.from(bytes);
              if (place < flipped.length) flipped[place]! ^= bits;
              return flipped;
            }, frame);
          },
        });
        assertBounded(initiator);
        assertBounded(responder);
        if (initiator.outcome === 'converged' && responder.outcome === 'converged') {
          assert.deepEqual(a.index(SET).fingerprint(), b.index(SET).fingerprint());
        }
        assert.equal(runPair(a, b).initiator.outcome, 'converged');
      }),
      100,
    );
  });

  it('fault 26: false fingerprints, counts, ids, wants and promises in good form cost no more than the budget', () => {
    const role = fc.constantFrom('initiator' as const, 'responder' as const);
    const lies = (role: 'initiator' | 'responder'): fc.Arbitrary<Frame[]> => {
      const peer = new ScriptedPeer(sideOf(0, 0), role);
      const all = [peer.tag(SET), peer.tag(SET), peer.tag('team/acme.example/secret')];
      return fc.array(lie(all), { maxLength: 60 });
    };
    check(
      fc.property(
        role.chain((role) => fc.tuple(fc.constant(role), lies(role))),
        fc.nat({ max: 2 ** 40 }),
        ([role, frames], count) => {
          const side = sideOf(0, 300);
          const peer = new ScriptedPeer(side, role, { budget: BUDGET }).begin();
          if (role === 'initiator') {
            const entry = {
              tag: peer.tag(SET),
              count: count + 1,
              fingerprint: Buffer.alloc(16, 5),
              newest: keyOf(formatHlc(START + (count % 400), 0), Buffer.alloc(32)),
            };
            peer.give({ type: 'vector', entries: [entry] }, peer.turn());
          }
          peer.give(...frames);
          peer.session.close('disconnected');
          const result = peer.result()!;
          assertBounded(result);
          assert.notEqual(result.outcome, 'converged', 'nothing it said was true');
        },
      ),
      150,
    );
  });
});

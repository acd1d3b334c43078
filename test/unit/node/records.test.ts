import assert from 'node:assert/strict';
import fc from 'fast-check';
import { decodeEntry, encodeEntry, type StoredEntry } from '../../../src/node/records.ts';
import { StoreError } from '../../../src/store/store.ts';

const hex = (bytes: number) =>
  fc.uint8Array({ minLength: bytes, maxLength: bytes }).map((digest) => Buffer.from(digest).toString('hex'));
const instant = fc.option(fc.integer({ min: -8.64e15, max: 8.64e15 }));
const entry = fc.record({
  id: hex(32),
  hlc: fc.constant('1700000000000.007'),
  org: fc.domain(),
  confidence: fc.double({ min: 0, max: 1, noNaN: true }),
  value: hex(32),
  claim: hex(32),
  terms: hex(16),
  source: hex(16),
  until: instant,
  ownUntil: instant,
  supersededBy: fc.option(hex(32)),
  state: fc.constantFrom('current', 'losing', 'retraction', 'dispute', 'retracted', 'superseded', 'expired'),
  contradicted: fc.boolean(),
  overruled: fc.boolean(),
});

describe('node: stored view entries', () => {
  it('are read as they were written', () => {
    fc.assert(
      fc.property(entry, (given) => {
        const stored = { ...given, many: false, origin: null, seq: 0 } as StoredEntry;
        const read = decodeEntry(encodeEntry(stored), stored.id, stored.hlc);
        for (const [name, value] of Object.entries(given)) assert.equal(read[name as keyof StoredEntry], value, name);
      }),
    );
  });

  it('that are cut short or name no state are damaged', () => {
    fc.assert(
      fc.property(entry, (given) => {
        const bytes = encodeEntry({ ...given, many: false, origin: null, seq: 0 } as StoredEntry);
        const isDamaged = (error: unknown) => error instanceof StoreError && error.code === 'store_corrupt';
        const short = bytes.length - Buffer.byteLength(given.org);
        for (const length of [0, 1, 2, 105, short]) {
          assert.throws(
            () => decodeEntry(bytes.subarray(0, length), given.id, given.hlc),
            isDamaged,
            `${length} bytes`,
          );
        }
        const stateless = Buffer.from(bytes);
        stateless[1] = 0xff;
        assert.throws(() => decodeEntry(stateless, given.id, given.hlc), isDamaged);
      }),
    );
  });
});

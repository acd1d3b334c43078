import assert from 'node:assert/strict';
import {
  canonicalBytes,
  decodeStatement,
  encodeStatement,
  FactError,
  factDigest,
  formatHlc,
  type JsonValue,
  sha256,
} from '../../src/facts/index.ts';
import { derivedDigest } from '../../src/node/maintenance.ts';
import { MemoryStore } from '../../src/store/memory/memory-store.ts';
import { FaultyStore } from '../support/faulty-store.ts';
import { type Foreign, Origin } from '../support/origin.ts';
import { Random } from '../support/random.ts';
import { fact, openTestNode, type TestNode, who } from '../support/test-node.ts';

const NOW = Date.UTC(2026, 10, 21, 12);
const MEGABYTE = 1024 * 1024;

describe('statements that are not what they should be', () => {
  const origin = new Origin('other.example');
  let memory: MemoryStore;
  let store: FaultyStore;
  let t: TestNode;

  beforeEach(async () => {
    memory = new MemoryStore();
    store = new FaultyStore(memory);
    t = await openTestNode({ store, unknownOrigins: 'accept' });
  });

  const hlc = formatHlc(NOW, 1);
  const text = (value: unknown): string => Buffer.from(canonicalBytes(value as JsonValue)).toString();

  /** Signs bytes as they are: a sender may sign anything. */
  async function signed(json: string | Buffer): Promise<Foreign> {
    const bytes = Buffer.from(json);
    return origin.sign({ bytes, digest: sha256(bytes), statement: origin.statement(hlc) });
  }

  async function code(foreign: Foreign): Promise<string> {
    const before = store.batches;
    const [outcome] = await t.node.transfer.importStatements(who, [foreign]);
    if (outcome!.status !== 'rejected') return outcome!.status;
    assert.equal(store.batches, before, 'a refused statement wrote something');
    return outcome!.code;
  }

  it('fault 11: of all spellings of one statement only the canonical one is accepted', async () => {
    const good = text(origin.statement(hlc, { value: { type: 'number', v: 1 } }));
    const members = JSON.parse(good) as Record<string, unknown>;
    const other = [
      // Member order, white space, numbers, escapes, repeated members, an accent in two characters.
      JSON.stringify(Object.fromEntries(Object.entries(members).reverse())),
      JSON.stringify(members, null, 1),
      `${good} `,
      good.replace('"v":1}', '"v":1.0}'),
      good.replace('"v":1}', '"v":1e0}'),
      good.replace('"v":1}', '"v":-0}'),
      good.replace('"v":1}', '"v":01}'),
      good.replace('"kind"', '"\\u006bind"'),
      good.replace('"v":1,', '"v":1,"v":1,').replace('{"audience', '{"audience":"company","audience'),
      good.replace('memory:role', 'memory:re\u0301sume\u0301'),
      good.replace('user/alice', 'user/Alice'),
      `\ufeff${good}`,
    ];
    for (const spelling of other) {
      assert.notEqual(spelling, good);
      const answer = await code(await signed(spelling));
      assert.match(answer, /^(?:not_canonical|invalid_\w+)$/, spelling.slice(0, 200));
    }
    assert.equal(await code(await signed(good)), 'accepted');
    // Not UTF-8 at all, and indefinite lengths of another encoding.
    assert.equal(await code(await signed(Buffer.from([0xbf, 0x61, 0x76, 0x01, 0xff]))), 'not_canonical');
    assert.equal(await code(await signed(Buffer.from(good.replace('CEO', '\ud800'), 'utf16le'))), 'not_canonical');
  });

  it('fault 11: equal facts have one CID on every node, however they were typed', async () => {
    const other = await openTestNode({ org: 'other.example' });
    const spellings = [
      fact({ type: 'number', v: 1 }),
      fact({ type: 'number', v: 1.0, entity: '  STIGMEM://ACME.example/user/alice ' }),
      fact({ type: 'number', v: Number('1e0'), entity: 'stigmem://acme.example/user/%61lice' }),
    ];
    const cids = new Set<string>();
    for (const node of [t.node, other.node]) {
      for (const input of spellings) cids.add((await node.facts.assert(who, input)).fact.cid);
    }
    assert.equal(cids.size, 1);
    const zeros = [0, -0].map((v) =>
      Buffer.from(factDigest(origin.statement(hlc, { value: { type: 'number', v } }).body)),
    );
    assert.ok(zeros[0]!.equals(zeros[1]!));
  });

  it('fault 12: nothing that means anything can be altered or added on the way', async () => {
    const honest = await origin.state(hlc, {}, { valid_until: '2027-01-01T00:00:00Z', basis: 'observed' });
    const json = JSON.parse(Buffer.from(honest.bytes).toString()) as Record<string, Record<string, unknown>>;
    const altered: [string, unknown][] = [
      ['expiry', { ...json, ext: { ...json.ext, valid_until: '2099-01-01T00:00:00Z' } }],
      ['no expiry', { ...json, ext: {} }],
      ['basis', { ...json, ext: { ...json.ext, basis: 'declared' } }],
      ['confidence', { ...json, body: { ...json.body, confidence: 0.9 } }],
      ['clock', { ...json, hlc: formatHlc(NOW, 2) }],
      ['audience', { ...json, audience: 'public', body: { ...json.body, scope: 'public' } }],
      ['organisation', { ...json, org: 'acme.example' }],
      ['origin', { ...json, origin: new Origin('x.example').peerId }],
    ];
    for (const [what, statement] of altered) {
      assert.equal(
        await code({ bytes: canonicalBytes(statement as JsonValue), sig: honest.sig }),
        'bad_signature',
        what,
      );
    }
    // Members beside the hashed ones do not exist: signed or not, they are refused.
    for (const extra of [{ trust: 1 }, { received_at: 1 }, { expires: null }, { sig: 'x' }]) {
      assert.equal(await code(await signed(text({ ...json, ...extra }))), 'invalid_statement');
      assert.equal(await code(await signed(text({ ...json, ext: { ...json.ext, ...extra } }))), 'invalid_ext');
      assert.equal(await code(await signed(text({ ...json, body: { ...json.body, ...extra } }))), 'invalid_statement');
    }
    assert.equal(await code(honest), 'accepted');
    const [stored] = (await t.node.facts.query(who, { limit: 1 })).facts;
    assert.equal(stored!.validUntil, '2027-01-01T00:00:00Z');
  });

  it('fault 14: what is too large, too deep or malformed is refused before it takes memory', () => {
    const statement = origin.statement(hlc);
    const good = text(statement);
    const hostile: [string, () => Buffer, RegExp][] = [
      ['10 MB value', () => Buffer.from(good.replace('CEO', 'x'.repeat(10 * MEGABYTE))), /^statement_too_large$/],
      ['10 000 levels', () => Buffer.from(`${'['.repeat(10_000)}${']'.repeat(10_000)}`), /^too_deep$/],
      ['10 000 objects', () => Buffer.from(`${'{"a":'.repeat(10_000)}1${'}'.repeat(10_000)}`), /^too_deep$/],
      [
        'a million members',
        () => Buffer.from(`{${Array.from({ length: 1_000_000 }, (_, n) => `"k${n}":1`).join(',')}}`),
        /^statement_too_large$/,
      ],
      [
        'as many members as fit',
        () => Buffer.from(`{${Array.from({ length: 12_000 }, (_, n) => `"k${n}":1`).join(',')}}`),
        /^(?:not_canonical|invalid_statement)$/,
      ],
      ['a huge integer', () => Buffer.from(good.replace('"CEO"', '9'.repeat(100_000))), /^not_canonical$/],
      ['a huge exponent', () => Buffer.from(good.replace('"CEO"', '1e999')), /^not_canonical$/],
      [
        '__proto__',
        () => Buffer.from(good.replace('"ext":{}', '"ext":{"__proto__":{"basis":"observed"}}')),
        /^invalid_ext$/,
      ],
      [
        '__proto__ of the body',
        () => Buffer.from(good.replace('"body":{', '"body":{"__proto__":{},')),
        /^invalid_statement$/,
      ],
      [
        'constructor',
        () => Buffer.from(good.replace('"ext":{}', '"ext":{"constructor":{"prototype":1}}')),
        /^invalid_ext$/,
      ],
      ['an escaped lone surrogate', () => Buffer.from(good.replace('CEO', '\\ud800')), /^lone_surrogate$/],
      ['an encoded surrogate', () => Buffer.from(good.replace('CEO', 'AAA')), /^not_canonical$/],
    ];
    const surrogate = hostile.at(-1)!;
    surrogate[1] = () => {
      const bytes = Buffer.from(good.replace('CEO', 'AAA'));
      Buffer.from([0xed, 0xa0, 0x80]).copy(bytes, bytes.indexOf('AAA'));
      return bytes;
    };
    for (const [what, make, expected] of hostile) {
      const bytes = make();
      const before = process.memoryUsage();
      for (let round = 0; round < 50; round++) {
        assert.throws(
          () => decodeStatement(bytes),
          (error) => error instanceof FactError && expected.test(error.code),
          what,
        );
      }
      const grown = process.memoryUsage().heapUsed - before.heapUsed;
      // Fifty refusals of ten megabytes; garbage of the parser where it had to look.
      assert.ok(grown < 64 * MEGABYTE, `${what}: the heap grew by ${Math.round(grown / MEGABYTE)} MB`);
    }
    assert.equal(({} as { basis?: string }).basis, undefined, 'the prototype of everything is as it was');
  });

  it('fault 14: the node refuses the same from its own callers, whole batches included, and writes nothing', async () => {
    const before = store.batches;
    const deep = JSON.parse(`${'{"a":'.repeat(40)}1${'}'.repeat(40)}`) as Record<string, unknown>;
    const many = Object.fromEntries(Array.from({ length: 40_000 }, (_, n) => [`k${n}`, n]));
    const hostile: [string, Parameters<typeof fact>[0]][] = [
      ['text_too_large', { type: 'text', v: 'x'.repeat(10 * MEGABYTE) }],
      ['statement_too_large', { type: 'text', v: '\u0001'.repeat(60_000) }],
      ['too_deep', { derived_from: [deep] }],
      ['statement_too_large', { derived_from: [many] }],
      ['lone_surrogate', { v: 'a\ud800b' }],
      ['lone_surrogate', { derived_from: [{ note: '\udfff' }] }],
      ['invalid_value', { type: 'number', v: Number.POSITIVE_INFINITY }],
      ['invalid_value', { type: 'number', v: 10n ** 1000n }],
    ];
    for (const [expected, changes] of hostile) {
      await assert.rejects(t.node.facts.assert(who, fact(changes)), { code: expected });
      // In the middle of a batch, too, it takes nothing along.
      const facts = [fact({ entity: 'user:before' }), fact(changes), fact({ entity: 'user:after' })];
      const { accepted, items } = await t.node.facts.assertBatch(who, { facts, atomic: true });
      assert.equal(accepted, 0);
      const [, bad] = items;
      assert.equal(bad!.status === 'error' && bad!.error.code, expected);
    }
    assert.equal(store.batches, before);
    assert.deepEqual((await t.node.facts.query(who, { limit: 10 })).facts, []);
  });

  it('fault 17: old statements sent again are no events, take no numbers and change no index', async () => {
    const random = new Random(17);
    const sent: Foreign[] = [];
    for (let n = 0; n < 40; n++) {
      sent.push(
        await origin.state(formatHlc(NOW - 1000 + n, 0), {
          entity: `stigmem://acme.example/user/u${n % 5}`,
          value: { type: 'number', v: random.below(6) },
          confidence: random.pick([1, 0.5, 0]),
        }),
      );
    }
    await t.node.transfer.importStatements(who, sent);
    for (let n = 0; n < 5; n++) await t.node.facts.assert(who, fact({ v: n, type: 'number' }));
    const { fact: own } = await t.node.facts.assert(who, fact({ v: 'last' }));
    const exported: Foreign[] = [];
    for await (const statement of t.node.transfer.exportStatements(who)) exported.push(statement);

    const before = { digest: await derivedDigest(memory), head: { ...t.node.writer.head }, batches: store.batches };
    let events = 0;
    const end = t.node.feed.onCommit(() => {
      events += 1;
    });
    for (const again of [sent, [...sent].reverse(), exported, [...sent, ...sent]]) {
      const outcomes = await t.node.transfer.importStatements(who, again);
      assert.ok(outcomes.every(({ status }) => status === 'duplicate'));
    }
    const repeated = await t.node.facts.assert(who, fact({ v: 'last' }));
    assert.equal(repeated.created, false);
    assert.equal(repeated.fact.id, own.id);
    end();
    assert.deepEqual(
      { digest: await derivedDigest(memory), head: { ...t.node.writer.head }, batches: store.batches },
      before,
    );
    assert.equal(events, 0);
  });

  it('fault 17: one statement many times in one import is stored once', async () => {
    const one = await origin.state(hlc);
    const outcomes = await t.node.transfer.importStatements(
      who,
      Array.from({ length: 50 }, () => one),
    );
    assert.deepEqual(
      outcomes.map(({ status }) => status),
      ['accepted', ...Array.from({ length: 49 }, () => 'duplicate')],
    );
    assert.equal(t.node.writer.head.seq, 1);
  });

  it('fault 10: a statement signed by another key, or in the name of this node, is refused', async () => {
    const other = new Origin('other.example');
    const encoded = encodeStatement(origin.statement(hlc));
    assert.equal(await code(await other.sign(encoded)), 'bad_signature');
    assert.equal(await code({ bytes: encoded.bytes, sig: new Uint8Array(64) }), 'bad_signature');
    assert.equal(await code({ bytes: encoded.bytes, sig: new Uint8Array(63) }), 'bad_signature');
    const stolen = { ...origin.statement(hlc), origin: t.init.peerId, org: t.init.org };
    assert.equal(await code(await other.sign(encodeStatement(stolen))), 'bad_signature');
  });
});

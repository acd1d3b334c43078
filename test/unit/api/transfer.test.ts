import assert from 'node:assert/strict';
import fc from 'fast-check';
import { IMPORT_CHUNK, MAX_IMPORT_ERRORS, MAX_IMPORT_LINE_BYTES } from '../../../src/api/limits.ts';
import { csvCell } from '../../../src/api/operations/audit.ts';
import { lines } from '../../../src/api/operations/lines.ts';
import { exportLine, readLine } from '../../../src/api/operations/transfer.ts';
import { canonicalBytes, type JsonObject } from '../../../src/facts/index.ts';
import type { AuditEntry, AuditQuery } from '../../../src/node/services.ts';
import type { ExportedStatement } from '../../../src/node/types.ts';
import { type FakeServices, factView, start, stopAll } from './fakes.ts';

function statement(text: string): ExportedStatement {
  return { id: 'bag1', bytes: canonicalBytes({ b: [text], a: 1 }), sig: new Uint8Array(64).fill(7) };
}

async function collect<T>(items: AsyncIterable<T>): Promise<T[]> {
  const all: T[] = [];
  for await (const item of items) all.push(item);
  return all;
}

async function* chunked(bytes: Uint8Array, cuts: readonly number[]): AsyncIterable<Uint8Array> {
  let from = 0;
  for (const cut of [...cuts].map((cut) => cut % (bytes.length + 1)).sort((a, b) => a - b)) {
    yield bytes.subarray(from, cut);
    from = cut;
  }
  yield bytes.subarray(from);
}

describe('line splitter', () => {
  it('finds the same lines however the stream is cut', async () => {
    await fc.assert(
      fc.asyncProperty(
        fc.array(fc.stringMatching(/^[a-zäöü€ ]{0,12}$/), { maxLength: 12 }),
        fc.array(fc.nat(200), { maxLength: 8 }),
        fc.constantFrom('\n', '\r\n'),
        async (texts, cuts, end) => {
          const found = await collect(lines(chunked(Buffer.from(texts.join(end)), cuts), 100));
          const expected = texts.map((text, index) => [index + 1, text] as const).filter(([, text]) => text !== '');
          assert.deepEqual(
            found.map(({ number, bytes }) => [number, Buffer.from(bytes!).toString().replace(/\r$/, '')]),
            expected,
          );
        },
      ),
    );
  });

  it('keeps nothing of a line that is too long', async () => {
    const input = Buffer.from(`short\n${'x'.repeat(101)}\n${'y'.repeat(100)}\n`);
    const found = await collect(lines(chunked(input, [3, 50, 80, 120]), 100));
    assert.deepEqual(
      found.map(({ number, bytes }) => [number, bytes?.length]),
      [
        [1, 5],
        [2, undefined],
        [3, 100],
      ],
    );
  });
});

describe('export and import', () => {
  afterEach(stopAll);

  const importing = (body: string | Uint8Array, type = 'application/x-ndjson') => ({
    method: 'POST',
    path: '/v1/import',
    body,
    headers: { 'content-type': type },
  });

  it('reads back what it wrote, whatever a tool did to white space and member order', () => {
    fc.assert(
      fc.property(fc.jsonValue({ maxDepth: 4 }), fc.boolean(), (value, pretty) => {
        if (JSON.stringify(value).includes('__proto__')) return;
        const original: ExportedStatement = {
          id: 'bag',
          bytes: canonicalBytes({ value, z: 1 } as JsonObject),
          sig: new Uint8Array(64).fill(200),
        };
        const line = exportLine(original);
        assert.ok(line.endsWith('}\n') && line.indexOf('\n') === line.length - 1);
        const { id, statement: parsed, sig } = JSON.parse(line);
        const rewritten = pretty ? JSON.stringify({ statement: parsed, sig, id }, null, 2) : line;
        const read = readLine(Buffer.from(rewritten));
        assert.deepEqual(Buffer.from(read.bytes), Buffer.from(original.bytes));
        assert.deepEqual(Buffer.from(read.sig), Buffer.from(original.sig));
      }),
    );
  });

  it('streams the log, a statement a line', async () => {
    const { send } = await start({
      more: {
        async *exportStatements() {
          for (let i = 0; i < 3000; i++) yield statement(`line ${i}`);
        },
      },
    });
    const { status, headers, text } = await send({ path: '/v1/export' });
    assert.equal(status, 200);
    assert.equal(headers['content-type'], 'application/x-ndjson');
    const written = text.trimEnd().split('\n');
    assert.equal(written.length, 3000);
    assert.deepEqual(JSON.parse(written[2999]!).statement, { a: 1, b: ['line 2999'] });
  });

  it('breaks the connection when the log fails on the way, so that nobody takes the part for the whole', async () => {
    const { send } = await start({
      more: {
        async *exportStatements() {
          yield statement('x'.repeat(200_000));
          throw new Error('disk');
        },
      },
    });
    await assert.rejects(send({ path: '/v1/export' }), /aborted|hang up|terminated|ECONNRESET/);
  });

  it('admits in chunks, counts every outcome and names the lines that were refused', async () => {
    const chunks: number[] = [];
    const { send } = await start({
      more: {
        importStatements: async (_who, statements) => {
          chunks.push(statements.length);
          return statements.map(({ bytes }) => {
            const text = Buffer.from(bytes).toString();
            if (text.includes('old')) return { status: 'duplicate', id: 'x' };
            if (text.includes('bad')) return { status: 'rejected', code: 'bad_signature', message: 'no' };
            return { status: 'accepted', id: 'x' };
          });
        },
      },
    });
    const texts = [...Array(IMPORT_CHUNK + 10).keys()].map((i) => (i === 3 ? 'old' : i === 5 ? 'bad' : `new ${i}`));
    const body = [
      'not json',
      '{"statement":{},"sig":"short"}',
      '',
      `{"statement":{"a":1,"a":2},"sig":"${'A'.repeat(86)}"}`,
      ...texts.map((text) => exportLine(statement(text)).trimEnd()),
      'x'.repeat(MAX_IMPORT_LINE_BYTES + 1),
    ].join('\r\n');
    const { status, json } = await send(importing(body));
    assert.equal(status, 200);
    assert.deepEqual(chunks, [IMPORT_CHUNK, 10]);
    const { errors, ...counts } = json;
    assert.deepEqual(counts, {
      accepted: IMPORT_CHUNK + 8,
      duplicates: 1,
      rejected: 5,
      errors_truncated: false,
    });
    assert.deepEqual(
      errors.map(({ line, code }: { line: number; code: string }) => [line, code]),
      [
        [1, 'json_invalid'],
        [2, 'validation_failed'],
        [4, 'json_invalid'],
        [10, 'bad_signature'],
        [5 + texts.length, 'statement_too_large'],
      ],
    );
  });

  it('lists a bounded number of refusals, and reads a body far beyond the limit of JSON bodies', async () => {
    const { send } = await start({}, { bodyLimit: 1024 });
    const { json } = await send(importing('x\n'.repeat(200_000)));
    assert.equal(json.rejected, 200_000);
    assert.equal(json.errors.length, MAX_IMPORT_ERRORS);
    assert.equal(json.errors_truncated, true);
    assert.deepEqual((await send(importing(''))).json.accepted, 0);
  });

  it('answers a failing disk as such', async () => {
    const { send } = await start({ more: { importStatements: () => Promise.reject(new Error('disk')) } });
    assert.equal((await send(importing(exportLine(statement('x'))))).status, 500);
  });
});

describe('audit', () => {
  afterEach(stopAll);

  const entry = (seq: number, more: Partial<AuditEntry> = {}): AuditEntry => ({
    seq,
    type: 'fact_write',
    ts: '2026-11-21T00:00:00.000Z',
    principal: 'agent:x',
    keyId: 'k',
    factId: factView().id,
    source: 'agent:x',
    detail: null,
    ...more,
  });

  function auditing(total: number): FakeServices & { seen: AuditQuery[] } {
    const seen: AuditQuery[] = [];
    return {
      seen,
      audit: {
        list: async (_who, query) => {
          seen.push(query);
          const from = Number(query.cursor ?? 0);
          const to = Math.min(total, from + query.limit);
          return {
            entries: Array.from({ length: to - from }, (_, index) => entry(from + index + 1)),
            cursor: to < total ? String(to) : null,
          };
        },
        ofFact: async () => [entry(1), entry(2, { factId: null, detail: { a: 1 } })],
      },
    };
  }

  it('exports page by page up to the limit, as CSV with Stigmem’s columns', async () => {
    const fakes = auditing(1234);
    const { send } = await start(fakes);
    const { text, headers } = await send({ path: '/v1/audit/export?limit=1100&source=agent:x' });
    assert.equal(headers['content-disposition'], 'attachment; filename=stigmem-audit.csv');
    const rows = text.trimEnd().split('\r\n');
    assert.equal(rows.length, 1101);
    assert.match(rows[0]!, /^id,fact_id,event_type,principal_entity_uri,.*,ts$/);
    assert.equal(new Set(rows).size, 1101);
    assert.deepEqual(
      fakes.seen.map(({ limit, source }) => [limit, source]),
      [
        [500, 'agent:x'],
        [500, 'agent:x'],
        [100, 'agent:x'],
      ],
    );
    assert.equal((await send({ path: '/v1/audit/export?limit=50001' })).status, 422);
  });

  it('maps filters, and matches nothing where what is asked for does not exist here', async () => {
    const fakes = auditing(2);
    const { send } = await start(fakes);
    const page = await send({ path: '/v1/audit?entity_uri=agent:x&fact_id=f&event_type=t&limit=1' });
    assert.deepEqual([page.json.total, page.json.cursor], [1, '1']);
    assert.deepEqual(fakes.seen[0], {
      type: 't',
      principal: 'agent:x',
      source: undefined,
      factId: 'f',
      cursor: undefined,
      limit: 1,
    });
    for (const filter of ['oidc_sub=x', 'attested=true']) {
      assert.deepEqual((await send({ path: `/v1/audit?${filter}` })).json.entries, []);
      assert.equal((await send({ path: `/v1/audit/export?${filter}` })).text.split('\r\n').length, 2);
    }
    assert.equal((await send({ path: '/v1/audit?attested=false' })).json.total, 2);
    const ofFact = await send({ path: `/v1/audit/facts/${factView().id}` });
    assert.deepEqual([ofFact.json.length, ofFact.json[1].fact_id, ofFact.json[1].detail], [2, '', { a: 1 }]);
  });

  it('writes cells that no spreadsheet computes and every parser reads', () => {
    assert.equal(csvCell('plain'), 'plain');
    assert.equal(csvCell('a,b"c\nd'), '"a,b""c\nd"');
    for (const start of ['=', '+', '-', '@', '\t', '\r']) {
      assert.match(csvCell(`${start}cmd|' /C calc'!A0`), /^"?'/);
    }
    assert.equal(csvCell('=1,2'), `"'=1,2"`);
    assert.equal(csvCell(''), '');
  });
});

import assert from 'node:assert/strict';
import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { IMPORT_BYTES, IMPORT_LINES, MAX_LISTED_REFUSALS } from '../../../src/cli/limits.ts';
import { Bench, json } from './fixture.ts';

describe('cli: export and import', () => {
  const bench = new Bench();

  const lines = '{"id":"b1"}\n{"id":"b2"}\n';

  it('write a file once, whole, for its owner', async () => {
    bench.daemon.handler = (_request, response) => void response.end(lines);
    const file = join(bench.home.directory, 'out.jsonl');
    assert.match((await bench.run(['export', file])).stdout, /2 statements written/);
    assert.equal(readFileSync(file, 'utf8'), lines);
    const again = await bench.run(['export', file]);
    assert.equal(again.code, 1);
    assert.match(again.stderr, /exists already/);
    const piped = await bench.run(['export']);
    assert.deepEqual([piped.stdout, piped.stderr], [lines, '2 statements written\n']);
  });

  it('leave no file when the daemon goes away in the middle', async () => {
    const file = join(bench.home.directory, 'out.jsonl');
    bench.daemon.handler = (_request, response) => {
      response.write(lines);
      setImmediate(() => response.socket?.destroy());
    };
    const { code, stderr } = await bench.run(['export', file]);
    assert.equal(code, 1);
    assert.match(stderr, /in the middle of the export/);
    assert.throws(() => readFileSync(file), { code: 'ENOENT' });
    bench.daemon.handler = (_request, response) => void response.end('{"id":"b1"}\n{"id":');
    assert.equal((await bench.run(['export', file])).code, 1);
    assert.throws(() => readFileSync(file), { code: 'ENOENT' });
  });

  it('count, and name refused lines by their number in the file', async () => {
    const errors = [{ line: 2, code: 'bad_signature', message: 'no' }];
    bench.answer(200, { accepted: 1, duplicates: 0, rejected: 1, errors, errors_truncated: false });
    const { code, stdout, stderr } = await bench.run(['import', '-'], {
      stdin: `${lines.split('\n')[0]}\n\n\n{"id":"b2"}`,
    });
    assert.equal(code, 1);
    assert.match(stdout, /1 statement accepted, 0 known already, 1 refused/);
    assert.equal(stderr, 'line 4: no (bad_signature)\n');
    assert.equal(bench.daemon.last.body, lines);
    assert.equal(bench.daemon.last.headers['content-type'], 'application/x-ndjson');
  });

  it('send requests of bounded size, and list refusals up to a limit', async () => {
    bench.daemon.handler = (request, response) => {
      const rejected = request.body.trim().split('\n').length;
      const errors = Array.from({ length: Math.min(rejected, 100) }, (_, at) => ({
        line: at + 1,
        code: 'x',
        message: 'no',
      }));
      json(response, 200, { accepted: 0, duplicates: 0, rejected, errors, errors_truncated: true });
    };
    const { stderr } = await bench.run(['import', '-'], { stdin: '{}\n'.repeat(IMPORT_LINES + 1) });
    assert.equal(bench.daemon.requests.length, 2);
    assert.equal(stderr.match(/^line /gm)?.length, MAX_LISTED_REFUSALS);
    assert.match(stderr, new RegExp(`… and ${IMPORT_LINES + 1 - MAX_LISTED_REFUSALS} more`));
    await bench.run(['import', '-'], { stdin: `"${'x'.repeat(400_000)}"\n`.repeat(12) });
    assert.ok(bench.daemon.requests.slice(2).length === 2 && bench.daemon.last.body.length < IMPORT_BYTES);
  });

  it('say that a file is not there', async () => {
    const { code, stderr } = await bench.run(['import', join(bench.home.directory, 'nowhere')]);
    assert.equal(code, 1);
    assert.match(stderr, /: no such file or directory\nhint: check the path/);
  });
});

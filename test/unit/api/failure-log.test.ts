import assert from 'node:assert/strict';
import { Writable } from 'node:stream';
import { pino } from 'pino';
import { start, stopAll } from './fakes.ts';

describe('log of failures', () => {
  afterEach(stopAll);

  it('says what failed and where; what the runtime quotes may be a fact, and stays out', async () => {
    const lines: string[] = [];
    const sink = new Writable({
      write(chunk, _encoding, done) {
        lines.push(String(chunk));
        done();
      },
    });
    const failures: (() => unknown)[] = [
      () => JSON.parse('{"canary-1": canary-2}'),
      () => Buffer.alloc(8).writeBigUInt64BE(-471147114711n),
      () => decodeURIComponent('%canary-3'),
      () => 'x'.repeat(-4711),
      () => {
        throw new Error('the reason');
      },
    ];
    let next = 0;
    const query = async () => failures[next++]!() as never;
    const { send } = await start({ facts: { query }, more: { log: pino({ level: 'trace' }, sink) } });
    for (const _ of failures) {
      const answer = await send({ path: '/v1/facts' });
      assert.equal(answer.status, 500);
      assert.equal(answer.json.code, 'internal_error');
      assert.doesNotMatch(JSON.stringify(answer.json), /canary|4711|471_|the reason/);
    }
    const text = lines.join('');
    assert.doesNotMatch(text, /canary|-4711|471_147/);
    for (const type of ['SyntaxError', 'RangeError', 'URIError', 'Error'])
      assert.match(text, new RegExp(`"type":"${type}"`));
    assert.match(text, /failure-log\.test\.ts/);
    assert.match(text, /the reason/);
  });
});

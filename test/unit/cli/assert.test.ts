import assert from 'node:assert/strict';
import { BATCH_BYTES, BATCH_FACTS, MAX_LISTED_REFUSALS, MAX_VALUE_BYTES } from '../../../src/cli/limits.ts';
import { Bench, factRecord, json } from './fixture.ts';

describe('cli: assert', () => {
  const bench = new Bench();

  it('sends what was typed, with the defaults of a person', async () => {
    bench.answer(201, factRecord());
    const { code, stdout } = await bench.run(['assert', 'user:alice', 'memory:role', 'CEO']);
    assert.equal(code, 0);
    assert.equal(stdout, '✓ bagaaiera…bea  stored, indexed, announced to 0 peers\n');
    bench.answer(201, factRecord({ announced_to: 1 }));
    assert.match((await bench.run(['assert', 'user:alice', 'memory:role', 'CEO'])).stdout, /announced to 1 peer\n$/);
    assert.deepEqual(bench.sent(), {
      entity: 'user:alice',
      relation: 'memory:role',
      value: { type: 'string', v: 'CEO' },
      scope: 'local',
      source: 'user:somebody',
    });
  });

  it('sends every term', async () => {
    bench.answer(201, factRecord());
    const args =
      'assert build:42 ci:score -5 --scope company --confidence 0.5 --source agent:ci --ttl 2h --garden g'.split(' ');
    await bench.run([
      ...args,
      '--supersedes',
      'b1,b2',
      '--supersedes',
      'b3',
      '--basis',
      'observed',
      '--instruction',
      '--idempotency-key',
      'k',
    ]);
    assert.deepEqual(bench.sent(), {
      entity: 'build:42',
      relation: 'ci:score',
      value: { type: 'number', v: -5, interpret_as: 'instruction' },
      scope: 'company',
      source: 'agent:ci',
      confidence: 0.5,
      valid_until: '2030-01-01T02:00:00.000Z',
      garden_id: 'g',
      supersedes: ['b1', 'b2', 'b3'],
      basis: 'observed',
    });
    assert.equal(bench.daemon.last.headers['idempotency-key'], 'k');
  });

  it('reads a value from stdin, without the last line break', async () => {
    bench.answer(201, factRecord());
    await bench.run(['assert', 'user:a', 'memory:note', '--stdin'], { stdin: 'one\ntwo\n' });
    assert.deepEqual(bench.sent().value, { type: 'text', v: 'one\ntwo' });
    await bench.run(['assert', 'user:a', 'memory:note', '-f', '-', '--type', 'string'], { stdin: '42\n' });
    assert.deepEqual(bench.sent().value, { type: 'string', v: '42' });
  });

  it('says when nothing was written, and when there is a contradiction', async () => {
    bench.answer(201, factRecord({ created: false, contradicted: true }));
    const { stdout } = await bench.run(['assert', 'user:a', 'x:y', '1']);
    assert.match(stdout, /known already, nothing written\n.*contradicts another value: stigmesh conflicts/);
  });

  it('shows the remarks of the daemon, save those on a source nobody typed', async () => {
    const warnings = ["informal source URI 'user:somebody'", "bare relation 'role'"];
    bench.answer(201, factRecord({ warnings }));
    assert.equal((await bench.run(['assert', 'user:a', 'role', '1'])).stderr, "warning: bare relation 'role'\n");
    const { stderr } = await bench.run(['assert', 'user:a', 'role', '1', '--source', 'user:somebody']);
    assert.equal(stderr.match(/warning:/g)?.length, 2);
  });

  it('refuses what cannot be meant', async () => {
    for (const args of [
      [],
      ['user:a'],
      ['user:a', 'x:y'],
      ['user:a', 'x:y', '1', '--stdin'],
      ['user:a', 'x:y', 'four', '--type', 'number'],
      ['user:a', 'x:y', '1', '--ttl', 'soon'],
      ['user:a', 'x:y', '1', '--atomic'],
      ['user:a', 'x:y', '1', '--ttl', '1h', '--valid-until', '2030-01-01T00:00:00Z'],
      ['--stdin', '--type', 'number'],
    ]) {
      assert.equal((await bench.run(['assert', ...args])).code, 2, args.join(' '));
    }
    assert.equal(bench.daemon.requests.length, 0);
  });

  describe('many facts', () => {
    const accept = () => {
      bench.daemon.handler = (request, response) => {
        const { facts } = JSON.parse(request.body);
        const results = facts.map((_: unknown, index: number) => ({
          index,
          status: 'created',
          fact_id: `b${index}`,
          warnings: [],
          error: null,
        }));
        json(response, 200, { accepted: facts.length, rejected: 0, results, replayed: false });
      };
    };

    it('fills in what the lines leave out', async () => {
      accept();
      const stdin =
        '{"entity":"user:a","relation":"x:y","value":"42"}\n\n{"entity":"user:b","relation":"x:y","value":1,"scope":"public","source":"agent:z"}\n';
      const { code, stdout } = await bench.run(['assert', '--stdin', '--atomic', '--idempotency-key', 'k'], { stdin });
      assert.equal(code, 0);
      assert.match(stdout, /2 facts stored, 0 known already, 0 refused/);
      assert.deepEqual(bench.sent(), {
        atomic: true,
        facts: [
          {
            scope: 'local',
            source: 'user:somebody',
            entity: 'user:a',
            relation: 'x:y',
            value: { type: 'string', v: '42' },
          },
          { scope: 'public', source: 'agent:z', entity: 'user:b', relation: 'x:y', value: { type: 'number', v: 1 } },
        ],
      });
      assert.equal(bench.daemon.last.headers['idempotency-key'], 'k');
    });

    const lines = (count: number) => '{"entity":"user:a","relation":"x:y","value":1}\n'.repeat(count);

    it('sends batches of bounded size, each with a key of its own', async () => {
      accept();
      const { stdout } = await bench.run(['assert', '--stdin', '--idempotency-key', 'k', '--json'], {
        stdin: lines(BATCH_FACTS + 1),
      });
      assert.deepEqual(
        bench.daemon.requests.map(({ headers }) => headers['idempotency-key']),
        ['k', 'k/2'],
      );
      assert.equal(JSON.parse(stdout).accepted, BATCH_FACTS + 1);
    });

    it('sends batches of bounded size in bytes', async () => {
      accept();
      const text = 'x'.repeat(60_000);
      const stdin = `{"entity":"user:a","relation":"x:y","value":"${text}"}\n`.repeat(80);
      await bench.run(['assert', '--stdin', '--scope', 'team'], { stdin });
      assert.deepEqual(
        bench.daemon.requests.map(({ body }) => body.length <= BATCH_BYTES + BATCH_FACTS * 100),
        [true, true],
      );
    });

    it('reads no value above its limit', async () => {
      const { code, stderr } = await bench.run(['assert', 'user:a', 'x:y', '--stdin'], {
        stdin: 'x'.repeat(MAX_VALUE_BYTES + 1),
      });
      assert.equal(code, 2);
      assert.match(stderr, /larger than 1048576 bytes/);
    });

    it('sends nothing when all or nothing does not fit one batch', async () => {
      const { code, stderr } = await bench.run(['assert', '--stdin', '--atomic'], { stdin: lines(BATCH_FACTS + 1) });
      assert.equal(code, 2);
      assert.match(stderr, /--atomic takes up to 1000 facts/);
      assert.equal(bench.daemon.requests.length, 0);
    });

    it('names the lines that were refused, up to a limit', async () => {
      bench.daemon.handler = (request, response) => {
        const { facts } = JSON.parse(request.body);
        const error = { code: 'invalid_value', message: 'bad', hint: 'better' };
        const results = facts.map((_: unknown, index: number) => ({
          index,
          status: 'error',
          fact_id: null,
          warnings: [],
          error,
        }));
        json(response, 200, { accepted: 0, rejected: facts.length, results, replayed: false });
      };
      const { code, stderr } = await bench.run(['assert', '--stdin'], { stdin: `\n${lines(MAX_LISTED_REFUSALS + 5)}` });
      assert.equal(code, 1);
      assert.match(stderr, /^line 2: bad \(hint: better\)\n/);
      assert.match(stderr, /… and 5 more/);
    });

    it('says which line makes a batch no batch', async () => {
      bench.answer(422, {
        code: 'validation_failed',
        hint: 'h',
        detail: [{ loc: ['body', 'facts', 1, 'entity'], msg: 'Field required' }],
      });
      const { code, stderr } = await bench.run(['assert', '--stdin'], { stdin: `${lines(1)}\n{}\n` });
      assert.equal(code, 2);
      assert.match(stderr, /error: line 3: entity: Field required/);
    });

    it('refuses what is no JSON object', async () => {
      for (const stdin of ['', 'x', '[]', '1', 'null']) {
        const { code, stderr } = await bench.run(['assert', '--stdin'], { stdin });
        assert.equal(code, 2);
        assert.match(stderr, /line 1 is|holds no facts/);
      }
    });
  });
});

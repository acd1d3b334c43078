import assert from 'node:assert/strict';
import type { ServerResponse } from 'node:http';
import { LINT_TIMEOUT_MS, MAX_ALL_FACTS } from '../../../src/cli/limits.ts';
import { Bench, factRecord, json } from './fixture.ts';

describe('cli: commands', () => {
  const bench = new Bench();

  describe('query', () => {
    const page = (facts: unknown[], cursor: string | null = null) => ({
      facts,
      total: facts.length,
      cursor,
      head: 'h',
    });
    const parameters = () => Object.fromEntries(new URL(bench.daemon.last.url, 'http://x').searchParams);

    it('sends its filters', async () => {
      bench.answer(200, page([]));
      const args =
        'query user:a memory:* --value 42 --source s:1 --scope team --origin p --garden g --min-confidence 0.5';
      await bench.run([
        ...args.split(' '),
        '--include',
        'history,expired',
        '--after',
        'z',
        '--cursor',
        'c',
        '--limit',
        '7',
      ]);
      assert.deepEqual(parameters(), {
        entity: 'user:a',
        relation_prefix: 'memory:',
        value: '{"type":"number","v":42}',
        source: 's:1',
        scope: 'team',
        origin: 'p',
        garden_id: 'g',
        min_confidence: '0.5',
        include: 'history,expired',
        after: 'z',
        cursor: 'c',
        limit: '7',
      });
    });

    it('lets no value drive the terminal, in any form', async () => {
      const hostile = '\u001b]0;pwned\u0007\u009b2J\r\nnext\u202e';
      bench.answer(
        200,
        page([factRecord({ entity: hostile, source: hostile, value: { type: 'string', v: hostile } })]),
      );
      for (const args of [[], ['--json'], ['-q'], ['--full']]) {
        for (const columns of [undefined, 80]) {
          const { stdout } = await bench.run(
            ['query', '--no-color', ...args],
            columns === undefined ? {} : { columns },
          );
          assert.doesNotMatch(stdout, /[\u0000-\u0009\u000b-\u001f\u007f-\u009f\u202e]/);
          if (args[0] === '-q') assert.equal(stdout.split('\n').length, 2);
        }
      }
    });

    it('fits the terminal, and shows whole names elsewhere', async () => {
      bench.answer(200, page([factRecord({ value: { type: 'string', v: 'word '.repeat(100) } })]));
      const narrow = await bench.run(['query'], { columns: 100 });
      const lines = narrow.stdout.replaceAll(/\u001b\[\d+m/g, '').split('\n');
      assert.ok(lines.every((line) => line.length <= 100));
      assert.match(narrow.stdout, /… {2}.*bagaaiera…bea/);
      assert.match(
        (await bench.run(['query'])).stdout,
        /word word$|bagaaierav3xfc4ihzmdriqvjttbonigbsr7wlceiunhfvm34sqiiei7ddbea/m,
      );
    });

    it('marks what a reader must know: contradicted, in quarantine, signed by a key that was revoked', async () => {
      const fact = factRecord({ state: 'quarantined', contradicted: true, source_revoked: true });
      bench.answer(200, page([fact]));
      assert.match((await bench.run(['query'])).stdout, / STATE .*\n.* quarantined, contradicted, source revoked /);
    });

    it('prints values with -q, and fails when there is none', async () => {
      bench.answer(200, page([factRecord(), factRecord({ value: { type: 'number', v: 4 } })]));
      assert.equal((await bench.run(['query', '-q'])).stdout, 'CEO\n4\n');
      bench.answer(200, page([]));
      assert.equal((await bench.run(['query', '-q'])).code, 4);
      const { code, stdout, stderr } = await bench.run(['query']);
      assert.deepEqual([code, stdout, stderr], [0, '', 'no facts\n']);
    });

    it('says that there is more, and how to get it', async () => {
      bench.answer(200, page([factRecord()], 'next-page'));
      assert.match((await bench.run(['query'])).stderr, /1 fact shown, there are more: --all, or --cursor next-page/);
    });

    it('follows pages, also empty ones', async () => {
      const pages: Record<string, unknown> = {
        '': page([factRecord()], '1'),
        1: page([], '2'),
        2: page([factRecord()]),
      };
      bench.daemon.handler = (request, response) => {
        json(response, 200, pages[new URL(request.url, 'http://x').searchParams.get('cursor') ?? '']);
      };
      const { stdout } = await bench.run(['query', '--all', '--json']);
      const { facts, total, cursor } = JSON.parse(stdout);
      assert.deepEqual([facts.length, total, cursor, bench.daemon.requests.length], [2, 2, null, 3]);
      assert.equal(JSON.parse((await bench.run(['query', '--cursor', '1', '--json'])).stdout).facts.length, 1);
    });

    it('collects no more than its bound', async () => {
      bench.daemon.handler = (request, response) => {
        const limit = Number(new URL(request.url, 'http://x').searchParams.get('limit'));
        json(
          response,
          200,
          page(
            Array.from({ length: limit }, () => 1),
            'more',
          ),
        );
      };
      const { stdout, stderr } = await bench.run(['query', '--all', '--json']);
      assert.equal(JSON.parse(stdout).facts.length, MAX_ALL_FACTS);
      assert.equal(JSON.parse(stdout).cursor, 'more');
      assert.equal(stderr, '');
    });
  });

  it('get prints a value as it is into a pipe, and escaped on a terminal', async () => {
    bench.answer(200, factRecord({ value: { type: 'text', v: 'a\n\u001b[1mb' } }));
    assert.equal((await bench.run(['get', 'bagaaiera', '-q'])).stdout, 'a\n\u001b[1mb\n');
    assert.equal((await bench.run(['get', 'bagaaiera', '-q'], { columns: 80 })).stdout, 'a\\n\\u001b[1mb\n');
    assert.match((await bench.run(['get', 'sha256:x/y'])).stdout, /^value +a\n +\\u001b\[1mb$/m);
    assert.equal(bench.daemon.last.url, '/v1/facts/sha256%3Ax%2Fy');
  });

  it('retract names a fact by its parts or by its id', async () => {
    bench.answer(201, factRecord());
    await bench.run(['retract', 'user:alice', 'memory:role', 'CEO', '--scope', 'company']);
    assert.deepEqual(bench.sent(), {
      entity: 'user:alice',
      relation: 'memory:role',
      scope: 'company',
      value: { type: 'string', v: 'CEO' },
      source: 'user:somebody',
    });
    await bench.run(['retract', 'user:alice', 'memory:role']);
    assert.equal(bench.sent().value, undefined);
    bench.answer(200, factRecord({ scope: 'team', garden_id: 'stigmem://a/garden/g' }));
    await bench.run(['retract', factRecord().id as string]);
    assert.deepEqual(
      [bench.sent().scope, bench.sent().garden_id, bench.sent().value],
      ['team', 'stigmem://a/garden/g', { type: 'string', v: 'CEO' }],
    );
    assert.equal((await bench.run(['retract', 'user:alice'])).code, 2);
  });

  it('conflicts shows both sides with their ids, and resolve takes one verdict', async () => {
    const other = factRecord({ id: 'bagaaieraother', value: { type: 'string', v: 'CTO' }, source: 'user:bob' });
    const conflict = {
      conflict_id: 'stigmem:conflict:1',
      fact_a: factRecord(),
      fact_b: other,
      status: 'unresolved',
      resolved_by: null,
      resolutions: [],
      detected_at: '2030-01-01T00:00:00.000Z',
    };
    bench.answer(200, { conflicts: [conflict], cursor: null, has_more: false, total: 1 });
    const { stdout, stderr } = await bench.run(['conflicts']);
    for (const text of ['stigmem:conflict:1', 'CEO', 'CTO', 'user:bob', 'bagaaieraother', factRecord().id as string])
      assert.ok(stdout.includes(text));
    assert.match(stderr, /conflicts resolve/);
    assert.equal(bench.daemon.last.url, '/v1/conflicts?status=unresolved');
    await bench.run(['conflicts', 'list', '--status', 'all']);
    assert.equal(bench.daemon.last.url, '/v1/conflicts');

    bench.answer(200, {
      resolution_fact_id: 'bagaaieraresolution',
      conflict_status: 'resolved',
      winning_fact_id: null,
    });
    const resolve = (...args: string[]) => bench.run(['conflicts', 'resolve', 'stigmem:conflict:1', ...args]);
    assert.match((await resolve('--both-valid', '--note', 'two jobs')).stdout, /both hold/);
    assert.deepEqual(bench.sent(), { resolution_note: 'two jobs', verdict: 'both_valid' });
    assert.equal(bench.daemon.last.url, '/v1/conflicts/stigmem%3Aconflict%3A1/resolve');
    await resolve('--winner', 'b1');
    assert.deepEqual(bench.sent(), { resolution_note: '', winning_fact_id: 'b1' });
    await resolve('--value', '42', '--type', 'string');
    assert.deepEqual(bench.sent(), { resolution_note: '', new_value: { type: 'string', v: '42' } });
    for (const args of [[], ['--winner', 'a', '--both-valid'], ['--value', '1', '--winner', 'a']]) {
      assert.equal((await resolve(...args)).code, 2);
    }
  });

  it('keys create prints the secret alone with -q', async () => {
    bench.answer(201, {
      id: '1',
      entity_uri: 'agent:a',
      permissions: ['read'],
      scopes: ['local'],
      description: null,
      created_at: '',
      expires_at: null,
      revoked_at: null,
      tenant_id: 'default',
      api_key: 'smk_secret',
    });
    assert.equal((await bench.run(['keys', 'create', 'agent:a', '-q'])).stdout, 'smk_secret\n');
    assert.deepEqual(bench.sent(), { entity_uri: 'agent:a', permissions: ['read', 'write'] });
    await bench.run([
      'keys',
      'create',
      'agent:a',
      '--permissions',
      'read',
      '--permissions',
      'admin',
      '--scopes',
      'local',
      '--expires',
      '1d',
    ]);
    assert.deepEqual(bench.sent(), {
      entity_uri: 'agent:a',
      permissions: ['read', 'admin'],
      scopes: ['local'],
      expires_at: '2030-01-02T00:00:00.000Z',
    });
    assert.equal((await bench.run(['keys', 'create', 'agent:a', '--permissions', 'root'])).code, 2);
  });

  it('gardens delete asks for a confirmation', async () => {
    const { code, stderr } = await bench.run(['gardens', 'delete', 'g']);
    assert.equal(code, 2);
    assert.match(stderr, /--yes/);
    assert.equal(bench.daemon.requests.length, 0);
    bench.daemon.handler = (_request, response) => void response.writeHead(204).end();
    assert.equal((await bench.run(['gardens', 'delete', 'g', '--yes'])).code, 0);
    await bench.run(['gardens', 'remove', 'g', 'stigmem://acme/user/x']);
    assert.equal(bench.daemon.last.url, '/v1/gardens/g/members/stigmem%3A%2F%2Facme%2Fuser%2Fx');
  });

  it('lint waits for a job, and may fail on a finding', async () => {
    const findings = [
      {
        check: 'orphan',
        severity: 'warning',
        entity: 'user:a',
        relation: null,
        fact_ids: [],
        detail: 'nobody refers to it',
      },
    ];
    const result = { findings, checked_at: '', scope: 'local', checks_run: [], fact_count: 1, truncated: false };
    const answers = [
      { job_id: 'j', status: 'pending', estimated_s: 1 },
      { status: 'running' },
      { status: 'done', ...result },
    ];
    bench.daemon.handler = (_request, response) => json(response, 200, answers[bench.daemon.requests.length - 1]);
    const { code, stdout } = await bench.run(['lint', 'local', '--fail-on-finding', '--soon', '1d']);
    assert.equal(code, 1);
    assert.match(stdout, /orphan.*nobody refers to it\n1 finding in 1 fact/);
    assert.equal(JSON.parse(bench.daemon.requests[0]?.body ?? '').stale_lookahead_s, 86_400);
    bench.answer(200, { ...result, findings: [] });
    assert.equal((await bench.run(['lint', 'local', '--fail-on-finding'])).code, 0);
  });

  describe('watch', () => {
    const event = (id: number, name: string, data: unknown) =>
      `event: ${name}\nid: ${id}\ndata: ${JSON.stringify(data)}\n\n`;
    const stream = (response: ServerResponse, text: string) => {
      response.writeHead(200, { 'content-type': 'text/event-stream' });
      response.end(text);
    };
    /** Answers the status, then each connection with the next text; null: the connection breaks. */
    const serve = (texts: readonly (string | null)[]) => {
      let at = 0;
      bench.daemon.handler = (request, response) => {
        if (request.url === '/v1/status') return json(response, 200, { seq: 5 });
        const text = texts[at++];
        if (text === null || text === undefined) response.socket?.destroy();
        else stream(response, text);
      };
    };
    const asked = () =>
      bench.daemon.requests
        .filter(({ url }) => url.startsWith('/v1/events'))
        .map(({ headers }) => headers['last-event-id']);

    it('begins at the head, resumes where a connection ended, and says when the log is another one', async () => {
      const reset = event(2, 'reset', { head: 2, reason: 'x' });
      serve([
        event(6, 'fact', factRecord()),
        ': heartbeat\nid: 9\n\n',
        null,
        reset + event(3, 'fact', factRecord({ seq: 3 })),
      ]);
      const { code, stdout, stderr } = await bench.run([
        'watch',
        'memory:*',
        '--scope',
        'local',
        '--count',
        '2',
        '--json',
      ]);
      assert.equal(code, 0, stderr);
      assert.deepEqual(asked(), ['5', '6', '9', '9']);
      const events = stdout
        .trim()
        .split('\n')
        .map((line) => JSON.parse(line));
      assert.deepEqual(
        events.map(({ event, id }) => [event, id]),
        [
          ['fact', '6'],
          ['reset', '2'],
          ['fact', '3'],
        ],
      );
      assert.match(stderr, /connecting again[\s\S]*broke[\s\S]*trying again in[\s\S]*warning: reset/);
      assert.ok(
        bench.daemon.requests.some(({ url }) => url === '/v1/events?relation=memory%3A*&scope=local&events=commits'),
      );
    });

    it('doubles its pauses up to the longest', async () => {
      serve([event(6, 'fact', factRecord()), ...Array.from({ length: 9 }, () => null), event(7, 'fact', factRecord())]);
      const pauses: number[] = [];
      const world = { sleep: async (ms: number) => void pauses.push(ms) };
      assert.equal((await bench.run(['watch', '--count', '2'], { world })).code, 0);
      assert.deepEqual(pauses, [500, 1000, 2000, 4000, 8000, 16_000, 30_000, 30_000, 30_000, 30_000]);
    });

    it('gives up when there never was a connection, or the key is refused', async () => {
      serve([null]);
      assert.equal((await bench.run(['watch'])).code, 1);
      let connections = 0;
      bench.daemon.handler = (request, response) => {
        if (request.url === '/v1/status') return json(response, 200, { seq: 0 });
        if (connections++ === 0) stream(response, event(1, 'fact', factRecord()));
        else json(response, 401, { code: 'api_key_invalid', hint: 'h', detail: 'd' });
      };
      assert.equal((await bench.run(['watch'])).code, 5);
    });

    it('shows facts and resolutions on a line each, and ends at a signal', async () => {
      let interrupt = () => {};
      bench.daemon.handler = (request, response) => {
        if (request.url === '/v1/status') return json(response, 200, { seq: 0 });
        const resolution = {
          timestamp: 't',
          entity: 'user:a',
          relation: 'x:y',
          verdict: 'both_valid',
          winning_fact_id: null,
          source: 'user:b\u001b[2J',
        };
        response
          .writeHead(200)
          .write(event(1, 'fact', factRecord({ contradicted: true })) + event(2, 'resolution', resolution));
      };
      const lines: string[] = [];
      const world = {
        onSignal: (name: string, run: () => void) => {
          if (name === 'SIGINT') interrupt = run;
          return () => {};
        },
      };
      const onLine = (text: string) => {
        lines.push(text);
        if (lines.length === 2) interrupt();
      };
      const { code, stdout } = await bench.run(['watch', '--no-color'], { world, onStdout: onLine });
      assert.equal(code, 0);
      assert.match(stdout, /user:alice {2}memory:role {2}CEO {2}contradicted {2}local user:somebody here/);
      assert.match(stdout, /resolved: both_valid {2}user:b\\u001b\[2J/);
    });
  });

  it('lint gives up in time', async () => {
    bench.answer(200, { job_id: 'j', status: 'running', estimated_s: 1 });
    let time = 0;
    const world = {
      uptime: () => time,
      sleep: async () => {
        time += LINT_TIMEOUT_MS / 3;
      },
    };
    const { code, stderr } = await bench.run(['lint', 'local'], { world });
    assert.equal(code, 6);
    assert.match(stderr, /not done after 600 s/);
  });
});

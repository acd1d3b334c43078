import assert from 'node:assert/strict';
import { type RunningDaemon, startDaemon } from '../support/daemon.ts';
import { BODIES, MEMBERS, post, QUERIES } from './bad-input.ts';
import { aFact, complaints, footprint, refused, residentMiB, send } from './support.ts';

describe('hostile: input', () => {
  let daemon: RunningDaemon;
  before(async () => {
    daemon = await startDaemon();
    // Something to be wrong about.
    assert.equal((await send(daemon, post(aFact({ entity: 'user:first', scope: 'company' })))).status, 201);
  });
  after(() => daemon.stop());

  for (const [group, cases] of Object.entries({ bodies: BODIES, members: MEMBERS, 'queries and names': QUERIES })) {
    describe(group, () => {
      for (const [name, code, sent] of cases) {
        it(`fault 14: ${name}: ${code}`, async () => {
          await refused(daemon, code, sent, name);
        });
      }
    });
  }

  it('fault 14: memory is as it was, and nothing of it was an error of the daemon', async () => {
    const evil = [...BODIES.slice(-24), ...BODIES.slice(0, 40)].filter(([, code]) => code === 'body_too_large');
    assert.ok(evil.length > 4);
    const round = async (): Promise<void> => {
      for (const [, , sent] of evil) await send(daemon, sent);
    };
    // The first ones let the heap find its size; what they cost is not what is asked.
    for (let i = 0; i < 3; i++) await round();
    const before = residentMiB(daemon);
    for (let i = 0; i < 4; i++) await round();
    const after = residentMiB(daemon);
    if (before !== undefined && after !== undefined)
      assert.ok(after - before < 100, `${before} MiB, then ${after} MiB`);
    assert.deepEqual(complaints(daemon), []);
  });

  it('fault 14: members that objects inherit are names like any other', async () => {
    const body = JSON.stringify(
      aFact({ entity: 'user:members', derived_from: [{ constructor: 'a', toString: 'b', valueOf: null }] }),
    );
    const { status, json } = await send(
      daemon,
      post(`{"constructor":{"prototype":{"x":1}},"hasOwnProperty":1,${body.slice(1)}`),
    );
    assert.equal(status, 201);
    assert.deepEqual(json.derived_from, [{ constructor: 'a', toString: 'b', valueOf: null }]);
    for (const entity of ['__proto__', 'constructor', 'user:__proto__']) {
      assert.equal((await send(daemon, post(aFact({ entity })))).status, 201);
      const page = await send(daemon, { path: `/v1/facts?entity=${entity}` });
      assert.deepEqual(
        page.json.facts.map((fact: { entity: string }) => fact.entity),
        [entity],
      );
    }
  });

  it('fault 14: a wrong batch names its first problems, not all of them', async () => {
    const answer = await refused(daemon, 'validation_failed', post({ facts: Array(1000).fill({}) }, '/v1/facts/batch'));
    assert.equal(answer.json.detail.length, 50);
    assert.ok(answer.text.length < 8192);
  });

  it('fault 14: one bad fact of a batch is refused alone, or with all when the batch is atomic', async () => {
    const facts = [
      aFact({ entity: 'user:batch-1' }),
      aFact({ entity: 'user:batch-2', value: { type: 'string', v: '\ud800' } }),
    ];
    const atomic = await send(daemon, post({ facts, atomic: true }, '/v1/facts/batch'));
    assert.deepEqual([atomic.status, atomic.json.accepted, atomic.json.rejected], [200, 0, 2]);
    const before = await footprint(daemon);
    await send(daemon, post({ facts, atomic: true }, '/v1/facts/batch'));
    assert.equal(await footprint(daemon), before);
    const single = await send(daemon, post({ facts }, '/v1/facts/batch'));
    assert.deepEqual([single.json.accepted, single.json.rejected], [1, 1]);
    assert.equal(single.json.results[1].error.code, 'lone_surrogate');
    assert.ok(single.json.results[1].error.hint);
  });

  it('an idempotency key stands for one request', async () => {
    const sent = { ...post(aFact({ entity: 'user:once' })), headers: { 'idempotency-key': 'one' } };
    const first = await send(daemon, sent);
    assert.equal(first.status, 201);
    assert.equal((await send(daemon, sent)).json.id, first.json.id);
    await refused(daemon, 'idempotency_mismatch', { ...sent, body: aFact({ entity: 'user:twice' }) });
    await refused(daemon, 'idempotency_mismatch', { ...sent, path: '/v1/facts/batch', body: { facts: [sent.body] } });
  });

  it('a cursor is good for its query, whole and unchanged', async () => {
    for (let i = 0; i < 4; i++) await send(daemon, post(aFact({ entity: 'user:paged', relation: `m:r${i}` })));
    const { cursor, head } = (await send(daemon, { path: '/v1/facts?entity=user:paged&limit=1' })).json;
    const path = (query: string, c: string) => `/v1/facts?${query}&cursor=${encodeURIComponent(c)}`;
    assert.equal((await send(daemon, { path: path('entity=user:paged&limit=2', cursor) })).json.facts.length, 2);
    const flipped = (at: number) => {
      const bytes = Buffer.from(cursor, 'base64url');
      bytes[at]! ^= 1;
      return bytes.toString('base64url');
    };
    const length = Buffer.from(cursor, 'base64url').length;
    const wrong = [
      path('entity=user:other', cursor),
      path('entity=user:paged&scope=local', cursor),
      path('entity=user:paged', head),
      path('entity=user:paged', cursor.slice(0, -1)),
      path('entity=user:paged', cursor.slice(1)),
      path('entity=user:paged', `${cursor}A`),
      path('entity=user:paged', cursor + cursor),
      ...Array.from({ length }, (_, at) => path('entity=user:paged', flipped(at))),
      `/v1/conflicts?cursor=${cursor}`,
      `/v1/audit?cursor=${cursor}`,
      `/v1/facts/history?entity=user:paged&relation=m:r0&cursor=${cursor}`,
    ];
    for (const one of wrong) await refused(daemon, 'invalid_cursor', { path: one });
    await refused(daemon, 'invalid_query', { path: `/v1/facts?after=${cursor}` });
  });

  it('a ttl of any number leaves every answer whole', async () => {
    const { json: about } = await send(daemon, post(aFact({ entity: 'user:mortal' })));
    const ttl = (v: number) =>
      post(aFact({ entity: `fact:${about.id}`, relation: 'stigmem:ttl', value: { type: 'number', v } }));
    for (const v of [1e14, 8.64e12, 1e17, 1e20, 1e300, Number.MAX_VALUE, -1e300, 5e-324]) {
      assert.equal((await send(daemon, ttl(v))).status, 201, `ttl ${v}`);
      assert.equal((await send(daemon, { path: `/v1/facts/${about.id}` })).status, 200, `get after ttl ${v}`);
      assert.equal(
        (await send(daemon, { path: '/v1/facts?include=history&limit=500' })).status,
        200,
        `query after ttl ${v}`,
      );
      assert.equal((await send(daemon, { path: '/readyz' })).status, 200, `ready after ttl ${v}`);
    }
    for (const valid_until of [
      '0000-01-01T00:00:00Z',
      '9999-12-31T23:59:59.999999999-23:59',
      '0000-01-01T00:00:00+23:59',
    ]) {
      const made = await send(daemon, post(aFact({ entity: 'user:bounds', valid_until })));
      assert.equal(made.status, 201, valid_until);
      assert.equal((await send(daemon, { path: `/v1/facts/${made.json.id}` })).json.valid_until, valid_until);
    }
    for (const after of ['2290-01-01T00:00:00Z', '9999-12-31T23:59:59Z']) {
      assert.deepEqual((await send(daemon, { path: `/v1/facts?include=history&after=${after}` })).json.facts, []);
    }
  });

  it('members of gardens are named by any URI, as one segment or many', async () => {
    assert.equal((await send(daemon, post({ slug: 'odd', name: 'Odd' }, '/v1/gardens'))).status, 201);
    const odd = [
      'user:a/b',
      'https://example.org/a?b=c#d',
      'user:100%25',
      'user:é',
      'did:key:z6Mk',
      'user:a;b=c',
      'user:%2e%2e',
      'a:b:c//d',
      '=1+1',
    ];
    for (const uri of odd) {
      const made = await send(daemon, post({ entity_uri: uri, role: 'reader' }, '/v1/gardens/odd/members'));
      assert.equal(made.status, 201, uri);
      const path = `/v1/gardens/odd/members/${encodeURIComponent(made.json.entity_uri)}`;
      assert.equal((await send(daemon, { method: 'PATCH', path, body: { role: 'writer' } })).json.role, 'writer', uri);
      assert.equal((await send(daemon, { method: 'DELETE', path })).status, 204, uri);
      await refused(daemon, 'member_not_found', { method: 'DELETE', path });
    }
    for (const [uri, code] of [
      ['%20', 'invalid_entity_uri'],
      ['user:%00', 'invalid_entity_uri'],
      ['user:%zz', 'malformed_request'],
      ['%ff', 'malformed_request'],
    ]) {
      await refused(daemon, code!, { method: 'DELETE', path: `/v1/gardens/odd/members/${uri}` });
    }
    const admin = encodeURIComponent('agent:admin');
    await refused(daemon, 'last_admin', { method: 'DELETE', path: `/v1/gardens/odd/members/${admin}` });
    await refused(daemon, 'last_admin', {
      method: 'PATCH',
      path: `/v1/gardens/odd/members/${admin}`,
      body: { role: 'reader' },
    });
  });

  it('no cell of an audit export is a formula', async () => {
    for (const start of ['=', '+', '-', '@']) {
      const source = `${start}cmd|' /c calc'!a0,"x"`;
      assert.equal(
        (await send(daemon, post(aFact({ entity: `user:csv`, relation: `m:${start}`, source })))).status,
        201,
      );
    }
    const { text: csv } = await send(daemon, { path: '/v1/audit/export' });
    const cells = csv.split(/\r\n|,/).map((cell) => cell.replace(/^"/, ''));
    assert.ok(cells.some((cell) => cell.startsWith("'=cmd")));
    assert.deepEqual(
      cells.filter((cell) => /^[=+\-@\t\r]/.test(cell)),
      [],
    );
  });

  it('fault 49: an address inside a fact is text', async () => {
    const { createServer } = await import('node:http');
    let visits = 0;
    const server = createServer((_request, response) => {
      visits += 1;
      response.end();
    });
    await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
    const { port } = server.address() as { port: number };
    try {
      const urls = ['127.0.0.1', 'localhost', '0.0.0.0', '[::ffff:127.0.0.1]'].map(
        (host) => `http://${host}:${port}/x`,
      );
      for (const url of [...urls, `/ip4/127.0.0.1/tcp/${port}`, 'file:///etc/passwd', 'http://169.254.169.254/']) {
        const body = aFact({
          entity: url,
          source: url,
          value: { type: 'string', v: url },
          derived_from: [{ fact_id: url, hash: url, url }],
        });
        const { status, json } = await send(daemon, post(body));
        assert.equal(status, 201, url);
        const ref = url.startsWith('/') ? `dns:${url}` : url;
        assert.equal(
          (
            await send(
              daemon,
              post(
                aFact({ entity: 'user:ref', relation: `intent:${urls.indexOf(url)}`, value: { type: 'ref', v: ref } }),
              ),
            )
          ).status,
          201,
        );
        assert.equal(
          (await send(daemon, { path: `/v1/facts/${json.id}/provenance` })).json.derived_from[0].exists,
          false,
        );
        assert.equal((await send(daemon, { path: `/v1/facts/${json.id}/verify-cid`, body: {} })).json.cid_valid, true);
      }
      for (const scope of ['local', 'company'])
        assert.equal((await send(daemon, post({ scope }, '/v1/lint'))).status, 200);
      assert.equal(visits, 0);
    } finally {
      server.close();
    }
  });
});

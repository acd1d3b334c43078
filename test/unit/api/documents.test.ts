import assert from 'node:assert/strict';
import { mkdtemp, readFile, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { Ajv2020 } from 'ajv/dist/2020.js';
import addFormats from 'ajv-formats';
import { renderMarkdown } from '../../../src/api/docs/markdown.ts';
import { ERRORS } from '../../../src/api/errors.ts';
import { MESH_EVENT_NAMES } from '../../../src/api/events/mesh.ts';
import { MAX_DOC_PAGE_BYTES } from '../../../src/api/limits.ts';
import { endpoints } from '../../../src/api/operations/index.ts';
import { peerStatus } from '../../../src/api/wire-federation.ts';
import { PEER_STATES } from '../../../src/node/federation.ts';
import { start, stopAll } from './fakes.ts';

// biome-ignore lint/suspicious/noExplicitAny: documents are looked into freely here.
type Any = any;

const contractFile = join(import.meta.dirname, '../../conformance/data/stigmem-openapi-0.9.0a10.json');

function references(json: unknown, found: string[] = []): string[] {
  if (typeof json !== 'object' || json === null) return found;
  for (const [name, value] of Object.entries(json)) {
    if (name === '$ref') found.push(String(value));
    else references(value, found);
  }
  return found;
}

describe('OpenAPI document', () => {
  afterEach(stopAll);

  const load = async (): Promise<Any> => (await (await start()).send({ path: '/openapi.json' }, null)).json;

  it('lists every endpoint once, with unique operation ids and declared path parameters', async () => {
    const document = await load();
    assert.equal(document.openapi, '3.1.0');
    const ids = new Set<string>();
    let count = 0;
    for (const [path, methods] of Object.entries<Any>(document.paths)) {
      for (const operation of Object.values<Any>(methods)) {
        count++;
        ids.add(operation.operationId);
        const inPath = [...path.matchAll(/\{(\w+)\}/g)].map(([, name]) => name);
        const declared = (operation.parameters ?? [])
          .filter((one: Any) => one.in === 'path')
          .map((one: Any) => one.name);
        assert.deepEqual(declared.sort(), inPath.sort(), `${operation.operationId}`);
        assert.ok(operation.summary && Object.keys(operation.responses).length > 1);
      }
    }
    assert.equal(count, endpoints.length);
    assert.equal(ids.size, endpoints.length);
  });

  it('has no reference that leads nowhere, and only valid schemas', async () => {
    const document = await load();
    for (const reference of references(document)) {
      const [, name] = /^#\/components\/schemas\/(\w+)$/.exec(reference) ?? [];
      assert.ok(name && document.components.schemas[name], reference);
    }
    const ajv = new Ajv2020({ strict: false });
    addFormats.default(ajv);
    ajv.addSchema({ $id: 'ours', components: document.components });
    for (const name of Object.keys(document.components.schemas)) {
      assert.ok(ajv.compile({ $ref: `ours#/components/schemas/${name}` }), name);
    }
  });

  it('keeps every member the contract has, in requests and answers of the routes it shares with it', async () => {
    const ours = await load();
    const theirs = JSON.parse(await readFile(contractFile, 'utf8')) as Any;
    const resolve = (document: Any, schema: Any): Any =>
      schema?.$ref ? document.components.schemas[schema.$ref.split('/').at(-1)] : schema;
    let compared = 0;
    for (const [path, methods] of Object.entries<Any>(ours.paths)) {
      for (const [method, operation] of Object.entries<Any>(methods)) {
        const other = theirs.paths[path]?.[method];
        if (other === undefined) continue;
        const parameters = (operation.parameters ?? []).map((one: Any) => one.name);
        for (const parameter of other.parameters ?? []) {
          assert.ok(parameters.includes(parameter.name), `${method} ${path} ${parameter.name}`);
        }
        const body = (document: Any, of: Any) => resolve(document, of.requestBody?.content['application/json']?.schema);
        for (const member of Object.keys(body(theirs, other)?.properties ?? {})) {
          assert.ok(body(ours, operation).properties[member], `${method} ${path} ${member}`);
        }
        for (const [status, response] of Object.entries<Any>(other.responses)) {
          if (status === '422' && method === 'get' && other.parameters === undefined) continue;
          assert.ok(operation.responses[status], `${method} ${path} ${status}`);
          const answer = (document: Any, of: Any) => {
            const schema = resolve(document, of?.content?.['application/json']?.schema);
            return resolve(document, schema?.items) ?? schema;
          };
          for (const member of Object.keys(answer(theirs, response)?.properties ?? {})) {
            if (status === '422') continue;
            assert.ok(answer(ours, operation.responses[status])?.properties[member], `${method} ${path} ${member}`);
          }
        }
        compared++;
      }
    }
    assert.ok(compared >= 25, `${compared} routes compared`);
  });
});

describe('hand-written pages', () => {
  const page = (name: string) => readFile(join(import.meta.dirname, '../../../docs', name), 'utf8');

  it('name every method of JSON-RPC', async () => {
    const text = await page('json-rpc.md');
    for (const endpoint of endpoints) {
      if (endpoint.kind === 'json' && endpoint.rpc) assert.ok(text.includes(`\`${endpoint.name}\``), endpoint.name);
    }
  });

  it('name every event', async () => {
    const text = await page('events.md');
    for (const name of ['fact', 'resolution', 'reset', ...MESH_EVENT_NAMES])
      assert.ok(text.includes(`| \`${name}\` |`), name);
  });

  it('name every route of the mesh and every state of a peer', async () => {
    const text = await page('http.md');
    const paths = new Set(endpoints.map(({ path }) => path).filter((path) => path.startsWith('/v1/federation/')));
    assert.ok(paths.size > 10);
    for (const path of paths) {
      const spelled = path.replace('*}', '}');
      const short = spelled.replace('/v1/federation', '…');
      assert.ok(text.includes(spelled) || text.includes(short), path);
    }
    for (const state of PEER_STATES) assert.ok(text.includes(`| \`${state}\` | \`${peerStatus(state)}\` |`), state);
  });
});

describe('documentation pages', () => {
  let folder: string;
  before(async () => {
    folder = await mkdtemp(join(tmpdir(), 'stigmesh-docs-'));
    await writeFile(join(folder, 'guide.md'), '# A `guide`\n\n<script>alert(1)</script>\n\n[next](other.md#x)');
    await writeFile(join(folder, 'errors.md'), '# not this one');
    await writeFile(join(folder, 'huge.md'), 'x'.repeat(MAX_DOC_PAGE_BYTES + 1));
    await writeFile(join(folder, 'not a page.txt'), 'x');
  });
  after(() => rm(folder, { recursive: true }));
  afterEach(stopAll);

  it('are HTML without scripts, styled and linked from themselves only', async () => {
    const { send } = await start({}, { docsDir: folder });
    const index = await send({ path: '/docs/' }, null);
    const links = [...index.text.matchAll(/href="([^"]+)"/g)].map(([, href]) => href!);
    assert.ok(links.includes('/docs/guide'));
    assert.ok(!links.includes('/docs/huge'));
    for (const path of new Set(links)) {
      const page = await send({ path }, null);
      assert.equal(page.status, 200, path);
      assert.match(String(page.headers['content-security-policy']), /^default-src 'none';/);
      if (!page.headers['content-type']?.startsWith('text/html')) continue;
      assert.doesNotMatch(page.text, /<script|javascript:|onload=|style="/i, path);
      assert.doesNotMatch(page.text, /(?:src|href)="https?:/i, path);
      assert.match(page.text, /^<!doctype html>\n<html lang="en">/);
      const ids = [...page.text.matchAll(/ id="([^"]+)"/g)].map(([, id]) => id);
      assert.equal(new Set(ids).size, ids.length, `${path} has an id twice`);
    }
    const style = await send({ path: '/docs/style.css' }, null);
    assert.match(String(style.headers['content-type']), /^text\/css/);
    assert.doesNotMatch(style.text, /url\(|@import/);
  });

  it('show raw HTML of a page as text and name it by its heading', async () => {
    const { send } = await start({}, { docsDir: folder });
    const { text } = await send({ path: '/docs/guide' }, null);
    assert.match(text, /&lt;script&gt;alert\(1\)&lt;\/script&gt;/);
    assert.match(text, /<title>A guide · Stigmesh<\/title>/);
    assert.match(text, /href="\/docs\/other#x"/);
  });

  it('explain every error code where its type leads', async () => {
    const { send } = await start();
    const { text } = await send({ path: '/docs/errors' }, null);
    for (const code of Object.keys(ERRORS)) assert.ok(text.includes(`id="${code}"`), code);
    const { json } = await send({ path: '/v1/me' }, null);
    assert.equal(json.type, '/docs/errors#authorization_required');
  });

  it('describe every endpoint', async () => {
    const { send } = await start();
    const { text } = await send({ path: '/docs/reference/http' }, null);
    for (const { name } of endpoints) assert.ok(text.includes(`id="${name}"`), name);
  });

  it('are absent when switched off, and a page that does not exist is not found', async () => {
    const off = await start({}, { docs: false });
    for (const path of ['/docs', '/']) assert.equal((await off.send({ path }, null)).status, 404, path);
    const on = await start({}, { docsDir: join(folder, 'missing') });
    assert.equal((await on.send({ path: '/docs' }, null)).status, 200);
    const root = await on.send({ path: '/' }, null);
    assert.deepEqual([root.status, root.headers.location], [302, '/docs']);
    for (const path of ['/docs/guide', '/docs/..%2fpackage', '/docs/../package.json']) {
      assert.equal((await on.send({ path }, null)).status, 404, path);
    }
    assert.equal((await on.send({ method: 'POST', path: '/docs' })).status, 405);
  });

  it('let nothing through that would run or load', () => {
    const hostile = [
      '<img src=x onerror=alert(1)>',
      '[a](javascript:alert(1))',
      '[a](JaVaScRiPt:alert(1))',
      '[a](data:text/html,x)',
      '[a](vbscript:x)',
      '![a](https://evil.example/x.png)',
      '[a](<java\nscript:x>)',
      '[a](//evil.example)',
      '<a href="javascript:x">a</a>',
      '[a](https://x.example/"onmouseover="alert(1))',
      '# <b onclick=x>h</b>',
      '`<script>`',
    ];
    for (const source of hostile) {
      const html = renderMarkdown(source);
      assert.doesNotMatch(
        html,
        /<(?:img|script|b|iframe)\b|href="(?:javascript|data|vbscript):|href="\/\/|"onmouseover=/i,
        source,
      );
    }
    assert.match(renderMarkdown('[x](https://example.org/a?b=c&d=e)'), /href="https:\/\/example.org\/a\?b=c&amp;d=e"/);
    assert.equal(renderMarkdown('[facts](../spec/facts.md)'), '<p>facts</p>\n');
    assert.match(renderMarkdown('[b](./b.md)'), /href="\/docs\/b"/);
    assert.match(renderMarkdown('| a | b |\n|---|---|\n| 1 | 2 |'), /<table>/);
    assert.match(renderMarkdown('## Two words'), /<h2 id="two-words">/);
  });
});

import assert from 'node:assert/strict';
import { readdirSync, readFileSync } from 'node:fs';
import { join, resolve } from 'node:path';
import { limitRows, metricRows, operationsPage, PAGES } from '../../../scripts/generate-operations-docs.ts';
import { LIMIT_MODULES, LIMITS_SEEN, type LimitModule } from '../../../scripts/limits-reference.ts';
import { ERRORS } from '../../../src/api/errors.ts';
import { SYNC_REASONS } from '../../../src/sync/errors.ts';

const ROOT = resolve(import.meta.dirname, '../../..');
const SRC = join(ROOT, 'src');
const OPERATIONS = readFileSync(join(ROOT, 'docs/operations.md'), 'utf8');

const sources = readdirSync(SRC, { recursive: true, encoding: 'utf8' })
  .filter((name) => name.endsWith('.ts'))
  .map((name) => ({ name: join('src', name), text: readFileSync(join(SRC, name), 'utf8') }));

describe('operations: reference pages', () => {
  for (const page of Object.keys(PAGES)) {
    it(`${page} says what the code says (npm run generate:operations)`, async () => {
      const text = readFileSync(join(ROOT, page), 'utf8');
      assert.equal(text, await operationsPage(page, text));
    });
  }

  it('name metrics as Prometheus asks: a unit or what is counted, _total for counters alone, a sentence of help', () => {
    const rows = metricRows();
    assert.ok(rows.length > 30);
    for (const { name, type, help } of rows) {
      assert.match(name, /^stigmesh_[a-z][a-z_]*$/);
      assert.equal(name.endsWith('_total'), type === 'counter', name);
      assert.doesNotMatch(name, /_(ms|milliseconds|kb|mb|percent)$/);
      assert.match(help, /^[A-Z0-9].*[^.]$/, name);
    }
  });

  it('have no label that callers could fill', () => {
    const labels = new Set(metricRows().flatMap((row) => row.labels));
    assert.deepEqual([...labels].sort(), [
      'code',
      'dimension',
      'kind',
      'method',
      'node',
      'of',
      'outcome',
      'reason',
      'route',
      'schema',
      'scope',
      'status',
      'version',
    ]);
  });

  it('speak of metrics that exist', () => {
    const names = new Set(metricRows().map(({ name }) => name));
    for (const page of ['operations.md', 'metrics.md', 'limits.md']) {
      const text = readFileSync(join(ROOT, 'docs', page), 'utf8');
      for (const [name] of text.matchAll(/\bstigmesh_[a-z_]+/g)) {
        assert.ok(names.has(name.replace(/_(bucket|sum|count)$/, '')), `${page}: ${name}`);
      }
    }
  });
});

describe('operations: limits', () => {
  const modules = Object.keys(LIMIT_MODULES) as LimitModule[];

  it('are all found: every module of limits but those of the command line, which explains its own', () => {
    const found = sources.map(({ name }) => name).filter((name) => /\/(\w+-)?limits\.ts$/.test(name));
    assert.deepEqual(found.filter((name) => name !== 'src/cli/limits.ts').sort(), [...modules].sort());
  });

  for (const module of modules) {
    it(`of ${module} each have a reason, and show when they are reached`, async () => {
      const rows = await limitRows(module);
      assert.ok(rows.length > 0);
      for (const { name, value, why, seen } of rows) {
        assert.equal(typeof value, 'number', name);
        assert.ok(why.length > 10, `${name} has no reason beside it`);
        assert.ok(seen !== undefined, `${name}: say in scripts/limits-reference.ts how it shows when it is reached`);
      }
      const stale = Object.keys(LIMITS_SEEN[module]).filter((name) => !rows.some((row) => row.name === name));
      assert.deepEqual(stale, [], 'limits that are gone');
    });
  }

  it('show by codes and metrics that exist', () => {
    const metrics = new Set(metricRows().map(({ name }) => name));
    // Codes of the configuration and of key files end a start, those of the mesh a stream; unions of literals in their modules.
    const startCodes = sources
      .filter(({ name }) => /^src\/(config|identity|mesh)\/errors\.ts$/.test(name))
      .map(({ text }) => text)
      .join();
    for (const [module, limits] of Object.entries(LIMITS_SEEN)) {
      for (const [limit, seen] of Object.entries(limits)) {
        for (const [, token] of seen.matchAll(/`([a-z_]+)`/g)) {
          const isCode = Object.hasOwn(ERRORS, token!) || Object.hasOwn(SYNC_REASONS, token!);
          const isKnown = isCode || metrics.has(token!) || startCodes.includes(`'${token}'`);
          assert.ok(isKnown, `${module} ${limit}: ${token} is neither a code nor a metric`);
        }
      }
    }
  });

  it('that refuse are said to: whoever throws because of a limit names a code', () => {
    for (const [module, limits] of Object.entries(LIMITS_SEEN)) {
      for (const [limit, seen] of Object.entries(limits)) {
        const use = new RegExp(`(?:Error|throw [a-zA-Z]+)\\([^;]*\\$\\{${limit}[ }]`);
        const isTold = sources.some(({ name, text }) => name !== module && use.test(text));
        if (isTold) assert.match(seen, /`[a-z_]+`/, `${limit} is quoted in a message, so something is refused`);
      }
    }
  });
});

describe('operations: log events', () => {
  const kinds = [
    ...sources.find(({ name }) => name === 'src/api/request-log.ts')!.text.matchAll(/^ {2}(\w+): \{ level/gm),
  ];
  const written = new Set(
    sources.flatMap(({ text }) =>
      [...text.matchAll(/(?:log|\bcomponents\.log)\.\w+\(\s*\{ event: '(\w+)'/g)].map(([, name]) => name!),
    ),
  );
  for (const [, kind] of kinds) written.add(kind!);
  const documented = [...OPERATIONS.matchAll(/^\| `(\w+)` \| (?:debug|info|warn|error|fatal) \|/gm)].map(
    ([, name]) => name!,
  );

  it('are documented, all of them and no others', () => {
    assert.ok(kinds.length >= 4);
    assert.deepEqual([...documented].sort(), [...written].sort());
  });

  it('have a name on every line that is written', () => {
    for (const { name, text } of sources) {
      for (const [call] of text.matchAll(/\blog\.(?:trace|debug|info|warn|error|fatal)\([^;]*?\)/gs)) {
        assert.match(call, /\(\s*\{ event: /, `${name}: ${call}`);
      }
    }
  });
});

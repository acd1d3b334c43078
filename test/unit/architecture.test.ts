import assert from 'node:assert/strict';
import { readdirSync, readFileSync, statSync } from 'node:fs';
import { dirname, join, relative, resolve } from 'node:path';

const ROOT = resolve(import.meta.dirname, '../..');
const SRC = join(ROOT, 'src');

/** Rooms a room may import from (architecture.md). `.` are the files of src itself, which wire everything together. */
const MAY_IMPORT: Record<string, readonly string[]> = {
  facts: [],
  policy: ['facts'],
  sync: ['facts'],
  identity: ['facts', 'policy'],
  config: ['facts'],
  store: ['facts'],
  node: ['facts', 'policy', 'identity', 'sync', 'store'],
  mesh: ['facts', 'policy', 'identity', 'sync', 'node', 'store'],
  api: ['facts', 'policy', 'identity', 'node', 'store'],
  cli: ['facts', 'policy', 'config', 'identity', 'node', 'store', 'api', '.'],
  '.': ['facts', 'policy', 'identity', 'config', 'store', 'node', 'mesh', 'api'],
};

/** What may stand at the top of the repository, beside dotfiles and the lock file. */
const TOP_LEVEL = [
  'package.json',
  'tsconfig.json',
  'README.md',
  'LICENSE',
  'CHANGELOG.md',
  'CONTRIBUTING.md',
  'src',
  'protocols',
  'config',
  'scripts',
  'spec',
  'test',
  'docker',
  'docs',
  'package-lock.json',
];
const GENERATED = ['node_modules', 'dist'];

const MAX_LINES = 500;

function files(directory: string): string[] {
  return readdirSync(directory, { recursive: true, encoding: 'utf8' })
    .map((name) => join(directory, name))
    .filter((path) => path.endsWith('.ts') && statSync(path).isFile());
}

function importsOf(path: string): string[] {
  const text = readFileSync(path, 'utf8');
  const found = [
    ...text.matchAll(/(?:^|\n)\s*(?:import|export)\b[^'";]*?from '(\.[^']+)'/g),
    ...text.matchAll(/import\('(\.[^']+)'\)/g),
  ];
  return found.map(([, target]) => resolve(dirname(path), target!));
}

function roomOf(path: string): string {
  const parts = relative(SRC, path).split('/');
  return parts.length === 1 ? '.' : parts[0]!;
}

describe('architecture', () => {
  const sources = files(SRC);

  it('has rooms that depend on each other in one direction only', () => {
    assert.ok(sources.length > 20);
    const wrong: string[] = [];
    for (const path of sources) {
      const room = roomOf(path);
      assert.ok(MAY_IMPORT[room], `src/${room} is not a room of architecture.md`);
      for (const target of importsOf(path)) {
        const to = roomOf(target);
        if (to !== room && !MAY_IMPORT[room].includes(to))
          wrong.push(`${relative(ROOT, path)} imports ${relative(ROOT, target)}`);
      }
    }
    assert.deepEqual(wrong, []);
  });

  it('has no import circles, of types neither', () => {
    const state = new Map<string, 'open' | 'done'>();
    const circles: string[] = [];
    const visit = (path: string, trail: readonly string[]): void => {
      if (state.get(path) === 'done') return;
      if (state.get(path) === 'open') {
        circles.push([...trail.slice(trail.indexOf(path)), path].map((one) => relative(SRC, one)).join(' → '));
        return;
      }
      state.set(path, 'open');
      for (const target of importsOf(path)) visit(target, [...trail, path]);
      state.set(path, 'done');
    };
    for (const path of sources) visit(path, []);
    assert.deepEqual(circles, []);
  });

  it('keeps files under about five hundred lines', () => {
    const long = [...sources, ...files(join(ROOT, 'test'))]
      .map((path) => [relative(ROOT, path), readFileSync(path, 'utf8').split('\n').length] as const)
      .filter(([, lines]) => lines > MAX_LINES);
    assert.deepEqual(long, []);
  });

  it('has nothing at the top level but what belongs there', () => {
    const strangers = readdirSync(ROOT).filter(
      (name) => !name.startsWith('.') && ![...TOP_LEVEL, ...GENERATED].includes(name),
    );
    assert.deepEqual(strangers, []);
  });

  it('reads the environment in src/config only, and neither clock nor randomness in the pure rooms', () => {
    const readers = sources.filter(
      (path) => roomOf(path) !== 'config' && /process\.env\b/.test(readFileSync(path, 'utf8')),
    );
    assert.deepEqual(
      readers.map((path) => relative(ROOT, path)),
      [],
    );
    const impure = sources.filter(
      (path) =>
        ['facts', 'policy', 'sync'].includes(roomOf(path)) &&
        /Date\.now|performance\.now|Math\.random|randomBytes|setTimeout|setInterval|node:fs/.test(
          readFileSync(path, 'utf8'),
        ),
    );
    assert.deepEqual(
      impure.map((path) => relative(ROOT, path)),
      [],
    );
  });
});

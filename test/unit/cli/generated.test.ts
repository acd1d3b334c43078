import assert from 'node:assert/strict';
import { execFileSync, spawnSync } from 'node:child_process';
import { mkdtempSync, readdirSync, readFileSync, rmSync, statSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join, relative } from 'node:path';
import type { Command } from 'commander';
import { cliPage } from '../../../scripts/generate-cli-docs.ts';
import { completionScript, type Shell } from '../../../src/cli/completion.ts';
import { fullProgram } from '../../../src/cli/program.ts';
import { registry } from '../../../src/cli/registry.ts';
import { commandTree, walk } from '../../../src/cli/tree.ts';
import { systemWorld } from '../../../src/cli/world.ts';
import { Home } from './fixture.ts';

const DOCS = new URL('../../../docs/cli.md', import.meta.url);

describe('cli: the command tree', () => {
  let program: Command;
  before(async () => {
    program = await fullProgram(systemWorld());
  });

  it('describes every command, argument and option', () => {
    const nodes = [...walk(commandTree(program))];
    assert.ok(nodes.length > registry.length + 10);
    for (const node of nodes) {
      const name = node.path.join(' ');
      assert.match(node.description, /^[A-Z].*\.$/s, name);
      if (node.path.length > 0) assert.match(node.summary, /^[a-z].*[^.]$/, name);
      for (const { description } of [...node.arguments, ...node.options]) assert.ok(description.length > 0, name);
    }
  });

  it('is what docs/cli.md says (npm run generate:cli)', async () => {
    const page = readFileSync(DOCS, 'utf8');
    assert.equal(page, await cliPage(page));
    for (const { path } of walk(commandTree(program)))
      assert.ok(page.includes(`\`stigmesh${path.map((part) => ` ${part}`).join('')}\``), path.join(' '));
  });

  it('refuses a page without the places to fill in', async () => {
    await assert.rejects(cliPage('# nothing'), /no generated part/);
  });

  it('has every command that hints and pages speak of', () => {
    const root = join(import.meta.dirname, '../../..');
    const files = ['src', 'docs', 'config', 'README.md'].flatMap((name) => {
      const path = join(root, name);
      if (statSync(path).isFile()) return [path];
      return readdirSync(path, { recursive: true, encoding: 'utf8' }).map((file) => join(path, file));
    });
    const nodes = new Map([...walk(commandTree(program))].map((node) => [node.path.join(' '), node]));
    const unknown = new Set<string>();
    let found = 0;
    for (const file of files.filter((name) => /\.(?:ts|md|toml|json)$/.test(name))) {
      // As something to type: quoted, after a colon or as a command line. Elsewhere it is the name of the program.
      for (const [, word = '', next] of readFileSync(file, 'utf8').matchAll(
        /(?:['`]|: |\$ )stigmesh ([a-z]+)(?: ([a-z][a-z-]*))?(?=[\s'`).;,:]|$)/gm,
      )) {
        found++;
        const group = nodes.get(word);
        // What follows a group is one of its commands, unless it has a default one or the sentence goes on.
        const isCommand = next === undefined || !group?.commands.length || nodes.has(`${word} ${next}`);
        const goesOn =
          next !== undefined && ['lists', 'shows', 'printed', 'prints', 'in', 'is', 'and', 'or', 'to'].includes(next);
        if (group === undefined || !(isCommand || goesOn))
          unknown.add(`${relative(root, file)}: stigmesh ${word} ${next ?? ''}`);
      }
    }
    assert.ok(found > 50);
    assert.deepEqual([...unknown], []);
  });

  describe('completion', () => {
    let directory: string;
    beforeEach(() => {
      directory = mkdtempSync(join(tmpdir(), 'stigmesh-completion-'));
    });
    afterEach(() => rmSync(directory, { recursive: true, force: true }));

    const script = (shell: Shell): string => {
      const file = join(directory, shell);
      writeFileSync(file, completionScript(shell, program));
      return file;
    };

    /** What bash would offer with the cursor at the end of the last word. */
    const complete = (...words: string[]): string[] => {
      const quoted = ['stigmesh', ...words].map((word) => `'${word}'`).join(' ');
      const code = `source '${script('bash')}'; COMP_WORDS=(${quoted}); COMP_CWORD=${words.length}; _stigmesh; printf '%s\\n' "\${COMPREPLY[@]}"`;
      return execFileSync('bash', ['--noprofile', '--norc', '-euc', code], { encoding: 'utf8' })
        .split('\n')
        .filter((word) => word !== '');
    };

    it('completes commands in bash', () => {
      assert.deepEqual(complete('st').sort(), ['start', 'status', 'stop']);
      assert.deepEqual(
        complete('keys', '').filter((word) => !word.startsWith('-')),
        ['create', 'list', 'revoke'],
      );
      assert.deepEqual(complete('--home', 'keys', 'conf').sort(), ['config', 'conflicts']);
      assert.deepEqual(
        complete('completion', ''),
        complete('completion', '').filter((word) => word.startsWith('-') || ['bash', 'zsh', 'fish'].includes(word)),
      );
    });

    it('completes options and their words in bash', () => {
      assert.deepEqual(complete('assert', '--sco'), ['--scope']);
      assert.deepEqual(complete('assert', 'user:a', 'x:y', '--scope', ''), ['local', 'team', 'company', 'public']);
      assert.deepEqual(complete('query', '--js'), ['--json']);
      assert.deepEqual(complete('conflicts', 'resolve', 'id', '--both'), ['--both-valid']);
      assert.deepEqual(complete('gardens', 'add', 'g', 'u', '--role', 'w'), ['writer']);
      // The value of an option is no command.
      assert.deepEqual(complete('assert', '--source', 'query', '--atom'), ['--atomic']);
      // Names of files are left to bash.
      assert.deepEqual(complete('assert', '--file', ''), []);
    });

    for (const shell of ['zsh', 'fish'] as const) {
      it(`mentions every command and option for ${shell}, and parses where ${shell} is installed`, () => {
        const text = completionScript(shell, program);
        for (const { path, options } of walk(commandTree(program))) {
          assert.ok(path.length === 0 || text.includes(path.at(-1) as string));
          for (const { long } of options) {
            if (long) assert.ok(text.includes(shell === 'fish' ? `-l ${long.slice(2)}` : long), long);
          }
        }
        const checked = spawnSync(shell, ['-n', script(shell)], { encoding: 'utf8' });
        if (checked.error === undefined) assert.deepEqual([checked.status, checked.stderr], [0, '']);
      });
    }

    it('is what the command prints', async () => {
      const home = new Home();
      try {
        const { code, stdout } = await home.run(['completion', 'bash']);
        assert.equal(code, 0);
        assert.equal(stdout, completionScript('bash', program));
      } finally {
        home.remove();
      }
    });
  });
});

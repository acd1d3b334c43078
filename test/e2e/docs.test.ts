import assert from 'node:assert/strict';
import { readdirSync } from 'node:fs';
import { join, relative } from 'node:path';
import { ROOT } from '../support/daemon.ts';
import { DocSession, docCommands, exchangePort, matches, shown } from '../support/doc-runner.ts';

const pages = [
  join(ROOT, 'README.md'),
  ...readdirSync(join(ROOT, 'docs'))
    .filter((name) => name.endsWith('.md'))
    .map((name) => join(ROOT, 'docs', name)),
];

describe('documentation: every command block runs and prints what is written', () => {
  for (const page of pages) {
    const commands = docCommands(page);
    if (commands.length === 0) continue;

    describe(relative(ROOT, page), function () {
      this.timeout(180_000);
      const session = new DocSession();
      before(() => session.start());
      after(() => session.stop());
      for (const command of commands) it(`$ ${command.command.split('\n')[0]}`, () => session.run(command));
    });
  }

  it('compares output exactly, but for what is marked as variable', () => {
    assert.ok(matches(['a 1 b', 'x', 'y', 'end'], ['a … b', '…', 'end']));
    assert.ok(!matches(['a 1 c'], ['a … b']));
    assert.ok(!matches(['a', 'b'], ['a']));
    assert.ok(!matches(['a'], ['a', 'b']));
    assert.ok(matches([''], []));
  });

  it('takes for a port only what stands where a port does', () => {
    const printed =
      'Ed25519 http://127.0.0.1:25519/docs [::1]:25519 /ip4/127.0.0.1/tcp/25519 {"bytes":25519} 127.0.0.1:255190';
    assert.equal(
      exchangePort(printed, 25519, 8765),
      'Ed25519 http://127.0.0.1:8765/docs [::1]:8765 /ip4/127.0.0.1/tcp/8765 {"bytes":25519} 127.0.0.1:255190',
    );
  });

  it('compares what stays on a terminal, not what turned there for a while', () => {
    assert.equal(shown('⠙\u001b[1G\u001b[0K⠹\u001b[1G\u001b[0Kone\n\u001b[1G\u001b[0Ktwo\n'), 'one\ntwo\n');
  });
});

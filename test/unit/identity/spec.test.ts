import assert from 'node:assert/strict';
import { readFileSync } from 'node:fs';
import * as limits from '../../../src/identity/limits.ts';

const read = (path: string) => readFileSync(new URL(`../../../${path}`, import.meta.url), 'utf8');
const SPEC = read('spec/mesh.md');

/** Text of one numbered section. */
function section(title: string): string {
  const text = SPEC.split(/^## /m).find((one) => one.startsWith(title));
  assert.ok(text, title);
  return text;
}

describe('identity: spec/mesh.md', () => {
  it('has the limits that the code has', () => {
    const rows = [...section('7. Limits').matchAll(/^\| `([A-Z_]+)` \| ([\d ]+) \|/gm)];
    assert.ok(rows.length >= 10);
    const known: Readonly<Record<string, number>> = limits;
    for (const [, name, value] of rows) {
      if (name! in known) assert.equal(Number(value!.replaceAll(' ', '')), known[name!], name);
    }
    const named = rows.map(([, name]) => name);
    for (const name of Object.keys(limits).filter((one) => /MANIFEST_|DECLAR|MAX_ADDR|MAX_INVITE/.test(one))) {
      // Of the daemon alone: others may choose another life.
      if (name !== 'MANIFEST_LIFE_MS') assert.ok(named.includes(name), name);
    }
  });

  it('speaks of codes that exist', () => {
    const union = read('src/identity/errors.ts');
    const codes = [...section('8. Error codes').matchAll(/^\| (`.*?`) \|/gm)].flatMap(([, cell]) =>
      [...cell!.matchAll(/`(\w+)`/g)].map(([, code]) => code!),
    );
    assert.ok(codes.length > 15);
    for (const code of codes) assert.ok(union.includes(`'${code}'`), code);
  });
});

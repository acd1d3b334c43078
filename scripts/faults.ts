import { execFile } from 'node:child_process';
import { readFileSync } from 'node:fs';
import { createRequire } from 'node:module';
import { dirname, join, resolve } from 'node:path';
import { promisify } from 'node:util';

/**
 * Which rows of the fault table (spec/faults.json) a test covers: a test says so in its title, `fault 41: …`.
 *
 * `npm run faults` prints the table; with `--json` as JSON.
 */

const ROOT = resolve(import.meta.dirname, '..');
/** Titles of some thousand tests. */
const MAX_OUTPUT_BYTES = 64 * 1024 * 1024;

export interface FaultRow {
  readonly row: number;
  readonly area: string;
  readonly name: string;
}

export interface CoveredRow extends FaultRow {
  /** Titles of the tests that name the row; none: it is open. */
  readonly tests: readonly string[];
}

export function faultTable(): FaultRow[] {
  return JSON.parse(readFileSync(join(ROOT, 'spec/faults.json'), 'utf8')) as FaultRow[];
}

/** The row that the title of a test names. */
export function rowOf(title: string): number | undefined {
  const row = /^fault (\d+): \S/.exec(title)?.[1];
  return row === undefined ? undefined : Number(row);
}

export function coverage(rows: readonly FaultRow[], titles: readonly string[]): CoveredRow[] {
  return rows.map((row) => ({ ...row, tests: titles.filter((title) => rowOf(title) === row.row) }));
}

/** Lines for people: areas, rows, how many tests each has. */
export function report(rows: readonly CoveredRow[]): string[] {
  const lines: string[] = [];
  let area = '';
  for (const { row, name, tests, area: of } of rows) {
    if (of !== area) lines.push(...(area === '' ? [] : ['']), of);
    area = of;
    const count = tests.length === 0 ? 'open' : `${tests.length} ${tests.length === 1 ? 'test' : 'tests'}`;
    lines.push(`  ${tests.length === 0 ? ' ' : '✓'} ${String(row).padStart(2)}  ${count.padEnd(9)} ${name}`);
  }
  const covered = rows.filter(({ tests }) => tests.length > 0).length;
  return [...lines, '', `${covered} of ${rows.length} rows covered, ${rows.length - covered} open`];
}

/** Titles of every test there is, without running any. */
async function testTitles(): Promise<string[]> {
  const mocha = join(dirname(createRequire(import.meta.url).resolve('mocha/package.json')), 'bin/mocha.js');
  const args = [mocha, '--dry-run', '--reporter', 'json', '--spec', 'test/**/*.test.ts'];
  const { stdout } = await promisify(execFile)(process.execPath, args, { cwd: ROOT, maxBuffer: MAX_OUTPUT_BYTES });
  const { tests } = JSON.parse(stdout.slice(stdout.indexOf('{\n'))) as { tests: { title: string }[] };
  return tests.map(({ title }) => title);
}

if (import.meta.main) {
  const rows = coverage(faultTable(), await testTitles());
  console.log(process.argv.includes('--json') ? JSON.stringify(rows, null, 2) : report(rows).join('\n'));
}

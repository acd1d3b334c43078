import { spawn } from 'node:child_process';
import { randomInt } from 'node:crypto';
import { once } from 'node:events';
import { createRequire } from 'node:module';
import { dirname, join, resolve } from 'node:path';

/**
 * The fault tests, the fuzz test, the hostile peer and the simulator at length: what `npm test` tries a few times is tried
 * often. The properties once more, with other values. Takes some twenty-five minutes. A variable that is set already
 * counts, and a failure names its seed (`STIGMESH_SEED`, `STIGMESH_FUZZ_SEED`, `STIGMESH_PROPERTY_SEED`).
 */
const LONG = {
  STIGMESH_KILL_ROUNDS: '300',
  STIGMESH_DAMAGE_POSITIONS: '3000',
  STIGMESH_FUZZ_REQUESTS: '100000',
  STIGMESH_FUZZ_SEED: String(randomInt(2 ** 31)),
  STIGMESH_PROPERTY_SEED: String(randomInt(2 ** 31)),
  STIGMESH_HOSTILE_SCALE: '10',
  STIGMESH_SIM_SEEDS: '1000',
  STIGMESH_SIM_LARGE: '5',
};
const LONGEST_TEST_MS = 30 * 60_000;

const ROOT = resolve(import.meta.dirname, '..');
const mocha = join(dirname(createRequire(import.meta.url).resolve('mocha/package.json')), 'bin/mocha.js');
const args = [
  mocha,
  '--timeout',
  String(LONGEST_TEST_MS),
  '--spec',
  'test/{property,unit,compliance}/**/*.test.ts',
  '--spec',
  'test/faults/**/*.test.ts',
  '--spec',
  'test/hostile/fuzz.test.ts',
  '--spec',
  'test/hostile/mesh-hostile.test.ts',
  '--spec',
  'test/sim/seeds.test.ts',
  ...process.argv.slice(2),
];
const child = spawn(process.execPath, args, { cwd: ROOT, stdio: 'inherit', env: { ...LONG, ...process.env } });
const [code] = (await once(child, 'exit')) as [number | null];
process.exitCode = code ?? 1;

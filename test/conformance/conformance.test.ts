import assert from 'node:assert/strict';
import { readdirSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { type RunningDaemon, startDaemon } from '../support/daemon.ts';
import { Contract } from './contract.ts';

interface Vector {
  readonly id: string;
  readonly description: string;
  readonly method: string;
  readonly path: string;
  readonly body?: unknown;
  readonly requires_setup?: string;
  readonly [check: string]: unknown;
}

interface VectorFile {
  readonly title: string;
  readonly seed_fact?: unknown;
  readonly vectors: readonly Vector[];
}

const DATA = join(import.meta.dirname, 'data');
const files = readdirSync(DATA)
  .filter((name) => /^\d\d_.*\.json$/.test(name))
  .sort()
  .map((name) => JSON.parse(readFileSync(join(DATA, name), 'utf8')) as VectorFile);
const vectors = new Map(files.flatMap((file) => file.vectors.map((vector) => [vector.id, vector] as const)));

/** Members of a vector that say what to send; all others are checks, and an unknown one fails. */
const NOT_CHECKS = ['id', 'description', 'method', 'path', 'body', 'requires_setup'];

describe('conformance: Stigmem 0.9.0a10 vectors against a daemon started as a user would', () => {
  const contract = new Contract(join(DATA, 'stigmem-openapi-0.9.0a10.json'));
  let ran = 0;

  for (const file of files) {
    describe(file.title, () => {
      let daemon: RunningDaemon;
      const done = new Set<string>();

      before(async () => {
        daemon = await startDaemon({ env: { STIGMESH_AUTH_REQUIRED: 'false' } });
        if (file.seed_fact)
          await send({ id: 'seed', description: '', method: 'POST', path: '/v1/facts', body: file.seed_fact });
      });
      after(async () => {
        await daemon?.stop();
      });

      async function send(vector: Vector): Promise<{ status: number; body: unknown }> {
        const { method, path, body } = vector;
        const response = await daemon.fetch(path, { method, key: null, ...(body ? { json: body } : {}) });
        const text = await response.text();
        done.add(vector.id);
        return { status: response.status, body: text === '' ? undefined : JSON.parse(text) };
      }

      async function setUp(id: string | undefined): Promise<void> {
        const vector = id === undefined ? undefined : vectors.get(id);
        if (!vector || done.has(vector.id)) return;
        await setUp(vector.requires_setup);
        await send(vector);
      }

      for (const vector of file.vectors) {
        it(`${vector.id}: ${vector.description}`, async () => {
          await setUp(vector.requires_setup);
          const answer = await send(vector);
          for (const [check, expected] of Object.entries(vector)) {
            if (!NOT_CHECKS.includes(check)) verify(check, expected, answer);
          }
          contract.validate(vector.method, vector.path, answer.status, answer.body);
          ran += 1;
        });
      }
    });
  }

  after('every vector of the folder ran', () => assert.equal(ran, 41));
});

function verify(check: string, expected: unknown, { status, body }: { status: number; body: unknown }): void {
  const object = body as Record<string, unknown>;
  switch (check) {
    case 'expected_status':
      assert.equal(status, expected, JSON.stringify(body));
      break;
    case 'expected_status_in':
      assert.ok((expected as number[]).includes(status), `${status}: ${JSON.stringify(body)}`);
      break;
    case 'expected_body_contains':
      assertContains(body, expected, '');
      break;
    case 'expected_body_has_keys':
      for (const key of expected as string[]) assert.ok(key in object, `no member ${key}`);
      break;
    case 'expected_nested':
      for (const [path, value] of Object.entries(expected as object)) {
        assert.deepEqual(
          path.split('.').reduce<unknown>((at, name) => (at as Record<string, unknown>)[name], body),
          value,
          path,
        );
      }
      break;
    case 'expected_body_value_in':
      for (const [key, values] of Object.entries(expected as Record<string, unknown[]>))
        assert.ok(values.includes(object[key]), key);
      break;
    case 'expected_body_list_contains':
      for (const [key, value] of Object.entries(expected as object))
        assert.ok((object[key] as unknown[]).includes(value), key);
      break;
    case 'expected_response_is_list':
      assert.equal(Array.isArray(body), expected);
      break;
    case 'expected_members_contain_role':
      assert.ok((object.members as { role: string }[]).some(({ role }) => role === expected));
      break;
    default:
      assert.fail(`the runner does not know the check ${check}`);
  }
}

/** Objects hold at least the expected members; lists hold a match for each expected item, and an empty list is empty. */
function assertContains(actual: unknown, expected: unknown, path: string): void {
  if (Array.isArray(expected)) {
    assert.ok(Array.isArray(actual), path);
    if (expected.length === 0) assert.deepEqual(actual, [], path);
    for (const item of expected) {
      const found = actual.some((candidate) => {
        try {
          assertContains(candidate, item, path);
          return true;
        } catch {
          return false;
        }
      });
      assert.ok(found, `${path}: no item matches ${JSON.stringify(item)}`);
    }
  } else if (typeof expected === 'object' && expected !== null) {
    for (const [key, value] of Object.entries(expected)) {
      assertContains((actual as Record<string, unknown>)[key], value, `${path}.${key}`);
    }
  } else assert.deepEqual(actual, expected, path);
}

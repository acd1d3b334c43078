import assert from 'node:assert/strict';
import { Checker, Violations } from './check.ts';
import type { Fleet, Member } from './fleet.ts';
import { type Entry, Ledger, mustHold, mustShow, type Scope } from './ledger.ts';

/** What one daemon of a made-up fleet answers. */
interface Answers {
  held: { id: string; statement: Record<string, unknown> }[];
  shown: { id: string; entity: string; value: { v: string } }[];
  conflicts: { conflict_id: string; fact_a: { scope: string } }[];
  metrics: string;
  refused: Record<string, number>;
}

const NAMES = ['acme-1', 'acme-2', 'bolt-1', 'bolt-2', 'cove-1'] as const;

function madeUp(): {
  fleet: Fleet;
  ledger: Ledger;
  answers: Map<string, Answers>;
  write(by: string, scope: Scope): Entry;
} {
  const answers = new Map<string, Answers>();
  const members = NAMES.map((name) => {
    const own: Answers = { held: [], shown: [], conflicts: [], metrics: 'stigmesh_ready 1\n', refused: {} };
    answers.set(name, own);
    const fetch = async (path: string): Promise<Response> => {
      if (path.startsWith('/v1/export')) return new Response(own.held.map((line) => JSON.stringify(line)).join('\n'));
      if (path.startsWith('/metrics')) return new Response(own.metrics);
      if (path.startsWith('/v1/facts')) return Response.json({ facts: own.shown, cursor: null });
      if (path.startsWith('/v1/conflicts')) return Response.json({ conflicts: own.conflicts, cursor: null });
      return Response.json({ peers: [{ org: 'bolt.example', refused: own.refused }] });
    };
    return {
      name,
      org: `${name.split('-')[0]}.example`,
      peerId: `peer ${name}`,
      daemon: { fetch },
    } as unknown as Member;
  });
  const member = (name: string): Member => members.find((one) => one.name === name)!;
  const fleet = { members, member } as unknown as Fleet;
  const ledger = new Ledger();
  const write = (by: string, scope: Scope): Entry => {
    const writer = member(by);
    const mark = ledger.mark();
    const entity = `stigmem://${writer.org}/${scope}/${mark}`;
    const times = { expiresAt: null, sentAt: 0, heard: new Map() };
    const entry: Entry = { mark, entity, relation: 'memory:note', scope, writer, id: `id ${mark}`, ...times };
    ledger.add(entry);
    for (const one of members)
      if (mustHold(fleet, entry, one)) give(answers.get(one.name)!, entry, mustShow(fleet, entry, one));
    return entry;
  };
  return { fleet, ledger, answers, write };
}

function give(answers: Answers, { id, mark, entity, scope, writer }: Entry, isShown = true): void {
  const value = { type: 'string', v: `${mark} x` };
  const body = { entity, relation: 'memory:note', value, source: `${entity}/source`, confidence: 1 };
  const said = { kind: 'fact', org: writer.org, origin: writer.peerId, hlc: '1', audience: scope, body };
  answers.held.push({ id: id!, statement: said });
  if (isShown) answers.shown.push({ id: id!, entity, value });
}

describe('the soak test', () => {
  it('knows who must hold what, and who must show it', () => {
    const { fleet } = madeUp();
    const by = (name: string, scope: Scope, may: typeof mustHold): string[] =>
      NAMES.filter((one) => may(fleet, { scope, writer: fleet.member(name) }, fleet.member(one)));
    assert.deepEqual(by('acme-2', 'local', mustHold), ['acme-2']);
    assert.deepEqual(by('acme-2', 'team', mustHold), ['acme-1', 'acme-2']);
    assert.deepEqual(by('acme-2', 'company', mustHold), ['acme-1', 'acme-2', 'bolt-1']);
    assert.deepEqual(by('bolt-2', 'company', mustHold), ['acme-1', 'bolt-1', 'bolt-2', 'cove-1']);
    assert.deepEqual(by('cove-1', 'company', mustHold), ['cove-1']);
    assert.deepEqual(by('cove-1', 'public', mustHold), [...NAMES]);
    assert.deepEqual(by('cove-1', 'public', mustShow), ['bolt-1', 'cove-1']);
    assert.deepEqual(by('acme-1', 'public', mustShow), ['acme-1', 'acme-2', 'bolt-1', 'bolt-2']);
  });

  it('finds nothing where all is well', async () => {
    const { fleet, ledger, write } = madeUp();
    for (const name of NAMES) for (const scope of ['local', 'team', 'company', 'public'] as const) write(name, scope);
    const violations = new Violations();
    await new Checker(fleet, ledger, violations).check('then');
    assert.deepEqual(violations.list(), []);
  });

  const wrongs: Record<string, (world: ReturnType<typeof madeUp>) => void> = {
    missing: ({ answers }) => answers.get('bolt-2')!.held.pop(),
    'not for it': ({ answers, write }) => give(answers.get('cove-1')!, write('acme-1', 'local'), false),
    'nobody wrote it': ({ answers, ledger, write }) => {
      const entry = write('acme-1', 'public');
      ledger.entries.delete(entry.mark);
      assert.ok(answers.size > 0);
    },
    'visible where it must not be': ({ answers, write }) => {
      const { id, entity, mark } = write('acme-1', 'public');
      answers.get('cove-1')!.shown.push({ id: id!, entity, value: { v: `${mark} x` } });
    },
    'visible after its expiry': ({ ledger, write }) => {
      const entry = write('acme-1', 'public');
      ledger.entries.set(entry.mark, { ...entry, expiresAt: 1 });
    },
    'not converged': ({ answers }) => {
      answers.get('acme-2')!.shown.pop();
    },
    'not shown': ({ answers }) => {
      answers.get('acme-2')!.shown.pop();
    },
    'conflicts not converged': ({ answers }) => {
      answers.get('acme-2')!.conflicts.push({ conflict_id: 'one', fact_a: { scope: 'public' } });
    },
    'not ready': ({ answers }) => {
      answers.get('acme-2')!.metrics = 'stigmesh_ready 0\n';
    },
    'honest daemons have nothing to refuse': ({ answers }) => {
      answers.get('acme-2')!.refused = { bad_signature: 1 };
    },
  };
  for (const [rule, plant] of Object.entries(wrongs)) {
    it(`finds what is ${rule}`, async () => {
      const world = madeUp();
      world.write('acme-1', 'public');
      plant(world);
      const violations = new Violations();
      await new Checker(world.fleet, world.ledger, violations).check('then');
      assert.ok(
        violations.list().some((one) => one.startsWith(`${rule}: `)),
        violations.list().join('\n'),
      );
    });
  }
});

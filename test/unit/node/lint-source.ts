import type { FactScope } from '../../../src/facts/scope.ts';
import type { FactValue } from '../../../src/facts/value.ts';
import type { EntryState } from '../../../src/facts/view.ts';
import type { FactSource } from '../../../src/node/lint.ts';
import type { ConflictRecord, FactView } from '../../../src/node/types.ts';
import { principal } from './local-writer.ts';

export const START = Date.UTC(2026, 0, 1);
export const reader = principal('user:reader', ['read']);

export interface Given {
  readonly id?: string;
  readonly entity?: string;
  readonly relation?: string;
  readonly value?: FactValue;
  readonly scope?: FactScope;
  readonly garden?: string;
  readonly state?: EntryState;
  readonly until?: string | null;
}

let ids = 0;

/** Numbers the facts of the next test from one. */
export function restart(): void {
  ids = 0;
}

/** A fact as far as lint looks at it. */
export function fact(given: Given = {}): FactView {
  ids += 1;
  const id = given.id ?? `fact-${String(ids).padStart(6, '0')}`;
  return {
    id,
    cid: `sha256:${id}`,
    cidV1: id,
    stigmemCid: `sha256:${id}`,
    statement: {
      v: 1,
      kind: 'fact',
      origin: 'node',
      org: 'acme.example',
      audience: given.scope ?? 'team',
      hlc: '0001767225600.000',
      timestamp: '2026-01-01T00:00:00Z',
      body: {
        entity: given.entity ?? 'user:alice',
        relation: given.relation ?? 'memory:role',
        value: given.value ?? { type: 'string', v: 'x' },
        source: 'agent:x',
        confidence: 1,
        scope: given.scope ?? 'team',
      },
      ext: given.garden === undefined ? {} : { garden_id: given.garden },
    },
    state: given.state ?? 'current',
    contradicted: false,
    overruled: false,
    validUntil: given.until ?? null,
    seq: ids,
    receivedAt: START,
    receivedFrom: null,
    sourceRevoked: false,
    signature: new Uint8Array(64),
  };
}

/** Facts and conflicts in memory, read the way the store is: part after part, in slices. */
export class FakeSource implements FactSource {
  facts: FactView[] = [];
  records: ConflictRecord[] = [];
  slice = 3;
  lookups = 0;
  /** Awaited before each slice. */
  gate: () => Promise<void> = async () => {};
  failure: Error | undefined;

  #of(scope: FactScope, part: 'current' | 'losing' | 'dead'): FactView[] {
    const partOf = ({ state }: FactView): string =>
      state === 'current' ? 'current' : state === 'losing' || state === 'dispute' ? 'losing' : 'dead';
    return this.facts.filter((each) => each.statement.body.scope === scope && partOf(each) === part);
  }

  async countCurrent(scope: FactScope): Promise<number> {
    return this.#of(scope, 'current').length;
  }

  async scan(
    scope: FactScope,
    visit: (facts: FactView[]) => Promise<void> | void,
    { include }: { readonly include: ('current' | 'losing' | 'dead')[] },
  ): Promise<void> {
    if (this.failure) throw this.failure;
    for (const part of include) {
      const facts = this.#of(scope, part);
      for (let at = 0; at < facts.length; at += this.slice) {
        await this.gate();
        await visit(facts.slice(at, at + this.slice));
      }
    }
  }

  async liveCount(entity: string, visible: (fact: FactView) => boolean): Promise<number> {
    this.lookups += 1;
    return this.facts.filter(
      (each) => each.statement.body.entity === entity && ['current', 'losing'].includes(each.state) && visible(each),
    ).length;
  }

  async *conflicts(scope: FactScope): AsyncGenerator<ConflictRecord> {
    for (const record of this.records) if (record.factA.statement.body.scope === scope) yield record;
  }
}

export function conflict(
  id: string,
  factA: FactView,
  factB: FactView,
  status: ConflictRecord['status'] = 'unresolved',
) {
  return { id, factA, factB, status, resolvedBy: null, resolutions: [], detectedAt: START };
}

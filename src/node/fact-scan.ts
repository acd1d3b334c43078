import { setImmediate as nextTurn } from 'node:timers/promises';
import { normalizeUri } from '../facts/entity-uri.ts';
import type { FactScope } from '../facts/scope.ts';
import { SYSTEM } from '../policy/principal.ts';
import * as keys from '../store/keys.ts';
import { forEachSlice, type Store } from '../store/store.ts';
import { readFacts } from './reader.ts';
import type { ConflictRecord, ConflictService, FactView } from './types.ts';

/** Facts read between two turns of the event loop. */
const SLICE = 100;

/** Whole-scope reads for maintenance (lint): of one moment, in slices, newest first. */
export class FactScan {
  readonly #store: Store;
  readonly #now: () => number;
  readonly #conflicts: ConflictService;

  constructor(components: { readonly store: Store; readonly now: () => number; readonly conflicts: ConflictService }) {
    this.#store = components.store;
    this.#now = components.now;
    this.#conflicts = components.conflicts;
  }

  async countCurrent(scope: FactScope): Promise<number> {
    let count = 0;
    await forEachSlice(this.#store, keys.indexRange('scope', keys.STATUS.current, keys.scopeSubject(scope)), (rows) => {
      count += rows.length;
      return undefined;
    });
    return count;
  }

  /** Number of live facts about an entity, in any scope. */
  async liveCount(entity: string): Promise<number> {
    let count = 0;
    for (const status of [keys.STATUS.current, keys.STATUS.losing]) {
      await forEachSlice(this.#store, keys.indexRange('entity', status, keys.subject(normalizeUri(entity))), (rows) => {
        count += rows.length;
        return undefined;
      });
    }
    return count;
  }

  /** Hands every fact of a scope that stands in the given parts of the index to `visit`, a slice at a time. */
  async scan(
    scope: FactScope,
    visit: (facts: FactView[]) => Promise<void> | void,
    options: { readonly include: readonly ('current' | 'losing' | 'dead')[] },
  ): Promise<void> {
    const snapshot = this.#store.snapshot();
    try {
      for (const part of options.include) {
        const range = keys.indexRange('scope', keys.STATUS[part], keys.scopeSubject(scope));
        await forEachSlice(
          snapshot,
          { ...range, reverse: true },
          async (rows) => {
            const digests = rows.map(({ key }) => keys.orderOf(key).digest);
            const facts = await readFacts(snapshot, digests, this.#now());
            await visit(facts.filter((fact) => fact !== undefined));
            await nextTurn();
            return undefined;
          },
          SLICE,
        );
      }
    } finally {
      await snapshot.close();
    }
  }

  /** Unresolved conflicts of a scope, newest first. */
  async *conflicts(scope: FactScope): AsyncGenerator<ConflictRecord> {
    let cursor: string | undefined;
    do {
      const page = await this.#conflicts.list(SYSTEM, { status: 'unresolved', cursor, limit: SLICE });
      for (const conflict of page.conflicts) if (conflict.factA.statement.body.scope === scope) yield conflict;
      cursor = page.cursor ?? undefined;
    } while (cursor !== undefined);
  }
}

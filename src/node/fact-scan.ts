import { setImmediate as nextTurn } from 'node:timers/promises';
import { normalizeUri } from '../facts/entity-uri.ts';
import type { FactScope } from '../facts/scope.ts';
import { SYSTEM } from '../policy/principal.ts';
import * as keys from '../store/keys.ts';
import { forEachSlice, type Store } from '../store/store.ts';
import { type Moment, readFacts } from './reader.ts';
import type { ConflictRecord, ConflictService, FactView } from './types.ts';

/** Facts read between two turns of the event loop. */
const SLICE = 100;

export interface FactScanComponents {
  readonly store: Store;
  readonly moment: () => Moment;
  readonly conflicts: ConflictService;
  /** Facts of the current view of a scope, as the writer counts them. */
  readonly currentCount: (scope: FactScope) => number;
}

/** Whole-scope reads for maintenance (lint): of one moment, in slices, newest first. */
export class FactScan {
  readonly #store: Store;
  readonly #moment: () => Moment;
  readonly #conflicts: ConflictService;
  readonly #currentCount: (scope: FactScope) => number;

  constructor(components: FactScanComponents) {
    this.#store = components.store;
    this.#moment = components.moment;
    this.#conflicts = components.conflicts;
    this.#currentCount = components.currentCount;
  }

  async countCurrent(scope: FactScope): Promise<number> {
    return this.#currentCount(scope);
  }

  /** Whether an entity has live facts that `visible` lets through: 0 or 1, since nobody asks for more. */
  async liveCount(entity: string, visible: (fact: FactView) => boolean): Promise<number> {
    let found = false;
    for (const status of [keys.STATUS.current, keys.STATUS.losing]) {
      const range = keys.indexRange('entity', status, keys.subject(normalizeUri(entity)));
      await forEachSlice(
        this.#store,
        range,
        async (rows) => {
          const facts = await readFacts(
            this.#store,
            rows.map(({ key }) => keys.orderOf(key).digest),
            this.#moment(),
          );
          found ||= facts.some(
            (fact) => fact && (fact.state === 'current' || fact.state === 'losing') && visible(fact),
          );
          return !found;
        },
        SLICE,
      );
    }
    return Number(found);
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
            const facts = await readFacts(snapshot, digests, this.#moment());
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

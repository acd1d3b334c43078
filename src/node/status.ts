import type { HybridLogicalClock } from '../facts/hlc.ts';
import { quarantineRange } from '../store/keys.ts';
import { forEachSlice, type Reader, type Store, StoreError } from '../store/store.ts';
import type { ApiKeys } from './api-keys.ts';
import type { Cardinality } from './cardinality.ts';
import { failureCode } from './errors.ts';
import type { Expiry } from './expiry.ts';
import type { CommitFeed } from './feed.ts';
import type { Gardens } from './gardens.ts';
import { MAX_QUARANTINE_COUNTED } from './limits.ts';
import type { Linter } from './lint.ts';
import type { MeshParts } from './mesh-parts.ts';
import type { NodeFigures, NodeStatus, Readiness } from './types.ts';
import type { ViewTable } from './view-table.ts';
import type { Writer } from './writer.ts';

export interface StatusComponents {
  readonly store: Store;
  readonly writer: Writer;
  readonly clock: HybridLogicalClock;
  readonly cardinality: Cardinality;
  readonly views: ViewTable;
  readonly expiry: Expiry;
  readonly lint: Linter;
  readonly feed: CommitFeed;
  readonly gardens: Gardens;
  readonly keys: ApiKeys;
  readonly mesh: MeshParts;
  /** What the store has to say to its operator at the moment. */
  readonly storeWarnings: () => readonly string[];
}

export interface StatusInit {
  readonly peerId: string;
  readonly org: string;
  readonly schema: number;
  readonly durable: boolean;
  readonly maxSkewMs: number;
}

/** What a node says about itself: to its operator, to probes and to whoever collects metrics. */
export class StatusReport {
  readonly #components: StatusComponents;
  readonly #init: StatusInit;
  /** What was noticed when the node opened. */
  readonly #noticed: readonly string[];
  #quarantined = 0;

  constructor(components: StatusComponents, init: StatusInit, noticed: readonly string[]) {
    this.#components = components;
    this.#init = init;
    this.#noticed = noticed;
  }

  /** Counts what was set aside. Only maintenance does that, while no node is open. */
  async start(): Promise<void> {
    this.#quarantined = await countQuarantined(this.#components.store);
  }

  /** Everything that is known without asking the disk. */
  figures(): NodeFigures {
    const { writer, clock, cardinality, views, expiry, lint, feed, gardens, keys, mesh } = this.#components;
    const { statements, facts, current, openConflicts, seq, auditSeq, at } = writer.head;
    return {
      statements,
      facts,
      current,
      currentFacts: Object.values(current).reduce((sum, count) => sum + count, 0),
      openConflicts,
      quarantined: this.#quarantined,
      seq,
      auditSeq,
      hlcAheadMs: clock.aheadMs(),
      lastCommitAt: at,
      writeQueue: writer.queued,
      recomputations: cardinality.pending + mesh.reassessment.pending,
      expiryOverdueMs: expiry.overdueMs,
      lintJobs: lint.unfinished,
      feedFollowers: feed.followers,
      viewEntries: views.cachedEntries,
      gardens: gardens.size,
      apiKeys: keys.live,
      untrusted: mesh.standing.quarantined(),
      sets: mesh.sets.size,
      manifests: mesh.manifests.size,
      equivocations: mesh.equivocations.count,
    };
  }

  async status(): Promise<NodeStatus> {
    const { peerId, org, schema } = this.#init;
    const figures = this.figures();
    const { clock, writer } = this.#components;
    return {
      ...figures,
      peerId,
      org,
      schema,
      hlc: clock.last ?? writer.head.hlc,
      storeBytes: await this.storeBytes(),
      readiness: this.readiness(),
      warnings: this.#warnings(figures),
    };
  }

  /** Whether writes work; with the code and the reason when they do not. */
  readiness(): Readiness {
    const { failure } = this.#components.writer;
    if (failure === undefined) return { ready: true, code: null, reason: null };
    return { ready: false, code: failureCode(failure), reason: reasonOf(failure) };
  }

  /** Null when the disk does not answer: everything else is told all the same. */
  async storeBytes(): Promise<number | null> {
    return this.#components.store.size().catch(() => null);
  }

  #warnings({ hlcAheadMs, recomputations, quarantined }: NodeFigures): string[] {
    const { maxSkewMs, durable } = this.#init;
    const warnings = [...this.#noticed];
    if (hlcAheadMs > maxSkewMs) {
      warnings.push(
        `the logical clock runs ${Math.round(hlcAheadMs / 1000)} s ahead of the system clock; peers may refuse new facts`,
      );
    }
    // In the words of the configuration, so that the daemon shows it once.
    if (!durable) {
      warnings.push('store.sync = false: a crash of the machine can lose writes that were acknowledged');
    }
    if (recomputations > 0)
      warnings.push('views are being recomputed after a change of cardinality, or of whose word counts');
    if (quarantined > 0) {
      const count = quarantined < MAX_QUARANTINE_COUNTED ? quarantined : `at least ${quarantined}`;
      warnings.push(`damaged records were set aside: ${count}; an export or a backup that has them brings them back`);
    }
    warnings.push(...this.#components.mesh.statusWarnings(), ...this.#components.storeWarnings());
    const { reason } = this.readiness();
    if (reason !== null) warnings.push(`the last write failed: ${reason}`);
    return warnings;
  }
}

async function countQuarantined(store: Reader): Promise<number> {
  let count = 0;
  await forEachSlice(
    store,
    quarantineRange(),
    (rows) => {
      count += rows.length;
      return count < MAX_QUARANTINE_COUNTED;
    },
    QUARANTINE_SLICE,
  );
  return count;
}

/** Rows are as large as statements. */
const QUARANTINE_SLICE = 100;

/** What may be told of a failure. Messages of the runtime quote what they choked on, and that may be a fact's value. */
function reasonOf(failure: unknown): string {
  return failure instanceof StoreError ? failure.message : 'an internal error; see the log of the daemon';
}

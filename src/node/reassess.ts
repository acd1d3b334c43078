import { setImmediate as nextTurn } from 'node:timers/promises';
import type { EncodedStatement } from '../facts/index.ts';
import * as keys from '../store/keys.ts';
import { forEachSlice, type Store, type StoreOp } from '../store/store.ts';
import { REASSESS_SLICE } from './mesh-limits.ts';
import { decodeLogRecord, fromJson, storedStatement, toJson } from './records.ts';
import type { Sets } from './sets.ts';
import type { Group, Writer } from './writer.ts';

export interface ReassessComponents {
  readonly store: Store;
  readonly writer: Writer;
  readonly sets: Sets;
  /** Judges one statement of the log again, in the writer's turn. */
  readonly judge: (group: Group, statement: EncodedStatement, seq: number) => Promise<void>;
  /** Told when something that was read before would be read otherwise now. */
  readonly onJudged: () => void;
}

/** The part of the configuration that decides whose word counts. */
export interface TrustConfig {
  readonly org: string;
  readonly unknownOrigins: string;
  readonly trustedResolvers: readonly string[];
}

const EMPTY = Buffer.alloc(0);

/**
 * Brings the stored views up to date when an organisation's standing changed: paired, parted, a node key revoked, or the
 * configuration edited. What is due is on disk with the change itself, so that a daemon killed in between goes on at its
 * next start. Until it is done, views show the former standing.
 */
export class Reassessment {
  readonly #components: ReassessComponents;
  readonly #config: TrustConfig;
  /** Organisations due, in order; one that is due again while it is being judged is judged again. */
  readonly #due = new Set<string>();
  /** Organisations that became due in groups not yet durable. */
  readonly #staged = new Set<string>();
  #running: Promise<void> | undefined;
  #started = false;
  #stopped = false;

  constructor(components: ReassessComponents, config: TrustConfig) {
    this.#components = components;
    this.#config = config;
  }

  /** Organisations whose statements wait to be judged again. */
  get pending(): number {
    return this.#due.size + (this.#running === undefined ? 0 : 1);
  }

  /** Notes in the writer's turn that an organisation's standing changes with this group. */
  due(group: Group, org: string): void {
    group.ops.push({ type: 'put', key: keys.reassessKey(org), value: EMPTY });
    this.#staged.add(org);
    group.afterCommit.push(() => {
      this.#staged.delete(org);
      this.#due.add(org);
      this.#components.onJudged();
      this.resume();
    });
  }

  /** Reads what is due: what a former run left, or a group that failed and turned out to be on disk. */
  async load(): Promise<void> {
    await forEachSlice(this.#components.store, keys.reassessRange(), (rows) => {
      for (const { key } of rows) this.#due.add(keys.reassessAuthorityOf(key));
      return undefined;
    });
    this.resume();
  }

  /** Goes on with what is due, and with what an edited configuration changed. */
  async start(): Promise<void> {
    const { store, sets } = this.#components;
    const stored = await store.get(keys.metaKey('trust'));
    const now = JSON.stringify(this.#config);
    if (stored?.toString('utf8') !== now) {
      const orgs = changedOrgs(stored && fromJson<TrustConfig>(stored), this.#config, sets.organisations());
      const ops: StoreOp[] = orgs.map((org) => ({ type: 'put', key: keys.reassessKey(org), value: EMPTY }));
      ops.push({ type: 'put', key: keys.metaKey('trust'), value: toJson(this.#config) });
      await store.batch(ops, { durable: true });
      for (const org of orgs) this.#due.add(org);
    }
    this.#started = true;
    this.resume();
  }

  /** Resolves when no view waits to be computed again. */
  async settled(): Promise<void> {
    while (this.#running !== undefined) await this.#running;
  }

  async stop(): Promise<void> {
    this.#stopped = true;
    await this.#running;
  }

  /** Goes on where a store that failed kept it from doing so. */
  resume(): void {
    if (this.#running !== undefined || !this.#started || this.#stopped || this.#due.size === 0) return;
    this.#running = this.#drain().finally(() => {
      this.#running = undefined;
    });
  }

  async #drain(): Promise<void> {
    for (let org = first(this.#due); org !== undefined && !this.#stopped; org = first(this.#due)) {
      this.#due.delete(org);
      const done = org;
      try {
        await this.#judgeAll(org);
        if (this.#stopped) return;
        await this.#components.writer.submit(0, (group) => {
          if (this.#staged.has(done) || this.#due.has(done)) return;
          group.ops.push({ type: 'del', key: keys.reassessKey(done) });
        });
      } catch {
        // It is still on disk that this is due; a store that fails says so by itself.
        this.#due.add(org);
        return;
      }
    }
  }

  async #judgeAll(org: string): Promise<void> {
    const { store, writer, sets, judge, onJudged } = this.#components;
    await sets.ready;
    await sets.statementsOf(org, REASSESS_SLICE, async (digests) => {
      const values = await store.getMany(digests.map(keys.logKey));
      await writer.submit(digests.length, async (group) => {
        group.afterCommit.push(onJudged);
        for (const [at, digest] of digests.entries()) {
          const value = values[at];
          if (!value) continue;
          const record = decodeLogRecord(value, digest);
          await judge(group, { statement: storedStatement(record), bytes: record.bytes, digest }, record.seq);
        }
      });
      await nextTurn();
      return !this.#stopped;
    });
  }
}

function first(due: ReadonlySet<string>): string | undefined {
  return due.values().next().value;
}

/** Whose statements an edited configuration lets count otherwise. */
function changedOrgs(before: TrustConfig | undefined, after: TrustConfig, orgs: readonly string[]): readonly string[] {
  if (!before) return [];
  const accepts = ({ unknownOrigins }: TrustConfig): boolean => unknownOrigins === 'accept';
  if (before.org !== after.org || accepts(before) !== accepts(after)) return orgs;
  const resolvers = new Set([...before.trustedResolvers, ...after.trustedResolvers]);
  return orgs.filter(
    (org) => resolvers.has(org) && before.trustedResolvers.includes(org) !== after.trustedResolvers.includes(org),
  );
}

import type { FactScope } from '../../../src/facts/scope.ts';
import { SCOPES } from '../../../src/facts/scope.ts';
import { encodeAudit } from '../../../src/node/audit.ts';
import type { AuditEvent, LocalChange, LocalWriter } from '../../../src/node/services.ts';
import { ANONYMOUS, type Permission, type Principal } from '../../../src/policy/principal.ts';
import { MemoryStore } from '../../../src/store/memory/memory-store.ts';
import type { StoreOp } from '../../../src/store/store.ts';

/**
 * The writer of local records as the node has it: decisions of one turn of the event loop run one after the other and
 * share one batch, and callers are answered after it.
 */
export class FakeWriter implements LocalWriter {
  readonly store = new MemoryStore();
  readonly events: AuditEvent[] = [];
  readonly now: () => number;
  seq = 0;
  /** Set to make the next group fail, as a full disk does. */
  failure: Error | undefined;
  #queue: { decide: () => Promise<() => void>; reject: (error: unknown) => void }[] = [];
  #ops: StoreOp[] = [];
  #running = false;

  constructor(now: () => number) {
    this.now = now;
  }

  writeLocal<T>(decide: () => LocalChange<T> | Promise<LocalChange<T>>): Promise<T> {
    return new Promise<T>((resolve, reject) => {
      this.#queue.push({
        reject,
        decide: async () => {
          const { ops, audit, result } = await decide();
          this.#ops.push(...ops);
          for (const event of audit) {
            this.events.push(event);
            this.#ops.push(...encodeAudit(event, ++this.seq, this.now()));
          }
          return () => resolve(result);
        },
      });
      if (!this.#running) {
        this.#running = true;
        setImmediate(() => void this.#run());
      }
    });
  }

  async #run(): Promise<void> {
    while (this.#queue.length > 0) {
      const jobs = this.#queue.splice(0);
      const answers: (() => void)[] = [];
      for (const { decide, reject } of jobs) await decide().then((answer) => answers.push(answer), reject);
      const ops = this.#ops.splice(0);
      if (this.failure) {
        for (const { reject } of jobs) reject(this.failure);
        this.failure = undefined;
        continue;
      }
      await this.store.batch(ops, { durable: true });
      for (const answer of answers) answer();
    }
    this.#running = false;
  }
}

/** A principal with just these permissions. */
export function principal(
  entity: string,
  permissions: readonly Permission[],
  scopes: readonly FactScope[] = SCOPES,
): Principal {
  return { keyId: `key of ${entity}`, entity, permissions: new Set(permissions), scopes: new Set(scopes) };
}

export { ANONYMOUS };

/** Ids in order, of the shape randomUUID() has. */
export function countingUUID(): () => string {
  let count = 0;
  return () => `00000000-0000-4000-8000-${String(++count).padStart(12, '0')}`;
}

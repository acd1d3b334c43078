import { type Digest, type Statement, statementId } from '../facts/index.ts';
import type { Principal } from '../policy/principal.ts';
import { MAX_REFUSING_PEERS, REFUSAL_AUDIT_MS } from './mesh-limits.ts';
import type { Sets } from './sets.ts';
import type { Warnings } from './warnings.ts';
import type { Group } from './writer.ts';

export interface EquivocationComponents {
  readonly sets: Pick<Sets, 'sameReading'>;
  readonly warnings: Warnings;
}

/** When an origin was last written into the audit log (Unix ms), and how often it was seen since. */
interface Seen {
  at: number;
  since: number;
}

/**
 * Notices when one origin signed two statements with one reading of its clock: its key is used on two machines, or was
 * stolen. Both are kept, since nobody here can tell which is right, and the operator is told with both as evidence.
 */
export class Equivocations {
  readonly #components: EquivocationComponents;
  readonly #audited = new Map<string, Seen>();
  /** As it will be with a group: one that is given up, or fails, takes its audit entry along. */
  readonly #staged = new WeakMap<Group, Map<string, Seen>>();
  #count = 0;

  constructor(components: EquivocationComponents) {
    this.#components = components;
  }

  /** Seen since the start. */
  get count(): number {
    return this.#count;
  }

  /** Looks at a statement that is being admitted. */
  async look(group: Group, who: Principal, statement: Statement, digest: Digest): Promise<void> {
    const other = await this.#components.sets.sameReading(group, statement, digest);
    if (other === undefined) return;
    const { origin, org, hlc } = statement;
    const evidence = [statementId(other), statementId(digest)].sort();
    group.afterCommit.push(() => {
      this.#count += 1;
    });
    this.#components.warnings.add(
      `equivocation ${origin}`,
      `equivocation: ${origin} of ${org} signed two statements with one clock reading (${evidence.join(', ')}); its key may be in use on two machines`,
    );
    const seen = this.#seen(group, origin);
    seen.since += 1;
    if (group.now - seen.at < REFUSAL_AUDIT_MS) return;
    const detail = { origin, org, hlc, statements: evidence, count: seen.since };
    group.audit({ type: 'equivocation', who, fact: digest, source: origin, detail });
    seen.at = group.now;
    seen.since = 0;
  }

  #seen(group: Group, origin: string): Seen {
    const staged = this.#staged.get(group) ?? new Map<string, Seen>();
    this.#staged.set(group, staged);
    const known = staged.get(origin);
    if (known) return known;
    const seen = { ...(this.#audited.get(origin) ?? { at: Number.NEGATIVE_INFINITY, since: 0 }) };
    staged.set(origin, seen);
    group.afterCommit.push(() => this.#keep(origin, seen));
    return seen;
  }

  #keep(origin: string, seen: Seen): void {
    this.#audited.delete(origin);
    this.#audited.set(origin, seen);
    for (const oldest of this.#audited.keys()) {
      if (this.#audited.size <= MAX_REFUSING_PEERS) break;
      this.#audited.delete(oldest);
    }
  }
}

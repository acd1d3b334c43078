import type { Fleet, Member } from './fleet.ts';
import { PAIRINGS } from './fleet.ts';

export type Scope = 'local' | 'team' | 'company' | 'public';

/** One write, and what follows from it for everybody. */
export interface Entry {
  /** In the entity or the value: how it is known again in the logs of others. */
  readonly mark: string;
  readonly entity: string;
  readonly relation: string;
  readonly scope: Scope;
  readonly writer: Member;
  /** Unix ms by the machine's clock; null: never. */
  readonly expiresAt: number | null;
  /** `performance.now()` at which it was sent. */
  readonly sentAt: number;
  /** Statement CID; null while it is not answered, or when the answer never came: then it may be there or not. */
  id: string | null;
  /** When each daemon told of it first. */
  readonly heard: Map<string, number>;
}

const flows = (from: Member, to: Member, scope: Scope): boolean =>
  PAIRINGS.some(([one, other, { gives, takes }]) => {
    if (one === from.name && other === to.name) return gives.includes(scope);
    return other === from.name && one === to.name && takes.includes(scope);
  });

/**
 * Who may, and in the end must, hold a fact: the rules of the specification (mesh, "Sets") over the pairings of the fleet,
 * shared with no line of the daemon's code.
 */
export function mustHold(fleet: Fleet, { scope, writer }: Pick<Entry, 'scope' | 'writer'>, member: Member): boolean {
  if (member === writer) return true;
  if (scope === 'local') return false;
  if (member.org === writer.org) return true;
  if (scope === 'team') return false;
  // Any daemon of the organisation gives what the organisation said; nobody else passes it on.
  if (scope === 'company') {
    return fleet.members.some((one) => one.org === writer.org && flows(one, member, scope));
  }
  return true;
}

/** Whether queries of a daemon answer with it: strangers' facts are kept in quarantine. */
export function mustShow(fleet: Fleet, entry: Pick<Entry, 'scope' | 'writer'>, member: Member): boolean {
  if (!mustHold(fleet, entry, member)) return false;
  if (member.org === entry.writer.org) return true;
  return fleet.members.some(
    (one) => one.org === entry.writer.org && (flows(one, member, 'public') || flows(member, one, 'public')),
  );
}

/** Everything that was written, by its mark. */
export class Ledger {
  readonly entries = new Map<string, Entry>();
  #next = 0;

  /** A mark nobody used before. */
  mark(): string {
    return `m${this.#next++}`;
  }

  add(entry: Entry): void {
    this.entries.set(entry.mark, entry);
  }

  /** The mark in the value or entity of a fact. */
  static markOf(text: string): string | undefined {
    return /\bm\d+\b/.exec(text)?.[0];
  }

  get acknowledged(): number {
    let count = 0;
    for (const { id } of this.entries.values()) if (id !== null) count += 1;
    return count;
  }
}

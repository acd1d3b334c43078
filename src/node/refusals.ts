import type { JsonObject } from '../facts/index.ts';
import { MAX_REFUSAL_KINDS, MAX_REFUSING_PEERS, REFUSAL_AUDIT_MS } from './mesh-limits.ts';
import { peerPrincipal } from './peer-terms.ts';
import type { AuditEvent } from './services.ts';
import type { Writer } from './writer.ts';

export interface RefusalsComponents {
  readonly writer: Pick<Writer, 'submit'>;
  readonly now: () => number;
}

export interface Refusal {
  /** Audit type. */
  readonly type: 'statement_refused' | 'manifest_refused' | 'invite_refused';
  readonly peerId: string;
  readonly code: string;
  readonly count?: number;
  /** Of one of them, as an example. */
  readonly detail?: JsonObject;
}

interface Kind {
  readonly refusal: Refusal;
  /** When the last entry was written; refusals since then wait for the next. */
  auditedAt: number;
  waiting: number;
  detail: JsonObject;
}

/**
 * What was refused of peers, for the audit log and their operator. One entry a minute for each peer and code, with a count:
 * whoever floods us must not be able to fill the audit log, nor hide in it what happened before.
 */
export class Refusals {
  readonly #components: RefusalsComponents;
  /** By type, peer and code; the oldest first. */
  readonly #kinds = new Map<string, Kind>();
  readonly #byPeer = new Map<string, Map<string, number>>();
  #writing: Promise<void> = Promise.resolve();

  constructor(components: RefusalsComponents) {
    this.#components = components;
  }

  /** Counts refusals; their entry is written by {@link flush}. */
  note(refusal: Refusal): void {
    const { type, peerId, code, count = 1, detail = {} } = refusal;
    if (type === 'statement_refused') this.#count(peerId, code, count);
    const name = `${type} ${peerId} ${code}`;
    const kind = this.#kinds.get(name) ?? { refusal, auditedAt: Number.NEGATIVE_INFINITY, waiting: 0, detail };
    kind.waiting += count;
    kind.detail = detail;
    this.#kinds.set(name, kind);
    this.flush();
  }

  /** Statements refused since the start, by code. */
  of(peerId: string): Readonly<Record<string, number>> {
    return Object.fromEntries(this.#byPeer.get(peerId) ?? []);
  }

  /** Writes the entries that are due; with `all`, every one that waits. */
  flush(all = false): void {
    const now = this.#components.now();
    const due: AuditEvent[] = [];
    for (const [name, kind] of this.#kinds) {
      const isOver = kind.auditedAt + REFUSAL_AUDIT_MS <= now;
      if (kind.waiting > 0 && (isOver || all || this.#kinds.size > MAX_REFUSAL_KINDS)) {
        due.push(eventOf(kind));
        kind.auditedAt = now;
        kind.waiting = 0;
      } else if (isOver || this.#kinds.size > MAX_REFUSAL_KINDS) this.#kinds.delete(name);
    }
    if (due.length === 0) return;
    const write = this.#components.writer.submit(1, (group) => {
      for (const event of due) group.audit(event);
    });
    // A store that fails says so by itself; what it did not take is lost to the log, not to the counts.
    this.#writing = write.catch(() => {});
  }

  /** Resolves when what was flushed is written. */
  settled(): Promise<void> {
    return this.#writing;
  }

  #count(peerId: string, code: string, count: number): void {
    const codes = this.#byPeer.get(peerId) ?? new Map<string, number>();
    codes.set(code, (codes.get(code) ?? 0) + count);
    this.#byPeer.delete(peerId);
    this.#byPeer.set(peerId, codes);
    for (const oldest of this.#byPeer.keys()) {
      if (this.#byPeer.size <= MAX_REFUSING_PEERS) return;
      this.#byPeer.delete(oldest);
    }
  }
}

function eventOf({ refusal: { type, peerId, code }, waiting, detail }: Kind): AuditEvent {
  const who = peerPrincipal(peerId);
  return { type, who, source: who.entity, detail: { peer_id: peerId, code, count: waiting, ...detail } };
}

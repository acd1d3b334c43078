import type { PeerLag, PeerView } from '../node/federation.ts';
import type { SyncResult } from '../sync/index.ts';
import { behind } from './heads.ts';
import type { HeadCounts } from './push-frames.ts';
import type { MeshWorld } from './world.ts';

/** What is known of one peer's reconciliation. */
interface Account {
  last: PeerView['lastSync'];
  /** Statements that the sessions brought since the peer became active. */
  received: number;
  /** Statements behind, each way; null: not known. */
  out: number | null;
  in: number | null;
  /** Unix ms since when each side is behind; null: it is not, as far as known. */
  outSince: number | null;
  inSince: number | null;
  /** Unix ms at which both sides were last known to hold the same. */
  equalAt: number | null;
}

const NOTHING: Readonly<Account> = {
  last: null,
  received: 0,
  out: null,
  in: null,
  outSince: null,
  inSince: null,
  equalAt: null,
};
export const UNKNOWN_LAG: PeerLag = { outStatements: null, inStatements: null, outSeconds: null, inSeconds: null };

/** Who is how far behind, and how the last reconciliation with each peer went. Of peers that are active, or were lately. */
export class SyncLedger {
  readonly #world: MeshWorld;
  readonly #max: number;
  readonly #accounts = new Map<string, Account>();

  constructor(world: MeshWorld, maxPeers: number) {
    this.#world = world;
    this.#max = maxPeers;
  }

  /** Both sides were seen to hold the same. */
  equal(peerId: string): void {
    const account = this.#account(peerId);
    Object.assign(account, { out: 0, in: 0, outSince: null, inSince: null, equalAt: this.#world.now() });
  }

  /** Both sides were seen to differ. */
  differs(peerId: string, ours: HeadCounts, theirs: HeadCounts): void {
    const account = this.#account(peerId);
    const { out, in: inbound } = behind(ours, theirs);
    const since = account.equalAt ?? this.#world.now();
    account.out = out;
    account.in = inbound;
    account.outSince = out === 0 ? null : (account.outSince ?? since);
    account.inSince = inbound === 0 ? null : (account.inSince ?? since);
  }

  /** A peer became active. */
  begun(peerId: string): void {
    this.#account(peerId).received = 0;
  }

  /** A session ended. */
  finished(peerId: string, { outcome, reason, counters }: SyncResult, ms: number): void {
    if (outcome === 'converged') this.equal(peerId);
    const { accepted, statementsOut } = counters;
    const result = outcome === 'converged' ? 'converged' : (reason ?? outcome);
    const account = this.#account(peerId);
    account.received += accepted;
    account.last = { at: this.#world.now(), result, sent: statementsOut, received: accepted, ms };
  }

  /** A session could not be held, or ended by a failure of our own. */
  failed(peerId: string, code: string, ms: number): void {
    this.#account(peerId).last = { at: this.#world.now(), result: code, sent: 0, received: 0, ms };
  }

  last(peerId: string): PeerView['lastSync'] {
    return this.#accounts.get(peerId)?.last ?? null;
  }

  received(peerId: string): number {
    return this.#accounts.get(peerId)?.received ?? 0;
  }

  lag(peerId: string): PeerLag {
    const account = this.#accounts.get(peerId);
    if (!account) return UNKNOWN_LAG;
    const now = this.#world.now();
    const seconds = (statements: number | null, since: number | null): number | null =>
      statements === null ? null : since === null ? 0 : Math.max(0, now - since) / 1000;
    return {
      outStatements: account.out,
      inStatements: account.in,
      outSeconds: seconds(account.out, account.outSince),
      inSeconds: seconds(account.in, account.inSince),
    };
  }

  #account(peerId: string): Account {
    const known = this.#accounts.get(peerId);
    const account = known ?? { ...NOTHING };
    this.#accounts.delete(peerId);
    this.#accounts.set(peerId, account);
    if (this.#accounts.size > this.#max) {
      const oldest = this.#accounts.keys().next();
      if (!oldest.done) this.#accounts.delete(oldest.value);
    }
    return account;
  }
}

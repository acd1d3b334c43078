import type { BarredState } from '../facts/view.ts';
import * as keys from '../store/keys.ts';
import { forEachSlice, type Reader } from '../store/store.ts';
import type { Manifests } from './manifests.ts';
import { fromJson, type Signed, toJson } from './records.ts';
import type { Group } from './writer.ts';

/** What becomes of statements of organisations nobody here is paired with. */
export const UNKNOWN_ORIGINS = ['quarantine', 'accept', 'reject'] as const;
export type UnknownOrigins = (typeof UNKNOWN_ORIGINS)[number];

export interface StandingComponents {
  readonly store: Reader;
  readonly manifests: Pick<Manifests, 'proof'>;
  /** Told in the writer's turn that what an organisation said has to be judged again. */
  readonly onChanged: (group: Group, org: string) => void;
}

export interface StandingInit {
  readonly org: string;
  readonly peerId: string;
  /** Peer ids this node had before its key was changed: what they signed is its own. */
  readonly formerPeerIds: ReadonlySet<string>;
  readonly unknownOrigins: UnknownOrigins;
}

/** What is stored of an organisation that is, or was, paired with us. */
interface TrustRow {
  /** Sequence up to which what it said counts; null: all of it, while it is paired. */
  readonly until: number | null;
}

/**
 * Whose word counts here (mesh.md, Sets). A pure function of who signed, of what is known of the organisation, and of
 * whether our operator paired with it; so every view can be computed again from the log.
 *
 * An organisation counts while one of its peers is active. When the last one is gone, what it had said by then stays, and
 * what comes later is quarantined: our operator parts from it, and does not unsay what both agreed to.
 */
export class Standing {
  readonly #components: StandingComponents;
  readonly #init: StandingInit;
  readonly #trust = new Map<string, TrustRow>();
  /** Statements in quarantine by organisation. */
  readonly #held = new Map<string, number>();
  #heldInAll = 0;

  constructor(components: StandingComponents, init: StandingInit) {
    this.#components = components;
    this.#init = init;
  }

  /** Reads who is trusted into memory; call before any view is computed. */
  async load(): Promise<void> {
    const stored: [string, TrustRow][] = [];
    await forEachSlice(this.#components.store, keys.organisationRange(), (rows) => {
      for (const { key, value } of rows) stored.push([key.toString('utf8', 1), fromJson<TrustRow>(value)]);
      return undefined;
    });
    this.#trust.clear();
    for (const [org, row] of stored) this.#trust.set(org, row);
    for (const org of this.#held.keys()) if (!this.isQuarantined(org)) this.#release(org);
  }

  /** What of a statement's signer the views keep; null stands for this node itself. */
  originOf(origin: string): string | null {
    return origin === this.#init.peerId ? null : origin;
  }

  /** Whether a statement counts, or why not. */
  of({ org, origin, hlc, seq }: Signed): 'good' | BarredState {
    const { peerId, formerPeerIds } = this.#init;
    const isOurs = origin === null || formerPeerIds.has(origin);
    // First, so that nothing about an organisation matters while it does not count.
    if (!isOurs && org !== this.#init.org && !this.#counts(org, seq)) return 'quarantined';
    const proof = this.#components.manifests.proof(org, origin ?? peerId);
    if (proof && proof.revokedAt !== null && hlc > proof.revokedAt) return 'revoked';
    if (isOurs) return 'good';
    return (proof ? proof.listed : this.#accepts) ? 'good' : 'quarantined';
  }

  /** Whether what an organisation says from now on is kept out of the view. */
  isQuarantined(org: string): boolean {
    return org !== this.#init.org && !this.#counts(org, Number.MAX_SAFE_INTEGER);
  }

  /** Whether nothing of an organisation is taken from peers. */
  isRejected(org: string): boolean {
    return this.#init.unknownOrigins === 'reject' && this.isQuarantined(org);
  }

  /** Whether the key that signed has been revoked since, whatever it signed before. */
  isKeyRevoked(org: string, origin: string): boolean {
    return this.#components.manifests.proof(org, origin)?.revokedAt != null;
  }

  /** Statements of an organisation in quarantine; of all of them without one. */
  quarantined(org?: string): number {
    return org === undefined ? this.#heldInAll : (this.#held.get(org) ?? 0);
  }

  /** Counts a statement of another organisation, as it is loaded or committed. */
  count(org: string, seq: number): void {
    if (this.#counts(org, seq)) return;
    this.#held.set(org, this.quarantined(org) + 1);
    this.#heldInAll += 1;
  }

  /** An organisation has its first active peer, or has none any more. */
  pair(group: Group, org: string, isPaired: boolean): void {
    if (org === this.#init.org) return;
    const before = this.#trust.get(org);
    if (isPaired ? before?.until === null : before === undefined || before.until !== null) return;
    const row: TrustRow = { until: isPaired ? null : group.head.seq };
    group.ops.push({ type: 'put', key: keys.organisationKey(org), value: toJson(row) });
    group.afterCommit.push(() => {
      this.#trust.set(org, row);
      this.#release(org);
    });
    this.#components.onChanged(group, org);
  }

  #release(org: string): void {
    this.#heldInAll -= this.quarantined(org);
    this.#held.delete(org);
  }

  get #accepts(): boolean {
    return this.#init.unknownOrigins === 'accept';
  }

  #counts(org: string, seq: number): boolean {
    if (this.#accepts) return true;
    const trust = this.#trust.get(org);
    return trust !== undefined && (trust.until === null || seq <= trust.until);
  }
}

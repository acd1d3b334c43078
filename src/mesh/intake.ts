import { type Digest, sha256 } from '../facts/index.ts';
import { NodeError } from '../node/errors.ts';
import type { InboundOutcome, WireStatement } from '../node/federation.ts';
import type { InboundService } from '../node/mesh-services.ts';
import type { StatementSet } from '../policy/sets.ts';
import { isShared, type Pairing } from '../policy/sharing.ts';
import {
  BUSY_PATIENCE_MS,
  BUSY_RETRY_MS,
  MANIFEST_RETRY_MS,
  MAX_ARRIVALS,
  MAX_ORGS_ASKED,
  MAX_RECENT_DIGESTS,
  MAX_UNANSWERED_ORGS,
} from './data-limits.ts';
import { RecentDigests } from './recent-digests.ts';
import { isRelayed, type Scores } from './scores.ts';
import { haveChanged } from './terms.ts';
import { delay, elapsedClock } from './timers.ts';
import type { PeeringView } from './types.ts';
import type { MeshWorld } from './world.ts';

/** Which way statements came. It decides who is told of them (announce.ts). */
export type Via = 'gossip' | 'push' | 'fetch' | 'sync';

export interface IntakeComponents {
  readonly inbound: Pick<InboundService, 'admit'>;
  readonly peering: Pick<PeeringView, 'pairing' | 'isSettling'>;
  readonly scores: Pick<Scores, 'refuse'>;
  readonly world: MeshWorld;
  /** Gets the manifest of an organisation from a peer. @returns whether it is known now; never rejects */
  readonly learnManifest: (peerId: string, authority: string, signal?: AbortSignal) => Promise<boolean>;
  /** Told what became of statements, once that is settled. */
  readonly onOutcomes: (peerId: string, via: Via, outcomes: readonly InboundOutcome[]) => void;
}

/** A peer that is not admitted (any more) has nothing to send. */
export class NotAdmitted extends Error {
  override readonly name = 'NotAdmitted';

  constructor(peerId: string) {
    super(`${peerId} is not an active peer`);
  }
}

/**
 * What every way in has in common: the terms of the peer, the node's door, what a refusal costs, the manifest that is
 * missing, and remembering the way until the commit is announced.
 */
export class Intake {
  /**
   * Statements that were committed lately, and the set of each, as the announcer notes them. Whether a peer may know is
   * {@link isHeld}.
   */
  readonly held = new RecentDigests<StatementSet>(MAX_RECENT_DIGESTS);
  /** The way of statements that are being admitted. */
  readonly arrivals = new RecentDigests<Via>(MAX_ARRIVALS);
  readonly #components: IntakeComponents;
  /** Organisations whose manifest a peer could not give, until when it is not asked again. */
  readonly #unanswered = new Map<string, number>();
  /** The clock may be set back: that must not make it a wait for as long. */
  readonly #elapsed: () => number;

  constructor(components: IntakeComponents) {
    this.#components = components;
    this.#elapsed = elapsedClock(() => components.world.now());
  }

  /**
   * Whether a statement is held for certain and the pairing shares it: a cheap answer to most duplicates. What a peer may
   * not hold is treated as what nobody has, or it could find out what we have by offering it.
   */
  isHeld(digest: Digest, pairing: Pairing): boolean {
    const set = this.held.get(digest);
    return set !== undefined && isShared(set, pairing);
  }

  /**
   * Admits what a peer sent. Statements of organisations whose manifest is missing are tried a second time when the peer
   * had it. Streams wait while the writer is busy; gossip does not.
   *
   * @returns one outcome a statement, in order
   * @throws NotAdmitted; NodeError `busy`, `stopping`; StoreError
   */
  async admit(
    peerId: string,
    via: Via,
    statements: readonly WireStatement[],
    signal?: AbortSignal,
  ): Promise<InboundOutcome[]> {
    const before = this.#components.peering.pairing(peerId);
    const outcomes = await this.#admit(peerId, via, statements, signal);
    await this.#learnAndRetry(peerId, via, statements, outcomes, signal);
    this.#settle(peerId, via, statements, outcomes, before);
    return outcomes;
  }

  /** Admits the manifest that a peer gave when it was asked for one. @throws as {@link admit} */
  async admitManifest(peerId: string, statement: WireStatement, signal?: AbortSignal): Promise<void> {
    const before = this.#components.peering.pairing(peerId);
    this.#settle(peerId, 'fetch', [statement], await this.#admit(peerId, 'fetch', [statement], signal), before);
  }

  /** Tries those again whose manifest was missing, once the peer gave it. */
  async #learnAndRetry(
    peerId: string,
    via: Via,
    statements: readonly WireStatement[],
    outcomes: InboundOutcome[],
    signal: AbortSignal | undefined,
  ): Promise<void> {
    const orgs = new Map<string, number[]>();
    for (const [at, outcome] of outcomes.entries()) {
      if (outcome.status !== 'refused' || outcome.code !== 'unknown_org') continue;
      const org = envelopeOf(statements[at]!).org;
      orgs.set(org, [...(orgs.get(org) ?? []), at]);
    }
    for (const [org, places] of [...orgs].slice(0, MAX_ORGS_ASKED)) {
      if (!(await this.#learn(peerId, org, signal))) continue;
      const again = await this.#admit(
        peerId,
        via,
        places.map((at) => statements[at]!),
        signal,
      );
      for (const [i, at] of places.entries()) outcomes[at] = again[i]!;
    }
  }

  async #admit(
    peerId: string,
    via: Via,
    statements: readonly WireStatement[],
    signal: AbortSignal | undefined,
  ): Promise<InboundOutcome[]> {
    const { inbound, peering, world } = this.#components;
    const digests = statements.map(({ bytes }) => sha256(bytes));
    // Of two ways at once the first is the one by which it will have come.
    for (const digest of digests) if (!this.arrivals.has(digest)) this.arrivals.set(digest, via);
    try {
      for (let waited = 0, pause = BUSY_RETRY_MS; ; waited += pause, pause *= 2) {
        const pairing = peering.pairing(peerId);
        if (!pairing) throw new NotAdmitted(peerId);
        try {
          const only = via === 'gossip' ? 'public' : undefined;
          const now = (): Pairing | undefined => peering.pairing(peerId);
          const outcomes = await inbound.admit({ peerId, pairing, only, now }, statements);
          this.#forgetWays(digests, outcomes);
          return outcomes;
        } catch (error) {
          const isBusy = error instanceof NodeError && error.code === 'busy';
          if (!isBusy || via === 'gossip' || waited >= BUSY_PATIENCE_MS || signal?.aborted) throw error;
        }
        await delay(world, pause, signal);
      }
    } catch (error) {
      for (const digest of digests) this.arrivals.take(digest);
      throw error;
    }
  }

  /** Of an accepted one the announcer takes the way, and notes that it is held; others are not announced. */
  #forgetWays(digests: readonly Digest[], outcomes: readonly InboundOutcome[]): void {
    for (const [at, { status }] of outcomes.entries()) if (status !== 'accepted') this.arrivals.take(digests[at]!);
  }

  /** @param before what was agreed with the peer when it sent them */
  #settle(
    peerId: string,
    via: Via,
    statements: readonly WireStatement[],
    outcomes: readonly InboundOutcome[],
    before: Pairing | undefined,
  ): void {
    const { scores, peering, onOutcomes } = this.#components;
    onOutcomes(peerId, via, outcomes);
    const pairing = peering.pairing(peerId);
    const peerOrg = pairing?.peerOrg;
    // A busy writer may take longer than peers have to stop.
    const isSettling = peering.isSettling(peerId) || haveChanged(before, pairing);
    const codes = new Map<string, { blamed: number; blameless: number }>();
    for (const [at, outcome] of outcomes.entries()) {
      if (outcome.status !== 'refused') continue;
      const { code } = outcome;
      const counts = codes.get(code) ?? { blamed: 0, blameless: 0 };
      codes.set(code, counts);
      if (isRelayed(code) && !isSaidBy(statements[at]!, peerId, peerOrg)) counts.blameless += 1;
      // On its way while the terms changed: no offence.
      else if (code === 'scope_violation' && isSettling) counts.blameless += 1;
      else counts.blamed += 1;
    }
    for (const [code, { blamed, blameless }] of codes) {
      if (blamed > 0) scores.refuse(peerId, code, blamed);
      if (blameless > 0) scores.refuse(peerId, code, blameless, true);
    }
  }

  /** Asks a peer for a manifest, unless it could not give it a moment ago. */
  async #learn(peerId: string, org: string, signal: AbortSignal | undefined): Promise<boolean> {
    const { learnManifest } = this.#components;
    const name = `${peerId} ${org}`;
    if ((this.#unanswered.get(name) ?? 0) > this.#elapsed()) return false;
    if (await learnManifest(peerId, org, signal)) return true;
    this.#unanswered.delete(name);
    this.#unanswered.set(name, this.#elapsed() + MANIFEST_RETRY_MS);
    if (this.#unanswered.size > MAX_UNANSWERED_ORGS) {
      const oldest = this.#unanswered.keys().next();
      if (!oldest.done) this.#unanswered.delete(oldest.value);
    }
    return false;
  }
}

/** Whether a peer says something in its own name, or in that of its organisation. */
function isSaidBy(statement: WireStatement, peerId: string, peerOrg: string | undefined): boolean {
  const { org, origin } = envelopeOf(statement);
  return origin === peerId || org === peerOrg;
}

/** Only of statements whose form was checked already. */
function envelopeOf({ bytes }: WireStatement): { readonly org: string; readonly origin: string } {
  const text = Buffer.from(bytes.buffer, bytes.byteOffset, bytes.length).toString('utf8');
  return JSON.parse(text) as { org: string; origin: string };
}

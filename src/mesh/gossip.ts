import { type Digest, sha256 } from '../facts/index.ts';
import type { InboundOutcome, WireStatement } from '../node/federation.ts';
import { decodeBlock } from './block.ts';
import { GOSSIP_CHECK_MS, MAX_GOSSIP_CHECKS, MAX_GOSSIP_CHECKS_OF_PEER, MAX_GOSSIP_SEEN } from './data-limits.ts';
import { malformedFrame } from './errors.ts';
import { isReachedByGossip } from './gossip-reach.ts';
import type { InboundGate } from './inbound-gate.ts';
import type { Intake } from './intake.ts';
import { GRAYLIST_SCORE, MAX_GOSSIP_BYTES } from './limits.ts';
import { RecentDigests } from './recent-digests.ts';
import { isForgery, type Scores } from './scores.ts';
import { haveChanged } from './terms.ts';
import type { GossipVerdict } from './transport.ts';
import type { PeeringView } from './types.ts';
import type { MeshWorld } from './world.ts';

export interface GossipIntakeComponents {
  readonly intake: Pick<Intake, 'admit' | 'isHeld'>;
  readonly gate: Pick<InboundGate, 'tryTake' | 'takesFrom' | 'giveBack'>;
  readonly scores: Pick<Scores, 'refuse' | 'score'>;
  readonly peering: Pick<PeeringView, 'pairing' | 'isSettling'>;
  readonly world: MeshWorld;
  readonly onVerdict: (verdict: GossipVerdict, why: string) => void;
  /** A message of this peer was left out for want of time: only reconciliation can bring it. */
  readonly onGap: (peerId: string) => void;
}

/**
 * Judges what comes by gossip (mesh.md, "Gossip"): everything through the node's door before it is passed on. What costs
 * little is looked at first: the terms, the allowance, the form of the block, what is held already; signatures come last.
 */
export class GossipIntake {
  readonly #components: GossipIntakeComponents;
  /** Statements that were heard by gossip: whoever else hears the topic knows them. */
  readonly #seen = new RecentDigests(MAX_GOSSIP_SEEN);
  #checks = 0;
  /** Of them by peer: what one has us wait for must not keep the others from being heard. */
  readonly #checksOf = new Map<string, number>();

  constructor(components: GossipIntakeComponents) {
    this.#components = components;
  }

  /** Messages under examination. */
  get checks(): number {
    return this.#checks;
  }

  hasHeard(digest: Digest): boolean {
    return this.#seen.has(digest);
  }

  /** Whether a peer takes part in gossip with us. */
  readonly admits = (peerId: string): boolean => {
    const pairing = this.#components.peering.pairing(peerId);
    return pairing !== undefined && isReachedByGossip(pairing);
  };

  /** Score of a peer in the topic: its reputation here, while it takes part. */
  readonly score = (peerId: string): number =>
    this.admits(peerId) ? this.#components.scores.score(peerId) : GRAYLIST_SCORE * 2;

  /** Never rejects. */
  readonly consume = async (data: Uint8Array, from: string): Promise<GossipVerdict> => {
    const [verdict, why] = await this.#judge(data, from);
    this.#components.onVerdict(verdict, why);
    if (why === 'busy') this.#components.onGap(from);
    return verdict;
  };

  async #judge(data: Uint8Array, from: string): Promise<[GossipVerdict, string]> {
    const { gate, scores } = this.#components;
    if (!this.admits(from)) return ['ignore', 'not_admitted'];
    let statements: WireStatement[];
    try {
      if (data.length > MAX_GOSSIP_BYTES) throw malformedFrame('a message above its limit');
      statements = decodeBlock(data);
      if (statements.length === 0) throw malformedFrame('an empty message');
    } catch {
      scores.refuse(from, 'malformed_frame');
      return ['reject', 'malformed_frame'];
    }
    if (!gate.tryTake(from, statements.length, data.length).allowed) {
      scores.refuse(from, 'over_quota');
      return ['ignore', 'over_quota'];
    }
    const ofPeer = this.#checksOf.get(from) ?? 0;
    if (this.#checks >= MAX_GOSSIP_CHECKS || ofPeer >= MAX_GOSSIP_CHECKS_OF_PEER) return ['ignore', 'busy'];
    this.#checks += 1;
    this.#checksOf.set(from, ofPeer + 1);
    const limit = new AbortController();
    const timer = this.#components.world.setTimeout(() => limit.abort(), GOSSIP_CHECK_MS);
    try {
      return await this.#admit(statements, from, limit.signal);
    } catch {
      // The writer is busy or the store failed: reconciliation brings it when they work again.
      return ['ignore', 'busy'];
    } finally {
      this.#components.world.clearTimeout(timer);
      this.#checks -= 1;
      const left = this.#checksOf.get(from)! - 1;
      if (left === 0) this.#checksOf.delete(from);
      else this.#checksOf.set(from, left);
    }
  }

  async #admit(
    statements: readonly WireStatement[],
    from: string,
    signal: AbortSignal,
  ): Promise<[GossipVerdict, string]> {
    const { intake, peering, gate } = this.#components;
    const pairing = peering.pairing(from);
    if (!pairing) return ['ignore', 'not_admitted'];
    const unknown: WireStatement[] = [];
    let left = 0;
    for (const statement of statements) {
      const digest = sha256(statement.bytes);
      this.#seen.set(digest, true);
      if (intake.isHeld(digest, pairing)) continue;
      if (gate.takesFrom(originOf(statement))) unknown.push(statement);
      else left += 1;
    }
    if (unknown.length === 0) return ['ignore', left > 0 ? 'over_quota' : 'duplicate'];
    const outcomes = await this.#admitted(unknown, from, signal);
    const isSettling = peering.isSettling(from) || haveChanged(pairing, peering.pairing(from));
    const forged = outcomes.find((outcome) => isHeldAgainst(outcome, isSettling));
    if (forged) return ['reject', forged.status === 'refused' ? forged.code : ''];
    // Others may judge what we refuse more severely, and would hold it against us, who passed it on.
    if (left > 0) return ['ignore', 'over_quota'];
    const refused = outcomes.find((outcome) => outcome.status === 'refused');
    if (refused) return ['ignore', refused.status === 'refused' ? refused.code : ''];
    return outcomes.some(({ status }) => status === 'accepted') ? ['accept', 'accepted'] : ['ignore', 'duplicate'];
  }

  async #admitted(statements: readonly WireStatement[], from: string, signal: AbortSignal): Promise<InboundOutcome[]> {
    const { intake, gate } = this.#components;
    let outcomes: InboundOutcome[] = [];
    try {
      outcomes = await intake.admit(from, 'gossip', statements, signal);
      return outcomes;
    } finally {
      for (const [at, statement] of statements.entries()) {
        if (outcomes[at]?.status !== 'accepted') gate.giveBack(originOf(statement));
      }
    }
  }
}

const ORIGIN = Buffer.from('"origin":"');
const QUOTE = 0x22;
/** Longest peer id. */
const MAX_ORIGIN = 64;

/**
 * Who a statement says made it, read without decoding it: of members in canonical order, the last of this name is the
 * envelope's. What lies about it is refused later, and its allowance given back to whoever it names.
 */
function originOf({ bytes }: WireStatement): string {
  const text = Buffer.from(bytes.buffer, bytes.byteOffset, bytes.length);
  const at = text.lastIndexOf(ORIGIN);
  if (at === -1) return '';
  const from = at + ORIGIN.length;
  const end = text.indexOf(QUOTE, from);
  return end === -1 ? '' : text.toString('latin1', from, Math.min(end, from + MAX_ORIGIN));
}

/** What no honest peer passes on. */
function isHeldAgainst(outcome: InboundOutcome, isSettling: boolean): boolean {
  if (outcome.status !== 'refused') return false;
  return isForgery(outcome.code) || (outcome.code === 'scope_violation' && !isSettling);
}

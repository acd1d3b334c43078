import {
  BAN_SCORE,
  FIRST_BAN_MS,
  MAX_BAN_MS,
  MAX_REFUSAL_CODES,
  MAX_SCORED_PEERS,
  SCORE_HALF_LIFE_MS,
} from './data-limits.ts';

/** What a statement of wrong form, or with a wrong signature, costs. */
const FORGERY = 25;

/**
 * What each refusal costs the peer that sent it, a statement. What an honest peer never sends costs most; what depends on
 * whose manifest or clock is newer costs little, since an honest relay can be behind; what is only our own limit, nothing.
 */
const PENALTIES: ReadonlyMap<string, number> = new Map([
  // Not a frame of its protocol, or more of it than allowed: no version of ours sends that.
  ['malformed_frame', 50],
  ['frame_too_large', 50],
  ['protocol_violation', 25],
  ['sync_abuse', 25],
  // A session in which everything was exchanged and nothing agrees.
  ['sync_false', 10],
  // Answered with something that was not asked for.
  ['unrequested', 25],
  // Sent without looking at it: every honest peer checks form and signature before it passes anything on.
  ['bad_signature', FORGERY],
  ['not_canonical', FORGERY],
  ['invalid_statement', FORGERY],
  ['statement_too_large', FORGERY],
  ['too_deep', FORGERY],
  ['lone_surrogate', FORGERY],
  ['reserved_entity', FORGERY],
  ['unknown_origin', FORGERY],
  // Outside of what both sides declared.
  ['scope_violation', 10],
  ['not_owner', 5],
  ['too_many_namespaces', 2],
  ['key_revoked', 1],
  ['hlc_ahead', 1],
  ['over_quota', 0.05],
]);
/**
 * What depends on whose manifest, clock or room is newer or larger: an honest relay passes it on. So it costs only whoever
 * says it in its own name; otherwise an organisation that tells each of us something else would have us ban each other.
 */
const RELAYED: ReadonlySet<string> = new Set(['not_owner', 'too_many_namespaces', 'key_revoked', 'hlc_ahead']);
/** Codes of the facts room that are not named above: all of them are about form. */
const FORM = /^(?:invalid_|text_too_large)/;

interface Standing {
  /** Sum of penalties as of `at`; halves every {@link SCORE_HALF_LIFE_MS}. */
  penalty: number;
  at: number;
  bans: number;
  bannedUntil: number;
  readonly refused: Map<string, number>;
}

export interface ScoresInit {
  /** Unix ms. */
  readonly now: () => number;
  /** Told when a peer has gone too far: it is to be cut off until then (Unix ms). */
  readonly onBan: (peerId: string, code: string, until: number) => void;
}

/** The reputation of peers, by what had to be refused of what they sent. In memory: a restart forgives. */
export class Scores {
  readonly #init: ScoresInit;
  /** In order of the last offence, so that the first is the one to forget. */
  readonly #standings = new Map<string, Standing>();

  constructor(init: ScoresInit) {
    this.#init = init;
  }

  get size(): number {
    return this.#standings.size;
  }

  /**
   * Holds `count` refusals of one kind against a peer.
   *
   * @param blameless they are counted and cost nothing: sent in good faith while terms were changing
   */
  refuse(peerId: string, code: string, count = 1, blameless = false): void {
    const now = this.#init.now();
    const standing = this.#standingOf(peerId, now);
    const name = standing.refused.has(code) || standing.refused.size < MAX_REFUSAL_CODES ? code : 'other';
    standing.refused.set(name, (standing.refused.get(name) ?? 0) + count);
    if (blameless) return;
    standing.penalty = decayed(standing, now) + penaltyOf(code) * count;
    standing.at = now;
    if (standing.penalty < -BAN_SCORE || standing.bannedUntil > now) return;
    const length = Math.min(MAX_BAN_MS, FIRST_BAN_MS * 2 ** standing.bans);
    standing.bans += 1;
    standing.bannedUntil = now + length;
    // Comes back on probation: half of the way to the next, longer ban.
    standing.penalty = -BAN_SCORE / 2;
    this.#init.onBan(peerId, code, standing.bannedUntil);
  }

  /** 0 is neutral, {@link BAN_SCORE} and below while cut off. */
  score(peerId: string): number {
    const standing = this.#standings.get(peerId);
    if (!standing) return 0;
    const now = this.#init.now();
    if (standing.bannedUntil > now) return BAN_SCORE * 2;
    const penalty = decayed(standing, now);
    return penalty < 0.01 ? 0 : -penalty;
  }

  isBanned(peerId: string): boolean {
    const standing = this.#standings.get(peerId);
    return standing !== undefined && standing.bannedUntil > this.#init.now();
  }

  /** Refused statements by code, since the start. */
  refused(peerId: string): Readonly<Record<string, number>> {
    return Object.fromEntries(this.#standings.get(peerId)?.refused ?? []);
  }

  /** The operator decided anew about this peer. */
  pardon(peerId: string): void {
    const standing = this.#standings.get(peerId);
    if (standing) Object.assign(standing, { penalty: 0, bans: 0, bannedUntil: 0 });
  }

  #standingOf(peerId: string, now: number): Standing {
    const standing = this.#standings.get(peerId) ?? {
      penalty: 0,
      at: now,
      bans: 0,
      bannedUntil: 0,
      refused: new Map<string, number>(),
    };
    this.#standings.delete(peerId);
    this.#standings.set(peerId, standing);
    if (this.#standings.size > MAX_SCORED_PEERS) this.#forgetOne(now);
    return standing;
  }

  /** Forgets the longest unsuspicious peer; one that is cut off only when all are. */
  #forgetOne(now: number): void {
    let oldest: string | undefined;
    for (const [peerId, { bannedUntil }] of this.#standings) {
      oldest ??= peerId;
      if (bannedUntil <= now) {
        oldest = peerId;
        break;
      }
    }
    if (oldest !== undefined) this.#standings.delete(oldest);
  }
}

/** Whether only a peer that looks at nothing, or means harm, passes on what is refused with this code. */
export function isForgery(code: string): boolean {
  return penaltyOf(code) >= FORGERY;
}

/** Whether an honest peer may have passed on what is refused with this code. */
export function isRelayed(code: string): boolean {
  return RELAYED.has(code);
}

export function penaltyOf(code: string): number {
  return PENALTIES.get(code) ?? (FORM.test(code) ? FORGERY : 0);
}

function decayed({ penalty, at }: Standing, now: number): number {
  return penalty * 0.5 ** (Math.max(0, now - at) / SCORE_HALF_LIFE_MS);
}

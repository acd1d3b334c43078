import type { OrgManifest } from '../identity/manifest.ts';
import type { KnownManifest, PeerRecord } from '../node/federation.ts';
import type { ManifestService, PeerChange, PeerService } from '../node/mesh-services.ts';
import type { Pairing } from '../policy/sharing.ts';
import { Alarm } from './alarm.ts';
import { Bans } from './bans.ts';
import { complain } from './complain.ts';
import {
  ACTIVE_DEADLINE_MS,
  DECLARE_WAIT_MS,
  MAX_PARALLEL_DECLARES,
  OUTBOUND_STRANGER_GRACE_MS,
  SETTLING_MS,
  STRANGER_GRACE_MS,
} from './control-limits.ts';
import {
  answerDeclare,
  type Challenge,
  DECLARE,
  type Decision,
  type DeclareAnswer,
  type Declared,
  type DeclareSelf,
  declare,
  type Introduced,
} from './declare.ts';
import { isBadFrame, notConnected } from './errors.ts';
import type { Registrar, Telling } from './registrar.ts';
import { activePeer, Session } from './session.ts';
import { Strangers } from './strangers.ts';
import { sameDecision, samePairing, sameSaying, sameTerms } from './terms.ts';
import { elapsedClock, jittered } from './timers.ts';
import type { Connection, FrameStream, Transport } from './transport.ts';
import type { ActivePeer, InactiveReason, MeshEventSink, MeshLog, PeeringListener, PeeringView } from './types.ts';
import type { MeshWorld } from './world.ts';

export interface PeeringComponents {
  readonly transport: Transport;
  readonly registrar: Registrar;
  readonly peers: PeerService;
  readonly manifests: ManifestService;
  readonly world: MeshWorld;
  readonly events: MeshEventSink;
  readonly log: MeshLog;
}

/** What is said to a peer in one exchange, and what to do when it agreed. */
export interface Exchange {
  /** @returns what to tell them; null: nothing, we only look @throws to break off before anything was said */
  readonly tell: (challenge: Challenge) => Telling | null | Promise<Telling | null>;
  /** Takes note of what they said. @throws to break off */
  readonly accept: (introduced: Introduced) => Promise<PeerRecord>;
}

/**
 * Who is who. On every connection both sides declare themselves; from then on, and until anything of it changes, this
 * tells everybody who serves peers whom to admit, and to what. A change takes effect here at once, and is then told.
 */
export class Peering implements PeeringView {
  readonly strangers: Strangers;
  readonly #components: PeeringComponents;
  readonly #self: DeclareSelf;
  readonly #sessions = new Map<string, Session>();
  readonly #listeners = new Set<PeeringListener>();
  readonly #bans: Bans;
  /** Peers that somebody here is dealing with: join, a look. */
  readonly #held = new Map<string, number>();
  readonly #expiry: Alarm;
  #endings: (() => void)[] = [];
  #isStopped = false;

  constructor(components: PeeringComponents) {
    const { transport, world } = components;
    this.#components = components;
    this.#self = { peerId: transport.peerId, now: () => world.now(), randomBytes: (count) => world.randomBytes(count) };
    this.#bans = new Bans(() => world.now());
    this.strangers = new Strangers(elapsedClock(() => world.now()));
    this.#expiry = new Alarm(world, () => this.#expire());
  }

  /** Attaches itself to the transport, which must not have started yet. */
  async start(): Promise<void> {
    const { transport, peers, manifests } = this.#components;
    transport.on({
      connected: (connection) => this.#connected(connection),
      disconnected: (peerId) => this.#disconnected(peerId),
      misbehaved: (peerId, what) => this.#emit((listener) => listener.misbehaved?.(peerId, what)),
    });
    transport.deny((peerId) => this.#isDenied(peerId));
    await transport.handle(
      DECLARE,
      (stream) => this.#answer(stream),
      (peerId) => {
        const isStranger = this.#components.registrar.standing(peerId).kind === 'unknown';
        return this.strangers.mayDeclare(peerId, isStranger ? (this.#sessions.get(peerId)?.remoteAddr ?? '') : null);
      },
    );
    this.#endings = [
      peers.on({ changed: (change) => this.#peerChanged(change) }),
      manifests.on((known) => this.#manifestChanged(known)),
    ];
  }

  /** Nobody is admitted any more. Connections are the transport's to close. */
  stop(): void {
    this.#isStopped = true;
    for (const end of this.#endings) end();
    this.#endings = [];
    this.#expiry.set(null);
    for (const session of [...this.#sessions.values()]) {
      this.#deactivate(session, 'stopping');
      this.#forget(session);
    }
  }

  admits(peerId: string): boolean {
    return this.#sessions.get(peerId)?.pairing !== undefined;
  }

  pairing(peerId: string): Pairing | undefined {
    return this.#sessions.get(peerId)?.pairing;
  }

  active(): readonly ActivePeer[] {
    return [...this.#sessions.values()].filter((session) => session.isActive).map(activePeer);
  }

  isSettling(peerId: string): boolean {
    return this.#components.world.now() < (this.#sessions.get(peerId)?.settlesAt ?? 0);
  }

  on(listener: PeeringListener): () => void {
    const entry = { ...listener };
    this.#listeners.add(entry);
    return () => this.#listeners.delete(entry);
  }

  ban(peerId: string, until: number): void {
    this.#bans.add(peerId, until);
    const session = this.#sessions.get(peerId);
    if (session) this.#cut(session, 'banned');
  }

  /** Whether a peer is connected, active or not. */
  isConnected(peerId: string): boolean {
    return this.#sessions.has(peerId);
  }

  /** While held, a connection to a peer is left to whoever holds it. @returns what lets go of it */
  hold(peerId: string): () => void {
    this.#held.set(peerId, (this.#held.get(peerId) ?? 0) + 1);
    let isHeld = true;
    return () => {
      if (!isHeld) return;
      isHeld = false;
      const left = this.#held.get(peerId)! - 1;
      if (left > 0) {
        this.#held.set(peerId, left);
        return;
      }
      this.#held.delete(peerId);
      const session = this.#sessions.get(peerId);
      if (session && !session.isActive) this.#begin(session);
    };
  }

  /**
   * Runs one exchange with a connected peer.
   *
   * @throws MeshError, IdentityError; what the exchange throws
   */
  async exchange(peerId: string, { tell, accept }: Exchange): Promise<DeclareAnswer> {
    const { transport, registrar } = this.#components;
    const session = this.#sessions.get(peerId);
    if (!session) throw notConnected(peerId);
    const stream = await transport.open(peerId, DECLARE);
    try {
      let told: { readonly telling: Telling; readonly at: number; readonly shown: string } | undefined;
      const answer = await declare(stream, this.#self, async (challenge) => {
        const telling = await tell(challenge);
        if (telling === null) return null;
        const introduction = registrar.introduce(peerId, challenge.nonce, session.remoteAddr, telling);
        told = { telling, at: session.next(), shown: introduction.manifest.signature };
        return introduction;
      });
      if (answer.status === 'active') {
        const { declaration, manifest } = answer;
        const record = await accept({ peerId, declaration, manifest });
        if (session.isClosed) throw notConnected(peerId);
        session.shown = told!.shown;
        session.expiresAt = told!.telling.expiresAt;
        this.#agree(session, record, { terms: told!.telling.terms, at: told!.at });
        this.#activate(session);
      }
      await stream.close();
      return answer;
    } catch (error) {
      stream.abort(error as Error);
      throw error;
    }
  }

  #isDenied(peerId: string): boolean {
    if (this.#isStopped || this.#bans.has(peerId)) return true;
    return this.#components.peers.get(peerId)?.state === 'revoked';
  }

  #connected({ peerId, remoteAddr, outbound }: Connection): void {
    if (this.#isStopped) return;
    const former = this.#sessions.get(peerId);
    if (former) this.#forget(former);
    const session = new Session({ peerId, remoteAddr, outbound });
    this.#sessions.set(peerId, session);
    if (!this.#held.has(peerId)) this.#begin(session);
  }

  /** What a fresh connection leads to, by who is at its other end. */
  #begin(session: Session): void {
    const { registrar, world } = this.#components;
    const { peerId, outbound, remoteAddr } = session;
    const { kind } = registrar.standing(peerId);
    if (kind === 'sibling' || kind === 'declared') {
      this.#within(session, ACTIVE_DEADLINE_MS);
      if (outbound) void this.#tell(session);
      else session.nudge = world.setTimeout(() => void this.#tell(session), jittered(world, DECLARE_WAIT_MS));
      return;
    }
    if (kind === 'unknown' && !outbound) this.strangers.note(peerId, remoteAddr, world.now());
    this.#within(session, outbound ? OUTBOUND_STRANGER_GRACE_MS : STRANGER_GRACE_MS);
  }

  #disconnected(peerId: string): void {
    const session = this.#sessions.get(peerId);
    if (!session) return;
    this.#deactivate(session, 'disconnected');
    this.#forget(session);
  }

  #forget(session: Session): void {
    const { world } = this.#components;
    session.isClosed = true;
    world.clearTimeout(session.deadline);
    world.clearTimeout(session.nudge);
    if (this.#sessions.get(session.peerId) === session) this.#sessions.delete(session.peerId);
  }

  /** Disconnects a peer that is not active by then; who is declaring itself may finish, which takes seconds on slow links. */
  #within(session: Session, ms: number, longest = ACTIVE_DEADLINE_MS): void {
    const { world } = this.#components;
    world.clearTimeout(session.deadline);
    session.deadline = world.setTimeout(() => {
      if (session.isActive || this.#held.has(session.peerId)) return;
      if (session.answering > 0 && longest > ms) this.#within(session, ms, longest - ms);
      else this.#disconnect(session);
    }, ms);
  }

  #disconnect({ peerId, isClosed }: Session): void {
    if (isClosed) return;
    const { transport, log } = this.#components;
    transport.disconnect(peerId).catch((error: Error) => {
      log.warn({ event: 'disconnect_failed', peer_id: peerId, error: error.name }, 'a connection could not be closed');
    });
  }

  /** Ends what was agreed, and the connection. */
  #cut(session: Session, reason: InactiveReason): void {
    this.#deactivate(session, reason);
    this.#disconnect(session);
  }

  /** Tells a peer who we are and what we share; once more if that changes meanwhile. Whoever does not agree is cut off. */
  async #tell(session: Session): Promise<void> {
    if (session.telling !== undefined) {
      session.tellAgain = true;
      return session.telling;
    }
    this.#components.world.clearTimeout(session.nudge);
    do {
      session.tellAgain = false;
      if (session.isClosed || this.#isStopped) return;
      session.telling = this.#told(session);
      await session.telling;
      session.telling = undefined;
    } while (session.tellAgain);
  }

  async #told(session: Session): Promise<void> {
    const { registrar, log } = this.#components;
    const { peerId } = session;
    try {
      const answer = await this.exchange(peerId, {
        tell: () => registrar.telling(peerId) ?? null,
        accept: (introduced) => registrar.recognise(introduced, session.remoteAddr),
      });
      if (answer.status === 'active') return;
      const code = answer.status === 'refused' ? answer.code : answer.status;
      log.info({ event: 'not_active_there', peer_id: peerId, code }, 'a peer does not share with us at the moment');
    } catch (error) {
      complain(log, peerId, error, 'a peer could not be agreed with');
    }
    if (!session.isClosed) this.#cut(session, 'refused');
  }

  async #answer(stream: FrameStream): Promise<void> {
    const { registrar, log } = this.#components;
    const session = this.#sessions.get(stream.peerId);
    if (!session) throw notConnected(stream.peerId);
    const { manifest } = registrar;
    session.answering += 1;
    try {
      const outcome = await answerDeclare(stream, {
        ...this.#self,
        manifest: () => manifest,
        decide: (declared) => this.#decide(session, declared, manifest),
      });
      if (session.isClosed) return;
      if (outcome.status === 'taken') this.#activate(session);
      else if (outcome.status === 'untaken') this.#cut(session, 'refused');
      else if (outcome.status === 'refused') return this.#refused(session, outcome.code);
    } catch (error) {
      complain(log, stream.peerId, error, 'a peer did not keep to the declare protocol');
      if (isBadFrame(error)) this.#emit((listener) => listener.misbehaved?.(stream.peerId, error.code));
      if (session.pairing) this.#cut(session, 'refused');
      throw error;
    } finally {
      session.answering -= 1;
    }
    // Our operator may have approved it meanwhile.
    if (!session.isClosed && !session.pairing) this.#review(session);
  }

  async #decide(session: Session, declared: Declared, shown: OrgManifest): Promise<Decision> {
    const { registrar, peers, log } = this.#components;
    const { peerId, nonce, manifest } = declared;
    const verdict = await registrar.decide(declared, session.remoteAddr);
    if (verdict.status === 'pending') {
      if (peers.get(peerId)) this.strangers.forget(peerId);
      else
        log.info({ event: 'stranger_unproven', peer_id: peerId, org: manifest.authority }, 'its name has another key');
    }
    if (verdict.status !== 'active') return verdict;
    const isDropped = registrar.isDisowned(peers.require(peerId)); // By its organisation, while that was written.
    if (session.isClosed || this.#isDenied(peerId) || isDropped) return { status: 'refused', code: 'peer_refused' };
    const { terms, expiresAt, secretHash } = verdict;
    const declaration = registrar.sign(peerId, nonce, session.remoteAddr, { terms, expiresAt });
    session.shown = shown.signature;
    session.expiresAt = expiresAt;
    // Their streams are served from now on; ours wait until they said that they agree.
    this.#agree(session, peers.require(peerId), { terms, at: session.next() });
    return { status: 'active', declaration, secretHash };
  }

  /** They could not say who they are, or are not wanted. Strangers have their grace; whoever was active is cut off. */
  #refused(session: Session, code: string): void {
    const { log } = this.#components;
    log.info({ event: 'peer_refused', peer_id: session.peerId, code }, 'a peer was refused');
    if (session.pairing) this.#cut(session, 'refused');
    else this.#within(session, STRANGER_GRACE_MS);
  }

  #agree(session: Session, { org, theirs }: PeerRecord, ours: { terms: Pairing['ours']; at: number }): void {
    const { registrar } = this.#components;
    const orgs = registrar.pairing(org!, ours.terms, theirs!);
    const { gives, takes, namespaces, signedAt } = theirs!;
    const before = session.agree(orgs, ours, { terms: { gives, takes, namespaces }, at: signedAt });
    if (before && !samePairing(before, session.pairing!)) this.#changed(session, before);
    this.#expiry.set(this.#nextExpiry());
  }

  #activate(session: Session): void {
    const { peerId, remoteAddr, pairing } = session;
    const { world, events, peers, log } = this.#components;
    if (session.isClosed || pairing === undefined) return;
    if (!session.isActive) {
      session.since = world.now();
      world.clearTimeout(session.deadline);
      world.clearTimeout(session.nudge);
      this.strangers.forget(peerId);
      peers.seen(peerId);
      log.info({ event: 'peer_active', peer_id: peerId, org: pairing.peerOrg }, 'a peer is active');
      this.#emit((listener) => listener.active?.(activePeer(session)));
      events.emit({ type: 'peer.connected', at: world.now(), peerId, org: pairing.peerOrg, remoteAddr });
    }
    this.#review(session);
  }

  #deactivate(session: Session, reason: InactiveReason): void {
    const { world, events, peers, log } = this.#components;
    const { peerId, isActive, pairing } = session;
    session.end();
    if (!isActive) return;
    peers.seen(peerId);
    log.info({ event: 'peer_inactive', peer_id: peerId, org: pairing?.peerOrg, reason }, 'a peer is no longer active');
    this.#emit((listener) => listener.inactive?.(peerId, reason));
    events.emit({ type: 'peer.disconnected', at: world.now(), peerId, org: pairing?.peerOrg ?? null });
  }

  /** Brings a connection in line with what our operator and the manifests say now. */
  #review(session: Session): void {
    const { registrar } = this.#components;
    const { peerId, pairing } = session;
    const standing = registrar.standing(peerId);
    if (standing.kind === 'barred') {
      if (pairing || session.answering === 0) this.#cut(session, standing.reason);
      return;
    }
    if (pairing && registrar.isDisowned({ peerId, org: pairing.peerOrg })) {
      this.#cut(session, 'revoked');
      return;
    }
    const telling = registrar.telling(peerId);
    if (!telling || this.#held.has(peerId)) return;
    if (!pairing) {
      // What is under way ends in a review, too.
      if (session.telling !== undefined || session.answering > 0) return;
      // Declared while it is connected: no need to wait for the next connection.
      this.#within(session, ACTIVE_DEADLINE_MS);
      void this.#tell(session);
      return;
    }
    const isTold = sameTerms(session.told, telling.terms) && session.expiresAt === telling.expiresAt;
    if (isTold && session.shown === registrar.manifest.signature) return;
    const before = session.narrow(telling.terms);
    if (before) this.#changed(session, before);
    void this.#tell(session);
  }

  #changed(session: Session, before: Pairing): void {
    session.settlesAt = this.#components.world.now() + SETTLING_MS;
    if (session.isActive) this.#emit((listener) => listener.changed?.(activePeer(session), before));
  }

  #peerChanged({ peer, before }: PeerChange): void {
    const { events, world } = this.#components;
    const isDecision = !before || !sameDecision(before, peer);
    if (isDecision) this.#bans.lift(peer.peerId);
    if (isDecision || before.state !== peer.state || !sameSaying(before, peer)) {
      events.emit({ type: 'peer.changed', at: world.now(), peerId: peer.peerId, org: peer.org, state: peer.state });
    }
    const session = this.#sessions.get(peer.peerId);
    if (session && isDecision) this.#review(session);
    this.#expiry.set(this.#nextExpiry());
  }

  #manifestChanged({ authority, standing }: KnownManifest): void {
    const { registrar } = this.#components;
    const affected = [...this.#sessions.values()].filter(
      ({ pairing }) => standing === 'own' || pairing?.peerOrg === authority,
    );
    // First who may no longer: at once. Then everybody is told, some at a time.
    for (const session of affected) {
      const { pairing, peerId } = session;
      if (pairing && registrar.isDisowned({ peerId, org: pairing.peerOrg })) this.#cut(session, 'revoked');
    }
    if (standing === 'own') void this.#tellAll(affected);
  }

  async #tellAll(sessions: readonly Session[]): Promise<void> {
    const waiting = sessions.values();
    const worker = async (): Promise<void> => {
      for (const session of waiting) {
        if (session.isClosed) continue;
        this.#review(session);
        await session.telling;
      }
    };
    await Promise.all(Array.from({ length: MAX_PARALLEL_DECLARES }, worker));
  }

  #nextExpiry(): number | null {
    const { peers } = this.#components;
    let next: number | null = null;
    for (const { peerId, pairing } of this.#sessions.values()) {
      const record = pairing && peers.get(peerId);
      for (const at of [record?.expiresAt, record?.theirs?.expiresAt]) {
        if (at != null && (next === null || at < next)) next = at;
      }
    }
    return next;
  }

  /** What our operator decided ran out, or what they declared. */
  #expire(): void {
    const { peers, world } = this.#components;
    const now = world.now();
    for (const session of [...this.#sessions.values()]) {
      const record = session.pairing && peers.get(session.peerId);
      if (!record) continue;
      const ends = [record.expiresAt, record.theirs?.expiresAt ?? null];
      if (ends.some((at) => at !== null && at <= now)) this.#cut(session, 'expired');
    }
    this.#expiry.set(this.#nextExpiry());
  }

  #emit(tell: (listener: PeeringListener) => void): void {
    for (const listener of this.#listeners) tell(listener);
  }
}

import type { InboundOutcome, PeerLag, PeerView } from '../node/federation.ts';
import type { InboundService, ManifestService, SetsService } from '../node/mesh-services.ts';
import type { LocalWriter } from '../node/services.ts';
import { SYSTEM } from '../policy/principal.ts';
import { ownSessionSurvives, type SyncResult } from '../sync/index.ts';
import { Announcer } from './announce.ts';
import { FIRST_SYNC_GRACE_MS, GOSSIP_GAP_MS, MAX_SCORED_PEERS, SYNC_AUDIT_MS } from './data-limits.ts';
import { isPeersFault } from './errors.ts';
import { FETCH, Fetcher, FetchServer } from './fetch.ts';
import { GossipIntake } from './gossip.ts';
import { GossipPublisher } from './gossip-publisher.ts';
import { HeadsWatch } from './heads-watch.ts';
import { type GateInit, InboundGate } from './inbound-gate.ts';
import { Intake, type Via } from './intake.ts';
import type { MeshMetrics } from './metrics.ts';
import { Outbox } from './outbox.ts';
import { PUSH } from './push-frames.ts';
import { PushReceiver } from './push-receiver.ts';
import { PushSender } from './push-sender.ts';
import { Reconciler } from './reconcile.ts';
import { RefusalReport } from './refusals.ts';
import { Scores } from './scores.ts';
import { SyncLedger } from './sync-ledger.ts';
import { SYNC } from './sync-session.ts';
import type { Transport } from './transport.ts';
import type { ActivePeer, MeshEventSink, MeshLog, PeeringView, SyncReport } from './types.ts';
import { Wants } from './wants.ts';
import type { MeshWorld } from './world.ts';

export interface MeshDaemonComponents {
  readonly transport: Transport;
  /** The node's own services. */
  readonly node: {
    readonly inbound: InboundService;
    readonly sets: SetsService;
    readonly manifests: ManifestService;
    readonly writer: LocalWriter;
  };
  readonly peering: PeeringView;
  readonly world: MeshWorld;
  readonly events: MeshEventSink;
  readonly metrics: MeshMetrics | null;
  readonly log: MeshLog;
}

export interface MeshDaemonInit {
  readonly gate?: GateInit | undefined;
  /** CPU milliseconds of this process, for the budgets of sessions; absent: as the machine measures them. */
  readonly cpu?: (() => number) | undefined;
}

/**
 * The data plane of the mesh: carries statements between this node and its active peers. What is committed is announced by
 * gossip and push; what peers send goes through the node's door; reconciliation makes sure of the rest. Who is active, and
 * on what terms, is for the peering to say.
 */
export class MeshDaemon implements SyncReport {
  readonly scores: Scores;
  readonly #components: MeshDaemonComponents;
  readonly #gate: InboundGate;
  readonly #intake: Intake;
  readonly #outbox = new Outbox();
  readonly #publisher: GossipPublisher;
  readonly #gossip: GossipIntake;
  readonly #announcer: Announcer;
  readonly #receiver: PushReceiver;
  readonly #fetcher: Fetcher;
  readonly #fetchServer: FetchServer;
  readonly #wants: Wants;
  readonly #reconciler: Reconciler;
  readonly #ledger: SyncLedger;
  readonly #heads: HeadsWatch;
  readonly #refusals: RefusalReport;
  readonly #senders = new Map<string, { readonly sender: PushSender; readonly done: Promise<void> }>();
  /** When the failure of sessions with a peer was audited last, and which. */
  readonly #audited = new Map<string, { readonly code: string; readonly at: number }>();
  #endings: (() => void)[] = [];

  constructor(components: MeshDaemonComponents, init: MeshDaemonInit = {}) {
    const { transport, node, peering, world, metrics } = components;
    const { sets, manifests, inbound } = node;
    this.#components = components;
    const scores = new Scores({
      now: () => world.now(),
      onBan: (peerId, code, until) => this.#ban(peerId, code, until),
    });
    this.scores = scores;
    const offences = { refuse: (peerId: string, code: string): void => this.offended(peerId, code) };
    this.#refusals = new RefusalReport(world, (peerId, code, count) => {
      components.events.emit({ ...this.#about(peerId), type: 'statement.refused', code, count });
    });
    const gate = new InboundGate(world, init.gate);
    this.#gate = gate;
    this.#fetcher = new Fetcher({ transport, scores: offences, world });
    const intake = new Intake({
      inbound: { admit: (from, statements) => inbound.admit(from, statements) },
      peering,
      scores,
      world,
      learnManifest: (peerId, authority, signal) => this.#learnManifest(peerId, authority, signal),
      onOutcomes: (peerId, via, outcomes) => this.#count(peerId, via, outcomes),
    });
    this.#intake = intake;
    this.#gossip = new GossipIntake({
      ...{ intake, gate, peering, world },
      scores: { ...offences, score: (peerId) => scores.score(peerId) },
      onVerdict: (verdict, why) => metrics?.gossip(verdict, why),
      onGap: (peerId) => this.#reconciler.trigger(peerId, GOSSIP_GAP_MS),
    });
    this.#publisher = new GossipPublisher({
      gossip: transport.gossip,
      world,
      hasHeard: (digest) => this.#gossip.hasHeard(digest),
      onPublished: (statements) => metrics?.published(statements),
    });
    this.#wants = new Wants({ fetcher: this.#fetcher, intake, sets, peering, world });
    this.#fetchServer = new FetchServer({ sets, manifests, peering, gate, scores: offences, world });
    this.#ledger = new SyncLedger(world, MAX_SCORED_PEERS);
    this.#reconciler = new Reconciler({
      ...{ transport, sets, intake, gate, peering, world, scores: offences },
      cpu: init.cpu ?? (() => performance.now()),
      onFinished: (peerId, result, ms) => this.#synced(peerId, result, ms),
      onFailed: (peerId, code, ms) => this.#syncFailed(peerId, code, ms),
    });
    this.#heads = new HeadsWatch({ sets, peering, reconciler: this.#reconciler, ledger: this.#ledger, world });
    this.#announcer = new Announcer({
      sets,
      intake,
      publisher: this.#publisher,
      outbox: this.#outbox,
      world,
      onReconciled: () => this.#heads.soon(),
    });
    this.#receiver = new PushReceiver({
      ...{ intake, gate, scores: offences, peering },
      onHave: (peerId, digests) => this.#wants.offer(peerId, digests),
      onHeads: (peerId, heads) => this.#heads.compare(peerId, heads),
    });
  }

  /** A peer did what no honest one does, other than by what its statements say: counted, and held against it. */
  offended(peerId: string, code: string): void {
    this.#components.metrics?.offence(code);
    this.scores.refuse(peerId, code);
  }

  /** Attaches itself to the transport, which must not have started yet. */
  async start(): Promise<void> {
    const { transport, peering, node } = this.#components;
    const admits = (peerId: string): boolean => peering.admits(peerId);
    transport.gossip.setScorer(this.#gossip.score);
    transport.gossip.onMessage(this.#gossip.consume, this.#gossip.admits);
    await transport.handle(PUSH, this.#receiver.serve, admits);
    await transport.handle(FETCH, this.#fetchServer.serve, admits);
    await transport.handle(SYNC, this.#reconciler.serve, admits);
    this.#announcer.start();
    this.#endings = [
      peering.on({
        active: (peer) => this.#activate(peer),
        inactive: (peerId) => this.#deactivate(peerId),
        changed: ({ peerId }) => {
          this.#reconciler.changed(peerId);
          transport.recheck(peerId);
        },
      }),
      node.manifests.on(() => this.#reconciler.forgetRefused()),
    ];
    for (const peer of peering.active()) this.#activate(peer);
  }

  /** Ends everything that is under way, and waits for it. The transport is its owner's to stop, afterwards. */
  async stop(): Promise<void> {
    for (const end of this.#endings) end();
    this.#endings = [];
    this.#announcer.stop();
    this.#publisher.stop();
    this.#wants.stop();
    this.#receiver.stop();
    this.#refusals.stop();
    const senders = [...this.#senders.values()].map(({ done }) => done);
    for (const peerId of [...this.#senders.keys()]) this.#deactivate(peerId);
    await this.#reconciler.stop();
    await Promise.all(senders);
  }

  lag(peerId: string): PeerLag {
    return this.#ledger.lag(peerId);
  }

  lastSync(peerId: string): PeerView['lastSync'] {
    return this.#ledger.last(peerId);
  }

  refused(peerId: string): Readonly<Record<string, number>> {
    return this.scores.refused(peerId);
  }

  score(peerId: string): number {
    return this.scores.score(peerId);
  }

  received(peerId: string): number {
    return this.#ledger.received(peerId);
  }

  sync(peerId: string, signal?: AbortSignal): Promise<void> {
    return this.#reconciler.sync(peerId, signal);
  }

  figures(): ReturnType<SyncReport['figures']> {
    const { size, isReady } = this.#components.node.sets;
    let inFlight = 0;
    for (const { sender } of this.#senders.values()) inFlight += sender.inFlightBytes;
    return {
      sets: size,
      indexed: isReady,
      queues: {
        outbox_statements: this.#outbox.size,
        outbox_bytes: this.#outbox.bytes,
        push_in_flight_bytes: inFlight,
        gossip_waiting: this.#publisher.waiting,
        gossip_checks: this.#gossip.checks,
        offers_waiting: this.#wants.waiting,
        fetching: this.#wants.asked,
        sync_sessions: this.#reconciler.sessions,
        gate_waiting: this.#gate.waiting,
      },
      warnings: [],
    };
  }

  activePeers(): number {
    return this.#senders.size;
  }

  /** The worst of the active peers, each way. */
  worstLag(): PeerLag {
    const lags = [...this.#senders.keys()].map((peerId) => this.#ledger.lag(peerId));
    const worst = (read: (lag: PeerLag) => number | null): number | null => {
      const known = lags.map(read).filter((value) => value !== null);
      return known.length === 0 ? null : Math.max(...known);
    };
    return {
      outStatements: worst((lag) => lag.outStatements),
      inStatements: worst((lag) => lag.inStatements),
      outSeconds: worst((lag) => lag.outSeconds),
      inSeconds: worst((lag) => lag.inSeconds),
    };
  }

  #activate({ peerId }: ActivePeer): void {
    const { transport, peering, world, metrics } = this.#components;
    this.#deactivate(peerId);
    this.#ledger.begun(peerId);
    this.#reconciler.add(peerId);
    const sender = new PushSender(peerId, {
      ...{ transport, peering, world, outbox: this.#outbox },
      onGap: () => {
        metrics?.gap();
        this.#reconciler.trigger(peerId);
      },
      onPushed: (statements) => metrics?.pushed(statements),
      onCompared: (_, heads, result, theirs) => this.#heads.compared(peerId, heads, result, theirs),
      onViolation: (_, error) => {
        if (isPeersFault(error)) this.offended(peerId, error.code);
      },
    });
    this.#senders.set(peerId, { sender, done: sender.run() });
    this.#heads.add(peerId, sender);
    transport.recheck(peerId);
    // Both see each other at the same moment; one session is enough.
    this.#reconciler.trigger(peerId, ownSessionSurvives(transport.peerId, peerId) ? 0 : FIRST_SYNC_GRACE_MS);
  }

  #deactivate(peerId: string): void {
    this.#senders.get(peerId)?.sender.stop();
    this.#senders.delete(peerId);
    this.#heads.remove(peerId);
    this.#reconciler.remove(peerId);
    this.#components.transport.recheck(peerId);
  }

  async #learnManifest(peerId: string, authority: string, signal?: AbortSignal): Promise<boolean> {
    const { manifests } = this.#components.node;
    try {
      if (manifests.known(authority)) return true;
      const statement = await this.#fetcher.manifest(peerId, authority, signal);
      if (!statement) return false;
      await this.#intake.admitManifest(peerId, statement, signal);
      return manifests.known(authority) !== undefined;
    } catch {
      return false;
    }
  }

  #count(peerId: string, via: Via, outcomes: readonly InboundOutcome[]): void {
    const { metrics } = this.#components;
    const codes = new Map<string, number>();
    const counts = { accepted: 0, duplicate: 0, refused: 0 };
    for (const outcome of outcomes) {
      counts[outcome.status] += 1;
      if (outcome.status === 'refused') codes.set(outcome.code, (codes.get(outcome.code) ?? 0) + 1);
    }
    for (const [code, count] of codes) {
      metrics?.refused(code, count);
      this.#refusals.add(peerId, code, count);
    }
    if (!metrics) return;
    for (const status of ['accepted', 'duplicate', 'refused'] as const) {
      if (counts[status] > 0) metrics.admitted(via, status, counts[status]);
    }
  }

  #synced(peerId: string, result: SyncResult, ms: number): void {
    const { events, metrics, log } = this.#components;
    const { outcome, reason = outcome, counters, peerAtFault } = result;
    this.#ledger.finished(peerId, result, ms);
    metrics?.synced(reason, ms / 1000, counters.statementsOut, counters.accepted);
    log.debug(
      { event: 'sync', peer_id: peerId, reason, detail: result.detail, ms, ...counters },
      'a reconciliation ended',
    );
    if (outcome === 'converged') this.#heads.converged(peerId);
    if (outcome !== 'failed') {
      const { statementsOut: sent, accepted: received } = counters;
      events.emit({ ...this.#about(peerId), type: 'sync.finished', sent, received, ms });
      this.#audited.delete(peerId);
      return;
    }
    if (peerAtFault)
      this.offended(peerId, reason === 'diverged' || reason === 'withheld' ? 'sync_false' : 'sync_abuse');
    this.#tellFailure(peerId, reason, ms, result.detail);
  }

  #syncFailed(peerId: string, code: string, ms: number): void {
    this.#ledger.failed(peerId, code, ms);
    this.#components.metrics?.synced(code, ms / 1000, 0, 0);
    this.#tellFailure(peerId, code, ms);
  }

  /** Events every time; the log and the audit log now and then. */
  #tellFailure(peerId: string, code: string, ms: number, detail?: string): void {
    const { events, log, world, node } = this.#components;
    const about = this.#about(peerId);
    events.emit({ ...about, type: 'sync.failed', code, ms });
    const last = this.#audited.get(peerId);
    if (last && last.code === code && about.at - last.at < SYNC_AUDIT_MS) return;
    this.#audited.delete(peerId);
    this.#audited.set(peerId, { code, at: world.now() });
    if (this.#audited.size > MAX_SCORED_PEERS) {
      const oldest = this.#audited.keys().next();
      if (!oldest.done) this.#audited.delete(oldest.value);
    }
    log.info({ event: 'sync_failed', peer_id: peerId, code, detail }, 'a reconciliation did not succeed');
    this.#audit(node, 'sync_failed', peerId, { code });
  }

  #ban(peerId: string, code: string, until: number): void {
    const { peering, metrics, log, node } = this.#components;
    metrics?.penalised(code);
    log.warn({ event: 'peer_penalised', peer_id: peerId, code, until }, 'a peer sent too much that had to be refused');
    this.#audit(node, 'peer_penalised', peerId, { code, until: new Date(until).toISOString() });
    peering.ban(peerId, until);
  }

  #audit(
    { writer }: MeshDaemonComponents['node'],
    type: string,
    peerId: string,
    detail: Readonly<Record<string, string>>,
  ): void {
    const { org } = this.#about(peerId);
    const event = { type, who: SYSTEM, detail: { peer_id: peerId, ...(org === null ? {} : { org }), ...detail } };
    // A store that fails shows elsewhere; what happened stands in the log as well.
    writer.writeLocal(() => ({ ops: [], audit: [event], result: undefined })).catch(() => {});
  }

  #about(peerId: string): { readonly at: number; readonly peerId: string; readonly org: string | null } {
    const { peering, world } = this.#components;
    return { at: world.now(), peerId, org: peering.pairing(peerId)?.peerOrg ?? null };
  }
}

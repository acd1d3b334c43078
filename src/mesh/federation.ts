import { type FactScope, SCOPES, type Statement } from '../facts/index.ts';
import { NodeError } from '../node/errors.ts';
import type {
  CreateInvite,
  DiscoveredPeer,
  FederationService,
  InviteRecord,
  JoinOutcome,
  JoinRequest,
  KnownManifest,
  ManifestJson,
  MeshStatus,
  PeerLag,
  PeerPatch,
  PeerRecord,
  PeerState,
  PeerView,
} from '../node/federation.ts';
import { PEER_STATES } from '../node/federation.ts';
import type { InviteService, ManifestService, PeerService } from '../node/mesh-services.ts';
import { blankRecord } from '../node/peer-terms.ts';
import type { Principal } from '../policy/principal.ts';
import { setOf } from '../policy/sets.ts';
import { isShared, type PeerTerms } from '../policy/sharing.ts';
import { peerIdOf } from './addresses.ts';
import { FIRST_SYNC_MS, MAX_PARALLEL_SYNCS } from './control-limits.ts';
import type { Finder } from './finder.ts';
import type { Joining } from './join.ts';
import type { OwnManifest } from './own-manifest.ts';
import type { Peering } from './peering.ts';
import type { Stranger } from './strangers.ts';
import { UNKNOWN_LAG } from './sync-ledger.ts';
import { delay, elapsedClock } from './timers.ts';
import type { Connection, Transport } from './transport.ts';
import type { SyncReport } from './types.ts';
import type { MeshWorld } from './world.ts';

export interface FederationComponents {
  readonly transport: Transport;
  readonly peering: Peering;
  readonly joining: Joining;
  readonly finder: Finder;
  readonly ownManifest: OwnManifest;
  readonly peers: PeerService;
  readonly invites: InviteService;
  readonly manifests: ManifestService;
  /** What the data plane knows. */
  readonly sync: SyncReport;
  readonly world: MeshWorld;
  /** Multiaddrs we can be reached at. */
  readonly addrs: () => readonly string[];
}

/** What operators do with the mesh, over its parts: asks who they are, puts together what they see. */
export class Federation implements FederationService {
  readonly #components: FederationComponents;

  constructor(components: FederationComponents) {
    this.#components = components;
  }

  status(): MeshStatus {
    const { transport, peering, peers, sync, addrs } = this.#components;
    const counts = Object.fromEntries(PEER_STATES.map((state) => [state, 0])) as Record<PeerState, number>;
    for (const { state } of peers.list()) counts[state] += 1;
    const active = peering.active();
    // Who has only connected so far waits for a decision, too.
    counts.pending += peering.strangers.list().filter(({ peerId }) => peers.get(peerId) === undefined).length;
    return {
      enabled: true,
      peerId: transport.peerId,
      addrs: addrs(),
      peers: { ...counts, connected: active.length },
      lag: worst(active.map(({ peerId }) => sync.lag(peerId))),
      ...sync.figures(),
    };
  }

  reach(statement: Statement): number {
    const set = setOf(statement);
    return set === null ? 0 : this.#components.peering.active().filter(({ pairing }) => isShared(set, pairing)).length;
  }

  async peers(who: Principal): Promise<readonly PeerView[]> {
    requireFederate(who);
    const { peers, peering } = this.#components;
    const records = peers.list();
    const known = new Set(records.map(({ peerId }) => peerId));
    const strangers = peering.strangers.list().filter(({ peerId }) => !known.has(peerId));
    const connections = this.#connections();
    return [...records, ...strangers.map(strangerRecord)].map((record) => this.#view(record, connections));
  }

  async peer(who: Principal, peerId: string): Promise<PeerView> {
    requireFederate(who);
    return this.#view(this.#required(peerId));
  }

  async register(
    who: Principal,
    input: { peerId: string; addrs: readonly string[] } & PeerTerms & { expiresAt?: number | null },
  ): Promise<PeerView> {
    requireFederate(who);
    assertMayGive(who, input.gives);
    const { peers } = this.#components;
    const { peerId, addrs } = input;
    const known = peers.get(peerId);
    if (known?.approved) {
      throw new NodeError('peer_exists', 'the peer is declared already', 'change its terms with stigmesh peers set');
    }
    assertAddrs(peerId, addrs);
    return this.#view(await peers.approve(who, peerId, { ...termsOf(input), addrs, expiresAt: input.expiresAt }));
  }

  async approve(
    who: Principal,
    peerId: string,
    input: PeerTerms & { expiresAt?: number | null; orgKey?: string | null },
  ): Promise<PeerView> {
    requireFederate(who);
    assertMayGive(who, input.gives);
    const { peers } = this.#components;
    const { org, orgKey, approved, state } = this.#required(peerId);
    if (approved && state !== 'pending') {
      const hint = 'change its terms, or resume it: stigmesh peers set';
      throw new NodeError('peer_not_pending', `the peer is ${state} and waits for nobody`, hint);
    }
    if (input.orgKey != null && input.orgKey !== orgKey) {
      const hint = 'compare the fingerprint it shows now with its operator, by a way you trust';
      throw new NodeError(
        'fingerprint_mismatch',
        'the peer is of another organisation key than the one compared',
        hint,
      );
    }
    const identity = org !== null && orgKey !== null ? { org, orgKey } : undefined;
    const approval = { ...termsOf(input), expiresAt: input.expiresAt, identity };
    return this.#view(await peers.approve(who, peerId, approval));
  }

  async update(who: Principal, peerId: string, patch: PeerPatch): Promise<PeerView> {
    requireFederate(who);
    if (patch.addrs !== undefined) assertAddrs(peerId, patch.addrs);
    if (patch.gives !== undefined) {
      const given = this.#required(peerId).ours.gives;
      const added = patch.gives.filter((scope) => !given.includes(scope));
      assertMayGive(who, added);
    }
    return this.#view(await this.#components.peers.update(who, peerId, patch));
  }

  async remove(who: Principal, peerId: string): Promise<PeerView> {
    requireFederate(who);
    return this.#view(await this.#components.peers.remove(who, peerId));
  }

  async createInvite(who: Principal, input: CreateInvite): Promise<{ invite: string; record: InviteRecord }> {
    requireFederate(who);
    assertMayGive(who, input.gives);
    return this.#components.joining.create(who, input);
  }

  async invites(who: Principal): Promise<readonly InviteRecord[]> {
    requireFederate(who);
    return this.#components.invites.list();
  }

  async revokeInvite(who: Principal, id: string): Promise<void> {
    requireFederate(who);
    await this.#components.invites.revoke(who, id);
  }

  async join(who: Principal, request: JoinRequest): Promise<JoinOutcome> {
    requireFederate(who);
    assertMayGive(who, request.gives);
    const { joining, sync, world } = this.#components;
    const { peerId } = await joining.join(who, request);
    const elapsed = elapsedClock(() => world.now());
    const enough = new AbortController();
    const first = sync.sync(peerId, enough.signal).then(
      () => true,
      // It is tried again by itself; that the peer was joined stands.
      () => false,
    );
    const isDone = await Promise.race([first, delay(world, FIRST_SYNC_MS, enough.signal).then(() => false)]);
    enough.abort();
    // The session that began with the connection may have brought it all before there was anything to wait for.
    const firstSync = isDone ? { received: sync.received(peerId), ms: elapsed() } : null;
    return { peer: this.#view(this.#required(peerId)), firstSync };
  }

  async discover(who: Principal, org: string | null): Promise<readonly DiscoveredPeer[]> {
    requireFederate(who);
    return this.#components.finder.discover(org);
  }

  async sync(who: Principal, peerId: string | null): Promise<readonly PeerView[]> {
    requireFederate(who);
    const { peering, sync } = this.#components;
    if (peerId !== null) {
      const { state } = this.#required(peerId);
      if (!peering.admits(peerId)) {
        const hint = 'look at stigmesh peers; it is dialled again by itself while it is declared';
        throw new NodeError('peer_unreachable', `the peer is ${state} and not connected`, hint);
      }
      await sync.sync(peerId);
      return [this.#view(this.#required(peerId))];
    }
    const ids = peering.active().map((peer) => peer.peerId);
    const waiting = ids.values();
    const worker = async (): Promise<void> => {
      // What became of each is in its view.
      for (const id of waiting) await sync.sync(id).catch(() => {});
    };
    await Promise.all(Array.from({ length: MAX_PARALLEL_SYNCS }, worker));
    const connections = this.#connections();
    return ids.flatMap((id) => {
      const record = this.#components.peers.get(id);
      return record ? [this.#view(record, connections)] : [];
    });
  }

  async manifests(who: Principal): Promise<readonly KnownManifest[]> {
    requireFederate(who);
    return this.#components.manifests.list();
  }

  async manifest(authority: string): Promise<KnownManifest> {
    return this.#components.manifests.require(authority);
  }

  async importManifest(who: Principal, manifest: ManifestJson): Promise<KnownManifest> {
    requireAdmin(who);
    return this.#components.ownManifest.adopt(who, manifest);
  }

  async rotateOrgKey(who: Principal): Promise<KnownManifest> {
    requireAdmin(who);
    return this.#components.ownManifest.rotate(who);
  }

  async addNode(
    who: Principal,
    input: { peerId: string; namespaces?: readonly string[] | undefined },
  ): Promise<KnownManifest> {
    requireAdmin(who);
    return this.#components.ownManifest.addNode(who, input);
  }

  async revokeNode(who: Principal, { peerId }: { peerId: string }): Promise<KnownManifest> {
    requireAdmin(who);
    return this.#components.ownManifest.revokeNode(who, peerId);
  }

  async forgetNode(who: Principal, { peerId }: { peerId: string }): Promise<KnownManifest> {
    requireAdmin(who);
    return this.#components.ownManifest.forgetNode(who, peerId);
  }

  /** @throws NodeError `peer_not_found` */
  #required(peerId: string): PeerRecord {
    const { peers, peering } = this.#components;
    const stranger = peers.get(peerId) === undefined ? peering.strangers.get(peerId) : undefined;
    return stranger ? strangerRecord(stranger) : peers.require(peerId);
  }

  /** By peer: to look for each of a thousand peers among as many connections takes a twentieth of a second. */
  #connections(): ReadonlyMap<string, Connection> {
    // Of several connections of one peer the first counts, as where there is one peer to look for.
    const connections = this.#components.transport.connections();
    return new Map(connections.toReversed().map((connection) => [connection.peerId, connection]));
  }

  #view(record: PeerRecord, connections = this.#connections()): PeerView {
    const { transport, peering, sync, world } = this.#components;
    const { peerId } = record;
    const connection = connections.get(peerId);
    const connected = peering.admits(peerId);
    return {
      ...record,
      // On record is when it came, or when it went last.
      lastSeenAt: connected ? world.now() : record.lastSeenAt,
      connected,
      remoteAddr: connection?.remoteAddr ?? null,
      roundTripMs: connection ? transport.roundTrip(peerId) : null,
      // Nobody knows what was written since it went.
      lag: connected ? sync.lag(peerId) : UNKNOWN_LAG,
      lastSync: sync.lastSync(peerId),
      refused: sync.refused(peerId),
      score: sync.score(peerId),
    };
  }
}

function termsOf({ gives, takes, namespaces }: PeerTerms): PeerTerms {
  return { gives, takes, namespaces };
}

/** Somebody who connected and said nothing yet, as a record would have it. */
function strangerRecord({ peerId, firstSeenAt, lastSeenAt }: Stranger): PeerRecord {
  return { ...blankRecord(peerId, 'unknown', firstSeenAt), lastSeenAt };
}

/** @throws NodeError `invalid_address` */
function assertAddrs(peerId: string, addrs: readonly string[]): void {
  for (const addr of addrs) {
    const named = peerIdOf(addr);
    if (named === null || named === peerId) continue;
    const what = named === undefined ? 'not an address this mesh dials' : 'the address of another peer';
    throw new NodeError('invalid_address', `${what}: ${addr.slice(0, 100)}`, 'for example /ip4/192.0.2.1/tcp/4701');
  }
}

/** The largest of each number that is known. */
function worst(lags: readonly PeerLag[]): PeerLag {
  const most = (of: (lag: PeerLag) => number | null): number | null => {
    const known = lags.map(of).filter((value) => value !== null);
    return known.length === 0 ? null : Math.max(...known);
  };
  return {
    outStatements: most((lag) => lag.outStatements),
    inStatements: most((lag) => lag.inStatements),
    outSeconds: most((lag) => lag.outSeconds),
    inSeconds: most((lag) => lag.inSeconds),
  };
}

function requireFederate(who: Principal): void {
  if (who.permissions.has('federate') || who.permissions.has('admin')) return;
  const hint = "use a key with permission 'federate' or 'admin'";
  throw new NodeError('permission_denied', 'federate permission required', hint);
}

/**
 * Nobody shares what it may not read: else a key of few scopes would pair a daemon of its own and have the rest from there.
 * Admins make keys of any scope anyway.
 */
function assertMayGive({ permissions, scopes }: Principal, gives: readonly FactScope[]): void {
  const beyond = gives.find((scope) => scope !== 'local' && SCOPES.includes(scope) && !scopes.has(scope));
  if (beyond === undefined || permissions.has('admin')) return;
  throw new NodeError('scope_denied', `this key may not give scope '${beyond}'`, 'use a key whose scopes include it');
}

function requireAdmin(who: Principal): void {
  if (who.permissions.has('admin')) return;
  throw new NodeError('permission_denied', 'admin permission required', "use a key with permission 'admin'");
}

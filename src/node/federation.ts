import type { FactScope, Statement } from '../facts/index.ts';
import type { Principal } from '../policy/principal.ts';
import type { StatementSet } from '../policy/sets.ts';
import type { Pairing, PeerTerms } from '../policy/sharing.ts';

/** What the node and the mesh tell each other, and what the API asks of both. The mesh implements {@link FederationService}. */

/**
 * `pending`: seen, or declared by one side only; nothing flows. `active`: both sides declared. `suspended`: by our
 * operator, reversible. `expired`: a declaration ran out. `revoked`: removed, or its key was revoked; never by itself again.
 */
export const PEER_STATES = ['pending', 'active', 'suspended', 'expired', 'revoked'] as const;
export type PeerState = (typeof PEER_STATES)[number];

/** Which way a peer came to be known. */
export const PEER_ORIGINS = ['invite', 'approval', 'org', 'unknown'] as const;

/** One peer as the store keeps it. */
export interface PeerRecord {
  readonly peerId: string;
  /** Authority it declared; null while it is only known by its connection. */
  readonly org: string | null;
  /** Key of its organisation (32 bytes, base64url) as pinned at pairing; null before. */
  readonly orgKey: string | null;
  readonly addrs: readonly string[];
  readonly state: PeerState;
  readonly via: (typeof PEER_ORIGINS)[number];
  /** What our operator decided. */
  readonly ours: PeerTerms;
  /** Unix ms at which what our operator decided ends; null: never. */
  readonly expiresAt: number | null;
  /** Whether our operator (or an invite of ours) approved it. */
  readonly approved: boolean;
  readonly suspended: boolean;
  /** Who ended it: our operator by removing it, or its organisation by revoking its key; null while nobody did. */
  readonly revokedBy: 'operator' | 'manifest' | null;
  /** What they declared last; null before. */
  readonly theirs: (PeerTerms & { readonly signedAt: number; readonly expiresAt: number | null }) | null;
  /** Unix ms. */
  readonly createdAt: number;
  readonly changedAt: number;
  readonly lastSeenAt: number | null;
}

/** An invite we issued. The secret itself is not kept. */
export interface InviteRecord {
  /** 16 hex digits. */
  readonly id: string;
  /** Of the secret, as src/identity/proof.ts makes it; hex. */
  readonly secretHash: string;
  readonly terms: PeerTerms;
  readonly createdAt: number;
  readonly expiresAt: number;
  readonly createdBy: string;
  /** Who used it, and when. */
  readonly usedBy: string | null;
  readonly usedAt: number | null;
  readonly revokedAt: number | null;
}

/** Signed bytes on their way in or out. */
export interface WireStatement {
  readonly bytes: Uint8Array;
  readonly sig: Uint8Array;
}

export type InboundOutcome =
  | { readonly status: 'accepted' | 'duplicate'; readonly digest: Uint8Array }
  /** `retryable`: may be accepted later as it is (its clock, our quota, a manifest we lack). */
  | {
      readonly status: 'refused';
      readonly digest: Uint8Array | null;
      readonly code: string;
      readonly retryable: boolean;
    };

/** One live reconciliation index over a set; src/sync has the class. */
export interface NodeSet<Index> {
  readonly set: StatementSet;
  readonly index: Index;
}

/** How far behind they are in what we share (`out`), and we in what they share (`in`); null: not known. */
export interface PeerLag {
  readonly outStatements: number | null;
  readonly inStatements: number | null;
  readonly outSeconds: number | null;
  readonly inSeconds: number | null;
}

export interface PeerView extends PeerRecord {
  readonly connected: boolean;
  readonly remoteAddr: string | null;
  readonly roundTripMs: number | null;
  readonly lag: PeerLag;
  readonly lastSync: {
    readonly at: number;
    readonly result: string;
    readonly sent: number;
    readonly received: number;
    readonly ms: number;
  } | null;
  readonly refused: Readonly<Record<string, number>>;
  readonly score: number;
}

export interface CreateInvite {
  readonly gives: readonly FactScope[];
  readonly takes: readonly FactScope[];
  readonly namespaces?: readonly string[] | null | undefined;
  /** Seconds. */
  readonly expiresIn: number;
  /** Addresses to put into the invite instead of the ones we listen on. */
  readonly addrs?: readonly string[] | undefined;
}

export interface JoinRequest {
  readonly invite: string;
  readonly gives: readonly FactScope[];
  readonly takes: readonly FactScope[];
  readonly namespaces?: readonly string[] | null | undefined;
  /** Addresses of this machine or its private network are dialled only with this. */
  readonly allowPrivate: boolean;
}

export interface JoinOutcome {
  readonly peer: PeerView;
  /** Statements received by the first sync, and how long it took (ms); null when it was not done yet. */
  readonly firstSync: { readonly received: number; readonly ms: number } | null;
}

export interface PeerPatch {
  readonly gives?: readonly FactScope[] | undefined;
  readonly takes?: readonly FactScope[] | undefined;
  readonly namespaces?: readonly string[] | null | undefined;
  readonly addrs?: readonly string[] | undefined;
  /** Unix ms; null: never. */
  readonly expiresAt?: number | null | undefined;
  readonly suspended?: boolean | undefined;
}

/** A signed org manifest as it travels: canonical JSON with its signature (src/identity/manifest.ts). */
export type ManifestJson = Readonly<Record<string, unknown>>;

export interface KnownManifest {
  readonly authority: string;
  readonly fingerprint: string;
  readonly version: number;
  /** `own`, `pinned` at a pairing, or only `seen` on its statements. */
  readonly standing: 'own' | 'pinned' | 'seen';
  readonly expired: boolean;
  readonly manifest: ManifestJson;
}

export interface DiscoveredPeer {
  readonly peerId: string;
  readonly org: string | null;
  readonly fingerprint: string | null;
  readonly addrs: readonly string[];
  readonly via: 'bootstrap' | 'mdns' | 'dht' | 'declared';
}

export interface MeshStatus {
  readonly enabled: boolean;
  readonly peerId: string;
  readonly addrs: readonly string[];
  readonly peers: Readonly<Record<PeerState, number>> & { readonly connected: number };
  /** The worst of the active peers, each way. */
  readonly lag: PeerLag;
  readonly sets: number;
  /** Whether the reconciliation indexes are loaded. */
  readonly indexed: boolean;
  readonly queues: Readonly<Record<string, number>>;
  readonly warnings: readonly string[];
}

/** What happens on the mesh, as operators follow it. `at` is Unix ms. None of it is kept: who was not listening missed it. */
export type MeshEvent = { readonly at: number; readonly peerId: string; readonly org: string | null } & (
  | { readonly type: 'peer.connected'; readonly remoteAddr: string }
  | { readonly type: 'peer.disconnected' }
  /** Declared, approved, suspended, expired, removed, or on other terms. */
  | { readonly type: 'peer.changed'; readonly state: PeerState }
  | { readonly type: 'sync.finished'; readonly sent: number; readonly received: number; readonly ms: number }
  | { readonly type: 'sync.failed'; readonly code: string; readonly ms: number }
  /** In aggregate: `count` statements for one reason since the last event of that reason. */
  | { readonly type: 'statement.refused'; readonly code: string; readonly count: number }
);

/** What the mesh implements so that event streams can follow it. Listeners must not throw, and take no time. */
export interface MeshEventSource {
  /** @returns the way to end it */
  on(listener: (event: MeshEvent) => void): () => void;
}

/**
 * Audit types of the mesh: what `/v1/federation/audit` shows. An entry about one peer has its id in `detail.peer_id`,
 * one about an organisation has its authority in `detail.org`.
 */
export const FEDERATION_AUDIT_TYPES = [
  'peer_pending',
  'peer_declared',
  'peer_approved',
  'peer_changed',
  'peer_suspended',
  'peer_expired',
  'peer_removed',
  'peer_penalised',
  'invite_created',
  'invite_used',
  'invite_refused',
  'invite_revoked',
  'manifest_published',
  'manifest_learned',
  'manifest_refused',
  'statement_refused',
  'sync_failed',
] as const;

/** What operators do with the mesh. Every call checks permissions (`federate` or `admin`), every change is audited. */
export interface FederationService {
  status(): MeshStatus;
  /** How many connected peers may hold a statement, and so are told of it at once. */
  reach(statement: Statement): number;
  peers(who: Principal): Promise<readonly PeerView[]>;
  /** By peer id. @throws NodeError `peer_not_found` */
  peer(who: Principal, peerId: string): Promise<PeerView>;
  /** Declares a peer by address without an invite; it becomes active once they approved us, too. */
  register(
    who: Principal,
    input: { peerId: string; addrs: readonly string[] } & PeerTerms & { expiresAt?: number | null },
  ): Promise<PeerView>;
  /**
   * @param input.orgKey key of the organisation (as in {@link PeerRecord}) that the operator compared: a peer that says to
   *   be of another by now is not approved
   * @throws NodeError `fingerprint_mismatch`
   */
  approve(
    who: Principal,
    peerId: string,
    input: PeerTerms & { expiresAt?: number | null; orgKey?: string | null },
  ): Promise<PeerView>;
  update(who: Principal, peerId: string, patch: PeerPatch): Promise<PeerView>;
  /** Cuts it off for good: revoked, disconnected, refused from now on. */
  remove(who: Principal, peerId: string): Promise<PeerView>;
  createInvite(
    who: Principal,
    input: CreateInvite,
  ): Promise<{ readonly invite: string; readonly record: InviteRecord }>;
  invites(who: Principal): Promise<readonly InviteRecord[]>;
  revokeInvite(who: Principal, id: string): Promise<void>;
  join(who: Principal, input: JoinRequest): Promise<JoinOutcome>;
  discover(who: Principal, org: string | null): Promise<readonly DiscoveredPeer[]>;
  /** Starts a reconciliation with one peer, or all; resolves when it ended. */
  sync(who: Principal, peerId: string | null): Promise<readonly PeerView[]>;
  manifests(who: Principal): Promise<readonly KnownManifest[]>;
  manifest(authority: string): Promise<KnownManifest>;
  /** Takes over a manifest signed elsewhere with the org key (a second daemon of the org). */
  importManifest(who: Principal, manifest: ManifestJson): Promise<KnownManifest>;
  /** New org key, signed over by the old one. @returns the new manifest */
  rotateOrgKey(who: Principal): Promise<KnownManifest>;
  /** Adds a node key to the org, or revokes one from a moment on. */
  addNode(
    who: Principal,
    input: { peerId: string; namespaces?: readonly string[] | undefined },
  ): Promise<KnownManifest>;
  revokeNode(who: Principal, input: { peerId: string }): Promise<KnownManifest>;
  /** Takes a node that was revoked off the list. */
  forgetNode(who: Principal, input: { peerId: string }): Promise<KnownManifest>;
}

export type { Pairing };

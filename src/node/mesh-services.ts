import type { Hlc } from '../facts/hlc.ts';
import type { Digest } from '../facts/index.ts';
import type { Principal } from '../policy/principal.ts';
import type { SetAudience, StatementSet } from '../policy/sets.ts';
import type { Pairing, PeerTerms } from '../policy/sharing.ts';
import type { SetIndex } from '../sync/set-index.ts';
import type {
  InboundOutcome,
  InviteRecord,
  KnownManifest,
  ManifestJson,
  NodeSet,
  PeerPatch,
  PeerRecord,
  WireStatement,
} from './federation.ts';

/**
 * What the node offers to the mesh: `node.peers`, `node.invites`, `node.manifests`, `node.sets`, `node.inbound`. Everything
 * that changes is durable and audited when its promise resolves; look-ups are in memory and answer at once.
 */

/** Who a peer proved to be, as its declaration and manifest said. The mesh has checked both before it tells. */
export interface PeerIdentity {
  /** Authority of its organisation. */
  readonly org: string;
  /** 32 bytes, base64url: the key its manifest is signed with. */
  readonly orgKey: string;
}

/** What a peer declared to us. */
export interface PeerDeclared extends PeerIdentity {
  readonly addrs: readonly string[];
  readonly terms: PeerTerms;
  /** Unix ms. */
  readonly signedAt: number;
  /** Unix ms; null: never. */
  readonly expiresAt: number | null;
}

export interface PeerChange {
  readonly peer: PeerRecord;
  /** Undefined for a peer nobody knew. */
  readonly before: PeerRecord | undefined;
}

/** Listeners are told once a change is durable and in memory. They must not throw, and take no time. */
export interface PeerListener {
  readonly changed: (change: PeerChange) => void;
  /** A pending peer nobody decided about made room for another. */
  readonly dropped?: (peerId: string) => void;
}

/** Who our operator, or an invite of ours, decided what about. */
export interface PeerService {
  /** Every peer on record, revoked and pending ones included; by time of creation. */
  list(): readonly PeerRecord[];
  get(peerId: string): PeerRecord | undefined;
  /** @throws NodeError `peer_not_found` */
  require(peerId: string): PeerRecord;
  /** What is shared with a peer; undefined unless its state is `active`. */
  pairing(peerId: string): Pairing | undefined;
  /** Whether peers of this organisation are active, or it is our own. */
  isPaired(org: string): boolean;
  on(listener: PeerListener): () => void;

  /**
   * Notes an unknown peer that declared itself without being expected: pending. Of one on record only `lastSeenAt` moves
   * (and, while it is pending, what it says about itself). At most 256 are pending; the oldest makes room.
   */
  noteUnknown(peerId: string, declared: PeerDeclared): Promise<PeerRecord>;
  /**
   * Records what an approved peer declared, once the mesh has verified it: it becomes (or stays) `active`. The organisation
   * of a peer never changes; its key only by what {@link ManifestService.accept} takes. Saying the same again writes nothing.
   *
   * @throws NodeError `peer_not_found`, `peer_revoked`, `peer_refused` (another organisation than the one on record)
   */
  declared(peerId: string, declared: PeerDeclared): Promise<PeerRecord>;
  /** A daemon of our own organisation, listed in our manifest: approved without ceremony, all scopes but `local`. */
  admitSibling(peerId: string, declared: PeerDeclared): Promise<PeerRecord>;
  /** Remembers the moment in memory; written now and then. */
  seen(peerId: string): void;

  /**
   * Our operator declares a peer: by approving a pending one, or by naming one nobody has seen yet. Also the way back for
   * one that was removed.
   *
   * @throws NodeError `permission_denied`, `invalid_peer_id`, `peer_is_self`, `invalid_terms`, `invalid_address`,
   *   `limit_reached`
   */
  approve(
    who: Principal,
    peerId: string,
    input: PeerTerms & {
      readonly addrs?: readonly string[] | undefined;
      readonly expiresAt?: number | null | undefined;
      /** As an invite or the operator named it; compared with what the peer declares. */
      readonly identity?: PeerIdentity | undefined;
      readonly via?: PeerRecord['via'] | undefined;
    },
  ): Promise<PeerRecord>;
  /** @throws NodeError as approve, `peer_not_found`, `peer_revoked` */
  update(who: Principal, peerId: string, patch: PeerPatch): Promise<PeerRecord>;
  /** Revoked: its connection has to be closed, what it signs is refused from now on, what it said before stays. */
  remove(who: Principal, peerId: string): Promise<PeerRecord>;
}

/** Invites of ours. Of a secret only the hash is kept. */
export interface InviteService {
  /** Newest first. */
  list(): readonly InviteRecord[];
  get(id: string): InviteRecord | undefined;
  /**
   * @param input.expiresIn seconds
   * @returns the record, and the secret (16 bytes) that is shown once and then forgotten
   * @throws NodeError `permission_denied`, `invalid_terms`, `limit_reached`
   */
  create(
    who: Principal,
    input: PeerTerms & { readonly expiresIn: number },
  ): Promise<{ readonly record: InviteRecord; readonly secret: Uint8Array }>;
  /** @throws NodeError `permission_denied`, `invite_not_found`, `invite_spent`, `invite_revoked` */
  revoke(who: Principal, id: string): Promise<void>;
  /**
   * Spends an invite and makes its bearer an active peer on the invite's terms, both in one write: an invite can be spent
   * once, whatever happens at the same time. The same peer may come again with it as long as it is not removed. Refusals
   * are audited.
   *
   * @param proves whether the joiner's proof fits the record (`secretHash`); called in the writer's turn, must be quick
   * @throws NodeError `invite_not_found`, `invite_refused` (proof), `invite_spent`, `invite_expired`, `invite_revoked`,
   *   `peer_revoked`, `limit_reached`
   */
  redeem(
    id: string,
    peerId: string,
    declared: PeerDeclared,
    proves: (record: InviteRecord) => boolean,
  ): Promise<PeerRecord>;
}

/** Manifests of organisations: our own, those pinned at a pairing, those seen on the way. */
export interface ManifestService {
  /** Our organisation's; undefined before the first was published or imported. */
  readonly own: ManifestJson | undefined;
  list(): readonly KnownManifest[];
  /** The newest known manifest of an organisation. */
  known(authority: string): KnownManifest | undefined;
  /** @throws NodeError `manifest_not_found` */
  require(authority: string): KnownManifest;
  /**
   * Takes over a manifest that a peer showed (or the operator imported), after checking form, signature, version and chain
   * of keys against the one known. The same or an older one of the same chain changes nothing.
   *
   * @param options.pin the organisation is (being) paired: its key is pinned, a change needs a chain from it
   * @param options.from the peer that showed it; no peer says who our own organisation is
   * @param options.replace the operator compared the new key by another way: it takes the place of the known one without a
   *   chain. What nodes signed that only the old manifest listed counts no more.
   * @returns what is known afterwards
   * @throws NodeError `manifest_invalid`, `manifest_equivocation`, `rotation_unproven`; audited and warned of in status
   */
  accept(
    who: Principal,
    manifest: ManifestJson,
    options: { readonly pin: boolean; readonly from?: string | undefined; readonly replace?: boolean | undefined },
  ): Promise<KnownManifest>;
  /**
   * Publishes a manifest of our own organisation that was signed here with the org key (first one, new node, revoked node,
   * rotated key, renewal): checked as every other, made a statement of this node, shared with everybody who may hold it.
   *
   * @throws NodeError `manifest_invalid`, `manifest_stale`, `manifest_equivocation`, `rotation_unproven`, `node_not_listed`
   */
  publish(who: Principal, manifest: ManifestJson): Promise<KnownManifest>;
  /** The signed statement that carries the newest known manifest of an organisation, to answer a fetch with. */
  statement(authority: string): Promise<WireStatement | undefined>;
  /** Told when a manifest became the newest known of its organisation. */
  on(listener: (manifest: KnownManifest) => void): () => void;
}

/** The one way in for statements of peers. */
export interface InboundService {
  /**
   * Checks statements and commits those that pass, in one turn of the writer; durable when it resolves. One outcome a
   * statement, in the order given. Signatures are checked off the event loop.
   *
   * @param from the peer that sent them and what is shared with it; with `only`, sets of another audience count as not
   *   shared: gossip carries public statements alone
   * @param from.now what is shared with it by the time of the writer's turn, where the terms may have changed since; what is
   *   no longer shared is refused then; undefined: the peer is not active any more, and nothing is taken (`peer_refused`)
   * @throws NodeError `busy` (come again), `stopping`; StoreError. Never because of what a peer sent.
   */
  admit(
    from: {
      readonly peerId: string;
      readonly pairing: Pairing;
      readonly only?: SetAudience | undefined;
      readonly now?: (() => Pairing | undefined) | undefined;
    },
    statements: readonly WireStatement[],
  ): Promise<InboundOutcome[]>;
  /** Statements refused since the start, by peer and code; of the peers refused last. */
  refused(peerId: string): Readonly<Record<string, number>>;
}

/** One durable statement that belongs to a set, as it is committed; with its bytes, so that nobody has to read it again. */
export interface SetCommit extends WireStatement {
  readonly set: StatementSet;
  readonly hlc: Hlc;
  readonly digest: Digest;
  /** Peer id it came from (`import` for an import); null when it was written here. */
  readonly receivedFrom: string | null;
}

/** The partition of the log that peers reconcile: one index a set. */
export interface SetsService {
  /** Resolves once every index is loaded. Before, indexes lack older statements: no session may start. */
  readonly ready: Promise<void>;
  readonly isReady: boolean;
  /** Sets there are. */
  readonly size: number;
  get(name: string): NodeSet<SetIndex> | undefined;
  /** The sets both sides of a pairing may hold, in the order of the bytes of their names. Sets that come later are told by {@link on}. */
  list(pairing: Pairing): NodeSet<SetIndex>[];
  /**
   * The statements with these digests, for sending; undefined where there is none, where it belongs to no set, and where
   * the pairing does not share it: all three are one answer, at the same cost.
   */
  read(pairing: Pairing, digests: readonly Digest[]): Promise<(WireStatement | undefined)[]>;
  /** Told of the statements of every commit that belong to sets, once durable and indexed. */
  on(listener: (commits: readonly SetCommit[]) => void): () => void;
}

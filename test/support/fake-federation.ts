import { createHash, generateKeyPairSync, type KeyObject, randomBytes } from 'node:crypto';
import type { Statement } from '../../src/facts/index.ts';
import type { SharedScope } from '../../src/identity/declaration.ts';
import {
  createManifest,
  decodeInvite,
  encodeInvite,
  fingerprint,
  type OrgManifest,
  peerIdFromPublicKey,
  rawPublicKey,
  verifyManifest,
  withNode,
  withoutNode,
  withoutRevokedNode,
  withRotation,
} from '../../src/identity/index.ts';
import { NodeError } from '../../src/node/errors.ts';
import type {
  CreateInvite,
  DiscoveredPeer,
  FederationService,
  InviteRecord,
  JoinOutcome,
  JoinRequest,
  KnownManifest,
  ManifestJson,
  MeshEvent,
  MeshEventSource,
  MeshStatus,
  PeerPatch,
  PeerState,
  PeerView,
} from '../../src/node/federation.ts';
import type { Principal } from '../../src/policy/principal.ts';
import type { PeerTerms } from '../../src/policy/sharing.ts';

/** A key that is made for a test. */
export interface TestKey {
  readonly key: KeyObject;
  readonly raw: Uint8Array;
  readonly text: string;
  readonly peerId: string;
  readonly fingerprint: string;
}

export function testKey(): TestKey {
  const { privateKey: key } = generateKeyPairSync('ed25519');
  const raw = rawPublicKey(key);
  const text = Buffer.from(raw).toString('base64url');
  return { key, raw, text, peerId: peerIdFromPublicKey(raw), fingerprint: fingerprint(raw) };
}

const NO_LAG = { outStatements: null, inStatements: null, outSeconds: null, inSeconds: null };

/** A peer nobody has decided about, with what a test cares about. */
export function peerView(more: Partial<PeerView> & { readonly peerId: string }): PeerView {
  return {
    org: null,
    orgKey: null,
    addrs: [],
    state: 'pending',
    via: 'unknown',
    ours: { gives: [], takes: [], namespaces: null },
    expiresAt: null,
    approved: false,
    suspended: false,
    revokedBy: null,
    theirs: null,
    createdAt: Date.UTC(2026, 10, 21),
    changedAt: Date.UTC(2026, 10, 21),
    lastSeenAt: null,
    connected: false,
    remoteAddr: null,
    roundTripMs: null,
    lag: NO_LAG,
    lastSync: null,
    refused: {},
    score: 0,
    ...more,
  };
}

/** A mesh in memory that keeps the rules an operator meets, without a network: for tests of the API and of the commands. */
export class FakeFederation implements FederationService, MeshEventSource {
  readonly node = testKey();
  orgKey = testKey();
  readonly org: string;
  readonly now: () => number;
  readonly records = new Map<string, PeerView>();
  readonly issued = new Map<string, { record: InviteRecord; text: string }>();
  readonly known = new Map<string, KnownManifest>();
  found: readonly DiscoveredPeer[] = [];
  addrs: readonly string[] = ['/ip4/192.0.2.10/tcp/4701'];
  warnings: readonly string[] = [];
  /** What dialling a peer comes to; a test may let it fail. */
  dial: (peerId: string) => Promise<void> = async () => {};
  /** What a reconciliation comes to. */
  reconcile: (peerId: string) => Promise<{ sent: number; received: number }> = async () => ({ sent: 0, received: 0 });
  readonly #listeners = new Set<(event: MeshEvent) => void>();
  #manifest: OrgManifest;

  constructor(org = 'acme.example', now: () => number = Date.now) {
    this.org = org;
    this.now = now;
    this.#manifest = createManifest({ authority: org, peerId: this.node.peerId }, this.#signing());
  }

  #signing() {
    return { orgKey: this.orgKey.key, now: this.now() };
  }

  get followers(): number {
    return this.#listeners.size;
  }

  on(listener: (event: MeshEvent) => void): () => void {
    this.#listeners.add(listener);
    return () => this.#listeners.delete(listener);
  }

  emit(event: MeshEvent): void {
    for (const listener of this.#listeners) listener(event);
  }

  /** Puts a peer on record as it is. */
  put(more: Partial<PeerView> & { readonly peerId: string }): PeerView {
    const peer = peerView(more);
    this.records.set(peer.peerId, peer);
    return peer;
  }

  status(): MeshStatus {
    const count = (state: PeerState) => [...this.records.values()].filter((peer) => peer.state === state).length;
    return {
      enabled: true,
      peerId: this.node.peerId,
      addrs: this.addrs.map((addr) => `${addr}/p2p/${this.node.peerId}`),
      peers: {
        pending: count('pending'),
        active: count('active'),
        suspended: count('suspended'),
        expired: count('expired'),
        revoked: count('revoked'),
        connected: [...this.records.values()].filter(({ connected }) => connected).length,
      },
      lag: NO_LAG,
      sets: 3,
      indexed: true,
      queues: { push: 0 },
      warnings: this.warnings,
    };
  }

  reach(statement: Statement): number {
    const to = [...this.records.values()].filter(({ ours }) => ours.gives.includes(statement.audience));
    return to.filter(({ connected }) => connected).length;
  }

  async peers(who: Principal): Promise<readonly PeerView[]> {
    permit(who);
    return [...this.records.values()];
  }

  async peer(who: Principal, peerId: string): Promise<PeerView> {
    permit(who);
    return this.#peer(peerId);
  }

  async register(
    who: Principal,
    input: { peerId: string; addrs: readonly string[] } & PeerTerms & { expiresAt?: number | null },
  ): Promise<PeerView> {
    permit(who);
    const known = this.records.get(input.peerId);
    if (known !== undefined) {
      throw new NodeError('peer_exists', `peer already registered (status=${known.state})`, 'change it with PATCH');
    }
    if (input.peerId === this.node.peerId) {
      throw new NodeError('peer_is_self', 'that is this daemon', 'name another one');
    }
    const { peerId, addrs, expiresAt = null, ...ours } = input;
    return this.put({ peerId, addrs, ours, expiresAt, via: 'approval', approved: true });
  }

  async approve(
    who: Principal,
    peerId: string,
    input: PeerTerms & { expiresAt?: number | null; orgKey?: string | null },
  ): Promise<PeerView> {
    permit(who);
    const peer = this.#peer(peerId);
    if (input.orgKey !== undefined && input.orgKey !== peer.orgKey) {
      throw new NodeError('fingerprint_mismatch', 'fingerprint mismatch', 'compare again');
    }
    const { expiresAt = null, orgKey: _compared, ...ours } = input;
    const state = peer.theirs === null ? 'pending' : 'active';
    return this.#change(peer, { ours, expiresAt, approved: true, via: 'approval', state });
  }

  async update(who: Principal, peerId: string, patch: PeerPatch): Promise<PeerView> {
    permit(who);
    const peer = this.#peer(peerId);
    if (peer.state === 'revoked') throw new NodeError('peer_revoked', 'the peer was removed', 'invite it again');
    const { gives, takes, namespaces, addrs, expiresAt, suspended } = patch;
    const ours = {
      gives: gives ?? peer.ours.gives,
      takes: takes ?? peer.ours.takes,
      namespaces: namespaces === undefined ? peer.ours.namespaces : namespaces,
    };
    const state = suspended === undefined ? peer.state : suspended ? 'suspended' : 'active';
    return this.#change(peer, {
      ours,
      state,
      addrs: addrs ?? peer.addrs,
      expiresAt: expiresAt === undefined ? peer.expiresAt : expiresAt,
    });
  }

  async remove(who: Principal, peerId: string): Promise<PeerView> {
    permit(who);
    return this.#change(this.#peer(peerId), { state: 'revoked', connected: false, remoteAddr: null });
  }

  async createInvite(who: Principal, input: CreateInvite): Promise<{ invite: string; record: InviteRecord }> {
    permit(who);
    const secret = randomBytes(16);
    const { gives, takes, namespaces = null, expiresIn, addrs = this.addrs } = input;
    const record: InviteRecord = {
      id: randomBytes(8).toString('hex'),
      secretHash: createHash('sha256').update(secret).digest('hex'),
      terms: { gives, takes, namespaces },
      createdAt: this.now(),
      expiresAt: this.now() + expiresIn * 1000,
      createdBy: who.entity,
      usedBy: null,
      usedAt: null,
      revokedAt: null,
    };
    const text = encodeInvite({
      peerId: this.node.peerId,
      org: this.org,
      orgKey: this.orgKey.raw,
      addrs,
      id: record.id,
      secret,
      expiresAt: record.expiresAt,
      gives: gives as SharedScope[],
      takes: takes as SharedScope[],
      namespaces,
    });
    this.issued.set(record.id, { record, text });
    return { invite: text, record };
  }

  async invites(who: Principal): Promise<readonly InviteRecord[]> {
    permit(who);
    return [...this.issued.values()].map(({ record }) => record);
  }

  async revokeInvite(who: Principal, id: string): Promise<void> {
    permit(who);
    const invite = this.issued.get(id);
    if (invite === undefined) throw new NodeError('invite_not_found', 'no such invite', 'stigmesh invite list');
    if (invite.record.usedBy !== null) {
      throw new NodeError('invite_spent', 'the invite was used', 'remove the peer: stigmesh peers remove');
    }
    invite.record = { ...invite.record, revokedAt: this.now() };
  }

  async join(who: Principal, input: JoinRequest): Promise<JoinOutcome> {
    permit(who);
    const invite = decodeInvite(input.invite, this.now());
    if (!input.allowPrivate && invite.addrs.every((addr) => addr.startsWith('/ip4/127.'))) {
      throw new NodeError('private_address', 'the invite leads to this machine', 'repeat it with --allow-private');
    }
    await this.dial(invite.peerId);
    const peer = this.put({
      peerId: invite.peerId,
      org: invite.org,
      orgKey: Buffer.from(invite.orgKey).toString('base64url'),
      addrs: invite.addrs,
      state: 'active',
      via: 'invite',
      approved: true,
      ours: { gives: input.gives, takes: input.takes, namespaces: input.namespaces ?? null },
      theirs: {
        gives: invite.gives,
        takes: invite.takes,
        namespaces: invite.namespaces,
        signedAt: this.now(),
        expiresAt: null,
      },
      connected: true,
      remoteAddr: invite.addrs[0] ?? null,
      roundTripMs: 2,
    });
    const { received } = await this.reconcile(peer.peerId);
    return { peer, firstSync: { received, ms: 38 } };
  }

  async discover(who: Principal, org: string | null): Promise<readonly DiscoveredPeer[]> {
    permit(who);
    return this.found.filter((each) => org === null || each.org === org);
  }

  async sync(who: Principal, peerId: string | null): Promise<readonly PeerView[]> {
    permit(who);
    const wanted = peerId === null ? [...this.records.values()].filter((p) => p.connected) : [this.#peer(peerId)];
    return Promise.all(
      wanted.map(async (peer) => {
        if (!peer.connected) throw new NodeError('peer_unreachable', 'the peer is not connected', 'wait until it is');
        const { sent, received } = await this.reconcile(peer.peerId);
        const lastSync = { at: this.now(), result: 'converged', sent, received, ms: 5 };
        return this.put({ ...peer, lastSync });
      }),
    );
  }

  async manifests(who: Principal): Promise<readonly KnownManifest[]> {
    permit(who);
    return [this.#own(), ...this.known.values()];
  }

  async manifest(authority: string): Promise<KnownManifest> {
    const found = authority === this.org ? this.#own() : this.known.get(authority);
    if (found === undefined) throw new NodeError('manifest_not_found', 'no such manifest', 'pair with it first');
    return found;
  }

  async importManifest(who: Principal, manifest: ManifestJson): Promise<KnownManifest> {
    permit(who);
    this.#manifest = await verifyManifest(manifest as never, this.now());
    return this.#own();
  }

  async rotateOrgKey(who: Principal): Promise<KnownManifest> {
    permit(who);
    const next = testKey();
    this.#manifest = withRotation(this.#manifest, next.key, this.#signing());
    this.orgKey = next;
    return this.#own();
  }

  async addNode(who: Principal, input: { peerId: string; namespaces?: readonly string[] }): Promise<KnownManifest> {
    permit(who);
    this.#manifest = withNode(this.#manifest, input, this.#signing());
    return this.#own();
  }

  async revokeNode(who: Principal, { peerId }: { peerId: string }): Promise<KnownManifest> {
    permit(who);
    this.#manifest = withoutNode(this.#manifest, peerId, '1795249733735.000' as never, this.#signing());
    return this.#own();
  }

  async forgetNode(who: Principal, { peerId }: { peerId: string }): Promise<KnownManifest> {
    permit(who);
    this.#manifest = withoutRevokedNode(this.#manifest, peerId, this.#signing());
    return this.#own();
  }

  #own(): KnownManifest {
    const manifest = this.#manifest;
    const { authority, version } = manifest;
    return {
      authority,
      fingerprint: manifest.key_id,
      version,
      standing: 'own',
      expired: false,
      manifest: manifest as unknown as ManifestJson,
    };
  }

  #peer(peerId: string): PeerView {
    const peer = this.records.get(peerId);
    if (peer === undefined) throw new NodeError('peer_not_found', 'peer not found', 'stigmesh peers lists them');
    return peer;
  }

  #change(peer: PeerView, changes: Partial<PeerView>): PeerView {
    const changed = this.put({ ...peer, ...changes, changedAt: this.now() });
    this.emit({ type: 'peer.changed', at: this.now(), peerId: peer.peerId, org: peer.org, state: changed.state });
    return changed;
  }
}

function permit(who: Principal): void {
  if (who.permissions.has('federate') || who.permissions.has('admin')) return;
  throw new NodeError('permission_denied', 'federate permission required', 'use another key');
}

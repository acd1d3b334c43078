import type { z } from 'zod';
import { formatInstant } from '../facts/index.ts';
import type { FactScope } from '../facts/scope.ts';
import { SHARED_SCOPES, type SharedScope } from '../identity/declaration.ts';
import { fingerprint } from '../identity/fingerprint.ts';
import type { InviteRecord, KnownManifest, MeshStatus, PeerLag, PeerState, PeerView } from '../node/federation.ts';
import type { AuditEntry } from '../node/services.ts';
import type { PeerTerms } from '../policy/sharing.ts';
import type { ApiComponents } from './components.ts';
import type * as schema from './schema/federation.ts';
import type { PEER_STATUSES } from './schema/federation.ts';

/** The mesh on the wire: from the node's own types to Stigmem's members and ours. */

type PeerRecordWire = z.output<typeof schema.peerRecord>;

/** Stigmem knows four words: a peer that our operator or time put out of use is one that we reject. */
const STATUS: { readonly [S in PeerState]: (typeof PEER_STATUSES)[number] } = {
  pending: 'pending_verification',
  active: 'active',
  suspended: 'rejected',
  expired: 'rejected',
  revoked: 'revoked',
};

export function peerStatus(state: PeerState): (typeof PEER_STATUSES)[number] {
  return STATUS[state];
}

/** In the order of their width; what cannot be shared is never in terms. */
function shared(scopes: readonly FactScope[]): SharedScope[] {
  return SHARED_SCOPES.filter((scope) => scopes.includes(scope));
}

const instantOrNull = (ms: number | null): string | null => (ms === null ? null : formatInstant(ms));

/** What flows while both sides stay as they declared; daemons of one organisation share all but `local`. */
function flows(peer: PeerView, org: string): { out: SharedScope[]; in: SharedScope[] } {
  if (peer.state !== 'active') return { out: [], in: [] };
  if (peer.org === org) return { out: [...SHARED_SCOPES], in: [...SHARED_SCOPES] };
  const { ours, theirs } = peer;
  const both = (from: PeerTerms | null, to: PeerTerms | null) =>
    shared(from?.gives ?? []).filter((scope) => to?.takes.includes(scope) ?? false);
  return { out: both(ours, theirs), in: both(theirs, ours) };
}

/** @param org authority of this daemon's organisation */
export function peerRecord(peer: PeerView, org: string): PeerRecordWire {
  const { ours, theirs } = peer;
  return {
    peer_id: peer.peerId,
    node_id: peer.peerId,
    node_url: peer.addrs[0] ?? '',
    status: peerStatus(peer.state),
    allowed_scopes: shared(ours.gives).sort(),
    established_at: formatInstant(peer.createdAt),
    state: peer.state,
    via: peer.via,
    approved: peer.approved,
    org: peer.org,
    fingerprint: keyFingerprint(peer.orgKey),
    addrs: [...peer.addrs],
    gives: shared(ours.gives),
    takes: shared(ours.takes),
    namespaces: copied(ours.namespaces),
    expires_at: instantOrNull(peer.expiresAt),
    theirs:
      theirs === null
        ? null
        : {
            gives: shared(theirs.gives),
            takes: shared(theirs.takes),
            namespaces: copied(theirs.namespaces),
            signed_at: formatInstant(theirs.signedAt),
            expires_at: instantOrNull(theirs.expiresAt),
          },
    flows: flows(peer, org),
    connected: peer.connected,
    remote_addr: peer.remoteAddr,
    round_trip_ms: peer.roundTripMs,
    lag: peerLag(peer.lag),
    last_sync: lastSync(peer),
    refused: { ...peer.refused },
    score: peer.score,
    created_at: formatInstant(peer.createdAt),
    changed_at: formatInstant(peer.changedAt),
    last_seen_at: instantOrNull(peer.lastSeenAt),
  };
}

export function syncState(peer: PeerView): z.output<typeof schema.syncStates>['peers'][number] {
  return {
    peer_id: peer.peerId,
    org: peer.org,
    state: peer.state,
    connected: peer.connected,
    lag: peerLag(peer.lag),
    last_sync: lastSync(peer),
  };
}

function lastSync({ lastSync: last }: PeerView): PeerRecordWire['last_sync'] {
  return last === null ? null : { ...last, at: formatInstant(last.at) };
}

function peerLag(lag: PeerLag): z.output<typeof schema.peerLag> {
  return {
    out_statements: lag.outStatements,
    in_statements: lag.inStatements,
    out_seconds: lag.outSeconds,
    in_seconds: lag.inSeconds,
  };
}

/** @param orgKey 32 bytes, base64url */
export function keyFingerprint(orgKey: string | null): string | null {
  return orgKey === null ? null : fingerprint(Buffer.from(orgKey, 'base64url'));
}

const copied = (names: readonly string[] | null): string[] | null => (names === null ? null : [...names]);

/** @param now Unix ms */
export function inviteRecord(record: InviteRecord, now: number): z.output<typeof schema.inviteRecord> {
  return {
    id: record.id,
    state: inviteState(record, now),
    gives: shared(record.terms.gives),
    takes: shared(record.terms.takes),
    namespaces: copied(record.terms.namespaces),
    created_at: formatInstant(record.createdAt),
    created_by: record.createdBy,
    expires_at: formatInstant(record.expiresAt),
    used_by: record.usedBy,
    used_at: instantOrNull(record.usedAt),
    revoked_at: instantOrNull(record.revokedAt),
  };
}

function inviteState(record: InviteRecord, now: number): z.output<typeof schema.inviteRecord>['state'] {
  if (record.usedBy !== null) return 'used';
  if (record.revokedAt !== null) return 'revoked';
  return record.expiresAt <= now ? 'expired' : 'open';
}

/** Members of the manifest that the contract names stand beside it, as its clients look for them there. */
export function knownManifest(known: KnownManifest): z.output<typeof schema.knownManifest> {
  const { authority, fingerprint: print, version, standing, expired, manifest } = known;
  return {
    entity_uri: `stigmem://${authority}`,
    key_id: String(manifest.key_id),
    issued_at: String(manifest.issued_at),
    expires_at: String(manifest.expires_at),
    authority,
    fingerprint: print,
    version,
    standing,
    expired,
    manifest: { ...manifest },
  };
}

function meshStatus(status: MeshStatus): z.output<typeof schema.meshStatus> {
  return {
    enabled: status.enabled,
    peer_id: status.peerId,
    addrs: [...status.addrs],
    peers: { ...status.peers },
    lag: peerLag(status.lag),
    sets: status.sets,
    indexed: status.indexed,
    queues: { ...status.queues },
    warnings: [...status.warnings],
  };
}

/** The mesh as it is, or what there is to say of it while it is off. */
export function meshStatusOf({
  federation,
  identity,
}: Pick<ApiComponents, 'federation' | 'identity'>): z.output<typeof schema.meshStatus> {
  return federation === null ? meshOff(identity.peerId) : meshStatus(federation.status());
}

function meshOff(peerId: string): z.output<typeof schema.meshStatus> {
  return {
    enabled: false,
    peer_id: peerId,
    addrs: [],
    peers: { pending: 0, active: 0, suspended: 0, expired: 0, revoked: 0, connected: 0 },
    lag: { out_statements: null, in_statements: null, out_seconds: null, in_seconds: null },
    sets: 0,
    indexed: false,
    queues: {},
    warnings: [],
  };
}

export function federationAuditEntry(
  entry: AuditEntry,
): z.output<typeof schema.federationAuditPage>['entries'][number] {
  const { seq, type, ts, principal, detail } = entry;
  return {
    id: String(seq),
    peer_id: textMember(detail, 'peer_id'),
    event_type: type,
    detail: detail === null ? null : { ...detail },
    ts,
    entity_uri: principal,
    org: textMember(detail, 'org'),
    seq,
  };
}

function textMember(detail: AuditEntry['detail'], name: string): string | null {
  const value = detail?.[name];
  return typeof value === 'string' ? value : null;
}

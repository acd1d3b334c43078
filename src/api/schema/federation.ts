import { z } from 'zod';
import { isAuthority } from '../../facts/statement.ts';
import { isAddrText, isNamespace, SHARED_SCOPES } from '../../identity/declaration.ts';
import {
  MAX_ADDRS,
  MAX_DECLARED_NAMESPACES,
  MAX_INVITE_CHARACTERS,
  MAX_NODE_NAMESPACES,
} from '../../identity/limits.ts';
import { PEER_ORIGINS, PEER_STATES } from '../../node/federation.ts';
import { MAX_INVITE_LIFE_S } from '../../node/mesh-limits.ts';
import { cursor, instant, nullableText, text } from './facts.ts';
import { named } from './names.ts';

/** Shapes of the mesh: peers, invites, manifests. Stigmem's members come first, ours after. */

const sharedScope = z.enum(SHARED_SCOPES);
const scopes = z.array(sharedScope).max(SHARED_SCOPES.length);
const namespaces = z
  .array(z.string().refine(isNamespace, 'not a relation namespace'))
  .max(MAX_DECLARED_NAMESPACES)
  .nullable()
  .describe('Relation namespaces (what stands before the colon of a relation); null: all');
const addrs = z
  .array(z.string().refine(isAddrText, 'not a multiaddr'))
  .max(MAX_ADDRS)
  .describe('Multiaddrs: /ip4/192.0.2.1/tcp/4701');
const expiresAt = z.string().nullable().describe('RFC 3339: when it ends by itself; null: never');

/** Statuses of Stigmem's contract; its Python client refuses every other word. */
export const PEER_STATUSES = ['pending_verification', 'active', 'rejected', 'revoked'] as const;

export const peerLag = named(
  'PeerLag',
  z.object({
    out_statements: z.int().nullable().describe('Statements they lack of what we share; null: not known'),
    in_statements: z.int().nullable().describe('Statements we lack of what they share; null: not known'),
    out_seconds: z.number().nullable(),
    in_seconds: z.number().nullable(),
  }),
);

const lastSync = z
  .object({
    at: instant,
    result: z.string().describe('`converged`, `changed` (somebody wrote meanwhile), or why it ended'),
    sent: z.int(),
    received: z.int(),
    ms: z.number(),
  })
  .nullable();

export const peerRecord = named(
  'PeerRecord',
  z.object({
    peer_id: z.string(),
    node_id: z.string().describe('Same as `peer_id`'),
    node_url: z.string().describe('First known multiaddr; empty when there is none'),
    status: z.enum(PEER_STATUSES).describe('`state` in Stigmem’s words: suspended and expired are `rejected`'),
    allowed_scopes: z.array(sharedScope).describe('Same as `gives`, sorted'),
    established_at: instant.describe('When it was first recorded'),
    state: z.enum(PEER_STATES),
    via: z.enum(PEER_ORIGINS).describe('How it came to be known'),
    approved: z.boolean().describe('By our operator or an invite of ours'),
    org: nullableText.describe('Authority it declared; null before it did'),
    fingerprint: nullableText.describe('Of its organisation’s key, to compare with what its operator sees'),
    addrs: z.array(z.string()),
    gives: z.array(sharedScope).describe('What we declared to give'),
    takes: z.array(sharedScope).describe('What we declared to take'),
    namespaces: namespaces,
    expires_at: expiresAt,
    theirs: z
      .object({
        gives: z.array(sharedScope),
        takes: z.array(sharedScope),
        namespaces,
        signed_at: instant,
        expires_at: nullableText,
      })
      .nullable()
      .describe('What they declared last'),
    flows: z
      .object({ out: z.array(sharedScope), in: z.array(sharedScope) })
      .describe('Scopes that flow while it is active: what one side gives and the other takes'),
    connected: z.boolean(),
    remote_addr: nullableText,
    round_trip_ms: z.number().nullable(),
    lag: peerLag,
    last_sync: lastSync,
    refused: z.record(z.string(), z.int()).describe('Statements of it that were refused, by code'),
    score: z.number().describe('Reputation: 0 is neutral, worse is below'),
    created_at: instant,
    changed_at: instant,
    last_seen_at: nullableText,
  }),
);

export const peerList = named('PeerListResponse', z.object({ peers: z.array(peerRecord) }));

/** Terms with defaults; what flows is the intersection with the other side's anyway. */
const termsShape = {
  gives: scopes.default(['public']).describe('Scopes we give'),
  takes: scopes.default(['company', 'public']).describe('Scopes we take'),
  namespaces: namespaces.optional(),
  expires_at: expiresAt.optional(),
};

const contractMember = (what: string) => text.optional().describe(`Stigmem’s: ${what}`);

export const peerRegister = named(
  'PeerRegisterRequest',
  z.object({
    peer_id: text.optional().describe('Required, here or as `node_id`'),
    addrs: addrs.optional().describe('Where it listens; left out, it is looked for'),
    gives: scopes.optional().describe('Scopes we give; default `allowed_scopes`, or public'),
    takes: scopes.optional().describe('Scopes we take; default `allowed_scopes`, or company and public'),
    namespaces: namespaces.optional(),
    expires_at: expiresAt.optional(),
    node_id: contractMember('the peer id'),
    node_url: z.string().refine(isAddrText, 'not a multiaddr').optional().describe('Stigmem’s: a multiaddr'),
    federation_pubkey: contractMember('the Ed25519 key, base64url; must be the one in the peer id'),
    allowed_scopes: scopes.optional().describe('Stigmem’s: gives and takes in one'),
    declaration_sig: contractMember('accepted and not needed: peers prove their key when they connect'),
    signed_at: contractMember('accepted and not needed'),
  }),
);

export const peerRegistered = named(
  'PeerRegisterResponse',
  z.object({ ...peerRecord.shape, verified_at: nullableText.describe('When it declared itself; null before') }),
);

export const peerApproval = named(
  'PeerApprovalRequest',
  z.object({
    pubkey_fingerprint: text
      .optional()
      .describe(
        'Fingerprint as the list shows it, or Stigmem’s `sha256:…` of the peer’s key: refused when it is another',
      ),
    ...termsShape,
  }),
);

export const peerApproved = named('PeerApprovalResponse', z.object({ ...peerRecord.shape, approved_at: instant }));

export const peerPatch = named(
  'PeerPatchRequest',
  z.object({
    gives: scopes.optional(),
    takes: scopes.optional(),
    namespaces: namespaces.optional(),
    addrs: addrs.optional(),
    expires_at: expiresAt.optional(),
    suspended: z.boolean().optional().describe('true: nothing flows until it is false again'),
  }),
);

export const inviteRecord = named(
  'InviteRecord',
  z.object({
    id: z.string().describe('16 hex digits'),
    state: z.enum(['open', 'used', 'revoked', 'expired']),
    gives: z.array(sharedScope).describe('Scopes offered to whoever joins'),
    takes: z.array(sharedScope),
    namespaces,
    created_at: instant,
    created_by: z.string(),
    expires_at: instant,
    used_by: nullableText.describe('Peer id'),
    used_at: nullableText,
    revoked_at: nullableText,
  }),
);

/** Shorter, and it would be gone before anybody could paste it. */
const MIN_INVITE_LIFE_S = 60;

export const inviteCreate = named(
  'InviteCreateRequest',
  z.object({
    gives: termsShape.gives,
    takes: scopes.optional().describe('Scopes we take; default: what we give'),
    namespaces: namespaces.optional(),
    expires_in: z
      .int()
      .min(MIN_INVITE_LIFE_S)
      .max(MAX_INVITE_LIFE_S)
      .optional()
      .describe('Seconds; default `mesh.invite_hours` of the configuration'),
    addrs: addrs.optional().describe('Addresses to put into it; default: those the mesh announces'),
  }),
);

export const inviteCreated = named(
  'InviteCreated',
  z.object({
    invite: z.string().describe('To hand to one peer: shown once, works once'),
    ...inviteRecord.shape,
  }),
);

export const inviteList = named('InviteListResponse', z.object({ invites: z.array(inviteRecord) }));

export const joinRequest = named(
  'JoinRequest',
  z.object({
    invite: text.max(MAX_INVITE_CHARACTERS),
    gives: termsShape.gives,
    takes: termsShape.takes,
    namespaces: namespaces.optional(),
    allow_private: z
      .boolean()
      .default(false)
      .describe('Also dial addresses of this machine and of private networks; without it they are refused'),
  }),
);

export const joined = named(
  'JoinResponse',
  z.object({
    peer: peerRecord,
    first_sync: z
      .object({ received: z.int(), ms: z.number() })
      .nullable()
      .describe('Null: not done yet; it goes on by itself'),
  }),
);

export const discovered = named(
  'DiscoverResponse',
  z.object({
    peers: z.array(
      z.object({
        peer_id: z.string(),
        org: nullableText,
        fingerprint: nullableText,
        addrs: z.array(z.string()),
        via: z.enum(['bootstrap', 'mdns', 'dht', 'declared']),
        state: z.enum(PEER_STATES).nullable().describe('Null: no peer of ours. Being found grants nothing'),
      }),
    ),
  }),
);

const syncState = named(
  'SyncState',
  z.object({
    peer_id: z.string(),
    org: nullableText,
    state: z.enum(PEER_STATES),
    connected: z.boolean(),
    lag: peerLag,
    last_sync: lastSync,
  }),
);

export const syncStates = named('SyncStateResponse', z.object({ peers: z.array(syncState) }));

export const syncRequest = named(
  'SyncRequest',
  z.object({
    peer_id: text.nullable().optional().describe('Default: every connected peer'),
    wait: z.boolean().default(true).describe('false: answer at once'),
  }),
);

export const syncReport = named(
  'SyncResponse',
  z.object({
    finished: z.boolean().describe('False: it goes on; `GET /v1/federation/sync` shows how far'),
    peers: z.array(syncState),
  }),
);

export const meshStatus = named(
  'MeshStatus',
  z.object({
    enabled: z.boolean(),
    peer_id: z.string(),
    addrs: z.array(z.string()).describe('Multiaddrs it can be reached at'),
    peers: z.object({
      pending: z.int(),
      active: z.int(),
      suspended: z.int(),
      expired: z.int(),
      revoked: z.int(),
      connected: z.int(),
    }),
    lag: peerLag.describe('The worst of the active peers, each way'),
    sets: z.int().describe('Sets of statements that peers reconcile'),
    indexed: z.boolean().describe('Whether the indexes of reconciliation are loaded'),
    queues: z.record(z.string(), z.number()),
    warnings: z.array(z.string()),
  }),
);

export const knownManifest = named(
  'KnownManifest',
  z.object({
    entity_uri: z.string(),
    key_id: z.string(),
    issued_at: instant,
    expires_at: instant,
    authority: z.string(),
    fingerprint: z.string(),
    version: z.int(),
    standing: z
      .enum(['own', 'pinned', 'seen'])
      .describe('Ours; pinned at a pairing; or only seen, on statements that others passed on'),
    expired: z.boolean(),
    manifest: z.record(z.string(), z.unknown()).describe('As it was signed'),
  }),
);

export const manifestList = named('ManifestListResponse', z.object({ manifests: z.array(knownManifest) }));

export const manifestPut = named(
  'ManifestPutRequest',
  z
    .looseObject({ manifest: z.record(z.string(), z.unknown()).optional().describe('The manifest; or it is the body') })
    .describe('A manifest of this organisation, signed elsewhere with its key'),
);

export const orgNode = named(
  'OrgNodeRequest',
  z.object({
    peer_id: text,
    namespaces: z
      .array(z.string().refine(isAuthority, 'not an authority, like acme.example'))
      .max(MAX_NODE_NAMESPACES)
      .optional()
      .describe('Authorities it may speak for; default: the organisation, and all below it'),
  }),
);

export const federationAuditPage = named(
  'FederationAuditResponse',
  z.object({
    entries: z.array(
      z.object({
        id: z.string(),
        peer_id: nullableText,
        event_type: z.string(),
        detail: z.record(z.string(), z.unknown()).nullable(),
        ts: instant,
        entity_uri: nullableText.describe('Who'),
        org: nullableText,
        seq: z.int(),
      }),
    ),
    cursor,
    has_more: z.boolean(),
  }),
);

import { z } from 'zod';
import { isAuthority } from '../../facts/index.ts';
import { NodeError } from '../../node/errors.ts';
import type { PeerView } from '../../node/federation.ts';
import { SYNC_WAIT_MS } from '../limits.ts';
import { text } from '../schema/facts.ts';
import * as schema from '../schema/federation.ts';
import * as wire from '../wire-federation.ts';
import { DIAL_ERRORS, distinct, FEDERATORS, meshOf, peerName, TERMS_ERRORS } from './federation-call.ts';
import { type Call, type Operation, operation } from './operation.ts';

const createInvite = operation({
  name: 'invite.create',
  method: 'POST',
  path: '/v1/federation/invites',
  status: 201,
  tag: 'federation',
  summary: 'Make an invite for one peer',
  description: 'It works once and is shown once: this daemon keeps only the hash of its secret.',
  access: FEDERATORS,
  rate: 'write',
  input: { body: schema.inviteCreate },
  output: schema.inviteCreated,
  errors: [...TERMS_ERRORS, 'invalid_address', 'limit_reached', 'manifest_not_found', 'invite_too_large'],
  async handler(call, { body }) {
    const { invite, record } = await meshOf(call).createInvite(call.who, {
      gives: distinct(body.gives),
      takes: distinct(body.takes ?? body.gives),
      namespaces: body.namespaces == null ? null : distinct(body.namespaces),
      expiresIn: body.expires_in ?? call.init.inviteLifeS,
      addrs: body.addrs && distinct(body.addrs),
    });
    return { body: { invite, ...wire.inviteRecord(record, call.components.now()) } };
  },
});

const listInvites = operation({
  name: 'invite.list',
  method: 'GET',
  path: '/v1/federation/invites',
  status: 200,
  tag: 'federation',
  summary: 'List the invites this daemon made, used and expired ones included',
  access: FEDERATORS,
  rate: 'read',
  input: {},
  output: schema.inviteList,
  errors: [],
  async handler(call) {
    const { federation, now } = call.components;
    const invites = federation === null ? [] : await federation.invites(call.who);
    return { body: { invites: invites.map((record) => wire.inviteRecord(record, now())) } };
  },
});

const revokeInvite = operation({
  name: 'invite.revoke',
  method: 'DELETE',
  path: '/v1/federation/invites/{invite_id}',
  status: 204,
  tag: 'federation',
  summary: 'Take back an invite that nobody has used',
  access: FEDERATORS,
  rate: 'write',
  input: { params: z.object({ invite_id: text }) },
  output: z.null(),
  errors: ['invite_not_found', 'invite_spent', 'invite_revoked', 'mesh_disabled'],
  async handler(call, { params }) {
    await meshOf(call).revokeInvite(call.who, params.invite_id);
    return { body: null };
  },
});

const join = operation({
  name: 'mesh.join',
  method: 'POST',
  path: '/v1/federation/join',
  status: 200,
  tag: 'federation',
  summary: 'Use an invite: connect to the daemon that made it and declare each other',
  description: 'Check peer, organisation and fingerprint of the invite first; `stigmesh join` shows them.',
  access: FEDERATORS,
  rate: 'write',
  input: { body: schema.joinRequest },
  output: schema.joined,
  errors: [
    ...TERMS_ERRORS,
    ...DIAL_ERRORS,
    'invite_too_large',
    'invite_truncated',
    'invite_checksum',
    'invite_version',
    'invite_malformed',
    'invite_not_found',
    'invite_expired',
    'invite_spent',
    'invite_revoked',
    'invite_refused',
    'peer_revoked',
    'limit_reached',
  ],
  async handler(call, { body }) {
    const { peer, firstSync } = await meshOf(call).join(call.who, {
      invite: body.invite,
      gives: distinct(body.gives),
      takes: distinct(body.takes),
      namespaces: body.namespaces == null ? null : distinct(body.namespaces),
      allowPrivate: body.allow_private,
    });
    return { body: { peer: wire.peerRecord(peer, call.components.identity.org), first_sync: firstSync } };
  },
});

const discover = operation({
  name: 'peer.discover',
  method: 'GET',
  path: '/v1/federation/discover',
  status: 200,
  tag: 'federation',
  summary: 'List daemons that were found on the network',
  description: 'Finding grants nothing: only an invite or both operators make a peer.',
  access: FEDERATORS,
  rate: 'write',
  input: { query: z.object({ org: text.max(253).optional().describe('Authority to look for') }) },
  output: schema.discovered,
  errors: ['mesh_disabled', 'peer_timeout', 'invalid_query'],
  async handler(call, { query }) {
    const mesh = meshOf(call);
    const org = query.org?.toLowerCase() ?? null;
    if (org !== null && !isAuthority(org)) {
      throw new NodeError('invalid_query', 'org is not the name of an organisation', 'name one like acme.example');
    }
    const [found, known] = await Promise.all([mesh.discover(call.who, org), mesh.peers(call.who)]);
    const states = new Map(known.map(({ peerId, state }) => [peerId, state]));
    return {
      body: {
        peers: found.map(({ peerId, addrs, ...each }) => ({
          peer_id: peerId,
          org: each.org,
          fingerprint: each.fingerprint,
          addrs: [...addrs],
          via: each.via,
          state: states.get(peerId) ?? null,
        })),
      },
    };
  },
});

/** Peers as they stand: what a reconciliation that goes on has come to so far. */
async function syncedPeers(call: Call, peerId: string | null): Promise<readonly PeerView[]> {
  const mesh = meshOf(call);
  if (peerId !== null) return [await mesh.peer(call.who, peerId)];
  return (await mesh.peers(call.who)).filter(({ state }) => state === 'active');
}

const sync = operation({
  name: 'mesh.sync',
  method: 'POST',
  path: '/v1/federation/sync',
  status: 200,
  tag: 'federation',
  summary: 'Reconcile with one peer, or with all that are connected, now',
  description:
    `It happens by itself as well. The answer waits for the end, at most ${SYNC_WAIT_MS / 1000} s; what is not done by ` +
    'then goes on.',
  access: FEDERATORS,
  rate: 'write',
  input: { body: schema.syncRequest },
  output: schema.syncReport,
  errors: ['peer_not_found', 'peer_unreachable', 'peer_timeout', 'sync_failed', 'mesh_disabled', 'peer_revoked'],
  async handler(call, { body }) {
    const peerId = body.peer_id == null ? null : peerName(body.peer_id);
    const running = meshOf(call).sync(call.who, peerId);
    // Whoever did not wait finds the failure in the state of the peer.
    running.catch(() => {});
    // So that a refusal, of an unknown peer for one, is answered also to those who do not wait for the end.
    const waitMs = body.wait ? SYNC_WAIT_MS : 0;
    const late = Promise.withResolvers<null>();
    const cancel = call.components.timers.after(waitMs, () => late.resolve(null));
    try {
      const ended = await Promise.race([running, late.promise]);
      const peers = ended ?? (await syncedPeers(call, peerId));
      return { body: { finished: ended !== null, peers: peers.map(wire.syncState) } };
    } finally {
      cancel();
    }
  },
});

const syncState = operation({
  name: 'mesh.syncState',
  method: 'GET',
  path: '/v1/federation/sync',
  status: 200,
  tag: 'federation',
  summary: 'How far behind active peers are, and how the last reconciliations ended',
  access: FEDERATORS,
  rate: 'read',
  input: { query: z.object({ peer_id: text.optional() }) },
  output: schema.syncStates,
  errors: ['peer_not_found'],
  async handler(call, { query }) {
    const peerId = query.peer_id === undefined ? null : peerName(query.peer_id);
    if (call.components.federation === null) return { body: { peers: [] } };
    return { body: { peers: (await syncedPeers(call, peerId)).map(wire.syncState) } };
  },
});

const meshStatus = operation({
  name: 'mesh.status',
  method: 'GET',
  path: '/v1/federation/status',
  status: 200,
  tag: 'federation',
  summary: 'State of the mesh on this node',
  access: ['read', 'federate', 'admin'],
  rate: 'read',
  input: {},
  output: schema.meshStatus,
  errors: [],
  handler: async ({ components }) => ({ body: wire.meshStatusOf(components) }),
});

const federationAudit = operation({
  name: 'mesh.audit',
  method: 'GET',
  path: '/v1/federation/audit',
  status: 200,
  tag: 'federation',
  summary: 'What happened on the mesh, newest first: the part of the audit log that is about peers',
  access: ['federate', 'admin', 'audit.read'],
  rate: 'read',
  input: {
    query: z.object({
      peer_id: text.optional(),
      event_type: text.optional(),
      cursor: text.optional(),
      limit: z.int().min(1).max(500).default(50),
    }),
  },
  output: schema.federationAuditPage,
  errors: ['invalid_cursor'],
  async handler(call, { query }) {
    const page = await call.components.audit.list(call.who, {
      federation: { peerId: query.peer_id },
      type: query.event_type,
      cursor: query.cursor,
      limit: query.limit,
    });
    const { entries, cursor } = page;
    return { body: { entries: entries.map(wire.federationAuditEntry), cursor, has_more: cursor !== null } };
  },
});

export const meshOperations: readonly Operation[] = [
  createInvite,
  listInvites,
  revokeInvite,
  join,
  discover,
  sync,
  syncState,
  meshStatus,
  federationAudit,
];

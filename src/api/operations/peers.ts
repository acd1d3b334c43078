import { setImmediate as nextTurn } from 'node:timers/promises';
import { z } from 'zod';
import { formatInstant } from '../../facts/index.ts';
import { IdentityError } from '../../identity/errors.ts';
import { publicKeyFromPeerId } from '../../identity/node-key.ts';
import { NodeError } from '../../node/errors.ts';
import { type FederationService, PEER_STATES } from '../../node/federation.ts';
import { PEERS_PER_TURN } from '../limits.ts';
import { text } from '../schema/facts.ts';
import * as schema from '../schema/federation.ts';
import { validationError } from '../schema/input.ts';
import * as wire from '../wire-federation.ts';
import { distinct, expiryOf, FEDERATORS, isFingerprintOf, meshOf, peerName, TERMS_ERRORS } from './federation-call.ts';
import { type Call, type Operation, operation } from './operation.ts';

const peerPath = z.object({ peer_id: text });

const orgOf = ({ components }: Call): string => components.identity.org;

/** What was given for a patch, with lists in which everything stands once; what was left out stays left out. */
function patchOf(call: Call, body: z.output<typeof schema.peerPatch>) {
  const { expires_at, gives, takes, namespaces, addrs, suspended } = body;
  return {
    ...(gives === undefined ? {} : { gives: distinct(gives) }),
    ...(takes === undefined ? {} : { takes: distinct(takes) }),
    ...(namespaces === undefined ? {} : { namespaces: namespaces && distinct(namespaces) }),
    ...(addrs === undefined ? {} : { addrs: distinct(addrs) }),
    ...(expires_at === undefined ? {} : { expiresAt: expiryOf(call, expires_at) }),
    ...(suspended === undefined ? {} : { suspended }),
  };
}

type Registration = Parameters<FederationService['register']>[1];

/**
 * Members by our names, from ours or Stigmem's.
 *
 * @throws ApiError `validation_failed`; IdentityError `invalid_peer_id`, `invalid_public_key`
 */
function registration(call: Call, body: z.output<typeof schema.peerRegister>): Registration {
  const { peer_id, node_id, node_url, federation_pubkey, allowed_scopes, expires_at } = body;
  const peerId = peer_id ?? node_id;
  if (peerId === undefined) {
    throw validationError([{ type: 'missing', loc: ['body', 'peer_id'], msg: 'Field required' }]);
  }
  const key = Buffer.from(publicKeyFromPeerId(peerId)).toString('base64url');
  if (federation_pubkey !== undefined && federation_pubkey.replace(/=+$/, '') !== key) {
    throw new IdentityError(
      'invalid_public_key',
      'federation_pubkey is not the key that the peer id holds',
      'leave it out: a peer proves the key in its id when it connects',
    );
  }
  return {
    peerId,
    addrs: distinct(body.addrs ?? (node_url === undefined ? [] : [node_url])),
    gives: distinct(body.gives ?? allowed_scopes ?? ['public']),
    takes: distinct(body.takes ?? allowed_scopes ?? ['company', 'public']),
    namespaces: body.namespaces == null ? null : distinct(body.namespaces),
    ...(expires_at === undefined ? {} : { expiresAt: expiryOf(call, expires_at) }),
  };
}

const listPeers = operation({
  name: 'peer.list',
  paged: true,
  method: 'GET',
  path: '/v1/federation/peers',
  status: 200,
  tag: 'federation',
  summary: 'List the peers: what is shared with whom, and how it goes',
  access: FEDERATORS,
  rate: 'read',
  input: { query: z.object({ state: z.enum(PEER_STATES).optional() }) },
  output: schema.peerList,
  errors: [],
  async handler(call, { query }) {
    const { federation } = call.components;
    const peers = federation === null ? [] : await federation.peers(call.who);
    const shown = peers.filter(({ state }) => query.state === undefined || state === query.state);
    const records: ReturnType<typeof wire.peerRecord>[] = [];
    for (const peer of shown) {
      // Removed peers are remembered in thousands.
      if (records.length % PEERS_PER_TURN === PEERS_PER_TURN - 1) await nextTurn();
      records.push(wire.peerRecord(peer, orgOf(call)));
    }
    return { body: { peers: records } };
  },
});

const registerPeer = operation({
  name: 'peer.register',
  method: 'POST',
  path: '/v1/federation/peers',
  status: 201,
  tag: 'federation',
  summary: 'Declare a peer by its id, without an invite',
  description:
    'It becomes active once its operator has declared this daemon as well. Members of Stigmem’s request are read where ' +
    'they name the same thing; peers are addressed by multiaddrs, not by URLs.',
  access: FEDERATORS,
  rate: 'write',
  input: { body: schema.peerRegister },
  output: schema.peerRegistered,
  errors: [
    ...TERMS_ERRORS,
    'peer_exists',
    'peer_revoked',
    'peer_is_self',
    'invalid_peer_id',
    'invalid_public_key',
    'invalid_address',
    'limit_reached',
  ],
  async handler(call, { body }) {
    const peer = await meshOf(call).register(call.who, registration(call, body));
    const verified = peer.theirs === null ? null : formatInstant(peer.theirs.signedAt);
    return { body: { ...wire.peerRecord(peer, orgOf(call)), verified_at: verified } };
  },
});

const getPeer = operation({
  name: 'peer.get',
  method: 'GET',
  path: '/v1/federation/peers/{peer_id}',
  status: 200,
  tag: 'federation',
  summary: 'Get one peer',
  access: FEDERATORS,
  rate: 'read',
  input: { params: peerPath },
  output: schema.peerRecord,
  errors: ['peer_not_found', 'mesh_disabled'],
  async handler(call, { params }) {
    const peer = await meshOf(call).peer(call.who, peerName(params.peer_id));
    return { body: wire.peerRecord(peer, orgOf(call)) };
  },
});

const approvePeer = operation({
  name: 'peer.approve',
  method: 'POST',
  path: '/v1/federation/peers/{peer_id}/approve',
  status: 200,
  tag: 'federation',
  summary: 'Approve a peer that asks to be one',
  description:
    'Compare its fingerprint with what its operator sees first. One that was removed can be approved again; terms of an ' +
    'approved one are changed by PATCH.',
  access: FEDERATORS,
  rate: 'write',
  input: { params: peerPath, body: schema.peerApproval },
  output: schema.peerApproved,
  errors: [
    ...TERMS_ERRORS,
    'peer_not_found',
    'peer_not_pending',
    'peer_revoked',
    'peer_refused',
    'fingerprint_mismatch',
    'limit_reached',
  ],
  async handler(call, { params, body }) {
    const mesh = meshOf(call);
    const known = await mesh.peer(call.who, peerName(params.peer_id));
    if (known.state !== 'pending' && known.state !== 'revoked') {
      const status = wire.peerStatus(known.state);
      throw new NodeError(
        'peer_not_pending',
        `peer is not pending approval (status=${status})`,
        'to change its terms: PATCH, or stigmesh peers set',
      );
    }
    const { pubkey_fingerprint: given, expires_at } = body;
    if (given !== undefined && !isFingerprintOf(known, given)) {
      throw new NodeError(
        'fingerprint_mismatch',
        'fingerprint mismatch',
        'compare the fingerprint that the list shows with what the operator of the peer sees',
      );
    }
    const peer = await mesh.approve(call.who, known.peerId, {
      gives: distinct(body.gives),
      takes: distinct(body.takes),
      namespaces: body.namespaces == null ? null : distinct(body.namespaces),
      ...(expires_at === undefined ? {} : { expiresAt: expiryOf(call, expires_at) }),
      ...(given === undefined ? {} : { orgKey: known.orgKey }),
    });
    return { body: { ...wire.peerRecord(peer, orgOf(call)), approved_at: formatInstant(peer.changedAt) } };
  },
});

const updatePeer = operation({
  name: 'peer.update',
  method: 'PATCH',
  path: '/v1/federation/peers/{peer_id}',
  status: 200,
  tag: 'federation',
  summary: 'Change what is shared with a peer, or suspend it; holds at once',
  access: FEDERATORS,
  rate: 'write',
  input: { params: peerPath, body: schema.peerPatch },
  output: schema.peerRecord,
  errors: [...TERMS_ERRORS, 'peer_not_found', 'peer_revoked', 'invalid_address'],
  async handler(call, { params, body }) {
    const mesh = meshOf(call);
    const peer = await mesh.update(call.who, peerName(params.peer_id), patchOf(call, body));
    return { body: wire.peerRecord(peer, orgOf(call)) };
  },
});

const removePeer = operation({
  name: 'peer.remove',
  method: 'DELETE',
  path: '/v1/federation/peers/{peer_id}',
  status: 200,
  tag: 'federation',
  summary: 'Remove a peer: disconnected, and refused from now on',
  description: 'It stays on the list as revoked. What it signed before stays; nothing it signs later is taken.',
  access: FEDERATORS,
  rate: 'write',
  input: { params: peerPath },
  output: schema.peerRecord,
  errors: ['peer_not_found', 'mesh_disabled'],
  async handler(call, { params }) {
    const peer = await meshOf(call).remove(call.who, peerName(params.peer_id));
    return { body: wire.peerRecord(peer, orgOf(call)) };
  },
});

export const peerOperations: readonly Operation[] = [
  listPeers,
  registerPeer,
  getPeer,
  approvePeer,
  updatePeer,
  removePeer,
];

import { z } from 'zod';
import { isAuthority } from '../../facts/index.ts';
import { publicKeyFromPeerId } from '../../identity/node-key.ts';
import { NodeError } from '../../node/errors.ts';
import type { ManifestJson } from '../../node/federation.ts';
import type { ErrorCode } from '../errors.ts';
import { text } from '../schema/facts.ts';
import * as schema from '../schema/federation.ts';
import * as wire from '../wire-federation.ts';
import { FEDERATORS, meshOf } from './federation-call.ts';
import { type Operation, operation } from './operation.ts';

/** What any change of the own manifest can be refused for. */
const MANIFEST_ERRORS = [
  'mesh_disabled',
  'manifest_not_found',
  'manifest_too_large',
  'manifest_malformed',
  'manifest_invalid',
  'manifest_expired',
  'manifest_stale',
  'manifest_equivocation',
  'rotation_unproven',
  'node_not_listed',
  'not_owner',
  'authority_mismatch',
  'bad_signature',
] as const satisfies ErrorCode[];

/** What can go wrong where the key of the organisation signs. */
const SIGNING_ERRORS = [...MANIFEST_ERRORS, 'org_key_missing', 'org_key_mismatch'] as const satisfies ErrorCode[];

/** `acme.example`, or any URI of it as Stigmem’s clients name it. @throws NodeError `manifest_not_found` */
function authorityOf(name: string): string {
  const authority = name
    .replace(/^stigmem:\/\//i, '')
    .split('/')[0]
    ?.toLowerCase();
  if (isAuthority(authority)) return authority;
  throw new NodeError(
    'manifest_not_found',
    'manifest not found or expired',
    'name an organisation by its authority, like acme.example',
  );
}

const listManifests = operation({
  name: 'org.list',
  method: 'GET',
  path: '/v1/federation/manifest',
  status: 200,
  tag: 'federation',
  summary: 'List the manifests of organisations that are known here',
  access: FEDERATORS,
  rate: 'read',
  input: {},
  output: schema.manifestList,
  errors: [],
  async handler(call) {
    const { federation } = call.components;
    const manifests = federation === null ? [] : await federation.manifests(call.who);
    return { body: { manifests: manifests.map(wire.knownManifest) } };
  },
});

const getManifest = operation({
  name: 'org.get',
  method: 'GET',
  path: '/v1/federation/manifest/{authority*}',
  status: 200,
  tag: 'federation',
  summary: 'Get the manifest of an organisation: its key, its nodes, its rotations',
  access: ['read', 'federate', 'admin'],
  rate: 'read',
  input: { params: z.object({ authority: text.describe('Authority, or a `stigmem://` URI of it') }) },
  output: schema.knownManifest,
  errors: ['manifest_not_found', 'mesh_disabled'],
  async handler(call, { params }) {
    const mesh = meshOf(call);
    return { body: wire.knownManifest(await mesh.manifest(authorityOf(params.authority))) };
  },
});

const putManifest = operation({
  name: 'org.adopt',
  method: 'PUT',
  path: '/v1/federation/manifest',
  status: 200,
  tag: 'federation',
  summary: 'Take over the manifest of this organisation, signed on another machine',
  description: 'For a further daemon of an organisation, and for one whose key is kept elsewhere.',
  access: ['admin'],
  rate: 'write',
  input: { body: schema.manifestPut },
  output: schema.knownManifest,
  errors: MANIFEST_ERRORS,
  async handler(call, { body }) {
    const manifest = (body.manifest ?? body) as ManifestJson;
    return { body: wire.knownManifest(await meshOf(call).importManifest(call.who, manifest)) };
  },
});

const rotateKey = operation({
  name: 'org.rotateKey',
  method: 'POST',
  path: '/v1/federation/org/rotate-key',
  status: 200,
  tag: 'federation',
  summary: 'Make a new key of the organisation, signed over by the old one',
  description: 'Peers follow the signature; they need not be asked. The old key is kept on disk.',
  access: ['admin'],
  rate: 'write',
  input: {},
  output: schema.knownManifest,
  errors: [...SIGNING_ERRORS, 'key_unwritable'],
  handler: async (call) => ({ body: wire.knownManifest(await meshOf(call).rotateOrgKey(call.who)) }),
});

const addNode = operation({
  name: 'org.addNode',
  method: 'POST',
  path: '/v1/federation/org/nodes',
  status: 200,
  tag: 'federation',
  summary: 'Let another daemon speak for this organisation',
  access: ['admin'],
  rate: 'write',
  input: { body: schema.orgNode },
  output: schema.knownManifest,
  errors: [...SIGNING_ERRORS, 'invalid_peer_id', 'node_listed', 'node_revoked', 'too_many_nodes'],
  async handler(call, { body }) {
    publicKeyFromPeerId(body.peer_id);
    const input = { peerId: body.peer_id, namespaces: body.namespaces };
    return { body: wire.knownManifest(await meshOf(call).addNode(call.who, input)) };
  },
});

const revokeNode = operation({
  name: 'org.revokeNode',
  method: 'DELETE',
  path: '/v1/federation/org/nodes/{peer_id}',
  status: 200,
  tag: 'federation',
  summary: 'Revoke the key of a daemon of this organisation, from now on',
  description: 'What it signed before stays and is marked; what it signs later is refused everywhere.',
  access: ['admin'],
  rate: 'write',
  input: { params: z.object({ peer_id: text }) },
  output: schema.knownManifest,
  errors: [...SIGNING_ERRORS, 'invalid_peer_id', 'node_revoked', 'peer_is_self'],
  async handler(call, { params }) {
    publicKeyFromPeerId(params.peer_id);
    return { body: wire.knownManifest(await meshOf(call).revokeNode(call.who, { peerId: params.peer_id })) };
  },
});

const forgetNode = operation({
  name: 'org.forgetNode',
  method: 'POST',
  path: '/v1/federation/org/nodes/{peer_id}/forget',
  status: 200,
  tag: 'federation',
  summary: 'Take a revoked daemon off the manifest, which lists at most 64',
  description:
    'Who has not received what it signed rightfully by then will refuse it as not the organisation’s. Its key can be listed again.',
  access: ['admin'],
  rate: 'write',
  input: { params: z.object({ peer_id: text }) },
  output: schema.knownManifest,
  errors: [...SIGNING_ERRORS, 'invalid_peer_id', 'node_not_revoked'],
  async handler(call, { params }) {
    publicKeyFromPeerId(params.peer_id);
    return { body: wire.knownManifest(await meshOf(call).forgetNode(call.who, { peerId: params.peer_id })) };
  },
});

export const orgOperations: readonly Operation[] = [
  listManifests,
  getManifest,
  putManifest,
  rotateKey,
  addNode,
  revokeNode,
  forgetNode,
];

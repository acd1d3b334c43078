import type { KeyObject } from 'node:crypto';
import { formatInstant, type Hlc } from '../facts/index.ts';
import { IdentityError } from './errors.ts';
import { fingerprint } from './fingerprint.ts';
import { MANIFEST_LIFE_MS, MAX_MANIFEST_NODES, MAX_ROTATIONS } from './limits.ts';
import {
  decodeManifest,
  MANIFEST_FORM,
  type ManifestNode,
  nodeOf,
  type OrgManifest,
  ROTATION_DOMAIN,
} from './manifest.ts';
import { rawPublicKey } from './node-key.ts';
import { byCodeUnit, signJson, withSignature } from './signed-json.ts';

/** With what and when a manifest is signed. */
export interface ManifestSigning {
  /** The private org key. */
  readonly orgKey: KeyObject;
  /** Unix ms. */
  readonly now: number;
  /** How long the manifest holds, ms; a year if not given. */
  readonly lifeMs?: number | undefined;
}

export interface ManifestNodeInit {
  readonly peerId: string;
  /** Authorities it may name in formal sources; the organisation's own, and so all below it, if not given. */
  readonly namespaces?: readonly string[] | undefined;
}

/**
 * The first manifest of an organisation, version 1.
 *
 * @throws IdentityError `manifest_malformed`, `not_owner`
 */
export function createManifest(
  init: { readonly authority: string } & ManifestNodeInit,
  signing: ManifestSigning,
): OrgManifest {
  const { authority } = init;
  return signed({ authority, version: 1, nodes: [nodeEntry(authority, init)], rotations: [] }, signing);
}

/**
 * Adds a node, or gives a listed one other namespaces.
 *
 * @throws IdentityError `node_revoked`, `too_many_nodes`, `manifest_malformed`, `not_owner`, `org_key_mismatch`
 */
export function withNode(manifest: OrgManifest, node: ManifestNodeInit, signing: ManifestSigning): OrgManifest {
  if (nodeOf(manifest, node.peerId)?.revoked_at !== undefined) {
    const hint = 'a key that was revoked stays so: make a new node key on that machine';
    throw new IdentityError('node_revoked', `${node.peerId} was revoked`, hint, { field: 'nodes' });
  }
  const others = manifest.nodes.filter(({ peer_id }) => peer_id !== node.peerId);
  if (others.length >= MAX_MANIFEST_NODES) {
    const message = `a manifest lists at most ${MAX_MANIFEST_NODES} nodes, revoked ones included`;
    throw new IdentityError('too_many_nodes', message, 'forget nodes that were revoked long ago', { field: 'nodes' });
  }
  return edited(manifest, { nodes: [...others, nodeEntry(manifest.authority, node)] }, signing);
}

/**
 * Revokes a node: what it signed up to `revokedAt` stays valid. Revoking it again can only move that moment back, since
 * a theft may turn out to be older than it seemed.
 *
 * @throws IdentityError `node_not_listed`, `org_key_mismatch`
 */
export function withoutNode(
  manifest: OrgManifest,
  peerId: string,
  revokedAt: Hlc,
  signing: ManifestSigning,
): OrgManifest {
  const node = listed(manifest, peerId);
  const revoked_at = node.revoked_at !== undefined && node.revoked_at < revokedAt ? node.revoked_at : revokedAt;
  const others = manifest.nodes.filter((one) => one !== node);
  return edited(manifest, { nodes: [...others, { ...node, revoked_at }] }, signing);
}

/**
 * Takes a revoked node off the list for good. Who did not receive its statements by then will refuse them as not the
 * organisation's, even those it signed rightfully.
 *
 * @throws IdentityError `node_not_listed`; `node_not_revoked`: revoke it first
 */
export function withoutRevokedNode(manifest: OrgManifest, peerId: string, signing: ManifestSigning): OrgManifest {
  const node = listed(manifest, peerId);
  if (node.revoked_at === undefined) {
    throw new IdentityError('node_not_revoked', `${peerId} still speaks for the organisation`, 'revoke it first');
  }
  return edited(manifest, { nodes: manifest.nodes.filter((one) => one !== node) }, signing);
}

/**
 * Hands the organisation over to a new key. The rotation is signed by the old one, the manifest by the new one.
 *
 * @param signing with the old key
 * @throws IdentityError `org_key_mismatch`, `manifest_malformed` for a key that was the organisation's before
 */
export function withRotation(manifest: OrgManifest, newKey: KeyObject, signing: ManifestSigning): OrgManifest {
  const from = keyText(assertOrgKey(manifest, signing.orgKey));
  const to = keyText(newKey);
  const { authority } = manifest;
  const at = formatInstant(signing.now);
  const rotation = { from, to, at, signature: signJson(ROTATION_DOMAIN, { authority, from, to, at }, signing.orgKey) };
  const rotations = [...manifest.rotations, rotation].slice(-MAX_ROTATIONS);
  const { version, nodes } = manifest;
  return signed({ authority, version: version + 1, nodes, rotations }, { ...signing, orgKey: newKey });
}

/**
 * A manifest that follows the keys on disk: after a crash between {@link rotateOrgKey} and storing the manifest, its org
 * key is one that was replaced. Each missing rotation is signed by its old key. Unchanged if nothing is missing.
 *
 * @param former private org keys that were replaced, oldest first
 * @param signing with the key of today
 * @throws IdentityError `org_key_mismatch` when the manifest's key is none of them
 */
export function withMissingRotations(
  manifest: OrgManifest,
  former: readonly KeyObject[],
  signing: ManifestSigning,
): OrgManifest {
  const today = keyText(signing.orgKey);
  if (manifest.org_key === today) return manifest;
  const keys = former.filter((key) => keyText(key) !== today);
  const at = keys.findIndex((key) => keyText(key) === manifest.org_key);
  if (at === -1) throw mismatch(manifest, signing.orgKey);
  const chain = [...keys.slice(at), signing.orgKey];
  return chain.slice(1).reduce((all, next, i) => withRotation(all, next, { ...signing, orgKey: chain[i]! }), manifest);
}

/** The same content, valid for another year. @throws IdentityError `org_key_mismatch` */
export function renewed(manifest: OrgManifest, signing: ManifestSigning): OrgManifest {
  return edited(manifest, {}, signing);
}

type Content = Pick<OrgManifest, 'authority' | 'version' | 'nodes' | 'rotations'>;

function edited(manifest: OrgManifest, change: Partial<Content>, signing: ManifestSigning): OrgManifest {
  assertOrgKey(manifest, signing.orgKey);
  const { authority, version, nodes, rotations } = manifest;
  return signed({ authority, nodes, rotations, ...change, version: version + 1 }, signing);
}

/** Reads back what it signed: nothing leaves here that others would refuse. */
function signed(content: Content, { orgKey, now, lifeMs = MANIFEST_LIFE_MS }: ManifestSigning): OrgManifest {
  const raw = rawPublicKey(orgKey);
  const unsigned = {
    v: 1,
    ...content,
    org_key: Buffer.from(raw).toString('base64url'),
    key_id: fingerprint(raw),
    issued_at: formatInstant(now),
    expires_at: formatInstant(now + lifeMs),
    nodes: content.nodes.toSorted((a, b) => byCodeUnit(a.peer_id, b.peer_id)),
  };
  return decodeManifest(withSignature(MANIFEST_FORM, unsigned, orgKey));
}

function nodeEntry(authority: string, { peerId, namespaces = [authority] }: ManifestNodeInit): ManifestNode {
  return { peer_id: peerId, namespaces: [...new Set(namespaces)].sort(byCodeUnit) };
}

function listed(manifest: OrgManifest, peerId: string): ManifestNode {
  const node = nodeOf(manifest, peerId);
  if (node !== undefined) return node;
  const message = `${peerId} is not a node of ${manifest.authority}`;
  throw new IdentityError('node_not_listed', message, '`stigmesh org` lists its nodes', { field: 'nodes' });
}

function keyText(key: KeyObject): string {
  return Buffer.from(rawPublicKey(key)).toString('base64url');
}

function assertOrgKey(manifest: OrgManifest, key: KeyObject): KeyObject {
  if (keyText(key) !== manifest.org_key) throw mismatch(manifest, key);
  return key;
}

function mismatch(manifest: OrgManifest, key: KeyObject): IdentityError {
  const message = `the org key here is ${fingerprint(rawPublicKey(key))}, the manifest of ${manifest.authority} is signed by ${manifest.key_id}`;
  const hint = 'edit the manifest on the machine that has its org key, or restore org.key from a backup';
  return new IdentityError('org_key_mismatch', message, hint, { field: 'org_key' });
}

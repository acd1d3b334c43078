import { type Hlc, isAuthority, isHlc, type JsonValue, parseInstant } from '../facts/index.ts';
import { ownsAuthority } from '../policy/sets.ts';
import { IdentityError } from './errors.ts';
import { fingerprint } from './fingerprint.ts';
import { MAX_MANIFEST_BYTES, MAX_MANIFEST_NODES, MAX_NODE_NAMESPACES, MAX_ROTATIONS } from './limits.ts';
import { isPeerId } from './node-key.ts';
import {
  decodeSigned,
  isPublicKeyText,
  isSignedBy,
  isUtcText,
  Members,
  malformed,
  type SignedForm,
} from './signed-json.ts';

// Type aliases and not interfaces, since only those are assignable to JSON types.

/** A node key that speaks for the organisation, or did until it was revoked. */
export type ManifestNode = {
  readonly peer_id: string;
  /** Authorities that formal sources of its statements may name, or names below them. Sorted. */
  readonly namespaces: readonly string[];
  /** What it signed up to this reading stays valid, nothing after it. */
  readonly revoked_at?: Hlc;
};

/** A change of the org key, signed by the key that was replaced. */
export type KeyRotation = {
  /** Org keys, 32 bytes base64url. */
  readonly from: string;
  readonly to: string;
  /** RFC 3339 UTC. */
  readonly at: string;
  /** By `from`, 64 bytes base64url. */
  readonly signature: string;
};

/** Who an organisation is and which nodes speak for it, signed by its org key (spec/mesh.md, Identity). */
export type OrgManifest = {
  readonly v: 1;
  readonly authority: string;
  /** 32 bytes, base64url. */
  readonly org_key: string;
  /** Fingerprint of `org_key`, which people compare. */
  readonly key_id: string;
  /** From 1; each change and renewal adds one. */
  readonly version: number;
  /** RFC 3339 UTC. */
  readonly issued_at: string;
  readonly expires_at: string;
  /** Sorted by peer id. */
  readonly nodes: readonly ManifestNode[];
  /** Oldest first; the last one leads to `org_key`. */
  readonly rotations: readonly KeyRotation[];
  /** By `org_key`, 64 bytes base64url. */
  readonly signature: string;
};

export const MANIFEST_FORM: SignedForm = {
  name: 'manifest',
  domain: 'stigmesh-manifest-v1\0',
  maxBytes: MAX_MANIFEST_BYTES,
  tooLarge: 'manifest_too_large',
  malformed: 'manifest_malformed',
  section: 'Identity',
};

export const ROTATION_DOMAIN = 'stigmesh-rotation-v1\0';

/**
 * Reads a manifest without checking signatures: for what this node stored itself. Everything else about it is checked.
 *
 * @param input bytes, which must be canonical, or JSON
 * @throws IdentityError `manifest_too_large`, `manifest_malformed`, `not_owner`, `rotation_unproven`
 */
export function decodeManifest(input: Uint8Array | JsonValue): OrgManifest {
  const members = new Members(decodeSigned(input, MANIFEST_FORM), '', MANIFEST_FORM, [
    'v',
    'authority',
    'org_key',
    'key_id',
    'version',
    'issued_at',
    'expires_at',
    'nodes',
    'rotations',
    'signature',
  ]);
  const v = members.version();
  const authority = members.get('authority', isAuthority, 'an authority name');
  const org_key = members.get('org_key', isPublicKeyText, '32 bytes in base64url');
  const key_id = fingerprint(Buffer.from(org_key, 'base64url'));
  if (members.get('key_id', isText, 'text') !== key_id) throw members.refuse('key_id', 'is not that of org_key');
  const version = members.get('version', isVersion, 'a positive integer');
  const issued_at = members.get('issued_at', isUtcText, 'a UTC instant with milliseconds');
  const expires_at = members.get('expires_at', isUtcText, 'a UTC instant with milliseconds');
  if (expires_at <= issued_at) throw members.refuse('expires_at', 'is not after issued_at');
  const nodes = members.list('nodes', MAX_MANIFEST_NODES).map((node, at) => readNode(node, `nodes[${at}]`, authority));
  const disorder = nodes.findIndex((node, at) => at > 0 && node.peer_id <= nodes[at - 1]!.peer_id);
  if (disorder !== -1) throw members.refuse(`nodes[${disorder}].peer_id`, 'is repeated or out of order');
  const rotations = members.list('rotations', MAX_ROTATIONS).map(readRotation);
  checkChain(rotations, org_key);
  const signature = members.signature();
  return { v, authority, org_key, key_id, version, issued_at, expires_at, nodes, rotations, signature };
}

/**
 * Reads a manifest and checks every signature in it, off the event loop. That it is the right organisation's is for the
 * caller to know: by its pinned key ({@link succeeds}), or by the fingerprint that people compare.
 *
 * @param now Unix ms; if given, an expired manifest is refused
 * @throws IdentityError as {@link decodeManifest}, `bad_signature`, `rotation_unproven`, `manifest_expired`
 */
export async function verifyManifest(input: Uint8Array | JsonValue, now?: number): Promise<OrgManifest> {
  const manifest = decodeManifest(input);
  const { authority } = manifest;
  if (!(await isSignedBy(MANIFEST_FORM.domain, manifest, orgKeyOf(manifest)))) {
    const hint = 'it was altered on the way, or forged; fetch it from the organisation itself';
    throw new IdentityError('bad_signature', 'the manifest is not signed by its org_key', hint, { field: 'signature' });
  }
  for (const [at, rotation] of manifest.rotations.entries()) {
    const { from, to, at: moment, signature } = rotation;
    const signed = { authority, from, to, at: moment, signature };
    if (!(await isSignedBy(ROTATION_DOMAIN, signed, Buffer.from(from, 'base64url')))) {
      throw unproven(`the rotation to ${idOf(to)} is not signed by the key it replaces`, `rotations[${at}].signature`);
    }
  }
  if (now !== undefined && isManifestExpired(manifest, now)) {
    const hint = 'ask the organisation to renew it; its daemon does so by itself while it runs';
    const message = `the manifest of ${authority} expired at ${manifest.expires_at}`;
    throw new IdentityError('manifest_expired', message, hint, { field: 'expires_at' });
  }
  return manifest;
}

/** @param now Unix ms */
export function isManifestExpired(manifest: OrgManifest, now: number): boolean {
  return parseInstant(manifest.expires_at, 'expires_at') <= now;
}

/**
 * Whether a verified manifest takes the place of the one that is known. False for what is known already and for an older
 * version.
 *
 * @throws IdentityError `authority_mismatch`; `rotation_unproven`: another key, to which no signed rotations lead from the
 *   known one; `manifest_equivocation`: the same version with other content
 */
export function succeeds(known: OrgManifest, next: OrgManifest): boolean {
  if (known.authority !== next.authority) {
    const message = `a manifest of ${next.authority} cannot follow one of ${known.authority}`;
    throw new IdentityError('authority_mismatch', message, 'keep manifests by authority', { field: 'authority' });
  }
  if (next.version < known.version && leadsTo(known, next.org_key)) return false;
  if (!leadsTo(next, known.org_key)) {
    throw unproven(
      `${known.authority} is known by the key ${known.key_id}, and nothing signed by it leads to ${next.key_id}`,
      'rotations',
    );
  }
  if (next.version < known.version || (next.version === known.version && next.signature !== known.signature)) {
    const message = `${known.authority} signed manifests that do not follow each other, versions ${known.version} and ${next.version}`;
    const hint = 'two of its daemons edit its manifest apart from each other; its operator must reissue it';
    throw new IdentityError('manifest_equivocation', message, hint, { field: 'version' });
  }
  return next.version > known.version;
}

/**
 * Whether a node speaks for the organisation at a reading of its clock.
 *
 * @param hlc of what it signed
 */
export function speaksFor(manifest: OrgManifest, peerId: string, hlc: Hlc): 'yes' | 'not_listed' | 'revoked' {
  const node = nodeOf(manifest, peerId);
  if (node === undefined) return 'not_listed';
  return node.revoked_at !== undefined && hlc > node.revoked_at ? 'revoked' : 'yes';
}

/** Authorities a node may name in formal sources, sorted; none for a node that is not listed. */
export function namespacesOf(manifest: OrgManifest, peerId: string): readonly string[] {
  return nodeOf(manifest, peerId)?.namespaces ?? [];
}

/** Whether a node may name an authority in formal sources: one of its namespaces, or a name below one. */
export function mayName(manifest: OrgManifest, peerId: string, authority: string): boolean {
  return namespacesOf(manifest, peerId).some((namespace) => ownsAuthority(namespace, authority));
}

export function nodeOf(manifest: OrgManifest, peerId: string): ManifestNode | undefined {
  return manifest.nodes.find((node) => node.peer_id === peerId);
}

/** What people compare to know the organisation, `K7QX4-M2RDE-9PVTA-3HWNC`. */
export function manifestFingerprint(manifest: OrgManifest): string {
  return manifest.key_id;
}

/** @returns 32 bytes */
export function orgKeyOf(manifest: OrgManifest): Uint8Array {
  return Buffer.from(manifest.org_key, 'base64url');
}

/** Whether a key is the manifest's, or one that it says was replaced. */
function leadsTo({ org_key, rotations }: OrgManifest, key: string): boolean {
  return key === org_key || rotations.some(({ from }) => from === key);
}

function readNode(value: JsonValue, path: string, authority: string): ManifestNode {
  const members = new Members(value, path, MANIFEST_FORM, ['peer_id', 'namespaces'], ['revoked_at']);
  const peer_id = members.get('peer_id', isPeerId, 'the peer id of an Ed25519 key');
  const namespaces = members.orderedTexts('namespaces', MAX_NODE_NAMESPACES, isAuthority, 'an authority name');
  assertOwned(namespaces, authority, `${path}.namespaces`);
  if (!members.has('revoked_at')) return { peer_id, namespaces };
  return { peer_id, namespaces, revoked_at: members.get('revoked_at', isHlc, 'a clock reading') };
}

/** @throws IdentityError `not_owner` */
export function assertOwned(namespaces: readonly string[], authority: string, field: string): void {
  const foreign = namespaces.find((namespace) => !ownsAuthority(authority, namespace));
  if (foreign === undefined) return;
  const message = `${foreign} is neither ${authority} nor a name below it`;
  throw new IdentityError('not_owner', message, 'an organisation gives its nodes names of its own only', { field });
}

function readRotation(value: JsonValue, at: number): KeyRotation {
  const members = new Members(value, `rotations[${at}]`, MANIFEST_FORM, ['from', 'to', 'at', 'signature']);
  return {
    from: members.get('from', isPublicKeyText, '32 bytes in base64url'),
    to: members.get('to', isPublicKeyText, '32 bytes in base64url'),
    at: members.get('at', isUtcText, 'a UTC instant with milliseconds'),
    signature: members.signature(),
  };
}

/** Each rotation begins where the one before it ends, the last one ends at the org key, and no key comes back. */
function checkChain(rotations: readonly KeyRotation[], orgKey: string): void {
  if (rotations.length === 0) return;
  const keys = [...rotations.map(({ from }) => from), orgKey];
  const broken = rotations.findIndex(({ to }, at) => to !== keys[at + 1]);
  if (broken !== -1) throw unproven('the chain of rotations is broken', `rotations[${broken}].to`);
  if (new Set(keys).size !== keys.length) {
    throw malformed(MANIFEST_FORM, 'rotations', 'return to a key that was replaced');
  }
}

function unproven(message: string, field: string): IdentityError {
  const hint =
    'ask the organisation for its fingerprint by another way; if it lost its key, remove the peer and pair anew';
  return new IdentityError('rotation_unproven', message, hint, { field });
}

function idOf(key: string): string {
  return fingerprint(Buffer.from(key, 'base64url'));
}

function isText(value: unknown): value is string {
  return typeof value === 'string';
}

function isVersion(value: unknown): value is number {
  return Number.isSafeInteger(value) && (value as number) >= 1;
}

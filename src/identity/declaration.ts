import type { KeyObject } from 'node:crypto';
import {
  type FactScope,
  formatInstant,
  isAuthority,
  type JsonValue,
  normalizeRelation,
  parseInstant,
  SCOPES,
} from '../facts/index.ts';
import type { PeerTerms } from '../policy/sharing.ts';
import { IdentityError, type IdentityErrorCode } from './errors.ts';
import {
  DECLARATION_SKEW_MS,
  MAX_ADDR_CHARACTERS,
  MAX_ADDRS,
  MAX_DECLARATION_BYTES,
  MAX_DECLARED_NAMESPACES,
  NONCE_BYTES,
} from './limits.ts';
import { isPeerId, peerIdFromPublicKey, rawPublicKey } from './node-key.ts';
import {
  byCodeUnit,
  decodeSigned,
  isPublicKeyText,
  isSignedBy,
  isUtcText,
  Members,
  type SignedForm,
  withSignature,
} from './signed-json.ts';

/** What may be shared with a peer: `local` never. */
export type SharedScope = Exclude<FactScope, 'local'>;
/** In the one order in which declarations and invites name them. */
export const SHARED_SCOPES: readonly SharedScope[] = SCOPES.filter((scope) => scope !== 'local');

/** What a node tells one peer about itself and about what it gives and takes (spec/mesh.md, Declarations). */
export type PeerDeclaration = {
  readonly v: 1;
  /** Peer id of who declares. */
  readonly node_id: string;
  /** Authority of its organisation. */
  readonly org: string;
  /** Multiaddrs it can be reached at. */
  readonly addrs: readonly string[];
  /** Node key, 32 bytes base64url. */
  readonly public_key: string;
  /** Peer id of who it is for. */
  readonly audience: string;
  /** In the order team, company, public. */
  readonly gives: readonly SharedScope[];
  readonly takes: readonly SharedScope[];
  /** Relation namespaces, sorted; absent: all. */
  readonly namespaces?: readonly string[];
  /** The other side's nonce on this stream, 16 bytes in hex. */
  readonly nonce: string;
  /** RFC 3339 UTC. */
  readonly signed_at: string;
  /** Nothing is shared from then on. */
  readonly expires_at?: string;
  /** By the node key, 64 bytes base64url. */
  readonly signature: string;
};

export const DECLARATION_FORM: SignedForm = {
  name: 'declaration',
  domain: 'stigmesh-declaration-v1\0',
  maxBytes: MAX_DECLARATION_BYTES,
  tooLarge: 'declaration_too_large',
  malformed: 'declaration_malformed',
  section: 'Declarations',
};

export interface DeclarationInit {
  readonly org: string;
  readonly addrs: readonly string[];
  /** Peer id of who it is for. */
  readonly audience: string;
  /** `local` is refused, also here. */
  readonly terms: PeerTerms;
  /** The other side's nonce. */
  readonly nonce: string;
  /** Unix ms. */
  readonly now: number;
  /** Unix ms; null: never. */
  readonly expiresAt: number | null;
}

/** @throws IdentityError `declaration_too_large`, `declaration_malformed` */
export function signDeclaration(init: DeclarationInit, nodeKey: KeyObject): PeerDeclaration {
  const raw = rawPublicKey(nodeKey);
  const { org, addrs, audience, terms, nonce, now, expiresAt } = init;
  const unsigned = {
    v: 1,
    node_id: peerIdFromPublicKey(raw),
    org,
    addrs: [...new Set(addrs)],
    public_key: Buffer.from(raw).toString('base64url'),
    audience,
    gives: inOrder(terms.gives),
    takes: inOrder(terms.takes),
    ...(terms.namespaces === null ? {} : { namespaces: [...new Set(terms.namespaces)].sort(byCodeUnit) }),
    nonce,
    signed_at: formatInstant(now),
    ...(expiresAt === null ? {} : { expires_at: formatInstant(expiresAt) }),
  };
  return decodeDeclaration(withSignature(DECLARATION_FORM, unsigned, nodeKey));
}

/** What a declaration must say on this connection. */
export interface ExpectedDeclaration {
  /** Peer id that the connection proved. */
  readonly peerId: string;
  /** Our own peer id. */
  readonly audience: string;
  /** The nonce we sent on this stream. */
  readonly nonce: string;
  /** Unix ms. */
  readonly now: number;
}

/**
 * Reads a declaration and checks that it was made by the node at the other end of this connection, for us, now. Whether
 * the organisation it names lists this node is for its manifest to say.
 *
 * @throws IdentityError `declaration_too_large`, `declaration_malformed`, `declaration_wrong_node`,
 *   `declaration_wrong_audience`, `declaration_wrong_nonce`, `declaration_stale`, `declaration_expired`, `bad_signature`
 */
export async function verifyDeclaration(
  input: Uint8Array | JsonValue,
  expected: ExpectedDeclaration,
): Promise<PeerDeclaration> {
  const declaration = decodeDeclaration(input);
  const { node_id, audience, nonce, public_key, signed_at, expires_at } = declaration;
  if (node_id !== expected.peerId) {
    throw refused('declaration_wrong_node', 'node_id', 'is not the peer of this connection', RELAYED);
  }
  if (audience !== expected.audience) {
    throw refused('declaration_wrong_audience', 'audience', 'is not this node', RELAYED);
  }
  if (nonce !== expected.nonce) {
    throw refused('declaration_wrong_nonce', 'nonce', 'is not the one of this stream', RELAYED);
  }
  const off = parseInstant(signed_at, 'signed_at') - expected.now;
  if (Math.abs(off) > DECLARATION_SKEW_MS) {
    const problem = `is ${Math.abs(off)} ms ${off > 0 ? 'ahead' : 'ago'}, the limit is ${DECLARATION_SKEW_MS} ms`;
    throw refused('declaration_stale', 'signed_at', problem, 'check the clocks of both machines');
  }
  if (expires_at !== undefined && parseInstant(expires_at, 'expires_at') <= expected.now) {
    throw refused('declaration_expired', 'expires_at', 'has passed', 'the operator of the peer has to extend it');
  }
  if (!(await isSignedBy(DECLARATION_FORM.domain, declaration, Buffer.from(public_key, 'base64url')))) {
    throw refused('bad_signature', 'signature', "is not the node key's", 'it was altered on the way, or forged');
  }
  return declaration;
}

/** What a declaration gives and takes, as {@link isShared} asks for it. */
export function declaredTerms({ gives, takes, namespaces }: PeerDeclaration): PeerTerms {
  return { gives, takes, namespaces: namespaces ?? null };
}

const RELAYED = 'a declaration holds for one stream between two nodes; nobody can pass it on';

function decodeDeclaration(input: Uint8Array | JsonValue): PeerDeclaration {
  const members = new Members(
    decodeSigned(input, DECLARATION_FORM),
    '',
    DECLARATION_FORM,
    ['v', 'node_id', 'org', 'addrs', 'public_key', 'audience', 'gives', 'takes', 'nonce', 'signed_at', 'signature'],
    ['namespaces', 'expires_at'],
  );
  const declaration: { -readonly [M in keyof PeerDeclaration]: PeerDeclaration[M] } = {
    v: members.version(),
    node_id: members.get('node_id', isPeerId, 'the peer id of an Ed25519 key'),
    org: members.get('org', isAuthority, 'an authority name'),
    addrs: members.texts('addrs', MAX_ADDRS, isAddrText, 'a multiaddr'),
    public_key: members.get('public_key', isPublicKeyText, '32 bytes in base64url'),
    audience: members.get('audience', isPeerId, 'the peer id of an Ed25519 key'),
    gives: members.orderedTexts('gives', SHARED_SCOPES.length, isSharedScope, SCOPE_NAMES, byWidth),
    takes: members.orderedTexts('takes', SHARED_SCOPES.length, isSharedScope, SCOPE_NAMES, byWidth),
    nonce: members.get('nonce', isNonce, `${NONCE_BYTES} bytes in lower-case hex`),
    signed_at: members.get('signed_at', isUtcText, 'a UTC instant with milliseconds'),
    signature: members.signature(),
  };
  if (members.has('namespaces')) {
    const expected = 'a relation namespace';
    declaration.namespaces = members.orderedTexts('namespaces', MAX_DECLARED_NAMESPACES, isNamespace, expected);
  }
  if (members.has('expires_at')) {
    declaration.expires_at = members.get('expires_at', isUtcText, 'a UTC instant with milliseconds');
    if (declaration.expires_at <= declaration.signed_at) throw members.refuse('expires_at', 'is not after signed_at');
  }
  if (peerIdFromPublicKey(Buffer.from(declaration.public_key, 'base64url')) !== declaration.node_id) {
    throw refused('declaration_wrong_node', 'public_key', 'is not the key of node_id', RELAYED);
  }
  return declaration;
}

const SCOPE_NAMES = 'team, company or public';

export function isSharedScope(value: unknown): value is SharedScope {
  return (SHARED_SCOPES as readonly unknown[]).includes(value);
}

function byWidth(a: SharedScope, b: SharedScope): number {
  return SHARED_SCOPES.indexOf(a) - SHARED_SCOPES.indexOf(b);
}

/** Keeps what is no shared scope, so that it is refused and not forgotten. */
function inOrder(scopes: readonly FactScope[]): readonly FactScope[] {
  return SCOPES.filter((scope) => scopes.includes(scope));
}

/** A relation namespace in its one spelling: what may stand before the first colon of a relation, or nothing. */
export function isNamespace(value: unknown): value is string {
  if (typeof value !== 'string' || value.includes(':')) return false;
  try {
    return normalizeRelation(`${value}:x`) === `${value}:x`;
  } catch {
    return false;
  }
}

/** Whether a text has the outer form of a multiaddr. Who dials it looks closer. */
export function isAddrText(value: unknown): value is string {
  return typeof value === 'string' && value.length <= MAX_ADDR_CHARACTERS && /^\/[a-z0-9-]+(\/[!-.0-~]+)*$/.test(value);
}

export function isNonce(value: unknown): value is string {
  return typeof value === 'string' && value.length === 2 * NONCE_BYTES && /^[0-9a-f]+$/.test(value);
}

function refused(code: IdentityErrorCode, field: string, problem: string, hint: string): IdentityError {
  return new IdentityError(code, `the declaration: ${field} ${problem}`, hint, { field });
}

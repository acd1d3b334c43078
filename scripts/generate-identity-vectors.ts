/**
 * Writes spec/vectors/mesh-identity.json: manifests, rotations, declarations, invites and proofs of fixed keys at fixed
 * times. Run by `npm run generate:vectors`; a test compares the committed file with it, and checks each vector by other
 * implementations than the ones that made it.
 */
import { createPrivateKey, type KeyObject } from 'node:crypto';
import { writeFileSync } from 'node:fs';
import { canonicalize, formatHlc, type JsonObject, type JsonValue } from '../src/facts/index.ts';
import {
  createManifest,
  encodeInvite,
  hashSecret,
  type Invite,
  inviterProof,
  joinProof,
  type OrgManifest,
  type ProofContext,
  peerIdFromPublicKey,
  rawPublicKey,
  renewed,
  signDeclaration,
  withNode,
  withoutNode,
  withRotation,
} from '../src/identity/index.ts';
import { signedJsonMessage, signJson } from '../src/identity/signed-json.ts';

const FILE = new URL('../spec/vectors/mesh-identity.json', import.meta.url);

/** Unix ms of every vector: 2026-11-21T12:00:00.000Z. */
const NOW = 1_795_262_400_000;
const DAY = 24 * 60 * 60 * 1000;
const AUTHORITY = 'acme.example';

const MANIFEST_DOMAIN = 'stigmesh-manifest-v1\0';
const ROTATION_DOMAIN = 'stigmesh-rotation-v1\0';
const DECLARATION_DOMAIN = 'stigmesh-declaration-v1\0';

/** Seeds of RFC 8032 keys: one byte, thirty-two times. */
const SEEDS = { org_1: '01', org_2: '02', org_3: '03', node_1: '11', node_2: '12', node_3: '13', stranger: '1f' };
type KeyName = keyof typeof SEEDS;

const keys = Object.fromEntries(
  Object.entries(SEEDS).map(([name, byte]) => [name, privateKeyOf(byte.repeat(32))]),
) as Record<KeyName, KeyObject>;
const peer = (name: KeyName) => peerIdFromPublicKey(rawPublicKey(keys[name]));
const orgKey = (name: KeyName) => Buffer.from(rawPublicKey(keys[name])).toString('base64url');

/** The private key of an RFC 8032 seed (RFC 8410, 7). */
export function privateKeyOf(seedHex: string): KeyObject {
  const der = Buffer.concat([Buffer.from('302e020100300506032b657004220420', 'hex'), Buffer.from(seedHex, 'hex')]);
  return createPrivateKey({ key: der, format: 'der', type: 'pkcs8' });
}

/** The whole file, as JSON. */
export function identityVectors(): JsonObject {
  const vectors = [...manifestVectors(), ...declarationVectors(), ...inviteVectors(), ...proofVectors()];
  return {
    description:
      'Org manifests with their rotations, peer declarations, invites and proofs of joining. `canonical` is text whose ' +
      'UTF-8 bytes are received; `message` is what is signed, in hex; `error` the code of a refusal.',
    spec: 'spec/mesh.md',
    now: NOW,
    keys: Object.fromEntries(
      Object.entries(SEEDS).map(([name, byte]) => {
        const raw = rawPublicKey(keys[name as KeyName]);
        const public_key = Buffer.from(raw).toString('base64url');
        return [name, { seed: byte.repeat(32), public_key, peer_id: peerIdFromPublicKey(raw) }];
      }),
    ),
    vectors,
  };
}

function manifestVectors(): JsonObject[] {
  const at = (days: number, key: KeyName) => ({ orgKey: keys[key], now: NOW - (10 - days) * DAY });
  const first = createManifest({ authority: AUTHORITY, peerId: peer('node_1') }, at(0, 'org_1'));
  const eu = { peerId: peer('node_2'), namespaces: ['eu.acme.example', 'ops.acme.example'] };
  const second = withNode(first, eu, at(1, 'org_1'));
  const third = withoutNode(second, peer('node_1'), formatHlc(NOW - 8 * DAY, 7), at(2, 'org_1'));
  const rotated = withRotation(third, keys.org_2, at(3, 'org_1'));
  const again = withRotation(rotated, keys.org_3, at(4, 'org_2'));
  const last = renewed(again, at(5, 'org_3'));
  const accepted = (id: string, description: string, manifest: OrgManifest, follows: string | null) => ({
    id,
    description,
    kind: 'manifest',
    follows,
    canonical: canonicalize(manifest),
    message: hex(signedJsonMessage(MANIFEST_DOMAIN, manifest)),
    rotation_messages: manifest.rotations.map(({ from, to, at: moment }) =>
      hex(signedJsonMessage(ROTATION_DOMAIN, { authority: AUTHORITY, from, to, at: moment })),
    ),
    fingerprint: manifest.key_id,
  });
  return [
    accepted('manifest-first', 'version 1 with one node for the whole authority', first, null),
    accepted('manifest-node', 'a second node, for two names below the authority', second, 'manifest-first'),
    accepted('manifest-revoked', 'the first node is revoked from a reading on', third, 'manifest-node'),
    accepted('manifest-rotated', 'a new org key, signed over by the old one', rotated, 'manifest-revoked'),
    accepted('manifest-rotated-twice', 'a second rotation continues the chain', again, 'manifest-rotated'),
    accepted('manifest-renewed', 'renewed under the newest key; it follows the very first', last, 'manifest-first'),
    ...refusedManifests(second, again),
    ...successions(first, second, third),
  ];
}

function refusedManifests(plain: OrgManifest, rotated: OrgManifest): JsonObject[] {
  const refused = (id: string, description: string, manifest: JsonObject, error: string, field: string | null) => ({
    id: `manifest-refused-${id}`,
    description,
    kind: 'manifest-refused',
    canonical: canonicalize(manifest),
    error,
    field,
  });
  const signed = (change: JsonObject, base: OrgManifest = plain, key: KeyName = 'org_1'): JsonObject => {
    const manifest: JsonObject = { ...base, ...change };
    return { ...manifest, signature: signJson(MANIFEST_DOMAIN, manifest, keys[key]) };
  };
  const nodes = plain.nodes;
  const node = nodes[0]!;
  const rotations = rotated.rotations;
  const forged = { ...rotations[0]!, at: rotations[1]!.at };
  const malformed: readonly [string, string, JsonObject, string | null][] = [
    ['version-2', 'a version of the form that is not known', signed({ v: 2 }), 'v'],
    ['unknown-member', 'a member that is not known', signed({ motto: 'we deliver' }), 'motto'],
    ['missing-member', 'no rotations at all is an empty list', signed({ rotations: undefined }), 'rotations'],
    ['authority', 'an authority in upper case', signed({ authority: 'Acme.example' }), 'authority'],
    ['org-key', 'an org key with padding', signed({ org_key: `${plain.org_key}=` }), 'org_key'],
    ['key-id', 'the fingerprint of another key', signed({ key_id: rotated.key_id }), 'key_id'],
    ['version-0', 'a version below 1', signed({ version: 0 }), 'version'],
    ['version-fraction', 'a version that is not whole', signed({ version: 1.5 }), 'version'],
    ['issued', 'an instant without milliseconds', signed({ issued_at: '2026-11-21T12:00:00Z' }), 'issued_at'],
    ['expires', 'an end before the beginning', signed({ expires_at: plain.issued_at }), 'expires_at'],
    ['node-order', 'nodes out of order', signed({ nodes: nodes.toReversed() }), 'nodes[1].peer_id'],
    ['node-twice', 'one node twice', signed({ nodes: [node, node] }), 'nodes[1].peer_id'],
    [
      'node-id',
      'a peer id that holds no Ed25519 key',
      signed({ nodes: [{ ...node, peer_id: 'Qm' }] }),
      'nodes[0].peer_id',
    ],
    [
      'namespace-order',
      'namespaces out of order',
      signed({ nodes: [{ ...node, namespaces: ['b.acme.example', 'a.acme.example'] }] }),
      'nodes[0].namespaces[1]',
    ],
    [
      'revoked-at',
      'a revocation that is no clock reading',
      signed({ nodes: [{ ...node, revoked_at: '1' }] }),
      'nodes[0].revoked_at',
    ],
    [
      'key-returns',
      'rotations that return to a key that was replaced',
      signed({ rotations: [rotation('org_1', 'org_2'), rotation('org_2', 'org_1')] }),
      'rotations',
    ],
    ['signature', 'a signature of another length', { ...plain, signature: plain.signature.slice(2) }, 'signature'],
  ];
  return [
    ...malformed.map(([id, description, manifest, field]) =>
      refused(id, description, manifest, 'manifest_malformed', field),
    ),
    refused(
      'foreign-namespace',
      "a namespace that is another organisation's",
      signed({ nodes: [{ ...node, namespaces: ['notacme.example'] }] }),
      'not_owner',
      'nodes[0].namespaces',
    ),
    refused('altered', 'altered after it was signed', { ...plain, version: 9 }, 'bad_signature', 'signature'),
    refused('foreign-key', 'signed by another key', signed({}, plain, 'org_2'), 'bad_signature', 'signature'),
    refused(
      'chain-broken',
      'a chain with a link missing',
      signed({ rotations: rotations.slice(0, 1) }, rotated, 'org_3'),
      'rotation_unproven',
      'rotations[0].to',
    ),
    refused(
      'rotation-forged',
      'a rotation that the replaced key did not sign',
      signed({ rotations: [forged, rotations[1]!] }, rotated, 'org_3'),
      'rotation_unproven',
      'rotations[0].signature',
    ),
  ];
}

function rotation(from: KeyName, to: KeyName, signer: KeyName = from): JsonObject {
  const signed = { authority: AUTHORITY, from: orgKey(from), to: orgKey(to), at: '2026-11-20T00:00:00.000Z' };
  const { authority: _, ...members } = signed;
  return { ...members, signature: signJson(ROTATION_DOMAIN, signed, keys[signer]) };
}

function successions(first: OrgManifest, second: OrgManifest, third: OrgManifest): JsonObject[] {
  const succession = (id: string, description: string, known: OrgManifest, next: OrgManifest, outcome: JsonObject) => ({
    id: `succession-${id}`,
    description,
    kind: 'succession',
    known: canonicalize(known),
    next: canonicalize(next),
    ...outcome,
  });
  const by = (name: KeyName) => ({ orgKey: keys[name], now: NOW });
  const rotated = withRotation(second, keys.org_2, by('org_1'));
  const usurped = createManifest({ authority: AUTHORITY, peerId: peer('stranger') }, by('stranger'));
  const other = createManifest({ authority: 'other.example', peerId: peer('stranger') }, by('org_1'));
  const fork = withNode(first, { peerId: peer('node_3') }, by('org_1'));
  const stale = withoutNode(third, peer('node_2'), formatHlc(NOW, 0), by('org_1'));
  return [
    succession('newer', 'a higher version under the same key', first, third, { succeeds: true }),
    succession('same', 'the same again', second, second, { succeeds: false }),
    succession('older', 'a replay of what was replaced', third, first, { succeeds: false }),
    succession('rotated', 'a new key that the known one signed for', second, rotated, { succeeds: true }),
    succession('before-rotation', 'a replay from before the rotation', rotated, second, { succeeds: false }),
    succession('usurped', 'another key without any rotation', first, renewed(usurped, by('stranger')), {
      error: 'rotation_unproven',
    }),
    succession('old-key', 'the replaced key goes on as if nothing had been', rotated, stale, {
      error: 'rotation_unproven',
    }),
    succession('equivocation', 'two manifests with one version', second, fork, { error: 'manifest_equivocation' }),
    succession('authority', "another authority's manifest", first, other, { error: 'authority_mismatch' }),
  ];
}

function declarationVectors(): JsonObject[] {
  const nonce = '000102030405060708090a0b0c0d0e0f';
  const init = {
    org: AUTHORITY,
    addrs: ['/ip4/192.0.2.7/tcp/4701', '/dns4/mesh.acme.example/tcp/4701'],
    audience: peer('node_3'),
    terms: { gives: ['public', 'company'], takes: ['public'], namespaces: ['roadmap', 'memory'] },
    nonce,
    now: NOW,
    expiresAt: NOW + 30 * DAY,
  } as const;
  const full = signDeclaration(init, keys.node_1);
  const bare = signDeclaration(
    { ...init, addrs: [], terms: { gives: [], takes: [], namespaces: null }, expiresAt: null },
    keys.node_1,
  );
  const expected = { peer_id: peer('node_1'), audience: peer('node_3'), nonce, now: NOW };
  const accepted = (id: string, description: string, declaration: JsonObject, at = NOW) => ({
    id: `declaration-${id}`,
    description,
    kind: 'declaration',
    canonical: canonicalize(declaration),
    message: hex(signedJsonMessage(DECLARATION_DOMAIN, declaration)),
    expected: { ...expected, now: at },
  });
  const refused = (
    id: string,
    description: string,
    change: JsonObject,
    error: string,
    field: string | null,
    other: JsonObject = {},
  ) => {
    const declaration: JsonObject = { ...full, ...change };
    const signature = 'signature' in change ? change.signature : signJson(DECLARATION_DOMAIN, declaration, keys.node_1);
    return {
      id: `declaration-refused-${id}`,
      description,
      kind: 'declaration-refused',
      canonical: canonicalize({ ...declaration, signature }),
      expected: { ...expected, ...other },
      error,
      field,
    };
  };
  const bad = 'declaration_malformed';
  return [
    accepted('full', 'every member', full),
    accepted('bare', 'shares nothing, for ever', bare),
    accepted('ahead', 'signed by a clock five minutes ahead', full, NOW - 5 * 60 * 1000),
    refused('local', 'local is never given', { gives: ['local'] }, bad, 'gives[0]'),
    refused('order', 'scopes out of order', { gives: ['public', 'company'] }, bad, 'gives[1]'),
    refused('twice', 'a scope twice', { takes: ['public', 'public'] }, bad, 'takes'),
    refused('addr', 'what is not a multiaddr', { addrs: ['http://acme.example'] }, bad, 'addrs[0]'),
    refused('namespace', 'a namespace with a colon', { namespaces: ['a:b'] }, bad, 'namespaces[0]'),
    refused('nonce-form', 'a nonce in upper case', { nonce: nonce.toUpperCase() }, bad, 'nonce'),
    refused('member', 'a member that is not known', { priority: 1 }, bad, 'priority'),
    refused('expires', 'an end before the beginning', { expires_at: full.signed_at }, bad, 'expires_at'),
    refused(
      'key',
      'a key that is not of node_id',
      { public_key: orgKey('node_2') },
      'declaration_wrong_node',
      'public_key',
    ),
    refused('relayed', 'over a connection of another peer', {}, 'declaration_wrong_node', 'node_id', {
      peer_id: peer('node_2'),
    }),
    refused('audience', 'for another node', {}, 'declaration_wrong_audience', 'audience', { audience: peer('node_2') }),
    refused('replayed', 'on another stream', {}, 'declaration_wrong_nonce', 'nonce', { nonce: 'ff'.repeat(16) }),
    refused('late', 'older than five minutes', {}, 'declaration_stale', 'signed_at', { now: NOW + 5 * 60 * 1000 + 1 }),
    refused('early', 'more than five minutes ahead', {}, 'declaration_stale', 'signed_at', {
      now: NOW - 5 * 60 * 1000 - 1,
    }),
    refused(
      'expired',
      'past its end',
      { expires_at: '2026-11-21T12:01:00.000Z' },
      'declaration_expired',
      'expires_at',
      { now: NOW + 60_000 },
    ),
    refused(
      'altered',
      'altered after it was signed',
      { takes: ['company'], signature: full.signature },
      'bad_signature',
      'signature',
    ),
  ];
}

const SECRET = Buffer.from('f0e1d2c3b4a5968778695a4b3c2d1e0f', 'hex');
const INVITE_ID = '0123456789abcdef';

function inviteVectors(): JsonObject[] {
  const invite: Invite = {
    peerId: peer('node_1'),
    org: AUTHORITY,
    orgKey: rawPublicKey(keys.org_1),
    addrs: [`/ip4/192.0.2.7/tcp/4701/p2p/${peer('node_1')}`, `/dns4/mesh.acme.example/tcp/4701/p2p/${peer('node_1')}`],
    id: INVITE_ID,
    secret: SECRET,
    expiresAt: NOW + DAY,
    gives: ['company', 'public'],
    takes: ['public'],
    namespaces: ['memory', 'roadmap'],
  };
  const text = encodeInvite(invite);
  const bare = { ...invite, addrs: [], gives: [], takes: [], namespaces: null };
  const accepted = (id: string, description: string, spelled: string, meant: Invite) => ({
    id: `invite-${id}`,
    description,
    kind: 'invite',
    text: spelled,
    now: NOW,
    invite: { ...meant, orgKey: hex(meant.orgKey), secret: hex(meant.secret) } as unknown as JsonObject,
  });
  const refused = (id: string, description: string, spelled: string, error: string, field: string, now = NOW) => ({
    id: `invite-refused-${id}`,
    description,
    kind: 'invite-refused',
    text: spelled,
    now,
    error,
    field,
  });
  const middle = Math.floor(text.length / 2);
  const wrong = text[middle] === '0' ? '1' : '0';
  const pasted = `  ${text.match(/.{1,60}/g)!.join('\n ')}\n`;
  const heard = `stigmesh-invite:1:${text.slice(18).toLowerCase().replaceAll('0', 'o').replaceAll('1', 'l')}`;
  return [
    accepted('full', 'every field', text, invite),
    accepted('bare', 'no address, nothing offered, all namespaces', encodeInvite(bare), bare),
    accepted('wrapped', 'wrapped into lines on its way', pasted, invite),
    accepted('retyped', 'in lower case, with o for 0 and l for 1', heard, invite),
    refused('empty', 'nothing was pasted', ' ', 'invite_truncated', 'length'),
    refused('prefix-only', 'only its beginning was pasted', 'stigmesh-invite:1:', 'invite_truncated', 'length'),
    refused('half', 'half of it was pasted', text.slice(0, middle), 'invite_truncated', 'length'),
    refused('last', 'the last character is missing', text.slice(0, -1), 'invite_truncated', 'length'),
    refused(
      'typo',
      'one character is wrong',
      text.slice(0, middle) + wrong + text.slice(middle + 1),
      'invite_checksum',
      'checksum',
    ),
    refused('more', 'something was pasted behind it', `${text}00`, 'invite_checksum', 'checksum'),
    refused('sign', 'a character that no invite has', `${text.slice(0, -1)}!`, 'invite_malformed', 'text'),
    refused('scheme', 'something else altogether', 'https://acme.example/join', 'invite_malformed', 'prefix'),
    refused('version', 'of a later version', text.replace(':1:', ':2:'), 'invite_version', 'version'),
    refused('expired', 'past its end', text, 'invite_expired', 'expires_at', NOW + DAY),
  ];
}

function proofVectors(): JsonObject[] {
  const context: ProofContext = {
    inviteId: INVITE_ID,
    challenge: 'a0'.repeat(16),
    joinerNonce: 'b1'.repeat(16),
    joinerPeerId: peer('node_3'),
    inviterPeerId: peer('node_1'),
  };
  const secretHash = hashSecret(SECRET);
  const vector = (id: string, description: string, of: ProofContext) => ({
    id: `proof-${id}`,
    description,
    kind: 'proof',
    secret: hex(SECRET),
    secret_hash: secretHash,
    context: of,
    join_proof: joinProof(secretHash, of),
    inviter_proof: inviterProof(secretHash, of),
  });
  return [
    vector('join', 'both proofs of one joining', context),
    vector('other-stream', 'the same two nodes on another stream', { ...context, challenge: 'a1'.repeat(16) }),
    vector('relayed', 'between a relay and the inviter', { ...context, joinerPeerId: peer('stranger') }),
  ];
}

function hex(bytes: Uint8Array): string {
  return Buffer.from(bytes).toString('hex');
}

/** As the file is written. */
export function vectorText(file: JsonValue): string {
  return `${JSON.stringify(file, null, 2)}\n`;
}

if (import.meta.main) writeFileSync(FILE, vectorText(identityVectors()));

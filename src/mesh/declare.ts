import { canonicalBytes, decodeCanonical, FactError, type JsonObject, type JsonValue } from '../facts/index.ts';
import { isNonce, type PeerDeclaration, verifyDeclaration } from '../identity/declaration.ts';
import { IdentityError } from '../identity/errors.ts';
import { NONCE_BYTES } from '../identity/limits.ts';
import { nodeOf, type OrgManifest, verifyManifest } from '../identity/manifest.ts';
import { inviterProof, joinProof, type ProofContext, verifyProof } from '../identity/proof.ts';
import { DECLARE_IDLE_MS, MAX_DECLARE_FRAME, MAX_DECLARE_STREAMS } from './control-limits.ts';
import { MeshError } from './errors.ts';
import type { FrameStream, Protocol } from './transport.ts';

/** How two daemons tell each other who they are and what they share; protocols/declare/README.md has the diagram. */
export const DECLARE: Protocol = {
  id: '/stigmesh/declare/1.0.0',
  maxFrame: MAX_DECLARE_FRAME,
  maxInboundStreams: MAX_DECLARE_STREAMS,
  idleMs: DECLARE_IDLE_MS,
};

/** This node's part in every exchange. */
export interface DeclareSelf {
  readonly peerId: string;
  /** Unix ms. */
  readonly now: () => number;
  readonly randomBytes: (count: number) => Uint8Array;
}

/** What one side says about itself: made for the other side and its nonce. */
export interface Introduction {
  readonly declaration: PeerDeclaration;
  readonly manifest: OrgManifest;
  /** Joins with an invite. `secretHash` as `hashSecret` makes it; it is proven, not sent. */
  readonly invite?: { readonly id: string; readonly secretHash: string } | undefined;
}

/** What the other side said about itself; signatures, nonce, audience and manifest are checked. */
export interface Introduced {
  readonly peerId: string;
  readonly declaration: PeerDeclaration;
  readonly manifest: OrgManifest;
}

/** What the other side showed before we said anything. */
export interface Challenge {
  /** It lists the peer; signatures and expiry are checked. Whether it is the right organisation's is not. */
  readonly manifest: OrgManifest;
  /** What our declaration has to be signed with. */
  readonly nonce: string;
}

export type DeclareAnswer =
  /** We only wanted to know who they are. */
  | { readonly status: 'looked'; readonly manifest: OrgManifest }
  /** They noted us down; their operator has to decide. */
  | { readonly status: 'pending'; readonly manifest: OrgManifest }
  | { readonly status: 'refused'; readonly manifest: OrgManifest; readonly code: string }
  | { readonly status: 'active'; readonly manifest: OrgManifest; readonly declaration: PeerDeclaration };

/**
 * The side that opens the stream. After `active` the caller either closes the stream, which tells the other side that the
 * pairing stands, or aborts it.
 *
 * @param introduce what to say to whoever showed this manifest, signed with this nonce; null: nothing, only look
 * @throws MeshError `malformed_frame`, `protocol_violation`, what the stream throws; IdentityError: what they said does not
 *   hold
 */
export async function declare(
  stream: FrameStream,
  self: DeclareSelf,
  introduce: (them: Challenge) => Introduction | null | Promise<Introduction | null>,
): Promise<DeclareAnswer> {
  const { peerId } = stream;
  const ownNonce = newNonce(self);
  await send(stream, { type: 'hello', nonce: ownNonce });
  const challenge = read(await receive(stream), 'challenge', ['nonce', 'manifest']);
  const nonce = nonceOf(challenge);
  const manifest = await verifyManifest(challenge.manifest as JsonValue, self.now());
  assertSpeaks(manifest, peerId);
  const introduction = await introduce({ manifest, nonce });
  if (introduction === null) return { status: 'looked', manifest };
  const { invite } = introduction;
  const context = invite && {
    inviteId: invite.id,
    challenge: nonce,
    joinerNonce: ownNonce,
    joinerPeerId: self.peerId,
    inviterPeerId: peerId,
  };
  await send(stream, {
    type: 'declare',
    declaration: introduction.declaration,
    manifest: introduction.manifest,
    ...(invite && context ? { invite: { id: invite.id, proof: joinProof(invite.secretHash, context) } } : {}),
  });
  const answer = readDeclared(await receive(stream));
  if (answer.status === 'refused') return { status: 'refused', manifest, code: answer.code };
  if (answer.status === 'pending') return { status: 'pending', manifest };
  const expected = { peerId, audience: self.peerId, nonce: ownNonce, now: self.now() };
  const declaration = await verifyDeclaration(answer.declaration, expected);
  assertSameOrg(declaration, manifest);
  if (invite && context && !verifyProof(inviterProof(invite.secretHash, context), answer.proof)) {
    throw violation('the inviter did not prove the invite', 'ask for a new invite, over a channel you trust');
  }
  return { status: 'active', manifest, declaration };
}

/** Who declared itself to us. */
export interface Declared extends Introduced {
  /** What our answer has to be signed with. */
  readonly nonce: string;
  /** `proves`: whether whoever asks knows the secret with this hash. */
  readonly invite: { readonly id: string; readonly proves: (secretHash: string) => boolean } | null;
}

export type Decision =
  | { readonly status: 'pending' }
  | { readonly status: 'refused'; readonly code: string }
  | {
      readonly status: 'active';
      readonly declaration: PeerDeclaration;
      /** Hash of the secret of the invite that was spent. */
      readonly secretHash?: string | undefined;
    };

export interface DeclareHost extends DeclareSelf {
  /** What everybody who asks is shown. */
  readonly manifest: () => OrgManifest;
  /** Who may what. Refuses rather than throws: what it throws is told to nobody but our log. */
  readonly decide: (declared: Declared) => Promise<Decision>;
}

/**
 * `taken`: they agree, the pairing stands. `untaken`: we agreed, they broke off. The rest as told to them; `code` of a
 * refusal is the one they got.
 */
export type DeclareOutcome =
  | { readonly status: 'looked' | 'pending' | 'taken' | 'untaken' }
  | { readonly status: 'refused'; readonly code: string };

/**
 * The side that is asked. What does not hold is refused with its code, so that the other operator can see why.
 *
 * @throws MeshError `malformed_frame`, what the stream throws; what `decide` throws, after a refusal `internal_error`
 */
export async function answerDeclare(stream: FrameStream, host: DeclareHost): Promise<DeclareOutcome> {
  const hello = read(await receive(stream), 'hello', ['nonce']);
  const theirNonce = nonceOf(hello);
  const ownNonce = newNonce(host);
  await send(stream, { type: 'challenge', nonce: ownNonce, manifest: host.manifest() });
  const frame = await stream.receive();
  if (frame === undefined) return { status: 'looked' };
  const said = read(frame, 'declare', ['declaration', 'manifest'], ['invite']);
  const invite = said.invite === undefined ? null : readInvite(said.invite);
  const context: ProofContext = {
    inviteId: invite?.id ?? '',
    challenge: ownNonce,
    joinerNonce: theirNonce,
    joinerPeerId: stream.peerId,
    inviterPeerId: host.peerId,
  };
  let decision: Decision;
  try {
    const introduced = await verifyIntroduced(stream.peerId, host, said, ownNonce);
    const proves = (secretHash: string): boolean => verifyProof(joinProof(secretHash, context), invite?.proof);
    decision = await host.decide({
      ...introduced,
      nonce: theirNonce,
      invite: invite && { id: invite.id, proves },
    });
  } catch (error) {
    const code = error instanceof IdentityError ? error.code : 'internal_error';
    await send(stream, { type: 'declared', status: 'refused', code });
    if (!(error instanceof IdentityError)) throw error;
    return { status: 'refused', code };
  }
  if (decision.status === 'pending') {
    await send(stream, { type: 'declared', status: 'pending' });
    return { status: 'pending' };
  }
  if (decision.status === 'refused') {
    await send(stream, { type: 'declared', status: 'refused', code: decision.code });
    return { status: 'refused', code: decision.code };
  }
  const { declaration, secretHash } = decision;
  await send(stream, {
    type: 'declared',
    status: 'active',
    declaration,
    ...(secretHash === undefined ? {} : { proof: inviterProof(secretHash, context) }),
  });
  return { status: await isTaken(stream) };
}

async function verifyIntroduced(
  peerId: string,
  host: DeclareHost,
  said: JsonObject,
  nonce: string,
): Promise<Introduced> {
  const now = host.now();
  const expected = { peerId, audience: host.peerId, nonce, now };
  const declaration = await verifyDeclaration(said.declaration as JsonValue, expected);
  const manifest = await verifyManifest(said.manifest as JsonValue, now);
  assertSameOrg(declaration, manifest);
  assertSpeaks(manifest, peerId);
  return { peerId, declaration, manifest };
}

/** The other side says that it agrees by ending the stream well. */
async function isTaken(stream: FrameStream): Promise<'taken' | 'untaken'> {
  let frame: Uint8Array | undefined;
  try {
    frame = await stream.receive();
  } catch (error) {
    if (error instanceof MeshError) return 'untaken';
    throw error;
  }
  if (frame !== undefined) throw malformed('a frame after the last one');
  return 'taken';
}

function assertSameOrg({ org }: PeerDeclaration, { authority }: OrgManifest): void {
  if (org === authority) return;
  const message = `the declaration names ${org}, the manifest ${authority}`;
  throw new IdentityError('authority_mismatch', message, 'a node declares the organisation of its manifest', {
    field: 'org',
  });
}

/** Whether an organisation's manifest has a node speak for it today. @throws IdentityError `node_not_listed`, `node_revoked` */
export function assertSpeaks(manifest: OrgManifest, peerId: string): void {
  const node = nodeOf(manifest, peerId);
  if (node === undefined) {
    const hint = `the operator of ${manifest.authority} adds it: stigmesh org add-node ${peerId}`;
    throw new IdentityError('node_not_listed', `${manifest.authority} does not list ${peerId}`, hint, {
      field: 'nodes',
    });
  }
  if (node.revoked_at === undefined) return;
  const hint = 'make a new node key on that machine, and have the organisation list it';
  throw new IdentityError('node_revoked', `${manifest.authority} revoked ${peerId}`, hint, { field: 'nodes' });
}

function newNonce({ randomBytes }: DeclareSelf): string {
  return Buffer.from(randomBytes(NONCE_BYTES)).toString('hex');
}

function send(stream: FrameStream, frame: JsonObject): Promise<void> {
  return stream.send(canonicalBytes(frame));
}

/** The next frame, where there must be one. */
async function receive(stream: FrameStream): Promise<Uint8Array> {
  const frame = await stream.receive();
  if (frame === undefined) throw violation('the other side ended the exchange early', 'it may be stopping; try again');
  return frame;
}

/** The members of a frame, if it is of this type and has exactly these. @throws MeshError `malformed_frame` */
function read(
  frame: Uint8Array,
  type: string,
  required: readonly string[],
  optional: readonly string[] = [],
): JsonObject {
  let value: JsonValue;
  try {
    value = decodeCanonical(frame, MAX_DECLARE_FRAME);
  } catch (cause) {
    if (!(cause instanceof FactError)) throw cause;
    throw malformed(`not RFC 8785 JSON (${cause.code})`, cause);
  }
  return members(value, type, ['type', ...required], optional);
}

function members(value: JsonValue, what: string, required: readonly string[], optional: readonly string[]): JsonObject {
  if (typeof value !== 'object' || value === null || Array.isArray(value)) throw malformed('not an object');
  const object = value as JsonObject;
  if (required.includes('type') && object.type !== what) throw malformed(`not of type ${what}`);
  for (const name of required) if (!Object.hasOwn(object, name)) throw malformed(`${what} without ${name}`);
  for (const name of Object.keys(object)) {
    if (!required.includes(name) && !optional.includes(name)) throw malformed(`${what} with an unknown member`);
  }
  return object;
}

type DeclaredFrame =
  | { readonly status: 'pending' }
  | { readonly status: 'refused'; readonly code: string }
  | { readonly status: 'active'; readonly declaration: JsonValue; readonly proof: JsonValue | undefined };

function readDeclared(frame: Uint8Array): DeclaredFrame {
  const { status } = read(frame, 'declared', ['status'], ['declaration', 'code', 'proof']);
  if (status === 'pending') {
    read(frame, 'declared', ['status']);
    return { status };
  }
  if (status === 'refused') {
    const { code } = read(frame, 'declared', ['status', 'code']);
    if (typeof code !== 'string' || !/^[a-z][a-z_]{1,62}$/.test(code)) throw malformed('code is no code');
    return { status, code };
  }
  if (status !== 'active') throw malformed('an unknown status');
  const { declaration, proof } = read(frame, 'declared', ['status', 'declaration'], ['proof']);
  return { status, declaration: declaration as JsonValue, proof };
}

function readInvite(value: JsonValue): { id: string; proof: JsonValue } {
  const { id, proof } = members(value, 'invite', ['id', 'proof'], []);
  if (typeof id !== 'string' || !/^[0-9a-f]{16}$/.test(id)) throw malformed('invite.id is no id');
  return { id, proof: proof as JsonValue };
}

function nonceOf({ nonce }: JsonObject): string {
  if (!isNonce(nonce)) throw malformed('nonce is not 16 bytes in hex');
  return nonce;
}

function malformed(what: string, cause?: unknown): MeshError {
  const hint = 'the peer runs another program or version; protocols/declare/README.md has the frames';
  return new MeshError('malformed_frame', `declare: ${what}`, hint, { cause });
}

function violation(what: string, hint: string): MeshError {
  return new MeshError('protocol_violation', `declare: ${what}`, hint);
}

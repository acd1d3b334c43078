import type { KeyObject } from 'node:crypto';
import { parseInstant } from '../facts/index.ts';
import { declaredTerms, type PeerDeclaration, signDeclaration } from '../identity/declaration.ts';
import { IdentityError } from '../identity/errors.ts';
import { nodeOf, type OrgManifest, succeeds } from '../identity/manifest.ts';
import { NodeError } from '../node/errors.ts';
import type { PeerRecord } from '../node/federation.ts';
import type { InviteService, ManifestService, PeerDeclared, PeerService } from '../node/mesh-services.ts';
import { SIBLING_TERMS } from '../node/peer-terms.ts';
import { SYSTEM } from '../policy/principal.ts';
import type { Pairing, PeerTerms } from '../policy/sharing.ts';
import { plausible, tellable } from './addresses.ts';
import { assertSpeaks, type Declared, type Introduced, type Introduction } from './declare.ts';
import type { InactiveReason } from './types.ts';
import type { MeshWorld } from './world.ts';

export interface RegistrarComponents {
  readonly peers: PeerService;
  readonly invites: InviteService;
  readonly manifests: ManifestService;
  readonly world: MeshWorld;
}

export interface RegistrarInit {
  readonly peerId: string;
  /** Authority of our organisation. */
  readonly org: string;
  readonly nodeKey: KeyObject;
  /** Multiaddrs we can be reached at. */
  readonly addrs: () => readonly string[];
}

/** What our operator, or kinship, says about a peer at this moment. */
export type Standing =
  /** A daemon of our own organisation. */
  | { readonly kind: 'sibling' }
  | { readonly kind: 'declared'; readonly record: PeerRecord }
  | { readonly kind: 'unknown' }
  | {
      readonly kind: 'barred';
      readonly code: 'peer_revoked' | 'peer_suspended' | 'peer_expired';
      readonly reason: InactiveReason;
    };

/** What is said to one peer about itself, and on which terms. */
export interface Telling {
  readonly terms: PeerTerms;
  /** Unix ms; null: never. */
  readonly expiresAt: number | null;
  readonly invite?: Introduction['invite'];
}

/** What became of a peer that declared itself. */
export type Verdict =
  | { readonly status: 'pending' }
  | { readonly status: 'refused'; readonly code: string }
  | {
      readonly status: 'active';
      readonly terms: PeerTerms;
      readonly expiresAt: number | null;
      readonly secretHash?: string | undefined;
    };

/** Decides who somebody is and what our operator agreed to share, over what the node has on record. */
export class Registrar {
  readonly #components: RegistrarComponents;
  readonly #init: RegistrarInit;

  constructor(components: RegistrarComponents, init: RegistrarInit) {
    this.#components = components;
    this.#init = init;
  }

  /** Our organisation's manifest; there is one before the mesh starts. */
  get manifest(): OrgManifest {
    const { own } = this.#components.manifests;
    if (own === undefined) throw new Error('the mesh started before the own manifest was published');
    return own as OrgManifest;
  }

  /** Whether our own manifest has another node speak for us. */
  isSibling(peerId: string): boolean {
    return peerId !== this.#init.peerId && speaks(this.manifest, peerId);
  }

  standing(peerId: string): Standing {
    const record = this.#components.peers.get(peerId);
    if (record?.state === 'revoked') return { kind: 'barred', code: 'peer_revoked', reason: 'revoked' };
    if (record?.state === 'suspended') return { kind: 'barred', code: 'peer_suspended', reason: 'suspended' };
    if (this.isSibling(peerId)) return { kind: 'sibling' };
    if (!record?.approved) return { kind: 'unknown' };
    // It was one of ours, and is no longer.
    if (record.org === this.#init.org) return { kind: 'barred', code: 'peer_revoked', reason: 'revoked' };
    if (record.expiresAt !== null && record.expiresAt <= this.#components.world.now()) {
      return { kind: 'barred', code: 'peer_expired', reason: 'expired' };
    }
    if (this.#isRevoked(record)) return { kind: 'barred', code: 'peer_revoked', reason: 'revoked' };
    return { kind: 'declared', record };
  }

  /** What our operator decided to tell a peer; undefined for one with whom nothing was agreed. */
  telling(peerId: string): Telling | undefined {
    const standing = this.standing(peerId);
    if (standing.kind === 'sibling') return { terms: SIBLING_TERMS, expiresAt: null };
    if (standing.kind !== 'declared') return;
    return { terms: standing.record.ours, expiresAt: standing.record.expiresAt };
  }

  /** Our side of a declaration, signed now. @param seenAt where the peer is, as the connection says */
  introduce(peerId: string, nonce: string, seenAt: string, { terms, expiresAt, invite }: Telling): Introduction {
    const { manifest } = this;
    return { declaration: this.sign(peerId, nonce, seenAt, { terms, expiresAt }), manifest, invite };
  }

  sign(peerId: string, nonce: string, seenAt: string, { terms, expiresAt }: Omit<Telling, 'invite'>): PeerDeclaration {
    const { org, nodeKey, addrs } = this.#init;
    const now = this.#components.world.now();
    const told = plausible(tellable(addrs()), seenAt);
    return signDeclaration({ org, addrs: told, audience: peerId, terms, nonce, now, expiresAt }, nodeKey);
  }

  /** What to say to a peer that declared itself to us. */
  async decide(declared: Declared, seenAt: string): Promise<Verdict> {
    try {
      return await this.#decide(declared, seenAt);
    } catch (error) {
      if (!(error instanceof NodeError || error instanceof IdentityError)) throw error;
      // Whether there is an invite, nobody learns who cannot prove it.
      return { status: 'refused', code: error.code === 'invite_not_found' ? 'invite_refused' : error.code };
    }
  }

  /**
   * Takes note of what a peer declared that our operator approved, or that is a daemon of ours.
   *
   * @returns what it gives and takes
   * @throws NodeError, IdentityError: it is not who our operator approved
   */
  async recognise(introduced: Introduced, seenAt: string): Promise<PeerRecord> {
    const { peers } = this.#components;
    const { peerId } = introduced;
    await this.#learnOwn(introduced);
    const standing = this.standing(peerId);
    if (standing.kind === 'barred') throw barred(standing.code);
    if (standing.kind === 'unknown') throw barred('peer_revoked');
    if (standing.kind === 'sibling') {
      return peers.admitSibling(peerId, this.#asDeclared(introduced, seenAt, this.manifest));
    }
    const known = await this.#pin(introduced, standing.record);
    assertSpeaks(known, peerId);
    return peers.declared(peerId, this.#asDeclared(introduced, seenAt, known));
  }

  /** The pairing that two declarations make. */
  pairing(peerOrg: string, ours: PeerTerms, theirs: PeerTerms): Pairing {
    return { org: this.#init.org, peerOrg, ours, theirs };
  }

  async #decide(declared: Declared, seenAt: string): Promise<Verdict> {
    const { peers } = this.#components;
    const { peerId, manifest, invite } = declared;
    const before = this.standing(peerId);
    if (before.kind === 'barred') return { status: 'refused', code: before.code };
    if (invite !== null) return this.#join(declared, seenAt);
    await this.#learnOwn(declared);
    if (this.standing(peerId).kind === 'unknown') {
      // Whom we are paired with strangers do not learn: whoever takes such a name is told what all of them are told.
      if (this.#isConsistent(manifest)) {
        await peers.noteUnknown(peerId, this.#asDeclared(declared, seenAt, manifest));
      }
      return { status: 'pending' };
    }
    await this.recognise(declared, seenAt);
    return this.#agreed(peerId);
  }

  /** Somebody comes with an invite of ours. */
  async #join(declared: Declared, seenAt: string): Promise<Verdict> {
    const { invites, manifests, peers } = this.#components;
    const { peerId, manifest } = declared;
    const invite = declared.invite!;
    // A new daemon of ours may come with a manifest it made for itself; it takes ours over, if ours lists it.
    if (manifest.authority === this.#init.org && !follows(this.manifest, manifest)) this.#assertSibling(peerId);
    await this.#learnOwn(declared);
    const isSibling = this.isSibling(peerId);
    const record = peers.get(peerId);
    // Nor does anybody who makes an invite up.
    const made = invites.get(invite.id);
    if (!isSibling && made && invite.proves(made.secretHash)) this.#assertConsistent(manifest);
    if (record?.approved && !isSibling) assertSameOrg(manifest, record);
    const asDeclared = this.#asDeclared(declared, seenAt, isSibling ? this.manifest : manifest);
    await invites.redeem(invite.id, peerId, asDeclared, ({ secretHash }) => invite.proves(secretHash));
    const secretHash = invites.get(invite.id)?.secretHash;
    if (isSibling) await peers.admitSibling(peerId, asDeclared);
    else await manifests.accept(SYSTEM, manifest, { pin: true, from: peerId });
    const agreed = this.#agreed(peerId);
    return agreed.status === 'active' ? { ...agreed, secretHash } : agreed;
  }

  #agreed(peerId: string): Verdict {
    const telling = this.telling(peerId);
    return telling === undefined ? { status: 'refused', code: 'peer_refused' } : { status: 'active', ...telling };
  }

  /**
   * What another daemon of ours shows may be newer than what we have. Whoever speaks in our name must be listed; one that
   * is, and shows a manifest that does not follow ours, has not taken ours over yet.
   *
   * @throws NodeError, loudly, for a manifest in our name that contradicts ours; IdentityError `node_not_listed`
   */
  async #learnOwn({ peerId, manifest }: Introduced): Promise<void> {
    if (manifest.authority !== this.#init.org) return;
    const isKnown = manifest.signature === this.manifest.signature;
    if (!isKnown && this.standing(peerId).kind === 'unknown') assertProven(this.manifest, manifest);
    const isNewHere = this.isSibling(peerId) && !leadsFrom(this.manifest.org_key, manifest);
    if (!isKnown && !isNewHere) await this.#components.manifests.accept(SYSTEM, manifest, { pin: true, from: peerId });
    this.#assertSibling(peerId);
  }

  /** Nobody else speaks in our name. @throws IdentityError `node_not_listed`, `node_revoked` */
  #assertSibling(peerId: string): void {
    assertSpeaks(this.manifest, peerId);
  }

  /**
   * Pins what a peer's organisation is known by. What contradicts it is audited and warned of.
   *
   * @returns the newest manifest known of it
   */
  async #pin({ peerId, manifest }: Introduced, record: PeerRecord): Promise<OrgManifest> {
    const { manifests } = this.#components;
    assertSameOrg(manifest, record);
    const { standing = 'seen' } = manifests.known(manifest.authority) ?? {};
    if (standing === 'seen') assertSameKey(manifest, record);
    const known = await manifests.accept(SYSTEM, manifest, { pin: true, from: peerId });
    // What it shows may be older than what we know, as long as it is of one chain.
    assertSameKey(known.manifest as OrgManifest, record);
    return known.manifest as OrgManifest;
  }

  #isConsistent(manifest: OrgManifest): boolean {
    try {
      this.#assertConsistent(manifest);
      return true;
    } catch (error) {
      if (error instanceof IdentityError) return false;
      throw error;
    }
  }

  /**
   * Whether somebody nobody decided about may be of the organisation it names: strangers cannot fill the audit log.
   *
   * @throws IdentityError `rotation_unproven`, `manifest_equivocation`
   */
  #assertConsistent(manifest: OrgManifest): void {
    const known = this.#components.manifests.known(manifest.authority);
    // One that was only seen on the way is hearsay: anybody can make one in any name.
    if (known !== undefined && known.standing !== 'seen') succeeds(known.manifest as OrgManifest, manifest);
  }

  /**
   * Whether a manifest we have of its organisation speaks against a peer that is connected: it revoked it, or lists it no
   * longer. For one that is not, only a revocation counts: what it brings along may be newer.
   */
  isDisowned({ peerId, org }: Pick<PeerRecord, 'peerId' | 'org'>): boolean {
    const known = org === null ? undefined : this.#components.manifests.known(org);
    return known !== undefined && !speaks(known.manifest as OrgManifest, peerId);
  }

  #isRevoked({ peerId, org }: PeerRecord): boolean {
    const known = org === null ? undefined : this.#components.manifests.known(org);
    return known !== undefined && nodeOf(known.manifest as OrgManifest, peerId)?.revoked_at !== undefined;
  }

  #asDeclared({ declaration, peerId }: Introduced, seenAt: string, { org_key }: OrgManifest): PeerDeclared {
    const { org, addrs, signed_at, expires_at } = declaration;
    return {
      org,
      orgKey: org_key,
      addrs: plausible(addrs, seenAt).filter((addr) => !addr.includes('/p2p/') || addr.endsWith(`/p2p/${peerId}`)),
      terms: declaredTerms(declaration),
      signedAt: parseInstant(signed_at, 'signed_at'),
      expiresAt: expires_at === undefined ? null : parseInstant(expires_at, 'expires_at'),
    };
  }
}

/** Whether a manifest has a node speak for it today. */
function speaks(manifest: OrgManifest, peerId: string): boolean {
  const node = nodeOf(manifest, peerId);
  return node !== undefined && node.revoked_at === undefined;
}

/** @throws NodeError `peer_refused` */
function assertSameOrg({ authority }: OrgManifest, { peerId, org }: PeerRecord): void {
  if (org === null || org === authority) return;
  const hint = 'a peer does not change its organisation: remove it, and pair anew';
  throw new NodeError('peer_refused', `${peerId} was paired as of ${org}, not ${authority}`, hint);
}

/** @throws NodeError `rotation_unproven` */
function assertSameKey(manifest: OrgManifest, { orgKey }: PeerRecord): void {
  if (orgKey === null || leadsFrom(orgKey, manifest)) return;
  const { authority, key_id } = manifest;
  const hint =
    'compare fingerprints with its operator by another way; remove the peer and pair anew if it lost its key';
  throw new NodeError('rotation_unproven', `nothing leads from the pinned key of ${authority} to ${key_id}`, hint);
}

function follows(known: OrgManifest, next: OrgManifest): boolean {
  try {
    return known.signature === next.signature || succeeds(known, next);
  } catch (error) {
    if (error instanceof IdentityError) return false;
    throw error;
  }
}

/**
 * Our own key has to have signed what a stranger shows in our name; else it is not worth an entry of the audit log.
 *
 * @throws IdentityError `rotation_unproven`
 */
function assertProven(own: OrgManifest, shown: OrgManifest): void {
  try {
    succeeds(own, shown);
  } catch (error) {
    if (error instanceof IdentityError && error.code === 'manifest_equivocation') return;
    throw error;
  }
}

/** Whether a key is the manifest's, or one that it says was replaced. */
export function leadsFrom(key: string, { org_key, rotations }: OrgManifest): boolean {
  return key === org_key || rotations.some(({ from }) => from === key);
}

function barred(code: 'peer_revoked' | 'peer_suspended' | 'peer_expired'): NodeError {
  return code === 'peer_revoked'
    ? new NodeError('peer_revoked', 'the peer was removed', 'approve it again if that was a mistake')
    : new NodeError(
        'peer_refused',
        `the peer is ${code.slice('peer_'.length)}`,
        'resume it, or extend its declaration',
      );
}

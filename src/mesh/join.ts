import type { SharedScope } from '../identity/declaration.ts';
import { decodeInvite, encodeInvite, type Invite } from '../identity/invite.ts';
import { INVITE_ID_BYTES, INVITE_SECRET_BYTES } from '../identity/limits.ts';
import { nodeOf, type OrgManifest, orgKeyOf } from '../identity/manifest.ts';
import { hashSecret } from '../identity/proof.ts';
import { NodeError } from '../node/errors.ts';
import type { CreateInvite, InviteRecord, JoinRequest, PeerRecord } from '../node/federation.ts';
import type { InviteService, ManifestService, PeerService } from '../node/mesh-services.ts';
import { normalTerms, SIBLING_TERMS } from '../node/peer-terms.ts';
import type { Principal } from '../policy/principal.ts';
import type { PeerTerms } from '../policy/sharing.ts';
import { dialable, peerIdOf, type ResolveName, tellable } from './addresses.ts';
import type { Challenge, Introduced } from './declare.ts';
import { isMeshError, MeshError } from './errors.ts';
import type { OwnManifest } from './own-manifest.ts';
import type { Peering } from './peering.ts';
import { leadsFrom, type Registrar, type Telling } from './registrar.ts';
import type { Connection, Transport } from './transport.ts';
import type { MeshWorld } from './world.ts';

export interface JoinComponents {
  readonly transport: Transport;
  readonly peering: Peering;
  readonly registrar: Registrar;
  readonly peers: PeerService;
  readonly invites: InviteService;
  readonly manifests: ManifestService;
  readonly ownManifest: OwnManifest;
  readonly world: MeshWorld;
  readonly resolve: ResolveName;
}

export interface JoinInit {
  readonly peerId: string;
  readonly org: string;
  /** Multiaddrs we can be reached at. */
  readonly addrs: () => readonly string[];
}

/** What redeeming an invite needs beyond the invite. */
interface Redemption {
  readonly terms: PeerTerms;
  /** Where the inviter was found. */
  readonly remoteAddr: string;
  /** Addresses to keep of it. */
  readonly addrs: readonly string[];
  /** Called before anything is said about us. */
  readonly speaks: () => void;
}

/** Pairing by one string: made here for somebody else, or pasted here. */
export class Joining {
  readonly #components: JoinComponents;
  readonly #init: JoinInit;

  constructor(components: JoinComponents, init: JoinInit) {
    this.#components = components;
    this.#init = init;
  }

  /**
   * Makes an invite.
   *
   * @returns the string to hand over, which cannot be had again
   * @throws NodeError `permission_denied`, `invalid_terms`, `invalid_address`, `limit_reached`; IdentityError
   *   `invite_too_large`
   */
  async create(who: Principal, input: CreateInvite): Promise<{ invite: string; record: InviteRecord }> {
    const { invites, registrar } = this.#components;
    const { peerId, org } = this.#init;
    const terms = normalTerms({ ...input, namespaces: input.namespaces ?? null });
    const addrs = this.#invitedAddrs(input.addrs);
    const encode = (id: string, secret: Uint8Array, expiresAt: number): string =>
      encodeInvite({
        peerId,
        org,
        orgKey: orgKeyOf(registrar.manifest),
        addrs,
        id,
        secret,
        expiresAt,
        gives: terms.gives as readonly SharedScope[],
        takes: terms.takes as readonly SharedScope[],
        namespaces: terms.namespaces,
      });
    // What does not fit is found out before an invite is on record.
    encode('0'.repeat(2 * INVITE_ID_BYTES), new Uint8Array(INVITE_SECRET_BYTES), 0);
    const { record, secret } = await invites.create(who, { ...terms, expiresIn: input.expiresIn });
    return { invite: encode(record.id, secret, record.expiresAt), record };
  }

  /**
   * Redeems an invite somebody else made: dials them, makes sure that they are who the invite says before anything is told,
   * proves the secret, and declares them here.
   *
   * @returns the peer, active
   * @throws IdentityError with an `invite_…` code and the field, before anything is dialled; NodeError `peer_is_self`,
   *   `peer_revoked`, `invalid_terms`, `invalid_address`, `private_address`, `peer_unreachable`, `peer_timeout`,
   *   `fingerprint_mismatch`, `node_not_listed`, `invite_spent`, `invite_expired`, `invite_revoked`, `invite_refused`,
   *   `peer_refused`, and what their manifest is refused for
   */
  async join(who: Principal, request: JoinRequest, signal?: AbortSignal): Promise<PeerRecord> {
    const { peering, peers, world } = this.#components;
    const invite = decodeInvite(request.invite, world.now());
    const { peerId } = invite;
    if (peerId === this.#init.peerId) {
      throw new NodeError(
        'peer_is_self',
        'this invite was made here',
        'paste it where the other organisation runs its daemon',
      );
    }
    if (peers.get(peerId)?.state === 'revoked') {
      const hint = 'approve it again first, if that was a mistake: stigmesh peers approve';
      throw new NodeError('peer_revoked', 'this peer was removed here', hint);
    }
    const terms = normalTerms({ ...request, namespaces: request.namespaces ?? null });
    const addrs = await this.#reachable(invite, request.allowPrivate);
    const release = peering.hold(peerId);
    try {
      return await this.#overConnection(peerId, addrs, signal, ({ remoteAddr }, speaks) => {
        // Names may lead elsewhere tomorrow: only where the operator confirmed wherever they lead, they are kept as such.
        const kept = request.allowPrivate ? invite.addrs : addrs;
        return this.#redeem(who, invite, { terms, remoteAddr, addrs: kept, speaks });
      });
    } finally {
      release();
    }
  }

  /**
   * Runs something over the connection to a peer. One that was there before may be at its end without our knowing: whoever
   * is not a peer yet is cut off after a while. Then, unless something of ours was said over it, it takes a fresh one.
   */
  async #overConnection<T>(
    peerId: string,
    addrs: readonly string[],
    signal: AbortSignal | undefined,
    run: (connection: Connection, speaks: () => void) => Promise<T>,
  ): Promise<T> {
    const { transport } = this.#components;
    let mayRepeat = transport.connections().some((connection) => connection.peerId === peerId);
    try {
      for (;;) {
        try {
          return await run(await transport.dial(peerId, addrs, signal), () => {
            mayRepeat = false;
          });
        } catch (error) {
          if (!mayRepeat || !(isMeshError(error, 'stream_closed') || isMeshError(error, 'not_connected'))) throw error;
          mayRepeat = false;
          await transport.disconnect(peerId);
        }
      }
    } catch (error) {
      throw unreachable(error);
    }
  }

  #invitedAddrs(given: readonly string[] | undefined): readonly string[] {
    const { peerId, addrs } = this.#init;
    if (given === undefined || given.length === 0) {
      const own = tellable(addrs());
      if (own.length > 0) return own;
      const hint = 'set mesh.announce to what others can dial, or name addresses';
      throw new NodeError('invalid_address', 'this daemon has no address to put into an invite', hint);
    }
    for (const addr of given) {
      const named = peerIdOf(addr);
      if (named === null || named === peerId) continue;
      throw new NodeError('invalid_address', 'not an address of this daemon', 'for example /ip4/192.0.2.1/tcp/4701');
    }
    return given;
  }

  /** Fault row 49: an invite sends nobody to a private network without the operator's word. */
  async #reachable(invite: Invite, allowPrivate: boolean): Promise<readonly string[]> {
    const { addrs, refused } = await dialable(
      invite.addrs,
      () => (allowPrivate ? 'loopback' : 'public'),
      this.#components.resolve,
    );
    if (addrs.length > 0) return addrs;
    if (refused.length === 0) {
      const hint = 'ask for an invite with an address that can be dialled from here';
      throw new NodeError('peer_unreachable', 'no address of the invite leads anywhere', hint);
    }
    if (allowPrivate) throw new NodeError('invalid_address', 'the invite has no address that can be dialled', ASK_ANEW);
    const shown = refused.slice(0, 4).join(', ');
    const hint = 'if the other daemon is on this machine or in your network, confirm it (--allow-private)';
    throw new NodeError('private_address', `the invite leads to this machine or its private network: ${shown}`, hint);
  }

  async #redeem(who: Principal, invite: Invite, { terms, remoteAddr, addrs, speaks }: Redemption): Promise<PeerRecord> {
    const { peering, registrar, manifests, peers } = this.#components;
    const { peerId } = invite;
    const isSibling = invite.org === this.#init.org;
    let joined: PeerRecord | undefined;
    const tell = async ({ manifest }: Challenge): Promise<Telling> => {
      speaks();
      this.#assertInviter(invite, manifest);
      if (isSibling) await this.#takeOver(who, manifest);
      const proof = { id: invite.id, secretHash: hashSecret(invite.secret) };
      return { terms: isSibling ? SIBLING_TERMS : terms, expiresAt: null, invite: proof };
    };
    const accept = async (introduced: Introduced): Promise<PeerRecord> => {
      if (!isSibling) {
        await manifests.accept(who, introduced.manifest, { pin: true, from: peerId });
        await peers.approve(who, peerId, { ...terms, addrs, identity: this.#identity(introduced), via: 'invite' });
      }
      joined = await registrar.recognise(introduced, remoteAddr);
      if (joined.addrs.length === 0) joined = await peers.update(who, peerId, { addrs });
      return joined;
    };
    const answer = await peering.exchange(peerId, { tell, accept });
    if (answer.status === 'refused') throw refusal(answer.code);
    if (joined === undefined) throw refusal(answer.status);
    return joined;
  }

  /** Whoever is at the other end must speak for the organisation that the invite names, with the key it names. */
  #assertInviter({ org, orgKey }: Invite, manifest: OrgManifest): void {
    if (manifest.authority === org && leadsFrom(Buffer.from(orgKey).toString('base64url'), manifest)) return;
    const hint = 'ask the inviter for the fingerprint and a new invite, over a channel you trust';
    const message = `the invite is of ${org} with another key than the peer shows (${manifest.authority}, ${manifest.key_id})`;
    throw new NodeError('fingerprint_mismatch', message, hint);
  }

  /** The inviter is a daemon of our organisation: its manifest is ours, if it lists this node. */
  async #takeOver(who: Principal, manifest: OrgManifest): Promise<void> {
    const { ownManifest, registrar } = this.#components;
    if (manifest.signature === registrar.manifest.signature) return;
    const node = nodeOf(manifest, this.#init.peerId);
    if (node === undefined || node.revoked_at !== undefined) {
      const hint = `on the daemon that has its org key: stigmesh org add-node ${this.#init.peerId}`;
      throw new NodeError('node_not_listed', `the manifest of ${manifest.authority} does not list this node`, hint);
    }
    if (leadsFrom(registrar.manifest.org_key, manifest) && manifest.version <= registrar.manifest.version) return;
    await ownManifest.adopt(who, manifest);
  }

  /** Who is approved. Of a peer on record with its organisation only the key may have changed, which is checked elsewhere. */
  #identity({ peerId, manifest }: Introduced) {
    const isOnRecord = this.#components.peers.get(peerId)?.org === manifest.authority;
    return isOnRecord ? undefined : { org: manifest.authority, orgKey: manifest.org_key };
  }
}

const ASK_ANEW = 'ask for a new invite';

/** What a network's failure means to an operator; everything else as it is. */
function unreachable(error: unknown): unknown {
  if (!(error instanceof MeshError)) return error;
  const { code, message } = error;
  const hint = 'check that the other daemon runs and that nothing between blocks it; the invite is still good';
  if (code === 'timeout') return new NodeError('peer_timeout', message, hint);
  if (code === 'wrong_peer' || code === 'malformed_frame' || code === 'protocol_violation') {
    return new NodeError('peer_refused', message, 'somebody else answers at that address: ask for a new invite');
  }
  // Whoever removed us lets nobody in who proves to be us, and does not say so to anybody.
  const removed = code === 'stream_closed' ? '; if it removed this daemon, its operator has to approve it again' : '';
  return new NodeError('peer_unreachable', message, `${hint}${removed}`);
}

/** What they refused us for, in our operator's words. */
function refusal(code: string): NodeError {
  switch (code) {
    case 'invite_spent':
      return new NodeError(
        code,
        'the invite was used already',
        'if that was not you, tell the inviter at once: whoever used it is among their peers (stigmesh peers), and has to be removed',
      );
    case 'invite_expired':
    case 'invite_revoked':
      return new NodeError(
        code,
        `the invite ${code === 'invite_expired' ? 'has expired' : 'was taken back'}`,
        ASK_ANEW,
      );
    case 'invite_refused':
    case 'invite_not_found':
      return new NodeError('invite_refused', 'the inviter does not know this invite', ASK_ANEW);
    default: {
      const hint = 'ask their operator; their log and status say more';
      return new NodeError('peer_refused', `the peer did not agree: ${code}`, hint);
    }
  }
}

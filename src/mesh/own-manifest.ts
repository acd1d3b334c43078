import type { KeyObject } from 'node:crypto';
import { endOfInstant, parseInstant } from '../facts/index.ts';
import { nodeOf, type OrgManifest, verifyManifest } from '../identity/manifest.ts';
import {
  createManifest,
  type ManifestSigning,
  renewed,
  withMissingRotations,
  withNode,
  withoutNode,
  withoutRevokedNode,
  withRotation,
} from '../identity/manifest-edit.ts';
import { rawPublicKey } from '../identity/node-key.ts';
import { NodeError } from '../node/errors.ts';
import type { KnownManifest, ManifestJson } from '../node/federation.ts';
import type { ManifestService } from '../node/mesh-services.ts';
import { Serial } from '../node/serial.ts';
import { type Principal, SYSTEM } from '../policy/principal.ts';
import { Alarm } from './alarm.ts';
import { RENEWAL_JITTER, RENEWAL_RETRY_MS, RENEWAL_SHARE } from './control-limits.ts';
import type { MeshLog, PeeringView } from './types.ts';
import type { MeshWorld } from './world.ts';

/** The private org keys on disk. */
export interface OrgKeys {
  /** The key of today. */
  readonly orgKey: KeyObject;
  /** Those that were replaced, oldest first. */
  former(): Promise<readonly KeyObject[]>;
  /** Replaces the key on disk, durably. */
  rotate(): Promise<{ readonly former: KeyObject; readonly orgKey: KeyObject }>;
}

export interface OwnManifestComponents {
  readonly manifests: ManifestService;
  readonly keys: OrgKeys;
  readonly world: MeshWorld;
  readonly log: MeshLog;
}

export interface OwnManifestInit {
  readonly org: string;
  readonly peerId: string;
}

/**
 * Our organisation's manifest: made at the first start, renewed before it expires, changed when our operator says so, all
 * of it only where the org key is. A daemon that took over a manifest signed elsewhere changes nothing.
 */
export class OwnManifest {
  readonly #components: OwnManifestComponents;
  readonly #init: OwnManifestInit;
  readonly #serial = new Serial();
  readonly #renewal: Alarm;
  #orgKey: KeyObject;
  #end = (): void => {};

  constructor(components: OwnManifestComponents, init: OwnManifestInit) {
    this.#components = components;
    this.#init = init;
    this.#orgKey = components.keys.orgKey;
    this.#renewal = new Alarm(components.world, () => void this.#renew());
  }

  /** Whether our manifest can be changed here. */
  get isEditable(): boolean {
    const own = this.#own;
    return own === undefined || own.org_key === this.#keyText;
  }

  /** Sees to it that there is a manifest, that it follows the key on disk and lists this node, and that it is renewed. */
  async start(): Promise<void> {
    await this.#serial.run(async () => {
      const own = this.#own;
      const first = (): OrgManifest =>
        createManifest({ authority: this.#init.org, peerId: this.#init.peerId }, this.#signing());
      const current = own === undefined ? first() : await this.#repaired(own);
      const isOurs = current.org_key === this.#keyText;
      const isListed = nodeOf(current, this.#init.peerId) !== undefined;
      const wanted = isOurs && !isListed ? withNode(current, { peerId: this.#init.peerId }, this.#signing()) : current;
      if (wanted.signature === own?.signature || !isOurs) return;
      const { manifests } = this.#components;
      // What nobody was shown yet may be given up without a trace: this may become another daemon of an organisation.
      if (await this.#isPublished()) await manifests.publish(SYSTEM, wanted);
      else await manifests.accept(SYSTEM, wanted, { pin: true });
    });
    this.#end = this.#components.manifests.on(({ standing }) => {
      if (standing === 'own') this.#schedule();
    });
    this.#schedule();
  }

  /**
   * Makes the manifest a statement as soon as there is a peer: whoever is paired with us may pass on what we state, and
   * others then need to know who speaks for us.
   */
  follow(peering: PeeringView): void {
    peering.on({ active: () => void this.#publish() });
  }

  async #publish(): Promise<void> {
    const { manifests, log } = this.#components;
    try {
      await this.#serial.run(async () => {
        const own = this.#own;
        if (own === undefined || !this.isEditable || (await this.#isPublished())) return;
        await manifests.publish(SYSTEM, own);
      });
    } catch (error) {
      // The next peer that becomes active brings us here again.
      log.warn({ event: 'manifest_not_stated', error: (error as Error).name }, 'the own manifest could not be stated');
    }
  }

  async stop(): Promise<void> {
    this.#end();
    this.#renewal.set(null);
    await this.#serial.run(async () => {});
  }

  /**
   * Lists a further node key, or gives a listed one other namespaces.
   *
   * @throws NodeError `org_key_missing`, `node_listed`; IdentityError `node_revoked`, `too_many_nodes`, `not_owner`,
   *   `manifest_malformed`
   */
  addNode(
    who: Principal,
    node: { readonly peerId: string; readonly namespaces?: readonly string[] | undefined },
  ): Promise<KnownManifest> {
    return this.#edit(who, (own, signing) => {
      const next = withNode(own, node, signing);
      const [before, after] = [nodeOf(own, node.peerId), nodeOf(next, node.peerId)!];
      if (before === undefined || before.namespaces.join() !== after.namespaces.join()) return next;
      throw new NodeError('node_listed', `the manifest lists ${node.peerId} already`, 'nothing is left to do');
    });
  }

  /**
   * Revokes a node key from now on.
   *
   * @throws NodeError `org_key_missing`, `peer_is_self`; IdentityError `node_not_listed`
   */
  revokeNode(who: Principal, peerId: string): Promise<KnownManifest> {
    return this.#edit(who, (own, signing) => {
      if (peerId === this.#init.peerId) {
        const hint = 'revoke it on another daemon of the organisation that has the org key';
        throw new NodeError('peer_is_self', 'a daemon does not revoke its own key', hint);
      }
      return withoutNode(own, peerId, endOfInstant(signing.now), signing);
    });
  }

  /**
   * Takes a revoked node off the list, which has room for so many.
   *
   * @throws NodeError `org_key_missing`; IdentityError `node_not_listed`, `node_not_revoked`
   */
  forgetNode(who: Principal, peerId: string): Promise<KnownManifest> {
    return this.#edit(who, (own, signing) => withoutRevokedNode(own, peerId, signing));
  }

  /**
   * Replaces the org key; the old one signs the new one over. After a crash in between the next start goes on.
   *
   * @throws NodeError `org_key_missing`; IdentityError with a `key_…` code
   */
  rotate(who: Principal): Promise<KnownManifest> {
    return this.#serial.run(async () => {
      const own = this.#editable(await this.#repaired(this.#required));
      const { former, orgKey } = await this.#components.keys.rotate();
      this.#orgKey = orgKey;
      const { log, manifests } = this.#components;
      const next = withRotation(own, orgKey, { orgKey: former, now: this.#components.world.now() });
      log.info({ event: 'org_key_rotated', key_id: next.key_id }, 'the org key was replaced');
      // Should publishing fail, renewing makes up for it.
      this.#renewal.set(this.#components.world.now() + RENEWAL_RETRY_MS);
      return manifests.publish(who, next);
    });
  }

  /**
   * Takes over a manifest signed elsewhere with our organisation's key, as another daemon of it showed or our operator
   * brought it. Ours, if we made one for ourselves, is given up.
   *
   * @throws NodeError `manifest_invalid`, `manifest_stale`, `node_not_listed`, `manifest_equivocation`
   */
  adopt(who: Principal, json: ManifestJson): Promise<KnownManifest> {
    const { org, peerId } = this.#init;
    return this.#serial.run(async () => {
      const manifest = await verifyManifest(json as never, this.#components.world.now());
      if (manifest.authority !== org) {
        const hint = 'org.authority in the configuration names the organisation this daemon serves';
        throw new NodeError('manifest_invalid', `a manifest of ${manifest.authority}, and this is ${org}`, hint);
      }
      const node = nodeOf(manifest, peerId);
      if (node === undefined || node.revoked_at !== undefined) {
        const hint = `where its org key is: stigmesh org add-node ${peerId}`;
        throw new NodeError('node_not_listed', `the manifest does not list this node`, hint);
      }
      const own = this.#own;
      const isSameChain = own !== undefined && leadsTo(own, manifest);
      if (isSameChain && manifest.version < own.version) {
        throw new NodeError('manifest_stale', `version ${own.version} is known already`, 'take over the newest one');
      }
      return this.#components.manifests.accept(who, manifest, { pin: true, replace: !isSameChain });
    });
  }

  get #own(): OrgManifest | undefined {
    return this.#components.manifests.own as OrgManifest | undefined;
  }

  async #isPublished(): Promise<boolean> {
    return (await this.#components.manifests.statement(this.#init.org)) !== undefined;
  }

  get #required(): OrgManifest {
    const own = this.#own;
    if (own === undefined) throw new NodeError('manifest_not_found', 'no own manifest yet', 'start the daemon');
    return own;
  }

  get #keyText(): string {
    return Buffer.from(rawPublicKey(this.#orgKey)).toString('base64url');
  }

  #signing(): ManifestSigning {
    return { orgKey: this.#orgKey, now: this.#components.world.now() };
  }

  /** The manifest with the rotations that a crash, or a disk that was full, kept from it. */
  async #repaired(own: OrgManifest): Promise<OrgManifest> {
    if (own.org_key === this.#keyText) return own;
    const former = await this.#components.keys.former();
    const isOurs = former.some((key) => Buffer.from(rawPublicKey(key)).toString('base64url') === own.org_key);
    return isOurs ? withMissingRotations(own, former, this.#signing()) : own;
  }

  #editable(own: OrgManifest): OrgManifest {
    if (own.org_key === this.#keyText) return own;
    const hint = 'change it on the daemon that has the org key, or copy keys/org.key from there';
    throw new NodeError('org_key_missing', `the key of ${this.#init.org} is not on this machine`, hint);
  }

  #edit(who: Principal, change: (own: OrgManifest, signing: ManifestSigning) => OrgManifest): Promise<KnownManifest> {
    return this.#serial.run(async () => {
      const own = this.#editable(await this.#repaired(this.#required));
      return this.#components.manifests.publish(who, change(own, this.#signing()));
    });
  }

  /** At two thirds of its life; a little earlier by chance, since two daemons with the org key must not both do it. */
  #schedule(): void {
    const own = this.#own;
    if (own === undefined || !this.isEditable) {
      this.#renewal.set(null);
      return;
    }
    const from = parseInstant(own.issued_at, 'issued_at');
    const life = parseInstant(own.expires_at, 'expires_at') - from;
    const share = RENEWAL_SHARE - RENEWAL_JITTER * this.#components.world.random();
    this.#renewal.set(Math.max(from + life * share, this.#components.world.now()));
  }

  async #renew(): Promise<void> {
    const { log, world } = this.#components;
    try {
      const { version } = await this.#edit(SYSTEM, renewed);
      log.info({ event: 'manifest_renewed', version }, 'the own manifest was renewed');
    } catch (error) {
      const code = error instanceof NodeError ? error.code : 'internal_error';
      log.warn({ event: 'manifest_renewal_failed', code }, 'the own manifest could not be renewed; it is tried again');
      this.#renewal.set(world.now() + RENEWAL_RETRY_MS);
    }
  }
}

/** Whether the key of one manifest is the other's, or leads to it. */
function leadsTo(known: OrgManifest, next: OrgManifest): boolean {
  const keys = (manifest: OrgManifest): string[] => [manifest.org_key, ...manifest.rotations.map(({ from }) => from)];
  return keys(next).includes(known.org_key) || keys(known).includes(next.org_key);
}

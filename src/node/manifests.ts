import { type EncodedStatement, type Hlc, isManifest, type JsonValue, type ManifestStatement } from '../facts/index.ts';
import { IdentityError } from '../identity/errors.ts';
import {
  decodeManifest,
  isManifestExpired,
  nodeOf,
  type OrgManifest,
  speaksFor,
  succeeds,
  verifyManifest,
} from '../identity/manifest.ts';
import { type Principal, SYSTEM } from '../policy/principal.ts';
import * as keys from '../store/keys.ts';
import { forEachSlice, type Reader } from '../store/store.ts';
import { NodeError } from './errors.ts';
import type { KnownManifest, ManifestJson, WireStatement } from './federation.ts';
import { MANIFEST_WARNING_MS, MAX_FORMER_NODES, MAX_SEEN_MANIFESTS } from './mesh-limits.ts';
import type { ManifestService } from './mesh-services.ts';
import { decodeLogRecord, fromJson, toJson } from './records.ts';
import type { Warnings } from './warnings.ts';
import type { Group, Writer } from './writer.ts';

export interface ManifestsComponents {
  readonly store: Reader;
  readonly writer: Writer;
  readonly now: () => number;
  readonly warnings: Warnings;
  /** Makes a manifest a statement of this node, in the writer's turn. */
  readonly state: (group: Group, who: Principal, manifest: OrgManifest) => Promise<void>;
  /** Told in the writer's turn when the nodes that speak for an organisation became others. */
  readonly onNodesChanged: (group: Group, org: string) => void;
}

export interface ManifestsInit {
  readonly org: string;
  readonly peerId: string;
}

/** What is stored of an organisation. */
interface ManifestRow {
  readonly manifest: OrgManifest;
  readonly standing: KnownManifest['standing'];
  /** Digest (hex) of the statement that carries the manifest, null when it only came with a declaration. */
  readonly statement: string | null;
  /** Nodes it listed before, and when they were revoked: [peer id, reading or null]. */
  readonly former: readonly (readonly [string, Hlc | null])[];
}

interface Held extends ManifestRow {
  /** By peer id, of every node that is or was listed. */
  readonly nodes: ReadonlyMap<string, Proof>;
}

/** What an organisation's manifests say of a node. */
export interface Proof {
  /** Whether it speaks for the organisation, or did. */
  readonly listed: boolean;
  /** Nothing it signed after this reading counts; null: not revoked. */
  readonly revokedAt: Hlc | null;
}

export type Acceptance = {
  readonly pin: boolean;
  readonly from?: string | undefined;
  readonly replace?: boolean | undefined;
};

/**
 * The newest manifest of every organisation that matters here. All of them are in memory: each statement of a peer asks
 * for one. What is not our own and not pinned by a pairing is forgotten when there are too many.
 */
export class Manifests implements ManifestService {
  readonly #components: ManifestsComponents;
  readonly #init: ManifestsInit;
  /** Those merely seen come in the order of their last use. */
  readonly #held = new Map<string, Held>();
  readonly #seen = new Set<string>();
  /** What the group under way adds. */
  readonly #staged = new WeakMap<Group, Map<string, Held>>();
  readonly #listeners = new Set<(manifest: KnownManifest) => void>();

  constructor(components: ManifestsComponents, init: ManifestsInit) {
    this.#components = components;
    this.#init = init;
  }

  /**
   * Reads every manifest into memory; call before anything else. Called again when a group was resurrected: whoever
   * follows is told of what changed with it.
   */
  async load(): Promise<void> {
    const stored: ManifestRow[] = [];
    await forEachSlice(this.#components.store, keys.manifestRange(), (rows) => {
      for (const { value } of rows) stored.push(fromJson<ManifestRow>(value));
      return undefined;
    });
    // At once: no organisation must be unknown for a moment, nor when the disk cannot be read.
    const known = new Map(this.#held);
    this.#held.clear();
    this.#seen.clear();
    for (const row of stored) this.#keep({ ...row, nodes: nodesOf(row) });
    for (const [authority, held] of this.#held) {
      if (known.get(authority)?.manifest.signature === held.manifest.signature) continue;
      for (const listener of this.#listeners) listener(this.#view(held));
    }
  }

  get size(): number {
    return this.#held.size;
  }

  get own(): ManifestJson | undefined {
    return this.#held.get(this.#init.org)?.manifest;
  }

  list(): readonly KnownManifest[] {
    const known = [...this.#held.values()].map((held) => this.#view(held));
    return known.sort((a, b) => (a.authority < b.authority ? -1 : 1));
  }

  known(authority: string): KnownManifest | undefined {
    const held = this.#held.get(authority);
    return held && this.#view(held);
  }

  require(authority: string): KnownManifest {
    const known = this.known(authority);
    if (known) return known;
    throw new NodeError('manifest_not_found', `no manifest of ${authority} is known`, 'pair with that organisation');
  }

  on(listener: (manifest: KnownManifest) => void): () => void {
    this.#listeners.add(listener);
    return () => this.#listeners.delete(listener);
  }

  /** The newest manifest of an organisation as it is after what the group under way adds. */
  newest(authority: string, group?: Group): OrgManifest | undefined {
    return this.#find(authority, group)?.manifest;
  }

  /** What is known of a node of an organisation; undefined while no manifest of it is. */
  proof(authority: string, peerId: string): Proof | undefined {
    const nodes = this.#held.get(authority)?.nodes;
    if (!nodes) return undefined;
    return nodes.get(peerId) ?? UNLISTED;
  }

  /** Notes that a manifest was needed: those longest unused are forgotten first. */
  used(authority: string): void {
    if (!this.#seen.delete(authority)) return;
    this.#seen.add(authority);
  }

  async accept(who: Principal, json: ManifestJson, options: Acceptance): Promise<KnownManifest> {
    const manifest = await this.#verified(json);
    const { authority } = manifest;
    try {
      await this.#components.writer.submit(1, (group) => {
        this.#learn(group, who, manifest, null, options);
      });
    } catch (error) {
      if (error instanceof NodeError && isMistrust(error)) await this.#refused(who, manifest, error, options.from);
      throw error;
    }
    return this.require(authority);
  }

  async publish(who: Principal, json: ManifestJson): Promise<KnownManifest> {
    const manifest = await this.#verified(json);
    const { org, peerId } = this.#init;
    if (manifest.authority !== org) {
      throw new NodeError('manifest_invalid', `not a manifest of ${org}`, 'publish your own organisation’s');
    }
    if (!nodeOf(manifest, peerId)) {
      throw new NodeError('node_not_listed', 'the manifest does not list this node', "add it: 'stigmesh org add-node'");
    }
    await this.#components.writer.submit(1, async (group) => {
      const known = this.#find(org, group);
      if (known && known.manifest.version > manifest.version) {
        const message = `version ${known.manifest.version} is known already`;
        throw new NodeError('manifest_stale', message, 'start from the newest one');
      }
      if (known?.statement && known.manifest.signature === manifest.signature) return;
      await this.#components.state(group, who, manifest);
    });
    return this.require(org);
  }

  async statement(authority: string): Promise<WireStatement | undefined> {
    const name = this.#held.get(authority)?.statement;
    if (name == null) return undefined;
    const digest = Buffer.from(name, 'hex');
    const value = await this.#components.store.get(keys.logKey(digest));
    if (!value) return undefined;
    const { bytes, sig } = decodeLogRecord(value, digest);
    return { bytes, sig };
  }

  /**
   * The manifest in a statement, its signatures checked off the event loop. Whether the statement's origin is among its
   * nodes is checked, too: nobody publishes for others.
   *
   * @throws NodeError `manifest_invalid`, `not_owner`, `key_revoked`
   */
  async inspect({ statement }: EncodedStatement): Promise<void> {
    if (isManifest(statement)) assertListed(await this.#verified(statement.body), statement);
  }

  /**
   * Takes note of a manifest statement in the writer's turn; {@link inspect} has verified it. An older version of the same
   * chain is history: kept in the log, and nothing follows from it.
   *
   * @param from the peer it came from; null for what our operator brings
   */
  admit(
    group: Group,
    who: Principal,
    { statement, digest }: EncodedStatement<ManifestStatement>,
    from: string | null,
  ): void {
    const manifest = decoded(statement.body);
    const name = Buffer.from(digest).toString('hex');
    this.#learn(group, who, manifest, name, { pin: false, from: from ?? undefined });
  }

  /**
   * Whether a manifest statement may be admitted, beside the manifests known and those of the group under way.
   *
   * @throws NodeError `manifest_equivocation`, `rotation_unproven`
   */
  assertFollows(group: Group | undefined, { body }: ManifestStatement, from: string | null): void {
    const manifest = decoded(body);
    const known = this.newest(manifest.authority, group);
    if (known) follows(known, manifest);
    else this.#assertNotOurs(manifest.authority, from ?? undefined);
  }

  /** Takes a manifest of the log into a store that lost it, as far as the log tells: pins are gone then. */
  async relearn(group: Group, encoded: EncodedStatement): Promise<void> {
    const { statement } = encoded;
    if (!isManifest(statement) || this.newest(statement.org, group)) return;
    try {
      await this.inspect(encoded);
      this.admit(group, SYSTEM, { ...encoded, statement }, null);
    } catch (error) {
      if (!(error instanceof NodeError)) throw error;
    }
  }

  /** What status has to say about our own manifest. */
  ownWarnings(): string[] {
    const { org, peerId } = this.#init;
    const own = this.#held.get(org)?.manifest;
    if (!own) return [];
    const standing = speaksFor(own, peerId, '9999999999999.999');
    const left = Date.parse(own.expires_at) - this.#components.now();
    const warnings: string[] = [];
    if (standing === 'not_listed') {
      warnings.push(`the manifest of ${org} does not list this node: other organisations refuse what it states`);
    }
    if (standing === 'revoked') {
      warnings.push(`the key of this node was revoked in the manifest of ${org}: what it states counts nowhere`);
    }
    if (left <= 0)
      warnings.push(`the manifest of ${org} expired at ${own.expires_at}: peers take nothing until it is renewed`);
    else if (left < MANIFEST_WARNING_MS) warnings.push(`the manifest of ${org} expires at ${own.expires_at}: renew it`);
    return warnings;
  }

  async #verified(json: ManifestJson): Promise<OrgManifest> {
    return verifyManifest(json as JsonValue).catch(invalid);
  }

  #learn(
    group: Group,
    who: Principal,
    manifest: OrgManifest,
    statement: string | null,
    { pin, from, replace = false }: Acceptance,
  ): void {
    const { authority } = manifest;
    const old = this.#find(authority, group);
    if (!old) this.#assertNotOurs(authority, from);
    let takesOver = old === undefined;
    let breaks = false;
    if (old) {
      try {
        takesOver = follows(old.manifest, manifest);
      } catch (error) {
        // One that was only seen on the way is hearsay: it keeps nobody from whom our operator pairs with.
        const isHearsay =
          pin && old.standing === 'seen' && error instanceof NodeError && error.code === 'rotation_unproven';
        if (!replace && !isHearsay) throw error;
        if (isHearsay) this.mistrust(authority, error.code);
        takesOver = true;
        breaks = true;
      }
    }
    const standing = authority === this.#init.org ? 'own' : pin || (old && old.standing !== 'seen') ? 'pinned' : 'seen';
    if (old && !takesOver) {
      const isSame = old.manifest.signature === manifest.signature;
      const carrier = isSame && old.statement === null ? statement : old.statement;
      if (standing !== old.standing || carrier !== old.statement) {
        this.#stage(group, { ...old, standing, statement: carrier });
      }
      return;
    }
    const row: ManifestRow = { manifest, standing, statement, former: breaks || !old ? [] : formerOf(old, manifest) };
    const next: Held = { ...row, nodes: nodesOf(row) };
    if (!old || !sameNodes(old.nodes, next.nodes)) this.#components.onNodesChanged(group, authority);
    this.#stage(group, next);
    if (standing === 'seen') this.#forgetOldest(group, authority);
    group.audit({
      type: standing === 'own' ? 'manifest_published' : 'manifest_learned',
      who,
      source: authority,
      detail: {
        org: authority,
        version: manifest.version,
        key_id: manifest.key_id,
        standing,
        ...(old && old.manifest.org_key !== manifest.org_key ? { former_key_id: old.manifest.key_id } : {}),
        ...(breaks ? { replaced: true } : {}),
        ...(from === undefined ? {} : { from }),
      },
    });
    group.afterCommit.push(() => {
      const known = this.known(authority);
      if (known) for (const listener of this.#listeners) listener(known);
    });
  }

  /** Who our own organisation is, no peer tells us. */
  #assertNotOurs(authority: string, from: string | undefined): void {
    if (authority !== this.#init.org || from === undefined) return;
    throw new NodeError(
      'rotation_unproven',
      'our own manifest is not known here yet',
      'start the daemon with its org key',
    );
  }

  async #refused(who: Principal, manifest: OrgManifest, error: NodeError, from: string | undefined): Promise<void> {
    const { authority, key_id, version } = manifest;
    this.mistrust(authority, error.code);
    const known = this.#held.get(authority)?.manifest.key_id ?? null;
    const detail = { org: authority, code: error.code, key_id, known_key_id: known, version, from: from ?? null };
    await this.#components.writer.writeLocal(() => ({
      ops: [],
      audit: [{ type: 'manifest_refused', who, source: authority, detail }],
      result: undefined,
    }));
  }

  /** Lets status warn of a manifest that contradicts the one that is known. */
  mistrust(authority: string, code: string): void {
    const what =
      code === 'rotation_unproven'
        ? 'somebody shows another key for it than the one known here, with nothing signed that leads to it'
        : 'it signed two manifests with one version';
    this.#components.warnings.add(`manifest ${authority}`, `the manifest of ${authority} was refused: ${what}`);
  }

  #find(authority: string, group: Group | undefined): Held | undefined {
    return (group && this.#staged.get(group)?.get(authority)) ?? this.#held.get(authority);
  }

  #stage(group: Group, held: Held): void {
    const { authority } = held.manifest;
    const { manifest, standing, statement, former } = held;
    const row: ManifestRow = { manifest, standing, statement, former };
    group.ops.push({ type: 'put', key: keys.manifestKey(authority), value: toJson(row) });
    let staged = this.#staged.get(group);
    if (!staged) {
      staged = new Map();
      this.#staged.set(group, staged);
    }
    staged.set(authority, held);
    group.afterCommit.push(() => this.#keep(held));
  }

  #keep(held: Held): void {
    const { authority } = held.manifest;
    this.#held.set(authority, held);
    if (held.standing === 'seen') this.#seen.add(authority);
    else this.#seen.delete(authority);
  }

  #forgetOldest(group: Group, besides: string): void {
    const staged = this.#staged.get(group);
    const beyond = this.#seen.size + (staged?.size ?? 0) - MAX_SEEN_MANIFESTS;
    if (beyond <= 0) return;
    // One that this group renews, or pins, is none that nobody uses.
    const oldest = [...this.#seen].filter((name) => name !== besides && !staged?.has(name)).slice(0, beyond);
    for (const name of oldest) group.ops.push({ type: 'del', key: keys.manifestKey(name) });
    group.afterCommit.push(() => {
      for (const name of oldest) {
        this.#seen.delete(name);
        this.#held.delete(name);
      }
    });
  }

  #view({ manifest, standing }: Held): KnownManifest {
    return {
      authority: manifest.authority,
      fingerprint: manifest.key_id,
      version: manifest.version,
      standing,
      expired: isManifestExpired(manifest, this.#components.now()),
      manifest,
    };
  }
}

/** @throws NodeError `not_owner`, `key_revoked` */
function assertListed(manifest: OrgManifest, { origin, hlc }: ManifestStatement): void {
  const standing = speaksFor(manifest, origin, hlc);
  if (standing === 'not_listed') {
    throw new NodeError(
      'not_owner',
      `${origin} is not a node of ${manifest.authority}`,
      'only its own nodes publish it',
    );
  }
  if (standing === 'revoked') throw keyRevoked(origin);
}

export function keyRevoked(origin: string): NodeError {
  return new NodeError(
    'key_revoked',
    `the key of ${origin} had been revoked when it signed this`,
    'nothing it signs counts any more; ask its organisation',
  );
}

/** @throws NodeError `manifest_invalid` */
function decoded(json: ManifestJson): OrgManifest {
  try {
    return decodeManifest(json as JsonValue);
  } catch (error) {
    return invalid(error);
  }
}

function invalid(error: unknown): never {
  if (!(error instanceof IdentityError)) throw error;
  throw new NodeError('manifest_invalid', error.message, error.hint);
}

/** As succeeds(), with the node's kind of error. @throws NodeError `manifest_equivocation`, `rotation_unproven` */
function follows(known: OrgManifest, next: OrgManifest): boolean {
  try {
    return succeeds(known, next);
  } catch (error) {
    if (!(error instanceof IdentityError)) throw error;
    const code = error.code === 'manifest_equivocation' ? 'manifest_equivocation' : 'rotation_unproven';
    throw new NodeError(code, error.message, error.hint);
  }
}

function isMistrust({ code }: NodeError): boolean {
  return code === 'manifest_equivocation' || code === 'rotation_unproven';
}

const UNLISTED: Proof = { listed: false, revokedAt: null };

function nodesOf({ manifest, former }: ManifestRow): ReadonlyMap<string, Proof> {
  const nodes = new Map<string, Proof>();
  for (const [peerId, revokedAt] of former) nodes.set(peerId, { listed: true, revokedAt });
  for (const { peer_id, revoked_at } of manifest.nodes)
    nodes.set(peer_id, { listed: true, revokedAt: revoked_at ?? null });
  return nodes;
}

/** Who was listed and is not any more, the newest last. */
function formerOf(old: Held, next: OrgManifest): ManifestRow['former'] {
  const gone = [...old.nodes].filter(([peerId]) => !nodeOf(next, peerId));
  return gone.slice(-MAX_FORMER_NODES).map(([peerId, { revokedAt }]) => [peerId, revokedAt]);
}

function sameNodes(a: Held['nodes'], b: Held['nodes']): boolean {
  return a.size === b.size && [...a].every(([peerId, { revokedAt }]) => b.get(peerId)?.revokedAt === revokedAt);
}

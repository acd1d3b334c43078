import {
  type FactStatement,
  isFact,
  isFormalUri,
  isManifest,
  isResolution,
  type Statement,
  uriAuthority,
} from '../facts/index.ts';
import { isManifestExpired, nodeOf, type OrgManifest } from '../identity/manifest.ts';
import { claimsForeignEntity, ownsAuthority, type SetAudience, setOf, speaksForOthers } from '../policy/sets.ts';
import { isShared, type Pairing } from '../policy/sharing.ts';
import { NodeError } from './errors.ts';
import { keyRevoked, type Manifests } from './manifests.ts';
import { MAX_QUARANTINED, MAX_QUARANTINED_ALL } from './mesh-limits.ts';
import type { Standing } from './standing.ts';
import type { Group } from './writer.ts';

/**
 * Where a statement came from: written here, read from an export by the operator, or sent by a peer. With `only`, what
 * is not of that audience counts as not shared with the peer.
 */
export type Arrival =
  | { readonly via: 'local' }
  | { readonly via: 'import' }
  | {
      readonly via: 'peer';
      readonly peerId: string;
      readonly pairing: Pairing;
      readonly only?: SetAudience | undefined;
    };

export interface AuthorityComponents {
  readonly manifests: Manifests;
  readonly standing: Standing;
  /** Whether our operator removed this node. */
  readonly isRemoved: (peerId: string) => boolean;
  readonly now: () => number;
}

export interface AuthorityInit {
  readonly peerId: string;
  readonly org: string;
}

const RESERVED_ENTITY = /^stigmem:(?:conflict|resolution):/;

/**
 * Who may say what: the part of admission that needs no bytes, no signature and no clock. Everything here is known in
 * memory, so it is asked before a signature is checked, and again in the writer's turn, when it may have changed.
 */
export class Authority {
  readonly #components: AuthorityComponents;
  readonly #init: AuthorityInit;

  constructor(components: AuthorityComponents, init: AuthorityInit) {
    this.#components = components;
    this.#init = init;
  }

  /**
   * Whether a statement may come this way at all: asked first, so that a peer gets the same answer about what we hold and
   * what we do not.
   *
   * @throws NodeError `reserved_entity`, `unknown_origin`, `scope_violation`, `not_owner`
   */
  assertMayCome(statement: Statement, arrival: Arrival): void {
    if (isFact(statement) && RESERVED_ENTITY.test(statement.body.entity)) {
      throw new NodeError(
        'reserved_entity',
        'conflicts and resolutions are derived, nobody asserts them',
        'resolve a conflict with POST /v1/conflicts/{id}/resolve',
      );
    }
    if (arrival.via === 'local' && !this.#isOwn(statement)) {
      throw new NodeError(
        'unknown_origin',
        'written here, but not by this node',
        'restart the daemon with its own keys',
      );
    }
    if (arrival.via === 'peer') assertShared(statement, arrival);
  }

  /**
   * Whether the origin may say this for its organisation.
   *
   * @param arriving authorities whose manifests are in the same batch and will be known by its turn
   * @throws NodeError `origin_rejected`, `origin_removed`, `unknown_org`, `not_owner`, `key_revoked`, `manifest_expired`,
   *   `manifest_equivocation`, `rotation_unproven`
   */
  assertMaySay(statement: Statement, arrival: Arrival, group?: Group, arriving?: ReadonlySet<string>): void {
    const { manifests, standing, isRemoved, now } = this.#components;
    const { org, origin } = statement;
    const isPeer = arrival.via === 'peer';
    if (isPeer && standing.isRejected(org)) {
      throw new NodeError(
        'origin_rejected',
        `nothing of ${org} is taken: nobody here is paired with it`,
        'pair with it, or change mesh.unknown_origins',
      );
    }
    if (isPeer && isRemoved(origin)) {
      throw new NodeError(
        'origin_removed',
        `${origin} was removed here`,
        "what it signs is refused from then on; 'stigmesh peers' shows it",
      );
    }
    if (isManifest(statement)) {
      // It brings its own proof, which was verified; it must not contradict what is known.
      manifests.assertFollows(group, statement, isPeer ? arrival.peerId : null);
      if (standing.of({ org, origin, hlc: statement.hlc, seq: 0 }) === 'revoked') throw keyRevoked(origin);
      return;
    }
    const manifest = manifests.newest(org, group);
    if (!manifest) {
      // What this node signed needs no proof; what the operator imports may get one later.
      if (!isPeer || this.#isOwn(statement) || arriving?.has(org)) return;
      throw new NodeError(
        'unknown_org',
        `no manifest of ${org} is known`,
        'fetch it from whoever sent this, then come again',
      );
    }
    if (arrival.via !== 'local') {
      manifests.used(org);
      assertSpeaksFor(manifest, statement, arriving?.has(org) === true);
    }
    const mayBeRenewed = arriving?.has(org) === true;
    if (isPeer && !mayBeRenewed && isManifestExpired(manifest, now())) {
      throw new NodeError(
        'manifest_expired',
        `the manifest of ${org} expired at ${manifest.expires_at}`,
        'ask the organisation to renew it; its daemon does so by itself while it runs',
      );
    }
    assertNames(manifest, statement);
  }

  /**
   * Whether there is room for what is kept without being believed.
   *
   * @param pending statements of organisations in quarantine that the group under way adds
   * @throws NodeError `quarantine_full`
   */
  assertRoom(org: string, pending: { readonly ofOrg: number; readonly ofAll: number }): void {
    const { standing } = this.#components;
    if (!standing.isQuarantined(org)) return;
    const isFull =
      standing.quarantined(org) + pending.ofOrg >= MAX_QUARANTINED ||
      standing.quarantined() + pending.ofAll >= MAX_QUARANTINED_ALL;
    if (!isFull) return;
    throw new NodeError(
      'quarantine_full',
      `as much of ${org} is in quarantine as may be`,
      'pair with it, or refuse what comes of strangers with mesh.unknown_origins = "reject"',
    );
  }

  #isOwn({ origin, org }: Statement): boolean {
    return origin === this.#init.peerId && org === this.#init.org;
  }
}

/** @throws NodeError `scope_violation`, `not_owner` */
function assertShared(statement: Statement, { pairing, only }: Extract<Arrival, { via: 'peer' }>): void {
  const set = setOf(statement);
  const isIn = (audience: SetAudience): boolean =>
    set !== null && (only ?? audience) === audience && isShared({ ...set, audience }, pairing);
  if (set && isIn(set.audience)) return;
  if (set && speaksForOthers(statement) && statement.audience !== 'local' && isIn(statement.audience)) {
    const what = claimsForeignEntity(statement) ? 'claims something about' : 'names as its source';
    throw new NodeError(
      'not_owner',
      `${statement.org} ${what} what stands on another organisation's name`,
      'only that organisation may; deny a claim with confidence 0, or use an informal URI',
    );
  }
  throw new NodeError(
    'scope_violation',
    'no such statement is shared between sender and receiver',
    'send what both declarations name, and nothing else',
  );
}

/** @throws NodeError `not_owner`, `key_revoked` */
function assertSpeaksFor(manifest: OrgManifest, { org, origin, hlc }: Statement, mayBeListedYet: boolean): void {
  const node = nodeOf(manifest, origin);
  if (!node) {
    if (mayBeListedYet) return;
    throw new NodeError(
      'not_owner',
      `${origin} is not a node of ${org}`,
      'its organisation must list it in its manifest',
    );
  }
  if (node.revoked_at !== undefined && hlc > node.revoked_at) throw keyRevoked(origin);
}

/**
 * Whether the node may use the names of its organisation that stand in what it says: a formal source always, a formal
 * entity where something is claimed about it.
 *
 * @throws NodeError `not_owner`
 */
function assertNames(manifest: OrgManifest, statement: Statement): void {
  if (!isFact(statement) && !isResolution(statement)) return;
  const { org, origin } = statement;
  const namespaces = nodeOf(manifest, origin)?.namespaces;
  // Not listed is this node itself, which others refuse and which remembers all the same.
  if (namespaces === undefined || namespaces.includes(org)) return;
  const named = [statement.body.source, ...(isClaim(statement) ? [statement.body.entity] : [])];
  for (const uri of named) {
    if (!isFormalUri(uri)) continue;
    const authority = uriAuthority(uri, org);
    // Names of other organisations are judged by the set: within an organisation they may be used.
    if (!ownsAuthority(org, authority) || namespaces.some((name) => ownsAuthority(name, authority))) continue;
    throw new NodeError(
      'not_owner',
      `${origin} may not use names of ${authority}`,
      'its organisation gives its nodes their namespaces in its manifest',
    );
  }
}

function isClaim(statement: Statement): statement is FactStatement {
  return isFact(statement) && statement.body.confidence > 0;
}

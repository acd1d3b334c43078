import type { JsonObject } from '../facts/index.ts';
import type { FactScope } from '../facts/scope.ts';
import type { Permission, Principal } from '../policy/principal.ts';
import type { StoreOp } from '../store/store.ts';

/** Local records beside the log: gardens, API keys, audit. They are this daemon's own and never replicate. */

export const GARDEN_ROLES = ['admin', 'writer', 'reader', 'quarantine:moderator'] as const;
export type GardenRole = (typeof GARDEN_ROLES)[number];

export interface GardenMember {
  readonly entity_uri: string;
  readonly role: GardenRole;
  readonly added_by: string;
  readonly added_at: string;
}

/** Wire shape of the contract's GardenRecord. */
export interface Garden {
  /** UUID. */
  readonly id: string;
  /** `stigmem://<org>/garden/<slug>`: what statements carry. */
  readonly garden_id: string;
  readonly slug: string;
  readonly name: string;
  readonly scope: FactScope;
  readonly description: string | null;
  readonly created_by: string;
  readonly created_at: string;
  readonly members: readonly GardenMember[];
  readonly quarantine: boolean;
}

export interface GardenService {
  create(
    who: Principal,
    input: {
      slug: string;
      name: string;
      scope: FactScope;
      description?: string | null | undefined;
      quarantine?: boolean | undefined;
    },
  ): Promise<Garden>;
  list(who: Principal): Promise<Garden[]>;
  get(who: Principal, slugOrId: string): Promise<Garden>;
  remove(who: Principal, slugOrId: string): Promise<void>;
  members(who: Principal, slugOrId: string): Promise<readonly GardenMember[]>;
  addMember(who: Principal, slugOrId: string, input: { entity_uri: string; role: GardenRole }): Promise<GardenMember>;
  setRole(who: Principal, slugOrId: string, entityUri: string, role: GardenRole): Promise<GardenMember>;
  removeMember(who: Principal, slugOrId: string, entityUri: string): Promise<void>;
  /** Garden named by URI, slug or id; throws garden_not_found. Synchronous: gardens are held in memory. */
  resolve(reference: string): Garden;
  /** Whether this principal may read facts of the garden with this URI (deleted gardens: only node admins). */
  mayRead(who: Principal, gardenUri: string): boolean;
  /** Throws garden_forbidden unless the principal is admin or writer of the garden, or node admin. */
  assertMayWrite(who: Principal, garden: Garden): void;
}

/** What a key looks like after creation; the secret itself is never stored and never shown again. */
export interface ApiKeyInfo {
  readonly id: string;
  readonly entity_uri: string;
  readonly permissions: readonly Permission[];
  readonly scopes: readonly FactScope[];
  readonly description: string | null;
  readonly created_at: string;
  readonly expires_at: string | null;
  readonly revoked_at: string | null;
}

export interface ApiKeyService {
  /** With `raw_key` the caller chose the secret (Stigmem's contract); without, 256 random bits are made and returned once. */
  create(
    who: Principal,
    input: {
      entity_uri: string;
      permissions: readonly string[];
      scopes?: readonly FactScope[] | undefined;
      description?: string | null | undefined;
      expires_at?: string | null | undefined;
      raw_key?: string | undefined;
    },
  ): Promise<{ readonly info: ApiKeyInfo; readonly secret: string | null }>;
  /** Own keys; every key for admins with `all`. */
  list(who: Principal, options?: { readonly all?: boolean | undefined }): Promise<ApiKeyInfo[]>;
  expiringSoon(who: Principal, withinDays: number): Promise<(ApiKeyInfo & { readonly days_remaining: number })[]>;
  revoke(who: Principal, id: string): Promise<void>;
  /** The principal of a presented secret, or undefined when unknown, expired or revoked. One SHA-256, constant-time compare. */
  authenticate(secret: string): Principal | undefined;
}

/** One thing that happened, as code reports it. No fact value and no secret ever goes in here. */
export interface AuditEvent {
  readonly type: string;
  readonly who: Principal;
  /** Statement digest, where the event is about a fact. */
  readonly fact?: Uint8Array | undefined;
  readonly source?: string | undefined;
  readonly detail?: JsonObject | undefined;
}

/** One thing that happened, as it is kept. */
export interface AuditEntry {
  readonly seq: number;
  readonly type: string;
  /** RFC 3339 UTC. */
  readonly ts: string;
  readonly principal: string;
  readonly keyId: string | null;
  /** Statement CID. */
  readonly factId: string | null;
  readonly source: string;
  readonly detail: JsonObject | null;
}

export interface AuditQuery {
  readonly type?: string | undefined;
  readonly principal?: string | undefined;
  readonly source?: string | undefined;
  readonly factId?: string | undefined;
  /** Only what happened on the mesh, with one peer or all: the permission `federate` suffices for that. */
  readonly federation?: { readonly peerId?: string | undefined } | undefined;
  readonly cursor?: string | undefined;
  readonly limit: number;
}

export interface AuditService {
  /** Newest first. */
  list(
    who: Principal,
    query: AuditQuery,
  ): Promise<{ readonly entries: readonly AuditEntry[]; readonly cursor: string | null }>;
  /** Oldest first: everything recorded about one statement. */
  ofFact(who: Principal, factId: string): Promise<readonly AuditEntry[]>;
}

/** What a change to local records writes, decided while no other write runs. */
export interface LocalChange<T> {
  readonly ops: readonly StoreOp[];
  readonly audit: readonly AuditEvent[];
  readonly result: T;
}

/**
 * The way every local record reaches the disk. `decide` runs in the writer's turn, so what it read cannot change
 * before its operations are durable; `result` is returned after they are. In-memory state may be updated only then.
 */
export interface LocalWriter {
  writeLocal<T>(decide: () => LocalChange<T> | Promise<LocalChange<T>>): Promise<T>;
}

export const LINT_CHECKS = ['contradiction', 'stale', 'orphan', 'broken_ref', 'namespacing'] as const;
export type LintCheck = (typeof LINT_CHECKS)[number];

export interface LintFinding {
  readonly check: LintCheck;
  readonly severity: 'error' | 'warning' | 'info';
  readonly entity: string;
  readonly relation: string | null;
  readonly fact_ids: readonly string[];
  readonly detail: string;
}

export interface LintResult {
  readonly findings: readonly LintFinding[];
  readonly checked_at: string;
  readonly scope: FactScope;
  readonly checks_run: readonly LintCheck[];
  readonly fact_count: number;
  /** True when findings were cut off at the limit. */
  readonly truncated: boolean;
}

export interface LintJob {
  readonly job_id: string;
  readonly status: 'pending' | 'running' | 'done' | 'failed';
  readonly scope: FactScope;
  readonly estimated_s: number;
  readonly created_at: string;
  readonly started_at: string | null;
  readonly completed_at: string | null;
  readonly error: string | null;
  readonly result: LintResult | null;
}

export interface LintQuery {
  readonly scope: FactScope;
  readonly checks?: readonly LintCheck[] | null | undefined;
  readonly entity?: string | null | undefined;
  readonly relation?: string | null | undefined;
  readonly stale_lookahead_s: number;
}

export interface LintService {
  /** Runs at once, or as a job when the scope holds more facts than a request should wait for. */
  run(who: Principal, query: LintQuery): Promise<{ readonly result: LintResult } | { readonly job: LintJob }>;
  job(who: Principal, id: string): Promise<LintJob>;
}

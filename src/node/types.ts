import type { FactStatement, FactValue, Statement } from '../facts/index.ts';
import type { FactScope } from '../facts/scope.ts';
import type { BarredState, EntryState } from '../facts/view.ts';
import type { Principal } from '../policy/principal.ts';

/** A fact as a reader sees it: the signed statement, and what this node derives and knows about it. */
export interface FactView {
  /** Statement CID: who claimed it, when, on what terms. */
  readonly id: string;
  /** Fact CID `sha256:…`: what is claimed. */
  readonly cid: string;
  /** The other names of the claim: `bagaaiera…` and the reference implementation's `sha256:…`. */
  readonly cidV1: string;
  readonly stigmemCid: string;
  readonly statement: FactStatement;
  readonly state: EntryState;
  /** Another live value stands against this one, unresolved. */
  readonly contradicted: boolean;
  /** This value lost a resolution. */
  readonly overruled: boolean;
  /** Effective expiry (RFC 3339; `valid_until`, or a stigmem:ttl of its own org), null: never. */
  readonly validUntil: string | null;
  /** Local sequence number of the commit: the id of events. */
  readonly seq: number;
  /** Unix ms. */
  readonly receivedAt: number;
  /** Peer id it came from (`import` for an import); null when it was written here. */
  readonly receivedFrom: string | null;
  /** The key that signed it was revoked since, by its organisation or by removing the peer; what it said stays. */
  readonly sourceRevoked: boolean;
  /** Ed25519 signature over the statement digest, 64 bytes. */
  readonly signature: Uint8Array;
}

/** What a writer says; strings are normalised on the way in. */
export interface AssertInput {
  readonly entity: string;
  readonly relation: string;
  readonly value: { readonly type: string; readonly v?: unknown; readonly interpret_as?: string | undefined };
  readonly source: string;
  readonly confidence: number;
  readonly scope: FactScope;
  readonly valid_until?: string | null | undefined;
  /** Garden URI, slug or id. */
  readonly garden_id?: string | null | undefined;
  readonly derived_from?: readonly Record<string, unknown>[] | undefined;
  readonly supersedes?: readonly string[] | undefined;
  readonly basis?: string | null | undefined;
}

export interface AssertResult {
  readonly fact: FactView;
  /** False when the same claim on the same terms was live already: nothing was written. */
  readonly created: boolean;
  readonly warnings: readonly string[];
}

export interface BatchInput {
  readonly facts: readonly AssertInput[];
  /** All or nothing. */
  readonly atomic: boolean;
  readonly idempotencyKey?: string | undefined;
}

/** Outcome of one item, in the order given. `error` carries the code and hint the single call would have answered. */
export type BatchItem =
  | { readonly status: 'created' | 'exists'; readonly factId: string; readonly warnings: readonly string[] }
  | {
      readonly status: 'error';
      readonly error: { readonly code: string; readonly message: string; readonly hint: string };
    };

export interface BatchResult {
  readonly accepted: number;
  readonly rejected: number;
  readonly items: readonly BatchItem[];
  /** True when this is the remembered answer of an earlier request with the same idempotency key. */
  readonly replayed: boolean;
}

export interface RetractInput {
  readonly entity: string;
  readonly relation: string;
  readonly scope: FactScope;
  readonly source: string;
  readonly garden_id?: string | undefined;
  /** Which value to retract; absent: every value this org states on the key. */
  readonly value?: { readonly type: string; readonly v?: unknown } | undefined;
}

/** Which non-current facts a query includes beside the current view. */
export type Include = 'history' | 'retracted' | 'superseded' | 'expired' | 'losing' | 'quarantined';

export interface FactQuery {
  readonly entity?: string | undefined;
  readonly relation?: string | undefined;
  readonly relationPrefix?: string | undefined;
  readonly source?: string | undefined;
  readonly scope?: FactScope | undefined;
  readonly origin?: string | undefined;
  readonly value?: FactValue | undefined;
  /** Garden URI, slug or id. */
  readonly garden?: string | undefined;
  readonly minConfidence?: number | undefined;
  readonly include?: readonly Include[] | undefined;
  /** A cursor, an HLC or an RFC 3339 instant: only what was committed (cursor) or stated (others) after it. */
  readonly after?: string | undefined;
  readonly cursor?: string | undefined;
  /** 1…500. */
  readonly limit: number;
}

export interface FactPage {
  /** Newest first by HLC. */
  readonly facts: readonly FactView[];
  /** Opaque position for the next page; null at the end. A page can be short and still have a cursor. */
  readonly cursor: string | null;
  /** Opaque position of the newest commit seen: give it as `after` to get only what came later. */
  readonly head: string;
}

/** One claim and how often it was made: what `GET /v1/facts/sha256:…` adds to its newest statement. */
export interface ClaimSummary {
  readonly statements: number;
  readonly origins: number;
}

export interface Provenance {
  readonly fact: FactView;
  readonly derivedFrom: readonly {
    readonly hash: string;
    readonly factId: string | null;
    readonly entity: string | null;
    readonly exists: boolean;
  }[];
}

export interface CidCheck {
  readonly cidValid: boolean;
  readonly computedCid: string;
  readonly storedCid: string;
  readonly mismatchReason: string | null;
  readonly signatureValid: boolean;
  readonly statementCid: string;
}

export interface ConflictRecord {
  readonly id: string;
  /** The newer side. */
  readonly factA: FactView;
  readonly factB: FactView;
  readonly status: 'unresolved' | 'resolved';
  /** Statement CID of the effective resolution. */
  readonly resolvedBy: string | null;
  /** Every resolution known for this pair, newest first. */
  readonly resolutions: readonly string[];
  /** Unix ms: when the younger side was stated. */
  readonly detectedAt: number;
}

export interface ConflictPage {
  readonly conflicts: readonly ConflictRecord[];
  readonly cursor: string | null;
}

export interface ResolveInput {
  /** Statement CID or fact CID of the winning side. */
  readonly winning_fact_id?: string | null | undefined;
  readonly new_value?: { readonly type: string; readonly v?: unknown } | null | undefined;
  readonly resolution_note?: string | undefined;
  readonly verdict?: 'winner' | 'both_valid' | undefined;
}

export interface ResolveResult {
  /** Statement CID of the resolution. */
  readonly resolutionId: string;
  /** Statement CID of the winning fact, null for both_valid. */
  readonly winningFactId: string | null;
}

/** A statement as it travels between nodes and files. */
export interface ExportedStatement {
  /** Statement CID. */
  readonly id: string;
  /** RFC 8785 bytes. */
  readonly bytes: Uint8Array;
  /** Ed25519 over their digest, 64 bytes. */
  readonly sig: Uint8Array;
}

/** What became of one imported statement, in the order given. */
export type ImportOutcome =
  | { readonly status: 'accepted' | 'duplicate'; readonly id: string }
  | { readonly status: 'rejected'; readonly code: string; readonly message: string };

/** One commit as followers of the feed see it. */
export interface CommitEvent {
  readonly seq: number;
  readonly id: string;
  readonly statement: Statement;
  /** The fact as it stands now; null for statements of other kinds. */
  readonly fact: FactView | null;
  /** Whether it counts; otherwise it is in no view and belongs before no agent's eyes. */
  readonly standing: 'good' | BarredState;
}

/** Whether writes work. */
export interface Readiness {
  readonly ready: boolean;
  /** Code of a store error, or `internal_error`. */
  readonly code: string | null;
  readonly reason: string | null;
}

/** What a node knows of itself without asking the disk. Times are in milliseconds. */
export interface NodeFigures {
  readonly statements: number;
  readonly facts: number;
  /** Facts of the current view by scope, and all of them. */
  readonly current: Readonly<Record<FactScope, number>>;
  readonly currentFacts: number;
  readonly openConflicts: number;
  /** Damaged records set aside, as counted at start. */
  readonly quarantined: number;
  readonly seq: number;
  readonly auditSeq: number;
  readonly hlcAheadMs: number;
  /** Unix ms. */
  readonly lastCommitAt: number | null;
  /** Statements that wait for the writer. */
  readonly writeQueue: number;
  /** Relations and organisations whose views are being computed again. */
  readonly recomputations: number;
  /** How long the oldest expiry has been due without being settled; 0 when none is. */
  readonly expiryOverdueMs: number;
  /** Lint jobs that wait or run. */
  readonly lintJobs: number;
  readonly feedFollowers: number;
  readonly viewEntries: number;
  readonly gardens: number;
  readonly apiKeys: number;
  /** Statements of organisations that nobody here trusts: kept, passed on, and in no view. */
  readonly untrusted: number;
  /** Sets of statements that can be reconciled with peers. */
  readonly sets: number;
  /** Organisations whose manifest is known. */
  readonly manifests: number;
  /** Times that an origin was seen to sign two statements with one clock reading, since the start. */
  readonly equivocations: number;
}

export interface NodeStatus extends NodeFigures {
  readonly peerId: string;
  readonly org: string;
  readonly hlc: string | null;
  /** Null while the disk does not answer. */
  readonly storeBytes: number | null;
  readonly schema: number;
  readonly readiness: Readiness;
  readonly warnings: readonly string[];
}

/** Commands and queries over facts. Every call checks what the principal may do, and throws FactError or NodeError. */
export interface FactService {
  assert(
    who: Principal,
    input: AssertInput,
    options?: { readonly idempotencyKey?: string | undefined },
  ): Promise<AssertResult>;
  assertBatch(who: Principal, input: BatchInput): Promise<BatchResult>;
  retract(who: Principal, input: RetractInput): Promise<AssertResult>;
  query(who: Principal, query: FactQuery): Promise<FactPage>;
  /** `id`: statement CID, or `sha256:…` / `bagaaiera…` of a claim: its newest statement. */
  get(who: Principal, id: string): Promise<{ readonly fact: FactView; readonly claim: ClaimSummary }>;
  /** Every statement on the keys of one entity and relation, newest first, whatever its state. */
  history(
    who: Principal,
    query: {
      entity: string;
      relation: string;
      scope?: FactScope | undefined;
      cursor?: string | undefined;
      limit: number;
    },
  ): Promise<FactPage>;
  provenance(who: Principal, id: string): Promise<Provenance>;
  verifyCid(who: Principal, id: string): Promise<CidCheck>;
}

export interface ConflictService {
  list(
    who: Principal,
    query: { status?: 'unresolved' | 'resolved' | undefined; cursor?: string | undefined; limit: number },
  ): Promise<ConflictPage>;
  get(who: Principal, id: string): Promise<ConflictRecord>;
  resolve(who: Principal, id: string, input: ResolveInput): Promise<ResolveResult>;
}

import type { Logger } from 'pino';
import type { Registry } from 'prom-client';
import type { FactScope } from '../facts/scope.ts';
import type { FederationService, MeshEventSource } from '../node/federation.ts';
import type { ApiKeyService, AuditService, GardenService, LintService } from '../node/services.ts';
import type {
  CommitEvent,
  ConflictService,
  ExportedStatement,
  FactService,
  ImportOutcome,
  NodeStatus,
} from '../node/types.ts';
import type { Principal } from '../policy/principal.ts';

/** What has been committed, in order of the local sequence, and a call when there is more. */
export interface CommitFeed {
  /** Sequence number of the newest commit, 0 for an empty log. */
  head(): number;
  /** Up to `limit` commits with a sequence number above `after`, ascending; fewer once they have `maxBytes`. */
  read(after: number, limit: number, maxBytes?: number): Promise<CommitEvent[]>;
  /** Calls back after each commit. Returns the way to end it. */
  onCommit(listener: (seq: number) => void): () => void;
}

/** Passing time, so that tests need not wait. `every` and `after` return the way to cancel. */
export interface Timers {
  /** Milliseconds of a clock that never goes back. */
  now(): number;
  every(ms: number, run: () => void): () => void;
  after(ms: number, run: () => void): () => void;
}

/** Who this node is. */
export interface NodeIdentity {
  readonly peerId: string;
  /** Authority of the organisation. */
  readonly org: string;
  /** Of the organisation's key, for comparing by eye. */
  readonly fingerprint: string;
}

export interface ApiComponents {
  readonly facts: FactService;
  readonly conflicts: ConflictService;
  readonly gardens: GardenService;
  readonly keys: ApiKeyService;
  readonly audit: AuditService;
  readonly lint: LintService;
  readonly feed: CommitFeed;
  /** Null: the mesh is off. */
  readonly federation: FederationService | null;
  /** What happens on the mesh; null as above. */
  readonly meshEvents: MeshEventSource | null;
  status(): Promise<NodeStatus>;
  /** Whether writes work, and the code of why not; cheap, asked by every probe. */
  readiness(): { readonly ready: boolean; readonly code: string | null };
  /** Every statement of the log in local order, signatures included. */
  exportStatements(who: Principal): AsyncIterable<ExportedStatement>;
  /** Admits statements through the same door as every other; one that is refused does not hinder the rest. */
  importStatements(
    who: Principal,
    statements: readonly { readonly bytes: Uint8Array; readonly sig: Uint8Array }[],
  ): Promise<readonly ImportOutcome[]>;
  readonly identity: NodeIdentity;
  readonly log: Logger;
  readonly metrics: Registry;
  /** Unix milliseconds. */
  now(): number;
  readonly timers: Timers;
}

/** Settings of the API; names follow the configuration's sections api, auth, compat, facts, limits, mesh and daemon. */
export interface ApiInit {
  readonly host: string;
  /** 0: any free port. */
  readonly port: number;
  readonly allowRemote: boolean;
  /** Names accepted in the Host header beside the loopback ones and `host`. */
  readonly allowedHosts: readonly string[];
  /** Bytes. */
  readonly bodyLimit: number;
  readonly requestTimeoutMs: number;
  readonly docs: boolean;
  /** Folder of markdown pages that /docs shows. */
  readonly docsDir: string | undefined;
  /** Serve /metrics to loopback clients without a key. */
  readonly metricsLoopback: boolean;
  /** Requests a minute and key. */
  readonly rateLimitRead: number;
  readonly rateLimitWrite: number;
  readonly maxConnections: number;
  readonly authRequired: boolean;
  /** Which fact CID the member `cid` carries. */
  readonly compatCid: 'rfc8785' | 'stigmem-0.9';
  readonly defaultScope: FactScope;
  readonly sseClients: number;
  readonly batchFacts: number;
  /** Life of an invite when nobody says, seconds. */
  readonly inviteLifeS: number;
  /** Time in-flight requests get when the API stops. */
  readonly drainTimeoutMs: number;
  /** Version of this program. */
  readonly version: string;
  /** Version of the runtime. */
  readonly nodeVersion: string;
}

/** Timers of the process. They keep it alive no longer than what they serve. */
export const systemTimers: Timers = {
  now: () => performance.now(),
  every(ms, run) {
    const timer = setInterval(run, ms).unref();
    return () => clearInterval(timer);
  },
  after(ms, run) {
    const timer = setTimeout(run, ms).unref();
    return () => clearTimeout(timer);
  },
};

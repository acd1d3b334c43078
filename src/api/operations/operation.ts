import type { z } from 'zod';
import { NodeError } from '../../node/errors.ts';
import type { Permission, Principal } from '../../policy/principal.ts';
import type { ApiComponents, ApiInit } from '../components.ts';
import type { ErrorCode } from '../errors.ts';
import { ApiError } from '../errors.ts';
import type { ApiMetrics } from '../metrics.ts';

/** What every operation may use. `runtime` is what the running server knows of itself. */
export interface ApiContext {
  readonly components: ApiComponents;
  readonly init: ApiInit;
  readonly metrics: ApiMetrics;
  readonly runtime: {
    /** `http://127.0.0.1:8765` */
    url(): string;
    sseClients(): number;
    /** Connections, and requests that are being answered. */
    connections(): { readonly open: number; readonly answering: number };
    /** Since the API began to listen. */
    uptimeMs(): number;
  };
}

/** One call: who makes it, in which context. */
export interface Call extends ApiContext {
  readonly who: Principal;
}

/**
 * Who may call: `open` anyone, `authenticated` any valid key, else a key with one of the permissions. `metrics` is as
 * `read`, or open to loopback clients when the configuration says so.
 */
export type Access = 'open' | 'authenticated' | 'metrics' | readonly Permission[];

export interface Inputs {
  readonly params?: z.ZodObject;
  readonly query?: z.ZodObject;
  /** Names in snake_case; `idempotency_key` is the header Idempotency-Key. */
  readonly headers?: z.ZodObject;
  readonly body?: z.ZodObject;
}

type Parsed<S> = S extends z.ZodType ? z.output<S> : Record<never, never>;

export interface Input<I extends Inputs = Inputs> {
  readonly params: Parsed<I['params']>;
  readonly query: Parsed<I['query']>;
  readonly headers: Parsed<I['headers']>;
  readonly body: Parsed<I['body']>;
}

export interface Answer<O = unknown> {
  readonly body: O;
  /** Default: the route's status. */
  readonly status?: number;
  readonly headers?: Readonly<Record<string, string>>;
}

/** A body that is not one JSON value. */
export interface StreamAnswer {
  readonly contentType: string;
  readonly headers?: Readonly<Record<string, string>>;
  readonly chunks: AsyncIterable<string> | Iterable<string>;
}

interface EndpointBase {
  /** operationId; for operations with `rpc` also the JSON-RPC method. */
  readonly name: string;
  readonly method: 'GET' | 'POST' | 'PUT' | 'PATCH' | 'DELETE';
  /** `{name}` is one segment, `{name*}` the rest of the path. */
  readonly path: string;
  readonly status: number;
  readonly tag: string;
  readonly summary: string;
  readonly description?: string;
  readonly access: Access;
  /** Which allowance a call takes from; null: none. */
  readonly rate: 'read' | 'write' | null;
  readonly input: Inputs;
  /** Beyond those every route can answer. */
  readonly errors: readonly ErrorCode[];
  readonly scopeSentence?: boolean;
}

/** A command or query with a JSON answer; the same for HTTP and JSON-RPC. */
export interface Operation extends EndpointBase {
  readonly kind: 'json';
  readonly rpc: boolean;
  /** With status 204 the null that JSON-RPC answers. */
  readonly output: z.ZodType;
  /** Further success answers by status. */
  readonly alternatives?: Readonly<Record<number, z.ZodType>>;
  /** What a call takes from the allowance; default 1. */
  readonly cost?: (input: Input) => number;
  /** Answers a page of records, which may be megabytes: passes the page gate. */
  readonly paged?: boolean;
  readonly handler: (call: Call, input: Input) => Promise<Answer>;
}

/** An endpoint that answers with something else than JSON, or reads something else. HTTP only. */
export interface StreamEndpoint extends EndpointBase {
  readonly kind: 'stream';
  readonly produces: string;
  readonly stream: (call: Call, input: Input) => Promise<StreamAnswer>;
}

/** An endpoint that reads a stream. HTTP only. */
export interface UploadEndpoint extends EndpointBase {
  readonly kind: 'upload';
  readonly consumes: string;
  readonly output: z.ZodType;
  readonly receive: (call: Call, body: AsyncIterable<Uint8Array>) => Promise<Answer>;
}

/** An endpoint that the HTTP server implements itself; listed here so that the documents know it. */
export interface ServerEndpoint extends EndpointBase {
  readonly kind: 'server';
  readonly produces: string;
}

export type Endpoint = Operation | StreamEndpoint | UploadEndpoint | ServerEndpoint;

/** What a long-running operation may answer instead of its result: the job that makes it. */
interface Accepted {
  readonly job_id: string;
  readonly status: string;
  readonly estimated_s: number;
}

type Definition<I extends Inputs, O> = Omit<Operation, 'kind' | 'input' | 'output' | 'handler' | 'cost' | 'rpc'> & {
  readonly rpc?: boolean;
  readonly input: I;
  readonly output: z.ZodType<O>;
  readonly cost?: (input: Input<I>) => number;
  readonly handler: (call: Call, input: Input<I>) => Promise<Answer<NoInfer<O> | Accepted>>;
};

/** Declares an operation; input and output types of the handler follow from the schemas. */
export function operation<const I extends Inputs, O>(definition: Definition<I, O>): Operation {
  return { rpc: true, ...definition, kind: 'json' } as unknown as Operation;
}

export function streamEndpoint<const I extends Inputs>(
  definition: Omit<StreamEndpoint, 'kind' | 'input' | 'stream'> & {
    readonly input: I;
    readonly stream: (call: Call, input: Input<I>) => Promise<StreamAnswer>;
  },
): StreamEndpoint {
  return { ...definition, kind: 'stream' } as unknown as StreamEndpoint;
}

/** @throws NodeError `permission_denied` with Stigmem's text */
export function assertAccess(who: Principal, access: Access): void {
  if (typeof access === 'string') {
    if (access !== 'metrics') return;
    assertAccess(who, ['read']);
    return;
  }
  if (access.some((permission) => who.permissions.has(permission))) return;
  const needed = access.join(' or ');
  throw new NodeError(
    'permission_denied',
    `${needed} permission required`,
    `use a key with the permission ${needed} (stigmesh keys list)`,
  );
}

/** A name of a fact from a path. Anything that cannot be one names no fact. */
export function factName(id: string): string {
  if (id.startsWith('sha256:') && !/^sha256:[0-9a-f]{64}$/.test(id)) {
    const message = "CID must be 'sha256:' followed by 64 hex chars";
    throw new ApiError('cid_malformed', message, 'send the cid of a fact as it was answered', {
      detail: { code: 'cid_malformed', message },
    });
  }
  if (!/^(?:sha256:[0-9a-f]{64}|b[a-z2-7]{20,100})$/.test(id)) {
    throw new NodeError('fact_not_found', 'fact not found', 'ids are statement CIDs (bagaaiera…) or sha256: names');
  }
  return id;
}

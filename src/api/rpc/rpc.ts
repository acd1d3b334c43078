import { z } from 'zod';
import type { Principal } from '../../policy/principal.ts';
import type { Dispatcher } from '../dispatch.ts';
import { ApiError, ERRORS, RPC_INVALID_REQUEST, RPC_METHOD_NOT_FOUND, RPC_PARSE_ERROR } from '../errors.ts';
import { MAX_RPC_BATCH, MAX_RPC_BATCH_ANSWER_BYTES } from '../limits.ts';
import type { ApiMetrics } from '../metrics.ts';
import type { Input, Operation } from '../operations/operation.ts';
import { detailText, type Problem } from '../problem.ts';
import type { LineLog } from '../request-log.ts';
import { validate } from '../schema/input.ts';

type Id = string | number | null;

/** `data` of the errors of JSON-RPC itself: their code is the number, so there is no problem to name. */
interface Advice {
  readonly detail: string;
  readonly hint: string;
}

const NO_BODY: Advice = { detail: 'there is no body', hint: 'send one JSON value in UTF-8' };
const NO_METHOD: Advice = { detail: 'there is no such method', hint: 'call rpc.discover for those there are' };
const CALL_HINT = 'send {"jsonrpc":"2.0","method":…,"params":{…},"id":…}; see /docs/json-rpc';

/** One method: the operation, and the schema of its merged parameters. */
interface Method {
  readonly operation: Operation;
  readonly params: z.ZodObject;
}

const requestSchema = z.object({
  jsonrpc: z.literal('2.0'),
  method: z.string(),
  params: z.unknown().optional(),
  id: z.union([z.string(), z.number(), z.null()]).optional(),
});

/** Parameters of a method by name: the members of path, query, headers and body together. */
export function mergedParams({ input }: Operation): z.ZodObject {
  const { params, query, headers, body } = input;
  return z.object({ ...headers?.shape, ...query?.shape, ...params?.shape, ...body?.shape });
}

export interface RpcComponents {
  readonly dispatcher: Dispatcher;
  readonly operations: readonly Operation[];
  readonly metrics: ApiMetrics;
  readonly log: LineLog;
  /** Result of `rpc.discover`. */
  readonly discover: () => object;
}

/** JSON-RPC 2.0 (https://www.jsonrpc.org/specification) over the operations. Parameters go by name. */
export class RpcServer {
  readonly #components: RpcComponents;
  readonly #methods: ReadonlyMap<string, Method>;

  constructor(components: RpcComponents) {
    this.#components = components;
    this.#methods = new Map(
      components.operations
        .filter(({ rpc }) => rpc)
        .map((operation) => [operation.name, { operation, params: mergedParams(operation) }]),
    );
  }

  /** Answer to a parsed body, as JSON text; undefined when it held notifications only. */
  async handle(who: Principal, body: unknown, log: LineLog = this.#components.log): Promise<string | undefined> {
    if (body === undefined) return errorText(null, RPC_PARSE_ERROR, 'Parse error', NO_BODY);
    if (!Array.isArray(body)) return this.#call(who, body, log);
    if (body.length === 0) return this.#invalid(null, { detail: 'a batch holds at least one call', hint: CALL_HINT });
    if (body.length > MAX_RPC_BATCH) {
      const detail = `${body.length} calls in one batch, the limit is ${MAX_RPC_BATCH}`;
      return this.#invalid(null, { detail, hint: 'send several batches' });
    }
    const answers: string[] = [];
    let size = 0;
    // In order, one after the other: a batch that asserts and then queries sees what it asserted.
    for (const call of body) {
      const answer = size > MAX_RPC_BATCH_ANSWER_BYTES ? this.#cutOff(call, log) : await this.#call(who, call, log);
      if (answer === undefined) continue;
      answers.push(answer);
      size += answer.length;
    }
    return answers.length === 0 ? undefined : `[${answers.join(',')}]`;
  }

  /** Answer to a body that is not JSON. */
  parseError(problem: Problem): string {
    return errorText(null, RPC_PARSE_ERROR, 'Parse error', problem);
  }

  async #call(who: Principal, call: unknown, log: LineLog): Promise<string | undefined> {
    const parsed = requestSchema.safeParse(call);
    if (!parsed.success) return this.#invalid(idOf(call), { detail: 'not a JSON-RPC 2.0 request', hint: CALL_HINT });
    const { method, params } = parsed.data;
    const id = parsed.data.id;
    const answer = await this.#answer(who, id ?? null, method, params, log);
    // A call without an id is a notification: it is run, and nobody is told how it went.
    return id === undefined ? undefined : answer;
  }

  async #answer(who: Principal, id: Id, method: string, params: unknown, log: LineLog): Promise<string> {
    if (method === 'rpc.discover') return resultText(id, JSON.stringify(this.#components.discover()));
    const found = this.#methods.get(method);
    const { dispatcher, metrics } = this.#components;
    if (found === undefined) {
      metrics.rpcCalls.inc({ method: 'unknown', code: 'method_not_found' });
      return errorText(id, RPC_METHOD_NOT_FOUND, 'Method not found', NO_METHOD);
    }
    try {
      const { operation } = found;
      dispatcher.enter(who, operation);
      const checked = validate(found.params, namedParams(params), {
        place: 'params',
        scopeSentence: operation.scopeSentence,
      });
      const { text } = await dispatcher.run(who, operation, split(operation, checked));
      metrics.rpcCalls.inc({ method, code: 'ok' });
      return resultText(id, text);
    } catch (error) {
      const { problem } = dispatcher.refuse(error, 'params', log);
      metrics.rpcCalls.inc({ method, code: problem.code });
      const details = { route: '/rpc', method, code: problem.code, key: who.keyId ?? undefined };
      dispatcher.requestLog.write(log, 'refused', details);
      return errorText(id, ERRORS[problem.code].rpc, rpcMessage(problem), problem);
    }
  }

  #invalid(id: Id | undefined, data: Advice): string {
    this.#components.metrics.rpcCalls.inc({ method: 'unknown', code: 'invalid_request' });
    return errorText(id ?? null, RPC_INVALID_REQUEST, 'Invalid Request', data);
  }

  #cutOff(call: unknown, log: LineLog): string | undefined {
    const id = idOf(call);
    if (id === undefined) return undefined;
    const error = new ApiError(
      'answer_too_large',
      'the answers before this call filled the batch; it was not run',
      'send it again in a smaller batch, or with a smaller limit',
    );
    const { problem } = this.#components.dispatcher.refuse(error, 'params', log);
    return errorText(id, ERRORS[problem.code].rpc, rpcMessage(problem), problem);
  }
}

/** Gives each part of the input the members its schema knows. */
function split({ input }: Operation, checked: Readonly<Record<string, unknown>>): Input {
  const part = (schema: z.ZodObject | undefined) =>
    Object.fromEntries(
      Object.keys(schema?.shape ?? {})
        .filter((name) => Object.hasOwn(checked, name))
        .map((name) => [name, checked[name]]),
    );
  return {
    params: part(input.params),
    query: part(input.query),
    headers: part(input.headers),
    body: part(input.body),
  } as Input;
}

function namedParams(params: unknown): Record<string, unknown> {
  if (params === undefined) return {};
  if (typeof params === 'object' && params !== null && !Array.isArray(params)) return params as Record<string, unknown>;
  throw new ApiError('validation_failed', 'params is not an object', 'name the parameters: {"entity": …}', {
    detail: [{ type: 'object_type', loc: ['params'], msg: 'Input should be an object: parameters go by name' }],
  });
}

/** The id of whatever was sent, as far as one can be made out; undefined for a notification. */
function idOf(call: unknown): Id | undefined {
  if (typeof call !== 'object' || call === null) return null;
  const { id, jsonrpc, method } = call as { id?: unknown; jsonrpc?: unknown; method?: unknown };
  if (typeof id === 'string' || typeof id === 'number') return id;
  return id === undefined && jsonrpc === '2.0' && typeof method === 'string' ? undefined : null;
}

function rpcMessage(problem: Problem): string {
  switch (problem.code) {
    case 'validation_failed':
      return 'Invalid params';
    case 'internal_error':
      return 'Internal error';
    default:
      return detailText(problem);
  }
}

function resultText(id: Id, result: string): string {
  return `{"jsonrpc":"2.0","result":${result},"id":${JSON.stringify(id)}}`;
}

function errorText(id: Id, code: number, message: string, data: Problem | Advice): string {
  return JSON.stringify({ jsonrpc: '2.0', error: { code, message, data }, id });
}

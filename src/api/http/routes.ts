import { Readable } from 'node:stream';
import type { FastifyInstance, FastifyReply, FastifyRequest } from 'fastify';
import type { Dispatcher } from '../dispatch.ts';
import { ApiError } from '../errors.ts';
import { LARGE_ANSWER_BYTES } from '../limits.ts';
import type { Call, Endpoint, Input, Operation } from '../operations/operation.ts';
import type { Place } from '../problem.ts';
import { fromStrings, validate } from '../schema/input.ts';
import { stringify } from '../stringify.ts';
import { assertStillValid, type Identity } from './authenticate.ts';
import { coalesce, uploadChunks } from './body.ts';

/** What the hooks leave for the handlers. */
export interface RouteConfig {
  /** Undefined for routes that only say which methods exist. */
  readonly endpoint?: Endpoint;
}

declare module 'fastify' {
  interface FastifyRequest {
    /** Set on every route that is not open. */
    identity: Identity | null;
    /** Which part of the input is being read, for error locations. */
    place: Place;
    /** Code of the problem it was answered with. */
    refusal: string | undefined;
  }
}

type Handler = (request: FastifyRequest, reply: FastifyReply) => Promise<unknown>;

/** `{name}` is one segment, `{name*}` the rest. */
function routePattern(path: string): string {
  return path.replace(/\{(\w+)\*\}/, '*').replace(/\{(\w+)\}/g, ':$1');
}

/** The methods any route has, and those that a known path refuses by naming the others. */
export const METHODS = ['GET', 'HEAD', 'POST', 'PUT', 'PATCH', 'DELETE', 'OPTIONS'] as const;

/**
 * Registers every endpoint, and for each path the methods it does not have: they answer 405 with Allow. HEAD is one of
 * them, as in Stigmem.
 *
 * @param servers handlers of the endpoints the server implements itself, by name
 */
export function registerRoutes(
  app: FastifyInstance,
  endpoints: readonly Endpoint[],
  dispatcher: Dispatcher,
  servers: Readonly<Record<string, Handler>>,
): void {
  const allowed = new Map<string, Set<string>>();
  for (const endpoint of endpoints) {
    const url = routePattern(endpoint.path);
    allowed.set(url, (allowed.get(url) ?? new Set()).add(endpoint.method));
    const config: RouteConfig = { endpoint };
    app.route({ method: endpoint.method, url, config, handler: handlerOf(endpoint, dispatcher, servers) });
  }
  for (const [url, methods] of allowed) {
    const missing = METHODS.filter((method) => !methods.has(method));
    const refuse = refuseMethod([...methods].join(', '));
    // Before the body is looked at: what is wrong with that is no longer of interest.
    app.route({ method: missing, url, config: {}, onRequest: refuse, handler: refuse });
  }
}

export function refuseMethod(allow: string): Handler {
  return async () => {
    throw new ApiError('method_not_allowed', 'Method Not Allowed', `use ${allow}`, { headers: { allow } });
  };
}

function handlerOf(endpoint: Endpoint, dispatcher: Dispatcher, servers: Readonly<Record<string, Handler>>): Handler {
  switch (endpoint.kind) {
    case 'json':
      return jsonHandler(endpoint, dispatcher);
    case 'stream':
      return async (request, reply) => {
        const answer = await endpoint.stream(callOf(request, dispatcher), readInput(request, endpoint));
        return reply
          .headers({ ...answer.headers })
          .type(answer.contentType)
          .send(Readable.from(coalesce(answer.chunks)));
      };
    case 'upload':
      return async (request, reply) => {
        const { timers, keys } = dispatcher.context.components;
        const stillValid = () => assertStillValid(keys, request.identity);
        const body =
          request.body instanceof Readable ? checked(uploadChunks(request.body, timers), stillValid) : emptyBody();
        const answer = await endpoint.receive(callOf(request, dispatcher), body);
        return sendJson(reply, endpoint.status, await stringify(answer.body));
      };
    case 'server': {
      const handler = servers[endpoint.name];
      if (handler === undefined) throw new Error(`endpoint ${endpoint.name} has no handler`);
      return handler;
    }
  }
}

/** The chunks of an upload, which may take hours, for as long as its sender may send them. */
async function* checked(chunks: AsyncIterable<Uint8Array>, check: () => void): AsyncIterable<Uint8Array> {
  for await (const chunk of chunks) {
    check();
    yield chunk;
  }
}

async function* emptyBody(): AsyncIterable<Uint8Array> {}

function jsonHandler(endpoint: Operation, dispatcher: Dispatcher): Handler {
  return async (request, reply) => {
    const input = readInput(request, endpoint);
    request.place = endpoint.input.body === undefined ? 'query' : 'body';
    const { who } = callOf(request, dispatcher);
    const { status, headers, text } = await dispatcher.run(who, endpoint, input);
    reply.headers({ ...headers });
    if (status === 204) return reply.code(204).send();
    if (text.length >= LARGE_ANSWER_BYTES) dispatcher.pages.hold(text.length, reply.raw);
    return sendJson(reply, status, text);
  };
}

export function sendJson(reply: FastifyReply, status: number, text: string): FastifyReply {
  return reply.code(status).type('application/json; charset=utf-8').send(text);
}

/** Nobody in particular: who asks for what is open to all. */
const NOBODY: Identity = {
  who: { keyId: null, entity: 'anon:open', permissions: new Set(), scopes: new Set() },
  secret: undefined,
};

function callOf(request: FastifyRequest, dispatcher: Dispatcher): Call {
  return { ...dispatcher.context, who: (request.identity ?? NOBODY).who };
}

/** Path, query, headers and body against the endpoint's schemas. @throws ApiError `validation_failed` */
export function readInput(request: FastifyRequest, { input, path, scopeSentence }: Endpoint): Input {
  const read = (part: keyof Endpoint['input'], place: Place, given: unknown) => {
    const schema = input[part];
    if (schema === undefined) return {};
    request.place = place;
    return validate(schema, given, { place, scopeSentence });
  };
  const headerValues = () =>
    Object.fromEntries(
      Object.keys(input.headers?.shape ?? {}).map((name) => [name, request.headers[name.replaceAll('_', '-')]]),
    );
  const { params, query, headers } = input;
  return {
    params: read('params', 'path', params && namedParams(request.params, path)),
    query: read('query', 'query', query && fromStrings(query, request.query as Record<string, unknown>)),
    headers: read('headers', 'header', headers && fromStrings(headers, headerValues())),
    body: read('body', 'body', request.body),
  } as Input;
}

/** The router calls the rest of a path `*`; the endpoint has a name for it. */
function namedParams(params: unknown, path: string): Record<string, unknown> {
  const { '*': rest, ...named } = params as Record<string, unknown>;
  const name = /\{(\w+)\*\}/.exec(path)?.[1];
  return name === undefined ? named : { ...named, [name]: rest };
}

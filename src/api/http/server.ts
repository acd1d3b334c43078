import type { IncomingMessage, Server } from 'node:http';
import type { AddressInfo, Socket } from 'node:net';
import Fastify, {
  type FastifyBaseLogger,
  type FastifyInstance,
  type FastifyReply,
  type FastifyRequest,
  LogController,
} from 'fastify';
import type { Bindings, ChildLoggerOptions } from 'pino';
import type { ApiComponents, ApiInit } from '../components.ts';
import { Dispatcher, stoppingError } from '../dispatch.ts';
import { DocumentationSite } from '../docs/site.ts';
import { openApiDocument, openRpcDocument } from '../documents.ts';
import { ApiError } from '../errors.ts';
import {
  CONNECTION_CHECK_MS,
  CONNECTION_IDLE_MS,
  HEADERS_TIMEOUT_MS,
  KEEP_ALIVE_MS,
  LARGE_ANSWER_BYTES,
  MAX_HEADER_BYTES,
  MAX_PATH_PARAM,
  STOP_NOTICE_MS,
} from '../limits.ts';
import { type ApiMetrics, createMetrics, observeApi } from '../metrics.ts';
import { endpoints, eventsEndpoint, rpcEndpoint } from '../operations/index.ts';
import type { ApiContext, Endpoint, Operation } from '../operations/operation.ts';
import type { Place } from '../problem.ts';
import { type LineLog, RequestLog } from '../request-log.ts';
import { RpcServer } from '../rpc/rpc.ts';
import { Allowances, Authenticator, assertStillValid } from './authenticate.ts';
import { checkContentType, discardBody, hasBody, installBodyParsers } from './body.ts';
import { ClientErrors } from './client-errors.ts';
import { Connections } from './connections.ts';
import { EventStreams } from './event-route.ts';
import { isLoopback, LoopbackGuard } from './guard.ts';
import { METHODS, type RouteConfig, refuseMethod, registerRoutes, sendJson } from './routes.ts';
import { assertBindable, bindError } from './start-error.ts';

/** Sent with every answer: nothing here is to be cached, sniffed, framed or run. */
const SECURITY_HEADERS = {
  'cache-control': 'no-store',
  'content-security-policy': "default-src 'none'; frame-ancestors 'none'; base-uri 'none'; form-action 'none'",
  'cross-origin-resource-policy': 'same-origin',
  'referrer-policy': 'no-referrer',
  'x-content-type-options': 'nosniff',
  'x-frame-options': 'DENY',
} as const;

const DOCS_POLICY = "default-src 'none'; style-src 'self'; frame-ancestors 'none'; base-uri 'none'; form-action 'none'";

/** The local API: HTTP, JSON-RPC and events over one set of operations. */
export class Api {
  readonly #components: ApiComponents;
  readonly #init: ApiInit;
  readonly #metrics: ApiMetrics;
  readonly #guard: LoopbackGuard;
  readonly #authenticator: Authenticator;
  readonly #dispatcher: Dispatcher;
  readonly #events: EventStreams;
  readonly #requestLog: RequestLog;
  readonly #connections = new Connections();
  readonly #operations: readonly Operation[];
  #app: FastifyInstance | undefined;
  #stopping: Promise<void> | undefined;
  #port: number;
  #startedAt = 0;
  #requests = 0;

  constructor(components: ApiComponents, init: ApiInit) {
    this.#components = components;
    this.#init = init;
    this.#port = init.port;
    this.#metrics = createMetrics(components.metrics);
    this.#guard = new LoopbackGuard({ ...init, port: () => this.#port });
    this.#authenticator = new Authenticator(components.keys, init.authRequired, components.timers);
    const context: ApiContext = {
      components,
      init,
      metrics: this.#metrics,
      runtime: {
        url: () => this.url,
        sseClients: () => this.#events.size,
        connections: () => this.#connections,
        uptimeMs: () => components.timers.now() - this.#startedAt,
      },
    };
    const { log, timers } = components;
    const onSuppressed = (kind: string) => this.#metrics.linesSuppressed.inc({ kind });
    this.#requestLog = new RequestLog({ log, timers, onSuppressed });
    const allowances = new Allowances(init, timers);
    this.#dispatcher = new Dispatcher(context, allowances, this.#metrics, this.#requestLog);
    const { pages } = this.#dispatcher;
    observeApi(components.metrics, {
      connections: this.#connections,
      get unread() {
        return pages.unread;
      },
    });
    this.#events = new EventStreams(context, this.#metrics);
    this.#operations = endpoints.filter((endpoint) => endpoint.kind === 'json');
  }

  /** `http://127.0.0.1:8765`; with the real port once started. */
  get url(): string {
    const { host } = this.#init;
    const name = host === '0.0.0.0' || host === '::' ? '127.0.0.1' : host;
    return `http://${name.includes(':') ? `[${name}]` : name}:${this.#port}`;
  }

  get port(): number {
    return this.#port;
  }

  /** Listens. @throws ApiStartError */
  async start(): Promise<void> {
    const { host, port, maxConnections } = this.#init;
    assertBindable(this.#init);
    const app = await this.#build();
    this.#app = app;
    try {
      await app.listen({ host, port });
    } catch (error) {
      await app.close();
      this.#app = undefined;
      throw bindError(error, host, port);
    }
    app.server.maxConnections = maxConnections;
    app.server.on('drop', () => this.#metrics.refusals.inc({ code: 'too_many_connections' }));
    this.#port = (app.server.address() as AddressInfo).port;
    this.#startedAt = this.#components.timers.now();
  }

  /**
   * Ends the event streams, answers requests that come now with `stopping`, and lets those in flight finish; what is not
   * done after `drainTimeoutMs` is cut off. Connections are closed after an answer that says so, or once they are idle.
   */
  stop(): Promise<void> {
    this.#stopping ??= this.#drain();
    return this.#stopping;
  }

  async #drain(): Promise<void> {
    const app = this.#app;
    if (app === undefined) return;
    const { timers, log } = this.#components;
    const isUsed = this.#connections.open > 0;
    this.#events.stopAll();
    this.#connections.endAfterAnswers();
    const late = Promise.withResolvers<void>();
    const cancel = timers.after(this.#init.drainTimeoutMs, () => {
      const requests = this.#connections.answering;
      log.warn({ event: 'drain_timeout', requests }, 'requests in flight were cut off');
      late.resolve();
      app.server.closeAllConnections();
    });
    await Promise.race([late.promise, this.#connections.answered()]);
    if (isUsed) {
      const noticed = Promise.withResolvers<void>();
      const cancelNotice = timers.after(STOP_NOTICE_MS, noticed.resolve);
      await Promise.race([late.promise, noticed.promise]);
      cancelNotice();
    }
    const closed = app.close();
    // What connected since is no reason to wait either.
    void late.promise.then(() => app.server.closeAllConnections());
    await closed;
    cancel();
    this.#requestLog.flush();
  }

  async #build(): Promise<FastifyInstance> {
    const { log, now, timers } = this.#components;
    const run = now().toString(36);
    const clientErrors = new ClientErrors();
    const app = Fastify({
      loggerInstance: frameworkLog(log),
      // Its lines would quote paths, and paths hold entities; #account writes ours.
      logController: new FrameworkLines((error, log) => this.#dispatcher.brokenOff(error, log)),
      // Ours, never the caller's; the start of the API makes them differ from those of the last run.
      genReqId: () => `${run}-${(this.#requests++).toString(36)}`,
      bodyLimit: this.#init.bodyLimit,
      keepAliveTimeout: KEEP_ALIVE_MS,
      // A whole body has a deadline of its own (body.ts), because an import may take as long as it keeps coming.
      requestTimeout: 0,
      // On which no byte moves in either direction: somebody asked for a large answer and does not take it.
      connectionTimeout: CONNECTION_IDLE_MS,
      http: {
        // A request without one is for the guard to refuse; Node would answer without a body.
        requireHostHeader: false,
        maxHeaderSize: MAX_HEADER_BYTES,
        headersTimeout: HEADERS_TIMEOUT_MS,
        connectionsCheckingInterval: CONNECTION_CHECK_MS,
      },
      routerOptions: { ignoreTrailingSlash: true, maxParamLength: MAX_PATH_PARAM },
      exposeHeadRoutes: false,
      return503OnClosing: false,
      forceCloseConnections: 'idle',
      // Runs for paths that cannot be decoded, before any hook could.
      frameworkErrors: (_error: unknown, request: FastifyRequest, reply: FastifyReply) => {
        reply.headers(SECURITY_HEADERS);
        this.#answerError(this.#unroutable(request.raw), request, reply);
      },
      clientErrorHandler: (error: NodeJS.ErrnoException, socket: Socket) => {
        const code = clientErrors.answer(error, socket);
        if (code !== undefined) this.#metrics.refusals.inc({ code });
      },
    } as never) as unknown as FastifyInstance<Server>;
    clientErrors.watch(app.server);
    this.#connections.watch(app.server);
    // An expectation nobody knows is no reason not to answer (RFC 9110, section 10.1.1); Node would, without a body.
    app.server.on('checkExpectation', (request, response) => app.server.emit('request', request, response));
    app.decorateRequest('identity', null);
    app.decorateRequest('refusal', undefined);
    app.decorateRequest('place', 'body' satisfies Place as Place);
    installBodyParsers(app, { deadlineMs: this.#init.requestTimeoutMs, timers });
    app.addHook('onRequest', async (request, reply) => this.#admit(request, reply));
    app.addHook('preHandler', async ({ raw, identity }) => {
      if (hasBody(raw)) assertStillValid(this.#components.keys, identity);
    });
    app.addHook('onResponse', async (request, reply) => this.#account(request, reply));
    const rpc = this.#rpc();
    app.setErrorHandler(async (thrown, request, reply) => {
      if (!(await discardBody(request.raw, timers))) reply.header('connection', 'close');
      const error = fromFramework(thrown, this.#init.bodyLimit);
      const { endpoint } = request.routeOptions.config as RouteConfig;
      if (endpoint === rpcEndpoint && error instanceof ApiError && error.code === 'json_invalid') {
        const { problem } = this.#dispatcher.refuse(error, 'body', request.log);
        return sendJson(reply, 200, rpc.parseError(problem));
      }
      return this.#answerError(error, request, reply);
    });
    app.setNotFoundHandler(async () => {
      throw new ApiError('route_not_found', 'Not Found', 'see /docs/reference/http for the routes');
    });
    const openApi = this.#openApi();
    registerRoutes(app, endpoints, this.#dispatcher, {
      rpc: (request, reply) => this.#answerRpc(rpc, request, reply),
      'node.events': (request, reply) => this.#follow(request, reply),
      'node.metrics': async (_request, reply) => {
        const { metrics } = this.#components;
        return reply.type(metrics.contentType).send(await metrics.metrics());
      },
      'node.openapi': async (_request, reply) => sendJson(reply, 200, openApi()),
    });
    if (this.#init.docs) await this.#serveDocs(app);
    return app;
  }

  /** Every check that needs no body, on every route, in the order in which they cost. */
  async #admit(request: FastifyRequest, reply: FastifyReply): Promise<unknown> {
    reply.headers(SECURITY_HEADERS).header('x-request-id', request.id);
    if (this.#stopping !== undefined) {
      reply.header('connection', 'close');
      throw stoppingError();
    }
    this.#guard.check(request.raw);
    // The router knows more methods than any route here, and one of them makes demands of its own.
    if (!(METHODS as readonly string[]).includes(request.method))
      return refuseMethod(METHODS.join(', '))(request, reply);
    const { endpoint } = request.routeOptions.config as RouteConfig;
    if (request.is404 || endpoint === undefined) return;
    if (!this.#isOpen(endpoint, request.raw)) {
      request.identity = this.#authenticator.identify(request.raw);
      this.#dispatcher.enter(request.identity.who, endpoint);
    }
    checkContentType(request.raw, endpoint);
  }

  #isOpen({ access }: Endpoint, request: IncomingMessage): boolean {
    if (access !== 'metrics') return access === 'open';
    const address = request.socket.remoteAddress?.replace(/^::ffff:/, '');
    return this.#init.metricsLoopback && address !== undefined && isLoopback(address);
  }

  /** Why a request never reached the router; the guard's reasons go first. */
  #unroutable(request: IncomingMessage): unknown {
    try {
      this.#guard.check(request);
    } catch (error) {
      return error;
    }
    return new ApiError('malformed_request', 'the path is malformed or too long', 'percent-encode it as UTF-8');
  }

  #answerError(error: unknown, request: FastifyRequest, reply: FastifyReply): FastifyReply {
    const { problem, headers } = this.#dispatcher.refuse(error, request.place, request.log);
    request.refusal = problem.code;
    if (problem.code === 'key_in_query') this.#requestLog.write(request.log, 'secret_in_query', {});
    return reply
      .code(problem.status)
      .headers({ ...headers })
      .type('application/problem+json')
      .send(JSON.stringify(problem));
  }

  /** One line a request, without anything a caller wrote: the pattern of the route instead of the path. */
  #account(request: FastifyRequest, reply: FastifyReply): void {
    const { endpoint } = request.routeOptions.config as RouteConfig;
    const route = endpoint?.path ?? 'unmatched';
    const method = endpoint?.method ?? 'OTHER';
    const status = String(reply.statusCode);
    this.#metrics.requests.inc({ route, method, status });
    if (endpoint !== eventsEndpoint) {
      this.#metrics.duration.observe({ route }, reply.elapsedTime / 1000);
    }
    const details = {
      route,
      method: request.method,
      status: reply.statusCode,
      code: request.refusal,
      ms: Math.round(reply.elapsedTime * 10) / 10,
      key: request.identity?.who.keyId ?? undefined,
    };
    if (reply.statusCode < 400) request.log.debug({ event: 'answered', ...details }, 'answered');
    else this.#requestLog.write(request.log, 'refused', details);
  }

  #openApi(): () => string {
    let text: string | undefined;
    return () => {
      text ??= JSON.stringify(openApiDocument(endpoints, { version: this.#init.version, url: this.url }));
      return text;
    };
  }

  #rpc(): RpcServer {
    let document: object | undefined;
    return new RpcServer({
      dispatcher: this.#dispatcher,
      operations: this.#operations,
      metrics: this.#metrics,
      log: this.#components.log,
      discover: () => {
        document ??= openRpcDocument(this.#operations, { version: this.#init.version, url: this.url });
        return document;
      },
    });
  }

  async #answerRpc(rpc: RpcServer, request: FastifyRequest, reply: FastifyReply): Promise<FastifyReply> {
    const { who } = request.identity!;
    const answer = await rpc.handle(who, request.body, request.log);
    if (answer === undefined) return reply.code(204).send();
    if (answer.length >= LARGE_ANSWER_BYTES) this.#dispatcher.pages.hold(answer.length, reply.raw);
    return sendJson(reply, 200, answer);
  }

  async #follow(request: FastifyRequest, reply: FastifyReply): Promise<void> {
    request.place = 'query';
    const header = request.headers['last-event-id'];
    const follow = this.#events.prepare({
      identity: request.identity!,
      query: request.query as Record<string, unknown>,
      lastEventId: typeof header === 'string' ? header : undefined,
    });
    reply.hijack();
    reply.raw.writeHead(200, {
      ...SECURITY_HEADERS,
      'content-type': 'text/event-stream; charset=utf-8',
      'x-accel-buffering': 'no',
    });
    await follow(reply.raw);
  }

  async #serveDocs(app: FastifyInstance): Promise<void> {
    const site = await DocumentationSite.load(endpoints, this.#init.docsDir);
    // Whoever opens the daemon's URL in a browser is shown around.
    app.get('/', { config: {} }, async (_request, reply) => reply.redirect('/docs'));
    for (const path of site.paths) {
      const file = site.file(path)!;
      app.get(path, { config: {} }, async (_request, reply) =>
        reply.header('content-security-policy', DOCS_POLICY).type(file.contentType).send(file.body),
      );
      app.route({
        method: ['HEAD', 'POST', 'PUT', 'PATCH', 'DELETE', 'OPTIONS'],
        url: path,
        config: {},
        handler: refuseMethod('GET'),
      });
    }
  }
}

/**
 * The log as the framework gets it. What it says at info is that it listens, which the daemon says better. Each request
 * logs to a child of the real one, made when it comes: so a level that is changed meanwhile holds at once. The child
 * without bindings that the framework makes for itself would keep the level of the start.
 */
function frameworkLog(log: ApiComponents['log']): FastifyBaseLogger {
  const nothing = (): void => {};
  const framework = {
    get level() {
      return log.level;
    },
    silent: nothing,
    trace: nothing,
    debug: nothing,
    info: nothing,
    warn: log.warn.bind(log),
    error: log.error.bind(log),
    fatal: log.fatal.bind(log),
    child: (bindings: Bindings, options?: ChildLoggerOptions) =>
      Object.keys(bindings).length === 0 ? framework : log.child(bindings, options),
  } as FastifyBaseLogger;
  return framework;
}

/** Of what the framework says about requests, only that an answer failed after its beginning; nothing else would. */
class FrameworkLines extends LogController {
  readonly #onStreamError: (error: unknown, log: LineLog) => void;

  constructor(onStreamError: (error: unknown, log: LineLog) => void) {
    super({ disableRequestLogging: true, requestIdLogLabel: 'request_id' });
    this.#onStreamError = onStreamError;
  }

  override streamError(error: Error, request: FastifyRequest): void {
    // The client went away.
    if ((error as NodeJS.ErrnoException).code === 'ERR_STREAM_PREMATURE_CLOSE') return;
    this.#onStreamError(error, request.log);
  }
}

/** What Fastify itself refuses, as our error; anything else as it is. */
function fromFramework(error: unknown, bodyLimit: number): unknown {
  switch ((error as { code?: unknown }).code) {
    case 'FST_ERR_CTP_BODY_TOO_LARGE':
      return new ApiError(
        'body_too_large',
        `the body is larger than ${bodyLimit} bytes`,
        'send less at a time, or raise api.body_limit',
      );
    case 'FST_ERR_CTP_INVALID_MEDIA_TYPE':
    case 'FST_ERR_CTP_EMPTY_TYPE':
      return new ApiError('unsupported_media_type', 'the body is not application/json', 'send application/json');
    case 'FST_ERR_CTP_INVALID_CONTENT_LENGTH':
      return new ApiError('malformed_request', 'the body is not as long as Content-Length says', 'send it again');
    // Nobody is left to read this; it is only not a failure of ours.
    case 'ECONNRESET':
    case 'ERR_STREAM_PREMATURE_CLOSE':
      return new ApiError('malformed_request', 'the connection ended before the body did', 'send the whole body');
    default:
      return error;
  }
}

/** An API that is ready to be started. */
export function createApi(components: ApiComponents, init: ApiInit): Api {
  return new Api(components, init);
}

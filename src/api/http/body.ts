import type { IncomingMessage } from 'node:http';
import type { Readable } from 'node:stream';
import type { FastifyInstance } from 'fastify';
import type { Timers } from '../components.ts';
import { ApiError } from '../errors.ts';
import { parseStrictJson } from '../json.ts';
import { DISCARD_BODY_MS, IMPORT_IDLE_MS, STREAM_PIECE_BYTES } from '../limits.ts';
import type { Endpoint } from '../operations/operation.ts';

const JSON_TYPE = 'application/json';

export function hasBody({ headers }: IncomingMessage): boolean {
  const length = headers['content-length'];
  return headers['transfer-encoding'] !== undefined || (length !== undefined && length !== '0');
}

/**
 * A body has to say that it is JSON (or what the endpoint reads instead). The types an HTML form can send without
 * asking first are none of them.
 *
 * @throws ApiError `unsupported_media_type`
 */
export function checkContentType(request: IncomingMessage, endpoint: Endpoint): void {
  if (endpoint.method === 'GET' || !hasBody(request)) return;
  const { 'content-encoding': encoding = 'identity', 'transfer-encoding': transfer = 'chunked' } = request.headers;
  if (encoding.toLowerCase() !== 'identity' || transfer.toLowerCase() !== 'chunked') {
    throw new ApiError('unsupported_media_type', 'the body is encoded or compressed', 'send it as it is');
  }
  const wanted = endpoint.kind === 'upload' ? endpoint.consumes : JSON_TYPE;
  const sent = request.headers['content-type']?.split(';', 1)[0]?.trim().toLowerCase();
  if (sent === wanted) return;
  throw new ApiError('unsupported_media_type', `the body is not ${wanted}`, `send Content-Type: ${wanted}`);
}

/** Reads JSON strictly and within time; hands streams through. */
export function installBodyParsers(app: FastifyInstance, init: { deadlineMs: number; timers: Timers }): void {
  app.removeAllContentTypeParsers();
  app.addContentTypeParser<Buffer>(JSON_TYPE, { parseAs: 'buffer' }, (_request, body, done) => {
    try {
      // A DELETE with a content type and no body is not bad JSON; where a body is needed the schema says so.
      done(null, body.length === 0 ? undefined : parseStrictJson(body));
    } catch (error) {
      done(error as Error);
    }
  });
  app.addContentTypeParser('application/x-ndjson', (_request, payload, done) => done(null, payload));
  app.addHook('preParsing', async (request, _reply, payload) => {
    const endpoint = (request.routeOptions.config as { endpoint?: Endpoint }).endpoint;
    if (endpoint?.kind === 'upload' || !hasBody(request.raw)) return payload;
    const cancel = init.timers.after(init.deadlineMs, () => {
      payload.emit('error', bodyTimeout(init.deadlineMs));
    });
    payload.once('end', cancel);
    payload.once('close', cancel);
    return payload;
  });
}

function bodyTimeout(ms: number): ApiError {
  return new ApiError(
    'request_timeout',
    `the body did not arrive within ${ms / 1000} s`,
    'send it faster, or in smaller parts',
  );
}

/** The chunks of an upload; given up when the sender pauses too long. @throws ApiError `request_timeout` */
export async function* uploadChunks(body: Readable, timers: Timers): AsyncIterable<Uint8Array> {
  // The request outlives this loop: its refusal is still to be answered.
  const chunks = body.iterator({ destroyOnReturn: false }) as AsyncIterator<Uint8Array>;
  try {
    for (;;) {
      const { done, value } = await withDeadline(chunks.next(), IMPORT_IDLE_MS, timers);
      if (done) return;
      yield value;
    }
  } finally {
    void chunks.return?.();
  }
}

async function withDeadline<T>(work: Promise<T>, ms: number, timers: Timers): Promise<T> {
  const { promise: late, reject } = Promise.withResolvers<never>();
  const cancel = timers.after(ms, () => reject(bodyTimeout(ms)));
  try {
    return await Promise.race([work, late]);
  } finally {
    cancel();
  }
}

/** Reads and drops what is left of a refused body, for a moment; whether it came to its end. */
export function discardBody(request: IncomingMessage, timers: Timers): Promise<boolean> {
  if (request.complete || request.destroyed || !hasBody(request)) return Promise.resolve(true);
  return new Promise((resolve) => {
    const cancel = timers.after(DISCARD_BODY_MS, () => resolve(false));
    const finished = (): void => {
      cancel();
      resolve(request.complete);
    };
    request.once('end', finished);
    request.once('close', finished);
    request.on('error', finished);
    request.resume();
  });
}

/** Joins small pieces of a streamed answer: one write a line would be mostly overhead. */
export async function* coalesce(chunks: AsyncIterable<string> | Iterable<string>): AsyncIterable<string> {
  let piece = '';
  for await (const chunk of chunks) {
    piece += chunk;
    if (piece.length >= STREAM_PIECE_BYTES) {
      yield piece;
      piece = '';
    }
  }
  if (piece !== '') yield piece;
}

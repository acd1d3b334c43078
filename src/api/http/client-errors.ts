import { type IncomingMessage, type Server, type ServerResponse, STATUS_CODES } from 'node:http';
import type { Socket } from 'node:net';
import { ApiError } from '../errors.ts';
import { problemOf } from '../problem.ts';

/** What Node could not read as a request, as one of our errors; undefined when nobody is left to answer. */
function readError(error: NodeJS.ErrnoException): ApiError | undefined {
  switch (error.code) {
    case 'ECONNRESET':
    case 'EPIPE':
      return undefined;
    case 'HPE_HEADER_OVERFLOW':
      return new ApiError('headers_too_large', 'the headers are larger than 16 KiB', 'send fewer or shorter headers');
    case 'ERR_HTTP_REQUEST_TIMEOUT':
      return new ApiError('request_timeout', 'the headers did not arrive in time', 'send the request at once');
    default:
      return new ApiError('malformed_request', 'not an HTTP/1.1 request', 'send HTTP/1.1; this port has no TLS');
  }
}

/**
 * Answers connections on which no request could be read, and closes them. A client may have sent such bytes after
 * requests that are still being answered (pipelining): what it did not send well must not be taken for the answer to
 * what it did, which may have been a write.
 */
export class ClientErrors {
  /** Answers not finished, by connection, in the order of their requests. */
  readonly #open = new WeakMap<Socket, Map<ServerResponse, IncomingMessage>>();
  readonly #failed = new WeakSet<Socket>();

  watch(server: Server): void {
    server.on('request', (request, response) => {
      const { socket } = request;
      const open = this.#open.get(socket) ?? new Map<ServerResponse, IncomingMessage>();
      this.#open.set(socket, open);
      open.set(response, request);
      response.once('close', () => open.delete(response));
    });
  }

  /** Returns the code for the metrics; undefined when there is nothing to answer, or it was answered before. */
  answer(error: NodeJS.ErrnoException, socket: Socket): string | undefined {
    const known = readError(error);
    if (known === undefined || !socket.writable) {
      socket.destroy();
      return undefined;
    }
    // Whatever else comes on this connection cannot be read either.
    if (this.#failed.has(socket)) return undefined;
    this.#failed.add(socket);
    const { problem } = problemOf(known);
    const open = [...(this.#open.get(socket) ?? [])];
    const waiting = open.filter(([, request]) => request.complete).at(-1)?.[0];
    if (open.some(([response]) => response.headersSent)) socket.destroy();
    else if (waiting === undefined) end(socket, problem);
    else waiting.once('close', () => end(socket, problem));
    return problem.code;
  }
}

function end(socket: Socket, problem: ReturnType<typeof problemOf>['problem']): void {
  if (!socket.writable) return;
  const body = JSON.stringify(problem);
  socket.end(
    `HTTP/1.1 ${problem.status} ${STATUS_CODES[problem.status]}\r\n` +
      'Content-Type: application/problem+json\r\n' +
      `Content-Length: ${Buffer.byteLength(body)}\r\nConnection: close\r\nX-Content-Type-Options: nosniff\r\n\r\n${body}`,
  );
}

import { STATUS_CODES } from 'node:http';
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

/** Answers a connection on which no request could be read, and closes it. Returns the code for the metrics. */
export function answerClientError(error: NodeJS.ErrnoException, socket: Socket): string | undefined {
  const known = readError(error);
  if (known === undefined || !socket.writable) {
    socket.destroy();
    return undefined;
  }
  const { problem } = problemOf(known);
  const body = JSON.stringify(problem);
  socket.end(
    `HTTP/1.1 ${problem.status} ${STATUS_CODES[problem.status]}\r\n` +
      'Content-Type: application/problem+json\r\n' +
      `Content-Length: ${Buffer.byteLength(body)}\r\nConnection: close\r\nX-Content-Type-Options: nosniff\r\n\r\n${body}`,
  );
  return problem.code;
}

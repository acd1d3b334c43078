import type { IncomingHttpHeaders, IncomingMessage } from 'node:http';
import { BlockList, isIP } from 'node:net';
import { ApiError } from '../errors.ts';

const loopback = new BlockList();
loopback.addSubnet('127.0.0.0', 8, 'ipv4');
loopback.addAddress('::1', 'ipv6');

/** Whether a name or address, without port and brackets, is one of this machine only. */
export function isLoopback(host: string): boolean {
  const family = isIP(host);
  if (family === 0) return host === 'localhost';
  return loopback.check(host, family === 4 ? 'ipv4' : 'ipv6');
}

/** Name or address of a Host header or an authority, lower-case, without brackets, trailing dot and port. */
function hostName(authority: string): string | undefined {
  const match = /^(?:\[([0-9a-f:.]{2,45})\]|([a-z0-9._-]{1,254}))(?::\d{1,5})?$/i.exec(authority);
  return (match?.[1] ?? match?.[2]?.replace(/\.$/, ''))?.toLowerCase();
}

/** Addresses that mean every interface: good to listen on, no name to be called by. */
const WILDCARDS = new Set(['0.0.0.0', '::']);

/** Query parameters that would carry a secret into logs, histories and Referer headers. */
const SECRET_PARAMETERS = new Set([
  'key',
  'api_key',
  'apikey',
  'api-key',
  'access_token',
  'auth_token',
  'token',
  'authorization',
  'bearer',
  'raw_key',
  'secret',
  'password',
]);

export interface GuardInit {
  /** Address the server listens on. */
  readonly host: string;
  readonly allowedHosts: readonly string[];
  /** Port the server really listens on. */
  readonly port: () => number;
}

/**
 * Keeps web pages away from a daemon on loopback. A page can make a browser send requests here: through a name that
 * resolves to 127.0.0.1 (DNS rebinding: then Host is that name), or directly (then Origin or Sec-Fetch-Site say so).
 */
export class LoopbackGuard {
  readonly #names: ReadonlySet<string>;
  readonly #port: () => number;

  constructor({ host, allowedHosts, port }: GuardInit) {
    const names = [...allowedHosts, host].map((name) => hostName(isIP(name) === 6 ? `[${name}]` : name));
    this.#names = new Set(names.filter((name): name is string => name !== undefined && !WILDCARDS.has(name)));
    this.#port = port;
  }

  /** @throws ApiError `host_forbidden`, `origin_forbidden`, `key_in_query`, `malformed_request` */
  check(request: IncomingMessage): void {
    this.#checkHost(request);
    this.#checkOrigin(request.headers);
    if (request.headers.origin === undefined) checkFetchSite(request);
    checkQuery(request.url ?? '/');
  }

  #isOurs(authority: string): boolean {
    const name = hostName(authority);
    return name !== undefined && (isLoopback(name) || this.#names.has(name));
  }

  #checkHost(request: IncomingMessage): void {
    // Node keeps the first of several Host headers; what a proxy in front looked at may be another.
    let count = 0;
    for (let i = 0; i < request.rawHeaders.length; i += 2) {
      if (request.rawHeaders[i]?.toLowerCase() === 'host') count++;
    }
    if (count === 0 && request.httpVersion === '1.1') {
      throw new ApiError('malformed_request', 'there is no Host header', 'send Host: 127.0.0.1');
    }
    const { host } = request.headers;
    if (count === 1 && host !== undefined && this.#isOurs(host)) return;
    throw new ApiError(
      'host_forbidden',
      'the Host header is not a name of this daemon',
      'call it as 127.0.0.1, localhost or [::1], or add the name to api.allowed_hosts',
    );
  }

  #checkOrigin(headers: IncomingHttpHeaders): void {
    const { origin } = headers;
    if (origin === undefined) return;
    const authority = /^http:\/\/([^/]+)$/.exec(origin)?.[1];
    if (authority !== undefined && this.#isOurs(authority)) {
      const port = Number(/:(\d+)$/.exec(authority)?.[1] ?? 80);
      if (port === this.#port()) return;
    }
    throw originForbidden();
  }
}

/** Browsers that send no Origin (GET, images) still say that another site made them ask. Following a link is fine. */
function checkFetchSite({ headers, method }: IncomingMessage): void {
  const site = headers['sec-fetch-site'];
  if (site !== 'cross-site' && site !== 'same-site') return;
  if (method === 'GET' && headers['sec-fetch-mode'] === 'navigate' && headers['sec-fetch-dest'] === 'document') return;
  throw originForbidden();
}

function originForbidden(): ApiError {
  return new ApiError(
    'origin_forbidden',
    'a web page of another origin may not use this API',
    'call it from a program; a page needs a server of its own in between',
  );
}

function checkQuery(url: string): void {
  if (!url.startsWith('/')) {
    throw new ApiError('malformed_request', 'the request target is not a path', 'send GET /v1/… with a Host header');
  }
  const start = url.indexOf('?');
  if (start === -1) return;
  for (const name of new URLSearchParams(url.slice(start + 1)).keys()) {
    if (!SECRET_PARAMETERS.has(name.toLowerCase())) continue;
    throw new ApiError(
      'key_in_query',
      'a secret was sent in the query string, where logs and histories keep it',
      'send the key as `Authorization: Bearer …`, and replace this one: it may have been recorded',
    );
  }
}

import { CliError, ProblemError, usage } from './errors.ts';
import { BULK_TIMEOUT_MS, MAX_ANSWER_BYTES, MAX_PROBLEM_BYTES, REQUEST_TIMEOUT_MS } from './limits.ts';

export interface ClientInit {
  /** Without a slash at its end. */
  readonly url: string;
  readonly key: string | undefined;
  /** Whoever named the URL: `--url`, `STIGMESH_URL`; undefined where the home did. */
  readonly urlFrom?: string | undefined;
  /** Why there is no key, for a hint. */
  readonly keyless?: string | undefined;
  readonly fetch: typeof fetch;
  readonly version: string;
  /** `--timeout`, instead of the defaults. */
  readonly timeoutMs?: number | undefined;
  readonly maxAnswerBytes?: number;
}

export type Query = Readonly<Record<string, string | number | boolean | readonly string[] | undefined>>;

export interface RequestOptions {
  readonly query?: Query;
  readonly headers?: Readonly<Record<string, string | undefined>>;
  /** Ends the call before its time. */
  readonly signal?: AbortSignal;
}

/** What takes longer than a look-up. */
interface Bulk {
  readonly bulk?: boolean;
}

interface Payload {
  readonly body?: string;
  readonly contentType?: string;
}

/** Errors of the network that mean: nobody listens there. */
const NOBODY = new Set(['ECONNREFUSED', 'EHOSTUNREACH', 'ENETUNREACH', 'ENOTFOUND', 'EAI_AGAIN', 'ENOENT']);

/** Those that mean it of a name. */
const UNKNOWN_NAME = new Set(['ENOTFOUND', 'EAI_AGAIN']);

/**
 * The daemon's HTTP API. Every call ends: with the answer, a ProblemError in the daemon's words, or a CliError
 * (`daemon_not_running`, `daemon_timeout`, `daemon_unreachable`, `not_a_daemon`, `answer_too_large`).
 */
export class Client {
  readonly #init: ClientInit;

  constructor(init: ClientInit) {
    this.#init = init;
  }

  get url(): string {
    return this.#init.url;
  }

  get<T>(path: string, options: RequestOptions & Bulk = {}): Promise<T> {
    return this.#json('GET', path, {}, options, options.bulk ? BULK_TIMEOUT_MS : REQUEST_TIMEOUT_MS);
  }

  delete<T = undefined>(path: string, options: RequestOptions = {}): Promise<T> {
    return this.#json('DELETE', path, {}, options, REQUEST_TIMEOUT_MS);
  }

  post<T>(path: string, body: unknown, options: RequestOptions & Bulk = {}): Promise<T> {
    return this.#json('POST', path, jsonPayload(body), options, options.bulk ? BULK_TIMEOUT_MS : REQUEST_TIMEOUT_MS);
  }

  patch<T>(path: string, body: unknown, options: RequestOptions = {}): Promise<T> {
    return this.#json('PATCH', path, jsonPayload(body), options, REQUEST_TIMEOUT_MS);
  }

  put<T>(path: string, body: unknown, options: RequestOptions = {}): Promise<T> {
    return this.#json('PUT', path, jsonPayload(body), options, REQUEST_TIMEOUT_MS);
  }

  /** Sends lines of JSON. */
  postLines<T>(path: string, body: string, options: RequestOptions = {}): Promise<T> {
    return this.#json('POST', path, { body, contentType: 'application/x-ndjson' }, options, BULK_TIMEOUT_MS);
  }

  /** An answer whose body is read as it comes. Only its beginning is timed; ending it is up to `options.signal`. */
  async stream(path: string, accept: string, options: RequestOptions = {}): Promise<Response> {
    const starting = new AbortController();
    const limit = this.#init.timeoutMs ?? REQUEST_TIMEOUT_MS;
    const timer = setTimeout(() => starting.abort(new DOMException('', 'TimeoutError')), limit);
    try {
      const signal = options.signal ? AbortSignal.any([options.signal, starting.signal]) : starting.signal;
      const headers = { ...options.headers, accept };
      const response = await this.#fetch('GET', path, {}, { ...options, headers, signal }, limit);
      if (!response.ok) throw await this.#refusal(response);
      return response;
    } finally {
      clearTimeout(timer);
    }
  }

  async #json<T>(method: string, path: string, payload: Payload, options: RequestOptions, limit: number): Promise<T> {
    const timeoutMs = this.#init.timeoutMs ?? limit;
    const timeout = AbortSignal.timeout(timeoutMs);
    const signal = options.signal ? AbortSignal.any([options.signal, timeout]) : timeout;
    const response = await this.#fetch(method, path, payload, { ...options, signal }, timeoutMs);
    if (!response.ok) throw await this.#refusal(response);
    if (response.status === 204) return undefined as T;
    try {
      const text = await readText(response, this.#init.maxAnswerBytes ?? MAX_ANSWER_BYTES);
      if (text === undefined) {
        throw new CliError(
          'answer_too_large',
          'the answer is larger than this command can hold',
          'ask for less with --limit',
        );
      }
      return JSON.parse(text) as T;
    } catch (error) {
      if (error instanceof SyntaxError) throw this.#stranger();
      throw this.#failure(error, timeoutMs);
    }
  }

  async #fetch(
    method: string,
    path: string,
    payload: Payload,
    options: RequestOptions,
    timeoutMs: number,
  ): Promise<Response> {
    const { url, key, version } = this.#init;
    const headers = new Headers({ accept: 'application/json', 'user-agent': `stigmesh-cli/${version}` });
    for (const [name, value] of Object.entries(options.headers ?? {}))
      if (value !== undefined) headers.set(name, value);
    if (key !== undefined) headers.set('authorization', `Bearer ${key}`);
    if (payload.contentType !== undefined) headers.set('content-type', payload.contentType);
    try {
      return await this.#init.fetch(`${url}${path}${queryString(options.query)}`, {
        method,
        headers,
        // A redirect would carry the key to wherever it points.
        redirect: 'manual',
        ...(payload.body === undefined ? {} : { body: payload.body }),
        ...(options.signal === undefined ? {} : { signal: options.signal }),
      });
    } catch (error) {
      throw this.#failure(error, timeoutMs);
    }
  }

  async #refusal(response: Response): Promise<Error> {
    const text = await readText(response, MAX_PROBLEM_BYTES).catch(() => undefined);
    let problem: Record<string, unknown> | null = null;
    try {
      problem = JSON.parse(text ?? '') as Record<string, unknown> | null;
    } catch {
      // Not a problem document: somebody else answered.
    }
    const { code, hint, detail, title } = problem ?? {};
    if (typeof code !== 'string') return this.#stranger(response.status);
    const message = detailText(detail) ?? (typeof title === 'string' ? title : code);
    const extra = response.headers.get('retry-after');
    return new ProblemError({
      code,
      message: extra !== null && response.status === 429 ? `${message} (try again in ${extra} s)` : message,
      hint: this.#hintFor(response.status, code, hint),
      status: response.status,
    });
  }

  /** The daemon's hint, except where it speaks of requests to somebody who typed a command. */
  #hintFor(status: number, code: string, hint: unknown): string {
    if (code === 'validation_failed') return 'correct what is named here; --help says what the command takes';
    if (status !== 401) return typeof hint === 'string' ? hint : 'see the log of the daemon';
    const { key, keyless } = this.#init;
    return key === undefined
      ? `no API key was sent${keyless === undefined ? '' : `, because ${keyless}`}: name one in STIGMESH_API_KEY_FILE, or use the home of this daemon (--home, STIGMESH_HOME)`
      : 'the API key does not belong to this daemon, has expired or was revoked: check --home, STIGMESH_API_KEY and STIGMESH_API_KEY_FILE';
  }

  #stranger(status?: number): CliError {
    return new CliError(
      'not_a_daemon',
      `what answers at ${this.url} is not a Stigmesh daemon${status === undefined ? '' : ` (HTTP ${status})`}`,
      'check --url, STIGMESH_URL and api.port; stigmesh config show --origin says where the port comes from',
    );
  }

  /** What to say of an exception of fetch, or of the body. */
  #failure(error: unknown, timeoutMs: number): Error {
    if (error instanceof CliError) return error;
    const { name } = error as Error;
    if (name === 'TimeoutError') {
      return new CliError(
        'daemon_timeout',
        `the daemon at ${this.url} did not answer within ${timeoutMs / 1000} s`,
        'look at its log, or allow more time with --timeout',
      );
    }
    if (name === 'AbortError') return error as Error;
    const code = networkCode(error);
    if (code !== undefined && NOBODY.has(code)) return this.#nobody(UNKNOWN_NAME.has(code));
    // fetch does not speak to ports of other protocols (Fetch Standard, port blocking), though a daemon may listen there.
    if (((error as Error).cause as Error | undefined)?.message === 'bad port') {
      const message = `port ${new URL(this.url).port} belongs to another protocol: web clients refuse it`;
      return usage(message, 'choose another api.port, or check --url and STIGMESH_URL');
    }
    const reason = code ?? ((error as Error).cause as Error | undefined)?.message ?? (error as Error).message;
    return new CliError(
      'daemon_unreachable',
      `the connection to ${this.url} broke (${reason})`,
      'look at the log of the daemon and try again; assertions may be repeated safely. If this never works, the port may be ' +
        'that of the mesh instead of the API (api.port)',
    );
  }

  #nobody(isUnknownName: boolean): CliError {
    const { url, urlFrom } = this.#init;
    const start = 'start it with: stigmesh start (in a clone: npm start)';
    return new CliError(
      'daemon_not_running',
      isUnknownName ? `no machine is called ${new URL(url).hostname}` : `no daemon answers at ${url}`,
      urlFrom === undefined ? start : `check ${urlFrom}: without it, the daemon of the home is asked; or ${start}`,
    );
  }
}

function jsonPayload(body: unknown): Payload {
  return { body: JSON.stringify(body), contentType: 'application/json' };
}

/** `?a=1&b=x,y`, or nothing. Undefined members are left out; lists are comma separated. */
export function queryString(query: Query = {}): string {
  const parameters = new URLSearchParams();
  for (const [name, value] of Object.entries(query)) {
    if (value === undefined || (Array.isArray(value) && value.length === 0)) continue;
    parameters.set(name, String(value));
  }
  const text = parameters.toString();
  return text === '' ? '' : `?${text}`;
}

/** One path segment. */
export const segment = encodeURIComponent;

/** The text of a body, undefined when it is longer than that. */
async function readText(response: Response, maxBytes: number): Promise<string | undefined> {
  if (response.body === null) return '';
  const decoder = new TextDecoder();
  const parts: string[] = [];
  let bytes = 0;
  for await (const chunk of response.body as unknown as AsyncIterable<Uint8Array>) {
    bytes += chunk.length;
    // Leaving the loop cancels the body.
    if (bytes > maxBytes) return undefined;
    parts.push(decoder.decode(chunk, { stream: true }));
  }
  return parts.join('') + decoder.decode();
}

/** `detail` as Stigmem's clients read it: a sentence, a list of issues, or an object with a message. */
function detailText(detail: unknown): string | undefined {
  if (typeof detail === 'string') return detail;
  if (Array.isArray(detail)) {
    const issues = detail as { loc?: unknown[]; msg?: unknown }[];
    // The first part of `loc` is where the input stood in the request, which says nothing on a command line.
    return issues
      .map(({ loc, msg }) => `${loc?.slice(1).join('.') ?? ''}: ${String(msg).replace(/^Value error, /, '')}`)
      .map((text) => text.replace(/^: /, ''))
      .join('; ');
  }
  const message = (detail as { message?: unknown } | null | undefined)?.message;
  return typeof message === 'string' ? message : undefined;
}

/** The errno behind `fetch failed`: a name with several addresses fails with one error for each. */
function networkCode(error: unknown): string | undefined {
  let current: unknown = error;
  for (let depth = 0; depth < 4 && current instanceof Error; depth++) {
    const { code, errors } = current as Error & { code?: unknown; errors?: unknown[] };
    if (typeof code === 'string') return code;
    current = errors?.[0] ?? current.cause;
  }
  return undefined;
}

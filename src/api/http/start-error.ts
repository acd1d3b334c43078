import type { ApiInit } from '../components.ts';
import { isLoopback } from './guard.ts';

export type ApiStartErrorCode = 'remote_bind_refused' | 'port_in_use' | 'port_forbidden' | 'bind_failed';

/** Why the API could not begin to listen. */
export class ApiStartError extends Error {
  override readonly name = 'ApiStartError';
  readonly code: ApiStartErrorCode;
  readonly hint: string;

  constructor(code: ApiStartErrorCode, message: string, hint: string, cause?: unknown) {
    super(message, { cause });
    this.code = code;
    this.hint = hint;
  }
}

/**
 * Beyond loopback only on request and never without keys. The configuration refuses the same and warns about what it
 * allows; this is for whoever embeds the API without it.
 *
 * @throws ApiStartError `remote_bind_refused`
 */
export function assertBindable({
  host,
  allowRemote,
  authRequired,
}: Pick<ApiInit, 'host' | 'allowRemote' | 'authRequired'>): void {
  const local = isLoopback(host);
  if (!local && !allowRemote) {
    throw new ApiStartError(
      'remote_bind_refused',
      `other machines could reach ${host}`,
      'use 127.0.0.1; if you mean it, set api.allow_remote = true and put TLS in front of it',
    );
  }
  if (!local && !authRequired) {
    throw new ApiStartError(
      'remote_bind_refused',
      'without API keys the API is for loopback addresses only',
      'set auth.required = true, or api.host = "127.0.0.1"',
    );
  }
}

export function bindError(error: unknown, host: string, port: number): ApiStartError {
  const { code } = error as NodeJS.ErrnoException;
  switch (code) {
    case 'EADDRINUSE':
      return new ApiStartError(
        'port_in_use',
        `port ${port} on ${host} is taken`,
        'stop what uses it, perhaps a daemon of another home; or choose another port: --port, or api.port (0 takes any free one)',
        error,
      );
    case 'EACCES':
      return new ApiStartError('port_forbidden', `port ${port} is not allowed`, 'choose an api.port above 1023', error);
    default:
      return new ApiStartError('bind_failed', `cannot listen on ${host}:${port} (${code})`, 'check api.host', error);
  }
}

import type { IncomingMessage } from 'node:http';
import type { ApiKeyService } from '../../node/services.ts';
import { ANONYMOUS, type Principal } from '../../policy/principal.ts';
import { RateLimiter } from '../../policy/rate-limit.ts';
import type { ApiInit, Timers } from '../components.ts';
import { ApiError } from '../errors.ts';
import { AUTH_FAILURES_PER_MINUTE, MAX_TRACKED_ADDRESSES, MAX_TRACKED_KEYS, RATE_BURST_SHARE } from '../limits.ts';

/** Longest key that is looked up; ours have 43 characters, callers may bring their own. */
const MAX_KEY_CHARACTERS = 512;

export interface Identity {
  readonly who: Principal;
  /** The key that was presented, for streams that check it again; undefined for the anonymous principal. */
  readonly secret: string | undefined;
}

/** Who asks, from the Authorization header; and a brake for those who guess. */
export class Authenticator {
  readonly #keys: ApiKeyService;
  readonly #required: boolean;
  readonly #failures: RateLimiter;

  constructor(keys: ApiKeyService, required: boolean, timers: Timers) {
    this.#keys = keys;
    this.#required = required;
    this.#failures = new RateLimiter({
      perMinute: AUTH_FAILURES_PER_MINUTE,
      burst: AUTH_FAILURES_PER_MINUTE,
      maxKeys: MAX_TRACKED_ADDRESSES,
      now: timers.now,
    });
  }

  /**
   * Without required keys a request is anonymous, unless it brings a valid key. A valid key always passes, also from an
   * address that is being throttled.
   *
   * @throws ApiError `authorization_required`, `api_key_invalid`, `auth_throttled`
   */
  identify(request: IncomingMessage): Identity {
    const header = request.headers.authorization;
    if (header === undefined) {
      if (!this.#required) return { who: ANONYMOUS, secret: undefined };
      throw new ApiError(
        'authorization_required',
        'Authorization header required',
        'send `Authorization: Bearer <key>`; the first key is in the file that stigmesh status names',
      );
    }
    const secret = /^Bearer +(\S+) *$/i.exec(header)?.[1];
    const who =
      secret === undefined || secret.length > MAX_KEY_CHARACTERS ? undefined : this.#keys.authenticate(secret);
    if (who !== undefined) return { who, secret };
    if (!this.#required) return { who: ANONYMOUS, secret: undefined };
    const decision = this.#failures.take(request.socket.remoteAddress ?? 'unknown');
    if (!decision.allowed) {
      throw new ApiError(
        'auth_throttled',
        'too many invalid API keys from this address',
        'wait as long as Retry-After says, then use a valid key',
        { headers: retryAfter(decision.retryAfterMs) },
      );
    }
    throw invalidKey();
  }
}

/**
 * Looks a key up again once the body is there, which its sender could keep back until after the key was revoked.
 *
 * @throws ApiError `api_key_invalid`
 */
export function assertStillValid(keys: ApiKeyService, identity: Identity | null): void {
  if (identity?.secret !== undefined && keys.authenticate(identity.secret) === undefined) throw invalidKey();
}

function invalidKey(): ApiError {
  return new ApiError(
    'api_key_invalid',
    'Invalid or expired API key',
    'create a new key with stigmesh keys create, or use the one written at init',
  );
}

export type Dimension = 'read' | 'write';

/** The allowance of each key, apart for reading and writing. */
export class Allowances {
  readonly #limiters: Readonly<Record<Dimension, RateLimiter>>;

  constructor(init: Pick<ApiInit, 'rateLimitRead' | 'rateLimitWrite'>, timers: Timers) {
    const limiter = (perMinute: number) =>
      new RateLimiter({
        perMinute,
        burst: Math.ceil(perMinute * RATE_BURST_SHARE),
        maxKeys: MAX_TRACKED_KEYS,
        now: timers.now,
      });
    this.#limiters = { read: limiter(init.rateLimitRead), write: limiter(init.rateLimitWrite) };
  }

  /** @throws ApiError `rate_limited` with the members Stigmem's clients know */
  take(who: Principal, dimension: Dimension, cost = 1, paid = 0): void {
    const decision = this.#limiters[dimension].take(who.keyId ?? who.entity, cost, paid);
    if (decision.allowed) return;
    const seconds = decision.retryAfterMs / 1000;
    throw new ApiError(
      'rate_limited',
      `the ${dimension} allowance of this key is used up`,
      `wait as long as Retry-After says, or raise api.rate_limit_${dimension}`,
      {
        headers: retryAfter(decision.retryAfterMs),
        members: {
          error: 'quota_exceeded',
          dimension: `fact_${dimension}`,
          principal: who.entity,
          retry_after: Math.round(seconds * 1000) / 1000,
        },
      },
    );
  }
}

/** Seconds, rounded up, at least one (RFC 9110 section 10.2.3). */
function retryAfter(ms: number): Readonly<Record<string, string>> {
  return { 'retry-after': String(Math.max(1, Math.ceil(ms / 1000))) };
}

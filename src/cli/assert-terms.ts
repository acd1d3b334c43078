import type { FactScope } from '../facts/scope.ts';
import type { Session } from './session.ts';
import { instantOrSpan, spanFrom } from './times.ts';
import type { VALUE_TYPES } from './values.ts';

/** Options of `stigmesh assert`. */
export interface AssertOptions {
  readonly scope: FactScope;
  readonly type?: (typeof VALUE_TYPES)[number];
  readonly confidence?: number;
  readonly source?: string;
  readonly validUntil?: string;
  readonly ttl?: string;
  readonly garden?: string;
  readonly supersedes?: readonly string[];
  readonly basis?: string;
  readonly instruction?: boolean;
  readonly idempotencyKey?: string;
  readonly file?: string;
  readonly stdin?: boolean;
  readonly atomic?: boolean;
}

/** What the options say about a fact, in the members of the API. Members left out take the daemon's defaults. */
export function terms(session: Session, options: AssertOptions): Record<string, unknown> {
  const now = session.world.now();
  const { validUntil, ttl } = options;
  return {
    scope: options.scope,
    source: options.source ?? session.defaultSource,
    confidence: options.confidence,
    valid_until:
      validUntil !== undefined
        ? instantOrSpan(validUntil, '--valid-until', now)
        : ttl === undefined
          ? undefined
          : spanFrom(now, ttl, '--ttl'),
    garden_id: options.garden,
    supersedes: options.supersedes,
    basis: options.basis,
  };
}

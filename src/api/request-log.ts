import { RateLimiter } from '../policy/rate-limit.ts';
import type { Timers } from './components.ts';
import { LOG_LINES_BURST, LOG_LINES_PER_MINUTE, LOG_SUMMARY_MS } from './limits.ts';

type Level = 'info' | 'warn' | 'error';

/** What is needed of a logger; each request brings its own, which names the request. */
export type LineLog = { readonly [L in Level]: (details: object, message: string) => void };

/** Kinds of lines that callers cause, each with an allowance of its own: a flood of refusals must not hide a failure. */
const KINDS = {
  refused: { level: 'info', message: 'refused' },
  answer_broken: { level: 'error', message: 'an answer broke off' },
  request_failed: { level: 'error', message: 'a request failed' },
  secret_in_query: { level: 'warn', message: 'a secret was sent in a query string; replace that key' },
} as const satisfies Record<string, { level: Level; message: string }>;

export type LineKind = keyof typeof KINDS;

export interface RequestLogComponents {
  /** For the lines that are about no single request. */
  readonly log: LineLog;
  readonly timers: Timers;
  /** Told of each line that is left out. */
  readonly onSuppressed: (kind: LineKind) => void;
}

/**
 * One line for each request that is refused or fails, at a bounded rate: whoever floods the API must fill neither the
 * disk with its log nor the time of the daemon with writing it. What is left out is counted and said once it is over.
 */
export class RequestLog {
  readonly #components: RequestLogComponents;
  readonly #allowance: RateLimiter;
  readonly #suppressed = new Map<LineKind, number>();
  #cancelSummary: (() => void) | undefined;

  constructor(components: RequestLogComponents) {
    this.#components = components;
    this.#allowance = new RateLimiter({
      perMinute: LOG_LINES_PER_MINUTE,
      burst: LOG_LINES_BURST,
      maxKeys: Object.keys(KINDS).length,
      now: components.timers.now,
    });
  }

  write(log: LineLog, kind: LineKind, details: object): void {
    if (this.#allowance.take(kind).allowed) {
      const { level, message } = KINDS[kind];
      log[level]({ event: kind, ...details }, message);
      return;
    }
    this.#suppressed.set(kind, (this.#suppressed.get(kind) ?? 0) + 1);
    this.#components.onSuppressed(kind);
    this.#cancelSummary ??= this.#components.timers.after(LOG_SUMMARY_MS, () => this.flush());
  }

  /** Says how many lines were left out since this was said last. */
  flush(): void {
    this.#cancelSummary?.();
    this.#cancelSummary = undefined;
    for (const [of, count] of this.#suppressed) {
      this.#components.log.warn({ event: 'lines_suppressed', of, count }, 'log lines were left out: too many at once');
    }
    this.#suppressed.clear();
  }
}

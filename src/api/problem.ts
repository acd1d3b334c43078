import { FactError } from '../facts/index.ts';
import { ApiError, ERRORS, type ErrorCode, isErrorCode, type ValidationIssue } from './errors.ts';

/** Where the input that was refused stood: first element of Stigmem's `loc`. */
export type Place = 'body' | 'query' | 'path' | 'header' | 'params';

/** RFC 9457 problem that also carries `detail` as Stigmem's clients read it. */
export interface Problem {
  readonly type: string;
  readonly title: string;
  readonly status: number;
  readonly code: ErrorCode;
  readonly hint: string;
  readonly detail: string | readonly ValidationIssue[] | { readonly code: string; readonly message: string };
  readonly [member: string]: unknown;
}

export interface ProblemAnswer {
  readonly problem: Problem;
  readonly headers: Readonly<Record<string, string>>;
  /** The failure is ours, not the caller's: to be logged with its stack. */
  readonly unexpected: boolean;
}

/** Seconds after which a busy daemon is worth another try. */
const RETRY_BUSY_S = 1;
/** What waiting does not mend. */
const NO_RETRY: readonly ErrorCode[] = ['mesh_disabled'];

/** The one mapping from errors to answers. What is not an error of ours becomes `internal_error` and says nothing. */
export function problemOf(error: unknown, place: Place = 'body'): ProblemAnswer {
  const known = ours(error);
  if (known === undefined) {
    return answer('internal_error', 'internal error', 'see the log of the daemon; the request may be repeated', true);
  }
  const { code, message, hint } = known;
  const unexpected = ERRORS[code].status === 500;
  if (known instanceof ApiError) {
    const { detail, headers, members } = known.options;
    return answer(code, detail ?? ERRORS[code].detail ?? message, hint, unexpected, headers, members);
  }
  return answer(code, detailOf(known, place), hint, unexpected);
}

/** Every room has an error class of its own; what they share is a code of the table and a hint. */
type OurError = Error & { readonly code: ErrorCode; readonly hint: string };

function ours(error: unknown): OurError | undefined {
  if (!(error instanceof Error)) return undefined;
  const { code, hint } = error as Partial<OurError>;
  return isErrorCode(code) && typeof hint === 'string' ? (error as OurError) : undefined;
}

function detailOf(error: OurError, place: Place): Problem['detail'] {
  const { code, message } = error;
  const { status, detail } = ERRORS[code];
  if (detail !== undefined) return detail;
  if (code === 'instruction_write_required') return { code, message };
  if (error instanceof FactError) {
    if (code === 'invalid_entity_uri') {
      return message.startsWith('invalid_entity_uri:') ? message : `invalid_entity_uri: ${message}`;
    }
    if (status === 422) {
      return [{ type: code, loc: [place, ...(error.field?.split('.') ?? [])], msg: `Value error, ${message}` }];
    }
  }
  return message;
}

function answer(
  code: ErrorCode,
  detail: Problem['detail'],
  hint: string,
  unexpected: boolean,
  headers: Readonly<Record<string, string>> = {},
  members: Readonly<Record<string, unknown>> = {},
): ProblemAnswer {
  const { status, title } = ERRORS[code];
  return {
    problem: { type: `/docs/errors#${code}`, title, status, code, hint, detail, ...members },
    headers: {
      ...(status === 503 && !NO_RETRY.includes(code) ? { 'retry-after': String(RETRY_BUSY_S) } : {}),
      ...(status === 401 ? { 'www-authenticate': 'Bearer' } : {}),
      ...headers,
    },
    unexpected,
  };
}

/** Text of `detail` for places that have room for one line only. */
export function detailText(problem: Problem): string {
  const { detail } = problem;
  if (typeof detail === 'string') return detail;
  if (Array.isArray(detail)) {
    return detail.map((issue: ValidationIssue) => `${issue.loc.join('.')}: ${issue.msg}`).join('; ');
  }
  return (detail as { message: string }).message;
}

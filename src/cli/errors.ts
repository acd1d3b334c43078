import type { CliErrorCode } from './exit-codes.ts';

/** Something a command could not do. `code` is stable, `hint` says what to do next. */
export class CliError extends Error {
  override readonly name = 'CliError';
  readonly code: CliErrorCode;
  readonly hint: string;

  constructor(code: CliErrorCode, message: string, hint: string, options?: ErrorOptions) {
    super(message, options);
    this.code = code;
    this.hint = hint;
  }
}

/** A refusal by the daemon, as it answered it (RFC 9457). */
export class ProblemError extends Error {
  override readonly name = 'ProblemError';
  readonly code: string;
  readonly hint: string;
  /** HTTP status. */
  readonly status: number;

  constructor(problem: {
    readonly code: string;
    readonly message: string;
    readonly hint: string;
    readonly status: number;
  }) {
    super(problem.message);
    this.code = problem.code;
    this.hint = problem.hint;
    this.status = problem.status;
  }
}

export function usage(message: string, hint: string): CliError {
  return new CliError('usage', message, hint);
}

/** An error in the form in which it is shown. */
export interface ErrorReport {
  readonly code: string;
  readonly message: string;
  readonly hint: string;
  readonly status?: number;
  /** Causes, outermost first. */
  readonly causes: readonly string[];
  /** Only for what nobody expected. */
  readonly stack?: string;
}

/** Causes shown below an error: more is a stack trace, not an explanation. */
const MAX_CAUSES = 3;

/** Hints for what the operating system refuses (errno names, see errno(3)). */
const SYSTEM_HINTS: Readonly<Record<string, string>> = {
  ENOENT: 'check the path',
  EACCES: 'check the owner and the permissions of that path',
  EPERM: 'check the owner and the permissions of that path',
  ENOSPC: 'free some space on that disk',
  EROFS: 'choose a place that can be written',
  EISDIR: 'name a file, not a directory',
  ENOTDIR: 'a part of that path is a file, not a directory',
  EADDRINUSE: 'another program uses this port: stop it, or choose another one with --port or api.port',
  EADDRNOTAVAIL: 'this machine has no such address: check api.host',
};

/**
 * What is known about any thrown value: ours carry code and hint, the system's an errno, the rest is a bug.
 *
 * @param uid who we are, for the hint where access was denied: a service or a container runs as somebody else than
 *   whoever made the files
 */
export function reportOf(error: unknown, uid?: number): ErrorReport {
  const report = anonymousReportOf(error);
  if (uid === undefined || !wasDenied(error)) return report;
  return { ...report, hint: `${report.hint}; this process runs as uid ${uid}` };
}

/** Whether the system denied access, here or in a cause. */
function wasDenied(error: unknown): boolean {
  for (let cause = error, depth = 0; cause instanceof Error && depth <= MAX_CAUSES; cause = cause.cause, depth++) {
    const { code } = cause as NodeJS.ErrnoException;
    if (code === 'EACCES' || code === 'EPERM') return true;
  }
  return false;
}

function anonymousReportOf(error: unknown): ErrorReport {
  if (!(error instanceof Error)) return { ...bug, message: String(error), causes: [] };
  const { code, hint, status } = error as { code?: unknown; hint?: unknown; status?: unknown };
  if (typeof code === 'string' && typeof hint === 'string') {
    const causes = causesOf(error);
    return { code, message: error.message, hint, causes, ...(typeof status === 'number' ? { status } : {}) };
  }
  if (typeof code === 'string' && Object.hasOwn(SYSTEM_HINTS, code)) {
    return {
      code: code.toLowerCase(),
      message: systemMessage(error),
      hint: SYSTEM_HINTS[code] as string,
      causes: causesOf(error),
    };
  }
  return { ...bug, message: error.message, causes: causesOf(error), ...(error.stack ? { stack: error.stack } : {}) };
}

/** `/nosuch/x: no such file or directory`, of what Node says with errno, call and quotes. */
function systemMessage(error: Error): string {
  const { path } = error as NodeJS.ErrnoException;
  const reason = /^E[A-Z]+: (.+?), [a-z]+(?: |$)/.exec(error.message)?.[1];
  return path === undefined || reason === undefined ? error.message : `${path}: ${reason}`;
}

const bug = {
  code: 'unexpected',
  hint: 'this should not happen: please report it with these lines and the output of stigmesh version',
};

function causesOf(error: Error): string[] {
  const causes: string[] = [];
  let cause = error.cause;
  while (cause instanceof Error && causes.length < MAX_CAUSES) {
    if (cause.message !== '') causes.push(cause.message);
    cause = cause.cause;
  }
  return causes;
}

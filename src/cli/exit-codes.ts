/** What the process ends with. Part of the contract with scripts: never renumber. */
export const EXIT = {
  ok: 0,
  failed: 1,
  usage: 2,
  notRunning: 3,
  notFound: 4,
  refused: 5,
  timedOut: 6,
} as const;
export type ExitCode = (typeof EXIT)[keyof typeof EXIT];

/** Meaning of each exit code, for the documentation. */
export const EXIT_MEANINGS: { readonly [C in ExitCode]: string } = {
  0: 'done',
  1: 'failed',
  2: 'the command line, the configuration or the input does not make sense',
  3: 'the daemon is not running',
  4: 'not found',
  5: 'refused: key, permission or policy',
  6: 'timed out',
};

/** What the command line itself can run into, beside what the daemon answers. */
export type CliErrorCode =
  | 'usage'
  | 'daemon_not_running'
  | 'daemon_timeout'
  | 'wait_timeout'
  | 'daemon_unreachable'
  | 'not_a_daemon'
  | 'answer_too_large'
  | 'key_unusable'
  | 'file_exists'
  | 'file_unusable'
  | 'nothing_found'
  | 'output_lost'
  | 'log_damaged'
  | 'lint_failed'
  | 'not_confirmed'
  | 'declined';

/** Where the code says more than the status does. */
const BY_CODE: Readonly<Record<string, ExitCode>> = {
  usage: EXIT.usage,
  not_confirmed: EXIT.usage,
  daemon_not_running: EXIT.notRunning,
  daemon_timeout: EXIT.timedOut,
  wait_timeout: EXIT.timedOut,
  key_unusable: EXIT.refused,
  nothing_found: EXIT.notFound,
  file_unusable: EXIT.usage,
  // What a configuration says wrong: starting again does not help, as service managers ask by this code.
  config_syntax: EXIT.usage,
  config_version: EXIT.usage,
  config_unknown_key: EXIT.usage,
  config_invalid_value: EXIT.usage,
  config_inline_secret: EXIT.usage,
  config_remote_bind: EXIT.usage,
  config_invalid: EXIT.usage,
  // What is wrong with an invite is found here, before the daemon is asked, and comes without a status.
  invite_truncated: EXIT.usage,
  invite_checksum: EXIT.usage,
  invite_version: EXIT.usage,
  invite_malformed: EXIT.usage,
  invite_expired: EXIT.refused,
  // The daemon's own: it answers for the last time, or has refused somebody's pace or signature.
  stopping: EXIT.notRunning,
  rate_limited: EXIT.refused,
  auth_throttled: EXIT.refused,
  // Not a mistake in the words that were typed, though the status is that of one.
  batch_too_large: EXIT.failed,
  limit_reached: EXIT.failed,
} satisfies Readonly<Partial<Record<CliErrorCode, ExitCode>>> & Readonly<Record<string, ExitCode>>;

const BY_STATUS: Readonly<Record<number, ExitCode>> = {
  400: EXIT.usage,
  401: EXIT.refused,
  403: EXIT.refused,
  404: EXIT.notFound,
  405: EXIT.failed,
  408: EXIT.timedOut,
  422: EXIT.usage,
  504: EXIT.timedOut,
};

/** The one mapping from errors to exit codes. `status` is the HTTP status of a problem the daemon answered. */
export function exitCodeOf(error: {
  readonly code?: string | undefined;
  readonly status?: number | undefined;
}): ExitCode {
  const { code, status } = error;
  if (code !== undefined && Object.hasOwn(BY_CODE, code)) return BY_CODE[code] as ExitCode;
  if (status !== undefined && Object.hasOwn(BY_STATUS, status)) return BY_STATUS[status] as ExitCode;
  return EXIT.failed;
}

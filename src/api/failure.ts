/** Frames of a stack that are logged: where it happened, and on whose behalf. */
const LOGGED_FRAMES = 12;

/** Classes of errors that the runtime throws; their messages quote what it choked on. */
const RUNTIME_ERRORS = [TypeError, RangeError, SyntaxError, URIError, ReferenceError];

/**
 * What the log learns of a failure of ours: what kind, and where; the message unless it may hold the value of a fact,
 * because the log holds none (docs/operations.md, the log).
 */
export function failureDetails(error: unknown): object {
  if (!(error instanceof Error)) return { type: typeof error };
  const { name, code, message, stack = '' } = error as NodeJS.ErrnoException;
  const quotes = RUNTIME_ERRORS.some((type) => error instanceof type);
  // The stack begins with the message, and a line of that may look like a frame.
  const frames = stack.slice(stack.indexOf(message) + message.length);
  const at = frames
    .split('\n')
    .map((line) => line.trim())
    .filter((line) => line.startsWith('at '));
  return { type: name, code, ...(quotes ? {} : { reason: message }), at: at.slice(0, LOGGED_FRAMES) };
}

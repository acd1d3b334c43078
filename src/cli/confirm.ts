import { CliError } from './errors.ts';
import { MAX_ANSWER_LINE } from './limits.ts';
import type { Session } from './session.ts';
import { printable } from './text.ts';

/** Questions on stderr, answers from a terminal on stdin. Close it: an open stdin keeps the process alive. */
export class Questions {
  readonly #session: Session;
  #lines: AsyncIterator<string> | undefined;

  constructor(session: Session) {
    this.#session = session;
  }

  /** Whether anybody is there to answer. */
  get canAsk(): boolean {
    return Boolean(this.#session.world.stdin.isTTY);
  }

  /** One line; empty at the end of the input. */
  async ask(question: string): Promise<string> {
    this.#session.world.stderr.write(`${printable(question)} `);
    this.#lines ??= linesOf(this.#session.world.stdin);
    const { value, done } = await this.#lines.next();
    return done ? '' : value.trim();
  }

  async close(): Promise<void> {
    await this.#lines?.return?.();
  }
}

async function* linesOf(source: AsyncIterable<Uint8Array>): AsyncGenerator<string> {
  const decoder = new TextDecoder();
  let rest = '';
  for await (const chunk of source) {
    rest += decoder.decode(chunk, { stream: true });
    for (let end = rest.indexOf('\n'); end !== -1; end = rest.indexOf('\n')) {
      yield rest.slice(0, end);
      rest = rest.slice(end + 1);
    }
    if (rest.length > MAX_ANSWER_LINE) break;
  }
  yield rest;
}

export interface Confirmation {
  /** `--yes` was given: nobody is asked. */
  readonly yes: boolean;
  /** What is about to happen, for an error. */
  readonly what: string;
  readonly question: string;
}

/**
 * Goes on only when somebody says yes.
 *
 * @throws CliError `not_confirmed` when nobody can be asked, `declined`
 */
export async function confirm(questions: Questions, { yes, what, question }: Confirmation): Promise<void> {
  if (yes) return;
  if (!questions.canAsk) {
    throw new CliError(
      'not_confirmed',
      `nobody is there to confirm: ${what}`,
      'repeat it with --yes, if that is what you want',
    );
  }
  if (/^y(es)?$/i.test(await questions.ask(`${question} [y/N]`))) return;
  throw new CliError('declined', 'not confirmed, nothing was done', 'answer y, or give --yes, to go on');
}

/** As {@link confirm}, for a command with one question. */
export async function confirmOnce(session: Session, confirmation: Confirmation): Promise<void> {
  const questions = new Questions(session);
  try {
    await confirm(questions, confirmation);
  } finally {
    await questions.close();
  }
}

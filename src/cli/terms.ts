import { type Command, InvalidArgumentError } from 'commander';
import { SCOPES } from '../facts/scope.ts';
import { list } from './arguments.ts';
import { instantOrSpan } from './times.ts';

/** Options with which an operator says what is shared with a peer. */

/** Scopes that can be shared: `local` never leaves a daemon. */
const SHARED = SCOPES.filter((scope) => scope !== 'local');

/** Relations without a namespace, in a list of namespaces. */
const BARE = '-';

export interface TermsOptions {
  readonly gives?: readonly string[];
  readonly takes?: readonly string[];
  readonly namespaces?: readonly string[] | 'all';
  readonly expires?: string;
}

/** `public,company`, or `none`. */
export function scopeList(text: string): string[] {
  if (text === 'none') return [];
  const words = [...new Set(list(text))];
  if (words.length > 0 && words.every((word) => (SHARED as readonly string[]).includes(word))) return words;
  throw new InvalidArgumentError(`Name scopes out of ${SHARED.join(', ')}, or none.`);
}

/** `memory,roadmap`, or `all`. */
export function namespaceList(text: string): string[] | 'all' {
  if (text === 'all') return text;
  return [...new Set(list(text))].map((name) => (name === BARE ? '' : name));
}

/** @param gives name and meaning of the option that says what we give */
export function addTerms(
  command: Command,
  words: { readonly gives: readonly [flags: string, description: string]; readonly takes: string },
): Command {
  return command
    .option(words.gives[0], words.gives[1], scopeList)
    .option('--takes <scopes>', words.takes, scopeList)
    .option(
      '--namespaces <list>',
      `only these relation namespaces (memory,roadmap; ${BARE} is relations without one), or all`,
      namespaceList,
    );
}

/** The instant at which terms end; null: `never`. */
export function expiryOf(text: string, now: number): string | null {
  return text === 'never' ? null : instantOrSpan(text, '--expires', now);
}

/** Null: all, as the API says it. */
export function namespacesOf(namespaces: TermsOptions['namespaces']): readonly string[] | null {
  return namespaces === undefined || namespaces === 'all' ? null : namespaces;
}

/** What was said, by the names of the API; what was left out is left out. */
export function termsBody(options: TermsOptions, now: number): Record<string, unknown> {
  const { gives, takes, namespaces, expires } = options;
  return {
    ...(gives === undefined ? {} : { gives }),
    ...(takes === undefined ? {} : { takes }),
    ...(namespaces === undefined ? {} : { namespaces: namespacesOf(namespaces) }),
    ...(expires === undefined ? {} : { expires_at: expiryOf(expires, now) }),
  };
}

/** Namespaces as people write them. */
export function namespaceText(namespaces: readonly string[]): string {
  return namespaces.map((name) => (name === '' ? BARE : name)).join(', ');
}

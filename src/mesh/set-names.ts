import { isAuthority } from '../facts/index.ts';
import { namedSet, SET_AUDIENCES, type SetAudience, type StatementSet } from '../policy/sets.ts';

/**
 * The set that has a name, as a peer gave it; undefined when no set has. A relation namespace has no colon and may have
 * slashes; a garden URI has a colon, and no slash before its first one.
 */
export function parseSetName(name: string): StatementSet | undefined {
  const first = name.indexOf('/');
  const second = name.indexOf('/', first + 1);
  if (first === -1 || second === -1) return undefined;
  const audience = name.slice(0, first);
  const org = name.slice(first + 1, second);
  const rest = name.slice(second + 1);
  if (!SET_AUDIENCES.includes(audience as SetAudience) || !isAuthority(org)) return undefined;
  const colon = rest.indexOf(':');
  if (audience !== 'garden') return colon === -1 ? namedSet(audience as SetAudience, org, rest) : undefined;
  const slash = colon === -1 ? -1 : rest.lastIndexOf('/', colon);
  return slash === -1 ? undefined : namedSet('garden', org, rest.slice(0, slash), rest.slice(slash + 1));
}

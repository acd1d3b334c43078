import { homedir, hostname } from 'node:os';

/** What a process takes from its surroundings. This module is the only place in `src` that reads them. */
export interface Surroundings {
  readonly env: Readonly<Record<string, string | undefined>>;
  readonly hostname: string;
  readonly homedir: string;
  readonly cwd: string;
}

export function systemSurroundings(): Surroundings {
  return { env: { ...process.env }, hostname: hostname(), homedir: homedir(), cwd: process.cwd() };
}

/** What the client commands take from the environment. Empty variables count as unset. */
export interface ClientEnvironment {
  /** STIGMESH_URL */
  readonly url: string | undefined;
  /** STIGMESH_API_KEY */
  readonly apiKey: string | undefined;
  /** STIGMESH_API_KEY_FILE */
  readonly apiKeyFile: string | undefined;
  /** NO_COLOR is set to anything (no-color.org). */
  readonly noColor: boolean;
}

export function clientEnvironment(env: Surroundings['env']): ClientEnvironment {
  return {
    url: env.STIGMESH_URL || undefined,
    apiKey: env.STIGMESH_API_KEY || undefined,
    apiKeyFile: env.STIGMESH_API_KEY_FILE || undefined,
    noColor: Boolean(env.NO_COLOR),
  };
}

/** Longest label of a DNS name (RFC 1035, 2.3.4). */
const MAX_LABEL = 63;

/** The authority of an organisation nobody has named yet: `<first label of the host name>.local`. */
export function defaultAuthority(hostname: string): string {
  const slug = (hostname.split('.')[0] as string)
    .normalize('NFKD')
    .replace(/\p{M}/gu, '')
    .toLowerCase()
    .replace(/[^a-z0-9]+/g, '-')
    .slice(0, MAX_LABEL)
    .replace(/^-+|-+$/g, '');
  return `${slug === '' ? 'node' : slug}.local`;
}

import { open } from 'node:fs/promises';
import { isLoopbackHost } from '../config/checks.ts';
import type { ClientEnvironment } from '../config/environment.ts';
import { CliError, usage } from './errors.ts';
import { MAX_KEY_CHARACTERS, MAX_KEY_FILE_BYTES } from './limits.ts';

/** Where the daemon is, and the key to present. Never print `key`. */
export interface Endpoint {
  /** Without a slash at its end. */
  readonly url: string;
  readonly key: string | undefined;
  /** The option or the variable that named the URL, if one did. */
  readonly urlFrom: string | undefined;
  /** Why no key is there; undefined where one is. */
  readonly keyless: string | undefined;
  /** For stderr. */
  readonly warnings: readonly string[];
}

export interface EndpointSources {
  /** `--url` */
  readonly url: string | undefined;
  readonly environment: ClientEnvironment;
  /** Key file of the home. */
  readonly apiKeyFile: string;
  /** What the daemon of this home says it listens on, or else its configuration. */
  readonly homeUrl: () => Promise<string>;
}

/** `--url`, then STIGMESH_URL, then the daemon of the home. @throws CliError `usage`, `key_unusable` */
export async function findEndpoint(sources: EndpointSources): Promise<Endpoint> {
  const { environment } = sources;
  const given = sources.url ?? environment.url;
  const urlFrom = given === undefined ? undefined : sources.url === undefined ? 'STIGMESH_URL' : '--url';
  const url = checkUrl(given ?? (await sources.homeUrl()), urlFrom ?? 'the URL of the daemon');
  const warnings: string[] = [];
  const isLoopback = isLoopbackHost(new URL(url).hostname);
  const key = await findKey(sources, isLoopback, warnings);
  if (key !== undefined && !isLoopback && url.startsWith('http:')) {
    warnings.push(`the API key travels to ${url} unencrypted; put TLS in front of that daemon`);
  }
  const keyless = isLoopback ? `${sources.apiKeyFile} is not there` : 'the key of the home stays on this machine';
  return { url, key, urlFrom, keyless: key === undefined ? keyless : undefined, warnings };
}

function checkUrl(text: string, name: string): string {
  const url = URL.canParse(text) ? new URL(text) : undefined;
  if (url === undefined || !['http:', 'https:'].includes(url.protocol)) {
    throw usage(`${name} is not an http or https URL`, 'give for example http://127.0.0.1:8765');
  }
  if (url.username !== '' || url.password !== '') {
    throw usage(`${name} holds credentials`, 'take them out of the URL; name the key in STIGMESH_API_KEY_FILE');
  }
  if (url.search !== '' || url.hash !== '') {
    throw usage(`${name} holds a query or a fragment`, 'give only scheme, host and port');
  }
  return (url.origin + url.pathname).replace(/\/+$/, '');
}

async function findKey(sources: EndpointSources, isLoopback: boolean, warnings: string[]): Promise<string | undefined> {
  const { apiKeyFile, apiKey } = sources.environment;
  if (apiKeyFile !== undefined) return readKeyFile(apiKeyFile, warnings, true);
  if (apiKey !== undefined) return checkKey(apiKey, 'STIGMESH_API_KEY');
  // The key of this home is for the daemon of this home: no URL may lure it off the machine.
  return isLoopback ? readKeyFile(sources.apiKeyFile, warnings, false) : undefined;
}

async function readKeyFile(path: string, warnings: string[], required: boolean): Promise<string | undefined> {
  try {
    const handle = await open(path, 'r');
    try {
      const stat = await handle.stat();
      if (!stat.isFile() || stat.size > MAX_KEY_FILE_BYTES) {
        throw new CliError('key_unusable', `${path} is not a key file`, 'name the file that stigmesh init wrote');
      }
      // Secrets that container tools mount are often readable by everybody inside; the home's own file must not be.
      if (!required && process.platform !== 'win32' && (stat.mode & 0o077) !== 0) {
        warnings.push(`${path} is open to other users (chmod 600 ${path}); if others may have read it, revoke the key`);
      }
      return checkKey((await handle.readFile('utf8')).trim(), path);
    } finally {
      await handle.close();
    }
  } catch (error) {
    if (error instanceof CliError) throw error;
    const { code } = error as NodeJS.ErrnoException;
    if (code === 'ENOENT' && !required) return undefined;
    const hint = required ? 'check STIGMESH_API_KEY_FILE' : 'check its owner and permissions';
    throw new CliError('key_unusable', `${path} cannot be read (${code ?? 'unknown error'})`, hint);
  }
}

/** Visible ASCII, as a header takes it. The key itself must not show up in a message. */
function checkKey(text: string, from: string): string {
  if (text.length <= MAX_KEY_CHARACTERS && /^[\x21-\x7e]+$/.test(text)) return text;
  throw new CliError(
    'key_unusable',
    `${from} does not hold an API key`,
    'put the key there, on one line, and nothing else',
  );
}

/** The URL a client uses for a daemon that listens on every address. */
export function reachableUrl(url: string): string {
  return url.replace(/^(https?:\/\/)(?:0\.0\.0\.0|\[::\])(?=[:/]|$)/, '$1127.0.0.1');
}

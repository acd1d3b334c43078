import { clientEnvironment } from '../config/environment.ts';
import type { LoadedConfig } from '../config/load.ts';
import { resolvePaths, type StigmeshPaths } from '../config/paths.ts';
import type { Client } from './client.ts';
import { CliError } from './errors.ts';
import { Output } from './output.ts';
import type { World } from './world.ts';

/** Options that every command takes. */
export interface GlobalOptions {
  readonly home?: string;
  readonly config?: string;
  readonly url?: string;
  readonly json?: boolean;
  readonly quiet?: boolean;
  readonly full?: boolean;
  readonly color?: boolean;
  /** Seconds. */
  readonly timeout?: number;
}

/** What one run of one command works with. */
export class Session {
  readonly world: World;
  readonly options: GlobalOptions;
  readonly out: Output;
  readonly paths: StigmeshPaths;

  constructor(world: World, options: GlobalOptions) {
    const { surroundings, stdout, stderr } = world;
    const { env, homedir, cwd } = surroundings;
    this.world = world;
    this.options = options;
    this.paths = resolvePaths({ env, homedir, cwd, home: options.home, config: options.config });
    this.out = new Output({
      stdout,
      stderr,
      json: options.json ?? false,
      quiet: options.quiet ?? false,
      full: options.full ?? false,
      color: options.color !== false && !clientEnvironment(env).noColor && env.TERM !== 'dumb',
      uptime: world.uptime,
    });
  }

  get timeoutMs(): number | undefined {
    return this.options.timeout === undefined ? undefined : this.options.timeout * 1000;
  }

  /** The daemon this command talks to. Nothing is sent yet. */
  async client(): Promise<Client> {
    const [{ Client }, { findEndpoint }] = await Promise.all([import('./client.ts'), import('./endpoint.ts')]);
    const endpoint = await findEndpoint({
      url: this.options.url,
      environment: clientEnvironment(this.world.surroundings.env),
      apiKeyFile: this.paths.apiKeyFile,
      homeUrl: () => this.#homeUrl(),
    });
    for (const warning of endpoint.warnings) this.out.warn(warning);
    const { fetch, version } = this.world;
    const { url, key, urlFrom, keyless } = endpoint;
    return new Client({ url, key, urlFrom, keyless, fetch, version, timeoutMs: this.timeoutMs });
  }

  /** The configuration of this home, with options of the command line by key (`api.port`). */
  async loadConfig(flags: Readonly<Record<string, unknown>> = {}): Promise<LoadedConfig> {
    const { loadConfig } = await import('../config/load.ts');
    const { env, hostname } = this.world.surroundings;
    return loadConfig({ paths: this.paths, env, hostname, flags });
  }

  get holderWorld(): { platform: NodeJS.Platform; hostname: string } {
    return { platform: this.world.platform, hostname: this.world.surroundings.hostname };
  }

  /** What the daemon's own functions want to know. */
  async homeOptions(flags: Readonly<Record<string, unknown>> = {}) {
    const { surroundings, version, now } = this.world;
    return { paths: this.paths, loaded: await this.loadConfig(flags), env: surroundings.env, version, now };
  }

  /** A path as people write it. */
  shownPath(path: string): string {
    const home = this.world.surroundings.homedir;
    return home !== '' && path.startsWith(`${home}/`) ? `~${path.slice(home.length)}` : path;
  }

  /** Who asserts when nobody is named: the user of the operating system. */
  get defaultSource(): string {
    return `user:${encodeURIComponent(this.world.username ?? 'unknown')}`;
  }

  async #homeUrl(): Promise<string> {
    const [{ findHolder }, { reachableUrl }] = await Promise.all([import('./running.ts'), import('./endpoint.ts')]);
    const holder = await findHolder(this.paths, this.holderWorld);
    if (holder?.url !== undefined) return reachableUrl(holder.url);
    const { config } = await this.loadConfig();
    const { host, port } = config.api;
    // Only the running daemon could say which port it got.
    if (port === 0) throw notRunning('the daemon of this home is not running');
    const literal = host.includes(':') && !host.startsWith('[') ? `[${host}]` : host;
    return reachableUrl(`http://${literal}:${port}`);
  }
}

export function notRunning(message: string): CliError {
  return new CliError('daemon_not_running', message, 'start it with: stigmesh start (in a clone: npm start)');
}

import { isAbsolute, join, resolve } from 'node:path';

/** Where everything of one node is. All paths are absolute. */
export interface StigmeshPaths {
  /** The one directory that holds everything, if one was chosen; otherwise the XDG directories are used. */
  readonly home: string | undefined;
  readonly configDir: string;
  readonly configFile: string;
  /** The user named the file, so it has to be there. */
  readonly configFileRequired: boolean;
  /** API key of the local client commands, written at init. */
  readonly apiKeyFile: string;
  /** Private keys. */
  readonly keysDir: string;
  /** The store. */
  readonly dataDir: string;
  /** What a running daemon leaves for others to find: pid and the like. */
  readonly stateDir: string;
}

export interface PathInputs {
  readonly env: Readonly<Record<string, string | undefined>>;
  /** The user's home directory. */
  readonly homedir: string;
  /** Relative `home` and `config` are resolved against it. */
  readonly cwd: string;
  /** `--home`, stronger than STIGMESH_HOME. */
  readonly home?: string | undefined;
  /** `--config`. */
  readonly config?: string | undefined;
}

/**
 * `--home` or STIGMESH_HOME puts everything under one directory, so that two homes share nothing; otherwise the XDG
 * base directories are used (XDG Base Directory Specification 0.8, which has relative values ignored).
 */
export function resolvePaths({ env, homedir, cwd, home, config }: PathInputs): StigmeshPaths {
  const chosen = home || env.STIGMESH_HOME || undefined;
  const root = chosen === undefined ? undefined : resolve(cwd, chosen);
  const xdg = (name: string, ...fallback: string[]) => {
    const value = env[name];
    const base = value !== undefined && isAbsolute(value) ? value : join(homedir, ...fallback);
    return join(base, 'stigmesh');
  };
  const configDir = root ?? xdg('XDG_CONFIG_HOME', '.config');
  return {
    home: root,
    configDir,
    configFile: config ? resolve(cwd, config) : join(configDir, 'config.toml'),
    configFileRequired: Boolean(config),
    apiKeyFile: join(configDir, 'api.key'),
    keysDir: join(configDir, 'keys'),
    dataDir: join(root ?? xdg('XDG_DATA_HOME', '.local', 'share'), 'data'),
    stateDir: root === undefined ? xdg('XDG_STATE_HOME', '.local', 'state') : join(root, 'state'),
  };
}

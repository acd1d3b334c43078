import type { ConfigInputs, LoadedConfig } from './load.ts';
import { isSecretName, OTHER_VARIABLES, settings } from './settings.ts';

/** Stands where a secret would. */
export const REDACTED = '(redacted)';

/** A line of `stigmesh config show --origin`. */
export interface ConfigRow {
  /** `api.port`, or the name of a variable that is not a setting. */
  readonly key: string;
  /** As it would be written in TOML; secrets redacted; empty where nothing is set. */
  readonly value: string;
  readonly source: 'flag' | 'env' | 'file' | 'default';
  readonly detail: string;
  readonly description: string;
}

/** Every setting with its value and where it came from, then the variables of the client side that are set. */
export function configRows({ config, origins }: LoadedConfig, env: ConfigInputs['env']): ConfigRow[] {
  const values = config as unknown as Record<string, Record<string, unknown>>;
  const rows = settings.map((setting): ConfigRow => {
    const origin = origins.get(setting.key) ?? { source: 'default', detail: 'built in' };
    const value = values[setting.section]?.[setting.name];
    return { key: setting.key, value: shown(setting.name, value), ...origin, description: setting.description };
  });
  for (const [key, origin] of origins) {
    if (!key.startsWith('relations.')) continue;
    const relation = key.slice('relations."'.length, key.lastIndexOf('"'));
    rows.push({ key, value: shown('', config.relations[relation]?.cardinality), ...origin, description: '' });
  }
  for (const [name, description] of Object.entries(OTHER_VARIABLES)) {
    const value = env[name];
    if (value) rows.push({ key: name, value: shown(name, value), source: 'env', detail: name, description });
  }
  return rows;
}

function shown(name: string, value: unknown): string {
  if (value === undefined) return '';
  if (isSecretName(name)) return REDACTED;
  return JSON.stringify(typeof value === 'string' ? withoutCredentials(value) : value);
}

/** `http://user:password@host` is a secret in a place where none is expected. */
function withoutCredentials(text: string): string {
  return text.replace(/^([a-z][a-z0-9+.-]*:\/\/)[^/@]*@/i, `$1${REDACTED}@`);
}

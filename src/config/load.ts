import { open } from 'node:fs/promises';
import type { z } from 'zod';
import { configWarnings, crossChecks } from './checks.ts';
import { defaultAuthority } from './environment.ts';
import { ConfigError, type ConfigIssue, type Origin } from './errors.ts';
import { MAX_CONFIG_BYTES, MAX_DECLARED_RELATIONS, MAX_REPORTED_ISSUES } from './limits.ts';
import type { StigmeshPaths } from './paths.ts';
import { CONFIG_VERSION, type Config, configSchema, relationNameSchema, relationSchema } from './schema.ts';
import { parseRelationKey, settings, settingsByKey } from './settings.ts';
import { type Entry, readEnvSource, readFileSource, readFlagSource, type Source } from './sources.ts';

export interface LoadedConfig {
  readonly config: Config;
  /** By key (`api.port`, `relations."memory:likes".cardinality`), for every value in `config`. */
  readonly origins: ReadonlyMap<string, Origin>;
  /** For the operator, at start; never secret. */
  readonly warnings: readonly string[];
}

export interface ConfigInputs {
  readonly env: Readonly<Record<string, string | undefined>>;
  /** By key; undefined means not given. */
  readonly flags?: Readonly<Record<string, unknown>>;
  /** Of this machine: names the organisation as long as nobody has. */
  readonly hostname: string;
}

/**
 * Reads the configuration file, if there is one, and merges flag > variable > file > default. Each value given is
 * checked, also those that a stronger source overrides.
 *
 * @throws ConfigError with all problems at once
 */
export async function loadConfig(
  inputs: ConfigInputs & { readonly paths: Pick<StigmeshPaths, 'configFile' | 'configFileRequired'> },
): Promise<LoadedConfig> {
  const { configFile, configFileRequired } = inputs.paths;
  const file = await readConfigFile(configFile, configFileRequired);
  const loaded = resolveConfig(inputs, file === undefined ? undefined : { path: configFile, text: file.text });
  if (!file?.writableByOthers) return loaded;
  const warning = `${configFile} can be changed by other users (chmod go-w ${configFile})`;
  return { ...loaded, warnings: [...loaded.warnings, warning] };
}

/** The same without touching the disk. @throws ConfigError */
export function resolveConfig(inputs: ConfigInputs, file?: { path: string; text: string }): LoadedConfig {
  const fromFile: Source = file === undefined ? { entries: [], issues: [] } : readFileSource(file.text, file.path);
  const fromFlags = readFlagSource(inputs.flags ?? {});
  const fromEnv = readEnvSource(inputs.env, passphraseVariables(fromFile, inputs.env, fromFlags));
  // Weakest first: a later source replaces what an earlier one said.
  const sources = [fromFile, fromEnv, fromFlags];
  const issues = sources.flatMap((source) => source.issues);
  const chosen = new Map<string, Entry>();
  for (const entry of sources.flatMap((source) => source.entries)) {
    const found = validate(entry);
    issues.push(...found);
    if (found.length === 0) chosen.set(entry.key, entry);
  }
  issues.push(...tooManyRelations(chosen));
  failOn(issues);

  const origins = new Map<string, Origin>();
  for (const { key } of settings)
    origins.set(key, chosen.get(key)?.origin ?? { source: 'default', detail: 'built in' });
  for (const [key, { origin }] of chosen) origins.set(key, origin);
  const config = build(chosen, origins, inputs.hostname);
  failOn(crossChecks(config, origins));
  return { config, origins, warnings: configWarnings(config, origins) };
}

function failOn(issues: readonly ConfigIssue[]): void {
  const [first, ...rest] = issues.slice(0, MAX_REPORTED_ISSUES);
  if (first !== undefined) throw new ConfigError([first, ...rest]);
}

/** What `identity.passphrase_env` names may begin with STIGMESH_ without being a setting. */
function passphraseVariables(file: Source, env: ConfigInputs['env'], flags: Source): Set<unknown> {
  const setting = settingsByKey.get('identity.passphrase_env');
  const named = [...file.entries, ...flags.entries].filter(({ key }) => key === setting?.key).map(({ value }) => value);
  return new Set([...named, env[setting?.env ?? '']]);
}

function validate({ key, value, origin }: Entry): ConfigIssue[] {
  const relation = parseRelationKey(key);
  const issue = (message: string, hint: string): ConfigIssue => ({
    code: 'config_invalid_value',
    key,
    message,
    hint,
    origin,
  });
  if (relation !== undefined) {
    const name = relationNameSchema.safeParse(relation.relation);
    if (!name.success) return [issue(firstMessage(name.error), 'spell it as facts do')];
    const table = relationSchema.safeParse({ cardinality: value });
    return table.success ? [] : [issue(firstMessage(table.error), 'write cardinality = "many" or "one"')];
  }
  const setting = settingsByKey.get(key);
  const result = setting?.schema.safeParse(value);
  if (setting === undefined || result === undefined || result.success) return [];
  const example = setting.example === undefined ? '' : ` For example: ${key} = ${JSON.stringify(setting.example)}`;
  return [issue(firstMessage(result.error), `${setting.description}${example}`)];
}

/** What was expected, in words for somebody who wrote a configuration. */
function firstMessage(error: z.ZodError): string {
  const [issue] = error.issues;
  switch (issue?.code) {
    case 'invalid_type':
      return `expected ${EXPECTED[issue.expected] ?? issue.expected}`;
    case 'too_big':
      return issue.origin === 'number' || issue.origin === 'int' ? `expected at most ${issue.maximum}` : issue.message;
    case 'too_small':
      return issue.origin === 'number' || issue.origin === 'int' ? `expected at least ${issue.minimum}` : issue.message;
    case 'invalid_value':
      return `expected ${issue.values
        .map(String)
        .join(', ')
        .replace(/, ([^,]+)$/, ' or $1')}`;
    default:
      return issue?.message ?? 'is not valid';
  }
}

const EXPECTED: Readonly<Record<string, string>> = {
  int: 'a whole number',
  number: 'a whole number',
  boolean: 'true or false',
  string: 'text',
  array: 'a list',
};

function tooManyRelations(chosen: ReadonlyMap<string, Entry>): ConfigIssue[] {
  const count = [...chosen.keys()].filter((key) => key.startsWith('relations.')).length;
  if (count <= MAX_DECLARED_RELATIONS) return [];
  const message = `${count} relations are declared; the limit is ${MAX_DECLARED_RELATIONS}`;
  return [
    { code: 'config_invalid_value', key: 'relations', message, hint: 'assert stigmem:cardinality facts for the rest' },
  ];
}

function build(chosen: ReadonlyMap<string, Entry>, origins: Map<string, Origin>, hostname: string): Config {
  const raw: Record<string, Record<string, unknown>> = {};
  const relations: Record<string, { cardinality: 'one' | 'many' }> = Object.create(null);
  for (const [key, { value }] of chosen) {
    const relation = parseRelationKey(key);
    if (relation !== undefined) {
      relations[relation.relation] = relationSchema.parse({ cardinality: value });
      continue;
    }
    const [section, name] = key.split('.') as [string, string];
    raw[section] ??= {};
    raw[section][name] = value;
  }
  const parsed = configSchema.parse({ version: CONFIG_VERSION, ...raw });
  if (parsed.org.authority === undefined) {
    origins.set('org.authority', { source: 'default', detail: 'from the host name' });
  }
  const authority = parsed.org.authority ?? defaultAuthority(hostname);
  return deepFreeze({ ...parsed, org: { authority }, relations });
}

function deepFreeze<T extends object>(value: T): T {
  for (const member of Object.values(value)) {
    if (typeof member === 'object' && member !== null) deepFreeze(member);
  }
  return Object.freeze(value);
}

/** The text of a file and whether its mode invites trouble; undefined if an optional file is not there. */
async function readConfigFile(
  path: string,
  required: boolean,
): Promise<{ text: string; writableByOthers: boolean } | undefined> {
  const unreadable = (message: string, hint: string, cause?: unknown) =>
    new ConfigError([{ code: 'config_unreadable', key: path, message, hint }], { cause });
  try {
    const handle = await open(path, 'r');
    try {
      const stat = await handle.stat();
      if (!stat.isFile()) throw unreadable('is not a file', 'name a TOML file');
      if (stat.size > MAX_CONFIG_BYTES) {
        throw unreadable(`is larger than ${MAX_CONFIG_BYTES} bytes`, 'check that this is the configuration file');
      }
      const bytes = await handle.readFile();
      const text = new TextDecoder('utf-8', { fatal: true }).decode(bytes);
      return { text, writableByOthers: process.platform !== 'win32' && (stat.mode & 0o022) !== 0 };
    } finally {
      await handle.close();
    }
  } catch (error) {
    if (error instanceof ConfigError) throw error;
    const { code } = error as NodeJS.ErrnoException;
    if (code === 'ENOENT') {
      if (!required) return undefined;
      throw unreadable('does not exist', 'check the path given with --config', error);
    }
    if (code === 'ERR_ENCODING_INVALID_ENCODED_DATA') {
      throw unreadable('is not UTF-8 text', 'save it as UTF-8', error);
    }
    throw unreadable(`cannot be read (${code ?? String(error)})`, 'check the path and its permissions', error);
  }
}

import { parse, TomlError } from 'smol-toml';
import type { ConfigIssue, Origin } from './errors.ts';
import { CONFIG_VERSION, sectionSchemas } from './schema.ts';
import {
  isSecretName,
  nearest,
  OTHER_VARIABLES,
  parseRelationKey,
  relationKey,
  type SettingKind,
  settings,
  settingsByEnv,
  settingsByKey,
} from './settings.ts';

/** One value as a source gives it, not validated yet. */
export interface Entry {
  readonly key: string;
  readonly value: unknown;
  readonly origin: Origin;
}

export interface Source {
  readonly entries: readonly Entry[];
  readonly issues: readonly ConfigIssue[];
}

type Table = { readonly [key: string]: unknown };

const isTable = (value: unknown): value is Table =>
  typeof value === 'object' && value !== null && !Array.isArray(value) && !(value instanceof Date);

const sectionNames = [...Object.keys(sectionSchemas), 'relations'];

/** Reads the text of a configuration file. */
export function readFileSource(text: string, path: string): Source {
  const origin: Origin = { source: 'file', detail: path };
  let root: Table;
  try {
    root = parse(text);
  } catch (error) {
    if (!(error instanceof TomlError)) throw error;
    return { entries: [], issues: [syntaxIssue(error, origin)] };
  }
  const entries: Entry[] = [];
  const issues: ConfigIssue[] = [];
  const versionIssue = checkVersion(root.version, origin);
  // Keys of another version may mean something else; judging them by this schema would mislead.
  if (versionIssue !== undefined) return { entries, issues: [...secretsIn(root, '', origin), versionIssue] };

  for (const [section, value] of Object.entries(root)) {
    if (section === 'version') continue;
    if (!sectionNames.includes(section)) {
      issues.push(...unknown(section, value, origin));
    } else if (!isTable(value)) {
      issues.push({
        code: 'config_invalid_value',
        key: section,
        message: 'is a section, not a value',
        hint: `write [${section}] on a line of its own and its keys below it`,
        origin,
      });
    } else if (section === 'relations') {
      readRelations(value, origin, entries, issues);
    } else {
      for (const [name, leaf] of Object.entries(value)) {
        const key = `${section}.${name}`;
        if (settingsByKey.has(key)) entries.push({ key, value: leaf, origin });
        else issues.push(...unknown(key, leaf, origin));
      }
    }
  }
  return { entries, issues };
}

function readRelations(relations: Table, origin: Origin, entries: Entry[], issues: ConfigIssue[]): void {
  for (const [relation, table] of Object.entries(relations)) {
    if (!isTable(table)) {
      issues.push({
        code: 'config_invalid_value',
        key: `relations."${relation}"`,
        message: 'is a table, not a value',
        hint: `write [relations."${relation}"] and below it cardinality = "many"`,
        origin,
      });
      continue;
    }
    for (const [name, value] of Object.entries(table)) {
      if (name === 'cardinality') entries.push({ key: relationKey(relation), value, origin });
      else issues.push(...unknown(relationKey(relation, name), value, origin));
    }
  }
}

function checkVersion(version: unknown, origin: Origin): ConfigIssue | undefined {
  if (version === CONFIG_VERSION) return undefined;
  const issue = { code: 'config_version', key: 'version', origin } as const;
  if (version === undefined) {
    return { ...issue, message: 'is missing', hint: `put version = ${CONFIG_VERSION} at the top of the file` };
  }
  const isNewer = typeof version === 'number' && version > CONFIG_VERSION;
  return {
    ...issue,
    message: `${isNewer ? `${version} is newer than` : 'differs from'} what this stigmesh reads (${CONFIG_VERSION})`,
    hint: isNewer ? 'use the stigmesh that wrote this file, or a newer one' : `write version = ${CONFIG_VERSION}`,
  };
}

function syntaxIssue(error: TomlError, origin: Origin): ConfigIssue {
  const what = (error.message.split('\n')[0] as string).replace(/^Invalid TOML document: /, '');
  return {
    code: 'config_syntax',
    key: '',
    message: `line ${error.line}, column ${error.column}: ${what}`,
    hint: 'the format is TOML 1.0 (toml.io); texts need quotes, and each section is written once',
    origin,
  };
}

/**
 * Reads `STIGMESH_*`. Empty variables count as unset, as container tools pass them for want of a value.
 *
 * @param tolerated names of further variables that are somebody's business, though they are no settings
 */
export function readEnvSource(
  env: Readonly<Record<string, string | undefined>>,
  tolerated: ReadonlySet<unknown> = new Set(),
): Source {
  const entries: Entry[] = [];
  const issues: ConfigIssue[] = [];
  for (const [name, text] of Object.entries(env)) {
    if (!name.startsWith('STIGMESH_') || text === undefined || text === '') continue;
    const setting = settingsByEnv.get(name);
    if (setting === undefined) {
      if (!Object.hasOwn(OTHER_VARIABLES, name) && !tolerated.has(name)) issues.push(unknownVariable(name));
      continue;
    }
    entries.push({ key: setting.key, value: fromText(text, setting.kind), origin: { source: 'env', detail: name } });
  }
  return { entries, issues };
}

function unknownVariable(name: string): ConfigIssue {
  const guess = nearest(name, [...settingsByEnv.keys(), ...Object.keys(OTHER_VARIABLES)]);
  return {
    code: 'config_unknown_key',
    key: name,
    message: 'unknown environment variable',
    hint: guess === undefined ? 'unset it; docs/configuration.md lists the known ones' : `did you mean ${guess}?`,
    origin: { source: 'env', detail: name },
  };
}

/** Reads options of the command line, by key. Text is read like a variable; other values are taken as they are. */
export function readFlagSource(flags: Readonly<Record<string, unknown>>): Source {
  const entries: Entry[] = [];
  const issues: ConfigIssue[] = [];
  for (const [given, value] of Object.entries(flags)) {
    if (value === undefined) continue;
    const origin: Origin = { source: 'flag', detail: 'command line' };
    const relation = parseRelationKey(given);
    const key = relation === undefined ? given : relationKey(relation.relation, relation.name);
    const kind = relation?.name === 'cardinality' ? 'text' : settingsByKey.get(key)?.kind;
    if (kind === undefined) issues.push(...unknown(key, value, origin));
    else entries.push({ key, value: typeof value === 'string' ? fromText(value, kind) : value, origin });
  }
  return { entries, issues };
}

/** Text that does not read as the kind stays text: the schema then says what was expected. */
function fromText(text: string, kind: SettingKind): unknown {
  if (kind === 'boolean') {
    if (text === 'true' || text === '1') return true;
    if (text === 'false' || text === '0') return false;
  }
  return kind === 'integer' && /^-?\d{1,15}$/.test(text) ? Number(text) : text;
}

/** A key nobody knows: a secret if it looks like one (also deeper inside), otherwise a typo. */
function unknown(key: string, value: unknown, origin: Origin): ConfigIssue[] {
  const secrets = secretsIn({ [lastPart(key)]: value }, key.slice(0, -lastPart(key).length), origin);
  if (secrets.length > 0) return secrets;
  const guess = guessKey(key);
  const [section] = key.split('.');
  const hint =
    guess === undefined
      ? `known are ${knownNear(section as string)}`
      : `did you mean ${guess}${origin.source === 'file' && guess.includes('.') ? ` (in section [${guess.split('.')[0]}])` : ''}?`;
  return [{ code: 'config_unknown_key', key, message: 'unknown key', hint, origin }];
}

const lastPart = (key: string): string => key.slice(key.lastIndexOf('.') + 1);

/** A key in the wrong section, or in none, is a likelier mistake than two typos. */
function guessKey(key: string): string | undefined {
  if (key.startsWith('relations.')) return nearest(lastPart(key), ['cardinality']);
  const sameName = settings.find(({ name }) => name === lastPart(key))?.key;
  if (sameName !== undefined) return sameName;
  return (key.includes('.') ? undefined : nearest(key, sectionNames)) ?? nearest(key, settingsByKey.keys());
}

function knownNear(section: string): string {
  const names = settings.filter((setting) => setting.section === section).map(({ name }) => name);
  return names.length > 0 ? `in [${section}]: ${names.join(', ')}` : `the sections ${sectionNames.join(', ')}`;
}

function secretsIn(table: Table, prefix: string, origin: Origin): ConfigIssue[] {
  return Object.entries(table).flatMap(([name, value]) => {
    if (isTable(value)) return secretsIn(value, `${prefix}${name}.`, origin);
    return isSecretName(name) ? [inlineSecret(`${prefix}${name}`, origin)] : [];
  });
}

function inlineSecret(key: string, origin: Origin): ConfigIssue {
  return {
    code: 'config_inline_secret',
    key,
    message: `secrets are not accepted ${origin.source === 'file' ? 'in the configuration file' : 'on the command line'}`,
    hint: 'put it into a file of mode 0600 and name that in identity.passphrase_file, or name a variable in identity.passphrase_env; treat this one as leaked if the file was shared',
    origin,
  };
}

import { z } from 'zod';
import { sectionSchemas } from './schema.ts';

/** How text from a variable or the command line is read. */
export type SettingKind = 'boolean' | 'integer' | 'text' | 'list';

/** One key of a section, derived from the schema. */
export interface Setting {
  /** `api.port` */
  readonly key: string;
  readonly section: string;
  readonly name: string;
  /** `STIGMESH_API_PORT` */
  readonly env: string;
  readonly kind: SettingKind;
  readonly description: string;
  /** undefined where the value is optional or found out at load. */
  readonly defaultValue: unknown;
  readonly example: unknown;
  /** Allowed words, where there is a fixed set. */
  readonly options: readonly string[] | undefined;
  readonly schema: z.ZodType;
}

/** Variables that are ours but no settings of the daemon: where things are, and the client side. */
export const OTHER_VARIABLES: { readonly [name: string]: string } = {
  STIGMESH_HOME: 'One directory for configuration, keys and data, instead of the XDG directories.',
  STIGMESH_URL: 'Where the client commands find the daemon.',
  STIGMESH_API_KEY: 'API key of the client commands.',
  STIGMESH_API_KEY_FILE: 'File with that key, instead of the one written at init.',
};

/** All settings, in documentation order. */
export const settings: readonly Setting[] = Object.entries(sectionSchemas).flatMap(([section, schema]) =>
  Object.entries(schema.shape).map(([name, leaf]) => describeSetting(section, name, leaf as z.ZodType)),
);

export const settingsByKey: ReadonlyMap<string, Setting> = new Map(settings.map((setting) => [setting.key, setting]));
export const settingsByEnv: ReadonlyMap<string, Setting> = new Map(settings.map((setting) => [setting.env, setting]));

function describeSetting(section: string, name: string, schema: z.ZodType): Setting {
  let inner: z.ZodType = schema;
  let defaultValue: unknown;
  while (inner instanceof z.ZodDefault || inner instanceof z.ZodOptional) {
    if (inner instanceof z.ZodDefault) defaultValue = inner.def.defaultValue;
    inner = inner.unwrap() as z.ZodType;
  }
  const examples = (schema.meta()?.examples ?? []) as unknown[];
  return {
    key: `${section}.${name}`,
    section,
    name,
    env: `STIGMESH_${section}_${name}`.toUpperCase(),
    kind: kindOf(inner),
    description: schema.description ?? '',
    defaultValue,
    example: defaultValue ?? examples[0],
    options: inner instanceof z.ZodEnum ? inner.options.map(String) : undefined,
    schema,
  };
}

function kindOf(schema: z.ZodType): SettingKind {
  if (schema instanceof z.ZodBoolean) return 'boolean';
  if (schema instanceof z.ZodNumber) return 'integer';
  return schema instanceof z.ZodPipe ? 'list' : 'text';
}

/** The spelling of a key of `[relations."…"]`. */
export function relationKey(relation: string, name = 'cardinality'): string {
  return `relations."${relation}".${name}`;
}

/** Reads `relations."memory:likes".cardinality`, quoted or not; undefined for any other key. */
export function parseRelationKey(key: string): { relation: string; name: string } | undefined {
  const match = /^relations\.(?:"(.*)"|([^"]+))\.([^."]+)$/s.exec(key);
  if (match === null) return undefined;
  return { relation: (match[1] ?? match[2]) as string, name: match[3] as string };
}

/**
 * Whether a key would hold a secret itself. Secrets stay out of files that get copied, shown and committed, and off
 * the command line that every user of the machine can read.
 */
export function isSecretName(name: string): boolean {
  return /(?:passphrase|secret|token|key|password)$/i.test(name);
}

/** The candidate most like `wanted`, if any is near enough to be what was meant. */
export function nearest(wanted: string, candidates: Iterable<string>): string | undefined {
  let best: string | undefined;
  // Two of three letters make another word.
  let bestDistance = Math.max(wanted.length > 3 ? 2 : 1, Math.floor(wanted.length / 3)) + 1;
  for (const candidate of candidates) {
    const distance = editDistance(wanted.toLowerCase(), candidate.toLowerCase(), bestDistance);
    if (distance < bestDistance) {
      best = candidate;
      bestDistance = distance;
    }
  }
  return best;
}

/** Names longer than this are nobody's typo; it bounds the quadratic comparison below. */
const MAX_COMPARED_CHARACTERS = 100;

/** Levenshtein distance, or `bound` where it is at least that. */
function editDistance(a: string, b: string, bound: number): number {
  if (Math.abs(a.length - b.length) >= bound || a.length > MAX_COMPARED_CHARACTERS) return bound;
  let previous = Array.from({ length: b.length + 1 }, (_, index) => index);
  for (let i = 1; i <= a.length; i++) {
    const row = [i];
    for (let j = 1; j <= b.length; j++) {
      const substitution = (previous[j - 1] as number) + (a[i - 1] === b[j - 1] ? 0 : 1);
      row.push(Math.min(substitution, (previous[j] as number) + 1, (row[j - 1] as number) + 1));
    }
    previous = row;
  }
  return previous[b.length] as number;
}

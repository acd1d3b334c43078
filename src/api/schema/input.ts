import { z } from 'zod';
import { SCOPES } from '../../facts/index.ts';
import { NodeError } from '../../node/errors.ts';
import { ApiError, type ValidationIssue } from '../errors.ts';
import { parseStrictText } from '../json.ts';
import { MAX_LIST_ITEMS, MAX_VALIDATION_ISSUES } from '../limits.ts';
import type { Place } from '../problem.ts';

/**
 * Turns the strings of a query or of headers into what the schema asks for, so that one schema serves HTTP and
 * JSON-RPC. Booleans are lax as Stigmem's are; lists are comma separated; objects are JSON. What does not convert stays
 * a string, and the schema refuses it.
 */
export function fromStrings(schema: z.ZodObject, given: Readonly<Record<string, unknown>>): Record<string, unknown> {
  const result: Record<string, unknown> = {};
  for (const [name, member] of Object.entries(schema.shape)) {
    const raw = Object.hasOwn(given, name) ? given[name] : undefined;
    if (raw !== undefined) result[name] = typeof raw === 'string' ? convert(member as z.ZodType, raw) : raw;
  }
  return result;
}

const BOOLEANS: Readonly<Record<string, boolean>> = {
  true: true,
  '1': true,
  yes: true,
  on: true,
  false: false,
  '0': false,
  no: false,
  off: false,
};

function convert(schema: z.ZodType, raw: string): unknown {
  const inner = unwrap(schema);
  if (inner instanceof z.ZodBoolean) {
    const word = raw.toLowerCase();
    return Object.hasOwn(BOOLEANS, word) ? BOOLEANS[word] : raw;
  }
  if (inner instanceof z.ZodNumber) return /^[+-]?\d+(?:\.\d+)?(?:[eE][+-]?\d+)?$/.test(raw) ? Number(raw) : raw;
  if (inner instanceof z.ZodArray) {
    return raw
      .split(',')
      .map((part) => part.trim())
      .filter((part) => part !== '');
  }
  if (inner instanceof z.ZodObject) {
    try {
      return parseStrictText(raw);
    } catch {
      return raw;
    }
  }
  return raw;
}

export function unwrap(schema: z.ZodType): z.ZodType {
  let inner = schema;
  while (inner instanceof z.ZodOptional || inner instanceof z.ZodDefault || inner instanceof z.ZodNullable) {
    inner = inner.unwrap() as z.ZodType;
  }
  return inner;
}

export interface ValidateOptions {
  readonly place: Place;
  /** An unknown scope is refused as Stigmem refuses it in queries: 400 with a sentence instead of 422 with a list. */
  readonly scopeSentence?: boolean | undefined;
}

/**
 * Checked input. The error names the first problems; see MAX_VALIDATION_ISSUES.
 *
 * @throws ApiError `validation_failed`; NodeError `batch_too_large`, `invalid_query` for a scope (see options)
 */
export function validate<S extends z.ZodType>(schema: S, input: unknown, options: ValidateOptions): z.output<S> {
  assertListLengths(schema, input);
  const result = schema.safeParse(input);
  if (result.success) return result.data;
  const issues = result.error.issues;
  const wrongScope = issues.some(({ path, code }) => path[0] === 'scope' && code === 'invalid_value');
  if (options.scopeSentence && wrongScope && valueAt(input, ['scope']) !== undefined) {
    throw new NodeError('invalid_query', `scope must be one of ${SCOPES.join(', ')}`, 'name one of these scopes');
  }
  throw validationError(issues.slice(0, MAX_VALIDATION_ISSUES).map((issue) => describe(issue, input, options.place)));
}

/**
 * A list too long for any use is refused before its items are looked at: each wrong one would be an issue of its own.
 *
 * @throws NodeError `batch_too_large`
 */
function assertListLengths(schema: z.ZodType, input: unknown): void {
  if (!(schema instanceof z.ZodObject) || typeof input !== 'object' || input === null) return;
  for (const [name, member] of Object.entries(schema.shape)) {
    const list = Object.hasOwn(input, name) ? (input as Record<string, unknown>)[name] : undefined;
    if (!Array.isArray(list) || list.length <= MAX_LIST_ITEMS || !(unwrap(member) instanceof z.ZodArray)) continue;
    throw new NodeError(
      'batch_too_large',
      `${name} has ${list.length} items, the limit is ${MAX_LIST_ITEMS}`,
      'send several requests',
    );
  }
}

export function validationError(issues: readonly ValidationIssue[]): ApiError {
  const first = issues[0];
  const message = first === undefined ? 'the input does not fit the schema' : `${first.loc.join('.')}: ${first.msg}`;
  return new ApiError('validation_failed', message, 'correct the members named in `detail`; see /docs/reference/http', {
    detail: issues,
  });
}

/** A zod issue in the words of Stigmem's validator (pydantic), which its clients show to people. */
function describe(issue: z.core.$ZodIssue, input: unknown, place: Place): ValidationIssue {
  const path = issue.path.map((part) => (typeof part === 'number' ? part : String(part)));
  const loc = [place, ...path];
  switch (issue.code) {
    case 'invalid_type':
      return valueAt(input, path) === undefined
        ? { type: 'missing', loc, msg: 'Field required' }
        : { type: `${issue.expected}_type`, loc, msg: `Input should be a valid ${issue.expected}` };
    case 'too_small':
      return issue.origin === 'string'
        ? { type: 'string_too_short', loc, msg: `String should have at least ${issue.minimum} characters` }
        : issue.origin === 'array'
          ? { type: 'too_short', loc, msg: `List should have at least ${issue.minimum} items` }
          : { type: 'greater_than_equal', loc, msg: `Input should be greater than or equal to ${issue.minimum}` };
    case 'too_big':
      return issue.origin === 'string'
        ? { type: 'string_too_long', loc, msg: `String should have at most ${issue.maximum} characters` }
        : issue.origin === 'array'
          ? { type: 'too_long', loc, msg: `List should have at most ${issue.maximum} items` }
          : { type: 'less_than_equal', loc, msg: `Input should be less than or equal to ${issue.maximum}` };
    case 'invalid_value': {
      if (valueAt(input, path) === undefined) return { type: 'missing', loc, msg: 'Field required' };
      const member = path.at(-1) ?? 'value';
      return { type: 'value_error', loc, msg: `Value error, ${member} must be one of ${issue.values.join(', ')}` };
    }
    default:
      return { type: 'value_error', loc, msg: `Value error, ${issue.message}` };
  }
}

function valueAt(input: unknown, path: readonly (string | number)[]): unknown {
  let value = input;
  for (const part of path) {
    if (typeof value !== 'object' || value === null || !Object.hasOwn(value, part)) return undefined;
    value = (value as Record<string | number, unknown>)[part];
  }
  return value;
}

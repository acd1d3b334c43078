import type { FactValue, ValueType } from '../facts/index.ts';
import { usage } from './errors.ts';
import { LONG_STRING_BYTES } from './limits.ts';

/** Here and not imported: the module of values brings hashing along, which would slow down every start. */
export const VALUE_TYPES = [
  'string',
  'text',
  'number',
  'boolean',
  'datetime',
  'ref',
  'null',
] as const satisfies readonly ValueType[];

/** RFC 8259, section 6. */
const JSON_NUMBER = /^-?(?:0|[1-9]\d*)(?:\.\d+)?(?:[eE][+-]?\d+)?$/;
const UTC_DATETIME = /^\d{4}-\d{2}-\d{2}[Tt]\d{2}:\d{2}:\d{2}(?:\.\d{1,9})?(?:[Zz]|[+-]00:00)$/;
/** A scheme of at least two characters, so that `c://x` is no drive letter, and nothing that ends a URI. */
const REF = /^(?:[A-Za-z][A-Za-z0-9+.-]+:\/\/|urn:)[^\s\p{Cc}]+$/u;

/** What text on the command line most likely means. Never fails: what nothing else fits is a string. */
export function inferValue(text: string): FactValue {
  if (text === 'true' || text === 'false') return { type: 'boolean', v: text === 'true' };
  if (text === 'null') return { type: 'null', v: null };
  if (isExactNumber(text)) return { type: 'number', v: Number(text) };
  if (UTC_DATETIME.test(text) && isCalendarTime(text)) return { type: 'datetime', v: text };
  if (REF.test(text) && Buffer.byteLength(text) <= LONG_STRING_BYTES) return { type: 'ref', v: text };
  return { type: isLong(text) ? 'text' : 'string', v: text };
}

/** The value of an argument with its `--type`, or a value of null without text. @throws CliError `usage` */
export function readValue(text: string | undefined, type: ValueType | undefined): FactValue {
  if (type !== undefined) return typedValue(type, text);
  if (text === undefined) throw usage('the value is missing', 'give it after the relation');
  return inferValue(text);
}

/** A value of a type that was named. @throws CliError `usage` when the text does not read as one */
export function typedValue(type: ValueType, text: string | undefined): FactValue {
  if (type === 'null') {
    if (text !== undefined && text !== 'null') throw usage('a null value carries no text', 'leave the value out');
    return { type, v: null };
  }
  if (text === undefined) throw usage(`a ${type} needs a value`, 'give it after the relation');
  switch (type) {
    case 'number': {
      const v = Number(text);
      if (!JSON_NUMBER.test(text) || !Number.isFinite(v)) throw notA(type, 'write it as in JSON: 42, -1.5, 1e6');
      return { type, v };
    }
    case 'boolean':
      if (text !== 'true' && text !== 'false') throw notA(type, 'write true or false');
      return { type, v: text === 'true' };
    case 'datetime':
      if (!UTC_DATETIME.test(text) || !isCalendarTime(text)) throw notA(type, 'write it in UTC: 2030-01-01T00:00:00Z');
      return { type, v: text };
    default:
      return { type, v: text };
  }
}

function notA(type: ValueType, hint: string) {
  return usage(`the value is not a ${type}`, hint);
}

/** The value of one member of a batch line: typed as the API has it, or plain JSON whose type says it all. */
export function jsonValue(value: unknown): unknown {
  switch (typeof value) {
    case 'string':
      return { type: isLong(value) ? 'text' : 'string', v: value };
    case 'number':
      return { type: 'number', v: value };
    case 'boolean':
      return { type: 'boolean', v: value };
    default:
      return value === null ? { type: 'null', v: null } : value;
  }
}

function isLong(text: string): boolean {
  return text.includes('\n') || Buffer.byteLength(text) > LONG_STRING_BYTES;
}

/**
 * A number that a double holds with all its digits. Others, such as account numbers of twenty digits, would change
 * silently: they stay strings.
 */
function isExactNumber(text: string): boolean {
  if (text.length > 64 || !JSON_NUMBER.test(text)) return false;
  const number = Number(text);
  return Number.isFinite(number) && decimal(text) === decimal(String(number));
}

/** Sign, significant digits and exponent of a JSON number, in one spelling. */
function decimal(text: string): string {
  const [, sign = '', whole = '', fraction = '', exponent = '0'] =
    /^(-?)(\d+)(?:\.(\d+))?(?:[eE]([+-]?\d+))?$/.exec(text) ?? [];
  const digits = (whole + fraction).replace(/^0+/, '');
  const significant = digits.replace(/0+$/, '');
  if (significant === '') return '0';
  return `${sign}${significant}e${Number(exponent) - fraction.length + digits.length - significant.length}`;
}

/** Whether the day exists: Date.parse lets 30 February pass. */
function isCalendarTime(text: string): boolean {
  const instant = Date.parse(text.toUpperCase());
  if (Number.isNaN(instant)) return false;
  return new Date(instant).toISOString().slice(0, 13) === text.toUpperCase().slice(0, 13);
}

/** How a value is written in a table: on one line; the caller makes it printable. */
export function valueText(value: { readonly type: string; readonly v?: unknown }): string {
  return typeof value.v === 'string' ? value.v : JSON.stringify(value.v ?? null);
}

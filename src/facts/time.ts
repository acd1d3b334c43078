import { FactError } from './errors.ts';

const RFC3339 = /^(\d{4})-(\d{2})-(\d{2})[Tt](\d{2}):(\d{2}):(\d{2})(\.\d{1,9})?([Zz]|[+-]\d{2}:\d{2})$/;

/**
 * Instant of an RFC 3339 date-time in Unix milliseconds (fractions beyond a millisecond are cut off).
 * The offset is required; calendar and clock fields must exist (no 30 February, no leap second).
 *
 * @throws FactError `invalid_timestamp`
 */
export function parseInstant(text: string, field: string): number {
  const match = RFC3339.exec(text);
  const instant = match ? Date.parse(text.toUpperCase()) : Number.NaN;
  if (!match || Number.isNaN(instant) || Number(match[3]) > daysInMonth(Number(match[1]), Number(match[2]))) {
    throw new FactError(
      'invalid_timestamp',
      `${field} is not an RFC 3339 date-time with an offset`,
      'send for example 2030-01-01T00:00:00Z',
      field,
    );
  }
  return instant;
}

/** As {@link parseInstant}, and the offset must be UTC: `Z`, `+00:00` or `-00:00`. */
export function parseUtcInstant(text: string, field: string): number {
  const instant = parseInstant(text, field);
  if (!/(?:[Zz]|[+-]00:00)$/.test(text)) {
    throw new FactError('invalid_timestamp', `${field} is not in UTC`, 'convert to UTC and end it in Z', field);
  }
  return instant;
}

function daysInMonth(year: number, month: number): number {
  return new Date(Date.UTC(year, month, 0)).getUTCDate();
}

/** RFC 3339 UTC with milliseconds: the only spelling this daemon writes. */
export function formatInstant(unixMs: number): string {
  return new Date(unixMs).toISOString();
}

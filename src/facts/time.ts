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
  if (!match || Number.isNaN(instant) || match[4] === '24' || Number(match[3]) > daysInMonth(match[1]!, match[2]!)) {
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

/** Date.parse lets 30 February pass as 1 March, and hour 24 as the next day; RFC 3339 knows neither. */
function daysInMonth(year: string, month: string): number {
  if (month !== '02') return ['04', '06', '09', '11'].includes(month) ? 30 : 31;
  const y = Number(year);
  return y % 4 === 0 && (y % 100 !== 0 || y % 400 === 0) ? 29 : 28;
}

/** The last instant RFC 3339 can spell, in Unix ms: its years have four digits. */
export const LAST_INSTANT = Date.UTC(9999, 11, 31, 23, 59, 59, 999);

/** RFC 3339 UTC with milliseconds: the only spelling this daemon writes. */
export function formatInstant(unixMs: number): string {
  return new Date(unixMs).toISOString();
}

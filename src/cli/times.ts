import { usage } from './errors.ts';

const UNITS: Readonly<Record<string, number>> = { s: 1000, m: 60_000, h: 3_600_000, d: 86_400_000, w: 604_800_000 };

/** Longest span that is not a typo: a century. */
const MAX_SPAN_MS = 100 * 366 * 86_400_000;

/** `90s`, `15m`, `2h`, `7d`, `4w` in milliseconds. @throws CliError `usage` */
export function parseSpan(text: string, option: string): number {
  const match = /^(\d{1,9})([smhdw])$/.exec(text);
  const ms = match === null ? 0 : Number(match[1]) * (UNITS[match[2] as string] as number);
  if (ms > 0 && ms <= MAX_SPAN_MS) return ms;
  throw usage(`${option} is not a span of time`, 'write for example 90s, 15m, 2h, 7d or 4w');
}

/** A span of at least and at most so long, both as people write them. @throws CliError `usage` */
export function spanBetween(text: string, option: string, least: string, most: string): number {
  const ms = parseSpan(text, option);
  if (ms >= parseSpan(least, option) && ms <= parseSpan(most, option)) return ms;
  throw usage(`${option} is ${text}`, `give from ${least} to ${most}`);
}

/** An instant as given, or a span from now, as RFC 3339 UTC. The daemon checks the rest. */
export function instantOrSpan(text: string, option: string, now: number): string {
  if (/^\d{4}-/.test(text)) return text;
  if (/^\d+[smhdw]$/.test(text)) return spanFrom(now, text, option);
  throw usage(
    `${option} is neither an instant nor a span of time`,
    'write for example 2030-01-31T12:00:00Z, or 90s, 15m, 2h, 7d, 4w',
  );
}

/** The instant so long from now, as RFC 3339 UTC. @throws CliError `usage` */
export function spanFrom(now: number, text: string, option: string): string {
  return new Date(now + parseSpan(text, option)).toISOString();
}

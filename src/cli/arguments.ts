import { InvalidArgumentError, Option } from 'commander';
import { SCOPES } from '../facts/scope.ts';

/** Parsers and options that several commands share. */

/** A number above 0, at most `maximum`. */
export function positiveNumber(name: string, maximum: number): (text: string) => number {
  return (text) => {
    const value = Number(text);
    if (!/^\d+(?:\.\d+)?$/.test(text) || value <= 0 || value > maximum) {
      throw new InvalidArgumentError(`${name} takes a number above 0 and up to ${maximum}.`);
    }
    return value;
  };
}

/** A whole number between the two. */
export function wholeNumber(name: string, minimum: number, maximum: number): (text: string) => number {
  return (text) => {
    const value = Number(text);
    if (!/^\d{1,16}$/.test(text) || value < minimum || value > maximum) {
      throw new InvalidArgumentError(`${name} takes a whole number from ${minimum} to ${maximum}.`);
    }
    return value;
  };
}

/** A number between 0 and 1. */
export function confidence(text: string): number {
  const value = Number(text);
  if (!/^(?:0|1|\d?\.\d+|\d\.)\d*$/.test(text) || value < 0 || value > 1) {
    throw new InvalidArgumentError('A confidence is a number from 0 to 1.');
  }
  return value;
}

/** `a,b` or the option twice, or both. */
export function list(text: string, before: readonly string[] = []): string[] {
  const parts = text.split(',').map((part) => part.trim());
  return [...before, ...parts.filter((part) => part !== '')];
}

/** As {@link list}, of these words only. */
export function listOf(choices: readonly string[]): (text: string, before?: readonly string[]) => string[] {
  return (text, before) => {
    const words = list(text, before);
    const unknown = words.find((word) => !choices.includes(word));
    if (unknown !== undefined) throw new InvalidArgumentError(`Allowed choices are ${choices.join(', ')}.`);
    return words;
  };
}

export function scopeOption(description: string, fallback?: (typeof SCOPES)[number]): Option {
  const option = new Option('--scope <scope>', description).choices(SCOPES);
  return fallback === undefined ? option : option.default(fallback);
}

import { ApiError } from './errors.ts';
import { MAX_BODY_DEPTH, MAX_BODY_MEMBERS, MAX_BODY_VALUES } from './limits.ts';

const utf8 = new TextDecoder('utf-8', { fatal: true, ignoreBOM: true });

/**
 * JSON from outside, strictly: UTF-8 without a byte order mark, nested at most 64 deep, no member named twice in one
 * object (RFC 8259 section 4 leaves open what that means, so two readers could see two bodies) and none named
 * `__proto__`. Linear in the input, without recursion, and what it becomes in memory is bounded by the number of values.
 *
 * @param maxMembers most members of one object
 * @throws ApiError `json_invalid`, `body_too_large` for too many values; their messages never quote the input
 */
export function parseStrictJson(bytes: Uint8Array, maxMembers = MAX_BODY_MEMBERS): unknown {
  let text: string;
  try {
    text = utf8.decode(bytes);
  } catch {
    throw invalid(0, 'the body is not UTF-8');
  }
  return parseStrictText(text, maxMembers);
}

/** As {@link parseStrictJson}, from text. */
export function parseStrictText(text: string, maxMembers = MAX_BODY_MEMBERS): unknown {
  checkMembers(text, maxMembers);
  try {
    return JSON.parse(text);
  } catch (error) {
    const position = /position (\d+)/.exec((error as Error).message)?.[1];
    throw invalid(position === undefined ? text.length : Number(position), 'the body is not JSON');
  }
}

/**
 * Finds duplicate and forbidden member names, too deep nesting and too many values. Whatever is not JSON is left to
 * JSON.parse, which refuses it; until then this only has to stay linear.
 */
function checkMembers(text: string, maxMembers: number): void {
  /** For each open bracket the member names seen so far; null for an array. */
  const open: (Set<string> | null)[] = [];
  let nameNext = false;
  let values = 0;
  for (let i = 0; i < text.length; i++) {
    switch (text.charCodeAt(i)) {
      case 0x22: {
        const end = endOfString(text, i);
        if (nameNext) {
          nameNext = false;
          const names = open.at(-1);
          checkName(text, i, end, names);
          if (names && names.size > maxMembers)
            throw tooMany(`an object of the body has more than ${maxMembers} members`);
        }
        i = end;
        break;
      }
      case 0x7b:
      case 0x5b: {
        if (open.length >= MAX_BODY_DEPTH) throw invalid(i, `nested deeper than ${MAX_BODY_DEPTH} levels`);
        if (++values > MAX_BODY_VALUES) throw tooMany(`the body holds more than ${MAX_BODY_VALUES} values`);
        nameNext = text[i] === '{';
        open.push(nameNext ? new Set() : null);
        break;
      }
      case 0x7d:
      case 0x5d:
        open.pop();
        nameNext = false;
        break;
      case 0x2c:
        if (++values > MAX_BODY_VALUES) throw tooMany(`the body holds more than ${MAX_BODY_VALUES} values`);
        nameNext = open.at(-1) instanceof Set;
        break;
    }
  }
}

/** Index of the closing quote of the string that opens at `start`, or the length of the text when it never closes. */
function endOfString(text: string, start: number): number {
  // indexOf goes through long texts many times faster than a loop; runs of backslashes are looked at once each.
  for (let quote = text.indexOf('"', start + 1); quote !== -1; quote = text.indexOf('"', quote + 1)) {
    let before = quote - 1;
    while (before > start && text.charCodeAt(before) === 0x5c) before--;
    if ((quote - 1 - before) % 2 === 0) return quote;
  }
  return text.length;
}

function checkName(text: string, start: number, end: number, names: Set<string> | null | undefined): void {
  if (!(names instanceof Set) || end >= text.length) return;
  let name = text.slice(start + 1, end);
  if (name.includes('\\')) {
    try {
      name = JSON.parse(text.slice(start, end + 1)) as string;
    } catch {
      return;
    }
  }
  if (name === '__proto__') throw invalid(start, 'a member is named __proto__');
  if (names.has(name)) throw invalid(start, 'a member is given twice');
  names.add(name);
}

function tooMany(message: string): ApiError {
  return new ApiError('body_too_large', message, 'send less at a time');
}

function invalid(position: number, message: string): ApiError {
  return new ApiError('json_invalid', message, 'send one JSON value in UTF-8, each member once', {
    detail: [{ type: 'json_invalid', loc: ['body', position], msg: `JSON decode error: ${message}` }],
  });
}

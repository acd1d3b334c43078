import { setImmediate as turn } from 'node:timers/promises';
import { STRINGIFY_SLICE_BYTES } from './limits.ts';

/** Lists shorter than this are small enough to be written in one go, whatever they hold. */
const SHORT_LIST = 2;

/**
 * JSON text of an answer. The items of a long list one level down (`facts`, `results`, …) or of the answer itself are
 * written one by one, and the event loop turns in between: 500 facts with long texts are tens of megabytes.
 */
export async function stringify(value: unknown): Promise<string> {
  if (Array.isArray(value)) return list(value);
  if (typeof value !== 'object' || value === null || !Object.values(value).some(isLong)) return JSON.stringify(value);
  let text = '';
  for (const [name, member] of Object.entries(value)) {
    if (member === undefined) continue;
    const written = isLong(member) ? await list(member) : JSON.stringify(member);
    text += `${text === '' ? '' : ','}${JSON.stringify(name)}:${written}`;
  }
  return `{${text}}`;
}

/** Lists of texts are names, ids and warnings; only records can be large. */
function isLong(value: unknown): value is readonly unknown[] {
  return Array.isArray(value) && value.length >= SHORT_LIST && typeof value[0] === 'object';
}

async function list(items: readonly unknown[]): Promise<string> {
  const parts: string[] = [];
  let size = 0;
  for (const item of items) {
    const text = JSON.stringify(item) ?? 'null';
    parts.push(text);
    size += text.length;
    if (size >= STRINGIFY_SLICE_BYTES) {
      size = 0;
      await turn();
    }
  }
  return `[${parts.join(',')}]`;
}

import { MAX_ALL_FACTS, MAX_PAGE } from './limits.ts';
import type { Output } from './output.ts';
import { counted } from './text.ts';

export interface PageOptions {
  readonly cursor?: string;
  readonly limit?: number;
  /** Follow the cursors, up to MAX_ALL_FACTS. */
  readonly all?: boolean;
  readonly progress?: (text: string) => void;
}

/**
 * One page of a list, or with `all` every page as one. A page can be short and still have a successor, so without
 * `all` pages are read until there is something to show.
 */
export async function collectPages<
  M extends string,
  P extends { readonly cursor: string | null } & Record<M, readonly unknown[]>,
>(
  read: (cursor: string | undefined, limit: number | undefined) => Promise<P>,
  member: M,
  options: PageOptions,
): Promise<P> {
  const bound = options.all ? MAX_ALL_FACTS : 0;
  const first = await read(options.cursor, options.all ? MAX_PAGE : options.limit);
  const items: unknown[] = [...first[member]];
  let page = first;
  while (page.cursor !== null && (items.length < bound || items.length === 0)) {
    options.progress?.(`${items.length} read`);
    page = await read(page.cursor, options.all ? Math.min(MAX_PAGE, bound - items.length) : options.limit);
    for (const item of page[member]) items.push(item);
  }
  // What belongs to the moment of the first page stays that of the first page.
  return { ...first, [member]: items, cursor: page.cursor, ...('total' in first ? { total: items.length } : {}) };
}

/** Says on stderr how much was shown and how to get the rest. */
export function pageNote(out: Output, count: number, noun: string, cursor: string | null, plural = `${noun}s`): void {
  if (cursor !== null) out.note(`${counted(count, noun, plural)} shown, there are more: --all, or --cursor ${cursor}`);
  else if (count === 0) out.note(`no ${plural}`);
}

import { clip, displayWidth, padTo, printable } from './text.ts';

export interface Column {
  readonly title: string;
  /** Columns of the terminal it keeps when space runs out; left out, it is never cut. */
  readonly min?: number;
}

const GAP = '  ';

/**
 * Rows as aligned lines. Cells are made printable here, so that no caller can forget it.
 *
 * @param width columns of the terminal; undefined: as wide as it takes, nothing is cut
 */
export function tableLines(
  columns: readonly Column[],
  rows: readonly (readonly string[])[],
  options: { readonly width?: number | undefined; readonly title?: (line: string) => string } = {},
): string[] {
  const { width } = options;
  const clean = rows.map((row) => row.map((cell) => printable(width === undefined ? cell : cell.slice(0, width * 20))));
  const widths = columns.map(({ title }, at) =>
    clean.reduce((widest, row) => Math.max(widest, displayWidth(row[at] ?? '')), title.length),
  );
  if (width !== undefined) shrink(columns, widths, width);
  const line = (cells: readonly string[]) =>
    cells
      .map((cell, at) => padTo(clip(cell, widths[at] as number), widths[at] as number))
      .join(GAP)
      .trimEnd();
  const title = options.title ?? ((text: string) => text);
  return [title(line(columns.map((column) => column.title))), ...clean.map(line)];
}

/** Takes from the widest column that can give, until the line fits or nobody can give more. */
function shrink(columns: readonly Column[], widths: number[], width: number): void {
  const gaps = GAP.length * (columns.length - 1);
  for (let at = 0; at < widths.length; at++) {
    if (columns[at]?.min !== undefined) widths[at] = Math.min(widths[at] as number, width);
  }
  let excess = widths.reduce((sum, each) => sum + each, gaps) - width;
  while (excess > 0) {
    let widest = -1;
    for (const [at, { min }] of columns.entries()) {
      if (min === undefined || (widths[at] as number) <= min) continue;
      if (widest === -1 || (widths[at] as number) > (widths[widest] as number)) widest = at;
    }
    if (widest === -1) return;
    widths[widest] = (widths[widest] as number) - 1;
    excess -= 1;
  }
}

/** Names and values below each other; values with several lines are indented under the first. */
export function recordLines(
  fields: readonly (readonly [name: string, value: string | readonly string[] | undefined])[],
  style: (name: string) => string = (name) => name,
): string[] {
  const shown = fields.filter(([, value]) => value !== undefined);
  const width = Math.max(0, ...shown.map(([name]) => name.length));
  return shown.flatMap(([name, value]) => {
    const [first = '', ...rest] = (typeof value === 'string' ? [value] : (value as readonly string[])).map(printable);
    return [
      `${style(padTo(name, width))}${GAP}${first}`.trimEnd(),
      ...rest.map((line) => `${' '.repeat(width)}${GAP}${line}`.trimEnd()),
    ];
  });
}

/** Text for a terminal: what may be shown, how wide it is, how it is cut. Pure. */

/**
 * Characters that a terminal may obey instead of show, or that make text look like something else: controls (also C1,
 * which begin escape sequences by themselves), formats such as bidirectional overrides, line and paragraph separators,
 * lone surrogates, and the block of the invisible tags with its unassigned places, which are invisible as well. The two
 * joiners stay: Persian and emoji need them.
 */
const UNSAFE = /(?!\u200c|\u200d)[\p{Cc}\p{Cf}\p{Cs}\p{Zl}\p{Zp}\u{e0000}-\u{e007f}]/gu;

const SHORT_ESCAPES: Readonly<Record<string, string>> = { '\n': '\\n', '\r': '\\r', '\t': '\\t' };

/** The text on one line, with everything that could drive a terminal spelled out. */
export function printable(text: string): string {
  return text.replace(UNSAFE, (character) => SHORT_ESCAPES[character] ?? escapeOf(character));
}

function escapeOf(character: string): string {
  const hex = (character.codePointAt(0) as number).toString(16);
  return hex.length > 4 ? `\\u{${hex}}` : `\\u${hex.padStart(4, '0')}`;
}

/** JSON whose strings cannot drive a terminal either: JSON.stringify leaves C1 controls and formats as they are. */
export function safeJson(value: unknown, indent?: number): string {
  return JSON.stringify(value, undefined, indent).replace(
    /(?!\u200c|\u200d|\n)[\p{Cc}\p{Cf}\p{Zl}\p{Zp}\u{e0000}-\u{e007f}]/gu,
    (character) =>
      // JSON knows UTF-16 code units only.
      Array.from(
        { length: character.length },
        (_, at) => `\\u${character.charCodeAt(at).toString(16).padStart(4, '0')}`,
      ).join(''),
  );
}

let segmenter: Intl.Segmenter | undefined;

/** Made when first needed: it costs more than most commands, and most text is ASCII. */
function graphemes(text: string): Intl.Segments {
  segmenter ??= new Intl.Segmenter(undefined, { granularity: 'grapheme' });
  return segmenter.segment(text);
}

/** East Asian wide and full-width blocks (UAX #11), and what terminals draw as emoji. */
const WIDE =
  /[\u1100-\u115f\u2e80-\u303e\u3041-\ua4cf\ua960-\ua97c\uac00-\ud7a3\uf900-\ufaff\ufe30-\ufe6f\uff01-\uff60\uffe0-\uffe6\u{1f300}-\u{1f64f}\u{1f680}-\u{1f6ff}\u{1f900}-\u{1f9ff}\u{20000}-\u{3fffd}]|\p{Emoji_Presentation}|\ufe0f/u;
const ASCII = /^[\x20-\x7e]*$/;

/** Columns that printable text takes on a terminal. */
export function displayWidth(text: string): number {
  if (ASCII.test(text)) return text.length;
  let width = 0;
  for (const { segment } of graphemes(text)) width += graphemeWidth(segment);
  return width;
}

function graphemeWidth(grapheme: string): number {
  if (WIDE.test(grapheme)) return 2;
  return /^\p{M}+$/u.test(grapheme) ? 0 : 1;
}

/** At most `width` columns of the text; where something was cut, an ellipsis says so. */
export function clip(text: string, width: number): string {
  // No character is narrower than this many code units make it: the rest cannot be seen, so it is not measured.
  const visible = text.length > width * MAX_UNITS_PER_COLUMN ? text.slice(0, width * MAX_UNITS_PER_COLUMN) : text;
  if (visible === text && displayWidth(text) <= width) return text;
  if (width < 1) return '';
  let cut = '';
  let used = 0;
  for (const { segment } of graphemes(visible)) {
    const next = graphemeWidth(segment);
    // A pile of combining marks is one grapheme of any length; that much of it is no text.
    if (used + next > width - 1 || segment.length > MAX_UNITS_PER_COLUMN) break;
    cut += segment;
    used += next;
  }
  return `${cut}…`;
}

/** A family of four with skin tones is 19 code units wide in two columns. */
const MAX_UNITS_PER_COLUMN = 20;

export function padTo(text: string, width: number): string {
  return text + ' '.repeat(Math.max(0, width - displayWidth(text)));
}

/** `bagaaiera…x4u`: enough of a long name to tell it from its neighbours. */
export function shortId(id: string, head = 9, tail = 3): string {
  return id.length <= head + tail + 1 ? id : `${id.slice(0, head)}…${id.slice(-tail)}`;
}

/** `1 fact`, `2 facts`. */
export function counted(count: number, noun: string, plural = `${noun}s`): string {
  return `${count} ${count === 1 ? noun : plural}`;
}

/** `42 s`, `7 min`, `3 h`, `12 d`: how long, to one unit. */
export function duration(seconds: number): string {
  if (seconds < 120) return `${Math.floor(seconds)} s`;
  if (seconds < 2 * 3600) return `${Math.floor(seconds / 60)} min`;
  return seconds < 48 * 3600 ? `${Math.floor(seconds / 3600)} h` : `${Math.floor(seconds / 86_400)} d`;
}

export function byteCount(bytes: number): string {
  const units = ['B', 'KiB', 'MiB', 'GiB', 'TiB'];
  let value = bytes;
  let unit = 0;
  while (value >= 1024 && unit < units.length - 1) {
    value /= 1024;
    unit += 1;
  }
  return `${unit === 0 ? value : value.toFixed(1)} ${units[unit]}`;
}

/** An instant without the milliseconds nobody reads. */
export function shortInstant(instant: string): string {
  return instant.replace(/(:\d{2})\.\d+Z$/, '$1Z');
}

import { Marked } from 'marked';
import { escapeHtml } from './html.ts';

/** Targets a page may link to: pages and places of its own, and the web. */
const LINK = /^(?:https?:\/\/|#|\/|\.{0,2}\/?[A-Za-z0-9])/;

/**
 * Markdown to HTML for the pages of this package. Raw HTML is shown as text, images become links, links to `x.md`
 * become `/docs/x`.
 */
const marked = new Marked({
  gfm: true,
  renderer: {
    html({ text }) {
      return escapeHtml(text);
    },
    image({ href, text }) {
      return `<a href="${safeHref(href)}">${escapeHtml(text)}</a>`;
    },
    link({ href, tokens }) {
      return `<a href="${safeHref(href)}">${this.parser.parseInline(tokens)}</a>`;
    },
    heading({ tokens, depth, text }) {
      return `<h${depth} id="${escapeHtml(slug(text))}">${this.parser.parseInline(tokens)}</h${depth}>\n`;
    },
  },
});

export function renderMarkdown(source: string): string {
  return marked.parse(source, { async: false });
}

/** Text of the first heading, to name a page by. */
export function titleOf(source: string, fallback: string): string {
  return /^# +(.+)$/m.exec(source)?.[1]?.replaceAll('`', '').trim() ?? fallback;
}

function safeHref(href: string): string {
  if (!LINK.test(href) || (/^[a-z][a-z0-9+.-]*:/i.test(href) && !/^https?:/i.test(href))) return '#';
  return escapeHtml(href.replace(/^(?:\.\/)?([A-Za-z0-9-]+)\.md(?=$|#)/, '/docs/$1'));
}

/** Anchor of a heading, as the usual hosts of markdown make it. */
function slug(text: string): string {
  return text
    .toLowerCase()
    .replace(/[^\p{L}\p{N} _-]/gu, '')
    .trim()
    .replaceAll(' ', '-');
}

import { Marked } from 'marked';
import { escapeHtml } from './html.ts';

/**
 * Markdown to HTML for the pages of this package. Raw HTML is shown as text, images become links, links to `x.md`
 * become `/docs/x`; what a link to another file or scheme says is kept without the link.
 */
const marked = new Marked({
  gfm: true,
  renderer: {
    html({ text }) {
      return escapeHtml(text);
    },
    image({ href, text }) {
      return anchor(href, escapeHtml(text));
    },
    link({ href, tokens }) {
      return anchor(href, this.parser.parseInline(tokens));
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

function anchor(href: string, html: string): string {
  const page = /^(?:\.\/)?([A-Za-z0-9-]+)\.md(#[^\s]*)?$/.exec(href);
  const target = page === null ? href : `/docs/${page[1]}${page[2] ?? ''}`;
  return /^(?:https?:\/\/|#|\/(?!\/))/i.test(target) ? `<a href="${escapeHtml(target)}">${html}</a>` : html;
}

/** Anchor of a heading, as the usual hosts of markdown make it. */
function slug(text: string): string {
  return text
    .toLowerCase()
    .replace(/[^\p{L}\p{N} _-]/gu, '')
    .trim()
    .replaceAll(' ', '-');
}

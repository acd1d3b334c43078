import { open, readdir } from 'node:fs/promises';
import { join } from 'node:path';
import { MAX_DOC_PAGE_BYTES, MAX_DOC_PAGES } from '../limits.ts';
import type { Endpoint } from '../operations/operation.ts';
import { escapeHtml, type NavigationItem, page, STYLE } from './html.ts';
import { renderMarkdown, titleOf } from './markdown.ts';
import { errorReference, httpReference, rpcReference } from './reference.ts';

export interface DocFile {
  readonly contentType: string;
  readonly body: string;
}

/** The documentation as the daemon serves it: rendered once, held in memory, nothing of it from anywhere else. */
export class DocumentationSite {
  readonly #files: ReadonlyMap<string, DocFile>;

  private constructor(files: ReadonlyMap<string, DocFile>) {
    this.#files = files;
  }

  /** @param folder of markdown pages; undefined or missing: the reference alone */
  static async load(endpoints: readonly Endpoint[], folder: string | undefined): Promise<DocumentationSite> {
    const guides = await readGuides(folder);
    const reference = [
      { path: '/docs/reference/http', title: 'HTTP reference', body: httpReference(endpoints) },
      { path: '/docs/reference/rpc', title: 'JSON-RPC reference', body: rpcReference(endpoints) },
      { path: '/docs/errors', title: 'Error codes', body: errorReference() },
    ];
    const pages = [...guides, ...reference];
    const navigation: NavigationItem[] = pages.map(({ path, title }) => ({ href: path, title }));
    const files = new Map<string, DocFile>([
      ['/docs/style.css', { contentType: 'text/css; charset=utf-8', body: STYLE }],
      ['/docs', html(page('Documentation', indexBody(navigation), navigation, '/docs'))],
    ]);
    for (const { path, title, body } of pages) files.set(path, html(page(title, body, navigation, path)));
    return new DocumentationSite(files);
  }

  /** Paths of all files. */
  get paths(): readonly string[] {
    return [...this.#files.keys()];
  }

  file(path: string): DocFile | undefined {
    return this.#files.get(path);
  }
}

function html(body: string): DocFile {
  return { contentType: 'text/html; charset=utf-8', body };
}

function indexBody(navigation: readonly NavigationItem[]): string {
  const items = navigation
    .map(({ href, title }) => `<li><a href="${escapeHtml(href)}">${escapeHtml(title)}</a></li>`)
    .join('');
  return [
    '<h1>Stigmesh documentation</h1>',
    '<p>This daemon gives agents a shared, signed memory. Ask it over HTTP, JSON-RPC or the <code>stigmesh</code> ',
    'command; follow what happens with server-sent events.</p>',
    `<ul>${items}<li><a href="/openapi.json">openapi.json</a></li></ul>`,
  ].join('');
}

interface Page {
  readonly path: string;
  readonly title: string;
  readonly body: string;
}

async function readGuides(folder: string | undefined): Promise<Page[]> {
  if (folder === undefined) return [];
  const names = await readdir(folder).catch(() => []);
  const pages: Page[] = [];
  for (const name of names.sort()) {
    const slug = /^([A-Za-z0-9-]+)\.md$/.exec(name)?.[1];
    // `errors` and `reference` are taken by the pages made from the code.
    if (slug === undefined || slug === 'errors' || slug === 'reference' || pages.length >= MAX_DOC_PAGES) continue;
    const source = await readBounded(join(folder, name));
    if (source === undefined) continue;
    pages.push({ path: `/docs/${slug}`, title: titleOf(source, slug), body: renderMarkdown(source) });
  }
  return pages;
}

/** A page, or undefined when it is too large to be one of ours. */
async function readBounded(path: string): Promise<string | undefined> {
  const file = await open(path, 'r');
  try {
    const { size } = await file.stat();
    return size > MAX_DOC_PAGE_BYTES ? undefined : await file.readFile('utf8');
  } finally {
    await file.close();
  }
}
